"""A lab's cluster behind the embedded API, changed as a test wants it, and the command line asked about it."""

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.cli import main
from agent.lab.api import make_server, new_store, server_context
from agent.lab.objects import everything
from agent.lab.pki import Pki, make_pki, write_tokens
from agent.lab.plan import LabPlan, make_plan

Json = dict[str, Any]
Answer = Callable[[web.Request], web.Response | None]

ADMIN, READER = "admin-token", "reader-token"
USERS = {ADMIN: ("admin", ["system:masters"]), READER: ("reader", [])}
PLAN = make_plan()
NAD = "harvester-system/storagenetwork-95bj4"
SETTING_KEYS = "storage-network.settings.harvesterhci.io"
CLOSED_PORT = 1
NODES = tuple(node.name for node in PLAN.nodes)


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Json:
        return json.loads(self.out)

    def step(self, title: str) -> Json:
        return next(step for step in self.document["steps"] if step["title"] == title)

    @property
    def results(self) -> dict[str, str]:
        return {step["title"]: step["result"] for step in self.document["steps"]}


class Objects:
    """All objects of a lab, to be broken before the server starts with them."""

    def __init__(self, plan: LabPlan = PLAN) -> None:
        self.plan = plan
        self.all = everything(plan)

    def find(self, kind: str, name: str = "", *, group: str = "") -> Json:
        return next(one for one in self.every(kind, group=group) if one["metadata"]["name"].startswith(name))

    def every(self, kind: str, *, group: str = "") -> list[Json]:
        return [one for one in self.all if one["kind"] == kind and group in one["apiVersion"]]

    def managers(self) -> list[Json]:
        return [one for one in self.every("Pod") if one["metadata"]["name"].startswith("instance-manager-")]

    @property
    def setting(self) -> Json:
        return self.find("Setting", "storage-network", group="harvesterhci.io")

    @property
    def longhorn_setting(self) -> Json:
        return next(one for one in self.every("Setting", group="longhorn.io") if one["metadata"]["name"] == "storage-network")

    def remove(self, *gone: Json) -> None:
        self.all = [one for one in self.all if not any(one is other for other in gone)]

    def without_crds(self, *suffixes: str) -> None:
        """The definitions, and every object that needs one."""
        defined = {
            (crd["spec"]["group"], crd["spec"]["names"]["kind"])
            for crd in self.every("CustomResourceDefinition")
            if crd["metadata"]["name"].endswith(suffixes)
        }
        self.all = [
            one
            for one in self.all
            if not (one["kind"] == "CustomResourceDefinition" and one["metadata"]["name"].endswith(suffixes))
            and (one["apiVersion"].partition("/")[0], one["kind"]) not in defined
        ]

    def without_agents(self) -> None:
        self.remove(*agent_pods(self.all))


def agent_pods(objects: Iterable[Json]) -> list[Json]:
    return [one for one in objects if one["kind"] == "Pod" and one["metadata"]["name"].startswith("lhnet-agent-")]


def mesh_document(nodes: Iterable[str], *, failing: Iterable[tuple[str, str]] = (), **fields: Any) -> Json:
    """What an agent answers to /api/v1/cluster; two pairs from each node to each other one."""
    names, bad = list(nodes), set(failing)
    matrix: list[Json] = [
        {
            "source_node": a,
            "peer_node": b,
            "tcp": "no_route" if (a, b) in bad else "ok",
            "http": None if (a, b) in bad else "ok",
            "large": None,
            "rtt_seconds": None if (a, b) in bad else 0.0002,
            "age_seconds": 3.0,
            "stale": False,
            "pairs": 2,
            "failing": 2 if (a, b) in bad else 0,
        }
        for a in names
        for b in names
        if a != b
    ]
    for row in [row for row in matrix if row["failing"]]:
        matrix += [{**row, "source_pod": "longhorn-system/im", "peer_pod": f"longhorn-system/im-{i}", "pairs": 1} for i in range(2)]
    return {
        "schema": 1,
        "asked_node": names[0],
        "findings_from": names[-1],
        "findings_age_seconds": 2.0,
        "verdict": "ok",
        "mode": "on",
        "nodes": {node: {"schema": 1, "node": node, "verdict": "ok", "findings": []} for node in names},
        "apart": {},
        "matrix": matrix,
        "findings": [],
        **fields,
    }


