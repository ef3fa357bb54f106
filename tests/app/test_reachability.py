"""Rounds of probes against a prober that answers as it is told, in virtual time."""

import asyncio
from dataclasses import replace

import pytest
from unitworld import NAD, facts, file, pod

from agent.checks.base import Context
from agent.checks.reachability import Reachability, patience_seconds
from agent.config import Settings
from agent.model.cluster import ClusterFacts, Known
from agent.model.finding import Severity
from agent.model.holder import HolderFacts
from agent.model.peers import Mode
from agent.model.probe import ProbeKind, ProbeResult, Reason
from agent.model.records import SourceState, SourceStatus
from agent.model.view import InspectedPod, NodeView
from agent.rules.ledger import Look
from agent.rules.mode import Reading

OTHER = pod("instance-manager-b", node="harv42", address="192.168.0.3", pod_ip="10.52.1.121")


class World:
    """Time that only the check's own waiting moves, and a prober without a network."""

    def __init__(self, pods=None, *, namespace=True, pods_status=None, settings=None):
        self.now = 100.0
        self.pods = tuple(pods or (pod(), OTHER))
        self.answers: dict[ProbeKind, Reason] = {}
        self.plans = []
        self.asked_at = []
        self.outcomes = []
        self.failed = None
        self.status = pods_status or SourceStatus(name="pods", state=SourceState.LIVE)
        self.settings = settings or Settings(node_name="harv41")
        mine = next(one for one in self.pods if one.node == "harv41")
        self.inspected = (InspectedPod(pod=mine, namespace=file() if namespace else None, facts=facts() if namespace else None),)
        self.check = Reachability(prober=self, sleep=self.sleep)

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)

    async def probe(self, plans):
        await asyncio.sleep(0)
        self.plans += plans
        self.asked_at += [self.now] * len(plans)
        results = []
        for plan in plans:
            reason = self.answers.get(plan.kind, Reason.OK)
            results.append(ProbeResult(plan=plan, reason=reason, rtt_seconds=0.0002 if reason is Reason.OK else None))
        return results

    def context(self):
        known = Known(items=tuple(one.record for one in self.pods), status=self.status)
        view = NodeView(node="harv41", version="0", started_monotonic_seconds=0.0, inspected=self.inspected)
        return Context(
            settings=self.settings,
            facts=ClusterFacts(pods=known),
            reading=Reading(mode=Mode.ON, nads={}, storage_nad=NAD),
            pods=self.pods,
            nads={},
            view=view,
            holder=HolderFacts(),
            sources=(self.status,),
            now=self.now,
            wall=1e9 + self.now,
        )

    async def round(self):
        await self.check.run(self.context, self.outcomes.append)
        for _ in range(200):
            if not self.check._asking:
                return
            await asyncio.sleep(0)

    @property
    def claims(self):
        look = self.outcomes[-1].look
        assert isinstance(look, Look)
        return [claim for claim in look.claims if claim.may_start]

    @property
    def mesh(self):
        return self.outcomes[-1].parts["mesh"]


async def test_the_first_round_asks_everyone_at_once_and_is_complete_when_all_answered():
    world = World()
    await world.round()
    assert world.asked_at[0] == 100.0
    plans = {plan.kind: plan for plan in world.plans}
    assert {kind: plan.port for kind, plan in plans.items()} == {ProbeKind.TCP: 8500, ProbeKind.HTTP: 6060}
    assert plans[ProbeKind.TCP].timeout_seconds == patience_seconds(4.0) == 3.5
    (state,) = world.mesh.pairs
    assert (state.tcp, state.http, state.rtt_seconds) == (Reason.OK, Reason.OK, 0.0002)
    assert world.mesh.completed_rounds == 1
    assert world.claims == []


