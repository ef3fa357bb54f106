"""A real etcd and kube-apiserver as child processes, from the folder that KUBEBUILDER_ASSETS names.

For the lab and for tests that must not depend on how well the embedded API imitates them. There are no controllers, no scheduler and no
kubelet: what is written stays as it was written, deleted pods need grace 0, and namespaces never finish deleting.

    EnvtestError           the programs are missing, or ended or stayed silent; one message with the tail of the log

Server-side settings follow RKE2: no anonymous requests, RBAC. The admission plugins that are switched off would refuse Longhorn's pods
for want of a token controller, and taint nodes that no controller would ever untaint.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agent.lab.apiclient import ApiClient, ApiFailed
from agent.lab.objects import definitions
from agent.lab.pki import Pki

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
READY_SECONDS = 90.0
"""Five seconds on an idle machine of two cores; test machines are neither."""
STOP_SECONDS = 10.0
TAIL_BYTES = 2000
SERVICE_RANGE = "10.53.0.0/16"
"""RKE2's default, as in the plan: its first address is the service `kubernetes`."""
ISSUER = "https://kubernetes.default.svc"


class EnvtestError(Exception):
    """The real API server does not come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    etcd: Path
    apiserver: Path


def find_assets(environ: Mapping[str, str] = os.environ) -> Assets | None:
    """None if KUBEBUILDER_ASSETS is not set. Raises EnvtestError if it is, but lacks a program."""
    folder = environ.get(ASSETS_VARIABLE)
    if not folder:
        return None
    assets = Assets(etcd=Path(folder) / "etcd", apiserver=Path(folder) / "kube-apiserver")
    for program in (assets.etcd, assets.apiserver):
        if not os.access(program, os.X_OK):
            raise EnvtestError(f"{ASSETS_VARIABLE}={folder}: {program.name} is not there or cannot be run")
    return assets


def etcd_argv(assets: Assets, *, data: Path, port: int, peer_port: int) -> list[str]:
    """etcd on loopback. Not synced to the disk: the lab kills processes, not the machine."""
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        str(assets.etcd),
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_argv(
    assets: Assets, *, pki: Pki, tokens: Path, folder: Path, address: str, port: int, etcd_port: int, audit_log: Path | None = None
) -> list[str]:
    """`folder` takes what the server generates for itself. With `audit_log` every request leaves a line there."""
    argv = [
        str(assets.apiserver),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--bind-address={address}",
        f"--secure-port={port}",
        # Nobody looks the server up through the service `kubernetes`; without these it wants a default route.
        "--advertise-address=10.53.0.1",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={pki.cert}",
        f"--tls-private-key-file={pki.key}",
        f"--cert-dir={folder / 'generated'}",
        f"--token-auth-file={tokens}",
        "--anonymous-auth=false",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={pki.service_account_public}",
        f"--service-account-signing-key-file={pki.service_account_key}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
        "--allow-privileged=true",
        "--profiling=false",
    ]
    if audit_log is not None:
        policy = folder / "audit-policy.yaml"
        policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n")
        argv += [f"--audit-policy-file={policy}", f"--audit-log-path={audit_log}"]
    return argv


class RealApi:
    """etcd and kube-apiserver, started in the caller's thread: a parent-death signal set by `preexec` follows that thread."""

    def __init__(
        self,
        assets: Assets,
        *,
        folder: Path,
        pki: Pki,
        tokens: Path,
        admin_token: str,
        port: int,
        etcd_port: int,
        etcd_peer_port: int,
        address: str = "127.0.0.1",
        reach: str | None = None,
        wrap: Sequence[str] = (),
        preexec: Callable[[], None] | None = None,
        audit_log: Path | None = None,
    ) -> None:
        """`wrap` is put in front of both command lines (nsenter --net=…). `reach`: the server's URL as seen from here, if it is another."""
        folder.mkdir(parents=True, exist_ok=True)
        self.url = reach or f"https://{address}:{port}"
        self.log = folder / "kube-apiserver.log"
        self._etcd_log = folder / "etcd.log"
        self._pki, self._admin_token, self._preexec = pki, admin_token, preexec
        self._etcd_argv = [*wrap, *etcd_argv(assets, data=folder / "etcd", port=etcd_port, peer_port=etcd_peer_port)]
        self._api_argv = [
            *wrap,
            *apiserver_argv(
                assets, pki=pki, tokens=tokens, folder=folder, address=address, port=port, etcd_port=etcd_port, audit_log=audit_log
            ),
        ]
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> dict[str, int | None]:
        running = {"etcd": self._etcd, "kube-apiserver": self._api}
        return {name: process.pid if process is not None and process.poll() is None else None for name, process in running.items()}

    def client(self) -> ApiClient:
        """The administrator's."""
        return ApiClient(server=self.url, token=self._admin_token, ca_cert=self._pki.ca_cert)

    async def start(self, *, timeout_seconds: float = READY_SECONDS, install_definitions: bool = True) -> None:
        """Start both and wait until the server is ready and, unless told otherwise, serves the lab's CRDs. Raises EnvtestError."""
        self._etcd = self._spawn(self._etcd_argv, self._etcd_log)
        await self.start_apiserver(timeout_seconds=timeout_seconds)
        if install_definitions:
            async with self.client() as client:
                await client.apply_all(definitions())

    async def start_apiserver(self, *, timeout_seconds: float = READY_SECONDS) -> None:
        """Start the API server alone, after stop_apiserver: etcd has kept the objects. Raises EnvtestError."""
        self._api = self._spawn(self._api_argv, self.log)
        end = time.monotonic() + timeout_seconds
        async with self.client() as client:
            while not await _is_ready(client):
                for name, process, log in (("etcd", self._etcd, self._etcd_log), ("kube-apiserver", self._api, self.log)):
                    if process is not None and process.poll() is not None:
                        await self.stop()
                        raise EnvtestError(f"{name} ended with status {process.returncode}: {_tail(log)}")
                if time.monotonic() > end:
                    await self.stop()
                    raise EnvtestError(f"kube-apiserver is not ready after {timeout_seconds:.0f} s: {_tail(self.log)}")
                await asyncio.sleep(0.1)

    async def stop_apiserver(self, *, force: bool = True) -> None:
        """`force`: at once; else it first drains its connections, for up to a minute of its own."""
        await _end(self._api, signal.SIGKILL if force else signal.SIGTERM)

    async def stop(self) -> None:
        """End both; safe to call at any time and twice."""
        await _end(self._api, signal.SIGKILL)
        await _end(self._etcd, signal.SIGTERM)

    def _spawn(self, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            try:
                return subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    preexec_fn=self._preexec,  # noqa: PLW1509  the only way to set the parent-death signal before exec
                    start_new_session=True,
                )
            except OSError as error:
                raise EnvtestError(f"cannot start {argv[0]}: {error}") from error


async def _is_ready(client: ApiClient) -> bool:
    try:
        await client.request("GET", "/readyz")
    except (ApiFailed, aiohttp.ClientError, TimeoutError):
        return False
    return True


async def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is None or process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        await asyncio.to_thread(process.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait, STOP_SECONDS)


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").strip() or "its log is empty"
    except OSError as error:
        return f"its log cannot be read: {error}"
