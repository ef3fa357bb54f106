"""The matrix' cases for what lies between nodes, for whole nodes and their agents, and for several faults at once."""

from collections.abc import Mapping
from typing import Any

from matrixtools import Case, Json, Said

HERE, WHOLE = "{node}", "cluster"
FOUR: Mapping[str, Any] = {"nodes": 4}
FIVE: Mapping[str, Any] = {"nodes": 5}


def _other_holder(documents: Mapping[str, Json]) -> str:
    """Another agent has taken the Lease over, one alone, and blames the one that is gone."""
    cluster = documents["cluster"]
    gone = [node for node, status in cluster["nodes"].items() if "unreachable" in status]
    blamed = [one["culprit"] for one in cluster["findings"] if one["id"] == "agent-missing"]
    return _judged_by(cluster, "holder") or ("" if blamed == gone else f"{gone} do not answer, blamed: {blamed}")


def _holder_moved(documents: Mapping[str, Json]) -> str:
    """Whoever lost the API has given way to the new holder."""
    cluster = documents["cluster"]
    (stale,) = {node for node, status in cluster["nodes"].items() for one in status["findings"] if one["id"] == "sources-stale"}
    return _judged_by(cluster, "holder") or (f"{stale} still judges without the API" if cluster["findings_from"] == stale else "")


def _unconfirmed(documents: Mapping[str, Json]) -> str:
    return _judged_by(documents["cluster"], "unconfirmed")


def _judged_by(cluster: Json, standing: str) -> str:
    claims = {node: status["lease"] for node, status in cluster["nodes"].items() if status.get("lease") in ("holder", "unconfirmed")}
    wanted = {cluster["findings_from"]: standing}
    return "" if claims == wanted else f"findings from {cluster['findings_from']}, the Lease is claimed by {claims}"


def _alone(documents: Mapping[str, Json]) -> str:
    origin = documents["cluster"]["findings_from"]
    return "" if origin == "self" else f"findings from {origin}, and nobody can hold the Lease"


def _all_explained(documents: Mapping[str, Json]) -> str:
    left = [
        one["culprit"] for node in documents["cluster"]["nodes"].values() for one in node.get("findings", ()) if not one["explained_by"]
    ]
    return f"nothing explains {left}" if left else ""


def _both_cut_off(documents: Mapping[str, Json]) -> str:
    """Each for its own reason."""
    why = {one["culprit"]: one["reason"] for one in documents["cluster"]["findings"] if one["id"] == "node-cut-off"}
    return "" if why == {"harv42": None, "harv44": "uplink-down"} else f"cut off: {why}"


def _one(name: str, *must: Said, verdict: str = "critical", **more: Any) -> Case:
    return Case(inject=({"name": name},), must=must, verdict=verdict, **more)


