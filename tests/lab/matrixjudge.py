"""Watches what agents say while one case of the matrix lasts: when each thing that must be said was said, and what was said falsely.

Pure: it is handed documents and times and keeps what it saw. A finding that follows from another one may stand unexplained for as long
as the holder's next round takes; after that it is as false as any other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from matrixtools import Json

EXPLAINED_WITHIN_SECONDS = 20.0
"""Two rounds of the probes, one of the holder and one of the asking agent, at an interval of 5 s."""
CLUSTER = "cluster"


class Matcher(Protocol):
    """One thing that somebody must or may say."""

    @property
    def label(self) -> str: ...
    @property
    def required(self) -> bool: ...
    def is_about(self, finding: Json, *, place: str) -> bool: ...
    def problem(self, finding: Json) -> str: ...


@dataclass(slots=True)
class Sight:
    """What one finding looked like, and since when it stands unexplained."""

    text: str
    unexplained_since: float | None
    is_pair: bool


@dataclass(slots=True)
class Watch:
    matchers: tuple[Matcher, ...]
    seen_at: dict[str, float] = field(default_factory=dict)
    """Seconds by label of what must be said, at the first time it was said rightly."""
    wrong: dict[str, str] = field(default_factory=dict)
    """What was said about the right thing, but not rightly; by label, the last time."""
    false: dict[str, str] = field(default_factory=dict)
    _standing: dict[tuple[str, str, str], Sight] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        return [one.label for one in self.matchers if one.required and one.label not in self.seen_at]

    def look(self, documents: Mapping[str, Json], *, at: float) -> None:
        """`documents`: findings' documents by place (a node's name, or `cluster`)."""
        present: set[tuple[str, str, str]] = set()
        for place, document in documents.items():
            for finding in document.get("findings", ()):
                self._take(finding, place=place, at=at, present=present)
        for key in [key for key in self._standing if key not in present]:
            del self._standing[key]

    def _take(self, finding: Json, *, place: str, at: float, present: set[tuple[str, str, str]]) -> None:
        about = [one for one in self.matchers if one.is_about(finding, place=place)]
        problems = {one.label: one.problem(finding) for one in about}
        for label, problem in problems.items():
            if not problem:
                self.seen_at.setdefault(label, at)
                self.wrong.pop(label, None)
            elif all(problems.values()):  # else it is what another one waited for
                self.wrong[label] = problem
        if about or not is_loud(finding):
            return
        key = (place, finding["id"], finding["culprit"])
        present.add(key)
        sight = self._standing.setdefault(key, Sight(describe(finding, place=place), at, finding["scope"] == "pair"))
        if not sight.is_pair or at - (sight.unexplained_since or at) > EXPLAINED_WITHIN_SECONDS:
            self.false.setdefault(sight.text, f"{at:.0f} s")


def is_loud(finding: Json) -> bool:
    """Whether it would count for a verdict."""
    return finding["severity"] != "info" and not finding["explained_by"] and not finding["ignored"]


def loud(documents: Mapping[str, Json]) -> list[str]:
    return [
        describe(finding, place=place)
        for place, document in documents.items()
        for finding in document.get("findings", ())
        if finding["severity"] != "info" and not finding["ignored"]
    ]


def describe(finding: Json, *, place: str) -> str:
    reason = f"/{finding['reason']}" if finding["reason"] else ""
    return f"{place}: {finding['severity']} {finding['id']}{reason} {finding['culprit']}: {finding['summary']}"


def seconds(values: Iterable[float]) -> float | None:
    found = list(values)
    return max(found) if found else None
