"""From findings to one word, and which findings count at all: by mode, by the operator's own settings, worst first."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from agent.model.catalogue import CATALOGUE
from agent.model.finding import ActiveFinding, Scope, Severity, Subject, Verdict
from agent.model.peers import Mode
from agent.rules.blame_explain import keeps_verdict

WIDEST_FIRST = (Scope.CLUSTER, Scope.POOL, Scope.NODE, Scope.POD, Scope.PAIR, Scope.AGENT)
_LEFTOVERS = ("nad-leftover", "pool-leftover")
_MESH = ("node-cut-off", "one-way", "network-split", "network-down")
_HELD_SCOPES = (Scope.POD, Scope.PAIR, Scope.NODE)


class Ignoring(Protocol):
    """One entry of the setting `findings.ignore`. Its date is wall clock: a person wrote it."""

    @property
    def why(self) -> str: ...

    def covers(self, *, finding_id: str, subject: Subject, wall_seconds: float) -> bool: ...


def held_back(mode: Mode, *, applying_seconds: float, stuck_seconds: float) -> bool:
    """While the setting is being applied pods come and go on purpose; a cluster that stays so for long is not met with silence."""
    return mode is Mode.APPLYING and applying_seconds < stuck_seconds


def visible(findings: Iterable[ActiveFinding], *, mode: Mode, held: bool) -> tuple[tuple[ActiveFinding, ...], int]:
    """The findings that the mode lets through (contract §4), and how many are held back for now."""
    shown, hidden = [], 0
    for active in findings:
        finding = active.finding
        if mode in (Mode.OFF, Mode.UNINITIALISED):
            if finding.scope is Scope.AGENT or finding.id in _LEFTOVERS:
                shown.append(active)
        elif held and (finding.id in _MESH or (finding.scope in _HELD_SCOPES and not CATALOGUE[finding.id].holder)):
            hidden += 1
        else:
            shown.append(active)
    return tuple(shown), hidden


def apply_settings(
    findings: Iterable[ActiveFinding], *, severities: Mapping[str, Severity | None], ignore: Iterable[Ignoring], wall: float
) -> tuple[ActiveFinding, ...]:
    """The operator's word: other severities (None is off), and ignored ones marked with why."""
    rules = tuple(ignore)
    kept = []
    for active in findings:
        finding = active.finding
        severity = severities.get(finding.id, finding.severity)
        if severity is None:
            continue
        why = next((rule.why for rule in rules if rule.covers(finding_id=finding.id, subject=finding.subject, wall_seconds=wall)), None)
        kept.append(replace(active, finding=replace(finding, severity=severity, ignored=why)))
    return tuple(kept)


def counts(active: ActiveFinding, *, node: str | None = None) -> bool:
    """Explained and ignored findings stay listed, outside every verdict; but the culprit's own `node` keeps its verdict."""
    finding = active.finding
    return finding.ignored is None and (
        finding.explained_by is None or (node is not None and keeps_verdict(finding.explained_by, node=node))
    )


def worst_first(findings: Iterable[ActiveFinding]) -> tuple[ActiveFinding, ...]:
    """Those that count before those that don't, then by severity, then the widest scope, then the oldest."""
    return tuple(
        sorted(
            findings,
            key=lambda active: (
                not counts(active),
                -active.finding.severity.rank,
                WIDEST_FIRST.index(active.finding.scope),
                active.since_monotonic_seconds,
                active.finding.culprit,
            ),
        )
    )


def node_verdict(findings: Iterable[ActiveFinding], *, mode: Mode, complete: bool, held: int = 0, node: str | None = None) -> Verdict:
    """The worst of what counts. `complete` is False until the first round is: until then nothing better than unknown is claimed."""
    worst = Verdict.OK if complete and not held else Verdict.UNKNOWN
    if mode in (Mode.OFF, Mode.UNINITIALISED):
        worst = Verdict.INACTIVE
    for active in findings:
        if counts(active, node=node) and active.finding.severity is not Severity.INFO:
            worst = max(worst, Verdict(active.finding.severity.value), key=lambda verdict: verdict.rank)
    return worst
