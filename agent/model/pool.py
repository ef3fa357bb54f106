"""CNI configuration and address ranges as whereabouts counts them, in integer intervals; pools, demand and problems with a range."""

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum

from agent.model.net import IPAddress, IPNetwork
from agent.model.peers import Grant, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Addresses first..last, both included, as integers of one family."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError("an interval's first address is above its last")

    @property
    def size(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WidenedExclude:
    """An exclude written with host bits: whereabouts drops them and leaves out the whole network."""

    text: str
    """As configured."""
    network: IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRange:
    """One range of a whereabouts configuration: what an ADD searches, and what it leaves out there."""

    text: str
    """As configured."""
    network: IPNetwork
    """Canonical: the base of the pool's offsets."""
    first: IPAddress | None
    """First and last address searched; None where whereabouts refuses the range."""
    last: IPAddress | None
    excluded: tuple[Interval, ...] = ()
    """Union of the excludes as whereabouts masks them, clipped to first..last, sorted, disjoint."""
    excludes: tuple[str, ...] = ()
    """As configured."""
    widened: tuple[WidenedExclude, ...] = ()
    """Those excludes that reach into first..last and have host bits."""
    widened_cost: int = 0
    """Addresses that could be given if each widened exclude left out its one written address only."""
    slice_prefix: int | None = None
    """Node slices: the prefix length of each node's share. Then `excluded` is empty (whereabouts honours no exclude there) and the first
    and last address of every slice are not given out."""
    problem: str | None = None
    """Why whereabouts would give no address at all from it."""

    @property
    def capacity(self) -> int:
        if self.first is None or self.last is None or self.problem:
            return 0
        if self.slice_prefix is not None:
            slices: int = 2 ** (self.slice_prefix - self.network.prefixlen)
            return slices * (self._slice_size - 2)
        return int(self.last) - int(self.first) + 1 - sum(interval.size for interval in self.excluded)

    @property
    def _slice_size(self) -> int:
        size: int = 2 ** (self.network.max_prefixlen - (self.slice_prefix or 0))
        return size

    def holds(self, address: IPAddress) -> bool:
        """Whereabouts could give this address out."""
        if self.first is None or self.last is None or self.problem or address.version != self.network.version:
            return False
        number = int(address)
        if not int(self.first) <= number <= int(self.last):
            return False
        if self.slice_prefix is not None:
            return 0 < number % self._slice_size < self._slice_size - 1
        before = bisect_right(self.excluded, number, key=lambda gap: gap.first)
        return before == 0 or self.excluded[before - 1].last < number


@dataclass(frozen=True, slots=True, kw_only=True)
class NadConfig:
    """A NAD's `spec.config`, parsed. Unknown keys are ignored; what could not be read stands in `problems`."""

    name: str
    """namespace/name of the NAD."""
    type: str | None = None
    """Plugin: `bridge`, `macvlan`, …; of a configuration list, the first plugin's."""
    network_name: str | None = None
    """The `name` inside the configuration (Multus puts it in its messages); the NAD's own name if there is none."""
    bridge: str | None = None
    vlan: int | None = None
    mtu_bytes: int | None = None
    ipam_type: str | None = None
    pool_network_name: str | None = None
    """whereabouts `network_name`: prefix of the pool's name."""
    node_slice_size: str | None = None
    overlapping_ranges: bool = True
    """whereabouts `enable_overlapping_ranges`."""
    ranges: tuple[AddressRange, ...] = ()
    problems: tuple[str, ...] = field(default=())
    refused: str | None = None
    """Why the IPAM plugin gives no address at all for this configuration, whatever its ranges say; also one of `problems`."""

    @property
    def capacity(self) -> int:
        """Pods that fit: each takes one address of every range, so the smallest counts (whereabouts IPManagementKubernetesUpdate)."""
        return 0 if self.refused else min((one.capacity for one in self.ranges), default=0)

    @property
    def whereabouts(self) -> bool:
        return self.ipam_type == "whereabouts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Addresses that a range must be able to give. `upgrade` holds the second generation of pods beside the first."""

    steady: int
    upgrade: int
    guide: int | None = None
    """By the formula of the Harvester guide; None where it was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodUse:
    """What a pool needs to know of one pod, of any network: does it still hold the address that an entry says it holds?"""

    podref: str
    """namespace/name, as whereabouts writes it."""
    live: bool
    """Running, without deletionTimestamp."""
    ended: bool = False
    """Succeeded or Failed: its network-status stays while its address may already be somebody else's."""
    node: str | None = None
    born_monotonic_seconds: float | None = None
    grants: tuple[Grant, ...] = ()
    """Every entry of network-status that is not the default network and names an address."""


class EntryState(StrEnum):
    """What became of the pod that an allocation or reservation names."""

    LIVE = "live"
    ORPHANED = "orphaned"
    """No pod of that name."""
    STALE = "stale"
    """The pod is there and holds another address."""
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEntry:
    """One allocation or reservation. `why` says in words what led to `state`."""

    address: IPAddress
    podref: str | None
    key: str = ""
    """Of an allocation its key in the pool, of a reservation its name."""
    interface: str | None = None
    state: EntryState
    why: str
    expects_pod: bool = False
    """The pod is there or will come back under this name and take this entry (whereabouts 0.8): no loss of room."""
    age_seconds: float = 0.0
    """Since an agent first saw this entry; whereabouts writes no time."""
    suspect_seconds: float | None = None
    """How long it has been orphaned or stale without a break; None for the other states."""

    @property
    def leaked(self) -> bool:
        return self.state in (EntryState.ORPHANED, EntryState.STALE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNad:
    """What one NAD can get from a pool. NADs with one CIDR and different bounds or excludes share a pool."""

    nad: str
    network: Network | None = None
    range: AddressRange
    free: int | None = None
    """What an ADD of a new pod could really get; None where the pool cannot be read."""
    taken: int = 0
    """Allocations on addresses that this range could give. Those outside, from before a change, take no room."""
    leaked: int = 0
    """Of `taken`, those orphaned or stale."""
    held: int = 0
    """Of `taken`, those whose pod is there or will take them again."""
    reservations_blocking: int = 0
    """Addresses that the pool shows free and that a reservation keeps."""
    reservations_leaked: int = 0
    """Of `reservations_blocking`, those whose pod is gone or holds another address."""
    demand: Demand | None = None

    @property
    def capacity(self) -> int:
        return self.range.capacity

    @property
    def short_of(self) -> int:
        """Addresses that the demand of an upgrade lacks; 0 where it fits or is not known."""
        if self.demand is None or self.free is None:
            return 0
        return max(0, self.demand.upgrade - self.free - self.held)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingAllocation:
    """A live pod's granted address that its pool does not list for it."""

    podref: str
    node: str | None
    address: IPAddress
    listed_for: str | None = None
    """The podref that the pool lists instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """One IPPool at one look: everything that /api/v1/pools shows (contract §3)."""

    pool: str
    """namespace/name."""
    range: str | None = None
    """`spec.range`; None where there is no such pool yet."""
    exists: bool = True
    nads: tuple[PoolNad, ...] = ()
    """Those in use that map to it; none for a left-over."""
    entries: tuple[PoolEntry, ...] = ()
    reservations: tuple[PoolEntry, ...] = ()
    """Those on addresses of the pool's CIDR."""
    missing: tuple[MissingAllocation, ...] = ()
    skipped: tuple[str, ...] = ()
    """Entries that whereabouts or we cannot read, a sentence each."""
    unread: int = 0
    """Entries beyond those in `entries`: skipped, or more than are kept in memory."""
    incomplete: bool = False
    """Some entries were not kept: an address that is not in `entries` may be listed all the same."""
    problem: str | None = None
    """Why nothing can be counted here."""
    leftover: bool = False

    def count(self, state: EntryState) -> int:
        counted = sum(entry.state is state for entry in self.entries)
        return counted + self.unread if state is EntryState.UNDECIDED else counted

    @property
    def name(self) -> str:
        return self.pool.rpartition("/")[2]

    @property
    def tightest(self) -> PoolNad | None:
        """The NAD that gets least of those whose range gives anything; None where there is none or nothing can be counted."""
        known = [one for one in self.nads if one.free is not None and one.capacity > 0]
        return min(known, key=lambda one: one.free or 0, default=None)

    @property
    def reservations_blocking(self) -> int:
        return max((one.reservations_blocking for one in self.nads), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeProblem:
    """Something wrong with a range before it is used. `id` is a finding's id where there is one."""

    id: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRange:
    """Answer of `plan-range`. What was not asked is None, never 0."""

    range: str
    capacity: int
    first: IPAddress | None
    last: IPAddress | None
    demand: Demand | None
    fits: bool | None
    smallest_prefix: int | None
    formula: str
    """The guide's formula, in words, with the versions that it holds for."""
    excluded: int = 0
    problems: tuple[RangeProblem, ...] = ()
    usable: bool = True
    """False where Harvester or whereabouts would refuse it whatever the demand."""
