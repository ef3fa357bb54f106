"""Judges a storage pod's interface and address: what the kernel has against what was granted. Routes are judged in routes.py.

On one pod the first of interface-missing, interface-down, address-mismatch, route-missing/route-shadowed hides the later ones, also while
it only waits for its second look (contract §5); whoever calls these rules keeps that order.
"""

from collections.abc import Iterable

from agent.model.finding import Finding, short
from agent.model.net import NamespaceFacts
from agent.model.peers import StoragePod
from agent.model.pool import NadConfig
from agent.rules.make import make, pod_subject
from agent.rules.mtu import ExpectedMtu


def interface_missing(pod: StoragePod, facts: NamespaceFacts) -> Finding | None:
    """The pod was granted an interface that its kernel does not have."""
    if pod.grant is None or facts.link(pod.interface) is not None:
        return None
    others = [link.name for link in facts.links if link.name != "lo"]
    renamed = next((link.name for link in facts.links if pod.grant.mac and link.mac == pod.grant.mac), None)
    hint = f"; its MAC {pod.grant.mac} is on {renamed}" if renamed else ""
    return make(
        "interface-missing",
        subject=pod_subject(pod),
        network=pod.network,
        summary=f"{short(pod.key)} on {pod.node} has no interface {pod.interface} although Multus granted it{hint}",
        seen=f"interfaces in the pod: {', '.join(others) or 'none'}{hint}",
        expected=f"{pod.interface} with {pod.address or 'the granted address'} (network-status of {pod.grant.nad})",
        next_step=_recreate(pod),
        clears_when=f"the pod's kernel has {pod.interface} again, or the pod is gone",
    )


def interface_down(pod: StoragePod, facts: NamespaceFacts) -> Finding | None:
    """The interface is administratively down, or up without carrier (its other end is down or gone)."""
    link = facts.link(pod.interface)
    if pod.grant is None or link is None or (link.up and link.carrier):
        return None
    reason = "no_carrier" if link.up else "admin_down"
    state = "is up but has no carrier" if link.up else "is set down"
    far_end = f"; its other end on the host has index {link.peer_index}" if link.peer_index else ""
    return make(
        "interface-down",
        subject=pod_subject(pod),
        network=pod.network,
        reason=reason,
        summary=f"{pod.interface} of {short(pod.key)} on {pod.node} {state}",
        seen=f"{pod.interface} {'UP' if link.up else 'DOWN'}, {'carrier' if link.carrier else 'no carrier'}{far_end}",
        expected=f"{pod.interface} up with carrier",
        next_step=(
            f"on {pod.node} look at the host's end, bring it up and put it on the storage bridge: `ip -o link | grep '^{link.peer_index}:'`"
            if link.up and link.peer_index
            else f"find out who set it down; bring it back with: `kubectl -n {pod.record.namespace} exec {pod.record.name} -- "
            f"ip link set {pod.interface} up`"
        ),
        clears_when=f"{pod.interface} is up with carrier, or the pod is gone",
    )


def address_mismatch(pod: StoragePod, facts: NamespaceFacts) -> Finding | None:
    """The kernel's address on the interface is not the granted one. Longhorn's V1 engine trusts the grant, V2 the kernel."""
    link = facts.link(pod.interface)
    if pod.grant is None or pod.address is None or link is None:
        return None
    mine = [address for address in facts.addresses_of(link) if address.scope == "global"]
    if any(address.interface.ip == pod.address and not address.tentative for address in mine):
        return None
    elsewhere = next(
        (host.name for address in facts.addresses if address.interface.ip == pod.address and (host := facts.link_at(address.link_index))),
        None,
    )
    seen = ", ".join(str(address.interface) for address in mine) or "no address"
    return make(
        "address-mismatch",
        subject=pod_subject(pod),
        network=pod.network,
        reason="missing" if not mine else "different",
        summary=f"{short(pod.key)} on {pod.node} was granted {pod.address} but its {pod.interface} has {seen}",
        seen=f"{pod.interface}: {seen}" + (f"; {pod.address} is on {elsewhere}" if elsewhere else ""),
        expected=f"{pod.address} on {pod.interface} (network-status of {pod.grant.nad})",
        next_step=_recreate(pod),
        clears_when=f"{pod.interface} carries {pod.address}, or the pod is gone",
    )


