"""rtnetlink messages that a test machine's kernel does not make, built by hand after linux/rtnetlink.h."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.edge import rtnl
from agent.model.net import Address, Link, Neighbour, Route, Rule


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def link(*attributes: bytes, device_type: int = 1, flags: int = 0x10043) -> bytes:
    return message(16, struct.pack("=BxHiII", 0, device_type, 7, flags, 0) + b"".join(attributes))


def rule(*attributes: bytes, action: int = 1) -> bytes:
    return message(32, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, action, 0) + b"".join(attributes))


def route(*attributes: bytes, family: int = 2, kind: int = 1, flags: int = 0, protocol: int = 4) -> bytes:
    return message(24, struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, protocol, 0, kind, flags) + b"".join(attributes))


def one_link(*attributes: bytes, device_type: int = 1) -> Link:
    (found,) = rtnl.decode(link(*attributes, device_type=device_type), family=0)
    assert isinstance(found, Link)
    return found


@pytest.mark.parametrize(
    ("device_type", "hardware"),
    [(768, bytes(4)), (769, bytes(16)), (32, bytes(range(20))), (65534, b""), (1, b""), (1, bytes(4))],
    ids=["ipip", "ip6tnl", "infiniband", "tun", "ethernet-none", "ethernet-short"],
)
def test_what_a_tunnel_has_for_an_address_is_not_told_as_a_mac(device_type: int, hardware: bytes) -> None:
    assert one_link(attribute(3, b"tunl0\0"), attribute(1, hardware), device_type=device_type).mac is None


def test_a_mac_is_lower_case_with_colons() -> None:
    assert one_link(attribute(1, bytes.fromhex("0A58C0A80005"))).mac == "0a:58:c0:a8:00:05"


def test_a_link_of_a_kind_that_nobody_heard_of_is_told_by_its_name() -> None:
    found = one_link(attribute(3, b"x0\0"), attribute(18, attribute(1, b"netkit2\0") + attribute(2, b"\1\2\3")))
    assert (found.name, found.kind, found.up, found.carrier) == ("x0", "netkit2", True, True)


def test_an_interface_name_may_hold_any_bytes() -> None:
    assert one_link(attribute(3, b"eth\xff\0")).name == "eth\\xff"


def test_a_link_without_any_attribute_has_unknown_state_and_zero_counters() -> None:
    assert one_link() == Link(index=7, name="", up=True, carrier=True)


def test_numbers_that_have_no_name_stay_numbers() -> None:
    (found,) = rtnl.decode(route(attribute(4, struct.pack("=I", 3)), protocol=99, kind=77), family=2)
    assert isinstance(found, Route)
    assert (found.protocol, found.kind, found.link_index) == ("99", "77", 3)
    (asked,) = rtnl.decode(rule(action=9), family=2)
    assert isinstance(asked, Rule)
    assert (asked.action, asked.table) == ("9", None)


def test_a_cloned_route_is_a_cache_entry_and_left_out() -> None:
    assert rtnl.decode(route(flags=0x200), family=2) == []


def test_an_answer_for_the_other_family_is_left_out() -> None:
    """A kernel without IPv6 answers a question about IPv6 routes with the IPv4 ones."""
    assert rtnl.decode(route(family=2), family=10) == []
    assert rtnl.decode(route(family=128), family=0) == []


def test_a_condition_younger_than_pyroute2_still_says_that_there_is_one() -> None:
    (found,) = rtnl.decode(rule(attribute(6, struct.pack("=I", 5)), attribute(25, b"\4")), family=2)
    assert found == Rule(family=4, priority=5, table=254, more=True)


def test_on_a_point_to_point_link_the_address_is_ours_not_the_other_ends() -> None:
    body = struct.pack("=BBBBI", 2, 32, 0x80, 0, 7) + attribute(1, bytes((10, 0, 0, 2))) + attribute(2, bytes((10, 0, 0, 1)))
    (found,) = rtnl.decode(message(20, body), family=0)
    assert isinstance(found, Address)
    assert str(found.interface) == "10.0.0.1/32"


@pytest.mark.parametrize(("flags", "tentative"), [(0x40, True), (0x08, True), (0x80, False), (0xC0, True)])
def test_an_ipv6_address_whose_duplicate_detection_runs_or_failed_is_tentative(flags: int, tentative: bool) -> None:
    body = struct.pack("=BBBBI", 10, 64, 0, 253, 7) + attribute(1, bytes(15) + b"\1") + attribute(8, struct.pack("=I", flags))
    (found,) = rtnl.decode(message(20, body), family=0)
    assert isinstance(found, Address)
    assert (found.tentative, found.scope) == (tentative, "link")


def test_a_neighbour_without_an_address_is_left_out_and_one_without_a_mac_is_not() -> None:
    def neighbour(*attributes: bytes) -> bytes:
        return message(28, struct.pack("=BxHiHBB", 2, 0, 7, 0x20, 0, 1) + b"".join(attributes))

    assert rtnl.decode(neighbour(), family=0) == []
    (found,) = rtnl.decode(neighbour(attribute(1, bytes((10, 0, 0, 9)))), family=0)
    assert isinstance(found, Neighbour)
    assert (str(found.address), found.mac, found.state) == ("10.0.0.9", None, "failed")


@given(kind=st.sampled_from([16, 20, 24, 28, 32]), body=st.binary(max_size=200))
def test_whatever_comes_parsing_ends_and_gives_items_or_an_ordinary_exception(kind: int, body: bytes) -> None:
    try:
        items = rtnl.decode(message(kind, body), family=0)
    except Exception:
        return
    assert all(isinstance(item, Link | Address | Route | Rule | Neighbour) for item in items)
