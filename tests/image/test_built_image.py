"""The image as it comes out of `make image`: what is in it, what is not, and that it runs with a read-only root."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from imageworld import ROOT, Image, archive, missing, unpack

from agent import __version__
from agent.model.catalogue import CATALOGUE

MOST_BYTES = 120_000_000
PREFIX = "opt/lhnet-agent"

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200), pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    folder = tmp_path_factory.mktemp("image")
    try:
        yield unpack(archive(), folder=folder)
    finally:
        # Mounts of a run were in a namespace of their own; still, never across one.
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)


def site_packages(image: Image) -> Path:
    (found,) = (image.root / PREFIX / "lib").glob("python3.*/site-packages")
    return found


def test_it_is_called_as_the_daemon_set_calls_it(image: Image) -> None:
    called = re.findall(r"^ +image: (\S+)$", (ROOT / "manifests/base/daemonset.yaml").read_text(), flags=re.MULTILINE)
    assert [name.removeprefix("docker.io/library/") for name in image.names] == called


def test_its_labels_say_what_it_is(image: Image) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in image.config["Labels"].items()}
    assert labels["title"] == "lhnet-agent"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(-dirty)?", labels["revision"])


def test_it_adds_little_to_its_base(image: Image) -> None:
    print(f"{image.added_bytes / 1e6:.0f} MB on top of the base")
    assert image.added_bytes < MOST_BYTES


def test_nothing_to_build_with_is_in_it_and_nothing_of_the_lab(image: Image) -> None:
    packages = {path.name.lower() for path in site_packages(image).iterdir()}
    assert not [name for name in packages if name.startswith(("pip", "setuptools", "wheel", "kubernetes", "pytest"))]
    assert not (site_packages(image) / "agent/lab").exists()
    assert not (site_packages(image) / "agent/cli/lab.py").exists()
    assert not (image.root / "wheels").exists()
    assert not (image.root / "src").exists()


def test_the_base_made_here_has_no_package_manager_and_no_compiler(image: Image) -> None:
    if not (image.root / "usr/bin/python3").exists():
        pytest.skip("this image stands on another base")
    programs = {path.name for folder in ("usr/bin", "usr/sbin", "usr/local/bin") for path in (image.root / folder).iterdir()}
    assert not programs & {"apt", "apt-get", "gcc", "cc", "make", "pip", "pip3", "curl", "wget"}


def test_everything_is_compiled(image: Image) -> None:
    """With a read-only root nothing can be compiled later, and every start would cost three times the CPU."""
    sources = [path for path in site_packages(image).rglob("*.py") if "__pycache__" not in path.parts]
    assert len(sources) > 500
    assert [str(path) for path in sources if not list((path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc"))] == []


def test_it_starts_as_user_0_with_run_as_its_command(image: Image) -> None:
    """Capabilities that a manifest adds reach no other user."""
    assert image.config.get("User", "") in ("", "0", "root")
    assert image.config["Entrypoint"] == ["/opt/lhnet-agent/bin/lhnet-agent"]
    assert image.config["Cmd"] == ["run"]
    assert image.environment["MALLOC_ARENA_MAX"] == "1"
    assert list(image.config["ExposedPorts"]) == ["9811/tcp"]


def test_it_runs(image: Image) -> None:
    told = image.run("--version")
    assert (told.returncode, told.stderr) == (0, "")
    assert __version__ in told.stdout
    told = image.run("--help")
    assert told.returncode == 0
    assert " run " in told.stdout
    assert " lab " not in told.stdout, "there is none in it"


def test_it_prints_its_settings(image: Image) -> None:
    told = image.run("config", "-o", "json")
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)


def test_it_explains_an_event(image: Image) -> None:
    told = image.run(
        "explain-event", "-o", "json", "Could not allocate IP in range: ip: 192.168.7.1 / - 192.168.7.6 / range: 192.168.7.0/29"
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)["cause"] == "ip_exhausted"


def test_every_module_is_there_with_what_it_needs(image: Image) -> None:
    program = (
        "import importlib, pkgutil, agent\n"
        "names = [found.name for found in pkgutil.walk_packages(agent.__path__, 'agent.')]\n"
        "for name in names:\n"
        "    if name != 'agent.__main__': importlib.import_module(name)\n"
        "from agent.serve import runbooks\n"
        "print(len(names), len(runbooks.names()))\n"
    )
    told = image.run("-c", program, entrypoint=["/opt/lhnet-agent/bin/python"])
    assert (told.returncode, told.stderr) == (0, "")
    modules, pages = map(int, told.stdout.split())
    assert modules > 100
    assert pages == len(CATALOGUE)
