"""Follows the storage network through a node and judges each part of the way (contract §5), from what one kernel said at one look.

Only where the NAD's plugin is `bridge`, and only where a storage pod runs. A part that is missing hides what hangs on it: without the
bridge nothing is said of uplink, MTU or the pods' ends, without the uplink nothing of its carrier or speed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.model.finding import Finding
from agent.model.hostpath import HostPath, HostReading, PathLink, PathVeth
from agent.model.net import Link
from agent.model.peers import Network, StoragePod
from agent.model.pool import NadConfig
from agent.model.records import VlanConfigRecord
from agent.model.view import InspectedPod
from agent.rules import hostpath_findings as findings
from agent.rules.hostpath_mtu import mtu_chain
from agent.rules.hostpath_uplink import BRIDGE_SUFFIX, nics_below, spare_nics, strays, uplink_of
from agent.rules.mtu import ExpectedMtu
from agent.rules.setting_cluster import MANAGEMENT, matched_nodes
from agent.rules.setting_texts import Places

DEFAULT_BRIDGE = "cni0"
"""Of the bridge plugin, where the configuration names none (containernetworking plugins, bridge.go)."""
_ELEMENTS: Mapping[str, str] = {
    "bridge-missing": "bridge",
    "uplink-missing": "uplink",
    "uplink-down": "uplink",
    "nic-missing": "nic",
    "veth-detached": "veth",
    "mtu-chain": "mtu",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeUse:
    """One bridge that local storage pods are to be on. The storage network's comes first."""

    bridge: str
    network: Network
    nad: NadConfig
    pods: tuple[StoragePod, ...]

    @property
    def cluster_network(self) -> str | None:
        """Harvester names the bridge after it (network-controller-harvester pkg/utils)."""
        return self.bridge.removesuffix(BRIDGE_SUFFIX) if self.bridge.endswith(BRIDGE_SUFFIX) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplinks:
    """What the VlanConfigs of one cluster network say about one node."""

    names: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    bond_mode: str | None = None


def bridges_here(pods: Iterable[StoragePod], nads: Mapping[str, NadConfig]) -> tuple[tuple[BridgeUse, ...], bool]:
    """The bridges of these pods, and whether that is all: False while the NAD of some pod is not known."""
    found: dict[str, list[tuple[StoragePod, NadConfig]]] = {}
    complete = True
    for pod in sorted(pods, key=lambda pod: (pod.network is not Network.STORAGE, pod.key)):
        names = [pod.grant.nad] if pod.grant else [request.nad for request in pod.requests]
        nad = next((nads[name] for name in names if name in nads), None)
        if nad is None or nad.type is None:
            complete = False
        elif nad.type == "bridge":
            found.setdefault(nad.bridge or DEFAULT_BRIDGE, []).append((pod, nad))
    uses = (
        BridgeUse(bridge=bridge, network=here[0][0].network, nad=here[0][1], pods=tuple(pod for pod, _ in here))
        for bridge, here in found.items()
    )
    return tuple(uses), complete


def uplinks_of(cluster_network: str | None, *, node: str, vlan_configs: Iterable[VlanConfigRecord]) -> Uplinks:
    """Nothing for `mgmt`: its bond is the installer's, and old versions have no VlanConfig for it."""
    if cluster_network is None or cluster_network == MANAGEMENT:
        return Uplinks()
    mine = [
        config
        for config in vlan_configs
        if config.cluster_network == cluster_network and node in (matched_nodes(config.matched_nodes) or ())
    ]
    return Uplinks(
        names=tuple(config.name for config in mine),
        nics=tuple(dict.fromkeys(nic for config in mine for nic in config.nics)),
        bond_mode=next((config.bond_mode for config in mine if config.bond_mode), None),
    )


