"""Each fault of the cluster half, injected for real: the holder says the right thing about the right thing and nobody anything else, it
goes once the fault is mended, and the API and the kernel are then as they were."""

import json
import os
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cluster_expectations import EXPECTATIONS, FREE, NAD, POOL, RANGE, TOLERATED, Expected, Json, Scene
from lab_clusterworld import Cluster, cluster
from labtools import AGENT_SETTINGS, missing_for_a_lab

from agent.cli import main
from agent.lab import traces
from agent.lab.changes import opposite
from agent.lab.client import LabClient, LabError, Wish
from agent.lab.repertoire import CLUSTER_FAMILIES, FAULTS, FaultError

needs_a_lab = pytest.mark.skipif(bool(missing_for_a_lab()), reason=missing_for_a_lab() or "-")

FOUND_SECONDS = 120.0
MENDED_SECONDS = 120.0
"""Replicas are listed once a minute; a slow machine needs the rest."""
GONE_SECONDS = 20.0
LOOK_SECONDS = 0.3
ROUNDS_AFTER = 2
"""Rounds of probes that pass after everything was found, so that a surprise that comes late shows."""
SETTINGS = AGENT_SETTINGS | {
    "cluster.interval_seconds": "2",
    "thresholds.sandbox_grace_seconds": "2",
    "thresholds.setting_stuck_seconds": "4",
    "thresholds.orphan_warning_seconds": "3",
}
CLUSTER_FAULTS = [name for name, fault in FAULTS.items() if fault.family in CLUSTER_FAMILIES]
WITH_A_REAL_API = ("pool-full", "address-twice", "crd-deleted", "grant-lost", "setting-stuck", "vlanconfig-misses-node", "nad-deleted")
"""Those that lean on what a kube-apiserver does by itself."""
CASES = [pytest.param("embedded", name, id=f"{name}-embedded") for name in CLUSTER_FAULTS] + [
    pytest.param("real", name, id=f"{name}-real", marks=pytest.mark.apiserver) for name in WITH_A_REAL_API
]


def test_every_fault_has_its_expectations_and_names_them() -> None:
    assert set(EXPECTATIONS) == set(CLUSTER_FAULTS)
    for name in CLUSTER_FAULTS:
        assert FAULTS[name].findings, f"{name} breaks nothing that anybody would find"
        assert {where for _, where in FAULTS[name].findings} == {"cluster"}


def test_a_change_is_taken_back_key_by_key() -> None:
    held = {"spec": {"range": "192.168.0.0/24", "allocations": {"2": {"id": "a"}}}, "value": "old"}
    change = {"spec": {"allocations": {"2": None, "3": {"id": "b"}}}, "value": "new", "status": {"conditions": []}}
    back = {"spec": {"allocations": {"2": {"id": "a"}, "3": None}}, "value": "old", "status": None}
    assert opposite(change, held) == back


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--range", "192.168.7.0/29"], "192.168.7.0/29 is too small for 3 nodes"),
        (["--range", "192.168.7.1/24"], "192.168.7.1/24 has host bits set"),
        (["--range", "fd00::/64"], "fd00::/64"),
        (["--range", "10.0.0.0/8"], "10.0.0.0/8 is larger than a /16"),
        (["--range", "10.52.9.0/24"], "10.52.9.0/24 overlaps 10.52.0.0/15, which the lab itself uses"),
    ],
)
def test_a_range_in_which_no_lab_can_be_built_is_refused_in_one_line(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lab", "up", *words])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (64, 1)
    assert said.startswith("lhnet-agent lab up: --range: ")
    assert problem in said


# what is broken and mended, without agents


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small() -> AsyncIterator[Cluster]:
    async with cluster(nodes=3, storage_range=RANGE) as found:
        yield found


@needs_a_lab
@pytest.mark.root
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", CLUSTER_FAULTS)
async def test_a_fault_changes_something_and_is_mended_exactly(small: Cluster, name: str) -> None:
    before = await small.everything()
    await small.lab.inject(name)
    during = await small.everything()
    await small.lab.clear(name)
    assert during != before
    assert await small.everything() == before


@needs_a_lab
@pytest.mark.root
@pytest.mark.parametrize("name", ["pool-full", "pool-nearly-full", "upgrade-headroom"])
async def test_a_range_that_takes_too_many_pods_is_refused_and_nothing_is_started(name: str) -> None:
    async with cluster(nodes=1, storage_range="192.168.0.0/24") as large:
        before = await large.everything()
        with pytest.raises(FaultError, match=r"--range 192\.168\.7\.0/28"):
            await large.lab.inject(name)
        assert await large.everything() == before


# what the agents say


@pytest.fixture(scope="module")
def filled(request: pytest.FixtureRequest) -> Iterator[LabClient]:
    """Three nodes with real agents and a /28, by the Kubernetes API that the parameter names."""
    if reason := missing_for_a_lab():
        pytest.skip(reason)
    environment = dict(os.environ)
    if request.param == "embedded":
        environment.pop("KUBEBUILDER_ASSETS", None)
    elif "KUBEBUILDER_ASSETS" not in environment:
        pytest.skip("KUBEBUILDER_ASSETS does not name a folder with etcd and kube-apiserver")
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as parent:
        client = LabClient(Path(parent, "lab"))
        trace = traces.take(client.up(Wish(range=RANGE, settings=SETTINGS, environment=environment), stay=False))
        try:
            yield client
        finally:
            client.down()
        assert trace.wait_until_gone(timeout_seconds=GONE_SECONDS) == []


@pytest.mark.root
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("filled", "name"), CASES, indirect=["filled"])
def test_the_holder_finds_the_fault_and_nobody_anything_else(filled: LabClient, name: str) -> None:
    agents = Agents(filled, tolerated=TOLERATED.get(name, frozenset()))
    agents.wait_until_healthy("before the fault")
    active = filled.ask("inject", name=name)
    try:
        expected = list(EXPECTATIONS[name](Scene(filled.ask("status"), active)))
        agents.wait_until_found(expected)
        agents.watch_for_surprises(expected, rounds=ROUNDS_AFTER)
    finally:
        filled.ask("clear", name=name)
    agents.wait_until_healthy("after it was mended")


