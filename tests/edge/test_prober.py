"""TCP probes between pods on a real segment: each reason is provoked as it happens in the field."""

import asyncio
import errno
from collections.abc import AsyncIterator

import pytest
from meshworld import MeshWorld, Pod, gone, needs_root, open_prober, open_world, plan_of, quiet, resetting, run, stubborn, talkative, until

from agent.edge import prober_tcp
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


async def ask(prober: Prober, source: Pod, target: Pod | str, **other: object) -> ProbeResult:
    (result,) = await prober.probe([plan_of(source, target, **other)])
    return result


@pytest.mark.parametrize("version", [4, 6])
async def test_a_healthy_port_is_ok_with_the_kernels_latency(world, prober, source, target, version) -> None:
    address = target.addresses[0 if version == 4 else 1]
    await world.serve(target, 8500, quiet, address=address)
    result = await ask(prober, source, target, version=version)
    assert result.reason is Reason.OK
    assert result.rtt_seconds is not None
    assert 0 < result.rtt_seconds < 1
    assert result.duration_seconds is not None
    assert result.retransmits == 0
    assert result.detail is None


@pytest.mark.parametrize("server", [quiet, talkative, stubborn])
async def test_no_kind_of_peer_is_left_with_half_a_connection(world, prober, source, target, server) -> None:
    """The peer may close with us, speak first, or never close at all: afterwards no FIN of ours waits for an answer."""
    await world.serve(target, 8500, server)
    assert (await ask(prober, source, target)).reason is Reason.OK
    await until(lambda: set(source.states()) <= {"TIME-WAIT"}, what=f"a clean source ({source.sockets()})")


async def test_nobody_listens(prober, source, target) -> None:
    result = await ask(prober, source, target)
    assert (result.reason, result.detail) == (Reason.REFUSED, "ECONNREFUSED")
    assert result.rtt_seconds is None


async def test_the_peer_accepts_and_then_resets(world, prober, source, target) -> None:
    await world.serve(target, 8500, resetting)
    result = await ask(prober, source, target)
    assert (result.reason, result.detail) == (Reason.RESET, "ECONNRESET")


