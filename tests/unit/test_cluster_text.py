"""/cluster as it is read at three in the morning, and the documents that agents hand each other for it."""

import gzip
import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from roundup_cases import (
    NOW,
    REFUSED,
    SILENT,
    WALL,
    answered,
    cluster,
    cut_off,
    finding,
    names,
    pair_finding,
    pair_identity,
    row,
    status,
)
from test_text import state
from test_verdict import DOWN
from unitworld import mesh_pods, pair, pod

from agent.model.catalogue import identity
from agent.model.finding import Verdict
from agent.model.gathered import Judgement, Rows
from agent.model.mesh import Mesh, PairState
from agent.model.peers import Pair
from agent.model.probe import Reason
from agent.model.view import NodeView
from agent.rules.roundup_read import identity_of, read_explanations, read_rows
from agent.serve import cluster as page
from agent.serve import documents, explanations
from agent.serve import rows as rows_page

LEGEND = "ms of the slowest pair; X no TCP; h no HTTP; m only small packets pass;"


def lines(*args: Any, **fields: Any) -> list[str]:
    return page.text(cluster(*args, **fields)).splitlines()


def cells(told: list[str], label: str) -> list[str]:
    """The cells of one row of the table."""
    (found,) = [line for line in told if line.startswith(f"{label} ") and not line.endswith(")")]
    return found.removeprefix(label).split()


def harv43_is_cut_off(nodes: list[str]) -> dict[str, Any]:
    """Four nodes, as in the handbook of every on-call engineer: the holder has seen it, the others have heard of it or not."""
    cause = finding("node-cut-off", summary="harv43 is cut off, its uplink has no carrier")
    explained = {pair_identity(node, "harv43"): "node-cut-off:harv43" for node in nodes}
    judgement = Judgement(source="harv42", findings=(cause,), explanations=explained, age_seconds=2.0)
    statuses = {node: status(node, pair_finding(node, "harv43")) for node in nodes if node != "harv43"}
    statuses["harv42"] |= {"lease": "holder"}
    statuses["harv43"] = status("harv43", finding())
    return {"broken": cut_off(nodes, "harv43"), "judgement": judgement, "statuses": statuses}


def test_three_healthy_nodes_say_so_first() -> None:
    told = lines(names(3))
    assert told[:3] == ["storage network ok: 3 nodes reach each other", "3 nodes, 3 agents answer; findings from harv42, 2 s old", ""]
    assert cells(told, "harv42") == ["0.2", ".", "0.2", "ok", "holder"]
    assert not any("CRITICAL" in line for line in told)


def test_a_node_that_is_cut_off_is_the_first_line_and_has_its_row_and_column() -> None:
    told = lines(names(4), **harv43_is_cut_off(names(4)), witnesses=frozenset({"witness1"}))
    assert told[0].startswith("storage network CRITICAL: harv43 is cut off, its uplink has no carrier")
    assert "5 nodes, 5 agents answer; findings from harv42, 2 s old" in told
    assert cells(told, "harv41") == [".", "0.2", "X", "0.2", "ok,", "1", "explained"]
    assert cells(told, "harv43") == ["X", "X", ".", "X", "critical:", "node-cut-off", "+1"]
    assert "witness1   takes no part (witness)" in told
    assert LEGEND in told
    heads = [line.split()[:3] for line in told if line.startswith(("CRITICAL", "WARNING"))]
    assert heads == [["CRITICAL", "node-cut-off", "harv43"], ["CRITICAL", "uplink-down", "harv43"]]
    assert told[-1] == "explained by node-cut-off:harv43: 3 peer-unreachable"
    assert any(line.strip() == "ip -d link show storage-bo" for line in told)


def test_whoever_judged_may_have_better_words_for_the_first_line() -> None:
    case = harv43_is_cut_off(names(4))
    told = cluster(names(4), **case)
    spoken = Judgement(source="harv42", findings=told.judgement.findings, sentence="harv43 alone is dark")
    assert lines(names(4), **case | {"judgement": spoken})[0] == "storage network CRITICAL: harv43 alone is dark"


def test_what_the_mesh_knows_nothing_of_is_told_in_its_own_words() -> None:
    full = finding("pool-exhausted", scope="pool", culprit="kube-system/192.168.7.0-28", summary="pool 192.168.7.0/28 has no free address")
    judgement = Judgement(source="harv42", findings=(full,), sentence="storage network ok: 3 nodes reach each other")
    told = lines(names(3), judgement=judgement, statuses={node: status(node) for node in names(3)})
    assert told[0] == "storage network CRITICAL: pool 192.168.7.0/28 has no free address"


