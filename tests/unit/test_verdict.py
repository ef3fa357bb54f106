"""From findings to one word, and which of them count."""

from dataclasses import replace
from ipaddress import ip_network

from unitworld import down, facts, pair, pod, result

from agent.config_findings import IgnoreRule
from agent.model.finding import ActiveFinding, Severity, Verdict
from agent.model.net import Route
from agent.model.peers import Mode
from agent.model.probe import Reason
from agent.model.records import SourceState, SourceStatus
from agent.rules import reach, verdict
from agent.rules.explain import explain
from agent.rules.itself import stale_sources
from agent.rules.links import address_mismatch, interface_down, mac_mismatch
from agent.rules.routes import judge_routes


def active(finding, since=0.0):
    return ActiveFinding(
        finding=finding, since_monotonic_seconds=since, last_seen_monotonic_seconds=since, since_wall_seconds=0, last_seen_wall_seconds=0
    )


def unreachable(of=None):
    state = None
    for _ in range(2):
        state = reach.advance(state, of or pair(), [result(Reason.TIMEOUT, of=of)], now=0, wall=0, probe_failures=2, probe_successes=2)
    return active(reach.judge(state, port=8500, pods=reach.PodsView()))


DOWN = active(interface_down(pod(), facts(lhnet1=down(up=False, carrier=False))))
MAC = active(mac_mismatch(pod(), facts(lhnet1=down(mac="02:00:00:00:00:01"))))
OLD = SourceStatus(name="pods", state=SourceState.STALE, age_seconds=300)
STALE = active(stale_sources("harv41", [OLD], stale_after_seconds=120)[0])


def test_the_worst_of_what_counts_is_the_verdict():
    assert verdict.node_verdict([], mode=Mode.ON, complete=True) is Verdict.OK
    assert verdict.node_verdict([], mode=Mode.ON, complete=False) is Verdict.UNKNOWN
    assert verdict.node_verdict([MAC], mode=Mode.ON, complete=False) is Verdict.WARNING
    assert verdict.node_verdict([MAC, DOWN], mode=Mode.ON, complete=True) is Verdict.CRITICAL
    assert verdict.node_verdict([], mode=Mode.OFF, complete=True) is Verdict.INACTIVE
    assert verdict.node_verdict([STALE], mode=Mode.OFF, complete=True) is Verdict.WARNING


def test_a_pods_own_finding_explains_its_pairs_and_they_stop_counting():
    told = explain([DOWN, unreachable()])
    assert [one.finding.explained_by for one in told] == [None, "interface-down:longhorn-system/instance-manager-a"]
    assert verdict.node_verdict(told[1:], mode=Mode.ON, complete=True) is Verdict.OK


def test_a_pair_of_two_healthy_pods_explains_itself():
    other = pair(pod("c", address="192.168.0.4"), pod("d", node="harv43", address="192.168.0.5"))
    assert explain([DOWN, unreachable(other)])[1].finding.explained_by is None


def test_a_peer_with_its_own_finding_explains_the_pairs_to_it():
    to_it = pair(pod("c", address="192.168.0.4"), pod())
    assert explain([DOWN, unreachable(to_it)])[1].finding.explained_by == DOWN.finding.name


def closed(of=None):
    state = None
    for _ in range(2):
        state = reach.advance(state, of or pair(), [result(Reason.REFUSED, of=of)], now=0, wall=0, probe_failures=2, probe_successes=2)
    return active(reach.judge(state, port=8500, pods=reach.PodsView()))


def test_a_peer_that_refuses_was_reached_so_nothing_of_the_way_explains_it():
    assert explain([DOWN, closed()])[1].finding.explained_by is None


def test_a_peer_that_lost_its_address_explains_that_somebody_else_refuses():
    lost = active(address_mismatch(pod(), facts(addresses=())))
    to_it = pair(pod("c", address="192.168.0.4"), pod())
    assert explain([lost, closed(to_it)])[1].finding.explained_by == lost.finding.name


def test_a_shadowing_route_explains_only_the_peers_behind_it():
    stray = Route(to=ip_network("192.168.0.3/32"), link_index=2)
    other = pair(peer=pod("c", node="harv43", address="192.168.0.4"))
    found = judge_routes(
        pod(), facts(routes=(*facts().routes, stray)), ranges=[ip_network("192.168.0.0/24")], peers=[pair().peer, other.peer]
    )
    told = explain([active(found), unreachable(), unreachable(other)])
    assert [one.finding.explained_by for one in told] == [None, found.name, None]


def test_a_changed_mac_explains_no_unreachable_peer():
    assert explain([MAC, unreachable()])[1].finding.explained_by is None


def test_what_is_off_or_uninitialised_lets_only_the_agents_own_findings_through():
    for mode in (Mode.OFF, Mode.UNINITIALISED):
        shown, hidden = verdict.visible([DOWN, STALE], mode=mode, held=False)
        assert [one.finding.id for one in shown] == ["sources-stale"]
        assert hidden == 0


def test_while_applying_findings_are_held_back_but_not_for_ever():
    assert verdict.held_back(Mode.APPLYING, applying_seconds=10, stuck_seconds=600)
    assert not verdict.held_back(Mode.APPLYING, applying_seconds=601, stuck_seconds=600)
    assert not verdict.held_back(Mode.ON, applying_seconds=0, stuck_seconds=600)
    shown, hidden = verdict.visible([DOWN, STALE], mode=Mode.APPLYING, held=True)
    assert [one.finding.id for one in shown] == ["sources-stale"]
    assert hidden == 1


def test_the_operators_settings_change_severity_switch_off_and_ignore():
    changed = verdict.apply_settings([DOWN, MAC], severities={"interface-down": Severity.INFO, "mac-mismatch": None}, ignore=(), wall=0)
    assert [(one.finding.id, one.finding.severity) for one in changed] == [("interface-down", Severity.INFO)]
    rule = IgnoreRule(id="interface-down", why="being rebuilt", node="harv41", until_wall_seconds=100.0)
    ignored = verdict.apply_settings([DOWN], severities={}, ignore=[rule], wall=99)
    assert ignored[0].finding.ignored == "being rebuilt"
    assert verdict.node_verdict(ignored, mode=Mode.ON, complete=True) is Verdict.OK
    assert verdict.apply_settings([DOWN], severities={}, ignore=[rule], wall=101)[0].finding.ignored is None


def test_worst_first_and_what_does_not_count_last():
    explained = replace(unreachable(), finding=replace(unreachable().finding, explained_by="x:y"))
    assert verdict.worst_first([MAC, explained, DOWN]) == (DOWN, MAC, explained)


def test_only_a_stale_source_is_told_not_an_absent_or_forbidden_one():
    others = [SourceStatus(name="setting", state=state, age_seconds=9999) for state in SourceState if state is not SourceState.STALE]
    young = SourceStatus(name="nads", state=SourceState.STALE, age_seconds=60)
    assert [one.subject.source for one in stale_sources("harv41", [*others, young, OLD], stale_after_seconds=120)] == ["pods"]
