"""Judges a range before it is used: what whereabouts would give from it, what the cluster needs, and what Harvester or a router would mind.

Offline and pure: it knows only documented defaults, so it cannot see that the range is somebody's real network. Harvester's checks are
those of its webhook (pkg/webhook/resources/setting/validator.go, 1.8); older versions accept more and fail later.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, ip_network

from agent.model.net import IPNetwork
from agent.model.pool import AddressRange, Demand, PlanRange, RangeProblem
from agent.rules import intervals
from agent.rules.demand import NEWEST, Cluster, Rwx, formula, planned, unsupported, whereabouts_of
from agent.rules.ipam_range import BARE_EXCLUDES, Cidr, Version, address_range, interval_of, parse_cidr, shown, whereabouts_range

DEFAULT_NETWORKS: tuple[tuple[str, IPv4Network], ...] = (
    ("RKE2's default pod network", IPv4Network("10.42.0.0/16")),
    ("RKE2's default service network", IPv4Network("10.43.0.0/16")),
    ("Harvester's default pod network", IPv4Network("10.52.0.0/16")),
    ("Harvester's default service network", IPv4Network("10.53.0.0/16")),
)
_NOT_FOR_HOSTS: tuple[tuple[str, IPv4Network], ...] = (
    ('addresses of "this" network', IPv4Network("0.0.0.0/8")),
    ("loopback addresses", IPv4Network("127.0.0.0/8")),
    ("link-local addresses, where the pods' default gateway 169.254.1.1 is", IPv4Network("169.254.0.0/16")),
    ("multicast addresses", IPv4Network("224.0.0.0/4")),
    ("reserved addresses", IPv4Network("240.0.0.0/4")),
)
SHORTEST_PREFIX = 16
"""Harvester's webhook takes no wider range."""
UNUSABLE = frozenset({"range-invalid", "range-unusable", "ipv6-unsupported", "too-small"})
"""Problems with which no storage network comes about; with the others it does, and somebody will regret it or Harvester asks again."""


def plan_range(
    range_text: str,
    *,
    excludes: Sequence[str] = (),
    nodes: int | None = None,
    disks: int | None = None,
    images: int = 0,
    rwx: Rwx = Rwx.OFF,
    v2: bool = False,
    harvester: Version = NEWEST,
) -> PlanRange:
    """The whole answer. Without `nodes` the demand is unknown, not zero; without `disks` it is `assumed_disks`. Never raises."""
    cluster = None
    if nodes is not None:
        cluster = Cluster(
            nodes=nodes,
            disks=assumed_disks(nodes, harvester=harvester) if disks is None else disks,
            images=images,
            rwx=rwx,
            v2=v2,
            harvester=harvester,
        )
    words = formula(harvester, rwx)
    demand = planned(cluster) if cluster else None
    whereabouts = whereabouts_of(harvester)
    try:
        one, notes = whereabouts_range(range_text, excludes=excludes, whereabouts=whereabouts)
    except ValueError as error:
        problem = RangeProblem(id="range-invalid", summary=f"whereabouts cannot read the range: {error}")
        return PlanRange(
            range=range_text,
            capacity=0,
            first=None,
            last=None,
            demand=demand,
            fits=False,
            smallest_prefix=None,
            formula=words,
            problems=(problem,),
            usable=False,
        )
    need = None if demand is None else max(demand.upgrade, demand.guide or 0)
    smallest = None if need is None else smallest_prefix(one.network, excludes=excludes, need=need, whereabouts=whereabouts)
    problems = (
        *_range_problems(range_text, one),
        *_exclude_problems(one, whereabouts=whereabouts),
        *(RangeProblem(id="exclude-doubtful", summary=note) for note in notes),
        *_demand_problems(one, cluster=cluster, demand=demand, need=need, smallest=smallest),
    )
    usable = not any(problem.id in UNUSABLE for problem in problems)
    enough = None if need is None else one.capacity >= need
    return PlanRange(
        range=range_text,
        capacity=one.capacity,
        first=one.first,
        last=one.last,
        demand=demand,
        fits=enough if usable else False,
        smallest_prefix=smallest,
        formula=words,
        excluded=intervals.size(one.excluded),
        problems=problems,
        usable=usable,
    )


def assumed_disks(nodes: int, *, harvester: Version) -> int:
    """Every node has the disk it was installed on; the formula of 1.1 counts none."""
    return nodes if harvester >= (1, 2, 0) else 0


