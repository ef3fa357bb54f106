"""Keeps findings over time: when one starts, that it is the same at the next look, and when it has cleared.

A finding that compares two sources starts only at the second look at least `disagreement_seconds` after the first. A look that could not
judge a subject leaves what was known of it as it was: silence neither raises nor clears.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from agent.model.catalogue import CATALOGUE, identity
from agent.model.finding import ActiveFinding, Finding

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One finding of one look. `may_start` is False while what it rests on is stale or too young: it may go on, not begin."""

    finding: Finding
    may_start: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one check saw. `undecided(finding)` is True for findings that this look could neither confirm nor clear."""

    claims: tuple[Claim, ...] = ()
    undecided: Callable[[Finding], bool] = field(default=lambda _finding: False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    producer: str
    finding: Finding
    first_monotonic_seconds: float
    last_monotonic_seconds: float
    first_wall_seconds: float
    last_wall_seconds: float
    standing: bool
    """False while it waits for its second look."""

    def active(self) -> ActiveFinding:
        return ActiveFinding(
            finding=self.finding,
            since_monotonic_seconds=self.first_monotonic_seconds,
            last_seen_monotonic_seconds=self.last_monotonic_seconds,
            since_wall_seconds=self.first_wall_seconds,
            last_seen_wall_seconds=self.last_wall_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`raised`, `cleared`, or `reason` (the same finding, now for another reason or with another severity)."""

    kind: str
    finding: Finding


Ledger = Mapping[Key, Entry]


def advance(
    ledger: Ledger, look: Look, *, producer: str, now: float, wall: float, disagreement_seconds: float
) -> tuple[dict[Key, Entry], tuple[Change, ...]]:
    """The ledger after one look of `producer`, and what changed. Entries of other producers are untouched.

    `now` is monotonic, `wall` the wall clock for people; both in seconds.
    """
    after: dict[Key, Entry] = {}
    changes: list[Change] = []
    claimed: dict[Key, Claim] = {}
    for claim in look.claims:
        claimed.setdefault(identity(claim.finding), claim)
    for key, entry in ledger.items():
        if entry.producer != producer:
            after[key] = entry
        elif key in claimed:
            after[key], change = _again(entry, claimed.pop(key), now=now, wall=wall, disagreement_seconds=disagreement_seconds)
            changes += [Change(kind=change, finding=after[key].finding)] if change else []
        elif look.undecided(entry.finding):
            after[key] = entry
        elif entry.standing:
            changes.append(Change(kind="cleared", finding=entry.finding))
    for key, claim in claimed.items():
        if key in after or not claim.may_start:
            continue
        standing = not CATALOGUE[claim.finding.id].two_looks
        after[key] = Entry(
            producer=producer,
            finding=claim.finding,
            first_monotonic_seconds=now,
            last_monotonic_seconds=now,
            first_wall_seconds=wall,
            last_wall_seconds=wall,
            standing=standing,
        )
        if standing:
            changes.append(Change(kind="raised", finding=claim.finding))
    return after, tuple(changes)


def _again(entry: Entry, claim: Claim, *, now: float, wall: float, disagreement_seconds: float) -> tuple[Entry, str | None]:
    finding = claim.finding
    standing = entry.standing or (claim.may_start and now - entry.first_monotonic_seconds >= disagreement_seconds)
    change = None
    if standing and not entry.standing:
        change = "raised"
    elif standing and (finding.reason, finding.severity) != (entry.finding.reason, entry.finding.severity):
        change = "reason"
    return replace(entry, finding=finding, last_monotonic_seconds=now, last_wall_seconds=wall, standing=standing), change


def standing(ledger: Ledger) -> tuple[ActiveFinding, ...]:
    return tuple(entry.active() for entry in ledger.values() if entry.standing)


def next_look(ledger: Ledger, *, producer: str, disagreement_seconds: float) -> float | None:
    """When the earliest waiting finding of `producer` may have its second look (monotonic seconds), None if none waits."""
    due = [
        entry.first_monotonic_seconds + disagreement_seconds
        for entry in ledger.values()
        if entry.producer == producer and not entry.standing
    ]
    return min(due, default=None)