CASES: dict[str, Case] = {
    "segment-moved-4": Case(
        inject=({"name": "segment-moved", "node": "harv42"},),
        must=(Said(id="node-cut-off", culprit=HERE, node=WHOLE, severity="critical", explained=False, words="switch port"),),
        verdict="critical",
        up=FOUR,
    ),
    "switch-split": _one(
        "switch-split", Said(id="network-split", culprit="harv41+harv42", node=WHOLE, severity="critical", explained=False), up=FOUR
    ),
    "switch-split-uneven": _one(
        "switch-split", Said(id="network-split", culprit="harv44+harv45", node=WHOLE, severity="critical", explained=False), up=FIVE
    ),
    "network-dead": _one(
        "network-dead",
        Said(id="network-down", culprit=WHOLE, node=WHOLE, severity="critical", explained=False),
        *(Said(id="uplink-down", culprit=f"{{node[{number}]}}", node=f"{{node[{number}]}}", reason="no_carrier") for number in range(3)),
    ),
    "switch-hung": _one("switch-hung", Said(id="network-down", culprit=WHOLE, node=WHOLE, severity="critical", explained=False)),
    "one-way-filter": _one(
        "one-way-filter",
        Said(id="one-way", culprit="{node}>{peer_node}", node=WHOLE, severity="critical", reason="timeout", explained=False),
    ),
    "way-lost": _one(
        "way-lost",
        Said(id="peer-unreachable", culprit="{node}>{peer_node}", node=HERE, reason="no_route"),
        Said(id="peer-unreachable", culprit="{peer_node}>{node}", node="{peer_node}", reason="no_route"),
    ),
    "node-off": _one(
        "node-off",
        Said(id="node-down", culprit=HERE, node=WHOLE, severity="warning", explained=False),
        # With a threshold as short as here the silent agent may be missed before the node; a machine that never answers slows each round.
        may=(Said(id="agent-missing", culprit=HERE), Said(id="peer-unreachable", culprit="*>{node}")),
        verdict="warning",
        hold_seconds=35.0,
        check=_all_explained,
    ),
    "agent-killed": _one(
        "agent-killed",
        Said(id="agent-missing", culprit=HERE, node=WHOLE, severity="warning", reason="refused", explained=False),
        verdict="warning",
    ),
    "holder-killed": _one(
        "holder-killed",
        Said(id="agent-missing", node=WHOLE, severity="warning", explained=False),
        verdict="warning",
        # Without a holder the others say it by themselves; who holds the Lease next counts from when it began to ask.
        hold_seconds=45.0,
        check=_other_holder,
    ),
    "holder-without-api": _one(
        "holder-without-api", Said(id="sources-stale", culprit="{holder}", node="{holder}"), verdict="warning", check=_holder_moved
    ),
    "api-gone-and-a-link-down": Case(
        inject=({"name": "api-stopped"}, {"name": "link-down", "node": "harv42"}),
        must=(Said(id="sources-stale"), Said(id="interface-down", culprit="{pod2}", node="{node2}", explained=False)),
        verdict="critical",
        check=_unconfirmed,
    ),
    "api-unreachable-and-a-cable-moved": Case(
        inject=({"name": "api-unreachable"}, {"name": "segment-moved", "node": "harv42"}),
        must=(Said(id="sources-stale"), Said(id="node-cut-off", culprit="{node2}", node=WHOLE, severity="critical", explained=False)),
        verdict="critical",
        check=_unconfirmed,
    ),
    "holder-and-api-gone-and-a-split": Case(
        inject=({"name": "holder-killed"}, {"name": "api-stopped"}, {"name": "switch-split"}),
        must=(
            Said(id="sources-stale"),
            Said(id="network-split", culprit="harv41+harv42", node=WHOLE, severity="critical", explained=False),
        ),
        # Nobody is there to be asked what explains a node's pairs: in its own status they stand as they are.
        may=(Said(id="agent-missing"), Said(id="peer-unreachable", culprit="*>*")),
        verdict="critical",
        up=FOUR,
        check=_alone,
    ),
    "uplink-down-and-a-port-closed": Case(
        inject=({"name": "uplink-down", "node": "harv42"}, {"name": "port-closed", "node": "harv43"}),
        must=(
            Said(id="uplink-down", culprit=HERE, node=HERE, explained=False),
            Said(id="node-cut-off", culprit=HERE, node=WHOLE, words="ens5", explained=False),
            Said(id="peer-port-closed", culprit="*>{peer_node2}", reason="refused", explained=False),
        ),
        verdict="critical",
        up=FOUR,
    ),
    "two-cut-off": Case(
        inject=({"name": "segment-moved", "node": "harv42"}, {"name": "uplink-down", "node": "harv44"}),
        must=(
            Said(id="node-cut-off", culprit="harv4[24]", node=WHOLE, severity="critical", explained=False),
            Said(id="uplink-down", culprit="{node2}", node="{node2}", explained=False),
        ),
        verdict="critical",
        up=FIVE,
        check=_both_cut_off,
    ),
    "node-off-and-a-cable-moved": Case(
        inject=({"name": "node-off", "node": "harv45"}, {"name": "segment-moved", "node": "harv42"}),
        must=(
            Said(id="node-down", culprit="{node}", node=WHOLE, severity="warning", explained=False),
            Said(id="node-cut-off", culprit="{node2}", node=WHOLE, explained=False),
        ),
        # Two faults and a machine that never answers take the explanations a round longer.
        may=(Said(id="peer-unreachable", culprit="*>*"),),
        verdict="critical",
        up=FIVE,
        check=_all_explained,
    ),
}
