"""Processes of the cluster, each in the namespaces and the cgroup that it belongs to, and none of them able to outlive the cluster.

A node has a PID namespace: when its first process ends, the kernel ends containerd, the shims and every container with it. Network and
mount namespaces have no names and go with their last process. Only cgroups and files are left then, and `remove` takes those away.
Called from the main thread alone, as the parent-death signal follows the thread.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.lab import kernel

CLONE_NEWPID = 0x2000_0000
CGROUPS = Path("/sys/fs/cgroup")
HOST = "host"
"""The leaf in which the nodes' own processes live: containers get cgroups beside it (v2) or below it (v1)."""
REMOVE_SECONDS = 60.0
STOP_SECONDS = 10.0


class ConfineError(Exception):
    """Something of a cluster that ended is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a process runs; None: where the caller does. `cgroups` are folders whose member it becomes."""

    netns: int | None = None
    mount: int | None = None
    pids: int | None = None
    cgroups: tuple[Path, ...] = ()


def start(
    argv: Sequence[str],
    *,
    log: Path,
    place: Place,
    first: bool = False,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts a program that dies with us. `first`: as the first process of a new PID namespace. Raises OSError."""

    def enter() -> None:
        kernel.die_with_parent()
        for folder in place.cgroups:
            with suppress(OSError):  # a controller that takes no processes here is no reason to do without the others
                (folder / "cgroup.procs").write_text("0")
        if place.netns is not None:
            kernel.setns(place.netns, kernel.CLONE_NEWNET)
        if place.mount is not None:
            kernel.setns(place.mount, kernel.CLONE_NEWNS)

    with log.open("ab") as sink, _children_in(place.pids, fresh=first):
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=None if environ is None else dict(environ),
            pass_fds=tuple(pass_fds),
            preexec_fn=enter,  # noqa: PLW1509  # system calls only; no other thread of ours holds a lock that they need
            start_new_session=True,
            cwd="/",
        )


def stop(*processes: subprocess.Popen[bytes] | None) -> None:
    """SIGKILL, and gone when this returns. The first process of a PID namespace only ends when all others of it were waited for."""
    alive = [process for process in processes if process is not None]
    for process in alive:
        with suppress(ProcessLookupError):
            process.kill()
    for process in reversed(alive):
        process.wait(STOP_SECONDS)


@contextmanager
def _children_in(pids: int | None, *, fresh: bool) -> Iterator[None]:
    """Children forked in the block get another PID namespace. The caller itself stays in its own: a process cannot move."""
    if pids is None and not fresh:
        yield
        return
    here = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if pids is None:
            kernel.unshare(CLONE_NEWPID)
        else:
            kernel.setns(pids, CLONE_NEWPID)
        try:
            yield
        finally:
            kernel.setns(here, CLONE_NEWPID)
    finally:
        os.close(here)


def make_cgroups(name: str) -> tuple[Path, ...]:
    """A cgroup of that name below our own in each hierarchy, and the leaf `host` in it. Returns the leaves."""
    leaves = []
    for parent in _own_cgroups():
        folder = parent / name
        with suppress(OSError):  # a hierarchy that is not mounted or read-only: its controller is not used
            folder.mkdir(exist_ok=True)
            _inherit_cpuset(folder)
            (folder / HOST).mkdir(exist_ok=True)
            _inherit_cpuset(folder / HOST)
            leaves.append(folder / HOST)
    return tuple(leaves)


def members(name: str) -> list[int]:
    """Processes in the cgroups of that name."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"/{name}/" in (process / "cgroup").read_text():
                found.append(int(process.name))
    return found


def remove_cgroups(name: str) -> list[Path]:
    """Removes the cgroups of a cluster that ended. Returns what could not be removed in time."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while True:
        left = [folder for parent in _all_hierarchies() for folder in _below(parent, name)]
        for folder in left:
            with suppress(OSError):  # a process in it is still ending
                folder.rmdir()
        left = [folder for folder in left if folder.is_dir()]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def remove_folder(folder: Path) -> None:
    """Removes a cluster's files, but never through a mount."""
    if any(f" {folder}" in line for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        raise ConfineError(f"{folder} has something mounted in it")
    deadline = time.monotonic() + REMOVE_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)  # what ended just now may still have been writing
        if folder.exists():
            time.sleep(0.05)


def _own_cgroups() -> Iterator[Path]:
    """Our cgroup in each hierarchy, v1 and v2 alike."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        yield _hierarchy(controllers) / path.lstrip("/")


def _all_hierarchies() -> Iterator[Path]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        yield _hierarchy(line.split(":", 2)[1])


def _hierarchy(controllers: str) -> Path:
    if controllers:
        return CGROUPS / controllers.removeprefix("name=")
    return CGROUPS / "unified" if (CGROUPS / "unified").is_dir() else CGROUPS


def _below(hierarchy: Path, name: str) -> list[Path]:
    """The cgroup of that name wherever it lies in the hierarchy, and all in it, deepest first."""
    return [Path(folder) for folder, _, _ in os.walk(hierarchy, topdown=False) if name in Path(folder).parts]


def _inherit_cpuset(folder: Path) -> None:
    """A cpuset of cgroup v1 takes no process before somebody has given it processors and memory."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        with suppress(OSError):
            if not (folder / name).read_text().strip():
                (folder / name).write_text((folder.parent / name).read_text())