def follow(use: BridgeUse, host: HostReading, *, node: str, uplinks: Uplinks, inspected: Iterable[InspectedPod]) -> HostPath:
    """The path of `use` on this host. `inspected` are the pods' own namespaces; those that could not be read have no end here."""
    links = {link.index: link for link in host.links}
    speeds = dict(host.speeds_mbits)
    nic_indexes = _nic_indexes(uplinks.nics, host)
    veths = tuple(veth for one in inspected if (veth := _veth(one, links)) is not None)
    pod_ends = {veth.index for veth in veths if veth.name is not None}
    bridge = next((link for link in host.links if link.name == use.bridge), None)
    ports = [link for link in host.links if bridge is not None and link.master_index == bridge.index]
    present = {index for index in nic_indexes.values() if index is not None}
    uplink = uplink_of(ports, cluster_network=use.cluster_network, nic_indexes=present, pod_ends=pod_ends)
    nics = nics_below(uplink, links) if uplink else ()
    on_path = {link.index for link in (uplink, *nics) if link}
    others = [port for port in ports if port.index not in on_path | pod_ends]
    lowest = min(others, key=lambda port: port.mtu_bytes, default=None)

    def told(link: Link) -> PathLink:
        master = links.get(link.master_index or 0)
        return PathLink(
            name=link.name,
            kind=link.kind,
            up=link.up,
            carrier=link.carrier,
            mtu_bytes=link.mtu_bytes,
            master=master.name if master else None,
            speed_mbits=speeds.get(link.name),
        )

    return HostPath(
        node=node,
        network=use.network,
        bridge_name=use.bridge,
        cluster_network=use.cluster_network,
        bridge=told(bridge) if bridge else None,
        uplink=told(uplink) if uplink else None,
        nics=tuple(told(nic) for nic in nics),
        veths=veths,
        strays=tuple(told(link) for link in strays(host.links, cluster_network=use.cluster_network, nic_indexes=present, on_path=on_path)),
        spare_nics=spare_nics(host.links),
        lowering_port=told(lowest) if lowest else None,
        vlan_configs=uplinks.names,
        configured_nics=uplinks.nics,
        missing_nics=tuple(name for name in uplinks.nics if name in nic_indexes and nic_indexes[name] is None),
        bond_mode=uplinks.bond_mode,
        bridge_filters=host.bridge_filters,
    )


def _nic_indexes(names: Iterable[str], host: HostReading) -> dict[str, int | None]:
    """Name → index, None for those that are not there; names that the kernel could not be asked for are left out."""
    asked = dict(host.nic_indexes)
    known = {link.name: link.index for link in host.links}
    return {name: known.get(name, asked.get(name)) for name in names if name in known or name in asked}


def host_end(inner: Link, links: Mapping[int, Link]) -> Link | None:
    """The host's end of the veth whose other end, in a pod, is `inner`. A link that does not point back is somebody else's."""
    outer = links.get(inner.peer_index or 0)
    return outer if outer is not None and outer.kind == "veth" and outer.peer_index == inner.index else None


def other_end_gone(inner: Link, links: Mapping[int, Link]) -> bool:
    """The pod's end is one of a pair, and the host does not have the other one."""
    return inner.kind == "veth" and inner.peer_index is not None and host_end(inner, links) is None


def _veth(one: InspectedPod, links: Mapping[int, Link]) -> PathVeth | None:
    """None if the pod has no interface of this kind: that is another finding, or another plugin's doing."""
    inner = one.facts.link(one.pod.interface) if one.facts else None
    if inner is None or inner.kind != "veth" or inner.peer_index is None:
        return None
    outer = host_end(inner, links)
    if outer is None:
        return PathVeth(pod=one.pod, index=inner.peer_index)
    master = links.get(outer.master_index or 0)
    return PathVeth(
        pod=one.pod,
        index=inner.peer_index,
        name=outer.name,
        bridge=master.name if master else None,
        up=outer.up,
        mtu_bytes=outer.mtu_bytes,
    )


def judge(
    path: HostPath, *, expected: ExpectedMtu | None, uplink_min_mbits: int, harvester: bool, places: Places | None = None
) -> list[Finding]:
    """All findings of the path, in the contract's order. `harvester`: the cluster has Harvester's network objects."""
    places = places or Places()
    told = [findings.bridge_missing(path, places=places)]
    if told[0] is None:
        missing = findings.uplink_missing(path)
        told += [missing] if missing else [findings.uplink_down(path), findings.uplink_slow(path, min_mbits=uplink_min_mbits)]
        told += [findings.veth_detached(path, veth) for veth in path.veths]
        told.append(mtu_chain(path, expected=expected))
    told.append(findings.nic_missing(path))
    if harvester:
        told.append(findings.bridge_netfilter(path))
    return [finding for finding in told if finding is not None]


def elements(path: HostPath | None, standing: Iterable[Finding]) -> dict[str, bool]:
    """For lhnet_host_path_ok: which parts of the path are sound. A part that cannot be told, because what it hangs on is missing or
    nothing says what it should be, has no entry."""
    if path is None:
        return {}
    broken = {_ELEMENTS[finding.id] for finding in standing if finding.id in _ELEMENTS}
    there = path.bridge is not None
    tellable = {
        "bridge": True,
        "uplink": there,
        "nic": bool(path.configured_nics),
        "veth": there and bool(path.veths),
        "mtu": there and (path.uplink is not None or bool(path.veths)),
    }
    return {name: name not in broken for name, known in tellable.items() if known or name in broken}
