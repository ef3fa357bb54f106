"""How the lab's network is laid out: names, addresses and the lines for `ip -batch` that make one piece of it.

    switch    mgmt (management, the API's address on lo)      seg-a, seg-b (two storage segments)
      │ m41, m42 …                                              │ s41, s42 …
    node      ens3, default route, cni0 ── veth ── eth0        ens5 ── storage-br ── veth ── lhnet1   (the pods' ends)

Values in, text out: nothing here touches a kernel.
"""

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Network

from agent.lab.plan import BRIDGE, SERVICE_ADDRESS, LabNode, LabPod

SWITCH = "switch"
MANAGEMENT_NETWORK = IPv4Network("172.19.108.0/22")
MANAGEMENT_GATEWAY = str(MANAGEMENT_NETWORK[1])
SEGMENT_A = "seg-a"
SEGMENT_B = "seg-b"
MANAGEMENT_NIC = "ens3"
STORAGE_NIC = "ens5"
POD_BRIDGE = "cni0"
POD_MTU_BYTES = 1450
"""Of eth0: what VXLAN leaves of 1500 bytes on a Harvester cluster."""

NO_SOURCE_FILTER = {"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0"}
FORWARDING = NO_SOURCE_FILTER | {"net.ipv4.ip_forward": "1"}
NO_BRIDGE_NETFILTER = {f"net.bridge.bridge-nf-call-{name}": "0" for name in ("iptables", "ip6tables", "arptables")}


def switch_lines(*, mtu_bytes: int = 1500) -> list[str]:
    return [
        "link set lo up",
        f"addr add {SERVICE_ADDRESS}/32 dev lo",
        f"link add mgmt address {mac('mgmt')} type bridge",
        f"addr add {MANAGEMENT_GATEWAY}/{MANAGEMENT_NETWORK.prefixlen} dev mgmt",
        "link set mgmt up",
        *(f"link add {name} address {mac(name)} type bridge" for name in (SEGMENT_A, SEGMENT_B)),
        *(f"link set {name} mtu {mtu_bytes} up" for name in (SEGMENT_A, SEGMENT_B)),
    ]


def cable_lines(node: LabNode, *, netns: str, mtu_bytes: int) -> list[str]:
    """In the switch: the node's two cables, of a witness the one. `netns` is the path of the node's namespace."""
    number = port_number(node)
    lines = [
        f"link add m{number} type veth peer name {MANAGEMENT_NIC} netns {netns}",
        f"link set m{number} master mgmt up",
        f"route replace {node.pod_cidr} via {node.management_address}",  # it outlives a node that was switched off
    ]
    if not node.witness:
        lines += [
            f"link add s{number} mtu {mtu_bytes} type veth peer name {STORAGE_NIC} mtu {mtu_bytes} netns {netns}",
            f"link set s{number} master {SEGMENT_A} up",
        ]
    return lines


def host_lines(node: LabNode, *, others: Iterable[LabNode], mtu_bytes: int) -> list[str]:
    """In the node, once its cables are there."""
    lines = [
        "link set lo up",
        f"link set {MANAGEMENT_NIC} up",
        f"addr add {node.management_address}/{MANAGEMENT_NETWORK.prefixlen} brd + dev {MANAGEMENT_NIC}",
        f"route add default via {MANAGEMENT_GATEWAY}",
        *(f"route add {other.pod_cidr} via {other.management_address}" for other in others),
        f"link add {POD_BRIDGE} address {mac(node.name, POD_BRIDGE)} type bridge",
        f"addr add {node.gateway}/{IPv4Network(node.pod_cidr).prefixlen} brd + dev {POD_BRIDGE}",
        f"link set {POD_BRIDGE} mtu {POD_MTU_BYTES} up",
    ]
    if not node.witness:
        lines += [
            f"link add {BRIDGE} address {mac(node.name, BRIDGE)} type bridge",
            f"link set {BRIDGE} mtu {mtu_bytes} up",
            f"link set {STORAGE_NIC} master {BRIDGE} up",
        ]
    return lines


def pod_host_lines(pod: LabPod, *, netns: str, mtu_bytes: int) -> list[str]:
    """In the pod's node: the pod's interfaces and their host ends on the bridges."""
    eth0, storage = host_veth(pod, "eth0"), host_veth(pod, pod.interface)
    lines = [
        f"link add {eth0} mtu {POD_MTU_BYTES} type veth peer name eth0 mtu {POD_MTU_BYTES} netns {netns}",
        f"link set {eth0} master {POD_BRIDGE} up",
    ]
    if pod.storage_address is not None:
        address = f"address {pod.mac} " if pod.mac else ""
        lines += [
            f"link add {storage} mtu {mtu_bytes} type veth peer name {pod.interface} {address}mtu {mtu_bytes} netns {netns}",
            f"link set {storage} master {BRIDGE} up",
        ]
    return lines


def pod_lines(pod: LabPod, node: LabNode, *, storage_address: str) -> list[str]:
    """In the pod. `storage_address` has its prefix length."""
    lines = [
        "link set lo up",
        "link set eth0 up",
        f"addr add {pod.pod_ip}/{IPv4Network(node.pod_cidr).prefixlen} brd + dev eth0",
        f"route add default via {node.gateway}",
    ]
    if pod.storage_address is not None:
        lines += [f"link set {pod.interface} up", f"addr add {storage_address} brd + dev {pod.interface}"]
    return lines


def dead_pod_lines(pod_ip: str, node: LabNode) -> list[str]:
    """In the namespace of a pod that died: its eth0 holds an address that a live pod has by now, and leads nowhere."""
    return [
        "link add eth0 type veth peer name gone",
        "link set eth0 up",
        f"addr add {pod_ip}/{IPv4Network(node.pod_cidr).prefixlen} dev eth0",
    ]


def port_number(node: LabNode) -> int:
    """Number of the node's switch ports: 41 gives m41 and s41."""
    return int("".join(filter(str.isdigit, node.name)))


def host_veth(pod: LabPod, interface: str) -> str:
    """Name of the host's end of a pod's interface: veth and eight hexadecimal digits, as the bridge plugin names them."""
    return "veth" + hashlib.sha256(f"{pod.uid}/{interface}".encode()).hexdigest()[:8]


def mac(*seed: str) -> str:
    digits = hashlib.sha256("/".join(seed).encode()).hexdigest()
    return ":".join(["2e", *(digits[i : i + 2] for i in range(0, 10, 2))])
