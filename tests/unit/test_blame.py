"""Who is to blame: small clusters with one fault each, as an operator would find them."""

from dataclasses import replace
from typing import Any

import pytest
from blame_cases import (
    INTERVAL,
    Rounds,
    World,
    all_down,
    bad_pair,
    closed,
    cut,
    dead_pod,
    deaf,
    harv,
    images,
    judged,
    lost,
    manager,
    named,
    own,
    pair_identity,
    parted,
    uplink_down,
)

from agent.model.blame import BlameState
from agent.model.catalogue import CATALOGUE
from agent.model.finding import Severity
from agent.model.gathered import Silence

A, B, C, D = harv(4)


def world(count: int = 4, *changes: Any, **fields: Any) -> World:
    return World(harv(count), changes=list(changes), **fields)


def test_a_healthy_cluster_says_how_far_it_was_seen() -> None:
    told = judged(world())
    assert told.findings == ()
    assert told.explanations == {}
    assert told.verdict_sentence == "storage network ok: 4 nodes reach each other"


def test_an_uplink_without_carrier_cuts_off_one_node_and_is_named() -> None:
    cluster = world(4, cut(C))
    uplink_down(cluster, C)
    told = judged(cluster)
    (finding,) = told.findings
    assert finding.name == f"node-cut-off:{C}"
    assert finding.severity is Severity.CRITICAL
    assert finding.reason == "uplink-down"
    assert finding.summary == f"{C} is cut off from the storage network: its uplink has no carrier"
    assert told.verdict_sentence == f"{C} is cut off, its uplink has no carrier"
    assert told.explanations[pair_identity(A, C)] == f"node-cut-off:{C}"
    assert told.explanations[pair_identity(C, A)] == f"node-cut-off:{C}"
    assert set(told.explanations.values()) == {f"node-cut-off:{C}"}


def test_a_vlan_that_the_switch_forgot_has_no_cause_on_the_host_and_is_cut_off_all_the_same() -> None:
    told = judged(world(4, cut(C)))
    assert named(told) == [f"node-cut-off:{C}"]
    assert told.findings[0].seen == f"{A}, {B} and {D} do not reach it, and it reaches none of the 3 that it asks"
    assert told.findings[0].summary.endswith("nothing found wrong on its own side: suspect its switch port or the VLAN there")
    assert (told.findings[0].next_step or "").startswith(f"look at the VLAN and the link of {C}'s port on the storage switch")
    assert told.verdict_sentence == f"{C} is cut off, its own side looks fine: suspect its switch port or VLAN"


def test_nobody_is_sent_to_the_switch_while_something_on_the_node_may_be_the_cause() -> None:
    cluster = world(4, cut(C))
    cluster.say(C, pod_findings=(own("mtu-mismatch", f"longhorn-system/im-{C}", "its MTU is another one"),))
    (finding,) = judged(cluster).findings
    assert finding.summary == f"{C} is cut off from the storage network"


def test_one_round_is_not_enough_and_two_looks_at_once_are_one_round() -> None:
    rounds, cluster = Rounds(), world(4, cut(C))
    first = rounds.look(cluster, apart=0.5)
    assert first.findings == ()
    assert first.explanations == {}
    assert first.verdict_sentence == f"{C} is cut off, its own side looks fine: suspect its switch port or VLAN (seen in one round so far)"
    assert rounds.look(cluster).findings == ()
    assert named(rounds.look(cluster)) == [f"node-cut-off:{C}"]


def test_a_fault_of_every_second_round_never_stands() -> None:
    rounds = Rounds()
    for _ in range(3):
        assert rounds.look(world(4, cut(C))).findings == ()
        assert rounds.look(world(4)).findings == ()


def test_it_clears_as_soon_as_a_pair_passes() -> None:
    rounds = Rounds()
    rounds.look(world(4, cut(C)), rounds=2)
    assert rounds.look(world(4)).findings == ()


def test_it_outlives_three_rounds_of_silence_and_no_more() -> None:
    """The cut-off node's agent restarts: its own rows are missing, nobody else reaches it."""
    rounds, cluster = Rounds(), world(4, cut(C))
    rounds.look(cluster, rounds=2)
    cluster.silent[C] = Silence.REFUSED
    for _ in range(3):
        told = rounds.look(cluster)
        assert named(told) == [f"node-cut-off:{C}"]
        assert told.explanations[pair_identity(A, C)] == f"node-cut-off:{C}"
    told = rounds.look(cluster)
    assert told.findings == ()
    assert told.verdict_sentence == f"{A}, {B} and {D} do not reach {C}, whose agent does not answer: cannot tell why"


