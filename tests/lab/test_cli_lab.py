"""`lhnet-agent lab` as a person meets it: up, status, inject, clear, down, and every way in which a lab can end.

A stand-in takes the agents' place, so that these tests are about the lab alone.
"""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labtools import GONE_SECONDS, STANDIN, missing_for_a_lab

from agent.cli import main
from agent.lab import traces
from agent.lab.apiclient import ApiClient
from agent.lab.kernel import CAPABILITIES
from agent.lab.manifest import DEFAULT_FOLDER, read_manifest

needs_lab = pytest.mark.skipif(bool(missing_for_a_lab()), reason=missing_for_a_lab() or "-")
AGENT_COMMAND = shlex.join([sys.executable, str(STANDIN)])
WAIT_SECONDS = 30.0


@pytest.fixture
def place(lab_place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own lab for this test, with the embedded API."""
    monkeypatch.setenv("LHNET_LAB_DIR", str(lab_place))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return lab_place


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `lhnet-agent WORDS` here; gives exit status, standard output and standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def up(run: Run, *words: str, nodes: int = 1) -> dict[str, Any]:
    status, out, err = run("lab", "up", "--nodes", str(nodes), "--agent-command", AGENT_COMMAND, "-o", "json", *words)
    assert (status, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    return document


def facts(status: dict[str, Any], node: str = "harv41") -> dict[str, Any]:
    """What the stand-in tells of itself."""
    with urllib.request.urlopen(status["nodes"][node]["agent_url"] + "/facts", timeout=10) as answer:
        document: dict[str, Any] = json.load(answer)
    return document


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
    return value


# without a lab


def test_faults_are_listed_without_root_or_a_lab(run: Run) -> None:
    status, out, _ = run("lab", "faults", "-o", "json")
    assert status == 0
    faults = {fault["name"]: fault for fault in json.loads(out)}
    assert faults["link-down"]["targets"] == ["pod"]
    assert {"id": "interface-down", "where": "subject"} in faults["link-down"]["findings"]
    assert {"id": "peer-unreachable", "where": "observers"} in faults["link-down"]["findings"]
    for fault in faults.values():
        assert set(fault) == {"name", "breaks", "targets", "findings"}
        assert {target for target in fault["targets"]} <= {"node", "pod", "peer"}


def test_the_list_fits_a_terminal(run: Run) -> None:
    _, out, _ = run("lab", "faults")
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("lab",), "lhnet-agent lab: name a command: up, status, faults, inject, clear, down\n"),
        (("lab", "up", "--nodes", "0"), "lhnet-agent lab up: argument --nodes: '0' is not a number from 1 to 60\n"),
        (("lab", "up", "--set", "x"), "lhnet-agent lab up: argument --set: 'x' is not KEY=VALUE, e.g. probe.interval_seconds=5\n"),
    ],
)
def test_usage_errors_are_one_line_and_64(run: Run, words: tuple[str, ...], line: str) -> None:
    assert run(*words) == (64, "", line)


def test_an_unknown_fault_is_a_usage_error_that_lists_the_known_ones(run: Run) -> None:
    status, _, err = run("lab", "inject", "link-dwon")
    assert status == 64
    assert err.startswith("lhnet-agent lab inject: no fault is called 'link-dwon'; there are: link-down, ")
    assert err.count("\n") == 1


def test_without_root_one_line_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (("up",), ("status",), ("inject", "link-down"), ("down",)):
        status, out, err = run("lab", *words)
        assert (status, out) == (1, "")
        assert "needs root" in err
        assert err.count("\n") == 1


@pytest.mark.root
@needs_lab
class TestWithoutLab:
    def test_down_is_no_error(self, run: Run, place: Path) -> None:
        assert run("lab", "down") == (0, "no lab was running\n", "")

    def test_status_says_how_to_start_one(self, run: Run, place: Path) -> None:
        assert run("lab", "status") == (1, "", "lhnet-agent lab status: no lab is running; lhnet-agent lab up starts one\n")

    def test_a_missing_ip_names_its_package(self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        assert run("lab", "up") == (1, "", "lhnet-agent lab up: ip is missing; on Debian: apt-get install iproute2\n")

    def test_somebody_elses_folder_is_left_alone(self, run: Run, place: Path) -> None:
        place.mkdir()
        precious = place / "thesis.txt"
        precious.write_text("years of work")
        for action in ("up", "down"):
            status, _, err = run("lab", action)
            assert status == 1
            assert "no lab made it" in err
        assert precious.read_text() == "years of work"
        precious.unlink()

    def test_an_agent_that_cannot_start_ends_the_lab_with_its_own_words(self, run: Run, place: Path) -> None:
        command = shlex.join([sys.executable, "-c", "raise SystemExit('probe.intervall_seconds: no such setting')"])
        status, out, err = run("lab", "up", "--nodes", "1", "--agent-command", command)
        assert (status, out) == (1, "")
        assert err == "lhnet-agent lab up: the agent on harv41 ends again and again: probe.intervall_seconds: no such setting\n"
        assert not place.exists()


# a lab from up to down


@pytest.mark.root
@needs_lab
class TestLab:
    def test_up_shows_what_the_contract_promises(self, run: Run, place: Path) -> None:
        status = up(run, nodes=2)
        assert list(status["nodes"]) == ["harv41", "harv42"]
        node = status["nodes"]["harv41"]
        assert node["agent_url"].startswith("http://127.0.0.1:")
        assert sorted(pod["role"] or "" for pod in node["pods"].values()) == ["", "bim", "im"]
        for pod in node["pods"].values():
            seen = subprocess.run(
                ["nsenter", f"--net={pod['netns']}", "ip", "-br", "addr"], capture_output=True, text=True, check=True
            ).stdout
            assert pod["pod_ip"] in seen
            assert pod["address"] is None or pod["address"] in seen
        assert status["api"].startswith("https://127.0.0.1:")
        assert status["faults"] == []
        assert "harv42" in run("lab", "status")[1]
        assert run("lab", "down") == (0, "the lab is down, nothing is left\n", "")

    def test_the_agent_has_exactly_the_manifests_rights(self, run: Run, place: Path) -> None:
        manifest = read_manifest(DEFAULT_FOLDER)
        seen = facts(up(run, "--set", "probe.interval_seconds=5", "--set", "findings.bond-degraded=off"))
        granted = sum(1 << CAPABILITIES.index(name) for name in manifest.capabilities)
        assert seen["capabilities"] == {"CapInh": 0, "CapPrm": granted, "CapEff": granted, "CapBnd": granted, "CapAmb": 0}
        assert seen["no_new_privs"] == "1"
        assert seen["writable"] == ["/var/lib/lhnet-agent"]
        assert seen["environment"]["NODE_NAME"] == "harv41"
        assert seen["environment"]["KUBERNETES_SERVICE_HOST"] == "10.53.0.1"
        assert seen["environment"]["LHNET_PROBE__INTERVAL_SECONDS"] == "5"
        assert seen["environment"]["LHNET_FINDINGS__BOND_DEGRADED"] == "off"
        assert seen["token"]

    def test_the_agent_sees_its_node_and_not_the_machine(self, run: Run, place: Path) -> None:
        seen = facts(up(run))
        assert {"lo", "ens3", "ens5", "storage-br", "cni0"} <= set(seen["interfaces"])
        assert len(seen["netns_files"]) == 5
        assert len(seen["namespaces"]) == 4
        netns = [line for line in seen["mounts"] if line.split()[4] == "/run/netns"]
        assert len(netns) == 1
        assert " master:" in netns[0]
        assert " shared:" not in netns[0]

    def test_pods_that_come_and_go_are_seen_by_the_confined_agent(self, run: Run, place: Path) -> None:
        """namespace-hidden unmounts a file on the node: that must reach the agent's copy, and so must the mount that mends it."""
        status = up(run)
        run("lab", "inject", "namespace-hidden")
        assert len(facts(status)["namespaces"]) == 3
        run("lab", "clear", "namespace-hidden")
        assert len(facts(status)["namespaces"]) == 4

    def test_faults_are_injected_shown_refused_twice_and_cleared(self, run: Run, place: Path) -> None:
        up(run, nodes=2)
        code, out, _ = run("lab", "inject", "link-down", "--node", "harv42", "-o", "json")
        active = json.loads(out)
        assert (code, active["name"], active["node"], active["peer"]) == (0, "link-down", None, None)
        assert active["pod"].startswith("longhorn-system/instance-manager-")
        code, _, err = run("lab", "inject", "link-down", "--node", "harv42")
        assert (code, err.count("\n")) == (1, 1)
        assert "is active there already" in err
        assert [fault["name"] for fault in json.loads(run("lab", "status", "-o", "json")[1])["faults"]] == ["link-down"]
        assert run("lab", "clear", "port-closed")[0] == 64
        assert run("lab", "clear", "link-down")[:2] == (0, f"mended: link-down, pod {active['pod']}\n")
        assert run("lab", "clear") == (0, "nothing was broken\n", "")

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (("link-down", "--node", "harv49"), "no node is called 'harv49'; there are: harv41"),
            (("link-down", "--pod", "nobody"), "no storage pod is called 'nobody'; there are: longhorn-system/"),
            (("segment-moved", "--pod", "x"), "segment-moved takes --node, not --pod"),
            (("api-stopped", "--node", "harv41"), "api-stopped takes no target, not --node"),
            (("route-shadowed",), "route-shadowed needs two pods"),
        ],
    )
    def test_a_target_that_is_not_there_is_a_usage_error(self, run: Run, place: Path, words: tuple[str, ...], part: str) -> None:
        up(run)
        status, _, err = run("lab", "inject", *words)
        assert (status, err.count("\n")) == (64, 1)
        assert part in err

    def test_a_second_up_is_refused_and_another_name_is_not(self, run: Run, place: Path) -> None:
        first = up(run)
        status, _, err = run("lab", "up", "--agent-command", AGENT_COMMAND)
        assert (status, err) == (1, f"lhnet-agent lab up: a lab runs already in {place}; lhnet-agent lab down ends it\n")
        try:
            second = up(run, "--name", "beside")
            assert second["nodes"]["harv41"]["agent_url"] != first["nodes"]["harv41"]["agent_url"]
            assert facts(first)["token"] != facts(second)["token"]
        finally:
            run("lab", "down", "--name", "beside")
        assert facts(first)

    def test_kubectl_works_with_the_kubeconfig(self, run: Run, place: Path) -> None:
        status = up(run)
        config = json.loads(Path(status["kubeconfig"]).read_text())

        async def pods() -> list[dict[str, Any]]:
            token = config["users"][0]["user"]["token"]
            ca_cert = Path(config["clusters"][0]["cluster"]["certificate-authority"])
            async with ApiClient(server=config["clusters"][0]["cluster"]["server"], token=token, ca_cert=ca_cert) as client:
                return await client.list("v1", "Pod", namespace="longhorn-system")

        assert {f"longhorn-system/{pod['metadata']['name']}" for pod in asyncio.run(pods())} < set(status["nodes"]["harv41"]["pods"])

    def test_killed_agents_and_api_come_back_as_a_kubelet_brings_them(self, run: Run, place: Path) -> None:
        status = up(run)
        os.kill(status["nodes"]["harv41"]["agent_pid"], signal.SIGKILL)
        os.kill(status["api_pids"]["api"], signal.SIGKILL)

        def back() -> bool:
            now = json.loads(run("lab", "status", "-o", "json")[1])
            pids = (now["nodes"]["harv41"]["agent_pid"], now["api_pids"]["api"])
            return None not in pids and now["nodes"]["harv41"]["agent_restarts"] == 1 and pids[1] != status["api_pids"]["api"]

        until(back, "agent and API to be restarted")
        until(lambda: _answers(status["nodes"]["harv41"]["agent_url"]), "the agent to answer")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


