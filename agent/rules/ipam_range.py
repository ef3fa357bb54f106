"""What whereabouts searches for one range, and what it leaves out there: the arithmetic of an ADD, without any pool.

Source of the rules: whereabouts pkg/iphelpers/iphelpers.go and pkg/allocate/allocate.go, 0.4.1 to 0.9.4. Before 0.6.2 bounds were taken
as written; before 0.6.3 an exclude had to be a CIDR. Addresses are never listed. Harvester's own arithmetic (plan_range) is not used here.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple

from agent.model.net import IPAddress, IPNetwork
from agent.model.pool import AddressRange, Interval, WidenedExclude
from agent.rules import intervals

Version = tuple[int, int, int]

BOUNDS_CHECKED: Version = (0, 6, 2)
"""From here on range_start and range_end count only inside the usable part of the CIDR."""
BARE_EXCLUDES: Version = (0, 6, 3)
"""From here on an exclude may be a bare address, and one that does not parse refuses the range."""
_EXCLUDE_OVERRUN: Version = (0, 6, 0)

_PREFIX = re.compile(r"[0-9]{1,3}", re.ASCII)
_LEADING_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])", re.ASCII)
_LONGEST_ADDRESS = 45
"""INET6_ADDRSTRLEN less its zero byte."""
_LONGEST_SHOWN = 80


class Cidr(NamedTuple):
    address: IPAddress
    """As written, with host bits."""
    network: IPNetwork


def shown(text: str) -> str:
    """Somebody else's text, fit for a sentence: printable, short, encodable."""
    cut = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return "".join(letter if letter.isprintable() else "?" for letter in cut)


def parse_address(text: str, *, sloppy: bool = False) -> IPAddress:
    """An address as Go reads it: no zone, IPv4-mapped becomes IPv4, leading zeros where `sloppy` (ParseIPSloppy). Raises ValueError."""
    if len(text) > _LONGEST_ADDRESS or "%" in text:
        raise ValueError(f"{shown(text)!r} is not an IP address")
    if sloppy and ":" not in text:
        text = _LEADING_ZEROS.sub("", text)
    try:
        if ":" not in text:
            return IPv4Address(text)
        address = IPv6Address(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)!r} is not an IP address") from error
    return address.ipv4_mapped or address


def parse_cidr(text: str, *, sloppy: bool = False) -> Cidr:
    """Address and network of `address/length`; a mask in place of the length is not a CIDR. Raises ValueError."""
    host, slash, length = text.partition("/")
    if not slash or not _PREFIX.fullmatch(length):
        raise ValueError(f"{shown(text)!r} is not a CIDR such as 192.168.0.0/24")
    address, prefix = parse_address(host, sloppy=sloppy), int(length)
    if address.version == 4 and ":" in host:
        prefix -= 96
    if not 0 <= prefix <= address.max_prefixlen:
        raise ValueError(f"{shown(text)!r} is not a CIDR: the prefix length is out of range")
    return Cidr(address, ip_network((address, prefix), strict=False))


def interval_of(network: IPNetwork) -> Interval:
    return Interval(first=int(network.network_address), last=int(network.broadcast_address))


def address_at(number: int, *, version: int) -> IPAddress:
    """The address of this number. Raises ValueError if the family has no such address."""
    return IPv4Address(number) if version == 4 else IPv6Address(number)


def too_long(network: IPNetwork) -> str | None:
    """whereabouts' HasUsableIPs: a network needs room for a host beside its first and last address."""
    if network.prefixlen <= network.max_prefixlen - 2:
        return None
    return f"{network} has no address to give: whereabouts needs a prefix of /{network.max_prefixlen - 2} or shorter"


def searched(
    network: IPNetwork, *, start: IPAddress | None, end: IPAddress | None, whereabouts: Version | None
) -> tuple[IPAddress, IPAddress] | str:
    """First and last address that an ADD tries, or why there is none."""
    if problem := too_long(network):
        return problem
    if whereabouts is not None and whereabouts < BOUNDS_CHECKED:
        return _searched_as_written(network, start=start, end=end)
    first, last = network.network_address + 1, network.broadcast_address - 1
    if start is not None and _between(first, start, last):
        first = start
    if end is not None and _between(first, end, last):
        last = end
    return first, last


def _searched_as_written(network: IPNetwork, *, start: IPAddress | None, end: IPAddress | None) -> tuple[IPAddress, IPAddress] | str:
    if end is None:
        last = network.broadcast_address - 1 if network.version == 4 else network.broadcast_address
        first = start or network.network_address + 1
    else:
        first, last = start or network.network_address, end
    if first.version != last.version or int(first) > int(last):
        return f"it runs from {first} to {last}, and whereabouts before 0.6.2 follows that out of the range"
    return first, last


