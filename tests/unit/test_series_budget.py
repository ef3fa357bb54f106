"""At most 1,500 series on a node of a 64-node cluster, in the middle of an upgrade, however much is wrong (contract §6)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network

import pytest
from unitworld import facts as kernel
from unitworld import file, mesh_pods

from agent.model.catalogue import CATALOGUE
from agent.model.events import Cause, NetworkKind
from agent.model.finding import ActiveFinding, Scope, Severity, Subject, Verdict
from agent.model.mesh import Histogram, Mesh, PairState, ProbeCounters
from agent.model.peers import Mode, Network, Pair, Role, StoragePod
from agent.model.pool import AddressRange, Demand, PoolNad, PoolState
from agent.model.probe import ProbeKind, Reason
from agent.model.records import SourceState, SourceStatus
from agent.model.view import CheckRun, InspectedPod, NodeView
from agent.rules.count import BOUNDS_SECONDS
from agent.rules.make import make
from agent.rules.select import pairs_of
from agent.serve.metrics import make_registry

BUDGET = 1500
NODES = 64
HERE = "harv1"
SOURCES = (
    *("pods", "agent_pods", "node", "setting", "longhorn_settings", "nads", "cluster_network", "lease"),
    *("nodes", "ippools", "reservations", "events", "instance_managers", "longhorn_nodes", "crds", "monitoring", "replicas", "engines"),
)
CHECKS = ("interfaces", "namespaces", "reachability", "itself", "pools", "sandboxes", "setting", "mesh", "hostpath")
PAIR_FINDINGS = tuple(name for name, kind in CATALOGUE.items() if kind.scope is Scope.PAIR)


@pytest.fixture(scope="module")
def pods() -> list[StoragePod]:
    """Two generations of instance-managers on every node, and a backing-image-manager for each of two images."""
    return mesh_pods(NODES, managers=2, images=2)


@pytest.fixture(scope="module")
def pairs(pods: list[StoragePod]) -> tuple[Pair, ...]:
    return pairs_of(pods, node=HERE)


def asked(pair: Pair) -> PairState:
    """Every kind of probe has answered: no family is left out."""
    return PairState(pair=pair, tcp=Reason.OK, http=Reason.OK, large=Reason.OK, rtt_seconds=0.0002, path_mtu_bytes=1500)


def counters() -> ProbeCounters:
    """After months: every kind of probe has ended in every way."""
    histogram = Histogram(bounds_seconds=BOUNDS_SECONDS, counts=(1,) * (len(BOUNDS_SECONDS) + 1))
    return ProbeCounters(
        by_reason={(kind, reason): 1 for kind in ProbeKind for reason in Reason}, durations=dict.fromkeys(ProbeKind, histogram)
    )


def finding(name: str, subject: Subject, *, severity: Severity | None = None, explained_by: str | None = None) -> ActiveFinding:
    made = make(name, subject=subject, summary="", seen="", expected="", next_step="", clears_when="", severity=severity)
    found = replace(made, explained_by=explained_by)
    return ActiveFinding(
        finding=found, since_monotonic_seconds=0, last_seen_monotonic_seconds=0, since_wall_seconds=0, last_seen_wall_seconds=0
    )


def of_pair(name: str, pair: Pair, *, explained_by: str | None = None) -> ActiveFinding:
    subject = Subject(node=pair.source.node, pod=pair.source.key, peer_node=pair.peer.node, peer_pod=pair.peer.key)
    return finding(name, subject, explained_by=explained_by)


def of_nodes(names: Iterable[str], *, nodes: int = NODES) -> tuple[ActiveFinding, ...]:
    return tuple(finding(name, Subject(node=f"harv{number}")) for name in names for number in range(1, nodes + 1))


def pools(count: int = 2) -> tuple[PoolState, ...]:
    one = PoolNad(
        nad="harvester-system/storagenetwork-95bj4",
        network=Network.STORAGE,
        range=a_range(),
        free=3,
        demand=Demand(steady=200, upgrade=330),
    )
    return tuple(PoolState(pool=f"kube-system/192.168.{number}.0-24", nads=(one,)) for number in range(count))


def a_range() -> AddressRange:
    network = ip_network("192.168.0.0/24")
    return AddressRange(text=str(network), network=network, first=network[1], last=network[254])


def view(pods: list[StoragePod], pairs: tuple[Pair, ...], **fields: object) -> NodeView:
    """A node on which everything is measured that can be measured, and the setting is being watched."""
    own = [pod for pod in pods if pod.node == HERE]
    everything: dict[str, object] = {
        "node": HERE,
        "version": "0.1.0",
        "started_monotonic_seconds": 0.0,
        "mode": Mode.ON,
        "configured": True,
        "verdict": Verdict.CRITICAL,
        "sources": tuple(SourceStatus(name=name, state=SourceState.LIVE) for name in SOURCES),
        "checks": tuple(CheckRun(name=name, success=True, duration_seconds=0.01, finished_monotonic_seconds=1.0) for name in CHECKS),
        "inspected": tuple(InspectedPod(pod=pod, namespace=file(), facts=kernel(), address_ok=True, route_ok=True) for pod in own),
        "mesh": Mesh(pairs=tuple(asked(pair) for pair in pairs), counters=counters()),
    }
    return NodeView(**(everything | fields))  # type: ignore[arg-type]


def series(one: NodeView) -> Counter[str]:
    """What one scrape gives, by family."""
    return Counter({family.name: len(family.samples) for family in make_registry(lambda: one).collect()})


def peer_series(one: NodeView) -> set[tuple[str, ...]]:
    """Those about other nodes; a node's only instance-manager does not ask itself."""
    samples = [sample for family in make_registry(lambda: one).collect() for sample in family.samples]
    about = [sample for sample in samples if sample.labels.get("peer_node", HERE) != HERE]
    return {(sample.name, *sample.labels.values()) for sample in about}


