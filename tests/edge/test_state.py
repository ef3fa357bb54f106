"""The state file: an agent that starts while the API server is away knows its peers, and how old that knowledge is."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import clusterworld as world_of
import kubeserver as fake
import pytest
from clusterworld import NAD, agent_at, cluster_of, healthy_world
from kubeserver import KubeServer, Turned, until

from agent.edge import state as state_module
from agent.edge.state import Clocks, StateFile
from agent.model.cluster import ClusterFacts, Known
from agent.model.records import NadRecord, PodRecord, SettingRecord, SourceState, SourceStatus

BOOT = "4c9d6f3e-boot"


class Machine:
    """One machine's clocks, to be turned and rebooted."""

    def __init__(self) -> None:
        self.monotonic, self.boottime, self.wall, self.boot = Turned(500.0), Turned(700.0), Turned(1_800_000_000.0), BOOT

    def file(self, directory: Path) -> StateFile:
        clocks = Clocks(monotonic=self.monotonic, boottime=self.boottime, wall=self.wall, boot_id=lambda: self.boot)
        return StateFile(directory, clocks=clocks)

    def later(self, seconds: float) -> None:
        for clock in (self.monotonic, self.boottime, self.wall):
            clock.now += seconds

    def reboot(self, *, wall_jump: float) -> None:
        self.monotonic.now, self.boottime.now, self.boot = 5.0, 5.0, "another-boot"
        self.wall.now += wall_jump


def pod(name: str, *, asked: bool = True, text: str = "[]", born: float | None = 400.0) -> PodRecord:
    annotations = {"k8s.v1.cni.cncf.io/networks": text} if asked else {}
    return PodRecord(
        namespace="longhorn-system", name=name, uid=f"u-{name}", node="harv41", annotations=annotations, born_monotonic_seconds=born
    )


def facts(*pods: PodRecord, age_seconds: float = 0.0) -> ClusterFacts:
    state = SourceState.STALE if age_seconds else SourceState.LIVE
    return ClusterFacts(
        pods=Known(items=pods, status=SourceStatus(name="pods", state=state, age_seconds=age_seconds)),
        setting=Known(
            items=(SettingRecord(name="storage-network", value="{}"),), status=SourceStatus(name="setting", state=SourceState.LIVE)
        ),
        nads=Known(
            items=(NadRecord(namespace="harvester-system", name="storagenetwork-95bj4", config="{}"),),
            status=SourceStatus(name="nads", state=SourceState.LIVE),
        ),
    )


def test_what_was_saved_comes_back_stale_with_its_true_age(tmp_path: Path) -> None:
    machine = Machine()
    saved = facts(pod("a"), pod("b", asked=False, born=None))
    assert machine.file(tmp_path).save(saved) is None
    machine.later(90)
    loaded = machine.file(tmp_path).load()
    assert loaded.reason is None
    assert loaded.facts.pods.items == saved.pods.items
    assert loaded.facts.setting.items == saved.setting.items
    assert loaded.facts.nads.items == saved.nads.items
    assert (loaded.facts.pods.status.state, loaded.facts.pods.status.age_seconds) == (SourceState.STALE, 90.0)
    assert loaded.facts.node.status.state is SourceState.NEVER


def test_a_set_that_was_old_when_saved_is_older_when_loaded(tmp_path: Path) -> None:
    machine = Machine()
    machine.file(tmp_path).save(facts(pod("a"), age_seconds=300))
    machine.later(90)
    assert machine.file(tmp_path).load().facts.pods.status.age_seconds == 390.0


def test_after_a_reboot_the_wall_clock_tells_the_age(tmp_path: Path) -> None:
    machine = Machine()
    machine.file(tmp_path).save(facts(pod("a")))
    machine.reboot(wall_jump=600)
    loaded = machine.file(tmp_path).load().facts.pods
    assert loaded.status.age_seconds == 600.0
    # Born 100 s before the save.
    assert loaded.items[0].born_monotonic_seconds == 5.0 - 600 - 100


