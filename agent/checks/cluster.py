"""The holder's look at the whole mesh: asks all agents, and folds what fails into the smallest explanation."""

from collections.abc import Awaitable, Callable

from agent.checks.base import Context, GetContext, Outcome, Publish
from agent.config import Settings
from agent.model.blame import BlameState
from agent.model.finding import Verdict
from agent.model.gathered import Answered, Roundup, Unreachable
from agent.model.records import SourceState
from agent.rules.blame import blame
from agent.rules.blame_read import reports_of
from agent.rules.ledger import Claim, Look

Gather = Callable[[], Awaitable[Roundup]]


class ClusterCheck:
    """Contract §5: node-down, node-cut-off, one-way, network-split, network-down, agent-missing; and what explains whose findings."""

    name = "cluster"
    holder_only = True

    def __init__(self, *, gather: Gather) -> None:
        self._gather = gather
        self._state = BlameState()
        self._last: float | None = None

    def timeout_seconds(self, settings: Settings) -> float:
        return settings.cluster.interval_seconds + 30.0

    def interval_seconds(self, settings: Settings) -> float:
        return settings.cluster.interval_seconds

    def woken_by(self) -> frozenset[str]:
        return frozenset()

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        roundup = await self._gather()
        context = get_context()
        nodes = context.holder.nodes
        reports = reports_of(
            roundup,
            {node.name: node for node in nodes.items},
            nodes_live=nodes.status.state is SourceState.LIVE,
            addresses=_addresses(context),
        )
        # what was known when the duty was last ours is no beginning for today
        interval = context.settings.cluster.interval_seconds
        if self._last is None or context.now - self._last > 3 * interval:
            self._state = BlameState(watching_since=context.now)
        self._last = context.now
        told = blame(
            reports,
            state=self._state,
            now=context.now,
            interval_seconds=interval,
            probe_interval_seconds=context.settings.probe.interval_seconds,
            agent_missing_seconds=context.settings.thresholds.agent_missing_seconds,
        )
        self._state = told.state
        publish(
            Outcome(
                look=Look(claims=tuple(Claim(finding=finding) for finding in told.findings)),
                parts={
                    "explanations": dict(told.explanations),
                    "sentence": told.verdict_sentence,
                    "node_verdicts": tuple((node, _verdict(reply)) for node, reply in roundup.statuses.items()),
                },
            )
        )


def _addresses(context: Context) -> dict[str, str] | None:
    """Where the storage pods are; None while that is not known for sure."""
    if context.facts.pods.status.state is not SourceState.LIVE:
        return None
    return {pod.key: str(pod.address) for pod in context.pods if pod.address is not None and pod.record.live} or None


def _verdict(reply: Answered | Unreachable) -> str:
    """As the node says it, if that is a word that we know: it becomes a label."""
    said = reply.document.get("verdict") if isinstance(reply, Answered) else None
    return str(said) if said in set(Verdict) else Verdict.UNKNOWN.value