def test_a_node_whose_agent_refuses_is_neither_down_nor_cut_off() -> None:
    """A refusal proves a living machine; by whose fault nobody reaches its storage pods only its own row could say."""
    assert judged(world(4, cut(C), silent={C: Silence.REFUSED}), rounds=4).findings == ()


def test_a_dead_node_is_down_which_is_a_warning() -> None:
    told = judged(world(4, cut(C), silent={C: Silence.SILENT}))
    (finding,) = told.findings
    assert (finding.name, finding.severity) == (f"node-down:{C}", Severity.WARNING)
    assert told.verdict_sentence == f"{C} seems to be down"
    assert set(told.explanations) == {
        ("peer-unreachable", node, manager(node), C, pod(C)) for node in (A, B, D) for pod in (manager, images)
    }


def test_a_cordoned_node_that_is_switched_off_is_information() -> None:
    cluster = world(4, cut(C), silent={C: Silence.SILENT})
    cluster.say(C, unschedulable=True, kube_ready=False)
    (finding,) = judged(cluster).findings
    assert finding.severity is Severity.INFO
    assert "cordoned" in finding.summary


def test_a_silent_node_that_kubernetes_has_ready_for_90_seconds_is_cut_off_after_all() -> None:
    rounds, cluster = Rounds(), world(4, cut(C), silent={C: Silence.SILENT})
    assert named(rounds.look(cluster, rounds=9)) == [f"node-down:{C}"]
    assert named(rounds.look(cluster)) == [f"node-cut-off:{C}"]
    cluster.say(C, kube_ready=None)
    assert named(rounds.look(cluster)) == [f"node-cut-off:{C}"], "the API going away tells nothing new"
    cluster.say(C, kube_ready=False)
    assert named(rounds.look(cluster)) == [f"node-down:{C}"]


def test_a_node_that_comes_back_is_not_called_one_way_while_one_side_has_probed_and_the_other_not() -> None:
    """C's rows pass already; A, B and D have asked twice since the cable is back only in the next round."""
    rounds, cluster = Rounds(), world(4, cut(C))
    assert named(rounds.look(cluster, rounds=3)) == [f"node-cut-off:{C}"]
    cluster.changes = [lambda row: lost(row) if row.peer_node == C and row.source_node != C else row]
    assert named(rounds.look(cluster)) == [], "rows of 3 s ago, and C passes since just now"
    cluster.changes = [lambda row: replace(lost(row), mending=True) if row.peer_node == C and row.source_node != C else row]
    assert named(rounds.look(cluster, rounds=3)) == []


def test_a_node_that_comes_back_deaf_is_called_one_way_after_all() -> None:
    rounds, cluster = Rounds(), world(4, cut(C))
    rounds.look(cluster, rounds=3)
    cluster.changes = [deaf(A, C)]
    assert named(rounds.look(cluster, rounds=3)) == [f"one-way:{A}>{C}"]


def test_a_mended_cause_is_kept_until_packets_pass() -> None:
    rounds, cluster = Rounds(), world(4, cut(C))
    uplink_down(cluster, C)
    rounds.look(cluster, rounds=3)
    cluster.reports.clear()
    (finding,) = rounds.look(cluster, rounds=2).findings
    assert "no carrier" in finding.summary
    assert "switch" not in finding.summary
    (finding,) = rounds.look(cluster, rounds=4).findings
    assert "switch port" in finding.summary, "its own side is fine for a while, and nothing passes"


@pytest.mark.parametrize("size", [4, 2])
def test_a_dead_node_stays_down_when_its_pods_are_given_up(size: int) -> None:
    """Five minutes after the power, Kubernetes ends the pods: nobody asks for them any more, and the node is as dead as before."""
    nodes = [A, B, C, D][:size]
    dead = nodes[-1]
    rounds, cluster = Rounds(), world(size, cut(dead), silent={dead: Silence.SILENT})
    cluster.say(dead, kube_ready=False)
    assert named(rounds.look(cluster, rounds=30)) == [f"node-down:{dead}"]
    cluster.missing = lambda row: dead in (row.source_node, row.peer_node)
    cluster.say(dead, has_storage_pods=False)
    told = rounds.look(cluster, rounds=30)
    assert named(told) == [f"node-down:{dead}"]
    assert "its storage pods were given up" in told.findings[0].summary
    cluster.silent.clear()
    assert rounds.look(cluster, rounds=4).findings == (), "its agent answers: the node is back, with no pods yet"


