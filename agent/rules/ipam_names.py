"""Names and keys of whereabouts' objects: which pool a range maps to, which address an offset or a reservation's name means.

Source: whereabouts pkg/storage/kubernetes/ipam.go (IPPoolName, normalizeRange, toIPReservationList), 0.9.4. A name is an identity only:
read back, it is ambiguous, so nothing here turns a pool's name into a range.
"""

from collections.abc import Iterable, Sequence

from agent.model.net import IPAddress, IPNetwork
from agent.model.pool import AddressRange, NadConfig
from agent.rules.ipam_range import address_at, parse_address, parse_cidr, shown

_SIGNED_64 = 2**63 - 1
_MODULUS_64 = 2**64
_LONGEST_KEY = 20
"""Digits of 2^64 and a sign."""


def normalised(text: str) -> str:
    """A range or address as part of a name: ":" and "/" become "-"; a text that ends in ":" first gets a 0."""
    return (f"{text}0" if text.endswith(":") else text).replace(":", "-").replace("/", "-")


def pool_name(nad: NadConfig, one: AddressRange) -> str:
    """Of a NAD with node slices this is only the part that all of its pools' names end alike in: ask `maps_to` there."""
    base = normalised(str(one.network))
    return f"{nad.pool_network_name}-{base}" if nad.pool_network_name else base


def maps_to(nad: NadConfig, one: AddressRange, *, name: str, base: IPNetwork | None) -> bool:
    """Whereabouts keeps this NAD's range in the pool `name`, whose `spec.range` is `base`."""
    if one.slice_prefix is None:
        return name == pool_name(nad, one)
    if base is None or base.version != one.network.version or base.prefixlen != one.slice_prefix:
        return False
    prefix = f"{nad.pool_network_name}-" if nad.pool_network_name else ""
    return base.subnet_of(one.network) and name.startswith(prefix) and name.endswith(f"-{normalised(str(base))}")  # type: ignore[arg-type]  # one version


def read_base(text: str | None) -> IPNetwork:
    """The network of a pool's `spec.range`, whose first address is the base of its offsets.

    Raises ValueError for a text that is no CIDR, and for one with host bits: whereabouts then writes wrong offsets (byteSliceSub).
    """
    if text is None:
        raise ValueError("the pool has no spec.range")
    cidr = parse_cidr(text)
    if cidr.address != cidr.network.network_address:
        raise ValueError(f"spec.range {shown(text)} has host bits, and whereabouts miscounts offsets from such a base")
    return cidr.network


def offset_key(address: IPAddress, *, base: IPNetwork) -> str:
    """The key under which whereabouts writes this address: unsigned, modulo 2^64. Raises ValueError outside the pool's network."""
    if address.version != base.version or address not in base:
        raise ValueError(f"{address} is not in {base}")
    return str((int(address) - int(base.network_address)) % _MODULUS_64)


class Offsets:
    """Reads keys against one base. A pool has thousands of keys, and asking a network object for its parts is slow."""

    def __init__(self, base: IPNetwork) -> None:
        self._base = base
        self._first = int(base.network_address)
        self._host_bits = base.max_prefixlen - base.prefixlen
        self._version = base.version

    def address_of(self, key: str) -> IPAddress:
        """The address that a key means. Raises ValueError for keys that whereabouts cannot read, and for addresses outside the network.

        It reads a signed 64-bit decimal and skips what does not fit: an address written as 2^63 or more is invisible to the next ADD.
        """
        if len(key) > _LONGEST_KEY or not key.isascii() or not key.removeprefix("+").isdigit():
            raise ValueError(f"key {shown(key)!r} is not an offset")
        offset = int(key)
        if offset > _SIGNED_64:
            raise ValueError(f"key {shown(key)!r} is more than whereabouts can read")
        if offset >> self._host_bits:
            raise ValueError(f"key {shown(key)!r} lies outside {self._base}")
        return address_at(self._first + offset, version=self._version)


def address_of(key: str, *, base: IPNetwork) -> IPAddress:
    """One key alone: see `Offsets`."""
    return Offsets(base).address_of(key)


def by_length(network_names: Iterable[str | None]) -> tuple[str | None, ...]:
    """Longest first, as `reserved_address` wants them: a name may begin like another."""
    return tuple(sorted(network_names, key=lambda one: -len(one or "")))


def reserved_address(name: str, *, network_names: Sequence[str | None]) -> tuple[str | None, IPAddress]:
    """Network name and address of a reservation's name. Raises ValueError if it reads as none of the known names' addresses."""
    for network_name in network_names:
        prefix = f"{network_name}-" if network_name else ""
        if not name.startswith(prefix):
            continue
        rest = name[len(prefix) :]
        try:
            return network_name, parse_address(rest if "." in rest else rest.replace("-", ":"))
        except ValueError:
            continue
    raise ValueError(f"reservation {shown(name)!r} does not read as an address")