def test_a_clock_that_went_backwards_over_a_reboot_gives_no_negative_age(tmp_path: Path) -> None:
    machine = Machine()
    machine.file(tmp_path).save(facts(pod("a")))
    machine.reboot(wall_jump=-1_000_000)
    assert machine.file(tmp_path).load().facts.pods.status.age_seconds == 0.0


def test_within_one_boot_a_stepping_wall_clock_changes_nothing(tmp_path: Path) -> None:
    machine = Machine()
    machine.file(tmp_path).save(facts(pod("a")))
    machine.wall.now -= 5_000_000
    machine.boottime.now += 30
    assert machine.file(tmp_path).load().facts.pods.status.age_seconds == 30.0


def test_the_first_start_has_nothing_to_load_and_nothing_to_complain_of(tmp_path: Path) -> None:
    loaded = StateFile(tmp_path).load()
    assert loaded.reason is None
    assert loaded.facts == ClusterFacts()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a state file"),
        (b"{", "not a state file"),
        (b"\xff\xfe", "not a state file"),
        (b"[" * 100_000, "not a state file"),
        (b"[]", "not a state file"),
        (b'{"schema":1}', "not a state file"),
        (b'{"schema":2,"boot_id":"","boottime_seconds":0,"wall_seconds":0,"sources":{}}', "schema 2"),
        (b'{"schema":1,"boot_id":"","boottime_seconds":"x","wall_seconds":0,"sources":{}}', "not a state file"),
        (b" " * (1 << 20) + b"{}", "longer than 1048576 bytes"),
    ],
)
def test_a_file_that_is_none_of_ours_is_named_and_left_alone(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "state.json").write_bytes(content)
    loaded = StateFile(tmp_path).load()
    assert said in (loaded.reason or "")
    assert "\n" not in (loaded.reason or "")
    assert loaded.facts == ClusterFacts()


def test_one_broken_source_does_not_take_the_others_along(tmp_path: Path) -> None:
    machine = Machine()
    machine.file(tmp_path).save(facts(pod("a")))
    document = json.loads((tmp_path / "state.json").read_text())
    document["sources"]["setting"]["items"] = [{"name": 7}]
    document["sources"]["of a later release"] = {"age_seconds": 0, "items": [1]}
    (tmp_path / "state.json").write_text(json.dumps(document))
    loaded = machine.file(tmp_path).load()
    assert "setting" in (loaded.reason or "")
    assert [item.name for item in loaded.facts.pods.items] == ["a"]
    assert loaded.facts.setting.status.state is SourceState.NEVER


def test_keys_of_a_later_release_are_ignored(tmp_path: Path) -> None:
    machine = Machine()
    machine.file(tmp_path).save(facts(pod("a")))
    document = json.loads((tmp_path / "state.json").read_text())
    document["sources"]["pods"]["items"][0]["unheard_of"] = [1]
    document["more"] = True
    (tmp_path / "state.json").write_text(json.dumps(document))
    assert machine.file(tmp_path).load().reason is None


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_something_else_in_its_place_does_not_hold_the_start_up(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/proc/self/environ")
    assert "state.json: " in (StateFile(tmp_path).load().reason or "")


def test_a_folder_that_cannot_be_written_costs_a_reason_and_nothing_else(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "not-there")
    assert "No such file or directory" in (file.save(facts(pod("a"))) or "")
    assert file.problem
    (tmp_path / "not-there").mkdir()
    assert file.save(facts(pod("a"))) is None
    assert file.problem is None


def test_a_save_leaves_no_other_file_behind_and_is_for_the_owner_only(tmp_path: Path) -> None:
    StateFile(tmp_path).save(facts(pod("a")))
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_a_save_that_fails_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    machine.file(tmp_path).save(facts(pod("a")))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_module.os, "fsync", full)
    assert "No space left" in (machine.file(tmp_path).save(facts(pod("b"))) or "")
    monkeypatch.undo()
    assert [item.name for item in machine.file(tmp_path).load().facts.pods.items] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_huge_cluster_keeps_its_peers_and_lets_the_other_pods_go(tmp_path: Path) -> None:
    machine = Machine()
    peers = [pod(f"peer-{number}", text="x" * 500) for number in range(1000)]
    others = [replace(pod(f"other-{number}", asked=False), pod_ips=("10.0.0.1",) * 20) for number in range(3000)]
    said = machine.file(tmp_path).save(facts(*peers, *others))
    assert "left out" in (said or "")
    assert {item.name for item in machine.file(tmp_path).load().facts.pods.items} == {item.name for item in peers}


