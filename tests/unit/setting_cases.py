"""Objects of one Harvester cluster for the setting's rules: nodes harv41 to harv43 and witness harv44, VLAN 100, 192.168.0.0/24.

Shapes and messages are those that Harvester's controller writes; every maker gives the healthy object unless told otherwise.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from unitworld import NAD, record

from agent.model.cluster import ClusterFacts, Known
from agent.model.holder import HolderFacts, InstanceManagerRecord, InstanceRecord, MonitoringRecord
from agent.model.pool import NadConfig
from agent.model.records import (
    ConditionRecord,
    LonghornSettingRecord,
    NadRecord,
    NodeRecord,
    PodRecord,
    SettingRecord,
    SourceState,
    SourceStatus,
    VlanConfigRecord,
)
from agent.rules.mode import read_mode
from agent.rules.nad import parse_nad
from agent.rules.netstatus import storage_pods
from agent.rules.setting_judge import Told, judge_setting

VALUE = '{"vlan":100,"clusterNetwork":"storage","range":"192.168.0.0/24","exclude":["192.168.0.1/32"]}'
RWX_VALUE = '{"share-storage-network":false,"network":{"vlan":110,"clusterNetwork":"storage","range":"192.168.10.0/26"}}'
RWX_NAD = "harvester-system/rwx-network-k2m8p"
OLD_NAD = "harvester-system/storagenetwork-zz81q"
EMPTY_HASH = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
CONFIG = (
    '{"cniVersion":"0.3.1","type":"bridge","bridge":"storage-br","promiscMode":true,"vlan":100,'
    '"ipam":{"type":"whereabouts","range":"192.168.0.0/24","exclude":["192.168.0.1/32"]}}'
)
RWX_CONFIG = (
    '{"cniVersion":"0.3.1","type":"bridge","bridge":"storage-br","promiscMode":true,"vlan":110,'
    '"ipam":{"type":"whereabouts","range":"192.168.10.0/26"}}'
)
DONE = ConditionRecord(type="configured", status="True", reason="Completed", last_update_time="2026-06-02T08:09:17Z")
CRDS = ("ippools.whereabouts.cni.cncf.io", "overlappingrangeipreservations.whereabouts.cni.cncf.io")
HELD = {"storage-network.settings.harvesterhci.io/replica": "1"}
MANAGERS = {
    "harv41": "instance-manager-589f85baa537ee42c89e9ce25e553c8c",
    "harv42": "instance-manager-a23b838709b70b6a170fac705430eceb",
    "harv43": "instance-manager-818d190808a980cf56b3a2e71e4d450d",
}
VOLUME = "pvc-0a151c59-ffa9-4938-9c86-59ebb296bc88"


def busy(message: str | None = "Restarting Pods", *, since: str = "2026-06-02T08:05:17Z") -> ConditionRecord:
    return ConditionRecord(type="configured", status="False", reason="In Progress", message=message, last_update_time=since)


def setting(
    value: str | None = VALUE,
    *conditions: ConditionRecord,
    name: str = "storage-network",
    nad: str = NAD,
    old: str = "",
    applied: str | None = None,
    touched: bool = True,
) -> SettingRecord:
    """Enabled and completed; `applied` is the hash annotation, the value's own unless given."""
    prefix = f"{name}.settings.harvesterhci.io"
    own = hashlib.sha1((value or "").encode(), usedforsecurity=False).hexdigest()
    annotations = {f"{prefix}/hash": applied or own, f"{prefix}/net-attach-def": nad, f"{prefix}/old-net-attach-def": old}
    return SettingRecord(name=name, value=value, annotations=annotations if touched else {}, conditions=conditions if touched else ())


def enabled(**changes: Any) -> SettingRecord:
    return setting(VALUE, DONE, **changes)


def disabled() -> SettingRecord:
    """The "completed" example of Harvester's guide."""
    return setting("", DONE, nad="")


def rwx(value: str = RWX_VALUE, *conditions: ConditionRecord, nad: str = RWX_NAD) -> SettingRecord:
    return setting(value, *(conditions or (DONE,)), name="rwx-network", nad=nad, applied="a444483f43bfc1755da2c7db4f806f50d5f53cb7")


def longhorn(value: str | None = NAD, *, name: str = "storage-network") -> LonghornSettingRecord:
    return LonghornSettingRecord(name=name, value=value, applied=True)


def nad_record(key: str = NAD, config: str | None = CONFIG, *, made_for: str | None = "storage-network", hashed: str = "x") -> NadRecord:
    namespace, _, name = key.partition("/")
    annotations = {f"{made_for}.settings.harvesterhci.io": "true"} if made_for else {}
    labels = {f"{made_for}.settings.harvesterhci.io/hash": hashed} if made_for else {}
    return NadRecord(namespace=namespace, name=name, config=config, annotations=annotations, labels=labels)


