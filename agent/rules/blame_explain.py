"""Which finding explains which of the nodes' own pair findings: of several true explanations the widest (contract §5).

A node's host path explains pairs only while no pair of that node works: what passes disproves it. A port that is closed is explained by
the pods alone, since packets pass.
"""

from collections.abc import Iterable, Mapping

from agent.model.finding import Finding
from agent.model.gathered import Identity
from agent.rules.blame_mesh import CLOSED_REASONS, MeshView
from agent.rules.blame_texts import cause

_UNREACHABLE, _CLOSED = "peer-unreachable", "peer-port-closed"
_WAY_FINDINGS = (_UNREACHABLE, "packet-loss", "latency-high", "large-packets-lost")
"""What goes wrong with a pair when packets do not pass."""
_OF_EVERY_PAIR = ("bridge-missing",)
"""Breaks the pairs on its node as well, which never see the uplink."""

_Pair = tuple[str, str, str, str]
"""node, pod, peer_node, peer_pod: the identity keys of a pair finding."""


class Explainer:
    """Asked once for every pair."""

    def __init__(self, mesh: MeshView, standing: Iterable[Finding]) -> None:
        self._mesh = mesh
        self._down: str | None = None
        self._side: dict[str, int] = {}
        self._split: str | None = None
        self._nodes: dict[str, str] = {}
        self._one_way: dict[tuple[str, str], str] = {}
        for finding in standing:
            self._take(finding)

    def _take(self, finding: Finding) -> None:
        subject = finding.subject
        match finding.id:
            case "network-down":
                self._down = finding.name
            case "network-split":
                self._split = finding.name
                self._side = {node: side for side, group in enumerate((subject.groups or "").split("|")) for node in group.split(",")}
            case "node-down" | "node-cut-off":
                self._nodes[subject.node or ""] = finding.name
            case "one-way":
                self._one_way[(subject.node or "", subject.peer_node or "")] = finding.name

    def why(self, pair: _Pair, *, lost: bool) -> str | None:
        """`<id>:<culprit>`, or None; `lost`: packets do not pass, as far as the pair itself tells."""
        node, pod, peer_node, peer_pod = pair
        wider = self._wider(node, peer_node) if lost else None
        if wider is not None:
            return wider
        own = self._mesh.faulty_pods.get(pod) or self._mesh.faulty_pods.get(peer_pod)
        return own.name if own else None

    def _wider(self, node: str, peer: str) -> str | None:
        if node == peer:
            return self._host_path(node, only=_OF_EVERY_PAIR)
        if self._down is not None:
            return self._down
        sides = (self._side.get(node), self._side.get(peer))
        if None not in sides and sides[0] != sides[1]:
            return self._split
        return (
            self._nodes.get(peer)
            or self._nodes.get(node)
            or self._one_way.get((node, peer))
            or self._host_path(peer)
            or self._host_path(node)
        )

    def _host_path(self, node: str, *, only: tuple[str, ...] | None = None) -> str | None:
        report, ways = self._mesh.reports.get(node), self._mesh.nodes.get(node)
        if report is None or (ways is not None and ways.linked):
            return None
        why = cause(report)
        return why.name if why is not None and (only is None or why.id in only) else None


def explanations(mesh: MeshView, standing: Iterable[Finding]) -> Mapping[Identity, str]:
    """By identity. From the rows, and for the pair findings that the nodes list beside them."""
    explainer = Explainer(mesh, standing)
    told: dict[Identity, str] = {}
    closed: set[_Pair] = set()
    for row in mesh.failing:
        pair = (row.source_node, row.source_pod, row.peer_node, row.peer_pod)
        shut = row.tcp in CLOSED_REASONS
        if shut or row.answered_otherwise:
            closed.add(pair)
        why = explainer.why(pair, lost=pair not in closed)
        if why is not None:
            told[(_CLOSED if shut else _UNREACHABLE, *pair)] = why
    for report in mesh.reports.values():
        for identity in report.pair_findings:
            if len(identity) != 5 or identity in told:
                continue
            name, node, pod, peer_node, peer_pod = identity
            pair = (node, pod, peer_node, peer_pod)
            why = explainer.why(pair, lost=name in _WAY_FINDINGS and pair not in closed)
            if why is not None and name in (*_WAY_FINDINGS, _CLOSED):
                told[identity] = why
    return told


def keeps_verdict(explained_by: str, *, node: str) -> bool:
    """Whether a finding of `node` with this explanation still counts for the node's own verdict: the culprit is `node` itself."""
    name, _, culprit = explained_by.partition(":")
    if name in ("node-down", "node-cut-off"):
        return culprit == node
    if name == "network-split":
        return node in culprit.split("+")
    return name == "one-way" and culprit.partition(">")[0] == node
