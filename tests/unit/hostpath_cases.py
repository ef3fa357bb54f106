"""The host's links of harv41, a Harvester node: two NICs in the bond storage-bo on storage-br, beside it the management network, one
storage pod and one VM. Names, indexes and faults as seen in the field; `host` takes what differs."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unitworld import LHNET1, NAD, facts, file, pod

from agent.model.finding import Finding
from agent.model.hostpath import HostPath, HostReading
from agent.model.net import Link
from agent.model.peers import StoragePod
from agent.model.records import VlanConfigRecord
from agent.model.view import InspectedPod
from agent.rules.hostpath import bridges_here, follow, judge, uplinks_of
from agent.rules.nad import parse_nad

NODE = "harv41"
POD = pod()
CONFIG = '{"type":"bridge","bridge":"storage-br","vlan":100,"ipam":{"type":"whereabouts","range":"192.168.0.0/24"}}'
NADS = {NAD: parse_nad(NAD, CONFIG)}
VETH = "veth0a1b2c3d"


def link(index: int, name: str, kind: str | None = None, **fields: Any) -> Link:
    given = {"mac": f"52:54:00:a1:01:{index % 256:02x}", "mtu_bytes": 1500, "up": True, "carrier": True, "operstate": "up"}
    return Link(**({"index": index, "name": name, "kind": kind} | given | fields))


HEALTHY: Mapping[str, Link] = {
    one.name: one
    for one in (
        link(1, "lo", mtu_bytes=65536, mac="00:00:00:00:00:00"),
        link(2, "ens3", master_index=8),
        link(4, "ens5", master_index=6),
        link(5, "ens6", master_index=6),
        link(6, "storage-bo", "bond", master_index=7),
        link(7, "storage-br", "bridge"),
        link(8, "mgmt-bo", "bond", master_index=9),
        link(9, "mgmt-br", "bridge"),
        link(2278, VETH, "veth", master_index=7, peer_index=LHNET1.index, peer_netnsid=12),
        link(2301, "tap1c0ffee", "tun", master_index=7),
    )
}


def host(*gone: str, links: tuple[Link, ...] = (), **changes: Mapping[str, Any]) -> tuple[Link, ...]:
    """The healthy host without `gone`, with `changes` to links (an underscore in a name stands for a hyphen), and with more `links`."""
    named = {name.replace("_", "-"): values for name, values in changes.items()}
    assert set(named) | set(gone) <= set(HEALTHY)
    kept = (replace(one, **named.get(name, {})) for name, one in HEALTHY.items() if name not in gone)
    return (*kept, *links)


def vlan_config(*nics: str, name: str = "storage-all", nodes: str = '["harv41","harv42"]', **fields: Any) -> VlanConfigRecord:
    given = {"cluster_network": "storage", "bond_mode": "active-backup", "mtu_bytes": 1500}
    return VlanConfigRecord(**({"name": name, "nics": nics or ("ens5", "ens6"), "matched_nodes": nodes} | given | fields))


def inspected(one: StoragePod = POD, **fields: Any) -> InspectedPod:
    return InspectedPod(pod=one, namespace=file(), facts=facts(**fields))


def path(
    links: tuple[Link, ...] | None = None,
    *,
    configs: tuple[VlanConfigRecord, ...] | None = None,
    pods: tuple[InspectedPod, ...] | None = None,
    nads: Any = None,
    speeds: Mapping[str, int] | None = None,
    filters: bool | None = False,
    alternative_names: Mapping[str, int] | None = None,
) -> HostPath:
    """What the check would put together; the kernel was asked for all NICs of all VlanConfigs."""
    configs = (vlan_config(),) if configs is None else configs
    pods = (inspected(),) if pods is None else pods
    links = host() if links is None else links
    there = {one.name: one.index for one in links} | dict(alternative_names or {})
    reading = HostReading(
        links=links,
        speeds_mbits=tuple((speeds if speeds is not None else {"ens5": 10000, "ens6": 10000, "storage-bo": 10000}).items()),
        nic_indexes=tuple((nic, there.get(nic)) for config in configs for nic in config.nics),
        bridge_filters=filters,
    )
    uses, _ = bridges_here([one.pod for one in pods], nads or NADS)
    use = uses[0]
    uplinks = uplinks_of(use.cluster_network, node=NODE, vlan_configs=configs)
    return follow(use, reading, node=NODE, uplinks=uplinks, inspected=pods)


def found(one: HostPath, *, harvester: bool = True, min_mbits: int = 10000, expected: Any = None) -> list[Finding]:
    return judge(one, expected=expected, uplink_min_mbits=min_mbits, harvester=harvester)


def ids(one: HostPath, **fields: Any) -> list[str]:
    return [finding.id for finding in found(one, **fields)]


def only(one: HostPath, **fields: Any) -> Finding:
    (finding,) = found(one, **fields)
    return finding
