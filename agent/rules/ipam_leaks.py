"""Entries that no longer stand for a pod, pods that no entry stands for, and pools that nothing uses: the findings that list things.

Whereabouts frees orphans itself at 04:30 UTC each night on Harvester, so a young leak is information; one that outlived a night and two
hours means that its cleaner does not work. An entry that its pod will take again (whereabouts 0.8) is no leak and is not here.
"""

from collections.abc import Sequence

from agent.model.finding import Finding, Severity, Subject, short
from agent.model.pool import PoolEntry, PoolState
from agent.rules.ipam_range import shown
from agent.rules.ipam_texts import clean_allocations, clean_reservations, duration, show_pool
from agent.rules.make import make

_LISTED = 20


def allocation_orphaned(state: PoolState, *, warning_seconds: float) -> Finding | None:
    """Allocations whose pod is gone or holds another address. Left-overs are told by pool-leftover alone."""
    leaked = [entry for entry in state.entries if entry.leaked]
    if not leaked or not state.nads:
        return None
    eats = any(one.short_of and one.leaked for one in state.nads)
    return _orphaned("allocation-orphaned", state, leaked, what="entry", eats=eats, warning_seconds=warning_seconds)


def reservation_orphaned(state: PoolState, *, warning_seconds: float) -> Finding | None:
    """Reservations whose pod is gone or holds another address: they keep addresses that the pool may show free."""
    leaked = [entry for entry in state.reservations if entry.leaked]
    if not leaked or not state.nads:
        return None
    eats = any(one.short_of and one.reservations_leaked for one in state.nads)
    return _orphaned("reservation-orphaned", state, leaked, what="reservation", eats=eats, warning_seconds=warning_seconds)


def _orphaned(name: str, state: PoolState, leaked: Sequence[PoolEntry], *, what: str, eats: bool, warning_seconds: float) -> Finding:
    oldest = max(entry.suspect_seconds or 0.0 for entry in leaked)
    old = oldest > warning_seconds
    many = {"entry": "entries", "reservation": "reservations"}[what] if len(leaked) != 1 else what
    nad = state.nads[0]
    clean = clean_allocations(state.pool, leaked) if what == "entry" else clean_reservations(state.pool, leaked)
    first = ", ".join(str(entry.address) for entry in leaked[:8]) + (", …" if len(leaked) > 8 else "")
    wait = "" if old else "whereabouts frees them at its next nightly run (04:30 UTC on Harvester); sooner by hand: "
    return make(
        name,
        subject=Subject(pool=state.pool, nad=nad.nad),
        network=nad.network,
        severity=Severity.WARNING if old or eats else None,
        reason="headroom" if eats else "old" if old else None,
        summary=f"{len(leaked)} {many} of pool {state.pool} belong to pods that are gone or hold another address"
        + (" and eat the headroom of the next upgrade" if eats else ""),
        seen=f"{len(leaked)} {many}, the oldest known as such for {duration(oldest)}: {first}",
        expected="one live pod for each, or its removal within a day by whereabouts' own cleaner",
        next_step=f"{wait}{clean}" if clean else f"compare with the pods: {show_pool(state.pool)}; kubectl get pods -A -o wide",
        clears_when="each of them is gone or belongs to a live pod again",
        evidence=tuple(f"{entry.address} for {shown(entry.podref or '')}: {entry.why}" for entry in leaked[:_LISTED]),
    )


def allocation_missing(state: PoolState) -> Finding | None:
    """Whereabouts will hand such an address out again: a duplicate in waiting."""
    if not state.missing:
        return None
    first = state.missing[0]
    nad = state.nads[0]
    more = f" and {len(state.missing) - 1} more" if len(state.missing) > 1 else ""
    namespace, _, name = first.podref.partition("/")
    return make(
        "allocation-missing",
        subject=Subject(pool=state.pool, nad=nad.nad),
        network=nad.network,
        summary=f"pool {state.pool} does not list {first.address} for {short(first.podref)}, which holds it{more}",
        seen="; ".join(
            f"{one.address} granted to {one.podref}, listed for {shown(one.listed_for) if one.listed_for else 'nobody'}"
            for one in state.missing[:3]
        ),
        expected="an entry in the pool for each address in use, or whereabouts gives it out a second time",
        next_step=f"detach the volumes that the pod serves, then have it made anew: kubectl -n {namespace} delete pod {name}",
        clears_when="the pool lists the address for its pod, or the pod is gone",
        evidence=tuple(f"{one.address} {one.podref} on {one.node}" for one in state.missing[:_LISTED]),
    )


def pool_leftover(state: PoolState) -> Finding | None:
    """A pool of an earlier configuration. Whereabouts never deletes pools; it harms nobody until its range is used again."""
    if not state.leftover:
        return None
    namespace, _, name = state.pool.partition("/")
    count = len(state.entries)
    return make(
        "pool-leftover",
        subject=Subject(pool=state.pool),
        summary=f"pool {state.pool} is left from an earlier configuration: no network in use takes addresses from it",
        seen=f"{count} stale {'entry' if count == 1 else 'entries'}, {len(state.reservations)} reservations on its addresses",
        expected="no pool that nothing uses",
        next_step=f"look at it: {show_pool(state.pool)}; if no network is to use {shown(state.range or name)} again: "
        f"kubectl -n {namespace} delete ippools.whereabouts.cni.cncf.io {name}",
        clears_when="the pool is gone or in use again",
        evidence=tuple(f"{entry.address} for {shown(entry.podref or '')}: {entry.why}" for entry in state.entries[:_LISTED]),
    )
