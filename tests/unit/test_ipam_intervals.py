"""Interval arithmetic against the obvious way: sets of numbers, and every address of a small range asked one by one."""

from ipaddress import ip_network
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model.pool import Interval
from agent.rules import intervals
from agent.rules.ipam import usable_of
from agent.rules.ipam_range import address_range

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=8)


def some(pairs):
    return [Interval(first=first, last=first + more) for first, more in pairs]


def numbers(these):
    return {number for one in these for number in range(one.first, one.last + 1)}


def assert_tidy(result):
    assert all(one.last + 1 < two.first for one, two in pairwise(result))


@settings(deadline=None)
@given(PAIRS)
def test_union_is_all_numbers_and_tidy(pairs):
    result = intervals.union(some(pairs))
    assert numbers(result) == numbers(some(pairs))
    assert intervals.size(result) == len(numbers(some(pairs)))
    assert_tidy(result)
    assert all(intervals.holds(result, number) == (number in numbers(result)) for number in range(-1, 80))


@settings(deadline=None)
@given(PAIRS, PAIRS)
def test_subtract_leaves_what_the_other_does_not_have(pairs, minus):
    result = intervals.subtract(intervals.union(some(pairs)), intervals.union(some(minus)))
    assert numbers(result) == numbers(some(pairs)) - numbers(some(minus))
    assert_tidy(result)


@settings(deadline=None)
@given(PAIRS, st.integers(0, 70), st.integers(0, 70))
def test_clip_keeps_what_lies_between(pairs, first, last):
    assert numbers(intervals.clip(some(pairs), first=first, last=last)) == numbers(some(pairs)) & set(range(first, last + 1))


@settings(deadline=None)
@given(st.lists(st.integers(0, 40)))
def test_points_are_joined_to_intervals(these):
    result = intervals.points(these)
    assert numbers(result) == set(these)
    assert_tidy(result)


def test_an_interval_that_ends_before_it_begins_cannot_be_made():
    with pytest.raises(ValueError, match="above its last"):
        Interval(first=2, last=1)


PREFIXES = st.integers(24, 32)
HOSTS = st.integers(0, 255)


@settings(deadline=None)
@given(
    prefix=PREFIXES,
    base=HOSTS,
    start=st.none() | HOSTS,
    end=st.none() | HOSTS,
    excludes=st.lists(st.tuples(HOSTS, st.integers(24, 32)), max_size=5),
)
def test_a_small_range_gives_exactly_the_addresses_that_a_walk_through_it_would(prefix, base, start, end, excludes):
    """The walk is whereabouts' own: from first to last, leaving out what any masked exclude contains."""
    network = ip_network(f"10.0.0.{base}/{prefix}", strict=False)
    texts = [f"10.0.0.{host}/{length}" for host, length in excludes]
    start_at = None if start is None else ip_network(f"10.0.0.{start}").network_address
    end_at = None if end is None else ip_network(f"10.0.0.{end}").network_address
    one, _ = address_range(text=str(network), network=network, start=start_at, end=end_at, excludes=texts)
    hosts = list(network)[1:-1] if prefix <= 30 else []
    if start_at in hosts:
        hosts = hosts[hosts.index(start_at) :]
    if end_at in hosts:
        hosts = hosts[: hosts.index(end_at) + 1]
    walked = [host for host in hosts if not any(host in ip_network(text, strict=False) for text in texts)]
    assert one.capacity == len(walked) == intervals.size(usable_of(one))
    assert [address for address in network if one.holds(address)] == walked
