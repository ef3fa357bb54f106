"""Faults of what lies between the nodes: the storage switch, and a filter that lets only one way through.

Management works in all of them. Whole networks are broken here; one node's cable is in `network`, its own side in `hostpath`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.plan import LabNode
from agent.lab.wiring import SEGMENT_A, SEGMENT_B, STORAGE_NIC, SWITCH, port_number

if TYPE_CHECKING:
    from agent.lab.lab import Lab

FEWEST_TO_SPLIT = 4
"""Fewer leave one node alone on its side, which is a cut-off node."""


def _port(node: LabNode) -> str:
    return f"s{port_number(node)}"


@fault(
    "switch-split",
    breaks="the second half of the nodes (of four or more) hangs on a storage switch that has lost its link to the first: carrier stays",
    findings=(("network-split", "cluster"), ("peer-unreachable", "observers")),
)
async def switch_split(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    nodes = lab.world.nodes
    if len(nodes) < FEWEST_TO_SPLIT:
        raise FaultError(f"this fault needs {FEWEST_TO_SPLIT} nodes: lhnet-agent lab up --nodes {FEWEST_TO_SPLIT}")
    away = nodes[(len(nodes) + 1) // 2 :]
    _plug(lab, away, segment=SEGMENT_B)
    yield
    _plug(lab, away, segment=SEGMENT_A)


def _plug(lab: "Lab", nodes: Sequence[LabNode], *, segment: str) -> None:
    for node in nodes:
        lab.world.move_port(SWITCH, _port(node), bridge=segment)


@fault(
    "network-dead",
    breaks="the storage switch has lost its power: every node's storage NIC is without carrier; management works",
    findings=(("network-down", "cluster"), ("uplink-down", "subject"), ("peer-unreachable", "observers")),
)
async def network_dead(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    ports = [_port(node) for node in lab.world.nodes]
    lab.world.ip(SWITCH, *(f"link set {port} down" for port in ports))
    yield
    lab.world.ip(SWITCH, *(f"link set {port} up" for port in ports))


@fault(
    "switch-hung",
    breaks="the storage switch forwards nothing any more and keeps its links up: carrier everywhere, no packet between nodes",
    findings=(("network-down", "cluster"), ("peer-unreachable", "observers")),
)
async def switch_hung(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    lab.world.set_link(SWITCH, SEGMENT_A, up=False)
    yield
    lab.world.set_link(SWITCH, SEGMENT_A, up=True)


@fault(
    "one-way-filter",
    breaks="a filter on the storage bridge of the peer's node drops what the pod's node begins (connections, pings); answers and ARP pass",
    targets=("pod", "peer"),
    findings=(("one-way", "cluster"), ("peer-unreachable", "subject")),
)
async def one_way_filter(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    source, peer = lab.pair(aim)
    senders = ", ".join(pod.storage_address for pod in lab.world.plan_pods_on(source.node) if pod.storage_address)
    if source.node == peer.node:
        raise FaultError("this fault needs pods on two nodes")
    # Of the bridge family: packets need not pass iptables for it, so bridge-nf-call-iptables stays off.
    table = f"lab_one_way_{source.node}"
    lab.world.nft(
        peer.node,
        f"table bridge {table} {{ chain forward {{ type filter hook forward priority 0; policy accept;\n"
        + "".join(
            f'iifname "{STORAGE_NIC}" ip saddr {{ {senders} }} {begins} drop\n'
            for begins in ("tcp flags & (syn | ack) == syn", "icmp type echo-request", "meta l4proto udp")
        )
        + "}\n}\n",
    )
    yield
    lab.world.nft(peer.node, f"delete table bridge {table}\n")


@fault(
    "way-lost",
    breaks="the switch drops all packets between two nodes, as one bad member of an uplink's hash does; both reach all others",
    targets=("pod", "peer"),
    findings=(("peer-unreachable", "subject"), ("peer-unreachable", "observers")),
)
async def way_lost(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    source, peer = lab.pair(aim)
    one, other = (_port(lab.node(pod.node)) for pod in (source, peer))
    if one == other:
        raise FaultError("this fault needs pods on two nodes")
    table = f"lab_way_{one}_{other}"
    lab.world.nft(
        SWITCH,
        f"table bridge {table} {{ chain forward {{ type filter hook forward priority 0; policy accept;\n"
        f'iifname "{one}" oifname "{other}" drop\niifname "{other}" oifname "{one}" drop\n}}\n}}\n',
    )
    yield
    lab.world.nft(SWITCH, f"delete table bridge {table}\n")
