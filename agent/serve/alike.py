"""Puts like findings into one paragraph, for people only: what six nodes see of one pod is one thing to read, and the JSON has them all."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agent.model.finding import Scope, short
from agent.rules.roundup import MESH

_LISTED = 4
_MANY_NODES = 3
_Finding = Mapping[str, Any]


def together(findings: Sequence[_Finding]) -> list[_Finding]:
    """In their order; the first of each group stands for it, with a line of evidence for the others."""
    return _nodes(_causes(_pairs(_sources(findings))))


def _sources(findings: Sequence[_Finding]) -> list[_Finding]:
    """Sources grow old together, with the one API server: one paragraph for all of them, on all nodes."""
    old = [one for one in findings if one["id"] == "sources-stale"]
    if len(old) < 2:
        return list(findings)
    nodes = sorted({str(one.get("culprit")) for one in old})
    first = _with(old[0], f"{len(old)} sources in all, on {_few(nodes, most=6)}")
    return [first if one is old[0] else one for one in findings if one["id"] != "sources-stale" or one is old[0]]


def _pairs(findings: Sequence[_Finding]) -> list[_Finding]:
    """Pairs that fail alike and have a pod in common: its askers, or those whom it asks, whichever are more."""
    keys = [(_end(one, "peer_pod"), _end(one, "pod")) for one in findings]
    into, out_of = Counter(peer for peer, _ in keys if peer), Counter(source for _, source in keys if source)
    groups: dict[tuple[str, ...], list[_Finding]] = {}
    told: list[list[_Finding]] = []
    for one, (peer, source) in zip(findings, keys, strict=True):
        if peer is None or source is None:
            told.append([one])
            continue
        key = ("to", *peer) if into[peer] >= out_of[source] else ("from", *source)
        if key not in groups:
            told.append(groups.setdefault(key, []))
        groups[key].append(one)
    return [_told(group) for group in told]


def _end(one: _Finding, key: str) -> tuple[str, ...] | None:
    subject = one.get("subject")
    pod = subject.get(key) if isinstance(subject, dict) else None
    return (str(one["id"]), str(one["severity"]), pod) if one.get("scope") == Scope.PAIR and isinstance(pod, str) else None


def _told(group: Sequence[_Finding]) -> _Finding:
    first, others = group[0], [one["subject"] for one in group[1:]]
    if not others:
        return first
    if all(one["peer_pod"] == first["subject"]["peer_pod"] for one in others):
        return _with(first, f"the same from {_few(sorted({str(one.get('node')) for one in others}))}")
    return _with(first, "the same to " + _few([f"{short(one['peer_pod'])} on {one.get('peer_node')}" for one in others]))


def _causes(findings: Sequence[_Finding]) -> list[_Finding]:
    """A node that is cut off for a reason that it found itself is one thing, told with the next step for that reason."""
    cut = {(_node(one), str(one.get("reason"))): one for one in findings if one["id"] == "node-cut-off" and _node(one)}
    causes = {
        (_node(one), str(one["id"])): one for one in findings if (_node(one), str(one["id"])) in cut and one.get("scope") == Scope.NODE
    }
    told: list[_Finding] = []
    for one in findings:
        cause = causes.get((_node(one), str(one.get("reason")))) if one["id"] == "node-cut-off" else None
        if cause is not None:
            told.append(_with_cause(one, cause))
        elif (_node(one), str(one["id"])) not in causes:
            told.append(one)
    return told


def _with_cause(one: _Finding, cause: _Finding) -> _Finding:
    said = f"{cause['id']} since {str(cause.get('since') or '')[11:]}: {cause.get('seen') or cause.get('summary')}"
    evidence = one.get("evidence")
    rest = [line for line in evidence if not str(line).startswith(f"{cause['id']}: ")] if isinstance(evidence, list) else []
    return {**one, "evidence": [said, *rest]}


def _node(one: _Finding) -> str | None:
    subject = one.get("subject")
    node = subject.get("node") if isinstance(subject, dict) else None
    return node if isinstance(node, str) else None


def _nodes(findings: Sequence[_Finding]) -> list[_Finding]:
    """What is the matter with so many nodes at once has one cause; each node's own page tells of it."""
    groups: dict[tuple[str, str], list[_Finding]] = {}
    for one in findings:
        if one.get("scope") == Scope.NODE:
            groups.setdefault((str(one["id"]), str(one["severity"])), []).append(one)
    many = {key: group for key, group in groups.items() if len(group) >= _MANY_NODES and key[0] not in MESH}
    told: list[_Finding] = []
    for one in findings:
        group = many.get((str(one["id"]), str(one["severity"])), []) if one.get("scope") == Scope.NODE else []
        if not group:
            told.append(one)
        elif one is group[0]:
            told.append(_with(one, f"the same on {_few(sorted(str(_node(other)) for other in group[1:]))}"))
    return told


def _with(one: _Finding, line: str) -> dict[str, Any]:
    evidence = one.get("evidence")
    # First, since a long list is cut at its end.
    return {**one, "evidence": [line, *(evidence if isinstance(evidence, list) else ())]}


def _few(names: Sequence[str], *, most: int = _LISTED) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
