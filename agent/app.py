"""Builds the agent from its parts and owns the one tree of tasks. Wiring only: nothing here reads a kernel or judges a fact."""

import asyncio
import logging
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent import __version__
from agent.asking import EXPLANATIONS, Asking
from agent.checks.base import Check
from agent.checks.board import Board
from agent.checks.cluster import ClusterCheck
from agent.checks.hostpath import HostPathCheck
from agent.checks.interfaces import Interfaces
from agent.checks.itself import Itself
from agent.checks.namespaces import Namespaces
from agent.checks.pools import Pools
from agent.checks.reachability import Reachability
from agent.checks.sandboxes import Sandboxes
from agent.checks.setting import SettingCheck
from agent.clock import Clock
from agent.config import Settings
from agent.duty import CLOCK_EVERY_SECONDS, Duty
from agent.edge.cluster import Cluster
from agent.edge.kube import KubeClient
from agent.edge.kube.access import find_access
from agent.edge.listen import Listener
from agent.edge.mounts import MountWatch
from agent.edge.netns import Entrance
from agent.edge.prober import Prober
from agent.edge.state import StateFile
from agent.log import ChangeLog
from agent.model.finding import Finding
from agent.rhythm import Rhythm
from agent.serve.metrics import make_registry
from agent.serve.server import Server

FIRST_SYNC_SECONDS = 10.0
"""How long the first look waits for the API server; with a state file it goes on with what was known."""
NADS_SYNC_SECONDS = 3.0
_HOLDERS_PARTS: dict[str, Any] = {
    "explanations": {},
    "sentence": None,
    "node_verdicts": (),
    "pools": (),
    "failing": (),
    "sandbox_totals": {},
    "sandbox_pods": {},
}

_log = logging.getLogger("agent")


