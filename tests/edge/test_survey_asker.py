"""Agents asked once, for `check` and `preflight`: which way is tried when, what each failure is called, and that none takes for ever."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from agent.edge import survey_asker
from agent.edge.kube import Answer, Forbidden, KubeError, ServerFailed
from agent.edge.survey_agents import read_mesh
from agent.edge.survey_asker import AgentsAsker, Terms, Told, may_reach_nodes
from agent.lab.pki import make_pki
from agent.model.records import PodRecord

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATH = "/api/v1/cluster"


class Api:
    """A KubeClient that answers what it is given."""

    def __init__(self, told: bytes | KubeError | None = None) -> None:
        self.told = told
        self.asked: list[str] = []

    async def request_json(self, method: str, path: str) -> Answer:
        assert method == "GET"
        self.asked.append(path)
        if self.told is None:
            await asyncio.Event().wait()
        if isinstance(self.told, KubeError):
            raise self.told
        assert isinstance(self.told, bytes)
        return Answer(body=self.told, server_unix_seconds=None)


@asynccontextmanager
async def serving(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def good(_: web.Request) -> web.Response:
    return web.json_response({"asked_node": "harv41"})


def pod(port: int, node: str = "harv41", **fields: Any) -> PodRecord:
    made = {"namespace": "lhnet-system", "name": f"lhnet-agent-{node}", "uid": node, "node": node, "pod_ips": ("127.0.0.1",)}
    return PodRecord(**(made | {"ports": {"http": port}} | fields))


def asker(api: Api, *, direct: bool = True, **terms: Any) -> AgentsAsker:
    return AgentsAsker(client=api, terms=Terms(**terms), direct=direct)  # type: ignore[arg-type]


REFUSED = ServerFailed("GET …: no", status=503)
GOOD = b'{"asked_node": "harv41"}'


async def test_the_short_way_first() -> None:
    api = Api(GOOD)
    async with serving(good) as port, asker(api) as asking:
        told = await asking.ask(pod(port), PATH, read_mesh)
    assert isinstance(told, Told)
    assert (told.node, told.way.direct, told.way.command) == ("harv41", True, f"curl -s http://127.0.0.1:{port}/cluster")
    assert api.asked == []


async def test_the_long_way_where_the_short_one_is_closed() -> None:
    api = Api(GOOD)
    async with asker(api) as asking:
        told = await asking.ask(pod(1), PATH, read_mesh)
    assert isinstance(told, Told)
    assert not told.way.direct
    assert told.way.command == "kubectl get --raw /api/v1/namespaces/lhnet-system/pods/lhnet-agent-harv41:1/proxy/cluster"
    assert api.asked == ["/api/v1/namespaces/lhnet-system/pods/lhnet-agent-harv41:1/proxy/api/v1/cluster"]


async def test_an_agent_with_tls_is_believed_by_its_own_ca_and_by_no_other(tmp_path: Path) -> None:
    pki = make_pki(tmp_path, names=["agents.example"])
    (tmp_path / "other").mkdir()
    other = make_pki(tmp_path / "other", names=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.cert, pki.key)
    async with serving(good, tls=context) as port:
        async with asker(Api(REFUSED), scheme="https", ca_file=str(pki.ca_cert)) as asking:
            told = await asking.ask(pod(port), PATH, read_mesh)
            assert isinstance(told, Told)
            assert told.way.command.startswith("curl -sk https://127.0.0.1:")
        async with asker(Api(REFUSED), scheme="https", ca_file=str(other.ca_cert)) as asking:
            said = await asking.ask(pod(port), PATH, read_mesh)
        assert isinstance(said, str)
        assert "tls: " in said
        async with asker(api := Api(GOOD), scheme="https", ca_file="/nowhere") as asking:
            assert isinstance(await asking.ask(pod(port), PATH, read_mesh), Told)
        assert api.asked[0].startswith("/api/v1/namespaces/lhnet-system/pods/https:lhnet-agent-harv41:")


@pytest.mark.parametrize(
    ("api", "why"),
    [
        (Api(REFUSED), "the API server's proxy says http 503"),
        (Api(Forbidden("GET …: no", status=403)), "the API server does not let us use pods/proxy in lhnet-system"),
        (Api(b"<html>"), "bad answer: JSON is malformed"),
        (Api(b"[]"), "bad answer: not a JSON object"),
        (Api(b'{"asked_node": "harv99\\u001b[2J"}'), "bad answer: it is of harv99 [2J, not of harv41"),
        (Api(b"{}"), "bad answer: it is of None, not of harv41"),
        (Api(b"[" * 100_000), "bad answer: "),
    ],
    ids=["503", "403", "html", "list", "stranger", "empty", "deep"],
)
async def test_every_way_to_fail_has_its_word(api: Api, why: str) -> None:
    async with asker(api) as asking:
        said = await asking.ask(pod(1), PATH, read_mesh)
    assert isinstance(said, str)
    assert said.startswith("the agent on harv41 cannot be asked: http://127.0.0.1:1: refused; ")
    assert why in said
    assert said.isprintable()


async def test_a_redirect_is_not_followed_and_a_flood_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_asker, "BODY_BYTES", 1000)

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    async def flood(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 5000)

    for handler, why in ((elsewhere, "says http 302"), (flood, "bad answer: more than")):
        async with serving(handler) as port, asker(Api(REFUSED)) as asking:
            said = await asking.ask(pod(port), PATH, read_mesh)
        assert isinstance(said, str)
        assert why in said


async def test_an_agent_that_hangs_is_left_behind_on_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_asker, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(survey_asker, "PROXY_SECONDS", 0.2)
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with serving(hang) as port, asker(Api()) as asking:
        said = await asking.ask(pod(port), PATH, read_mesh)
        never.set()
    assert isinstance(said, str)
    assert "silent; the API server's proxy had no answer within " in said


async def test_a_way_that_never_works_is_given_up_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred nodes out of a laptop's reach must not cost two hundred waits."""
    api = Api(Forbidden("no", status=403))
    monkeypatch.setattr(survey_asker, "ANSWER_SECONDS", 0.1)
    asked = []
    never = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        asked.append(request.path)
        await never.wait()
        return web.Response()

    async with serving(hang) as port, asker(api) as asking:
        said = [await asking.ask(pod(port, f"harv{i}"), PATH, read_mesh) for i in range(20)]
        never.set()
    assert len(asked) == len(api.asked) == survey_asker.HOPELESS
    assert isinstance(said[-1], str)
    assert "the API server does not let us use pods/proxy" in said[-1]


