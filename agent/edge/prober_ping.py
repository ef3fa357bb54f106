"""Ping: one ICMP echo after a failed TCP probe. Does anything answer for the address at all? Never a reason to call a peer healthy:
bound to the device, an IPv4 echo goes out even where the pod has no route.

The raw socket is bound to the device and the source address, filtered in the kernel to echo replies and connected to the target, so that
a ping storm on the node does not wake us. Needs CAP_NET_RAW; without it the answer is `not_probed`.
"""

import errno
import itertools
import os
import secrets
import socket
import struct

from agent.edge.prober_asking import READABLE, Asking, errno_name, family_of, lateness, reason_of
from agent.edge.prober_wire import TOKEN_BYTES, echo_request, is_echo_reply
from agent.model.probe import ProbePlan, Reason

MAX_WAIT_SECONDS = 1.0
"""It is asked after a probe that already waited; what takes a segment longer than this is no answer."""
MAX_READS = 32
_READ_BYTES = 2048
_SOL_RAW, _ICMP_FILTER = 255, 1
_ICMPV6_FILTER = 1
"""linux/icmp.h and linux/icmpv6.h: a set bit keeps that type away."""
_IP_RECVERR, _IPV6_RECVERR = 11, 25
"""linux/in.h and in6.h. Without them a raw socket hears nothing of "host unreachable"."""
_ONLY_ECHO_REPLY = struct.pack("=I", 0xFFFFFFFF ^ (1 << 0))
_ONLY_ECHO_REPLY_V6 = struct.pack("=8I", *(0xFFFFFFFF ^ (1 << 1 if word == 129 // 32 else 0) for word in range(8)))

_sequences = itertools.count(int.from_bytes(os.urandom(2), "big"))


class PingAsking(Asking):
    def __init__(self, plan: ProbePlan) -> None:
        super().__init__(plan)
        number = next(_sequences)
        self._identity = {"identifier": (number >> 16) & 0xFFFF ^ os.getpid() & 0xFFFF, "sequence": number & 0xFFFF}
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._began = 0.0

    def make(self) -> socket.socket:
        version = self.plan.target_address.version
        protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
        sock = socket.socket(family_of(self.plan.target_address), socket.SOCK_RAW, protocol)
        sock.setblocking(False)
        return sock

    def begin(self, now: float) -> None:
        sock, plan, version = self.opened, self.plan, self.plan.target_address.version
        if version == 4:
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, _ONLY_ECHO_REPLY)
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, _ONLY_ECHO_REPLY_V6)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, plan.interface.encode() + b"\0")
        try:
            sock.bind((str(plan.source_address), 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            self._end(Reason.NO_SOURCE_ADDRESS, errno_name(errno.EADDRNOTAVAIL), now=now)
            return
        self._began = now
        self.deadline = now + min(plan.timeout_seconds, MAX_WAIT_SECONDS)
        self.mask = READABLE
        try:
            sock.connect((str(plan.target_address), 0))
            sock.send(echo_request(version, token=self._token, **self._identity))
        except OSError as error:
            self._failed(error.errno or errno.EIO, now=now)

    def ready(self, now: float) -> None:
        version = self.plan.target_address.version
        for _ in range(MAX_READS):
            try:
                packet = self.opened.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error.errno or errno.EIO, now=now)
                return
            if is_echo_reply(packet, version=version, token=self._token, **self._identity):
                took_seconds = now - self._began
                self.conclude(Reason.OK, now=now, rtt_seconds=took_seconds, duration_seconds=took_seconds)
                self.drop()
                return

    def due(self, *, now: float, late_seconds: float) -> None:
        if late_seconds:
            self._end(Reason.NOT_PROBED, lateness(late_seconds), now=now)
        else:
            self._end(Reason.TIMEOUT, f"no echo within {min(self.plan.timeout_seconds, MAX_WAIT_SECONDS):g} s", now=now)

    def fail(self, number: int, *, now: float) -> None:
        missing = " (CAP_NET_RAW is missing)" if number == errno.EPERM else ""
        self._end(Reason.NOT_PROBED, f"{errno_name(number)}{missing}", now=now)

    def _failed(self, number: int, *, now: float) -> None:
        """The kernel's word on the way to the peer, or an ICMP error."""
        self._end(reason_of(number), errno_name(number), now=now)

    def _end(self, reason: Reason, detail: str, *, now: float) -> None:
        self.conclude(reason, now=now, detail=detail)
        self.drop()