class Agent:
    """One node's agent. `run()` returns after `stop()`; an error in any task ends all of them, loudly."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or Clock()
        self._stopping = asyncio.Event()
        self._changes = ChangeLog(logging.getLogger("agent.findings"), clock=self._clock)
        self._client = KubeClient(access=find_access(kubeconfig=settings.kubeconfig, environ=os.environ, clock=self._clock.monotonic))
        self._cluster = self._make_cluster()
        self._pools = Pools()
        self._duty = Duty(settings=settings, client=self._client, clock=self._clock, pools=self._pools, on_change=self._duty_changed)
        self._board = Board(
            settings=settings,
            version=__version__,
            clock=self._clock,
            get_facts=self._cluster.facts,
            get_holder=self._duty.facts,
            get_more_sources=self._duty.statuses,
            on_change=self._told,
            server_wall_seconds=self._client.server_wall_seconds,
        )
        self._entrance = Entrance()
        self._prober = Prober(entrance=self._entrance, own_delay_seconds=settings.thresholds.own_delay_seconds)
        self._reachability = Reachability(prober=self._prober)
        self._checks = self._make_checks()
        self._rhythm = Rhythm(settings=settings, board=self._board, clock=self._clock, on_duty=lambda: self._duty.on)
        self._rhythm.add(self._checks)
        self._asking = Asking(
            settings=settings,
            clock=self._clock,
            get_facts=self._cluster.facts,
            get_lease=lambda: self._duty.view,
            own=lambda path: self._server.own(path),  # noqa: PLW0108  # the server is made below
            heard=self._duty.heard,
        )
        self._server = Server(
            get_view=self._board.view,
            registry=make_registry(self._board.view),
            alive=self._dead_because,
            clock=self._clock,
            others=self._asking,
            get_memory=lambda: self._pools.handed_over(self._clock.monotonic()),
            interval_seconds=settings.probe.interval_seconds,
        )

        if settings.web_config_file is not None:
            self._board.note("web_config_file is set, but this version serves neither TLS nor basic auth")

    def stop(self) -> None:
        """End `run()` soon. Idempotent."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve, watch and look until stopped. Raises OSError if an address to listen on is taken."""
        listener, mounts = None, None
        try:
            bound = await self._server.start([(listen.host, listen.port) for listen in self._settings.listen])
            _log.info("listening on %s", ", ".join(f"{host}:{port}" for host, port in bound))
            listener, mounts = self._listen()
            self._cluster.subscribe(self._cluster_changed)
            self._duty.sources.subscribe(self._rhythm.wake)
            async with asyncio.TaskGroup() as group:
                work = {
                    "cluster": self._forever(self._cluster.run),
                    "duty": self._forever(self._duty.run),
                    "checks": self._look(),
                    "memory": self._remember(),
                    "explanations": self._explained(),
                    "log": self._tick(),
                }
                tasks = [group.create_task(task, name=name) for name, task in work.items()]
                await self._stopping.wait()
                await self._duty.release()
                for task in tasks:
                    task.cancel()
        finally:
            for watcher in (listener, mounts):
                if watcher is not None:
                    watcher.close()
            await self._close()

    def _make_cluster(self) -> Cluster:
        settings = self._settings
        state = StateFile(Path(settings.state_dir))
        cluster = Cluster(
            client=self._client,
            longhorn_namespace=settings.namespaces.longhorn,
            agent_namespace=settings.namespaces.agent,
            agents_selector=settings.agents_selector,
            node_name=settings.node_name,
            clock=self._clock.monotonic,
            rng=random.Random(),  # noqa: S311  # jitter, not secrets
            state=state,
        )
        loaded = state.load()
        if loaded.reason:
            _log.warning("state file not used: %s", loaded.reason)
        cluster.seed(loaded.facts)
        return cluster

    def _make_checks(self) -> tuple[Check, ...]:
        namespaces = Namespaces(directories=self._settings.netns_dir, entrance=self._entrance, monotonic=self._clock.monotonic)
        return (
            Itself(listen_again=lambda: self._server.listen_again()),  # noqa: PLW0108  # the server is made below
            Interfaces(namespaces=namespaces),
            HostPathCheck(namespaces=namespaces),
            self._reachability,
            self._pools,
            Sandboxes(),
            ClusterCheck(gather=lambda: self._asking.cluster()),  # noqa: PLW0108  # made after the checks
            SettingCheck(server_wall_seconds=self._client.server_wall_seconds),
        )

    async def _close(self) -> None:
        await self._asking.close()
        await self._reachability.close()
        await self._server.stop()
        await asyncio.to_thread(self._prober.close)
        await asyncio.to_thread(self._entrance.close)
        await self._client.close()
        self._changes.flush()

    async def _look(self) -> None:
        """The agent itself at once, since it needs no cluster for that; then its pods, and each check in its own rhythm."""
        itself, interfaces, *_ = self._checks
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rhythm.loop(itself), name=f"check {itself.name}")
            await self._cluster.first_sync(timeout_seconds=FIRST_SYNC_SECONDS)
            self._follow_nads()
            await self._until(
                lambda: self._cluster.facts().nads.status.readable or not self._board.context().reading.nads, NADS_SYNC_SECONDS
            )
            await self._until(lambda: self._cluster.facts().pods.status.readable, None)
            self._follow_nads()
            await self._rhythm.run(interfaces)
            for check in self._checks[1:]:
                group.create_task(self._rhythm.loop(check), name=f"check {check.name}")

    async def _until(self, condition: Callable[[], bool], timeout_seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not condition():  # noqa: ASYNC110  # joins several sources, and only at the start
                    await asyncio.sleep(0.1)

    async def _forever(self, run: Callable[[], Awaitable[object]]) -> None:
        """A background task that ends by itself is as wrong as one that fails."""
        await run()
        raise RuntimeError("a background task ended by itself")

    async def _remember(self) -> None:
        """While another agent holds the Lease, keep what it would hand over."""
        while True:
            await asyncio.sleep(CLOCK_EVERY_SECONDS)
            if not self._duty.on:
                document, _ = await self._asking.holder(f"{EXPLANATIONS}?memory")
                if document is not None and isinstance(document.get("memory"), dict):
                    self._duty.remember(document["memory"])

    async def _explained(self) -> None:
        """Each round, while something is wrong here, ask the holder what explains it."""
        while True:
            await asyncio.sleep(self._settings.probe.interval_seconds)
            wrong = bool(self._board.view().findings)
            self._board.explained_by_holder(await self._asking.explanations() if wrong else None)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._changes.tick()
            self._duty.tell(self._board)

    def _duty_changed(self, on: bool) -> None:
        self._duty.tell(self._board)
        self._rhythm.duty_changed(on=on, cleared=_HOLDERS_PARTS)

    def _cluster_changed(self, names: frozenset[str]) -> None:
        if names & {"setting", "longhorn_settings", "pods", "nads"}:
            self._follow_nads()
        self._rhythm.wake(names)
        if "pods" in names and self._board.view().mesh.round:
            self._reachability.refresh(self._board.context, lambda outcome: self._board.publish("reachability", outcome))

    def _follow_nads(self) -> None:
        """Watch the NADs that the settings name. While nothing names one, what is watched stays."""
        reading = self._board.context().reading
        if reading.nads or self._cluster.facts().longhorn_settings.status.readable:
            self._cluster.set_nads(frozenset(reading.nads))

    def _listen(self) -> tuple[Listener, MountWatch]:
        """Hear of changes between two inspections; what cannot be heard is said, and polling remains."""
        listener = Listener(lambda _change: self._rhythm.wake(("kernel",)))
        mounts = MountWatch(self._settings.netns_dir, lambda: self._rhythm.wake(("kernel",)))
        for start, what in ((listener.start, "link changes"), (mounts.start, "new namespaces")):
            try:
                start()
            except OSError as error:
                self._board.note(f"{what} are not heard ({error.strerror}), only seen at each inspection")
        if listener.complaint:
            self._board.note(f"changes inside pods are seen at each inspection only: {listener.complaint}")
        return listener, mounts

    def _told(self, change: str, finding: Finding) -> None:
        (self._changes.cleared if change == "cleared" else self._changes.raised)(finding)

    def _dead_because(self) -> str | None:
        return None if self._prober.failed is None else f"the prober has failed: {self._prober.failed}"


async def serve(settings: Settings) -> None:
    """Run an agent until SIGTERM or SIGINT."""
    agent = Agent(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()
