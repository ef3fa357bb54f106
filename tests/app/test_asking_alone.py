"""One agent asked about the cluster while nobody holds the Lease, or its holder does not answer: real requests to agents on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from agent.asking import EXPLANATIONS, ROWS, STATUS, Asking
from agent.clock import Clock
from agent.config import Settings
from agent.model.cluster import ClusterFacts, Known
from agent.model.finding import Verdict
from agent.model.gathered import Roundup
from agent.model.holder import LeaseView
from agent.model.records import PodRecord, SourceState, SourceStatus
from agent.serve import cluster as page

NODES = ("harv41", "harv42", "harv43", "harv44")
ASKED, SICK, HOLDER = "harv41", "harv43", "harv42"
PATIENCE_SECONDS = 60.0
FASTER = 50
"""Of the clock, against the machine's: answers are kept for 2 s, and a test shall not wait for that."""
SLOW_SECONDS = 1000.0
"""Rounds of these agents: by the fast clock no row of theirs shall turn stale under way."""


def pod_of(node: str) -> str:
    return f"longhorn-system/im-{node}"


class Others:
    """All agents of a cluster; `documents` by node and path. A node that is not `up` is not served."""

    def __init__(self, *, sick: bool, lease: str = "none", age: float = 64.0) -> None:
        self.up = set(NODES)
        self.asked: list[tuple[str, str]] = []
        self.sick, self.age = sick, age
        self.leases = dict.fromkeys(NODES, lease)
        self.named: str | None = None
        self.judged: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, int] = {}

    def failing(self, node: str, peer: str) -> bool:
        return self.sick and node != peer and SICK in (node, peer)

    def document(self, node: str, path: str) -> dict[str, Any]:
        if path == EXPLANATIONS:
            return self.judged[node]
        return self.status(node) if path == STATUS else self.rows(node)

    def status(self, node: str) -> dict[str, Any]:
        found = [self.finding(node, peer) for peer in NODES if self.failing(node, peer)]
        verdict = "critical" if found else "ok"
        lease = {"lease": self.leases[node], "holder": self.named}
        return {"schema": 1, "node": node, "mode": "on", "verdict": verdict, "sources": {}, "findings": found, **lease}

    def finding(self, node: str, peer: str) -> dict[str, Any]:
        subject = {"node": node, "pod": pod_of(node), "peer_node": peer, "peer_pod": pod_of(peer)}
        told = {"id": "peer-unreachable", "severity": "critical", "scope": "pair", "subject": subject, "culprit": f"{node}>{peer}"}
        return {**told, "summary": f"{node} does not reach {peer}", "age_seconds": self.age, "explained_by": None, "ignored": None}

    def rows(self, node: str) -> dict[str, Any]:
        peers = [peer for peer in NODES if peer != node]
        read = [
            [0, i, "no_route", None, None, None, 1.0, 1] if self.failing(node, peer) else [0, i, "ok", "ok", "ok", 0.0002, 1.0, 0]
            for i, peer in enumerate(peers)
        ]
        tables = {"sources": [pod_of(node)], "source_addresses": ["192.168.0.2"], "rows": read}
        listed = [[peer, pod_of(peer), "192.168.0.3", "im"] for peer in peers]
        return {
            "schema": 1,
            "node": node,
            "round": 9,
            "interval_seconds": SLOW_SECONDS,
            "coverage_seconds": SLOW_SECONDS,
            "peers": listed,
            **tables,
        }

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        runners = []
        for node in NODES:
            app = web.Application()
            app.router.add_get("/{rest:.*}", self._handler(node))
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.ports[node] = runner.addresses[0][1]
            runners.append(runner)
        try:
            yield
        finally:
            for runner in runners:
                await runner.cleanup()

    def _handler(self, node: str) -> Callable[[web.Request], Any]:
        async def handler(request: web.Request) -> web.StreamResponse:
            self.asked.append((node, request.path))
            if node not in self.up or (request.path == EXPLANATIONS and node not in self.judged):
                return web.Response(status=500)
            return web.json_response(self.document(node, request.path))

        return handler

    def facts(self) -> ClusterFacts:
        agents = [
            PodRecord(
                namespace="lhnet-system",
                name=f"lhnet-agent-{node}",
                uid=node,
                node=node,
                phase="Running",
                pod_ips=("127.0.0.1",),
                ports={"http": port},
            )
            for node, port in self.ports.items()
        ]
        storage = [
            PodRecord(
                namespace="longhorn-system",
                name=f"im-{node}",
                uid=f"im-{node}",
                node=node,
                phase="Running",
                annotations={"k8s.v1.cni.cncf.io/networks": "[]"},
            )
            for node in NODES
        ]
        return ClusterFacts(pods=_live("pods", storage), agent_pods=_live("agent_pods", agents))


def _live(name: str, items: list[PodRecord]) -> Known[PodRecord]:
    return Known(items=tuple(items), status=SourceStatus(name=name, state=SourceState.LIVE))