async def test_a_failure_is_repeated_after_a_second_and_is_a_finding_in_the_same_round():
    world = World()
    await world.round()
    world.answers = {ProbeKind.TCP: Reason.NO_ROUTE, ProbeKind.HTTP: Reason.TIMEOUT, ProbeKind.PING: Reason.TIMEOUT}
    await world.round()
    (claim,) = world.claims
    assert (claim.finding.id, claim.finding.reason, claim.finding.severity) == ("peer-unreachable", "no_route", Severity.CRITICAL)
    kinds = [plan.kind for plan in world.plans[2:]]
    assert kinds.count(ProbeKind.TCP) == 2
    assert kinds.count(ProbeKind.PING) == 1
    (kept, *_) = world.outcomes[-1].parts["failures"]
    assert kept.failure.reason in (Reason.NO_ROUTE, Reason.TIMEOUT)


async def test_it_clears_after_two_good_probes_of_which_the_second_comes_after_a_second():
    world = World()
    world.answers = {ProbeKind.TCP: Reason.REFUSED}
    await world.round()
    assert [claim.finding.id for claim in world.claims] == ["peer-port-closed"]
    world.answers, world.plans, world.asked_at = {}, [], []
    await world.round()
    assert world.claims == []
    moments = [at for plan, at in zip(world.plans, world.asked_at, strict=True) if plan.kind is ProbeKind.TCP]
    assert moments[1] - moments[0] == 1.0


async def test_a_peer_that_departs_takes_its_finding_and_its_row_along_at_once():
    world = World()
    world.answers = {ProbeKind.TCP: Reason.TIMEOUT}
    await world.round()
    assert world.claims
    world.pods = (world.pods[0],)
    world.check.refresh(world.context, world.outcomes.append)
    assert world.claims == []
    assert world.mesh.pairs == ()


async def test_what_was_still_asked_of_a_peer_that_departs_is_no_failure_of_anybody():
    world = World()
    await world.round()
    world.answers = {ProbeKind.TCP: Reason.TIMEOUT}
    asked = len(world.plans)
    probe = world.probe

    async def departs_meanwhile(plans):
        results = await probe(plans)
        world.pods = world.pods[:1]
        return results

    world.probe = departs_meanwhile
    await world.round()
    assert world.mesh.pairs == ()
    assert world.outcomes[-1].parts["failures"] == ()
    # neither repeated after a second nor asked beside
    assert len([plan for plan in world.plans[asked:] if plan.kind is ProbeKind.TCP]) == 1


async def test_a_pod_that_is_given_another_address_is_asked_there_and_starts_without_failures():
    world = World()
    await world.round()
    world.answers = {kind: Reason.NO_ROUTE for kind in ProbeKind}
    moved = pod("instance-manager-b", node="harv42", address="192.168.0.9", pod_ip="10.52.1.121")
    probe = world.probe

    async def moves_meanwhile(plans):
        results = await probe(plans)
        if world.pods[1] is not moved:
            world.pods, world.answers = (world.pods[0], moved), {}
        return results

    world.probe = moves_meanwhile
    world.plans = []
    await world.round()
    assert world.claims == []
    asked = [str(plan.target_address) for plan in world.plans if plan.kind is ProbeKind.TCP]
    assert asked == ["192.168.0.3", "192.168.0.9"]
    (state,) = world.mesh.pairs
    assert (state.pair.peer, state.failures, state.tcp) == (moved, 0, Reason.OK)
    assert world.outcomes[-1].parts["failures"] == ()


async def test_a_pair_that_failed_is_mended_when_the_pod_is_given_another_address():
    world = World()
    world.answers = {kind: Reason.TIMEOUT for kind in ProbeKind}
    await world.round()
    assert world.claims
    world.pods = (world.pods[0], pod("instance-manager-b", node="harv42", address="192.168.0.9", pod_ip="10.52.1.121"))
    world.check.refresh(world.context, world.outcomes.append)
    assert world.claims == []
    assert [state.tcp for state in world.mesh.pairs] == [None]


async def test_a_source_whose_namespace_is_not_open_is_not_probed_and_shows_no_old_success():
    world = World()
    await world.round()
    world.inspected = (InspectedPod(pod=world.pods[0]),)
    await world.round()
    (state,) = world.mesh.pairs
    assert (state.tcp, state.rtt_seconds) == (Reason.NOT_PROBED, None)
    assert world.claims == []