def test_a_node_without_storage_pods_is_not_called_down_by_its_silence_alone() -> None:
    cluster = world(4, silent={D: Silence.SILENT})
    cluster.say(D, has_storage_pods=False, kube_ready=False)
    cluster.missing = lambda row: D in (row.source_node, row.peer_node)
    assert named(judged(cluster, rounds=30)) == []


def test_ready_that_was_lost_in_between_counts_from_anew() -> None:
    rounds, cluster = Rounds(), world(4, cut(C), silent={C: Silence.SILENT})
    rounds.look(cluster, rounds=5)
    cluster.say(C, kube_ready=False)
    rounds.look(cluster)
    cluster.say(C, kube_ready=True)
    assert named(rounds.look(cluster, rounds=9)) == [f"node-down:{C}"]
    assert named(rounds.look(cluster)) == [f"node-cut-off:{C}"]


def test_a_silent_agent_whose_storage_pods_are_reached_is_only_an_agent() -> None:
    cluster = world(4, silent={C: Silence.SILENT})
    rounds = Rounds()
    assert rounds.look(cluster, rounds=2).findings == ()
    cluster.say(C, answer_age_seconds=95.0)
    (finding,) = rounds.look(cluster).findings
    assert (finding.name, finding.severity, finding.explained_by) == (f"agent-missing:{C}", Severity.WARNING, None)
    assert rounds.look(cluster).verdict_sentence.startswith(f"the agent on {C} has not answered for 95 s")
    assert finding.seen.endswith("its storage pods answer, so the node runs")
    assert finding.next_step.startswith(f"see whether {C} answers on the management network: `kubectl get node {C}` then look at its pod")


def test_an_agent_that_is_refused_is_looked_for_in_its_pod_alone() -> None:
    """Somebody on that node answered: its management network is not the question."""
    cluster = world(4, silent={C: Silence.REFUSED})
    cluster.say(C, answer_age_seconds=95.0)
    (finding,) = judged(cluster).findings
    assert finding.next_step.startswith("look at its pod")


def test_what_nobody_asked_for_before_we_did_is_not_held_against_an_agent() -> None:
    """Agents are replaced one by one, and the duty moves with them: the last answer that the new judge had is an hour old."""
    cluster, rounds = world(4, silent={C: Silence.REFUSED}), Rounds()
    rounds.state = BlameState(watching_since=rounds.now)
    for number in range(8):
        cluster.say(C, answer_age_seconds=3600.0 + number * INTERVAL)
        assert rounds.look(cluster).findings == ()
    cluster.say(C, answer_age_seconds=3680.0)
    (missing,) = rounds.look(cluster).findings
    assert missing.name == f"agent-missing:{C}"
    assert missing.summary.startswith(f"the agent on {C} has not answered for 90 s")


def test_an_agent_that_answered_since_is_missed_from_then_on() -> None:
    cluster, rounds = world(4, silent={C: Silence.REFUSED}), Rounds()
    rounds.state = BlameState(watching_since=rounds.now)
    cluster.say(C, answer_age_seconds=5.0)
    rounds.look(cluster, rounds=2)
    assert rounds.state.unanswered_since[C] == rounds.now - INTERVAL - 5.0


def test_an_agent_that_never_answered_is_missing_since_we_first_asked() -> None:
    cluster, rounds = world(4, silent={C: Silence.NO_AGENT}), Rounds()
    cluster.say(C, answer_age_seconds=None)
    assert rounds.look(cluster, rounds=9).findings == ()
    assert named(rounds.look(cluster)) == [f"agent-missing:{C}"]


@pytest.mark.parametrize("fields", [{"unschedulable": True}, {"kube_ready": False}])
def test_a_missing_agent_on_a_node_in_maintenance_is_information(fields: dict[str, Any]) -> None:
    cluster = world(4, silent={C: Silence.REFUSED})
    cluster.say(C, answer_age_seconds=200.0, **fields)
    (finding,) = judged(cluster).findings
    assert (finding.id, finding.severity) == ("agent-missing", Severity.INFO)


def test_a_missing_agent_on_a_dead_node_is_explained_by_it() -> None:
    cluster = world(4, cut(C), silent={C: Silence.SILENT})
    cluster.say(C, answer_age_seconds=200.0)
    told = judged(cluster)
    down, missing = told.findings
    assert told.explanations["agent-missing", C] == f"node-down:{C}"
    assert (down.id, missing.id, missing.explained_by) == ("node-down", "agent-missing", f"node-down:{C}")