def test_a_full_pool_beside_a_cut_off_node_is_counted() -> None:
    parts = harv43_is_cut_off(names(4))
    full = finding("pool-exhausted", scope="pool", culprit="kube-system/192.168.7.0-28", summary="pool 192.168.7.0/28 has no free address")
    cause = parts["judgement"].findings
    parts["judgement"] = Judgement(
        source="harv42", findings=(*cause, full), explanations=parts["judgement"].explanations, sentence="harv43 is cut off"
    )
    assert lines(names(4), **parts)[0] == "storage network CRITICAL: harv43 is cut off (and 1 more critical)"


@pytest.mark.parametrize(
    ("said", "first"),
    [
        ("harv41 and harv42 do not reach each other", "storage network CRITICAL: harv41 and harv42 do not reach each other"),
        ("storage network ok: 4 nodes reach each other", "storage network CRITICAL: harv41 does not reach harv42"),
        (None, "storage network CRITICAL: harv41 does not reach harv42"),
    ],
)
def test_red_pairs_without_a_culprit_are_told_in_one_sentence_once_somebody_has_looked(said: str | None, first: str) -> None:
    statuses = {"harv41": status("harv41", pair_finding("harv41", "harv42")), "harv42": status("harv42", pair_finding("harv42", "harv41"))}
    told = lines(names(4), statuses=statuses, judgement=Judgement(source="harv42", findings=(), sentence=said, age_seconds=1.0))
    assert told[0].startswith(first)


@pytest.mark.parametrize(
    ("special", "shown"),
    [
        (row(0, "ok", rtt=0.00004), "0.04"),
        (row(0, "ok", rtt=0.0123), "12.3"),
        (row(0, "ok", rtt=3.2), "3200"),
        (row(0, "ok", rtt=None), "ok"),
        (row(0, "no_route"), "X"),
        (row(0, "refused"), "X"),
        (row(0, "ok", http="timeout"), "h"),
        (row(0, "ok", large="too_large"), "m"),
        (row(0, "no_route", age=31.0), "?"),
        (row(0, "ok", age=31.0), "?"),
    ],
)
def test_each_pair_has_its_sign(special: list[Any], shown: str) -> None:
    assert cells(lines(names(3), broken={("harv41", "harv43"): special}), "harv41")[:3] == [".", "0.2", shown]


def test_what_was_never_asked_is_blank_and_nobody_claims_it_works() -> None:
    told = lines(names(3), broken={("harv41", "harv43"): row(0, None, age=None)})
    assert cells(told, "harv41")[:3] == [".", "0.2", "ok"], "the last is the node's own verdict"
    assert told[0] == "storage network ok: 3 nodes, nothing wrong found in 6 node pairs"


def test_what_is_held_back_while_the_setting_is_applied_is_counted() -> None:
    busy = {node: status(node, mode="applying", verdict="unknown", held_back=2) for node in names(3)}
    told = lines(names(3), broken=cut_off(names(3), "harv43"), statuses=busy)
    assert " ".join(told[:2]) == (
        "storage network: cannot tell: the setting is being applied, and 6 findings of the nodes are held back meanwhile"
    )


def test_a_network_that_no_pod_is_attached_to_has_no_nodes_that_reach_each_other() -> None:
    nodes = names(2)
    empty = {node: status(node, mode="applying") for node in nodes}
    roundup = replace(cluster(nodes, statuses=empty), apart=dict.fromkeys(nodes, "no storage pod"), matrix={}, rows=())
    assert page.sentence(roundup) == "storage network ok: no pod is attached to it yet, the setting is being applied"


def test_an_agent_that_does_not_answer_has_a_row_of_dashes_and_leaves_the_question_open() -> None:
    told = lines(names(3), replies={"harv43": SILENT})
    assert told[0] == "storage network: cannot tell: harv43 did not answer; nothing else found wrong"
    assert told[1].startswith("3 nodes, 2 agents answer;")
    assert cells(told, "harv43") == ["-", "-", ".", "no", "answer:", "silent"]
    assert cells(told, "harv41")[:3] == [".", "0.2", "0.2"], "others still reach its pods"


