"""Names of pools and reservations, and offsets, as whereabouts writes and reads them."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.rules.ipam_names import address_of, maps_to, offset_key, pool_name, read_base, reserved_address
from agent.rules.nad import parse_nad


def nad(**ipam):
    import json

    return parse_nad("harvester-system/sn", json.dumps({"type": "bridge", "ipam": {"type": "whereabouts", **ipam}}))


@pytest.mark.parametrize(
    ("ipam", "name"),
    [
        ({"range": "192.168.50.0/24"}, "192.168.50.0-24"),
        ({"range": "192.168.2.225/28"}, "192.168.2.224-28"),
        ({"range": "192.168.0.10-192.168.0.20/24"}, "192.168.0.0-24"),
        ({"range": "fd00:100::/64"}, "fd00-100---64"),
        ({"range": "FD00:0100:0::/64"}, "fd00-100---64"),
        ({"range": "::ffff:10.0.0.0/120"}, "10.0.0.0-24"),
        ({"range": "10.0.0.0/24", "network_name": "storage"}, "storage-10.0.0.0-24"),
    ],
)
def test_the_pool_of_a_range(ipam, name):
    parsed = nad(**ipam)
    assert pool_name(parsed, parsed.ranges[0]) == name
    assert maps_to(parsed, parsed.ranges[0], name=name, base=None)


def test_a_node_slice_maps_by_name_and_range():
    parsed = nad(range="10.20.0.0/16", node_slice_size="/28", network_name="fast")
    one, base = parsed.ranges[0], ip_network("10.20.30.0/28")
    assert maps_to(parsed, one, name="fast-node-a.example-10.20.30.0-28", base=base)
    assert not maps_to(parsed, one, name="node-a-10.20.30.0-28", base=base), "another network name"
    assert not maps_to(parsed, one, name="fast-node-a-10.20.30.0-27", base=ip_network("10.20.30.0/27"))
    assert not maps_to(parsed, one, name="fast-node-a-10.99.0.0-28", base=ip_network("10.99.0.0/28"))
    assert not maps_to(parsed, one, name="fast-node-a-10.20.30.0-28", base=None)


@pytest.mark.parametrize(
    ("base", "key", "address"),
    [
        ("192.168.0.0/24", "10", "192.168.0.10"),
        ("192.168.0.0/23", "261", "192.168.1.5"),
        ("172.24.0.0/23", "376", "172.24.1.120"),
        ("192.168.2.224/28", "1", "192.168.2.225"),
        ("192.168.0.0/24", "0", "192.168.0.0"),
        ("fd00::/64", "5", "fd00::5"),
        ("fd00::/64", "281474976710661", "fd00::1:0:0:5"),
    ],
)
def test_a_key_is_an_offset_from_the_network(base, key, address):
    assert str(address_of(key, base=ip_network(base))) == address
    assert offset_key(ip_address(address), base=ip_network(base)) == key


@pytest.mark.parametrize(
    "key", ["", "x", "-1", "1.5", "1e3", "0x10", " 1", "1_0", "٣", "9223372036854775808", "9" * 30, "256", "9" * 100_000]
)
def test_a_key_that_whereabouts_cannot_use_is_refused(key):
    with pytest.raises(ValueError, match="key "):
        address_of(key, base=IPv4Network("192.168.0.0/24"))


def test_an_address_in_the_upper_half_of_a_64_is_written_but_not_read():
    """Written unsigned, read signed: the next ADD does not see it."""
    base = IPv6Network("fd00::/64")
    key = offset_key(ip_address("fd00::8000:0:0:1"), base=base)
    assert key == "9223372036854775809"
    with pytest.raises(ValueError, match="more than whereabouts can read"):
        address_of(key, base=base)


def test_an_address_of_another_network_has_no_key():
    with pytest.raises(ValueError, match="is not in"):
        offset_key(ip_address("10.0.1.0"), base=IPv4Network("10.0.0.0/24"))


@pytest.mark.parametrize(("text", "why"), [("10.0.0.200/24", "host bits"), (None, "no spec.range"), ("nonsense", "not a CIDR")])
def test_a_base_that_cannot_be_trusted(text, why):
    with pytest.raises(ValueError, match=why):
        read_base(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("192.168.0.8", (None, "192.168.0.8")),
        ("fd00-100--5", (None, "fd00:100::5")),
        ("fd00-100--1-0-0-5", (None, "fd00:100::1:0:0:5")),
        ("fd00--0", (None, "fd00::")),
        ("storage-10.0.0.5", ("storage", "10.0.0.5")),
        ("storage-fd00--5", ("storage", "fd00::5")),
    ],
)
def test_a_reservations_name_is_its_address(name, expected):
    network_name, address = reserved_address(name, network_names={None, "storage"})
    assert (network_name, str(address)) == expected


@pytest.mark.parametrize("name", ["other-10.0.0.5", "", "10.0.0.256", "storage-"])
def test_a_name_of_somebody_elses_network_is_not_read(name):
    with pytest.raises(ValueError, match="does not read as an address"):
        reserved_address(name, network_names={None, "storage"})


@settings(deadline=None)
@given(st.integers(0, 2**16 - 1))
def test_keys_and_addresses_go_both_ways(offset):
    base = IPv4Network("10.7.0.0/16")
    assert offset_key(address_of(str(offset), base=base), base=base) == str(offset)
