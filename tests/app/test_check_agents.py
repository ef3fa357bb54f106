"""Step 4 of `check` and the uplinks of `preflight`: agents asked at their address or through the API server, and what forbids it."""

import base64
import os
from pathlib import Path

import pytest
from aiohttp import web
from stepsworld import ADMIN, NODES, READER, Objects, Said, World, mesh_document, prepare, refusing

from agent.lab.pki import Pki

FAST = {"cluster_network": "storage", "nics": [{"name": "ens5", "up": True, "carrier": True, "speed_mbits": 10000, "mtu_bytes": 1500}]}
PROXY = "/pods/lhnet-agent-"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pki]:
    folder = tmp_path_factory.mktemp("check-agents")
    return folder, prepare(folder)


@pytest.fixture
def world(made: tuple[Path, Pki], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    for name in [name for name in os.environ if name.startswith("LHNET_") or name in ("KUBECONFIG", "POD_NAMESPACE", "NODE_NAME")]:
        monkeypatch.delenv(name)
    return World(*made, capsys)


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes' addresses can be tried from here; the test's API server on loopback would tell otherwise."""
    monkeypatch.setattr("agent.edge.survey_asker.may_reach_nodes", lambda _: True)


def cut_off(node: str) -> dict:
    finding = {
        "id": "node-cut-off",
        "severity": "critical",
        "scope": "node",
        "subject": {"node": node},
        "culprit": node,
        "summary": f"{node} is cut off from the storage network",
        "next_step": f"look at the switch port of {node}; then on it: `ip -d link show`",
    }
    failing = [pair for other in NODES if other != node for pair in ((node, other), (other, node))]
    return mesh_document(NODES, failing=failing, verdict="critical", findings=[finding])


def proxied(world: World) -> list[str]:
    return [path for _, path in world.requests if PROXY in path]


async def check(world: World, objects: Objects, *words: str, **more) -> Said:
    return await world.ask(objects.all, "check", "-o", "json", *words, **more)


async def test_the_culprit_is_named_and_the_exit_status_is_critical(world: World, objects: Objects) -> None:
    world.agents.document = cut_off("harv43")
    said = await check(world, objects)
    assert (said.status, said.results["reachability"]) == (2, "critical")
    assert said.step("reachability")["seen"].startswith("harv43 is cut off from the storage network; 8 of 12 pairs between nodes fail")
    assert "ip -d link show; kubectl get --raw /api/v1/namespaces/lhnet-system/pods/" in said.step("reachability")["next_step"]
    text = await world.ask(objects.all, "check")
    assert "4  reachability   FAIL   harv43 is cut off from the storage network; 8 of 12\n" in text.out
    assert "    ip -d link show\n" in text.out
    assert text.out.splitlines()[-1].startswith("critical: 1 of 4 steps failed ")


async def test_behind_a_tunnel_agents_are_asked_through_the_api_server_alone(world: World, objects: Objects) -> None:
    said = await check(world, objects)
    assert said.results["reachability"] == "ok"
    assert proxied(world)[0].endswith("/proxy/api/v1/cluster")
    assert "through the API server" in said.step("reachability")["seen"]


async def test_where_nodes_can_be_reached_the_api_server_is_not_troubled(world: World, objects: Objects, near: None) -> None:
    said = await check(world, objects)
    assert said.results["reachability"] == "ok"
    assert proxied(world) == []
    assert "told by harv4" in said.step("reachability")["seen"]


async def test_the_holders_agent_is_asked_first(world: World, objects: Objects, near: None) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "lhnet-agent", "namespace": "lhnet-system"},
        "spec": {"holderIdentity": "harv43"},
    }
    objects.all = [one for one in objects.all if one["kind"] != "Lease"]
    objects.all.append(lease)
    said = await check(world, objects)
    assert "(told by harv43" in said.step("reachability")["seen"]
    assert {"harv43"} <= {node for node, _ in world.agents.asked}


async def test_an_agent_that_refuses_is_passed_over(world: World, objects: Objects, near: None) -> None:
    world.agents.silent = {"harv41", "harv42"}
    said = await check(world, objects)
    assert (said.status, said.results["reachability"]) == (0, "ok")
    assert "(told by harv43, " in said.step("reachability")["seen"] or "(told by harv43)" in said.step("reachability")["seen"]


async def test_when_no_agent_answers_it_cannot_tell_and_says_why(world: World, objects: Objects, near: None) -> None:
    world.agents.silent = set(NODES)
    said = await check(world, objects)
    assert (said.status, said.results["reachability"]) == (3, "unknown")
    step = said.step("reachability")
    assert "3 agents run, and none could be asked: the agent on harv4" in step["seen"]
    assert "refused; the API server's proxy says http 503" in step["seen"]
    assert "port-forward pod/lhnet-agent-" in step["next_step"]


async def test_without_agents_it_cannot_tell(world: World, objects: Objects) -> None:
    objects.without_agents()
    said = await check(world, objects)
    assert (said.status, said.results["reachability"]) == (3, "unknown")
    assert said.step("reachability")["seen"] == "no agent runs: none was found in namespace lhnet-system"
    assert said.step("reachability")["next_step"].endswith(
        "kubectl apply -k manifests/overlays/harvester; kubectl get pods -A -l app.kubernetes.io/name=lhnet-agent"
    )
    assert proxied(world) == []


async def test_a_stranger_at_a_nodes_address_is_not_believed(world: World, objects: Objects, near: None) -> None:
    """Another cluster's agent, on the network that the laptop is in just now."""
    for pod in objects.every("Pod"):
        if pod["metadata"]["name"].startswith("lhnet-agent-"):
            pod["spec"]["nodeName"] += "-of-ours"
    world.agents.answers_as = "harv41-of-theirs"
    said = await check(world, objects)
    assert said.results["reachability"] == "unknown"
    assert "it is of harv41-of-theirs, not of harv4" in said.step("reachability")["seen"]


async def test_who_may_not_use_the_proxy_is_told_so(world: World, objects: Objects) -> None:
    said = await check(world, objects, answer=refusing("/proxy/"))
    assert said.results["reachability"] == "unknown"
    assert "the API server does not let us use pods/proxy in lhnet-system" in said.step("reachability")["seen"]
    assert len(proxied(world)) == 3


async def test_in_a_pod_with_the_agents_rights_the_proxy_is_not_needed(world: World, objects: Objects, near: None) -> None:
    said = await check(world, objects, answer=refusing("/proxy/"))
    assert (said.status, said.results["reachability"]) == (0, "ok")


async def test_agents_that_want_a_password(world: World, objects: Objects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world.agents.authorization = f"Basic {base64.b64encode(b'lhnet:of this test').decode()}"
    (tmp_path / "password").write_text("of this test\n")
    terms = ("--set", "agents_client.username=lhnet", "--set", f"agents_client.password_file={tmp_path / 'password'}")
    said = await check(world, objects, *terms)
    assert said.results["reachability"] == "unknown"
    assert "wants a password, which that does not pass on" in said.step("reachability")["seen"]
    monkeypatch.setattr("agent.edge.survey_asker.may_reach_nodes", lambda _: True)
    assert (await check(world, objects, *terms)).status == 0
    missing = await check(world, objects, "--set", "agents_client.username=lhnet", "--set", "agents_client.password_file=/nowhere")
    assert "agents_client.password_file: " in missing.step("reachability")["seen"]


async def test_credentials_for_the_api_server_never_reach_an_agent(world: World, objects: Objects, near: None) -> None:
    for token in (ADMIN, READER):
        await check(world, objects, token=token)
    assert world.agents.seen_authorizations == {None}


async def test_an_agents_answer_that_is_no_json(world: World, objects: Objects) -> None:
    def garbage(request: web.Request) -> web.Response | None:
        return web.Response(text="<html>\x1b[2J") if "/proxy/" in request.path else None

    said = await check(world, objects, answer=garbage)
    assert said.results["reachability"] == "unknown"
    assert "bad answer: " in said.step("reachability")["seen"]


async def test_preflight_learns_each_uplink_at_the_nodes_addresses(world: World, objects: Objects, near: None) -> None:
    world.agents.uplinks = dict.fromkeys(NODES, FAST)
    said = await world.ask(objects.all, "preflight", "-o", "json")
    assert said.step("uplink")["seen"] == "3 nodes with at least 10000 Mbit/s"
    assert sorted(world.agents.asked) == [(node, "/api/v1/interfaces") for node in NODES]
    assert proxied(world) == []


async def test_agents_on_a_node_without_a_bridge_tell_no_uplink(world: World, objects: Objects) -> None:
    said = await world.ask(objects.all, "preflight", "-o", "json")
    assert said.results["uplink"] == "unknown"
    assert "tells of no uplink: no storage pod there is on a bridge" in said.step("uplink")["seen"]
