"""What all questions of the prober have in common: one socket, one deadline, at most one result, and an end that leaves nothing behind.

An asking is passive: the worker (`prober_worker`) tells it that its socket is ready or its time is up, and afterwards reads from its
fields what it waits for next. It never sleeps, never looks at a clock and never judges more than which reason an errno stands for.
"""

import errno
import math
import socket
import struct
from abc import ABC, abstractmethod
from contextlib import suppress
from select import EPOLLIN, EPOLLRDHUP

from agent.model.net import IPAddress
from agent.model.probe import ProbePlan, ProbeResult, Reason

READABLE = EPOLLIN | EPOLLRDHUP
NEVER = math.inf

_IP_BIND_ADDRESS_NO_PORT = 24
"""linux/in.h. Without it bind() reserves a port for every peer of the address, and connect() could not share one."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_REASONS = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.ECONNRESET: Reason.RESET,
    errno.EPIPE: Reason.RESET,
    errno.EHOSTUNREACH: Reason.NO_ROUTE,
    errno.EHOSTDOWN: Reason.NO_ROUTE,
    errno.ETIMEDOUT: Reason.TIMEOUT,
    errno.ENETUNREACH: Reason.NET_UNREACHABLE,
    errno.ENETDOWN: Reason.NET_UNREACHABLE,
    # Blackhole routes answer EINVAL and prohibit routes EACCES (kernel, fib_props and ip6_route_info_create).
    errno.EINVAL: Reason.NET_UNREACHABLE,
    errno.EACCES: Reason.NET_UNREACHABLE,
}


def reason_of(number: int) -> Reason:
    """The reason that an errno of connect(), SO_ERROR or a first send stands for; `not_probed` where it says nothing about the peer."""
    return _REASONS.get(number, Reason.NOT_PROBED)


def errno_name(number: int) -> str:
    return errno.errorcode.get(number, f"errno {number}")


def lateness(late_seconds: float) -> str:
    return f"own thread was late by {late_seconds:.1f} s"


class Asking(ABC):
    """One question about one plan.

    `make` runs inside the pod's namespace and only creates the socket; everything else runs on the worker's thread.
    After each call the worker reads `sock`, `mask` (epoll events wanted), `deadline` (clock seconds), `result` and `finished`.
    A result may be there before the end: the polite close of a connection goes on after it.
    """

    def __init__(self, plan: ProbePlan) -> None:
        self.plan = plan
        self.sock: socket.socket | None = None
        self.mask = 0
        self.deadline = NEVER
        self.result: ProbeResult | None = None
        self.finished = False

    @abstractmethod
    def make(self) -> socket.socket:
        """Create the non-blocking socket in the namespace where the calling thread is. Raises OSError."""

    @abstractmethod
    def begin(self, now: float) -> None:
        """Ask, on `self.sock`. May raise OSError: then `fail` is called."""

    @abstractmethod
    def ready(self, now: float) -> None:
        """The socket has news. May raise OSError: then `fail` is called."""

    @abstractmethod
    def due(self, *, now: float, late_seconds: float) -> None:
        """The deadline has passed; `late_seconds` is above 0 if our own thread was too late for silence to mean anything."""

    @property
    def opened(self) -> socket.socket:
        """The socket; only after the worker has set it."""
        if self.sock is None:
            raise RuntimeError("an asking was used before it had a socket")
        return self.sock

    def fail(self, number: int, *, now: float) -> None:
        """An errno that no phase expected: it says nothing about the peer."""
        self.conclude(Reason.NOT_PROBED, now=now, detail=errno_name(number))
        self.drop()

    def conclude(
        self,
        reason: Reason,
        *,
        now: float,
        detail: str | None = None,
        rtt_seconds: float | None = None,
        duration_seconds: float | None = None,
        retransmits: int = 0,
        body: bytes | None = None,
    ) -> None:
        """Settle the result; the first one counts."""
        if self.result is None:
            self.result = ProbeResult(
                plan=self.plan,
                reason=reason,
                rtt_seconds=rtt_seconds,
                retransmits=retransmits,
                duration_seconds=duration_seconds,
                detail=detail,
                finished_monotonic_seconds=now,
                body=body,
            )

    def keep_out(self, why: str, *, now: float) -> None:
        """There is no socket to ask with."""
        self.abandon(why, now=now)

    def abandon(self, detail: str, *, now: float) -> None:
        """End at once, whatever the phase: the namespace is gone, or nobody waits any more."""
        self.conclude(Reason.NOT_PROBED, now=now, detail=detail)
        self.drop()

    def drop(self) -> None:
        """Close the socket so that the kernel keeps nothing of it."""
        self.finished = True
        self.deadline = NEVER
        if self.sock is not None:
            close_at_once(self.sock)


def close_at_once(sock: socket.socket) -> None:
    """Close without an orphan: a FIN that nobody acknowledges held a pod's namespace for 106 s (contract §4)."""
    if sock.type == socket.SOCK_STREAM:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    with suppress(OSError):
        sock.close()


def family_of(address: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def bind_source(sock: socket.socket, plan: ProbePlan) -> int:
    """Bind the source address only, never the device: the pod's routing decides, as it does for Longhorn. Returns an errno or 0."""
    with suppress(OSError):  # only spares ports
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((str(plan.source_address), 0))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def connect(sock: socket.socket, plan: ProbePlan) -> int:
    """Start connecting; an errno or 0. EINPROGRESS is the usual answer."""
    return sock.connect_ex((str(plan.target_address), plan.port))


def pending_error(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
