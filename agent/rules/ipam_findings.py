"""Says what is wrong with pools that rules/ipam counted. Claims of one look: the ledger decides when they stand.

An unknown count raises nothing. `pool-exhausted` hides `pool-nearly-full`, and `range-unusable` hides both, since no clean-up would help.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.model.finding import Finding, Severity, Subject
from agent.model.pool import NadConfig, PoolNad, PoolState
from agent.rules.ipam import Judged, NadUse
from agent.rules.ipam_leaks import allocation_missing, allocation_orphaned, pool_leftover, reservation_orphaned
from agent.rules.ipam_names import normalised, pool_name
from agent.rules.ipam_range import shown
from agent.rules.ipam_texts import addresses, clean_up, edit_setting, larger_range, show_nad
from agent.rules.make import make


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings `thresholds.*` of contract §2."""

    free_ratio: float = 0.1
    orphan_warning_seconds: float = 93_600.0


def pool_findings(judged: Judged, *, limits: Limits | None = None) -> tuple[Finding, ...]:
    """Findings of every pool, worst cause first within each."""
    limits = limits or Limits()
    found: list[Finding | None] = []
    for state in judged.states:
        found += [
            pool_exhausted(state) or pool_nearly_full(state, free_ratio=limits.free_ratio),
            upgrade_headroom(state),
            allocation_orphaned(state, warning_seconds=limits.orphan_warning_seconds),
            reservation_orphaned(state, warning_seconds=limits.orphan_warning_seconds),
            allocation_missing(state),
            pool_leftover(state),
        ]
    return tuple(one for one in found if one is not None)


def nad_findings(uses: Sequence[NadUse], *, whereabouts_namespace: str = "kube-system") -> tuple[Finding, ...]:
    """What the configuration alone tells, before any pool: ranges without an address, excludes that take more than they say."""
    found: list[Finding] = []
    for use in uses:
        if use.in_use and use.nad.whereabouts:
            found += range_unusable(use, namespace=whereabouts_namespace)
            found += [one for one in (exclude_widened(use),) if one is not None]
    return tuple(found)


def range_unusable(use: NadUse, *, namespace: str = "kube-system") -> tuple[Finding, ...]:
    """Capacity 0 by configuration; one finding a pool."""
    nad = use.nad
    if nad.refused or not nad.ranges:
        why = nad.refused or (nad.problems[0] if nad.problems else "it has no range")
        name = pool_name(nad, nad.ranges[0]) if nad.ranges else normalised(nad.name)
        return (_unusable(use, f"{namespace}/{name}", why),)
    broken = [one for one in nad.ranges if one.capacity <= 0]
    return tuple(
        _unusable(
            use,
            f"{namespace}/{pool_name(nad, one)}",
            one.problem or f"its excludes leave nothing of {one.first} – {one.last}: {', '.join(shown(text) for text in one.excludes[:4])}",
        )
        for one in broken
    )


def _unusable(use: NadUse, pool: str, why: str) -> Finding:
    return make(
        "range-unusable",
        subject=Subject(pool=pool, nad=use.nad.name),
        network=use.network,
        summary=f"{use.nad.name} can give no address, whatever pool {pool} holds: {why}",
        seen=why,
        expected="a range with addresses to give",
        next_step=f"compare range and exclude: {show_nad(use.nad.name)}; correct them in Harvester's setting, {edit_setting(use.network)}",
        clears_when="the range has addresses to give",
    )


def exclude_widened(use: NadUse) -> Finding | None:
    """Excludes with host bits: whereabouts drops the bits and leaves out the whole network."""
    nad: NadConfig = use.nad
    wide = [(one, entry) for one in nad.ranges for entry in one.widened]
    if not wide:
        return None
    cost = sum(one.widened_cost for one in nad.ranges)
    left_out = "; ".join(f"{shown(entry.text)} leaves out all of {entry.network}" for _, entry in wide[:5])
    return make(
        "exclude-widened",
        subject=Subject(nad=nad.name),
        culprit=nad.name,
        network=use.network,
        severity=None if cost else Severity.INFO,
        summary=f"an exclude of {nad.name} removes more than it names: {left_out}",
        seen=f"{left_out}; {addresses(cost)} fewer to give than as written" + ("" if cost else ", since other excludes cover them too"),
        expected="excludes that begin at their network's first address, or /32 for a single address",
        next_step=f"{show_nad(nad.name)}; write a single address with /32 in Harvester's setting, {edit_setting(use.network)}",
        clears_when="no exclude has host bits",
        evidence=tuple(f"{shown(entry.text)} is {entry.network}" for _, entry in wide[:20]),
    )