def test_failing_pairs_that_nothing_counts_are_not_passed_over() -> None:
    told = lines(names(3), broken=cut_off(names(3), "harv43"))
    assert told[0] == "storage network ok: no finding counts, but 4 of 6 node pairs fail"


def test_http_alone_that_fails_is_told_and_is_no_failure() -> None:
    rows = {(a, b): row(0, "ok", http="timeout") for a in names(2) for b in names(2) if a != b}
    assert lines(names(2), broken=rows)[0] == "storage network ok: 2 nodes reach each other, 2 of 2 node pairs by TCP only"


def test_one_node_alone_has_nobody_to_reach() -> None:
    told = lines(names(1), holder="harv41")
    assert told == ["storage network ok: 1 node, no other to reach", "1 node, 1 agent answers; findings from harv41, 2 s old"]


def test_a_network_that_is_not_used_is_two_lines() -> None:
    off = {node: status(node, verdict="inactive", mode="off") for node in names(3)}
    assert lines(names(3), statuses=off)[0] == "storage network not in use"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"holder": None, "judgement": Judgement()}, "nobody holds the Lease: findings from self"),
        ({"replies": {"harv42": REFUSED}, "judgement": Judgement()}, "harv42 holds the Lease but does not answer: findings from self"),
        ({"judgement": Judgement()}, "harv42 holds the Lease but gave no findings: findings from self"),
        (
            {"statuses": {"harv42": status("harv42", lease="unconfirmed")}},
            "findings from harv42, 2 s old (its hold on the Lease is unconfirmed)",
        ),
    ],
)
def test_the_second_line_says_how_far_it_can_be_believed(fields: dict[str, Any], said: str) -> None:
    assert said in " ".join(lines(names(3), **fields)[1:3])


def test_twelve_nodes_fit_by_number_with_their_troubles_below() -> None:
    told = lines(names(12), replies={"harv50": SILENT}, broken={("harv41", "harv52"): row(0, "timeout")})
    assert cells(told, " 1 harv41") == [".", *["0.2"] * 10, "X"]
    assert "harv50: no answer: silent" in told


def test_of_thirteen_nodes_only_the_sick_one_has_a_row() -> None:
    told = lines(names(13), broken=cut_off(names(13), "harv43"))
    assert cells(told, "harv43") == [".", "all", "X", "ok"]
    assert cells(told, "12 others") == ["all", "X", "0.2"]
    assert "12 nodes reach each other, slowest 0.2 ms harv41 > harv42" in told
    assert len(told) < 15


def test_two_hundred_healthy_nodes_are_one_line() -> None:
    nodes = names(200, 100)
    told = lines(nodes, holder="harv101", broken={("harv112", "harv177"): row(0, "ok", rtt=0.0009)})
    assert told == [
        "storage network ok: 200 nodes reach each other",
        "200 nodes, 200 agents answer; findings from harv101, 2 s old",
        "",
        "200 nodes reach each other, slowest 0.9 ms harv112 > harv177",
    ]


def test_two_troubles_among_two_hundred_nodes_are_both_in_the_table() -> None:
    nodes = names(200, 100)
    told = lines(nodes, holder="harv101", broken=cut_off(nodes, "harv143") | {("harv112", "harv177"): row(0, "timeout")})
    assert cells(told, "harv112") == [".", "X", "X", "0.2", "ok"]
    assert cells(told, "harv177") == ["0.2", "X", ".", "0.2", "ok"]
    assert cells(told, "197 others") == ["0.2", "all", "X", "0.2", "0.2"]
    assert "197 nodes reach each other, slowest 0.2 ms harv100 > harv101" in told


def test_when_everything_is_red_there_is_no_table_of_red() -> None:
    nodes = names(200, 100)
    broken = {(a, b): row(0, "no_route") for a in nodes for b in nodes if a != b}
    down = finding("network-down", node="x", scope="cluster", subject={}, culprit="cluster", summary="no pair between nodes works")
    told = lines(nodes, broken=broken, holder="harv101", judgement=Judgement(source="harv101", findings=(down,)))
    assert told[0] == "storage network CRITICAL: no pair between nodes works"
    assert "39800 of 39800 node pairs fail or were not asked for 3 rounds" in told
    assert len(told) < 20


CASES: dict[str, dict[str, Any]] = {
    "healthy": {},
    "cut off": {"cut": True},
    "silent": {"replies": {"harv2": SILENT, "harv7": REFUSED}},
    "long names": {"rename": "a-rather-long-name-for-a-server-in-the-rack-"},
    "domains": {"domain": ".storage.example.org"},
    "nobody": {"holder": None, "judgement": Judgement()},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [1, 3, 5, 12, 13, 40])
