"""The rest of one pod's faults, and those of one agent itself: what they change is real and is given back, and the agents say it."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from cases_pods import CASES
from lab_clusterworld import Cluster, cluster
from labtools import missing_for_a_lab
from matrix import Stage, play
from matrixtools import Json
from test_world import connect, managers, picture, restored

from agent.lab.apiclient import ApiFailed
from agent.lab.client import LabClient
from agent.lab.lab import Lab, LabOptions
from agent.lab.manifest import DEFAULT_FOLDER
from agent.lab.plan import make_plan
from agent.lab.repertoire import FAULTS

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing_for_a_lab()), reason=missing_for_a_lab() or "-")]

CALM_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.3
IN_THE_KERNEL = ("mac-changed", "mtu-changed", "routes-deleted", "source-address-gone", "netns-dir-empty")


def test_every_fault_has_its_case() -> None:
    mine = {name for name, fault in FAULTS.items() if fault.family in ("pods", "itself")} | {"api-500"}
    assert set(CASES) == mine
    for name, case in CASES.items():
        named = {finding for finding, _ in FAULTS[name].findings}
        assert {said.id for said in (*case.must, *case.may)} <= named


# what is broken and mended, without agents


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as folder:
        for name in ("logs", "nodes"):
            os.mkdir(os.path.join(folder, name))
        built = Lab(LabOptions(folder=Path(folder), plan=make_plan(nodes=2), manifests=DEFAULT_FOLDER))
        try:
            await built.world.build()
            yield built
        finally:
            await built.world.close()


@pytest.mark.parametrize("name", IN_THE_KERNEL)
async def test_a_fault_changes_something_and_its_end_restores_exactly_that(lab: Lab, name: str) -> None:
    before = picture(lab.world)
    await lab.inject(name)
    assert picture(lab.world) != before
    await lab.clear(name)
    await restored(lab.world, before)


async def test_the_peer_accepts_and_resets_and_then_serves_again(lab: Lab) -> None:
    source, peer = managers(lab.world)
    address = str(peer.storage_address)
    await lab.inject("peer-resets")
    with suppress(ConnectionResetError):  # whether the connection is seen before its end is a matter of luck
        await connect(lab.world, source, address, 8500)
    await connect(lab.world, source, address, 8501)
    await lab.clear("peer-resets")
    await connect(lab.world, source, address, 8500)


async def test_the_folder_of_namespaces_is_closed_and_opened_again(lab: Lab) -> None:
    folder = Path(f"/proc/{lab.world.node_process('harv41').pid}/root/run/netns")
    before = _owner(folder)
    await lab.inject("access-denied")
    assert _owner(folder) == (65534, 65534, 0o700)
    await lab.clear("access-denied")
    assert _owner(folder) == before


def _owner(folder: Path) -> tuple[int, int, int]:
    status = folder.stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o7777


async def test_a_pod_of_an_earlier_range_is_one_in_the_api_and_in_the_kernel() -> None:
    async with cluster(nodes=2) as found:
        before, kernel = await found.everything(), picture(found.lab.world)
        active = await found.lab.inject("address-outside-range")
        pod = active.aim.pod
        assert pod is not None
        during = await found.everything()
        assert during["pods"][pod.name] == ("Running", "192.168.50.2")
        assert (await found.interfaces(pod.name))["lhnet1"] == "192.168.50.2"
        assert during["pools"]["192.168.50.0-25"] == ("192.168.50.0/25", {"2": (pod.key, "lhnet1")})
        assert pod.key not in {podref for podref, _ in during["pools"]["192.168.7.0-29"][1].values()}
        await found.lab.clear("address-outside-range")
        assert await found.everything() == before
        await restored(found.lab.world, kernel)


async def test_an_api_that_answers_500_answers_again_with_what_it_held() -> None:
    async with cluster(nodes=1, storage_range="192.168.7.0/29") as found:
        before = await found.everything()
        await found.lab.inject("api-500")
        assert await _refusal(found) == 500
        await found.lab.clear("api-500")
        assert await _everything_again(found) == before


async def _everything_again(found: Cluster) -> Json:
    """A server that was just started says 429 for a while: its storage of custom resources comes after it is ready."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await found.everything()
        except ApiFailed as error:
            if error.code != 429 or time.monotonic() > deadline:
                raise
        await asyncio.sleep(LOOK_SECONDS)


async def _refusal(found: Cluster) -> int:
    with pytest.raises(ApiFailed) as refused:
        await found.api.list("v1", "Node")
    return refused.value.code


# what the agents say


@pytest.mark.timeout(600)
@pytest.mark.parametrize("agent_lab", ["embedded"], indirect=True)
@pytest.mark.parametrize("name", ["address-outside-range", "source-address-gone", "peer-resets", "capability-missing"])
def test_the_agents_find_the_fault_and_nothing_else(agent_lab: LabClient, name: str) -> None:
    stage = Stage(agent_lab)
    calm, why = stage.wait_until_calm(within_seconds=CALM_SECONDS)
    assert calm is not None, why
    line = play(stage, name, replace(CASES[name], hold_seconds=8.0), show=False)
    assert (line.detected, line.culprit_right, line.false, line.problems) == (True, True, [], [])
