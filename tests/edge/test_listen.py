"""Hearing of changes on the node and in its pods from one socket, which lives in the node's namespace."""

import asyncio
import errno
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from nsworld import NsWorld, descriptors, needs_namespaces, nsworld, wait_for, without

from agent.edge import listen
from agent.edge.listen import Change, Listener

PATIENCE = 60

AGENT = """
import asyncio, json, sys
from agent.edge.listen import Listener
async def main():
    stop = asyncio.Event()
    say = lambda *what: print(json.dumps(what), flush=True)
    listener = Listener(lambda change: say(sorted(change.nsids, key=str), change.lost), coalesce_seconds=0)
    listener.start()
    say(listener.all_namespaces, listener.complaint)
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    await stop.wait()
    listener.close()
asyncio.run(main())
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NsWorld]:
    with nsworld(tmp_path / "netns") as made:
        made.add("node", "pod")
        made.veth("pod", "lhnet1", peer="node", peer_link="veth1")
        yield made


@contextmanager
def agent(world: NsWorld, *, before: tuple[str, ...] = ()) -> Iterator[IO[str]]:
    """Runs a listener in the node's namespace; what it says comes a line at a time."""
    command = ["nsenter", f"--net={world.directory / 'node'}", *before, sys.executable, "-c", AGENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout
        finally:
            process.kill()


def heard_until(said: IO[str], wanted: int | None) -> set[int | None]:
    """Where changes were heard, up to and with `wanted`. The test's own time limit ends a wait in vain."""
    heard: set[int | None] = set()
    while wanted not in heard:
        nsids, lost = json.loads(said.readline())
        assert lost is False
        heard |= set(nsids)
    return heard


def nsid_of_the_pod(world: NsWorld) -> int:
    return next(int(entry["link_netnsid"]) for entry in world.ask("node", "link") if entry["ifname"] == "veth1")


def root_only(test: Any) -> Any:
    for mark in needs_namespaces:
        test = mark(test)
    return test


@root_only
@pytest.mark.parametrize(
    "change",
    [
        "link set lhnet1 mtu 1400",
        "addr add 192.168.0.9/24 dev lhnet1",
        "addr add fd00::9/64 dev lhnet1",
        "route add blackhole 10.9.0.0/16",
        "-6 route add blackhole fd00:9::/32",
    ],
)
def test_a_change_in_a_pod_is_heard_with_the_number_of_its_namespace(world: NsWorld, change: str) -> None:
    pod = nsid_of_the_pod(world)
    with agent(world) as said:
        assert json.loads(said.readline()) == [True, ""]
        world.ip("pod", change)
        heard_until(said, pod)


@root_only
def test_a_change_on_the_node_is_heard_without_a_number(world: NsWorld) -> None:
    with agent(world) as said:
        said.readline()
        world.ip("node", "addr add 192.168.0.1/24 dev veth1")
        heard_until(said, None)


@root_only
def test_without_cap_net_broadcast_only_the_node_is_heard_and_that_is_said(world: NsWorld) -> None:
    with agent(world, before=without("net_broadcast", "net_admin")) as said:
        assert json.loads(said.readline()) == [False, "CAP_NET_BROADCAST is missing"]
        world.ip("pod", "addr add 192.168.0.9/24 dev lhnet1")
        world.ip("node", "link add marker type bridge")
        assert heard_until(said, None) == {None}


@root_only
def test_listening_keeps_no_pods_namespace_alive(world: NsWorld) -> None:
    with agent(world) as said:
        said.readline()
        world.ip("pod", "addr add 192.168.0.9/24 dev lhnet1")
        heard_until(said, nsid_of_the_pod(world))
        world.remove("pod")
        wait_for(lambda: not world.has_link("node", "veth1"))


FLOODED = """
import asyncio, json, subprocess, sys
from agent.edge import listen
listen._RECEIVE_BUFFER_BYTES = 1
async def main():
    told = asyncio.Queue()
    listener = listen.Listener(told.put_nowait, coalesce_seconds=0)
    listener.start()
    # The event loop does not run meanwhile: the kernel has nowhere to put the rest.
    subprocess.run(["ip", "-batch", sys.argv[1]], check=True)
    while not (await told.get()).lost:
        pass
    print("lost", flush=True)
    while not told.empty():
        told.get_nowait()
    subprocess.run(["ip", "link", "add", "after", "type", "bridge"], check=True)
    change = await told.get()
    print(sorted(change.nsids, key=str), flush=True)
    listener.close()
asyncio.run(main())
"""


@root_only
def test_a_flood_that_overruns_the_buffer_is_a_change_and_not_the_end(world: NsWorld, tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    batch.write_text("".join(f"addr add 10.9.{number}.1/24 dev veth1\n" for number in range(100)))
    command = ["nsenter", f"--net={world.directory / 'node'}", sys.executable, "-c", FLOODED, str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.stdout == "lost\n[None]\n", done.stderr


class ScriptedSocket:
    """Gives what is written here, then nothing; stays readable as long as there is something."""

    def __init__(self, *replies: Any) -> None:
        self._replies = list(replies)
        self._pair = socket.socketpair()
        self._pair[1].send(b"x")

    def fileno(self) -> int:
        return self._pair[0].fileno()

    def setsockopt(self, *_: Any) -> None: ...

    def bind(self, *_: Any) -> None: ...

    def recvmsg(self, *_: Any) -> tuple[bytes, Any, int, Any]:
        if not self._replies:
            raise BlockingIOError
        reply = self._replies.pop(0)
        if isinstance(reply, OSError):
            raise reply
        return b"", reply, socket.MSG_TRUNC, (0, 0)

    def close(self) -> None:
        for end in self._pair:
            end.close()


async def hear(monkeypatch: pytest.MonkeyPatch, *replies: Any) -> list[Change]:
    told: list[Change] = []
    done = asyncio.Event()

    def on_change(change: Change) -> None:
        told.append(change)
        done.set()

    sock = ScriptedSocket(*replies)
    with monkeypatch.context() as patch:
        patch.setattr(listen.socket, "socket", lambda *_: sock)
        listener = Listener(on_change, coalesce_seconds=0)
        listener.start()
    await asyncio.wait_for(done.wait(), PATIENCE)
    listener.close()
    return told


def numbered(nsid: int) -> list[tuple[int, int, bytes]]:
    return [(270, 8, nsid.to_bytes(4, sys.byteorder, signed=True))]


async def test_many_messages_make_one_call_that_names_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    told = await hear(monkeypatch, *[numbered(3)] * 50, *[numbered(4)] * 50, [], *[[]] * 50)
    assert told == [Change(nsids=frozenset({3, 4, None}))]


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.EIO])
async def test_lost_messages_are_a_change_anywhere(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    told = await hear(monkeypatch, numbered(3), OSError(number, "lost"))
    assert told == [Change(nsids=frozenset({3, None}), lost=True)]


async def test_ancillary_data_that_makes_no_sense_counts_as_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    told = await hear(monkeypatch, [(270, 8, b"\1")], [(1, 1, b"\0\0\0\0")])
    assert told == [Change(nsids=frozenset({None}))]


async def test_a_machine_that_gives_no_socket_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(listen.socket, "socket", refuse)
    listener = Listener(lambda _: None)
    with pytest.raises(PermissionError):
        listener.start()
    listener.close()


async def test_a_group_that_the_kernel_refuses_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = descriptors()
    monkeypatch.setattr(listen, "GROUPS", (4711,))
    with pytest.raises(OSError, match="Invalid argument"):
        Listener(lambda _: None).start()
    assert descriptors() == opened


async def test_closing_twice_and_before_starting_is_harmless_and_leaves_nothing_open() -> None:
    opened = descriptors()
    listener = Listener(lambda _: None)
    listener.close()
    listener.start()
    listener.close()
    listener.close()
    assert descriptors() == opened
