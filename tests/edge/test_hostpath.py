"""The host-path check on a real kernel: a node made of namespaces, whose bridge, uplink and pod's end are then broken for real."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nsworld import NsWorld, needs_namespaces, nsworld, wait_for

from agent.edge.host import find_indexes, read_host_network

PROGRAM = Path(__file__).with_name("hostpathworld.py")
NF = "net/bridge/bridge-nf-call-iptables"
NODE = "node"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NsWorld]:
    """A switch, and a node whose storage-br has the NIC ens5, the pod's veth and a VM's end. ens6 is there and unused."""
    with nsworld(tmp_path / "netns") as made:
        made.add("switch", NODE, "pod")
        made.veth("switch", "s5", peer=NODE, peer_link="ens5")
        made.veth("switch", "s6", peer=NODE, peer_link="ens6")
        made.veth("pod", "eth0", peer=NODE, peer_link="calia")
        made.veth("pod", "lhnet1", peer=NODE, peer_link="veth1")
        made.ip(
            NODE,
            "link add storage-br type bridge",
            "link set storage-br up",
            *(f"link set {port} master storage-br" for port in ("ens5", "veth1")),
        )
        made.ip("pod", "addr add 10.52.0.7/32 dev eth0", "addr add 192.168.0.2/24 dev lhnet1")
        _filters(made, "0")
        yield made


def _filters(world: NsWorld, value: str) -> None:
    world.run(NODE, "sh", "-c", f"test ! -e /proc/sys/{NF} || echo {value} > /proc/sys/{NF}")


def look(world: NsWorld, *nics: str) -> dict[str, Any]:
    """What one run of the check in the node says. `nics` are those of the VlanConfig."""
    told: dict[str, Any] = json.loads(world.run(NODE, sys.executable, str(PROGRAM), str(world.directory), *(nics or ("ens5",))))
    return told


def findings(world: NsWorld) -> list[tuple[str, str | None]]:
    return [(one["id"], one["reason"]) for one in look(world)["findings"]]


@needs_namespaces[0]
@needs_namespaces[1]
def test_a_healthy_node_is_drawn_as_it_is(world: NsWorld) -> None:
    told = look(world)
    assert told["findings"] == []
    path = told["host_path"]
    assert path["uplink"].items() >= {"name": "ens5", "kind": "veth", "up": True, "carrier": True, "mtu_bytes": 1500}.items()
    (veth,) = path["veths"]
    assert (veth["name"], veth["bridge"], veth["pod"]) == ("veth1", "storage-br", "longhorn-system/instance-manager-a")
    assert told["lines"][1].startswith("  lhnet1 – veth1 – storage-br – ens5")
    assert path["missing_nics"] == []


@needs_namespaces[0]
@needs_namespaces[1]
def test_a_pulled_cable_and_a_nic_set_down(world: NsWorld) -> None:
    world.ip("switch", "link set s5 down")
    wait_for(lambda: findings(world) == [("uplink-down", "no_carrier")])
    world.ip(NODE, "link set ens5 down")
    assert findings(world) == [("uplink-down", "admin_down")]
    world.ip(NODE, "link set ens5 up")
    world.ip("switch", "link set s5 up")
    wait_for(lambda: findings(world) == [])


@needs_namespaces[0]
@needs_namespaces[1]
def test_an_uplink_off_its_bridge_and_a_bridge_that_is_gone(world: NsWorld) -> None:
    world.ip(NODE, "link set ens5 nomaster")
    told = look(world)
    assert [(one["id"], one["reason"]) for one in told["findings"]] == [("uplink-missing", "not_attached")]
    assert "ens5 is there and on no bridge" in told["findings"][0]["summary"]
    world.ip(NODE, "link set storage-br down")
    assert findings(world) == [("bridge-missing", "admin_down")]
    world.ip(NODE, "link del storage-br")
    assert findings(world) == [("bridge-missing", "missing")]


@needs_namespaces[0]
@needs_namespaces[1]
def test_the_pods_end_on_no_bridge_on_another_one_and_out_of_the_host(world: NsWorld) -> None:
    world.ip(NODE, "link set veth1 nomaster")
    assert findings(world) == [("veth-detached", "no_bridge")]
    world.ip(NODE, "link add other-br type bridge", "link set veth1 master other-br")
    assert findings(world) == [("veth-detached", "other_bridge")]
    world.ip(NODE, "link set veth1 master storage-br", "link set veth1 down")
    assert findings(world) == [("veth-detached", "admin_down")]
    world.ip(NODE, f"link set veth1 netns {world.directory / 'switch'}")
    assert findings(world) == [("veth-detached", "gone")]


@needs_namespaces[0]
@needs_namespaces[1]
def test_one_port_with_a_smaller_mtu_is_named(world: NsWorld) -> None:
    world.ip(NODE, "link set ens5 mtu 1400")
    told = look(world)
    assert [(one["id"], one["reason"]) for one in told["findings"]] == [("mtu-chain", "nic")]
    assert "NIC ens5 has MTU 1400" in told["findings"][0]["summary"]


@needs_namespaces[0]
@needs_namespaces[1]
def test_a_nic_by_another_name_is_missing_unless_the_kernel_knows_the_old_one(world: NsWorld) -> None:
    world.ip(NODE, "link set ens6 down", "link set ens6 name enp6s0", "link set enp6s0 up")
    told = look(world, "ens5", "ens6")
    assert [one["id"] for one in told["findings"]] == ["nic-missing"]
    assert "names ens6" in told["findings"][0]["summary"]
    world.ip(NODE, "link property add dev enp6s0 altname ens6")
    assert look(world, "ens5", "ens6")["findings"] == []


@needs_namespaces[0]
@needs_namespaces[1]
def test_iptables_before_bridged_packets(world: NsWorld) -> None:
    if world.run(NODE, "sh", "-c", f"test -e /proc/sys/{NF}; echo $?").strip() != "0":
        pytest.skip("needs the kernel module br_netfilter")
    _filters(world, "1")
    assert [one for one, _ in findings(world)] == ["bridge-netfilter"]


def test_names_are_looked_up_by_the_kernel_and_those_that_cannot_be_asked_for_are_left_out() -> None:
    assert find_indexes(["lo", "nope0", "x" * 16, "", "a\0b"]) == {"lo": 1, "nope0": None}
    assert len(find_indexes(f"nope{i}" for i in range(500))) == 64


def test_the_hosts_network_is_read_in_one_go() -> None:
    told = read_host_network(["lo"])
    assert told.nic_indexes == {"lo": 1}
    assert all(speed > 0 for speed in told.speeds_mbits.values())
