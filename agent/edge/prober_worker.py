"""The prober's thread: one epoll loop that keeps up to 256 probes in flight and tells silence of a peer from slowness of our own.

In each turn the kernel's news come first, then new work, then deadlines. A turn that began too late proves nothing: what would end there
as silence becomes `not_probed`. Sockets are made by the `Entrance`: this thread never leaves its namespace, and waits in epoll only.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from agent.edge.netns import Entrance, NamespaceGone
from agent.edge.prober_asking import NEVER, close_at_once
from agent.edge.prober_flights import Flights
from agent.edge.prober_mail import Arrived, Batch, Cancelled, Flight, Made, Mail, Mailbox, Stop, Submitted, close_made
from agent.edge.prober_neighbour import NeighbourAsking, Pace, not_asked
from agent.edge.prober_plans import asking_for, make_all, problem_with, still_there
from agent.edge.prober_tcp import TcpAsking
from agent.model.probe import ProbePlan, ProbeResult, Reason

MAX_IN_FLIGHT = 256
"""Sockets at once; a round has at most `probe.fanout` pairs, and the common soft limit of descriptors is 1024."""
MAX_WAITING = 8192
"""Plans in the queue: 256 at a time and at most 5 s each, they would be minutes old."""
ENTRANCE_WAIT_SECONDS = 5.0
"""Entering takes 12 µs; a thread that needs this long is stuck."""
NAMESPACE_LOOK_SECONDS = 1.0
"""While probes are in flight: a socket of ours must be gone 2 s after its pod (it keeps the namespace alive)."""


class Worker:
    """All state belongs to the thread that calls `run`; others use the mailbox and read the two delays."""

    def __init__(
        self,
        *,
        entrance: Entrance,
        mailbox: Mailbox,
        clock: Callable[[], float],
        own_delay_seconds: float,
        questions_per_second: float,
    ) -> None:
        self.last_delay_seconds = 0.0
        self.max_delay_seconds = 0.0
        self._entrance = entrance
        self._mailbox = mailbox
        self._clock = clock
        self._own_delay_seconds = own_delay_seconds
        self._pace = Pace(per_second=questions_per_second)
        self._flights = Flights(wake_descriptor=mailbox.descriptor)
        self._batches: set[Batch] = set()
        self._waiting: deque[tuple[Batch, int]] = deque()
        self._next_look = NEVER
        self._complete: list[Batch] = []
        self._stopping = False

    def run(self) -> None:
        """Until `Stop` comes. Whatever it raises, call `shut` afterwards."""
        while not self._stopping:
            self.turn()

    def shut(self, error: BaseException) -> None:
        """Close every socket and let every waiting batch fail with `error`."""
        for mail in self._mailbox.close():
            if isinstance(mail, Submitted):
                self._batches.add(mail.batch)
            elif isinstance(mail, Arrived):
                close_made(mail.future)
        self._flights.close()
        self._deliver()
        for batch in self._batches:
            batch.fail(error)
        self._batches.clear()

    def turn(self) -> None:
        """One round of: sleep until there is news or a deadline, then deal with all of it."""
        planned = min(self._flights.next_deadline(), self._next_look)
        pause_seconds = None if planned == NEVER else max(0.0, planned - self._clock())
        news = self._flights.news(pause_seconds)
        now = self._clock()
        delay_seconds = self._measure(planned, now=now)
        self._hear(news)
        if planned <= now:
            # What came while we were on our way here is still an answer; only then is silence silence.
            self._hear(self._flights.news(0))
        self._read_mail()
        self._expire(delay_seconds if delay_seconds > self._own_delay_seconds else 0.0, now=now)
        self._look_at_namespaces()
        self._take_off()
        self._deliver()

    # -- time

    def _measure(self, planned: float, *, now: float) -> float:
        """How late this turn began. A wake-up by an event has no plan, unless a deadline passed before it."""
        delay_seconds = max(0.0, now - planned)
        self.last_delay_seconds = delay_seconds
        self.max_delay_seconds = max(self.max_delay_seconds, delay_seconds)
        return delay_seconds

    def _expire(self, late_seconds: float, *, now: float) -> None:
        """`now` is when the kernel was last asked: what came due since then waits for the next turn, or a stop of ours would be silence."""
        for flight in self._flights.due(now=now):
            if flight.expires is not None:
                flight.asking.keep_out(f"its namespace could not be entered within {ENTRANCE_WAIT_SECONDS:g} s", now=now)
            else:
                flight.asking.due(now=now, late_seconds=late_seconds)
            self._settle(flight)

    def _look_at_namespaces(self) -> None:
        now = self._clock()
        if now < self._next_look:
            return
        gone = {file.key for file in {flight.plan.namespace for flight in self._flights} if not still_there(file)}
        for flight in self._flights:
            if flight.plan.namespace.key in gone:
                flight.asking.abandon("its namespace is gone", now=now)
                self._settle(flight)
        self._next_look = now + NAMESPACE_LOOK_SECONDS if self._flights else NEVER

    # -- news

    def _hear(self, news: Sequence[Flight]) -> None:
        for flight in news:
            self._step(flight, flight.asking.ready)
            self._settle(flight)

    def _step(self, flight: Flight, step: Callable[[float], None]) -> None:
        now = self._clock()
        try:
            step(now)
        except OSError as error:
            flight.asking.fail(error.errno or 0, now=now)

    def _read_mail(self) -> None:
        for mail in self._mailbox.take():
            self._read(mail)

    def _read(self, mail: Mail) -> None:
        match mail:
            case Submitted(batch=batch):
                self._queue(batch)
            case Cancelled(batch=batch):
                self._forget(batch)
            case Arrived(flights=flights, future=future):
                self._arrive(flights, future)
            case Stop():
                self._stopping = True

    def _queue(self, batch: Batch) -> None:
        if batch.cancelled:
            return
        self._batches.add(batch)
        for index, plan in enumerate(batch.plans):
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append((batch, index))
            else:
                self._put(batch, index, self._not_probed(plan, f"more than {MAX_WAITING} probes were waiting"))

    def _forget(self, batch: Batch) -> None:
        self._batches.discard(batch)
        for flight in self._flights:
            if flight.batch is batch:
                flight.asking.abandon("nobody waits for it", now=self._clock())
                self._settle(flight)

    # -- into the air

    def _take_off(self) -> None:
        """Start what fits, one visit for each namespace."""
        groups: defaultdict[tuple[int, int], list[Flight]] = defaultdict(list)
        while self._waiting and len(self._flights) < MAX_IN_FLIGHT:
            batch, index = self._waiting.popleft()
            if batch.cancelled:
                continue
            plan = batch.plans[index]
            problem = problem_with(plan)
            if problem:
                self._put(batch, index, self._not_probed(plan, problem))
                continue
            flight = Flight(batch, index, asking_for(plan))
            self._flights.add(flight)
            groups[plan.namespace.key].append(flight)
        for flights in groups.values():
            self._enter(flights)

    def _enter(self, flights: Sequence[Flight]) -> None:
        now = self._clock()
        self._next_look = min(self._next_look, now + NAMESPACE_LOOK_SECONDS)
        for flight in flights:
            flight.expires = now + ENTRANCE_WAIT_SECONDS
            self._flights.update(flight)
        make = partial(make_all, [flight.asking for flight in flights])
        try:
            future = self._entrance.call(flights[0].plan.namespace, make)
        except RuntimeError as error:  # the entrance is closed
            for flight in flights:
                self._keep_out(flight, error)
            return
        future.add_done_callback(partial(self._hand_over, flights))

    def _hand_over(self, flights: Sequence[Flight], future: Future[Made]) -> None:
        """On the entrance's thread."""
        if not self._mailbox.put(Arrived(flights, future)):
            close_made(future)

    def _arrive(self, flights: Sequence[Flight], future: Future[Made]) -> None:
        error = future.exception()
        if error is not None:
            for flight in flights:
                self._keep_out(flight, error)
            return
        for flight, made in zip(flights, future.result(), strict=True):
            if flight not in self._flights:
                if not isinstance(made, OSError):
                    close_at_once(made)
            elif isinstance(made, OSError):
                flight.expires = None
                flight.asking.fail(made.errno or 0, now=self._clock())
                self._settle(flight)
            else:
                flight.expires = None
                flight.asking.sock = made
                self._begin(flight)

    def _begin(self, flight: Flight) -> None:
        before = self._clock()
        self._step(flight, flight.asking.begin)
        # If this thread was stopped before it could ask, the peer did not have the time that its deadline says.
        flight.asking.deadline += self._clock() - before
        self._settle(flight)

    def _keep_out(self, flight: Flight, error: BaseException) -> None:
        if flight not in self._flights:
            return
        now = self._clock()
        flight.expires = None
        if isinstance(error, NamespaceGone):
            flight.asking.abandon(str(error), now=now)
        else:
            flight.asking.keep_out(str(error) or type(error).__name__, now=now)
        self._settle(flight)

    # -- after each step

    def _settle(self, flight: Flight) -> None:
        """Bring epoll, timers and the batch up to what the asking says."""
        asking = flight.asking
        if flight not in self._flights:
            return
        self._flights.update(flight)
        if asking.result is not None and not flight.delivered:
            flight.delivered = True
            self._judge_silence(flight, asking.result)

    def _judge_silence(self, flight: Flight, result: ProbeResult) -> None:
        silent = isinstance(flight.asking, TcpAsking) and result.reason is Reason.TIMEOUT
        if not silent or flight.batch.cancelled:
            self._put(flight.batch, flight.index, result)
        elif self._pace.take(now=self._clock()):
            question = Flight(flight.batch, flight.index, NeighbourAsking(result))
            self._flights.add(question)
            self._enter([question])
        else:
            self._put(flight.batch, flight.index, not_asked(result, "too many questions in this second"))

    def _put(self, batch: Batch, index: int, result: ProbeResult) -> None:
        batch.put(index, result)
        if batch.complete and batch in self._batches:
            self._batches.discard(batch)
            self._complete.append(batch)

    def _deliver(self) -> None:
        """One call into each event loop a turn, however many batches have come to their end."""
        complete, self._complete = self._complete, []
        for loop in {batch.loop for batch in complete}:
            with suppress(RuntimeError):  # a loop that is closed has nobody waiting
                loop.call_soon_threadsafe(_finish_all, [batch for batch in complete if batch.loop is loop])

    def _not_probed(self, plan: ProbePlan, why: str) -> ProbeResult:
        return ProbeResult(plan=plan, reason=Reason.NOT_PROBED, detail=why, finished_monotonic_seconds=self._clock())


def _finish_all(batches: Sequence[Batch]) -> None:
    for batch in batches:
        batch.finish()
