"""Faults between nodes, of whole nodes and of their agents: what they change is real and is given back, and the agents name the culprit."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cases_cluster import CASES
from lab_clusterworld import Cluster, cluster
from labtools import missing_for_a_lab
from matrix import Stage, lab_for, play
from matrixtools import Case
from test_world import NO_ROUTE, connect, managers, picture, restored

from agent.lab import power
from agent.lab.lab import Lab, LabOptions
from agent.lab.manifest import DEFAULT_FOLDER
from agent.lab.plan import AGENT_NAMESPACE, LONGHORN_NAMESPACE, make_plan
from agent.lab.repertoire import FAULTS, FaultError

needs_a_lab = pytest.mark.skipif(bool(missing_for_a_lab()), reason=missing_for_a_lab() or "-")

MINE = [name for name, fault in FAULTS.items() if fault.family in ("agents", "cluster_network")]
IN_THE_KERNEL = [name for name in MINE if FAULTS[name].family == "cluster_network"]
WITH_AGENTS = ("switch-split", "one-way-filter", "holder-killed", "node-off")
"""The most telling ones; `make matrix` plays all."""
DEADLINE_SECONDS = 60.0


class Held:
    """In place of the agents: which nodes have none."""

    def __init__(self) -> None:
        self.down: set[str] = set()

    async def hold_down(self, node: str) -> None:
        self.down.add(node)

    def let_up(self, node: str) -> None:
        self.down.discard(node)

    async def close(self) -> None:
        pass


@pytest_asyncio.fixture
async def four() -> AsyncIterator[Lab]:
    """Nodes and pods, no API and no agents."""
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as folder:
        for name in ("logs", "nodes"):
            os.mkdir(os.path.join(folder, name))
        built = Lab(LabOptions(folder=Path(folder), plan=make_plan(nodes=4), manifests=DEFAULT_FOLDER))
        try:
            await built.world.build()
            yield built
        finally:
            await built.world.close()


@pytest_asyncio.fixture
async def small() -> AsyncIterator[Cluster]:
    async with cluster(nodes=3, storage_range="192.168.7.0/28") as found:
        found.lab.agents = Held()  # type: ignore[assignment]
        yield found


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS:.0f} s: {what}"
        await asyncio.sleep(0.1)


def test_every_fault_has_a_case() -> None:
    assert set(MINE) <= {wish["name"] for case in CASES.values() for wish in case.inject}
    assert all(case.must and not case.is_control for case in CASES.values())


# what is broken and mended, without agents


@needs_a_lab
@pytest.mark.root
@pytest.mark.parametrize("name", IN_THE_KERNEL)
async def test_a_fault_changes_something_and_its_end_restores_exactly_that(four: Lab, name: str) -> None:
    before = picture(four.world)
    await four.inject(name)
    assert picture(four.world) != before
    await four.clear(name)
    await restored(four.world, before)


@needs_a_lab
@pytest.mark.root
async def test_a_filter_lets_one_node_begin_and_not_the_other(four: Lab) -> None:
    one, other, *_ = managers(four.world)
    await four.inject("one-way-filter", node=one.node)
    with pytest.raises((TimeoutError, OSError)):
        await asyncio.wait_for(connect(four.world, one, str(other.storage_address), 8500), 1.0)
    await connect(four.world, other, str(one.storage_address), 8500)
    await four.clear("one-way-filter")
    await connect(four.world, one, str(other.storage_address), 8500)


@needs_a_lab
@pytest.mark.root
async def test_a_lost_way_leaves_all_others(four: Lab) -> None:
    one, other, third, _ = managers(four.world)
    await four.inject("way-lost", node=one.node)
    for source, peer in ((one, other), (other, one)):
        with pytest.raises(OSError, match=NO_ROUTE):
            await connect(four.world, source, str(peer.storage_address), 8500)
    for source, peer in ((one, third), (third, one), (other, third), (third, other)):
        await connect(four.world, source, str(peer.storage_address), 8500)


@needs_a_lab
@pytest.mark.root
async def test_three_nodes_are_too_few_to_be_split() -> None:
    async with cluster(nodes=3, storage_range="192.168.7.0/28") as found:
        before = picture(found.lab.world)
        with pytest.raises(FaultError, match="needs 4 nodes"):
            await found.lab.inject("switch-split")
        assert picture(found.lab.world) == before


@needs_a_lab
@pytest.mark.root
async def test_a_node_without_power_is_noticed_then_evicted_and_comes_back(small: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody says goodbye: until the cluster notices, every object looks as if the node lived."""
    monkeypatch.setattr(power, "NOTICED_SECONDS", 0.5)
    monkeypatch.setattr(power, "EVICTED_SECONDS", 0.5)
    node, manager = small.lab.plan.nodes[1].name, managers(small.lab.world)[1]
    before, uid = await small.everything(), (await small.pod(manager.name))["metadata"]["uid"]
    await small.lab.inject("node-off", node=node)
    assert await small.everything() | {"world": None} == before | {"world": None}
    assert small.lab.agents.down == {node}  # type: ignore[attr-defined]

    async def noticed() -> bool:
        return await _ready(small, node) == "Unknown" and (await _manager(small, manager.name))["status"]["currentState"] == "unknown"

    async def evicted() -> bool:
        return bool((await small.pod(manager.name))["metadata"].get("deletionTimestamp"))

    await until(noticed, "the Node is Unknown")
    await until(evicted, "its pods are Terminating")
    await small.look(times=2)
    assert (await small.pod(manager.name))["status"]["phase"] == "Running", "no kubelet confirms its end"
    await small.lab.clear("node-off")
    assert await small.everything() == before
    assert await _ready(small, node) == "True"
    assert (await small.pod(manager.name))["metadata"]["uid"] != uid
    assert small.lab.agents.down == set()  # type: ignore[attr-defined]
    source, _, third = managers(small.lab.world)
    await connect(small.lab.world, third, str(manager.storage_address), 8500)
    assert source.node != third.node