@asynccontextmanager
async def asked(others: Others, *, interval_seconds: float = 10.0) -> AsyncIterator[Asking]:
    settings = Settings(node_name=ASKED)
    settings = replace(settings, probe=replace(settings.probe, interval_seconds=interval_seconds))
    async with others.serve():
        asking = Asking(
            settings=settings,
            clock=Clock(monotonic=lambda: FASTER * time.monotonic(), wall=time.time),
            get_facts=others.facts,
            get_lease=LeaseView,
            own=lambda path: others.document(ASKED, path),
            heard=lambda _: None,
        )
        try:
            yield asking
        finally:
            await asking.close()


def told(roundup: Roundup) -> list[str]:
    return [f"{one['id']}:{one['culprit']}" for one in roundup.judgement.findings]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  # what is waited for happens in another task that tells nobody
            await asyncio.sleep(0.01)


async def test_one_curl_without_a_holder_names_the_culprit_and_says_whose_word_it_is() -> None:
    async with asked(Others(sick=True)) as asking:
        roundup = await asking.cluster()
    document = page.document(roundup, wall=0.0)
    assert (document["verdict"], document["findings_from"]) == ("critical", "self")
    assert [one["id"] for one in document["findings"]] == ["node-cut-off"]
    assert document["findings"][0]["subject"] == {"node": SICK}
    assert {one["explained_by"] for node in document["nodes"].values() for one in node["findings"]} == {"node-cut-off:harv43"}
    lines = page.text(roundup).splitlines()
    head = " ".join(lines[:4])
    assert head.startswith("storage network CRITICAL: harv43 is cut off, its own side looks fine: suspect its switch port or VLAN 4 nodes,")
    assert "nobody holds the Lease: findings from self; of pools, pods that cannot start and the setting nobody tells now" in head
    assert lines[-1] == "explained by node-cut-off:harv43: 6 peer-unreachable"


async def test_a_holder_that_died_is_named_and_does_not_silence_the_others() -> None:
    others = Others(sick=True, lease="other")
    others.named = HOLDER
    others.up.discard(HOLDER)
    async with asked(others) as asking:
        roundup = await asking.cluster()
    assert told(roundup) == ["node-cut-off:harv43"]
    assert "harv42 holds the Lease but does not answer: findings from self" in " ".join(page.text(roundup).split())


async def test_a_holder_that_answers_but_gives_no_findings_is_judged_for() -> None:
    others = Others(sick=True, lease="other")
    others.leases[HOLDER] = "holder"
    async with asked(others) as asking:
        roundup = await asking.cluster()
    assert told(roundup) == ["node-cut-off:harv43"]
    assert "harv42 holds the Lease but gave no findings: findings from self" in " ".join(page.text(roundup).split())


async def test_the_holders_word_is_taken_where_there_is_one() -> None:
    others = Others(sick=True, lease="other")
    others.leases[HOLDER] = "holder"
    others.judged[HOLDER] = {"node": HOLDER, "findings": [], "explanations": [], "sentence": "the holder said so", "age_seconds": 1.0}
    async with asked(others) as asking:
        roundup = await asking.cluster()
        assert (roundup.judgement.source, roundup.judgement.sentence) == (HOLDER, "the holder said so")
        assert asking._following is None


async def test_after_one_reader_it_looks_again_by_itself_until_a_holder_judges() -> None:
    others = Others(sick=True, age=0.0)
    async with asked(others, interval_seconds=0.05) as asking:
        await asking.cluster()
        await until(lambda: others.asked.count((HOLDER, ROWS)) >= 3)
        assert asking._following is not None
        assert not asking._following.done()
        others.judged[HOLDER] = {"node": HOLDER, "findings": [], "explanations": [], "sentence": None}
        others.leases[HOLDER] = "holder"
        await until(asking._following.done)


@pytest.mark.parametrize("why", ["mended", "nobody reads"])
async def test_it_stops_looking_when_all_is_well_or_nobody_reads(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "nobody reads":
        monkeypatch.setattr("agent.asking.FOLLOW_SECONDS", 5.0)
    others = Others(sick=True)
    async with asked(others, interval_seconds=0.05) as asking:
        await asking.cluster()
        assert asking._following is not None
        others.sick = why == "nobody reads"
        await until(asking._following.done)


async def test_a_healthy_cluster_without_a_holder_is_asked_once() -> None:
    others = Others(sick=False)
    async with asked(others, interval_seconds=0.05) as asking:
        roundup = await asking.cluster()
        assert (roundup.verdict, roundup.judgement.source) == (Verdict.OK, "self")
        assert asking._following is None
        assert page.text(roundup).startswith("storage network ok: 4 nodes reach each other\n")


async def test_an_agent_that_ends_while_it_looks_leaves_no_task_behind() -> None:
    async with asked(Others(sick=True)) as asking:
        await asking.cluster()
        following = asking._following
    assert following is not None
    assert following.cancelled()
