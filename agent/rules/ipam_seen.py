"""Remembers since when an agent has seen each entry of a pool, because whereabouts writes no time beside it.

A value that goes in and comes out: nothing here looks at a clock. For a hand-over it becomes a document of ages, since monotonic clocks
of two nodes have nothing in common. A state that cannot be read makes every entry young, never old.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MAX_REMEMBERED = 20_000
"""Two full pools; beyond this, entries are as old as this look."""
_LONGEST_KEY = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    first_monotonic_seconds: float
    suspect_monotonic_seconds: float | None = None
    """Since when it has been orphaned or stale, without a break."""


def _empty() -> Mapping[str, Seen]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenClock:
    entries: Mapping[str, Seen] = field(default_factory=_empty)


class Watch:
    """One look: asks the old clock, fills the new one. Entries that this look does not meet are forgotten."""

    def __init__(self, clock: SeenClock, *, now: float) -> None:
        self._before = clock.entries
        self._after: dict[str, Seen] = {}
        self._now = now

    def meet(self, key: str, *, suspect: bool) -> tuple[float, float | None]:
        """Age and, of a suspect, how long it has been one; both in seconds."""
        old = self._before.get(key)
        first = old.first_monotonic_seconds if old else self._now
        since = (old.suspect_monotonic_seconds if old else None) if suspect else None
        if suspect and since is None:
            since = self._now
        if len(self._after) < MAX_REMEMBERED and len(key) <= _LONGEST_KEY:
            same = old is not None and old.suspect_monotonic_seconds == since
            self._after[key] = old if old is not None and same else Seen(first_monotonic_seconds=first, suspect_monotonic_seconds=since)
        return max(0.0, self._now - first), None if since is None else max(0.0, self._now - since)

    def keep(self, prefix: str) -> None:
        """Carries over what was known under `prefix`: a pool that this look could not read."""
        for key, old in self._before.items():
            if key.startswith(prefix) and len(self._after) < MAX_REMEMBERED:
                self._after[key] = old

    def clock(self) -> SeenClock:
        return SeenClock(entries=MappingProxyType(self._after))


def to_document(clock: SeenClock, *, now: float) -> dict[str, list[float | None]]:
    """JSON-able: key → [age in seconds, seconds as a suspect or null]."""
    return {
        key: [
            round(max(0.0, now - seen.first_monotonic_seconds), 1),
            None if seen.suspect_monotonic_seconds is None else round(max(0.0, now - seen.suspect_monotonic_seconds), 1),
        ]
        for key, seen in clock.entries.items()
    }


def from_document(document: object, *, now: float) -> SeenClock:
    """The clock that another agent, or an earlier run, handed over. Items that do not read are left out. Never raises."""
    if not isinstance(document, dict):
        return SeenClock()
    entries: dict[str, Seen] = {}
    for key, value in document.items():
        if len(entries) >= MAX_REMEMBERED:
            break
        if not isinstance(key, str) or len(key) > _LONGEST_KEY or not isinstance(value, list) or len(value) != 2:
            continue
        age, suspect = _age(value[0]), _age(value[1])
        if age is not None:
            since = None if suspect is None else now - min(suspect, age)
            entries[key] = Seen(first_monotonic_seconds=now - age, suspect_monotonic_seconds=since)
    return SeenClock(entries=MappingProxyType(entries))


_OLDEST_SECONDS = 10 * 366 * 86_400.0


def _age(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _OLDEST_SECONDS:
        return None
    return float(value)
