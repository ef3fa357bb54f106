"""Takes a node's power and gives it back, with what a cluster does about that: Kubernetes, Longhorn, and the node itself as it boots.

The lab has no controllers, so this plays them: a dead machine's Node becomes Unknown, its pods stay "Running" until they are evicted and
"Terminating" for good then, since no kubelet confirms their end. After the boot they are other pods of the same names.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.lab.changes import read
from agent.lab.kubelet import UNREACHABLE
from agent.lab.longhorn import Kept, keep, put_back
from agent.lab.objects_pods import agent_pod_name
from agent.lab.plan import AGENT_NAMESPACE, LONGHORN_NAMESPACE, LabNode, LabPod
from agent.lab.wiring import SWITCH, port_number
from agent.model.peers import Role

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

NOTICED_SECONDS = 40.0
"""kube-controller-manager's node-monitor-grace-period up to Kubernetes 1.31."""
EVICTED_SECONDS = 300.0
"""tolerationSeconds that every pod has for the taint unreachable, unless it says otherwise; counted from there on."""
FINALIZER = "lab.lhnet/no-kubelet"
"""Keeps a deleted pod of a dead node where it is; the embedded API plays every kubelet's part."""
GONE_SECONDS = 20.0
RETRY_SECONDS = 1.0
_LONGHORN = "longhorn.io/v1beta2"
_OBJECTS = {Role.INSTANCE_MANAGER: "InstanceManager", Role.BACKING_IMAGE_MANAGER: "BackingImageManager"}


class Outage:
    """One node without power, from `begin` to `end`; what others do about it meanwhile is `follow`."""

    def __init__(self, lab: "Lab", node: LabNode) -> None:
        self._lab, self._node = lab, node
        self._kept: list[Kept] = []
        self._tenants: list[LabPod] = []
        self._task: asyncio.Task[None] | None = None
        self._conditions: list[Json] = []
        self._noticed = False

    async def begin(self) -> None:
        """The plug is pulled: processes, namespaces and carrier are gone together; nobody says goodbye."""
        pods = self._lab.world.plan_pods_on(self._node.name)
        self._tenants = [pod for pod in pods if pod.role is None]
        self._kept = await keep(self._lab, [pod for pod in pods if pod.role is not None])
        self._conditions = (await read(self._lab, "v1", "Node", self._node.name))["status"]["conditions"]
        await self._lab.agents.hold_down(self._node.name)
        await self._lab.world.remove_node(self._node.name)
        self._task = asyncio.get_running_loop().create_task(self.follow(), name=f"outage of {self._node.name}")

    async def follow(self) -> None:
        """What the rest of the cluster does, when it notices."""
        await asyncio.sleep(NOTICED_SECONDS)
        await _insist(self._notice)
        await asyncio.sleep(EVICTED_SECONDS)
        await _insist(self._evict)

    async def end(self) -> None:
        """The node boots. Longhorn's pods are others then: the same names and addresses, new UIDs, namespaces and sandboxes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._cables_gone()
        await self._lab.world.add_node(self._node, self._tenants)
        if self._noticed:
            await self._tell_node(self._conditions)
            await self._tell_pod(AGENT_NAMESPACE, agent_pod_name(self._node.name), ready=True)
        await put_back(self._lab, self._kept)
        for one in self._kept:
            await self._tell_longhorn(one.pod, "running")
        self._lab.agents.let_up(self._node.name)

    async def _cables_gone(self) -> None:
        """The kernel takes a namespace down in its own time, and the switch's ports with it."""
        number = port_number(self._node)
        ports = {f"m{number}", f"s{number}"}
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_SECONDS):
                while ports & {link["ifname"] for link in self._lab.world.ip_json(SWITCH, "link", "show")}:  # noqa: ASYNC110  # the kernel
                    await asyncio.sleep(0.05)

    async def _notice(self) -> None:
        self._noticed = True
        unknown = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        await self._tell_node([{**one, **unknown} if one["type"] == "Ready" else one for one in self._conditions])
        await self._tell_pod(AGENT_NAMESPACE, agent_pod_name(self._node.name), ready=False)
        for one in self._kept:
            await self._tell_pod(one.pod.namespace, one.pod.name, ready=False)
            await self._tell_longhorn(one.pod, "unknown")

    async def _evict(self) -> None:
        client = self._lab.api.client
        for one in self._kept:
            await client.patch("v1", "Pod", one.pod.name, {"metadata": {"finalizers": [FINALIZER]}}, namespace=one.pod.namespace)
            await client.delete("v1", "Pod", one.pod.name, namespace=one.pod.namespace, force=False)

    async def _tell_node(self, conditions: list[Json]) -> None:
        await self._lab.api.client.patch("v1", "Node", self._node.name, {"status": {"conditions": conditions}}, status=True)

    async def _tell_pod(self, namespace: str, name: str, *, ready: bool) -> None:
        client = self._lab.api.client
        held = await client.get("v1", "Pod", name, namespace=namespace)
        if held is None:
            return
        said = "True" if ready else "False"
        conditions = [{**one, "status": said} if one["type"] == "Ready" else one for one in held["status"].get("conditions") or ()]
        await client.patch("v1", "Pod", name, {"status": {"conditions": conditions}}, namespace=namespace, status=True)

    async def _tell_longhorn(self, pod: LabPod, state: str) -> None:
        kind = _OBJECTS.get(pod.role) if pod.role else None
        if kind is not None:
            change = {"status": {"currentState": state}}
            await self._lab.api.client.patch(_LONGHORN, kind, pod.name, change, namespace=LONGHORN_NAMESPACE, status=True)


async def _insist(act: Callable[[], Awaitable[None]]) -> None:
    """Until the API has taken it: it may be down as well."""
    while True:
        try:
            await act()
        except UNREACHABLE:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return
