"""NAD configurations as they are found in clusters, in issues, and in the hands of somebody who means no good."""

import json
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model.pool import NadConfig
from agent.rules.nad import MAX_CONFIG_CHARACTERS, parse_nad

NAME = "harvester-system/storagenetwork-95bj4"


def whereabouts(*, version: tuple[int, int, int] | None = None, **ipam: object) -> NadConfig:
    config = {"cniVersion": "0.3.1", "type": "bridge", "bridge": "storage-br", "vlan": 100, "ipam": {"type": "whereabouts", **ipam}}
    return parse_nad(NAME, json.dumps(config), whereabouts=version)


OLD = (0, 5, 4)

WORKED_EXAMPLES = [
    # configuration, first, last, capacity, capacity before 0.6.2 (None: told as broken)
    ({"range": "172.16.0.0/29"}, "172.16.0.1", "172.16.0.6", 6, 6),
    ({"range": "192.168.0.0/30"}, "192.168.0.1", "192.168.0.2", 2, 2),
    ({"range": "192.168.0.0/31"}, None, None, 0, 0),
    ({"range": "192.168.0.0/32"}, None, None, 0, 0),
    ({"range": "192.168.0.0/24"}, "192.168.0.1", "192.168.0.254", 254, 254),
    ({"range": "10.0.0.0/16"}, "10.0.0.1", "10.0.255.254", 65534, 65534),
    ({"range": "192.168.0.10-192.168.0.20/24"}, "192.168.0.10", "192.168.0.20", 11, 11),
    ({"range": "192.168.2.225/28"}, "192.168.2.225", "192.168.2.238", 14, 14),
    ({"range": "10.20.0.128/27", "range_start": "10.20.0.151", "range_end": "10.20.0.154"}, "10.20.0.151", "10.20.0.154", 4, 4),
    ({"range": "172.24.0.0/23", "range_start": "172.24.1.120", "range_end": "172.24.1.123"}, "172.24.1.120", "172.24.1.123", 4, 4),
    (
        {"range": "192.168.101.0/24", "range_start": "192.168.101.122", "range_end": "192.168.101.122"},
        "192.168.101.122",
        "192.168.101.122",
        1,
        1,
    ),
    ({"range": "192.168.205.0/24", "exclude": ["192.168.205.1/24"]}, "192.168.205.1", "192.168.205.254", 0, 0),
    ({"range": "10.0.0.0/29", "exclude": ["10.0.0.4/30"]}, "10.0.0.1", "10.0.0.6", 3, 3),
    ({"range": "192.168.0.0/24", "range_end": "192.168.0.20"}, "192.168.0.1", "192.168.0.20", 20, 21),
    ({"range": "192.168.0.0/24", "range_start": "192.168.0.50", "range_end": "192.168.0.20"}, "192.168.0.50", "192.168.0.254", 205, None),
    ({"range": "192.168.0.0/24", "range_start": "10.0.0.5", "range_end": "10.0.0.9"}, "192.168.0.1", "192.168.0.254", 254, 5),
    ({"range": "2001:db8::/124"}, "2001:db8::1", "2001:db8::e", 14, 15),
    ({"range": "fd00:100::/64"}, "fd00:100::1", "fd00:100::ffff:ffff:ffff:fffe", 2**64 - 2, 2**64 - 1),
    ({"range": "fd00:100::-fd00:100::ff/64"}, "fd00:100::1", "fd00:100::ff", 255, 256),
]


@pytest.mark.parametrize(("ipam", "first", "last", "capacity", "before"), WORKED_EXAMPLES, ids=lambda value: str(value)[:40])
def test_a_range_gives_what_whereabouts_would_give(ipam, first, last, capacity, before):
    nad = whereabouts(**ipam)
    (one,) = nad.ranges
    assert (one.first and str(one.first), one.last and str(one.last), nad.capacity) == (first, last, capacity)
    old = whereabouts(version=OLD, **ipam)
    assert old.capacity == (before or 0)
    if before is None:
        assert "0.6.2" in old.problems[0]


def test_a_bare_exclude_is_one_address_since_0_6_3_and_a_trap_before():
    excludes = ["192.168.100.0/28", "192.168.100.14/30", "192.168.100.254"]
    nad = whereabouts(range="192.168.100.0/24", exclude=excludes)
    assert nad.capacity == 238
    assert not nad.ranges[0].holds(ip_address("192.168.100.254"))
    assert nad.ranges[0].holds(ip_address("192.168.100.16"))
    old = whereabouts(version=(0, 6, 2), range="192.168.100.0/24", exclude=excludes)
    assert old.capacity == 239
    assert "192.168.100.254" in old.problems[0]


