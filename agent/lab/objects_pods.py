"""Nodes and pods of a lab as a Harvester cluster shows them: labels, addresses, and the annotations of Longhorn, Multus and Calico.

The spacing of the annotations is that of the programs that write them. The old twin `networks-status` is left out: Multus 4 no longer
writes it. Values come from the plan alone, so that the same plan always gives the same objects.
"""

import hashlib
import json
import uuid
from typing import Any

from agent.lab.plan import (
    AGENT_NAMESPACE,
    LONGHORN_NAMESPACE,
    NAD_NAME,
    NAD_NAMESPACE,
    RWX_INTERFACE,
    RWX_NAD_NAME,
    LabNode,
    LabPlan,
    LabPod,
)
from agent.model.peers import Mode, Role

Json = dict[str, Any]

NAD = f"{NAD_NAMESPACE}/{NAD_NAME}"
RWX_NAD = f"{NAD_NAMESPACE}/{RWX_NAD_NAME}"
VLAN_CONFIG = "storage-all"
AGENT_LABEL = "lhnet-agent"
AGENT_PORT = 9811
STARTED_AT = "2026-06-02T08:11:40Z"
"""Times inside statuses are those of a cluster that came up long ago; creationTimestamp is the server's."""

_COMPONENTS = {
    Role.INSTANCE_MANAGER: ("instance-manager", "longhornio/longhorn-instance-manager:v1.10.2", "InstanceManager"),
    Role.BACKING_IMAGE_MANAGER: ("backing-image-manager", "longhornio/backing-image-manager:v1.10.2", "BackingImageManager"),
    Role.BACKING_IMAGE_DATA_SOURCE: ("backing-image-data-source", "longhornio/backing-image-manager:v1.10.2", "BackingImageDataSource"),
    Role.SHARE_MANAGER: ("share-manager", "longhornio/longhorn-share-manager:v1.10.2", "ShareManager"),
    Role.CSI_PLUGIN: ("longhorn-csi-plugin", "longhornio/longhorn-manager:v1.10.2", ""),
    Role.OTHER: ("longhorn-manager", "longhornio/longhorn-manager:v1.10.2", ""),
}


def stable_uid(*words: str) -> str:
    """The same words always give the same UID."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(("lhnet-lab", *words))))


def container_id(pod: LabPod) -> str:
    """Of the sandbox: Calico's annotation and the IPPool both carry it."""
    return hashlib.sha256(pod.uid.encode()).hexdigest()


def disk_uuid(node: str) -> str:
    return stable_uid("disk", node)


def node_object(node: LabNode, *, ready: str = "True", witness: bool | None = None, harvester: bool = True) -> Json:
    """A Kubernetes Node. `ready` is the status of its condition: True, False or Unknown. `witness` goes before what the plan says."""
    witness = node.witness if witness is None else witness
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node-role.kubernetes.io/etcd": "true",
    }
    if harvester:
        labels |= {"harvesterhci.io/managed": "true", "network.harvesterhci.io/mgmt": "true"}
    if witness:
        labels["node-role.harvesterhci.io/witness"] = "true"
    elif harvester:
        labels["network.harvesterhci.io/storage"] = "true"
        labels["network.harvesterhci.io/vlanconfig"] = VLAN_CONFIG
        labels["node-role.kubernetes.io/control-plane"] = "true"
    spec: Json = {"podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr]}
    if witness:
        spec["taints"] = [{"key": "node-role.kubernetes.io/etcd", "value": "true", "effect": "NoExecute"}]
    reason = "KubeletReady" if ready == "True" else "NodeStatusUnknown"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "uid": stable_uid("node", node.name),
            "labels": labels,
            "annotations": {"projectcalico.org/IPv4Address": f"{node.management_address}/23"},
        },
        "spec": spec,
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": node.management_address},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [
                _condition("NetworkUnavailable", "False", reason="FlannelIsUp", message="Flannel is running on this node"),
                _condition("Ready", ready, reason=reason, message="kubelet is posting ready status" if ready == "True" else ""),
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": stable_uid("boot", node.name),
                "containerRuntimeVersion": "containerd://2.1.4-k3s1",
                "kernelVersion": "6.4.0-150600.23.73-default",
                "kubeProxyVersion": "v1.34.2+rke2r1",
                "kubeletVersion": "v1.34.2+rke2r1",
                "machineID": stable_uid("machine", node.name),
                "operatingSystem": "linux",
                "osImage": "Harvester v1.7.1" if harvester else "SUSE Linux Enterprise Server 15 SP6",
                "systemUUID": stable_uid("system", node.name),
            },
        },
    }


