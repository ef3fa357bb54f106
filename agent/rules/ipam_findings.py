"""Says what is wrong with pools that rules/ipam counted. Claims of one look: the ledger decides when they stand.

An unknown count raises nothing. `pool-exhausted` hides `pool-nearly-full`, and `range-unusable` hides both, since no clean-up would help.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.model.finding import Finding, Severity, Subject
from agent.model.pool import EntryState, NadConfig, PoolNad, PoolState
from agent.rules.ipam import Judged, NadUse
from agent.rules.ipam_leaks import allocation_missing, allocation_orphaned, pool_leftover, reservation_orphaned, told
from agent.rules.ipam_names import normalised, pool_name
from agent.rules.ipam_range import shown
from agent.rules.ipam_texts import addresses, clean_up, edit_setting, larger_range, show_nad
from agent.rules.make import make
from agent.rules.setting_texts import listing

_IMAGE_POD = "/backing-image-ds-"
_LEAKS_SHOWN = 3
"""`allocation-orphaned` and `reservation-orphaned` list more of them."""


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
        what = "whereabouts refuses its configuration" if nad.refused else "it has no range that can be read"
        why = nad.refused or (nad.problems[0] if nad.problems else "no range is configured")
        name = pool_name(nad, nad.ranges[0]) if nad.ranges else normalised(nad.name)
        return (_unusable(use, f"{namespace}/{name}", what=what, why=why),)
    broken = [one for one in nad.ranges if one.capacity <= 0]
    return tuple(
        _unusable(
            use,
            f"{namespace}/{pool_name(nad, one)}",
            what=f"its range {shown(one.text)} cannot be used" if one.problem else f"its excludes leave nothing of {shown(one.text)}",
            why=one.problem or f"excludes {listing(one.excludes)} cover {one.first} – {one.last}",
        )
        for one in broken
    )


def _unusable(use: NadUse, pool: str, *, what: str, why: str) -> Finding:
    return make(
        "range-unusable",
        subject=Subject(pool=pool, nad=use.nad.name),
        network=use.network,
        summary=f"{use.nad.name} can give no address, even from an empty pool: {what}",
        seen=why,
        expected="a range with addresses to give",
        next_step=f"compare range and exclude: {show_nad(use.nad.name)}; then correct them, {edit_setting(use.network)}",
        clears_when="the range has addresses to give",
    )


def exclude_widened(use: NadUse) -> Finding | None:
    """Excludes with host bits: whereabouts drops the bits and leaves out the whole network."""
    nad: NadConfig = use.nad
    wide = [entry for one in nad.ranges for entry in one.widened]
    if not wide:
        return None
    cost = sum(one.widened_cost for one in nad.ranges)
    first, more = wide[0], f"; {len(wide) - 1} more alike" if len(wide) > 1 else ""
    return make(
        "exclude-widened",
        subject=Subject(nad=nad.name),
        culprit=nad.name,
        network=use.network,
        severity=None if cost else Severity.INFO,
        summary=f"exclude {shown(first.text)} of {nad.name} leaves out all of {first.network}{more}",
        seen=f"{addresses(cost)} fewer to give than as written" if cost else "no address lost: other excludes cover them too",
        expected="excludes that begin at their network's first address, or /32 for a single address",
        next_step=f"read the excludes: {show_nad(nad.name)}; then write single addresses as /32, {edit_setting(use.network)}",
        clears_when="no exclude has host bits",
        evidence=tuple(f"{shown(entry.text)} leaves out all of {entry.network}" for entry in wide[1:20]),
    )


def pool_exhausted(state: PoolState) -> Finding | None:
    nad = _judgeable(state)
    if nad is None or nad.free != 0:
        return None
    lost = nad.leaked + nad.reservations_leaked
    why = f"{lost} of {nad.capacity} {_is(lost)} kept for pods that are gone or moved on" if lost else f"all {nad.capacity} are taken"
    return make(
        "pool-exhausted",
        subject=Subject(pool=state.pool, nad=nad.nad),
        network=nad.network,
        reason="leaked" if lost else "in_use",
        summary=f"pool {state.pool} has no free address for {nad.nad}: {why}",
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
        seen=f"{_counts(nad)}{_lost(nad)}",
        expected=f"more than {free_ratio:.0%} of the capacity free",
        next_step=_make_room(state, nad),
        clears_when=f"at least {addresses(int(nad.capacity * free_ratio) + 1)} are free",
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
        seen=f"{_counts(short)}, {short.free} free; {_held(short)}{_lost(short)}",
        expected=f"room for {short.demand.upgrade} during an upgrade; without one {short.demand.steady} are enough",
        next_step=_make_room(state, short),
        clears_when=f"free and held addresses together reach {short.demand.upgrade}",
        evidence=_evidence(state),
    )


def _judgeable(state: PoolState) -> PoolNad | None:
    """The NAD with the least to get; none where nothing is known, or where the configuration itself gives nothing."""
    return None if state.problem else state.tightest


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _counts(nad: PoolNad) -> str:
    kept = f", {nad.reservations_blocking} more kept by reservations" if nad.reservations_blocking else ""
    return f"{nad.range.first} – {nad.range.last}, {addresses(nad.capacity)} to give: {nad.taken} listed in the pool{kept}"


def _held(nad: PoolNad) -> str:
    if nad.held == 1:
        return "1 of the listed belongs to a pod that stays or comes back"
    return f"{nad.held or 'none'} of the listed belong to pods that stay or come back"


def _lost(nad: PoolNad) -> str:
    """Said where the summary does not say it."""
    lost = nad.leaked + nad.reservations_leaked
    return f"; {lost} {_is(lost)} kept for pods that are gone or moved on" if lost else ""


def _make_room(state: PoolState, nad: PoolNad) -> str:
    """Leaks go first; where they are not enough, images that wait and a larger range, as Harvester's guide says."""
    lost = nad.leaked + nad.reservations_leaked
    leaks = clean_up(state) if lost else ""
    if leaks and lost >= max(1, nad.short_of):
        return leaks
    larger = ", ".join(step for step in (_images(state), larger_range(nad)) if step)
    return "; ".join(step for step in (leaks, larger) if step)


def _images(state: PoolState) -> str:
    """backing-image-ds pods live as long as an upload or download."""
    count = sum(entry.state is EntryState.LIVE and _IMAGE_POD in (entry.podref or "") for entry in state.entries)
    if not count:
        return ""
    uses = "1 address serves an image up- or download" if count == 1 else f"{count} addresses serve image up- or downloads"
    return f"{uses}: let them end, or delete these images; if that is not enough"


def _evidence(state: PoolState) -> tuple[str, ...]:
    """A leaked reservation of an address that the pool has given again takes nothing away."""
    listed = {int(entry.address) for entry in state.entries}
    leaked = [entry for entry in state.entries if entry.leaked]
    leaked += [entry for entry in state.reservations if entry.leaked and int(entry.address) not in listed]
    return (*told(leaked, most=_LEAKS_SHOWN), *state.skipped[:5])
