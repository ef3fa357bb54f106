"""Asks the kernel for the links, addresses, routes, rules and neighbours of one network namespace.

One socket a read: made inside the namespace by the Entrance, closed before the answer is handed out, also after errors.
The questions are asked on two threads of this module's own, not on the event loop: a netlink request sleeps in the kernel
for as long as somebody else holds the rtnl lock (a node that tears down many pods), however non-blocking the socket is.

Refused here: changing anything, keeping sockets, and pyroute2's own sockets: its `netns=` forks, its `fileno=` duplicates the
descriptor, and it drops the flag by which the kernel says that a table changed while it was being read.
"""

import asyncio
import errno
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fcntl import ioctl
from socket import AF_INET, AF_INET6
from typing import Final, Literal, TypeVar

from agent.edge import rtnl
from agent.edge.netns import Entrance, close_result
from agent.edge.setns import NamespaceError, NamespaceTimeout, NamespaceUnreadable
from agent.model.net import Address, Link, NamespaceFacts, NamespaceFile, Neighbour, Route, Rule

Want = Literal["links", "addresses", "routes", "rules", "neighbours"]
ALL: Final[frozenset[Want]] = frozenset({"links", "addresses", "routes", "rules", "neighbours"})
OWN_NAMESPACE = "/proc/self/ns/net"

TIMEOUT_SECONDS = 10.0
"""A read takes some 5 ms; this long only while others hold the rtnl lock."""
MAX_ITEMS = 20_000
"""Of one kind in one namespace: some 20 MiB. A pod has a dozen, a node that speaks BGP some thousands."""
MAX_ATTEMPTS = 5
"""Of one question whose answer changed while the kernel gave it."""
_BUFFER_BYTES = 1 << 17
"""The kernel's largest part of an answer is 32 KiB."""
_WORKERS = 2

_NLMSG_ERROR, _NLMSG_DONE, _NLMSG_OVERRUN = 2, 3, 4
_NLM_F_DUMP_INTR = 0x10
_NLM_F_REQUEST_DUMP = 0x301
_HEADER = struct.Struct("=IHHII")
_SIOCGIFNAME, _SIOCGIFHWADDR, _SIOCGIFMTU = 0x8910, 0x8927, 0x8921
_IFNAMSIZ = 16

_workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="netlink")
Asked = TypeVar("Asked", bound=rtnl.Item)
T = TypeVar("T")


class _Changed(Exception):
    """The table changed while the kernel gave it out: what came is neither the old nor the new one."""


async def read_namespace(
    entrance: Entrance, file: NamespaceFile, *, wants: frozenset[Want] = ALL, timeout_seconds: float = TIMEOUT_SECONDS
) -> NamespaceFacts:
    """What `wants` names, of the namespace of `file`. Raises NamespaceError, never OSError."""
    return await _on_a_worker(file.path, lambda deadline: _in_namespace(entrance, file, deadline, wants=wants), timeout_seconds)


async def read_addresses(entrance: Entrance, file: NamespaceFile, *, timeout_seconds: float = TIMEOUT_SECONDS) -> NamespaceFacts:
    """Addresses, and name, MAC and MTU of the links that have one: a third of the cost of `read_namespace`, to tell whose it is."""
    return await _on_a_worker(file.path, lambda deadline: _in_namespace(entrance, file, deadline, wants=None), timeout_seconds)


async def read_here(*, wants: frozenset[Want] = ALL, timeout_seconds: float = TIMEOUT_SECONDS) -> NamespaceFacts:
    """The same of our own namespace, which is the node's."""

    def read(deadline: float) -> NamespaceFacts:
        with _socket() as sock:
            return _facts(_Conversation(sock, path=OWN_NAMESPACE, deadline=deadline), wants)

    return await _on_a_worker(OWN_NAMESPACE, read, timeout_seconds)


async def _on_a_worker(path: str, read: Callable[[float], T], timeout_seconds: float) -> T:
    """The worker ends by itself at the deadline, so that a cancelled or overdue read closes its socket too."""
    deadline = time.monotonic() + timeout_seconds
    work = asyncio.get_running_loop().run_in_executor(_workers, _sorted, path, read, deadline)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await work
    except TimeoutError as error:
        raise NamespaceTimeout(path, f"not read within {timeout_seconds:g} s") from error


def _sorted(path: str, read: Callable[[float], T], deadline: float) -> T:
    """Every error that a read may end in, as one of ours."""
    try:
        return read(deadline)
    except (NamespaceError, TimeoutError):
        raise
    except _Changed as error:
        raise NamespaceUnreadable(path, f"changed during each of {MAX_ATTEMPTS} readings") from error
    except OSError as error:
        raise NamespaceUnreadable(path, f"netlink: {error.strerror or error}") from error


def _in_namespace(entrance: Entrance, file: NamespaceFile, deadline: float, *, wants: frozenset[Want] | None) -> NamespaceFacts:
    future = entrance.call(file, _socket)
    try:
        made = future.result(_remaining(deadline))
    except TimeoutError:
        _abandon(future)
        raise
    with made as sock:
        conversation = _Conversation(sock, path=file.path, deadline=deadline)
        return _addressed(conversation) if wants is None else _steady(conversation, wants)


def _abandon(future: Future[socket.socket]) -> None:
    if not future.cancel():
        future.add_done_callback(close_result)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)