async def test_the_peer_resets_a_moment_after_accepting(world, prober, source, target, monkeypatch) -> None:
    """As a proxy whose backend is gone: the handshake alone proves nothing."""
    monkeypatch.setattr(prober_tcp, "RESET_WAIT_SECONDS", 30.0)
    accepted, time_to_reset = asyncio.Event(), asyncio.Event()

    async def hesitating(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await time_to_reset.wait()
        await resetting(reader, writer)

    await world.serve(target, 8500, hesitating)
    task = asyncio.create_task(ask(prober, source, target))
    await accepted.wait()
    assert not task.done()
    time_to_reset.set()
    assert (await task).reason is Reason.RESET


@pytest.mark.parametrize("version", [4, 6])
async def test_an_address_that_nobody_has(prober, source, version) -> None:
    """Either the kernel gives up first, or our own question after the timeout stays unanswered: the answer is the same."""
    result = await ask(prober, source, "192.168.0.77" if version == 4 else "fd00:5::77", version=version)
    assert result.reason is Reason.NO_ROUTE


@pytest.mark.parametrize("family", [(4, "ARP"), (6, "ND")], ids=["ipv4", "ipv6"])
async def test_a_peer_that_used_to_work_is_moved_to_another_segment(world, prober, source, target, family) -> None:
    """The kernel still has its MAC and would need up to 55 s to notice."""
    version, question = family
    await world.serve(target, 8500, quiet, address=target.addresses[0 if version == 4 else 1])
    assert (await ask(prober, source, target, version=version)).ok
    assert target.mac in source.ip("neighbour")
    world.move(target, bridge="br1")
    result = await ask(prober, source, target, version=version, timeout_seconds=1)
    assert result.reason is Reason.NO_ROUTE
    assert result.detail == f"no answer within 1 s; {question} unanswered for 500 ms"
    assert result.neighbour_mac is None
    world.move(target, bridge="br0")
    assert (await ask(prober, source, target, version=version)).ok


@pytest.mark.parametrize(("version", "question"), [(4, "ARP"), (6, "ND")])
async def test_packets_are_dropped_but_the_peer_is_there(prober, source, target, version, question) -> None:
    target.drop_input("tcp dport 8500")
    result = await ask(prober, source, target, version=version, timeout_seconds=1)
    assert result.reason is Reason.TIMEOUT
    assert result.neighbour_mac == target.mac
    assert result.detail == f"no answer within 1 s; {target.mac} answers {question}"


@pytest.mark.parametrize("version", [4, 6])
async def test_two_pods_answer_for_one_address(world, prober, source, target, version) -> None:
    thief = world.add("thief", str(target.address), str(target.addresses[1]))
    for pod in (target, thief):
        pod.drop_input("tcp dport 8500")
    result = await ask(prober, source, target, version=version, timeout_seconds=0.5)
    assert result.reason is Reason.TIMEOUT
    assert result.neighbour_mac in (target.mac, thief.mac)
    assert result.detail is not None
    assert target.mac in result.detail
    assert thief.mac in result.detail


async def test_the_question_teaches_nobody(prober, source, target) -> None:
    target.drop_input("tcp dport 8500")
    target.ip("neighbour", "flush", "all")
    source.ip("neighbour", "add", str(target.address), "lladdr", target.mac, "dev", "lhnet1", "nud", "permanent")
    target.nft("table arp a { chain c { type filter hook output priority 0; arp operation request drop; }; }")
    assert (await ask(prober, source, target, timeout_seconds=0.5)).neighbour_mac == target.mac
    assert source.mac not in target.ip("neighbour")


@pytest.mark.parametrize(
    "route", [("blackhole", "EINVAL"), ("prohibit", "EACCES"), (None, "ENETUNREACH")], ids=lambda route: route[0] or "deleted"
)
@pytest.mark.parametrize("version", [4, 6])
async def test_the_pod_has_no_route_to_the_range(prober, source, target, route, version) -> None:
    kind, detail = route
    network = "192.168.0.0/24" if version == 4 else "fd00:5::/64"
    source.ip(f"-{version}", "route", "del", network, "dev", "lhnet1")
    if kind:
        source.ip(f"-{version}", "route", "add", kind, network)
    result = await ask(prober, source, target, version=version)
    assert (result.reason, result.detail) == (Reason.NET_UNREACHABLE, detail)


async def test_an_unreachable_route_reads_as_no_route(prober, source, target) -> None:
    source.ip("route", "add", "unreachable", f"{target.address}/32")
    result = await ask(prober, source, target)
    assert (result.reason, result.detail) == (Reason.NO_ROUTE, "EHOSTUNREACH")


@pytest.mark.parametrize("version", [4, 6])
async def test_the_pod_does_not_own_its_granted_address(prober, source, target, version) -> None:
    prefix = 24 if version == 4 else 64
    source.ip("address", "del", f"{source.addresses[0 if version == 4 else 1]}/{prefix}", "dev", "lhnet1")
    result = await ask(prober, source, target, version=version)
    assert (result.reason, result.detail) == (Reason.NO_SOURCE_ADDRESS, "EADDRNOTAVAIL")


async def test_a_lost_syn_is_a_retransmit_not_a_latency(world, prober, source, target) -> None:
    """The first SYN is lost; the second, a second later, gets through."""
    await world.serve(target, 8500, quiet)
    target.nft(
        "table inet t { chain c { type filter hook input priority 0;"
        " tcp dport 8500 tcp flags syn limit rate over 1/hour burst 1 packets accept; tcp dport 8500 tcp flags syn drop; }; }"
    )
    result = await ask(prober, source, target)
    assert result.ok
    assert result.retransmits >= 1


async def test_more_plans_than_fit_at_once(world, prober, source, target) -> None:
    """Results come in the order of the plans, and waiting for a place costs nobody his timeout."""
    await world.serve(target, 8500, quiet)
    plans = [plan_of(source, target, port=8500 if number % 3 else 8501) for number in range(300)]
    results = await prober.probe(plans)
    assert [result.plan for result in results] == plans
    assert [result.reason for result in results] == [Reason.OK if number % 3 else Reason.REFUSED for number in range(300)]


async def test_what_could_not_be_asked_stays_a_timeout(prober, source, target) -> None:
    """Sixty probes fail in the same moment: eight questions are asked, the others say that they were not."""
    target.drop_input("meta l4proto tcp")
    results = await prober.probe([plan_of(source, target, port=8500 + number, timeout_seconds=0.5) for number in range(60)])
    assert {result.reason for result in results} == {Reason.TIMEOUT}
    asked = [result for result in results if result.neighbour_mac]
    assert 8 <= len(asked) < 60
    assert all("not asked: too many questions" in (result.detail or "") for result in results if result not in asked)


async def test_many_callers_at_once(world, prober, source, target) -> None:
    await world.serve(target, 8500, quiet)
    target.drop_input("tcp dport 8501")
    slow = asyncio.create_task(prober.probe([plan_of(source, target, port=8501, timeout_seconds=60)]))
    quick = await asyncio.gather(*(prober.probe([plan_of(source, target), plan_of(target, source)]) for _ in range(20)))
    assert {tuple(result.reason for result in results) for results in quick} == {(Reason.OK, Reason.REFUSED)}
    assert not slow.done()
    slow.cancel()
    await gone(lambda: any(":8501" in line for line in source.sockets()), what="the cancelled probe's socket")


@pytest.mark.parametrize("runtime", ["removes the file", "unmounts it first"])
async def test_a_deleted_pod_is_not_probed_and_not_held(world, prober, source, target, runtime) -> None:
    """The probe is in flight when the pod's namespace goes: it ends, and the host's end of the veth vanishes."""
    target.drop_input("tcp dport 8500")
    task = asyncio.create_task(prober.probe([plan_of(source, target, timeout_seconds=60)]))
    await until(lambda: "SYN-SENT" in source.states(), what="a SYN on its way")
    if runtime == "unmounts it first":
        run("umount", source.path)  # the file stays behind, empty
    else:
        world.remove(source)
    (result,) = await task
    assert (result.reason, result.detail) == (Reason.NOT_PROBED, "its namespace is gone")
    await gone(lambda: source.port_name in world.ports(), what="the pod's veth")
    (late,) = await prober.probe([plan_of(source, target)])
    assert late.reason is Reason.NOT_PROBED
    assert source.path in (late.detail or "")


async def test_the_namespace_goes_at_once_after_a_probe_whose_peer_fell_silent(world, prober, source, target, monkeypatch) -> None:
    """Our FIN is never acknowledged; with a plain close it held the namespace for 106 s."""
    monkeypatch.setattr(prober_tcp, "RESET_WAIT_SECONDS", 3.0)  # time enough to move the peer while we listen
    await world.serve(target, 8500, stubborn)
    task = asyncio.create_task(ask(prober, source, target))
    await until(lambda: "ESTAB" in source.states(), what="the connection")
    world.move(target, bridge="br1")
    assert (await task).ok
    await until(lambda: not source.states(), what="an end of all sockets")
    world.remove(source)
    await gone(lambda: source.port_name in world.ports(), what="the pod's veth")


async def test_latency_agrees_with_ss(world, prober, source, target, monkeypatch) -> None:
    monkeypatch.setattr(prober_tcp, "RESET_WAIT_SECONDS", 3.0)  # time enough for ss to see the connection
    await world.serve(target, 8500, stubborn)
    task = asyncio.create_task(ask(prober, source, target))
    lines: list[str] = []

    def seen() -> bool:
        found = run("ip", "netns", "exec", source.netns, "ss", "-Htin", "state", "established")
        lines.extend(word for word in found.split() if word.startswith("rtt:"))
        return bool(lines)

    await until(seen, what="the connection in ss")
    result = await task
    second_opinion_seconds = float(lines[0].removeprefix("rtt:").split("/")[0]) / 1e3
    assert result.rtt_seconds == pytest.approx(second_opinion_seconds, abs=2e-6)


async def test_plans_that_cannot_be_asked_say_why(prober, source, target) -> None:
    results = await prober.probe(
        [
            plan_of(source, target, port=0),
            plan_of(source, target, port=70000),
            plan_of(source, target, kind=ProbeKind.LARGE),
            plan_of(source, target, timeout_seconds=float("nan")),
            plan_of(source, target, timeout_seconds=-1.0),
            plan_of(source, target, interface="a-name-that-is-too-long"),
            plan_of(source, target, source_address=source.addresses[1]),
            plan_of(source, str(source.address)),
            plan_of(source, "0.0.0.0"),
            plan_of(source, "fe80::1%lhnet1", version=6),
            plan_of(source, target, kind=ProbeKind.HTTP, http_path="/ HTTP/1.1\r\nX: y"),
        ]
    )
    assert {result.reason for result in results} == {Reason.NOT_PROBED}
    assert [result.detail for result in results] == [
        "0 is no TCP port",
        "70000 is no TCP port",
        "large probes are not asked here",
        "a timeout of nan s is not within 0 to 60 s",
        "a timeout of -1.0 s is not within 0 to 60 s",
        "no interface can have that name",
        "source and target are of different families",
        "source and target are one address: the pod would ask itself",
        "0.0.0.0 is no address of one pod in the range",
        "fe80::1%lhnet1 is no address of one pod in the range",
        "the path cannot stand in a request",
    ]


async def test_an_interface_that_is_missing_leaves_the_timeout(prober, source, target) -> None:
    target.drop_input("tcp dport 8500")
    result = await ask(prober, source, target, interface="lhnet9", timeout_seconds=0.5)
    assert result.reason is Reason.TIMEOUT
    assert result.detail == f"no answer within 0.5 s; not asked: {errno.errorcode[errno.ENODEV]}"
