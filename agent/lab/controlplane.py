"""The lab's Kubernetes API as processes of its own, at 10.53.0.1:443 in the switch's namespace and relayed to 127.0.0.1.

Real etcd and kube-apiserver where KUBEBUILDER_ASSETS names a folder with them, else the embedded server. Either keeps its objects over a
restart. Writes the kubeconfig for people and hands the agents' service account its token; it never invents what an object says.
"""

import asyncio
import json
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from agent.lab.apiclient import ApiClient, ApiFailed, WaitTimeout
from agent.lab.children import Child, Keeper, last_line
from agent.lab.envtest import EnvtestError, apiserver_argv, etcd_argv, find_assets
from agent.lab.manifest import AgentManifest
from agent.lab.objects import everything
from agent.lab.pki import Pki, make_pki
from agent.lab.plan import SERVICE_ADDRESS, LabPlan
from agent.lab.relay import Relay
from agent.lab.wiring import SWITCH
from agent.lab.world import World

READY_SECONDS = 90.0
POD_AGE_SECONDS = 3600
ETCD_PORT = 2379
"""On loopback of the switch's namespace; the next one is for peers that it does not have."""
SERVER_NAMES = (SERVICE_ADDRESS, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


class ControlPlaneError(Exception):
    """The API server does not come up; one line."""


class ControlPlane:
    def __init__(self, *, plan: LabPlan, world: World, folder: Path, manifests: Path, manifest: AgentManifest) -> None:
        """Raises ControlPlaneError if KUBEBUILDER_ASSETS is set and lacks a program."""
        try:
            self._assets = find_assets()
        except EnvtestError as error:
            raise ControlPlaneError(str(error)) from error
        self._plan = plan
        self._world = world
        self._folder = folder
        self._manifests = manifests
        self._manifest = manifest
        self._relay = Relay(netns=lambda: world.netns(SWITCH), host=SERVICE_ADDRESS, port=443)
        self._admin_token = secrets.token_hex(16)
        self._agent_token = ""
        self._pki: Pki | None = None
        self._client: ApiClient | None = None
        self._server = Keeper("api", lambda: self._spawn("api", self._server_argv()))
        self._etcd = Keeper("etcd", lambda: self._spawn("etcd", self._etcd_argv()))
        self.kubeconfig = folder / "kubeconfig"
        self.log = self._log("api")

    @property
    def kind(self) -> str:
        return "kube-apiserver" if self._assets else "embedded"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._relay.local_port}"

    @property
    def pids(self) -> dict[str, int | None]:
        return {"api": self._server.pid} | ({"etcd": self._etcd.pid} if self._assets else {})

    @property
    def client(self) -> ApiClient:
        """The administrator's, for faults that change objects."""
        if self._client is None:
            raise ControlPlaneError("the Kubernetes API has not been started")
        return self._client

    async def prepare(self) -> None:
        """Starts the API for the first time, with a cluster's objects, and writes what people and agents need to reach it."""
        self._pki = make_pki(self._folder / "pki", names=SERVER_NAMES)
        objects = [_aged(item) for item in everything(self._plan, manifests=self._manifests)]
        (self._folder / "seed.json").write_text(json.dumps(objects))
        tokens = self._folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self._admin_token},admin,admin,"system:masters"\n')
        await self._relay.open()
        self._write_kubeconfig(self._pki)
        self._client = await ApiClient(server=self.url, token=self._admin_token, ca_cert=self._pki.ca_cert).__aenter__()
        if self._assets:
            self._etcd.start()
        await self.start()
        try:
            if self._assets:
                await self._client.apply_all(objects)
            self._agent_token = await self._client.service_account_token(self._manifest.namespace, self._manifest.service_account)
        except (ApiFailed, WaitTimeout, aiohttp.ClientError, ExceptionGroup) as error:
            raise ControlPlaneError(f"the Kubernetes API refused the lab's objects: {_first(error)}") from error

    def certificate(self) -> tuple[Path, Path]:
        """Of the server, and its key: what a fault needs that answers in its place."""
        assert self._pki is not None  # noqa: S101  # prepare() came first
        return self._pki.cert, self._pki.key

    async def start(self) -> None:
        """Starts the server and waits until it answers. Raises ControlPlaneError with the last thing it said."""
        self._server.start()
        await self._wait_ready()

    async def stop(self) -> None:
        """Ends the server and holds it down: connections are refused. A polite kube-apiserver would take a minute."""
        await self._server.stop(grace_seconds=0)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._server.child is not None:
            self._server.child.signal(number)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.__aexit__(None, None, None)
        await self._server.stop(grace_seconds=0)
        await self._etcd.stop(grace_seconds=0)
        await self._relay.close()

    def service_account_files(self) -> Mapping[str, str]:
        """What a pod of the agent's service account finds under /var/run/secrets."""
        assert self._pki is not None  # noqa: S101  # prepare() came first
        return {"token": self._agent_token, "ca.crt": self._pki.ca_cert.read_text(), "namespace": self._manifest.namespace}

    def _spawn(self, name: str, argv: list[str]) -> Child:
        return Child(argv, log=self._log(name), netns=self._world.netns(SWITCH))

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def _etcd_argv(self) -> list[str]:
        assert self._assets is not None  # noqa: S101  # there is no etcd without
        return etcd_argv(self._assets, data=self._folder / "etcd", port=ETCD_PORT, peer_port=ETCD_PORT + 1)

    def _server_argv(self) -> list[str]:
        assert self._pki is not None  # noqa: S101  # prepare() came first
        tokens = self._folder / "tokens.csv"
        if self._assets is not None:
            return apiserver_argv(
                self._assets, pki=self._pki, tokens=tokens, folder=self._folder, address=SERVICE_ADDRESS, port=443, etcd_port=ETCD_PORT
            )
        files = {"--cert": self._pki.cert, "--key": self._pki.key, "--tokens": tokens}
        files |= {"--seed": self._folder / "seed.json", "--data": self._folder / "api.journal"}
        argv = [sys.executable, "-m", "agent.lab.api", "--listen", f"{SERVICE_ADDRESS}:443"]
        return argv + [word for option, path in files.items() for word in (option, str(path))]

    async def _wait_ready(self) -> None:
        ready = asyncio.ensure_future(self.client.ready(timeout_seconds=READY_SECONDS))
        child = self._server.child
        watched: set[asyncio.Future[Any]] = {ready} if child is None else {ready, child.ended}
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise ControlPlaneError(f"the Kubernetes API ended: {last_line(self.log)}")
            await ready
        except WaitTimeout as error:
            raise ControlPlaneError(f"the Kubernetes API does not answer: {last_line(self.log) or error}") from error
        finally:
            ready.cancel()

    def _write_kubeconfig(self, pki: Pki) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {"server": self.url, "certificate-authority": str(pki.ca_cert)}}],
            "users": [{"name": "admin", "user": {"token": self._admin_token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
            "current-context": "lab",
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(config, indent=1))


def _aged(item: dict[str, Any]) -> dict[str, Any]:
    """A cluster that has run for a while: pods are past every grace. Only the embedded API takes a creation time from outside.

    A setting that is being applied was changed just now.
    """
    if item["kind"] == "Setting":
        conditions = [one if one.get("status") == "True" else {**one, "lastUpdateTime": _ago(0)} for one in _conditions(item)]
        return {**item, "status": {**item["status"], "conditions": conditions}} if conditions else item
    if item["kind"] != "Pod":
        return item
    return {**item, "metadata": {**item["metadata"], "creationTimestamp": _ago(POD_AGE_SECONDS)}}


def _conditions(item: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (item.get("status") or {}).get("conditions") or []
    return found


def _ago(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
