"""The matrix' cases of one pod's remaining faults, and of one node's agent that may or can not look."""

from collections.abc import Mapping

from matrixtools import Case, Json, Said

HERE = "{node}"


def _pod(name: str, finding: str, *others: Said, severity: str, **more: str) -> Case:
    """The pod's own node says it about the pod, and nothing explains it."""
    first = Said(id=finding, culprit="{pod}", node=HERE, explained=False, severity=severity, **more)
    return Case(inject=({"name": name},), must=(first, *others), verdict=severity)


def _pairs(reason: str) -> Said:
    """The broken pod's own pairs, with what is wrong with it as the explanation."""
    return Said(id="peer-unreachable", culprit="{node}>*", node=HERE, reason=reason, explained=True)


def _impaired(name: str, reason: str, words: str, *, may: tuple[Said, ...] = ()) -> Case:
    must = Said(id="agent-impaired", culprit=HERE, node=HERE, reason=reason, severity="warning", explained=False, words=words)
    return Case(inject=({"name": name},), must=(must,), may=may, verdict="warning", check=_no_pod_is_blamed)


def _no_pod_is_blamed(documents: Mapping[str, Json]) -> str:
    """One finding instead of hundreds: nothing else about the node, and nothing about it from elsewhere."""
    others = sorted(
        {
            f"{finding['id']} {finding['culprit']}"
            for document in documents.values()
            for finding in document["findings"]
            if finding["id"] not in ("agent-impaired", "agent-missing")
        }
    )
    return f"said beside it: {', '.join(others)}" if others else ""


CASES: dict[str, Case] = {
    "address-outside-range": _pod(
        "address-outside-range",
        "address-outside-range",
        _pairs("timeout|net_unreachable|no_route"),
        severity="critical",
        reason="outside",
        words="192.168.50.2",
    ),
    "mac-changed": _pod("mac-changed", "mac-mismatch", severity="warning", words="2e:0f:"),
    "mtu-changed": _pod("mtu-changed", "mtu-mismatch", severity="warning", reason="below", words="MTU 1400"),
    "routes-deleted": _pod(
        "routes-deleted", "route-missing", _pairs("net_unreachable"), severity="critical", reason="none", words="nor any other route"
    ),
    "source-address-gone": _pod(
        "source-address-gone", "address-mismatch", _pairs("no_source_address"), severity="critical", reason="missing", words="no address"
    ),
    "peer-resets": Case(
        inject=({"name": "peer-resets"},),
        must=(Said(id="peer-port-closed", culprit="*>{peer_node}", reason="reset", severity="warning", explained=False, words="resets"),),
        verdict="warning",
    ),
    "api-500": Case(
        inject=({"name": "api-500"},),
        must=tuple(Said(id="sources-stale", culprit=f"{{node[{index}]}}", node=f"{{node[{index}]}}", words="500") for index in range(3)),
        verdict="warning",
    ),
    "capability-missing": _impaired("capability-missing", "capability_missing", "CAP_SYS_ADMIN and CAP_NET_RAW"),
    "netns-dir-empty": _impaired("netns-dir-empty", "netns_dir_empty", "/var/run/netns"),
    "netns-dir-not-propagated": _impaired("netns-dir-not-propagated", "netns_dir_not_propagated", "HostToContainer"),
    "access-denied": _impaired("access-denied", "access_denied", "Permission denied"),
    "port-taken": _impaired(
        "port-taken",
        "port_taken",
        "Address already in use",
        # Nobody else can ask it any more, and only it knows why.
        may=(Said(id="agent-missing", culprit=HERE, node="cluster", reason="http", words="HTTP error"),),
    ),
}
