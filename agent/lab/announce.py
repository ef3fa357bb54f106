"""What the bridge plugin does at the end of an ADD: one gratuitous ARP, so that neighbours forget who had the address before.

Without it a pod that takes over an address stays out of reach of those who remember the old MAC, for as long as their kernels believe it.
"""

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address

from agent.lab import kernel

_ETHERTYPE_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_HEADER = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
"""Ethernet, IPv4, and their lengths; a request, as arping.GratuitousArpOverIface sends it."""


def announce(netns: int, *, interface: str, address: str, mac: str) -> None:
    """From inside a pod's namespace. Where it cannot be sent it is not sent; the plugin does not mind either."""
    hardware, own = bytes.fromhex(mac.replace(":", "")), IPv4Address(address).packed
    frame = _BROADCAST + hardware + struct.pack("!H", _ETHERTYPE_ARP) + _HEADER + hardware + own + _BROADCAST + own
    with kernel.inside(netns), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link, suppress(OSError):
        link.bind((interface, _ETHERTYPE_ARP))
        link.send(frame)
