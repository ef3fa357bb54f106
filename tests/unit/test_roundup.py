"""From the agents' answers to one verdict: who holds the Lease, what counts, what the mesh looks like, and that garbage stays garbage."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roundup_cases import (
    NOW,
    REFUSED,
    SILENT,
    answered,
    cluster,
    cut_off,
    finding,
    names,
    pair_finding,
    pair_identity,
    row,
    rows,
    status,
)

from agent.model.finding import Verdict
from agent.model.gathered import Answered, Claim, Judgement, MeshRow, Silence, Unreachable
from agent.rules.roundup import claim, round_up, sort_findings
from agent.rules.roundup_matrix import Cell, badness, by_node_pair, cell, reach_each_other
from agent.rules.roundup_read import identity_of, read_explanations, read_rows, read_statuses
from agent.serve import cluster as page


def claims(**leases: Any) -> Claim:
    documents = {node: status(node, **({"holder": None} | told)) for node, told in leases.items()}
    return claim({node: answered(document) for node, document in documents.items()})


def lease_age(seconds: float) -> dict[str, Any]:
    return {"lease": {"state": "stale", "age_seconds": seconds}}


def test_the_agent_that_says_so_is_the_holder() -> None:
    told = claims(harv41={"lease": "other", "holder": "harv42"}, harv42={"lease": "holder", "holder": "harv42"})
    assert told == Claim(node="harv42", confirmed=True, named="harv42")


def test_a_holder_beats_one_that_cannot_renew() -> None:
    assert claims(harv41={"lease": "unconfirmed"}, harv42={"lease": "holder"}).node == "harv42"
    assert claims(harv41={"lease": "unconfirmed"}, harv42={"lease": "other"}) == Claim(node="harv41", confirmed=False, named="harv41")


def test_of_two_holders_the_one_whose_view_of_the_lease_is_fresher() -> None:
    """One of them was cut off from the API and has not heard of the other yet."""
    told = claims(
        harv41={"lease": "holder", "sources": lease_age(40.0), "generated_at": "2099-01-01T00:00:00Z"},
        harv42={"lease": "holder", "sources": lease_age(0.0), "generated_at": "1999-01-01T00:00:00Z"},
    )
    assert told.node == "harv42"


def test_of_two_equally_fresh_holders_the_one_that_the_others_name() -> None:
    told = claims(harv41={"lease": "holder"}, harv42={"lease": "holder"}, harv43={"holder": "harv42"}, harv44={"holder": "harv42"})
    assert told.node == "harv42"
    assert claims(harv41={"lease": "holder"}, harv42={"lease": "holder"}).node == "harv41"


def test_a_holder_that_does_not_answer_is_only_named() -> None:
    assert claims(harv41={"holder": "harv42"}, harv43={"holder": "harv42"}) == Claim(node=None, confirmed=False, named="harv42")
    assert claims(harv41={"lease": "none"}) == Claim()


def test_three_healthy_nodes_are_ok() -> None:
    told = cluster(names(3))
    assert told.verdict is Verdict.OK
    assert (told.mode, len(told.matrix), told.counting) == ("on", 6, ())


@pytest.mark.parametrize("silence", [SILENT, REFUSED])
def test_a_node_that_takes_part_and_does_not_answer_leaves_the_verdict_open(silence: Unreachable) -> None:
    assert cluster(names(3), replies={"harv43": silence}).verdict is Verdict.UNKNOWN


def test_a_cluster_finding_about_a_silent_node_decides_instead() -> None:
    """A cordoned node that was switched off: info, and nobody has to look."""
    about = finding("agent-missing", "info", node="harv43")
    told = cluster(names(3), replies={"harv43": SILENT}, judgement=Judgement(source="harv42", findings=(about,)))
    assert told.verdict is Verdict.OK


def test_a_silent_witness_changes_nothing() -> None:
    told = cluster(names(3), witnesses=frozenset({"witness1"}), replies={"witness1": SILENT})
    assert told.verdict is Verdict.OK
    assert told.apart == {"witness1": "witness"}


def test_a_witness_may_say_so_itself_and_a_node_without_storage_pods_is_apart_too() -> None:
    own = status("harv41")
    replies = {"w": answered(status("w", witness=True)), "bare": answered(status("bare"))}
    told = round_up(
        asked_node="harv41",
        statuses=read_statuses(own, replies, own_node="harv41", now=NOW),
        rows=(),
        judgement=Judgement(),
        storage_nodes=frozenset({"harv41"}),
    )
    assert told.apart == {"w": "witness", "bare": "no storage pod"}


def test_while_the_pods_were_never_read_nobody_is_said_to_take_no_part() -> None:
    told = round_up(asked_node="a", statuses={"a": answered(status("a"))}, rows=(), judgement=Judgement(), storage_nodes=None)
    assert told.apart == {}


def test_an_unexplained_finding_of_a_node_is_the_clusters_verdict() -> None:
    told = cluster(names(3), statuses={"harv43": status("harv43", finding())})
    assert told.verdict is Verdict.CRITICAL
    assert [one["id"] for one in told.counting] == ["uplink-down"]


def test_what_the_node_knows_to_be_explained_does_not_count() -> None:
    explained = pair_finding("harv41", "harv43", explained_by="node-cut-off:harv43")
    told = cluster(names(3), statuses={"harv41": status("harv41", explained)})
    assert told.verdict is Verdict.OK
    assert [one["explained_by"] for one in told.explained] == ["node-cut-off:harv43"]


def test_what_only_the_holder_explains_so_far_does_not_count_either() -> None:
    about = finding("node-down", "warning", node="harv43")
    judgement = Judgement(source="harv42", findings=(about,), explanations={pair_identity("harv41", "harv43"): "node-down:harv43"})
    statuses = {"harv41": status("harv41", pair_finding("harv41", "harv43"))}
    told = cluster(names(3), statuses=statuses, judgement=judgement)
    assert told.verdict is Verdict.WARNING
    assert [one["explained_by"] for one in told.explained] == ["node-down:harv43"]
    assert statuses["harv41"]["findings"][0]["explained_by"] is None, "what another agent said stays as it was said"


def test_ignored_findings_are_outside_every_verdict() -> None:
    told = cluster(names(3), statuses={"harv43": status("harv43", finding(ignored="being rebuilt"))})
    assert told.verdict is Verdict.OK
    assert len(told.explained) == 1


def test_worst_first_then_the_widest_then_the_oldest() -> None:
    documents = [
        finding("mtu-chain", "warning", node="a"),
        finding("peer-unreachable", scope="pair", node="b"),
        finding("uplink-down", node="c", age_seconds=5.0),
        finding("uplink-down", node="d", age_seconds=500.0),
        finding("network-split", scope="cluster", node="e"),
        finding("from-next-year", "grave", node="f"),
        finding("uplink-slow", "info", node="g"),
    ]
    counting, _ = sort_findings({"x": answered(status("x", *documents))}, Judgement())
    assert [one["culprit"] for one in counting] == ["e", "d", "c", "b", "a", "f", "g"]


def test_the_setting_off_everywhere_is_inactive() -> None:
    off = {node: status(node, verdict="inactive", mode="off") for node in names(3)}
    told = cluster(names(3), statuses=off)
    assert (told.verdict, told.mode) == (Verdict.INACTIVE, "off")


def test_one_node_that_cannot_tell_yet_keeps_the_cluster_from_being_ok() -> None:
    assert cluster(names(3), statuses={"harv43": status("harv43", verdict="unknown")}).verdict is Verdict.UNKNOWN
    assert cluster(names(3), statuses={"harv43": status("harv43", verdict="sideways")}).verdict is Verdict.UNKNOWN


def test_a_severity_of_a_newer_agent_is_neither_lost_nor_taken_for_health() -> None:
    told = cluster(names(3), statuses={"harv43": status("harv43", finding("from-next-year", "grave", new_key=[1]), verdict="ok")})
    assert told.verdict is Verdict.UNKNOWN
    document = page.document(told, wall=0.0)
    assert document["nodes"]["harv43"]["findings"][0]["severity"] == "grave"
    assert document["nodes"]["harv43"]["findings"][0]["new_key"] == [1]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"node": "harv42"},
        status("harv42", verdict=3),
        status("harv42", findings={"id": "x"}),
        status("harv42", findings=["x"]),
        status("harv42", findings=[{"id": "x"}]),
        status("harv42", findings=[{"id": 1, "severity": "info"}]),
        status("harv99"),
        status("\x1b[2J"),
    ],
)
def test_a_document_of_another_kind_is_a_bad_answer(document: dict[str, Any]) -> None:
    told = read_statuses(status("harv41"), {"harv42": answered(document)}, own_node="harv41", now=NOW)["harv42"]
    assert isinstance(told, Unreachable)
    assert told.silence is Silence.BAD_ANSWER
    assert told.why.startswith("bad answer: ")
    assert told.why.isprintable()


def test_a_node_with_storage_pods_and_no_agent_is_not_forgotten() -> None:
    replies = {"harv42": answered(status("harv42"))}
    told = read_statuses(
        status("harv41"), replies, own_node="harv41", now=NOW, expected={"harv41": None, "harv42": 3.0, "harv43": 80.0, "harv44": None}
    )
    assert isinstance(told["harv41"], Answered)
    assert isinstance(told["harv42"], Answered)
    assert told["harv43"] == Unreachable(silence=Silence.NO_AGENT, why="no agent pod runs there", last_answer_age_seconds=80.0)
    assert list(told) == ["harv41", "harv42", "harv43", "harv44"]


def mesh_row(tcp: str | None = "ok", **fields: Any) -> MeshRow:
    usual: dict[str, Any] = {
        "source_node": "a",
        "source_pod": "ns/a",
        "source_address": None,
        "peer_node": "b",
        "peer_pod": "ns/b",
        "peer_address": None,
        "role": "im",
        "tcp": tcp,
        "http": "ok",
        "large": "ok",
        "rtt_seconds": 0.001 if tcp == "ok" else None,
        "age_seconds": 1.0,
        "failing": False,
    }
    return MeshRow(**(usual | fields))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (mesh_row(), Cell.OK),
        (mesh_row(http=None, large="not_probed"), Cell.OK),
        (mesh_row("no_route", failing=True), Cell.NO_TCP),
        (mesh_row("timeout"), Cell.NO_TCP),
        (mesh_row("eaten_by_mice"), Cell.NO_TCP),
        (mesh_row("not_probed", failing=True), Cell.NO_TCP),
        (mesh_row("not_probed"), Cell.NOT_ASKED),
        (mesh_row(None), Cell.NOT_ASKED),
        (mesh_row(http="timeout"), Cell.NO_HTTP),
        (mesh_row(large="too_large"), Cell.SMALL_ONLY),
        (mesh_row(large="too_large", http="timeout"), Cell.SMALL_ONLY),
        (mesh_row("no_route", failing=True, stale=True), Cell.STALE),
    ],
)
def test_what_a_pair_amounts_to(told: MeshRow, expected: Cell) -> None:
    assert cell(told) is expected


def test_the_worst_pair_speaks_for_two_nodes() -> None:
    """Failing before the reason, the reason before the latency."""
    ordered = [
        mesh_row(rtt_seconds=0.0001),
        mesh_row(rtt_seconds=0.9),
        mesh_row(large="too_large", rtt_seconds=0.0001),
        mesh_row("refused"),
        mesh_row("no_route"),
        mesh_row("refused", failing=True),
        mesh_row("not_probed", failing=True, failed_as="timeout"),
        mesh_row("no_route", failing=True),
        mesh_row("eaten_by_mice", failing=True),
    ]
    assert sorted(reversed(ordered), key=badness) == ordered
    (pair,) = by_node_pair(ordered).values()
    assert (pair.worst.tcp, pair.pairs, pair.failing) == ("eaten_by_mice", 9, 4)


def test_stale_pairs_say_nothing_while_a_fresh_one_does() -> None:
    old, new = mesh_row("no_route", failing=True, stale=True), mesh_row()
    (pair,) = by_node_pair([old, new]).values()
    assert (cell(pair.worst), pair.pairs, pair.failing) == (Cell.OK, 2, 0)
    (only,) = by_node_pair([old]).values()
    assert (cell(only.worst), only.failing) == (Cell.STALE, 0)


def test_pairs_on_one_node_are_no_node_pair() -> None:
    assert by_node_pair([mesh_row(peer_node="a")]) == {}


def test_reaching_each_other_needs_a_fresh_row_each_way() -> None:
    told = cluster(names(3))
    assert reach_each_other(told.matrix, names(3))
    assert not reach_each_other(told.matrix, names(4)), "harv44 was never asked"
    assert not reach_each_other(cluster(names(3), broken=cut_off(names(3), "harv43")).matrix, names(3))
    assert not reach_each_other({}, ["harv41"])


def test_rows_older_than_three_rounds_are_stale_counted_with_their_way_to_us() -> None:
    document = rows("a", ["a", "b"], {"b": row(0, age=25.0)})
    fresh, old = (read_rows(answered(document, ago=ago), node="a", now=NOW) for ago in (4.0, 6.0))
    assert fresh is not None
    assert old is not None
    assert (fresh.rows[0].age_seconds, fresh.rows[0].stale) == (29.0, False)
    assert (old.rows[0].age_seconds, old.rows[0].stale) == (31.0, True)


def test_where_a_round_asks_only_some_pairs_a_round_is_as_long_as_all_of_them_take() -> None:
    """200 nodes, 64 pairs a round: a pair is asked every 40 s, and 35 s is no age."""
    read = read_rows(answered(rows("a", ["a", "b"], {"b": row(0, age=100.0)}, coverage_seconds=40.0)), node="a", now=NOW)
    assert read is not None
    assert not read.rows[0].stale


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        [],
        [0, 0, "ok"],
        [1, 0, "ok", "ok", "ok", 0.1, 1.0, 0],
        [0, 99, "ok", "ok", "ok", 0.1, 1.0, 0],
        [-1, 0, "ok", "ok", "ok", 0.1, 1.0, 0],
        [True, 0, "ok", "ok", "ok", 0.1, 1.0, 0],
        ["0", {}, "ok", "ok", "ok", 0.1, 1.0, 0],
    ],
)
def test_a_row_that_cannot_be_read_is_skipped_and_counted(spoilt: Any) -> None:
    document = rows("a", ["a", "b"])
    document["rows"].append(spoilt)
    read = read_rows(answered(document), node="a", now=NOW)
    assert read is not None
    assert (len(read.rows), read.skipped) == (1, 1)


def test_values_of_the_wrong_kind_are_not_known() -> None:
    document = rows("a", ["a", "b"])
    document["rows"] = [[0, 0, 7, ["ok"], "\x1b[31m", "fast", float("nan"), "yes", 1, 5, "a column from next year"]]
    read = read_rows(answered(document), node="a", now=NOW)
    assert read is not None
    (told,) = read.rows
    assert (told.tcp, told.http, told.large, told.rtt_seconds, told.age_seconds, told.failing) == (None, None, None, None, None, False)


def test_rows_of_another_node_are_not_taken() -> None:
    assert read_rows(answered(rows("b", ["a", "b"])), node="a", now=NOW) is None
    assert read_rows(SILENT, node="a", now=NOW) is None


def test_explanations_come_with_the_holders_findings_and_their_age() -> None:
    identity = pair_identity("harv41", "harv43")
    document = {
        "node": "harv42",
        "age_seconds": 1.5,
        "sentence": "harv43 is cut off",
        "findings": [finding(), "garbage"],
        "explanations": [[*identity, "node-cut-off:harv43"], ["short"], [1, 2, 3], None],
    }
    told = read_explanations(answered(document, ago=2.0), node="harv42", now=NOW)
    assert told is not None
    assert (told.source, told.age_seconds, told.sentence, told.skipped) == ("harv42", 3.5, "harv43 is cut off", 4)
    assert told.explanations == {identity: "node-cut-off:harv43"}
    assert read_explanations(answered(document), node="harv41", now=NOW) is None
    assert read_explanations(REFUSED, node="harv42", now=NOW) is None


def test_the_identity_of_a_finding_is_read_from_its_json() -> None:
    assert identity_of(pair_finding("harv41", "harv43")) == pair_identity("harv41", "harv43")
    assert identity_of(finding("from-next-year")) is None
    assert identity_of(finding(subject="garbage")) is None
    sandbox = finding("sandbox-failing", scope="pod", subject={"node": "a", "pod": "ns/p"}, network_kind="storage")
    assert identity_of(sandbox) == ("sandbox-failing", "a", "ns/p", "storage")


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5) | st.sampled_from(["ok", "a", "holder"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=12
)
KEYS = [
    "node",
    "verdict",
    "findings",
    "lease",
    "holder",
    "mode",
    "sources",
    "rows",
    "peers",
    "id",
    "severity",
    "scope",
    "subject",
    "culprit",
]


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Healthy ones with some keys replaced by anything."""
    healthy = {
        **status("b", finding(node="b")),
        **{key: rows("b", ["a", "b"])[key] for key in ("rows", "peers", "sources", "interval_seconds")},
    }
    healthy |= {"explanations": [["node-down", "b", "x:y"]], "age_seconds": 1.0}
    anything = st.dictionaries(st.sampled_from([*KEYS, *healthy]), JSON, max_size=5)
    odd_finding = st.builds(lambda odd: {"findings": [{**finding(node="b"), **odd}]}, anything)
    return st.builds(lambda odd, more: {**healthy, **more, **odd}, anything, odd_finding | st.just({}))


