"""Going into pods' network namespaces and coming back, and telling namespaces from what only looks like one."""

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from nsworld import NsWorld, descriptors, needs_namespaces, nsworld, python, wait_for, without

from agent.edge import netns
from agent.edge.netns import Entrance, NamespaceGone, NamespaceUnreadable, ScanResult, cookie_here, cookie_of, scan
from agent.model.net import NamespaceFile

pytestmark = needs_namespaces
PATIENCE = 60


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NsWorld]:
    with nsworld(tmp_path / "netns") as made:
        yield made


@pytest.fixture
def entrance() -> Iterator[Entrance]:
    """Each test also asserts that the thread is home when all is done, and that nothing stays open or running."""
    open_before, threads_before, cookie = descriptors(), threading.active_count(), cookie_here()
    made = Entrance()
    yield made
    assert made.submit(cookie_here).result(PATIENCE) == cookie
    made.close()
    assert cookie_here() == cookie
    assert threading.active_count() == threads_before
    assert descriptors() == open_before


def look(world: NsWorld, entrance: Entrance) -> ScanResult:
    return scan([str(world.directory)], entrance).result(PATIENCE)


def find(world: NsWorld, entrance: Entrance, name: str) -> NamespaceFile:
    return next(file for file in look(world, entrance).files if file.path == str(world.directory / name))


def links_here() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_what_is_made_inside_belongs_to_the_pods_namespace(world: NsWorld, entrance: Entrance) -> None:
    world.add("pod")
    world.ip("pod", "link add lhnet1 type veth peer name other")
    file = find(world, entrance, "pod")

    with entrance.call(file, socket.socket).result(PATIENCE) as sock:
        assert cookie_of(sock) == file.cookie != cookie_here()
    assert entrance.call(file, links_here).result(PATIENCE) == {"lo", "lhnet1", "other"}
    assert "lhnet1" not in links_here()


def test_an_error_inside_comes_out_unchanged_and_the_thread_goes_home(world: NsWorld, entrance: Entrance) -> None:
    world.add("pod")
    file = find(world, entrance, "pod")

    def fail() -> None:
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"):
        entrance.call(file, fail).result(PATIENCE)
    assert entrance.submit(cookie_here).result(PATIENCE) == cookie_here()
    with pytest.raises(SystemExit):
        entrance.call(file, lambda: sys.exit(3)).result(PATIENCE)


def test_a_namespace_deleted_between_scan_and_use_is_gone(world: NsWorld, entrance: Entrance) -> None:
    world.add("pod")
    file = find(world, entrance, "pod")
    world.remove("pod")

    with pytest.raises(NamespaceGone, match="the file is gone"):
        entrance.call(file, cookie_here).result(PATIENCE)


def test_an_unmounted_namespace_leaves_a_plain_file_that_is_not_entered(world: NsWorld, entrance: Entrance) -> None:
    world.add("pod")
    file = find(world, entrance, "pod")
    world.unmount("pod")

    with pytest.raises(NamespaceGone, match="remains after an unmount"):
        entrance.call(file, cookie_here).result(PATIENCE)
    assert look(world, entrance).files == ()


def test_another_namespace_under_the_same_name_is_not_mistaken_for_the_old_one(world: NsWorld, entrance: Entrance) -> None:
    world.add("pod")
    old = find(world, entrance, "pod")
    world.remove("pod")
    world.add("pod")
    new = find(world, entrance, "pod")

    assert new.cookie != old.cookie
    with pytest.raises(NamespaceGone, match="another namespace has this name now"):
        entrance.call(old, cookie_here).result(PATIENCE)
    assert entrance.call(new, cookie_here).result(PATIENCE) == new.cookie


def test_a_reused_inode_does_not_hide_that_the_namespace_is_another(world: NsWorld, entrance: Entrance) -> None:
    """The kernel gives the number of a namespace that ended to the next one; only the cookie tells."""
    world.add("pod")
    now = find(world, entrance, "pod")
    assert now.cookie is not None
    before = NamespaceFile(path=now.path, cookie=now.cookie - 1, device=now.device, inode=now.inode)

    made: list[int] = []
    with pytest.raises(NamespaceGone, match="another namespace"):
        entrance.call(before, lambda: made.append(1)).result(PATIENCE)
    assert made == []


