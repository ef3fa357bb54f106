"""One line for the top of /cluster: what is broken and who is to blame, or how far it is known that nothing is.

Says what the findings say, then what no finding of the cluster covers: one pod, one pair, one port. Claims health only for ways that were
seen to work.
"""

from collections.abc import Iterable, Sequence

from agent.model.blame import NodeReport, Row
from agent.model.finding import Finding
from agent.rules.blame_explain import Explainer
from agent.rules.blame_mesh import MeshView
from agent.rules.blame_pods import closed_ports, dead_pods, of_pods
from agent.rules.blame_texts import cause, clause, names, quoted

_CLAUSES = 4
_ORDER = ("network-down", "network-split", "node-cut-off", "node-down", "one-way")


def width(finding: Finding) -> tuple[int, str]:
    """Sort key: the widest first."""
    return (_ORDER.index(finding.id) if finding.id in _ORDER else len(_ORDER), finding.culprit)


def sentence(mesh: MeshView, *, standing: Sequence[Finding], pending: Sequence[Finding], missing: Sequence[Finding]) -> str:
    """`pending` are claims of one round only; `missing` the agents that do not answer."""
    clauses = _of_findings(mesh, sorted(standing, key=width))
    clauses += [f"{clause} (seen in one round so far)" for clause in _of_findings(mesh, sorted(pending, key=width))]
    clauses += _left_over(mesh, Explainer(mesh, (*pending, *standing)))
    if not clauses:
        clauses = [one.summary for one in missing if one.explained_by is None]
    if not clauses:
        return f"storage network{_health(mesh)}"
    more = len(clauses) - _CLAUSES
    return "; ".join(clauses[:_CLAUSES]) + (f"; and {more} more" if more > 0 else "")


def _of_findings(mesh: MeshView, findings: Iterable[Finding]) -> list[str]:
    clauses: list[str] = []
    one_ways: list[tuple[str, str]] = []
    for finding in findings:
        subject = finding.subject
        if finding.id == "one-way":
            one_ways.append((subject.node or "", subject.peer_node or ""))
        elif finding.id == "node-cut-off":
            report = mesh.reports.get(subject.node or "")
            why = cause(report) if report else None
            clauses.append(f"{subject.node} is cut off" + (f", {clause(why)}" if why else _nothing_found(report)))
        elif finding.id == "node-down":
            clauses.append(f"{subject.node} seems to be down")
        else:
            clauses.append(finding.summary)
    return clauses + _of_one_ways(one_ways)


def _nothing_found(report: NodeReport | None) -> str:
    own_side_is_fine = report is not None and report.answered and not report.pod_findings
    return ", its own side looks fine: suspect its switch port or VLAN" if own_side_is_fine else ""


def _of_one_ways(one_ways: Sequence[tuple[str, str]]) -> list[str]:
    """Several with one node in common are one clause."""
    left, clauses = list(one_ways), []
    while left:
        by_source = {node: [nodes for nodes in left if nodes[0] == node] for node, _ in left}
        by_peer = {peer: [nodes for nodes in left if nodes[1] == peer] for _, peer in left}
        group = max((*by_source.values(), *by_peer.values()), key=len)
        sources, peers = {a for a, _ in group}, {b for _, b in group}
        clauses.append(f"{names(sources)} {'does' if len(sources) == 1 else 'do'} not reach {names(peers)}, the other way works")
        left = [nodes for nodes in left if nodes not in group]
    return clauses


def _left_over(mesh: MeshView, explainer: Explainer) -> list[str]:
    """What the cluster has no finding for. Whatever a claim explains is not told again."""
    clauses = dead_pods(mesh)
    broken: set[tuple[str, str]] = set()
    single: list[Row] = []
    for row, passed in mesh.told:
        if passed or row.source_pod in mesh.dead_pods or row.peer_pod in mesh.dead_pods:
            continue
        if explainer.why((row.source_node, row.source_pod, row.peer_node, row.peer_pod), lost=True) is not None:
            continue
        nodes = (row.source_node, row.peer_node)
        if mesh.ways.get(nodes):
            single.append(row)
        else:
            broken.add(nodes)
    clauses += _of_ways(mesh, broken)
    return clauses + of_pods(mesh, single) + closed_ports(mesh) + _own_faults(mesh)


def _of_ways(mesh: MeshView, broken: set[tuple[str, str]]) -> list[str]:
    clauses, left = [], set(broken)
    for node in mesh.parts:
        mine = {nodes for nodes in left if node in nodes}
        if mine and not mesh.nodes[node].linked and mine <= {(other, node) for other in mesh.parts}:
            others = {source for source, _ in mine}
            silent = "" if mesh.reports[node].answered else ", whose agent does not answer"
            clauses.append(f"{names(others)} {'does' if len(others) == 1 else 'do'} not reach {node}{silent}: cannot tell why")
            left -= mine
    for nodes in sorted(left):
        a, b = nodes
        if (b, a) not in left:
            clauses.append(f"{a} does not reach {b}")
        elif a < b:
            clauses.append(f"{a} and {b} do not reach each other")
    return clauses


def _own_faults(mesh: MeshView) -> list[str]:
    """Only those that break a pair now."""
    hit = {pod for row in mesh.failing if not row.stale for pod in (row.source_pod, row.peer_pod)}
    return [quoted(one.summary) for pod, one in sorted(mesh.faulty_pods.items()) if pod in hit]


def _health(mesh: MeshView) -> str:
    nodes = len(mesh.parts)
    if nodes < 2:
        return " ok: 1 node, no other to reach" if nodes else ": cannot tell, no node takes part"
    known, possible = sum(mesh.ways.values()), nodes * (nodes - 1)
    if known == possible:
        return f" ok: {nodes} nodes reach each other"
    if not known:
        return f": cannot tell, no fresh row between its {nodes} nodes"
    return f" ok: {nodes} nodes, nothing wrong found in {known} of {possible} ways between them"
