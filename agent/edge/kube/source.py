"""One source as readers know it (`pods`, `setting`, …), made of any number of reflectors. It is as good as its worst one."""

from typing import Generic, TypeVar

from agent.edge.kube.reflector import Reflector
from agent.model.cluster import Known
from agent.model.records import SourceState, SourceStatus

T = TypeVar("T")

WORST_LAST = (SourceState.LIVE, SourceState.ABSENT, SourceState.STALE, SourceState.FORBIDDEN, SourceState.NEVER)
"""How states combine; the same order as ClusterFacts.statuses()."""


class Source(Generic[T]):
    """One name of `sources`, made of any number of reflectors."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reflectors: dict[str, Reflector[T]] = {}
        self.notes: tuple[str, ...] = ()
        self.empty_is_live = False
        """With nothing to watch the source is live and empty, because somebody decided that there is nothing."""
        self._retired_revisions = 0
        self._items: tuple[int, tuple[T, ...]] = (-1, ())

    @property
    def settled(self) -> bool:
        return all(reflector.store.settled for reflector in self.reflectors.values())

    @property
    def revision(self) -> int:
        return self._retired_revisions + sum(reflector.store.revision for reflector in self.reflectors.values())

    def retire(self, key: str) -> None:
        """The revision goes on growing without this reflector."""
        self._retired_revisions += self.reflectors.pop(key).store.revision + 1

    def known(self, *, now: float) -> Known[T]:
        parts = [self.reflectors[key].store.known() for key in sorted(self.reflectors)]
        revision = self.revision
        if self._items[0] != revision:
            self._items = (revision, tuple(item for part in parts for item in part.items))
        confirmed = [part.confirmed_monotonic_seconds for part in parts]
        return Known(
            items=self._items[1],
            status=self._status([part.status for part in parts]),
            revision=revision,
            confirmed_monotonic_seconds=_oldest(confirmed) if parts else (now if self.empty_is_live else None),
            skipped=tuple(reason for part in parts for reason in part.skipped),
        )

    def _status(self, statuses: list[SourceStatus]) -> SourceStatus:
        if not statuses:
            state = SourceState.LIVE if self.empty_is_live else SourceState.NEVER
            return SourceStatus(name=self.name, state=state, detail="; ".join(self.notes) or None)
        worst = max(statuses, key=lambda status: (WORST_LAST.index(status.state), status.age_seconds))
        detail = worst.detail or next((status.detail for status in statuses if status.detail), None)
        said = [text for text in (detail, *self.notes) if text]
        return SourceStatus(name=self.name, state=worst.state, age_seconds=worst.age_seconds, detail="; ".join(said) or None)


def _oldest(moments: list[float | None]) -> float | None:
    return None if any(moment is None for moment in moments) else min(moment for moment in moments if moment is not None)
