"""The holder's look at the address pools: capacity, allocations and reservations against the pods that there are, and what is needed."""

from collections.abc import Iterator

from agent.checks.base import Context, GetContext, Outcome, Publish
from agent.config import Settings
from agent.model.finding import Finding
from agent.model.holder import HolderFacts
from agent.model.peers import Network
from agent.model.records import SourceState
from agent.rules.demand import count_pods, places_of
from agent.rules.ipam import Judged, NadUse, PoolFacts, judge_pools
from agent.rules.ipam_findings import Limits, nad_findings, pool_findings
from agent.rules.ipam_grants import address_duplicates
from agent.rules.ipam_pods import pod_uses
from agent.rules.ipam_seen import SeenClock, from_document, to_document
from agent.rules.ledger import Claim, Look
from agent.rules.nad import parse_nad

INTERVAL_SECONDS = 10.0
_COMPARES_PODS = frozenset({"allocation-orphaned", "reservation-orphaned", "allocation-missing", "address-duplicate"})


class Pools:
    """Contract §5: pool-*, allocation-*, reservation-*, address-duplicate, range-unusable, exclude-widened."""

    name = "pools"
    holder_only = True

    def __init__(self) -> None:
        self._clock = SeenClock()

    def timeout_seconds(self, settings: Settings) -> float:
        return 30.0

    def interval_seconds(self, settings: Settings) -> float:
        return INTERVAL_SECONDS

    def woken_by(self) -> frozenset[str]:
        return frozenset({"ippools", "reservations", "nads", "all_nads", "pods"})

    def handed_over(self, now: float) -> dict[str, list[float | None]]:
        """What this holder knows of the entries' ages, for whoever holds the Lease next."""
        return to_document(self._clock, now=now)

    def take_over(self, document: object, *, now: float) -> None:
        """Go on with the ages that another holder knew; what this one has seen itself stays."""
        if not self._clock.entries:
            self._clock = from_document(document, now=now)

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        context = get_context()
        holder = context.holder
        uses = tuple(_uses(context, holder))
        if not holder.pools.status.readable and holder.pools.status.state is not SourceState.ABSENT:
            publish(Outcome(look=Look(undecided=lambda _finding: True), parts={"pools": ()}))
            return
        judged = judge_pools(
            _facts(context, holder, uses),
            clock=self._clock,
            now=context.now,
            pod_grace_seconds=context.settings.thresholds.pod_grace_seconds,
        )
        self._clock = judged.clock
        publish(Outcome(look=judge(context, uses, judged), parts={"pools": judged.states}))


def _uses(context: Context, holder: HolderFacts) -> Iterator[NadUse]:
    """The NADs in use, with what their network needs, and those that are left of earlier settings."""
    wanted = places_of(holder.instance_managers.items)
    for name, config in context.nads.items():
        network = context.reading.nads.get(name)
        if network is not None and config.whereabouts:
            places = wanted if holder.instance_managers.status.readable else 0
            demand = count_pods(context.pods, network=network, instance_managers_wanted=places).demand()
            yield NadUse(nad=config, network=network, demand=demand)
    for nad in holder.all_nads.items:
        if nad.key not in context.reading.nads:
            config = parse_nad(nad.key, nad.config)
            if config.whereabouts:
                yield NadUse(nad=config, network=Network.STORAGE, in_use=False)


def _facts(context: Context, holder: HolderFacts, uses: tuple[NadUse, ...]) -> PoolFacts:
    pods_live = context.facts.pods.status.state is SourceState.LIVE
    longhorn = context.settings.namespaces.longhorn
    return PoolFacts(
        pools=holder.pools.items,
        reservations=holder.reservations.items,
        nads=uses,
        pods=pod_uses(context.facts.pods.items),
        pod_namespaces=(longhorn,) if pods_live else (),
        returning=tuple(f"{longhorn}/{one.name}" for one in holder.instance_managers.items if one.state in (None, "running", "starting")),
        nodes_down=tuple(node.name for node in holder.nodes.items if node.ready is not True) if holder.nodes.status.readable else (),
        whereabouts_namespace=context.settings.namespaces.whereabouts,
        pools_known=holder.pools.status.readable,
        reservations_known=holder.reservations.status.readable,
    )


def judge(context: Context, uses: tuple[NadUse, ...], judged: Judged) -> Look:
    """Claims of this look; those that hold entries against pods need both lists live."""
    thresholds, holder = context.settings.thresholds, context.holder
    limits = Limits(free_ratio=thresholds.pool_free_ratio, orphan_warning_seconds=thresholds.orphan_warning_seconds)
    findings: list[Finding] = [*pool_findings(judged, limits=limits)]
    findings += nad_findings([use for use in uses if use.in_use], whereabouts_namespace=context.settings.namespaces.whereabouts)
    findings += address_duplicates(
        pod_uses(context.facts.pods.items),
        nads=[use.nad for use in uses if use.in_use],
        states=judged.states,
        nodes_down=tuple(node.name for node in holder.nodes.items if node.ready is not True),
        now=context.now,
        grace_seconds=thresholds.pod_grace_seconds,
    )
    live = all(source.status.state is SourceState.LIVE for source in (context.facts.pods, holder.pools, holder.reservations))
    return Look(claims=tuple(Claim(finding=one, may_start=live or one.id not in _COMPARES_PODS) for one in findings))
