"""Labs of other shapes than three nodes with the setting applied: what they are made of, that controls put everything back, and what real
agents say in some of them. All of them together are played by `make matrix`."""

import json
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cases_shapes import CASES
from lab_clusterworld import Cluster, cluster
from labtools import AGENT_SETTINGS, missing_for_a_lab

from agent.cli import main
from agent.lab.client import LabClient, LabError, Wish
from agent.lab.future import FINDING, VERSION, later
from agent.lab.objects import everything
from agent.lab.plan import RWX_INTERFACE, LabPlan, ShapeError, make_plan, plan_of
from agent.lab.repertoire import find
from agent.model.gathered import Answered
from agent.model.peers import Mode, Role
from agent.rules.roundup_read import read_rows

Json = dict[str, Any]

needs_a_lab = pytest.mark.skipif(bool(missing_for_a_lab()), reason=missing_for_a_lab() or "-")
SAID_SECONDS = 90.0
LOOK_SECONDS = 0.3


def kinds(plan: LabPlan, *wanted: str) -> list[Json]:
    return [one for one in everything(plan) if one["kind"] in wanted]


def test_every_case_asks_for_a_lab_and_for_controls_that_there_are() -> None:
    for name, case in CASES.items():
        plan_of(Wish(**{key: value for key, value in case.up.items() if key != "settings"}).shape())
        for wish in case.inject:
            assert find(wish["name"]).name == wish["name"], name


def test_a_witness_has_no_storage_and_no_way_to_it() -> None:
    plan = make_plan(nodes=3, witnesses=1)
    assert [node.name for node in plan.storage_nodes] == ["harv41", "harv42"]
    assert plan.pods_of("harv43") == ()
    (node,) = [one for one in kinds(plan, "Node") if one["metadata"]["name"] == "harv43" and one["apiVersion"] == "v1"]
    assert node["metadata"]["labels"]["node-role.harvesterhci.io/witness"] == "true"
    assert [taint["effect"] for taint in node["spec"]["taints"]] == ["NoExecute"]
    longhorn = [one["metadata"]["name"] for one in kinds(plan, "Node") if one["apiVersion"].startswith("longhorn")]
    assert longhorn == ["harv41", "harv42"]
    (config,) = kinds(plan, "VlanConfig")
    assert config["metadata"]["annotations"]["network.harvesterhci.io/matched-nodes"] == '["harv41","harv42"]'
    assert {pod["spec"]["nodeName"] for pod in kinds(plan, "Pod") if pod["metadata"]["namespace"] == "lhnet-system"} >= {"harv43"}


@pytest.mark.parametrize(
    ("mode", "value", "condition", "nads", "longhorn"),
    [
        (Mode.ON, '{"vlan":100', "True", 1, "harvester-system/storagenetwork-95bj4"),
        (Mode.APPLYING, '{"vlan":100', "False", 1, ""),
        (Mode.OFF, "", "True", 0, ""),
        (Mode.UNINITIALISED, None, None, 0, ""),
    ],
)
def test_the_setting_as_each_mode_has_it(mode: Mode, value: str | None, condition: str | None, nads: int, longhorn: str) -> None:
    plan = make_plan(mode=mode)
    settings = {(one["apiVersion"].partition("/")[0], one["metadata"]["name"]): one for one in kinds(plan, "Setting")}
    storage = settings["harvesterhci.io", "storage-network"]
    assert storage.get("value") == value if not value else storage["value"].startswith(value)
    assert [one["status"] for one in storage.get("status", {}).get("conditions", [])] == ([condition] if condition else [])
    assert len(kinds(plan, "NetworkAttachmentDefinition")) == nads
    assert settings["longhorn.io", "storage-network"]["value"] == longhorn
    asked = [pod for pod in kinds(plan, "Pod") if "k8s.v1.cni.cncf.io/networks" in pod["metadata"].get("annotations", {})]
    assert bool(asked) == (mode is Mode.ON)
    assert any(pod.storage_address for pod in plan.pods) == (mode is Mode.ON)


def test_longhorn_alone_has_nothing_of_harvesters() -> None:
    objects = everything(make_plan(harvester=False))
    assert not [one for one in objects if "harvesterhci.io" in one["apiVersion"] or "harvesterhci.io" in one["metadata"]["name"]]
    assert [one["value"] for one in objects if one["metadata"]["name"] == "storage-network"] == ["harvester-system/storagenetwork-95bj4"]


