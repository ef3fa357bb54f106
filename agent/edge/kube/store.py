"""What is known of one watched resource and how far it can be believed. No I/O: the reflector tells it what happened.

The last known set stays through every failure. Only the server's own word empties it: a completed list, a DELETED event, or several
404s in a row. An API server that has just started answers 404 for custom resources that exist, and 403 until it has read its roles: one
such answer makes a set that was known stale, not more.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from agent.edge.kube.errors import Absent, Forbidden, KubeError
from agent.model.cluster import Known
from agent.model.records import SourceState, SourceStatus

T = TypeVar("T")

REOPEN_GRACE_SECONDS = 2.0
"""A watch that the server closed in order and that is open again within this time was never lost: readers see no flapping."""
UNNOTICED_SECONDS = 30.0
"""TCP keepalive tells a dead connection so late (client.py): a watch that broke confirmed nothing in its last seconds."""
ABSENT_ANSWERS = 3
"""So many 404s in a row before a set that was known is believed to be gone, and 403s before it is called forbidden."""
SKIPPED_KEPT = 20
"""Reasons kept for people; the count goes on."""


class Store(Generic[T]):
    """`changed` is called after each change that readers can see: of the set, or of its state."""

    def __init__(self, name: str, *, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self.name = name
        self._clock = clock
        self._changed = changed
        self._items: dict[str, T] = {}
        self._skipped: dict[str, str] = {}
        self._known = False
        self._connected = False
        self._connected_at = 0.0
        self._lost_at = clock()
        self._confirmed_at: float | None = None
        self._grace_from: float | None = None
        self._trouble: KubeError | None = None
        self._absent_answers = 0
        self._forbidden_answers = 0
        self._told = SourceState.NEVER
        self._cache: tuple[int, tuple[T, ...]] = (-1, ())
        self.revision = 0
        self.skipped_total = 0
        """Objects skipped since the start."""

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> T | None:
        return self._items.get(key)

    @property
    def settled(self) -> bool:
        """The server has given its word on this resource: a set, or that it is absent or forbidden."""
        return self._confirmed_at is not None or isinstance(self._trouble, Absent | Forbidden)

    def seed(self, items: Mapping[str, T], *, age_seconds: float) -> None:
        """What an earlier process knew, as a stale set. Nothing that the server said since is overwritten."""
        if self._known or self._confirmed_at is not None:
            return
        self._items = dict(items)
        self._known = True
        self._lost_at = self._clock() - max(0.0, age_seconds)
        self._bump()

    def replace(self, items: Mapping[str, T], *, skipped: Mapping[str, str]) -> None:
        """A completed list."""
        self._items = dict(items)
        self._skipped = {}
        self._known = True
        self._trouble = None
        self._absent_answers = 0
        for key, reason in skipped.items():
            self._note(key, reason)
        self._confirm()
        self._lost_at = self._grace_from = self._clock()
        self._bump()

    def put(self, key: str, item: T) -> None:
        self._skipped.pop(key, None)
        self._confirm()
        if self._items.get(key) != item:
            self._items[key] = item
            self._bump()

    def drop(self, key: str) -> None:
        self._confirm()
        gone = (self._items.pop(key, None), self._skipped.pop(key, None))
        if gone != (None, None):
            self._bump()

    def skip(self, key: str, reason: str) -> None:
        """An object is there but could not be read; what was known of it stays."""
        self._note(key, reason)
        self._bump()

    def confirm(self) -> None:
        """The server said something that changes nothing (a bookmark)."""
        self._confirm()

    def connected(self) -> None:
        self._connected = True
        self._connected_at = self._clock()
        self._forbidden_answers = 0  # not at a list: a role may allow that and no watch
        self._trouble = None
        self._tell_state()

    def closed(self, *, grace: bool) -> None:
        """The watch ended in order; with `grace` it is opened again at once."""
        was_live = self._state() is SourceState.LIVE
        if self._connected:
            self._confirm()
        self._lose()
        self._trouble = None
        self._grace_from = self._lost_at if grace and was_live else None
        self._tell_state()

    def failed(self, error: KubeError) -> None:
        if self._connected and self._clock() - self._connected_at > UNNOTICED_SECONDS:
            self._confirmed_at = max(self._confirmed_at or 0.0, self._clock() - UNNOTICED_SECONDS)
        self._lose()
        self._grace_from = None
        self._absent_answers = self._absent_answers + 1 if isinstance(error, Absent) else 0
        self._forbidden_answers = self._forbidden_answers + 1 if isinstance(error, Forbidden) else 0
        before = str(self._trouble)
        self._trouble = error
        if isinstance(error, Absent) and self._state() is SourceState.ABSENT and (self._items or self._skipped):
            self._items, self._skipped, self._known = {}, {}, False
            self._bump()
        elif before != str(error):
            self._told = self._state()
            self._changed()
        self._tell_state()

    def status(self) -> SourceStatus:
        state = self._state()
        age = 0.0 if state is SourceState.LIVE else max(0.0, self._clock() - self._lost_at)
        return SourceStatus(name=self.name, state=state, age_seconds=age, detail=self._detail())

    def known(self) -> Known[T]:
        status = self.status()
        return Known(
            items=self.items(),
            status=status,
            revision=self.revision,
            confirmed_monotonic_seconds=self._clock() if status.state is SourceState.LIVE else self._confirmed_at,
            skipped=tuple(self.skipped()),
        )

    def items(self) -> tuple[T, ...]:
        """In the order of their keys; the same tuple until the revision grows."""
        if self._cache[0] != self.revision:
            self._cache = (self.revision, tuple(self._items[key] for key in sorted(self._items)))
        return self._cache[1]

    def skipped(self) -> Iterable[str]:
        return (f"{key}: {reason}" for key, reason in sorted(self._skipped.items()))

    def _state(self) -> SourceState:
        if self._connected:
            return SourceState.LIVE
        match self._trouble:
            case None if self._grace_from is not None and self._clock() - self._grace_from <= REOPEN_GRACE_SECONDS:
                return SourceState.LIVE
            case Forbidden() if not self._known or self._forbidden_answers >= ABSENT_ANSWERS:
                return SourceState.FORBIDDEN
            case Absent() if not self._known or self._absent_answers >= ABSENT_ANSWERS:
                return SourceState.ABSENT
        return SourceState.STALE if self._known else SourceState.NEVER

    def _detail(self) -> str | None:
        if self._trouble is not None:
            return str(self._trouble)
        if self._skipped:
            return f"{len(self._skipped)} objects could not be read, e.g. {next(iter(self.skipped()))}"
        return None

    def _note(self, key: str, reason: str) -> None:
        self.skipped_total += 1
        if key in self._skipped or len(self._skipped) < SKIPPED_KEPT:
            self._skipped[key] = reason

    def _confirm(self) -> None:
        self._confirmed_at = self._clock()

    def _lose(self) -> None:
        if self._connected:
            self._connected = False
            self._lost_at = self._clock()

    def _bump(self) -> None:
        self.revision += 1
        self._told = self._state()
        self._changed()

    def _tell_state(self) -> None:
        if self._told is not (state := self._state()):
            self._told = state
            self._changed()
