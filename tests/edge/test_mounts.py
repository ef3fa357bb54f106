"""Whether a pod's namespace that is mounted now will be seen here, and hearing of it when it is."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nsworld import NsWorld, descriptors, needs_namespaces, nsworld

from agent.edge import mounts
from agent.edge.mounts import Mount, MountWatch, mount_of, namespaces_below, parse_mountinfo, propagation_of, read_mounts

PATIENCE = 60

# As the agent's container sees it: hostPath /var/run/netns mounted with HostToContainer, a state folder without.
CONTAINER = """\
812 640 0:97 / / ro,relatime master:211 - overlay overlay ro,lowerdir=/a:/b
830 812 0:100 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
841 812 0:24 /netns /run/netns rw,nosuid,nodev master:13 - tmpfs tmpfs rw,size=1628952k
842 841 0:4 net:[4026532600] /run/netns/cni-1f7c rw master:14 - nsfs nsfs rw
843 841 0:4 net:[4026532700] /run/netns/cni\\0402 rw shared:77 master:15 - nsfs nsfs rw
844 841 0:4 net:[4026532800] /run/netns/cni-dead//deleted rw master:16 - nsfs nsfs rw
845 841 0:4 net:[4026532600] /run/netns/cni-1f7c rw master:14 - nsfs nsfs rw
850 812 253:1 /var/lib/lhnet-agent /var/lib/lhnet-agent rw,relatime - ext4 /dev/sda1 rw
851 812 253:1 /shared /run/netnsx rw,relatime shared:5 - ext4 /dev/sda1 rw
852 812 253:1 /u /u rw,relatime unbindable - ext4 /dev/sda1 rw
this line makes no sense
860 812 0:1
"""


def propagation(path: str) -> str | None:
    mount = mount_of(path, parse_mountinfo(CONTAINER))
    return mount.propagation if mount else None


def test_a_directory_has_the_propagation_of_the_mount_that_holds_it() -> None:
    assert propagation("/run/netns") == "slave"
    assert propagation("/run/netns/cni-77aa") == "slave"
    assert propagation("/var/lib/lhnet-agent/history") == "private"
    assert propagation("/run/netnsx/a") == "shared"
    assert propagation("/run/netnsxy") == "slave"  # of the root: a longer name is another name
    assert propagation("/u") == "private"


def test_a_mount_that_is_shared_and_slave_counts_as_shared() -> None:
    assert propagation("/run/netns/cni 2") == "shared"


def test_a_missing_directory_is_missing_and_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mount cannot be told, and mountPropagation would be the wrong thing to look at."""
    found: dict[str, mounts.Propagation | None] = {"/": "private", str(tmp_path): None, "/proc": "slave", "/dev": "shared"}
    monkeypatch.setattr(mounts, "propagation_of", found.get)
    assert mounts.cut_off([*found, str(tmp_path / "missing"), "with\0zero"]) == ("/", str(tmp_path))


def test_of_two_mounts_on_one_path_the_later_is_on_top() -> None:
    table = parse_mountinfo("1 0 0:1 / /run rw shared:1 - tmpfs tmpfs rw\n2 1 0:2 / /run rw - tmpfs tmpfs rw\n")
    found = mount_of("/run/netns", table)
    assert found is not None
    assert found.propagation == "private"


def test_namespaces_below_a_directory_are_listed_once_and_without_the_deleted() -> None:
    assert namespaces_below("/run/netns", parse_mountinfo(CONTAINER)) == ("/run/netns/cni-1f7c", "/run/netns/cni 2")
    assert namespaces_below("/run/netn", parse_mountinfo(CONTAINER)) == ()


def test_octal_escapes_are_undone() -> None:
    (mount,) = parse_mountinfo("1 0 0:1 /a\\011b /c\\134d\\012 rw - ext4 /dev/x rw\n")
    assert mount == Mount(root="/a\tb", path="/c\\d\n", filesystem="ext4")


def test_lines_that_make_no_sense_are_left_out() -> None:
    assert len(parse_mountinfo(CONTAINER)) == 10
    assert parse_mountinfo("") == ()


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    for mount in parse_mountinfo(text + "\n1 0 0:1 " + text):
        assert mount.propagation in ("shared", "slave", "private")


def test_a_path_that_is_missing_has_no_propagation(tmp_path: Path) -> None:
    assert propagation_of(str(tmp_path / "missing")) is None
    assert propagation_of("with\0zero") is None
    assert propagation_of(str(tmp_path), mounts=()) is None


def test_our_own_table_knows_where_everything_is(tmp_path: Path) -> None:
    table = read_mounts()
    assert mount_of("/proc", table) == next(mount for mount in reversed(table) if mount.path == "/proc")
    assert propagation_of(str(tmp_path)) in ("shared", "slave", "private")


def test_a_missing_table_is_unknown_not_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mounts.read_mounts, "__defaults__", (str(tmp_path / "missing"),))
    assert propagation_of(str(tmp_path)) is None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NsWorld]:
    with nsworld(tmp_path / "netns") as made:
        yield made


def root_only(test: Callable[..., object]) -> Callable[..., object]:
    for mark in needs_namespaces:
        test = mark(test)
    return test


