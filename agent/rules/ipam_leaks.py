"""Entries that no longer stand for a pod, pods that no entry stands for, and pools that nothing uses: the findings that list things.

Whereabouts frees orphans itself at 04:30 UTC each night on Harvester, so a young leak is information; one that outlived a night and two
hours means that its cleaner does not work. An entry that its pod will take again (whereabouts 0.8) is no leak and is not here.
"""

from collections.abc import Sequence

from agent.model.finding import Finding, Severity, Subject, short
from agent.model.pool import EntryState, MissingAllocation, PoolEntry, PoolState
from agent.rules.ipam_range import shown
from agent.rules.ipam_texts import (
    ALL_PODS,
    CLEANER_IS_LATE,
    CLEANER_WILL,
    clean_allocations,
    clean_reservations,
    delete_pod,
    delete_pool,
    duration,
    entries,
    reservations,
    show_pool,
)
from agent.rules.make import make

_LISTED = 20


def allocation_orphaned(state: PoolState, *, warning_seconds: float) -> Finding | None:
    """Allocations whose pod is gone or holds another address. Left-overs are told by pool-leftover alone."""
    leaked = [entry for entry in state.entries if entry.leaked]
    if not leaked or not state.nads:
        return None
    eats = any(one.short_of and one.leaked for one in state.nads)
    return _orphaned("allocation-orphaned", state, leaked, eats=eats, warning_seconds=warning_seconds)


def reservation_orphaned(state: PoolState, *, warning_seconds: float) -> Finding | None:
    """Reservations whose pod is gone or holds another address: they keep addresses that the pool may show free."""
    leaked = [entry for entry in state.reservations if entry.leaked]
    if not leaked or not state.nads:
        return None
    eats = any(one.short_of and one.reservations_leaked for one in state.nads)
    return _orphaned("reservation-orphaned", state, leaked, eats=eats, warning_seconds=warning_seconds)


def _orphaned(name: str, state: PoolState, leaked: Sequence[PoolEntry], *, eats: bool, warning_seconds: float) -> Finding:
    oldest = max(entry.suspect_seconds or 0.0 for entry in leaked)
    old = oldest > warning_seconds
    allocated = name == "allocation-orphaned"
    nad = state.nads[0]
    clean = (clean_allocations if allocated else clean_reservations)(state.pool, leaked)
    by_hand = clean or f"compare with the pods: {show_pool(state.pool)}; {ALL_PODS}"
    return make(
        name,
        subject=Subject(pool=state.pool, nad=nad.nad),
        network=nad.network,
        severity=Severity.WARNING if old or eats else None,
        reason="headroom" if eats else "old" if old else None,
        summary=_leak_summary(state.pool, leaked, allocated=allocated)
        + (f", {'and eats' if len(leaked) == 1 else 'and eat'} the next upgrade's headroom" if eats else ""),
        seen=f"the oldest known as such for {duration(oldest)}",
        expected="a live pod for each; whereabouts' own cleaner takes the others away within a day",
        next_step=f"{CLEANER_IS_LATE}; until it works again, by hand: {by_hand}" if old else f"{CLEANER_WILL}; sooner by hand: {by_hand}",
        clears_when="each of them is gone or belongs to a live pod again",
        evidence=told(leaked, most=_LISTED),
    )


def _leak_summary(pool: str, leaked: Sequence[PoolEntry], *, allocated: bool) -> str:
    count, gone = len(leaked), sum(entry.state is EntryState.ORPHANED for entry in leaked)
    of_pool = f"{entries(count)} of pool {pool}" if allocated else f"{reservations(count)} on addresses of pool {pool}"
    if count == 1:
        return f"{of_pool} is kept for a pod that {'is gone' if gone else 'holds another address'}"
    fate = "are gone" if gone == count else "hold another address" if not gone else "are gone or hold another address"
    return f"{of_pool} are kept for pods that {fate}"


def told(leaked: Sequence[PoolEntry], *, most: int) -> tuple[str, ...]:
    """A line each: address, for whom, and why nobody holds it."""
    lines = tuple(f"{entry.address} for {shown(entry.podref or '')}: {entry.why}" for entry in leaked[:most])
    return lines if len(leaked) <= most else (*lines, f"and {len(leaked) - most} more: /api/v1/pools has them all")


def allocation_missing(state: PoolState) -> Finding | None:
    """Whereabouts will hand such an address out again: a duplicate in waiting."""
    if not state.missing:
        return None
    first = state.missing[0]
    nad = state.nads[0]
    more = f"; {len(state.missing) - 1} more alike" if len(state.missing) > 1 else ""
    return make(
        "allocation-missing",
        subject=Subject(pool=state.pool, nad=nad.nad),
        network=nad.network,
        summary=f"pool {state.pool} does not list {first.address} for {short(first.podref)}, which holds it{more}",
        seen=_missing(first),
        expected="an entry in the pool for each address in use, or whereabouts gives it out a second time",
        next_step=f"detach the volumes that the pod serves, then have Longhorn make it anew: {delete_pod(first.podref)}",
        clears_when="the pool lists the address for its pod, or the pod is gone",
        evidence=tuple(_missing(one) for one in state.missing[1:_LISTED]),
    )


def _missing(one: MissingAllocation) -> str:
    on = f" on {one.node}" if one.node else ""
    return f"{one.address} granted to {one.podref}{on}, listed for {shown(one.listed_for) if one.listed_for else 'nobody'}"


def pool_leftover(state: PoolState) -> Finding | None:
    """A pool of an earlier configuration. Whereabouts never deletes pools; it harms nobody until its range is used again."""
    if not state.leftover:
        return None
    return make(
        "pool-leftover",
        subject=Subject(pool=state.pool),
        summary=f"pool {state.pool} is left from an earlier configuration: no network in use takes addresses from it",
        seen=f"{entries(len(state.entries))} in it, {reservations(len(state.reservations))} on its addresses",
        expected="no pool that nothing uses",
        next_step=f"look at it: {show_pool(state.pool)}; if no network is to use {shown(state.range or state.name)} again: "
        f"{delete_pool(state.pool)}",
        clears_when="the pool is gone or in use again",
        evidence=told(state.entries, most=_LISTED),
    )
