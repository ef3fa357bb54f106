"""CNI configuration and address ranges as whereabouts counts them, in integer intervals; pools, demand and problems with a range."""

from dataclasses import dataclass, field

from agent.model.net import IPAddress, IPNetwork


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
    problem: str | None = None
    """Why whereabouts would give no address at all from it."""

    @property
    def capacity(self) -> int:
        if self.first is None or self.last is None or self.problem:
            return 0
        return int(self.last) - int(self.first) + 1 - sum(interval.size for interval in self.excluded)

    def holds(self, address: IPAddress) -> bool:
        """Whereabouts could give this address out."""
        if self.first is None or self.last is None or self.problem or address.version != self.network.version:
            return False
        number = int(address)
        return int(self.first) <= number <= int(self.last) and not any(gap.first <= number <= gap.last for gap in self.excluded)


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

    @property
    def whereabouts(self) -> bool:
        return self.ipam_type == "whereabouts"