def test_a_cluster_beyond_all_measure_keeps_the_old_file(tmp_path: Path) -> None:
    machine = Machine()
    machine.file(tmp_path).save(facts(pod("a")))
    assert "not saved" in (machine.file(tmp_path).save(facts(*(pod(f"p{number}", text="x" * 30_000) for number in range(100)))) or "")
    assert [item.name for item in machine.file(tmp_path).load().facts.pods.items] == ["a"]


async def test_saving_follows_changes_and_not_more_often_than_allowed(tmp_path: Path) -> None:
    file, dirty = StateFile(tmp_path), asyncio.Event()
    known = facts(pod("a"))
    asked: list[int] = []

    def current() -> ClusterFacts:
        asked.append(1)
        return known

    async with fake.running(file.keep(current, dirty=dirty, every_seconds=3600)):
        dirty.set()
        await until((tmp_path / "state.json").exists)
        known = facts(pod("b"))
        dirty.set()
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(asked) == 1
    # The last change is saved on the way out.
    assert [item.name for item in StateFile(tmp_path).load().facts.pods.items] == ["b"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubeServer]:
    async with fake.serving(tmp_path / "server") as running:
        running.fallback = healthy_world()
        yield running


async def test_an_agent_restarted_while_the_api_server_is_away_knows_what_the_last_one_knew(server: KubeServer, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    async with agent_at(server, state=StateFile(state_dir)) as cluster:
        cluster.set_nads(frozenset({NAD}))
        assert await cluster.first_sync(timeout_seconds=60)
        await until(lambda: cluster.facts().nads.items)
        before = cluster.facts()
    await server.stop()
    loaded = StateFile(state_dir).load()
    async with fake.client_of(server, clock=fake.Turned()) as client:
        cluster = cluster_of(client)
        cluster.seed(loaded.facts)
        async with fake.running(cluster.run()):
            await until(lambda: "Connection refused" in (cluster.facts().nads.status.detail or ""))
            after = cluster.facts()
            cluster.set_nads(frozenset({NAD}))
            assert cluster.facts().nads.items == before.nads.items
    for name in ("pods", "agent_pods", "node", "setting", "longhorn_settings", "nads", "cluster_networks", "vlan_configs"):
        then, now = getattr(before, name), getattr(after, name)
        assert [item.name for item in now.items] == [item.name for item in then.items], name
        assert now.status.state is SourceState.STALE, name
    assert not cluster.synced


async def test_news_replace_what_was_seeded(server: KubeServer, tmp_path: Path) -> None:
    gone = replace(pod("gone"), namespace="longhorn-system")
    async with fake.client_of(server, clock=fake.Turned()) as client:
        cluster = cluster_of(client)
        cluster.seed(facts(gone, age_seconds=50))
        assert cluster.facts().pods.items == (gone,)
        async with fake.running(cluster.run()):
            await until(lambda: cluster.facts().pods.status.state is SourceState.LIVE)
            assert gone not in cluster.facts().pods.items
            assert len(cluster.facts().pods.items) == 3
    assert world_of.NADS
