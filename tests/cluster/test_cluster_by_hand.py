"""`make cluster`: what a person sees of it, and that nothing of it stays behind when it is killed."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from realcluster import confine
from realcluster.needs import ROOT, NeedsError, find_programs
from realcluster.timeline import wait_for

pytestmark = [pytest.mark.root, pytest.mark.apiserver, pytest.mark.timeout(600)]

UP_SECONDS = 240.0
GONE_SECONDS = 120.0


class Started:
    """A cluster of one node in a process of its own."""

    def __init__(self, image: Path) -> None:
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), str(ROOT))), "LHNET_IMAGE_TAR": str(image)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "realcluster", "--nodes", "1"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.printed = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line

    def find(self, pattern: str) -> str:
        """The first group of the pattern, once it was printed."""

        def look() -> bool:
            assert self.process.poll() is None, self.printed
            return re.search(pattern, self.printed) is not None

        wait_for(look, seconds=UP_SECONDS, what=pattern, seen=lambda: self.printed)
        found = re.search(pattern, self.printed)
        assert found is not None
        return found[1]

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(GONE_SECONDS)
        self._reader.join(GONE_SECONDS)
        return status


@pytest.fixture
def started(image: Path) -> Iterator[Started]:
    made = Started(image)
    yield made
    if made.process.poll() is None:
        made.end(signal.SIGKILL)
    if made.process.stdout is not None:
        made.process.stdout.close()


def traces(folder: Path) -> list[str]:
    """What is left of a cluster on the machine."""
    left = [f"process {pid}" for pid in confine.members(folder.name)]
    left += [str(path) for path in Path("/sys/fs/cgroup").rglob(folder.name)]
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    return left + ([str(folder)] if folder.exists() else [])


def kubectl(config: str, *words: str) -> str:
    argv = [str(find_programs().kubectl), f"--kubeconfig={config}", f"--cache-dir={config}.cache", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


def test_it_tells_how_to_look_around_and_leaves_nothing_when_it_is_killed(started: Started) -> None:
    """A person curls the agent, asks with kubectl, and then the process is killed hard: no handler of ours ever ran."""
    url = started.find(r"curl (http://127\.0\.0\.1:\d+)/cluster")
    kubeconfig = started.find(r"export KUBECONFIG=(\S+)\n")
    folder = Path(kubeconfig).parent
    shown = subprocess.run(["curl", "-sS", f"{url}/cluster"], capture_output=True, text=True, check=True, timeout=30)
    assert "harv41" in shown.stdout
    assert "harv41   Ready" in kubectl(kubeconfig, "get", "nodes")
    assert kubectl(kubeconfig, "-n", "lhnet-system", "logs", "daemonset/lhnet-agent")
    assert len(traces(folder)) > 10

    started.end(signal.SIGKILL)
    wait_for(lambda: not traces(folder), seconds=GONE_SECONDS, what="everything to be gone", seen=lambda: traces(folder))


def test_ctrl_c_while_it_comes_up_ends_it_at_once(started: Started) -> None:
    """Somebody changes their mind after three seconds, with the API server just starting."""
    folder = Path(started.find(r"files are in (\S+)"))
    wait_for(lambda: len(confine.members(folder.name)) > 1, seconds=UP_SECONDS, what="its first programs", seen=lambda: started.printed)
    assert started.end(signal.SIGINT) == 130
    assert traces(folder) == []
    assert "Traceback" not in started.printed


def test_a_machine_without_the_programs_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is asked for first")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(NeedsError, match=r"KUBEBUILDER_ASSETS does not name a folder with etcd|Debian's name"):
        find_programs()