def _between(first: IPAddress, address: IPAddress, last: IPAddress) -> bool:
    return first.version == address.version and int(first) <= int(address) <= int(last)


def whereabouts_range(
    text: str,
    *,
    start: IPAddress | None = None,
    end: IPAddress | None = None,
    excludes: Sequence[str] = (),
    whereabouts: Version | None = None,
) -> tuple[AddressRange, tuple[str, ...]]:
    """`address_range` from the text of a `range`, whose form `first-last/length` goes before range_start and range_end.

    Raises ValueError for a text at which whereabouts refuses its whole configuration (pkg/config/config.go).
    """
    head, dash, tail = text.partition("-")
    if dash:
        start = parse_address(head, sloppy=True)
        end, network = parse_cidr(tail, sloppy=True)
        if start not in network:
            raise ValueError(f"{start} is not in {network}")
    else:
        network = parse_cidr(text, sloppy=True).network
    return address_range(text=text, network=network, start=start, end=end, excludes=excludes, whereabouts=whereabouts)


def address_range(
    *,
    text: str,
    network: IPNetwork,
    start: IPAddress | None = None,
    end: IPAddress | None = None,
    excludes: Sequence[str] = (),
    whereabouts: Version | None = None,
) -> tuple[AddressRange, tuple[str, ...]]:
    """One range as whereabouts of this version (None: 0.6.3 or newer) would search it, and what is odd about it without stopping it."""
    bounds = searched(network, start=start, end=end, whereabouts=whereabouts)
    if isinstance(bounds, str):
        return AddressRange(text=text, network=network, first=None, last=None, excludes=tuple(excludes), problem=bounds), ()
    parsed, unread, notes = _excludes(excludes, whereabouts=whereabouts)
    first, last = bounds
    left_out = [(raw, cidr) for raw, cidr in parsed if cidr.network.version == first.version]
    full = intervals.clip((interval_of(cidr.network) for _, cidr in left_out), first=int(first), last=int(last))
    wide = [
        WidenedExclude(text=raw, network=cidr.network)
        for raw, cidr in left_out
        if cidr.address != cidr.network.network_address and _reaches(cidr.network, first=first, last=last)
    ]
    if whereabouts is not None and _EXCLUDE_OVERRUN <= whereabouts < BOUNDS_CHECKED:
        notes += _overruns(left_out, last=last)
    return AddressRange(
        text=text,
        network=network,
        first=first,
        last=last,
        excluded=full,
        excludes=tuple(excludes),
        widened=tuple(wide),
        widened_cost=intervals.size(full) - intervals.size(_as_named(left_out, first=first, last=last)) if wide else 0,
        problem=unread,
    ), notes


def _reaches(network: IPNetwork, *, first: IPAddress, last: IPAddress) -> bool:
    return int(network.network_address) <= int(last) and int(network.broadcast_address) >= int(first)


def _as_named(left_out: Sequence[tuple[str, Cidr]], *, first: IPAddress, last: IPAddress) -> tuple[Interval, ...]:
    named = (
        interval_of(cidr.network)
        if cidr.address == cidr.network.network_address
        else Interval(first=int(cidr.address), last=int(cidr.address))
        for _, cidr in left_out
    )
    return intervals.clip(named, first=int(first), last=int(last))


def _excludes(texts: Sequence[str], *, whereabouts: Version | None) -> tuple[list[tuple[str, Cidr]], str | None, tuple[str, ...]]:
    """What could be read, why the range is refused if it is, and what is odd. Bare addresses and bad entries follow the version."""
    modern = whereabouts is None or whereabouts >= BARE_EXCLUDES
    parsed: list[tuple[str, Cidr]] = []
    notes: list[str] = []
    refused = None
    for text in texts:
        try:
            if "/" in text or not modern:
                parsed.append((text, parse_cidr(text)))
            else:
                address = parse_address(text)
                parsed.append((text, Cidr(address, ip_network(address))))
        except ValueError:
            if modern:
                refused = refused or f"exclude {shown(text)!r} cannot be read, so whereabouts refuses every request"
            else:
                notes.append(f"exclude {shown(text)!r} is not a CIDR: whereabouts before 0.6.3 fails at it or ignores it")
    return parsed, refused, tuple(notes)


def _overruns(left_out: Sequence[tuple[str, Cidr]], *, last: IPAddress) -> tuple[str, ...]:
    return tuple(
        f"exclude {shown(text)!r} reaches past the last address {last}: whereabouts 0.6.0 and 0.6.1 then give out addresses beyond it"
        for text, cidr in left_out
        if int(cidr.network.network_address) <= int(last) < int(cidr.network.broadcast_address)
    )