def config(text: str = CONFIG, *, name: str = NAD) -> NadConfig:
    return parse_nad(name, text)


def manager_pods() -> tuple[PodRecord, ...]:
    return tuple(
        record(name, node=node, address=f"192.168.0.{number + 2}", pod_ip=f"10.52.{number}.121")
        for number, (node, name) in enumerate(MANAGERS.items())
    )


def node(name: str, *, number: int = 0, witness: bool = False, **fields: Any) -> NodeRecord:
    labels = {"node-role.harvesterhci.io/witness": "true"} if witness else {}
    plain: dict[str, Any] = {
        "ready": True,
        "labels": labels,
        "internal_ips": (f"172.16.4.{41 + number}",),
        "pod_cidrs": (f"10.52.{number}.0/24",),
    }
    return NodeRecord(name=name, **(plain | fields))


def nodes() -> tuple[NodeRecord, ...]:
    return (node("harv41"), node("harv42", number=1), node("harv43", number=2), node("harv44", number=3, witness=True))


def vlan_config(matched: str | None = '["harv41","harv42","harv43"]', *, network: str = "storage") -> VlanConfigRecord:
    return VlanConfigRecord(name=f"{network}-all", cluster_network=network, nics=("ens5", "ens6"), matched_nodes=matched)


def manager(node_name: str = "harv43", *, state: str = "running", name: str | None = None) -> InstanceManagerRecord:
    return InstanceManagerRecord(name=name or MANAGERS[node_name], node_id=node_name, type="aio", state=state)


def replica(
    storage_ip: str | None = "192.168.0.4",
    *,
    name: str = f"{VOLUME}-r-076c3070",
    volume: str = VOLUME,
    node_name: str = "harv43",
    state: str = "running",
    kind: str = "replica",
) -> InstanceRecord:
    return InstanceRecord(
        kind=kind,
        name=name,
        volume=volume,
        node_id=node_name,
        storage_ip=storage_ip,
        state=state,
        instance_manager=MANAGERS.get(node_name),
    )


def monitored(kind: str = "Prometheus", *, replicas: int | None = 1, held: dict[str, str] | None = None) -> MonitoringRecord:
    names = {"Prometheus": "prometheus", "Alertmanager": "alertmanager", "Deployment": "grafana"}
    return MonitoringRecord(
        kind=kind,
        namespace="cattle-monitoring-system",
        name=f"rancher-monitoring-{names.get(kind, 'x')}",
        replicas=replicas,
        held=held or {},
    )


def known(name: str, *items: Any, state: SourceState = SourceState.LIVE, skipped: tuple[str, ...] = ()) -> Known[Any]:
    return Known(items=items, status=SourceStatus(name=name, state=state), skipped=skipped)


def cluster_facts(**changes: Any) -> ClusterFacts:
    healthy = ClusterFacts(
        pods=known("pods", *manager_pods()),
        node=known("node", nodes()[0]),
        setting=known("setting", enabled()),
        longhorn_settings=known("longhorn_settings", longhorn()),
        nads=known("nads", nad_record()),
        cluster_networks=known("cluster_network"),
        vlan_configs=known("cluster_network", vlan_config()),
    )
    return replace(healthy, **changes)


def holder_facts(**changes: Any) -> HolderFacts:
    healthy = HolderFacts(
        nodes=known("nodes", *nodes()),
        instance_managers=known("instance_managers", *(manager(name) for name in MANAGERS)),
        all_nads=known("all_nads", nad_record()),
        crds=known("crds", *CRDS),
        monitoring=known("monitoring", monitored(), monitored("Alertmanager"), monitored("Deployment")),
        replicas=known("replicas", replica()),
        engines=known("engines", replica("192.168.0.2", kind="engine", name=f"{VOLUME}-e-0", node_name="harv41")),
    )
    return replace(healthy, **changes)


@dataclass(frozen=True, slots=True)
class Limits:
    setting_stuck_seconds: float = 600.0
    pod_grace_seconds: float = 30.0


def judged(facts: ClusterFacts | None = None, holder: HolderFacts | None = None, *, now: float = 0.0, **other: Any) -> list[Told]:
    """One look at a whole cluster, read as the agent reads it."""
    facts = cluster_facts() if facts is None else facts
    reading = read_mode(facts, interface="lhnet1")
    arguments: dict[str, Any] = {"thresholds": Limits(), "unconfigured_since": {}, "now": now}
    return judge_setting(
        facts=facts,
        holder=holder_facts() if holder is None else holder,
        reading=reading,
        pods=storage_pods(facts.pods.items, nads=reading.nads, interface="lhnet1"),
        nads={nad.key: parse_nad(nad.key, nad.config) for nad in facts.nads.items},
        **(arguments | other),
    )


def ids(told: list[Told]) -> list[str]:
    return sorted(one.finding.id for one in told)
