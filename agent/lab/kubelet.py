"""Stands in for the kubelets of the lab's nodes, with Multus and whereabouts: makes real pods out of pod objects, and fails as they do.

A pod object of Longhorn's namespace that is bound to a running node and asks for a network gets its namespace, its address and its
status; where that cannot be, an Event says why and the pod is tried again. A deleted pod is taken down. Pods of a node that is switched
off are left as they are, so their addresses leak as on a real cluster. It starts no pod on its own account: that is Longhorn's part.
"""

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import aiohttp

from agent.lab.announce import announce
from agent.lab.apiclient import ApiClient, ApiFailed, WaitTimeout
from agent.lab.ipam import Address, IpamError, Wording
from agent.lab.kubelet_pods import granted, lab_pod, running_status
from agent.lab.plan import LONGHORN_NAMESPACE, LabNode, LabPlan, LabPod
from agent.lab.recorder import Recorder
from agent.lab.sandbox_texts import DEFAULT_NETWORK, attempt_failed, delegate_failed, nad_not_found, pod_network_full
from agent.lab.whereabouts import Whereabouts, ipam_of
from agent.lab.world import World, WorldError
from agent.model.peers import Request
from agent.rules.netstatus import NETWORKS, read_requests

Json = dict[str, Any]

POLL_SECONDS = 1.0
RETRY_SECONDS = 10.0
"""Between two attempts at one sandbox; a kubelet's are some ten seconds apart."""
LEAK = "lab.lhnet/leak"
"""Annotation: when this pod is deleted nobody tells whereabouts, as when a node loses its power."""
WORDING = "lab.lhnet/whereabouts"
"""Annotation: `go-struct` makes an exhausted pool speak as whereabouts did up to 0.6.2."""
UNREACHABLE = (ApiFailed, WaitTimeout, aiohttp.ClientError, TimeoutError)
_ENDED = ("Succeeded", "Failed")


class _AttemptError(Exception):
    """Why this attempt at a sandbox failed: the message as the container runtime hands it to the kubelet."""


@dataclass(slots=True, kw_only=True)
class _Running:
    """A pod that runs, as the API and the world knew it last."""

    uid: str
    world_uid: str
    node: str
    container_id: str
    interface: str
    leaks: bool


