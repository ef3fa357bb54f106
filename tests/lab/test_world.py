"""The lab's network by itself, without agents: what is built, that each fault is mended exactly, and that nothing is left."""

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from labtools import missing_for_a_lab

from agent.lab import kernel
from agent.lab.lab import Lab, LabOptions
from agent.lab.manifest import DEFAULT_FOLDER
from agent.lab.plan import BRIDGE, LabPod, make_plan
from agent.lab.repertoire import FAULTS
from agent.lab.wiring import SWITCH, host_veth
from agent.lab.world import World
from agent.model.peers import Role

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing_for_a_lab()), reason=missing_for_a_lab() or "-")]

ANSWER_SECONDS = 10.0
GONE_SECONDS = 20.0
NO_ROUTE = r"\[Errno 113\]"
NETWORK_FAULTS = [name for name, fault in FAULTS.items() if fault.family in ("interfaces", "network", "hostpath")]


async def _lab(*, nodes: int, folder: Path) -> Lab:
    for name in ("logs", "nodes"):
        (folder / name).mkdir()
    lab = Lab(LabOptions(folder=folder, plan=make_plan(nodes=nodes), manifests=DEFAULT_FOLDER))
    await lab.world.build()
    return lab


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    """Three nodes with their pods, and neither API nor agents."""
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as folder:
        built = None
        try:
            built = await _lab(nodes=3, folder=Path(folder))
            yield built
        finally:
            if built is not None:
                await built.world.close()


def managers(world: World) -> list[LabPod]:
    return [pod for pod in world.pods if pod.role is Role.INSTANCE_MANAGER]


async def connect(world: World, source: LabPod, address: str, port: int) -> None:
    """From the pod's storage address. Raises OSError or TimeoutError."""
    with kernel.inside(world.netns(source.key)):
        sock = socket.socket()
    with sock:
        sock.setblocking(False)
        sock.bind((source.storage_address or "", 0))
        async with asyncio.timeout(ANSWER_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))


def read_sysctl(world: World, place: str, name: str) -> str:
    with kernel.inside(world.netns(place)):
        return Path("/proc/sys", name).read_text().strip()


