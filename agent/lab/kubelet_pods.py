"""What a started pod is to the lab's network, and what its kubelet and Multus then write into its object. Plain values, no API."""

import hashlib
from typing import Any

from agent.lab.ipam import Address
from agent.lab.objects_pods import network_status_annotation, pod_object, stable_uid
from agent.lab.plan import LabPlan, LabPod
from agent.model.peers import Role
from agent.rules.netstatus import NETWORK_STATUS, role_of

Json = dict[str, Any]

PORTS = {Role.INSTANCE_MANAGER: (8500, 8501, 8502, 8503, 6060), Role.BACKING_IMAGE_MANAGER: (8000, 8001)}
"""What others of Longhorn's pods listen on is not probed by anybody."""


def lab_pod(pod: Json, *, node: str, pod_ip: str, address: Address | None, interface: str) -> LabPod:
    metadata = pod["metadata"]
    role = role_of(metadata.get("labels") or {})
    return LabPod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        node=node,
        role=role,
        pod_ip=pod_ip,
        storage_address=str(address) if address else None,
        mac=_mac(metadata["uid"]) if address else None,
        interface=interface,
        ports=PORTS.get(role, ()),
        netns_name=f"cni-{stable_uid('netns', metadata['uid'])}",
    )


def granted(plan: LabPlan, made: LabPod, *, nad: str, sandbox: str) -> dict[str, str]:
    """Annotations. Without a storage address Multus was not there, and nobody wrote what it would have written."""
    annotations = {
        "cni.projectcalico.org/containerID": sandbox,
        "cni.projectcalico.org/podIP": f"{made.pod_ip}/32",
        "cni.projectcalico.org/podIPs": f"{made.pod_ip}/32",
    }
    if made.storage_address is not None:
        annotations[NETWORK_STATUS] = network_status_annotation(
            pod_ip=made.pod_ip, address=made.storage_address, mac=made.mac, mtu_bytes=plan.mtu_bytes, interface=made.interface, nad=nad
        )
    return annotations


def running_status(plan: LabPlan, pod: Json, made: LabPod) -> Json:
    """With the containers that the object itself names."""
    status: Json = pod_object(plan, made)["status"]
    shape = status["containerStatuses"][0]
    containers = (pod.get("spec") or {}).get("containers") or []
    status["containerStatuses"] = [{**shape, "name": one["name"], "image": one.get("image", "")} for one in containers]
    return status


def _mac(uid: str) -> str:
    digits = hashlib.sha256(uid.encode()).hexdigest()
    return ":".join(["2e", *(digits[i : i + 2] for i in range(0, 10, 2))])