@root_only
def test_propagation_follows_what_mount_was_told_also_through_a_symlink(world: NsWorld, tmp_path: Path) -> None:
    directory = str(world.directory)
    (tmp_path / "var-run").symlink_to(tmp_path)
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    try:
        for option, expected in (("private", "private"), ("shared", "shared"), ("slave", "slave"), ("private", "private")):
            subprocess.run(["mount", f"--make-{option}", directory], check=True)
            # A slave of nobody is private: the kernel says so.
            seen = propagation_of(directory)
            assert seen == (expected if expected != "slave" else seen)
            assert propagation_of(str(tmp_path / "var-run" / "netns")) == seen
    finally:
        subprocess.run(["umount", directory], check=True)


@root_only
def test_mounted_namespaces_are_found_in_the_real_table(world: NsWorld) -> None:
    world.add("one", "two")
    world.unmount("two")
    assert namespaces_below(os.path.realpath(world.directory), read_mounts()) == (os.path.realpath(world.directory / "one"),)


class Heard:
    """Counts calls, and waits for them."""

    def __init__(self) -> None:
        self.calls = 0
        self._event = asyncio.Event()

    def __call__(self) -> None:
        self.calls += 1
        self._event.set()

    async def once_more(self) -> None:
        await asyncio.wait_for(self._event.wait(), PATIENCE)
        self._event.clear()


async def quiet(heard: Heard) -> None:
    """Until what has happened so far was told: the watch's own delay is over and nothing is pending."""
    before = -1
    while before != heard.calls:
        before = heard.calls
        for _ in range(20):
            await asyncio.sleep(0)


async def with_watch(dirs: list[str], act: Callable[[MountWatch, Heard], Awaitable[None]]) -> None:
    """Also asserts that the watch leaves nothing open."""
    opened = descriptors()
    heard = Heard()
    watch = MountWatch(dirs, heard, coalesce_seconds=0)
    watch.start()
    try:
        await act(watch, heard)
    finally:
        watch.close()
        watch.close()
    assert descriptors() == opened


async def test_files_that_come_go_and_move_are_heard(tmp_path: Path) -> None:
    async def act(_: MountWatch, heard: Heard) -> None:
        for change in (
            (tmp_path / "a").touch,
            lambda: (tmp_path / "a").rename(tmp_path / "b"),
            (tmp_path / "b").unlink,
        ):
            change()
            await heard.once_more()

    await with_watch([str(tmp_path)], act)


@root_only
async def test_a_namespace_that_is_mounted_and_unmounted_is_heard_although_no_file_changes(world: NsWorld, tmp_path: Path) -> None:
    """inotify does not see either; the mount table does."""
    other = tmp_path / "somewhere-else"
    other.mkdir()
    world.add("pod")

    async def act(_: MountWatch, heard: Heard) -> None:
        world.unmount("pod")
        await heard.once_more()
        await quiet(heard)
        world.add("pod")
        await heard.once_more()

    await with_watch([str(other)], act)


async def test_many_changes_are_told_as_few(tmp_path: Path) -> None:
    async def act(_: MountWatch, heard: Heard) -> None:
        for number in range(500):
            (tmp_path / f"cni-{number}").touch()
        await heard.once_more()
        assert heard.calls <= 3

    await with_watch([str(tmp_path)], act)


async def test_a_directory_that_appears_later_is_watched_from_then_on(tmp_path: Path) -> None:
    late = tmp_path / "netns"

    async def act(watch: MountWatch, heard: Heard) -> None:
        assert watch.unwatched == (str(late),)
        late.mkdir()
        await heard.once_more()  # its parent is watched too; else the next inspection calls rewatch
        assert watch.unwatched == ()
        await quiet(heard)
        (late / "pod").touch()
        await heard.once_more()

    await with_watch([str(tmp_path), str(late)], act)


async def test_a_directory_that_is_replaced_is_watched_anew(tmp_path: Path) -> None:
    directory = tmp_path / "netns"
    directory.mkdir()

    async def act(watch: MountWatch, heard: Heard) -> None:
        directory.rmdir()
        await heard.once_more()
        directory.mkdir()
        watch.rewatch()
        await quiet(heard)
        before = heard.calls
        (directory / "pod").touch()
        while heard.calls == before:
            await heard.once_more()

    await with_watch([str(directory)], act)


async def test_nothing_is_told_after_closing(tmp_path: Path) -> None:
    heard = Heard()
    watch = MountWatch([str(tmp_path)], heard, coalesce_seconds=0)
    watch.start()
    (tmp_path / "a").touch()
    watch.close()
    await quiet(heard)
    assert heard.calls == 0


def test_a_watch_that_never_started_closes_too(tmp_path: Path) -> None:
    MountWatch([str(tmp_path)], lambda: None).close()


async def test_a_table_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MOUNTINFO", str(tmp_path / "missing"))
    opened = descriptors()
    watch = MountWatch([str(tmp_path)], lambda: None)
    with pytest.raises(FileNotFoundError):
        watch.start()
    with suppress(OSError):
        watch.close()
    assert descriptors() == opened
