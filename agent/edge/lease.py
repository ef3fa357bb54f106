"""Holds the Lease, or watches who does: one agent of the cluster judges what concerns all of them.

Losing the API does not end the duty. A holder that cannot renew goes on as `unconfirmed` until it reads another holder's name, in the
Lease or in that other agent's own document: whoever judges during an outage is better than nobody. What it refuses to do: to believe a
clock (its own wall clock writes texts for people, others' times are never compared), to take a Lease that it has not watched unchanged for
the whole term, and to write without naming the version that it read.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, NoReturn

from agent.edge.kube import Absent, AnswerTimedOut, Conflict, Forbidden, KubeClient, KubeError, Pace, Reflector
from agent.edge.lease_record import DECODER, LEASE, LeaseRecord, Stamps, Terms, holding, record_of, released
from agent.edge.lease_standing import Standing
from agent.model.holder import LeaseState, LeaseView
from agent.model.records import SourceState, SourceStatus

CONFLICTS = 3
"""Attempts in a row at one write, each with a fresh version, before it waits like any failure."""
RELEASE_PAUSE_SECONDS = 0.1
RELEASE_TRIES = 20
_log = logging.getLogger(__name__)

Subscriber = Callable[[LeaseView], None]


class Lease:
    """`run()` until cancelled; `view` at any time. `identity` must be of one process at a time: it is the node's name.

    `read_other` gives the names of nodes whose own, fresh status document says that they are the holder. It is asked only while ours is
    unconfirmed.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        namespace: str,
        identity: str,
        clock: Callable[[], float],
        rng: Random,
        name: str = "lhnet-agent",
        wall: Callable[[], float] = time.time,
        read_other: Callable[[], Collection[str]] | None = None,
        terms: Terms | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._client, self._identity, self._wall = client, identity, wall
        self._namespace, self._name = namespace, name
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._read_other = read_other
        self._terms = terms or Terms()
        self._clock = clock
        self._standing = Standing(identity, terms=self._terms, clock=clock, rng=rng)
        self._stamps = Stamps()
        self._subscribers: list[Subscriber] = []
        self._told = LeaseView()
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        query = {"fieldSelector": f"metadata.name={name}"}
        self._reflector: Reflector[LeaseRecord] = Reflector(
            "lease", client=client, path=self._path, kind=LEASE, query=query, clock=clock, rng=rng, pace=pace, changed=self._look
        )

    @property
    def view(self) -> LeaseView:
        """As of now: a holder whose process was stopped for a while is not one any more when it goes on."""
        view = self._standing.view()
        if view.state is not LeaseState.NONE or view.detail:
            return view
        missing = f"there is no Lease {self._namespace}/{self._name}" if self._standing.looked and self._standing.record is None else None
        return LeaseView(detail=self._reflector.store.status().detail or missing)

    def status(self) -> SourceStatus:
        """The source `lease`: how well it can be watched, which every agent does."""
        return self._reflector.store.status()

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """`callback` gets the view whenever its state or its holder has changed, in the loop. Returns how to stop it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    async def run(self) -> NoReturn:
        """Ends by cancellation only, and then leaves the Lease as it is: `release()` gives it up."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reflector.run(), name="watch lease")
            group.create_task(self._work(), name="hold lease")
        raise AssertionError("the tasks of the Lease ended by themselves")

    async def _work(self) -> NoReturn:
        while True:
            wait_seconds = await self.step()
            # Not wait_for: in Python 3.11 it loses a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()

    async def step(self) -> float:
        """Do what is due. Returns the seconds until something will be, if nothing is heard before."""
        self._wake.clear()
        self._heed_others()
        async with self._writing:
            if self._clock() >= self._standing.next_write():
                await self._write()
        self._tell()
        return self._standing.wait_seconds()

    async def release(self) -> bool:
        """Give it up, so that the next one begins at once; this process never takes it again. False if it may still be in our name.

        Cancel `run()` before or after, as it suits.
        """
        standing = self._standing
        standing.released = True
        if not standing.holding:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._terms.release_seconds), self._writing:
                for _ in range(RELEASE_TRIES):
                    if await self._give_up():
                        break
                    await asyncio.sleep(RELEASE_PAUSE_SECONDS)
        if kept := standing.holding:
            _log.warning("the Lease could not be released; it runs out in %d s: %s", self._terms.duration_seconds, standing.trouble)
        standing.gave_up()
        self._tell()
        return not kept

    async def _give_up(self) -> bool:
        try:
            await self._patch(released(moment=self._stamps.next(self._wall())))
        except KubeError as error:
            await self._after_refusal(error, making=False)
            if self._standing.holding and self._standing.record is not None:
                return False
        self._standing.gave_up()
        return True

    def _look(self) -> None:
        """The reflector saw a change of the Lease, or of how well it can be watched."""
        store = self._reflector.store
        had = self._standing.holding
        self._standing.look(store.get(f"{self._namespace}/{self._name}"), live=store.status().state is SourceState.LIVE)
        if had and not self._standing.holding and not self._standing.released:
            record = self._standing.record
            _log.warning("the Lease is no longer ours; it names %r", record.term.holder if record else "")
        self._wake.set()
        self._tell()

    def _heed_others(self) -> None:
        """Only a confirmed holder's own word counts: what others remember of a holder may be older than our own term."""
        if self._read_other is None or self._standing.view().state is not LeaseState.UNCONFIRMED:
            return
        try:
            claims = sorted(name for name in self._read_other() if name and name != self._identity)
        except Exception:  # whoever asks the other agents must not cost us the duty
            _log.exception("the other agents' claims to the Lease could not be read")
            return
        if claims:
            _log.warning("%s says that it holds the Lease, which we cannot confirm for ourselves", claims[0])
            self._standing.told(claims[0])

    async def _write(self) -> None:
        """Take, renew or make it, with a fresh look after each conflict."""
        standing = self._standing
        for _ in range(CONFLICTS):
            moment = self._stamps.next(self._wall())
            standing.writing(moment)
            record = standing.record
            term = record.term if record else None
            spec = holding(self._identity, term=term, moment=moment, duration_seconds=self._terms.duration_seconds)
            try:
                answer = await (self._create(spec) if record is None else self._patch(spec))
            except KubeError as error:
                if not await self._after_refusal(error, making=record is None) or self._clock() < standing.next_write():
                    return
            else:
                standing.wrote(answer)
                return
        standing.failed("cannot write the Lease: others write it all the time", pause_seconds=self._terms.retry_seconds)

    async def _patch(self, spec: dict[str, Any]) -> LeaseRecord:
        """A merge patch, since the rest of the object (labels, owners) is not ours. The version in it makes it conditional."""
        record = self._standing.record
        body = {"metadata": {"resourceVersion": record.version if record else "1"}, "spec": spec}
        async with _bounded(self._terms.request_seconds):
            return record_of(await self._client.patch(f"{self._path}/{self._name}", body, decoder=DECODER))

    async def _create(self, spec: dict[str, Any]) -> LeaseRecord:
        metadata = {"name": self._name, "namespace": self._namespace}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        async with _bounded(self._terms.request_seconds):
            return record_of(await self._client.create(self._path, body, decoder=DECODER))

    async def _after_refusal(self, error: KubeError, *, making: bool) -> bool:
        """After a conflict look again: True if that showed the present state. Everything else has to wait."""
        if isinstance(error, Conflict) or (isinstance(error, Absent) and not making):
            try:
                async with _bounded(self._terms.request_seconds):
                    self._standing.read(record_of(await self._client.get(f"{self._path}/{self._name}", decoder=DECODER)))
                return True
            except Absent:
                self._standing.read(None)
                return True
            except KubeError as second:
                error = second
        pause_seconds = self._terms.retry_seconds
        if not self._standing.holding and isinstance(error, Forbidden | Absent):
            pause_seconds = self._terms.refused_seconds
        elif self._standing.view().state is LeaseState.UNCONFIRMED:
            pause_seconds = self._terms.renew_seconds
        self._standing.failed(f"cannot write the Lease: {error}", pause_seconds=pause_seconds)
        return False

    def _tell(self) -> None:
        view = self.view
        if (view.state, view.holder) == (self._told.state, self._told.holder):
            return
        _log.info("lease: %s%s", view.state.value, f" ({view.holder})" if view.holder else "")
        self._told = view
        for callback in tuple(self._subscribers):
            try:
                callback(view)
            except Exception:  # a reader's mistake must not cost us the Lease
                _log.exception("a subscriber of the Lease raised")


@asynccontextmanager
async def _bounded(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise AnswerTimedOut(f"no answer within {seconds:g} s") from error