def test_what_went_wrong_on_our_side_is_nobodys_missing_agent() -> None:
    cluster = world(4, silent={C: Silence.OURS})
    cluster.say(C, answer_age_seconds=500.0)
    assert judged(cluster).findings == ()


def test_who_hears_nobody_at_all_does_not_call_the_others_down() -> None:
    """The judging agent lost both networks: nobody answers it, and it reaches nobody."""
    cluster = world(4, cut(A), silent=dict.fromkeys((B, C, D), Silence.SILENT))
    assert judged(cluster).findings == ()
    for node in (B, C, D):
        cluster.say(node, kube_ready=False)
    assert named(judged(cluster)) == [f"node-down:{node}" for node in (B, C, D)], "but if Kubernetes says so as well"


def test_one_way() -> None:
    told = judged(world(4, deaf(A, B)))
    (finding,) = told.findings
    assert finding.culprit == f"{A}>{B}"
    assert finding.subject.as_dict() == {"node": A, "peer_node": B}
    assert told.verdict_sentence == f"{A} does not reach {B}, the other way works"
    assert told.explanations[pair_identity(A, B)] == f"one-way:{A}>{B}"


def test_a_node_that_hears_everybody_and_reaches_nobody_is_said_in_one_clause() -> None:
    told = judged(world(4, deaf(A, B), deaf(A, C), deaf(A, D)))
    assert named(told) == [f"one-way:{A}>{peer}" for peer in (B, C, D)]
    assert told.verdict_sentence == f"{A} does not reach {B}, {C} and {D}, the other way works"


def test_two_switches_that_lost_each_other() -> None:
    told = judged(world(5, parted(harv(5)[:2])))
    (finding,) = told.findings
    assert (finding.id, finding.culprit) == ("network-split", "harv41+harv42")
    assert finding.subject.as_dict() == {"groups": "harv41,harv42|harv43,harv44,harv45"}
    assert told.explanations[pair_identity(A, C)] == "network-split:harv41+harv42"
    assert pair_identity(A, B) not in told.explanations
    assert "harv41 and harv42 do not reach harv43, harv44 and harv45" in told.verdict_sentence


def test_a_split_that_takes_in_a_node_stands_on_under_its_new_name() -> None:
    rounds = Rounds()
    small = world(5, parted(harv(5)[:2]), missing=lambda row: "harv45" in (row.source_node, row.peer_node))
    assert named(rounds.look(small, rounds=2)) == ["network-split:harv41+harv42"]
    told = rounds.look(world(5, parted(harv(5)[:2])))
    assert [one.subject.groups for one in told.findings] == ["harv41,harv42|harv43,harv44,harv45"]


def test_everything_down_while_the_agents_answer() -> None:
    told = judged(world(4, all_down()))
    (finding,) = told.findings
    assert (finding.name, finding.severity) == ("network-down:cluster", Severity.CRITICAL)
    assert set(told.explanations.values()) == {"network-down:cluster"}
    assert told.verdict_sentence.startswith("the storage network is down")


@pytest.mark.parametrize("witnesses", [(), ("witness1",)])
def test_of_two_storage_nodes_the_one_with_a_broken_host_path_is_cut_off(witnesses: tuple[str, ...]) -> None:
    cluster = world(2, all_down(), witnesses=witnesses)
    told = judged(cluster)
    assert named(told) == ["network-down:cluster"]
    assert "cannot tell which side" in told.verdict_sentence
    uplink_down(cluster, B)
    assert named(judged(cluster)) == [f"node-cut-off:{B}"]
    uplink_down(cluster, A)
    assert named(judged(cluster)) == ["network-down:cluster"]


def test_the_cause_that_is_found_a_moment_later_takes_over_from_network_down() -> None:
    cluster, rounds = world(2, all_down()), Rounds()
    rounds.look(cluster, rounds=2)
    uplink_down(cluster, B)
    assert named(rounds.look(cluster)) == ["network-down:cluster"]
    assert named(rounds.look(cluster)) == [f"node-cut-off:{B}"]


def test_of_two_storage_nodes_a_silent_one_is_down() -> None:
    assert named(judged(world(2, all_down(), silent={B: Silence.SILENT}))) == [f"node-down:{B}"]


