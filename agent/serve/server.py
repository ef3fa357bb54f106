"""The HTTP server: stored answers only. Nothing on a GET starts work beyond formatting what is already known."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agent.clock import Clock
from agent.model.view import NodeView
from agent.serve import documents, text

MAX_REQUEST_BYTES = 64 * 1024
_GZIP_FROM_BYTES = 1024
_PATHS = ("/status", "/interfaces", "/peers", "/history", "/metrics", "/healthz", "/readyz")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers from `get_view`; `alive` says why the agent is not (None while it is). Start and stop on the event loop."""

    def __init__(
        self, *, get_view: Callable[[], NodeView], registry: CollectorRegistry, alive: Callable[[], str | None], clock: Clock
    ) -> None:
        self._get_view = get_view
        self._registry = registry
        self._alive = alive
        self._clock = clock
        self._runner: web.AppRunner | None = None

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_plain_errors], client_max_size=MAX_REQUEST_BYTES)
        app.router.add_get("/", self._status)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        for path, as_text, as_json in self._pages():
            app.router.add_get(path, as_text)
            app.router.add_get(f"/api/v1{path}", as_json)
        return app

    async def start(self, addresses: Sequence[tuple[str | None, int]]) -> list[tuple[str, int]]:
        """Listen on all of `addresses`; what was bound. Raises OSError for the first that cannot be."""
        self._runner = web.AppRunner(self.application(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        for host, port in addresses:
            await web.TCPSite(self._runner, host, port, reuse_address=True).start()
        return [address[:2] for address in self._runner.addresses]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _pages(self) -> list[tuple[str, Handler, Handler]]:
        now, wall = self._clock.monotonic, self._clock.wall
        view = self._get_view

        def page(make_text: Callable[[], str], make_json: Callable[[], documents.Document]) -> tuple[Handler, Handler]:
            async def as_text(_: web.Request) -> web.StreamResponse:
                return web.Response(text=make_text(), content_type="text/plain", charset="utf-8")

            async def as_json(_: web.Request) -> web.StreamResponse:
                return _json(make_json())

            return as_text, as_json

        return [
            ("/status", self._status, page(str, lambda: documents.status(view(), now=now(), wall=wall()))[1]),
            ("/interfaces", *page(lambda: text.interfaces(view()), lambda: documents.interfaces(view()))),
            ("/peers", *page(lambda: text.peers(view(), now=now()), lambda: documents.peers(view(), now=now()))),
            ("/history", *page(lambda: text.history(view(), now=now()), lambda: documents.history(view(), now=now()))),
        ]

    async def _status(self, _: web.Request) -> web.StreamResponse:
        told = text.status(self._get_view(), now=self._clock.monotonic(), wall=self._clock.wall())
        return web.Response(text=told, content_type="text/plain", charset="utf-8")

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


def _json(document: Any) -> web.Response:
    return web.Response(
        text=json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n", content_type="application/json", charset="utf-8"
    )


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in one line, as text or JSON; what the client sent is never repeated at length."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        said = error.reason
        if error.status == web.HTTPNotFound.status_code:
            said = f"no such page; there are {', '.join(_PATHS)}, and /api/v1/… for JSON"
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        if request.path.startswith("/api/"):
            answer = _json({"schema": documents.SCHEMA, "error": said})
            answer.set_status(error.status)
            answer.headers.update(allow)
            return answer
        return web.Response(text=f"{said}\n", status=error.status, headers=allow)
