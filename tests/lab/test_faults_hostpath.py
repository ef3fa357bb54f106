"""Each fault of a node's own side, injected for real: the node's agent names the broken part over HTTP, nobody says what nobody expected,
the drawing shows it, and all of it goes once the fault is mended."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from expectations import CRITICAL, NO_ROUTE, WARNING, Expected, Json, Scene
from test_faults import FOUND_SECONDS, LOOK_SECONDS, ROUNDS_AFTER, Agents

from agent.lab.client import LabClient
from agent.lab.repertoire import FAULTS

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

HOSTPATH_FAULTS = [name for name, fault in FAULTS.items() if fault.family == "hostpath"]


def _on_node(scene: Scene, finding: str, *, reason: str | None, severities: frozenset[str] = CRITICAL) -> Expected:
    return Expected(
        node=scene.node,
        id=finding,
        subject={"node": scene.node},
        severities=severities,
        reasons=None if reason is None else frozenset({reason}),
        explained_by="",
    )


def _between_nodes(scene: Scene) -> Iterator[tuple[str, str]]:
    """Sources and peers of which one is on the broken node."""
    for source in scene.pods("im"):
        for peer in scene.pods("im", "bim"):
            if (scene.home(source) == scene.node) != (scene.home(peer) == scene.node):
                yield source, peer


def _cut_off(scene: Scene, finding: str, *, reason: str) -> Iterator[Expected]:
    yield _on_node(scene, finding, reason=reason)
    for source, peer in _between_nodes(scene):
        yield scene.pair(source, peer, reasons=NO_ROUTE)


def _uplink_down(scene: Scene) -> Iterator[Expected]:
    yield from _cut_off(scene, "uplink-down", reason="no_carrier")


def _uplink_off_bridge(scene: Scene) -> Iterator[Expected]:
    yield from _cut_off(scene, "uplink-missing", reason="not_attached")


def _bridge_deleted(scene: Scene) -> Iterator[Expected]:
    """The node's own pods lose each other too."""
    yield from _cut_off(scene, "bridge-missing", reason="missing")
    for source in scene.pods("im"):
        for peer in scene.pods("bim"):
            if scene.home(source) == scene.home(peer) == scene.node:
                yield scene.pair(source, peer, reasons=NO_ROUTE)


def _veth_off_bridge(scene: Scene) -> Iterator[Expected]:
    yield scene.on_pod("veth-detached", reasons=frozenset({"no_bridge"}))
    yield from scene.from_pod("veth-detached", reasons=NO_ROUTE)
    yield from scene.to_pod(scene.pod, reasons=NO_ROUTE)


def _mtu_lowered(scene: Scene) -> Iterator[Expected]:
    yield _on_node(scene, "mtu-chain", reason="nic", severities=WARNING)
    for source, peer in _between_nodes(scene):
        yield scene.pair(source, peer, id="large-packets-lost", required=False)


def _bridge_netfilter_on(scene: Scene) -> Iterator[Expected]:
    yield _on_node(scene, "bridge-netfilter", reason=None, severities=WARNING)


EXPECTATIONS: dict[str, Callable[[Scene], Iterator[Expected]]] = {
    "uplink-down": _uplink_down,
    "bridge-deleted": _bridge_deleted,
    "uplink-off-bridge": _uplink_off_bridge,
    "veth-off-bridge": _veth_off_bridge,
    "mtu-lowered": _mtu_lowered,
    "bridge-netfilter-on": _bridge_netfilter_on,
}
DRAWN = {
    "uplink-down": "ens5 NO CARRIER",
    "bridge-deleted": "storage-br MISSING",
    "uplink-off-bridge": "NO UPLINK (ens5 not on it)",
    "veth-off-bridge": "ON NO BRIDGE",
    "mtu-lowered": "ens5 1400",
    "bridge-netfilter-on": "bridge-nf-call-iptables is 1",
}


def test_every_fault_has_its_expectations() -> None:
    assert set(EXPECTATIONS) == set(DRAWN) == set(HOSTPATH_FAULTS)


@pytest.mark.parametrize("agent_lab", ["embedded"], indirect=True)
def test_a_healthy_lab_draws_the_whole_path_on_every_node(agent_lab: LabClient) -> None:
    Agents(agent_lab, patience_seconds=FOUND_SECONDS).wait_until_healthy("in the beginning")
    for node in agent_lab.ask("status")["nodes"]:
        path = json.loads(_get(agent_lab, node, "/api/v1/interfaces"))["host_path"]
        assert (path["cluster_network"], path["bridge"]["name"], path["uplink"]["name"]) == ("storage", "storage-br", "ens5")
        assert {veth["bridge"] for veth in path["veths"]} == {"storage-br"}
        assert len(path["veths"]) == 2
        assert "mtu 1500 all along" in _get(agent_lab, node, "/interfaces")


@pytest.mark.parametrize("agent_lab", ["embedded"], indirect=True)
@pytest.mark.parametrize("name", HOSTPATH_FAULTS)
def test_the_agents_find_the_fault_and_nothing_else(agent_lab: LabClient, name: str) -> None:
    agents = Agents(agent_lab, patience_seconds=FOUND_SECONDS)
    _wait_until_silent(agents)
    active: Json = agent_lab.ask("inject", name=name)
    try:
        scene = Scene(agent_lab.ask("status"), active)
        expected = list(EXPECTATIONS[name](scene))
        agents.wait_until_found(expected)
        agents.watch_for_surprises(expected, rounds=ROUNDS_AFTER)
        assert DRAWN[name] in _get(agent_lab, scene.node, "/interfaces")
    finally:
        agent_lab.ask("clear", name=name)
    _wait_until_silent(agents)


def _wait_until_silent(agents: Agents) -> None:
    """Healthy, and without what is explained and so leaves the verdict alone: it would be found at the next fault."""
    agents.wait_until_healthy("before or after a fault")
    deadline = time.monotonic() + FOUND_SECONDS
    while left := agents.findings():
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(LOOK_SECONDS)


def _get(lab: LabClient, node: str, path: str) -> str:
    url: str = lab.ask("status")["nodes"][node]["agent_url"]
    with urllib.request.urlopen(url + path, timeout=10) as answer:
        text: str = answer.read().decode()
    return text
