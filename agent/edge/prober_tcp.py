"""TCP: does the peer's port accept a connection, and does it keep it for 200 ms? Connect, listen for a reset, part politely.

The end is as important as the answer: shutdown of our side, a short wait for the peer's FIN, close with SO_LINGER 0 (contract §4).
Nothing is sent: the ports belong to Longhorn's gRPC servers.
"""

import errno
import socket
import struct
from abc import abstractmethod
from enum import Enum, auto
from select import EPOLLOUT
from typing import NamedTuple

from agent.edge.prober_asking import (
    NEVER,
    READABLE,
    Asking,
    bind_source,
    connect,
    errno_name,
    family_of,
    lateness,
    pending_error,
    reason_of,
)
from agent.model.probe import ProbePlan, Reason

RESET_WAIT_SECONDS = 0.2
"""A proxy or a process that refuses late resets within this time; a live gRPC server speaks first and ends the wait."""
FIN_WAIT_SECONDS = 0.2
MAX_PARTING_READS = 16
"""A peer that keeps talking after our FIN is not listened to for longer than this many reads."""
_READ_BYTES = 2048

_TCP_INFO_BYTES = 104
_RTT_OFFSET = 68
_TOTAL_RETRANS_OFFSET = 100
"""struct tcp_info of linux/tcp.h: u32 tcpi_rtt in µs, u32 tcpi_total_retrans."""


class Phase(Enum):
    CONNECTING = auto()
    OPEN = auto()
    PARTING = auto()


class KernelView(NamedTuple):
    """What the kernel says of a connection. `rtt_seconds` is None where it has no sample."""

    rtt_seconds: float | None
    retransmits: int


def kernel_view(sock: socket.socket) -> KernelView:
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        (rtt_microseconds,) = struct.unpack_from("=I", info, _RTT_OFFSET)
        (retransmits,) = struct.unpack_from("=I", info, _TOTAL_RETRANS_OFFSET)
    except (OSError, struct.error):
        return KernelView(None, 0)
    return KernelView(rtt_microseconds / 1e6 or None, retransmits)


class Connection(Asking):
    """Connecting and parting, which TCP and HTTP share; what lies between is `connected`, `heard` and `silent`."""

    def __init__(self, plan: ProbePlan) -> None:
        super().__init__(plan)
        self.view = KernelView(None, 0)
        self.began = 0.0
        self.took_seconds = 0.0
        self.peer_finished = False
        self._phase = Phase.CONNECTING
        self._parting_reads = 0

    def make(self) -> socket.socket:
        sock = socket.socket(family_of(self.plan.target_address), socket.SOCK_STREAM)
        sock.setblocking(False)
        return sock

    def begin(self, now: float) -> None:
        self.began = now
        self.deadline = now + self.plan.timeout_seconds
        number = bind_source(self.opened, self.plan)
        if number:
            self.lose(Reason.NO_SOURCE_ADDRESS if number == errno.EADDRNOTAVAIL else Reason.NOT_PROBED, errno_name(number), now=now)
            return
        number = connect(self.opened, self.plan)
        if number in (0, errno.EINPROGRESS):
            self.mask = EPOLLOUT
        else:
            self.lose(reason_of(number), errno_name(number), now=now)

    def ready(self, now: float) -> None:
        if self._phase is Phase.CONNECTING:
            self._while_connecting(now)
        elif self._phase is Phase.OPEN:
            self._while_open(now)
        else:
            self._while_parting()

    def due(self, *, now: float, late_seconds: float) -> None:
        if self._phase is Phase.PARTING:
            self.drop()
        elif self._phase is Phase.OPEN:
            self.silent(now=now, late_seconds=late_seconds)
        else:
            self.give_up(now=now, late_seconds=late_seconds)

    @abstractmethod
    def connected(self, now: float) -> None:
        """The handshake is done: set a deadline, and say something if that is the protocol."""

    @abstractmethod
    def heard(self, data: bytes, *, now: float) -> None:
        """Data of the peer; empty at its FIN."""

    @abstractmethod
    def broken(self, number: int, *, now: float) -> None:
        """The connection ended with an errno."""

    @abstractmethod
    def silent(self, *, now: float, late_seconds: float) -> None:
        """The deadline passed with the connection open."""

    def give_up(self, *, now: float, late_seconds: float) -> None:
        """Nothing came in time."""
        if late_seconds:
            self.lose(Reason.NOT_PROBED, lateness(late_seconds), now=now)
        else:
            self.lose(Reason.TIMEOUT, f"no answer within {self.plan.timeout_seconds:g} s", now=now)

    def lose(self, reason: Reason, detail: str, *, now: float) -> None:
        """End without a success: result and close in one step."""
        self.conclude(reason, now=now, detail=detail, retransmits=kernel_view(self.opened).retransmits)
        self.drop()

    def part(self, *, now: float) -> None:
        """Say goodbye and wait a moment for the peer's; the result is known by now."""
        self._phase = Phase.PARTING
        self.mask = READABLE
        self.deadline = now + FIN_WAIT_SECONDS
        try:
            self.opened.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop()
        if self.peer_finished:
            self.drop()

    def _while_connecting(self, now: float) -> None:
        number = pending_error(self.opened)
        if number:
            self.lose(reason_of(number), errno_name(number), now=now)
            return
        self.took_seconds = now - self.began
        self.view = kernel_view(self.opened)
        self._phase = Phase.OPEN
        self.mask = READABLE
        self.deadline = NEVER
        self.connected(now)

    def _while_open(self, now: float) -> None:
        try:
            data = self.opened.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.broken(error.errno or errno.EIO, now=now)
            return
        self.peer_finished = not data
        self.heard(data, now=now)

    def _while_parting(self) -> None:
        try:
            data = self.opened.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._parting_reads += 1
        if not data or self._parting_reads >= MAX_PARTING_READS:
            self.drop()


class TcpAsking(Connection):
    """`ok` is a connection that was not reset within 200 ms; its latency is the handshake's, not the wait's."""

    def connected(self, now: float) -> None:
        self.deadline = now + RESET_WAIT_SECONDS

    def heard(self, data: bytes, *, now: float) -> None:
        self._alive(now)

    def broken(self, number: int, *, now: float) -> None:
        self.lose(reason_of(number), errno_name(number), now=now)

    def silent(self, *, now: float, late_seconds: float) -> None:
        self._alive(now)

    def _alive(self, now: float) -> None:
        self.conclude(
            Reason.OK,
            now=now,
            rtt_seconds=self.view.rtt_seconds,
            duration_seconds=self.took_seconds,
            retransmits=self.view.retransmits,
        )
        self.part(now=now)
