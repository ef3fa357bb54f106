"""An API server to talk to in tests: the embedded one, in this process or in its own, over TLS on loopback; and clients."""

import asyncio
import contextlib
import io
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from agent.lab.api import make_server, new_store, server_context
from agent.lab.api_store import Store
from agent.lab.apiclient import ApiClient
from agent.lab.pki import Pki, make_pki, write_tokens

Json = dict[str, Any]

ADMIN, NOBODY, AGENT = "admin-token", "nobody-token", "agent-token"
AGENT_NAME = "system:serviceaccount:lhnet-system:lhnet-agent"
USERS = {ADMIN: ("admin", ["system:masters"]), NOBODY: ("nobody", []), AGENT: (AGENT_NAME, [])}
DEADLINE_SECONDS = 60.0


def prepare(folder: Path) -> Pki:
    pki = make_pki(folder, names=["127.0.0.1", "localhost"])
    write_tokens(folder / "tokens.csv", USERS)
    return pki


class Caller:
    """Requests with any token, answers as they are."""

    def __init__(self, session: aiohttp.ClientSession, url: str, pki: Pki) -> None:
        self._session, self.url, self.pki = session, url, pki

    def raw(
        self, method: str, path: str, *, body: object = None, token: str | None = ADMIN, media: str = "application/json", accept: str = ""
    ):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = media
        if accept:
            headers["Accept"] = accept
        data = None if body is None else io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        return self._session.request(method, self.url + path, data=data, headers=headers)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and JSON, or text where the answer is no JSON."""
        async with self.raw(method, path, **more) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    @contextlib.asynccontextmanager
    async def watch(self, path: str, **more: Any) -> AsyncIterator["Events"]:
        async with self.raw("GET", path, **more) as response:
            assert response.status == 200, await response.text()
            try:
                yield Events(response)
            finally:
                # A polite end of TLS takes longer than the test's event loop lives.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()
                    await asyncio.sleep(0)

    def client(self) -> ApiClient:
        return ApiClient(server=self.url, token=ADMIN, ca_cert=self.pki.ca_cert)


class Events:
    """A watch stream, line by line."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> tuple[str, Json] | None:
        """Type and object; None at the end of the stream."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            line = await self._response.content.readline()
        if not line:
            return None
        event = json.loads(line)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        """The next events as (type, name)."""
        found = []
        for _ in range(count):
            event = await self.next()
            assert event is not None, f"the watch ended after {found}"
            found.append((event[0], event[1]["metadata"].get("name", "")))
        return found

    async def rest(self) -> list[tuple[str, Json]]:
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@contextlib.asynccontextmanager
async def caller(url: str, pki: Pki) -> AsyncIterator[Caller]:
    context = ssl.create_default_context(cafile=str(pki.ca_cert))
    # A small buffer per connection is aiohttp's default; a watch line may be longer than it.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), read_bufsize=2**20) as session:
        yield Caller(session, url, pki)


@contextlib.asynccontextmanager
async def embedded(folder: Path, pki: Pki, *, seed: Iterable[Json] = ()) -> AsyncIterator[tuple[Caller, Store]]:
    """The embedded API in this event loop."""
    store = new_store(seed)
    server = make_server(store, tokens=folder / "tokens.csv", secret=b"of this test")
    runner = web.AppRunner(server.app(), access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(cert=pki.cert, key=pki.key))
        await site.start()
        async with caller(f"https://127.0.0.1:{runner.addresses[0][1]}", pki) as call:
            yield call, store
    finally:
        store.end_watches()
        await runner.cleanup()


class EmbeddedProcess:
    """`python -m agent.lab.api` as the lab starts it. `start` returns when it says that it is ready."""

    def __init__(self, folder: Path, pki: Pki, *, seed: Iterable[Json] = ()) -> None:
        self.folder, self.pki = folder, pki
        self._seed = folder / "seed.json"
        self._seed.write_text(json.dumps(list(seed)))
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *, port: int = 0) -> None:
        read, write = os.pipe()
        argv = [sys.executable, "-m", "agent.lab.api", "--listen", f"127.0.0.1:{port}", "--cert", self.pki.cert, "--key", self.pki.key]
        argv += ["--tokens", self.folder / "tokens.csv", "--seed", self._seed, "--data", self.folder / "journal", "--ready-fd", str(write)]
        with (self.folder / "api.log").open("ab") as log:
            self.process = subprocess.Popen([str(word) for word in argv], stdout=log, stderr=log, pass_fds=[write])
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read().decode().split()
        assert said[:1] == ["ready"], (self.folder / "api.log").read_text()
        self.url = f"https://{said[1]}"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def write_kubeconfig(self, *, token: str = ADMIN) -> Path:
        return write_kubeconfig(self.folder / "kubeconfig", url=self.url, pki=self.pki, token=token)


def write_kubeconfig(path: Path, *, url: str, pki: Pki, token: str = ADMIN) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": url, "certificate-authority": str(pki.ca_cert)}}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "current-context": "lab",
    }
    path.write_text(json.dumps(config))
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def config_map(name: str, *, namespace: str = "default", **metadata: Any) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, **metadata}}
