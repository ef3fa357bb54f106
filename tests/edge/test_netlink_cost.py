"""What a reading costs and leaves behind: one socket for a moment, nothing else, however it ends."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import psutil
import pytest
from nsworld import NsWorld, descriptors, needs_namespaces, nsworld, python, wait_for

from agent.edge import netlink
from agent.edge.netlink import read_addresses, read_here, read_namespace
from agent.edge.netns import Entrance, NamespaceGone, NamespaceTimeout, NamespaceUnreadable, cookie_here, scan
from agent.model.net import NamespaceFile

PATIENCE = 60
forks: list[int] = []
os.register_at_fork(before=lambda: forks.append(os.getpid()))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NsWorld]:
    with nsworld(tmp_path / "netns") as made:
        made.add("node", "pod")
        made.veth("pod", "lhnet1", peer="node", peer_link="veth1")
        made.ip("pod", "addr add 192.168.0.5/24 dev lhnet1")
        yield made


@pytest.fixture
async def entrance() -> AsyncIterator[Entrance]:
    """Each test also asserts that no descriptor stays open and that the thread is home."""
    open_before = descriptors()
    made = Entrance()
    yield made
    assert await asyncio.wrap_future(made.submit(cookie_here)) == cookie_here()
    made.close()
    assert descriptors() == open_before


async def find(world: NsWorld, entrance: Entrance, name: str = "pod") -> NamespaceFile:
    result = await asyncio.wrap_future(scan([str(world.directory)], entrance))
    return next(file for file in result.files if file.path == str(world.directory / name))


def root_only(test: Callable[..., Any]) -> Callable[..., Any]:
    for mark in needs_namespaces:
        test = mark(test)
    return test


@root_only
async def test_many_routes_come_in_many_parts(world: NsWorld, entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = world.directory.parent / "batch"
    batch.write_text("".join(f"route add blackhole 10.{60 + number // 256}.{number % 256}.0/24\n" for number in range(1500)))
    world.ip("pod", f"-batch {batch}")
    file = await find(world, entrance)
    wants: frozenset[netlink.Want] = frozenset({"routes"})
    facts = await read_namespace(entrance, file, wants=wants)
    assert len({route.to for route in facts.routes if route.kind == "blackhole" and str(route.to).endswith(".0/24")}) == 1500

    monkeypatch.setattr(netlink, "MAX_ITEMS", 500)
    with pytest.raises(NamespaceUnreadable, match="more than 500 route entries"):
        await read_namespace(entrance, file, wants=wants)


@root_only
async def test_reading_forks_nothing_and_leaves_nothing_open(world: NsWorld, entrance: Entrance) -> None:
    file = await find(world, entrance)
    await read_namespace(entrance, file)
    opened, threads, forked, children = descriptors(), threading.active_count(), len(forks), psutil.Process().children()
    await asyncio.gather(*(read_namespace(entrance, file) for _ in range(20)), *(read_addresses(entrance, file) for _ in range(20)))

    assert descriptors() == opened
    # Two workers for ever, however much is read at once; the second may be new.
    assert threading.active_count() <= threads + 1
    assert sum(thread.name.startswith("netlink") for thread in threading.enumerate()) <= 2
    assert len(forks) == forked
    assert psutil.Process().children() == children


@root_only
async def test_a_read_keeps_no_namespace_alive(world: NsWorld, entrance: Entrance) -> None:
    file = await find(world, entrance)
    await read_namespace(entrance, file)
    await read_addresses(entrance, file)
    world.remove("pod")
    wait_for(lambda: not world.has_link("node", "veth1"))


@root_only
async def test_a_cancelled_read_keeps_no_namespace_alive(world: NsWorld, entrance: Entrance) -> None:
    file = await find(world, entrance)
    opened = descriptors()
    for turns in range(12):
        task = asyncio.create_task(read_namespace(entrance, file))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    wait_for(lambda: descriptors() == opened)
    world.remove("pod")
    wait_for(lambda: not world.has_link("node", "veth1"))


@root_only
async def test_a_namespace_that_went_away_is_gone_and_nothing_leaks(world: NsWorld, entrance: Entrance) -> None:
    file = await find(world, entrance)
    opened = descriptors()
    world.remove("pod")
    for _ in range(3):
        with pytest.raises(NamespaceGone, match="the file is gone"):
            await read_namespace(entrance, file)
        with pytest.raises(NamespaceGone, match="the file is gone"):
            await read_addresses(entrance, file)
    assert descriptors() == opened


@root_only
async def test_a_kernel_that_does_not_answer_in_time_says_nothing_of_the_pod(world: NsWorld, entrance: Entrance) -> None:
    file = await find(world, entrance)
    opened = descriptors()
    go_on = threading.Event()
    stuck = entrance.submit(lambda: go_on.wait(PATIENCE))
    with pytest.raises(NamespaceTimeout, match=r"not read within 0\.05 s"):
        await read_namespace(entrance, file, timeout_seconds=0.05)
    go_on.set()
    assert await asyncio.wrap_future(stuck)
    wait_for(lambda: descriptors() == opened)
    assert (await read_namespace(entrance, file)).link("lhnet1") is not None


async def test_our_own_namespace_is_read_without_any_privilege() -> None:
    facts = await read_here()
    lo = facts.link("lo")
    assert lo is not None
    assert {link.name: link.index for link in facts.links} == {name: index for index, name in socket.if_nameindex()}
    assert ip_interface("127.0.0.1/8") in {found.interface for found in facts.addresses_of(lo)}


FOREIGN = """
import asyncio, sys
from agent.edge.netlink import read_here
print(sorted(link.name for link in asyncio.run(read_here()).links))
"""


@root_only
def test_our_own_namespace_is_where_the_process_runs(world: NsWorld) -> None:
    done = python(FOREIGN, before=("nsenter", f"--net={world.directory / 'node'}"))
    assert done.stdout == str(sorted(entry["ifname"] for entry in world.ask("node", "link"))) + "\n", done.stderr