def test_an_exclude_with_host_bits_says_what_it_really_takes():
    """Harvester issue 6256: one address was meant, the whole /24 was left out."""
    (one,) = whereabouts(range="192.168.205.0/24", exclude=["192.168.205.1/24"]).ranges
    assert [(wide.text, str(wide.network)) for wide in one.widened] == [("192.168.205.1/24", "192.168.205.0/24")]
    assert one.widened_cost == 253


def test_a_widened_exclude_inside_another_costs_nothing():
    (one,) = whereabouts(range="192.168.100.0/24", exclude=["192.168.100.0/28", "192.168.100.14/30"]).ranges
    assert len(one.widened) == 1
    assert one.widened_cost == 0


def test_an_exclude_that_does_not_parse_refuses_the_range_since_0_6_3():
    nad = whereabouts(range="10.0.0.0/24", exclude=["10.0.0.1/33"])
    assert nad.capacity == 0
    assert "10.0.0.1/33" in (nad.ranges[0].problem or "")
    assert whereabouts(version=(0, 6, 2), range="10.0.0.0/24", exclude=["10.0.0.1/33"]).capacity == 254


def test_an_exclude_past_the_end_is_told_for_the_versions_that_run_over_it():
    nad = whereabouts(version=(0, 6, 1), range="10.0.0.0/24", exclude=["10.0.0.128/25"])
    assert any("reaches past" in problem for problem in nad.problems)


def test_ignored_bounds_are_told():
    nad = whereabouts(range="192.168.0.0/24", range_start="10.0.0.5")
    assert nad.problems == ("ipam.range_start 10.0.0.5 lies outside the usable part of 192.168.0.0/24: whereabouts ignores it",)


def test_the_configuration_that_harvester_writes():
    text = (
        '{"cniVersion":"0.3.1","type":"bridge","bridge":"storage-br","promiscMode":true,"vlan":100,"ipam":{"type":"whereabouts",'
        '"range":"192.168.0.0/24","exclude":["192.168.0.1/32"]},"mtu":9000}'
    )
    nad = parse_nad(NAME, text)
    assert (nad.type, nad.bridge, nad.vlan, nad.mtu_bytes) == ("bridge", "storage-br", 100, 9000)
    assert nad.network_name == "storagenetwork-95bj4"
    assert nad.overlapping_ranges
    assert nad.problems == ()
    assert nad.capacity == 253


def test_a_configuration_list_takes_ipam_from_the_plugin_that_has_it():
    ipam = {"type": "whereabouts", "range": "10.0.0.0/24", "network_name": "storage", "enable_overlapping_ranges": False}
    text = json.dumps({"name": "sn", "plugins": [{"type": "macvlan", "ipam": ipam}, {"type": "tuning", "mtu": 9000}]})
    nad = parse_nad(NAME, text)
    assert (nad.type, nad.network_name, nad.pool_network_name, nad.overlapping_ranges) == ("macvlan", "sn", "storage", False)
    assert nad.mtu_bytes is None
    assert nad.capacity == 254


def test_several_ranges_fit_as_many_pods_as_the_smallest():
    ranges = [{"range": "fd00::/64"}, {"range": "192.168.1.0/28", "exclude": ["192.168.1.1/32"]}]
    nad = whereabouts(range="10.0.0.0/24", ipRanges=ranges)
    assert [str(one.network) for one in nad.ranges] == ["10.0.0.0/24", "fd00::/64", "192.168.1.0/28"]
    assert nad.capacity == 13
    assert len(whereabouts(version=OLD, range="10.0.0.0/24", ipRanges=ranges).ranges) == 1


def test_one_unreadable_range_refuses_all_of_them():
    nad = whereabouts(range="10.0.0.0/24", ipRanges=[{"range": "somewhere"}])
    assert nad.capacity == 0
    assert nad.refused == "ipam.ipRanges[0].range: 'somewhere' is not a CIDR such as 192.168.0.0/24"


def test_node_slices_count_usable_addresses_of_all_slices():
    nad = whereabouts(range="10.20.0.0/24", node_slice_size="/28", exclude=["10.20.0.1/32"])
    assert nad.capacity == 16 * 14
    one = nad.ranges[0]
    assert one.holds(ip_address("10.20.0.1"))
    assert not one.holds(ip_address("10.20.0.16"))
    assert not one.holds(ip_address("10.20.0.31"))
    assert "honours no exclude" in nad.problems[0]


@pytest.mark.parametrize("size", ["/22", "22", "/31", "x", "/-1", "/٣"])
def test_node_slices_that_cannot_work_say_so(size):
    """The example in whereabouts' own README, a /22 of a /24, is one of these."""
    nad = whereabouts(range="10.20.0.0/24", node_slice_size=size)
    assert nad.capacity == 0
    assert nad.problems


