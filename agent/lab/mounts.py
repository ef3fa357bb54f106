"""Mount namespaces of the lab: what a node's host shows, and how a path can be mounted that the machine does not have.

Works only on mounts of the calling process' own, private mount namespace; the machine's folders are never changed.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from agent.lab import kernel

BELOW = ".below"
"""Where a covered folder is still found in the tmpfs that covers it."""


class Mounts:
    """The mounts that one process makes in its own namespace, whose mounts must be private or slaves (not shared) meanwhile."""

    def __init__(self) -> None:
        self._covered: set[Path] = set()

    def cover(self, folder: str) -> None:
        """An empty tmpfs over `folder`."""
        path = Path(os.path.realpath(folder))
        kernel.mount("lhnet-lab", str(path), "tmpfs", data="mode=755")
        self._covered.add(path)

    def ensure_directory(self, path: str) -> str:
        """Makes `path` exist as a place to mount on, and creates nothing in the file system below. Returns it without symbolic links.

        The deepest parent that exists is covered by a tmpfs with a link to each of its entries.
        """
        target = Path(os.path.realpath(path))
        if not target.is_dir():
            parent = next(folder for folder in target.parents if folder.is_dir())
            if not self._ours(parent):
                self._link_over(parent)
            target.mkdir(parents=True)
        return str(target)

    def narrow(self, folder: Path, *, to: str) -> None:
        """Covers a folder that not everybody may enter by one that holds a single entry of it, open to all."""
        tree = kernel.clone_tree(str(folder / to))
        try:
            self.cover(str(folder))
            (folder / to).mkdir()
            kernel.attach_tree(tree, str(folder / to))
        finally:
            os.close(tree)

    def _ours(self, folder: Path) -> bool:
        """Whether a mkdir there stays in a tmpfs of ours: nothing else is mounted between."""
        while folder not in self._covered:
            if os.path.ismount(folder) or folder == folder.parent:
                return False
            folder = folder.parent
        return True

    def _link_over(self, folder: Path) -> None:
        names = os.listdir(folder)
        tree = kernel.clone_tree(str(folder))
        try:
            self.cover(str(folder))
            (folder / BELOW).mkdir()
            kernel.attach_tree(tree, str(folder / BELOW))
        finally:
            os.close(tree)
        for name in names:
            (folder / name).symlink_to(Path(BELOW, name))


def enter_copy() -> None:
    """A mount namespace of our own, cut off from the machine's. Namespaces that somebody mounted there are let go: a copy pins them."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    for point, kind in _mounted():
        if kind == "nsfs":
            with suppress(OSError):  # covered by another mount
                kernel.unmount(point)


def share_within() -> None:
    """Makes every mount a shared one, as systemd leaves a host's, so that copies of this namespace can be its slaves.

    Comes last: before, nothing has two places to appear in.
    """
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_SHARED)


def follow_only() -> None:
    """From here on mounts of the namespace that this one was copied from arrive here, and ours stay here."""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_SLAVE)


def forget(folder: str) -> None:
    """Unmounts everything at and below `folder`."""
    root = Path(os.path.realpath(folder))
    points = [point for point, _ in _mounted() if root in (Path(point), *Path(point).parents)]
    for point in sorted(points, key=len, reverse=True):
        with suppress(OSError):  # it went with one above it
            kernel.unmount(point)


def _mounted() -> list[tuple[str, str]]:
    """Mount points and file system types, in the order of /proc/self/mountinfo."""
    lines = (line.partition(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [(_unescape(left.split()[4]), right.split()[0]) for left, _, right in lines]


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def fresh_sysfs() -> None:
    """/sys as this network namespace sees it, with the machine's cgroups kept (a new sysfs has none)."""
    cgroups = kernel.clone_tree("/sys/fs/cgroup")
    try:
        forget("/sys")
        kernel.mount("sysfs", "/sys", "sysfs")
        kernel.attach_tree(cgroups, "/sys/fs/cgroup")
    finally:
        os.close(cgroups)
