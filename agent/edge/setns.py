"""The system calls behind network namespaces: opening the file, setns, and the cookie that tells one namespace from another.

Python 3.11 has no os.setns, hence ctypes. Nothing here decides when to enter or on which thread: that is netns.Entrance alone,
and nobody else may call `enter`.

    NamespaceError
    ├── NamespaceGone        the file vanished, is stale, or names another namespace now
    ├── NamespaceDenied      the kernel refuses to let us in: CAP_SYS_ADMIN is missing
    ├── NamespaceTimeout     no answer in time: says something about this node, nothing about the namespace
    └── NamespaceUnreadable  anything else: permissions of the file, no descriptors left, …
"""

import ctypes
import errno
import os
import socket
import sys
from fcntl import ioctl

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703
"""linux/nsfs.h, since 4.11."""
SO_NETNS_COOKIE = 71
"""asm-generic/socket.h, since 5.14."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(Exception):
    """`path` is the file, `reason` a clause for people, without the path."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class NamespaceGone(NamespaceError):
    """What the file named is not there any more; a new scan tells what is."""


class NamespaceDenied(NamespaceError):
    """The kernel refused: a missing capability of ours, not a fault of the namespace."""


class NamespaceTimeout(NamespaceError):
    """No answer within the time given."""


class NamespaceUnreadable(NamespaceError):
    """The file is there, but we could not use it."""


def cookie_here() -> int | None:
    """SO_NETNS_COOKIE of the calling thread's namespace; None before Linux 5.14. No address family need be set up for a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return cookie_of(probe)


def cookie_of(sock: socket.socket) -> int | None:
    """SO_NETNS_COOKIE of the namespace that `sock` lives in; None before Linux 5.14."""
    try:
        value = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return None
        raise
    return int.from_bytes(value, sys.byteorder)


def open_namespace(path: str) -> int:
    """A descriptor of the network namespace at `path`. Does not block on a FIFO; the caller closes it."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NamespaceGone(path, "the file is gone") from error
        raise NamespaceUnreadable(path, f"cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise NamespaceUnreadable(path, f"cannot be opened: {error}") from error
    try:
        kind = ioctl(descriptor, NS_GET_NSTYPE)
    except OSError as error:
        os.close(descriptor)
        raise NamespaceGone(path, "not a namespace (what remains after an unmount, or a file of another kind)") from error
    if kind != CLONE_NEWNET:
        os.close(descriptor)
        raise NamespaceGone(path, "a namespace, but not a network namespace")
    return descriptor


def open_home() -> int:
    """A descriptor of the calling thread's own network namespace; the caller closes it."""
    return os.open("/proc/thread-self/ns/net", _FLAGS)


def enter(descriptor: int) -> None:
    """Put the calling thread into another network namespace. OSError as the kernel says. Needs CAP_SYS_ADMIN."""
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