def test_host_local_gives_ranges_to_judge_addresses_by():
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.52.0.0/24"}], [{"subnet": "fd00::/64", "rangeStart": "fd00::10"}]]}
    nad = parse_nad(NAME, json.dumps({"type": "macvlan", "ipam": ipam}))
    assert not nad.whereabouts
    assert nad.ipam_type == "host-local"
    assert not nad.ranges[0].holds(ip_address("10.52.0.1")), "the gateway"
    assert nad.ranges[0].holds(ip_address("10.52.0.254"))
    assert not nad.ranges[1].holds(ip_address("fd00::2"))


@pytest.mark.parametrize("kind", ["static", "dhcp", "calico-ipam"])
def test_other_ipam_keeps_its_name_and_has_no_ranges(kind):
    nad = parse_nad(NAME, json.dumps({"type": "macvlan", "ipam": {"type": kind, "addresses": [{"address": "10.0.0.1/24"}]}}))
    assert (nad.ipam_type, nad.ranges, nad.problems) == (kind, (), ())


@pytest.mark.parametrize(
    ("ipam", "complaint"),
    [
        ({}, "ipam has no range: whereabouts refuses it"),
        ({"range": 5}, "ipam.range is 5, expected text"),
        ({"range": ["10.0.0.0/24"]}, "ipam.range is a list, expected text"),
        ({"range": "10.0.0.0/255.255.255.0"}, "ipam.range: '10.0.0.0/255.255.255.0' is not a CIDR such as 192.168.0.0/24"),
        ({"range": "10.1.0.1-10.0.0.20/24"}, "ipam.range: 10.1.0.1 is not in 10.0.0.0/24"),
        ({"range": "10.0.0.0/24", "exclude": "10.0.0.1/32"}, 'ipam.exclude is "10.0.0.1/32", expected a list'),
        ({"range": "10.0.0.0/24", "exclude": [7]}, "ipam.exclude is 7, expected a list of texts"),
        ({"range": "10.0.0.0/24", "enable_overlapping_ranges": "yes"}, 'ipam.enable_overlapping_ranges is "yes", expected true or false'),
        ({"range": "10.0.0.0/24", "range_start": "here"}, "ipam.range_start: 'here' is not an IP address"),
        ({"ipRanges": [[]]}, "ipam.ipRanges[0] is not an object"),
        ({"ipRanges": [{}]}, "ipam.ipRanges[0].range is missing: whereabouts refuses the configuration"),
    ],
)
def test_what_whereabouts_refuses_has_no_capacity_and_a_sentence(ipam, complaint):
    nad = whereabouts(**ipam)
    assert nad.refused == complaint
    assert complaint in nad.problems
    assert nad.capacity == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "has no spec.config"),
        ("  ", "has no spec.config"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"type": NaN}', "NaN is not a JSON value"),
        ("[" * 60_000, "nested too deeply"),
        ('{"a":' * 10_000, "nested too deeply"),
        ('{"mtu":' + "9" * 5000 + "}", "is not JSON"),
        ('"' + "x" * MAX_CONFIG_CHARACTERS + '"', "are not read"),
        ('{"plugins": 5}', "plugins is not a list"),
        ('{"type":"bridge","ipam":[]}', "ipam is not an object"),
        ('{"type":"bridge","vlan":true}', "vlan is true"),
        ('{"type":"bridge","vlan":5000}', "vlan is 5000"),
        ('{"type":"br\\ud800idge"}', "not a plausible text"),
        ('{"type":"' + "x" * 1000 + '"}', "not a plausible text"),
    ],
)
def test_bad_texts_become_problems_never_exceptions(text, complaint):
    nad = parse_nad(NAME, text)
    assert any(complaint in problem for problem in nad.problems), nad.problems
    assert all(len(problem) < 300 and problem.encode() for problem in nad.problems)


def test_deep_values_under_known_keys_are_described_not_printed():
    deep = '{"type":"bridge","vlan":' + "[" * 900 + "]" * 900 + "}"
    assert any("a list" in problem or "nested" in problem for problem in parse_nad(NAME, deep).problems)


def test_leading_zeros_are_decimal_as_go_reads_them():
    assert str(whereabouts(range="192.168.010.0/24").ranges[0].network) == "192.168.10.0/24"


def test_an_ipv4_mapped_range_is_an_ipv4_range():
    assert str(whereabouts(range="::ffff:10.0.0.0/120").ranges[0].network) == "10.0.0.0/24"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.text(max_size=12)
    | st.sampled_from(["10.0.0.0/24", "10.0.0.9", "whereabouts", "::1/64"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "ipam", "range", "exclude", "ipRanges", "range_start", "plugins", "node_slice_size", "ranges", "subnet"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON_VALUES)
def test_no_json_makes_it_raise(value):
    assert parse_nad(NAME, json.dumps(value)).capacity >= 0
    assert parse_nad(NAME, json.dumps({"type": "x", "ipam": value})).capacity >= 0
    if isinstance(value, dict):
        for kind in ("whereabouts", "host-local"):
            assert parse_nad(NAME, json.dumps({"type": "x", "ipam": {**value, "type": kind}})).capacity >= 0