def test_before_linux_5_14_device_and_inode_have_to_do(world: NsWorld, entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(netns, "cookie_here", lambda: None)
        world.add("one", "two")
        one, two = find(world, entrance, "one"), find(world, entrance, "two")
        assert one.cookie is None
        assert one.key != two.key
        assert entrance.call(one, links_here).result(PATIENCE) == {"lo"}
        swapped = NamespaceFile(path=one.path, cookie=None, device=two.device, inode=two.inode)
        with pytest.raises(NamespaceGone, match="another namespace"):
            entrance.call(swapped, links_here).result(PATIENCE)


def test_scanning_and_entering_keep_no_namespace_alive(world: NsWorld, entrance: Entrance) -> None:
    """A dead pod's veth must go with the pod; it would answer for an address that somebody else has by then."""
    world.add("node", "pod")
    world.veth("pod", "lhnet1", peer="node", peer_link="veth1")
    file = find(world, entrance, "pod")
    entrance.call(file, socket.socket).result(PATIENCE).close()
    world.remove("pod")

    wait_for(lambda: not world.has_link("node", "veth1"))


async def test_a_socket_made_for_a_task_that_was_cancelled_is_closed(world: NsWorld, entrance: Entrance) -> None:
    world.add("pod")
    file = find(world, entrance, "pod")
    started, go_on = threading.Event(), threading.Event()
    made: list[socket.socket] = []

    def make_slowly() -> socket.socket:
        started.set()
        assert go_on.wait(PATIENCE)
        made.append(socket.socket())
        return made[0]

    task = asyncio.create_task(entrance.acquire(file, make_slowly))
    await asyncio.to_thread(started.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    entrance.submit(bool).result(PATIENCE)

    assert made[0].fileno() == -1


async def test_a_task_that_is_not_cancelled_owns_its_socket(world: NsWorld, entrance: Entrance) -> None:
    world.add("pod")
    with await entrance.acquire(find(world, entrance, "pod"), socket.socket) as sock:
        assert sock.fileno() >= 0


def test_a_job_cancelled_while_it_waits_is_never_run(entrance: Entrance) -> None:
    go_on = threading.Event()
    busy = entrance.submit(lambda: go_on.wait(PATIENCE))
    ran: list[int] = []
    waiting = entrance.submit(lambda: ran.append(1))
    assert waiting.cancel()
    go_on.set()
    assert busy.result(PATIENCE)
    entrance.submit(bool).result(PATIENCE)
    assert ran == []


def test_closing_finishes_what_waits_and_takes_nothing_new() -> None:
    entrance = Entrance()
    results: list[Future[int]] = [entrance.submit(lambda number=number: number) for number in range(50)]
    entrance.close()
    entrance.close()

    assert [future.result(0) for future in results] == list(range(50))
    with pytest.raises(RuntimeError, match="closed"):
        entrance.submit(bool)


def test_no_other_thread_may_leave_home(world: NsWorld, entrance: Entrance) -> None:
    path = str(world.add("pod"))
    with pytest.raises(RuntimeError, match="own thread"):
        entrance.identify(path)


def test_a_path_that_cannot_be_opened_is_unreadable(world: NsWorld, entrance: Entrance) -> None:
    (world.directory / "loop").symlink_to(world.directory / "loop")
    for path in (str(world.directory / "loop"), "with\0zero"):
        file = NamespaceFile(path=path, cookie=1, device=1, inode=1)
        with pytest.raises(NamespaceUnreadable, match="cannot be opened"):
            entrance.call(file, bool).result(PATIENCE)


def test_a_fifo_put_in_the_place_of_a_namespace_does_not_block(world: NsWorld, entrance: Entrance) -> None:
    os.mkfifo(world.directory / "pod")
    file = NamespaceFile(path=str(world.directory / "pod"), cookie=1, device=1, inode=1)
    with pytest.raises(NamespaceGone, match="not a namespace"):
        entrance.call(file, bool).result(PATIENCE)


DENIED = """
import json, sys
from agent.edge.netns import Entrance, NamespaceDenied, cookie_here, scan
from agent.model.net import NamespaceFile
entrance = Entrance()
home = cookie_here()
found = scan([sys.argv[1]], entrance).result(60)
file = NamespaceFile(path=sys.argv[2], cookie=int(sys.argv[3]), device=int(sys.argv[4]), inode=int(sys.argv[5]))
try:
    entrance.call(file, bool).result(60)
except NamespaceDenied as error:
    print(json.dumps([len(found.files), found.denied, found.skipped[0][1], str(error), entrance.submit(cookie_here).result(60) == home]))
entrance.close()
"""


def test_without_cap_sys_admin_the_missing_capability_is_named(world: NsWorld, entrance: Entrance) -> None:
    world.add("pod")
    file = find(world, entrance, "pod")
    arguments = (str(world.directory), file.path, str(file.cookie), str(file.device), str(file.inode))
    done = python(DENIED, *arguments, before=without("sys_admin"))

    text = "entering is not permitted: CAP_SYS_ADMIN is missing"
    assert done.stdout == f'[0, 1, "{text}", "{file.path}: {text}", true]\n', done.stderr


EXHAUSTED = """
import resource, sys
from agent.edge.netns import Entrance, cookie_here, scan
entrance = Entrance()
home = cookie_here()
(file,) = scan([sys.argv[1]], entrance).result(60).files
resource.setrlimit(resource.RLIMIT_NOFILE, (len(__import__("os").listdir("/proc/self/fd")) - 1, 4096))
for attempt in range(3):
    try:
        entrance.call(file, bool).result(60)
    except Exception as error:
        print(type(error).__name__, error.reason)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
print(entrance.submit(cookie_here).result(60) == home)
entrance.close()
"""


def test_a_process_out_of_descriptors_says_so_and_stays_home(world: NsWorld) -> None:
    world.add("pod")
    done = python(EXHAUSTED, str(world.directory))
    assert done.stdout == "NamespaceUnreadable cannot be opened: Too many open files\n" * 3 + "True\n", done.stderr


STUCK = """
import sys
from agent.edge import netns
entrance = netns.Entrance()
(file,) = netns.scan([sys.argv[1]], entrance).result(60).files
enter = netns.enter
def refuse_to_go_home(descriptor):
    if descriptor == entrance._home:
        raise OSError(22, "Invalid argument")
    enter(descriptor)
netns.enter = refuse_to_go_home
entrance.call(file, bool).result(60)
print("still alive")
"""


def test_a_thread_that_cannot_go_home_ends_the_process(world: NsWorld) -> None:
    """Everything that it would say afterwards would be about a pod and pass for the node."""
    world.add("pod")
    done = python(STUCK, str(world.directory))
    assert (done.returncode, done.stdout) == (70, "")
    assert "could not leave a pod's network namespace" in done.stderr


CLOSED = """
import json, sys
from agent.edge.netns import Entrance, scan
entrance = Entrance()
found = scan([sys.argv[1]], entrance).result(60)
print(json.dumps([len(found.files), found.missing == (sys.argv[1],), list(found.barred)]))
entrance.close()
"""


def test_a_directory_that_is_closed_to_us_is_not_just_missing(world: NsWorld) -> None:
    """Root without CAP_DAC_OVERRIDE, as the manifest has it, in front of somebody else's directory."""
    world.add("pod")
    world.directory.chmod(0o700)
    os.chown(world.directory, 65534, 65534)
    done = python(CLOSED, str(world.directory), before=without("dac_override", "dac_read_search"))
    assert json.loads(done.stdout) == [0, True, [f"{world.directory}: cannot be listed: Permission denied"]], done.stderr
