"""Says which MTU a storage interface should have: the cluster network's, else the one that most peers were granted.

Harvester keeps the cluster network's MTU in an annotation since 1.6, in the VlanConfig before; none or 0 means 1500
(network-controller pkg/webhook/clusternetwork). The network `mgmt` may have neither: then the peers decide.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from agent.model.cluster import ClusterFacts
from agent.model.peers import StoragePod
from agent.model.pool import NadConfig
from agent.rules.mode import Reading

UPLINK_MTU = "network.harvesterhci.io/uplink-mtu"
DEFAULT_MTU_BYTES = 1500
_LOWEST, _HIGHEST = 576, 9000
"""What Harvester's webhook accepts."""


@dataclass(frozen=True, slots=True)
class ExpectedMtu:
    """An MTU and who says so, as a clause that the number can follow."""

    mtu_bytes: int
    said_by: str
    compared_live: bool
    """What it was read from is a live watch."""


def cluster_network_of(reading: Reading, nad: NadConfig | None) -> str | None:
    """The cluster network's name: from the setting, else from the bridge `<name>-br` of the NAD."""
    if reading.cluster_network:
        return reading.cluster_network
    bridge = nad.bridge if nad else None
    return bridge.removesuffix("-br") if bridge and bridge.endswith("-br") else None


def expected_mtu(
    pod: StoragePod, pods: Iterable[StoragePod], *, facts: ClusterFacts, reading: Reading, nad: NadConfig | None
) -> ExpectedMtu | None:
    """What the pod's interface should have, None if nothing says it."""
    name = cluster_network_of(reading, nad)
    network = next((one for one in facts.cluster_networks.items if one.name == name), None)
    if network is not None:
        live = facts.cluster_networks.status.state == "live" and facts.vlan_configs.status.state in ("live", "absent")
        text = network.annotations.get(UPLINK_MTU, "")
        if text.isascii() and text.isdigit() and _LOWEST <= int(text[:6]) <= _HIGHEST:
            return ExpectedMtu(int(text), f"the cluster network {name} has", live)
        configs = [config for config in facts.vlan_configs.items if config.cluster_network == name]
        if configs and not text:
            agreed = {config.mtu_bytes or DEFAULT_MTU_BYTES for config in configs}
            if len(agreed) == 1:
                return ExpectedMtu(agreed.pop(), f"the VlanConfigs of {name} have", live)
    return _most_peers(pod, pods, live=facts.pods.status.state == "live")


def _most_peers(pod: StoragePod, pods: Iterable[StoragePod], *, live: bool) -> ExpectedMtu | None:
    """The MTU that more than half of the pod's peers were granted, if at least two say so (Multus writes it since 4.1)."""
    counts = Counter(
        other.grant.mtu_bytes
        for other in pods
        if other.uid != pod.uid and other.grant and pod.grant and other.grant.nad == pod.grant.nad and other.grant.mtu_bytes
    )
    if not counts:
        return None
    (mtu_bytes, count), total = counts.most_common(1)[0], counts.total()
    return ExpectedMtu(mtu_bytes, f"{count} of {total} peers have", live) if mtu_bytes and count >= 2 and count * 2 > total else None
