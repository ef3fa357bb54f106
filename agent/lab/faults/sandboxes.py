"""Faults at the start of a pod and what Longhorn makes of them: no grant, no address of the pod network, traffic on the wrong network."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.changes import added, end, image_pod, start
from agent.lab.objects_longhorn import instance_manager
from agent.lab.objects_pods import disk_uuid, pod_object
from agent.lab.plan import LONGHORN_NAMESPACE, LabPod
from agent.model.peers import Role

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

LONGHORN = "longhorn.io/v1beta2"
VOLUME = "pvc-0a151c59-ffa9-4938-9c86-59ebb296bc88"
REPLICA = f"{VOLUME}-r-076c3070"
GONE_MANAGER = "instance-manager-5ddcdb2ad8002ed0f05a19563d3bcf7f"


def _manager(lab: "Lab", aim: Aim) -> LabPod:
    """The instance-manager of the node that the fault is aimed at."""
    for pod in lab.world.pods:
        if aim.node is not None and pod.node == aim.node.name and pod.role is Role.INSTANCE_MANAGER:
            return pod
    raise FaultError("this fault needs a node with an instance-manager")


@fault(
    "grant-lost",
    breaks="the pod is made anew while its node's Multus is not ready: it runs with eth0 alone, and asks for lhnet1 without a grant",
    targets=("pod",),
    findings=(("grant-missing", "cluster"),),
)
async def grant_lost(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    if aim.pod is None or aim.pod.storage_address is None:
        raise FaultError("this fault needs a pod with a storage address")
    anew = pod_object(lab.plan, aim.pod, phase="Pending")
    lab.kubelet.nodes_without_multus.add(aim.pod.node)
    try:
        await _again(lab, anew)
    finally:
        lab.kubelet.nodes_without_multus.discard(aim.pod.node)
    yield
    # whereabouts still lists the old address for this name and interface, and so gives it again.
    await _again(lab, anew)


async def _again(lab: "Lab", pod: Json) -> None:
    await end(lab, [pod])
    await start(lab, [pod])


@fault(
    "default-network-full",
    breaks="no address of the pod network is left on the node, as after an unclean shutdown; a new pod of Longhorn's cannot start",
    targets=("node",),
    findings=(("sandbox-failing", "cluster"),),
)
async def default_network_full(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = aim.node or lab.world.nodes[0]
    pod = image_pod(lab, node, "pod-network")
    lab.kubelet.full_nodes.add(node.name)
    await start(lab, [pod])
    yield
    lab.kubelet.full_nodes.discard(node.name)
    await end(lab, [pod])


@fault(
    "instance-manager-gone",
    breaks="an InstanceManager object says that it runs on the node, and there is no such pod",
    targets=("node",),
    findings=(("instance-manager-missing", "cluster"),),
)
async def instance_manager_gone(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    gone = instance_manager(replace(_manager(lab, aim), name=GONE_MANAGER))
    async with added(lab, gone):
        yield


@fault(
    "storage-ip-fallback",
    breaks="a replica works on its instance-manager's address on the pod network instead of the storage network",
    targets=("node",),
    findings=(("storage-ip-fallback", "cluster"),),
)
async def storage_ip_fallback(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    async with added(lab, replica(_manager(lab, aim))):
        yield


def replica(manager: LabPod) -> Json:
    """Longhorn takes the pod's first address, silently, where it finds no grant."""
    labels = {"longhornvolume": VOLUME, "longhornnode": manager.node, "longhorndiskuuid": disk_uuid(manager.node)}
    return {
        "apiVersion": LONGHORN,
        "kind": "Replica",
        "metadata": {"name": REPLICA, "namespace": LONGHORN_NAMESPACE, "labels": labels},
        "spec": {
            "volumeName": VOLUME,
            "volumeSize": "10737418240",
            "nodeID": manager.node,
            "image": "longhornio/longhorn-engine:v1.10.2",
            "desireState": "running",
            "dataEngine": "v1",
            "engineName": f"{VOLUME}-e-0",
            "diskID": disk_uuid(manager.node),
            "diskPath": "/var/lib/harvester/defaultdisk",
            "active": True,
            "failedAt": "",
            "healthyAt": "2026-06-02T08:20:11Z",
            "rebuildRetryCount": 0,
        },
        "status": {
            "currentState": "running",
            "instanceManagerName": manager.name,
            "ip": manager.pod_ip,
            "storageIP": manager.pod_ip,
            "port": 10000,
            "ownerID": manager.node,
            "started": True,
        },
    }
