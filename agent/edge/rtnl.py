"""What the kernel's rtnetlink messages say, as the values of model/net: parsing only, so recorded answers test it.

pyroute2 knows the message formats; this module picks what we use and gives it our names.
A value that we have no name for stays, as a number in text; a message of another family or kind than asked for is left out.
Refused here: sockets, retries, and any opinion about what was read.
"""

import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from agent.model.net import Address, Counters, IPAddress, IPNetwork, Link, Neighbour, Route, Rule

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
RTM_NEWRULE, RTM_GETRULE = 32, 34
"""linux/rtnetlink.h."""

Item = Link | Address | Route | Rule | Neighbour
Message = Any
"""pyroute2's message classes have no types."""

TABLE_LOCAL = 255
"""The kernel's own bookkeeping, one entry an address and more: never asked for by a check."""

WITH_MAC = frozenset({1, 772})
"""ARPHRD_ETHER, ARPHRD_LOOPBACK. What tunnels have in that place is not a MAC, and pyroute2 would cut it to the length of one."""

_FAMILY = {AF_INET: 4, AF_INET6: 6}
_ANYWHERE: dict[int, str] = {AF_INET: "0.0.0.0", AF_INET6: "::"}  # noqa: S104 - a route's destination, nothing is bound
_SCOPE = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_ROUTE_KIND = dict(
    enumerate(
        [
            "unspec",
            "unicast",
            "local",
            "broadcast",
            "anycast",
            "multicast",
            "blackhole",
            "unreachable",
            "prohibit",
            "throw",
            "nat",
            "xresolve",
        ]
    )
)
_NOWHERE = frozenset({"blackhole", "unreachable", "prohibit", "throw"})
"""Of these, IPv6 names `lo` as the link, IPv4 none."""
_PROTOCOL = (
    dict(enumerate(["unspec", "redirect", "kernel", "boot", "static"]))
    | dict(enumerate(["gated", "ra", "mrt", "zebra", "bird", "dnrouted", "xorp", "ntk", "dhcp", "mrouted", "keepalived"], start=8))
    | dict(enumerate(["bgp", "isis", "ospf", "rip"], start=186))
    | {42: "babel", 192: "eigrp"}
)
_NEIGHBOUR_STATE = {0: "none"} | {
    1 << bit: name for bit, name in enumerate(["incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent"])
}
_ACTION = {1: "to_table", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_RULE_TOLD = frozenset({"PRIORITY", "TABLE", "SRC", "DST", "IIFNAME", "OIFNAME", "FWMARK", "FWMASK", "GOTO", "PROTOCOL", "PAD"})
_RULE_OFF = 0xFFFFFFFF
"""Of FRA_SUPPRESS_*: none."""
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x08, 0x40
_MAC_CHARACTERS = 17
_RTM_F_CLONED = 0x200
_FIB_RULE_INVERT = 0x2
_EXT_MASK = struct.pack("=HHI", 8, 29, 1 << 3)
"""IFLA_EXT_MASK = RTEXT_FILTER_SKIP_STATS."""


def link_request(*, counters: bool) -> tuple[int, bytes]:
    return RTM_GETLINK, bytes(16) + (b"" if counters else _EXT_MASK)


def request(message_type: int, *, family: int) -> tuple[int, bytes]:
    """Everything that begins with a family byte and may be nothing but zeros after it."""
    return message_type, bytes((family, *bytes(11)))


def decode(data: bytes, *, family: int) -> list[Item]:
    """The items that one answer holds. `family` 0 takes IPv4 and IPv6. Raises whatever pyroute2 makes of a malformed message."""
    items: list[Item] = []
    for message in MarshalRtnl().parse(data):
        decoder = _DECODERS.get(message["header"]["type"])
        if message["header"]["error"] is not None:
            raise message["header"]["error"]
        if decoder is None:
            continue
        if decoder is not _links and (message["family"] not in _FAMILY or family not in (0, message["family"])):
            # Without a handler for a family, e.g. IPv6 switched off at boot, the kernel answers for all the others instead.
            continue
        items.extend(decoder(message))
    return items


def _links(message: Message) -> Iterator[Link]:
    flags = message["flags"]
    stats = message.get_attr("IFLA_STATS64")
    information = message.get_attr("IFLA_LINKINFO")
    yield Link(
        index=message["index"],
        name=_text(message.get_attr("IFLA_IFNAME")) or "",
        kind=_text(information.get_attr("IFLA_INFO_KIND")) if information else None,
        mac=_mac(message.get_attr("IFLA_ADDRESS")) if message["ifi_type"] in WITH_MAC else None,
        mtu_bytes=message.get_attr("IFLA_MTU") or 0,
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        operstate=str(message.get_attr("IFLA_OPERSTATE") or "unknown").lower(),
        peer_index=message.get_attr("IFLA_LINK") or None,
        peer_netnsid=message.get_attr("IFLA_LINK_NETNSID"),
        master_index=message.get_attr("IFLA_MASTER") or None,
        receive=_counters(stats, "rx"),
        transmit=_counters(stats, "tx"),
    )


def _counters(stats: Message, way: str) -> Counters:
    if not stats:
        return Counters()
    return Counters(
        bytes=stats[f"{way}_bytes"], packets=stats[f"{way}_packets"], errors=stats[f"{way}_errors"], drops=stats[f"{way}_dropped"]
    )


def _addresses(message: Message) -> Iterator[Address]:
    # On point-to-point links IFA_ADDRESS is the other end.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    yield Address(
        link_index=message["index"],
        interface=ip_interface((address, message["prefixlen"])),
        scope=_SCOPE.get(message["scope"], str(message["scope"])),
        tentative=message["family"] == AF_INET6 and bool(flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED)),
    )


