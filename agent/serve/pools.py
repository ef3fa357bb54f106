"""`/pools`: capacity, allocations by state, reservations and demand, as the holder of the Lease sees them. Text is made from the JSON, so
that every agent tells what the holder answered it."""

from typing import Any

from agent.clock import age_text, utc_text
from agent.model.pool import EntryState, PoolEntry, PoolNad, PoolState
from agent.model.view import NodeView
from agent.rules.intervals import size
from agent.serve.documents import SCHEMA, Document, finding
from agent.serve.text import field, paragraph, wrap

MAX_ENTRIES = 2000
"""In the JSON of one pool, leaked ones first; a larger pool says how many are left out."""
_ORDER = (EntryState.ORPHANED, EntryState.STALE, EntryState.UNDECIDED, EntryState.LIVE)


def document(view: NodeView, *, now: float, wall: float) -> Document:
    """`/api/v1/pools` of the holder."""
    return {
        "schema": SCHEMA,
        "source_node": view.node,
        "pools": [_pool(state, wall=wall) for state in view.pools],
        "findings": [finding(active, now=now) for active in view.cluster_findings if active.finding.scope == "pool"],
    }


def nobody(node: str, why: str) -> Document:
    """When no holder can be asked: said, never an empty answer that looks like health."""
    return {"schema": SCHEMA, "source_node": None, "asked_node": node, "why": why, "pools": []}


def _pool(state: PoolState, *, wall: float) -> Document:
    entries = sorted(state.entries, key=lambda entry: (_ORDER.index(entry.state), int(entry.address)))
    reservations = sorted(state.reservations, key=lambda entry: (_ORDER.index(entry.state), int(entry.address)))
    tightest = state.tightest or (state.nads[0] if state.nads else None)
    demand = tightest.demand if tightest else None
    return {
        "pool": state.pool,
        "range": state.range,
        "exists": state.exists,
        "leftover": state.leftover,
        "problem": state.problem,
        "nads": [_nad(nad) for nad in state.nads],
        "allocations": {kind.value: state.count(kind) for kind in EntryState},
        "reservations_blocking": state.reservations_blocking,
        "demand": {"steady": demand.steady, "upgrade": demand.upgrade} if demand else None,
        "entries": [_entry(entry, wall=wall) for entry in entries[:MAX_ENTRIES]],
        "entries_left_out": max(0, len(entries) - MAX_ENTRIES) + state.unread,
        "reservations": [_entry(entry, wall=wall) for entry in reservations[:MAX_ENTRIES] if entry.state is not EntryState.LIVE],
        "skipped": list(state.skipped),
    }


def _nad(nad: PoolNad) -> Document:
    return {
        "nad": nad.nad,
        "network": nad.network.value if nad.network else None,
        "first": str(nad.range.first) if nad.range.first is not None else None,
        "last": str(nad.range.last) if nad.range.last is not None else None,
        "capacity": nad.capacity,
        "free": nad.free,
        "excluded": size(nad.range.excluded),
        "range_problem": nad.range.problem,
    }


def _entry(entry: PoolEntry, *, wall: float) -> Document:
    return {
        "address": str(entry.address),
        "podref": entry.podref,
        "state": entry.state.value,
        "first_seen": utc_text(wall - entry.age_seconds),
        "age_seconds": round(entry.age_seconds, 1),
        "why": entry.why,
    }


def text(one: Document) -> str:
    """`/pools` for people, from the JSON of whoever holds the Lease."""
    if one.get("source_node") is None:
        return wrap(f"cannot tell: {one.get('why', 'nobody holds the Lease')}") + "\n"
    pools: list[Document] = one.get("pools", [])
    head = f"{len(pools)} pool{'' if len(pools) == 1 else 's'}, as {one['source_node']} sees them"
    findings: list[Document] = one.get("findings", [])
    parts = [head]
    for pool in pools:
        mine = [found for found in findings if found.get("subject", {}).get("pool") == pool["pool"]]
        parts += ["", *_told(pool, mine)]
    return "\n".join(parts) + "\n"


def _told(pool: Document, findings: list[Document]) -> list[str]:
    worst = max((str(one.get("severity")) for one in findings), key=_rank, default="")
    name = str(pool["pool"]).rpartition("/")[2]
    state = worst.upper() if worst in ("warning", "critical") else ("LEFT OVER" if pool.get("leftover") else "OK")
    lines = [f"{name}  {pool.get('range') or 'no such pool yet'}  {state}"]
    lines += [wrap(f"cannot be counted: {pool['problem']}", indent="  ")] if pool.get("problem") else []
    for nad in pool.get("nads", []):
        if nad.get("first") is None:
            lines.append(field(nad["nad"], f"gives nothing: {nad.get('range_problem')}"))
            continue
        left_out = f", {nad['excluded']} excluded" if nad.get("excluded") else ""
        free = "unknown" if nad.get("free") is None else nad["free"]
        lines.append(wrap(f"{nad['nad']}", indent="  "))
        lines.append(wrap(f"{nad['first']} – {nad['last']}{left_out}: {nad['capacity']} addresses to give, {free} free", indent="    "))
    given = pool.get("allocations", {})
    total = sum(given.values())
    counted = ", ".join(f"{number} {kind}" for kind, number in given.items() if number or kind in ("live", "orphaned"))
    lines.append(wrap(f"given {total}: {counted}{_oldest(pool)}", indent="  "))
    if pool.get("reservations_blocking"):
        lines.append(wrap(f"{pool['reservations_blocking']} more kept by reservations that the pool does not list", indent="  "))
    if pool.get("demand"):
        lines.append(wrap(f"needs {pool['demand']['steady']} now, {pool['demand']['upgrade']} during an upgrade", indent="  "))
    for one in findings:
        lines += ["", paragraph(one)]
    return lines


def _oldest(pool: Document) -> str:
    leaked: list[dict[str, Any]] = [one for one in pool.get("entries", []) if one.get("state") in ("orphaned", "stale")]
    if not leaked:
        return ""
    return f" (oldest seen for {age_text(max(float(one.get('age_seconds', 0)) for one in leaked))})"


def _rank(severity: str) -> int:
    return {"critical": 2, "warning": 1}.get(severity, 0)
