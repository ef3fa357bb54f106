"""Controls with storage pods: replaced, restarted, failed, short-lived, doubled by an upgrade."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.lab import changes
from agent.lab.acts import Aim, FaultError, control
from agent.lab.changes import added
from agent.lab.kubelet_pods import granted
from agent.lab.longhorn import (
    CONTAINER_ID,
    add_sandbox,
    end,
    fail,
    keep,
    make_anew,
    manager_of,
    managers,
    meanwhile,
    put_back,
    say,
    storage_ipam,
)
from agent.lab.objects_longhorn import instance_manager
from agent.lab.objects_pods import NAD, stable_uid
from agent.lab.objects_storage import WHEREABOUTS_NAMESPACE
from agent.lab.plan import LabPod
from agent.lab.whereabouts import API, POOL, Whereabouts
from agent.model.peers import Role

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

CLOSED_SECONDS = 4.0
"""How long a container takes to come back."""
TERMINATING_SECONDS = 1.0
SANDBOX_SECONDS = 1.0
"""Between one sandbox of a pod and the next."""
PAUSE_SECONDS = 2.0
"""Between the end of a pod and Longhorn's next one of that name."""
IMAGE_SECONDS = 3.0
GENERATION_SECONDS = 6.0
"""Between the ends of two nodes' old instance-managers."""
NEW_IMAGE = "imi-91c4e7d2"


