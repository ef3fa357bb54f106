"""What is read of a namespace is what iproute2 shows of it, at the cost of one socket that is gone afterwards."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from nsworld import NsWorld, descriptors, needs_namespaces, nsworld, wait_for

from agent.edge import netlink
from agent.edge.netlink import read_addresses, read_namespace
from agent.edge.netns import Entrance, cookie_here, scan
from agent.model.net import NamespaceFacts, NamespaceFile, Rule

PATIENCE = 60


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NsWorld]:
    """A node and a storage pod as Harvester's CNI would leave it, with more routes than it needs."""
    with nsworld(tmp_path / "netns") as made:
        made.add("node", "pod")
        made.veth("pod", "eth0", peer="node", peer_link="veth0")
        made.veth("pod", "lhnet1", peer="node", peer_link="veth1")
        made.ip(
            "pod",
            "link set lhnet1 address 0a:58:c0:a8:00:05 mtu 9000",
            "addr add 10.52.0.7/32 dev eth0",
            "addr add 192.168.0.5/24 dev lhnet1",
            "addr add 192.168.0.6/24 dev lhnet1",
            "addr add fd00:5::5/64 dev lhnet1 nodad",
            "route add 10.52.0.1 dev eth0 scope link",
            "route add default via 10.52.0.1 dev eth0 metric 50",
            "route add 192.168.9.0/24 via 192.168.0.1 src 192.168.0.6",
            "route add 172.16.0.0/12 nexthop via 192.168.0.1 weight 1 nexthop via 192.168.0.2 weight 2",
            "route add blackhole 10.99.0.0/16",
            "route add unreachable 10.98.0.0/16",
            "route add prohibit 10.97.0.0/16 metric 7",
            "route add 10.55.0.0/16 via 192.168.0.254 table 100",
            "route add 10.56.0.0/16 via inet6 fd00:5::1 dev lhnet1 table 4000",
            "-6 route add fd00:9::/64 via fd00:5::1 dev lhnet1",
            "-6 route add blackhole fd00:bad::/32",
            "rule add from 192.168.0.0/24 lookup 100 priority 1000",
            "rule add to 10.1.0.0/16 iif eth0 fwmark 0x10/0xff blackhole priority 1001",
            "rule add not from 10.2.0.0/16 ipproto tcp dport 9500-9504 lookup 4000 priority 1002",
            "rule add lookup main suppress_prefixlength 0 priority 1003",
            "-6 rule add from fd00:5::/64 oif lhnet1 lookup 100 priority 1000",
            "neigh add 192.168.0.77 lladdr 0a:58:c0:a8:00:4d dev lhnet1",
            "neigh add fd00:5::77 lladdr 0a:58:c0:a8:00:4e dev lhnet1 nud stale",
        )
        yield made


@pytest.fixture
async def entrance() -> AsyncIterator[Entrance]:
    """Each test also asserts that no descriptor stays open and that the thread is home."""
    open_before = descriptors()
    made = Entrance()
    yield made
    assert await asyncio.wrap_future(made.submit(cookie_here)) == cookie_here()
    made.close()
    assert descriptors() == open_before


async def find(world: NsWorld, entrance: Entrance, name: str = "pod") -> NamespaceFile:
    result = await asyncio.wrap_future(scan([str(world.directory)], entrance))
    return next(file for file in result.files if file.path == str(world.directory / name))


def state_of(world: NsWorld, name: str, link: str) -> str:
    return next(entry["operstate"] for entry in world.ask(name, "link") if entry["ifname"] == link)


def root_only(test: Callable[..., Any]) -> Callable[..., Any]:
    for mark in needs_namespaces:
        test = mark(test)
    return test


@root_only
async def test_links_are_those_of_ip_link(world: NsWorld, entrance: Entrance) -> None:
    wait_for(lambda: {state_of(world, "pod", "eth0"), state_of(world, "pod", "lhnet1")} == {"UP"})
    facts = await read_namespace(entrance, await find(world, entrance))
    shown = {entry["ifname"]: entry for entry in world.ask("pod", "-s", "-d", "link")}

    assert {link.name for link in facts.links} == set(shown) >= {"lo", "eth0", "lhnet1"}
    for link in facts.links:
        entry = shown[link.name]
        assert (link.index, link.mac, link.mtu_bytes) == (entry["ifindex"], entry["address"], entry["mtu"])
        assert link.operstate == entry["operstate"].lower()
        assert (link.up, link.carrier) == ("UP" in entry["flags"], "LOWER_UP" in entry["flags"])
        assert link.kind == entry.get("linkinfo", {}).get("info_kind")
        assert (link.peer_index, link.peer_netnsid) == (entry.get("link_index"), entry.get("link_netnsid"))
        # The counters go on; what was read before cannot be more than what was read after.
        assert link.transmit.packets <= entry["stats64"]["tx"]["packets"]
        assert link.receive.bytes <= entry["stats64"]["rx"]["bytes"]


