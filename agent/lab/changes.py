"""Tools of the faults that change API objects: change, remove or add some, and give back exactly what was there.

What others wrote meanwhile stays: a change is taken back key by key, never by putting an old object over a newer one.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agent.lab.acts import FaultError
from agent.lab.objects_pods import pod_object, stable_uid
from agent.lab.plan import LONGHORN_NAMESPACE, LabNode, LabPod
from agent.model.peers import Role

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

MOST_PODS = 24
"""More would make a lab of a fault; ranges that need more are refused."""
_KEPT_METADATA = ("name", "namespace", "labels", "annotations")


async def read(lab: "Lab", api_version: str, kind: str, name: str, *, namespace: str = "") -> Json:
    """Raises FaultError if there is no such object."""
    held = await lab.api.client.get(api_version, kind, name, namespace=namespace)
    if held is None:
        raise FaultError(f"there is no {kind} {name} now")
    return held


@asynccontextmanager
async def changed(
    lab: "Lab", api_version: str, kind: str, name: str, change: Json, *, namespace: str = "", status: bool = False
) -> AsyncIterator[None]:
    """A merge patch, and its opposite. `status`: of the status subresource."""
    back = opposite(change, await read(lab, api_version, kind, name, namespace=namespace))
    await lab.api.client.patch(api_version, kind, name, change, namespace=namespace, status=status)
    yield
    await lab.api.client.patch(api_version, kind, name, back, namespace=namespace, status=status)


def opposite(change: Json, held: Json) -> Json:
    """The merge patch that takes `change` back."""
    return {
        key: opposite(value, held[key]) if isinstance(value, dict) and isinstance(held.get(key), dict) else held.get(key)
        for key, value in change.items()
    }


@asynccontextmanager
async def removed(lab: "Lab", api_version: str, kind: str, name: str, *, namespace: str = "") -> AsyncIterator[None]:
    held = await read(lab, api_version, kind, name, namespace=namespace)
    await lab.api.client.delete(api_version, kind, name, namespace=namespace)
    yield
    await lab.api.client.apply(bare(held))


@asynccontextmanager
async def added(lab: "Lab", *objects: Json) -> AsyncIterator[None]:
    for obj in objects:
        await lab.api.client.apply(obj)
    yield
    for obj in objects:
        metadata = obj["metadata"]
        await lab.api.client.delete(obj["apiVersion"], obj["kind"], metadata["name"], namespace=metadata.get("namespace", ""))


def bare(obj: Json) -> Json:
    """Without what a server fills in."""
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key in _KEPT_METADATA}}


# pods


def image_pod_name(*words: str) -> str:
    return f"backing-image-ds-lab-{hashlib.sha256('/'.join(words).encode()).hexdigest()[:8]}"


def image_pod(lab: "Lab", node: LabNode, *words: str) -> Json:
    """A backing-image-data-source that waits for its sandbox: Longhorn starts one for each image that is uploaded or downloaded."""
    name = image_pod_name(*words)
    pod = LabPod(
        namespace=LONGHORN_NAMESPACE,
        name=name,
        uid=stable_uid("pod", name),
        node=node.name,
        role=Role.BACKING_IMAGE_DATA_SOURCE,
        pod_ip="",
        storage_address=None,
        mac=None,
    )
    return pod_object(lab.plan, pod, phase="Pending")


def image_pods(lab: "Lab", count: int, *words: str) -> list[Json]:
    """Over all running nodes. Raises FaultError for more than a lab should carry."""
    if count > MOST_PODS:
        raise FaultError(f"this takes {count} more pods: the range is too large to be filled; lhnet-agent lab up --range 192.168.7.0/28")
    nodes = lab.world.nodes
    return [image_pod(lab, nodes[number % len(nodes)], *words, str(number)) for number in range(count)]


async def start(lab: "Lab", pods: Sequence[Json]) -> None:
    """Creates the objects and lets the nodes start them, as far as they can."""
    for pod in pods:
        await lab.api.client.apply(pod)
    await lab.kubelet.work(retry_now=True)


async def end(lab: "Lab", pods: Sequence[Json]) -> None:
    for pod in pods:
        await lab.api.client.delete("v1", "Pod", pod["metadata"]["name"], namespace=LONGHORN_NAMESPACE)
    await lab.kubelet.work(retry_now=True)
