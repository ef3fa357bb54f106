"""Clauses for what one pod does or suffers while its node is well: whom nobody reaches, who reaches nobody, whose port is closed.

Says "nobody" and "all" only of those who asked lately.
"""

from collections import Counter
from collections.abc import Sequence

from agent.model.blame import Row
from agent.model.finding import short
from agent.model.probe import Reason
from agent.rules.blame_mesh import CLOSED_REASONS, MeshView
from agent.rules.blame_texts import names


def dead_pods(mesh: MeshView) -> list[str]:
    addresses = {row.peer_pod: row.peer_address for row, _ in mesh.told if row.peer_address} if mesh.dead_pods else {}
    return [
        f"no pair of {_named(pod, addresses.get(pod))} on {node} passes, while another pod of {node} is reached"
        for pod, node in sorted(mesh.dead_pods.items())
    ]


def of_pods(mesh: MeshView, rows: Sequence[Row]) -> list[str]:
    """`rows` are broken pairs of nodes between which other pairs pass. Several with one pod in common are one clause."""
    into, out_of = Counter(row.peer_pod for row in rows), Counter(row.source_pod for row in rows)
    by_peer: dict[str, list[Row]] = {}
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        if into[row.peer_pod] >= out_of[row.source_pod]:
            by_peer.setdefault(row.peer_pod, []).append(row)
        else:
            by_source.setdefault(row.source_pod, []).append(row)
    groups = [*by_peer.values(), *by_source.values()]
    said = [_one_pair(group[0]) if len(group) == 1 else "" for group in groups]
    said = [text or (_not_reached if i < len(by_peer) else _reaches_not)(mesh, groups[i]) for i, text in enumerate(said)]
    return [text for _, text in sorted(zip(groups, said, strict=True), key=lambda one: -len(one[0]))]


def _one_pair(row: Row) -> str:
    return f"{short(row.source_pod)} on {row.source_node} does not reach {_peer(row)}, other pairs of these nodes pass"


def _peer(row: Row) -> str:
    return f"{_named(row.peer_pod, row.peer_address)} on {row.peer_node}"


def _named(pod: str, address: str | None) -> str:
    return f"{short(pod)} ({address})" if address else short(pod)


def _not_reached(mesh: MeshView, rows: Sequence[Row]) -> str:
    first, askers = rows[0], {row.source_pod for row in rows}
    passed = [row for row, passes in mesh.told if passes and row.peer_node == first.peer_node]
    whole = len(askers) > 1 and not any(row.peer_pod == first.peer_pod for row in passed)
    who = "nobody reaches" if whole else f"{names({row.source_node for row in rows})} do not reach"
    neighbours = {row.peer_pod for row in passed} - {first.peer_pod}
    beside = {0: "other pairs of these nodes pass", 1: "whose other pod is reached"}.get(len(neighbours), "whose other pods are reached")
    return f"{who} {_peer(first)}, {beside}"


def _reaches_not(mesh: MeshView, rows: Sequence[Row]) -> str:
    first = rows[0]
    whole = not any(passes and row.source_pod == first.source_pod for row, passes in mesh.told)
    whom = "reaches nobody on" if whole else "does not reach pods on"
    return (
        f"{short(first.source_pod)} on {first.source_node} {whom} {names({row.peer_node for row in rows})}, other pairs of these nodes pass"
    )


def closed_ports(mesh: MeshView) -> list[str]:
    """One clause a peer, however many find its port closed."""
    closed: dict[str, list[Row]] = {}
    otherwise: dict[str, str] = {}
    for row in mesh.failing:
        if row.stale or row.source_pod in mesh.faulty_pods or row.peer_pod in mesh.faulty_pods:
            continue
        if row.tcp in CLOSED_REASONS:
            closed.setdefault(row.peer_pod, []).append(row)
        elif row.answered_otherwise:
            otherwise.setdefault(row.peer_pod, f"{_peer(row)} answers, but not on its port")
    asking = {pod: {row.source_node for row in rows} for pod, rows in closed.items()}
    for row in (row for report in mesh.reports.values() for row in report.rows) if closed else ():
        if row.peer_pod in asking and not row.stale and row.tcp == Reason.OK:
            asking[row.peer_pod].add(row.source_node)
    said = otherwise | {
        pod: f"{_peer(rows[0])} does not serve its port: {_turned_away(rows, of=len(asking[pod]))}" for pod, rows in closed.items()
    }
    return [said[pod] for pod in sorted(said)]


def _turned_away(rows: Sequence[Row], *, of: int) -> str:
    """Counted, not named: none of those who are turned away is to blame."""
    nodes = len({row.source_node for row in rows})
    how = "refused" if any(row.tcp == Reason.REFUSED for row in rows) else "reset"
    if of == 1:
        return f"the only node that asks is {how}"
    return f"{f'all {of}' if nodes == of else f'{nodes} of {of}'} nodes that ask {'is' if nodes == 1 else 'are'} {how}"
