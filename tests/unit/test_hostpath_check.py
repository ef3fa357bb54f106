"""When the check looks, what it believes, and what it leaves as it was: pods that go away meanwhile, sources that are stale or unread."""

from dataclasses import replace

import pytest
from hostpath_cases import CONFIG, NADS, POD, VETH, host, inspected, vlan_config
from unitworld import LHNET1, NAD, facts, pod

from agent.checks import hostpath
from agent.checks.base import Context, Outcome
from agent.checks.hostpath import HostPathCheck
from agent.config import Settings
from agent.edge.host import HostNetwork
from agent.edge.netns import NamespaceGone
from agent.model.cluster import ClusterFacts, Known
from agent.model.holder import HolderFacts
from agent.model.net import NamespaceFacts
from agent.model.peers import Mode
from agent.model.records import ClusterNetworkRecord, SourceState, SourceStatus
from agent.model.view import InspectedPod, NodeView
from agent.rules.ledger import advance, standing
from agent.rules.mode import Reading
from agent.rules.nad import parse_nad


class Bench:
    """A node whose kernel and pods say what the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.links = host()
        self.filters: bool | None = False
        self.inspected: tuple[InspectedPod, ...] = (inspected(),)
        self.pods = (POD,)
        self.nads = NADS
        self.vlan_state = self.network_state = SourceState.LIVE
        self.vlan_configs = (vlan_config(),)
        self.networks = (ClusterNetworkRecord(name="storage"),)
        self.again: NamespaceFacts | Exception | None = facts()
        self.asked_names: list[str] = []
        self.read_again: list[str] = []
        self.ledger = {}
        self.now = 0.0
        self.parts = {}
        self.looks = 0
        self.check = HostPathCheck(namespaces=self)  # type: ignore[arg-type]
        monkeypatch.setattr(hostpath, "read_here", self._read_here)
        monkeypatch.setattr(hostpath, "read_host_network", self._read_host)

    async def _read_here(self, *, wants):
        assert wants == {"links"}
        self.looks += 1
        return NamespaceFacts(links=self.links)

    def _read_host(self, names):
        self.asked_names = list(names)
        there = {link.name: link.index for link in self.links}
        return HostNetwork(speeds_mbits={}, nic_indexes={name: there.get(name) for name in names}, bridge_filters=self.filters)

    async def read(self, one, file):
        """As Namespaces.read."""
        self.read_again.append(one.key)
        if isinstance(self.again, Exception):
            raise self.again
        return self.again

    def context(self) -> Context:
        def known(name, items, state):
            return Known(items=items, status=SourceStatus(name=name, state=state))

        return Context(
            settings=Settings(node_name="harv41"),
            facts=ClusterFacts(
                pods=known("pods", tuple(one.record for one in self.pods), SourceState.LIVE),
                vlan_configs=known("cluster_network", self.vlan_configs, self.vlan_state),
                cluster_networks=known("cluster_network", self.networks, self.network_state),
            ),
            reading=Reading(mode=Mode.ON, storage_nad=NAD, cluster_network="storage"),
            pods=self.pods,
            nads=self.nads,
            view=NodeView(node="harv41", version="0", started_monotonic_seconds=0.0, inspected=self.inspected),
            holder=HolderFacts(),
            sources=(),
            now=self.now,
            wall=1e9,
        )

    async def look(self) -> list[str]:
        """Findings that stand after one run of the check."""
        outcomes: list[Outcome] = []
        await self.check.run(self.context, outcomes.append)
        (outcome,) = outcomes
        self.now += 15.0
        self.ledger, _ = advance(self.ledger, outcome.look, producer="hostpath", now=self.now, wall=0.0, disagreement_seconds=10.0)
        self.parts |= outcome.parts
        return [active.finding.id for active in standing(self.ledger)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


async def test_a_finding_starts_at_the_first_look_and_clears_with_its_cause(bench):
    assert await bench.look() == []
    assert bench.parts["host_path"].uplink.name == "storage-bo"
    bench.links = host(ens5={"carrier": False}, ens6={"carrier": False})
    assert await bench.look() == ["uplink-down"]
    bench.links = host()
    assert await bench.look() == []
    assert bench.asked_names == ["ens5", "ens6"]


async def test_a_node_without_storage_pods_has_no_path_and_its_kernel_is_not_asked(bench):
    """A witness, or a node whose only storage pod ended: its bridge may be gone."""
    bench.links = host("storage-br")
    assert await bench.look() == ["bridge-missing"]
    looks = bench.looks
    bench.pods = (pod(node="harv42"), pod(phase="Failed"), pod(deleted=True))
    assert await bench.look() == []
    assert bench.parts["host_path"] is None
    assert bench.looks == looks


async def test_another_plugin_than_bridge_has_no_bridge_to_miss(bench):
    bench.links = host("storage-br")
    bench.nads = {NAD: parse_nad(NAD, '{"type":"macvlan","master":"ens5"}')}
    assert await bench.look() == []


async def test_while_the_nad_cannot_be_read_everything_stays_as_it_was(bench):
    bench.links = host("storage-br")
    await bench.look()
    bench.nads = {}
    assert await bench.look() == ["bridge-missing"]
    assert bench.parts["host_path"] is not None


async def test_a_pod_that_goes_away_while_we_look_is_not_detached(bench):
    """Its veth vanished with it; the inspection before still has it."""
    bench.links = host(VETH)
    for answer in (NamespaceGone("/var/run/netns/cni-1", "gone"), None, facts(lhnet1=None)):
        bench.again = answer
        assert await bench.look() == []
    assert bench.read_again == [POD.key] * 3


async def test_a_pod_that_still_has_its_end_lost_the_other_one(bench):
    bench.links = host(VETH)
    assert await bench.look() == ["veth-detached"]
    bench.again = facts(lhnet1=replace(LHNET1, index=9, peer_index=2290))
    assert await bench.look() == ["veth-detached"]  # made anew meanwhile: not judged until it is inspected again
    bench.links = host()
    assert await bench.look() == []


async def test_a_healthy_node_reads_no_pod_twice(bench):
    await bench.look()
    assert bench.read_again == []


async def test_a_pod_whose_namespace_cannot_be_read_keeps_its_finding(bench):
    bench.links = host(**{VETH: {"master_index": None}})
    assert await bench.look() == ["veth-detached"]
    bench.inspected = (InspectedPod(pod=POD, why_not="no namespace is opened"),)
    bench.links = host()
    assert await bench.look() == ["veth-detached"]
    bench.inspected = (inspected(),)
    assert await bench.look() == []


async def test_a_pod_replaced_under_its_name_is_not_judged_by_the_old_ones_inspection(bench):
    bench.links = host(VETH)
    bench.pods = (pod(uid="uid-new"),)
    assert await bench.look() == []


@pytest.mark.parametrize("state", [SourceState.STALE, SourceState.NEVER, SourceState.FORBIDDEN])
async def test_what_a_vlanconfig_or_cluster_network_must_say_starts_on_live_sources_only(bench, state):
    bench.vlan_state = bench.network_state = state
    if state is not SourceState.STALE:
        bench.vlan_configs = bench.networks = ()
    bench.links, bench.filters = host("ens6"), True
    assert await bench.look() == []


@pytest.mark.parametrize("state", [SourceState.STALE, SourceState.NEVER, SourceState.FORBIDDEN])
async def test_it_goes_on_while_they_are_out_of_reach(bench, state):
    bench.links, bench.filters = host("ens6"), True
    assert sorted(await bench.look()) == ["bridge-netfilter", "nic-missing"]
    bench.vlan_state = bench.network_state = state
    if state is not SourceState.STALE:
        bench.vlan_configs = bench.networks = ()
    assert sorted(await bench.look()) == ["bridge-netfilter", "nic-missing"]


async def test_a_cluster_without_harvesters_objects_may_filter_its_bridges(bench):
    bench.vlan_configs, bench.networks, bench.filters = (), (), True
    bench.vlan_state = bench.network_state = SourceState.ABSENT
    assert await bench.look() == []


async def test_pods_of_two_networks_are_judged_each_by_its_own_bridge(bench):
    other = "harvester-system/rwx-network-x"
    bench.nads = NADS | {other: parse_nad(other, CONFIG.replace("storage-br", "rwx-br"))}
    sharing = pod("share-manager-a", component="share-manager", pod_ip="10.52.0.140")
    sharing = replace(sharing, grant=replace(sharing.grant, nad=other))
    bench.pods = (sharing, POD)
    bench.inspected = (inspected(), inspected(sharing, lhnet1=replace(LHNET1, index=4, peer_index=2279)))
    assert await bench.look() == ["bridge-missing"]
    (told,) = (active.finding for active in standing(bench.ledger))
    assert "rwx-br does not exist" in told.summary
    assert bench.parts["host_path"].bridge_name == "storage-br"


async def test_the_metrics_elements_are_those_of_the_look_itself(bench):
    """While the setting is being applied findings are held back; the raw metric must not call a dead uplink sound for that."""
    bench.links = host(ens5={"carrier": False}, ens6={"carrier": False})
    await bench.look()
    assert dict(bench.parts["host_path"].elements) == {"bridge": True, "uplink": False, "nic": True, "veth": True, "mtu": True}
