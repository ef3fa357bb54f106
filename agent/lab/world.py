"""The lab's network for real: a switch, nodes and pods out of namespaces, veths and bridges, with verbs to build, break and mend it.

Every namespace is held by a descriptor of this process and by the processes in it; none has a name on the machine, so the kernel removes
all of it when they end. Places are called by one word: `switch`, a node's name, a pod's `namespace/name`. The layout is in wiring.py.
Knows nothing of findings.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from agent.lab import kernel
from agent.lab.children import Child, last_line
from agent.lab.plan import LabNode, LabPlan, LabPod
from agent.lab.wiring import (
    FORWARDING,
    NO_BRIDGE_NETFILTER,
    NO_SOURCE_FILTER,
    SWITCH,
    cable_lines,
    dead_pod_lines,
    host_lines,
    mac,
    pod_host_lines,
    pod_lines,
    switch_lines,
)

_ANSWER_SECONDS = 20.0


class WorldError(Exception):
    """The kernel or a program refused; the message is one line for a person."""


@dataclass(slots=True)
class _Host:
    node: LabNode
    netns: int
    child: Child
    control: socket.socket


@dataclass(slots=True)
class _Sandbox:
    pod: LabPod
    netns: int


class World:
    def __init__(self, plan: LabPlan, *, folder: Path) -> None:
        self.plan = plan
        self._folder = folder
        self._switch = -1
        self._hosts: dict[str, _Host] = {}
        self._pods: dict[str, _Sandbox] = {}

    # places

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        """Those that are on, in the plan's order whenever they came."""
        return tuple(sorted((host.node for host in self._hosts.values()), key=lambda node: node.index))

    @property
    def pods(self) -> tuple[LabPod, ...]:
        """What runs now; faults may have replaced, added or removed pods since the plan."""
        return tuple(sandbox.pod for sandbox in self._pods.values())

    def netns(self, place: str) -> int:
        """Descriptor of the place's network namespace. Raises WorldError for a place that is not there."""
        if place == SWITCH:
            return self._switch
        if place in self._hosts:
            return self._hosts[place].netns
        if place in self._pods:
            return self._pods[place].netns
        raise WorldError(f"{place} is not running in this lab")

    def netns_path(self, place: str) -> str:
        """A path that `nsenter --net=PATH` opens, while the lab lives."""
        return f"/proc/{os.getpid()}/fd/{self.netns(place)}"

    def node_process(self, node: str) -> Child:
        """The process that holds the node's mount namespace."""
        self.netns(node)
        return self._hosts[node].child

    # building

    async def build(self) -> None:
        """Everything of the plan. On an error what was made so far is left for `close`."""
        self._switch = kernel.new_netns()
        self.sysctl(SWITCH, FORWARDING)
        self.ip(SWITCH, *switch_lines(mtu_bytes=self.plan.mtu_bytes))
        for node in self.plan.nodes:
            self._start_host(node)
        for node in self.plan.nodes:
            await self._ready(node.name)
            self._wire_host(node)
            for pod in self.plan.pods_of(node.name):
                self.add_pod(pod)
            self._add_lookalikes(node)

    async def add_node(self, node: LabNode, pods: Iterable[LabPod]) -> None:
        """Powers a node on, with these pods."""
        self._start_host(node)
        await self._ready(node.name)
        self._wire_host(node)
        for pod in pods:
            self.add_pod(pod)
        self._add_lookalikes(node)

    async def remove_node(self, name: str) -> None:
        """Pulls the plug: the node's process, its pods and its cables are gone; the switch port has no carrier and then no device."""
        for key in [pod.key for pod in self.plan_pods_on(name)]:
            os.close(self._pods.pop(key).netns)
        host = self._hosts.pop(name)
        await host.child.stop(grace_seconds=0)
        host.control.close()
        os.close(host.netns)

    def plan_pods_on(self, node: str) -> tuple[LabPod, ...]:
        return tuple(pod for pod in self.pods if pod.node == node)

    def _start_host(self, node: LabNode) -> None:
        netns = kernel.new_netns()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        state = self.state_folder(node.name)
        state.mkdir(parents=True, exist_ok=True)
        with theirs:
            argv = [sys.executable, "-m", "agent.lab.node", str(theirs.fileno()), str(state)]
            log = self._folder / "logs" / f"node-{node.name}.log"
            child = Child(argv, log=log, netns=netns, pass_fds=(theirs.fileno(),))
        ours.settimeout(_ANSWER_SECONDS)
        self._hosts[node.name] = _Host(node, netns, child, ours)

    def state_folder(self, node: str) -> Path:
        """The node's own /var/lib/lhnet-agent; outlives a restart of the node."""
        return self._folder / "nodes" / node

    async def _ready(self, name: str) -> None:
        host = self._hosts[name]
        try:
            if await asyncio.to_thread(host.control.recv, 64):
                return
        except TimeoutError:
            pass
        raise WorldError(f"node {name} did not start: {last_line(host.child.log)}")

    def _wire_host(self, node: LabNode) -> None:
        mtu_bytes = self.plan.mtu_bytes
        self.ip(SWITCH, *cable_lines(node, netns=self.netns_path(node.name), mtu_bytes=mtu_bytes))
        self.sysctl(node.name, FORWARDING | NO_BRIDGE_NETFILTER)
        others = [other for other in self.plan.nodes if other.name != node.name]
        self.ip(node.name, *host_lines(node, others=others, mtu_bytes=mtu_bytes))

    # pods

    def add_pod(self, pod: LabPod) -> None:
        """A sandbox as containerd and the CNI plugins leave it, with the pod's ports open."""
        self._pods[pod.key] = _Sandbox(pod, kernel.new_netns())
        self.ip(pod.node, *pod_host_lines(pod, netns=self.netns_path(pod.key), mtu_bytes=self.plan.mtu_bytes))
        self.sysctl(pod.key, NO_SOURCE_FILTER)
        self.ip(pod.key, *pod_lines(pod, self._hosts[pod.node].node, storage_address=self.storage_interface_address(pod)))
        self.open_ports(pod.key, pod.ports)
        self.show_namespace(pod.key)

    def remove_pod(self, key: str) -> LabPod:
        """Ends a pod as a kubelet does: nothing of it is left in the kernel, once no other process holds on to its namespace."""
        sandbox = self._pods[key]
        self.close_ports(key)
        self._order(sandbox.pod.node, {"do": "hide", "file": sandbox.pod.netns_name})
        del self._pods[key]
        os.close(sandbox.netns)
        return sandbox.pod

    def replace_pod(self, key: str, *, storage_address: str | None = None, pod_ip: str | None = None) -> LabPod:
        """The same name again with another UID and namespace, as Longhorn re-creates an instance-manager. Returns the new pod."""
        old = self.remove_pod(key)
        token = uuid.uuid4().hex
        new = replace(
            old,
            uid=str(uuid.uuid4()),
            netns_name=f"cni-{uuid.uuid4()}",
            mac=mac(token) if old.mac else None,
            storage_address=storage_address or old.storage_address,
            pod_ip=pod_ip or old.pod_ip,
        )
        self.add_pod(new)
        return new

    def storage_interface_address(self, pod: LabPod) -> str:
        return f"{pod.storage_address}/{IPv4Network(self.plan.range_of(pod)).prefixlen}"

    def show_namespace(self, key: str) -> None:
        """Mounts the pod's namespace under the node's /run/netns."""
        sandbox = self._pods[key]
        self.show_file(sandbox.pod.node, sandbox.pod.netns_name, netns=sandbox.netns)

    def hide_namespace(self, key: str) -> None:
        """Unmounts it and leaves the empty file, as a runtime does that was interrupted."""
        sandbox = self._pods[key]
        self.hide_file(sandbox.pod.node, sandbox.pod.netns_name)

    def show_file(self, node: str, name: str, *, netns: int) -> None:
        self._order(node, {"do": "show", "file": name}, netns=netns)

    def hide_file(self, node: str, name: str) -> None:
        self._order(node, {"do": "hide", "file": name, "unlink": False})

    def open_ports(self, key: str, ports: Iterable[int]) -> None:
        sandbox = self._pods[key]
        if wanted := sorted(ports):
            self._order(sandbox.pod.node, {"do": "listen", "pod": key, "ports": wanted}, netns=sandbox.netns)

    def close_ports(self, key: str, ports: Iterable[int] | None = None) -> None:
        """All ports by default. Connections are cut."""
        wanted = None if ports is None else sorted(ports)
        self._order(self._pods[key].pod.node, {"do": "close", "pod": key, "ports": wanted})

    def _add_lookalikes(self, node: LabNode) -> None:
        """What else lies in /run/netns of a node that lives for a while: an empty file, and a dead pod with a live pod's address."""
        self._order(node.name, {"do": "show", "file": f"cni-{uuid.uuid5(uuid.NAMESPACE_DNS, f'stale.{node.name}')}"})
        storage = [pod for pod in self.plan_pods_on(node.name) if pod.storage_address]
        if not storage:
            return
        shared = storage[-1]  # not the instance-manager: its namespace is the one that faults hide, and then only the dead one is left
        dead = kernel.new_netns()
        _run(["ip", "-batch", "-"], netns=dead, text="\n".join(dead_pod_lines(shared.pod_ip, node)) + "\n")
        self._order(node.name, {"do": "show", "file": f"cni-{uuid.uuid5(uuid.NAMESPACE_DNS, f'dead.{node.name}')}"}, netns=dead)
        os.close(dead)

    # breaking and mending

    def ip(self, place: str, *lines: str) -> None:
        """Lines for `ip -batch` in a place. Raises WorldError with ip's own words."""
        _run(["ip", "-batch", "-"], netns=self.netns(place), text="\n".join(lines) + "\n")

    def ip_json(self, place: str, *words: str) -> Any:
        """What `ip -j WORDS` answers in a place."""
        return json.loads(_run(["ip", "-j", *words], netns=self.netns(place)) or "[]")

    def nft(self, place: str, script: str) -> None:
        """A script for `nft -f`. Raises WorldError; says which package has nft where it is missing."""
        _run(["nft", "-f", "-"], netns=self.netns(place), text=script)

    def sysctl(self, place: str, values: dict[str, str]) -> None:
        with kernel.inside(self.netns(place)):
            for name, value in values.items():
                Path("/proc/sys", name.replace(".", "/")).write_text(value)

    def set_link(self, place: str, name: str, *, up: bool) -> None:
        self.ip(place, f"link set {name} {'up' if up else 'down'}")

    def move_port(self, place: str, port: str, *, bridge: str | None) -> None:
        """Puts a bridge port on another bridge of the same place; None: on none."""
        self.ip(place, f"link set {port} nomaster" if bridge is None else f"link set {port} master {bridge}")

    def _order(self, node: str, order: dict[str, Any], *, netns: int | None = None) -> None:
        host = self._hosts[node]
        try:
            socket.send_fds(host.control, [json.dumps(order).encode()], [netns] if netns is not None else [])
            answer = json.loads(host.control.recv(65536) or b'{"ok": false, "error": "its process ended"}')
        except OSError as error:
            raise WorldError(f"node {node} does not answer the lab: {error}") from error
        if not answer["ok"]:
            raise WorldError(f"node {node}: {answer['error']}")

    async def close(self) -> None:
        """Ends the nodes' processes and lets go of every namespace. Safe to call twice, and after a build that failed."""
        hosts, self._hosts = list(self._hosts.values()), {}
        await asyncio.gather(*(host.child.stop(grace_seconds=0) for host in hosts))
        for host in hosts:
            host.control.close()
            os.close(host.netns)
        for sandbox in self._pods.values():
            os.close(sandbox.netns)
        self._pods = {}
        if self._switch >= 0:
            os.close(self._switch)
            self._switch = -1


_PACKAGES = {"ip": "iproute2", "nft": "nftables"}


def _run(argv: list[str], *, netns: int, text: str | None = None) -> str:
    try:
        with kernel.inside(netns):
            done = subprocess.run(argv, input=text, text=True, capture_output=True, timeout=30, check=False)
    except FileNotFoundError as error:
        raise WorldError(f"{argv[0]} is missing; on Debian: apt-get install {_PACKAGES.get(argv[0], argv[0])}") from error
    except subprocess.TimeoutExpired as error:
        raise WorldError(f"{argv[0]} did not end within 30 s") from error
    if done.returncode != 0:
        raise WorldError(f"{argv[0]}: {' '.join(done.stderr.split())}")
    return done.stdout
