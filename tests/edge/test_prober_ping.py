"""Pings on a real segment, and what the prober says when it may not open raw sockets at all."""

import json
from collections.abc import AsyncIterator

import pytest
from meshworld import MeshWorld, Pod, needs_root, open_prober, open_world, plan_of
from nsworld import needs_namespaces, python, without

from agent.edge.prober import Prober
from agent.model.probe import ProbeKind, ProbeResult, Reason

pytestmark = [pytest.mark.root, needs_root]


@pytest.fixture
async def world() -> AsyncIterator[MeshWorld]:
    async with open_world() as world:
        yield world


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with open_prober() as prober:
        yield prober


@pytest.fixture
def source(world: MeshWorld) -> Pod:
    return world.add("source", "192.168.0.2", "fd00:5::2")


@pytest.fixture
def target(world: MeshWorld) -> Pod:
    return world.add("target", "192.168.0.3", "fd00:5::3")


async def ping(prober: Prober, source: Pod, target: Pod | str, **other: object) -> ProbeResult:
    (result,) = await prober.probe([plan_of(source, target, kind=ProbeKind.PING, port=0, **other)])
    return result


@pytest.mark.parametrize("version", [4, 6])
async def test_the_port_is_filtered_but_the_peer_answers_ping(prober, source, target, version) -> None:
    target.drop_input("meta l4proto tcp")
    result = await ping(prober, source, target, version=version)
    assert result.reason is Reason.OK
    assert result.rtt_seconds is not None
    assert 0 < result.rtt_seconds < 1


@pytest.mark.parametrize("version", [4, 6])
async def test_nobody_answers(prober, source, target, version) -> None:
    target.drop_input("icmp type echo-request" if version == 4 else "icmpv6 type echo-request")
    result = await ping(prober, source, target, version=version, timeout_seconds=0.5)
    assert (result.reason, result.detail) == (Reason.TIMEOUT, "no echo within 0.5 s")
    assert result.rtt_seconds is None


async def test_a_router_on_the_way_says_unreachable(prober, source, target) -> None:
    target.nft(
        "table inet t { chain c { type filter hook input priority 0; icmp type echo-request reject with icmp type host-unreachable; }; }"
    )
    result = await ping(prober, source, target)
    assert (result.reason, result.detail) == (Reason.NO_ROUTE, "EHOSTUNREACH")


async def test_the_pod_has_no_route(prober, source, target) -> None:
    """An IPv4 echo is bound to the device and goes out all the same: it asks for the segment, not for the pod's routing."""
    for version in (4, 6):
        source.ip(f"-{version}", "route", "flush", "dev", "lhnet1")
    assert (await ping(prober, source, target, version=4)).ok
    result = await ping(prober, source, target, version=6)
    assert (result.reason, result.detail) == (Reason.NET_UNREACHABLE, "ENETUNREACH")


@pytest.mark.parametrize("version", [4, 6])
async def test_the_pod_does_not_own_its_granted_address(prober, source, target, version) -> None:
    source.ip(f"-{version}", "address", "flush", "dev", "lhnet1")
    result = await ping(prober, source, target, version=version)
    assert (result.reason, result.detail) == (Reason.NO_SOURCE_ADDRESS, "EADDRNOTAVAIL")


async def test_the_interface_is_missing(prober, source, target) -> None:
    result = await ping(prober, source, target, interface="lhnet9")
    assert (result.reason, result.detail) == (Reason.NOT_PROBED, "ENODEV")


async def test_fifty_pings_at_once_do_not_take_each_others_answers(prober, source, target) -> None:
    """Half of them go to an address that nobody has."""
    plans = [
        plan_of(source, target if number % 2 else "192.168.0.77", kind=ProbeKind.PING, port=0, timeout_seconds=1.0) for number in range(50)
    ]
    results = await prober.probe(plans)
    assert [result.ok for result in results] == [bool(number % 2) for number in range(50)]
    assert {result.reason for result in results if not result.ok} <= {Reason.TIMEOUT, Reason.NO_ROUTE}


WITHOUT_RAW_SOCKETS = """
import asyncio, json, sys
from ipaddress import ip_address
from agent.edge.netns import Entrance
from agent.edge.prober import Prober
from agent.model.net import NamespaceFile
from agent.model.probe import ProbeKind, ProbePlan

path, cookie, device, inode = sys.argv[1], *map(int, sys.argv[2:5])
file = NamespaceFile(path=path, cookie=cookie, device=device, inode=inode)

def plan(kind):
    return ProbePlan(key=("", ""), kind=kind, namespace=file, interface="lhnet1", source_address=ip_address("192.168.0.2"),
                     target_address=ip_address("192.168.0.3"), port=8500, timeout_seconds=0.5)

entrance = Entrance()
prober = Prober(entrance=entrance, own_delay_seconds=30)
results = asyncio.run(prober.probe([plan(ProbeKind.TCP), plan(ProbeKind.PING)]))
prober.close()
entrance.close()
print(json.dumps([[result.reason, result.detail] for result in results]))
"""


def run_without(source: Pod, *capabilities: str) -> list[list[str]]:
    file = source.file
    done = python(WITHOUT_RAW_SOCKETS, file.path, str(file.cookie), str(file.device), str(file.inode), before=without(*capabilities))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_namespaces[1]
async def test_without_cap_net_raw(source, target) -> None:
    """TCP goes on; what needs raw sockets says that it was not asked, and blames nobody."""
    target.drop_input("tcp dport 8500")
    assert run_without(source, "net_raw") == [
        ["timeout", "no answer within 0.5 s; not asked: EPERM (CAP_NET_RAW is missing)"],
        ["not_probed", "EPERM (CAP_NET_RAW is missing)"],
    ]


@needs_namespaces[1]
async def test_without_cap_sys_admin(source, target) -> None:
    results = run_without(source, "sys_admin")
    assert [reason for reason, _ in results] == ["not_probed", "not_probed"]
    assert all("CAP_SYS_ADMIN is missing" in detail for _, detail in results)
