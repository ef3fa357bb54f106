"""Installs the agent as an operator does: its image, and `kubectl apply -k` of a small overlay on the one that Harvester clusters get.

The overlay changes three things: the name under which the image was imported, that nobody looks for it in a registry, and intervals that
fit a test. Rights, capabilities, limits and probes stay what the manifests say.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from realcluster.needs import ROOT, NeedsError

IMAGE_VARIABLE = "LHNET_IMAGE_TAR"
ARCHIVE = "build/lhnet-agent.tar"
BUILD_SECONDS = 900
"""A first build makes a base and fetches wheels; two minutes on two busy cores."""
OVERLAY = "manifests/overlays/harvester"
NAMESPACE = "lhnet-system"
IMAGE = "lhnet-agent"
"""As the manifests name it."""
SETTINGS: dict[str, Any] = {
    "probe": {"interval_seconds": 3, "timeout_seconds": 2},
    "inspect": {"interval_seconds": 3},
    "cluster": {"interval_seconds": 2},
    "api": {"stale_after_seconds": 20},
    "thresholds": {"disagreement_seconds": 3, "pod_grace_seconds": 10, "sandbox_grace_seconds": 5},
}
"""What is judged and how often it must be seen is as in production."""


def agent_image() -> Path:
    """The archive that LHNET_IMAGE_TAR names, else the one of `make image`, built if it is not up to date. Raises NeedsError."""
    if named := os.environ.get(IMAGE_VARIABLE):
        if not Path(named).is_file():
            raise NeedsError(f"{IMAGE_VARIABLE}={named} is no file")
        return Path(named)
    if absent := [program for program in ("make", "flock", "buildah", "mmdebstrap") if shutil.which(program) is None]:
        raise NeedsError(f"the agent's image needs {', '.join(absent)} (Debian's names), or {IMAGE_VARIABLE} to name an archive of it")
    # Whoever runs this has the virtual environment; make must not renew it underneath.
    argv = ["make", "--no-print-directory", "-o", ".venv/.installed", ARCHIVE]
    environ = {"LHNET_IMAGE_BASE": "made", **os.environ}
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"make {ARCHIVE}: {done.stdout}{done.stderr}")
    return ROOT / ARCHIVE


def write_overlay(folder: Path, *, image: str, overlay: str = OVERLAY) -> Path:
    """Returns the folder for `kubectl apply -k`. `image` is the archive's NAME:TAG."""
    folder.mkdir(parents=True, exist_ok=True)
    name, _, tag = image.rpartition(":")
    pull = {"op": "add", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "Never"}
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        # kustomize takes folders by relative path only.
        "resources": [os.path.relpath(ROOT / overlay, folder.resolve())],
        "images": [{"name": IMAGE, "newName": name, "newTag": tag}],
        "patches": [{"target": {"kind": "DaemonSet", "name": "lhnet-agent"}, "patch": yaml.safe_dump([pull])}],
        "configMapGenerator": [
            {"name": "lhnet-agent-config", "namespace": NAMESPACE, "behavior": "replace", "files": ["config.yaml"]},
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder
