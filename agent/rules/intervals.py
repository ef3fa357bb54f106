"""Sets of integers as sorted, disjoint intervals, because a /64 cannot be listed and a full /16 should not be.

Knows nothing of addresses: the caller keeps the families apart. Every function takes any order and overlap where it says `Iterable`,
and sorted, disjoint intervals where it says `Sequence`; results are always sorted, disjoint and as long as they can be.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from agent.model.pool import Interval


def union(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """All numbers of all intervals. O(n log n)."""
    merged: list[Interval] = []
    first = last = None
    for interval in sorted(intervals, key=lambda one: one.first):
        if first is None or last is None:
            first, last = interval.first, interval.last
        elif interval.first <= last + 1:
            last = max(last, interval.last)
        else:
            merged.append(Interval(first=first, last=last))
            first, last = interval.first, interval.last
    if first is not None and last is not None:
        merged.append(Interval(first=first, last=last))
    return tuple(merged)


def points(numbers: Iterable[int]) -> tuple[Interval, ...]:
    """Single numbers, neighbours joined."""
    joined: list[Interval] = []
    first = last = None
    for number in sorted(set(numbers)):
        if first is None or last is None:
            first = number
        elif number > last + 1:
            joined.append(Interval(first=first, last=last))
            first = number
        last = number
    if first is not None and last is not None:
        joined.append(Interval(first=first, last=last))
    return tuple(joined)


def clip(intervals: Iterable[Interval], *, first: int, last: int) -> tuple[Interval, ...]:
    """What lies within first..last; nothing if first is above last."""
    if first > last:
        return ()
    return union(
        Interval(first=max(one.first, first), last=min(one.last, last)) for one in intervals if one.first <= last and one.last >= first
    )


def subtract(intervals: Sequence[Interval], minus: Sequence[Interval]) -> tuple[Interval, ...]:
    """Numbers of `intervals` that are not in `minus`. Linear in both."""
    left: list[Interval] = []
    position = 0
    for one in intervals:
        first = one.first
        while position < len(minus) and minus[position].last < first:
            position += 1
        reach = position
        while reach < len(minus) and minus[reach].first <= one.last:
            if minus[reach].first > first:
                left.append(Interval(first=first, last=minus[reach].first - 1))
            first = minus[reach].last + 1
            reach += 1
        if first <= one.last:
            left.append(Interval(first=first, last=one.last))
        position = max(position, reach - 1)
    return tuple(left)


def size(intervals: Sequence[Interval]) -> int:
    return sum(one.size for one in intervals)


def holds(intervals: Sequence[Interval], number: int) -> bool:
    before = bisect_right(intervals, number, key=lambda one: one.first)
    return before > 0 and number <= intervals[before - 1].last
