"""Judges whether a storage range collides with networks that are used otherwise. Nobody in Harvester does (harvester 1.9, validator.go).

A pod with an on-link route for the range cannot reach anything else that has an address there. What was read is certain; the documented
default networks are only likely, so alone they are a warning. The storage network's own routes on a host are not a collision.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from agent.model.finding import Finding, Severity, Subject
from agent.model.net import IPNetwork
from agent.model.peers import Network
from agent.model.pool import AddressRange, NadConfig
from agent.model.records import NodeRecord
from agent.rules.ipam_range import parse_address, shown
from agent.rules.ipam_texts import edit_setting
from agent.rules.make import make
from agent.rules.plan_range import DEFAULT_NETWORKS, overlapping
from agent.rules.setting_texts import EVIDENCE_LISTED, LISTED, Places, show_nad

_LONGEST_CIDR = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedRoute:
    """A route of a host over one of its own interfaces, without gateway."""

    node: str
    device: str
    network: IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hit:
    what: str
    source: str | None = None
    """Which source told it; None for what is only documented."""


def range_overlap(
    nad: NadConfig,
    *,
    network: Network | None,
    nodes: Iterable[NodeRecord] = (),
    node_source: str = "nodes",
    connected: Iterable[ConnectedRoute] = (),
    others: Mapping[str, NadConfig] | None = None,
    harvester: bool = True,
    places: Places | None = None,
) -> tuple[Finding, frozenset[str]] | None:
    """Compares: the NAD's ranges with node addresses and podCIDRs (`node_source`), connected routes, ranges of `others` (NADs of another
    network, by name), and the documented defaults. The finding and which sources told what it rests on, or None."""
    nodes, connected = tuple(nodes), tuple(connected)
    hits = [
        hit
        for one in nad.ranges
        for hit in (
            *_node_hits(one, nad, nodes, node_source),
            *_route_hits(one, nad, connected),
            *_range_hits(one, others or {}),
        )
    ]
    likely = [_Hit(what=f"{other}, {name}") for one in nad.ranges for name, other in overlapping(one.network, DEFAULT_NETWORKS)]
    if not hits and not likely:
        return None
    told = list(dict.fromkeys(hit.what for hit in hits or likely))
    more = f" and {len(told) - LISTED} more" if len(told) > LISTED else ""
    ranges = ", ".join(shown(one.text) for one in nad.ranges[:LISTED])
    finding = make(
        "range-overlap",
        subject=Subject(nad=nad.name),
        culprit=nad.name,
        network=network,
        severity=None if hits else Severity.WARNING,
        reason="in_use" if hits else "default_network",
        summary=f"the range {ranges} of {nad.name} overlaps {'; '.join(told[:LISTED])}{more}",
        seen=f"{ranges} of {nad.name}, and {'; '.join(told[:LISTED])}{more}",
        expected="a range that nothing else in the cluster uses: storage pods reach nothing else that has an address in it",
        next_step=f"look at the NAD, {show_nad(nad.name, places=places or Places())}, look for a free range with "
        f"`lhnet-agent plan-range --range CIDR`, and {_set_it(network, harvester=harvester)}",
        clears_when="the ranges no longer overlap",
        evidence=tuple(told[LISTED : LISTED + EVIDENCE_LISTED]) + tuple(hit.what for hit in likely if hits and hit.what not in told)[:4],
    )
    return finding, frozenset(hit.source for hit in hits if hit.source)


def _set_it(network: Network | None, *, harvester: bool) -> str:
    if not harvester:
        return "with all volumes detached, write it into a new NAD and name that in Longhorn"
    return f"set it in Harvester, {edit_setting(network)}"


def _node_hits(one: AddressRange, nad: NadConfig, nodes: Sequence[NodeRecord], source: str) -> Iterator[_Hit]:
    for node in nodes:
        for text in node.pod_cidrs:
            other = _network(text)
            if other is not None and _meet(one.network, other):
                yield _Hit(what=f"{other}, the pods of node {node.name}", source=source)
        for text in node.internal_ips:
            if _takes(one, nad, text):
                yield _Hit(what=f"{shown(text)}, the address of node {node.name}", source=source)


def _takes(one: AddressRange, nad: NadConfig, text: str) -> bool:
    """A VLAN of its own may hold no node's address. A macvlan or ipvlan may share its nodes' LAN, if it gives out none of theirs."""
    try:
        address = parse_address(text)
    except ValueError:
        return False
    if nad.type == "bridge":
        return address.version == one.network.version and address in one.network
    return one.holds(address)


def _route_hits(one: AddressRange, nad: NadConfig, connected: Sequence[ConnectedRoute]) -> Iterator[_Hit]:
    if nad.type != "bridge" or not nad.bridge:
        return  # which of the host's devices is the storage network's own cannot be told
    for route in connected:
        own = route.device == nad.bridge or route.device.startswith(f"{nad.bridge}.")
        if not own and route.network.prefixlen and _meet(one.network, route.network):
            yield _Hit(what=f"{route.network}, which {route.node} has on {shown(route.device)}", source="kernel")


def _range_hits(one: AddressRange, others: Mapping[str, NadConfig]) -> Iterator[_Hit]:
    for name, other in others.items():
        for its in other.ranges:
            if _meet(one.network, its.network):
                yield _Hit(what=f"{its.network}, the range of {name}", source="nads")


def _network(text: str) -> IPNetwork | None:
    if len(text) > _LONGEST_CIDR:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _meet(one: IPNetwork, other: IPNetwork) -> bool:
    if one.version != other.version:
        return False
    return int(one.network_address) <= int(other.broadcast_address) and int(other.network_address) <= int(one.broadcast_address)
