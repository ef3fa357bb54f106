"""Finding the network namespaces in a folder where much else looks like one."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nsworld import NsWorld, descriptors, needs_namespaces, nsworld

from agent.edge import netns
from agent.edge.netns import Entrance, ScanResult, cookie_here, scan

pytestmark = needs_namespaces
PATIENCE = 60

forks: list[int] = []
os.register_at_fork(before=lambda: forks.append(os.getpid()))


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


def reasons(result: ScanResult) -> dict[str, str]:
    return {Path(path).name: reason for path, reason in result.skipped}


def test_look_alikes_are_skipped_each_with_its_reason(world: NsWorld, entrance: Entrance, tmp_path: Path) -> None:
    world.add("cni-1", "cni-2")
    (world.directory / "a-directory").mkdir()
    os.mkfifo(world.directory / "a-fifo")
    (world.directory / "stale").touch()
    (world.directory / "dangling").symlink_to(tmp_path / "nowhere")
    (world.directory / "loop").symlink_to(world.directory / "loop")
    (world.directory / "alias").symlink_to(world.directory / "cni-2")
    (world.directory / "own-mnt").symlink_to("/proc/self/ns/mnt")
    world.add_mount_namespace("mnt")
    world.bind("cni-1", "cni-1-again")
    (world.directory / "big").write_bytes(b"x" * 4096)
    os.close(os.open(os.fsencode(world.directory) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY, 0o644))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(world.directory / "a-socket"))
        result = look(world, entrance)

    assert [Path(file.path).name for file in result.files] == ["cni-1", "cni-2"]
    assert reasons(result) == {
        "a-directory": "a directory",
        "a-fifo": "a pipe, socket or device",
        "a-socket": "a pipe, socket or device",
        "stale": "not a namespace (what remains after an unmount, or a file of another kind)",
        "big": "not a namespace (what remains after an unmount, or a file of another kind)",
        "dangling": "the file is gone, or a dangling symlink",
        "loop": "no access: Too many levels of symbolic links",
        "alias": f"the same namespace as {world.directory / 'cni-2'}",
        "cni-1-again": f"the same namespace as {world.directory / 'cni-1'}",
        "mnt": "a namespace, but not a network namespace",
        "own-mnt": "a namespace, but not a network namespace",
        "\\udcff\\udcfe": "the name is not UTF-8",
    }
    assert result.denied == 0


def test_a_symlink_to_a_namespace_elsewhere_counts_as_one(world: NsWorld, entrance: Entrance, tmp_path: Path) -> None:
    with nsworld(tmp_path / "elsewhere") as elsewhere:
        target = elsewhere.add("pod")
        (world.directory / "link").symlink_to(target)
        (file,) = look(world, entrance).files
        assert file.path == str(world.directory / "link")
        both = scan([str(world.directory), str(elsewhere.directory)], entrance).result(PATIENCE)
        assert len(both.files) == 1


def test_a_directory_that_is_missing_is_said_and_does_not_spoil_the_other(world: NsWorld, entrance: Entrance, tmp_path: Path) -> None:
    world.add("pod")
    missing, file = str(tmp_path / "missing"), str(tmp_path / "file")
    Path(file).touch()
    result = scan([missing, file, str(world.directory), str(world.directory), "with\0zero"], entrance).result(PATIENCE)

    assert [Path(found.path).name for found in result.files] == ["pod"]
    assert result.missing == (missing, file, "with\0zero")
    assert dict(result.skipped)[missing] == "cannot be listed: No such file or directory"
    assert dict(result.skipped)[file] == "cannot be listed: Not a directory"
    assert result.barred == ()


def test_an_empty_directory_is_empty_not_missing(world: NsWorld, entrance: Entrance) -> None:
    assert look(world, entrance) == ScanResult()


def test_a_file_that_vanishes_after_the_listing_is_skipped(world: NsWorld, entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add("pod")
    listed = netns._list

    def list_then_lose(directory: str) -> tuple[list[str], str]:
        found = listed(directory)
        world.remove("pod")
        return found

    monkeypatch.setattr(netns, "_list", list_then_lose)
    assert reasons(look(world, entrance)) == {"pod": "the file is gone, or a dangling symlink"}


def test_a_directory_without_end_is_not_read_to_its_end(world: NsWorld, entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "MAX_ENTRIES", 3)
    for number in range(10):
        (world.directory / f"file-{number}").touch()
    result = look(world, entrance)

    assert len(result.skipped) == 4
    assert dict(result.skipped)[str(world.directory)] == "more than 3 entries: the others were not looked at"
    assert result.missing == ()


def test_a_hundred_namespaces_in_one_scan_without_a_fork_or_a_leak(world: NsWorld, entrance: Entrance) -> None:
    names = [f"cni-{number:03}" for number in range(100)]
    world.add(*names)
    forked, opened, children = len(forks), descriptors(), psutil.Process().children()
    result = look(world, entrance)
    made = [entrance.call(file, cookie_here).result(PATIENCE) for file in result.files]

    assert [Path(file.path).name for file in result.files] == names
    assert made == [file.cookie for file in result.files]
    assert len(set(made)) == 100
    assert result.skipped == ()
    assert len(forks) == forked
    assert psutil.Process().children() == children
    assert descriptors() == opened
