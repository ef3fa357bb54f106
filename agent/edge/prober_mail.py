"""What crosses the border between the prober's thread and the others: batches of plans in, sockets in, results out.

A mailbox that is closed takes nothing more and says so, since a socket that nobody reads from the mail would stay open in a pod.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from socket import socket

from agent.edge.prober_asking import NEVER, Asking, close_at_once
from agent.model.probe import ProbePlan, ProbeResult


class ProberError(Exception):
    """ProberError
    ├── ProberClosed    the agent is stopping
    └── ProberFailed    the thread died of its own fault; the original is the cause
    """


class ProberClosed(ProberError):
    pass


class ProberFailed(ProberError):
    pass


class Batch:
    """One call of `Prober.probe`: its plans, the results so far, and where to send them."""

    def __init__(self, plans: Sequence[ProbePlan], *, loop: asyncio.AbstractEventLoop) -> None:
        self.plans = tuple(plans)
        self.loop = loop
        self.future: asyncio.Future[list[ProbeResult]] = loop.create_future()
        self.cancelled = False
        self._results: dict[int, ProbeResult] = {}

    def put(self, index: int, result: ProbeResult) -> None:
        self._results[index] = result

    @property
    def complete(self) -> bool:
        return len(self._results) == len(self.plans)

    def finish(self) -> None:
        """Only on the loop's own thread."""
        if not self.future.done():
            self.future.set_result([self._results[index] for index in range(len(self.plans))])

    def fail(self, error: BaseException) -> None:
        """From any thread."""

        def tell() -> None:
            if not self.future.done():
                self.future.set_exception(error)

        with suppress(RuntimeError):  # a loop that is closed has nobody waiting
            self.loop.call_soon_threadsafe(tell)


@dataclass(eq=False, slots=True)
class Flight:
    """One plan of a batch on its way. `expires` is when its socket must have come; afterwards the asking's own deadline counts.

    The last three are what epoll and the timers were told.
    """

    batch: Batch
    index: int
    asking: Asking
    expires: float | None = None
    delivered: bool = False
    descriptor: int = -1
    mask: int = 0
    timer: float = NEVER

    @property
    def plan(self) -> ProbePlan:
        return self.asking.plan

    @property
    def deadline(self) -> float:
        return self.asking.deadline if self.expires is None else self.expires


Made = list[socket | OSError]
"""One a flight, in order."""


@dataclass(frozen=True, slots=True)
class Submitted:
    batch: Batch


@dataclass(frozen=True, slots=True)
class Cancelled:
    batch: Batch


@dataclass(frozen=True, slots=True)
class Arrived:
    """A namespace was entered, or could not be."""

    flights: Sequence[Flight]
    future: Future[Made]


@dataclass(frozen=True, slots=True)
class Stop:
    pass


Mail = Submitted | Cancelled | Arrived | Stop


@dataclass(slots=True)
class Mailbox:
    """Many writers, one reader that sleeps in epoll on `descriptor`."""

    descriptor: int = field(default_factory=lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
    _mail: deque[Mail] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def put(self, mail: Mail) -> bool:
        """False if the mailbox is closed: the caller keeps what it wanted to send."""
        with self._lock:
            if self._closed:
                return False
            self._mail.append(mail)
            os.eventfd_write(self.descriptor, 1)
            return True

    def take(self) -> list[Mail]:
        with self._lock:
            if self._closed:
                return []
            with suppress(BlockingIOError):
                os.eventfd_read(self.descriptor)
            mail = list(self._mail)
            self._mail.clear()
            return mail

    def close(self) -> list[Mail]:
        """Take no more; returns what was not read."""
        with self._lock:
            if self._closed:
                return []
            self._closed = True
            os.close(self.descriptor)
            mail = list(self._mail)
            self._mail.clear()
            return mail


def close_made(future: Future[Made]) -> None:
    """Sockets for which nobody waits any more."""
    if future.cancelled() or future.exception() is not None:
        return
    for made in future.result():
        if isinstance(made, socket):
            close_at_once(made)
