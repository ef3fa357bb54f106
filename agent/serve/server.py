"""The HTTP server: stored answers only. Nothing on a GET starts work beyond formatting what is already known."""

import asyncio
import gzip
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agent.clock import Clock
from agent.model.gathered import Roundup
from agent.model.view import NodeView
from agent.serve import cluster, documents, events, explanations, pools, rows, runbooks, text

MAX_REQUEST_BYTES = 64 * 1024
_GZIP_FROM_BYTES = 1024
_PATHS = ("/cluster", "/status", "/interfaces", "/peers", "/pools", "/events", "/history", "/runbooks", "/metrics", "/healthz", "/readyz")
_DEFAULT_INTERVAL_SECONDS = 10.0
_CONTROLS = {number: "\ufffd" for number in (*range(0x20), *range(0x7F, 0xA0)) if number != ord("\n")}


class Others(Protocol):
    """What this agent asks of other agents for its readers."""

    async def cluster(self) -> Roundup: ...

    async def holder(self, path: str) -> tuple[Mapping[str, Any] | None, str]: ...


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers from `get_view`; `alive` says why the agent is not (None while it is). Start and stop on the event loop."""

    def __init__(
        self,
        *,
        get_view: Callable[[], NodeView],
        registry: CollectorRegistry,
        alive: Callable[[], str | None],
        clock: Clock,
        others: Others | None = None,
        get_memory: Callable[[], documents.Document] = dict,
        interval_seconds: float = _DEFAULT_INTERVAL_SECONDS,
    ) -> None:
        self._get_view = get_view
        self._registry = registry
        self._alive = alive
        self._clock = clock
        self._others = others
        self._get_memory = get_memory
        self._interval_seconds = interval_seconds
        self._runner: web.AppRunner | None = None
        self._wanted: list[tuple[str | None, int]] = []

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_plain_errors], client_max_size=MAX_REQUEST_BYTES)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/cluster", self._cluster)
        app.router.add_get("/api/v1/cluster", self._cluster_json)
        app.router.add_get("/runbooks", self._runbook)
        app.router.add_get("/runbooks/{name}", self._runbook)
        for path in ("/api/v1/rows", "/api/v1/explanations"):
            app.router.add_get(path, self._between_agents)
        for path, told in (("/pools", pools.text), ("/events", events.text)):
            app.router.add_get(path, self._from_holder(path, told))
            app.router.add_get(f"/api/v1{path}", self._from_holder(path, None))
        for path, as_text, as_json in self._pages():
            app.router.add_get(path, as_text)
            if path == "/status":
                app.router.add_get("/", as_text)
            app.router.add_get(f"/api/v1{path}", as_json)
        return app

    async def start(self, addresses: Sequence[tuple[str | None, int]]) -> list[tuple[str, int]]:
        """Listen on `addresses`; what was bound. Raises OSError if not one of them can be; `listen_again` tries those that are left."""
        self._runner = web.AppRunner(self.application(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        self._wanted = list(addresses)
        taken = await self.listen_again()
        if self._wanted and len(self._wanted) == len(addresses):
            raise OSError(taken[0])
        return [address[:2] for address in self._runner.addresses]

    async def listen_again(self) -> tuple[str, ...]:
        """Try the addresses that could not be had so far; why each of them still cannot."""
        left: list[tuple[str | None, int]] = []
        said: list[str] = []
        if (runner := self._runner) is None:
            return ()
        for host, port in self._wanted:
            try:
                await web.TCPSite(runner, host, port, reuse_address=True).start()
            except OSError as error:
                left.append((host, port))
                shown = f"[{host}]" if host and ":" in host else host or "*"
                said.append(f"{shown}:{port}: {os.strerror(error.errno) if error.errno else error}")
        self._wanted = left
        return tuple(said)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _pages(self) -> list[tuple[str, Handler, Handler]]:
        now, wall = self._clock.monotonic, self._clock.wall
        view = self._get_view

        def page(make_text: Callable[[], str], make_json: Callable[[], documents.Document]) -> tuple[Handler, Handler]:
            async def as_text(_: web.Request) -> web.StreamResponse:
                return _text(make_text())

            async def as_json(_: web.Request) -> web.StreamResponse:
                return _json(make_json())

            return as_text, as_json

        return [
            ("/status", *page(lambda: text.status(view(), now=now(), wall=wall()), lambda: self.own("/api/v1/status"))),
            ("/interfaces", *page(lambda: text.interfaces(view()), lambda: documents.interfaces(view()))),
            ("/peers", *page(lambda: text.peers(view(), now=now()), lambda: documents.peers(view(), now=now()))),
            ("/history", *page(lambda: text.history(view(), now=now()), lambda: documents.history(view(), now=now()))),
        ]

    def own(self, path: str, *, asked_for: str | None = None, memory: bool = False) -> documents.Document:
        """This agent's own answer to a path of the API, without a request. Raises KeyError for a path that only asks others."""
        view, now, wall = self._get_view(), self._clock.monotonic(), self._clock.wall()
        if path == "/api/v1/explanations":
            told = explanations.document(
                node=view.node,
                lease=view.lease,
                findings=view.cluster_findings,
                explanations=view.explanations,
                now=now,
                sentence=view.sentence,
                asked_for=asked_for,
            )
            return told | ({"memory": self._get_memory()} if memory else {})
        make: dict[str, Callable[[], documents.Document]] = {
            "/api/v1/status": lambda: documents.status(view, now=now, wall=wall),
            "/api/v1/rows": lambda: rows.document(view, interval_seconds=self._interval_seconds, now=now),
            "/api/v1/pools": lambda: pools.document(view, now=now, wall=wall),
            "/api/v1/events": lambda: events.document(view, now=now),
        }
        return make[path]()

    async def _between_agents(self, request: web.Request) -> web.StreamResponse:
        answer = _json(self.own(request.path, asked_for=request.query.get("node"), memory="memory" in request.query))
        # names of pods repeat: packed, the rows of 200 nodes stay below a megabyte
        answer.enable_compression()
        return answer

    async def _cluster(self, _: web.Request) -> web.StreamResponse:
        told = await asyncio.to_thread(cluster.text, await self._gathered())
        return _text(told)

    async def _cluster_json(self, request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("matrix", "")
        if wanted not in ("", "full"):
            raise web.HTTPBadRequest(reason="matrix may be full")
        roundup = await self._gathered()
        full, wall = wanted == "full", self._clock.wall()
        return await asyncio.to_thread(lambda: _json(cluster.document(roundup, wall=wall, full=full)))

    async def _gathered(self) -> Roundup:
        if self._others is None:
            raise web.HTTPServiceUnavailable(reason="this agent asks no others")
        return await self._others.cluster()

    def _from_holder(self, path: str, told: Callable[[documents.Document], str] | None) -> Handler:
        """A page that only the holder can fill; the others ask it, and say so when there is nobody to ask."""
        module = pools if path == "/pools" else events

        async def handler(_: web.Request) -> web.StreamResponse:
            node = self._get_view().node
            one, why = await self._others.holder(f"/api/v1{path}") if self._others else (None, "this agent asks no others")
            answer = module.nobody(node, why) if one is None else dict(one)
            if told is None:
                return _json(answer)
            return _text(told(answer))

        return handler

    async def _runbook(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", runbooks.INDEX)
        page = runbooks.text(name.removesuffix(".md"))
        if page is None:
            raise web.HTTPNotFound(reason="no such runbook; /runbooks lists them")
        return _text(page)

    async def _healthz(self, _: web.Request) -> web.StreamResponse:
        why = self._alive()
        return web.Response(text="ok\n" if why is None else f"{why}\n", status=200 if why is None else 503)

    async def _readyz(self, _: web.Request) -> web.StreamResponse:
        view = self._get_view()
        return web.Response(text="ok\n" if view.ready else f"{view.not_ready_because}\n", status=200 if view.ready else 503)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        body, packed = await asyncio.to_thread(_render, encode, self._registry, zipped)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)


def _render(encode: Callable[[CollectorRegistry], bytes], registry: CollectorRegistry, zipped: bool) -> tuple[bytes, bool]:
    """Off the loop: a thousand series cost some 5 ms."""
    body = encode(registry)
    if zipped and len(body) >= _GZIP_FROM_BYTES:
        return gzip.compress(body, compresslevel=1), True
    return body, False


def _text(told: str) -> web.Response:
    """Names and messages come from whoever may write an object: none of them moves the cursor of a terminal."""
    body = told.translate(_CONTROLS).encode(errors="backslashreplace")
    return web.Response(body=body, content_type="text/plain", charset="utf-8")


def _json(document: Any) -> web.Response:
    # what is not Unicode (half a pair, from JSON inside an annotation) stays an escape: one odd name must not cost the whole answer
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in one line, as text or JSON; what the client sent is never repeated at length."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        said = error.reason
        if error.status == web.HTTPNotFound.status_code and said == "Not Found":
            said = f"no such page; there are {', '.join(_PATHS)}, and /api/v1/… for JSON"
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        if request.path.startswith("/api/"):
            answer = _json({"schema": documents.SCHEMA, "error": said})
            answer.set_status(error.status)
            answer.headers.update(allow)
            return answer
        return web.Response(text=f"{said}\n", status=error.status, headers=allow)
