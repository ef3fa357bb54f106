"""The agents of the lab: one real process per node, confined and configured as the DaemonSet in the manifests says.

Starts them, restarts them as a kubelet does, and knows when they are ready. It never speaks to an agent except by the HTTP that anybody
could use.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

import agent
from agent.lab.children import Child, Keeper, last_line
from agent.lab.manifest import AgentManifest, ContainerMount
from agent.lab.plan import SERVICE_ADDRESS, LabNode
from agent.lab.relay import Relay
from agent.lab.world import World, WorldError

TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  # a path, where every pod finds its token
QUICK_EXITS = 2
"""An agent that ended this often before it was ready will not become ready: its settings or its program are wrong."""


class AgentsError(Exception):
    """An agent does not come up; the message is one line with the last thing it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one node's agent has otherwise than the manifest says."""

    without_capabilities: frozenset[str] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the manifest's and to the settings of the lab, and stronger than both."""
    module: str = "agent"
    """The program, with the manifest's arguments."""
    without_propagation: bool = False
    """No volume mount follows the host: what is mounted there later does not appear."""


class Agents:
    def __init__(
        self,
        *,
        world: World,
        manifest: AgentManifest,
        folder: Path,
        settings: Mapping[str, str],
        command: Sequence[str],
        credentials: Callable[[], Mapping[str, str]],
        pod_name: Callable[[str], str],
    ) -> None:
        """`credentials` gives the files of the service account, `pod_name` the name of a node's agent pod; `command` replaces the agent."""
        self._world = world
        self._manifest = manifest
        self._folder = folder
        self._settings = settings
        self._command = tuple(command)
        self._credentials = credentials
        self._pod_name = pod_name
        self.keepers: dict[str, Keeper] = {}
        self._relays: dict[str, Relay] = {}
        self._changes: dict[str, Change] = {}

    async def add(self, node: LabNode) -> None:
        """Starts the agent of a node and its relay."""
        relay = Relay(netns=lambda: self._netns(node.name), host="127.0.0.1", port=self._manifest.port)
        await relay.open()
        self._relays[node.name] = relay
        self.keepers[node.name] = Keeper(f"agent {node.name}", lambda: self._start(node))
        self.keepers[node.name].start()

    async def hold_down(self, node: str, *, grace_seconds: float = 0.0) -> None:
        """Ends the node's agent and keeps it away until `let_up`; without grace by SIGKILL, as the kernel's OOM killer does."""
        await self.keepers[node].stop(grace_seconds=grace_seconds)

    def let_up(self, node: str) -> None:
        if self.keepers[node].pid is None:
            self.keepers[node].start()

    async def change(self, node: str, change: Change | None) -> None:
        """Restarts the node's agent as a DaemonSet would that says so; None: as the manifest says again."""
        if change is None:
            self._changes.pop(node, None)
        else:
            self._changes[node] = change
        await self.keepers[node].stop()
        self.keepers[node].start()

    def _netns(self, node: str) -> int | None:
        try:
            return self._world.netns(node)
        except WorldError:
            return None

    def url(self, node: str) -> str:
        """Where curl on this machine reaches the node's agent."""
        return f"http://127.0.0.1:{self._relays[node].local_port}"

    @property
    def port(self) -> int:
        """Where each listens, on its node's management address and on loopback."""
        return self._manifest.port

    def log(self, node: str) -> Path:
        return self._folder / "logs" / f"agent-{node}.log"

    async def wait_ready(self, *, timeout_seconds: float) -> None:
        """Until every agent answers /readyz with 200. Raises AgentsError as soon as one cannot, or at the deadline."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            deadline = time.monotonic() + timeout_seconds
            await asyncio.gather(*(self._wait_for(session, name, deadline=deadline) for name in self.keepers))

    async def _wait_for(self, session: aiohttp.ClientSession, node: str, *, deadline: float) -> None:
        answer = "no answer"
        while time.monotonic() < deadline:
            try:
                async with session.get(f"{self.url(node)}/readyz") as response:
                    if response.status == 200:
                        return
                    answer = " ".join((await response.text()).split())[:200]
            except (aiohttp.ClientError, TimeoutError):
                pass
            keeper = self.keepers[node]
            if keeper.restarts + (keeper.pid is None) >= QUICK_EXITS:
                raise AgentsError(
                    f"the agent on {node} ends again and again: {last_line(self.log(node)) or f'status {keeper.last_status}'}"
                )
            await asyncio.sleep(0.1)
        said = last_line(self.log(node))
        raise AgentsError(f"the agent on {node} is not ready: {answer}{'; it said: ' + said if said else ''}")

    async def close(self) -> None:
        await asyncio.gather(*(keeper.stop() for keeper in self.keepers.values()))
        await asyncio.gather(*(relay.close() for relay in self._relays.values()))

    def _start(self, node: LabNode) -> Child:
        spec = self._folder / "nodes" / f"{node.name}.json"
        spec.touch(mode=0o600)
        spec.write_text(json.dumps(self._spec(node), indent=1))
        argv = [sys.executable, "-m", "agent.lab.confine", str(spec)]
        return Child(argv, log=self.log(node.name), netns=self._world.netns(node.name))

    def _spec(self, node: LabNode) -> dict[str, object]:
        change = self._changes.get(node.name, Change())
        environment = {**self._environment(node), **change.environment}
        token = ContainerMount(path=TOKEN_FOLDER, files=self._credentials(), read_only=True)
        program = self._command or (sys.executable, "-m", change.module, *self._manifest.resolve_arguments(environment))
        return {
            "node_pid": self._world.node_process(node.name).pid,
            "argv": list(program),
            "environment": environment,
            "capabilities": sorted(self._manifest.capabilities - change.without_capabilities),
            "read_only_root": self._manifest.read_only_root,
            "no_new_privileges": self._manifest.no_new_privileges,
            "mounts": [_mount(mount, change) for mount in (*self._manifest.mounts, token)],
            "reachable": [
                sys.prefix,
                sys.base_prefix,
                str(Path(agent.__file__).parent),
                self._command[0] if self._command else sys.executable,
            ],
        }

    def _environment(self, node: LabNode) -> dict[str, str]:
        fields = {
            "spec.nodeName": node.name,
            "spec.serviceAccountName": self._manifest.service_account,
            "metadata.namespace": self._manifest.namespace,
            "metadata.name": self._pod_name(node.name),
            "status.hostIP": node.management_address,
            "status.hostIPs": node.management_address,
            "status.podIP": node.management_address,
            "status.podIPs": node.management_address,
        }
        given = {"KUBERNETES_SERVICE_HOST": SERVICE_ADDRESS, "KUBERNETES_SERVICE_PORT": "443", "PATH": os.defpath, "HOME": "/root"}
        settings = {environment_name(key): value for key, value in self._settings.items()}
        return given | self._manifest.resolve_environment(fields) | settings


def _mount(mount: ContainerMount, change: Change) -> dict[str, object]:
    follows = mount.follows_host and not change.without_propagation
    return asdict(mount) | {"files": dict(mount.files), "follows_host": follows}


def environment_name(key: str) -> str:
    """The variable of a setting: `probe.interval_seconds` is LHNET_PROBE__INTERVAL_SECONDS (contract §2)."""
    return "LHNET_" + key.replace(".", "__").replace("-", "_").upper()
