"""From what the agents answered to the reports that are judged: nothing is assumed of what is not known."""

from dataclasses import replace
from typing import Any

from roundup_cases import SILENT, cluster, cut_off, finding, names, pair_finding, pair_identity, row, status

from agent.model.blame import BlameState
from agent.model.gathered import Judgement, Roundup, Silence
from agent.model.records import NodeRecord
from agent.rules.blame import blame
from agent.rules.blame_explain import keeps_verdict
from agent.rules.blame_read import reports_of

NODES = names(4)
READY = {node: NodeRecord(name=node, ready=True) for node in NODES}


def sentence(roundup: Roundup) -> tuple[list[str], str, dict[tuple[str, ...], str]]:
    """Two rounds of the holder."""
    state = BlameState()
    for now in (100.0, 110.0):
        told = blame(reports_of(roundup, READY), state=state, now=now, interval_seconds=10.0, agent_missing_seconds=90.0)
        state = told.state
    return [one.name for one in told.findings], told.verdict_sentence, dict(told.explanations)


def test_from_the_agents_answers_to_one_culprit() -> None:
    statuses = {"harv43": status("harv43", finding()), "harv41": status("harv41", pair_finding("harv41", "harv43"))}
    found, said, explanations = sentence(cluster(NODES, broken=cut_off(NODES, "harv43"), statuses=statuses))
    assert found == ["node-cut-off:harv43"]
    assert said == "harv43 is cut off, its uplink has no carrier"
    assert explanations[pair_identity("harv41", "harv43")] == "node-cut-off:harv43"


def test_a_silent_agent_and_its_dead_pairs() -> None:
    found, said, _ = sentence(cluster(NODES, broken=cut_off(NODES, "harv43"), replies={"harv43": SILENT}))
    assert (found, said) == (["node-down:harv43"], "harv43 seems to be down")


def test_a_healthy_cluster() -> None:
    assert sentence(cluster(NODES)) == ([], "storage network ok: 4 nodes reach each other", {})


def test_witnesses_take_no_part_by_whoever_says_so() -> None:
    roundup = cluster(NODES, witnesses=frozenset({"witness1"}))
    by_name = {report.name: report for report in reports_of(roundup, {})}
    assert (by_name["witness1"].takes_part, by_name["harv41"].takes_part) == (False, True)
    labelled = {"harv41": NodeRecord(name="harv41", labels={"node-role.harvesterhci.io/witness": "true"})}
    assert not reports_of(roundup, labelled)[0].takes_part


def test_ready_is_known_only_of_a_live_node() -> None:
    nodes = {
        "harv41": NodeRecord(name="harv41", ready=True),
        "harv42": NodeRecord(name="harv42", ready=None, unschedulable=True),
        "harv43": NodeRecord(name="harv43", ready=False),
    }
    roundup = cluster(NODES)
    assert [report.kube_ready for report in reports_of(roundup, nodes)] == [True, False, False, None]
    assert [report.kube_ready for report in reports_of(roundup, nodes, nodes_live=False)] == [None] * 4
    assert [report.unschedulable for report in reports_of(roundup, nodes, nodes_live=False)] == [False, True, False, False]


def test_how_an_agent_did_not_answer_and_since_when() -> None:
    report = {one.name: one for one in reports_of(cluster(NODES, replies={"harv43": SILENT}), READY)}["harv43"]
    assert (report.answered, report.silence, report.answer_age_seconds) == (False, Silence.SILENT, 64.0)


def test_a_pair_that_fails_is_told_by_how_it_failed_not_by_its_last_probe() -> None:
    broken: dict[tuple[str, str], list[Any]] = {("harv41", "harv42"): [*row(0, "not_probed", failing=1), 0, "timeout"]}
    (bad,) = [one for report in reports_of(cluster(NODES, broken=broken), READY) for one in report.rows if one.failing]
    assert (bad.tcp, bad.failing, bad.answered_otherwise) == ("timeout", True, False)


