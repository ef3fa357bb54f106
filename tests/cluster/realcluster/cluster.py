"""The cluster as a whole: the switch, the control plane, the nodes; and what a test asks or does with it.

    with RealCluster(...) as cluster:      up, installed on, asked, broken and mended; gone afterwards, however the block ends

Everything happens in namespaces that have no name on the machine, in cgroups below our own, and in one folder.
"""

import asyncio
import http.client
import json
import os
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from agent.lab import kernel
from agent.lab.apiclient import ApiClient
from agent.lab.plan import LONGHORN_NAMESPACE
from agent.lab.wiring import FORWARDING, NO_BRIDGE_NETFILTER, cable_lines, host_lines, port_number, switch_lines
from realcluster import confine, guardian, objects
from realcluster.control import ControlPlane
from realcluster.image import PAUSE_IMAGE, image_name, write_pause_image
from realcluster.install import NAMESPACE, write_overlay
from realcluster.needs import Programs
from realcluster.node import IMPORT_SECONDS, Node, NodeError, ip_json, run_ip
from realcluster.timeline import Timeline, wait_for

Json = dict[str, Any]
T = TypeVar("T")

AGENT_PORT = 9811
READY_SECONDS = 90.0
APPLY_SECONDS = 120.0
CONNECT_SECONDS = 2.0
ASK_SECONDS = 10.0
"""An agent that waits for silent ones answers within 3.5 s; the machine may be slower."""


