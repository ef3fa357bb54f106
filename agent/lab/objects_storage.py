"""What Harvester, its network controller and whereabouts hold about the storage network of a lab.

A healthy Harvester 1.7 cluster whose setting is applied, unless the plan says otherwise. Finalizers are left out: nobody in a lab would
ever remove them. The NAD keeps its `vlan`, as Harvester writes it, although the lab's bridges carry untagged frames.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from agent.lab.objects_pods import NAD, VLAN_CONFIG, container_id
from agent.lab.plan import BRIDGE, CLUSTER_NETWORK, NAD_NAME, NAD_NAMESPACE, LabPlan, LabPod
from agent.model.peers import Mode

Json = dict[str, Any]

WHEREABOUTS_NAMESPACE = "kube-system"
MONITORING_NAMESPACE = "cattle-monitoring-system"
UPLINK = "ens5"
APPLIED_AT = "2026-06-02T08:09:17Z"
SETTING_HOST = "settings.harvesterhci.io"
SETTING_KEYS = f"storage-network.{SETTING_HOST}"
WAITS_FOR = "pvc-0a151c59-ffa9-4938-9c86-59ebb296bc88"
"""The volume that is still attached while the setting is applied."""


def setting_value(plan: LabPlan, *, exclude: Sequence[str] = ()) -> str:
    """The text that a user gave Harvester: no spaces, `exclude` only where there is one."""
    value: Json = {"vlan": plan.vlan, "clusterNetwork": CLUSTER_NETWORK, "range": plan.range}
    return _compact({**value, "exclude": list(exclude)} if exclude else value)


def storage_setting(plan: LabPlan) -> Json:
    """Harvester's setting storage-network. One that was switched off looks completed, with the hash of no text at all."""
    setting: Json = {"apiVersion": "harvesterhci.io/v1beta1", "kind": "Setting", "metadata": {"name": "storage-network"}, "default": ""}
    if plan.mode is Mode.UNINITIALISED:
        return setting
    value = "" if plan.mode is Mode.OFF else setting_value(plan)
    named = {"hash": sha1(value), "net-attach-def": "" if plan.mode is Mode.OFF else NAD, "old-net-attach-def": ""}
    return {
        **setting,
        "metadata": {"name": "storage-network", "annotations": {f"{SETTING_KEYS}/{key}": text for key, text in named.items()}},
        "status": {"conditions": [configured(applying=plan.mode is Mode.APPLYING)]},
        "value": value,
    }


def configured(*, applying: bool = False, since: str = APPLIED_AT) -> Json:
    """The setting's one condition. Harvester never says Failed: what lasts too long is what does not work."""
    if not applying:
        return {"type": "configured", "status": "True", "reason": "Completed", "lastUpdateTime": since}
    message = f"waiting for all volumes detached: {WAITS_FOR}"
    return {"type": "configured", "status": "False", "reason": "In Progress", "message": message, "lastUpdateTime": since}


def rwx_setting(*, value: str = "", annotations: dict[str, str] | None = None) -> Json:
    """Harvester's setting rwx-network, by default as it is before anybody has touched it."""
    metadata: Json = {"name": "rwx-network", **({"annotations": annotations} if annotations else {})}
    setting = {"apiVersion": "harvesterhci.io/v1beta1", "kind": "Setting", "metadata": metadata}
    applied = {"value": value, "status": {"conditions": [configured(applying=False)]}} if value else {}
    return {**setting, "default": '{"share-storage-network":false}', **applied}


def nad(plan: LabPlan, *, exclude: Sequence[str] = ()) -> Json:
    ipam: Json = {"type": "whereabouts", "range": plan.range}
    config: Json = {"cniVersion": "0.3.1", "type": "bridge", "bridge": BRIDGE, "promiscMode": True, "vlan": plan.vlan}
    config["ipam"] = {**ipam, "exclude": list(exclude)} if exclude else ipam
    if plan.mtu_bytes != 1500:
        config["mtu"] = plan.mtu_bytes
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "name": NAD_NAME,
            "namespace": NAD_NAMESPACE,
            "annotations": {SETTING_KEYS: "true"},
            "labels": {
                "network.harvesterhci.io/clusternetwork": CLUSTER_NETWORK,
                "network.harvesterhci.io/ready": "true",
                "network.harvesterhci.io/type": "L2VlanNetwork",
                "network.harvesterhci.io/vlan-id": str(plan.vlan),
                f"{SETTING_KEYS}/hash": sha1(setting_value(plan, exclude=exclude)),
            },
        },
        "spec": {"config": _compact(config)},
    }