def test_nothing_but_commands_and_links_is_wider_than_a_terminal(case: str, count: int) -> None:
    fields = dict(CASES[case])
    nodes = [f"{fields.pop('rename', 'harv')}{1 + i}{fields.pop('domain', '')}" for i in range(count)]
    if fields.pop("cut", False):
        fields |= {"broken": cut_off(nodes, nodes[-1]), "statuses": {nodes[-1]: status(nodes[-1], finding(node=nodes[-1]))}}
    for line in lines(nodes, **fields):
        assert len(line) <= 80 or "runbook" in line, line


def test_another_agents_words_cannot_move_the_cursor() -> None:
    nasty = finding(
        summary="\x1b[2Jall is well\r\n", culprit="\x07", evidence=["\x1b]0;x", 5, None], since=7, age_seconds="old", next_step=None
    )
    told = page.text(cluster(names(3), statuses={"harv43": status("harv43", nasty)}))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", told)
    assert "all is well" in told


def test_hundreds_of_findings_are_counted_and_not_told() -> None:
    crowd = [finding("interface-down", scope="pod", subject={"node": "harv43", "pod": f"ns/p{i}"}, culprit=f"ns/p{i}") for i in range(90)]
    told = lines(names(3), statuses={"harv43": status("harv43", *crowd)})
    assert sum(line.startswith("CRITICAL") for line in told) == 20
    assert "and 70 more: /api/v1/cluster has them all" in told


def test_the_json_has_the_keys_that_scripts_rely_on() -> None:
    told = page.document(cluster(names(4), **harv43_is_cut_off(names(4)), replies={"harv44": SILENT}), wall=WALL)
    assert {
        "schema", "generated_at", "asked_node", "findings_from", "findings_age_seconds", "verdict", "mode", "nodes", "matrix", "findings",
    } <= told.keys()  # fmt: skip
    assert (told["asked_node"], told["findings_from"], told["findings_age_seconds"]) == ("harv41", "harv42", 2.0)
    assert (told["verdict"], told["mode"]) == ("critical", "on")
    assert told["nodes"]["harv44"] == {"unreachable": "silent", "age_seconds": 64.0}
    assert told["nodes"]["harv43"]["findings"][0]["id"] == "uplink-down"
    assert [one["id"] for one in told["findings"]] == ["node-cut-off"]
    pairs = {(entry["source_node"], entry["peer_node"]): entry for entry in told["matrix"] if "source_pod" not in entry}
    assert len(pairs) == 9, "three nodes answer, of each to three others"
    entry = pairs["harv41", "harv43"]
    assert {"source_node", "peer_node", "tcp", "http", "large", "rtt_seconds", "age_seconds", "pairs", "failing"} <= entry.keys()
    assert (entry["tcp"], entry["rtt_seconds"], entry["pairs"], entry["failing"]) == ("no_route", None, 1, 1)
    assert json.loads(json.dumps(told)) == told


def test_failing_pairs_stand_below_with_their_pods_and_full_shows_all() -> None:
    made = cluster(names(3), broken={("harv41", "harv43"): row(0, "no_route")})
    matrix = page.document(made, wall=WALL)["matrix"]
    assert len(matrix) == 7
    assert (
        matrix[-1].items()
        >= {
            "source_node": "harv41",
            "source_pod": "longhorn-system/im-harv41",
            "source_address": "192.168.0.2",
            "peer_node": "harv43",
            "peer_pod": "longhorn-system/im-harv43",
            "peer_address": "192.168.0.3",
            "tcp": "no_route",
        }.items()
    )
    full = page.document(made, wall=WALL, full=True)["matrix"]
    assert len(full) == 6
    assert all("source_pod" in entry and "peer_address" in entry for entry in full)


def view(*states: PairState, **fields: Any) -> NodeView:
    return NodeView(
        node="harv41",
        version="0.1.0",
        started_monotonic_seconds=0.0,
        mesh=Mesh(round=7, coverage_seconds=20.0, pairs=states),
        **fields,
    )


def told_rows(made: NodeView) -> Rows:
    document = json.loads(json.dumps(rows_page.document(made, interval_seconds=10.0, now=NOW)))
    read = read_rows(answered(document), node="harv41", now=NOW)
    assert read is not None
    assert read.skipped == 0
    return read


