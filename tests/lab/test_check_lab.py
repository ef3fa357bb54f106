"""`check` against a lab with real agents, as a person with its kubeconfig runs it: healthy, then each with something broken."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.lab.client import LabClient

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.5
BOTH = [pytest.param("embedded", id="embedded"), pytest.param("real", id="real", marks=pytest.mark.apiserver)]

Check = Callable[[], tuple[int, dict[str, Any]]]


@pytest.fixture
def check(agent_lab: LabClient) -> Check:
    """Runs `lhnet-agent check` with the lab's kubeconfig; exit status and step 4."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LHNET_")}
    environment["KUBECONFIG"] = agent_lab.ask("status")["kubeconfig"]
    argv = [sys.executable, "-m", "agent", "check", "-o", "json"]

    def call() -> tuple[int, dict[str, Any]]:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        assert done.stderr == ""
        return done.returncode, next(step for step in json.loads(done.stdout)["steps"] if step["title"] == "reachability")

    return call


def until(check: Check, condition: Callable[[int, dict[str, Any]], bool]) -> tuple[int, dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(*(told := check())):
        assert time.monotonic() < deadline, f"waited in vain; last said: {told}"
        time.sleep(LOOK_SECONDS)
    return told


@pytest.mark.parametrize("agent_lab", BOTH, indirect=True)
def test_a_healthy_lab_passes_through_the_api_servers_proxy(check: Check) -> None:
    _, step = until(check, lambda status, _: status == 0)
    assert step["seen"].startswith("12 of 12 pairs between 3 nodes connect: TCP")
    assert " through the API server" in step["seen"]


@pytest.mark.parametrize("agent_lab", ["embedded"], indirect=True)
def test_a_node_on_a_segment_of_its_own_is_named(agent_lab: LabClient, check: Check) -> None:
    until(check, lambda status, _: status == 0)
    agent_lab.ask("inject", name="segment-moved", node="harv42")
    try:
        until(check, lambda status, step: status == 2 and step["seen"].startswith("harv42 is cut off"))
        # It is told as soon as it is seen; the other pairs fail one after another, and the second round confirms it.
        settled = ("8 of 12 pairs between nodes fail", "kubectl get --raw ")
        _, step = until(check, lambda _, step: all(words in step["seen"] + step["next_step"] for words in settled))
    finally:
        agent_lab.ask("clear", name="segment-moved")
    assert step["result"] == "critical"
    assert step["seen"].startswith("harv42 is cut off")
    until(check, lambda status, _: status == 0)


@pytest.mark.parametrize("agent_lab", ["embedded"], indirect=True)
def test_a_pod_whose_interface_is_down_is_named(agent_lab: LabClient, check: Check) -> None:
    until(check, lambda status, _: status == 0)
    active = agent_lab.ask("inject", name="link-down")
    try:
        status, step = until(check, lambda _, step: "is set down" in step["seen"])
    finally:
        agent_lab.ask("clear", name="link-down")
    assert (status, step["result"]) == (2, "critical")
    pod = active["pod"].partition("/")[2]
    assert f"kubectl -n longhorn-system exec {pod} -- ip link set lhnet1 up" in step["next_step"]
    until(check, lambda status, _: status == 0)
