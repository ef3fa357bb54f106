"""The cluster judged without a holder: what the first curl after its death says, what a second adds, and what must not be said."""

from typing import Any

import pytest
from roundup_cases import NOW, SILENT, WALL, cluster, cut_off, names, pair_finding, pair_identity, row, status

from agent.model.finding import Severity, Subject
from agent.model.gathered import Answered, Judgement, Roundup, Silence, Unreachable
from agent.rules.roundup import explain_statuses, sort_findings
from agent.rules.roundup_self import SelfJudged, SelfState, judge_alone

ROUND = 10.0
NODES = names(4)
SICK = "harv43"
ALONE = Judgement()


def statuses(*, age: float, sick: str = SICK, nodes: list[str] = NODES, **fields: Any) -> dict[str, Any]:
    """Each node tells of its failing pairs with `sick`, whose holder was `harv42`."""
    made = {}
    for node in nodes:
        peers = [peer for peer in nodes if peer != node and sick in (node, peer)]
        found = [pair_finding(node, peer, age_seconds=age) for peer in peers]
        made[node] = status(node, *found, holder=None, lease="none", **fields)
    return made


def cut(*, age: float, **more: Any) -> Roundup:
    return cluster(NODES, broken=cut_off(NODES, SICK), statuses=statuses(age=age), judgement=ALONE, holder=None, **more)


def look(
    roundup: Roundup,
    before: SelfState | None = None,
    *,
    at: float = NOW,
    severities: dict[str, Severity | None] | None = None,
    ignore: tuple[Any, ...] = (),
) -> SelfJudged:
    return judge_alone(
        roundup,
        before=before or SelfState(),
        now=at,
        wall=WALL,
        probe_interval_seconds=ROUND,
        agent_missing_seconds=90.0,
        severities=severities or {},
        ignore=ignore,
    )


def found(judged: SelfJudged) -> list[str]:
    return [active.finding.name for active in judged.findings]


def test_the_first_curl_names_a_node_that_every_one_has_missed_for_more_than_a_round() -> None:
    judged = look(cut(age=64.0))
    assert found(judged) == ["node-cut-off:harv43"]
    assert judged.sentence == "harv43 is cut off, its own side looks fine: suspect its switch port or VLAN"
    assert judged.explanations[pair_identity("harv41", SICK)] == "node-cut-off:harv43"
    (active,) = judged.findings
    assert NOW - active.since_monotonic_seconds == pytest.approx(ROUND, rel=0.1)
    assert WALL - active.since_wall_seconds == pytest.approx(ROUND, rel=0.1)


def test_what_began_within_this_round_waits_for_the_next() -> None:
    first = look(cut(age=4.0))
    assert found(first) == []
    assert first.sentence == "harv43 is cut off, its own side looks fine: suspect its switch port or VLAN (seen in one round so far)"
    assert found(look(cut(age=8.0), first.state, at=NOW + 4.0)) == []
    assert found(look(cut(age=15.0), first.state, at=NOW + ROUND + 1.0)) == ["node-cut-off:harv43"]


def test_a_reader_who_asks_every_two_seconds_gains_no_round_by_it() -> None:
    state, said = SelfState(), []
    for step in range(7):
        judged = look(cut(age=1.0 + 2.0 * step), state, at=NOW + 2.0 * step)
        state = judged.state
        said.append(found(judged))
    assert said == [[]] * 5 + [["node-cut-off:harv43"]] * 2


def test_since_is_kept_while_somebody_goes_on_looking() -> None:
    first = look(cut(age=64.0))
    again = look(cut(age=74.0), first.state, at=NOW + ROUND)
    assert again.findings[0].since_monotonic_seconds == first.findings[0].since_monotonic_seconds
    assert again.findings[0].last_seen_monotonic_seconds == NOW + ROUND


def test_a_fault_that_is_mended_is_gone_at_the_next_look() -> None:
    first = look(cut(age=64.0))
    healthy = cluster(NODES, judgement=ALONE, holder=None)
    judged = look(healthy, first.state, at=NOW + 3.0)
    assert (found(judged), judged.explanations) == ([], {})
    assert judged.sentence == "storage network ok: 4 nodes reach each other"


def test_what_was_known_an_hour_ago_is_no_beginning_for_now() -> None:
    first = look(cut(age=4.0))
    assert found(look(cut(age=4.0), first.state, at=NOW + 3600.0)) == []


def test_the_holders_node_died_and_took_the_holder_with_it() -> None:
    told = {node: document for node, document in statuses(age=30.0).items() if node != SICK}
    gone = cluster(NODES, broken=cut_off(NODES, SICK), statuses=told, replies={SICK: SILENT}, judgement=ALONE, holder=None)
    judged = look(gone)
    assert found(judged) == ["node-down:harv43"]
    assert judged.explanations[pair_identity("harv42", SICK)] == "node-down:harv43"


def test_an_agent_that_answered_within_the_round_is_no_dead_node_yet() -> None:
    told = {node: document for node, document in statuses(age=30.0).items() if node != SICK}
    quiet = Unreachable(silence=Silence.SILENT, why="silent", last_answer_age_seconds=3.0)
    gone = cluster(NODES, broken=cut_off(NODES, SICK), statuses=told, replies={SICK: quiet}, judgement=ALONE, holder=None)
    assert found(look(gone)) == []


