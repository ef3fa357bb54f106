"""The HTTP server as curl and Prometheus meet it, on a real socket of loopback."""

import gzip
import json

import aiohttp
import pytest
from test_text import NOW, WALL, view
from test_verdict import DOWN

from agent.clock import Clock
from agent.model.finding import Verdict
from agent.serve.metrics import make_registry
from agent.serve.server import Server


class Served:
    def __init__(self):
        self.view = view()
        self.dead = None
        clock = Clock(monotonic=lambda: NOW, wall=lambda: WALL)
        self.server = Server(get_view=lambda: self.view, registry=make_registry(lambda: self.view), alive=lambda: self.dead, clock=clock)

    async def __aenter__(self):
        ((host, port),) = await self.server.start([("127.0.0.1", 0)])
        self.base = f"http://{host}:{port}"
        self.session = aiohttp.ClientSession(auto_decompress=False)
        return self

    async def __aexit__(self, *_):
        await self.session.close()
        await self.server.stop()

    async def get(self, path, *, method="GET", **headers):
        async with self.session.request(method, self.base + path, headers={"Accept-Encoding": "identity"} | headers) as response:
            return response.status, dict(response.headers), await response.read()


@pytest.mark.parametrize("path", ["/", "/status", "/interfaces", "/peers", "/history"])
async def test_text_pages_are_utf8_text_and_never_an_error(path):
    async with Served() as served:
        status, headers, body = await served.get(path)
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert body.decode().endswith("\n")


@pytest.mark.parametrize("path", ["/api/v1/status", "/api/v1/interfaces", "/api/v1/peers", "/api/v1/history"])
async def test_json_pages_are_one_document_with_a_schema(path):
    async with Served() as served:
        status, headers, body = await served.get(path)
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(body)["schema"] == 1


async def test_a_message_of_the_cluster_moves_no_cursor_and_breaks_no_page():
    """`configured` quotes whatever a controller wrote, and JSON inside JSON may hold half a surrogate pair."""
    async with Served() as served:
        served.view = view(mode_why="Harvester says: \x1b[2Jall is well \ud800\r\x9b")
        status, _, page = await served.get("/status")
        told, _, document = await served.get("/api/v1/status")
    assert (status, told) == (200, 200)
    assert not [letter for letter in page.decode() if letter != "\n" and not letter.isprintable()]
    assert "all is well" in page.decode()
    assert "all is well" in json.loads(document)["mode_why"]


async def test_a_critical_verdict_is_still_a_200():
    async with Served() as served:
        served.view = view(findings=(DOWN,), verdict=Verdict.CRITICAL)
        status, _, body = await served.get("/api/v1/status")
    assert status == 200
    assert json.loads(body)["verdict"] == "critical"


async def test_health_readiness_and_verdict_are_three_things():
    async with Served() as served:
        served.view = view(findings=(DOWN,), verdict=Verdict.CRITICAL)
        assert (await served.get("/healthz"))[0] == 200
        assert (await served.get("/readyz"))[0] == 200
        served.view = view(ready=False, not_ready_because="the first round of probes is not complete")
        assert (await served.get("/healthz"))[0] == 200
        status, _, body = await served.get("/readyz")
        assert (status, body) == (503, b"the first round of probes is not complete\n")
        served.dead = "the prober has failed"
        assert (await served.get("/healthz"))[0] == 503


async def test_metrics_come_as_text_or_openmetrics_and_zipped_when_asked():
    async with Served() as served:
        _, headers, body = await served.get("/metrics")
        assert headers["Content-Type"].startswith("text/plain")
        assert b"lhnet_build_info" in body
        _, headers, body = await served.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        assert body.endswith(b"# EOF\n")
        _, headers, body = await served.get("/metrics", **{"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        assert b"lhnet_build_info" in gzip.decompress(body)


async def test_a_wrong_path_says_which_there_are_in_text_and_in_json():
    async with Served() as served:
        status, _, body = await served.get("/nothing")
        assert status == 404
        assert b"/status" in body
        status, headers, body = await served.get("/api/v1/nothing")
        assert (status, headers["Content-Type"]) == (404, "application/json; charset=utf-8")
        assert "error" in json.loads(body)


async def test_other_methods_are_refused_and_head_is_not():
    async with Served() as served:
        status, headers, _ = await served.get("/status", method="POST")
        assert status == 405
        assert "GET" in headers["Allow"]
        status, _, body = await served.get("/status", method="HEAD")
        assert (status, body) == (200, b"")


async def test_an_address_that_is_taken_is_an_error_at_the_start():
    async with Served() as served:
        port = int(served.base.rpartition(":")[2])
        other = Served()
        with pytest.raises(OSError, match="in use"):
            await other.server.start([("127.0.0.1", port)])
        await other.server.stop()
