"""What is installed is what was written: the wheel holds the pages and definitions, and runs away from the checkout."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from agent import __version__
from agent.model.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("pip", "setuptools")), reason="pip and setuptools build the wheel"
)


def run(*words: str, folder: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(words, cwd=folder, env=clean | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(source: Path, *, target: Path) -> Path:
    """The wheel made from a copy of the sources: a build leaves its own folders behind."""
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target), str(source), folder=target)
    (wheel,) = target.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "agent", folder / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(source, target=tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("installed")
    run(*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel), folder=target)
    yield target
    shutil.rmtree(target, ignore_errors=True)


def contents(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_a_page_for_each_finding(wheel: Path) -> None:
    assert {f"agent/serve/runbooks/{name}.md" for name in (*CATALOGUE, "README")} <= contents(wheel)


def test_the_wheel_has_the_labs_definitions_and_the_type_marker(wheel: Path) -> None:
    definitions = {f"agent/lab/crds/{path.name}" for path in (ROOT / "agent/lab/crds").glob("*.yaml")}
    assert definitions
    assert {*definitions, "agent/py.typed"} <= contents(wheel)


def test_the_wheel_has_nothing_but_the_agent(wheel: Path) -> None:
    """No test, no build folder, no cache: its every file lies in `agent` or tells of it."""
    assert {name.split("/")[0] for name in contents(wheel)} == {"agent", f"lhnet_agent-{__version__}.dist-info"}
    assert not [name for name in contents(wheel) if "__pycache__" in name]


def test_the_installed_agent_says_its_version_from_another_folder(installed: Path, tmp_path: Path) -> None:
    told = run(sys.executable, "-m", "agent", "--version", folder=tmp_path, PYTHONPATH=str(installed))
    assert __version__ in told


def test_the_installed_agent_reads_its_own_pages_and_definitions(installed: Path, tmp_path: Path) -> None:
    program = (
        "import agent; from agent.serve import runbooks; from agent.lab.objects import definitions;"
        "print(agent.__file__); print(len(runbooks.names())); print(len(definitions()) > 0)"
    )
    told = run(sys.executable, "-c", program, folder=tmp_path, PYTHONPATH=str(installed))
    assert told.split() == [str(installed / "agent/__init__.py"), str(len(CATALOGUE)), "True"]


def test_the_image_is_built_without_the_lab(source: Path, tmp_path: Path) -> None:
    """As the Dockerfile does it: the lab is taken out first, the pages stay, and the command still starts."""
    bare, target = tmp_path / "source", tmp_path / "image"
    shutil.copytree(source / "agent", bare / "agent", ignore=shutil.ignore_patterns("lab", "lab.py", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source / name, bare)
    wheel = built(bare, target=tmp_path)
    assert not [name for name in contents(wheel) if "/lab" in name]
    assert "agent/serve/runbooks/peer-unreachable.md" in contents(wheel)
    run(*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel), folder=tmp_path)
    assert __version__ in run(sys.executable, "-m", "agent", "--version", folder=tmp_path, PYTHONPATH=str(target))