def smallest_prefix(network: IPNetwork, *, excludes: Sequence[str], need: int, whereabouts: Version | None = None) -> int | None:
    """The longest prefix at this place that still gives `need` addresses beside the excludes; None if not even the widest does."""
    widest = SHORTEST_PREFIX if network.version == 4 else 1
    for prefix in range(network.max_prefixlen - 2, widest - 1, -1):
        tried = ip_network((network.network_address, prefix), strict=False)
        if address_range(text=str(tried), network=tried, excludes=excludes, whereabouts=whereabouts)[0].capacity >= need:
            return prefix
    return None


def overlapping(network: IPNetwork, others: Sequence[tuple[str, IPv4Network]]) -> Iterator[tuple[str, IPv4Network]]:
    return ((name, other) for name, other in others if network.version == 4 and other.overlaps(network))


def _range_problems(text: str, one: AddressRange) -> Iterator[RangeProblem]:
    network = one.network
    if one.capacity <= 0:
        why = one.problem or f"the excludes leave nothing of {one.first} – {one.last}"
        yield RangeProblem(id="range-unusable", summary=f"no address can be given: {why}")
    if network.version == 6:
        yield RangeProblem(id="ipv6-unsupported", summary="Harvester takes IPv4 ranges only")
    if "-" in text:
        yield RangeProblem(id="range-not-cidr", summary=f"Harvester takes a CIDR only: {network} with excludes instead of {shown(text)}")
    elif parse_cidr(text, sloppy=True).address != network.network_address:
        yield RangeProblem(id="range-host-bits", summary=f"{shown(text)} has host bits: Harvester wants {network}")
    if network.version == 4 and network.prefixlen < SHORTEST_PREFIX:
        yield RangeProblem(id="prefix-too-short", summary=f"Harvester takes no range wider than /{SHORTEST_PREFIX}")
    for name, other in overlapping(network, DEFAULT_NETWORKS):
        yield RangeProblem(id="range-overlap", summary=f"{network} overlaps {other}, {name}")
    for name, other in overlapping(network, _NOT_FOR_HOSTS):
        yield RangeProblem(id="range-reserved", summary=f"{network} overlaps {other}: {name}")


def _exclude_problems(one: AddressRange, *, whereabouts: Version | None) -> Iterator[RangeProblem]:
    previous: Cidr | None = None
    for text in one.excludes:
        try:
            cidr = parse_cidr(text if "/" in text else f"{text}/{32 if '.' in text else 128}")
        except ValueError as error:
            yield RangeProblem(id="exclude-invalid", summary=f"exclude {error}")
            continue
        network = cidr.network
        if "/" not in text:
            ignored = "" if whereabouts is None or whereabouts >= BARE_EXCLUDES else "; its whereabouts ignores it or fails at it"
            yield RangeProblem(
                id="exclude-not-cidr", summary=f"Harvester takes an exclude as CIDR only: {network} for {shown(text)}{ignored}"
            )
        if network.version != one.network.version or not network.overlaps(one.network):
            yield RangeProblem(id="exclude-outside", summary=f"exclude {shown(text)} lies outside {one.network}: Harvester refuses it")
            continue
        if network.prefixlen <= one.network.prefixlen:
            yield RangeProblem(id="exclude-covers-range", summary=f"exclude {shown(text)} covers {one.network} whole: Harvester refuses it")
        if previous is not None and _meet(previous.network, network):
            yield RangeProblem(id="exclude-overlap", summary=f"excludes {previous.network} and {network} overlap: Harvester refuses that")
        previous = cidr
    for wide in one.widened:
        count = intervals.size(intervals.clip((interval_of(wide.network),), first=int(one.first or 0), last=int(one.last or 0)))
        yield RangeProblem(
            id="exclude-widened",
            summary=f"exclude {shown(wide.text)} has host bits: whereabouts leaves out all of {wide.network}, {count} addresses",
        )


def _meet(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _demand_problems(
    one: AddressRange, *, cluster: Cluster | None, demand: Demand | None, need: int | None, smallest: int | None
) -> Iterator[RangeProblem]:
    if cluster is None or demand is None or need is None:
        return
    if why := unsupported(cluster):
        yield RangeProblem(id="version-unsupported", summary=why)
    if 0 < one.capacity < need:  # a range without any address has said so already
        enough = f"/{smallest} would do" if smallest is not None else f"not even /{SHORTEST_PREFIX} would do"
        yield RangeProblem(id="too-small", summary=f"{need} addresses are needed and {one.capacity} can be given: {enough}")
