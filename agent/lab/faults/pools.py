"""Faults of address pools: full, leaking, forgetting, given out twice, left behind. Pods and addresses are real; nothing is only written
down where a cluster would really have it.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING, Any

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.changes import added, bare, changed, end, image_pod, image_pods, read, removed, start
from agent.lab.ipam import Ipam
from agent.lab.kubelet import LEAK
from agent.lab.objects import definitions
from agent.lab.objects_storage import WHEREABOUTS_NAMESPACE
from agent.lab.plan import LONGHORN_NAMESPACE, NAD_NAME, NAD_NAMESPACE, LabPod
from agent.lab.whereabouts import API, POOL, RESERVATION, ipam_of
from agent.model.peers import Role

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

FREE_RATIO = 0.1
"""Of `pool-nearly-full`: the agents' default of thresholds.pool_free_ratio."""
GONE_POD = f"{LONGHORN_NAMESPACE}/backing-image-ds-gone-7k2xq"
OLD_POOL = "192.168.50.0-25"
_MANAGERS = (Role.INSTANCE_MANAGER, Role.BACKING_IMAGE_MANAGER)


async def _ipam(lab: "Lab") -> Ipam:
    nad = await read(lab, "k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", NAD_NAME, namespace=NAD_NAMESPACE)
    return ipam_of(nad["spec"]["config"])


async def _allocations(lab: "Lab", ipam: Ipam) -> dict[str, Json]:
    pool = await read(lab, API, POOL, ipam.pool, namespace=WHEREABOUTS_NAMESPACE)
    return dict(pool["spec"].get("allocations") or {})


async def _free(lab: "Lab", ipam: Ipam) -> int:
    return ipam.free(await _allocations(lab, ipam))


