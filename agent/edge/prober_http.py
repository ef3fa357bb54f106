"""HTTP: does anything at that address and port speak HTTP, and what does it say? One GET with HTTP/1.1 over its own connection.

Whatever the status, a valid status line is an answer. The peer may be anybody: it gets one deadline for everything, and no more than
1 kB of its head and 1 kB of its body is kept. No redirects, no chunks, no TLS, no reuse.
"""

import errno
import re

from agent.edge.prober_asking import errno_name, reason_of
from agent.edge.prober_tcp import Connection
from agent.model.probe import ProbePlan, Reason

MAX_HEAD_BYTES = 1024
MAX_BODY_BYTES = 1024
"""The responder's identity is some 200 bytes."""
_PREFIX = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r?\n", re.IGNORECASE)
_ENCODED = re.compile(rb"\ntransfer-encoding:", re.IGNORECASE)
_PATH = re.compile(r"/[\x21-\x7e]*", re.ASCII)
_SHOWN_BYTES = 24


def valid_path(path: str) -> bool:
    """It can stand in a request line: begins with a slash, printable ASCII, no blanks, not longer than a status line may be."""
    return len(path) <= MAX_HEAD_BYTES and _PATH.fullmatch(path) is not None


def request_for(plan: ProbePlan) -> bytes:
    host = f"[{plan.target_address}]" if plan.target_address.version == 6 else str(plan.target_address)
    lines = (
        f"GET {plan.http_path} HTTP/1.1",
        f"Host: {host}:{plan.port}",
        "User-Agent: lhnet-agent",
        "Accept: */*",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


class HttpAsking(Connection):
    """`ok` with detail "HTTP 404" and the like; `http_status` if the answer is not HTTP; `reset` if it ends before a status line."""

    def __init__(self, plan: ProbePlan) -> None:
        super().__init__(plan)
        self._received = bytearray()
        self._status: str | None = None
        self._head_bytes = 0

    def connected(self, now: float) -> None:
        self.deadline = self.began + self.plan.timeout_seconds
        try:
            self.opened.send(request_for(self.plan))
        except OSError as error:
            self.broken(error.errno or errno.EIO, now=now)

    def heard(self, data: bytes, *, now: float) -> None:
        self._received += data
        if self._status is None and not self._read_status(now):
            return
        self._read_rest(now)

    def broken(self, number: int, *, now: float) -> None:
        if self._status is None:
            self.lose(reason_of(number), errno_name(number), now=now)
        else:
            self._answered(None, now=now)

    def silent(self, *, now: float, late_seconds: float) -> None:
        if self._status is None:
            self.give_up(now=now, late_seconds=late_seconds)
        else:
            self._answered(None, now=now)

    def _read_status(self, now: float) -> bool:
        """True once the status line is there; otherwise waits on, or ends the probe."""
        received = bytes(self._received)
        found = _STATUS_LINE.match(received)
        if found and found.end() <= MAX_HEAD_BYTES:
            self._status = f"HTTP {found[1].decode('ascii')}"
            self.took_seconds = now - self.began
        elif not received.startswith(_PREFIX[: len(received)]) or b"\n" in received or len(received) > MAX_HEAD_BYTES:
            self.lose(Reason.HTTP_STATUS, f"the answer is not HTTP: {received[:_SHOWN_BYTES]!r}", now=now)
        elif self.peer_finished:
            self.lose(Reason.RESET, "closed before a status line", now=now)
        return self._status is not None

    def _read_rest(self, now: float) -> None:
        if not self._head_bytes:
            end = _HEAD_END.search(self._received, 0, MAX_HEAD_BYTES)
            if end:
                self._head_bytes = end.end()
            elif self.peer_finished or len(self._received) >= MAX_HEAD_BYTES:
                self._answered(None, now=now)
                return
            else:
                return
        head, body = bytes(self._received[: self._head_bytes]), bytes(self._received[self._head_bytes :])
        stated = _LENGTH.search(head)
        length = int(stated[1]) if stated else None
        if _ENCODED.search(head) or (length or 0) > MAX_BODY_BYTES or len(body) > MAX_BODY_BYTES:
            self._answered(None, now=now)
        elif length is not None and len(body) >= length:
            self._answered(body[:length], now=now)
        elif self.peer_finished:
            self._answered(body if length is None else None, now=now)

    def _answered(self, body: bytes | None, *, now: float) -> None:
        self.conclude(
            Reason.OK,
            now=now,
            detail=self._status,
            rtt_seconds=self.view.rtt_seconds,
            duration_seconds=self.took_seconds,
            retransmits=self.view.retransmits,
            body=body,
        )
        self.part(now=now)
