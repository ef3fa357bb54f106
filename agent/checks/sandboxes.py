"""The holder's look at pods that cannot start: events folded by pod and cause, cleared when the pod runs with its grant or is gone."""

from dataclasses import replace

from agent.checks.base import Context, GetContext, Outcome, Publish
from agent.config import Settings
from agent.model.peers import Network
from agent.model.records import EventRecord, SourceState
from agent.rules.ledger import Claim, Look
from agent.rules.sandbox_findings import failing_pods, findings, rows, settled
from agent.rules.sandbox_fold import Networks, SandboxState, fold_all

INTERVAL_SECONDS = 5.0


class Sandboxes:
    """Contract §5: sandbox-failing. Owns /events."""

    name = "sandboxes"
    holder_only = True

    def __init__(self) -> None:
        self._state = SandboxState()

    def timeout_seconds(self, settings: Settings) -> float:
        return 30.0

    def interval_seconds(self, settings: Settings) -> float:
        return INTERVAL_SECONDS

    def woken_by(self) -> frozenset[str]:
        return frozenset({"events", "pods"})

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        context = get_context()
        networks = networks_of(context)
        events = context.holder.events
        for live in (False, True):
            heard = [_aged(event, now=context.now) for event in events.items if event.live is live]
            self._state = fold_all(self._state, heard, now=context.now, networks=networks, live=live)
        pods_live = context.facts.pods.status.state is SourceState.LIVE
        self._state = settled(self._state, pods=context.pods, pods_live=pods_live, now=context.now)
        found = findings(
            self._state,
            pods=context.pods,
            now=context.now,
            sandbox_grace_seconds=context.settings.thresholds.sandbox_grace_seconds,
            networks=networks,
        )
        publish(
            Outcome(
                look=Look(claims=tuple(Claim(finding=finding) for finding in found)),
                parts={
                    "failing": rows(self._state, pods=context.pods, now=context.now, wall=context.wall, networks=networks),
                    "sandbox_totals": self._state.totals,
                    "sandbox_pods": failing_pods(self._state, pods=context.pods, networks=networks),
                },
            )
        )


def _aged(event: EventRecord, *, now: float) -> EventRecord:
    """With the ages as they are now: they were true when the event was heard."""
    passed = max(0.0, now - event.seen_monotonic_seconds) if event.seen_monotonic_seconds is not None else 0.0
    first, last = event.first_seen_age_seconds, event.last_seen_age_seconds
    return replace(
        event,
        first_seen_age_seconds=None if first is None else first + passed,
        last_seen_age_seconds=None if last is None else last + passed,
    )


def networks_of(context: Context) -> Networks:
    """The NADs that the settings name; Multus says the name inside the configuration where that differs."""
    if not context.reading.nads:
        return Networks()
    names: dict[Network, set[str]] = {Network.STORAGE: set(), Network.RWX: set()}
    for name, network in context.reading.nads.items():
        config = context.nads.get(name)
        inner = config.network_name if config else None
        names[network] |= {name, *([inner] if inner else [])}
    return Networks(
        storage_nads=frozenset(names[Network.STORAGE]),
        rwx_nads=frozenset(names[Network.RWX]),
        interfaces=frozenset({context.settings.interface, *(pod.interface for pod in context.pods)}),
    )
