"""Hears of link, address and route changes, on this node and in the namespaces that a veth of this node leads to.

One netlink socket in our own namespace. With NETLINK_LISTEN_ALL_NSID it also gets what happens in every namespace that has a number
here, so no socket of ours needs to live inside a pod; it keeps none of those namespaces alive.

It tells that something changed and where, never what: content is read anew, so a lost message costs nothing but a needless look.
Needs CAP_NET_BROADCAST for the other namespaces; without it the node's own changes are heard all the same, and `all_namespaces` says so.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SOL_NETLINK: Final = 270
NETLINK_ADD_MEMBERSHIP: Final = 1
NETLINK_LISTEN_ALL_NSID: Final = 8
"""Linux 4.2."""
GROUPS: Final = (1, 5, 7, 9, 11)
"""RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE."""
COALESCE_SECONDS: Final = 0.2
"""A pod that starts makes some twenty messages within this time."""

_RECEIVE_BUFFER_BYTES = 1 << 20
_MAX_MESSAGES_A_TURN = 256
"""Then the event loop gets its turn; what is left makes the socket readable again."""
_SOME_BYTES = 16
"""The content is not looked at; the kernel drops the rest of the message."""
_NSID = struct.Struct("=i")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Where something changed. `nsids` has None for our own namespace, else the numbers of `ip netns list-id`."""

    nsids: frozenset[int | None] = frozenset()
    lost: bool = False
    """The kernel dropped messages: anything may have changed anywhere."""


class Listener:
    """Calls `on_change` soon after changes, many of them as one call. To be started and closed on the event loop's thread."""

    def __init__(self, on_change: Callable[[Change], None], *, coalesce_seconds: float = COALESCE_SECONDS) -> None:
        self._on_change = on_change
        self._coalesce_seconds = coalesce_seconds
        self._sock: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: asyncio.TimerHandle | None = None
        self._nsids: set[int | None] = set()
        self._lost = False
        self.all_namespaces: bool | None = None
        """False: only our own namespace is heard. None before `start`."""
        self.complaint = ""
        """Why not all."""

    def start(self) -> None:
        """OSError if the kernel gives no netlink socket; nothing stays open then."""
        self._sock = self._opened()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._take)

    def close(self) -> None:
        """May be called twice, and before `start`. No call of `on_change` comes after it."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._sock is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _opened(self) -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            # Without a port of its own a socket has number 0, the kernel's own: it would get none of the kernel's messages.
            sock.bind((0, 0))
            self._reach_all(sock)
            for group in GROUPS:
                sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except BaseException:
            sock.close()
            raise
        return sock

    def _reach_all(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        except OSError as error:
            self.all_namespaces = False
            missing = isinstance(error, PermissionError)
            self.complaint = "CAP_NET_BROADCAST is missing" if missing else f"the kernel cannot: {error.strerror}"
        else:
            self.all_namespaces, self.complaint = True, ""

    def _take(self) -> None:
        for _ in range(_MAX_MESSAGES_A_TURN):
            if self._sock is None:
                return
            try:
                _, ancillary, _, _ = self._sock.recvmsg(_SOME_BYTES, socket.CMSG_SPACE(_NSID.size))
            except BlockingIOError:
                return
            except OSError:
                # ENOBUFS, and whatever else: the socket lives on, and nobody knows what was in it.
                self._note(None, lost=True)
                return
            self._note(_nsid(ancillary))

    def _note(self, nsid: int | None, *, lost: bool = False) -> None:
        self._nsids.add(nsid)
        self._lost |= lost
        if self._pending is None and self._loop is not None:
            self._pending = self._loop.call_later(self._coalesce_seconds, self._tell)

    def _tell(self) -> None:
        change = Change(nsids=frozenset(self._nsids), lost=self._lost)
        self._nsids.clear()
        self._lost = False
        self._pending = None
        self._on_change(change)


def _nsid(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID) and len(data) == _NSID.size:
            return int(_NSID.unpack(data)[0])
    return None