@fault(
    "pool-full",
    breaks="pods take every free address of the range, and one more pod finds none and stays Pending (needs a small --range)",
    findings=(("pool-exhausted", "cluster"), ("sandbox-failing", "cluster"), ("upgrade-headroom", "cluster")),
)
async def pool_full(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pods = image_pods(lab, await _free(lab, await _ipam(lab)) + 1, "full")
    await start(lab, pods[:-1])
    await start(lab, pods[-1:])
    yield
    await end(lab, pods)


@fault(
    "pool-nearly-full",
    breaks="pods take addresses until less than a tenth of the range is free (needs a range of /28 to /26)",
    findings=(("pool-nearly-full", "cluster"), ("upgrade-headroom", "cluster")),
)
async def pool_nearly_full(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    ipam = await _ipam(lab)
    left = int(ipam.capacity() * FREE_RATIO)
    free = await _free(lab, ipam)
    if not 0 < left < free:
        raise FaultError(
            f"a tenth of {ipam.capacity()} addresses is none, or they are gone already; lhnet-agent lab up --range 192.168.7.0/28"
        )
    pods = image_pods(lab, free - left, "nearly-full")
    await start(lab, pods)
    yield
    await end(lab, pods)


@fault(
    "upgrade-headroom",
    breaks="pods take addresses until an upgrade's second generation of managers would no longer fit (needs a small --range)",
    findings=(("upgrade-headroom", "cluster"),),
)
async def upgrade_headroom(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    ipam = await _ipam(lab)
    managers = sum(pod.role in _MANAGERS and pod.storage_address is not None for pod in lab.world.pods)
    others = sum(pod.storage_address is not None for pod in lab.world.pods) - managers
    pods = image_pods(lab, max(0, ipam.capacity() - 2 * managers - others + 1), "headroom")
    if len(pods) >= await _free(lab, ipam):
        raise FaultError(f"the range {ipam.network} would be full before; lhnet-agent lab up --range 192.168.7.0/28")
    await start(lab, pods)
    yield
    await end(lab, pods)


@fault(
    "allocation-leaked",
    breaks="a pod ends without a word to whereabouts, as on a node that loses its power: its allocation and reservation stay",
    targets=("node",),
    findings=(("allocation-orphaned", "cluster"),),
)
async def allocation_leaked(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    ipam = await _ipam(lab)
    pod = image_pod(lab, aim.node or lab.world.nodes[0], "leaked")
    pod["metadata"]["annotations"][LEAK] = "true"
    await start(lab, [pod])
    await end(lab, [pod])
    podref = f"{LONGHORN_NAMESPACE}/{pod['metadata']['name']}"
    yield
    for key, entry in (await _allocations(lab, ipam)).items():
        if entry.get("podref") == podref:
            await _unlist(lab, ipam, key)
            await _unreserve(lab, str(ipam.network.network_address + int(key)))


async def _unlist(lab: "Lab", ipam: Ipam, key: str) -> None:
    await lab.api.client.patch(API, POOL, ipam.pool, {"spec": {"allocations": {key: None}}}, namespace=WHEREABOUTS_NAMESPACE)


async def _unreserve(lab: "Lab", address: str) -> None:
    await lab.api.client.delete(API, RESERVATION, address, namespace=WHEREABOUTS_NAMESPACE)


@fault(
    "reservation-leaked",
    breaks="a reservation is left of a pod that is gone; the pool itself lists nothing for that address",
    findings=(("reservation-orphaned", "cluster"),),
)
async def reservation_leaked(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    metadata = {"name": str((await _ipam(lab)).last), "namespace": WHEREABOUTS_NAMESPACE}
    spec = {"podref": GONE_POD, "ifname": "lhnet1"}
    async with added(lab, {"apiVersion": API, "kind": RESERVATION, "metadata": metadata, "spec": spec}):
        yield


@fault(
    "allocation-removed",
    breaks="the pod's entry is taken out of the pool, as a cleaner does that takes a live pod for a dead one; the reservation stays",
    targets=("pod",),
    findings=(("allocation-missing", "cluster"),),
)
async def allocation_removed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    ipam, pod = await _ipam(lab), _storage_pod(aim)
    change = {"spec": {"allocations": {ipam.offset(ip_address(pod.storage_address or "")): None}}}
    async with changed(lab, API, POOL, ipam.pool, change, namespace=WHEREABOUTS_NAMESPACE):
        yield


def _storage_pod(aim: Aim) -> LabPod:
    if aim.pod is None or aim.pod.storage_address is None:
        raise FaultError("this fault needs a pod with a storage address")
    return aim.pod


@fault(
    "address-twice",
    breaks="a cleaner frees the pod's address while it is in use, and a new pod on another node is given it",
    targets=("pod",),
    findings=(("address-duplicate", "cluster"), ("allocation-missing", "cluster")),
)
async def address_twice(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    ipam, pod = await _ipam(lab), _storage_pod(aim)
    address = ip_address(pod.storage_address or "")
    key, entries = ipam.offset(address), await _allocations(lab, ipam)
    # whereabouts gives the lowest free address, so for a moment others have to take those below.
    lower = [offset for offset in range(int(ipam.offset(ipam.first)), int(key)) if str(offset) not in entries]
    nodes = lab.world.nodes
    twin = image_pod(lab, next((node for node in nodes if node.name != pod.node), nodes[0]), "twin")
    fillers = image_pods(lab, len(lower), "below")
    await start(lab, fillers)
    async with AsyncExitStack() as stack:
        change = {"spec": {"allocations": {key: None}}}
        await stack.enter_async_context(changed(lab, API, POOL, ipam.pool, change, namespace=WHEREABOUTS_NAMESPACE))
        await stack.enter_async_context(removed(lab, API, RESERVATION, str(address), namespace=WHEREABOUTS_NAMESPACE))
        await start(lab, [twin])
        await end(lab, fillers)
        yield
        await end(lab, [twin])


@fault(
    "pool-left-behind",
    breaks="a pool of an earlier range is still there, with an allocation of a pod that is long gone; no NAD takes addresses from it",
    findings=(("pool-leftover", "cluster"),),
)
async def pool_left_behind(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    entry = {"id": "9366eed667195ba379f198894c94634475e2530b7ab51306c4071ffa3ea04703", "podref": GONE_POD, "ifname": "lhnet1"}
    pool = {
        "apiVersion": API,
        "kind": POOL,
        "metadata": {"name": OLD_POOL, "namespace": WHEREABOUTS_NAMESPACE},
        "spec": {"range": str(IPv4Network(OLD_POOL.replace("-", "/"))), "allocations": {"2": entry}},
    }
    async with added(lab, pool):
        yield


@fault(
    "crd-deleted",
    breaks="whereabouts' CustomResourceDefinitions are deleted, and every pool and reservation with them",
    findings=(("crd-missing", "cluster"),),
)
async def crd_deleted(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    client, group = lab.api.client, API.partition("/")[0]
    crds = [crd for crd in definitions() if crd["spec"]["group"] == group]
    kept = [bare(obj) for kind in (POOL, RESERVATION) for obj in await client.list(API, kind, namespace=WHEREABOUTS_NAMESPACE)]
    for crd in crds:
        await client.delete(crd["apiVersion"], crd["kind"], crd["metadata"]["name"])
    yield
    for crd in crds:
        await client.apply(crd)
        await client.established(crd["metadata"]["name"])
    for obj in kept:
        await client.apply(obj)
