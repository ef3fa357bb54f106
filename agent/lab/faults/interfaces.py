"""Faults inside one storage pod: its interface, address, routes, and whether its namespace can be found."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.plan import LabPod

if TYPE_CHECKING:
    from agent.lab.lab import Lab


def _storage_pod(aim: Aim) -> LabPod:
    if aim.pod is None or aim.pod.storage_address is None:
        raise FaultError("this fault needs a pod with a storage address")
    return aim.pod


@fault(
    "link-down",
    breaks="the pod's lhnet1 is set down; eth0 stays up",
    targets=("pod",),
    findings=(("interface-down", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def link_down(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    lab.world.set_link(pod.key, pod.interface, up=False)
    yield
    lab.world.set_link(pod.key, pod.interface, up=True)


@fault(
    "interface-renamed",
    breaks="the pod's lhnet1 gets another name; its address and traffic stay",
    targets=("pod",),
    findings=(("interface-missing", "subject"),),
)
async def interface_renamed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    other = "was-" + pod.interface
    _rename(lab, pod, pod.interface, other)
    yield
    _rename(lab, pod, other, pod.interface)


def _rename(lab: "Lab", pod: LabPod, old: str, new: str) -> None:
    lab.world.ip(pod.key, f"link set {old} down", f"link set {old} name {new}", f"link set {new} up")


@fault(
    "address-changed",
    breaks="the pod's lhnet1 holds another, free address of the range instead of the granted one",
    targets=("pod",),
    findings=(("address-mismatch", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def address_changed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    network = IPv4Network(lab.plan.range)
    taken = {other.storage_address for other in lab.world.pods}
    free = next(str(host) for host in reversed(list(network.hosts())) if str(host) not in taken)
    granted, wrong = lab.world.storage_interface_address(pod), f"{free}/{network.prefixlen}"
    lab.world.ip(pod.key, f"addr del {granted} dev {pod.interface}", f"addr add {wrong} brd + dev {pod.interface}")
    yield
    lab.world.ip(pod.key, f"addr del {wrong} dev {pod.interface}", f"addr add {granted} brd + dev {pod.interface}")


@fault(
    "route-deleted",
    breaks="the on-link route to the range over lhnet1 is deleted in the pod; its traffic leaves by eth0 and is lost",
    targets=("pod",),
    findings=(("route-missing", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def route_deleted(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    route = f"{IPv4Network(lab.plan.range)} dev {pod.interface} proto kernel scope link src {pod.storage_address}"
    lab.world.ip(pod.key, f"route del {route}")
    yield
    lab.world.ip(pod.key, f"route add {route}")


@fault(
    "route-shadowed",
    breaks="the part of the range that holds the peer's address is routed over eth0 in the pod",
    targets=("pod", "peer"),
    findings=(("route-shadowed", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def route_shadowed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod, peer = lab.pair(aim)
    gateway = lab.node(pod.node).gateway
    lab.world.ip(pod.key, f"route add {peer.storage_address}/32 via {gateway} dev eth0")
    yield
    lab.world.ip(pod.key, f"route del {peer.storage_address}/32 via {gateway} dev eth0")


@fault(
    "namespace-hidden",
    breaks="the pod's file under /run/netns of its node is unmounted and left empty; the pod itself runs on",
    targets=("pod",),
    findings=(("namespace-not-found", "subject"),),
)
async def namespace_hidden(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    lab.world.hide_namespace(pod.key)
    yield
    lab.world.show_namespace(pod.key)
