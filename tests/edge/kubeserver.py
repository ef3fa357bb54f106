"""A Kubernetes API server that says what a test tells it to, over real TLS on loopback.

Two ways: `lists` and `watches` are scripts (one scene a request, the last one again and again), and `World` is a small cluster that
answers lists and watches out of its objects. Bytes go out exactly as written, also half lines and cut connections.
"""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.edge.kube import InCluster, KubeClient, Pace, Timeouts

TOKEN = "first-token"
PODS = "/api/v1/namespaces/longhorn-system/pods"
FAST = Pace(
    first_pause_seconds=0.01,
    longest_pause_seconds=0.08,
    absent_seconds=0.05,
    forbidden_seconds=0.05,
    steady_seconds=3600.0,
    relist_after_seconds=3600.0,
)
"""Pauses of a test. `steady_seconds` keeps every watch "short", so that a test sees the pauses grow."""

Scene = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class KubeServer:
    lists: list[Scene] = field(default_factory=list)
    watches: list[Scene] = field(default_factory=list)
    seen: list[web.Request] = field(default_factory=list)
    """Requests with an accepted token, in order."""
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    rejected: int = 0
    fallback: Scene | None = None
    port: int = 0
    directory: Path = Path()
    stop: Callable[[], Awaitable[None]] = field(default_factory=lambda: _nothing_to_stop)

    def adopt(self, directory: Path) -> None:
        """Put this server's CA and token where those of another one were, as the kubelet does after a change of certificates."""
        for name in ("ca.crt", "token"):
            (directory / name).write_bytes((self.directory / name).read_bytes())

    def queries(self, *, watch: bool) -> list[dict[str, str]]:
        return [dict(request.query) for request in self.seen if ("watch" in request.query) is watch]

    def access(self, *, clock: Callable[[], float]) -> InCluster:
        return InCluster(host="127.0.0.1", port=str(self.port), clock=clock, directory=self.directory)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            self.rejected += 1
            return _refuse(401, "Unauthorized")
        self.seen.append(request)
        script = self.watches if "watch" in request.query else self.lists
        if not script:
            if self.fallback is None:
                return _refuse(500, "the test has no scene for this")
            return await self.fallback(request)
        scene = script[0] if len(script) == 1 else script.pop(0)
        return await scene(request)


async def _nothing_to_stop() -> None:
    return None


def _refuse(code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code, headers=headers)


def page(*items: Any, version: str = "100", more: str | None = None) -> Scene:
    async def scene(request: web.Request) -> web.StreamResponse:
        metadata = {"resourceVersion": version} | ({"continue": more} if more else {})
        return web.json_response({"kind": "List", "metadata": metadata, "items": list(items)})

    return scene


def refuse(code: int, message: str = "told to", **headers: str) -> Scene:
    async def scene(request: web.Request) -> web.StreamResponse:
        return _refuse(code, message, {key.replace("_", "-"): value for key, value in headers.items()})

    return scene


def answer(body: bytes, *, status: int = 200) -> Scene:
    async def scene(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, content_type="application/json")

    return scene


