"""The lab as a whole, inside the supervisor: network, Kubernetes API, agents, and the faults that are active.

This is what a fault is given. It judges nothing: whether an agent finds what was broken is for the person or the test that asks it.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.lab.agents import Agents
from agent.lab.controlplane import ControlPlane
from agent.lab.kubelet import UNREACHABLE, Kubelet
from agent.lab.manifest import read_manifest
from agent.lab.objects_pods import agent_pod_name
from agent.lab.plan import LabNode, LabPlan, LabPod
from agent.lab.repertoire import Aim, Fault, FaultError, FaultUsageError, find, take_aim
from agent.lab.world import World, WorldError


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOptions:
    """What `lab up` was asked for."""

    folder: Path
    plan: LabPlan
    manifests: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the agents, by key: they reach them as LHNET_… variables."""
    command: Sequence[str] = ()
    """Runs this in the agents' place; empty: the agent."""
    ready_timeout_seconds: float = 90.0


@dataclass(slots=True)
class ActiveFault:
    fault: Fault
    aim: Aim
    scope: AbstractAsyncContextManager[None]
    since_wall_seconds: float
    since_monotonic_seconds: float

    def as_json(self) -> dict[str, Any]:
        age = round(time.monotonic() - self.since_monotonic_seconds, 1)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.since_wall_seconds))
        return {"name": self.fault.name, **self.aim.words(), "since": since, "age_seconds": age}


class Lab:
    def __init__(self, options: LabOptions) -> None:
        self.plan = options.plan
        self._options = options
        self._active: list[ActiveFault] = []
        manifest = read_manifest(options.manifests)
        self.world = World(options.plan, folder=options.folder)
        self.api = ControlPlane(plan=options.plan, world=self.world, folder=options.folder, manifests=options.manifests, manifest=manifest)
        self.kubelet = Kubelet(plan=options.plan, world=self.world, client=lambda: self.api.client)
        self.agents = Agents(
            world=self.world,
            manifest=manifest,
            folder=options.folder,
            settings=options.settings,
            command=options.command,
            credentials=self.api.service_account_files,
            pod_name=agent_pod_name,
        )

    async def up(self, say: Callable[[str], None]) -> None:
        """Builds everything and returns when every agent is ready. What was made before an error is left for `down`."""
        say("network")
        await self.world.build()
        say("Kubernetes API")
        await self.api.prepare()
        say("agents")
        for node in self.world.nodes:
            await self.agents.add(node)
        await self.agents.wait_ready(timeout_seconds=self._options.ready_timeout_seconds)
        self.kubelet.start()

    async def down(self) -> None:
        """Ends everything; faults need no mending, since nothing of them outlives the namespaces."""
        self._active = []
        await self.kubelet.close()
        await self.agents.close()
        await self.api.close()
        await self.world.close()

    # what faults ask

    def node(self, name: str) -> LabNode:
        for node in self.world.nodes:
            if node.name == name:
                return node
        raise FaultError(f"{name} is not running now")

    def peer(self, aim: Aim) -> LabPod:
        if aim.peer is None or aim.peer.storage_address is None:
            raise FaultError("this fault needs a peer with a storage address")
        return aim.peer

    def pair(self, aim: Aim) -> tuple[LabPod, LabPod]:
        if aim.pod is None:
            raise FaultError("this fault needs a pod and a peer")
        return aim.pod, self.peer(aim)

    # faults by name

    async def inject(self, name: str, *, node: str | None = None, pod: str | None = None, peer: str | None = None) -> ActiveFault:
        """Raises FaultUsageError for a request that names what is not there, FaultError when it cannot be done now."""
        fault = find(name)
        aim = take_aim(fault, nodes=self.world.nodes, pods=self.world.pods, node=node, pod=pod, peer=peer)
        if any(active.fault is fault and active.aim == aim for active in self._active):
            raise FaultError(f"{name} is active there already; lhnet-agent lab clear {name} mends it")
        scope = fault.open(self, aim)
        try:
            async with self.kubelet.held():
                await scope.__aenter__()
        except (WorldError, *UNREACHABLE) as error:
            raise FaultError(f"{name} could not be injected: {error}") from error
        active = ActiveFault(fault, aim, scope, time.time(), time.monotonic())
        self._active.append(active)
        return active

    async def clear(self, name: str | None = None) -> list[ActiveFault]:
        """Mends the faults of that name, or all, the last one first. Raises FaultError naming those that could not be mended."""
        if name is not None:
            find(name)
        chosen = [active for active in reversed(self._active) if name in (None, active.fault.name)]
        if name is not None and not chosen:
            active = ", ".join(dict.fromkeys(one.fault.name for one in self._active)) or "none"
            raise FaultUsageError(f"{name} is not active; active: {active}")
        problems = []
        for one in chosen:
            self._active.remove(one)
            try:
                async with self.kubelet.held():
                    await one.scope.__aexit__(None, None, None)
            except (WorldError, FaultError, *UNREACHABLE) as error:
                problems.append(f"{one.fault.name}: {error}")
        if problems:
            raise FaultError(f"not mended: {'; '.join(problems)}")
        return chosen

    def status(self) -> dict[str, Any]:
        """Contract §1, with process ids and logs beside it."""
        return {
            "nodes": {node.name: self._node_status(node) for node in self.world.nodes},
            "api": self.api.url,
            "kubeconfig": str(self.api.kubeconfig),
            "faults": [active.as_json() for active in self._active],
            "api_kind": self.api.kind,
            "api_pids": self.api.pids,
            "api_log": str(self.api.log),
            "supervisor_pid": os.getpid(),
            "folder": str(self._options.folder),
        }

    def _node_status(self, node: LabNode) -> dict[str, Any]:
        pods = [pod for pod in self.world.pods if pod.node == node.name]
        status: dict[str, Any] = {
            "agent_url": self.agents.url(node.name),
            "netns": self.world.netns_path(node.name),
            "pods": {
                pod.key: {
                    "role": pod.role.value if pod.role else None,
                    "address": pod.storage_address,
                    "pod_ip": pod.pod_ip,
                    "netns": self.world.netns_path(pod.key),
                }
                for pod in pods
            },
        }
        keeper = self.agents.keepers[node.name]
        return status | {
            "agent_pid": keeper.pid,
            "agent_restarts": keeper.restarts,
            "agent_log": str(self.agents.log(node.name)),
            "node_pid": self.world.node_process(node.name).pid,
            "management_address": node.management_address,
        }
