"""The way of storage packets through a node: from the pods' host ends over the bridge and the uplink to the NICs, as one kernel says it.

Values only; names as in the contract's JSON (§3). Which link is the uplink is concluded in rules/hostpath_uplink.py.
"""

from dataclasses import dataclass

from agent.model.net import Link
from agent.model.peers import Network, StoragePod


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLink:
    """One link of the host's namespace."""

    name: str
    kind: str | None = None
    """As in Link: None for a physical device."""
    up: bool = False
    carrier: bool = False
    mtu_bytes: int = 0
    master: str | None = None
    """Name of the bridge or bond that it is a port of."""
    speed_mbits: int | None = None
    """None where the driver does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathVeth:
    """A pod's end on the host. `name` is None where the host has none, although the pod's own end names one."""

    pod: StoragePod
    index: int
    """Of the host's end, as the pod's end tells it (IFLA_LINK)."""
    name: str | None = None
    bridge: str | None = None
    """Its master, whichever it is."""
    up: bool = False
    mtu_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """What was read of the host's namespace at one look."""

    links: tuple[Link, ...] = ()
    speeds_mbits: tuple[tuple[str, int], ...] = ()
    """Link name and speed, of those whose driver says it."""
    nic_indexes: tuple[tuple[str, int | None], ...] = ()
    """The NICs that were asked for by name or alternative name, with their link's index; None: the kernel has no such name."""
    bridge_filters: bool | None = None
    """`bridge-nf-call-iptables`; None: bridged packets are not shown to iptables at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPath:
    """The path of one cluster network on this node; there is one only where a storage pod of the network runs."""

    node: str
    network: Network
    bridge_name: str
    """From the NAD."""
    cluster_network: str | None = None
    """None where the bridge is not named as Harvester names them."""
    bridge: PathLink | None = None
    """The link of that name, whatever its kind; None if there is none."""
    uplink: PathLink | None = None
    """The bridge's way out; None if none of its ports is one."""
    nics: tuple[PathLink, ...] = ()
    """Below the uplink: a bond's ports, or the uplink itself."""
    veths: tuple[PathVeth, ...] = ()
    """Of the pods whose namespace could be read."""
    strays: tuple[PathLink, ...] = ()
    """Links that should be or carry the uplink by their name and do not."""
    spare_nics: tuple[str, ...] = ()
    """Physical NICs that are nobody's port: a NIC that was renamed is among them."""
    lowering_port: PathLink | None = None
    """The port with the smallest MTU among those of the bridge that are not part of the path (VMs' ends)."""
    vlan_configs: tuple[str, ...] = ()
    """Names of the VlanConfigs that match this node. Always empty for `mgmt`."""
    configured_nics: tuple[str, ...] = ()
    """NICs that these name."""
    missing_nics: tuple[str, ...] = ()
    """Those of them that the kernel does not have."""
    bond_mode: str | None = None
    """As these say it."""
    bridge_filters: bool | None = None
    elements: tuple[tuple[str, bool], ...] = ()
    """For lhnet_host_path_ok: the parts of the path that can be told, and whether each is sound, by this look alone: whatever the mode
    holds back and the operator ignores."""