def test_a_killed_agent_on_a_healthy_node_is_missing_and_its_node_is_not_blamed() -> None:
    refused = Unreachable(silence=Silence.REFUSED, why="refused", last_answer_age_seconds=None)
    roundup = cluster(NODES, replies={SICK: refused}, judgement=ALONE, holder=None)
    judged = look(roundup)
    assert found(judged) == []
    state = judged.state
    for moment in range(1, 10):
        judged = look(roundup, state, at=NOW + moment * ROUND)
        state = judged.state
    assert found(judged) == ["agent-missing:harv43"]
    assert judged.findings[0].since_monotonic_seconds == NOW


def test_a_one_way_fault_is_told_at_the_first_look() -> None:
    broken = {("harv41", SICK): row(0, "timeout", http=None, large=None)}
    told = {"harv41": status("harv41", pair_finding("harv41", SICK, age_seconds=40.0), holder=None, lease="none")}
    roundup = cluster(NODES, broken=broken, statuses=told, judgement=ALONE, holder=None)
    assert found(look(roundup)) == ["one-way:harv41>harv43"]


def test_one_side_that_came_back_a_probe_before_the_other_is_not_one_way() -> None:
    """harv43 has passed since its last probe of a second ago; harv41 was asked before that and has not asked again."""
    broken = {("harv41", SICK): row(0, "timeout", http=None, large=None, age=4.0), (SICK, "harv41"): row(0, age=1.0)}
    told = {"harv41": status("harv41", pair_finding("harv41", SICK, age_seconds=40.0), holder=None, lease="none")}
    roundup = cluster(NODES, broken=broken, statuses=told, judgement=ALONE, holder=None)
    judged = look(roundup)
    assert found(judged) == []
    assert found(look(roundup, judged.state, at=NOW + 2 * ROUND)) == ["one-way:harv41>harv43"], "two looks, and nothing has changed"


def test_the_operators_word_counts_without_a_holder_too() -> None:
    class Ignored:
        why = "it is being moved"

        def covers(self, *, finding_id: str, subject: Subject, wall_seconds: float) -> bool:
            return (finding_id, subject.node, wall_seconds) == ("node-cut-off", SICK, WALL)

    assert found(look(cut(age=64.0), severities={"node-cut-off": None})) == []
    assert look(cut(age=64.0), severities={"node-cut-off": Severity.WARNING}).findings[0].finding.severity is Severity.WARNING
    assert look(cut(age=64.0), ignore=(Ignored(),)).findings[0].finding.ignored == "it is being moved"


def test_what_the_nodes_hold_back_while_the_setting_is_applied_is_held_back_here() -> None:
    def applying(held_back: int) -> Roundup:
        told = statuses(age=64.0, mode="applying", held_back=held_back)
        return cluster(NODES, broken=cut_off(NODES, SICK), statuses=told, judgement=ALONE, holder=None)

    held, shown = look(applying(1)), look(applying(0))
    assert look(applying(1), held.state, at=NOW + 2 * ROUND).findings == ()
    assert found(shown) == ["node-cut-off:harv43"]


def test_with_the_network_off_nothing_of_the_mesh_is_said() -> None:
    told = statuses(age=64.0, mode="off")
    assert found(look(cluster(NODES, broken=cut_off(NODES, SICK), statuses=told, judgement=ALONE, holder=None))) == []


@pytest.mark.parametrize("mode", ["on", "unknown", "of-a-newer-agent", "", None, 7])
def test_a_mode_that_nobody_knows_holds_nothing_back(mode: Any) -> None:
    told = statuses(age=64.0, mode=mode)
    roundup = cluster(NODES, broken=cut_off(NODES, SICK), statuses=told, judgement=ALONE, holder=None)
    assert found(look(roundup)) == ["node-cut-off:harv43"]


@pytest.mark.parametrize("odd", [{"age_seconds": "old"}, {"age_seconds": None}, {"scope": 7}, {"subject": "pod"}, {"subject": None}])
def test_findings_of_another_shape_prove_no_earlier_round(odd: dict[str, Any]) -> None:
    told = statuses(age=64.0)
    for document in told.values():
        document["findings"] = [{**one, **odd} for one in document["findings"]]
    roundup = cluster(NODES, broken=cut_off(NODES, SICK), statuses=told, judgement=ALONE, holder=None)
    assert found(look(roundup)) == []


def test_explanations_stand_in_the_nodes_documents_and_their_verdicts_stay() -> None:
    roundup = cut(age=64.0)
    judged = look(roundup)
    judgement = Judgement(explanations=judged.explanations)
    marked = explain_statuses(roundup.statuses, judgement)
    for node in NODES:
        reply, before = marked[node], roundup.statuses[node]
        assert isinstance(reply, Answered)
        assert isinstance(before, Answered)
        assert {one["explained_by"] for one in reply.document["findings"]} == {"node-cut-off:harv43"}
        assert {one["explained_by"] for one in before.document["findings"]} == {None}, "what came in is never changed"
        assert reply.document["verdict"] == before.document["verdict"] == "critical"
    assert sort_findings(marked, judgement)[0] == ()


def test_a_nodes_own_explanation_is_not_written_over() -> None:
    document = status("harv41", pair_finding("harv41", SICK, explained_by="interface-down:longhorn-system/im-harv41"))
    roundup = cluster(NODES, statuses={"harv41": document}, holder=None, judgement=ALONE)
    marked = explain_statuses(roundup.statuses, Judgement(explanations={pair_identity("harv41", SICK): "node-cut-off:harv43"}))
    assert marked["harv41"] is roundup.statuses["harv41"]
