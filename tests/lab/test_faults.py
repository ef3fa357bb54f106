"""Each fault of the lab, injected for real and judged by what the agents say over HTTP: the right finding about the right thing, nothing
else, and all of it gone once the fault is mended."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from expectations import EXPECTATIONS, Expected, Json, Scene

from agent.lab.client import LabClient
from agent.lab.repertoire import FAULTS

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

FOUND_SECONDS = 45.0
API_SECONDS = 100.0
"""A connection that is dropped on its way is found dead by TCP keepalive, and tried again with a growing pause."""
LOOK_SECONDS = 0.3
ROUNDS_AFTER = 2
"""Rounds of probes that pass after everything was found: a surprise that needs two failures in a row shows by then."""
NEEDS_THE_API = ("link-down", "api-stopped", "api-frozen", "api-unreachable", "api-500")
"""Tried with a real kube-apiserver too; the others are the kernel's matter alone."""

NETWORK_FAULTS = [name for name, fault in FAULTS.items() if fault.family in ("interfaces", "network", "api")]
CASES = [pytest.param("embedded", name, id=f"{name}-embedded") for name in NETWORK_FAULTS] + [
    pytest.param("real", name, id=f"{name}-real", marks=pytest.mark.apiserver) for name in NEEDS_THE_API
]


def test_every_fault_has_its_expectations() -> None:
    assert set(EXPECTATIONS) == set(NETWORK_FAULTS)


@pytest.mark.parametrize(("agent_lab", "name"), CASES, indirect=["agent_lab"])
def test_the_agents_find_the_fault_and_nothing_else(agent_lab: LabClient, name: str) -> None:
    agents = Agents(agent_lab, patience_seconds=API_SECONDS if name.startswith("api-") else FOUND_SECONDS)
    agents.wait_until_healthy("before the fault")
    active = agent_lab.ask("inject", name=name)
    try:
        expected = list(EXPECTATIONS[name](Scene(agent_lab.ask("status"), active)))
        agents.wait_until_found(expected)
        agents.watch_for_surprises(expected, rounds=ROUNDS_AFTER)
    finally:
        agent_lab.ask("clear", name=name)
    agents.wait_until_healthy("after it was mended")


class Agents:
    """All agents of a lab, asked as a person would: by HTTP."""

    def __init__(self, lab: LabClient, *, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._urls: dict[str, str] = {name: node["agent_url"] for name, node in lab.ask("status")["nodes"].items()}

    def findings(self) -> list[tuple[str, Json]]:
        """Every warning and critical finding with the node whose agent says it."""
        documents = {node: self._get(node, "/api/v1/status") for node in self._urls}
        return [(node, one) for node, document in documents.items() for one in document["findings"] if one["severity"] != "info"]

    def wait_until_healthy(self, when: str) -> None:
        def verdicts() -> str:
            said = {node: self._get(node, "/api/v1/status") for node in self._urls}
            return "; ".join(
                f"{node}: {document['verdict']} {_names(document)}" for node, document in said.items() if document["verdict"] != "ok"
            )

        problem = _until(lambda: not verdicts(), within_seconds=self._patience_seconds) or verdicts()
        assert not problem, f"not healthy {when}: {problem}"

    def wait_until_found(self, expected: list[Expected]) -> None:
        def missing() -> list[str]:
            return list(_missing(expected, self.findings()))

        def complete() -> bool:
            self._no_surprise(expected)
            return not missing()

        _until(complete, within_seconds=self._patience_seconds)
        assert missing() == []

    def watch_for_surprises(self, expected: list[Expected], *, rounds: int) -> None:
        """Until each agent has probed so many rounds more; what was found must stay, and nothing may join it."""
        goal = {node: self._round(node) + rounds for node in self._urls}

        def done() -> bool:
            self._no_surprise(expected)
            return all(self._round(node) >= goal[node] for node in goal)

        assert _until(done, within_seconds=self._patience_seconds) is None, "the agents do not probe on"
        assert list(_missing(expected, self.findings())) == []

    def _no_surprise(self, expected: list[Expected]) -> None:
        for node, finding in self.findings():
            match = [one for one in expected if one.node == node and one.is_about(finding)]
            assert match, f"{node} says what nobody expected: {_brief(finding)}"

    def _round(self, node: str) -> int:
        return int(self._get(node, "/api/v1/peers")["round"])

    def _get(self, node: str, path: str) -> Json:
        with urllib.request.urlopen(self._urls[node] + path, timeout=10) as answer:
            document: Json = json.load(answer)
        return document


def _missing(expected: list[Expected], findings: list[tuple[str, Json]]) -> Iterator[str]:
    """Expected findings that are not there, or are not as they should be."""
    for one in expected:
        about = [finding for node, finding in findings if node == one.node and one.is_about(finding)]
        if not about and one.required:
            yield f"{one.node} does not say {one.id} about {dict(one.subject)}"
        yield from (f"{_brief(finding)}: {problem}" for finding in about if (problem := one.problem(finding)))


def _until(condition: Callable[[], Any], *, within_seconds: float) -> str | None:
    """None once the condition holds, else that it did not."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return f"not within {within_seconds:.0f} s"
        time.sleep(LOOK_SECONDS)
    return None


def _brief(finding: Json) -> str:
    return f"{finding['id']} ({finding['reason']}) {finding['subject']}, explained by {finding['explained_by']}: {finding['summary']}"


def _names(document: Json) -> list[str]:
    return [f"{finding['id']} {finding['culprit']}" for finding in document["findings"]]
