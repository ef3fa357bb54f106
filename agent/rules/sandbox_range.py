"""Addresses in a sandbox message: range, first, last and excludes of whereabouts, the sets of host-local, and what they add up to.

whereabouts up to 0.6.2 prints its range as a Go struct of bytes, from 0.6.3 on as CIDR with the excludes; first and last are printed
after range_start and range_end, so they bound the search and are no capacity. Refuses to complete what was cut off.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from agent.model.net import IPAddress, IPNetwork
from agent.model.pool import Interval
from agent.rules import intervals
from agent.rules.sandbox_text import Text

MAX_EXCLUDES = 256
"""Most excludes that are read: a setting's text is far shorter."""

_ADDRESS = r"[0-9a-f.:]{2,45}"
_BOUNDS = re.compile(rf"couldnotallocateipinrange:ip:({_ADDRESS}?)(?:/(?:-({_ADDRESS}?))?)?(?=/|$|[^0-9a-f.:/-])(?:/?range:)?")
_BYTES = r"((?:0x[0-9a-f]{1,2},?){4,16})"
_STRUCT = re.compile(rf"range:&?net\.ipnet\{{ip:net\.ip\{{{_BYTES}\}},mask:net\.ipmask\{{{_BYTES}(?=\}}|\"|$|\s)")
_CIDR = re.compile(r"couldnotallocateipinrange:ip:[^r]{0,128}range:([0-9a-f.:]{2,45}/\d{1,3})(/excluderanges:)?")
_TOO_SMALL = re.compile(r"subnet\{([0-9a-f.:]{2,80})\}hasnousable")
_SET = re.compile(rf"rangeset:?((?:{_ADDRESS}-{_ADDRESS},?){{1,16}})")
_POOL = re.compile(rf"thegivenpool\(({_ADDRESS}/\d{{1,3}})\)")
_EXCLUDES = re.compile(r"\s{0,8}".join(map(re.escape, "excludeRanges:[")) + r"([^\[\]]{0,16384})\]", re.IGNORECASE)
_DOTTED = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """What the message gives, canonical where it parses, None where it does not."""

    range: str | None = None
    first: str | None = None
    last: str | None = None
    excludes: tuple[str, ...] | None = None
    complete: bool = True
    """The text goes on behind the last address: nothing of it was cut off."""

    @property
    def searched(self) -> int | None:
        """Addresses from first to last."""
        bounds = self._bounds()
        return bounds.size if bounds else None

    @property
    def usable(self) -> int | None:
        """Those that the excludes leave; None where the message prints no excludes or one of them does not parse."""
        bounds = self._bounds()
        if bounds is None or self.excludes is None:
            return None
        networks = [_network(exclude) for exclude in self.excludes]
        if None in networks:
            return None
        gone = intervals.clip(
            (
                Interval(first=int(network.network_address), last=int(network.broadcast_address))
                for network in networks
                if network is not None and network.version == ip_address(str(self.first)).version
            ),
            first=bounds.first,
            last=bounds.last,
        )
        return bounds.size - intervals.size(gone)

    def _bounds(self) -> Interval | None:
        if self.first is None or self.last is None:
            return None
        first, last = ip_address(self.first), ip_address(self.last)
        if first.version != last.version or int(first) > int(last):
            return None
        return Interval(first=int(first), last=int(last))


def addresses_of(text: Text) -> Addresses:
    """Whatever addresses the message gives. Never raises."""
    bounds = _BOUNDS.search(text.low)
    if bounds:
        first, last = _address(bounds[1]), _address(bounds[2])
        return Addresses(
            range=_range(text.low),
            first=_text(first),
            last=_text(last),
            excludes=_excludes(text.readable),
            complete="range:" in text.low[bounds.start() + len("couldnotallocateipinrange:") :],
        )
    if too_small := _TOO_SMALL.search(text.low):
        return Addresses(range=_base_and_mask(too_small[1]))
    if pool := _POOL.search(text.low):
        return Addresses(range=_text(_network(pool[1])))
    if found := _SET.search(text.low):
        return _set(found[1])
    return Addresses()


def pool_name(cidr: str) -> str:
    """whereabouts' name of the IPPool of a range that has no network_name (pkg/storage/kubernetes/ipam.go)."""
    return cidr.replace(":", "-").replace("/", "-")


def _range(low: str) -> str | None:
    if struct := _STRUCT.search(low):
        return _from_bytes(struct[1], struct[2])
    cidr = _CIDR.search(low)
    if cidr is None:
        return None
    if cidr[2] is None and cidr.end() == len(low):
        # the prefix length may be cut: believe it only if it is that of a network, as whereabouts prints it
        try:
            return str(ip_network(cidr[1], strict=True))
        except ValueError:
            return None
    return _text(_network(cidr[1]))


def _from_bytes(base: str, mask: str) -> str | None:
    numbers, ones = _numbers(base), _numbers(mask)
    if len(numbers) not in (4, 16) or len(ones) not in (4, 16):
        return None
    return _masked(bytes(numbers), bytes(ones))


def _numbers(text: str) -> list[int]:
    return [int(part, 16) for part in text.split(",") if part]


def _base_and_mask(text: str) -> str | None:
    """Go's short print of a network without the blank between: address, then the mask as 8 or 32 hex digits."""
    length = 32 if ":" in text else 8
    base = _address(text[:-length])
    try:
        mask = bytes.fromhex(text[-length:])
    except ValueError:
        return None
    return _masked(base.packed, mask) if base is not None else None


def _masked(base: bytes, mask: bytes) -> str | None:
    if len(mask) == 16 and len(base) == 4:
        mask = mask[12:]
    prefix = int.from_bytes(mask, "big").bit_count()
    if int.from_bytes(mask, "big") != ((1 << prefix) - 1) << (8 * len(mask) - prefix):
        return None
    address = ip_address(base)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None and (len(mask) == 4 or prefix >= 96):
        address = address.ipv4_mapped
        prefix = prefix if len(mask) == 4 else prefix - 96
    if prefix > address.max_prefixlen or (address.version == 6 and len(mask) == 4):
        return None
    return _text(_network(f"{address}/{prefix}"))


def _set(text: str) -> Addresses:
    """host-local: `a-b`, several joined by commas."""
    pairs = []
    for part in text.strip(",").split(","):
        low, _, high = part.partition("-")
        first, last = _address(low), _address(high)
        if first is None or last is None:
            return Addresses()
        pairs.append((first, last))
    return Addresses(range=",".join(f"{first}-{last}" for first, last in pairs), first=str(pairs[0][0]), last=str(pairs[-1][1]))


def _excludes(readable: str) -> tuple[str, ...] | None:
    found = _EXCLUDES.search(readable)
    if found is None:
        return None
    return tuple(_rejoin(found[1]))[:MAX_EXCLUDES]


def _rejoin(text: str) -> list[str]:
    """The entries of a blank-separated list, also where a terminal's wrap put a blank within an entry."""
    entries: list[str] = []
    for word in text.replace(",", " ").split():
        torn = entries and (_network(word) is None or _network(entries[-1]) is None)
        if torn and _network(entries[-1] + word) is not None:
            entries[-1] += word
        else:
            entries.append(word)
    return entries


def _address(text: str | None) -> IPAddress | None:
    """The address, also where the words behind it stick to it."""
    if text and (dotted := _DOTTED.match(text)):
        text = dotted[0]
    try:
        return ip_address(text) if text else None
    except ValueError:
        return None


def _network(text: str) -> IPNetwork | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _text(value: IPAddress | IPNetwork | None) -> str | None:
    return None if value is None else str(value)
