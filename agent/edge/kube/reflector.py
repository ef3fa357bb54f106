"""Keeps one watched resource in step with the API server: list, watch, resume, and start again where resuming is impossible.

Pages of 250, first from the watch cache (resourceVersion=0); the watch resumes from the last version it saw. 410, in HTTP or in the
stream, leads to a new list without a version; after a long outage the new list asks for at least the last version, so that a lagging
server cannot take us back in time. Pauses grow, are jittered, and honour Retry-After. It never ends and never gives up a known set.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from typing import Generic, NoReturn, TypeVar

from msgspec import Raw

from agent.edge.kube.client import KubeClient, ListPage, Watch
from agent.edge.kube.errors import (
    Absent,
    AnswerTimedOut,
    BadAnswer,
    Expired,
    Forbidden,
    KubeError,
    Refused,
    ServerFailed,
    TooLong,
    one_line,
    refusal,
)
from agent.edge.kube.store import ABSENT_ANSWERS, REOPEN_GRACE_SECONDS, Store
from agent.edge.kube.wire import EVENT, STATUS, Kind, Sighting, decode, name_of, version_of

T = TypeVar("T")

OBJECTS_LIMIT = 20_000
"""A resource of ours with more objects than this is no storage network any more, and our memory is bounded."""
KEY_CHARS = 330
"""A namespace and a name; longer ones exist in broken objects only, and these keys end up in status lines."""
YIELD_EVERY = 100
"""Objects decoded before other tasks get a turn: well under a millisecond each hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Every waiting time of a reflector."""

    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    absent_seconds: float = 60.0
    """Between two looks for a resource that the cluster does not have."""
    forbidden_seconds: float = 60.0
    """Between two attempts where we may not read, after the first quick ones (roles of a starting server come late)."""
    shortest_watch_seconds: int = 300
    longest_watch_seconds: int = 600
    """A watch's timeoutSeconds is drawn between these, so that a cluster's agents do not come back all at once."""
    steady_seconds: float = 5.0
    """A watch that lived so long ends the row of failures."""
    relist_after_seconds: float = 30.0
    """After an outage longer than this the server may be another one (restored, restarted): list again."""


class Reflector(Generic[T]):
    """`path` is the collection's path, `query` its selectors. `run()` until cancelled; read the set from `store`."""

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
        query: Mapping[str, str] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.store: Store[T] = Store(name, clock=clock, changed=changed)
        self.path = path
        self._client = client
        self._kind = kind
        self._clock = clock
        self._rng = rng
        self._query = dict(query or {})
        self._pace = pace or Pace()
        self._version = ""
        self._listed = False
        self._list_from = {"resourceVersion": "0"}
        self._failures = 0
        self._answered = False
        """In this row of failures the server has once said that it works, and what to do."""
        self._down_since: float | None = None

    async def run(self) -> NoReturn:
        while True:
            pause = await self.step()
            await asyncio.sleep(pause)

    async def step(self) -> float:
        """One list, if one is due, and one watch to its end. Returns the seconds to wait before the next step."""
        opened_at: float | None = None
        try:
            if not self._listed:
                await self._list()
            query = {
                **self._query,
                "allowWatchBookmarks": "true",
                "resourceVersion": self._version,
                "timeoutSeconds": str(self._rng.randint(self._pace.shortest_watch_seconds, self._pace.longest_watch_seconds)),
            }
            async with self._client.watch(self.path, query=query) as watch:
                opened_at = self._clock()
                self._down_since = None
                self.store.connected()
                await self._follow(watch, opened_at=opened_at)
        except KubeError as error:
            self._end_row(opened_at)
            return self._after(error)
        self._end_row(opened_at)
        pause = self._pause() if self._failures else 0.0
        self._failures += 1
        self.store.closed(grace=pause <= REOPEN_GRACE_SECONDS)
        return pause

    async def _list(self) -> None:
        """Replaces the set when the last page is here; until then the old one stands."""
        items: dict[str, T] = {}
        skipped: dict[str, str] = {}
        version = ""
        async with aclosing(self._client.list_pages(self.path, query={**self._query, **self._list_from})) as pages:
            async for page in pages:
                version = version or page.resource_version
                await self._take_page(page, items=items, skipped=skipped)
        if not version:
            raise BadAnswer(f"list {self.path}: no resourceVersion")
        self._version, self._listed = version, True
        self._list_from = {"resourceVersion": version, "resourceVersionMatch": "NotOlderThan"}
        self.store.replace(items, skipped=skipped)

    async def _take_page(self, page: ListPage, *, items: dict[str, T], skipped: dict[str, str]) -> None:
        seen = Sighting(monotonic_seconds=self._clock(), server_unix_seconds=page.server_unix_seconds)
        for number, raw in enumerate(page.items):
            if number % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
            if len(items) >= OBJECTS_LIMIT:
                raise TooLong(f"list {self.path}: more than {OBJECTS_LIMIT} objects")
            key, read = self._read(raw, seen)
            if not isinstance(read, _Unread):
                items[key] = read
                continue
            skipped[key] = read.reason
            earlier = self.store.get(key)
            if earlier is not None:
                items[key] = earlier

    async def _follow(self, watch: Watch, *, opened_at: float) -> None:
        async with aclosing(watch.lines()) as chunks:
            async for lines in chunks:
                now = self._clock()
                server = watch.server_unix_seconds
                seen = Sighting(monotonic_seconds=now, server_unix_seconds=None if server is None else server + now - opened_at)
                for number, line in enumerate(lines):
                    if number % YIELD_EVERY == YIELD_EVERY - 1:
                        await asyncio.sleep(0)
                    self._take_event(line, seen)

    def _take_event(self, line: bytes, seen: Sighting) -> None:
        event = decode(line, decoder=EVENT, what="watch event")
        if event.type == "ERROR":
            raise _error_in_stream(event.object)
        if event.type not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
            self.store.skip("?", f"unknown event type {one_line(event.type)[:40]!r}")
            return
        version = version_of(event.object)
        backwards = _older(version, self._version)
        if backwards and event.type != "DELETED":
            # The server's history is another one: restored from a backup, or a new and empty server at the old address.
            raise Expired(f"watch {self.path}: version {version} after {self._version}", status=410)
        if event.type == "BOOKMARK":
            self.store.confirm()
        elif event.type == "DELETED":
            key = name_of(event.object)
            if key is None:
                raise BadAnswer(f"watch {self.path}: a DELETED event without a name")
            self.store.drop(key)
        else:
            self._take_object(event.object, seen)
        if version and not backwards:
            self._version = version

    def _take_object(self, raw: Raw, seen: Sighting) -> None:
        key, read = self._read(raw, seen)
        if isinstance(read, _Unread):
            self.store.skip(key, read.reason)
        elif self.store.get(key) is None and len(self.store) >= OBJECTS_LIMIT:
            raise TooLong(f"watch {self.path}: more than {OBJECTS_LIMIT} objects")
        else:
            self.store.put(key, read)

    def _read(self, raw: Raw, seen: Sighting) -> "tuple[str, T | _Unread]":
        try:
            obj = decode(raw, decoder=self._kind.decoder, what="object")
            key: str = obj.metadata.key
            return key, self._kind.build(obj, seen, self.store.get(key))
        except BadAnswer as error:
            reason = str(error)
        except Exception as error:  # one strange object must not stop the watch of all others
            reason = f"decoder failed: {type(error).__name__}: {one_line(str(error))}"
        return (name_of(raw) or "?")[:KEY_CHARS], _Unread(reason)

    def _end_row(self, opened_at: float | None) -> None:
        if opened_at is not None and self._clock() - opened_at >= self._pace.steady_seconds:
            self._failures, self._answered = 0, False

    def _after(self, error: KubeError) -> float:
        """Sort a failure: what has to be done anew, what readers are told, how long to wait."""
        tells_what_to_do = isinstance(error, Expired) or (isinstance(error, Refused) and error.retry_after_seconds is not None)
        if tells_what_to_do and not self._answered:
            # it works again, and only starts (429) or has forgotten its history (410): the pause that an outage has grown to is over
            self._answered, self._failures = True, 0
        pause = self._pause()
        self._failures += 1
        if isinstance(error, Expired):
            self._listed, self._list_from = False, {}
            if self._failures == 1:
                self.store.closed(grace=True)
                return 0.0
            pause = max(pause, self._pace.first_pause_seconds / 2)
        self._note_outage(error)
        self.store.failed(error)
        if isinstance(error, Absent | Forbidden):
            self._listed = False
            if isinstance(error, Forbidden) or self.store.status().state.value == "absent":
                slow = self._pace.absent_seconds if isinstance(error, Absent) else self._pace.forbidden_seconds
                quick = isinstance(error, Forbidden) and self._failures <= ABSENT_ANSWERS
                pause = pause if quick else slow * self._rng.uniform(0.75, 1.0)
        wanted = error.retry_after_seconds if isinstance(error, Refused) else None
        return max(pause, wanted or 0.0)

    def _note_outage(self, error: KubeError) -> None:
        now = self._clock()
        if not self._listed and isinstance(error, ServerFailed | BadAnswer | AnswerTimedOut) and "resourceVersionMatch" in self._list_from:
            # 504 "Too large resource version": this server has never seen ours. Its present state is what counts.
            self._list_from = {}
        if self._down_since is None:
            self._down_since = now
        if now - self._down_since > self._pace.relist_after_seconds:
            self._listed = False

    def _pause(self) -> float:
        ceiling = min(self._pace.longest_pause_seconds, self._pace.first_pause_seconds * 2.0 ** min(self._failures, 16))
        return ceiling * self._rng.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class _Unread:
    reason: str


def _older(version: str | None, than: str) -> bool:
    """Versions are opaque but for this comparison, which the API allows since 1.35 and all servers have held to before."""
    if version is None or not all(text.isascii() and text.isdigit() and len(text) <= 20 for text in (version, than)):
        return False
    return int(version) < int(than)


def _error_in_stream(raw: Raw) -> KubeError:
    status = decode(raw, decoder=STATUS, what="ERROR event")
    wait = status.details.retry_after_seconds if status.details else None
    return refusal(
        status=status.code or 500,
        message=f"in the watch: {status.message or status.reason or 'no reason given'}",
        retry_after_seconds=None if wait is None else float(min(max(wait, 0), 60)),
    )
