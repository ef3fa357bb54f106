"""Packets of the ARP, ND and ICMP questions: built from values, parsed to values, and the filters that keep everything else away.

Pure bytes, no sockets. What is not exactly the answer to our question is None, never an exception: anybody on the segment may send it.
"""

import ctypes
import struct
from ipaddress import IPv4Address, IPv6Address

from agent.model.net import IPAddress

ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
ARPHRD_ETHER = 1
MAC_BYTES = 6
BROADCAST = b"\xff" * MAC_BYTES
_NO_ADDRESS = IPv6Address(0)
_ICMPV6 = 58
_NEIGHBOUR_SOLICITATION = 135
_NEIGHBOUR_ADVERTISEMENT = 136
_TARGET_LINK_LAYER = 2
_ND_HOPS = 255
"""RFC 4861 §7.1: any other hop limit came through a router and is a lie."""
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ETHERNET_IPV4 = (1, 0x0800, MAC_BYTES, 4)
_ECHO_TYPES = {4: (8, 0), 6: (128, 129)}
TOKEN_BYTES = 8
_PADDING = bytes(48)
"""With the token 56 bytes of data, as ping(8) sends them."""


def mac_text(mac: bytes) -> str:
    return mac.hex(":")


def checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp_request(target: IPv4Address, *, sender_mac: bytes) -> bytes:
    """An ARP probe: sender address 0.0.0.0, so that no neighbour table learns from it (RFC 5227 §2.1.1)."""
    return _ARP.pack(*_ETHERNET_IPV4, _ARP_REQUEST, sender_mac, bytes(4), bytes(MAC_BYTES), target.packed)


def arp_sender(packet: bytes, *, target: IPv4Address) -> bytes | None:
    """MAC that a reply gives for `target`."""
    if len(packet) < _ARP.size:
        return None
    *kind, operation, sender_mac, sender_address, _, _ = _ARP.unpack_from(packet)
    matches = tuple(kind) == _ETHERNET_IPV4 and operation == _ARP_REPLY and sender_address == target.packed
    return bytes(sender_mac) if matches else None


def solicited_node(target: IPv6Address) -> tuple[IPv6Address, bytes]:
    """Multicast address and MAC on which the owner of `target` listens (RFC 4291 §2.7.1, RFC 2464 §7)."""
    group = IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + target.packed[-3:])
    return group, b"\x33\x33" + group.packed[-4:]


def solicitation(target: IPv6Address) -> bytes:
    """IPv6 packet with a Neighbour Solicitation from ::, as DAD sends it: nobody learns from it (RFC 4862 §5.4.2)."""
    group, _ = solicited_node(target)
    message = struct.pack("!BBHI", _NEIGHBOUR_SOLICITATION, 0, 0, 0) + target.packed
    pseudo = _NO_ADDRESS.packed + group.packed + struct.pack("!II", len(message), _ICMPV6)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, _ND_HOPS) + _NO_ADDRESS.packed + group.packed
    return header + message


def advertised_mac(packet: bytes, *, target: IPv6Address, frame_sender: bytes) -> bytes | None:
    """MAC that a Neighbour Advertisement (an IPv6 packet) gives for `target`; the frame's own sender if the option is missing."""
    if len(packet) < 64 or packet[6] != _ICMPV6 or packet[7] != _ND_HOPS or packet[40] != _NEIGHBOUR_ADVERTISEMENT:
        return None
    if packet[48:64] != target.packed:
        return None
    options = packet[64 : 64 + 8 * 8]
    while len(options) >= 8 and options[1]:
        if options[0] == _TARGET_LINK_LAYER:
            return options[2 : 2 + MAC_BYTES]
        options = options[8 * options[1] :]
    return frame_sender if len(frame_sender) == MAC_BYTES else None


def echo_request(version: int, *, identifier: int, sequence: int, token: bytes) -> bytes:
    """ICMP or ICMPv6 echo; of ICMPv6 the kernel fills in the checksum."""
    message = struct.pack("!BBHHH", _ECHO_TYPES[version][0], 0, 0, identifier, sequence) + token + _PADDING
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:] if version == 4 else message


def is_echo_reply(packet: bytes, *, version: int, identifier: int, sequence: int, token: bytes) -> bool:
    """What a raw socket gives is the reply to exactly this request. IPv4 sockets give the IP header too."""
    if version == 4:
        packet = packet[(packet[0] & 0xF) * 4 :] if packet else b""
    if len(packet) < 8 + TOKEN_BYTES:
        return False
    kind, code, _, got_identifier, got_sequence = struct.unpack_from("!BBHHH", packet)
    wanted = (_ECHO_TYPES[version][1], 0, identifier, sequence)
    return (kind, code, got_identifier, got_sequence) == wanted and packet[8 : 8 + TOKEN_BYTES] == token


def answer_filter(target: IPAddress) -> bytes:
    """Classic BPF (linux/filter.h) for a SOCK_DGRAM packet socket: only answers about `target` wake us, whatever the segment carries."""
    if target.version == 4:
        checks = [(_LOAD_HALF, 6, _ARP_REPLY), (_LOAD_WORD, 14, int(target))]
    else:
        words = struct.unpack("!4I", target.packed)
        checks = [(_LOAD_BYTE, 6, _ICMPV6), (_LOAD_BYTE, 40, _NEIGHBOUR_ADVERTISEMENT)]
        checks += [(_LOAD_WORD, 48 + 4 * index, word) for index, word in enumerate(words)]
    program = []
    for index, (load, offset, value) in enumerate(checks):
        to_refusal = 2 * (len(checks) - index - 1) + 1
        program += [(load, 0, 0, offset), (_JUMP_EQUAL, 0, to_refusal, value)]
    program += [(_RETURN, 0, 0, 0xFFFF), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06
INSTRUCTION_BYTES = 8


class FilterProgram:
    """struct sock_fprog for SO_ATTACH_FILTER; keep it alive over the call, since it points at its instructions."""

    def __init__(self, instructions: bytes) -> None:
        self._instructions = ctypes.create_string_buffer(instructions, len(instructions))
        self.packed = struct.pack("HP", len(instructions) // INSTRUCTION_BYTES, ctypes.addressof(self._instructions))
