"""Asks peers from inside the pods' network namespaces: TCP, HTTP and ping, many at once, without ever blocking the event loop.

asyncio costs 1.5 and aiohttp four to five times the CPU of a plain epoll loop for this work, so one thread does it (`prober_worker`).
It only reports what the kernel and the peer said: which reason is a finding, and after how many, is not decided here.
Entering namespaces needs CAP_SYS_ADMIN; ping, and the ARP or ND question after a timeout, need CAP_NET_RAW.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

from agent.edge.netns import Entrance
from agent.edge.prober_mail import Batch, Cancelled, Mailbox, ProberClosed, ProberError, ProberFailed, Stop, Submitted
from agent.edge.prober_worker import Worker
from agent.model.probe import ProbePlan, ProbeResult

__all__ = ["Prober", "ProberClosed", "ProberError", "ProberFailed"]

OWN_DELAY_SECONDS = 0.5
"""Contract §2, thresholds.own_delay_seconds."""
ARP_QUESTIONS_PER_SECOND = 8
"""Contract §4."""
_JOIN_SECONDS = 5.0

log = logging.getLogger(__name__)


class Prober:
    """One worker thread; `probe` may be called from any event loop, as often at once as one likes.

    `last_delay_seconds` and `max_delay_seconds` tell how late the thread woke, last and worst; `failed` is what it died of, if it did.
    """

    def __init__(
        self,
        *,
        entrance: Entrance,
        own_delay_seconds: float = OWN_DELAY_SECONDS,
        arp_questions_per_second: float = ARP_QUESTIONS_PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failed: BaseException | None = None
        self._mailbox = Mailbox()
        self._worker = Worker(
            entrance=entrance,
            mailbox=self._mailbox,
            clock=clock,
            own_delay_seconds=own_delay_seconds,
            questions_per_second=arp_questions_per_second,
        )
        self._thread = threading.Thread(target=self._work, name="prober", daemon=True)
        self._thread.start()

    @property
    def last_delay_seconds(self) -> float:
        return self._worker.last_delay_seconds

    @property
    def max_delay_seconds(self) -> float:
        """Since the start."""
        return self._worker.max_delay_seconds

    async def probe(self, plans: Sequence[ProbePlan]) -> list[ProbeResult]:
        """Ask all of `plans`; results in their order, each with a reason, whatever happens to a single one.

        A plan's timeout begins when it is asked, not while it waits for a free place. If the caller is cancelled, its sockets are closed.
        Raises ProberClosed after `close`, ProberFailed if the thread died.
        """
        if not plans:
            return []
        batch = Batch(plans, loop=asyncio.get_running_loop())
        if not self._mailbox.put(Submitted(batch)):
            raise self._why_not()
        try:
            return await batch.future
        except asyncio.CancelledError:
            batch.cancelled = True
            self._mailbox.put(Cancelled(batch))
            raise

    def close(self) -> None:
        """Close all sockets and end the thread; who still waits gets ProberClosed. May be called twice."""
        self._mailbox.put(Stop())
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_SECONDS)

    def _why_not(self) -> ProberError:
        if self.failed is None:
            return ProberClosed("the prober is closed")
        error = ProberFailed(f"the prober's thread died: {type(self.failed).__name__}: {self.failed}")
        error.__cause__ = self.failed
        return error

    def _work(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:  # noted in `failed` and told to all who wait: a dead thread must be loud
            self.failed = error
            log.critical("the prober's thread died", exc_info=error)
        finally:
            self._worker.shut(self._why_not())
