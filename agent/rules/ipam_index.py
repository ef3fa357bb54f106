"""Finds quickly which NADs a pool serves and which reservations lie on its addresses.

A look meets every pool with every NAD and every reservation; asking each pair would let a few thousand hostile objects stop the agent.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Generic, NamedTuple, Protocol, TypeVar

from agent.model.net import IPAddress, IPNetwork
from agent.model.pool import AddressRange, NadConfig
from agent.model.records import PoolRecord, ReservationRecord
from agent.rules.ipam_names import by_length, maps_to, pool_name, reserved_address
from agent.rules.ipam_range import address_range, interval_of, parse_cidr

MAX_RESERVATIONS = 65_536
"""One object an address; a storage network has dozens."""
_MAX_REASONS = 20


class _HasNad(Protocol):
    @property
    def nad(self) -> NadConfig: ...


Use = TypeVar("Use", bound=_HasNad)


class RangeIndex(Generic[Use]):
    """Pool's name → (NAD, range); node slices, whose pools carry node names, are kept apart and tried one by one."""

    def __init__(self, uses: Iterable[Use]) -> None:
        self.by_name: dict[str, list[tuple[Use, AddressRange]]] = {}
        self._sliced: list[tuple[Use, AddressRange]] = []
        for use in uses:
            for one in use.nad.ranges if use.nad.whereabouts else ():
                usable = replace(one, problem=use.nad.refused) if use.nad.refused else one
                if one.slice_prefix is None:
                    self.by_name.setdefault(pool_name(use.nad, one), []).append((use, usable))
                else:
                    self._sliced.append((use, usable))

    def of(self, record: PoolRecord) -> list[tuple[Use, AddressRange]]:
        """What the pool serves; of node slices, the slice itself as the range."""
        found = list(self.by_name.get(record.name, ()))
        base = _network(record.range) if self._sliced else None
        if base is not None:
            found += [
                (use, replace(address_range(text=str(base), network=base)[0], problem=one.problem))
                for use, one in self._sliced
                if maps_to(use.nad, one, name=record.name, base=base)
            ]
        return found


def _network(text: str | None) -> IPNetwork | None:
    try:
        return parse_cidr(text or "").network
    except ValueError:
        return None


class Reserved(NamedTuple):
    number: int
    """The address as a number, by which the index sorts."""
    address: IPAddress
    record: ReservationRecord


_number = attrgetter("number")


@dataclass(slots=True, kw_only=True)
class ReservationIndex:
    """Reservations by network name and family, in the order of their addresses."""

    unread: list[str] = field(default_factory=list)
    _numbers: dict[tuple[str | None, int], list[int]] = field(default_factory=dict)
    _sorted: dict[tuple[str | None, int], list[Reserved]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[ReservationRecord], *, network_names: Iterable[str | None]) -> "ReservationIndex":
        index = cls()
        names = by_length({None, *network_names})
        groups: dict[tuple[str | None, int], list[Reserved]] = {}
        for record in records[:MAX_RESERVATIONS]:
            try:
                network_name, address = reserved_address(record.name, network_names=names)
            except ValueError as error:
                if len(index.unread) < _MAX_REASONS:
                    index.unread.append(str(error))
            else:
                groups.setdefault((network_name, address.version), []).append(Reserved(int(address), address, record))
        for key, group in groups.items():
            group.sort(key=_number)
            index._sorted[key] = group
            index._numbers[key] = [one.number for one in group]
        return index

    def within(self, base: IPNetwork, *, network_names: Iterable[str | None]) -> list[Reserved]:
        """Those on addresses of the network that count for NADs of these network names."""
        span = interval_of(base)
        found: list[Reserved] = []
        for name in network_names:
            numbers = self._numbers.get((name, base.version), [])
            first, last = bisect_left(numbers, span.first), bisect_right(numbers, span.last)
            found += self._sorted.get((name, base.version), [])[first:last]
        return found