def silent() -> Scene:
    async def scene(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    return scene


def stream(*pieces: bytes | dict[str, Any], then: str = "stay") -> Scene:
    """A watch. `then`: stay (connected, saying nothing), close (in order), cut (the connection breaks)."""

    async def scene(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "application/json"
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece if isinstance(piece, bytes) else json.dumps(piece).encode() + b"\n")
        if then == "stay":
            await asyncio.Event().wait()
        if then == "cut":
            assert request.transport is not None
            request.transport.abort()
        return response

    return scene


def event(kind: str, obj: Any) -> dict[str, Any]:
    return {"type": kind, "object": obj}


def pod(name: str = "im-1", *, version: str = "50", node: str = "harv41", uid: str | None = None, **metadata: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "longhorn-system", "uid": uid or f"uid-of-{name}", "resourceVersion": version, **metadata}
    return {"metadata": meta, "spec": {"nodeName": node}, "status": {"phase": "Running"}}


class World:
    """Objects by collection path, with field and label selectors and real watches."""

    def __init__(self) -> None:
        self.version = 10
        self.collections: dict[str, dict[str, dict[str, Any]]] = {}
        self._history: list[tuple[int, str, dict[str, Any]]] = []
        self._watchers: list[tuple[web.Request, asyncio.Queue[dict[str, Any]]]] = []

    def install(self, *paths: str) -> None:
        for path in paths:
            self.collections.setdefault(path, {})

    def apply(self, path: str, obj: dict[str, Any]) -> None:
        self.version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        kind = "MODIFIED" if obj["metadata"]["name"] in self.collections[path] else "ADDED"
        self.collections[path][obj["metadata"]["name"]] = obj
        self._tell(path, kind, obj)

    def delete(self, path: str, name: str) -> None:
        self.version += 1
        obj = self.collections[path].pop(name)
        self._tell(path, "DELETED", {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}})

    def _tell(self, path: str, kind: str, obj: dict[str, Any]) -> None:
        self._history.append((self.version, path, event(kind, obj)))
        for request, queue in self._watchers:
            if request.path == path and _selected(request, obj):
                queue.put_nowait(event(kind, obj))

    def _since(self, request: web.Request) -> list[dict[str, Any]]:
        """What happened between the list and this watch."""
        start = int(request.query["resourceVersion"])
        return [
            happened
            for version, path, happened in self._history
            if version > start and path == request.path and _selected(request, happened["object"])
        ]

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path not in self.collections:
            return web.Response(status=404, text="404 page not found")
        if "watch" not in request.query:
            items = [obj for obj in self.collections[request.path].values() if _selected(request, obj)]
            return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": items})
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for happened in self._since(request):
            queue.put_nowait(happened)
        entry = (request, queue)
        self._watchers.append(entry)
        try:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(json.dumps(await queue.get()).encode() + b"\n")
        finally:
            self._watchers.remove(entry)


def _selected(request: web.Request, obj: dict[str, Any]) -> bool:
    name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
    key, _, value = request.query.get("labelSelector", "").partition("=")
    labels = obj["metadata"].get("labels", {})
    return (not name or obj["metadata"]["name"] == name) and (not key or labels.get(key) == value)


def make_certificate(directory: Path, *, address: str = "127.0.0.1") -> ssl.SSLContext:
    """A self-signed certificate for one address; its public half becomes the service account's ca.crt."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test API server")])
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "ca.crt").write_bytes(pem)
    (directory / "server.key").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "ca.crt", directory / "server.key")
    return context


@asynccontextmanager
async def serving(
    directory: Path, *, port: int = 0, address: str = "127.0.0.1", listener: socket.socket | None = None
) -> AsyncIterator[KubeServer]:
    """A server whose service account files are in `directory`."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    server = KubeServer(directory=directory)
    tls = make_certificate(directory, address=address)
    (directory / "token").write_text(TOKEN)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    try:
        site: web.BaseSite = (
            web.TCPSite(runner, address, port, ssl_context=tls, reuse_address=True)
            if listener is None
            else web.SockSite(runner, listener, ssl_context=tls)
        )
        await site.start()
        server.port = runner.addresses[0][1]
        server.stop = runner.cleanup
        yield server
    finally:
        await runner.cleanup()


class Turned:
    """A clock that a test turns by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def client_of(server: KubeServer, *, clock: Callable[[], float], **settings: Any) -> AsyncIterator[KubeClient]:
    settings.setdefault("timeouts", Timeouts(connect_seconds=10, answer_seconds=20))
    async with KubeClient(access=server.access(clock=clock), **settings) as client:
        yield client


def unused_client() -> KubeClient:
    return KubeClient(access=KubeServer().access(clock=Turned()))


@asynccontextmanager
async def running(*works: Awaitable[Any]) -> AsyncIterator[list["asyncio.Task[Any]"]]:
    """Background work that must still be alive at the end of the block."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield tasks
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], Any], *, what: str = "", seconds: float = 60.0) -> None:
    """Wait for a condition, with a bound that a slow machine does not reach."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - anything may make the condition true
            await asyncio.sleep(0.005)
    assert condition(), what


def even() -> Random:
    return Random(4)


def named(items: Iterable[Any]) -> list[str]:
    return [item.name for item in items]