def test_a_single_node_has_nothing_to_say() -> None:
    told = judged(world(1))
    assert told.findings == ()
    assert told.verdict_sentence == "storage network ok: 1 node, no other to reach"


def test_a_pod_without_carrier_explains_what_others_see_of_it() -> None:
    cluster = world(4, dead_pod(manager(B)), with_images=False)
    cluster.say(B, pod_findings=(own("interface-down", manager(B), f"lhnet1 of instance-manager-{B} is set down"),))
    told = judged(cluster)
    assert told.findings == ()
    assert told.explanations[pair_identity(A, B)] == f"interface-down:{manager(B)}"
    assert told.verdict_sentence == f"lhnet1 of instance-manager-{B} is set down"


def test_before_the_pods_own_finding_is_there_its_node_is_not_called_cut_off() -> None:
    """A pod without address cannot even send; its own finding waits for a second look."""
    gone = lambda row: (  # noqa: E731
        lost(row, "no_source_address") if row.source_node == B else lost(row) if row.peer_node == B else row
    )
    rounds, cluster = Rounds(), world(4, gone, with_images=False)
    assert rounds.look(cluster, rounds=3).findings == ()
    assert named(rounds.look(cluster)) == [f"node-cut-off:{B}"], "but something must explain it in the end"


def test_one_dead_pod_beside_a_living_one_blames_no_node() -> None:
    told = judged(world(4, dead_pod(manager(B))))
    assert told.findings == ()
    assert told.verdict_sentence == f"no pair of instance-manager-{B} on {B} passes, while another pod of {B} is reached"


def test_one_pair() -> None:
    told = judged(world(4, bad_pair(manager(A), images(B))))
    assert told.findings == ()
    assert told.verdict_sentence == (
        f"instance-manager-{A} on {A} does not reach backing-image-manager-{B} on {B}, other pairs of these nodes pass"
    )


def test_one_port_that_refuses_proves_the_way() -> None:
    told = judged(world(4, closed(images(B)), closed(manager(B))))
    assert told.findings == ()
    assert told.explanations == {}
    assert told.verdict_sentence == (
        f"backing-image-manager-{B} on {B} does not serve its port: all 4 nodes that ask are refused; "
        f"instance-manager-{B} on {B} does not serve its port: all 3 nodes that ask are refused"
    )


def test_what_answers_ping_is_not_cut_off() -> None:
    filtered = lambda row: replace(lost(row, "timeout"), answered_otherwise=True) if B in (row.source_node, row.peer_node) else row  # noqa: E731
    told = judged(world(4, filtered))
    assert told.findings == ()
    assert "answers, but not on its port" in told.verdict_sentence


def test_one_bad_pair_of_a_node_of_which_nothing_else_is_known_cuts_off_nobody() -> None:
    unknown = lambda row: A in (row.source_node, row.peer_node) and B not in (row.source_node, row.peer_node)  # noqa: E731
    told = judged(world(4, deaf(A, B), deaf(B, A), missing=unknown))
    assert told.findings == ()
    assert told.verdict_sentence == f"{A} and {B} do not reach each other"


def test_two_nodes_that_do_not_see_each_other_and_see_all_others() -> None:
    told = judged(world(4, deaf(A, B), deaf(B, A)))
    assert told.findings == ()
    assert told.verdict_sentence == f"{A} and {B} do not reach each other"


def test_a_host_path_explains_pairs_only_while_nothing_of_the_node_passes() -> None:
    cluster = world(4, bad_pair(manager(B), manager(C)))
    uplink_down(cluster, B)
    assert judged(cluster).explanations == {}
    cut_off = world(4, cut(B))
    uplink_down(cut_off, B)
    assert Rounds().look(cut_off).explanations[pair_identity(A, B)] == f"uplink-down:{B}", "until the wider one stands"


def test_a_missing_bridge_explains_the_pairs_on_its_own_node_too() -> None:
    broken = lambda row: lost(row) if B in (row.source_node, row.peer_node) else row  # noqa: E731
    cluster = world(4, broken)
    cluster.say(B, host_path_findings=(own("bridge-missing", B), own("uplink-down", B)))
    told = judged(cluster)
    assert told.verdict_sentence == f"{B} is cut off, its storage bridge is missing"
    assert told.explanations[("peer-unreachable", B, manager(B), B, images(B))] == f"bridge-missing:{B}"


