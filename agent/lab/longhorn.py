"""What Longhorn and the nodes' kubelets do with storage pods in a healthy cluster, as tools of the controls: end them, make them anew,
say so in the InstanceManager objects, and in the end put back exactly what was there.

Everything is done to real pods and objects. Callers hold the lab's kubelet, as every injection does.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from agent.lab.acts import Aim, FaultError
from agent.lab.announce import announce
from agent.lab.changes import bare, read
from agent.lab.ipam import Ipam
from agent.lab.kubelet import UNREACHABLE
from agent.lab.objects_pods import pod_object
from agent.lab.objects_storage import WHEREABOUTS_NAMESPACE
from agent.lab.plan import LONGHORN_NAMESPACE, NAD_NAME, NAD_NAMESPACE, LabNode, LabPod
from agent.lab.whereabouts import API, POOL, RESERVATION, ipam_of
from agent.lab.world import WorldError
from agent.model.peers import Role

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

LONGHORN = "longhorn.io/v1beta2"
MANAGERS = (Role.INSTANCE_MANAGER, Role.BACKING_IMAGE_MANAGER)
CONTAINER_ID = "cni.projectcalico.org/containerID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A storage pod as it was before a control touched it."""

    pod: LabPod
    obj: Json


def node_of(lab: "Lab", aim: Aim) -> LabNode:
    return aim.node or lab.world.nodes[0]


def manager_of(aim: Aim) -> LabPod:
    if aim.pod is None or aim.pod.role is not Role.INSTANCE_MANAGER:
        raise FaultError("this control needs an instance-manager")
    return aim.pod


def managers(lab: "Lab", *nodes: str, roles: Iterable[Role] = MANAGERS) -> list[LabPod]:
    """Of these nodes, or of all."""
    wanted = tuple(roles)
    return [pod for pod in lab.world.pods if pod.role in wanted and (not nodes or pod.node in nodes)]


async def keep(lab: "Lab", pods: Iterable[LabPod]) -> list[Kept]:
    kept = []
    for pod in pods:
        held = await read(lab, "v1", "Pod", pod.name, namespace=pod.namespace)
        owners = {"ownerReferences": held["metadata"].get("ownerReferences") or []}
        obj = bare(held)
        kept.append(Kept(pod=pod, obj={**obj, "metadata": {**obj["metadata"], **owners}}))
    return kept


async def end(lab: "Lab", pods: Iterable[LabPod]) -> None:
    """Longhorn deletes the pods, and their kubelets take them down and free their addresses."""
    for pod in pods:
        await say(lab, pod.name, "stopped")
        await lab.api.client.delete("v1", "Pod", pod.name, namespace=pod.namespace)
    await lab.kubelet.work()


async def make_anew(lab: "Lab", pods: Sequence[LabPod]) -> None:
    """Longhorn creates pods of these names, and their kubelets start them."""
    for pod in pods:
        await say(lab, pod.name, "starting")
        await lab.api.client.apply(pod_object(lab.plan, pod, phase="Pending"))
    await lab.kubelet.work(retry_now=True)
    by_key = {pod.key: pod for pod in lab.world.pods}
    for pod in pods:
        if pod.key in by_key:
            await say(lab, pod.name, "running", ip=by_key[pod.key].pod_ip)


async def put_back(lab: "Lab", kept: Sequence[Kept]) -> None:
    """The pods with the addresses that they had, each in a new sandbox under a new UID."""
    client, ipam = lab.api.client, await storage_ipam(lab)
    for one in kept:
        await client.delete("v1", "Pod", one.pod.name, namespace=one.pod.namespace)
    await lab.kubelet.work()
    for one in kept:
        await list_address(lab, ipam, one.pod, container_id=one.obj["metadata"]["annotations"].get(CONTAINER_ID, ""))
        add_sandbox(lab, replace(one.pod, uid=str(uuid.uuid4()), netns_name=f"cni-{uuid.uuid4()}"))
        await client.apply(one.obj)
        await say(lab, one.pod.name, "running", ip=one.pod.pod_ip)
    await lab.kubelet.work()


def add_sandbox(lab: "Lab", pod: LabPod) -> None:
    lab.world.add_pod(pod)
    if pod.storage_address and pod.mac:
        announce(lab.world.netns(pod.key), interface=pod.interface, address=pod.storage_address, mac=pod.mac)


async def say(lab: "Lab", name: str, state: str, *, ip: str = "") -> None:
    """Longhorn's word about an instance-manager, where it has an object for it; other managers' objects say nothing that matters here."""
    if await lab.api.client.get(LONGHORN, "InstanceManager", name, namespace=LONGHORN_NAMESPACE) is not None:
        status = {"status": {"currentState": state, "ip": ip}}
        await lab.api.client.patch(LONGHORN, "InstanceManager", name, status, namespace=LONGHORN_NAMESPACE, status=True)


async def fail(lab: "Lab", pods: Iterable[LabPod], *, longhorn_knows: bool = True) -> None:
    """A kubelet's word that the only container of these pods has ended: they stay as they are, with all their annotations."""
    for pod in pods:
        held = await lab.api.client.get("v1", "Pod", pod.name, namespace=pod.namespace)
        if held is None:
            continue
        ended = {"ready": False, "started": False, "state": {"terminated": {"exitCode": 255, "reason": "Unknown"}}}
        containers = [{**one, **ended} for one in held["status"].get("containerStatuses") or []]
        status = {"status": {"phase": "Failed", "containerStatuses": containers}}
        if longhorn_knows:
            await say(lab, pod.name, "error")
        await lab.api.client.patch("v1", "Pod", pod.name, status, namespace=pod.namespace, status=True)


# addresses


async def storage_ipam(lab: "Lab") -> Ipam:
    nad = await read(lab, "k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", NAD_NAME, namespace=NAD_NAMESPACE)
    return ipam_of(nad["spec"]["config"])


async def list_address(lab: "Lab", ipam: Ipam, pod: LabPod, *, container_id: str) -> None:
    """The pool's entry and the reservation that whereabouts writes when it gives a pod its address."""
    if pod.storage_address is None:
        return
    entry = {"id": container_id, "podref": pod.key, "ifname": pod.interface}
    change = {"spec": {"allocations": {ipam.offset(ip_address(pod.storage_address)): entry}}}
    await lab.api.client.patch(API, POOL, ipam.pool, change, namespace=WHEREABOUTS_NAMESPACE)
    metadata = {"name": pod.storage_address.replace(":", "-"), "namespace": WHEREABOUTS_NAMESPACE}
    spec = {"podref": pod.key, "ifname": pod.interface}
    await lab.api.client.apply({"apiVersion": API, "kind": RESERVATION, "metadata": metadata, "spec": spec})


# what goes on after the injection


@asynccontextmanager
async def meanwhile(story: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """`story` goes on while the control lasts; what is left of it is dropped at the end. Its steps hold the kubelet themselves."""

    async def tell() -> None:
        try:
            await story()
        except (FaultError, WorldError, *UNREACHABLE) as error:
            sys.stderr.write(f"control: {error}\n")

    task = asyncio.get_running_loop().create_task(tell(), name="control")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