async def http_get(world: World, source: LabPod, address: str, path: str) -> bytes:
    with kernel.inside(world.netns(source.key)):
        sock = socket.socket()
    with sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(ANSWER_SECONDS):
            await loop.sock_connect(sock, (address, 6060))
            await loop.sock_sendall(sock, f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            answer = b""
            while chunk := await loop.sock_recv(sock, 4096):
                answer += chunk
    return answer


@pytest.mark.parametrize("nodes", [1, 2, 5, 12])
async def test_every_pod_reaches_every_other_over_the_storage_network(nodes: int, tmp_path: Path) -> None:
    lab = await _lab(nodes=nodes, folder=tmp_path)
    try:
        for source in managers(lab.world):
            peers = [pod for pod in lab.world.pods if pod.storage_address and pod is not source]
            await asyncio.gather(*(connect(lab.world, source, str(peer.storage_address), peer.ports[0]) for peer in peers))
    finally:
        await lab.world.close()


async def test_pods_look_as_on_a_harvester_node(lab: Lab) -> None:
    pod = managers(lab.world)[0]
    links = {link["ifname"]: link for link in lab.world.ip_json(pod.key, "-d", "addr")}
    host = {link["ifname"]: link for link in lab.world.ip_json(pod.node, "-d", "addr")}
    veth = host[host_veth(pod, "lhnet1")]
    assert links["lhnet1"]["address"] == pod.mac
    assert links["lhnet1"]["link_index"] == veth["ifindex"]
    assert (links["lhnet1"]["mtu"], links["eth0"]["mtu"]) == (1500, 1450)
    assert [info["local"] for info in links["lhnet1"]["addr_info"] if info["family"] == "inet"] == [pod.storage_address]
    assert veth["master"] == host["ens5"]["master"] == BRIDGE
    routes = {route["dst"]: route for route in lab.world.ip_json(pod.key, "route")}
    assert routes["default"]["dev"] == "eth0"
    assert routes["192.168.0.0/24"]["dev"] == "lhnet1"
    assert routes["192.168.0.0/24"]["prefsrc"] == pod.storage_address


async def test_the_ports_behave_like_longhorns(lab: Lab) -> None:
    source, peer = managers(lab.world)[:2]
    for port in peer.ports:
        await connect(lab.world, source, str(peer.storage_address), port)
    assert (await http_get(lab.world, source, str(peer.storage_address), "/")).endswith(b"\r\n\r\n404 page not found\n")
    assert b"longhorn-instance-manager" in await http_get(lab.world, source, str(peer.storage_address), "/debug/pprof/cmdline")
    with pytest.raises(ConnectionRefusedError):
        await connect(lab.world, source, str(peer.storage_address), 9)


async def test_run_netns_of_a_node_holds_its_pods_and_what_a_long_life_leaves_there(lab: Lab) -> None:
    """Two storage pods, a tenant's, a dead pod with a live pod's address, and an empty file; none of it on the machine."""
    node = lab.world.nodes[0]
    folder = f"/proc/{lab.world.node_process(node.name).pid}/root/run/netns"
    nsfs = os.stat("/proc/self/ns/net").st_dev
    kinds = {name: os.stat(f"{folder}/{name}").st_dev == nsfs for name in os.listdir(folder)}
    assert {pod.netns_name for pod in lab.world.pods if pod.node == node.name} < set(kinds)
    assert sorted(kinds.values()) == [False, True, True, True, True]
    assert not set(kinds) & set(os.listdir("/run/netns") if os.access("/run/netns", os.R_OK) else ())


async def test_bridged_frames_do_not_pass_the_hosts_filters(lab: Lab) -> None:
    assert read_sysctl(lab.world, "harv41", "net/bridge/bridge-nf-call-iptables") == "0"


@pytest.mark.parametrize("name", NETWORK_FAULTS)
async def test_a_fault_changes_something_and_its_end_restores_exactly_that(lab: Lab, name: str) -> None:
    before = picture(lab.world)
    await lab.inject(name)
    assert picture(lab.world) != before
    await lab.clear(name)
    await restored(lab.world, before)


async def test_faults_on_two_pods_are_cleared_together_last_one_first(lab: Lab) -> None:
    before = picture(lab.world)
    for node in ("harv41", "harv43"):
        await lab.inject("link-down", node=node)
    await lab.inject("address-changed", node="harv42")
    cleared = await lab.clear()
    assert [one.fault.name for one in cleared] == ["address-changed", "link-down", "link-down"]
    await restored(lab.world, before)


async def test_a_replaced_pod_keeps_its_name_and_nothing_else(lab: Lab) -> None:
    """As Longhorn re-creates an instance-manager: same name, other UID, namespace, MAC and address. The old one is silent."""
    old, other = managers(lab.world)[:2]
    new = lab.world.replace_pod(old.key, storage_address="192.168.0.99")
    assert new.key == old.key
    assert new.uid != old.uid
    assert new.netns_name != old.netns_name
    await connect(lab.world, other, "192.168.0.99", 8500)
    await _eventually(lambda: host_veth(old, "lhnet1") not in _names(lab.world, old.node))
    with pytest.raises(OSError, match=NO_ROUTE):
        await connect(lab.world, other, str(old.storage_address), 8500)


async def test_a_node_without_power_is_gone_and_comes_back_with_its_pods(lab: Lab) -> None:
    source, gone = managers(lab.world)[0], managers(lab.world)[2]
    pods = lab.world.plan_pods_on("harv43")
    await lab.world.remove_node("harv43")
    await _eventually(lambda: not {"m43", "s43"} & _names(lab.world, SWITCH))
    with pytest.raises(OSError, match=NO_ROUTE):
        await connect(lab.world, source, str(gone.storage_address), 8500)
    await lab.world.add_node(lab.plan.nodes[2], pods)
    await connect(lab.world, source, str(gone.storage_address), 8500)


def picture(world: World) -> dict[str, Any]:
    """Everything that a fault may touch, as the kernel tells it; counters and what IPv6 does by itself are left out."""
    places = [SWITCH, *(node.name for node in world.nodes), *(pod.key for pod in world.pods)]
    result: dict[str, Any] = {place: _picture_of(world, place) for place in places}
    for node in world.nodes:
        root = f"/proc/{world.node_process(node.name).pid}/root/run/netns"
        result[f"files of {node.name}"] = sorted((name, os.stat(f"{root}/{name}").st_ino) for name in os.listdir(root))
    return result


async def restored(world: World, before: dict[str, Any]) -> None:
    """The kernel tells a bridge's carrier a moment later."""
    with suppress(TimeoutError):
        await _eventually(lambda: picture(world) == before)
    assert picture(world) == before


def _picture_of(world: World, place: str) -> dict[str, Any]:
    links = [
        {key: link.get(key) for key in ("ifindex", "ifname", "address", "mtu", "operstate", "master", "link_index")}
        | {"flags": sorted(link["flags"])}
        | {"inet": [(info["local"], info["prefixlen"], info.get("broadcast")) for info in link["addr_info"] if info["family"] == "inet"]}
        for link in world.ip_json(place, "-d", "addr")
    ]
    with kernel.inside(world.netns(place)):
        filters = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        ports = sorted(
            line.split()[1] for line in Path("/proc/thread-self/net/tcp6").read_text().splitlines()[1:] if line.split()[3] == "0A"
        )
    return {
        "links": links,
        "routes": sorted(map(str, world.ip_json(place, "-4", "route", "show", "table", "all"))),
        "rules": world.ip_json(place, "rule"),
        "filters": filters,
        "ports": ports,
        "bridge filters": read_sysctl(world, place, "net/bridge/bridge-nf-call-iptables"),
    }


def _names(world: World, place: str) -> set[str]:
    return {link["ifname"] for link in world.ip_json(place, "link")}


async def _eventually(condition: Any) -> None:
    async with asyncio.timeout(GONE_SECONDS):
        while not condition():  # noqa: ASYNC110  # the kernel sets no event
            await asyncio.sleep(0.05)