def _facts(conversation: "_Conversation", wants: frozenset[Want]) -> NamespaceFacts:
    ask = conversation.ask
    both = (AF_INET, AF_INET6)
    return NamespaceFacts(
        links=ask(Link, rtnl.link_request(counters=True)) if "links" in wants else (),
        addresses=ask(Address, rtnl.request(rtnl.RTM_GETADDR, family=0)) if "addresses" in wants else (),
        routes=sum((ask(Route, rtnl.request(rtnl.RTM_GETROUTE, family=f), family=f) for f in both), ()) if "routes" in wants else (),
        rules=sum((ask(Rule, rtnl.request(rtnl.RTM_GETRULE, family=f), family=f) for f in both), ()) if "rules" in wants else (),
        neighbours=ask(Neighbour, rtnl.request(rtnl.RTM_GETNEIGH, family=0)) if "neighbours" in wants else (),
    )


def _steady(conversation: "_Conversation", wants: frozenset[Want]) -> NamespaceFacts:
    """All tables as of one moment: a link that went down between two questions would be seen up and without its routes."""
    again = wants & {"links", "addresses"}
    for _ in range(MAX_ATTEMPTS):
        facts = _facts(conversation, wants)
        if len(wants) == 1 or _standing(facts) == _standing(_facts(conversation, again)):
            return facts
    raise _Changed


def _standing(facts: NamespaceFacts) -> tuple[object, ...]:
    """Links and addresses without what counts on by itself."""
    return (*((link.index, link.name, link.mac, link.mtu_bytes, link.up, link.carrier) for link in facts.links), *facts.addresses)


def _addressed(conversation: "_Conversation") -> NamespaceFacts:
    addresses = conversation.ask(Address, rtnl.request(rtnl.RTM_GETADDR, family=0))
    indexes = dict.fromkeys(address.link_index for address in addresses)
    links = (_named(conversation.sock, index) for index in indexes)
    return NamespaceFacts(addresses=addresses, links=tuple(link for link in links if link is not None))


def _named(sock: socket.socket, index: int) -> Link | None:
    """By ioctl, as messages about links are the longest of all. None if the link went away just now."""
    try:
        name = ioctl(sock, _SIOCGIFNAME, struct.pack("=16si20x", b"", index))[:_IFNAMSIZ]
        hardware = ioctl(sock, _SIOCGIFHWADDR, name + bytes(24))[_IFNAMSIZ:]
        (mtu_bytes,) = struct.unpack_from("=i", ioctl(sock, _SIOCGIFMTU, name + bytes(24)), _IFNAMSIZ)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENXIO):
            return None
        raise
    (device_type,) = struct.unpack_from("=H", hardware)
    return Link(
        index=index,
        name=name.partition(b"\0")[0].decode(errors="backslashreplace"),
        mac=hardware[2:8].hex(":") if device_type in rtnl.WITH_MAC else None,
        mtu_bytes=mtu_bytes,
    )


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


@dataclass(slots=True, kw_only=True)
class _Answer:
    """One dump as it comes in."""

    items: list[rtnl.Item] = field(default_factory=list)
    changed: bool = False


class _Conversation:
    """Questions and answers on one socket. Blocks; for a worker thread."""

    def __init__(self, sock: socket.socket, *, path: str, deadline: float) -> None:
        self.sock = sock
        self._path = path
        self._deadline = deadline
        self._sequence = 0

    def ask(self, kind: type[Asked], request: tuple[int, bytes], *, family: int = 0) -> tuple[Asked, ...]:
        """All items of a kind. Asks again, a bounded number of times, if the table changed meanwhile."""
        for _ in range(MAX_ATTEMPTS):
            answer = self._dump(request, family)
            if not answer.changed:
                return tuple(item for item in answer.items if isinstance(item, kind))
        raise _Changed

    def _dump(self, request: tuple[int, bytes], family: int) -> _Answer:
        message_type, body = request
        self._sequence += 1
        self.sock.settimeout(_remaining(self._deadline))
        self.sock.send(_HEADER.pack(_HEADER.size + len(body), message_type, _NLM_F_REQUEST_DUMP, self._sequence, 0) + body)
        answer = _Answer()
        while not self._take(answer, family):
            if len(answer.items) > MAX_ITEMS:
                raise NamespaceUnreadable(self._path, f"more than {MAX_ITEMS} {type(answer.items[0]).__name__.lower()} entries")
        return answer

    def _take(self, answer: _Answer, family: int) -> bool:
        """Read the next part of the answer; whether it was the last."""
        self.sock.settimeout(_remaining(self._deadline))
        data, _, flags, sender = self.sock.recvmsg(_BUFFER_BYTES)
        if sender[0] != 0:  # not the kernel
            return False
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, "an answer longer than the kernel makes them")
        end, done, changed = _control(data, self._sequence)
        answer.changed |= changed
        try:
            answer.items += rtnl.decode(data[:end], family=family)
        except Exception as error:  # pyroute2 raises what it likes for a message that it does not understand
            raise NamespaceUnreadable(self._path, f"netlink: an answer that makes no sense ({error!r})") from error
        return done


def _control(data: bytes, sequence: int) -> tuple[int, bool, bool]:
    """How far the entries go, whether this part ends the answer, and whether the kernel says that the table changed.

    OSError if the kernel reports one.
    """
    offset, changed = 0, False
    while offset + _HEADER.size <= len(data):
        length, message_type, flags, number, _ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset or number != sequence:
            raise OSError(errno.EBADMSG, "a malformed message")
        changed = changed or bool(flags & _NLM_F_DUMP_INTR)
        if message_type == _NLMSG_OVERRUN:
            raise OSError(errno.ENOBUFS, "messages were lost")
        if message_type in (_NLMSG_ERROR, _NLMSG_DONE):
            # Of a dump, either ends it; what follows the header begins with zero or a negative error number.
            code = -struct.unpack_from("=i", data, offset + _HEADER.size)[0] if length >= _HEADER.size + 4 else 0
            if code and code != errno.EOPNOTSUPP:
                raise OSError(code, f"error {code} of the kernel")
            return offset, True, changed
        offset += (length + 3) & ~3
    return offset, False, changed
