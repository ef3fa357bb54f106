"""Agents asking agents, on loopback: which word for which silence, bounds, and never more requests than needed."""

import asyncio
import base64
import gzip
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from agent.clock import Clock
from agent.edge.agents import AgentsClient, Pace
from agent.edge.agents_flight import SingleFlight
from agent.edge.agents_wire import BODY_BYTES
from agent.lab.pki import make_pki
from agent.model.gathered import Answered, Silence, Unreachable
from agent.model.records import PodRecord

STATUS = "/api/v1/status"
ROWS = "/api/v1/rows"
PATIENT = Pace(answer_seconds=60.0, total_seconds=120.0, first_try_seconds=60.0)
HASTY = Pace(answer_seconds=0.3, total_seconds=60.0, first_try_seconds=0.1)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Time:
    """A clock that only a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, wall=lambda: 0.0)


@asynccontextmanager
async def serving(
    handler: Handler, *, ports: int = 1, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[list[int]]:
    app = web.Application()
    app.router.add_get("/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for _ in range(ports):
            await web.TCPSite(runner, host, 0, ssl_context=tls, backlog=512).start()
        yield [address[1] for address in runner.addresses]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(pace: Pace = PATIENT, **settings: object) -> AsyncIterator[AgentsClient]:
    clock = settings.pop("clock", Clock())
    client = AgentsClient(**{"own_node": "harv41", "clock": clock, "pace": pace, **settings})  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def status(request: web.Request) -> web.Response:
    return web.json_response({"schema": 1, "node": "harv42", "path": request.path})


async def reply_of(handler: Handler, pace: Pace = PATIENT) -> Answered | Unreachable:
    async with serving(handler) as (port,), asking(pace) as client:
        return (await client.gather({"harv42": at(port)}, STATUS))["harv42"]


def pod(node: str | None = "harv42", **fields: object) -> PodRecord:
    usual = {
        "namespace": "lhnet-system",
        "name": f"lhnet-agent-{node}",
        "uid": "u",
        "node": node,
        "phase": "Running",
        "pod_ips": ("172.16.0.42",),
        "host_network": True,
        "born_monotonic_seconds": 5.0,
    }
    return PodRecord(**(usual | fields))  # type: ignore[arg-type]


async def targets_of(*pods: PodRecord, **settings: object) -> dict[str, str]:
    async with asking(**settings) as client:
        return client.targets(pods, default_port=9811)


async def test_an_agent_is_asked_at_its_pods_address_and_the_port_named_http() -> None:
    assert await targets_of(pod()) == {"harv42": "http://172.16.0.42:9811"}
    assert await targets_of(pod(ports={"http": 9911, "responder": 1})) == {"harv42": "http://172.16.0.42:9911"}
    assert await targets_of(pod(pod_ips=("fd00::42",)), scheme="https") == {"harv42": "https://[fd00::42]:9811"}
    assert await targets_of(pod(pod_ips=(), host_ip="172.16.0.7")) == {"harv42": "http://172.16.0.7:9811"}


async def test_while_a_pod_is_replaced_the_newest_live_one_speaks_for_the_node() -> None:
    old = pod(name="old", pod_ips=("172.16.0.1",), born_monotonic_seconds=1.0)
    new = pod(name="new", pod_ips=("172.16.0.2",), born_monotonic_seconds=9.0)
    assert await targets_of(new, old) == {"harv42": "http://172.16.0.2:9811"}
    assert await targets_of(pod(name="x", born_monotonic_seconds=None, pod_ips=("172.16.0.3",)), old) == {
        "harv42": "http://172.16.0.1:9811"
    }


async def test_pods_that_cannot_be_asked_are_no_targets() -> None:
    dying = pod(deleted=True)
    pending = pod(phase="Pending")
    nameless = pod(pod_ips=("not an address",))
    assert await targets_of(dying, pending, nameless, pod(pod_ips=()), pod(None), pod(ports={"http": 0})) == {}


async def test_our_own_agent_is_not_asked_over_the_network() -> None:
    async with serving(status) as (port,), asking() as client:
        replies = await client.gather({"harv41": "http://127.0.0.1:1", "harv42": at(port)}, STATUS)
    assert list(replies) == ["harv42"]


async def test_a_good_answer_is_the_document_as_it_came() -> None:
    time = Time()
    async with serving(status) as (port,), asking(clock=time.clock()) as client:
        replies = await client.gather({"harv42": at(port)}, STATUS)
    assert replies["harv42"] == Answered(document={"schema": 1, "node": "harv42", "path": STATUS}, received_monotonic_seconds=1000.0)


async def test_a_closed_port_is_refused_and_not_silent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with asking() as client:
            replies = await client.gather({"harv42": at(unused.getsockname()[1])}, STATUS)
    assert replies["harv42"] == Unreachable(silence=Silence.REFUSED, why="refused")


async def test_an_agent_that_accepts_and_never_answers_is_silent() -> None:
    """A stopped process: the kernel still accepts for it."""
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        async with asking(HASTY) as client:
            replies = await client.gather({"harv42": at(stopped.getsockname()[1])}, STATUS)
    assert replies["harv42"] == Unreachable(silence=Silence.SILENT, why="silent")


async def test_an_agent_that_drips_its_answer_for_ever_is_silent_too() -> None:
    gone = asyncio.Event()

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"schema":')
        await gone.wait()
        return response

    reply = await reply_of(drip, HASTY)
    assert isinstance(reply, Unreachable)
    assert reply.silence is Silence.SILENT


async def test_a_connection_cut_in_the_middle_is_somebody_being_there() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    reply = await reply_of(cut)
    assert isinstance(reply, Unreachable)
    assert reply.silence is Silence.BROKEN


def fixed(body: bytes, code: int = 200, **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, status=code, headers=headers)

    return handler


@pytest.mark.parametrize(
    ("handler", "silence", "why"),
    [
        (fixed(b"{}", 500), Silence.HTTP, "http 500"),
        (fixed(b"{}", 401), Silence.HTTP, "http 401"),
        (fixed(b"", 302, Location="http://127.0.0.1:1/"), Silence.HTTP, "http 302"),
        (fixed(b"<html>"), Silence.BAD_ANSWER, "bad answer: JSON is malformed"),
        (fixed(b""), Silence.BAD_ANSWER, "bad answer: "),
        (fixed(b"[1]"), Silence.BAD_ANSWER, "bad answer: not a JSON object"),
        (fixed(b'{"a":"\\ud800"}'), Silence.BAD_ANSWER, "bad answer: "),
        (fixed(b'{"a":' * 30 + b"1" + b"}" * 30), Silence.BAD_ANSWER, "bad answer: nested too deep"),
        (fixed(b'{"a":' + b"[" * 90000), Silence.BAD_ANSWER, "bad answer: nested too deep"),
        (fixed(b'{"a":"' + b"x" * BODY_BYTES + b'"}'), Silence.BAD_ANSWER, "bad answer: more than 512 kB"),
        (
            fixed(gzip.compress(b'{"a":"' + b"x" * (20 << 20) + b'"}'), **{"Content-Encoding": "gzip"}),
            Silence.BAD_ANSWER,
            "bad answer: more than 512 kB",
        ),
    ],
)
async def test_each_bad_answer_has_its_word_and_its_bound(handler: Handler, silence: Silence, why: str) -> None:
    reply = await reply_of(handler)
    assert isinstance(reply, Unreachable)
    assert reply.silence is silence
    assert reply.why.startswith(why)
    assert reply.why.isprintable()


async def test_the_age_of_a_silence_counts_from_the_last_good_answer() -> None:
    time, healthy = Time(), True

    async def flaky(request: web.Request) -> web.Response:
        return await status(request) if healthy else web.Response(status=503)

    async with serving(flaky) as (port,), asking(clock=time.clock()) as client:
        await client.gather({"harv42": at(port)}, STATUS)
        healthy = False
        time.now += 41.5
        replies = await client.gather({"harv42": at(port)}, STATUS)
        time.now += 1.0
        assert client.last_answer_ages() == {"harv42": 42.5}
    assert replies["harv42"] == Unreachable(silence=Silence.HTTP, why="http 503", last_answer_age_seconds=41.5)


async def test_several_documents_of_an_older_agent_that_has_only_some() -> None:
    async def older(request: web.Request) -> web.Response:
        return await status(request) if request.path == STATUS else web.Response(status=404)

    async with serving(older) as (port,), asking() as client:
        replies = (await client.gather_many({"harv42": at(port)}, (STATUS, ROWS)))["harv42"]
    assert isinstance(replies[STATUS], Answered)
    assert isinstance(replies[ROWS], Unreachable)
    assert replies[ROWS].why == "http 404"


async def test_a_node_that_is_gone_is_waited_for_once_and_not_once_a_document() -> None:
    asked = 0
    never = asyncio.Event()

    async def stuck(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        await never.wait()
        return web.Response()

    async with serving(stuck) as (port,), asking(HASTY) as client:
        replies = (await client.gather_many({"harv42": at(port)}, (STATUS, ROWS)))["harv42"]
    assert asked == 1
    assert [reply.why for reply in replies.values() if isinstance(reply, Unreachable)] == ["silent", "silent"]


async def test_dead_nodes_do_not_hide_the_living_behind_them() -> None:
    """Four nodes hang and two places are to be had: the others are all asked before anybody is waited for at length."""
    order: list[str] = []
    never = asyncio.Event()

    async def some_hang(request: web.Request) -> web.Response:
        order.append(request.path.split("/")[1])
        if "dead" in request.path:
            await never.wait()
        return web.json_response({})

    pace = Pace(at_once=2, answer_seconds=2.0, first_try_seconds=0.1, total_seconds=60.0)
    async with serving(some_hang) as (port,), asking(pace) as client:
        targets = {name: f"{at(port)}/{name}" for name in (*(f"a-dead{i}" for i in range(4)), *(f"b-alive{i}" for i in range(8)))}
        replies = await client.gather(targets, STATUS)
    answered = {node for node, reply in replies.items() if isinstance(reply, Answered)}
    assert answered == {f"b-alive{i}" for i in range(8)}
    assert {reply.silence for reply in replies.values() if isinstance(reply, Unreachable)} == {Silence.SILENT}
    asked_again = next(i for i, name in enumerate(order) if name in order[:i] and "dead" in name)
    assert answered <= set(order[:asked_again])


async def test_an_agent_that_has_begun_to_answer_is_not_asked_again() -> None:
    """A long answer on a busy machine: its header comes at once, the rest after the patience that a silent one gets."""
    asked: list[str] = []

    async def lengthy(request: web.Request) -> web.StreamResponse:
        asked.append(request.path.split("/")[1])
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"node":')
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(2.5, later.set)
        await later.wait()
        await response.write(b'"here"}')
        return response

    pace = Pace(at_once=2, answer_seconds=60.0, first_try_seconds=2.0, total_seconds=120.0)
    async with serving(lengthy) as (port,), asking(pace) as client:
        replies = await client.gather({name: f"{at(port)}/{name}" for name in ("a", "b", "c")}, STATUS)
    assert sorted(asked) == ["a", "b", "c"]
    assert all(isinstance(reply, Answered) for reply in replies.values())


async def test_while_our_own_loop_stands_still_nobody_else_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.edge.agents._OWN_DELAY_SECONDS", -1.0)
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        async with asking(HASTY) as client:
            replies = await client.gather({"harv42": at(stopped.getsockname()[1])}, STATUS)
    assert replies["harv42"] == Unreachable(silence=Silence.OURS, why="not asked: our own loop was late")


async def test_nobody_is_called_silent_whom_there_was_no_time_to_ask() -> None:
    async with serving(status) as (port,), asking(Pace(total_seconds=0.0)) as client:
        replies = await client.gather({"harv42": at(port)}, STATUS)
    assert replies["harv42"] == Unreachable(silence=Silence.OURS, why="not asked: no time left")


async def test_two_hundred_agents_are_asked_thirty_two_at_a_time() -> None:
    """The first 32 answer only when all of them are there; should it be more at any time, the test says how many."""
    under_way = most = total = 0
    full = asyncio.Event()

    async def counted(request: web.Request) -> web.Response:
        nonlocal under_way, most, total
        under_way += 1
        total += 1
        most = max(most, under_way)
        if under_way == 32:
            full.set()
        await full.wait()
        under_way -= 1
        assert request.transport is not None
        return web.json_response({"port": request.transport.get_extra_info("sockname")[1]})

    async with serving(counted, ports=200) as ports, asking() as client:
        targets = {f"harv{1000 + i}": at(port) for i, port in enumerate(ports)}
        replies = await client.gather(targets, STATUS)
        again = await client.gather(targets, STATUS)
    assert (most, total) == (32, 400)
    for told in (replies, again):
        assert {node: reply.document["port"] for node, reply in told.items() if isinstance(reply, Answered)} == {
            f"harv{1000 + i}": port for i, port in enumerate(ports)
        }


async def test_the_password_is_read_again_for_each_gathering(tmp_path: Path) -> None:
    seen: list[str] = []

    async def noting(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response({})

    secret = tmp_path / "password"
    async with serving(noting) as (port,), asking(username="agent", password_file=str(secret)) as client:
        for password in ("first\n", "zweites:ü"):
            secret.write_text(password)
            await client.gather({"harv42": at(port)}, STATUS)
        secret.unlink()
        replies = await client.gather({"harv42": at(port)}, STATUS)
    assert [base64.b64decode(header.removeprefix("Basic ")).decode() for header in seen] == ["agent:first", "agent:zweites:ü"]
    reply = replies["harv42"]
    assert isinstance(reply, Unreachable)
    assert reply.silence is Silence.OURS
    assert reply.why.startswith("not asked: password file: ")


async def test_tls_believes_the_agents_own_authority_whatever_name_the_certificate_has(tmp_path: Path) -> None:
    """One certificate, shared by all agents, names the Service; agents are asked by address."""
    ours, other = (make_pki(tmp_path / name, names=["lhnet-agent.lhnet-system.svc"]) for name in ("ours", "other"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.cert, ours.key)
    ca_file = tmp_path / "ca.pem"
    async with serving(status, tls=context) as (port,), asking(scheme="https", ca_file=str(ca_file)) as client:
        targets = {"harv42": f"https://127.0.0.1:{port}"}
        answers = []
        for content in (other.ca_cert.read_bytes(), ours.ca_cert.read_bytes(), b"", b"no certificate"):
            ca_file.write_bytes(content)
            answers.append((await client.gather(targets, STATUS))["harv42"])
    wrong, right, empty, garbage = answers
    assert isinstance(right, Answered)
    assert isinstance(wrong, Unreachable)
    assert wrong.silence is Silence.BROKEN
    assert wrong.why.startswith("tls: ")
    for reply in (empty, garbage):
        assert isinstance(reply, Unreachable)
        assert reply.silence is Silence.OURS
        assert reply.why.startswith("not asked: CA file: ")


async def test_a_hundred_readers_at_once_are_one_gathering() -> None:
    time, asked = Time(), 0

    async def counted(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"asked": asked})

    async with serving(counted) as (port,), asking() as client:
        flight = SingleFlight(lambda: client.gather({"harv42": at(port)}, STATUS), monotonic=time.clock().monotonic)
        told = await asyncio.gather(*(flight.get() for _ in range(100)))
        time.now += 1.9
        told.append(await flight.get())
        assert asked == 1
        assert all(answer is told[0] for answer in told)
        time.now += 0.2
        await flight.get()
        assert asked == 2
        await flight.close()


async def test_a_reader_that_gives_up_ends_nothing_for_the_others() -> None:
    may_answer, begun, runs = asyncio.Event(), asyncio.Event(), 0

    async def slow() -> str:
        nonlocal runs
        runs += 1
        begun.set()
        await may_answer.wait()
        return "told"

    flight = SingleFlight(slow, monotonic=lambda: 0.0)
    first, second = (asyncio.create_task(flight.get()) for _ in range(2))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    may_answer.set()
    assert await second == "told"
    assert runs == 1


async def test_a_failure_is_told_to_all_who_wait_and_forgotten() -> None:
    outcomes = [OSError("no"), None]

    async def make() -> str:
        await asyncio.sleep(0)
        failure = outcomes.pop(0)
        if failure:
            raise failure
        return "told"

    flight = SingleFlight(make, monotonic=lambda: 0.0)
    told = await asyncio.gather(flight.get(), flight.get(), return_exceptions=True)
    assert [str(one) for one in told] == ["no", "no"]
    assert await flight.get() == "told"


async def test_closing_ends_the_gathering_under_way() -> None:
    flight = SingleFlight(asyncio.Event().wait, monotonic=lambda: 0.0)
    waiting = asyncio.create_task(flight.get())
    await asyncio.sleep(0)
    await flight.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_an_agent_of_ours_answers_survives_being_told_again() -> None:
    """Whatever is accepted can be encoded again for /api/v1/cluster."""
    odd = {"text": "\x1b[31m\u2028", "list": [None, True, 1e308, -0.0], "deep": [[[[[[1]]]]]]}
    reply = await reply_of(fixed(json.dumps(odd).encode()))
    assert isinstance(reply, Answered)
    assert json.loads(json.dumps(reply.document, ensure_ascii=False).encode()) == odd