# every way in which a lab can end


@pytest.mark.root
@needs_lab
class TestNothingIsLeft:
    def test_after_down(self, run: Run, place: Path) -> None:
        trace = traces.take(up(run, nodes=2))
        assert len(trace.processes) == 7
        run("lab", "inject", "link-down")
        run("lab", "inject", "api-frozen")
        run("lab", "down")
        assert trace.wait_until_gone(timeout_seconds=GONE_SECONDS) == []

    def test_after_the_supervisor_was_killed(self, run: Run, place: Path) -> None:
        status = up(run, nodes=2)
        trace = traces.take(status)
        os.kill(status["supervisor_pid"], signal.SIGKILL)
        assert trace.wait_until_gone(timeout_seconds=GONE_SECONDS) == []
        assert run("lab", "status")[0] == 1

    def test_after_everything_was_killed_the_next_up_clears_the_rest(self, run: Run, place: Path) -> None:
        trace = traces.take(up(run))
        for pid in trace.processes:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        second = traces.take(up(run))
        assert not set(trace.processes) & set(second.processes)
        run("lab", "down")
        assert second.wait_until_gone(timeout_seconds=GONE_SECONDS) == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_after_a_signal_to_the_supervisor(self, run: Run, place: Path, number: int) -> None:
        status = up(run)
        trace = traces.take(status)
        os.kill(status["supervisor_pid"], number)
        assert trace.wait_until_gone(timeout_seconds=GONE_SECONDS) == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_after_the_end_of_a_foreground_lab(self, run: Run, place: Path, number: int) -> None:
        words = [sys.executable, "-m", "agent", "lab", "up", "--nodes", "1", "--foreground", "--agent-command", AGENT_COMMAND, "-o", "json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout is not None
            trace = traces.take(json.loads(process.stdout.readline()))
            process.send_signal(number)
            assert trace.wait_until_gone(timeout_seconds=GONE_SECONDS) == []
            process.wait(timeout=WAIT_SECONDS)
        assert process.returncode == (0 if number == signal.SIGINT else -signal.SIGKILL)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_after_up_was_interrupted_half_way(self, run: Run, place: Path, number: int) -> None:
        """The agents of this lab never get ready, so that `up` is still waiting when it is hit."""
        silent = shlex.join([sys.executable, "-c", "import time; time.sleep(1000)"])
        words = [sys.executable, "-m", "agent", "lab", "up", "--nodes", "1", "--agent-command", silent]
        with subprocess.Popen(words, start_new_session=True) as process:
            until(lambda: list(place.glob("logs/agent-*.log")), "the agents' start")
            process.send_signal(number)
            process.wait(timeout=WAIT_SECONDS)
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        until(lambda: not place.exists(), "the lab's folder to go")
        until(lambda: not _processes_naming(str(place)), "the lab's processes to end")


def _processes_naming(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdecimal() else ""
        except OSError:
            continue
        if text in words:
            found.append(words)
    return found