def test_a_healthy_node_in_an_upgrade_leaves_a_third_of_the_budget(pods: list[StoragePod], pairs: tuple[Pair, ...]) -> None:
    """The formula of the README: 5 series a peer node and role, 8 a local pod, and what does not grow."""
    found = series(view(pods, pairs))
    roles = len({pod.role for pod in pods} & {Role.INSTANCE_MANAGER, Role.BACKING_IMAGE_MANAGER})
    mesh = found["lhnet_probe_success"] + found["lhnet_probe_rtt_seconds"] + found["lhnet_path_mtu_bytes"]
    assert mesh == 5 * roles * NODES
    own = sum(number for name, number in found.items() if name.startswith("lhnet_interface_"))
    assert own == 8 * 4
    assert found.total() - mesh - own < 200
    assert found.total() <= BUDGET * 2 / 3


def test_a_second_generation_of_pods_adds_no_peer_series(pods: list[StoragePod], pairs: tuple[Pair, ...]) -> None:
    """Peers are told by node and role: an upgrade doubles the pods and not the series."""
    before = [pod for pod in pods if pod.key.endswith(("-0", "-2"))]
    assert peer_series(view(before, pairs_of(before, node=HERE))) == peer_series(view(pods, pairs))


def test_a_node_that_reaches_nobody_stays_within_the_budget(pods: list[StoragePod], pairs: tuple[Pair, ...]) -> None:
    """Hundreds of findings, each of a pair of its own."""
    cut_off = tuple(of_pair("peer-unreachable", pair) for pair in pairs)
    found = series(view(pods, pairs, findings=cut_off))
    assert found["lhnet_finding_info"] <= 200
    assert found["lhnet_series_dropped"] >= 1
    assert found.total() <= BUDGET


def test_every_pair_with_every_trouble_stays_within_the_budget(pods: list[StoragePod], pairs: tuple[Pair, ...]) -> None:
    """More than a cluster can have at once: some explained and some not, which makes two series of one."""
    findings = tuple(
        of_pair(name, pair, explained_by="node-cut-off:harv2" if number % 2 else None)
        for name in PAIR_FINDINGS
        for number, pair in enumerate(pairs)
    )
    assert series(view(pods, pairs, findings=findings)).total() <= BUDGET


def test_the_holder_of_a_cluster_in_trouble_stays_within_the_budget(pods: list[StoragePod], pairs: tuple[Pair, ...]) -> None:
    """The worst place to be scraped: its own pairs fail, every node has findings of its own, and pods cannot start for many causes."""
    causes = {(cause, kind): 3 for cause in list(Cause)[:12] for kind in (NetworkKind.STORAGE, NetworkKind.UNKNOWN)}
    found = series(
        view(
            pods,
            pairs,
            lease="holder",
            holder=HERE,
            findings=tuple(of_pair("peer-unreachable", pair) for pair in pairs),
            cluster_findings=of_nodes(("node-down", "agent-missing", "coverage-missing", "instance-manager-missing")),
            pools=pools(),
            sandbox_totals=causes,
            sandbox_pods=causes,
        )
    )
    assert found.total() <= BUDGET


def test_what_is_left_out_is_counted_and_the_worst_is_kept(pods: list[StoragePod], pairs: tuple[Pair, ...]) -> None:
    """An operator sees that something is missing, and it is never the critical one."""
    mild = tuple(of_pair("packet-loss", pair) for pair in pairs)
    one = finding("node-cut-off", Subject(node="harv64"))
    registry = make_registry(lambda: view(pods, pairs, findings=mild, cluster_findings=(one,)))
    samples = [sample for family in registry.collect() for sample in family.samples]
    infos = [sample.labels["id"] for sample in samples if sample.name == "lhnet_finding_info"]
    assert "node-cut-off" in infos
    dropped = {sample.labels["family"]: sample.value for sample in samples if sample.name == "lhnet_series_dropped"}
    assert dropped["finding_info"] > 0


def test_a_departed_peer_leaves_no_series_behind(pods: list[StoragePod], pairs: tuple[Pair, ...]) -> None:
    """Otherwise a year of upgrades would fill any budget."""
    view_now = view(pods, pairs)
    registry = make_registry(lambda: view_now)
    assert any(sample.labels.get("peer_node") == "harv64" for family in registry.collect() for sample in family.samples)
    view_now = view(pods, tuple(pair for pair in pairs if pair.peer.node != "harv64"))
    assert not any(sample.labels.get("peer_node") == "harv64" for family in registry.collect() for sample in family.samples)
