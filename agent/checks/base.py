"""What a check is, what it is given, and the frame that keeps one that fails from taking anything else down.

A check reads through the edge, judges by rules, and publishes outcomes; it may publish several times in one run. The frame turns its
exception or its overtime into a finding about the check.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.clock import Clock
from agent.config import Settings
from agent.model.cluster import ClusterFacts
from agent.model.holder import HolderFacts
from agent.model.peers import StoragePod
from agent.model.pool import NadConfig
from agent.model.records import SourceStatus
from agent.model.view import CheckRun, NodeView
from agent.rules.ledger import Look
from agent.rules.mode import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything known at one moment; a check that runs for long asks for a new one."""

    settings: Settings
    facts: ClusterFacts
    reading: Reading
    pods: tuple[StoragePod, ...]
    """All storage pods of the cluster."""
    nads: Mapping[str, NadConfig]
    """Parsed configurations of the NADs that could be read, by ns/name."""
    view: NodeView
    holder: HolderFacts
    """What the holder of the Lease watches; nothing is known of it elsewhere."""
    sources: tuple[SourceStatus, ...]
    """Everything that this agent watches now, the holder's included while the duty is ours."""
    now: float
    wall: float

    @property
    def node(self) -> str:
        return self.settings.node_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a check saw: findings for the ledger, and the fields of the NodeView that this check owns."""

    look: Look | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)


Publish = Callable[[Outcome], None]
GetContext = Callable[[], Context]


class Check(Protocol):
    """One check. `name` is its label in metrics and in `check-failed`."""

    name: str
    holder_only: bool
    """Runs only while this agent holds the Lease."""

    def timeout_seconds(self, settings: Settings) -> float:
        """Longest that one run may take."""

    def interval_seconds(self, settings: Settings) -> float:
        """From the start of one run to the start of the next."""

    def woken_by(self) -> frozenset[str]:
        """Sources whose change makes it run at once; `kernel` stands for events of links, addresses and routes."""

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        """One bounded run."""


async def run_once(check: Check, get_context: GetContext, publish: Publish, *, clock: Clock) -> tuple[CheckRun, str | None]:
    """Run `check` within its time; how it went, and why it failed if it did. Only cancellation comes out as an exception."""
    began = clock.monotonic()
    why: str | None = None
    try:
        async with asyncio.timeout(check.timeout_seconds(get_context().settings)):
            await check.run(get_context, publish)
    except TimeoutError:
        why = f"it took longer than {clock.monotonic() - began:.0f} s"
    except Exception as error:  # whatever it was: the other checks go on, and the finding says it
        why = f"{type(error).__name__}: {str(error)[:200]}"
    now = clock.monotonic()
    return CheckRun(name=check.name, success=why is None, duration_seconds=now - began, finished_monotonic_seconds=now), why
