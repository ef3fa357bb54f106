"""One node of the cluster: network, mount and PID namespace, and in them containerd and a kubelet that calls the real CNI plugins.

    start        power on: namespaces, containerd, kubelet, with what the node's folder kept from last time
    stop         power off: every process and container of it is gone at once, and no CNI plugin ran
    start_kubelet, stop_kubelet    containerd and kubelet alone: containers go on under their shims

It makes no cables: who holds the switch does that (cluster.py). Paths below /run/node are those inside the node.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.lab import kernel
from agent.lab.plan import LabNode
from realcluster import confine, nodeinit
from realcluster.image import PAUSE_IMAGE
from realcluster.needs import ROOT, Programs

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
NET_D = "/etc/cni/net.d"
KUBECONFIG = f"{nodeinit.OWN}/kubeconfig"
PLUGINS = f"{nodeinit.OWN}/cni-bin"
KUBELET_LEASE_SECONDS = 20
READY_SECONDS = 60.0
IMPORT_SECONDS = 180.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


class NodeError(Exception):
    """A program of the node did not come up; with the last lines that it wrote."""


class Node:
    def __init__(self, spec: LabNode, *, folder: Path, programs: Programs, cgroups: Sequence[Path], kubeconfig: Mapping[str, Any]) -> None:
        self.spec, self.name = spec, spec.name
        self.folder = folder
        self.netns = -1
        self._programs, self._cgroups = programs, tuple(cgroups)
        self._init: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        self._kubelet: subprocess.Popen[bytes] | None = None
        self._mount = self._pids = -1
        self._write_files(kubeconfig)

    @property
    def first_process(self) -> int:
        """Its number on the machine. Raises NodeError while the node is off."""
        if self._init is None:
            raise NodeError(f"{self.name} is switched off")
        return self._init.pid

    @property
    def root(self) -> Path:
        """The node's files, as anybody on the machine can read them."""
        return Path(f"/proc/{self.first_process}/root")

    def switch_on(self) -> None:
        """Namespaces and nothing in them yet; the network namespace is empty. Raises NodeError."""
        self.netns = kernel.new_netns()
        near, far = os.pipe()
        argv = [sys.executable, "-m", "realcluster.nodeinit", str(self.folder), str(far)]
        environ = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), str(ROOT)))}
        place = confine.Place(netns=self.netns, cgroups=self._cgroups)
        try:
            self._init = confine.start(argv, log=self._log("init"), place=place, first=True, environ=environ, pass_fds=(far,))
        finally:
            os.close(far)
        with os.fdopen(near, "rb") as pipe:
            if not select.select([pipe], [], [], READY_SECONDS)[0] or not pipe.read(1):
                raise NodeError(f"{self.name} does not start: {self._tail('init')}")
        self._mount = os.open(f"/proc/{self._init.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._pids = os.open(f"/proc/{self._init.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def start_containerd(self) -> None:
        argv = ["containerd", "--config", f"{nodeinit.OWN}/containerd.toml"]
        self._containerd = self._start(argv, "containerd")

    def start_kubelet(self) -> None:
        words = {
            "config": f"{nodeinit.OWN}/kubelet.yaml",
            "kubeconfig": KUBECONFIG,
            "hostname-override": self.name,
            "node-ip": self.spec.management_address,
            "root-dir": f"{nodeinit.OWN}/kubelet",
            "cert-dir": f"{nodeinit.OWN}/kubelet-pki",
        }
        self._kubelet = self._start(
            [str(self._programs.assets / "kubelet"), *(f"--{key}={value}" for key, value in words.items())], "kubelet"
        )

    def revive_kubelet(self) -> str:
        """Starts a kubelet that ended by itself again, as systemd does. Returns the last words of the one that ended, if it did."""
        if self._kubelet is None or self._kubelet.poll() is None:
            return ""
        self.start_kubelet()
        return self._tail("kubelet")[-300:] or "it said nothing"

    def kubelet_log(self) -> str:
        return self._tail("kubelet")

    def stop_programs(self) -> None:
        """Kills kubelet and containerd, and nothing that they started."""
        confine.stop(self._kubelet, self._containerd)
        self._kubelet = self._containerd = None

    def switch_off(self) -> None:
        """Pulls the plug. Safe to call twice."""
        confine.stop(self._init, self._kubelet, self._containerd)
        for descriptor in (self.netns, self._mount, self._pids):
            if descriptor >= 0:
                os.close(descriptor)
        self._init = self._kubelet = self._containerd = None
        self.netns = self._mount = self._pids = -1

    def command(self, *argv: str, log: str = "commands") -> subprocess.Popen[bytes]:
        """Starts a program in the node, as root logged in there would."""
        return self._start(argv, log)

    def import_image(self, archive: str) -> subprocess.Popen[bytes]:
        """`archive` is a path inside the node."""
        return self.command("ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "import", archive, log="import")

    def containerd_answers(self) -> bool:
        """Raises NodeError if containerd has ended."""
        if self._containerd is not None and self._containerd.poll() is not None:
            raise NodeError(f"containerd of {self.name} ended: {self._tail('containerd')}")
        return self.command("ctr", "--address", CONTAINERD_SOCKET, "version").wait(READY_SECONDS) == 0

    def ip(self, *lines: str) -> None:
        """Lines for `ip -batch` in the node's network namespace. Raises NodeError."""
        run_ip(self.netns, *lines)

    def ip_json(self, *words: str) -> Any:
        return ip_json(self.netns, *words)

    def _start(self, argv: Sequence[str], name: str) -> subprocess.Popen[bytes]:
        place = confine.Place(netns=self.netns, mount=self._mount, pids=self._pids, cgroups=self._cgroups)
        return confine.start(argv, log=self._log(name), place=place, environ=ENVIRONMENT)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        return self._log(name).read_text(errors="replace")[-2000:].strip()

    def _write_files(self, kubeconfig: Mapping[str, Any]) -> None:
        net_d = self.folder / nodeinit.KEPT["/etc/cni"] / "net.d"
        (net_d / "whereabouts.d").mkdir(parents=True, exist_ok=True)
        files = {
            self.folder / "kubeconfig": json.dumps(kubeconfig),
            self.folder / "containerd.toml": containerd_toml(),
            self.folder / "kubelet.yaml": json.dumps(kubelet_configuration()),
            net_d / "00-multus.conf": json.dumps(multus_configuration(self.spec)),
            net_d / "whereabouts.d/whereabouts.conf": json.dumps(whereabouts_configuration()),
        }
        for path, text in files.items():
            path.write_text(text)
        plugins = self.folder / Path(PLUGINS).name
        plugins.mkdir(exist_ok=True)
        for source, names in (
            (self._programs.cni, ("multus", "whereabouts")),
            (self._programs.cni_plugins, ("bridge", "host-local", "loopback")),
        ):
            for name in names:
                (plugins / name).unlink(missing_ok=True)
                (plugins / name).symlink_to(source / name)


def containerd_toml() -> str:
    """`restrict_oom_score_adj`: where we may not lower a score ourselves, runc dies of trying."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    absent = ", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in ("aufs", "btrfs", "devmapper", "zfs"))
    return f"""version = 2
root = "{nodeinit.OWN}/containerd"
state = "/run/containerd"
disabled_plugins = [{absent}]
[grpc]
address = "{CONTAINERD_SOCKET}"
[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
[{cri}.cni]
bin_dir = "{PLUGINS}"
conf_dir = "{NET_D}"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def kubelet_configuration() -> dict[str, Any]:
    """Without cgroups per QoS class, so that containers stay below the cgroup in which containerd was started."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "failCgroupV1": False,
        "localStorageCapacityIsolation": False,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "evictionHard": {"memory.available": "1Mi"},
        "podLogsDir": f"{nodeinit.OWN}/pods",
        "volumePluginDir": f"{nodeinit.OWN}/volume-plugins",
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": KUBELET_LEASE_SECONDS,
        "syncFrequency": "10s",
    }


def multus_configuration(node: LabNode) -> dict[str, Any]:
    """As Harvester's RKE2 has it: the pod network's plugin first, then what the pod's annotation asks for."""
    pod_network = {
        "cniVersion": "0.3.1",
        "name": "k8s-pod-network",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": f"{nodeinit.OWN}/host-local",
                    "ranges": [[{"subnet": node.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    return {
        "cniVersion": "0.3.1",
        "name": "multus-cni-network",
        "type": "multus",
        "kubeconfig": KUBECONFIG,
        "binDir": PLUGINS,
        "confDir": NET_D,
        "namespaceIsolation": False,
        "delegates": [pod_network],
    }


def whereabouts_configuration() -> dict[str, Any]:
    log = {"log_file": f"{nodeinit.OWN}/whereabouts.log", "log_level": "debug"}
    return {"datastore": "kubernetes", "kubernetes": {"kubeconfig": KUBECONFIG}, **log}


def run_ip(netns: int, *lines: str) -> None:
    """Raises NodeError with ip's own words."""
    with kernel.inside(netns):
        done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True, timeout=30, check=False)
    if done.returncode != 0:
        raise NodeError(f"ip: {' '.join(done.stderr.split())}")


def ip_json(netns: int, *words: str) -> Any:
    with kernel.inside(netns):
        done = subprocess.run(["ip", "-json", *words], text=True, capture_output=True, timeout=30, check=False)
    if done.returncode != 0:
        raise NodeError(f"ip: {' '.join(done.stderr.split())}")
    return json.loads(done.stdout or "[]")