async def test_a_young_pods_closed_port_is_shown_and_not_judged():
    young = replace(OTHER, record=replace(OTHER.record, born_monotonic_seconds=95.0))
    world = World((pod(), young))
    world.answers = {ProbeKind.TCP: Reason.REFUSED}
    await world.round()
    assert world.mesh.pairs[0].failing
    assert world.claims == []
    world.now = 130.0
    await world.round()
    assert [claim.finding.id for claim in world.claims] == ["peer-port-closed"]


async def test_a_young_pod_that_nobody_reaches_is_told_at_once():
    young = replace(OTHER, record=replace(OTHER.record, born_monotonic_seconds=95.0))
    world = World((pod(), young))
    world.answers = {ProbeKind.TCP: Reason.NO_ROUTE, ProbeKind.HTTP: Reason.TIMEOUT, ProbeKind.PING: Reason.TIMEOUT}
    await world.round()
    assert [claim.finding.id for claim in world.claims] == ["peer-unreachable"]


async def test_while_the_pods_are_stale_it_goes_on_and_says_how_old_they_are():
    world = World(pods_status=SourceStatus(name="pods", state=SourceState.STALE, age_seconds=300.0))
    world.answers = {ProbeKind.TCP: Reason.TIMEOUT, ProbeKind.HTTP: Reason.TIMEOUT, ProbeKind.PING: Reason.TIMEOUT}
    await world.round()
    (claim,) = world.claims
    assert claim.finding.severity is Severity.WARNING
    assert "300 s ago" in claim.finding.summary


async def test_a_pair_that_fails_since_the_watch_broke_may_have_moved_and_one_that_failed_before_has_not():
    lost = SourceStatus(name="pods", state=SourceState.STALE, age_seconds=20.0)
    world = World(pods_status=lost)
    world.answers = {ProbeKind.TCP: Reason.TIMEOUT, ProbeKind.HTTP: Reason.TIMEOUT, ProbeKind.PING: Reason.TIMEOUT}
    await world.round()
    (claim,) = world.claims
    assert (claim.finding.severity, "20 s ago" in claim.finding.summary) == (Severity.WARNING, True)
    world.now += 100.0
    await world.round()
    (claim,) = world.claims
    assert (claim.finding.severity, "ago" in claim.finding.summary) == (Severity.CRITICAL, False)


async def test_an_old_instance_manager_without_port_6060_is_not_asked_by_http():
    old = replace(OTHER, record=replace(OTHER.record, labels={"longhorn.io/component": "instance-manager"}))
    world = World((pod(), old))
    await world.round()
    assert [plan.kind for plan in world.plans] == [ProbeKind.TCP]


async def test_http_can_be_switched_off():
    settings = Settings(node_name="harv41")
    world = World(settings=replace(settings, probe=replace(settings.probe, http="off")))
    await world.round()
    assert [plan.kind for plan in world.plans] == [ProbeKind.TCP]


async def test_later_rounds_are_paced_and_every_pair_keeps_its_place():
    peers = [pod(f"b{i}", node=f"harv{50 + i}", address=f"192.168.0.{10 + i}", pod_ip=f"10.52.2.{10 + i}") for i in range(6)]
    world = World((pod(), *peers))
    await world.round()
    places = []
    for _ in range(2):
        began, world.plans, world.asked_at = world.now, [], []
        await world.round()
        moments = {plan.target_address: round(at - began, 6) for plan, at in zip(world.plans, world.asked_at, strict=True)}
        places.append(moments)
    assert places[0] == places[1]
    assert len(set(places[0].values())) > 1
    assert all(0 <= place < 10.0 for place in places[0].values())


async def test_a_prober_that_breaks_is_an_error_of_the_round_and_not_silence():
    world = World()

    async def broken(plans):
        raise RuntimeError("the prober is gone")

    world.probe = broken
    world.check = Reachability(prober=world, sleep=world.sleep)
    with pytest.raises(RuntimeError, match="the prober is gone"):
        await world.round()