async def _ready(small: Cluster, node: str) -> str:
    held = await small.api.get("v1", "Node", node)
    assert held is not None
    return next(str(one["status"]) for one in held["status"]["conditions"] if one["type"] == "Ready")


async def _manager(small: Cluster, name: str) -> dict[str, Any]:
    held = await small.api.get("longhorn.io/v1beta2", "InstanceManager", name, namespace=LONGHORN_NAMESPACE)
    assert held is not None
    return held


@needs_a_lab
@pytest.mark.root
async def test_the_holder_is_whom_the_lease_names(small: Cluster) -> None:
    with pytest.raises(FaultError, match="nobody holds the Lease"):
        await small.lab.inject("holder-killed")
    for name in ("harv42", "harv43"):
        await _lease(small, name)
        await small.lab.inject("holder-killed")
        assert small.lab.agents.down == {name}  # type: ignore[attr-defined]
        await small.lab.clear("holder-killed")
        assert small.lab.agents.down == set()  # type: ignore[attr-defined]


@needs_a_lab
@pytest.mark.root
async def test_a_holder_without_the_api_alone_is_without_it(small: Cluster) -> None:
    await _lease(small, "harv42")
    before = picture(small.lab.world)
    await small.lab.inject("holder-without-api")
    assert "172.19.108.42" in picture(small.lab.world)["switch"]["filters"]
    assert await _ready(small, "harv42") == "True"
    await small.lab.clear("holder-without-api")
    await restored(small.lab.world, before)


async def _lease(small: Cluster, holder: str) -> None:
    change = {"spec": {"holderIdentity": holder}}
    await small.api.patch("coordination.k8s.io/v1", "Lease", "lhnet-agent", change, namespace=AGENT_NAMESPACE)


# what the agents say


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if reason := missing_for_a_lab():
        pytest.skip(reason)
    with lab_for(Case(up={"nodes": 4}), real=False) as found:
        yield found


@pytest.mark.root
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", WITH_AGENTS)
def test_the_agents_name_the_culprit_and_say_nothing_false(stage: Stage, name: str) -> None:
    calm, why = stage.wait_until_calm(within_seconds=DEADLINE_SECONDS)
    assert calm is not None, why
    line = play(stage, name, CASES[name], show=False)
    # How long it took is the matrix' matter: this machine may be busy.
    problems = [one for one in line.problems if not one.startswith(("found after", "cleared after"))]
    assert (line.detected, line.culprit_right, line.false, problems) == (True, True, [], [])
