"""Faults between pods: a closed port, a filter, a cable in the wrong segment."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.wiring import SEGMENT_A, SEGMENT_B, SWITCH, port_number
from agent.model.peers import Role

if TYPE_CHECKING:
    from agent.lab.lab import Lab

PROBED_PORTS = {Role.INSTANCE_MANAGER: 8500, Role.BACKING_IMAGE_MANAGER: 8000}


@fault(
    "port-closed",
    breaks="the port that agents probe (8500 of an instance-manager, 8000 of a backing-image-manager) is closed in the peer",
    targets=("peer",),
    findings=(("peer-port-closed", "observers"),),
)
async def port_closed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    peer = lab.peer(aim)
    port = PROBED_PORTS.get(peer.role) if peer.role else None
    if port is None:
        raise FaultError(f"nobody probes a port of {peer.key}")
    lab.world.close_ports(peer.key, [port])
    yield
    lab.world.open_ports(peer.key, [port])


@fault(
    "packets-dropped",
    breaks="a filter in the peer drops what others send to it over the storage network (all others, or --pod alone); ARP is answered",
    targets=("pod", "peer"),
    findings=(("peer-unreachable", "observers"),),
    from_everybody=True,
)
async def packets_dropped(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    peer = lab.peer(aim)
    source = f"ip saddr {aim.pod.storage_address} " if aim.pod is not None else ""
    table = "lab_drop" + (f"_{(aim.pod.storage_address or '').replace('.', '_')}" if aim.pod is not None else "")
    every = f'iifname "{peer.interface}" {source}'
    lab.world.nft(
        peer.key,
        f"table inet {table} {{ chain input {{ type filter hook input priority 0; policy accept;\n"
        f"{every}tcp flags & (syn | ack) == syn drop\n{every}icmp type echo-request drop\n{every}meta l4proto udp drop\n}}\n}}\n",
    )
    yield
    lab.world.nft(peer.key, f"delete table inet {table}\n")


@fault(
    "segment-moved",
    breaks="the node's storage cable is plugged into another segment of the switch: carrier stays, nobody answers ARP",
    targets=("node",),
    findings=(("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def segment_moved(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    if aim.node is None:
        raise FaultError("this fault needs a node")
    port = f"s{port_number(aim.node)}"
    lab.world.move_port(SWITCH, port, bridge=SEGMENT_B)
    yield
    lab.world.move_port(SWITCH, port, bridge=SEGMENT_A)