class Agents:
    """One agent a node, each on a port of its own of loopback. `document` is what all say of the cluster; `silent` ones refuse."""

    def __init__(self) -> None:
        self.document: Json = {}
        self.uplinks: dict[str, Any] = {}
        self.silent: set[str] = set()
        self.authorization: str | None = None
        """What they want to see, if anything."""
        self.seen_authorizations: set[str | None] = set()
        self.answers_as: str | None = None
        self.asked: list[tuple[str, str]] = []

    @contextlib.asynccontextmanager
    async def serve(self, objects: Iterable[Json]) -> AsyncIterator[None]:
        """The agent pods among `objects` get the addresses."""
        pods = agent_pods(objects)
        nodes = sorted(pod["spec"]["nodeName"] for pod in pods)
        self.document = self.document or mesh_document(nodes or ["harv41"])
        async with contextlib.AsyncExitStack() as stack:
            for pod in pods:
                node = pod["spec"]["nodeName"]
                port = CLOSED_PORT if node in self.silent else await stack.enter_async_context(self._one(node))
                pod["spec"]["containers"][0]["ports"][0]["containerPort"] = port
                pod["status"] |= {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "hostIP": "127.0.0.1"}
            yield

    @contextlib.asynccontextmanager
    async def _one(self, node: str) -> AsyncIterator[int]:
        async def handler(request: web.Request) -> web.Response:
            self.asked.append((node, request.path))
            self.seen_authorizations.add(request.headers.get("Authorization"))
            if self.authorization is not None and request.headers.get("Authorization") != self.authorization:
                return web.Response(status=401, text="who are you\n")
            if request.path == "/api/v1/cluster":
                return web.json_response({**self.document, "asked_node": self.answers_as or node})
            return web.json_response({"schema": 1, "node": node, "pods": [], "host_path": self.uplinks.get(node)})

        app = web.Application()
        app.router.add_get("/{rest:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()


def prepare(folder: Path) -> Pki:
    write_tokens(folder / "tokens.csv", USERS)
    return make_pki(folder, names=["127.0.0.1"])


def write_kubeconfig(path: Path, *, url: str, pki: Pki, token: str = ADMIN, context: str = "lab") -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": url, "certificate-authority": str(pki.ca_cert)}}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": "lab", "user": "me"}}],
        "current-context": context,
    }
    path.write_text(json.dumps(config))
    return path


class World:
    """Asks the command line about one cluster after the other; every request that reached the server is in `requests`."""

    def __init__(self, folder: Path, pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.pki, self._capsys = folder, pki, capsys
        self.requests: list[tuple[str, str]] = []
        self.agents = Agents()

    async def ask(self, objects: Iterable[Json], *words: str, token: str = ADMIN, answer: Answer | None = None) -> Said:
        """`answer` may answer a request instead of the server."""
        async with self.serve(objects, answer) as url:
            kubeconfig = write_kubeconfig(self.folder / "kubeconfig", url=url, pki=self.pki, token=token)
            return await self.run(*words, "--kubeconfig", str(kubeconfig))

    async def run(self, *words: str) -> Said:
        self._capsys.readouterr()
        try:
            status = await asyncio.to_thread(main, words)
        except SystemExit as end:
            status = int(end.code or 0)
        captured = self._capsys.readouterr()
        return Said(status, captured.out, captured.err)

    @contextlib.asynccontextmanager
    async def serve(
        self, objects: Iterable[Json], answer: Answer | None = None, *, hold: asyncio.Event | None = None
    ) -> AsyncIterator[str]:
        """With `hold` nothing is answered before that event."""
        served = copy.deepcopy(list(objects))
        async with self.agents.serve(served), self._api(served, answer, hold) as url:
            yield url

    @contextlib.asynccontextmanager
    async def _api(self, objects: list[Json], answer: Answer | None, hold: asyncio.Event | None) -> AsyncIterator[str]:
        store = new_store(objects)
        app = make_server(store, tokens=self.folder / "tokens.csv", secret=b"of this test").app()

        @web.middleware
        async def first(request: web.Request, handler: Any) -> web.StreamResponse:
            self.requests.append((request.method, request.path))
            mine = answer(request) if answer else None
            if hold is not None:
                await hold.wait()
            return mine if mine is not None else await handler(request)

        app.middlewares.append(first)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(cert=self.pki.cert, key=self.pki.key))
            await site.start()
            yield f"https://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            store.end_watches()
            await runner.cleanup()


def refusing(*parts: str, code: int = 403) -> Answer:
    """The server refuses whatever has one of these in its path."""
    reasons = {403: "Forbidden", 404: "NotFound", 500: "InternalError"}

    def answer(request: web.Request) -> web.Response | None:
        if not any(part in request.path for part in parts):
            return None
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reasons[code], "code": code, "message": "not for you"}
        return web.json_response(body, status=code)

    return answer
