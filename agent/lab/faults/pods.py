"""More faults of one storage pod: what it was granted, its MAC, MTU, routes and address, and a port that accepts and resets."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING, Any

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.changes import added, changed, read, removed
from agent.lab.faults.listeners import listening, reset
from agent.lab.faults.network import PROBED_PORTS
from agent.lab.faults.pools import OLD_POOL
from agent.lab.objects_storage import WHEREABOUTS_NAMESPACE
from agent.lab.plan import NAD_NAME, NAD_NAMESPACE, LabPod
from agent.lab.whereabouts import API, POOL, RESERVATION, ipam_of
from agent.rules.netstatus import NETWORK_STATUS

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

SMALLER_BY_BYTES = 100
"""Of mtu-changed."""
OTHER_MAC_PREFIX = "2e:0f"
"""Of mac-changed: the rest of the MAC stays, so that people see which one it was."""
OLD_NETWORK = IPv4Network(OLD_POOL.replace("-", "/"))


def _storage_pod(aim: Aim) -> LabPod:
    if aim.pod is None or aim.pod.storage_address is None:
        raise FaultError("this fault needs a pod with a storage address")
    return aim.pod


@fault(
    "address-outside-range",
    breaks="the pod was started when the range was another and never made anew: annotation, kernel and the old pool agree on its address",
    targets=("pod",),
    findings=(("address-outside-range", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def address_outside_range(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    if OLD_NETWORK.overlaps(IPv4Network(lab.plan.range)):
        raise FaultError(f"the range {lab.plan.range} is the one that this fault calls the old one")
    old = str(OLD_NETWORK[2])
    granted, outside = lab.world.storage_interface_address(pod), f"{old}/{OLD_NETWORK.prefixlen}"
    async with _listed_in_old_pool(lab, pod, old), _told_otherwise(lab, pod, old):
        lab.world.ip(pod.key, f"addr del {granted} dev {pod.interface}", f"addr add {outside} brd + dev {pod.interface}")
        yield
        lab.world.ip(pod.key, f"addr del {outside} dev {pod.interface}", f"addr add {granted} brd + dev {pod.interface}")


@asynccontextmanager
async def _listed_in_old_pool(lab: "Lab", pod: LabPod, address: str) -> AsyncIterator[None]:
    """The pool of today's range does not list the pod, the one of the earlier range does; each with its reservation."""
    nad = await read(lab, "k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", NAD_NAME, namespace=NAD_NAMESPACE)
    ipam = ipam_of(nad["spec"]["config"])
    key = ipam.offset(ip_address(pod.storage_address or ""))
    entry = (await read(lab, API, POOL, ipam.pool, namespace=WHEREABOUTS_NAMESPACE))["spec"]["allocations"][key]
    offset = int(ip_address(address)) - int(OLD_NETWORK.network_address)
    async with AsyncExitStack() as stack:
        change: Json = {"spec": {"allocations": {key: None}}}
        await stack.enter_async_context(changed(lab, API, POOL, ipam.pool, change, namespace=WHEREABOUTS_NAMESPACE))
        await stack.enter_async_context(removed(lab, API, RESERVATION, pod.storage_address or "", namespace=WHEREABOUTS_NAMESPACE))
        pool = _object(POOL, OLD_POOL, {"range": str(OLD_NETWORK), "allocations": {str(offset): entry}})
        reservation = _object(RESERVATION, address, {"podref": pod.key, "ifname": pod.interface})
        await stack.enter_async_context(added(lab, pool, reservation))
        yield


def _object(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": WHEREABOUTS_NAMESPACE}, "spec": spec}


@asynccontextmanager
async def _told_otherwise(lab: "Lab", pod: LabPod, address: str) -> AsyncIterator[None]:
    """Multus' own annotation names this address."""
    held = await read(lab, "v1", "Pod", pod.name, namespace=pod.namespace)
    entries = json.loads(held["metadata"]["annotations"][NETWORK_STATUS])
    told = [{**entry, "ips": [address]} if entry.get("interface") == pod.interface else entry for entry in entries]
    change = {"metadata": {"annotations": {NETWORK_STATUS: json.dumps(told, indent=4)}}}
    async with changed(lab, "v1", "Pod", pod.name, change, namespace=pod.namespace):
        yield


@fault(
    "mac-changed",
    breaks="the pod's lhnet1 gets another MAC than the granted one; neighbours that know the old one learn it within seconds",
    targets=("pod",),
    findings=(("mac-mismatch", "subject"),),
)
async def mac_changed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    if pod.mac is None:
        raise FaultError(f"{pod.key} was granted no MAC")
    other = OTHER_MAC_PREFIX + pod.mac[len(OTHER_MAC_PREFIX) :]
    lab.world.ip(pod.key, f"link set {pod.interface} address {other}")
    yield
    lab.world.ip(pod.key, f"link set {pod.interface} address {pod.mac}")


@fault(
    "mtu-changed",
    breaks=f"the pod's lhnet1 has an MTU {SMALLER_BY_BYTES} bytes below the cluster network's; the host's end keeps its own",
    targets=("pod",),
    findings=(("mtu-mismatch", "subject"),),
)
async def mtu_changed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    lab.world.ip(pod.key, f"link set {pod.interface} mtu {lab.plan.mtu_bytes - SMALLER_BY_BYTES}")
    yield
    lab.world.ip(pod.key, f"link set {pod.interface} mtu {lab.plan.mtu_bytes}")


@fault(
    "routes-deleted",
    breaks="every route of the pod is gone, those over eth0 too; interfaces and addresses are as they were",
    targets=("pod",),
    findings=(("route-missing", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def routes_deleted(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    routes = [_line(route) for route in lab.world.ip_json(pod.key, "-4", "route", "show", "table", "main")]
    on_link_first = sorted(routes, key=lambda line: " via " in line)
    lab.world.ip(pod.key, *(f"route del {line}" for line in reversed(on_link_first)))
    yield
    lab.world.ip(pod.key, *(f"route add {line}" for line in on_link_first))


_WORDS = {"gateway": "via", "dev": "dev", "protocol": "proto", "scope": "scope", "prefsrc": "src", "metric": "metric"}


def _line(route: Json) -> str:
    """As `ip route` takes it, from what `ip -j route` gives."""
    return " ".join([str(route["dst"]), *(f"{word} {route[key]}" for key, word in _WORDS.items() if key in route)])


@fault(
    "source-address-gone",
    breaks="the granted address is taken off the pod's lhnet1, which stays up without any",
    targets=("pod",),
    findings=(("address-mismatch", "subject"), ("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def source_address_gone(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    pod = _storage_pod(aim)
    granted = lab.world.storage_interface_address(pod)
    lab.world.ip(pod.key, f"addr del {granted} dev {pod.interface}")
    yield
    lab.world.ip(pod.key, f"addr add {granted} brd + dev {pod.interface}")


@fault(
    "peer-resets",
    breaks="what listens on the peer's probed port accepts each connection and resets it at once",
    targets=("peer",),
    findings=(("peer-port-closed", "observers"),),
)
async def peer_resets(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    peer = lab.peer(aim)
    port = PROBED_PORTS.get(peer.role) if peer.role else None
    if port is None:
        raise FaultError(f"nobody probes a port of {peer.key}")
    lab.world.close_ports(peer.key, [port])
    async with listening("::", port, netns=lab.world.netns(peer.key), talk=reset):
        yield
    lab.world.open_ports(peer.key, [port])
