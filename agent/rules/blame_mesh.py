"""Folds all nodes' rows into ways between nodes: works, broken, or not known.

Refuses to guess: a row that is missing, stale, never asked, of an unknown reason or in its first failure says nothing. A refused
connection proves the way. Pairs of a pod with a finding of its own, and of a pod that is dead while its node is not, say nothing about
nodes. One linear pass, since a cluster of 256 nodes tells of 16,000 pairs a round.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType

from agent.model.blame import NodeReport, OwnFinding, Row
from agent.model.probe import Reason
from agent.rules.explain import BREAKS_PAIRS

OWN_REASONS = frozenset({Reason.NET_UNREACHABLE.value, Reason.NO_SOURCE_ADDRESS.value})
"""The source pod cannot even send. Its own finding, which says more, needs a second look and is some seconds behind."""
LOST_REASONS = frozenset({Reason.NO_ROUTE.value, Reason.TIMEOUT.value}) | OWN_REASONS
CLOSED_REASONS = frozenset({Reason.REFUSED.value, Reason.RESET.value})
ENOUGH_WITNESSES = 2
"""One pair that fails both ways is no cut-off node: two others must say so, where there are two."""

Nodes = tuple[str, str]


def passes(row: Row) -> bool | None:
    """Whether packets pass from the source's node to the peer's and back; None where this row does not tell."""
    if row.stale or row.age_seconds is None or row.source_node == row.peer_node:
        return None
    if not row.failing:
        return True if row.tcp == "ok" or row.tcp in CLOSED_REASONS else None
    if row.answered_otherwise or row.tcp in CLOSED_REASONS:
        return True
    return False if row.tcp in LOST_REASONS else None


@dataclass(slots=True)
class NodeWays:
    """What is known of one node: other nodes by how it fares with them."""

    linked: set[str] = field(default_factory=set)
    """A connection passed, in either direction."""
    cannot_reach: set[str] = field(default_factory=set)
    not_reached_by: set[str] = field(default_factory=set)

    @property
    def broken(self) -> set[str]:
        return self.cannot_reach | self.not_reached_by


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshView:
    """All that the rules conclude from. `ways` holds only what is known: True works, False is broken."""

    reports: Mapping[str, NodeReport]
    parts: tuple[str, ...]
    """Nodes that take part, sorted."""
    ways: Mapping[Nodes, bool]
    nodes: Mapping[str, NodeWays]
    reasons: Mapping[Nodes, Counter[str]]
    """How the pairs of each way fail, where any do."""
    passed_age_seconds: Mapping[Nodes, float]
    """Of each way that works: how long ago a pair of it was last asked and passed."""
    failed_age_seconds: Mapping[Nodes, float]
    """Of each way that is broken: how long ago a pair of it was last asked and failed."""
    weak: frozenset[Nodes]
    """Broken ways for which only the source pod's own state speaks."""
    dead_pods: Mapping[str, str]
    """Pods of which every pair fails while another pod of their node works, with their node."""
    faulty_pods: Mapping[str, OwnFinding]
    told: tuple[tuple[Row, bool], ...]
    """Rows that tell something, with what."""
    failing: tuple[Row, ...]
    """All failing rows, stale ones and those on one node included: their findings want an explanation."""

    @property
    def linked_anywhere(self) -> bool:
        return any(one.linked for one in self.nodes.values())


def faulty_pods(reports: Iterable[NodeReport]) -> dict[str, OwnFinding]:
    """By pod, the most telling of the findings that break its pairs."""
    order = {name: rank for rank, name in enumerate(BREAKS_PAIRS)}
    found: dict[str, OwnFinding] = {}
    for report in reports:
        for one in report.pod_findings:
            if one.id in order and (one.broken not in found or order[one.id] < order[found[one.broken].id]):
                found[one.broken] = one
    return found


def read_mesh(
    reports: Iterable[NodeReport], *, now: float = 0.0, broken_since: Mapping[tuple[str, ...], float] = MappingProxyType({})
) -> MeshView:
    """From the nodes' reports; of two for one node the last is taken. `broken_since` holds nodes (one name) that are broken for so long
    that any pair of theirs would have been asked again: what passed before then has only not been asked since."""
    by_name = {report.name: report for report in reports}
    parts = {name for name, report in by_name.items() if report.takes_part}
    faulty = faulty_pods(by_name.values())
    told: list[tuple[Row, bool]] = []
    failing: list[Row] = []
    for report in by_name.values():
        for row in report.rows:
            if row.failing:
                failing.append(row)
            passed = passes(row)
            known = passed is not None and row.source_node in parts and row.peer_node in parts
            if passed is not None and known and row.source_pod not in faulty and row.peer_pod not in faulty:
                told.append((row, passed))
    dead = dead_pods(told, cluster_size=len(parts))
    ways, reasons, passed_age = _ways(told, dead)
    _fade(ways, reasons, passed_age, now=now, broken_since=broken_since)
    nodes = {name: NodeWays() for name in sorted(parts)}
    for (source, peer), works in ways.items():
        if works:
            nodes[source].linked.add(peer)
            nodes[peer].linked.add(source)
        else:
            nodes[source].cannot_reach.add(peer)
            nodes[peer].not_reached_by.add(source)
    return MeshView(
        reports=by_name,
        parts=tuple(sorted(parts)),
        ways=ways,
        nodes=nodes,
        reasons=reasons,
        passed_age_seconds=passed_age,
        failed_age_seconds=_failed_ages(told),
        weak=frozenset(key for key, works in ways.items() if not works and reasons[key].keys() <= OWN_REASONS),
        dead_pods=dead,
        faulty_pods=faulty,
        told=tuple(told),
        failing=tuple(failing),
    )


