"""Gives out addresses as whereabouts 0.8 and newer does, and refuses in its words: arithmetic alone, without any API.

The agent counts capacity by its own rules; the lab must not borrow them, or both would be wrong together. Sources: whereabouts
pkg/allocate/allocate.go, pkg/iphelpers, pkg/config/config.go. Node slices and several ranges (`ipRanges`) are not played.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

Json = dict[str, Any]
Address = IPv4Address | IPv6Address
AnyNetwork = IPv4Network | IPv6Network


class Wording(StrEnum):
    """How the range stands in the message of an exhausted pool."""

    CIDR = "cidr"
    """Since 0.6.3, with the excludes."""
    GO_STRUCT = "go-struct"
    """Up to 0.6.2: Go's own print of a net.IPNet."""


class IpamError(Exception):
    """What whereabouts would say, without the words of those who pass it on."""


class PoolFull(IpamError):
    """No free address in the searched interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipam:
    """The `ipam` part of a NAD's configuration, understood."""

    network: AnyNetwork
    first: Address
    last: Address
    excludes: tuple[AnyNetwork, ...] = ()
    exclude_texts: tuple[str, ...] = ()

    @property
    def pool(self) -> str:
        """Name of the IPPool: the range, with the characters replaced that a name may not have."""
        return str(self.network).replace("/", "-").replace(":", "-")

    def offset(self, address: Address) -> str:
        return str(int(address) - int(self.network.network_address))

    def capacity(self) -> int:
        """Addresses that could be given while the pool is empty. Counts one by one: the lab's ranges are small."""
        return sum(1 for _ in self._usable())

    def free(self, allocations: Mapping[str, Any]) -> int:
        return sum(1 for address in self._usable() if self.offset(address) not in allocations)

    def _usable(self) -> "_Walk":
        return _Walk(self)


class _Walk:
    """Addresses from the first to the last, jumping over excludes."""

    def __init__(self, ipam: Ipam) -> None:
        self._ipam, self._next = ipam, int(ipam.first)
        self._make = type(ipam.first)

    def __iter__(self) -> "_Walk":
        return self

    def __next__(self) -> Address:
        while True:
            if self._next > int(self._ipam.last):
                raise StopIteration
            address = self._make(self._next)
            covering = [one for one in self._ipam.excludes if address in one]
            if not covering:
                self._next += 1
                return address
            self._next = max(int(one.broadcast_address) for one in covering) + 1


def read_ipam(config: Mapping[str, Any]) -> Ipam:
    """The `ipam` of a NAD. Raises IpamError with what whereabouts says about a range or an exclude that it cannot use."""
    text, start = str(config.get("range") or ""), None
    if "-" in text:
        start, _, text = text.partition("-")
    try:
        interface = ip_interface(text) if "/" in text else None
    except ValueError:
        interface = None
    if interface is None:
        raise IpamError(f"invalid CIDR (do you have the 'range' parameter set for Whereabouts?) '{text}': invalid CIDR address: {text}")
    network = interface.network
    end = str(interface.ip) if start else config.get("range_end")
    first, last = _bounds(network)
    first = _within(start or config.get("range_start"), first=first, last=last) or first
    last = _within(end, first=first, last=last) or last
    texts = tuple(str(one) for one in config.get("exclude") or ())
    return Ipam(network=network, first=first, last=last, excludes=tuple(map(_exclude, texts)), exclude_texts=texts)


def _bounds(network: AnyNetwork) -> tuple[Address, Address]:
    if network.prefixlen > network.max_prefixlen - 2:
        subnet = f"{{{network.network_address} {int(network.netmask):0{network.max_prefixlen // 4}x}}}"
        raise IpamError(f"error at storage engine: net mask is too short, subnet {subnet} has no usable IP addresses, it is too small")
    return network.network_address + 1, network.broadcast_address - 1


def _within(text: object, *, first: Address, last: Address) -> Address | None:
    """A bound that lies outside is ignored without a word, as whereabouts does."""
    if not text:
        return None
    try:
        address = ip_address(str(text))
    except ValueError as error:
        raise IpamError(f"invalid range start IP: {text}") from error
    inside = address.version == first.version and int(first) <= int(address) <= int(last)
    return address if inside else None


def _exclude(text: str) -> AnyNetwork:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise IpamError(f"invalid CIDR in exclude list {text}: invalid CIDR address: {text}") from error


def assign(
    ipam: Ipam,
    *,
    allocations: Mapping[str, Json],
    reserved: Mapping[str, str],
    podref: str,
    interface: str,
    wording: Wording = Wording.CIDR,
) -> Address:
    """The address of the same pod and interface if the pool lists one, else the lowest free one. Raises PoolFull.

    `reserved` maps an address to the pod that holds its reservation; those of the same pod are no obstacle.
    """
    for key, held in allocations.items():
        if held.get("podref") == podref and held.get("ifname") == interface and key.isdecimal():
            return ipam.network.network_address + int(key)
    for address in _Walk(ipam):
        if ipam.offset(address) not in allocations and reserved.get(str(address), podref) == podref:
            return address
    raise PoolFull(f"error at storage engine: Could not allocate IP in range: {_exhausted(ipam, wording)}")


def _exhausted(ipam: Ipam, wording: Wording) -> str:
    searched = f"ip: {ipam.first} / - {ipam.last} / range: "
    if wording is Wording.CIDR:
        return f"{searched}{ipam.network} / excludeRanges: [{' '.join(ipam.exclude_texts)}]"
    address, mask = (", ".join(f"{byte:#x}" for byte in one.packed) for one in (ipam.network.network_address, ipam.network.netmask))
    return f"{searched}net.IPNet{{IP:net.IP{{{address}}}, Mask:net.IPMask{{{mask}}}}}"
