"""Resources that are listed now and then instead of watched: replicas and engines, of which there may be thousands that change all day.

A list is read page by page and each page is decoded and forgotten before the next, so what it costs at most is what is kept and one page.
It keeps its set through failures, and gives it up on purpose when memory runs short, saying so: then nothing is known, which is not the
same as "there are none".
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from random import Random
from typing import Generic, NoReturn, TypeVar

from msgspec import Raw

from agent.edge.holder_memory import Shedding
from agent.edge.kube import BadAnswer, Expired, Kind, KubeClient, KubeError, Refused, Sighting, Store
from agent.edge.kube.errors import one_line
from agent.edge.kube.wire import decode, name_of
from agent.model.cluster import Known
from agent.model.records import SourceStatus

T = TypeVar("T")

OBJECTS_KEPT = 20_000
"""Of one list. More volumes than that on one network is no cluster of today."""
INTERVAL_SECONDS = 60.0
RETRY_SECONDS = 20.0
"""After a list that failed: the server may be back long before the next one is due, and until then the last one is called stale."""
EXPIRED_SECONDS = 5.0
"""Before a list is begun anew whose snapshot the server has forgotten half-way."""


class PagedList(Generic[T]):
    """`run()` until cancelled. Its state is `live` from one good list to the next failed one."""

    def __init__(
        self,
        name: str,
        *,
        client: KubeClient,
        path: str,
        kind: Kind[T],
        clock: Callable[[], float],
        rng: Random,
        changed: Callable[[], None],
        shedding: Shedding,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self.name, self.path = name, path
        self._client, self._kind, self._clock, self._rng = client, kind, clock, rng
        self._changed, self._shedding, self._interval_seconds = changed, shedding, interval_seconds
        self._store: Store[T] = Store(name, clock=clock, changed=changed)
        self._shed: str | None = None
        self._unkept = 0
        self._listed_at: float | None = None
        self._revisions = 0

    @property
    def settled(self) -> bool:
        return self._shed is not None or self._store.settled

    def known(self) -> Known[T]:
        if self._shed is not None:
            return Known(status=SourceStatus(name=self.name, detail=self._shed), revision=self._revisions)
        known = self._store.known()
        status = known.status
        if self._unkept:
            said = f"{self._unkept} more than the {OBJECTS_KEPT} that are kept"
            status = replace(status, detail=f"{status.detail}; {said}" if status.detail else said)
        # A list says what was when it began; that the last one succeeded is no live connection.
        return replace(known, status=status, revision=known.revision + self._revisions, confirmed_monotonic_seconds=self._listed_at)

    async def run(self) -> NoReturn:
        while True:
            pause_seconds = await self.step()
            await asyncio.sleep(pause_seconds)

    async def step(self) -> float:
        """One list. Returns the seconds until the next."""
        why = self._shedding.look()
        if why is not None:
            self.give_up(why)
            return self._interval_seconds
        try:
            await self._list()
        except KubeError as error:
            self._store.failed(error)
            if isinstance(error, Expired):
                return min(EXPIRED_SECONDS, self._interval_seconds)
            wanted = error.retry_after_seconds if isinstance(error, Refused) else None
            return max(min(RETRY_SECONDS, self._interval_seconds) * self._rng.uniform(0.75, 1.0), wanted or 0.0)
        return self._interval_seconds * self._rng.uniform(0.9, 1.0)

    async def _list(self) -> None:
        began = self._clock()
        items: dict[str, T] = {}
        skipped: dict[str, str] = {}
        unkept = 0
        # Not from the watch cache: a server answers that with everything at once, whatever the limit.
        async with aclosing(self._client.list_pages(self.path)) as pages:
            async for page in pages:
                seen = Sighting(monotonic_seconds=self._clock(), server_unix_seconds=page.server_unix_seconds)
                while page.items:
                    unkept += self._take(page.items.pop(), seen, items=items, skipped=skipped)
                await asyncio.sleep(0)
                if self._shedding.active:
                    return
        self._shed, self._unkept, self._listed_at = None, unkept, began
        self._store.replace(items, skipped=skipped)
        self._store.connected()

    def _take(self, raw: Raw, seen: Sighting, *, items: dict[str, T], skipped: dict[str, str]) -> int:
        """1 if it was not kept."""
        if len(items) >= OBJECTS_KEPT:
            return 1
        try:
            obj = decode(raw, decoder=self._kind.decoder, what="object")
            key: str = obj.metadata.key
            made = self._kind.build(obj, seen, None)
            earlier = self._store.get(key)
            items[key] = earlier if earlier == made and earlier is not None else made
        except BadAnswer as error:
            key = name_of(raw) or "?"
            if len(skipped) < OBJECTS_KEPT:
                skipped[key[:330]] = one_line(str(error))
            if (before := self._store.get(key)) is not None:
                items[key] = before
        return 0

    def give_up(self, why: str) -> None:
        """Forget all of it, at once and whatever is under way."""
        before, self._shed = self._shed, why
        if before is not None:
            return
        self._revisions += self._store.revision + 1
        self._store = Store(self.name, clock=self._clock, changed=self._changed)
        self._unkept, self._listed_at = 0, None
        self._changed()
