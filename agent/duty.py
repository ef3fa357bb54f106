"""The duty of the holder: keeps the Lease, and with it starts and stops what only the holder watches and judges."""

import asyncio
import logging
import os
import random
from collections.abc import Callable

from agent.checks.board import Board
from agent.checks.pools import Pools
from agent.clock import Clock
from agent.config import Settings
from agent.edge.holder import HolderSources
from agent.edge.kube import KubeClient
from agent.edge.lease import Lease
from agent.model.gathered import Document
from agent.model.holder import HolderFacts, LeaseView
from agent.model.records import SourceStatus

CLOCK_EVERY_SECONDS = 60.0
"""How often a follower asks the holder for the ages of pool entries, to go on with them should the holder be gone."""

_log = logging.getLogger("agent.duty")


class Duty:
    """The Lease, the holder's sources, and the memory that is handed over. `on_change` is called when the duty begins or ends."""

    def __init__(self, *, settings: Settings, client: KubeClient, clock: Clock, pools: Pools, on_change: Callable[[bool], None]) -> None:
        rng = random.Random(os.urandom(8))  # noqa: S311  # jitter, not secrets
        self._clock = clock
        self._pools = pools
        self._on_change = on_change
        self._was_on = False
        self.lease = Lease(
            client=client,
            namespace=settings.namespaces.agent,
            identity=settings.node_name,
            clock=clock.monotonic,
            rng=rng,
            wall=clock.wall,
            read_other=self._other_claims,
        )
        self.sources = HolderSources(
            client=client,
            longhorn_namespace=settings.namespaces.longhorn,
            harvester_namespace=settings.namespaces.harvester,
            whereabouts_namespace=settings.namespaces.whereabouts,
            monitoring_namespace=settings.namespaces.monitoring,
            clock=clock.monotonic,
            rng=rng,
        )
        self._claims: frozenset[str] = frozenset()
        self._handed: tuple[float, Document] | None = None

    @property
    def on(self) -> bool:
        return self.lease.view.on_duty

    @property
    def view(self) -> LeaseView:
        return self.lease.view

    def facts(self) -> HolderFacts:
        return self.sources.facts()

    def statuses(self) -> tuple[SourceStatus, ...]:
        """The Lease's own watch, and of the holder what it watches beside it."""
        return (self.lease.status(), *(self.sources.facts().statuses() if self.sources.active else ()))

    def heard(self, claimants: frozenset[str]) -> None:
        """Nodes whose fresh status documents say that they hold the Lease."""
        self._claims = claimants

    def remember(self, document: Document) -> None:
        """What the holder handed over, for the case that this agent is next."""
        self._handed = (self._clock.monotonic(), document)

    async def run(self) -> None:
        """Keep the Lease and follow it. Ends by cancellation only."""
        self.lease.subscribe(self._leased)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lease.run(), name="lease")
            group.create_task(self.sources.run(), name="holder's sources")

    async def release(self) -> None:
        await self.lease.release()

    def tell(self, board: Board) -> None:
        """Put on the board who holds the Lease."""
        view = self.lease.view
        board.leased(view.state.value, view.holder)

    def _leased(self, view: LeaseView) -> None:
        on = view.on_duty
        if on and not self._was_on:
            _log.info("this agent holds the Lease now and judges the cluster")
            if self._handed is not None:
                at, document = self._handed
                self._pools.take_over(document, now=at)
        elif self._was_on and not on:
            _log.info("this agent does not hold the Lease any more; %s does", view.holder or "nobody")
        self.sources.want(on)
        self._was_on = on
        self._on_change(on)

    def _other_claims(self) -> frozenset[str]:
        return self._claims
