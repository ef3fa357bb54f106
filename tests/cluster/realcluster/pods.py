"""Pods with a storage address, as Longhorn would create them: its names, labels, request and ports, without Longhorn in them.

Bare pods bound to their node, as Longhorn makes them. The images differ: the agent's own image has the Python that opens the ports, and
a pod that only has to hold an address runs nothing.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.lab.objects_pods import pod_object, stable_uid
from agent.lab.plan import LONGHORN_NAMESPACE, LabPlan, LabPod
from agent.model.peers import Role
from realcluster.image import PAUSE_IMAGE

Json = dict[str, Any]

PYTHON = "/opt/lhnet-agent/bin/python"
STAND_IN = Path(__file__).with_name("standin.py")
PORTS = {Role.INSTANCE_MANAGER: (8500, 8501, 8502, 8503, 6060), Role.BACKING_IMAGE_MANAGER: (8000, 8001)}
EVERYWHERE = [{"operator": "Exists"}]


def instance_manager(node: str) -> LabPod:
    digest = hashlib.sha512(node.encode()).hexdigest()
    return _pod(f"instance-manager-{digest[:32]}", node, Role.INSTANCE_MANAGER)


def backing_image_manager(node: str) -> LabPod:
    digest = hashlib.sha224(node.encode()).hexdigest()
    return _pod(f"backing-image-manager-{digest[:4]}-{digest[4:8]}", node, Role.BACKING_IMAGE_MANAGER)


def backing_image_source(node: str, image: str) -> LabPod:
    """The pod that takes in an image which somebody uploads."""
    return _pod(f"backing-image-ds-{image}", node, Role.BACKING_IMAGE_DATA_SOURCE)


def pod_to_create(plan: LabPlan, pod: LabPod, *, image: str, owner: Json | None = None) -> Json:
    """`image` is the agent's. `owner`: the object of Longhorn whose pod it is; a kubelet's garbage goes by its UID."""
    metadata = pod_object(plan, pod, phase="Pending")["metadata"]
    made = {key: metadata[key] for key in ("name", "namespace", "labels", "annotations")}
    if owner is not None:
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "blockOwnerDeletion": True}
        made["ownerReferences"] = [reference | {key: owner["metadata"][key] for key in ("name", "uid")}]
    container: Json = {"name": metadata["labels"]["longhorn.io/component"], "image": PAUSE_IMAGE, "imagePullPolicy": "Never"}
    if pod.ports:
        container |= {
            "image": image,
            "command": [PYTHON, "-c", STAND_IN.read_text()],
            "env": [{"name": "PORTS", "value": ",".join(map(str, pod.ports))}],
        }
    spec = {
        "nodeName": pod.node,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": EVERYWHERE,
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec}


def with_address(pod: LabPod, held: Json) -> LabPod:
    """The pod with the address that its kubelet reported."""
    return replace(pod, pod_ip=held["status"].get("podIP", ""), uid=held["metadata"]["uid"])


def _pod(name: str, node: str, role: Role) -> LabPod:
    return LabPod(
        namespace=LONGHORN_NAMESPACE,
        name=name,
        uid=stable_uid("pod", name),
        node=node,
        role=role,
        pod_ip="",
        storage_address=None,
        mac=None,
        ports=PORTS.get(role, ()),
    )