@settings(max_examples=150, deadline=None)
@given(document=documents())
def test_whatever_another_agent_answers_the_page_is_made(document: dict[str, Any]) -> None:
    reply = answered(document)
    statuses = read_statuses(status("a"), {"b": reply}, own_node="a", now=NOW)
    told_rows = read_rows(reply, node="b", now=NOW)
    judgement = read_explanations(reply, node="b", now=NOW) or Judgement()
    told = round_up(asked_node="a", statuses=statuses, rows=[told_rows] if told_rows else [], judgement=judgement)
    json.dumps(page.document(told, wall=0.0))
    text = page.text(told)
    assert text.replace("\n", "").isprintable()


def many(count: int) -> Iterator[str]:
    yield from (f"harv{1000 + i}" for i in range(count))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), count=st.sampled_from([1, 2, 3, 5, 12, 13, 20]))
def test_missing_stale_and_silent_never_make_red(data: st.DataObject, count: int) -> None:
    """Whatever is not known, nothing is called broken, and nobody is said to reach everybody."""
    nodes = list(many(count))
    dull = {}
    for source in nodes:
        for peer in nodes:
            kind = data.draw(st.sampled_from(["ok", "ok", "ok", "never", "stale"])) if source != peer else "ok"
            if kind != "ok":
                dull[(source, peer)] = row(0, None, age=None) if kind == "never" else row(0, "no_route", age=300.0)
    silent = {node: SILENT for node in nodes[1:] if data.draw(st.integers(0, 5)) == 0}
    told = cluster(nodes, broken=dull, replies=silent, holder=None)
    assert told.verdict is (Verdict.UNKNOWN if silent else Verdict.OK)
    assert not any(cell(pair.worst).bad for pair in told.matrix.values())
    assert not any(entry["failing"] for entry in page.document(told, wall=0.0)["matrix"])
    if dull or silent:
        assert f"ok: {count} nodes reach each other" not in page.text(told)
    assert all(isinstance(reply, Answered) for node, reply in told.statuses.items() if node not in silent)
