"""Judges pools from objects already read: what each entry stands for and what the next ADD could really get. It never frees an address.

Counts by intervals, as an ADD would search: capacity of the NAD's range, less what its pool lists, less what reservations of others keep.
What cannot be read makes `free` unknown, never zero and never everything. Sources: whereabouts pkg/allocate/allocate.go and
pkg/storage/kubernetes/ipam.go, 0.9.4.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from agent.model.net import IPNetwork
from agent.model.peers import Network
from agent.model.pool import AddressRange, Demand, EntryState, Interval, NadConfig, PodUse, PoolEntry, PoolNad, PoolState
from agent.model.records import PoolRecord, ReservationRecord
from agent.rules import intervals
from agent.rules.ipam_grants import grown, missing_allocations
from agent.rules.ipam_index import RangeIndex, ReservationIndex, Reserved
from agent.rules.ipam_names import Offsets, read_base
from agent.rules.ipam_pods import Pods
from agent.rules.ipam_range import Version
from agent.rules.ipam_seen import SeenClock, Watch

MAX_ENTRIES = 65_536
"""More do not fit in one object: etcd takes 1.5 MiB, and the shortest entry has 27 bytes."""
_MAX_REASONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NadUse:
    """A NAD, and whether the storage or RWX network uses it now; one that is not in use explains left-over pools."""

    nad: NadConfig
    network: Network | None = None
    in_use: bool = True
    demand: Demand | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """What the holder read. `pools` and `reservations` of the whereabouts namespace."""

    pools: Sequence[PoolRecord] = ()
    reservations: Sequence[ReservationRecord] = ()
    nads: Sequence[NadUse] = ()
    pods: Sequence[PodUse] = ()
    pod_namespaces: Collection[str] = ("longhorn-system",)
    """Namespaces of which `pods` is complete."""
    returning: Collection[str] = ()
    nodes_down: Collection[str] = ()
    whereabouts_namespace: str = "kube-system"
    whereabouts: Version | None = None
    """None: 0.8 or newer."""
    pools_known: bool = True
    reservations_known: bool = True
    """False while the source was never read: then nothing is known to be free, or less may be free than it seems."""
    formerly: Collection[str] = ()
    """Names of pools that the storage network used before, as remembered; they are left-overs once nothing uses them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    states: tuple[PoolState, ...]
    """Pools of NADs in use first, then left-overs; other people's pools are left out."""
    clock: SeenClock
    unread_reservations: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Read:
    """One pool's allocations, read."""

    base: IPNetwork
    entries: list[PoolEntry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    unread: int = 0
    dropped: int = 0


REUSE: Version = (0, 8, 0)


def judge_pools(facts: PoolFacts, *, clock: SeenClock, now: float, pod_grace_seconds: float = 30.0) -> Judged:
    """Every pool of a NAD in use, existing or not, and left-overs. `clock` is what the last look returned; `now` is monotonic seconds."""
    pods = Pods(
        by_podref={pod.podref: pod for pod in facts.pods},
        namespaces=facts.pod_namespaces,
        returning=frozenset(facts.returning),
        reuses=facts.whereabouts is None or facts.whereabouts >= REUSE,
        nodes_down=frozenset(facts.nodes_down),
    )
    watch = Watch(clock, now=now)
    reserved = ReservationIndex.of(facts.reservations, network_names={use.nad.pool_network_name for use in facts.nads})
    used, unused = (RangeIndex(use for use in facts.nads if use.in_use is wanted) for wanted in (True, False))
    states: list[PoolState] = []
    for record in facts.pools:
        served = used.of(record)
        if served or _ours(record, facts=facts, unused=unused):
            states.append(_judge(record, served, pods=pods, reserved=reserved, watch=watch))
    states += _not_made_yet(facts, used=used, reserved=reserved, pods=pods, watch=watch)
    holders = grown(facts.pods, nodes_down=pods.nodes_down, now=now, grace_seconds=pod_grace_seconds)
    doubt = () if facts.reservations_known else ("reservations could not be read: less may be free than is shown",)
    found = (
        replace(state, missing=missing_allocations(state, holders), skipped=(*state.skipped, *doubt))
        for state in states
        if state.nads or state.leftover
    )
    shown_states = sorted(found, key=lambda one: (one.leftover, one.pool))
    return Judged(states=tuple(shown_states), clock=watch.clock(), unread_reservations=tuple(reserved.unread))


def _ours(record: PoolRecord, *, facts: PoolFacts, unused: RangeIndex[NadUse]) -> bool:
    """A pool that no NAD in use maps to, and that the storage network once had: by a NAD that is left, by memory, or by its pods."""
    if record.name in facts.formerly or unused.of(record):
        return True
    podrefs = [allocation.podref for allocation in record.allocations[:MAX_ENTRIES]]
    return bool(podrefs) and all((podref or "").partition("/")[0] in facts.pod_namespaces for podref in podrefs)


def _not_made_yet(facts: PoolFacts, *, used: RangeIndex[NadUse], reserved: ReservationIndex, pods: Pods, watch: Watch) -> list[PoolState]:
    """NADs in use whose pool whereabouts has not made (or nobody let us see): capacity and reservations count all the same."""
    known = {record.name for record in facts.pools}
    states = []
    for name, served in used.by_name.items():
        if name in known:
            continue
        base = str(served[0][1].network) if facts.pools_known else None
        record = PoolRecord(namespace=facts.whereabouts_namespace, name=name, range=base)
        state = _judge(record, served, pods=pods, reserved=reserved, watch=watch)
        unknown = None if facts.pools_known else "the pools could not be read"
        states.append(replace(state, exists=False, range=None, problem=state.problem and unknown))
    return states


def _judge(
    record: PoolRecord, used: Sequence[tuple[NadUse, AddressRange]], *, pods: Pods, reserved: ReservationIndex, watch: Watch
) -> PoolState:
    pool = f"{record.namespace}/{record.name}"
    try:
        base = read_base(record.range)
    except ValueError as error:
        watch.keep(f"{pool}|")
        watch.keep(f"{pool}!")
        nads = tuple(PoolNad(nad=use.nad.name, network=use.network, range=one, demand=use.demand) for use, one in used)
        return PoolState(pool=pool, range=record.range, nads=nads, unread=len(record.allocations), problem=str(error))
    read = _read(record, base=base, pool=pool, pods=pods, watch=watch)
    names = {use.nad.pool_network_name for use, _ in used} or {None}
    reservations = tuple(_reservation(one, pool=pool, pods=pods, watch=watch) for one in reserved.within(base, network_names=names))
    nads = tuple(_nad(use, one, read=read, reservations=reservations) for use, one in used)
    gone = all(entry.leaked for entry in read.entries) and read.unread == 0
    return PoolState(
        pool=pool,
        range=record.range,
        nads=nads,
        entries=tuple(sorted(read.entries, key=lambda entry: int(entry.address))),
        reservations=reservations,
        skipped=tuple(read.skipped),
        unread=read.unread,
        incomplete=read.dropped > 0,
        leftover=not used and gone,
    )


def _read(record: PoolRecord, *, base: IPNetwork, pool: str, pods: Pods, watch: Watch) -> _Read:
    dropped = record.allocations_dropped + max(0, len(record.allocations) - MAX_ENTRIES)
    read = _Read(base=base, unread=dropped, dropped=dropped)
    if dropped:
        read.skipped.append(f"{dropped} entries are more than are kept in memory")
    offsets = Offsets(base)
    for allocation in record.allocations[:MAX_ENTRIES]:
        try:
            address = offsets.address_of(allocation.key)
        except ValueError as error:
            read.unread += 1
            if len(read.skipped) < _MAX_REASONS:
                read.skipped.append(f"{error}: not counted")
            continue
        fate = pods.fate(allocation.podref, address=address, interface=allocation.interface)
        suspect = fate.state in (EntryState.ORPHANED, EntryState.STALE)
        key = f"{pool}|{allocation.key}|{allocation.container_id}|{allocation.podref}"
        age, suspect_age = watch.meet(key, suspect=suspect)
        read.entries.append(
            PoolEntry(
                address=address,
                key=allocation.key,
                podref=allocation.podref,
                interface=allocation.interface,
                state=fate.state,
                why=fate.why,
                expects_pod=fate.expects_pod,
                age_seconds=age,
                suspect_seconds=suspect_age,
            )
        )
    return read


def _nad(use: NadUse, one: AddressRange, *, read: _Read, reservations: Sequence[PoolEntry]) -> PoolNad:
    usable = usable_of(one)
    inside = [(number, entry) for entry in read.entries if intervals.holds(usable, number := int(entry.address))]
    taken = intervals.points(number for number, _ in inside)
    kept = [(int(entry.address), entry) for entry in reservations] if use.nad.overlapping_ranges else []
    blocking = [(number, entry) for number, entry in kept if intervals.holds(usable, number) and not intervals.holds(taken, number)]
    blocked = intervals.points(number for number, _ in blocking)
    capacity, full = intervals.size(usable), intervals.size(taken)
    return PoolNad(
        nad=use.nad.name,
        network=use.network,
        range=one,
        free=max(0, capacity - full - intervals.size(blocked) - read.dropped),
        taken=full,
        leaked=len({number for number, entry in inside if entry.leaked}),
        held=len({number for number, entry in inside if entry.expects_pod}),
        reservations_blocking=intervals.size(blocked),
        reservations_leaked=len({number for number, entry in blocking if entry.leaked}),
        demand=use.demand,
    )


def usable_of(one: AddressRange) -> tuple[Interval, ...]:
    """What an ADD may give from an empty pool."""
    if one.first is None or one.last is None or one.problem or one.slice_prefix is not None:
        return ()
    return intervals.subtract((Interval(first=int(one.first), last=int(one.last)),), one.excluded)


def _reservation(one: Reserved, *, pool: str, pods: Pods, watch: Watch) -> PoolEntry:
    fate = pods.fate(one.record.podref, address=one.address, interface=one.record.interface)
    suspect = fate.state in (EntryState.ORPHANED, EntryState.STALE)
    age, suspect_age = watch.meet(f"{pool}!{one.record.name}|{one.record.podref}", suspect=suspect)
    return PoolEntry(
        address=one.address,
        key=one.record.name,
        podref=one.record.podref,
        interface=one.record.interface,
        state=fate.state,
        why=fate.why,
        expects_pod=fate.expects_pod,
        age_seconds=age,
        suspect_seconds=suspect_age,
    )
