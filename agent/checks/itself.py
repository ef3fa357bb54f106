"""Looks at the agent itself: its capabilities, its way into the namespaces, its addresses, the age of its sources."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent.checks.base import GetContext, Outcome, Publish
from agent.config import Settings
from agent.edge.host import read_privileges
from agent.rules.itself import impaired, stale_sources
from agent.rules.ledger import Claim, Look

INTERVAL_SECONDS = 5.0
"""Cheap, and the age of a source should not be found late."""


class Itself:
    """Contract §5: agent-impaired, sources-stale."""

    name = "itself"
    holder_only = False

    def __init__(self, *, listen_again: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        self._listen_again = listen_again

    def timeout_seconds(self, settings: Settings) -> float:
        return 10.0

    def interval_seconds(self, settings: Settings) -> float:
        return min(INTERVAL_SECONDS, settings.inspect.interval_seconds)

    def woken_by(self) -> frozenset[str]:
        return frozenset({"inspected", "stale"})

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        taken = await self._listen_again()
        context = get_context()
        privileges = read_privileges()
        capabilities = privileges.effective if privileges else context.view.own.capabilities
        own = replace(context.view.own, capabilities=capabilities, taken=taken)
        impairment = impaired(context.node, own)
        # until the pods were looked at, the server has not had its time to answer: what an earlier run left is old, and no trouble
        begun = context.view.inspected_monotonic_seconds is not None
        sources = context.sources if begun else ()
        stale = stale_sources(context.node, sources, stale_after_seconds=context.settings.api.stale_after_seconds)
        findings = [*([impairment] if impairment else []), *stale]
        publish(Outcome(look=Look(claims=tuple(Claim(finding=finding) for finding in findings)), parts={"own": own}))