def address_borrowed(pod: StoragePod, facts: NamespaceFacts, *, peers: Iterable[StoragePod]) -> Finding | None:
    """Beside its own address the interface carries one that was granted to another live pod: both answer for it."""
    link = facts.link(pod.interface)
    if pod.grant is None or link is None:
        return None
    granted = pod.grant.addresses
    mine = {address.interface.ip: address.interface for address in facts.addresses_of(link) if address.interface.ip not in granted}
    owner = next((peer for peer in peers if peer.record.live and peer.uid != pod.uid and peer.address in mine), None)
    if owner is None or owner.address is None:
        return None
    return make(
        "address-mismatch",
        subject=pod_subject(pod),
        network=pod.network,
        reason="borrowed",
        affects=(str(owner.address),),
        summary=f"{pod.interface} of {short(pod.key)} on {pod.node} also carries {owner.address}, "
        f"which was granted to {short(owner.key)} on {owner.node}",
        seen=f"{pod.interface}: {', '.join(str(address.interface) for address in facts.addresses_of(link) if address.scope == 'global')}",
        expected=f"{pod.address} alone on {pod.interface} (network-status of {pod.grant.nad})",
        next_step=f"find who added it, then remove it: `kubectl -n {pod.record.namespace} exec {pod.record.name} -- "
        f"ip address del {mine[owner.address]} dev {pod.interface}`",
        clears_when=f"{pod.interface} carries {owner.address} no more, or one of the pods is gone",
    )


def address_outside_range(pod: StoragePod, nad: NadConfig | None) -> Finding | None:
    """The granted address is not one that the NAD's IPAM could give: another range, or a part of it that is excluded."""
    if nad is None or not nad.ranges or pod.address is None or any(one.problem for one in nad.ranges):
        return None
    if any(one.holds(pod.address) for one in nad.ranges):
        return None
    inside = any(pod.address.version == one.network.version and pod.address in one.network for one in nad.ranges)
    usable = "; ".join(f"{one.first} – {one.last}" + (f" without {', '.join(one.excludes)}" if one.excludes else "") for one in nad.ranges)
    return make(
        "address-outside-range",
        subject=pod_subject(pod),
        network=pod.network,
        reason="excluded" if inside else "outside",
        summary=f"{short(pod.key)} on {pod.node} holds {pod.address}, which {nad.name} "
        + ("does not give out" if inside else "does not contain"),
        seen=f"granted {pod.address}",
        expected=f"an address of {usable}",
        next_step=f"compare the pod with the NAD: `kubectl -n {nad.name.partition('/')[0]} get network-attachment-definitions "
        f"{nad.name.partition('/')[2]} -o yaml` then {_recreate(pod)}",
        clears_when="the pod is replaced by one with an address of the range, or the range is put back",
    )


def mac_mismatch(pod: StoragePod, facts: NamespaceFacts, *, peers: Iterable[StoragePod] = ()) -> Finding | None:
    """The interface's MAC is not the granted one: neighbours and duplicate checks go by the granted one. Where it is that of one of
    `peers`, bridges and switches give each of the two what is meant for the other."""
    link = facts.link(pod.interface)
    if pod.grant is None or not pod.grant.mac or link is None or not link.mac or link.mac == pod.grant.mac:
        return None
    twin = next((peer for peer in peers if peer.record.live and peer.uid != pod.uid and peer.grant and peer.grant.mac == link.mac), None)
    whose = f", which is that of {short(twin.key)} on {twin.node}: packets for one reach the other" if twin else ""
    return make(
        "mac-mismatch",
        subject=pod_subject(pod),
        network=pod.network,
        reason="twin" if twin else None,
        summary=f"{pod.interface} of {short(pod.key)} on {pod.node} has MAC {link.mac}" + (whose or f", granted was {pod.grant.mac}"),
        seen=link.mac,
        expected=f"{pod.grant.mac} (network-status of {pod.grant.nad})",
        next_step=_recreate(pod),
        clears_when="the MAC is the granted one, or the pod is gone",
    )


def mtu_mismatch(pod: StoragePod, facts: NamespaceFacts, *, expected: ExpectedMtu | None) -> Finding | None:
    """The interface's MTU is not what the cluster network, or most of its peers, have."""
    link = facts.link(pod.interface)
    if link is None or pod.grant is None or expected is None or link.mtu_bytes == expected.mtu_bytes:
        return None
    return make(
        "mtu-mismatch",
        subject=pod_subject(pod),
        network=pod.network,
        reason="below" if link.mtu_bytes < expected.mtu_bytes else "above",
        summary=f"{pod.interface} of {short(pod.key)} on {pod.node} has MTU {link.mtu_bytes}, {expected.said_by} {expected.mtu_bytes}",
        seen=f"mtu {link.mtu_bytes}",
        expected=f"mtu {expected.mtu_bytes}, as {expected.said_by}",
        next_step=f"an MTU that was changed reaches running pods only when they are made anew; {_recreate(pod)}",
        clears_when="both are the same",
    )


def _recreate(pod: StoragePod) -> str:
    return (
        f"when the volumes it serves are detached, have Longhorn make the pod anew: "
        f"`kubectl -n {pod.record.namespace} delete pod {pod.record.name}`"
    )
