"""After a timeout: does anybody on the segment answer for the address? One ARP question, of IPv6 one Neighbour Solicitation.

The kernel alone needs up to 55 s to notice that a peer it used to know has gone, so `timeout` and `no_route` would look the same.
The question names no sender address, so that no neighbour table learns from us; it is asked once, and never without a token of `Pace`.
Needs CAP_NET_RAW.
"""

import errno
import socket
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from agent.edge.prober_asking import READABLE, Asking, errno_name, lateness
from agent.edge.prober_wire import (
    ARPHRD_ETHER,
    BROADCAST,
    ETH_P_ARP,
    ETH_P_IPV6,
    FilterProgram,
    advertised_mac,
    answer_filter,
    arp_request,
    arp_sender,
    mac_text,
    solicitation,
    solicited_node,
)
from agent.model.net import IPAddress
from agent.model.probe import ProbeResult, Reason

ANSWER_WAIT_SECONDS = 0.5
"""Contract §4."""
SECOND_ANSWER_WAIT_SECONDS = 0.1
"""Two owners of one address answer within milliseconds of each other."""
MAX_MACS = 4
MAX_READS = 32
"""A wake-up; a flood of answers leaves the other probes their turn."""
_READ_BYTES = 256
_SO_ATTACH_FILTER = 26
"""asm-generic/socket.h; also the number on every architecture that Harvester runs on."""


class Pace:
    """At most `per_second` questions a second: a bucket that fills steadily and starts full. Not for several threads."""

    def __init__(self, *, per_second: float) -> None:
        self._per_second = per_second
        self._tokens = float(per_second)
        self._at: float | None = None

    def take(self, *, now: float) -> bool:
        if self._at is not None:
            self._tokens = min(self._per_second, self._tokens + max(0.0, now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class _Words:
    question: str
    protocol: int


_ARP_WORDS = _Words("ARP", ETH_P_ARP)
_ND_WORDS = _Words("ND", ETH_P_IPV6)


def not_asked(unanswered: ProbeResult, why: str) -> ProbeResult:
    """The timeout stays one, and says that nobody asked who is there."""
    return replace(unanswered, detail=_join(unanswered.detail, f"not asked: {why}"))


class NeighbourAsking(Asking):
    """Turns a `timeout` into `no_route` (nobody answers for the address) or into a `timeout` that knows who does."""

    def __init__(self, unanswered: ProbeResult) -> None:
        super().__init__(unanswered.plan)
        self._unanswered = unanswered
        self._words = _ARP_WORDS if self.plan.target_address.version == 4 else _ND_WORDS
        self._macs: list[bytes] = []

    def make(self) -> socket.socket:
        # Protocol 0 hears nothing until it is bound: no packet of another interface can slip in.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        sock.setblocking(False)
        return sock

    def begin(self, now: float) -> None:
        sock, target = self.opened, self.plan.target_address
        program = FilterProgram(answer_filter(target))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program.packed)
        sock.bind((self.plan.interface, self._words.protocol))
        _, _, _, hardware, mac = sock.getsockname()
        if hardware != ARPHRD_ETHER:
            self._leave("the interface is no Ethernet device", now=now)
            return
        packet, destination = _question(target, sender_mac=mac)
        self.deadline = now + ANSWER_WAIT_SECONDS
        self.mask = READABLE
        sock.sendto(packet, (self.plan.interface, self._words.protocol, 0, 0, destination))

    def ready(self, now: float) -> None:
        for _ in range(MAX_READS):
            try:
                packet, sender = self.opened.recvfrom(_READ_BYTES)
            except BlockingIOError:
                return
            self._heard(packet, frame_sender=sender[4], now=now)

    def due(self, *, now: float, late_seconds: float) -> None:
        question = self._words.question
        if self._macs:
            macs = [mac_text(mac) for mac in self._macs]
            who = f"{macs[0]} answers {question}" if len(macs) == 1 else f"{len(macs)} answer {question}: {', '.join(macs)}"
            self._settle(Reason.TIMEOUT, who, now=now, mac=macs[0])
        elif late_seconds:
            self._settle(Reason.NOT_PROBED, lateness(late_seconds), now=now)
        else:
            self._settle(Reason.NO_ROUTE, f"{question} unanswered for {ANSWER_WAIT_SECONDS * 1000:.0f} ms", now=now)

    def fail(self, number: int, *, now: float) -> None:
        missing = " (CAP_NET_RAW is missing)" if number == errno.EPERM else ""
        self._leave(f"{errno_name(number)}{missing}", now=now)

    def keep_out(self, why: str, *, now: float) -> None:
        self._leave(why, now=now)

    def _heard(self, packet: bytes, *, frame_sender: bytes, now: float) -> None:
        target = self.plan.target_address
        if isinstance(target, IPv4Address):
            mac = arp_sender(packet, target=target)
        else:
            mac = advertised_mac(packet, target=target, frame_sender=frame_sender)
        if mac is None or mac in self._macs or len(self._macs) >= MAX_MACS:
            return
        if not self._macs:
            self.deadline = min(self.deadline, now + SECOND_ANSWER_WAIT_SECONDS)
        self._macs.append(mac)

    def _leave(self, why: str, *, now: float) -> None:
        if self.result is None:
            self.result = replace(not_asked(self._unanswered, why), finished_monotonic_seconds=now)
        self.drop()

    def _settle(self, reason: Reason, what: str, *, now: float, mac: str | None = None) -> None:
        if self.result is None:
            detail = what if reason is Reason.NOT_PROBED else _join(self._unanswered.detail, what)
            self.result = replace(self._unanswered, reason=reason, detail=detail, neighbour_mac=mac, finished_monotonic_seconds=now)
        self.drop()


def _question(target: IPAddress, *, sender_mac: bytes) -> tuple[bytes, bytes]:
    """Packet and destination MAC."""
    if isinstance(target, IPv6Address):
        _, group_mac = solicited_node(target)
        return solicitation(target), group_mac
    return arp_request(target, sender_mac=sender_mac), BROADCAST


def _join(first: str | None, second: str) -> str:
    return f"{first}; {second}" if first else second