_Folded = tuple[dict[Nodes, bool], dict[Nodes, Counter[str]], dict[Nodes, float]]


def _ways(told: Iterable[tuple[Row, bool]], dead: Mapping[str, str]) -> _Folded:
    """One pair that works proves the way between two nodes. Ways, how they fail, and how long ago they passed."""
    ways: dict[Nodes, bool] = {}
    reasons: dict[Nodes, Counter[str]] = {}
    passed_age: dict[Nodes, float] = {}
    for row, passed in told:
        key = (row.source_node, row.peer_node)
        if passed:
            ways[key] = True
            age = row.age_seconds or 0.0
            if age < passed_age.get(key, inf):
                passed_age[key] = age
        elif row.source_pod not in dead and row.peer_pod not in dead:
            ways.setdefault(key, False)
            reasons.setdefault(key, Counter())[str(row.tcp)] += 1
    return ways, reasons, passed_age


def _failed_ages(told: Iterable[tuple[Row, bool]]) -> dict[Nodes, float]:
    """What passes again and is not believed yet does not fail any more."""
    ages: dict[Nodes, float] = {}
    for row, passed in told:
        if not passed and not row.mending:
            key = (row.source_node, row.peer_node)
            ages[key] = min(ages.get(key, inf), row.age_seconds or 0.0)
    return ages


def _fade(
    ways: dict[Nodes, bool],
    reasons: Mapping[Nodes, Counter[str]],
    passed_age: Mapping[Nodes, float],
    *,
    now: float,
    broken_since: Mapping[tuple[str, ...], float],
) -> None:
    """Forget what passed with a node of which nothing has passed since it broke. Where each node asks some pairs a round, old successes
    would else speak for a node that is gone until the last of them is asked again."""
    last: dict[str, float] = {}
    for nodes, age in passed_age.items():
        for node in nodes:
            last[node] = max(last.get(node, -inf), now - age)
    faded = {node for node, moment in last.items() if (node,) in broken_since and moment < broken_since[(node,)]}
    for nodes in [nodes for nodes, works in ways.items() if works and faded.intersection(nodes)] if faded else ():
        if nodes in reasons:
            ways[nodes] = False
        else:
            del ways[nodes]


def dead_pods(told: Iterable[tuple[Row, bool]], *, cluster_size: int) -> dict[str, str]:
    """Pods whose pairs all fail, while the same other nodes do reach (or are reached by) another pod of the node.

    The pod with the most failing pairs is judged first: whoever only fails with a dead pod is not dead himself.
    """
    rows_told = tuple(told)
    broken: dict[str, list[Row]] = {}
    for row, passed in rows_told:
        if not passed:
            broken.setdefault(row.source_pod, []).append(row)
            broken.setdefault(row.peer_pod, []).append(row)
    if not broken:
        return {}
    reached: set[Nodes] = set()
    reaches: set[Nodes] = set()
    for row, passed in rows_told:
        if passed:
            broken.pop(row.source_pod, None)
            broken.pop(row.peer_pod, None)
            reached.add((row.source_node, row.peer_node))
            reaches.add((row.source_pod, row.peer_node))
    dead: dict[str, str] = {}
    for pod in sorted(broken, key=lambda pod: (-len(broken[pod]), pod)):
        rows = [row for row in broken[pod] if row.source_pod not in dead and row.peer_pod not in dead]
        if not rows:
            continue
        node = rows[0].source_node if rows[0].source_pod == pod else rows[0].peer_node
        others = {_other(pod, row) for row in rows}
        proven = [row for row in rows if {(node, _other(pod, row)), (_other(pod, row), node)} & reached]
        if len(others) >= min(ENOUGH_WITNESSES, cluster_size - 1) and _both(pod, proven, reaches):
            dead[pod] = node
    return dead


def _other(pod: str, row: Row) -> str:
    return row.peer_node if row.source_pod == pod else row.source_node


def _both(pod: str, rows: Iterable[Row], reaches: set[Nodes]) -> bool:
    """A pod that asks must fail both ways, else it is the way that is broken, not the pod. `reaches`: source pods and nodes they reach."""
    as_source = any(row.source_pod == pod for row in rows)
    as_peer = any(row.peer_pod == pod for row in rows)
    if as_source or not as_peer:
        return as_source and as_peer
    # A pod that is only asked is dead if those who fail to reach it do reach its neighbour on the node.
    return any((row.source_pod, row.peer_node) in reaches for row in rows)
