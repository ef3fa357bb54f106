"""What a lab consists of, as plain values: nodes, pods, addresses, names. Both its namespaces and its API objects are made from this.

Names and addresses follow a Harvester cluster: nodes harv41…, cluster network `storage`, NAD `storagenetwork-95bj4`.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from agent.model.peers import Mode, Role

LONGHORN_NAMESPACE = "longhorn-system"
NAD_NAMESPACE = "harvester-system"
NAD_NAME = "storagenetwork-95bj4"
RWX_NAD_NAME = "rwx-network-k7m2d"
AGENT_NAMESPACE = "lhnet-system"
CLUSTER_NETWORK = "storage"
BRIDGE = "storage-br"
STORAGE_RANGE = "192.168.0.0/24"
RWX_RANGE = "192.168.253.0/24"
STORAGE_INTERFACE, RWX_INTERFACE = "lhnet1", "lhnet2"
RWX_VOLUME = "pvc-5f6e2c1d-9a57-4c0b-8f0e-6a1f7c1b2d43"
MTU_BYTES = range(576, 9001)
"""What Harvester lets a cluster network have."""
LARGEST_PREFIX = 16
"""Harvester refuses larger ranges too."""
OWN_NETWORKS = ("172.19.108.0/22", "10.52.0.0/15", "127.0.0.0/8")
"""Where a lab's management addresses, pods, the API and the relays are."""
FIRST_NODE = 41
SERVICE_ADDRESS = "10.53.0.1"
"""The service `kubernetes`: an address of the API server's own namespace that the nodes route to."""


class ShapeError(ValueError):
    """A lab that cannot be built, in one line; `option` of `lab up` is the one to change."""

    def __init__(self, line: str, *, option: str) -> None:
        super().__init__(line)
        self.option = option


@dataclass(frozen=True, slots=True, kw_only=True)
class LabNode:
    name: str
    index: int
    """0, 1, 2, …"""
    management_address: str
    pod_cidr: str
    witness: bool = False
    """Votes in etcd and stores nothing: no Longhorn, no storage bridge, no cable of the storage network."""

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
    interface: str = STORAGE_INTERFACE
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
    mode: Mode = Mode.ON
    """What the settings say. Unless they are applied, no pod has an interface in the storage network."""
    harvester: bool = True
    """False: Longhorn alone, on somebody's own cluster with Multus and whereabouts."""
    rwx: bool = False
    """Share-managers and csi-plugins have a network of their own."""

    @property
    def storage_nodes(self) -> tuple[LabNode, ...]:
        return tuple(node for node in self.nodes if not node.witness)

    def pods_of(self, node: str) -> tuple[LabPod, ...]:
        return tuple(pod for pod in self.pods if pod.node == node)

    def range_of(self, pod: LabPod) -> str:
        """Of the network that the pod is attached to."""
        return RWX_RANGE if pod.interface == RWX_INTERFACE else self.range


def make_plan(
    *,
    nodes: int = 3,
    storage_range: str = STORAGE_RANGE,
    mtu_bytes: int = 1500,
    witnesses: int = 0,
    mode: Mode = Mode.ON,
    harvester: bool = True,
    rwx: bool = False,
) -> LabPlan:
    """A healthy cluster: on each node one instance-manager, one backing-image-manager and one pod of a tenant.

    The last `witnesses` of the nodes store nothing and run none of them. Raises ShapeError for a cluster that there is not or that the
    range cannot hold (two addresses a node), ValueError for a range that is none.
    """
    _refuse_odd_shapes(nodes=nodes, witnesses=witnesses, mtu_bytes=mtu_bytes, mode=mode, harvester=harvester, rwx=rwx)
    hosts = IPv4Network(storage_range)
    if rwx and hosts.overlaps(IPv4Network(RWX_RANGE)):
        raise ShapeError(f"{storage_range} overlaps {RWX_RANGE}, which is the RWX volumes' own", option="--range")
    storing = nodes - witnesses
    if hosts.prefixlen < LARGEST_PREFIX:
        raise ShapeError(f"{storage_range} is larger than a /{LARGEST_PREFIX}", option="--range")
    if hosts.num_addresses < 2 * storing + 3:
        raise ShapeError(f"{storage_range} is too small for {storing} nodes", option="--range")
    lab_nodes = tuple(
        LabNode(
            name=f"harv{FIRST_NODE + i}",
            index=i,
            management_address=f"172.19.{108 + (FIRST_NODE + i) // 250}.{(FIRST_NODE + i) % 250}",
            pod_cidr=f"10.52.{i}.0/24",
            witness=i >= storing,
        )
        for i in range(nodes)
    )
    pods: list[LabPod] = []
    applied = mode is Mode.ON
    for node in lab_nodes[:storing]:
        pods.append(_pod(node, Role.INSTANCE_MANAGER, 10, str(hosts[2 + node.index]) if applied else None))
        pods.append(_pod(node, Role.BACKING_IMAGE_MANAGER, 11, str(hosts[2 + storing + node.index]) if applied else None))
        pods.append(_pod(node, None, 12, None))
        if rwx:
            pods.append(_pod(node, Role.CSI_PLUGIN, 13, str(IPv4Network(RWX_RANGE)[2 + node.index])))
    if rwx:
        pods.append(_pod(lab_nodes[0], Role.SHARE_MANAGER, 14, str(IPv4Network(RWX_RANGE)[2 + storing])))
    made = tuple(pods)
    return LabPlan(nodes=lab_nodes, pods=made, range=storage_range, mtu_bytes=mtu_bytes, mode=mode, harvester=harvester, rwx=rwx)