class Kubelet:
    def __init__(self, *, plan: LabPlan, world: World, client: Callable[[], ApiClient], retry_seconds: float = RETRY_SECONDS) -> None:
        self.full_nodes: set[str] = set()
        """Nodes whose host-local files of the pod network are all taken."""
        self.nodes_without_multus: set[str] = set()
        """Nodes where the pod network's own plugin answers in place of Multus, as right after a reboot."""
        self._plan, self._world, self._client = plan, world, client
        self._retry_seconds = retry_seconds
        self._whereabouts = Whereabouts(client)
        self._recorder = Recorder(client)
        self._running: dict[str, _Running] = {}
        self._retry_at: dict[str, float] = {}
        self._busy = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="kubelet")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Nothing is started or ended meanwhile, except by `work`: for those who change pods and objects in several steps."""
        async with self._busy:
            yield

    async def _keep(self) -> None:
        while True:
            # An API that is stopped, slow or refuses is one of the lab's faults: the next look will do.
            with suppress(*UNREACHABLE):
                async with self._busy:
                    try:
                        await self.work()
                    except WorldError as error:
                        sys.stderr.write(f"kubelet: {error}\n")
            await asyncio.sleep(POLL_SECONDS)

    async def work(self, *, retry_now: bool = False) -> None:
        """One look at all pods. The caller holds `held`. `retry_now`: pods that failed are tried at once.

        Raises ApiFailed, aiohttp.ClientError or TimeoutError if the API does not answer, WorldError if the kernel refuses.
        """
        pods = await self._client().list("v1", "Pod", namespace=LONGHORN_NAMESPACE)
        by_key = {_key(pod): pod for pod in pods}
        alive = {node.name for node in self._world.nodes}
        for key in list(self._running):
            await self._end_if_over(key, by_key.get(key), alive=alive)
        for pod in sorted(pods, key=lambda one: (one["metadata"].get("creationTimestamp") or "", _key(one))):
            node = (pod.get("spec") or {}).get("nodeName")
            if node in alive:
                await self._look_at(pod, node=str(node), retry_now=retry_now)
        for uid in set(self._retry_at) - {str(pod["metadata"].get("uid")) for pod in pods}:
            del self._retry_at[uid]
            self._recorder.forget(uid)

    # pods that end

    async def _end_if_over(self, key: str, pod: Json | None, *, alive: set[str]) -> None:
        known = self._running[key]
        if pod is not None and pod["metadata"].get("uid") == known.uid:
            known.leaks = LEAK in (pod["metadata"].get("annotations") or {})
            if not pod["metadata"].get("deletionTimestamp") and (pod.get("status") or {}).get("phase") not in _ENDED:
                return
        if known.node in alive:
            if any(one.key == key and one.uid == known.world_uid for one in self._world.pods):
                self._world.remove_pod(key)
            if not known.leaks and known.node not in self.nodes_without_multus:
                await self._free(known.container_id, known.interface)
        del self._running[key]
        self._recorder.forget(known.uid)

    async def _free(self, container_id: str, interface: str) -> None:
        """A DEL never fails: what it could not free stays listed."""
        with suppress(*UNREACHABLE):
            await self._whereabouts.delete(container_id=container_id, interface=interface)

    async def _let_go(self, pod: Json) -> None:
        """The word of a node's kubelet that a deleted pod has ended; finalizers stay."""
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        try:
            await self._client().request("DELETE", path, body={"gracePeriodSeconds": 0})
        except ApiFailed as error:
            if error.code not in (404, 409):
                raise

    # pods that start

    async def _look_at(self, pod: Json, *, node: str, retry_now: bool) -> None:
        key, metadata, phase = _key(pod), pod["metadata"], (pod.get("status") or {}).get("phase")
        if metadata.get("deletionTimestamp"):
            await self._let_go(pod)
        elif phase == "Running":
            self._adopt(pod, node=node)
        elif phase not in _ENDED and key not in self._running:
            requests, _ = read_requests((metadata.get("annotations") or {}).get(NETWORKS), namespace=metadata["namespace"])
            due = time.monotonic() >= self._retry_at.get(metadata["uid"], 0.0)
            if requests and (due or retry_now):
                await self._attempt(pod, requests[0], node=node)

    def _adopt(self, pod: Json, *, node: str) -> None:
        """A pod that somebody else made in both places: the plan, or a fault."""
        key = _key(pod)
        theirs = next((one for one in self._world.pods if one.key == key), None)
        known = self._running.get(key)
        annotations = pod["metadata"].get("annotations") or {}
        container_id = annotations.get("cni.projectcalico.org/containerID", "")
        if theirs is None or (known is not None and (known.world_uid, known.container_id) == (theirs.uid, container_id)):
            return
        self._running[key] = _Running(
            uid=pod["metadata"]["uid"],
            world_uid=theirs.uid,
            node=node,
            container_id=container_id,
            interface=theirs.interface,
            leaks=LEAK in annotations,
        )

    async def _attempt(self, pod: Json, request: Request, *, node: str) -> None:
        uid, sandbox = pod["metadata"]["uid"], secrets.token_hex(32)
        self._retry_at[uid] = time.monotonic() + self._retry_seconds
        try:
            await self._make(pod, request, node=next(one for one in self._world.nodes if one.name == node), sandbox=sandbox)
        except _AttemptError as error:
            message = attempt_failed(sandbox, str(error))
            await self._recorder.post(pod, reason="FailedCreatePodSandBox", message=message, warning=True, component="kubelet", node=node)
        else:
            self._retry_at.pop(uid, None)

    async def _make(self, pod: Json, request: Request, *, node: LabNode, sandbox: str) -> None:
        """One sandbox, in the order of a real one: Multus reads the NADs, the pod network, the storage network. Raises _AttemptError."""
        metadata, interface = pod["metadata"], request.interface or "net1"
        namespace, _, name = request.nad.partition("/")
        with_multus = node.name not in self.nodes_without_multus
        config = await self._config(pod, namespace, name, node=node) if with_multus else ""
        if node.name in self.full_nodes:
            raise _AttemptError(delegate_failed(metadata, DEFAULT_NETWORK, pod_network_full(node.pod_cidr)))
        pod_ip = self._pod_ip(node)
        address: Address | None = None
        prefix = 0
        if with_multus:
            await self._added(pod, "eth0", f"{pod_ip}/32", DEFAULT_NETWORK, node=node)
            try:
                ipam = ipam_of(config)
                prefix = ipam.network.prefixlen
                address = await self._whereabouts.add(
                    ipam, podref=_key(pod), interface=interface, container_id=sandbox, wording=_wording(metadata)
                )
            except IpamError as error:
                raise _AttemptError(delegate_failed(metadata, name, str(error))) from error
        made = lab_pod(pod, node=node.name, pod_ip=pod_ip, address=address, interface=interface)
        self._in_world(made)
        try:
            await self._tell(pod, made, request=request, sandbox=sandbox)
        except UNREACHABLE:
            self._world.remove_pod(made.key)
            await self._free(sandbox, interface)
            raise
        self._running[_key(pod)] = _Running(
            uid=metadata["uid"],
            world_uid=made.uid,
            node=node.name,
            container_id=sandbox,
            interface=interface,
            leaks=LEAK in (metadata.get("annotations") or {}),
        )
        if address is not None:
            await self._added(pod, interface, f"{address}/{prefix}", request.nad, node=node)

    async def _config(self, pod: Json, namespace: str, name: str, *, node: LabNode) -> str:
        held = None
        with suppress(ApiFailed):  # the resource itself may be gone: Multus says the same
            held = await self._client().get("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", name, namespace=namespace)
        if held is None:
            words = nad_not_found(namespace, name)
            await self._recorder.post(pod, reason="NoNetworkFound", message=words, warning=True, component="multus", node=node.name)
            raise _AttemptError(delegate_failed(pod["metadata"], None, words))
        return str((held.get("spec") or {}).get("config") or "")

    def _in_world(self, made: LabPod) -> None:
        if any(one.key == made.key for one in self._world.pods):
            self._world.remove_pod(made.key)
        self._world.add_pod(made)
        if made.storage_address and made.mac:
            announce(self._world.netns(made.key), interface=made.interface, address=made.storage_address, mac=made.mac)

    async def _tell(self, pod: Json, made: LabPod, *, request: Request, sandbox: str) -> None:
        """Annotations first: Longhorn looks at them once the pod is Running."""
        change = {"metadata": {"annotations": granted(self._plan, made, nad=request.nad, sandbox=sandbox)}}
        await self._client().patch("v1", "Pod", made.name, change, namespace=made.namespace)
        status = {"status": running_status(self._plan, pod, made)}
        await self._client().patch("v1", "Pod", made.name, status, namespace=made.namespace, status=True)

    async def _added(self, pod: Json, interface: str, address: str, network: str, *, node: LabNode) -> None:
        message = f"Add {interface} [{address}] from {network}"
        await self._recorder.post(pod, reason="AddedInterface", message=message, warning=False, component="multus", node=node.name)

    def _pod_ip(self, node: LabNode) -> str:
        taken = {one.pod_ip for one in self._world.pods} | {node.gateway}
        return _lowest(taken, IPv4Network(node.pod_cidr))


def _lowest(taken: Iterable[str], network: IPv4Network) -> str:
    free = next((str(host) for host in network.hosts() if str(host) not in taken), None)
    if free is None:
        raise _AttemptError(pod_network_full(str(network)))
    return free


def _key(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _wording(metadata: Json) -> Wording:
    asked = (metadata.get("annotations") or {}).get(WORDING)
    return Wording.GO_STRUCT if asked == Wording.GO_STRUCT else Wording.CIDR