def pod_object(plan: LabPlan, pod: LabPod, *, phase: str = "Running") -> Json:
    """A pod of the plan. Without a storage address a storage pod carries Longhorn's request but no grant by Multus."""
    node = next(node for node in plan.nodes if node.name == pod.node)
    component, image, owner = _COMPONENTS[pod.role] if pod.role else ("shop", "registry.example.com/shop:1.0", "")
    metadata: Json = {
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": pod.uid,
        "labels": _labels(pod),
        "annotations": _annotations(plan, pod, running=phase == "Running"),
    }
    if owner:
        metadata["ownerReferences"] = [_owner("longhorn.io/v1beta2", owner, pod.name)]
    container: Json = {"name": component, "image": image}
    if pod.role is Role.INSTANCE_MANAGER:
        container["args"] = ["instance-manager", "--debug", "daemon", "--listen", ":8500"]
    spec: Json = {"nodeName": pod.node, "containers": [container], "restartPolicy": "Always"}
    if pod.role:
        container["securityContext"] = {"privileged": True}
        spec |= {
            "restartPolicy": "Never",
            "serviceAccountName": "longhorn-service-account",
            "priorityClassName": "system-cluster-critical",
        }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": _pod_status(phase, container, pod_ip=pod.pod_ip, host_ip=node.management_address),
    }


def agent_pod(node: LabNode, *, port: int = AGENT_PORT, ready: bool = True) -> Json:
    """The pod that the agent's DaemonSet has on this node."""
    container: Json = {
        "name": "agent",
        "image": "lhnet-agent:0.1.0",
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": port, "hostPort": port, "protocol": "TCP"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": agent_pod_name(node.name),
            "namespace": AGENT_NAMESPACE,
            "uid": stable_uid("agent", node.name),
            "labels": {"app.kubernetes.io/name": AGENT_LABEL, "controller-revision-hash": "6c5d8f7b9c", "pod-template-generation": "1"},
            "ownerReferences": [_owner("apps/v1", "DaemonSet", AGENT_LABEL, controller=True)],
        },
        "spec": {
            "nodeName": node.name,
            "hostNetwork": True,
            "dnsPolicy": "Default",
            "enableServiceLinks": False,
            "serviceAccountName": AGENT_LABEL,
            "priorityClassName": "system-node-critical",
            "containers": [container],
        },
        "status": _pod_status("Running", container, pod_ip=node.management_address, host_ip=node.management_address, ready=ready),
    }


def agent_pod_name(node: str) -> str:
    return f"{AGENT_LABEL}-{hashlib.sha256(node.encode()).hexdigest()[:5]}"


def networks_annotation(interface: str, *, nad: str = NAD) -> str:
    """What Longhorn asks for, with its spacing."""
    namespace, _, name = nad.partition("/")
    return json.dumps([{"namespace": namespace, "name": name, "interface": interface}])


def network_status_annotation(*, pod_ip: str, address: str | None, mac: str | None, mtu_bytes: int, interface: str, nad: str = NAD) -> str:
    """What Multus grants, with its spacing: four spaces, and the entries joined without a line break."""
    entries: list[Json] = [{"name": "k8s-pod-network", "ips": [pod_ip], "default": True, "dns": {}}]
    if address is not None:
        entries.append({"name": nad, "interface": interface, "ips": [address], "mac": mac, "mtu": mtu_bytes, "dns": {}})
    return "[" + ",".join(json.dumps(entry, indent=4) for entry in entries) + "]"