@root_only
async def test_a_veth_names_its_other_end(world: NsWorld, entrance: Entrance) -> None:
    pod, node = [await read_namespace(entrance, await find(world, entrance, name)) for name in ("pod", "node")]
    lhnet1, veth1 = pod.link("lhnet1"), node.link("veth1")

    assert lhnet1 is not None
    assert veth1 is not None
    assert (lhnet1.kind, lhnet1.mac, lhnet1.mtu_bytes) == ("veth", "0a:58:c0:a8:00:05", 9000)
    assert (lhnet1.peer_index, veth1.peer_index) == (veth1.index, lhnet1.index)
    assert None not in (lhnet1.peer_netnsid, veth1.peer_netnsid)


@root_only
async def test_a_bridge_port_names_its_bridge_and_a_link_without_carrier_is_down(world: NsWorld, entrance: Entrance) -> None:
    world.ip("node", "link add storage-br type bridge", "link set storage-br up", "link set veth1 master storage-br")
    world.ip("pod", "link set lhnet1 down")
    node = await read_namespace(entrance, await find(world, entrance, "node"))
    bridge, port = node.link("storage-br"), node.link("veth1")

    assert bridge is not None
    assert port is not None
    assert (bridge.kind, port.master_index) == ("bridge", bridge.index)
    assert (port.up, port.carrier) == (True, False)
    # The kernel puts the operational state right some time after the carrier.
    wait_for(lambda: state_of(world, "node", "veth1") in ("DOWN", "LOWERLAYERDOWN"))
    port = (await read_namespace(entrance, await find(world, entrance, "node"))).link("veth1")
    assert port is not None
    assert port.operstate in ("down", "lowerlayerdown")  # older kernels tell the second also of a peer elsewhere


@root_only
async def test_counters_count_what_passed(world: NsWorld, entrance: Entrance) -> None:
    file = await find(world, entrance)

    def say_three_times() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(3):
                sock.sendto(b"x" * 100, ("127.0.0.1", 9))

    before = (await read_namespace(entrance, file, wants=frozenset({"links"}))).link("lo")
    await asyncio.wrap_future(entrance.call(file, say_three_times))
    after = (await read_namespace(entrance, file, wants=frozenset({"links"}))).link("lo")
    assert before is not None
    assert after is not None
    assert after.transmit.packets >= before.transmit.packets + 3
    assert after.receive.bytes >= before.receive.bytes + 300


@root_only
async def test_addresses_are_those_of_ip_addr(world: NsWorld, entrance: Entrance) -> None:
    facts = await read_namespace(entrance, await find(world, entrance))
    shown = {
        (entry["ifindex"], f"{info['local']}/{info['prefixlen']}", info["scope"], bool(info.get("tentative")))
        for entry in world.ask("pod", "addr")
        for info in entry["addr_info"]
    }

    told = {(found.link_index, str(found.interface), found.scope, found.tentative) for found in facts.addresses}
    # Duplicate address detection of the link-local addresses may end between the two readings.
    assert {entry[:3] for entry in told} == {entry[:3] for entry in shown}
    lhnet1 = facts.link("lhnet1")
    assert lhnet1 is not None
    mine = [str(found.interface) for found in facts.addresses_of(lhnet1) if found.scope == "global"]
    assert mine == ["192.168.0.5/24", "192.168.0.6/24", "fd00:5::5/64"]


@root_only
async def test_an_address_under_duplicate_detection_is_tentative(world: NsWorld, entrance: Entrance) -> None:
    # Without carrier the detection never gets to its end.
    world.ip("node", "link set veth1 down")
    world.ip("pod", "addr add fd00:6::6/64 dev lhnet1")
    facts = await read_namespace(entrance, await find(world, entrance), wants=frozenset({"addresses"}))
    assert {str(found.interface): found.tentative for found in facts.addresses}["fd00:6::6/64"] is True


def shown_routes(world: NsWorld) -> set[tuple[str, str, str | None, str | None, int, str]]:
    told = set()
    for family, anywhere in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for entry in world.ask("pod", family, "-N", "-d", "route", "show", "table", "all"):
            table = str(entry.get("table", "254"))
            if table == "255" or entry["type"] in ("2", "3", "4", "5", "local", "broadcast", "anycast", "multicast"):
                continue
            to = str(ip_network(anywhere if entry["dst"] == "default" else entry["dst"]))
            for hop in entry.get("nexthops", [entry]):
                via = hop.get("gateway") or hop.get("via", {}).get("host")
                # iproute2 names lo for a blackhole of IPv6, as the kernel does.
                dev = None if hop.get("dev") == "lo" else hop.get("dev")
                told.add((to, table, via, dev, int(entry.get("metric", 0)), str(entry["protocol"])))
    return told


