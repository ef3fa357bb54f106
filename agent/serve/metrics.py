"""Prometheus metrics, made at each scrape from the NodeView: nothing is kept, so what has departed is gone at the next scrape."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.model.finding import ActiveFinding, Verdict
from agent.model.mesh import Histogram, PairState
from agent.model.peers import Mode
from agent.model.pool import EntryState, PoolState
from agent.model.probe import ProbeKind, Reason
from agent.model.records import SourceState
from agent.model.view import InspectedPod, NodeView
from agent.rules.verdict import worst_first
from agent.serve import names

LEASES = ("holder", "other", "unconfirmed", "none")
MAX_FINDING_INFO = 200
MAX_FINDING_ACTIVE = 150
"""Series by node; what is beyond, mildest first, is added up under an empty node, so that the sum stays true."""
MAX_PEER_SERIES = 900
"""Of one node, all peer families together: 64 nodes × 2 roles × 5 series are 640. More is dropped in whole families and counted."""

Sample = tuple[tuple[str, ...], float]


def make_registry(get_view: Callable[[], NodeView]) -> CollectorRegistry:
    """A registry of its own (no process-wide state), with the node's collector."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(get_view))
    return registry


class _NodeCollector(Collector):
    def __init__(self, get_view: Callable[[], NodeView]) -> None:
        self._get_view = get_view

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        view = self._get_view()
        yield _family(names.BUILD_INFO, [((view.version,), 1)])
        yield _states(names.MODE, [mode.value for mode in Mode], view.mode.value)
        yield _states(names.VERDICT, [verdict.value for verdict in Verdict], view.verdict.value)
        yield _states(names.LEASE, LEASES, view.lease)
        yield from _findings(view)
        yield from _interfaces(view.inspected)
        elements = view.host_path.elements if view.host_path is not None else ()
        yield _family(names.HOST_PATH_OK, [((name,), float(sound)) for name, sound in elements])
        yield from _probes(view)
        yield _family(names.NODE_VERDICT, [(one, 1.0) for one in view.node_verdicts])
        yield from _pools(view.pools)
        yield from _sandboxes(view)
        yield _family(names.CHECK_SUCCESS, [((run.name,), float(run.success)) for run in view.checks])
        yield _family(names.CHECK_DURATION, [((run.name,), run.duration_seconds) for run in view.checks])
        yield _family(names.SOURCE_AGE, [((source.name,), source.age_seconds) for source in view.sources if _has_age(source.state)])
        if view.configured is not None:
            yield _family(names.SETTING_CONFIGURED, [((), float(view.configured))])
        yield _family(names.SETTING_IN_PROGRESS, [((), view.applying_seconds)])


def _pools(pools: tuple[PoolState, ...]) -> Iterator[Metric]:
    """On the holder only; a pool that cannot be counted has no number rather than a wrong one."""
    used = [(state.pool, nad) for state in pools for nad in state.nads]
    yield _family(names.POOL_CAPACITY, [((pool, nad.nad), float(nad.capacity)) for pool, nad in used])
    yield _family(names.POOL_FREE, [((pool, nad.nad), float(nad.free)) for pool, nad in used if nad.free is not None])
    needs = [
        ((pool, nad.nad, when), float(number))
        for pool, nad in used
        if nad.demand is not None
        for when, number in (("steady", nad.demand.steady), ("upgrade", nad.demand.upgrade))
    ]
    yield _family(names.POOL_REQUIRED, needs)
    counted = [((state.pool, kind.value), float(state.count(kind))) for state in pools if not state.problem for kind in EntryState]
    yield _family(names.POOL_ALLOCATED, counted)


def _sandboxes(view: NodeView) -> Iterator[Metric]:
    yield _family(names.SANDBOX_FAILURES, [((str(cause), str(kind)), float(n)) for (cause, kind), n in view.sandbox_totals.items()])
    yield _family(names.SANDBOX_FAILING, [((str(cause), str(kind)), float(n)) for (cause, kind), n in view.sandbox_pods.items()])