def pool_exhausted(state: PoolState) -> Finding | None:
    nad = _judgeable(state)
    if nad is None or nad.free != 0:
        return None
    return make(
        "pool-exhausted",
        subject=Subject(pool=state.pool, nad=nad.nad),
        network=nad.network,
        reason="leaked" if nad.leaked + nad.reservations_leaked else "in_use",
        summary=f"pool {state.pool} has no free address for {nad.nad}: {_use(nad)}",
        seen=_counts(nad),
        expected="at least one free address: the next storage pod cannot start without one",
        next_step=_make_room(state, nad),
        clears_when="an address is free again",
        evidence=_evidence(state),
    )


def pool_nearly_full(state: PoolState, *, free_ratio: float) -> Finding | None:
    nad = _judgeable(state)
    if nad is None or not nad.free or nad.free > nad.capacity * free_ratio:
        return None
    return make(
        "pool-nearly-full",
        subject=Subject(pool=state.pool, nad=nad.nad),
        network=nad.network,
        summary=f"pool {state.pool} has {addresses(nad.free)} left of {nad.capacity} for {nad.nad}",
        seen=_counts(nad),
        expected=f"more than {free_ratio:.0%} of the capacity free",
        next_step=_make_room(state, nad),
        clears_when=f"more than {free_ratio:.0%} of {nad.capacity} are free",
        evidence=_evidence(state),
    )


def upgrade_headroom(state: PoolState) -> Finding | None:
    """Beside what its pods hold, the pool could not carry the second generation that an upgrade starts before it ends the first."""
    short = max((one for one in state.nads if one.short_of and one.capacity), key=lambda one: one.short_of, default=None)
    if short is None or short.demand is None:
        return None
    room = (short.free or 0) + short.held
    return make(
        "upgrade-headroom",
        subject=Subject(pool=state.pool, nad=short.nad),
        network=short.network,
        summary=f"an upgrade would need {addresses(short.demand.upgrade)} of pool {state.pool}, which has room for {room}",
        seen=f"{_counts(short)}; {short.held} of the listed ones are of pods that stay or come back",
        expected=f"{short.demand.upgrade} during an upgrade ({short.demand.steady} without one)",
        next_step=_make_room(state, short),
        clears_when=f"free and held addresses together reach {short.demand.upgrade}",
        evidence=_evidence(state),
    )


def _judgeable(state: PoolState) -> PoolNad | None:
    """The NAD with the least to get; none where nothing is known, or where the configuration itself gives nothing."""
    return None if state.problem else state.tightest


def _use(nad: PoolNad) -> str:
    parts = [f"{nad.taken} of {nad.capacity} are listed"]
    if nad.leaked:
        parts.append(f"{nad.leaked} of these for pods that are gone or moved on")
    if nad.reservations_blocking:
        parts.append(f"{nad.reservations_blocking} more are kept by reservations")
    return ", ".join(parts)


def _counts(nad: PoolNad) -> str:
    return f"{nad.range.first} – {nad.range.last}, {addresses(nad.capacity)} to give: {_use(nad)}; free {nad.free}"


def _make_room(state: PoolState, nad: PoolNad) -> str:
    steps = clean_up(state) if nad.leaked + nad.reservations_leaked else ""
    enough = nad.leaked + nad.reservations_leaked >= max(1, nad.short_of)
    return steps if steps and enough else "; ".join(step for step in (steps, larger_range(nad)) if step)


def _evidence(state: PoolState) -> tuple[str, ...]:
    leaks = [
        f"{entry.address} for {shown(entry.podref or '')}: {entry.why}" for entry in (*state.entries, *state.reservations) if entry.leaked
    ]
    return (*leaks[:10], *state.skipped[:5])