def _labels(pod: LabPod) -> dict[str, str]:
    if pod.role is None:
        return {"app": "shop"}
    component = _COMPONENTS[pod.role][0]
    labels = {"longhorn.io/managed-by": "longhorn-manager"}
    if pod.role is Role.CSI_PLUGIN:
        return {**labels, "app": component}
    labels |= {"longhorn.io/component": component, "longhorn.io/node": pod.node}
    if pod.role is Role.INSTANCE_MANAGER:
        labels |= {
            "longhorn.io/instance-manager-image": "imi-3e6dce8c",
            "longhorn.io/instance-manager-type": "aio",
            "longhorn.io/data-engine": "v1",
        }
    elif pod.role is Role.BACKING_IMAGE_MANAGER:
        labels["longhorn.io/disk-uuid"] = disk_uuid(pod.node)
    elif pod.role is Role.BACKING_IMAGE_DATA_SOURCE:
        labels |= {"longhorn.io/disk-uuid": disk_uuid(pod.node), "longhorn.io/backing-image-data-source": pod.name}
    elif pod.role is Role.SHARE_MANAGER:
        labels["longhorn.io/share-manager"] = pod.name.removeprefix("share-manager-")
    return labels


def _annotations(plan: LabPlan, pod: LabPod, *, running: bool) -> dict[str, str]:
    annotations: dict[str, str] = {}
    if running:
        annotations = {
            "cni.projectcalico.org/containerID": container_id(pod),
            "cni.projectcalico.org/podIP": f"{pod.pod_ip}/32",
            "cni.projectcalico.org/podIPs": f"{pod.pod_ip}/32",
            "k8s.v1.cni.cncf.io/network-status": network_status_annotation(
                pod_ip=pod.pod_ip,
                address=pod.storage_address,
                mac=pod.mac,
                mtu_bytes=plan.mtu_bytes,
                interface=pod.interface,
                nad=_nad_of(pod),
            ),
        }
    if pod.role and pod.namespace == LONGHORN_NAMESPACE and plan.mode is Mode.ON:
        annotations["k8s.v1.cni.cncf.io/networks"] = networks_annotation(pod.interface, nad=_nad_of(pod))
    if pod.role and pod.namespace == LONGHORN_NAMESPACE:
        annotations["longhorn.io/last-applied-tolerations"] = '[{"key":"kubevirt.io/drain","operator":"Exists","effect":"NoSchedule"}]'
    return annotations


def _nad_of(pod: LabPod) -> str:
    return RWX_NAD if pod.interface == RWX_INTERFACE else NAD


def _pod_status(phase: str, container: Json, *, pod_ip: str, host_ip: str, ready: bool = True) -> Json:
    running = phase == "Running"
    state = {"running": {"startedAt": STARTED_AT}} if running else {"waiting": {"reason": "ContainerCreating"}}
    status: Json = {
        "phase": phase,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": STARTED_AT,
        "conditions": [
            {"type": "Ready", "status": "True" if running and ready else "False", "lastTransitionTime": STARTED_AT},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": STARTED_AT},
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": running and ready,
                "started": running,
                "restartCount": 0,
                "state": state,
            }
        ],
    }
    return {**status, "podIP": pod_ip, "podIPs": [{"ip": pod_ip}]} if running else status


def _condition(kind: str, status: str, *, reason: str, message: str) -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": STARTED_AT}


def _owner(api_version: str, kind: str, name: str, *, controller: bool = False) -> Json:
    # Longhorn sets blockOwnerDeletion and leaves `controller` out.
    owner: Json = {"apiVersion": api_version, "kind": kind, "name": name, "uid": stable_uid(kind, name), "blockOwnerDeletion": True}
    return {**owner, "controller": True} if controller else owner
