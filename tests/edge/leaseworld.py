"""Contenders for one Lease on the lab's embedded API, with clocks that a test turns by hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import kubeserver as fake
from aiohttp import web
from kubeserver import Turned

from agent.edge.kube import InCluster, KubeClient, Pace, Timeouts
from agent.edge.lease import Lease
from agent.edge.lease_record import Terms
from agent.lab.api import make_server, new_store, server_context
from agent.lab.api_store import Store
from agent.lab.apiclient import ApiClient
from agent.lab.objects import definitions, namespace
from agent.lab.pki import Pki, make_pki, write_tokens

ADMIN = "admin-token"
NAMESPACE = "lhnet-system"
API_VERSION = "coordination.k8s.io/v1"
PACE = Pace(first_pause_seconds=0.05, longest_pause_seconds=0.3, absent_seconds=0.2, forbidden_seconds=0.2)
QUICK = Terms(duration_seconds=4, renew_seconds=0.6, confirmed_seconds=2.5, retry_seconds=0.2, refused_seconds=0.5, haste_seconds=0.1)
"""Terms of a test that must see a term end: the proportions of the real ones, with room for a slow machine."""


def lease_object(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "lhnet-agent", "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": "lhnet-agent"}}
    return {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, **({"spec": spec} if spec else {})}


@dataclass
class LabApi:
    """The embedded API in this loop, and how to stop and start it at the same address."""

    store: Store
    folder: Path
    pki: Pki
    port: int = 0
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    gate: Callable[[web.Request], web.Response | None] = lambda request: None
    """Answers in the server's place, for a test that breaks something for one client only."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        server = make_server(self.store, tokens=self.folder / "tokens.csv", secret=b"of this test")
        app = server.app()
        app.middlewares.append(self._note)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        context = server_context(cert=self.pki.cert, key=self.pki.key)
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query)))
        refused = self.gate(request)
        return refused if refused is not None else await handler(request)

    async def stop(self) -> None:
        if self._runner is not None:
            self.store.end_watches()
            await self._runner.cleanup()
            self._runner = None

    def access(self, *, clock: Callable[[], float], token: str = ADMIN) -> InCluster:
        directory = self.folder / f"account-{token}"
        directory.mkdir(exist_ok=True)
        (directory / "token").write_text(token)
        (directory / "ca.crt").write_bytes(self.pki.ca_cert.read_bytes())
        return InCluster(host="127.0.0.1", port=str(self.port), clock=clock, directory=directory)

    def admin(self) -> ApiClient:
        return ApiClient(server=f"https://127.0.0.1:{self.port}", token=ADMIN, ca_cert=self.pki.ca_cert)

    def held(self) -> dict[str, Any]:
        """The Lease's spec as the server has it."""
        found = self.store.get(("coordination.k8s.io", "leases"), NAMESPACE, "lhnet-agent")
        return found.get("spec", {}) if found else {}


@asynccontextmanager
async def lab_api(folder: Path, *, seed: list[dict[str, Any]] | None = None, users: dict[str, Any] | None = None) -> AsyncIterator[LabApi]:
    pki = make_pki(folder, names=["127.0.0.1"])
    write_tokens(folder / "tokens.csv", {ADMIN: ("admin", ["system:masters"]), **(users or {})})
    objects = [
        *definitions(),
        *(namespace(name) for name in (NAMESPACE, "longhorn-system", "harvester-system", "cattle-monitoring-system")),
    ]
    api = LabApi(store=new_store([*objects, *([lease_object()] if seed is None else seed)]), folder=folder, pki=pki)
    await api.start()
    try:
        yield api
    finally:
        await api.stop()


@dataclass
class Contender:
    lease: Lease
    client: KubeClient

    @property
    def state(self) -> str:
        return self.lease.view.state.value

    @property
    def holder(self) -> str | None:
        return self.lease.view.holder


@asynccontextmanager
async def contender(
    api: LabApi, name: str, *, clock: Callable[[], float], terms: Terms = QUICK, token: str = ADMIN, **more: Any
) -> AsyncIterator[Contender]:
    timeouts = Timeouts(connect_seconds=5, answer_seconds=10)
    async with KubeClient(access=api.access(clock=clock, token=token), timeouts=timeouts) as client:
        lease = Lease(client=client, namespace=NAMESPACE, identity=name, clock=clock, rng=Random(name), terms=terms, pace=PACE, **more)
        yield Contender(lease=lease, client=client)


@asynccontextmanager
async def watching(api: LabApi, *names: str, clock: Turned, terms: Terms = QUICK, **more: Any) -> AsyncIterator[list[Contender]]:
    """Contenders that hear of everything but do only what the test says: `await one.lease.step()`."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(contender(api, name, clock=clock, terms=terms, **more)) for name in names]
        await stack.enter_async_context(fake.running(*(one.lease._reflector.run() for one in found)))
        for one in found:
            await fake.until(lambda one=one: one.lease.status().state == "live" and one.lease._standing.looked)
        yield found
