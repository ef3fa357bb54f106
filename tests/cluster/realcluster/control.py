"""The control plane: etcd, API server with an audit log, controllers and scheduler, all in the network namespace of the switch.

There is no kube-proxy. The service address of the API is an address of the switch itself, to which the nodes route; so clients in pods
work, and pods that are to reach other services do not.
"""

import base64
import contextlib
import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.lab import kernel
from agent.lab.apiclient import ApiClient
from agent.lab.envtest import Assets, apiserver_argv, etcd_argv
from agent.lab.pki import make_pki, write_tokens
from agent.lab.plan import SERVICE_ADDRESS
from agent.lab.wiring import MANAGEMENT_GATEWAY
from realcluster import confine
from realcluster.needs import Programs

ADMIN_TOKEN = "admin-token"
PORT = 443
ETCD_PORT, ETCD_PEER_PORT = 2379, 2380
READY_SECONDS = 90.0
GRACE_SECONDS = 25
"""After which a silent kubelet's node is NotReady; half of Kubernetes' own, as the kubelets report twice as often."""
SWITCHED_OFF_FOR_LABS = "--disable-admission-plugins="
"""Labs have no controller that gives pods their token; here there is one."""


class ControlError(Exception):
    """The control plane does not come up; with the last lines of the program's log."""


class ControlPlane:
    def __init__(self, *, folder: Path, programs: Programs, netns: int, cgroups: Sequence[Path]) -> None:
        self.folder, self._programs = folder, programs
        self._netns = netns
        self._place = confine.Place(netns=netns, cgroups=tuple(cgroups))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.audit_log = folder / "audit.log"
        self.pki = make_pki(folder / "pki", names=[MANAGEMENT_GATEWAY, SERVICE_ADDRESS, "127.0.0.1", "kubernetes.default.svc"])
        write_tokens(folder / "tokens.csv", {ADMIN_TOKEN: ("admin", ["system:masters"])})

    def kubeconfig(self, *, server: str = f"https://{MANAGEMENT_GATEWAY}:{PORT}") -> dict[str, Any]:
        """The administrator's, whole in one file: nodes see other folders than the machine."""
        authority = base64.b64encode(self.pki.ca_cert.read_bytes()).decode()
        cluster = {"server": server, "certificate-authority-data": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
        }

    def client(self) -> ApiClient:
        """To be used inside the switch's namespace."""
        return ApiClient(server=f"https://{MANAGEMENT_GATEWAY}:{PORT}", token=ADMIN_TOKEN, ca_cert=self.pki.ca_cert)

    def start(self) -> None:
        """All four programs, each once it has what it needs. Raises ControlError."""
        assets = Assets(etcd=self._programs.assets / "etcd", apiserver=self._programs.assets / "kube-apiserver")
        api = apiserver_argv(
            assets,
            pki=self.pki,
            tokens=self.folder / "tokens.csv",
            folder=self.folder,
            address="0.0.0.0",
            port=PORT,
            etcd_port=ETCD_PORT,
            audit_log=self.audit_log,
        )
        self._start("etcd", etcd_argv(assets, data=self.folder / "etcd", port=ETCD_PORT, peer_port=ETCD_PEER_PORT))
        api = [word for word in api if not word.startswith(SWITCHED_OFF_FOR_LABS)]
        # `kubectl logs` goes through the API server to a kubelet, and nobody resolves the nodes' names.
        self._start("kube-apiserver", [*api, "--kubelet-preferred-address-types=InternalIP"])
        self._wait_until_ready()
        config = self.folder / "kubeconfig"
        config.write_text(json.dumps(self.kubeconfig()))
        self._start(
            "kube-controller-manager",
            [
                str(self._programs.assets / "kube-controller-manager"),
                f"--kubeconfig={config}",
                f"--service-account-private-key-file={self.pki.service_account_key}",
                f"--root-ca-file={self.pki.ca_cert}",
                "--use-service-account-credentials=true",
                "--leader-elect=false",
                f"--node-monitor-grace-period={GRACE_SECONDS}s",
                f"--cert-dir={self.folder / 'generated'}",
            ],
        )
        scheduler = str(self._programs.assets / "kube-scheduler")
        self._start(
            "kube-scheduler", [scheduler, f"--kubeconfig={config}", "--leader-elect=false", f"--cert-dir={self.folder / 'generated'}"]
        )

    def stop(self) -> None:
        """Safe to call at any time."""
        for process in reversed(self._running.values()):
            confine.stop(process)
        self._running = {}

    def watch_over(self) -> None:
        """Raises ControlError for a program that has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ControlError(f"{name} ended with status {process.returncode}: {self._tail(name)}")

    def _start(self, name: str, argv: Sequence[str]) -> None:
        self._running[name] = confine.start(argv, log=self.folder / f"{name}.log", place=self._place)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            self.watch_over()
            if time.monotonic() > deadline:
                raise ControlError(f"kube-apiserver is not ready after {READY_SECONDS:.0f} s: {self._tail('kube-apiserver')}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.pki.ca_cert))
        connection = http.client.HTTPSConnection(MANAGEMENT_GATEWAY, PORT, timeout=5, context=context)
        with kernel.inside(self._netns), contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
            return connection.getresponse().status == 200
        return False

    def _tail(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:].strip()
