"""What only the holder of the Lease watches of the cluster: pools, Events, Longhorn's objects, monitoring, all nodes.

`want(True)` begins with nothing known, `want(False)` forgets everything at once: what an agent knew when it last had the duty must not be
taken for the present. Small resources are watched, replicas and engines are listed once a minute and given up first when memory runs short.
Each source stands alone: one that may not be read, or does not exist, stops no other.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import NoReturn

from agent.edge.holder_lists import INTERVAL_SECONDS
from agent.edge.holder_memory import ReadMemory, Shedding, read_memory
from agent.edge.holder_watches import MEMORY_SECONDS, Maker, Watches
from agent.edge.kube import KubeClient, Pace
from agent.model.holder import HolderFacts

NAMES = (
    "nodes",
    "ippools",
    "reservations",
    "events",
    "instance_managers",
    "longhorn_nodes",
    "all_nads",
    "crds",
    "monitoring",
    "replicas",
    "engines",
)
_log = logging.getLogger(__name__)

Subscriber = Callable[[frozenset[str]], None]


class HolderSources:
    """`run()` until cancelled; `facts()` at any time, from the loop's thread: all `never` while the duty is another's."""

    def __init__(
        self,
        *,
        client: KubeClient,
        longhorn_namespace: str,
        harvester_namespace: str,
        whereabouts_namespace: str,
        monitoring_namespace: str,
        clock: Callable[[], float],
        rng: Random,
        pace: Pace | None = None,
        memory: ReadMemory = read_memory,
        list_interval_seconds: float = INTERVAL_SECONDS,
        memory_interval_seconds: float = MEMORY_SECONDS,
    ) -> None:
        self._client, self._clock, self._rng, self._pace = client, clock, rng, pace
        self._longhorn, self._harvester = longhorn_namespace, harvester_namespace
        self._whereabouts, self._monitoring = whereabouts_namespace, monitoring_namespace
        self._read_memory = memory
        self._list_interval_seconds, self._memory_interval_seconds = list_interval_seconds, memory_interval_seconds
        self._subscribers: list[Subscriber] = []
        self._pending: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted, self._unwanted = asyncio.Event(), asyncio.Event()
        self._unwanted.set()
        self._watches: Watches | None = None

    @property
    def active(self) -> bool:
        return self._wanted.is_set()

    @property
    def synced(self) -> bool:
        """The server has given its word on every source since the duty began: a set, or that it is absent or forbidden."""
        return self._watches is not None and self._watches.settled

    def want(self, on: bool) -> None:
        """Take up the duty, or give it up; saying the same again changes nothing."""
        if on is self.active:
            return
        if on:
            self._unwanted.clear()
            self._wanted.set()
            return
        self._wanted.clear()
        self._unwanted.set()
        self._watches = None
        self._note(*NAMES)

    def facts(self) -> HolderFacts:
        return self._watches.facts(now=self._clock()) if self._watches is not None else HolderFacts()

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """`callback` gets the names of the sources that changed, in the loop, changes of one turn together. Returns how to stop it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    async def run(self) -> NoReturn:
        """Ends by cancellation only; a bug in one source ends all, loudly."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                await self._wanted.wait()
                self._watches = watches = self._begin()
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(work, name=name) for name, work in watches.work().items()]
                    await self._unwanted.wait()
                    for task in tasks:
                        task.cancel()
        finally:
            self._loop = self._watches = None

    def _begin(self) -> "Watches":
        generation: Watches

        def changed(name: str) -> None:
            # A watch that is being cancelled may still speak; it belongs to a duty that is over.
            if self._watches is generation:
                self._note(name)

        generation = Watches(
            make=Maker(client=self._client, clock=self._clock, rng=self._rng, pace=self._pace, changed=changed),
            longhorn=self._longhorn,
            harvester=self._harvester,
            whereabouts=self._whereabouts,
            monitoring=self._monitoring,
            shedding=Shedding(self._read_memory),
            list_interval_seconds=self._list_interval_seconds,
            memory_interval_seconds=self._memory_interval_seconds,
        )
        return generation

    def _note(self, *names: str) -> None:
        if not self._pending and self._loop is not None:
            self._loop.call_soon(self._flush)
        self._pending.update(names)

    def _flush(self) -> None:
        names, self._pending = frozenset(self._pending), set()
        for callback in tuple(self._subscribers):
            try:
                callback(names)
            except Exception:  # a reader's mistake must not stop the watches
                _log.exception("a subscriber of the holder's facts raised")
