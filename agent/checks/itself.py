"""Looks at the agent itself: its capabilities, its way into the namespaces, its addresses, the age of its sources."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent.checks.base import Context, GetContext, Outcome, Publish
from agent.config import Settings
from agent.edge.host import read_privileges
from agent.model.finding import Finding
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
        self._empty_since: float | None = None

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
        may_start = self._believed(impairment, context)
        claims = [Claim(finding=impairment, may_start=may_start)] if impairment else []
        publish(Outcome(look=Look(claims=(*claims, *(Claim(finding=finding) for finding in stale))), parts={"own": own}))

    def _believed(self, impairment: Finding | None, context: Context) -> bool:
        """An empty folder is believed at a second look: right after a node's boot the API still tells of the pods from before."""
        if impairment is None or impairment.reason != "netns_dir_empty":
            self._empty_since = None
            return True
        self._empty_since = context.now if self._empty_since is None else self._empty_since
        return context.now - self._empty_since >= context.settings.thresholds.disagreement_seconds
