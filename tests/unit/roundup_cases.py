"""Clusters as other agents would tell of them: status documents, rows and explanations, healthy unless a test breaks them."""

from typing import Any

from agent.model.gathered import Answered, Judgement, Reply, Roundup, Silence, Unreachable
from agent.rules.roundup import round_up
from agent.rules.roundup_read import read_rows, read_statuses

NOW, WALL = 1000.0, 1_800_000_000.0
MILLISECOND = 0.001


def finding(
    name: str = "uplink-down", severity: str = "critical", *, node: str = "harv43", scope: str = "node", **fields: Any
) -> dict[str, Any]:
    return {
        "id": name,
        "severity": severity,
        "scope": scope,
        "subject": {"node": node},
        "culprit": node,
        "summary": f"uplink storage-bo of {node} has no carrier",
        "seen": "ens5 and ens6 are down",
        "expected": "carrier on at least one of ens5, ens6",
        "evidence": [],
        "since": "2026-11-20T07:58:12Z",
        "age_seconds": 130.0,
        "clears_when": "carrier is back",
        "next_step": f"look at cables and switch ports of {node} ens5, ens6; then `ip -d link show storage-bo`",
        "runbook": "https://example.org/runbooks/uplink-down.md",
        "explained_by": None,
        "ignored": None,
        **fields,
    }


def pair_finding(node: str, peer: str, **fields: Any) -> dict[str, Any]:
    subject = {"node": node, "pod": f"longhorn-system/im-{node}", "peer_node": peer, "peer_pod": f"longhorn-system/im-{peer}"}
    return finding(
        "peer-unreachable", scope="pair", node=node, subject=subject, culprit=f"{node}>{peer}", summary=f"{node} does not reach {peer}"
    ) | dict(fields)


def pair_identity(node: str, peer: str) -> tuple[str, ...]:
    return ("peer-unreachable", node, f"longhorn-system/im-{node}", peer, f"longhorn-system/im-{peer}")


def status(node: str, *findings: dict[str, Any], **fields: Any) -> dict[str, Any]:
    worst = "critical" if any(one["severity"] == "critical" for one in findings) else "ok"
    return {
        "schema": 1,
        "node": node,
        "lease": "other",
        "holder": "harv42",
        "mode": "on",
        "verdict": worst,
        "sources": {"lease": {"state": "live", "age_seconds": 0.0}},
        "findings": list(findings),
        **fields,
    }


def answered(document: Any, *, ago: float = 0.0) -> Answered:
    return Answered(document=document, received_monotonic_seconds=NOW - ago)


SILENT = Unreachable(silence=Silence.SILENT, why="silent", last_answer_age_seconds=64.0)
REFUSED = Unreachable(silence=Silence.REFUSED, why="refused")


def row(index: int, tcp: str | None = "ok", **fields: Any) -> list[Any]:
    told = {
        "http": "ok",
        "large": "ok",
        "rtt": 0.2 * MILLISECOND if tcp == "ok" else None,
        "age": 3.0,
        "failing": int(tcp not in ("ok", None)),
    }
    told |= fields
    return [0, index, tcp, told["http"], told["large"], told["rtt"], told["age"], told["failing"]]


def rows(node: str, peers: list[str], broken: dict[str, list[Any]] | None = None, **fields: Any) -> dict[str, Any]:
    """One pod a node; `broken` holds other rows by peer, with any index."""
    others = [peer for peer in peers if peer != node]
    told = []
    for i, peer in enumerate(others):
        special = (broken or {}).get(peer)
        told.append([0, i, *special[2:]] if special else row(i))
    return {
        "schema": 1,
        "node": node,
        "round": 118,
        "interval_seconds": 10.0,
        "coverage_seconds": 10.0,
        "sources": [f"longhorn-system/im-{node}"],
        "source_addresses": ["192.168.0.2"],
        "peers": [[peer, f"longhorn-system/im-{peer}", "192.168.0.3", "im"] for peer in others],
        "rows": told,
        **fields,
    }


def names(count: int, first: int = 41) -> list[str]:
    return [f"harv{first + i}" for i in range(count)]


def cluster(
    nodes: list[str],
    *,
    broken: dict[tuple[str, str], list[Any]] | None = None,
    statuses: dict[str, Any] | None = None,
    replies: dict[str, Reply] | None = None,
    judgement: Judgement | None = None,
    witnesses: frozenset[str] = frozenset(),
    holder: str | None = "harv42",
) -> Roundup:
    """`broken`: rows by (source, peer); `statuses`: documents instead of healthy ones; `replies`: nodes that did not answer."""
    asked = nodes[0]
    made: dict[str, Reply] = {}
    for node in [*nodes, *sorted(witnesses)]:
        document = (statuses or {}).get(node) or status(
            node, holder=holder, lease="holder" if node == holder else "other" if holder else "none"
        )
        made[node] = (replies or {}).get(node) or answered(document)
    own = made.pop(asked)
    assert isinstance(own, Answered)
    read = []
    for node in nodes:
        if not isinstance((replies or {}).get(node), Unreachable):
            mine = {peer: special for (source, peer), special in (broken or {}).items() if source == node}
            one = read_rows(answered(rows(node, nodes, mine)), node=node, now=NOW)
            assert one is not None
            read.append(one)
    return round_up(
        asked_node=asked,
        statuses=read_statuses(own.document, made, own_node=asked, now=NOW),
        rows=read,
        judgement=judgement or Judgement(source=holder or "self", age_seconds=2.0),
        storage_nodes=frozenset(nodes),
        witnesses=witnesses,
    )


def cut_off(nodes: list[str], node: str) -> dict[tuple[str, str], list[Any]]:
    pairs = [(a, b) for a in nodes for b in nodes if a != b and node in (a, b)]
    return {pair: row(0, "no_route", http=None, large=None) for pair in pairs}
