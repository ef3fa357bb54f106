"""Compares what pods were granted with what pools list, and pods with each other: addresses without a guard, addresses with two owners.

Only live pods past their grace on nodes that are up count; a Failed pod keeps its annotation while its address is used again.
"""

from collections.abc import Collection, Iterable, Sequence

from agent.model.finding import Finding, Subject, short
from agent.model.net import IPAddress
from agent.model.pool import MissingAllocation, NadConfig, PodUse, PoolState
from agent.rules.ipam_names import read_base
from agent.rules.ipam_range import interval_of
from agent.rules.ipam_texts import delete_pod
from agent.rules.make import make

_MAX_DUPLICATES = 100
"""One finding each; a cluster with more has one cause, and the first hundred name it."""


def grown(pods: Iterable[PodUse], *, nodes_down: Collection[str], now: float, grace_seconds: float) -> tuple[PodUse, ...]:
    """Live pods whose grants can be held against a pool. A pod of unknown age counts: the second look protects the young."""
    return tuple(
        pod
        for pod in pods
        if pod.live
        and pod.node not in nodes_down
        and (pod.born_monotonic_seconds is None or now - pod.born_monotonic_seconds >= grace_seconds)
    )


def missing_allocations(state: PoolState, pods: Sequence[PodUse]) -> tuple[MissingAllocation, ...]:
    """Granted addresses of this pool's NADs that the pool does not list for their pod. Nothing where the pool is not known whole."""
    nads = {one.nad for one in state.nads}
    if state.problem or state.incomplete or not nads:
        return ()
    base = read_base(state.range) if state.range else state.nads[0].range.network
    inside = interval_of(base)
    # Numbers, not addresses: ipaddress builds a text for every hash, and a /16 has thousands of them.
    owners = {int(entry.address): entry.podref for entry in state.entries}
    listed = {(int(entry.address), entry.podref) for entry in state.entries}
    found: list[MissingAllocation] = []
    for pod in pods:
        for address in (one for grant in pod.grants if grant.nad in nads for one in grant.addresses):
            number = int(address)
            if (number, pod.podref) not in listed and address.version == base.version and inside.first <= number <= inside.last:
                found.append(MissingAllocation(podref=pod.podref, node=pod.node, address=address, listed_for=owners.get(number)))
    return tuple(sorted(found, key=lambda one: (int(one.address), one.podref)))


def address_duplicates(
    pods: Sequence[PodUse],
    *,
    nads: Sequence[NadConfig],
    states: Sequence[PoolState] = (),
    nodes_down: Collection[str] = (),
    now: float,
    grace_seconds: float = 30.0,
) -> tuple[Finding, ...]:
    """Two live pods that were granted one address on one segment. `nads` tell which NADs share a segment: same bridge, same VLAN."""
    segments = {nad.name: (nad.bridge, nad.vlan) for nad in nads if nad.bridge}
    judged = {nad.name for nad in nads}
    owners: dict[tuple[object, IPAddress], dict[str, PodUse]] = {}
    for pod in grown(pods, nodes_down=nodes_down, now=now, grace_seconds=grace_seconds):
        for grant in pod.grants:
            if grant.nad in judged:
                for address in grant.addresses:
                    owners.setdefault((segments.get(grant.nad, grant.nad), address), {})[pod.podref] = pod
    shared = [(key[1], sorted(found)) for key, found in owners.items() if len(found) > 1]
    by_name = {pod.podref: pod for pod in pods}
    findings = [_duplicate(address, by_name[names[0]], by_name[other], states=states) for address, names in shared for other in names[1:]]
    return tuple(findings[:_MAX_DUPLICATES])


def _duplicate(address: IPAddress, one: PodUse, other: PodUse, *, states: Sequence[PoolState]) -> Finding:
    lists = [
        f"pool {state.pool} lists {address} for {entry.podref}" for state in states for entry in state.entries if entry.address == address
    ]
    spare, why = (other, f"{short(one.podref)} is the one that the pool lists") if _listed(lists, one) else (one, "only one may keep it")
    return make(
        "address-duplicate",
        subject=Subject(address=str(address), pod=one.podref, peer_pod=other.podref, node=one.node, peer_node=other.node),
        culprit=str(address),
        summary=f"{address} was granted to two live pods: {short(one.podref)} on {one.node} and {short(other.podref)} on {other.node}",
        seen=f"the network-status of {one.podref} and that of {other.podref} name it",
        expected="one live pod an address",
        next_step=f"{why}; detach the volumes that {short(spare.podref)} serves, then have it made anew: {delete_pod(spare.podref)}",
        clears_when="one of the pods is gone or holds another address",
        evidence=tuple(lists) or (f"no pool lists {address}",),
    )


def _listed(lists: Sequence[str], pod: PodUse) -> bool:
    return bool(lists) and lists[0].endswith(f" for {pod.podref}")