@control(
    "im-replaced",
    does="Longhorn deletes an instance-manager and makes it anew under the same name, with another UID and another address",
    targets=("pod",),
)
async def im_replaced(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    manager = manager_of(aim)
    kept = await keep(lab, [manager])
    await say(lab, manager.name, "error")
    await lab.api.client.delete("v1", "Pod", manager.name, namespace=manager.namespace, force=False)
    await asyncio.sleep(TERMINATING_SECONDS)
    await end(lab, [manager])
    await asyncio.sleep(PAUSE_SECONDS)
    await make_anew(lab, [manager])
    yield
    await put_back(lab, kept)


@control(
    "im-restarted",
    does="the container of an instance-manager restarts in place: its ports are closed for some seconds, all else stays",
    targets=("pod",),
    findings=(("peer-port-closed", "observers"),),
)
async def im_restarted(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    manager = manager_of(aim)
    held = await changes.read(lab, "v1", "Pod", manager.name, namespace=manager.namespace)
    before = held["status"].get("containerStatuses") or []
    lab.world.close_ports(manager.key)
    await _containers(lab, manager, [{**one, "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}} for one in before])

    async def story() -> None:
        await asyncio.sleep(CLOSED_SECONDS)
        async with lab.kubelet.held():
            lab.world.open_ports(manager.key, manager.ports)
            await _containers(lab, manager, [{**one, "restartCount": 1} for one in before])

    async with meanwhile(story):
        yield
    lab.world.open_ports(manager.key, manager.ports)
    await _containers(lab, manager, before)


async def _containers(lab: "Lab", pod: LabPod, statuses: list[Json]) -> None:
    change = {"status": {"containerStatuses": statuses}}
    await lab.api.client.patch("v1", "Pod", pod.name, change, namespace=pod.namespace, status=True)


@control(
    "sandbox-restarted",
    does="the sandbox of an instance-manager is made anew below the same pod: another namespace, another address, the same UID",
    targets=("pod",),
)
async def sandbox_restarted(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    manager = manager_of(aim)
    kept = await keep(lab, [manager])
    held, ipam, whereabouts = kept[0].obj, await storage_ipam(lab), Whereabouts(lambda: lab.api.client)
    lab.world.remove_pod(manager.key)
    await whereabouts.delete(container_id=held["metadata"]["annotations"].get(CONTAINER_ID, ""), interface=manager.interface)
    sandbox = hashlib.sha256(f"{manager.uid}/again".encode()).hexdigest()
    address = await whereabouts.add(ipam, podref=manager.key, interface=manager.interface, container_id=sandbox)
    anew = replace(manager, storage_address=str(address), netns_name=f"cni-{stable_uid('netns', sandbox)}", mac=_mac(sandbox))
    await asyncio.sleep(SANDBOX_SECONDS)
    add_sandbox(lab, anew)
    annotations = granted(lab.plan, anew, nad=NAD, sandbox=sandbox)
    change = {"metadata": {"annotations": annotations}}
    await lab.api.client.patch("v1", "Pod", manager.name, change, namespace=manager.namespace)
    await lab.kubelet.work()
    yield
    await put_back(lab, kept)


def _mac(seed: str) -> str:
    return ":".join(["2e", *(seed[i : i + 2] for i in range(0, 10, 2))])


@control(
    "im-failed-address-reused",
    does="an instance-manager has failed and stays listed with its annotations, while its address is in use by a new pod already",
    targets=("pod",),
)
async def im_failed_address_reused(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    manager = manager_of(aim)
    kept = await keep(lab, [manager])
    await fail(lab, [manager])
    await lab.kubelet.work()
    lower = await _free_below(lab, manager)
    heir = changes.image_pod(lab, next(node for node in lab.world.nodes if node.name == manager.node), "heir")
    fillers = changes.image_pods(lab, lower, "before-heir")
    await changes.start(lab, fillers)
    await changes.start(lab, [heir])
    await changes.end(lab, fillers)
    yield
    await changes.end(lab, [heir])
    await put_back(lab, kept)


async def _free_below(lab: "Lab", pod: LabPod) -> int:
    """How many free addresses whereabouts would give before this pod's."""
    ipam = await storage_ipam(lab)
    pool = await changes.read(lab, API, POOL, ipam.pool, namespace=WHEREABOUTS_NAMESPACE)
    network = ipam.network.network_address
    first, own = int(ipam.offset(ipam.first)), next(n for n in range(ipam.network.num_addresses) if str(network + n) == pod.storage_address)
    taken = pool["spec"].get("allocations") or {}
    return sum(str(offset) not in taken for offset in range(first, own))


@control(
    "bids-come-and-go",
    does="images are uploaded: a backing-image-data-source pod starts, runs for some seconds and is gone, again and again on all nodes",
)
async def bids_come_and_go(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    current: list[Json] = []

    async def begin(number: int) -> None:
        nodes = lab.world.nodes
        current[:] = [changes.image_pod(lab, nodes[(number + i) % len(nodes)], "upload", str(number), str(i)) for i in range(2)]
        await changes.start(lab, current)

    async def story() -> None:
        number = 0
        while True:
            await asyncio.sleep(IMAGE_SECONDS)
            async with lab.kubelet.held():
                await changes.end(lab, current)
                number += 1
                await begin(number)

    await begin(0)
    async with meanwhile(story):
        yield
    await changes.end(lab, current)


@control(
    "two-generations",
    does="an upgrade: on each node a second instance-manager of the new image runs beside the old one, then the old ones end one by one",
)
async def two_generations(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    old = managers(lab, roles=(Role.INSTANCE_MANAGER,))
    if not old:
        raise FaultError("there is no instance-manager now")
    kept = await keep(lab, old)
    young = [_next_generation(pod) for pod in old]
    labels = {"longhorn.io/instance-manager-image": NEW_IMAGE}
    listed = [instance_manager(pod) for pod in young]
    for obj in listed:
        obj["metadata"]["labels"] |= labels
        obj["status"] |= {"currentState": "starting", "ip": ""}

    async def story() -> None:
        for pod in old:
            await asyncio.sleep(GENERATION_SECONDS)
            async with lab.kubelet.held():
                await end(lab, [pod])

    async with added(lab, *listed):
        await make_anew(lab, young)
        for pod in young:
            change = {"metadata": {"labels": labels}}
            await lab.api.client.patch("v1", "Pod", pod.name, change, namespace=pod.namespace)
        async with meanwhile(story):
            yield
        await put_back(lab, kept)
        await end(lab, young)


def _next_generation(pod: LabPod) -> LabPod:
    """Longhorn names an instance-manager after its node and its image."""
    name = f"instance-manager-{hashlib.sha512(f'{pod.node}{NEW_IMAGE}v1'.encode()).hexdigest()[:32]}"
    return replace(pod, name=name, uid=stable_uid("pod", name), storage_address=None, mac=None)
