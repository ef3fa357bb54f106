"""The whole control plane gone while the storage network is broken: the holder killed, the API stopped, and one curl to any agent left."""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from agent.lab.client import LabClient

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.5


def get(lab: LabClient, node: str, path: str) -> dict[str, Any]:
    url = lab.ask("status")["nodes"][node]["agent_url"]
    with urllib.request.urlopen(url + path, timeout=30) as answer:
        document: dict[str, Any] = json.load(answer)
    return document


def until(read: Callable[[], dict[str, Any]], condition: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(told := read()):
        assert time.monotonic() < deadline, f"waited in vain for {what}; last: {json.dumps(told)[:2000]}"
        time.sleep(LOOK_SECONDS)
    return told


def mesh_findings(document: dict[str, Any]) -> list[tuple[str, str]]:
    ids = ("network-down", "network-split", "node-cut-off", "node-down", "one-way")
    return [(one["id"], one["culprit"]) for one in document["findings"] if one["id"] in ids]


@pytest.mark.parametrize("agent_lab", ["embedded"], indirect=True)
def test_without_a_holder_and_without_the_api_the_culprit_is_still_named(agent_lab: LabClient) -> None:
    nodes = list(agent_lab.ask("status")["nodes"])
    healthy = until(
        lambda: get(agent_lab, nodes[0], "/api/v1/cluster"),
        lambda told: told["verdict"] == "ok" and told["findings_from"] != "self",
        "a healthy lab",
    )
    holder = healthy["findings_from"]
    asked, sick = [node for node in nodes if node != holder]
    broken = []
    try:
        for fault in ({"name": "segment-moved", "node": sick}, {"name": "holder-killed"}, {"name": "api-stopped"}):
            agent_lab.ask("inject", **fault)
            broken.append(fault["name"])
        told = until(
            lambda: get(agent_lab, asked, "/api/v1/cluster"),
            lambda told: told["findings_from"] == "self" and ("node-cut-off", sick) in mesh_findings(told),
            f"{asked} to say by itself that {sick} is cut off",
        )
        assert mesh_findings(told) == [("node-cut-off", sick)], "and nobody else is blamed"
        assert told["verdict"] == "critical"
        assert "unreachable" in told["nodes"][holder]
        pairs = [one for node in (asked, sick) for one in told["nodes"][node]["findings"] if one["id"] == "peer-unreachable"]
        assert pairs
        assert {one["explained_by"] for one in pairs} == {f"node-cut-off:{sick}"}
        again = until(lambda: get(agent_lab, sick, "/api/v1/cluster"), mesh_findings, f"{sick} to say it of itself")
        assert mesh_findings(again) == [("node-cut-off", sick)]
    finally:
        for name in reversed(broken):
            agent_lab.ask("clear", name=name)
    until(
        lambda: get(agent_lab, asked, "/api/v1/cluster"),
        lambda told: told["verdict"] == "ok" and told["findings_from"] != "self",
        "everything to be well again",
    )
