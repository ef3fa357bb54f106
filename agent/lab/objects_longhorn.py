"""Longhorn's own resources in a lab: settings, nodes with their disks, instance-managers, backing-image-managers.

As Longhorn 1.10 writes them in a healthy cluster without volumes. Of the two addresses of an instance-manager its resource carries only
that of the pod network.
"""

from collections.abc import Iterator
from typing import Any

from agent.lab.objects_pods import NAD, disk_uuid, stable_uid
from agent.lab.objects_storage import APPLIED_AT
from agent.lab.plan import LONGHORN_NAMESPACE, LabNode, LabPlan, LabPod
from agent.model.peers import Mode, Role

Json = dict[str, Any]

LONGHORN_SETTINGS = {
    "storage-network-for-rwx-volume-enabled": "false",
    "priority-class": "system-cluster-critical",
    "v2-data-engine": "false",
    "instance-manager-pod-liveness-probe-timeout": "10",
    "auto-delete-pod-when-volume-detached-unexpectedly": "true",
}
DISK = "default-disk-78fb6f01e1b3c0a2"


def longhorn_setting(name: str, value: str, *, applied: bool = True) -> Json:
    return {**_longhorn("Setting", name), "value": value, "status": {"applied": applied}}


def storage_network_setting(plan: LabPlan) -> Json:
    """Harvester writes it once all volumes are detached; where a person does, Longhorn itself waits for them."""
    waits = plan.mode is Mode.APPLYING
    named = plan.mode is Mode.ON or (waits and not plan.harvester)
    return longhorn_setting("storage-network", NAD if named else "", applied=not (waits and not plan.harvester))


def instance_manager(pod: LabPod) -> Json:
    labels = {
        "component": "instance-manager",
        "instance-manager-image": "imi-3e6dce8c",
        "instance-manager-type": "aio",
        "managed-by": "longhorn-manager",
        "node": pod.node,
        "data-engine": "v1",
    }
    return {
        **_longhorn("InstanceManager", pod.name, labels={f"longhorn.io/{key}": value for key, value in labels.items()}),
        "spec": {"image": "longhornio/longhorn-instance-manager:v1.10.2", "nodeID": pod.node, "type": "aio", "dataEngine": "v1"},
        "status": {
            "currentState": "running",
            "ownerID": pod.node,
            "ip": pod.pod_ip,
            "apiVersion": 6,
            "apiMinVersion": 3,
            "proxyApiVersion": 6,
            "proxyApiMinVersion": 3,
            "instanceEngines": {},
            "instanceReplicas": {},
        },
    }


def backing_image_manager(pod: LabPod) -> Json:
    return {
        **_longhorn("BackingImageManager", pod.name),
        "spec": {
            "image": "longhornio/backing-image-manager:v1.10.2",
            "nodeID": pod.node,
            "diskUUID": disk_uuid(pod.node),
            "diskPath": "/var/lib/harvester/defaultdisk",
            "backingImages": {},
        },
        "status": {
            "currentState": "running",
            "ownerID": pod.node,
            "ip": pod.pod_ip,
            "storageIP": pod.storage_address or pod.pod_ip,
            "apiVersion": 2,
            "apiMinVersion": 2,
            "backingImageFileMap": {},
        },
    }


def longhorn_node(node: LabNode) -> Json:
    disk = {"diskType": "filesystem", "path": "/var/lib/harvester/defaultdisk", "diskDriver": "", "allowScheduling": True}
    conditions = ("Ready", "Schedulable", "MountPropagation", "Multipathd", "RequiredPackages", "NFSClientInstalled", "KernelModulesLoaded")
    return {
        **_longhorn("Node", node.name),
        "spec": {
            "name": node.name,
            "allowScheduling": True,
            "evictionRequested": False,
            "tags": [],
            "disks": {DISK: {**disk, "evictionRequested": False, "storageReserved": 42949672960, "tags": []}},
        },
        "status": {
            "autoEvicting": False,
            "conditions": [_ok(kind) for kind in conditions],
            "diskStatus": {
                DISK: {
                    "diskUUID": disk_uuid(node.name),
                    "diskName": DISK,
                    "diskPath": "/var/lib/harvester/defaultdisk",
                    "diskType": "filesystem",
                    "conditions": [_ok("Ready"), _ok("Schedulable")],
                    "scheduledReplica": {},
                    "scheduledBackingImage": {},
                }
            },
        },
    }


def longhorn_objects(plan: LabPlan) -> Iterator[Json]:
    yield storage_network_setting(plan)
    for name, value in LONGHORN_SETTINGS.items():
        yield longhorn_setting(name, value)
    for node in plan.storage_nodes:
        yield longhorn_node(node)
    for pod in plan.pods:
        if pod.role is Role.INSTANCE_MANAGER:
            yield instance_manager(pod)
        elif pod.role is Role.BACKING_IMAGE_MANAGER:
            yield backing_image_manager(pod)


def _ok(kind: str) -> Json:
    return {"type": kind, "status": "True", "reason": "", "message": "", "lastProbeTime": "", "lastTransitionTime": APPLIED_AT}


def _longhorn(kind: str, name: str, *, labels: dict[str, str] | None = None) -> Json:
    metadata: Json = {"name": name, "namespace": LONGHORN_NAMESPACE, "uid": stable_uid(kind, name)}
    return {"apiVersion": "longhorn.io/v1beta2", "kind": kind, "metadata": {**metadata, "labels": labels} if labels else metadata}