def _has_age(state: SourceState) -> bool:
    return state not in (SourceState.ABSENT, SourceState.FORBIDDEN)


def _family(metric: names.Metric, samples: Iterable[Sample]) -> Metric:
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _states(metric: names.Metric, states: Iterable[str], current: str) -> Metric:
    return _family(metric, [((state,), float(state == current)) for state in states])


def _findings(view: NodeView) -> Iterator[Metric]:
    counted: Counter[tuple[str, ...]] = Counter()
    ignored: Counter[tuple[str, ...]] = Counter()
    told: list[ActiveFinding] = []
    for active in worst_first((*view.findings, *view.cluster_findings)):
        one = active.finding
        if one.ignored is not None:
            ignored[(one.id,)] += 1
            continue
        explained = "true" if one.explained_by else "false"
        counted[(one.id, one.severity.value, _culprit_node(active), explained, one.network_kind or "")] += 1
        told.append(active)
    kept = dict(counted)
    for labels in list(counted)[MAX_FINDING_ACTIVE:]:
        name, severity, _, explained, kind = labels
        kept[(name, severity, "", explained, kind)] = kept.get((name, severity, "", explained, kind), 0) + kept.pop(labels)
    yield _family(names.FINDING_ACTIVE, [(labels, float(number)) for labels, number in kept.items()])
    yield _family(names.FINDINGS_IGNORED, [(labels, float(number)) for labels, number in ignored.items()])
    infos = dict.fromkeys(_info(active) for active in told[:MAX_FINDING_INFO])
    yield _family(names.FINDING_INFO, [(labels, 1.0) for labels in infos])
    dropped = {"finding_active": len(counted) - len(kept), "finding_info": len(told) - MAX_FINDING_INFO, **_fitting(view)[1]}
    yield _family(names.SERIES_DROPPED, [((family,), float(max(0, number))) for family, number in dropped.items()])


def _culprit_node(active: ActiveFinding) -> str:
    """The node to blame, empty where a finding blames no single one."""
    subject = active.finding.subject
    return (subject.peer_node if active.finding.scope == "pair" else subject.node) or ""


def _info(active: ActiveFinding) -> tuple[str, ...]:
    one, subject = active.finding, active.finding.subject
    return (one.id, one.severity.value, subject.node or "", subject.peer_node or "", subject.pod or "", subject.pool or "")


def _interfaces(inspected: tuple[InspectedPod, ...]) -> Iterator[Metric]:
    seen = [(one, one.facts) for one in inspected if one.facts is not None]
    up: list[Sample] = []
    mtu: list[Sample] = []
    address_ok: list[Sample] = []
    route_ok: list[Sample] = []
    counters: dict[names.Metric, list[Sample]] = {
        metric: [] for metric in (names.RECEIVE_ERRORS, names.RECEIVE_DROPS, names.TRANSMIT_ERRORS, names.TRANSMIT_DROPS)
    }
    for one, facts in seen:
        labels = (one.pod.key, one.pod.role.value, one.pod.interface)
        link = facts.link(one.pod.interface)
        up.append((labels, float(link is not None and link.up and link.carrier)))
        if one.address_ok is not None:
            address_ok.append((labels, float(one.address_ok)))
        if one.route_ok is not None:
            route_ok.append((labels, float(one.route_ok)))
        if link is not None:
            mtu.append((labels, float(link.mtu_bytes)))
            counters[names.RECEIVE_ERRORS].append((labels, float(link.receive.errors)))
            counters[names.RECEIVE_DROPS].append((labels, float(link.receive.drops)))
            counters[names.TRANSMIT_ERRORS].append((labels, float(link.transmit.errors)))
            counters[names.TRANSMIT_DROPS].append((labels, float(link.transmit.drops)))
    yield _family(names.INTERFACE_UP, up)
    yield _family(names.INTERFACE_MTU, mtu)
    yield _family(names.INTERFACE_ADDRESS_OK, address_ok)
    yield _family(names.INTERFACE_ROUTE_OK, route_ok)
    for metric, samples in counters.items():
        yield _family(metric, samples)