async def test_the_first_that_answers_in_their_order_is_taken() -> None:
    async with serving(good) as port, asker(Api(REFUSED)) as asking:
        pods = [*(pod(1, f"harv{i}") for i in range(50, 54)), pod(port), *(pod(1, f"harv{i}") for i in range(60, 64))]
        told = await asking.first(pods, PATH, read_mesh)
        assert isinstance(told, Told)
        assert told.node == "harv41"
        nobody = await asking.first([one for one in pods if one.node != "harv41"], PATH, read_mesh)
    assert isinstance(nobody, str)
    assert nobody.startswith("the agent on harv50 cannot be asked: ")


async def test_no_more_than_a_few_of_many_are_asked_for_what_any_can_tell() -> None:
    api = Api(REFUSED)
    async with asker(api, direct=False) as asking:
        await asking.first([pod(1, f"harv{i}") for i in range(200)], PATH, read_mesh)
    assert len(api.asked) == survey_asker.MOST_ASKED


async def test_a_pod_without_an_address_is_asked_through_the_api_server() -> None:
    async with asker(Api(GOOD)) as asking:
        told = await asking.ask(pod(9811, pod_ips=("",)), PATH, read_mesh)
    assert isinstance(told, Told)


@pytest.mark.parametrize(
    ("url", "proxy", "reach"),
    [
        ("https://172.19.108.10:6443", None, True),
        ("https://harvester.example:6443", None, True),
        ("https://harvester.example:6443", "http://proxy.example:3128", False),
        ("https://127.0.0.1:6443", None, False),
        ("https://[::1]:6443", None, False),
        ("https://localhost:6443", None, False),
        ("https://10.53.0.1", None, True),
    ],
)
def test_where_nodes_are_tried_at_all(url: str, proxy: str | None, reach: bool) -> None:
    assert may_reach_nodes(SimpleNamespace(url=url, proxy=proxy)) is reach  # type: ignore[arg-type]
