"""Faults of a node's own side of the storage network: uplink, bridge, a pod's host end, MTU, and iptables in the way of bridged packets."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.plan import BRIDGE, LabNode
from agent.lab.wiring import STORAGE_NIC, SWITCH, host_veth, mac, port_number

if TYPE_CHECKING:
    from agent.lab.lab import Lab

LOWER_BY_BYTES = 100
"""Of mtu-lowered: enough that a full packet does not fit, too little for anything small to notice."""


def _node(aim: Aim) -> LabNode:
    if aim.node is None:
        raise FaultError("this fault needs a node")
    return aim.node


@fault(
    "uplink-down",
    breaks="the switch port of the node's storage cable is set down: its NIC loses carrier, bridge and pods stay up",
    targets=("node",),
    findings=(("uplink-down", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def uplink_down(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    port = f"s{port_number(_node(aim))}"
    lab.world.set_link(SWITCH, port, up=False)
    yield
    lab.world.set_link(SWITCH, port, up=True)


@fault(
    "bridge-deleted",
    breaks="the node's storage bridge is deleted; NIC and pods' interfaces stay up and lead nowhere",
    targets=("node",),
    findings=(("bridge-missing", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def bridge_deleted(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    index = lab.world.ip_json(node, "link", "show", BRIDGE)[0]["ifindex"]
    lab.world.ip(node, f"link del {BRIDGE}")
    yield
    ends = [host_veth(pod, pod.interface) for pod in lab.world.plan_pods_on(node) if pod.storage_address]
    lab.world.ip(
        node,
        f"link add {BRIDGE} index {index} address {mac(node, BRIDGE)} type bridge",
        f"link set {BRIDGE} mtu {lab.plan.mtu_bytes} up",
        *(f"link set {port} master {BRIDGE}" for port in (STORAGE_NIC, *ends)),
    )


@fault(
    "uplink-off-bridge",
    breaks="the node's storage NIC is taken off the bridge, as after a boot where the CNI plugin made the bridge first; it keeps carrier",
    targets=("node",),
    findings=(("uplink-missing", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def uplink_off_bridge(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    lab.world.move_port(node, STORAGE_NIC, bridge=None)
    yield
    lab.world.move_port(node, STORAGE_NIC, bridge=BRIDGE)


@fault(
    "veth-off-bridge",
    breaks="the host's end of the pod's lhnet1 is taken off the storage bridge; both ends stay up",
    targets=("pod",),
    findings=(("veth-detached", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def veth_off_bridge(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = aim.pod
    if pod is None or pod.storage_address is None:
        raise FaultError("this fault needs a pod with a storage address")
    lab.world.move_port(pod.node, host_veth(pod, pod.interface), bridge=None)
    yield
    lab.world.move_port(pod.node, host_veth(pod, pod.interface), bridge=BRIDGE)


@fault(
    "mtu-lowered",
    breaks=f"the node's storage NIC gets an MTU {LOWER_BY_BYTES} bytes smaller than the bridge and the pods have: full packets are lost",
    targets=("node",),
    findings=(("mtu-chain", "subject"),),
)
async def mtu_lowered(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    lab.world.ip(node, f"link set {STORAGE_NIC} mtu {lab.plan.mtu_bytes - LOWER_BY_BYTES}")
    yield
    lab.world.ip(node, f"link set {STORAGE_NIC} mtu {lab.plan.mtu_bytes}")


@fault(
    "bridge-netfilter-on",
    breaks="bridge-nf-call-iptables is switched on in the node: bridged packets pass its iptables rules, which here drop none",
    targets=("node",),
    findings=(("bridge-netfilter", "subject"),),
)
async def bridge_netfilter_on(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    lab.world.sysctl(node, {"net.bridge.bridge-nf-call-iptables": "1"})
    yield
    lab.world.sysctl(node, {"net.bridge.bridge-nf-call-iptables": "0"})