def _routes(message: Message) -> Iterator[Route]:
    table = message.get_attr("RTA_TABLE") or message["table"]
    if table == TABLE_LOCAL or message["flags"] & _RTM_F_CLONED:
        return
    family, kind = message["family"], _ROUTE_KIND.get(message["type"], str(message["type"]))
    for hop in message.get_attr("RTA_MULTIPATH") or (message,):
        single = hop is message
        yield Route(
            to=_network(message.get_attr("RTA_DST"), message["dst_len"], family),
            via=_gateway(hop),
            link_index=None if kind in _NOWHERE else (hop.get_attr("RTA_OIF") if single else hop["oif"]),
            source=_address(message.get_attr("RTA_PREFSRC")),
            metric=message.get_attr("RTA_PRIORITY") or 0,
            scope=_SCOPE.get(message["scope"], str(message["scope"])),
            table=table,
            kind=kind,
            protocol=_PROTOCOL.get(message["proto"], str(message["proto"])),
        )


def _gateway(hop: Message) -> IPAddress | None:
    via = hop.get_attr("RTA_VIA")
    return _address(hop.get_attr("RTA_GATEWAY") or (via["addr"] if via else None))


def _rules(message: Message) -> Iterator[Rule]:
    family = message["family"]
    action = _ACTION.get(message["action"], str(message["action"]))
    source, to = message.get_attr("FRA_SRC"), message.get_attr("FRA_DST")
    yield Rule(
        family=_FAMILY[family],
        priority=message.get_attr("FRA_PRIORITY") or 0,
        action=action,
        table=(message.get_attr("FRA_TABLE") or message["table"]) if action == "to_table" else None,
        source=_network(source, message["src_len"], family) if message["src_len"] else None,
        to=_network(to, message["dst_len"], family) if message["dst_len"] else None,
        input_link=_text(message.get_attr("FRA_IIFNAME")),
        output_link=_text(message.get_attr("FRA_OIFNAME")),
        mark=message.get_attr("FRA_FWMARK"),
        mark_mask=message.get_attr("FRA_FWMASK"),
        inverted=bool(message["flags"] & _FIB_RULE_INVERT),
        more=bool(message["tos"]) or any(_is_condition(name, value) for name, value in message["attrs"]),
    )


def _is_condition(name: str, value: object) -> bool:
    """Also of attributes younger than pyroute2, which it calls UNKNOWN."""
    if name in ("FRA_SUPPRESS_PREFIXLEN", "FRA_SUPPRESS_IFGROUP"):
        return value != _RULE_OFF
    return name.removeprefix("FRA_") not in _RULE_TOLD


def _neighbours(message: Message) -> Iterator[Neighbour]:
    address = _address(message.get_attr("NDA_DST"))
    if address is None:
        return
    yield Neighbour(
        link_index=message["ifindex"],
        address=address,
        mac=_mac(message.get_attr("NDA_LLADDR")),
        state=_NEIGHBOUR_STATE.get(message["state"], str(message["state"])),
    )


def _address(value: str | None) -> IPAddress | None:
    return ip_address(value) if value else None


def _network(value: str | None, length: int, family: int) -> IPNetwork:
    return ip_network((value or _ANYWHERE[family], length), strict=False)


def _mac(value: str | bytes | None) -> str | None:
    """pyroute2 gives bytes for what is shorter than it thinks."""
    return value.lower() if isinstance(value, str) and len(value) == _MAC_CHARACTERS else None


def _text(value: str | bytes | None) -> str | None:
    """Interface names may hold any byte but `/`, white space and zero."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


_DECODERS: dict[int, Callable[[Message], Iterator[Item]]] = {
    RTM_NEWLINK: _links,
    RTM_NEWADDR: _addresses,
    RTM_NEWROUTE: _routes,
    RTM_NEWRULE: _rules,
    RTM_NEWNEIGH: _neighbours,
}
