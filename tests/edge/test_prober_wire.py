"""Packets as the RFCs draw them, and what strangers on the segment may send us instead."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from agent.edge import prober_wire as wire
from agent.edge.prober_neighbour import Pace

TARGET = IPv4Address("192.168.0.3")
TARGET6 = IPv6Address("fd00:5::1:2:3")
OURS = bytes.fromhex("02005e000001")
THEIRS = bytes.fromhex("02005e000002")


def reply(*, operation: int = 2, address: IPv4Address = TARGET, mac: bytes = THEIRS) -> bytes:
    return bytes.fromhex("0001080006040000")[:6] + operation.to_bytes(2, "big") + mac + address.packed + OURS + bytes(4)


def test_an_arp_probe_names_no_sender_address() -> None:
    packet = wire.arp_request(TARGET, sender_mac=OURS)
    assert packet.hex() == "000108000604000102005e00000100000000000000000000c0a80003"


def test_an_arp_reply_with_the_padding_of_a_minimal_frame() -> None:
    assert wire.arp_sender(reply() + bytes(18), target=TARGET) == THEIRS


@pytest.mark.parametrize(
    "packet", [b"", b"\x00", reply()[:27], reply(operation=1), reply(address=IPv4Address("192.168.0.4")), b"\xff" * 28]
)
def test_other_arp_is_no_answer(packet) -> None:
    assert wire.arp_sender(packet, target=TARGET) is None


def test_a_solicitation_goes_to_the_targets_own_group() -> None:
    """RFC 4291 §2.7.1: ff02::1:ff and the last 24 bits."""
    group, mac = wire.solicited_node(TARGET6)
    assert group == IPv6Address("ff02::1:ff02:3")
    assert mac.hex(":") == "33:33:ff:02:00:03"
    packet = wire.solicitation(TARGET6)
    assert packet[4:8].hex() == "00183aff"
    assert packet[8:24] == bytes(16)
    assert packet[24:40] == group.packed
    assert packet[40] == 135
    assert packet[48:64] == TARGET6.packed
    pseudo = packet[8:40] + (24).to_bytes(4, "big") + (58).to_bytes(4, "big")
    assert wire.checksum(pseudo + packet[40:]) == 0


def advertisement(*, hops: int = 255, kind: int = 136, target: IPv6Address = TARGET6, options: bytes = b"\x02\x01" + THEIRS) -> bytes:
    message = bytes([kind, 0, 0, 0, 0x20, 0, 0, 0]) + target.packed + options
    return b"\x60\0\0\0" + len(message).to_bytes(2, "big") + bytes([58, hops]) + bytes(32) + message


@pytest.mark.parametrize(
    ("packet", "mac"),
    [
        (advertisement(), THEIRS),
        (advertisement(options=b"\x0e\x01" + bytes(6) + b"\x02\x01" + THEIRS), THEIRS),
        (advertisement(options=b""), OURS),
        (advertisement(options=b"\x02\x00" + THEIRS), OURS),
        (advertisement(options=b"\x05\xff\x00"), OURS),
        (advertisement(hops=64), None),
        (advertisement(kind=135), None),
        (advertisement(target=IPv6Address("fd00:5::9")), None),
        (advertisement()[:63], None),
        (b"", None),
    ],
)
def test_who_an_advertisement_names(packet, mac) -> None:
    assert wire.advertised_mac(packet, target=TARGET6, frame_sender=OURS) == mac


def test_an_echo_is_ours_by_identifier_sequence_and_token() -> None:
    mine = {"identifier": 7, "sequence": 9, "token": b"12345678"}
    request = wire.echo_request(4, **mine)
    assert wire.checksum(request) == 0
    assert len(request) == 64
    header = b"\x45" + bytes(19)
    answer = header + b"\x00" + request[1:]
    assert wire.is_echo_reply(answer, version=4, **mine)
    assert wire.is_echo_reply(b"\x46" + bytes(23) + b"\x00" + request[1:], version=4, **mine)
    assert wire.is_echo_reply(b"\x81" + request[1:], version=6, **mine)
    for stranger in (b"", header, header + request, answer[:30], answer.replace(b"1234", b"4321"), b"\xff" * 100):
        assert not wire.is_echo_reply(stranger, version=4, **mine)
    assert not wire.is_echo_reply(answer, version=4, **{**mine, "sequence": 10})
    assert not wire.is_echo_reply(answer, version=4, **{**mine, "identifier": 8})


def test_checksum_of_rfc_1071() -> None:
    assert wire.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF ^ 0xDDF2
    assert wire.checksum(b"\x01") == 0xFFFF ^ 0x0100


def test_eight_questions_a_second_and_no_savings() -> None:
    pace = Pace(per_second=8)
    assert [pace.take(now=100.0) for _ in range(10)] == [True] * 8 + [False] * 2
    assert [pace.take(now=100.25) for _ in range(3)] == [True, True, False]
    assert sum(pace.take(now=5000.0) for _ in range(20)) == 8
    assert not pace.take(now=4000.0)


def test_no_questions_at_all() -> None:
    assert not Pace(per_second=0).take(now=1.0)