def test_rwx_volumes_have_a_network_of_their_own() -> None:
    plan = make_plan(rwx=True)
    mine = [pod for pod in plan.pods if pod.interface == RWX_INTERFACE]
    assert [pod.role for pod in mine].count(Role.SHARE_MANAGER) == 1
    pools = {one["metadata"]["name"]: set(one["spec"]["allocations"]) for one in kinds(plan, "IPPool")}
    assert {name: len(entries) for name, entries in pools.items()} == {"192.168.0.0-24": 6, "192.168.253.0-24": 4}
    (endpoint,) = [one["value"] for one in kinds(plan, "Setting") if one["metadata"]["name"] == "endpoint-network-for-rwx-volume"]
    asked = [
        json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"]) for pod in kinds(plan, "Pod") if "share-" in str(pod)
    ]
    assert endpoint == f"{asked[0][0]['namespace']}/{asked[0][0]['name']}"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--nodes", "2", "--witness", "2"], "--witness: of 2 nodes at most 1 can be witnesses: one must store data"),
        (["--mtu", "70000"], "--mtu: 70000 is no MTU from 576 to 9000 bytes"),
        (["--mode", "uninitialised", "--no-harvester"], "--mode: no cluster without Harvester is uninitialised"),
        (["--rwx", "--mode", "off"], "--rwx: a network for RWX volumes needs Harvester, and the storage network on"),
        (["--rwx", "--range", "192.168.253.0/24"], "--range: 192.168.253.0/24 overlaps 192.168.253.0/24, which is the RWX volumes' own"),
        (["--witness", "some"], "argument --witness: 'some' is not a number"),
        (["--mode", "sideways"], "argument --mode: invalid choice: 'sideways'"),
    ],
)
def test_a_cluster_that_there_is_not_is_refused_in_one_line(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lab", "up", *words])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (64, 1)
    assert problem in said


def test_who_starts_a_lab_by_hand_is_told_the_same(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="at most 2 can be witnesses") as refused:
        LabClient(tmp_path / "lab").up(Wish(witnesses=3))
    assert refused.value.status == 64
    with pytest.raises(ShapeError):
        make_plan(nodes=0)


def test_a_later_agents_rows_are_read_as_todays() -> None:
    now = {"schema": 1, "node": "harv41", "interval_seconds": 5.0, "sources": ["longhorn-system/im-a"], "source_addresses": ["192.168.0.2"]}
    peers = [["harv42", "longhorn-system/im-b", "192.168.0.3", "im"]]
    good, bad = [0, 0, "ok", "ok", "ok", 0.0002, 1.0, 0], [0, 0, "timeout", None, None, None, 1.0, 1, 1, "timeout"]
    told = later("/api/v1/rows", {**now, "peers": peers, "rows": [good, bad]})
    rows = read_rows(Answered(document=told, received_monotonic_seconds=0.0), node="harv41", now=0.0)
    assert rows is not None
    assert [(row.failing, row.answered_otherwise, row.failed_as) for row in rows.rows] == [(False, False, None), (True, True, "timeout")]


# controls put back what was there


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quiet() -> AsyncIterator[Cluster]:
    """Without agents; the embedded API."""
    async with cluster() as made:
        yield made


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["mode-off", "mode-applying"])
async def test_a_control_changes_something_and_puts_it_back_exactly(quiet: Cluster, name: str) -> None:
    before = await quiet.everything()
    await quiet.lab.inject(name)
    during = await quiet.everything()
    await quiet.lab.clear(name)
    assert during != before
    assert await quiet.everything() == before


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
async def test_switched_off_means_without_an_interface(quiet: Cluster) -> None:
    await quiet.lab.inject("mode-off")
    try:
        manager = next(pod for pod in quiet.lab.world.pods if pod.role is Role.INSTANCE_MANAGER)
        assert list(await quiet.interfaces(manager.name)) == ["eth0"]
        assert "k8s.v1.cni.cncf.io/networks" not in (await quiet.pod(manager.name))["metadata"]["annotations"]
        assert await quiet.pool() == {}
    finally:
        await quiet.lab.clear("mode-off")
    assert sorted(await quiet.interfaces(manager.name)) == ["eth0", "lhnet1"]


# what the agents say


def ask(lab: LabClient, node: str, path: str) -> str:
    url = lab.ask("status")["nodes"][node]["agent_url"]
    with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def until(said: Callable[[], str], what: str, *, within_seconds: float = SAID_SECONDS) -> str:
    """Asks until `what` is among the words."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        last = said()
        if what in last:
            return last
        time.sleep(LOOK_SECONDS)
    raise AssertionError(f"{what!r} was not said within {within_seconds:.0f} s, but: {last}")


@needs_a_lab
@pytest.mark.root
@pytest.mark.parametrize("agent_lab", ["embedded"], indirect=True)
def test_in_the_middle_of_a_rollout_today_and_tomorrow_understand_each_other(agent_lab: LabClient) -> None:
    until(lambda: ask(agent_lab, "harv43", "/cluster"), "storage network ok: 3 nodes reach each other")
    agent_lab.ask("inject", name="agent-rollout")
    try:
        until(lambda: ask(agent_lab, "harv43", "/cluster"), "storage network ok: 3 nodes reach each other")
        told = until(lambda: ask(agent_lab, "harv41", "/cluster"), "storage network ok: 3 nodes reach each other")
        assert told.count(FINDING) >= 2
        nodes = json.loads(ask(agent_lab, "harv43", "/api/v1/cluster"))["nodes"]
        assert [nodes[node]["version"] == VERSION for node in ("harv41", "harv42", "harv43")] == [True, True, False]
        assert ["forecast" in nodes[node] for node in ("harv41", "harv42", "harv43")] == [True, True, False]
    finally:
        agent_lab.ask("clear", name="agent-rollout")
    until(lambda: ask(agent_lab, "harv41", "/cluster"), "storage network ok: 3 nodes reach each other")


@contextmanager
def lab(**shape: Any) -> Iterator[LabClient]:
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as parent:
        client = LabClient(Path(parent, "lab"))
        try:
            client.up(Wish(settings=AGENT_SETTINGS, **shape), stay=False)
            yield client
        finally:
            client.down()


@needs_a_lab
@pytest.mark.root
def test_two_nodes_and_a_witness_with_jumbo_frames() -> None:
    with lab(nodes=3, witnesses=1, mtu_bytes=9000) as made:
        told = until(lambda: ask(made, "harv43", "/cluster"), "storage network ok: 2 nodes reach each other")
        assert "harv43     takes no part (witness)" in told
        assert "a witness: it stores nothing, and no storage pod is expected" in ask(made, "harv43", "/status")
        assert '"mtu_bytes":9000' in ask(made, "harv41", "/api/v1/interfaces").replace(" ", "")
        made.ask("inject", name="segment-moved", node="harv42")
        said = until(lambda: ask(made, "harv43", "/cluster"), "network-down")
        assert "cannot tell which side" in " ".join(said.split())
