"""When a finding starts, goes on and clears."""

from unitworld import down, facts, pair, pod, result

from agent.model.probe import Reason
from agent.rules import ledger, reach
from agent.rules.ledger import Claim, Look
from agent.rules.links import address_mismatch, interface_down
from agent.rules.reach import PodsView


def look(*findings, may_start=True, undecided=None):
    claims = tuple(Claim(finding=finding, may_start=may_start) for finding in findings)
    return Look(claims=claims, **({"undecided": undecided} if undecided else {}))


def run(*looks, every=5.0, state=None, producer="interfaces"):
    state, changes = dict(state or {}), []
    for i, one in enumerate(looks):
        state, new = ledger.advance(state, one, producer=producer, now=i * every, wall=1e9 + i * every, disagreement_seconds=10)
        changes.append([change.kind for change in new])
    return state, changes


WRONG = address_mismatch(pod(), facts(addresses=("192.168.0.99/24",)))
DOWN = interface_down(pod(), facts(lhnet1=down(up=False, carrier=False)))


def test_one_source_alone_is_evidence_at_once():
    state, changes = run(look(DOWN))
    assert changes == [["raised"]]
    assert [active.finding.id for active in ledger.standing(state)] == ["interface-down"]


def test_two_sources_must_disagree_in_two_looks_ten_seconds_apart():
    _, changes = run(look(WRONG), look(WRONG), look(WRONG))
    assert changes == [[], [], ["raised"]]


def test_a_disagreement_that_ends_in_between_starts_again():
    _, changes = run(look(WRONG), look(), look(WRONG), look(WRONG))
    assert changes == [[], [], [], []]


def test_the_second_look_is_scheduled():
    state, _ = run(look(WRONG))
    assert ledger.next_look(state, producer="interfaces", disagreement_seconds=10) == 10.0
    assert ledger.next_look(state, producer="other", disagreement_seconds=10) is None


def test_stale_or_young_sources_start_nothing_but_end_nothing_either():
    state, changes = run(look(WRONG, may_start=False), look(WRONG, may_start=False), look(WRONG, may_start=False))
    assert changes == [[], [], []]
    state, _ = run(look(WRONG), look(WRONG), look(WRONG))
    _, changes = run(look(WRONG, may_start=False), state=state)
    assert changes == [[]]


def test_a_look_that_could_not_judge_leaves_what_was_known():
    state, _ = run(look(DOWN))
    state, changes = run(look(undecided=lambda finding: finding.subject.pod == DOWN.subject.pod), state=state)
    assert changes == [[]]
    assert ledger.standing(state)
    state, changes = run(look(), state=state)
    assert changes == [["cleared"]]


def test_another_reason_keeps_since_and_is_told():
    first = reach.judge(_failing(Reason.TIMEOUT), port=8500, pods=PodsView())
    second = reach.judge(_failing(Reason.NO_ROUTE), port=8500, pods=PodsView())
    state, changes = run(look(first), look(second), producer="reachability")
    assert changes == [["raised"], ["reason"]]
    (active,) = ledger.standing(state)
    assert active.since_monotonic_seconds == 0.0
    assert active.last_seen_monotonic_seconds == 5.0
    assert active.finding.reason == "no_route"


def test_producers_do_not_clear_each_other():
    state, _ = run(look(DOWN))
    state, changes = run(look(), state=state, producer="reachability")
    assert changes == [[]]
    assert ledger.standing(state)


def _failing(reason):
    state = None
    for _ in range(2):
        state = reach.advance(state, pair(), [result(reason)], now=0, wall=0, probe_failures=2, probe_successes=2)
    return state