def test_rows_are_read_as_they_were_written() -> None:
    other = pair(peer=pod("instance-manager-c", node="harv43", address="192.168.0.4"))
    read = told_rows(view(state(Reason.OK), state(Reason.NO_ROUTE, Reason.NO_ROUTE, of=other)))
    assert (read.round, read.interval_seconds, read.coverage_seconds) == (7, 10.0, 20.0)
    good, bad = read.rows
    assert (good.source_pod, good.source_address) == ("longhorn-system/instance-manager-a", "192.168.0.2")
    assert (good.peer_node, good.peer_pod, good.peer_address, good.role) == (
        "harv42",
        "longhorn-system/instance-manager-b",
        "192.168.0.3",
        "im",
    )
    assert (good.tcp, good.rtt_seconds, good.age_seconds, good.failing) == ("ok", 0.0002, 3.0, False)
    assert (bad.peer_node, bad.tcp, bad.rtt_seconds, bad.failing, bad.failed_as) == ("harv43", "no_route", None, True, "no_route")


def test_a_pair_that_was_never_asked_has_no_age() -> None:
    (only,) = told_rows(view(PairState(pair=pair()))).rows
    assert (only.tcp, only.rtt_seconds, only.age_seconds, only.failing, only.stale) == (None, None, None, False, False)


def test_the_rows_of_two_hundred_nodes_with_64_pairs_are_under_a_megabyte_on_the_wire() -> None:
    """Names as Longhorn makes them, with 32 random digits each, and latencies that differ: little to squeeze."""
    chance = random.Random(7)
    pods = [
        pod(f"instance-manager-{chance.randbytes(16).hex()}", node=one.node, address=str(one.address), pod_ip="10.52.0.9")
        for one in mesh_pods(65)
    ]
    states = [
        PairState(
            pair=Pair(source=pods[0], peer=peer),
            tcp=Reason.OK,
            http=Reason.OK,
            large=Reason.OK,
            rtt_seconds=chance.random() / 1000,
            last_probe_monotonic_seconds=NOW - 40 * chance.random(),
        )
        for peer in pods[1:]
    ]
    document = rows_page.document(view(*states), interval_seconds=10.0, now=NOW)
    body = json.dumps(document, separators=(",", ":")).encode()
    assert len(document["rows"]) == 64
    assert 200 * len(gzip.compress(body, compresslevel=1)) < 1_000_000
    assert 200 * len(body) < 2_000_000


def test_what_the_holder_explains_reaches_the_node_that_asked() -> None:
    theirs, ours = pair_identity("harv41", "harv43"), pair_identity("harv42", "harv43")
    cause = "node-cut-off:harv43"
    made = explanations.document(
        node="harv42",
        lease="holder",
        findings=[DOWN],
        explanations={theirs: cause, ours: cause, ("network-split", "a,b|c"): "x:y"},
        now=NOW,
        age_seconds=1.25,
        asked_for="harv41",
    )
    told = read_explanations(answered(json.loads(json.dumps(made))), node="harv42", now=NOW)
    assert told is not None
    assert told.explanations == {theirs: cause}
    assert (told.source, told.age_seconds, [one["id"] for one in told.findings]) == ("harv42", 1.2, ["interface-down"])
    everybody = explanations.document(node="harv42", lease="holder", findings=[], explanations={theirs: cause, ours: cause}, now=NOW)
    assert len(everybody["explanations"]) == 2


def test_the_identity_read_from_json_is_the_one_the_node_knows() -> None:
    assert identity_of(documents.finding(DOWN, now=NOW)) == identity(DOWN.finding)


def test_the_verdict_is_a_word_of_the_contract() -> None:
    for fields in ({}, {"replies": {"harv43": SILENT}}, {"statuses": {"harv43": status("harv43", finding())}}):
        assert page.document(cluster(names(3), **fields), wall=WALL)["verdict"] in {verdict.value for verdict in Verdict}


def test_sources_that_grow_old_together_on_all_nodes_are_one_paragraph() -> None:
    nodes = names(3)
    statuses = {
        node: status(node, *(finding("sources-stale", "warning", node=node, scope="agent", evidence=[]) for _ in range(4)))
        for node in nodes
    }
    told = lines(nodes, statuses=statuses)
    assert sum(line.startswith("WARNING") for line in told) == 1
    assert "12 sources in all, on harv41, harv42, harv43" in " ".join(" ".join(told).split())
