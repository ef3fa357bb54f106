"""What a kernel says about one network namespace: links, addresses, routes, rules and neighbours, as plain values.

Names follow iproute2 and rtnetlink(7). Nothing here says whether a value is good.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
IPInterface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """One direction of a link's IFLA_STATS64: totals since the link was made."""

    bytes: int = 0
    packets: int = 0
    errors: int = 0
    drops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One interface. `up` is IFF_UP (what the administrator asked), `carrier` is IFF_LOWER_UP (what the wire says)."""

    index: int
    name: str
    kind: str | None = None
    """IFLA_INFO_KIND (`veth`, `bridge`, `bond`, …); None for a physical device and for `lo`."""
    mac: str | None = None
    """Lower case, colons; None where the device has none."""
    mtu_bytes: int = 0
    up: bool = False
    carrier: bool = False
    operstate: str = "unknown"
    """RFC 2863 state in lower case, as in /sys/class/net/X/operstate."""
    peer_index: int | None = None
    """IFLA_LINK: of a veth, the other end's index in the namespace `peer_netnsid` (or in this one, if that is None)."""
    peer_netnsid: int | None = None
    master_index: int | None = None
    receive: Counters = Counters()
    transmit: Counters = Counters()


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    link_index: int
    interface: IPInterface
    """Address with its prefix length, e.g. 192.168.0.2/24."""
    scope: str = "global"
    """`global`, `site`, `link`, `host` or the number as text."""
    tentative: bool = False
    """IPv6 duplicate address detection still runs, or failed: the address cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    to: IPNetwork
    """The default route is 0.0.0.0/0 or ::/0."""
    via: IPAddress | None = None
    link_index: int | None = None
    """None for blackhole, unreachable and prohibit routes, and for multipath ones (those give one Route a next hop)."""
    source: IPAddress | None = None
    """RTA_PREFSRC."""
    metric: int = 0
    scope: str = "global"
    """`global`, `link`, `host`, …"""
    table: int = 254
    """254 is `main`."""
    kind: str = "unicast"
    """RTN_* in lower case: `unicast`, `local`, `broadcast`, `blackhole`, `unreachable`, `prohibit`, `throw`, …"""
    protocol: str = "boot"
    """`kernel`, `boot`, `static`, `ra`, … or the number as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One policy rule (`ip rule`): which table is asked, for which packets. Lower priorities are asked first."""

    family: int
    """4 or 6."""
    priority: int = 0
    action: str = "to_table"
    """`to_table`, `goto`, `nop`, `blackhole`, `unreachable`, `prohibit` or the number as text."""
    table: int | None = None
    """Of `to_table` only. 255 is `local`, 254 `main`, 253 `default`."""
    source: IPNetwork | None = None
    """None: from anywhere."""
    to: IPNetwork | None = None
    """None: to anywhere."""
    input_link: str | None = None
    output_link: str | None = None
    mark: int | None = None
    mark_mask: int | None = None
    inverted: bool = False
    """The rule is for the packets that do *not* match (`not` in iproute2)."""
    more: bool = False
    """There are further conditions (ports, user ids, protocol, suppressed prefixes, …) that are not told here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    link_index: int
    address: IPAddress
    mac: str | None = None
    state: str = "none"
    """NUD_* in lower case: `reachable`, `stale`, `delay`, `probe`, `incomplete`, `failed`, `permanent`, `noarp`, `none`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFile:
    """One file under `netns_dir` that opened as a network namespace.

    `cookie` is SO_NETNS_COOKIE (Linux 5.14), unique for one boot; on older kernels it is None and (`device`, `inode`) has to do,
    which the kernel uses again at once.
    """

    path: str
    cookie: int | None
    device: int
    inode: int

    @property
    def key(self) -> tuple[int, int]:
        """What tells this namespace from others: the cookie where there is one, else device and inode."""
        return (-1, self.cookie) if self.cookie is not None else (self.device, self.inode)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFacts:
    """Everything asked of one namespace, read in one go. Tuples are in the kernel's order."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    rules: tuple[Rule, ...] = ()

    def link(self, name: str) -> Link | None:
        return next((link for link in self.links if link.name == name), None)

    def link_at(self, index: int | None) -> Link | None:
        return next((link for link in self.links if link.index == index), None)

    def addresses_of(self, link: Link) -> tuple[Address, ...]:
        return tuple(address for address in self.addresses if address.link_index == link.index)
