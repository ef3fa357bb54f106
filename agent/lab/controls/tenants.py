"""Controls with pods of other people: they cannot start, and the storage network has nothing to do with it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from agent.lab.acts import Aim, control
from agent.lab.changes import added
from agent.lab.longhorn import meanwhile, node_of
from agent.lab.objects_pods import pod_object, stable_uid
from agent.lab.objects_storage import WHEREABOUTS_NAMESPACE
from agent.lab.plan import LONGHORN_NAMESPACE, LabNode, LabPod
from agent.lab.recorder import Recorder
from agent.lab.sandbox_texts import DEFAULT_NETWORK, attempt_failed, delegate_failed, pod_network_full
from agent.lab.whereabouts import API, POOL

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

TENANT_NAD = "vlan-57"
TENANT_RANGE = "10.61.7.0/30"
TENANT_SECONDS = 5.0
"""Between two attempts at their sandboxes."""


@control(
    "tenant-failing",
    does="pods of a tenant get no sandbox: one's own VLAN network is full, the other finds no address on the pod network",
    targets=("node",),
)
async def tenant_failing(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = node_of(lab, aim)
    vm, shop = _tenant(lab, node, "virt-launcher-db-4kx9p", namespace="default"), _tenant(lab, node, "shop-7d9f-2xkq4", namespace="default")
    vm["metadata"]["annotations"] = {"k8s.v1.cni.cncf.io/networks": f'[{{"name":"{TENANT_NAD}","namespace":"default"}}]'}
    full = (
        f"error at storage engine: Could not allocate IP in range: ip: 10.61.7.1 / - 10.61.7.2 / range: {TENANT_RANGE} / excludeRanges: []"
    )
    messages = {
        vm["metadata"]["name"]: delegate_failed(vm["metadata"], TENANT_NAD, full),
        shop["metadata"]["name"]: delegate_failed(shop["metadata"], DEFAULT_NETWORK, pod_network_full(node.pod_cidr)),
    }
    async with added(lab, _tenant_nad(), _tenant_pool(), vm, shop), meanwhile(lambda: _complain(lab, node, [vm, shop], messages)):
        yield


@control(
    "default-network-exhausted",
    does="no address of the pod network is left on a node: new pods fail there, one of Longhorn's too, but none that asks for storage",
    targets=("node",),
)
async def default_network_exhausted(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = node_of(lab, aim)
    pods = [
        _tenant(lab, node, "shop-7d9f-8wz6c", namespace="default"),
        _tenant(lab, node, "longhorn-ui-5c9-xk2vf", namespace=LONGHORN_NAMESPACE),
    ]
    messages = {pod["metadata"]["name"]: delegate_failed(pod["metadata"], DEFAULT_NETWORK, pod_network_full(node.pod_cidr)) for pod in pods}
    lab.kubelet.full_nodes.add(node.name)
    async with added(lab, *pods), meanwhile(lambda: _complain(lab, node, pods, messages)):
        yield
    lab.kubelet.full_nodes.discard(node.name)


def _tenant(lab: "Lab", node: LabNode, name: str, *, namespace: str) -> Json:
    pod = LabPod(
        namespace=namespace, name=name, uid=stable_uid("pod", name), node=node.name, role=None, pod_ip="", storage_address=None, mac=None
    )
    return pod_object(lab.plan, pod, phase="Pending")


def _tenant_nad() -> Json:
    config = (
        f'{{"cniVersion":"0.3.1","type":"bridge","bridge":"mgmt-br","vlan":57,"ipam":{{"type":"whereabouts","range":"{TENANT_RANGE}"}}}}'
    )
    metadata = {"name": TENANT_NAD, "namespace": "default", "labels": {"network.harvesterhci.io/clusternetwork": "mgmt"}}
    return {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": metadata, "spec": {"config": config}}


def _tenant_pool() -> Json:
    network = IPv4Network(TENANT_RANGE)
    allocations = {str(n): {"id": stable_uid("sandbox", str(n)), "podref": f"default/virt-launcher-{n}", "ifname": "net1"} for n in (1, 2)}
    metadata = {"name": str(network).replace("/", "-"), "namespace": WHEREABOUTS_NAMESPACE}
    return {"apiVersion": API, "kind": POOL, "metadata": metadata, "spec": {"range": str(network), "allocations": allocations}}


async def _complain(lab: "Lab", node: LabNode, pods: list[Json], messages: dict[str, str]) -> None:
    """The node's kubelet tries these pods again and again, each time in a new sandbox."""
    recorder, attempt = Recorder(lambda: lab.api.client), 0
    while True:
        for pod in pods:
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            held = await lab.api.client.get("v1", "Pod", name, namespace=namespace)
            if held is not None:
                sandbox = hashlib.sha256(f"{name}/{attempt}".encode()).hexdigest()
                message = attempt_failed(sandbox, messages[name])
                await recorder.post(
                    held, reason="FailedCreatePodSandBox", message=message, warning=True, component="kubelet", node=node.name
                )
        attempt += 1
        await asyncio.sleep(TENANT_SECONDS)
