"""Judges what became of the setting in Longhorn's pods and volumes: the silent fallback to the pod network, and pods that are not there.

Where the grant is missing or unreadable, Longhorn takes the pod IP and only logs it (longhorn-manager datastore/kubernetes.go,
GetIPFromPodByCNISetting): every status stays green while replicas copy over the management network. Kernels are judged in links.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from agent.model.finding import Finding, Subject, short
from agent.model.holder import InstanceManagerRecord, InstanceRecord
from agent.model.net import IPAddress
from agent.model.peers import Network, StoragePod
from agent.model.pool import NadConfig
from agent.model.records import PodRecord
from agent.rules.ipam_range import parse_address, shown
from agent.rules.make import make, pod_subject
from agent.rules.netstatus import NETWORK_STATUS, OLD_NETWORK_STATUS, read_status
from agent.rules.setting_texts import EVIDENCE_LISTED, Places, delete_pod, is_name, listing

FALLBACKS_TOLD = 50
"""Findings of one look; a cluster has thousands of replicas, and the last finding counts those beyond."""
CUT_CHARACTERS = 32_768
"""A text of this length may have been cut on its way to us: that it cannot be read is then no evidence."""

_REASONS: Mapping[str, str] = {
    "missing_annotation": f"it has no annotation {NETWORK_STATUS}",
    "no_entry": "its network-status has no entry for it",
    "unparsable": "its network-status cannot be read",
    "no_address": "the entry for it names no address",
}


def grant_missing(pod: StoragePod, *, nads: Mapping[str, Network], places: Places | None = None) -> Finding | None:
    """Compares: what a live pod asked for with what Multus says it was granted. `nads` are those in use."""
    asked = next((request for request in pod.requests if nads.get(request.nad) is pod.network), None)
    if not pod.record.live or asked is None:
        return None
    reason = _grant_reason(pod)
    if reason is None:
        return None
    pod_ip = ", ".join(str(address) for address in pod.default_addresses[:2]) or "its pod IP"
    late = "whereabouts takes an address without annotation for a leak and gives it out again" if reason != "no_address" else None
    return make(
        "grant-missing",
        subject=pod_subject(pod),
        network=pod.network,
        reason=reason,
        summary=f"{short(pod.key)} on {pod.node} runs without the storage network that it asked for: {_REASONS[reason]}; "
        f"Longhorn silently uses the pod network ({pod_ip})",
        seen=f"asked for {asked.nad} as {pod.interface}; {_REASONS[reason]}",
        expected=f"an entry named {asked.nad} with an address in {NETWORK_STATUS}",
        next_step=f"when the volumes that it serves are detached, have it made anew: {delete_pod(pod.record.namespace, pod.record.name)}; "
        f"it often follows a node's restart, where kubelet was ready before Multus: see "
        f"`kubectl -n {(places or Places()).whereabouts} get pods -o wide --field-selector spec.nodeName={pod.node}`",
        clears_when="the pod has a grant with an address, or is gone",
        evidence=tuple(text for text in (*pod.problems[:3], late) if text),
    )


def _grant_reason(pod: StoragePod) -> str | None:
    if pod.grant is not None:
        return None if pod.grant.addresses else "no_address"
    annotations = pod.record.annotations
    text = annotations.get(NETWORK_STATUS) if NETWORK_STATUS in annotations else annotations.get(OLD_NETWORK_STATUS)
    if text is None or not text.strip():
        return "missing_annotation"
    if len(text) >= CUT_CHARACTERS:
        return None
    return "unparsable" if read_status(annotations)[1] else "no_entry"


def storage_ip_fallbacks(
    instances: Iterable[InstanceRecord], *, nads: Sequence[NadConfig], pods: Iterable[PodRecord] = (), places: Places | None = None
) -> list[Finding]:
    """Compares: the addresses that running replicas and engines work on with the ranges of the storage NADs. At most FALLBACKS_TOLD,
    by volume; the last says how many more there are. A NAD without a readable range leaves everything undecided."""
    if not nads or any(not nad.ranges for nad in nads):
        return []
    seen: dict[str, IPAddress | None] = {}
    found = [(one, address) for one in instances if (address := _strayed(one, nads, seen=seen)) is not None]
    found.sort(key=lambda item: (item[0].volume or "", item[0].kind, item[0].name))
    owners = _owners(pods) if found else {}
    places = places or Places()
    told = [_fallback(one, address, nads=nads, owners=owners, places=places) for one, address in found[: FALLBACKS_TOLD - 1]]
    rest = found[FALLBACKS_TOLD - 1 :]
    if rest:
        one, address = rest[0]
        told.append(_fallback(one, address, nads=nads, owners=owners, places=places, rest=[other for other, _ in rest[1:]]))
    return told


def _strayed(one: InstanceRecord, nads: Sequence[NadConfig], *, seen: dict[str, IPAddress | None]) -> IPAddress | None:
    """The address outside all ranges that a running instance works on. `seen` remembers: thousands of instances share few addresses."""
    if one.state != "running" or not one.storage_ip:
        return None
    if one.storage_ip not in seen:
        seen[one.storage_ip] = _outside(one.storage_ip, nads)
    return seen[one.storage_ip]


def _outside(text: str, nads: Sequence[NadConfig]) -> IPAddress | None:
    """None for what lies in a range, excluded or not (that is another finding's), and for what is no address."""
    try:
        address = parse_address(text)
    except ValueError:
        return None
    inside = any(address.version == its.network.version and address in its.network for nad in nads for its in nad.ranges)
    return None if inside else address


def _owners(pods: Iterable[PodRecord]) -> dict[str, PodRecord]:
    """Live pods by their pod IPs."""
    return {text: pod for pod in pods if pod.live for text in pod.pod_ips}


def _fallback(
    one: InstanceRecord,
    address: IPAddress,
    *,
    nads: Sequence[NadConfig],
    owners: Mapping[str, PodRecord],
    places: Places,
    rest: Sequence[InstanceRecord] = (),
) -> Finding:
    owner = owners.get(str(address))
    ranges = listing([str(its.network) for nad in nads for its in nad.ranges])
    volume = one.volume or one.name
    where = f" on {shown(one.node_id)}" if one.node_id else ""
    whose = f", the pod IP of {short(owner.key)}" if owner else ""
    also = f"; so do {len(rest)} more of {len({other.volume for other in rest})} volumes" if rest else ""
    kind = "engine" if one.kind == "engine" else "replica"
    return make(
        "storage-ip-fallback",
        subject=Subject(object=one.name, volume=volume, node=one.node_id, pod=owner.key if owner else None, address=str(address)),
        culprit=volume,
        network=Network.STORAGE,
        reason="pod_network" if owner else "outside_range",
        summary=f"the {kind} {shown(one.name)}{where} of volume {shown(volume)} works on {address}{whose}, past the storage network{also}",
        seen=f"storageIP {address}{whose}{also}",
        expected=f"an address of {ranges}",
        next_step=_fallback_step(one, owner, kind=kind, places=places),
        clears_when="the instance works on an address of the range, or does not run",
        evidence=_by_node(rest),
    )


def _fallback_step(one: InstanceRecord, owner: PodRecord | None, *, kind: str, places: Places) -> str:
    manager = one.instance_manager if is_name(one.instance_manager) else owner.name if owner else None
    if manager:
        return (
            f"look whether its instance-manager has a grant, "
            f"`kubectl -n {places.longhorn} get pod {manager} -o jsonpath='{{.metadata.annotations}}'`; if not, when its volumes are "
            f"detached, have it made anew: {delete_pod(places.longhorn, manager)}; if it has, detach and attach the volume"
        )
    name = f" {one.name}" if is_name(one.name) else ""
    return f"detach and attach the volume; the instance: `kubectl -n {places.longhorn} get {kind}s.longhorn.io{name} -o yaml`"


def _by_node(rest: Sequence[InstanceRecord]) -> tuple[str, ...]:
    """The nodes with most of them first: that is where to begin."""
    counts: dict[str, int] = {}
    for one in rest:
        counts[one.node_id or "no node"] = counts.get(one.node_id or "no node", 0) + 1
    worst = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(f"{count} more on {shown(node)}" for node, count in worst[:EVIDENCE_LISTED])


def instance_managers_missing(
    managers: Iterable[InstanceManagerRecord], *, pods: Iterable[PodRecord], skipped: Sequence[str] = (), places: Places | None = None
) -> list[Finding]:
    """Compares: InstanceManager objects that say `running` with the live pods of those names. One finding a node. `skipped` are pods that
    are there but could not be read ("namespace/name: reason")."""
    places = places or Places()
    by_name = {pod.name: pod for pod in pods if pod.namespace == places.longhorn}
    unread = {one.partition(":")[0].rpartition("/")[2].strip() for one in skipped}
    gone: dict[str, list[tuple[str, str]]] = {}
    for one in managers:
        if one.state != "running" or not one.node_id or one.name in unread:
            continue
        why = _why_missing(by_name.get(one.name), one.node_id)
        if why:
            gone.setdefault(one.node_id, []).append((one.name, why))
    return [_manager_missing(node, sorted(gone[node]), places=places) for node in sorted(gone)]


def _why_missing(pod: PodRecord | None, node: str) -> str | None:
    if pod is None:
        return "there is no such pod"
    if pod.node != node:
        return f"the pod is on {shown(pod.node or 'no node')}"
    if pod.deleted:
        return "the pod is being deleted"
    return None if pod.live else f"the pod is {shown(pod.phase or 'in no phase')}"


def _manager_missing(node: str, gone: Sequence[tuple[str, str]], *, places: Places) -> Finding:
    name, why = gone[0]
    more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
    look = f" {name}" if is_name(name) else ""
    of_node = f" --field-selector spec.nodeName={node}" if is_name(node) else ""
    return make(
        "instance-manager-missing",
        subject=Subject(node=node),
        network=Network.STORAGE,
        summary=f"Longhorn counts {shown(name)}{more} as running on {shown(node)}, but {why}",
        seen="; ".join(f"{shown(one)}: {said}" for one, said in islice(gone, 3)),
        expected="a live pod for every InstanceManager that says running",
        next_step=f"look what became of it: `kubectl -n {places.longhorn} get pods -o wide{of_node}` and "
        f"`kubectl -n {places.longhorn} get instancemanagers.longhorn.io{look} -o yaml`; Longhorn makes the pod anew by itself, so then "
        f"see `kubectl -n {places.longhorn} logs -l app=longhorn-manager --since=30m --prefix | grep instance-manager`",
        clears_when="the pods are live, or the objects no longer say running",
        evidence=tuple(f"{shown(one)}: {said}" for one, said in islice(gone, 3, EVIDENCE_LISTED)),
    )
