"""What pods and nodes do in a healthy cluster: each control does what it says, takes it back exactly, and the agents say nothing false."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from cases_controls import CASES
from lab_clusterworld import Cluster, cluster, storage_address
from labtools import missing_for_a_lab
from matrix import Stage, play

from agent.lab.client import LabClient
from agent.lab.plan import LONGHORN_NAMESPACE
from agent.lab.repertoire import CONTROLS
from agent.model.peers import Role

RANGE = "192.168.7.0/27"
DEADLINE_SECONDS = 60.0
MINE = [name for name, one in CONTROLS.items() if one.family in ("pods", "nodes", "tenants")]
needs_a_lab = pytest.mark.skipif(bool(missing_for_a_lab()), reason=missing_for_a_lab() or "-")


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small() -> AsyncIterator[Cluster]:
    """Three nodes without agents and a range in which an upgrade fits."""
    async with cluster(nodes=3, storage_range=RANGE) as found:
        found.lab.agents = Held()  # type: ignore[assignment]
        yield found


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS:.0f} s: {what}"
        await asyncio.sleep(0.2)


async def containers(small: Cluster) -> dict[str, object]:
    """What `everything` does not tell of pods, by name."""
    pods = await small.api.list("v1", "Pod", namespace=LONGHORN_NAMESPACE)
    return {pod["metadata"]["name"]: pod["status"].get("containerStatuses") for pod in pods}


async def tenants(small: Cluster) -> list[str]:
    return [pod["metadata"]["name"] for pod in await small.api.list("v1", "Pod", namespace="default")]


def test_every_control_has_a_case() -> None:
    assert set(MINE) <= set(CASES)
    assert {wish["name"] for case in CASES.values() for wish in case.inject} == set(MINE)
    assert all(case.is_control and not case.must for case in CASES.values())


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", MINE)
async def test_a_control_changes_something_and_takes_it_back_exactly(small: Cluster, name: str) -> None:
    async def all_of_it() -> list[object]:
        return [await small.everything(), await containers(small), await tenants(small), small.lab.world.nodes]

    before = await all_of_it()
    await small.lab.inject(name)
    if name != "cold-boot":  # nobody could be asked: the API is off as well
        assert await all_of_it() != before
    await small.lab.clear(name)
    assert await all_of_it() == before
    assert small.lab.agents.down == set()  # type: ignore[attr-defined]


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
async def test_a_replaced_manager_has_its_old_name_and_nothing_else_of_the_old_one(small: Cluster) -> None:
    manager = small.lab.plan.pods[0]
    before = await small.pod(manager.name)
    await small.lab.inject("im-replaced")
    after = await small.pod(manager.name)
    await small.lab.clear("im-replaced")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert storage_address(after) != storage_address(before)
    assert after["status"]["phase"] == "Running"


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
async def test_a_new_sandbox_leaves_the_pod_what_it_was_but_for_its_address(small: Cluster) -> None:
    manager = small.lab.plan.pods[0]
    before = await small.pod(manager.name)
    await small.lab.inject("sandbox-restarted")
    after, inside = await small.pod(manager.name), await small.interfaces(manager.name)
    await small.lab.clear("sandbox-restarted")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert storage_address(before) != storage_address(after) == inside["lhnet1"]


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
async def test_the_address_of_a_failed_manager_belongs_to_a_pod_that_lives(small: Cluster) -> None:
    manager = small.lab.plan.pods[0]
    await small.lab.inject("im-failed-address-reused")
    failed, owners = await small.pod(manager.name), await small.pool()
    live = {pod.storage_address: pod.name for pod in small.lab.world.pods}
    await small.lab.clear("im-failed-address-reused")
    assert (failed["status"]["phase"], storage_address(failed)) == ("Failed", manager.storage_address)
    assert live[manager.storage_address] == owners[str(manager.storage_address)] != manager.name


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
async def test_images_come_and_go_as_long_as_the_control_lasts(small: Cluster) -> None:
    met: set[str] = set()

    async def many() -> bool:
        now = {pod.name for pod in small.lab.world.pods if pod.role is Role.BACKING_IMAGE_DATA_SOURCE}
        met.update(now)
        return len(met) >= 6 and len(now) <= 2

    await small.lab.inject("bids-come-and-go")
    await until(many, "three uploads of two images each")
    await small.lab.clear("bids-come-and-go")
    assert not [pod for pod in small.lab.world.pods if pod.role is Role.BACKING_IMAGE_DATA_SOURCE]


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
async def test_of_two_generations_the_old_one_ends_node_by_node(small: Cluster) -> None:
    old = {pod.name for pod in small.lab.world.pods if pod.role is Role.INSTANCE_MANAGER}
    await small.lab.inject("two-generations")
    both = [pod for pod in small.lab.world.pods if pod.role is Role.INSTANCE_MANAGER]
    assert len(both) == 2 * len(old)

    async def ended() -> bool:
        return not old & {pod.name for pod in small.lab.world.pods}

    await until(ended, "the old instance-managers are gone")
    left = [pod for pod in small.lab.world.pods if pod.role is Role.INSTANCE_MANAGER]
    await small.lab.clear("two-generations")
    assert len(left) == len(old)


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_that_reboots_is_back_by_itself_with_pods_made_anew(small: Cluster) -> None:
    node = small.lab.plan.nodes[0].name
    manager = small.lab.plan.pods[0]
    before = await small.pod(manager.name)
    await small.lab.inject("node-reboot")
    assert node not in {one.name for one in small.lab.world.nodes}
    assert small.lab.agents.down == {node}  # type: ignore[attr-defined]

    async def back() -> bool:
        held = await small.api.get("v1", "Pod", manager.name, namespace=LONGHORN_NAMESPACE)
        return held is not None and held["status"]["phase"] == "Running" and held["metadata"]["uid"] != before["metadata"]["uid"]

    await until(back, "its instance-manager runs again")
    assert small.lab.agents.down == set()  # type: ignore[attr-defined]
    await small.lab.clear("node-reboot")


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["tenant-failing", "default-network-exhausted"])
async def test_other_peoples_pods_complain_in_the_words_of_a_cluster(small: Cluster, name: str) -> None:
    async def complained() -> bool:
        events = [one for namespace in ("default", LONGHORN_NAMESPACE) for one in await small.api.list("v1", "Event", namespace=namespace)]
        failing = {one["involvedObject"]["name"]: one["message"] for one in events if one["reason"] == "FailedCreatePodSandBox"}
        return sum("error adding container to network" in message for pod, message in failing.items() if pod in waiting) == len(waiting)

    await small.lab.inject(name)
    pods = [pod for namespace in ("default", LONGHORN_NAMESPACE) for pod in await small.api.list("v1", "Pod", namespace=namespace)]
    waiting = {pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Pending"}
    assert len(waiting) == 2
    await until(complained, "an Event for each pod")
    await small.lab.clear(name)


# what the agents say


@pytest.mark.root
@pytest.mark.timeout(600)
@pytest.mark.parametrize("agent_lab", ["embedded"], indirect=True)
@pytest.mark.parametrize("name", ["im-replaced", "sandbox-restarted", "drain"])
def test_the_agents_say_nothing_false(agent_lab: LabClient, name: str) -> None:
    stage = Stage(agent_lab)
    calm, why = stage.wait_until_calm(within_seconds=DEADLINE_SECONDS)
    assert calm is not None, why
    line = play(stage, name, replace(CASES[name], hold_seconds=8.0), show=False)
    assert (line.false, line.problems) == ([], [])