def test_who_asks_where_pods_used_to_be_is_no_witness() -> None:
    """harv41 has lost the API server, and the others' instance-managers have moved since."""
    broken = {("harv41", peer): row(0, "no_route", http=None, large=None) for peer in NODES[1:]}
    roundup = cluster(NODES, broken=broken)
    known = {f"longhorn-system/im-{node}": "192.168.0.3" for node in NODES}
    # as the rows of these nodes have it, every source is at .2: only what was asked from and at the right place counts
    here = {one.name: one.rows for one in reports_of(roundup, READY, addresses=known)}
    assert all(one.stale for rows in here.values() for one in rows)
    elsewhere = [replace(one, peer_address="192.168.0.9") if one.failing else one for one in roundup.rows]
    moved = replace(roundup, rows=tuple(replace(one, source_address="192.168.0.3") for one in elsewhere))
    told = reports_of(moved, READY, addresses=known)
    assert {one.name: all(row.stale for row in one.rows) for one in told} == {node: node == "harv41" for node in NODES}
    state = BlameState()
    for now in (100.0, 110.0, 120.0):
        found = blame(told, state=state, now=now, interval_seconds=10.0, agent_missing_seconds=90.0)
        state = found.state
    assert found.findings == ()
    assert not any(row.stale for one in reports_of(moved, READY) for row in one.rows)


def test_findings_are_sorted_by_what_they_can_explain() -> None:
    pod = {"node": "harv43", "pod": "longhorn-system/im-harv43"}
    statuses = {
        "harv43": status(
            "harv43",
            finding("bridge-missing"),
            finding("uplink-slow", "info"),
            finding("interface-down", scope="pod", subject=pod, culprit=pod["pod"]),
            finding("mac-mismatch", "warning", scope="pod", subject=pod),
            pair_finding("harv43", "harv41"),
            finding("interface-missing", scope="pod", subject="garbage"),
            finding("bridge-missing", subject={"node": 7}),
            finding("from-next-year"),
        )
    }
    report = {one.name: one for one in reports_of(cluster(NODES, statuses=statuses), READY)}["harv43"]
    assert [one.name for one in report.host_path_findings] == ["bridge-missing:harv43"]
    assert [one.name for one in report.pod_findings] == ["interface-down:longhorn-system/im-harv43"]
    assert report.pair_findings == (pair_identity("harv43", "harv41"),)


def test_what_the_holder_found_about_a_pod_explains_its_pairs() -> None:
    """A pod that was never given an interface: only the holder says so."""
    pod = "longhorn-system/im-harv43"
    granted = finding("grant-missing", scope="pod", subject={"node": "harv43", "pod": pod}, culprit=pod, summary="im-harv43 has no grant")
    broken = cut_off(NODES, "harv43")
    last = cluster(NODES, broken=broken, judgement=Judgement(source="harv42", findings=(granted,)))
    found, said, explanations = sentence(last)
    assert (found, said) == ([], "im-harv43 has no grant")
    assert explanations[pair_identity("harv41", "harv43")] == f"grant-missing:{pod}"
    now = reports_of(cluster(NODES, broken=broken), READY, holder_findings=[granted])
    assert [one.id for report in now for one in report.pod_findings] == ["grant-missing"]


def test_pairs_of_an_address_that_two_pods_hold_blame_the_address_and_no_way_between_nodes() -> None:
    """Answers come to one of the two, so that harv41 seems to reach nobody while everybody reaches it."""
    subject = {"node": "harv41", "pod": "longhorn-system/im-harv41", "peer_node": "harv42", "peer_pod": "longhorn-system/twin"}
    twice = finding("address-duplicate", scope="cluster", subject=subject, culprit="192.168.0.2", summary="192.168.0.2 was granted twice")
    broken = {("harv41", peer): row(0, "timeout") for peer in NODES[1:]}
    without, _, _ = sentence(cluster(NODES, broken=broken))
    assert without, "else this shows nothing"
    found, said, explanations = sentence(cluster(NODES, broken=broken, judgement=Judgement(source="harv42", findings=(twice,))))
    assert (found, said) == ([], "192.168.0.2 was granted twice")
    assert explanations[pair_identity("harv41", "harv43")] == "address-duplicate:192.168.0.2"


def test_the_culprits_own_node_keeps_its_verdict() -> None:
    assert keeps_verdict("node-cut-off:harv43", node="harv43")
    assert not keeps_verdict("node-cut-off:harv43", node="harv41")
    assert keeps_verdict("network-split:harv41+harv42", node="harv42")
    assert keeps_verdict("one-way:harv41>harv42", node="harv41")
    assert not keeps_verdict("one-way:harv41>harv42", node="harv42")
    assert not keeps_verdict("network-down:cluster", node="harv41")
    assert not keeps_verdict("interface-down:longhorn-system/im-harv43", node="harv43")
