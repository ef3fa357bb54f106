"""Builds the agent from its parts and owns the one tree of tasks. Wiring only: nothing here reads a kernel or judges a fact."""

import asyncio
import logging
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent import __version__
from agent.checks.base import Check, Outcome, run_once
from agent.checks.board import Board
from agent.checks.interfaces import Interfaces
from agent.checks.itself import Itself
from agent.checks.namespaces import Namespaces
from agent.checks.reachability import Reachability
from agent.clock import Clock
from agent.config import Settings
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
from agent.model.holder import HolderFacts
from agent.serve.metrics import make_registry
from agent.serve.server import Server

FIRST_SYNC_SECONDS = 10.0
"""How long the first look waits for the API server; with a state file it goes on with what was known."""
NADS_SYNC_SECONDS = 3.0
MIN_GAP_SECONDS = 0.5
"""Between two runs of a check that is woken by changes: a pod that starts makes many."""

_log = logging.getLogger("agent")


@dataclass(slots=True)
class Waker:
    """Wakes the loop of one check before its time."""

    event: asyncio.Event

    def wake(self) -> None:
        self.event.set()


class Agent:
    """One node's agent. `run()` returns after `stop()`; an error in any task ends all of them, loudly."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or Clock()
        self._stopping = asyncio.Event()
        self._changes = ChangeLog(logging.getLogger("agent.findings"), clock=self._clock)
        self._access = find_access(kubeconfig=settings.kubeconfig, environ=os.environ, clock=self._clock.monotonic)
        self._client = KubeClient(access=self._access)
        state = StateFile(Path(settings.state_dir))
        self._cluster = Cluster(
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
        self._cluster.seed(loaded.facts)
        self._board = Board(
            settings=settings,
            version=__version__,
            clock=self._clock,
            get_facts=self._cluster.facts,
            get_holder=HolderFacts,
            on_change=self._told,
        )
        self._entrance = Entrance()
        self._prober = Prober(entrance=self._entrance, own_delay_seconds=settings.thresholds.own_delay_seconds)
        self._namespaces = Namespaces(directories=settings.netns_dir, entrance=self._entrance, monotonic=self._clock.monotonic)
        self._reachability = Reachability(prober=self._prober)
        self._checks: tuple[Check, ...] = (Itself(), Interfaces(namespaces=self._namespaces), self._reachability)
        self._wakers = {check.name: Waker(asyncio.Event()) for check in self._checks}
        self._server = Server(
            get_view=self._board.view, registry=make_registry(self._board.view), alive=self._dead_because, clock=self._clock
        )

    def stop(self) -> None:
        """End `run()` soon. Idempotent."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve, watch and look until stopped. Raises OSError if an address to listen on is taken."""
        bound = await self._server.start([(listen.host, listen.port) for listen in self._settings.listen])
        _log.info("listening on %s", ", ".join(f"{host}:{port}" for host, port in bound))
        listener, mounts = self._listen()
        self._cluster.subscribe(self._cluster_changed)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._forever(self._cluster.run), name="cluster"),
                    group.create_task(self._work(group), name="checks"),
                    group.create_task(self._tick(), name="log"),
                ]
                await self._stopping.wait()
                for task in tasks:
                    task.cancel()
                self._cancel_loops()
        finally:
            listener.close()
            mounts.close()
            await self._close()

    async def _close(self) -> None:
        await self._reachability.close()
        await self._server.stop()
        await asyncio.to_thread(self._prober.close)
        await asyncio.to_thread(self._entrance.close)
        await self._client.close()
        self._changes.flush()

    async def _work(self, group: asyncio.TaskGroup) -> None:
        """First everything once, in order, as soon as the cluster is known; then each check in its own rhythm."""
        await self._cluster.first_sync(timeout_seconds=FIRST_SYNC_SECONDS)
        self._follow_nads()
        await self._until(lambda: self._cluster.facts().nads.status.readable or not self._board.context().reading.nads, NADS_SYNC_SECONDS)
        await self._until(lambda: self._cluster.facts().pods.status.readable, None)
        self._follow_nads()
        self._loops: list[asyncio.Task[None]] = []
        for check in self._checks[:-1]:
            await self._run(check)
        self._wakers["itself"].wake()
        self._loops = [group.create_task(self._loop(check), name=f"check {check.name}") for check in self._checks]

    async def _until(self, condition: Callable[[], bool], timeout_seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not condition():  # noqa: ASYNC110  # joins several sources, and only at the start
                    await asyncio.sleep(0.1)

    def _cancel_loops(self) -> None:
        for task in getattr(self, "_loops", []):
            task.cancel()

    async def _forever(self, run: Callable[[], Awaitable[object]]) -> None:
        """A background task that ends by itself is as wrong as one that fails."""
        await run()
        raise RuntimeError("a background task ended by itself")

    async def _loop(self, check: Check) -> None:
        waker = self._wakers[check.name]
        while True:
            began = self._clock.monotonic()
            waker.event.clear()
            await self._run(check)
            await self._rest(check, began, waker)

    async def _run(self, check: Check) -> None:
        def publish(outcome: Outcome) -> None:
            self._board.publish(check.name, outcome)
            if "inspected" in outcome.parts:
                self._wakers["itself"].wake()

        run, why = await run_once(check, self._board.context, publish, clock=self._clock)
        if why is not None:
            _log.error("check %s failed: %s", check.name, why)
        self._board.ran(run, why)

    async def _rest(self, check: Check, began: float, waker: Waker) -> None:
        """Until the next run is due: after the interval, when a finding may have its second look, or when woken."""
        due = began + check.interval_seconds(self._settings)
        second_look = self._board.next_look(check.name)
        if second_look is not None:
            due = min(due, second_look)
        earliest = self._clock.monotonic() + MIN_GAP_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - self._clock.monotonic())):
                await waker.event.wait()
                await asyncio.sleep(max(0.0, earliest - self._clock.monotonic()))

    def _cluster_changed(self, names: frozenset[str]) -> None:
        if names & {"setting", "longhorn_settings", "pods", "nads"}:
            self._follow_nads()
        for check in self._checks:
            if names & check.woken_by():
                self._wakers[check.name].wake()
        if "pods" in names and self._board.view().mesh.round:
            self._reachability.refresh(self._board.context, lambda outcome: self._board.publish("reachability", outcome))

    def _follow_nads(self) -> None:
        """Watch the NADs that the settings name. While nothing names one, what is watched stays."""
        reading = self._board.context().reading
        if reading.nads or self._cluster.facts().longhorn_settings.status.readable:
            self._cluster.set_nads(frozenset(reading.nads))

    def _kernel_changed(self) -> None:
        for check in self._checks:
            if "kernel" in check.woken_by():
                self._wakers[check.name].wake()

    def _listen(self) -> tuple[Listener, MountWatch]:
        """Hear of changes between two inspections; what cannot be heard is said, and polling remains."""
        listener = Listener(lambda _change: self._kernel_changed())
        mounts = MountWatch(self._settings.netns_dir, self._kernel_changed)
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

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._changes.tick()

    def _dead_because(self) -> str | None:
        return None if self._prober.failed is None else f"the prober has failed: {self._prober.failed}"


async def serve(settings: Settings) -> None:
    """Run an agent until SIGTERM or SIGINT."""
    agent = Agent(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()
