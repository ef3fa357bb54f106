"""What a lab consists of, as plain values: nodes, pods, addresses, names. Both its namespaces and its API objects are made from this.

Names and addresses follow a Harvester cluster: nodes harv41…, cluster network `storage`, NAD `storagenetwork-95bj4`.
"""

import hashlib
import uuid
from dataclasses import dataclass
from ipaddress import IPv4Network

from agent.model.peers import Role

LONGHORN_NAMESPACE = "longhorn-system"
NAD_NAMESPACE = "harvester-system"
NAD_NAME = "storagenetwork-95bj4"
AGENT_NAMESPACE = "lhnet-system"
CLUSTER_NETWORK = "storage"
BRIDGE = "storage-br"
STORAGE_RANGE = "192.168.0.0/24"
LARGEST_PREFIX = 16
"""Harvester refuses larger ranges too."""
OWN_NETWORKS = ("172.19.108.0/22", "10.52.0.0/15", "127.0.0.0/8")
"""Where a lab's management addresses, pods, the API and the relays are."""
FIRST_NODE = 41
SERVICE_ADDRESS = "10.53.0.1"
"""The service `kubernetes`: an address of the API server's own namespace that the nodes route to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabNode:
    name: str
    index: int
    """0, 1, 2, …"""
    management_address: str
    pod_cidr: str

    @property
    def gateway(self) -> str:
        """Address of the node's pod bridge `cni0`."""
        return str(IPv4Network(self.pod_cidr)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPod:
    namespace: str
    name: str
    uid: str
    node: str
    role: Role | None
    """None: some tenant's pod that has nothing to do with storage."""
    pod_ip: str
    storage_address: str | None
    mac: str | None
    interface: str = "lhnet1"
    ports: tuple[int, ...] = ()
    """TCP ports that listen on all addresses; 6060 speaks HTTP."""
    netns_name: str = ""
    """File name under the node's /run/netns, as containerd makes them: cni-<uuid>."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPlan:
    nodes: tuple[LabNode, ...]
    pods: tuple[LabPod, ...]
    range: str
    mtu_bytes: int = 1500
    vlan: int = 100

    def pods_of(self, node: str) -> tuple[LabPod, ...]:
        return tuple(pod for pod in self.pods if pod.node == node)


def make_plan(*, nodes: int = 3, storage_range: str = STORAGE_RANGE, mtu_bytes: int = 1500) -> LabPlan:
    """A healthy cluster: on each node one instance-manager, one backing-image-manager and one pod of a tenant.

    Raises ValueError if the range is none or cannot hold two addresses a node.
    """
    hosts = IPv4Network(storage_range)
    if hosts.prefixlen < LARGEST_PREFIX:
        raise ValueError(f"{storage_range} is larger than a /{LARGEST_PREFIX}")
    if hosts.num_addresses < 2 * nodes + 3:
        raise ValueError(f"{storage_range} is too small for {nodes} nodes")
    lab_nodes = tuple(
        LabNode(
            name=f"harv{FIRST_NODE + i}",
            index=i,
            management_address=f"172.19.{108 + (FIRST_NODE + i) // 250}.{(FIRST_NODE + i) % 250}",
            pod_cidr=f"10.52.{i}.0/24",
        )
        for i in range(nodes)
    )
    pods: list[LabPod] = []
    for node in lab_nodes:
        pods.append(_pod(node, Role.INSTANCE_MANAGER, 10, str(hosts[2 + node.index])))
        pods.append(_pod(node, Role.BACKING_IMAGE_MANAGER, 11, str(hosts[2 + nodes + node.index])))
        pods.append(_pod(node, None, 12, None))
    return LabPlan(nodes=lab_nodes, pods=tuple(pods), range=storage_range, mtu_bytes=mtu_bytes)


def _pod(node: LabNode, role: Role | None, host: int, storage_address: str | None) -> LabPod:
    stem = hashlib.sha512(f"{node.name}{role}".encode()).hexdigest()
    name, ports = {
        Role.INSTANCE_MANAGER: (f"instance-manager-{stem[:32]}", (8500, 8501, 8502, 8503, 6060)),
        Role.BACKING_IMAGE_MANAGER: (f"bim-{hashlib.sha224(stem.encode()).hexdigest()}", (8000, 8001)),
        None: (f"shop-{stem[:10]}", ()),
    }[role]
    return LabPod(
        namespace=LONGHORN_NAMESPACE if role else "default",
        name=name,
        uid=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{node.name}")),
        node=node.name,
        role=role,
        pod_ip=str(IPv4Network(node.pod_cidr)[host]),
        storage_address=storage_address,
        mac=":".join(["2e", *(stem[i : i + 2] for i in range(40, 50, 2))]) if storage_address else None,
        ports=ports,
        netns_name=f"cni-{uuid.uuid5(uuid.NAMESPACE_DNS, name + '/netns')}",
    )