def test_pair_findings_that_no_row_tells_of_any_more_are_explained_as_well() -> None:
    cluster = world(4, cut(C))
    cluster.say(A, pair_findings=(pair_identity(A, C, "packet-loss"), pair_identity(A, B, "packet-loss"), ("from-next-year", A)))
    told = judged(cluster).explanations
    assert told[pair_identity(A, C, "packet-loss")] == f"node-cut-off:{C}"
    assert pair_identity(A, B, "packet-loss") not in told


@pytest.mark.parametrize(
    ("changes", "silent", "expected"),
    [
        ((cut("harv41"), deaf("harv42", "harv43")), {}, ["node-cut-off:harv41", "one-way:harv42>harv43"]),
        ((cut("harv41"), cut("harv42")), {"harv42": Silence.SILENT}, ["node-cut-off:harv41", "node-down:harv42"]),
        ((cut("harv41"), parted(["harv42", "harv43"])), {}, ["network-split:harv42+harv43", "node-cut-off:harv41"]),
        (
            (cut("harv41"), cut("harv42"), deaf("harv45", "harv46")),
            {"harv42": Silence.SILENT},
            ["node-cut-off:harv41", "node-down:harv42", "one-way:harv45>harv46"],
        ),
        ((all_down(),), {"harv41": Silence.SILENT}, ["network-down:cluster", "node-down:harv41"]),
    ],
)
def test_two_and_three_faults_at_once_are_all_named(changes: Any, silent: dict[str, Silence], expected: list[str]) -> None:
    told = judged(world(6, *changes, silent=silent))
    assert named(told) == expected
    for name in expected[:1]:
        culprit = name.partition(":")[2].partition(">")[0].partition("+")[0]
        assert culprit in told.verdict_sentence or culprit == "cluster"


def asked_last(ago: float, *nodes: tuple[str, str]) -> Any:
    """These ways were asked before the fault and never since."""
    return lambda row: replace(row, tcp="ok", failing=False, age_seconds=ago) if (row.source_node, row.peer_node) in nodes else row


def test_while_a_node_goes_down_one_side_knows_it_before_the_other() -> None:
    """Others found C gone; C's own rows are from before. That is no one-way trouble, in however many rounds."""
    rounds = Rounds()
    for ago in (9.0, 19.0, 29.0):
        told = rounds.look(world(4, cut(C), asked_last(ago, (C, A), (C, B), (C, D))))
        assert told.findings == ()


def test_old_successes_do_not_speak_for_a_node_that_is_gone() -> None:
    """200 nodes ask a part of their pairs in a round: who was not asked again still says that C works."""
    rounds = Rounds()
    for ago in (9.0, 19.0, 29.0, 39.0):
        told = rounds.look(world(4, cut(C), asked_last(ago, (A, C), (C, D))))
    assert named(told) == [f"node-cut-off:{C}"]


def test_old_successes_do_speak_while_everybody_asks_slowly() -> None:
    """Two nodes are cut off and nobody has had a whole round since: the others are not called down with them."""
    rounds = Rounds()
    slow = lambda row: row if row.failing else replace(row, age_seconds=12.0)  # noqa: E731
    for _ in range(4):
        told = rounds.look(world(5, cut(C, D), slow))
    assert named(told) == [f"node-cut-off:{C}", f"node-cut-off:{D}"]


def test_stale_and_unasked_rows_say_nothing() -> None:
    stale = lambda row: replace(lost(row), stale=True)  # noqa: E731
    told = judged(world(4, stale))
    assert told.findings == ()
    assert told.verdict_sentence == "storage network: cannot tell, no fresh row between its 4 nodes"
    never = lambda row: replace(row, tcp=None, age_seconds=None)  # noqa: E731
    assert judged(world(4, never)).findings == ()
    half = world(4, missing=lambda row: row.source_node in (A, B))
    assert judged(half).verdict_sentence == "storage network ok: 4 nodes, nothing wrong found in 6 of 12 ways between them"


def test_every_finding_is_one_of_the_catalogue_and_complete() -> None:
    clusters = [
        world(4, cut(C)),
        world(4, cut(C), silent={C: Silence.SILENT}),
        world(4, deaf(A, B)),
        world(5, parted([A, B])),
        world(4, all_down()),
        world(2, all_down()),
    ]
    for cluster in clusters:
        for one in judged(cluster).findings:
            kind = CATALOGUE[one.id]
            assert (one.scope, kind.holder) == (kind.scope, True)
            assert set(kind.keys) <= one.subject.as_dict().keys()
            assert all((one.summary, one.seen, one.expected, one.next_step, one.clears_when))