def _probes(view: NodeView) -> Iterator[Metric]:
    families, _ = _fitting(view)
    success = [sample for kind in ProbeKind for sample in families.get(f"probe_success_{kind.value}", ())]
    yield _family(names.PROBE_SUCCESS, success)
    yield _family(names.PROBE_RTT, families.get("probe_rtt", ()))
    yield _family(names.PATH_MTU, families.get("path_mtu", ()))
    counters = view.mesh.counters
    yield _family(names.PROBES, [((kind.value, reason.value), float(number)) for (kind, reason), number in counters.by_reason.items()])
    yield _histograms(counters.durations.items())


def _fitting(view: NodeView) -> tuple[dict[str, list[Sample]], dict[str, int]]:
    """The peer families that fit the budget, and how many series of which were dropped: whole families in the order of
    `_DROPPED_FIRST`, since half of one would look like departed peers; of the last one, TCP, the working peers."""
    families = _peer_families(view)
    dropped: dict[str, int] = {}
    for family in _DROPPED_FIRST:
        if sum(map(len, families.values())) <= MAX_PEER_SERIES:
            break
        dropped[family] = len(families.pop(family, []))
    tcp = families.get(_TCP, [])
    if len(tcp) > MAX_PEER_SERIES:
        families[_TCP] = sorted(tcp, key=lambda sample: sample[1])[:MAX_PEER_SERIES]
        dropped[_TCP] = len(tcp) - MAX_PEER_SERIES
    return families, dropped


_TCP = f"probe_success_{ProbeKind.TCP.value}"
_DROPPED_FIRST = ("path_mtu", "probe_success_large", "probe_success_http", "probe_rtt")


def _peer_families(view: NodeView) -> dict[str, list[Sample]]:
    success: dict[tuple[str, ...], float] = {}
    rtt: dict[tuple[str, ...], float] = {}
    mtu: dict[tuple[str, ...], float] = {}
    for state in view.mesh.pairs:
        where = (state.pair.peer.node or "", state.pair.peer.role.value)
        for kind, reason in _asked(state):
            key = (kind, *where)
            success[key] = min(success.get(key, 1.0), float(reason is Reason.OK))
        if state.rtt_seconds is not None:
            rtt[where] = max(rtt.get(where, 0.0), state.rtt_seconds)
        if state.path_mtu_bytes is not None:
            mtu[where] = min(mtu.get(where, float("inf")), float(state.path_mtu_bytes))
    families: dict[str, list[Sample]] = {"probe_rtt": list(rtt.items()), "path_mtu": list(mtu.items())}
    for labels, value in success.items():
        families.setdefault(f"probe_success_{labels[0]}", []).append((labels, value))
    return families


def _asked(state: PairState) -> Iterator[tuple[str, Reason]]:
    for kind, reason in ((ProbeKind.TCP, state.tcp), (ProbeKind.HTTP, state.http), (ProbeKind.LARGE, state.large)):
        if reason is not None and reason is not Reason.NOT_PROBED:
            yield kind.value, reason


def _histograms(durations: Iterable[tuple[ProbeKind, Histogram]]) -> Metric:
    family = HistogramMetricFamily(names.PROBE_DURATION.name, names.PROBE_DURATION.help, labels=names.PROBE_DURATION.labels)
    for kind, histogram in durations:
        total, buckets = 0, []
        for bound, number in zip([*map(str, histogram.bounds_seconds), "+Inf"], histogram.counts, strict=True):
            total += number
            buckets.append((bound, float(total)))
        family.add_metric([kind.value], buckets, sum_value=histogram.sum_seconds)
    return family