def _refuse_odd_shapes(*, nodes: int, witnesses: int, mtu_bytes: int, mode: Mode, harvester: bool, rwx: bool) -> None:
    if not 0 <= witnesses < nodes:
        raise ShapeError(f"of {nodes} nodes at most {nodes - 1} can be witnesses: one must store data", option="--witness")
    if mtu_bytes not in MTU_BYTES:
        raise ShapeError(f"{mtu_bytes} is no MTU from {MTU_BYTES[0]} to {MTU_BYTES[-1]} bytes", option="--mtu")
    if mode is Mode.UNKNOWN or (mode is Mode.UNINITIALISED and not harvester):
        raise ShapeError(f"no cluster{'' if harvester else ' without Harvester'} is {mode}", option="--mode")
    if rwx and not (harvester and mode is Mode.ON):
        raise ShapeError("a network for RWX volumes needs Harvester, and the storage network on", option="--rwx")


def plan_of(shape: Mapping[str, Any]) -> LabPlan:
    """From JSON: make_plan's arguments, the range as `range`. Raises what it raises."""
    wanted = {key: value for key, value in shape.items() if key not in ("range", "mode")}
    return make_plan(storage_range=shape["range"], mode=Mode(shape["mode"]), **wanted)


_NAMES = {
    Role.INSTANCE_MANAGER: ("instance-manager-{sha512:.32}", (8500, 8501, 8502, 8503, 6060)),
    Role.BACKING_IMAGE_MANAGER: ("bim-{sha224}", (8000, 8001)),
    Role.CSI_PLUGIN: ("longhorn-csi-plugin-{sha512:.5}", ()),
    Role.SHARE_MANAGER: (f"share-manager-{RWX_VOLUME}", (2049, 9600)),
    None: ("shop-{sha512:.10}", ()),
}
_INTERFACES = {Role.CSI_PLUGIN: RWX_INTERFACE, Role.SHARE_MANAGER: RWX_INTERFACE}


def _pod(node: LabNode, role: Role | None, host: int, storage_address: str | None) -> LabPod:
    stem = hashlib.sha512(f"{node.name}{role}".encode()).hexdigest()
    pattern, ports = _NAMES[role]
    name = pattern.format(sha512=stem, sha224=hashlib.sha224(stem.encode()).hexdigest())
    return LabPod(
        namespace=LONGHORN_NAMESPACE if role else "default",
        name=name,
        uid=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{node.name}")),
        node=node.name,
        role=role,
        pod_ip=str(IPv4Network(node.pod_cidr)[host]),
        storage_address=storage_address,
        mac=":".join(["2e", *(stem[i : i + 2] for i in range(40, 50, 2))]) if storage_address else None,
        interface=_INTERFACES.get(role, STORAGE_INTERFACE) if role else STORAGE_INTERFACE,
        ports=ports,
        netns_name=f"cni-{uuid.uuid5(uuid.NAMESPACE_DNS, name + '/netns')}",
    )