class RealCluster:
    def __init__(self, *, programs: Programs, image: Path, timeline: Timeline, nodes: int = 3) -> None:
        """Makes nothing yet but an empty folder. `image` is the archive of the agent's."""
        self.programs, self._archive, self.timeline = programs, image, timeline
        self.folder = Path(tempfile.mkdtemp(prefix="lhnet-cluster-"))
        self.plan = objects.cluster_plan(nodes=nodes)
        self.image = image_name(image)
        """Name under which the nodes have the agent's image."""
        self.switch = -1
        self.nodes: dict[str, Node] = {}
        self.control: ControlPlane | None = None
        self._guardian = guardian.start(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()

    # up and down

    def up(self) -> None:
        """Until all nodes are Ready and have the images, and the objects of Harvester and Longhorn are there."""
        say = self.timeline.say
        say(f"files are in {self.folder}")
        cgroups = confine.make_cgroups(self.folder.name)
        self.switch = kernel.new_netns()
        _sysctl(self.switch, FORWARDING)
        run_ip(self.switch, *switch_lines())
        self.control = ControlPlane(folder=self.folder / "control", programs=self.programs, netns=self.switch, cgroups=cgroups)
        for spec in self.plan.nodes:
            node = Node(
                spec, folder=self._node_folder(spec.name), programs=self.programs, cgroups=cgroups, kubeconfig=self.control.kubeconfig()
            )
            self.nodes[spec.name] = node
            self._connect(node)
            node.start_containerd()
        self.control.start()
        say("the API server answers; CRDs, settings and the NAD are made as Harvester would")
        self.api(lambda api: api.apply_all(objects.first_objects(self.plan)))
        self._import_images()
        for node in self.nodes.values():
            node.start_kubelet()
        wait_for(self._all_come_up, seconds=READY_SECONDS, what="all nodes to be Ready", seen=self._who_is_missing)
        for spec in self.plan.nodes:
            self.patch("v1", "Node", spec.name, objects.node_patch(spec))
        say(f"{len(self.nodes)} nodes are Ready: {', '.join(self.nodes)}")

    def _all_come_up(self) -> bool:
        for node in self.nodes.values():
            if said := node.revive_kubelet():
                self.timeline.say(f"the kubelet of {node.name} ended and is started again: …{said}")
        return self.all_ready()

    def _who_is_missing(self) -> str:
        logs = [f"kubelet of {node.name}: …{node.kubelet_log()}" for node in self.nodes.values() if self.node_ready(node.name) != "True"]
        return "\n".join([self.kubectl("get", "nodes"), *logs])

    def down(self) -> None:
        """Ends and removes everything. Safe at any time, and twice."""
        for node in self.nodes.values():
            node.switch_off()
        if self.control is not None:
            self.control.stop()
        if self.switch >= 0:
            os.close(self.switch)
            self.switch = -1
        guardian.finish(self._guardian)

    def _node_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _connect(self, node: Node) -> None:
        """Power and both cables."""
        node.switch_on()
        mtu_bytes = self.plan.mtu_bytes
        run_ip(self.switch, *cable_lines(node.spec, netns=f"/proc/{os.getpid()}/fd/{node.netns}", mtu_bytes=mtu_bytes))
        _sysctl(node.netns, FORWARDING | NO_BRIDGE_NETFILTER)
        others = [spec for spec in self.plan.nodes if spec.name != node.name]
        node.ip(*host_lines(node.spec, others=others, mtu_bytes=mtu_bytes))

    def _import_images(self) -> None:
        pause = self.folder / "pause.tar"
        write_pause_image(pause)
        for archive, name in ((pause, PAUSE_IMAGE), (self._archive, self.image)):
            for node in self.nodes.values():
                wait_for(node.containerd_answers, seconds=READY_SECONDS, what=f"containerd of {node.name}")
            shown = [node.folder / archive.name for node in self.nodes.values()]
            for copy in shown:
                _link_or_copy(archive, copy)
            running = {node.name: node.import_image(f"/run/node/{archive.name}") for node in self.nodes.values()}
            for node_name, process in running.items():
                if process.wait(IMPORT_SECONDS) != 0:
                    raise NodeError(f"{node_name} does not take {archive}: {(self.folder / node_name / 'import.log').read_text()[-500:]}")
            for copy in shown:
                copy.unlink()
            self.timeline.say(f"every node has the image {name}")

    # the API

    def api(self, use: Callable[[ApiClient], Awaitable[T]]) -> T:
        """One conversation with the API server, as its administrator."""

        async def talk() -> T:
            assert self.control is not None
            async with self.control.client() as client:
                return await use(client)

        with kernel.inside(self.switch):
            return asyncio.run(talk())

    def get(self, api_version: str, kind: str, name: str, *, namespace: str = "") -> Json | None:
        return self.api(lambda api: api.get(api_version, kind, name, namespace=namespace))

    def list(self, api_version: str, kind: str, *, namespace: str = "", labels: str = "", fields: str = "") -> list[Json]:
        return self.api(lambda api: api.list(api_version, kind, namespace=namespace, labels=labels, fields=fields))

    def patch(self, api_version: str, kind: str, name: str, patch: Json, *, namespace: str = "", status: bool = False) -> Json:
        return self.api(lambda api: api.patch(api_version, kind, name, patch, namespace=namespace, status=status))

    def pods(self, namespace: str = LONGHORN_NAMESPACE) -> dict[str, Json]:
        return {pod["metadata"]["name"]: pod for pod in self.list("v1", "Pod", namespace=namespace)}

    def all_ready(self) -> bool:
        return {name for name in self.nodes if self.node_ready(name) == "True"} == set(self.nodes)

    def node_ready(self, name: str) -> str:
        """Status of the Node's condition Ready: True, False, Unknown; empty while there is no Node."""
        node = self.get("v1", "Node", name) or {}
        conditions = (node.get("status") or {}).get("conditions") or ()
        return next((one["status"] for one in conditions if one["type"] == "Ready"), "")

    def kubectl(self, *words: str, seconds: float = APPLY_SECONDS) -> str:
        """What it printed. Raises NodeError with what it said instead."""
        assert self.control is not None
        config = self.control.folder / "kubeconfig"
        argv = [str(self.programs.kubectl), f"--kubeconfig={config}", f"--cache-dir={self.folder / 'kubectl'}", *words]
        with kernel.inside(self.switch):
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=seconds, check=False, env={**os.environ, "HOME": str(self.folder)}
            )
        if done.returncode != 0:
            raise NodeError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    # the agents

    def install(self) -> str:
        """What `kubectl apply -k` printed, once every agent is ready."""
        overlay = write_overlay(self.folder / "overlay", image=self.image)
        printed = self.kubectl("apply", "-k", str(overlay))
        self.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/lhnet-agent", f"--timeout={READY_SECONDS:.0f}s")
        return printed

    def ask(self, node: str, path: str) -> Json | None:
        """A document of a node's agent, over the management network; None while it gives none."""
        text = self.fetch(node, path)
        return None if text is None else json.loads(text)

    def fetch(self, node: str, path: str) -> str | None:
        connection = http.client.HTTPConnection(self.nodes[node].spec.management_address, AGENT_PORT, timeout=CONNECT_SECONDS)
        try:
            with kernel.inside(self.switch):
                connection.connect()
            connection.sock.settimeout(ASK_SECONDS)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode()
            return body if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    # cables and power

    def set_uplink(self, node: str, *, up: bool) -> None:
        """The switch's port of the node's storage cable: without it the node's NIC has no carrier."""
        run_ip(self.switch, f"link set s{port_number(self.nodes[node].spec)} {'up' if up else 'down'}")

    def power_off(self, name: str) -> None:
        self.nodes[name].switch_off()

    def power_on(self, name: str) -> None:
        """The same machine again, with its disk; returns when its kubelet runs."""
        node = self.nodes[name]
        self._forget_cables(node)
        self._connect(node)
        self.start_programs(name)

    def start_programs(self, name: str) -> None:
        """containerd and kubelet of a node that runs."""
        node = self.nodes[name]
        node.start_containerd()
        wait_for(node.containerd_answers, seconds=READY_SECONDS, what=f"containerd of {name}")
        node.start_kubelet()

    def _forget_cables(self, node: Node) -> None:
        """The kernel takes a namespace's interfaces down with it, a moment after its last process."""
        number = port_number(node.spec)

        def gone() -> bool:
            return not {f"m{number}", f"s{number}"} & {link["ifname"] for link in ip_json(self.switch, "link", "show")}

        wait_for(gone, seconds=READY_SECONDS, what=f"the cables of {node.name} to be gone")


def _sysctl(netns: int, values: dict[str, str]) -> None:
    with kernel.inside(netns):
        for name, value in values.items():
            path = Path("/proc/sys", name.replace(".", "/"))
            if path.exists() or "bridge-nf" not in name:
                path.write_text(value)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
