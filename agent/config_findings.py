"""The part of the settings that speaks of findings: severities of one's own, and what to list without counting it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from agent.config_kinds import LONGEST_TEXT_CHARACTERS, NODE, BadValue, Choice
from agent.config_yaml import BadYaml, parse_yaml
from agent.model.catalogue import CATALOGUE
from agent.model.finding import Subject

LEVEL = Choice(words=("off", "info", "warning", "critical"))

MOST_RULES = 200
"""More exceptions than that are a policy, which belongs in `findings.<id>`; every finding is compared with each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """Findings of one id, where given of one node or one pod, until a moment of the wall clock (a promise made to people)."""

    id: str
    why: str
    node: str | None = None
    pod: str | None = None
    """namespace/name."""
    until: str | None = None
    until_wall_seconds: float | None = None

    def covers(self, *, finding_id: str, subject: Subject, wall_seconds: float) -> bool:
        """A node or pod is meant wherever it stands in the finding, as subject or as peer."""
        if finding_id != self.id or (self.until_wall_seconds is not None and wall_seconds >= self.until_wall_seconds):
            return False
        node_fits = self.node is None or self.node in (subject.node, subject.peer_node)
        return node_fits and (self.pod is None or self.pod in (subject.pod, subject.peer_pod))

    def as_dict(self) -> dict[str, str]:
        texts = {"id": self.id, "node": self.node, "pod": self.pod, "until": self.until, "why": self.why}
        return {key: value for key, value in texts.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRules:
    """Kind of `findings.ignore`; a text (environment, flag) holds the list as YAML."""

    expected: str = "a list of {id, node?, pod?, until?, why}"

    def from_text(self, text: str) -> tuple[IgnoreRule, ...]:
        try:
            return self.from_yaml(parse_yaml(text) or [])
        except BadYaml:
            raise BadValue(f"{self.expected}, written as YAML") from None

    def from_yaml(self, value: object) -> tuple[IgnoreRule, ...]:
        if not isinstance(value, list):
            raise BadValue
        if len(value) > MOST_RULES:
            raise BadValue(f"{self.expected}, at most {MOST_RULES}")
        return tuple(_rule(entry, place=place) for place, entry in enumerate(value, start=1))


def _rule(entry: object, *, place: int) -> IgnoreRule:
    at = f"[{place}]"
    if not isinstance(entry, dict):
        raise BadValue("a mapping with id and why", at=at, part=entry)
    for key, text in entry.items():
        where = f"{at}.{key[:40]}"
        if key not in ("id", "node", "pod", "until", "why"):
            raise BadValue("only id, node, pod, until and why", at=where, part=text)
        if not isinstance(text, str) or not text.strip():
            raise BadValue("a text", at=where, part=text)
        if not _PLAUSIBLE[key](text):
            raise BadValue(_EXPECTED[key], at=where, part=text)
    for key in ("id", "why"):
        if key not in entry:
            raise BadValue(_EXPECTED[key], at=f"{at}.{key}", part=None)
    until = entry.get("until")
    return IgnoreRule(
        id=entry["id"],
        why=" ".join(entry["why"].split()),
        node=entry.get("node"),
        pod=entry.get("pod"),
        until=until,
        until_wall_seconds=_wall_seconds(until) if until is not None else None,
    )


def _wall_seconds(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


_EXPECTED = {
    "id": "the id of a finding",
    "node": NODE.expected,
    "pod": "a pod as namespace/name",
    "until": "a time with its zone such as 2026-12-24T18:00:00Z",
    "why": "the sentence that is to stand beside the ignored finding",
}
_PLAUSIBLE: dict[str, Callable[[str], bool]] = {
    "id": lambda text: text in CATALOGUE,
    "node": lambda text: re.fullmatch(NODE.pattern, text) is not None,
    "pod": lambda text: re.fullmatch(r"[^/\s]+/[^/\s]+", text) is not None,
    "until": lambda text: _wall_seconds(text) is not None,
    "why": lambda text: len(text) <= LONGEST_TEXT_CHARACTERS,
}