@pytest.mark.root
@pytest.mark.timeout(600)
@pytest.mark.parametrize("filled", ["embedded"], indirect=True)
def test_any_agent_tells_of_a_full_pool_and_of_the_pod_that_waits(filled: LabClient) -> None:
    agents = Agents(filled)
    agents.wait_until_healthy("before the fault")
    filled.ask("inject", name="pool-full")
    try:
        for node in agents.nodes:

            def told(node: str = node) -> bool:
                (pool,) = agents.get("/api/v1/pools", node)["pools"]
                failing = agents.get("/api/v1/events", node)["failing"]
                return bool(pool["nads"][0]["free"] == 0 and [one["cause"] for one in failing] == ["ip_exhausted"])

            assert _until(told, within_seconds=FOUND_SECONDS) is None, node
            (pool,) = agents.get("/api/v1/pools", node)["pools"]
            assert (pool["pool"], pool["nads"][0]["nad"], pool["allocations"]["live"]) == (POOL["pool"], NAD, FREE + 6)
    finally:
        filled.ask("clear", name="pool-full")
    agents.wait_until_healthy("after it was mended")


@pytest.mark.root
@pytest.mark.parametrize("filled", ["embedded"], indirect=True)
def test_a_fault_that_is_active_is_not_injected_twice(filled: LabClient) -> None:
    filled.ask("inject", name="monitoring-held")
    try:
        with pytest.raises(LabError, match="is active there already"):
            filled.ask("inject", name="monitoring-held")
    finally:
        filled.ask("clear", name="monitoring-held")


class Agents:
    """All agents of a lab, asked as a person would: one of them for the cluster, each for its probes."""

    def __init__(self, lab: LabClient, *, tolerated: frozenset[str] = frozenset()) -> None:
        self._urls: dict[str, str] = {name: node["agent_url"] for name, node in lab.ask("status")["nodes"].items()}
        self._tolerated = tolerated
        self.nodes = list(self._urls)

    def wait_until_healthy(self, when: str) -> None:
        def trouble() -> str:
            document = self.get("/api/v1/cluster")
            found = [f"{who}: {_brief(one)}" for who, one in self._told(document)]
            nodes = {node: status.get("verdict", status) for node, status in document["nodes"].items()}
            good = document["verdict"] == "ok" and document["findings_from"] != "self" and set(nodes.values()) == {"ok"}
            return "" if good and not found else f"{document['verdict']}, {nodes}, from {document['findings_from']}: {found}"

        problem = _until(lambda: not trouble(), within_seconds=MENDED_SECONDS) and trouble()
        assert not problem, f"not healthy {when}: {problem}"

    def wait_until_found(self, expected: list[Expected]) -> None:
        def complete() -> bool:
            self._no_surprise(expected)
            return not self._missing(expected)

        _until(complete, within_seconds=FOUND_SECONDS)
        assert self._missing(expected) == []

    def watch_for_surprises(self, expected: list[Expected], *, rounds: int) -> None:
        """Until each agent has probed so many rounds more; what was found must stay, and nothing may join it."""
        goal = {node: self._round(node) + rounds for node in self._urls}

        def done() -> bool:
            self._no_surprise(expected)
            return all(self._round(node) >= goal[node] for node in goal)

        assert _until(done, within_seconds=FOUND_SECONDS) is None, "the agents do not probe on"
        assert self._missing(expected) == []

    def get(self, path: str, node: str | None = None) -> Json:
        with urllib.request.urlopen(self._urls[node or self.nodes[0]] + path, timeout=20) as answer:
            document: Json = json.load(answer)
        return document

    def _told(self, document: Json) -> Iterator[tuple[str, Json]]:
        yield from (("holder", one) for one in document["findings"])
        for node, status in document["nodes"].items():
            yield from ((node, one) for one in status.get("findings") or ())

    def _missing(self, expected: list[Expected]) -> list[str]:
        """Expected findings that are not there, or are not as they should be."""
        findings = self.get("/api/v1/cluster")["findings"]
        problems = []
        for one in expected:
            about = [finding for finding in findings if finding["id"] == one.id]
            if len(about) != 1:
                problems.append(f"{one.id} is there {len(about)} times")
            elif problem := one.problem(about[0]):
                problems.append(f"{one.id}: {problem}")
        return problems

    def _no_surprise(self, expected: list[Expected]) -> None:
        wanted = {one.id for one in expected} | self._tolerated
        for who, finding in self._told(self.get("/api/v1/cluster")):
            harmless = finding["severity"] == "info" or (finding["id"] in wanted and (who == "holder" or finding["id"] in self._tolerated))
            assert harmless, f"{who} says what nobody expected: {_brief(finding)}"

    def _round(self, node: str) -> int:
        return int(self.get("/api/v1/peers", node)["round"])


def _until(condition: Callable[[], Any], *, within_seconds: float) -> str | None:
    """None once the condition holds, else that it did not."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return f"not within {within_seconds:.0f} s"
        time.sleep(LOOK_SECONDS)
    return None


def _brief(finding: Json) -> str:
    return f"{finding['id']} ({finding['severity']}, {finding['reason']}) {finding['subject']}: {finding['summary']}"
