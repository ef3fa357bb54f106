"""How mounts reach us: whether new namespaces under a directory will be seen here, and when any come or go.

Container runtimes bind-mount each pod's namespace onto a file. Where the directory is not a slave or shared mount of ours,
new pods look like empty files and removed ones stay; and an unmount makes no inotify event, only the mount table changes.

Reading and parsing are two functions. Refused here: mounting, and opening any of the files.
"""

import asyncio
import ctypes
import os
import re
import select
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

MOUNTINFO = "/proc/self/mountinfo"
MAX_TABLE_BYTES = 16 << 20
"""A line is some 150 bytes; a node with 250 pods has some thousand."""

Propagation = Literal["shared", "slave", "private"]

_OCTAL = re.compile(r"\\([0-7]{3})")
_DELETED = "//deleted"
"""What the kernel appends to a mount point whose file was removed."""

_IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE, _IN_DELETE_SELF, _IN_MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
_IN_ONLYDIR = 0x01000000
_WATCHED = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_ONLYDIR
_EVENTS_BYTES = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of /proc/PID/mountinfo, proc_pid_mountinfo(5)."""

    path: str
    root: str
    filesystem: str
    """`nsfs` for a namespace."""
    tags: tuple[str, ...] = ()
    """`shared:N`, `master:N`, `propagate_from:N`, `unbindable`; none for a private mount."""

    @property
    def propagation(self) -> Propagation:
        """What happens outside reaches a shared mount and a slave alike; one that is both counts as shared."""
        kinds = {tag.partition(":")[0] for tag in self.tags}
        if "shared" in kinds:
            return "shared"
        return "slave" if "master" in kinds else "private"


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """In the kernel's order; of two mounts on one path the later one is on top. A line that makes no sense is left out."""
    mounts = []
    for line in text.split("\n"):
        before, separator, after = line.partition(" - ")
        fields, filesystem = before.split(" "), after.split(" ")[0]
        if not separator or len(fields) < 6 or not filesystem:
            continue
        mounts.append(Mount(root=_unescaped(fields[3]), path=_unescaped(fields[4]), tags=tuple(fields[6:]), filesystem=filesystem))
    return tuple(mounts)


def read_mounts(table: str = MOUNTINFO) -> tuple[Mount, ...]:
    """Of our own mount namespace. OSError if there is no /proc."""
    with open(table, "rb") as file:
        return parse_mountinfo(os.fsdecode(file.read(MAX_TABLE_BYTES)))


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that holds `path`, which must be free of symlinks."""
    best: Mount | None = None
    for mount in mounts:
        if _holds(mount.path, path) and (best is None or len(mount.path) >= len(best.path)):
            best = mount
    return best


def propagation_of(path: str, *, mounts: Iterable[Mount] | None = None) -> Propagation | None:
    """Of the mount that holds `path` once symlinks are followed (/var/run is one). None if `path` is missing, or the table is."""
    try:
        resolved = os.path.realpath(path, strict=True)
        mount = mount_of(resolved, read_mounts() if mounts is None else mounts)
    except (OSError, ValueError):
        return None
    return mount.propagation if mount else None


def cut_off(paths: Iterable[str]) -> tuple[str, ...]:
    """Those that are there and that no change outside reaches. One that is missing is found missing by whoever lists it."""
    return tuple(path for path in paths if os.path.exists(path) and propagation_of(path) not in ("shared", "slave"))


def namespaces_below(directory: str, mounts: Iterable[Mount]) -> tuple[str, ...]:
    """Paths below `directory` (free of symlinks) on which a namespace of any kind is mounted, each once."""
    inside = (mount.path for mount in mounts if mount.filesystem == "nsfs" and not mount.path.endswith(_DELETED))
    return tuple(dict.fromkeys(path for path in inside if path != directory and _holds(directory, path)))


def _holds(directory: str, path: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


class MountWatch:
    """Calls `on_change` soon after entries of the directories, or any mount of ours, came or went.

    Many events make one call, at most one each `coalesce_seconds`. It tells that something changed, not what: scan again.
    To be made, started and closed on the event loop's thread. Holds three descriptors, none of them of a namespace.
    """

    def __init__(self, dirs: Sequence[str], on_change: Callable[[], None], *, coalesce_seconds: float = 0.1) -> None:
        self._dirs = tuple(dirs)
        self._on_change = on_change
        self._coalesce_seconds = coalesce_seconds
        self._pending: asyncio.TimerHandle | None = None
        self._inotify = -1
        self._table = -1
        self._epoll: select.epoll | None = None
        self.unwatched: tuple[str, ...] = self._dirs
        """Directories that are missing; each change, and `rewatch`, tries again."""

    def start(self) -> None:
        """OSError if the kernel refuses (too many inotify instances, no /proc); nothing stays open then."""
        loop = asyncio.get_running_loop()
        try:
            self._inotify = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
            self._table = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
            # asyncio would wait for readability, which this file always has; an epoll of its own is readable only when the table changed.
            self._epoll = select.epoll()
            self._epoll.register(self._table, select.EPOLLPRI)
            self._epoll.poll(0)
        except OSError:
            self.close()
            raise
        loop.add_reader(self._inotify, self._entries_changed)
        loop.add_reader(self._epoll.fileno(), self._mounts_changed)
        self.rewatch()

    def rewatch(self) -> None:
        """Watch what each directory's name means now. Cheap, and harmless where nothing changed."""
        missing = []
        for directory in self._dirs:
            try:
                _checked(_libc.inotify_add_watch(self._inotify, os.fsencode(directory), _WATCHED))
            except (OSError, ValueError):
                missing.append(directory)
        self.unwatched = tuple(missing)

    def close(self) -> None:
        """May be called twice, and before `start`. No call of `on_change` comes after it."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        loop = _running_loop()
        if self._epoll is not None:
            if loop:
                loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        if self._inotify >= 0:
            if loop:
                loop.remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = -1
        if self._table >= 0:
            os.close(self._table)
            self._table = -1

    def _entries_changed(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._inotify, _EVENTS_BYTES)
        self._soon()

    def _mounts_changed(self) -> None:
        # Usually empty: the kernel counts the change as told once the outer epoll has asked for it.
        if self._epoll is not None:
            self._epoll.poll(0)
        self._soon()

    def _soon(self) -> None:
        if self._pending is None:
            self._pending = asyncio.get_running_loop().call_later(self._coalesce_seconds, self._tell)

    def _tell(self) -> None:
        self._pending = None
        self.rewatch()
        self._on_change()


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
