"""Controls with whole nodes: drained, rebooted, and all of them at once after a power cut.

A node that is off is really off: its process, its namespaces and its cables are gone, and its agent with them. What the cluster's objects
say meanwhile is what a control plane would have written: Nodes that are no longer Ready, pods that still say Running.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agent.lab.acts import Aim, FaultError, control
from agent.lab.changes import changed, read
from agent.lab.kubelet import LEAK
from agent.lab.longhorn import Kept, end, fail, keep, make_anew, managers, meanwhile, node_of, put_back, say
from agent.lab.plan import LabNode, LabPod
from agent.lab.wiring import SWITCH, port_number

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

OFF_SECONDS = 10.0
"""Until the control plane has noticed, and again until the node is back. Both take minutes in a cluster."""
LONGHORN_SECONDS = 4.0
"""From the last node's return to Longhorn's new pods on it."""
KUBELET_SECONDS = 5.0
"""Until a kubelet has found what became of its pods."""
CABLE_SECONDS = 10.0
CORDON = {"spec": {"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}}


@control(
    "drain",
    does="a node is cordoned and drained: its storage pods leave it, Longhorn says stopped; in the end it is uncordoned and they return",
    targets=("node",),
)
async def drain(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = node_of(lab, aim)
    async with changed(lab, "v1", "Node", node.name, CORDON):
        leaving = managers(lab, node.name)
        kept = await keep(lab, leaving)
        for pod in leaving:
            await say(lab, pod.name, "error")
            await lab.api.client.delete("v1", "Pod", pod.name, namespace=pod.namespace, force=False)
        await asyncio.sleep(1.0)
        await end(lab, leaving)
        yield
    await put_back(lab, kept)


@control(
    "node-reboot",
    does="a node is switched off and comes back some seconds later, with new sandboxes; its agent is up before its storage pods are",
    targets=("node",),
    findings=(("node-down", "cluster"), ("peer-unreachable", "observers")),
)
async def node_reboot(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    async with _reboot(lab, [node_of(lab, aim)]):
        yield


@control(
    "node-reboot-cordoned",
    does="a node is cordoned, switched off, and comes back some seconds later; uncordoned in the end",
    targets=("node",),
    findings=(("node-down", "cluster"), ("peer-unreachable", "observers")),
)
async def node_reboot_cordoned(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = node_of(lab, aim)
    async with changed(lab, "v1", "Node", node.name, CORDON), _reboot(lab, [node]):
        yield


@control(
    "cold-boot",
    does="all nodes and the Kubernetes API lose their power; they return in reverse order, agents first, over stale pods and entries",
    findings=(("node-down", "cluster"), ("peer-unreachable", "observers"), ("sources-stale", "observers")),
)
async def cold_boot(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    async with _reboot(lab, list(reversed(lab.world.nodes)), whole_site=True):
        yield


@asynccontextmanager
async def _reboot(lab: "Lab", nodes: Sequence[LabNode], *, whole_site: bool = False) -> AsyncIterator[None]:
    outage = _Outage(lab, nodes, whole_site=whole_site)
    await outage.begin()
    async with meanwhile(outage.pass_by):
        yield
    await outage.finish()


class _Outage:
    """Nodes on their way through a power cut, so far that the way back can be finished from anywhere on it."""

    def __init__(self, lab: "Lab", nodes: Sequence[LabNode], *, whole_site: bool) -> None:
        self._lab, self._nodes, self._whole_site = lab, tuple(nodes), whole_site
        self._kept: dict[str, list[Kept]] = {}
        self._tenants: dict[str, list[LabPod]] = {}
        self._conditions: dict[str, list[Json]] = {}

    async def begin(self) -> None:
        lab = self._lab
        for node in self._nodes:
            self._kept[node.name] = await keep(lab, managers(lab, node.name))
            self._tenants[node.name] = [pod for pod in lab.world.pods if pod.node == node.name and pod.role is None]
            self._conditions[node.name] = (await read(lab, "v1", "Node", node.name))["status"]["conditions"]
            if len(self._kept[node.name]) + len(self._tenants[node.name]) < len(lab.world.plan_pods_on(node.name)):
                raise FaultError(f"{node.name} runs pods of something else that is active; clear that first")
        for node in self._nodes:
            await lab.agents.hold_down(node.name)
            await lab.world.remove_node(node.name)
        if self._whole_site:
            await lab.api.stop()

    async def pass_by(self) -> None:
        lab = self._lab
        await asyncio.sleep(OFF_SECONDS)
        if not self._whole_site:
            async with lab.kubelet.held():
                await self._noticed()
            await asyncio.sleep(OFF_SECONDS)
        else:
            async with lab.kubelet.held():
                await _api_back(lab)
        for node in self._nodes:
            async with lab.kubelet.held():
                await self._on(node)
            await asyncio.sleep(KUBELET_SECONDS)
            async with lab.kubelet.held():
                await self._looked_around(node)
        await asyncio.sleep(LONGHORN_SECONDS)
        async with lab.kubelet.held():
            for node in self._nodes:
                await self._started_by_longhorn(node)

    async def _noticed(self) -> None:
        """Of a whole site nobody is left to notice anything."""
        for node in self._nodes:
            unknown = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            await self._set_conditions(node, [{**one, **unknown} if one["type"] == "Ready" else one for one in self._conditions[node.name]])
            for one in self._kept[node.name]:
                await say(self._lab, one.pod.name, "unknown", ip=one.pod.pod_ip)

    async def _set_conditions(self, node: LabNode, conditions: list[Json]) -> None:
        await self._lab.api.client.patch("v1", "Node", node.name, {"status": {"conditions": conditions}}, status=True)

    async def _on(self, node: LabNode) -> None:
        """The agent is the first to run on the node: nothing is under /run/netns yet, and the API tells of pods from before."""
        await _cables_gone(self._lab, node)
        await self._lab.world.add_node(node, [])
        await self._set_conditions(node, self._conditions[node.name])
        self._lab.agents.let_up(node.name)

    async def _looked_around(self, node: LabNode) -> None:
        """The node's kubelet has found that what it ran has ended, and starts what may start again. Where the whole site was off nobody
        tells whereabouts, and Longhorn's objects say what they said before."""
        lab = self._lab
        for tenant in self._tenants[node.name]:
            lab.world.add_pod(tenant)
        pods = [one.pod for one in self._kept[node.name]]
        if self._whole_site:
            for pod in pods:
                change = {"metadata": {"annotations": {LEAK: "true"}}}
                await lab.api.client.patch("v1", "Pod", pod.name, change, namespace=pod.namespace)
        await fail(lab, pods, longhorn_knows=not self._whole_site)
        await lab.kubelet.work()

    async def _started_by_longhorn(self, node: LabNode) -> None:
        pods = [one.pod for one in self._kept[node.name]]
        await end(self._lab, pods)
        await make_anew(self._lab, pods)

    async def finish(self) -> None:
        if self._whole_site:
            await _api_back(self._lab)
        for node in self._nodes:
            if all(running.name != node.name for running in self._lab.world.nodes):
                await self._on(node)
            if not set(self._tenants[node.name]) <= set(self._lab.world.pods):
                await self._looked_around(node)
        await put_back(self._lab, [one for node in self._nodes for one in self._kept[node.name]])


async def _api_back(lab: "Lab") -> None:
    """A kube-apiserver calls itself ready some seconds before it serves what CRDs define."""
    if lab.api.pids["api"] is None:
        await lab.api.start()
    definitions = await lab.api.client.list("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    for one in definitions:
        await lab.api.client.established(one["metadata"]["name"])


async def _cables_gone(lab: "Lab", node: LabNode) -> None:
    """The kernel removes the devices of an ended namespace in its own time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CABLE_SECONDS
    names = {f"{kind}{port_number(node)}" for kind in ("m", "s")}
    while names & {link["ifname"] for link in lab.world.ip_json(SWITCH, "link", "show")}:
        if loop.time() > deadline:
            raise FaultError(f"the cables of {node.name} are still there after {CABLE_SECONDS:.0f} s")
        await asyncio.sleep(0.1)
