"""An agent that comes up before anything else does: no API server, no state of an earlier run, a right or an address missing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent import app
from agent.app import Agent
from agent.checks import itself
from agent.config import Settings
from agent.config_kinds import ListenAddress
from agent.edge.host import Privileges
from agent.edge.state import StateFile
from agent.model.cluster import ClusterFacts, Known
from agent.model.finding import ActiveFinding
from agent.model.records import PodRecord, SourceState, SourceStatus

PATIENCE_SECONDS = 60.0
KUBECONFIG = """
{"apiVersion": "v1", "kind": "Config", "current-context": "x",
 "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
 "users": [{"name": "x", "user": {"token": "t"}}],
 "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}
"""
ALL = frozenset({"SYS_ADMIN", "NET_RAW", "NET_BROADCAST"})


def made(folder: Path, *ports: int) -> Agent:
    """An agent whose API server refuses."""
    (folder / "kubeconfig").write_text(KUBECONFIG)
    (folder / "netns").mkdir()
    return Agent(
        Settings(
            node_name="harv41",
            kubeconfig=str(folder / "kubeconfig"),
            listen=tuple(ListenAddress(address=ip_address("127.0.0.1"), port=port) for port in ports),
            netns_dir=(str(folder / "netns"),),
            state_dir=str(folder),
        )
    )


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[Agent]:
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        agent.stop()
        await task


async def until(agent: Agent, condition: Callable[[tuple[ActiveFinding, ...]], bool]) -> tuple[ActiveFinding, ...]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition(agent._board.view().findings):  # noqa: ASYNC110  # the board tells nobody
            await asyncio.sleep(0.05)
    return agent._board.view().findings


async def test_a_missing_capability_is_told_although_no_pod_was_ever_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itself, "read_privileges", lambda: Privileges(effective=ALL - {"NET_RAW"}, no_new_privs=True))
    async with running(made(tmp_path, 0)) as agent:
        (active,) = await until(agent, bool)
        assert (active.finding.id, active.finding.reason) == ("agent-impaired", "capability_missing")
        # what it lacks keeps the first round from ever coming, so a rollout need not wait for it
        assert agent._board.view().ready


async def test_what_an_earlier_run_left_is_no_stale_source_before_the_server_had_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that is restarted after a quarter of an hour must not greet the cluster with eight warnings."""
    monkeypatch.setattr(itself, "read_privileges", lambda: Privileges(effective=ALL, no_new_privs=True))
    monkeypatch.setattr(app, "FIRST_SYNC_SECONDS", 2.0)
    pods = Known(
        items=(PodRecord(namespace="longhorn-system", name="a", uid="a"),),
        status=SourceStatus(name="pods", state=SourceState.STALE, age_seconds=900.0),
        revision=1,
    )
    StateFile(tmp_path).save(ClusterFacts(pods=pods))
    async with running(made(tmp_path, 0)) as agent:
        await until(agent, lambda _: any(run.name == "itself" for run in agent._board.view().checks))
        assert agent._board.view().findings == ()
        # later, when it looks at the pods without having heard a word
        await until(agent, lambda findings: "sources-stale" in {active.finding.id for active in findings})


async def test_an_address_that_is_taken_is_a_finding_while_another_is_ours_and_clears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itself, "read_privileges", lambda: Privileges(effective=ALL, no_new_privs=True))
    monkeypatch.setattr(itself, "INTERVAL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        async with running(made(tmp_path, 0, port)) as agent:
            (active,) = await until(agent, bool)
            assert (active.finding.id, active.finding.reason) == ("agent-impaired", "port_taken")
            assert f"127.0.0.1:{port}" in active.finding.summary
            squatter.close()
            await until(agent, lambda findings: not findings)
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()


async def test_an_agent_that_nobody_could_ask_does_not_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: Address already in use"):
            await made(tmp_path, port).run()
