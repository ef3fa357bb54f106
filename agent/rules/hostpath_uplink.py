"""Finds the uplink of a storage bridge and the NICs below it among the links of a host. Concludes from names and masters; judges nothing.

Harvester's uplink is the bond `<cluster network>-bo`. A NIC may also stand on the bridge directly, and then its name decides where a
VlanConfig gives one: in small clusters it is a veth or a tap like the ends of pods and VMs.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from agent.model.net import Link

BRIDGE_SUFFIX, BOND_SUFFIX = "-br", "-bo"
"""network-controller-harvester pkg/utils: names of what it makes for a cluster network."""
MAX_DEPTH = 4
"""VLAN on bond on NIC is three; a longer chain is not followed."""

_LOCAL_KINDS = frozenset({"veth", "tun", "tap", "dummy", "ifb"})
_LOCAL_NAMES = re.compile(r"(veth|tap|vnet|cali|lxc).*")
"""How CNI plugins, Calico and libvirt name the ends that they put on bridges."""


def uplink_of(
    ports: Iterable[Link], *, cluster_network: str | None, nic_indexes: Collection[int], pod_ends: Collection[int]
) -> Link | None:
    """The port that leads out: the bond by its name, a NIC that a VlanConfig names, else the one that is no end of a pod or VM.

    `nic_indexes` are the links that a VlanConfig names, `pod_ends` those that pods' interfaces lead to.
    """
    candidates = [port for port in ports if port.index not in pod_ends]
    bond = f"{cluster_network}{BOND_SUFFIX}"
    ranked = (
        (port for port in candidates if port.name == bond),
        (port for port in candidates if port.index in nic_indexes),
        (port for port in candidates if port.kind not in _LOCAL_KINDS),
        # Nobody says what the NICs are called: a veth that has no veth's name may be one.
        (port for port in candidates if not nic_indexes and not _LOCAL_NAMES.fullmatch(port.name)),
    )
    return next((port for rank in ranked for port in sorted(rank, key=lambda port: (not port.carrier, port.index))), None)


def nics_below(uplink: Link, links: Mapping[int, Link]) -> tuple[Link, ...]:
    """The physical end: the ports of a bond, the device below a VLAN interface, or the uplink itself."""
    current = uplink
    for _ in range(MAX_DEPTH):
        ports = tuple(link for link in links.values() if link.master_index == current.index)
        if ports or current.kind in ("bond", "team"):
            return ports
        below = links.get(current.peer_index or 0) if current.kind == "vlan" and current.peer_netnsid is None else None
        if below is None:
            break
        current = below
    return (current,)


def strays(
    links: Iterable[Link], *, cluster_network: str | None, nic_indexes: Collection[int], on_path: Collection[int]
) -> tuple[Link, ...]:
    """The bond and the configured NICs that are not part of the path, the bond first and without the NICs in it."""
    outside = [link for link in links if link.index not in on_path]
    bonds = [link for link in outside if link.name == f"{cluster_network}{BOND_SUFFIX}"]
    inside = {bond.index for bond in bonds}
    nics = set(nic_indexes) - inside
    return (*bonds, *(link for link in outside if link.index in nics and link.master_index not in inside))


def spare_nics(links: Iterable[Link]) -> tuple[str, ...]:
    """Physical NICs that are nobody's port. `lo` has no kind either."""
    return tuple(link.name for link in links if link.kind is None and link.master_index is None and link.mac and link.name != "lo")