@root_only
async def test_routes_are_those_of_ip_route_in_all_tables_but_local(world: NsWorld, entrance: Entrance) -> None:
    facts = await read_namespace(entrance, await find(world, entrance))
    numbers = {"kernel": "2", "boot": "3", "static": "4", "ra": "9"}
    told = set()
    for route in facts.routes:
        link = facts.link_at(route.link_index)
        via = None if route.via is None else str(route.via)
        protocol = numbers[route.protocol]
        told.add((str(route.to), str(route.table), via, link.name if link else None, route.metric, protocol))

    assert told == shown_routes(world)
    assert all(route.table != 255 for route in facts.routes)


@root_only
async def test_each_kind_of_route_says_what_it_is(world: NsWorld, entrance: Entrance) -> None:
    facts = await read_namespace(entrance, await find(world, entrance))
    of = {str(route.to): route for route in facts.routes}
    lhnet1 = facts.link("lhnet1")
    assert lhnet1 is not None

    assert [(of[to].kind, of[to].link_index) for to in ("10.99.0.0/16", "10.98.0.0/16", "10.97.0.0/16", "fd00:bad::/32")] == [
        ("blackhole", None),
        ("unreachable", None),
        ("prohibit", None),
        ("blackhole", None),
    ]
    assert (of["0.0.0.0/0"].via, of["0.0.0.0/0"].metric) == (ip_address("10.52.0.1"), 50)
    assert (of["10.52.0.1/32"].scope, of["10.52.0.1/32"].via) == ("link", None)
    assert (of["192.168.0.0/24"].protocol, of["192.168.0.0/24"].source) == ("kernel", ip_address("192.168.0.5"))
    assert of["192.168.9.0/24"].source == ip_address("192.168.0.6")
    assert (of["10.55.0.0/16"].table, of["10.56.0.0/16"].table) == (100, 4000)
    assert of["10.56.0.0/16"].via == ip_address("fd00:5::1")
    several = [(str(route.via), route.link_index) for route in facts.routes if str(route.to) == "172.16.0.0/12"]
    assert several == [("192.168.0.1", lhnet1.index), ("192.168.0.2", lhnet1.index)]


@root_only
async def test_rules_say_whom_they_are_for(world: NsWorld, entrance: Entrance) -> None:
    facts = await read_namespace(entrance, await find(world, entrance))
    of = {(rule.family, rule.priority): rule for rule in facts.rules}

    assert of[4, 1000] == Rule(family=4, priority=1000, table=100, source=ip_network("192.168.0.0/24"))
    assert of[4, 1001] == Rule(
        family=4, priority=1001, action="blackhole", to=ip_network("10.1.0.0/16"), input_link="eth0", mark=0x10, mark_mask=0xFF
    )
    assert of[4, 1002] == Rule(family=4, priority=1002, table=4000, source=ip_network("10.2.0.0/16"), inverted=True, more=True)
    assert of[4, 1003] == Rule(family=4, priority=1003, table=254, more=True)
    assert of[6, 1000] == Rule(family=6, priority=1000, table=100, source=ip_network("fd00:5::/64"), output_link="lhnet1")
    assert [of[4, priority].table for priority in (0, 32766, 32767)] == [255, 254, 253]
    assert {(4, entry["priority"]) for entry in world.ask("pod", "-4", "rule")} == {key for key in of if key[0] == 4}
    assert {(6, entry["priority"]) for entry in world.ask("pod", "-6", "rule")} == {key for key in of if key[0] == 6}


@root_only
async def test_neighbours_are_told_with_state_and_mac(world: NsWorld, entrance: Entrance) -> None:
    facts = await read_namespace(entrance, await find(world, entrance), wants=frozenset({"neighbours"}))
    of = {str(found.address): (found.mac, found.state) for found in facts.neighbours}

    assert of["192.168.0.77"] == ("0a:58:c0:a8:00:4d", "permanent")
    assert of["fd00:5::77"] == ("0a:58:c0:a8:00:4e", "stale")
    assert facts == NamespaceFacts(neighbours=facts.neighbours)


@root_only
async def test_only_what_is_wanted_is_asked(world: NsWorld, entrance: Entrance) -> None:
    file = await find(world, entrance)
    for want in netlink.ALL:
        facts = await read_namespace(entrance, file, wants=frozenset({want}))
        assert [name for name in netlink.ALL if getattr(facts, name)] == [want]


@root_only
async def test_the_cheap_reading_tells_whose_the_namespace_is(world: NsWorld, entrance: Entrance) -> None:
    file = await find(world, entrance)
    cheap, full = await read_addresses(entrance, file), await read_namespace(entrance, file)

    assert {found.interface for found in cheap.addresses} == {found.interface for found in full.addresses}
    for name in ("lo", "eth0", "lhnet1"):
        mine, other = cheap.link(name), full.link(name)
        assert mine is not None
        assert other is not None
        assert (mine.index, mine.mac, mine.mtu_bytes) == (other.index, other.mac, other.mtu_bytes)
    assert cheap.routes == ()