def cluster_networks(plan: LabPlan) -> Iterator[Json]:
    status = {"conditions": [{"type": "ready", "status": "True", "lastUpdateTime": APPLIED_AT}]}
    vlans = f"1,{plan.vlan}"
    annotations = {"uplink-mtu": str(plan.mtu_bytes), "mtu-source-vc": VLAN_CONFIG, "vlan-id-set-str": vlans}
    annotations["vlan-id-set-str-hash"] = sha1(vlans)
    yield {
        **_network("ClusterNetwork", CLUSTER_NETWORK),
        "metadata": {
            "name": CLUSTER_NETWORK,
            "annotations": {f"network.harvesterhci.io/{key}": value for key, value in annotations.items()},
        },
        "status": status,
    }
    yield {**_network("ClusterNetwork", "mgmt"), "status": status}


def vlan_config(plan: LabPlan, nodes: Iterable[str], *, name: str = VLAN_CONFIG, nics: Sequence[str] = (UPLINK,)) -> Json:
    return {
        **_network("VlanConfig", name),
        "metadata": {
            "name": name,
            "labels": {"network.harvesterhci.io/clusternetwork": CLUSTER_NETWORK},
            "annotations": {"network.harvesterhci.io/matched-nodes": _compact(list(nodes))},
        },
        "spec": {
            "clusterNetwork": CLUSTER_NETWORK,
            "uplink": {
                "nics": list(nics),
                "linkAttributes": {"mtu": plan.mtu_bytes, "txQLen": -1},
                "bondOptions": {"mode": "active-backup", "miimon": 100},
            },
        },
    }


def vlan_status(node: str) -> Json:
    # network-controller-harvester pkg/utils/name.go: the suffix is the CRC-32 of what stands before it.
    stem = f"{CLUSTER_NETWORK}-{node}"
    labels = {"clusternetwork": CLUSTER_NETWORK, "node": node, "vlanconfig": VLAN_CONFIG}
    return {
        **_network("VlanStatus", ""),
        "metadata": {
            "name": f"{stem}-{zlib.crc32(stem.encode()):08x}",
            "labels": {f"network.harvesterhci.io/{key}": value for key, value in labels.items()},
        },
        "status": {
            "clusterNetwork": CLUSTER_NETWORK,
            "linkMonitor": CLUSTER_NETWORK,
            "node": node,
            "vlanConfig": VLAN_CONFIG,
            "conditions": [{"type": "ready", "status": "True", "lastUpdateTime": APPLIED_AT}],
        },
    }


def pool_name(plan: LabPlan) -> str:
    """whereabouts names a pool after its range, the slash written as a dash."""
    return str(ip_network(plan.range, strict=False)).replace("/", "-").replace(":", "-")


def ip_pool(plan: LabPlan) -> Json:
    """Every granted address of the plan, by its offset from the network address."""
    network = ip_network(plan.range, strict=False)
    return {
        **_whereabouts("IPPool", pool_name(plan)),
        "spec": {
            "range": str(network),
            "allocations": {
                str(int(ip_address(pod.storage_address)) - int(network.network_address)): {
                    "id": container_id(pod),
                    "podref": pod.key,
                    "ifname": pod.interface,
                }
                for pod in plan.pods
                if pod.storage_address and plan.range_of(pod) == plan.range
            },
        },
    }


def reservation(pod: LabPod) -> Json:
    """Of a pod with a storage address."""
    name = (pod.storage_address or "").replace(":", "-")
    return {**_whereabouts("OverlappingRangeIPReservation", name), "spec": {"podref": pod.key, "ifname": pod.interface}}


def monitoring(*, held: bool = False) -> Iterator[Json]:
    """What Harvester stops while it applies the setting: running, or held at no replicas with the number to give back."""
    annotations = {"annotations": {f"{SETTING_KEYS}/replica": "1"}} if held else {}
    for kind, name in (("Prometheus", "rancher-monitoring-prometheus"), ("Alertmanager", "rancher-monitoring-alertmanager")):
        metadata = {"name": name, "namespace": MONITORING_NAMESPACE, **annotations}
        spec = {"replicas": 0 if held else 1}
        yield {"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": metadata, "spec": spec}


def sha1(text: str) -> str:
    """Harvester's hash of a setting: of the text as it stands."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _network(kind: str, name: str) -> Json:
    return {"apiVersion": "network.harvesterhci.io/v1beta1", "kind": kind, "metadata": {"name": name}}


def _whereabouts(kind: str, name: str) -> Json:
    metadata = {"name": name, "namespace": WHEREABOUTS_NAMESPACE}
    return {"apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": kind, "metadata": metadata}
