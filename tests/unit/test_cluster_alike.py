"""Six nodes that see one thing are one paragraph and one first line, also before the holder has looked."""

from typing import Any

import pytest
from roundup_cases import WALL, cluster, cut_off, finding, names, pair_finding, row, status

from agent.model.gathered import Judgement
from agent.serve import cluster as page
from agent.serve.alike import together

NODES = names(4)


def port_closed(node: str, **fields: Any) -> dict[str, Any]:
    return pair_finding(node, "harv42", id="peer-port-closed", severity="warning", **fields)


def text(**parts: Any) -> str:
    return page.text(cluster(NODES, **parts))


def headings(told: str) -> list[str]:
    return [" ".join(line.split()[:3]) for line in told.splitlines() if line.startswith(("CRITICAL", "WARNING"))]


def red(*findings: dict[str, Any]) -> dict[str, Any]:
    return {node: status(node, *(one for one in findings if one["subject"]["node"] == node)) for node in NODES}


def test_a_pod_that_all_others_find_closed_is_one_paragraph() -> None:
    told = text(statuses=red(*(port_closed(node) for node in NODES if node != "harv42")))
    assert headings(told) == ["WARNING peer-port-closed harv41>harv42"]
    assert "the same from harv43, harv44" in told


def test_a_pod_that_reaches_nobody_is_one_paragraph() -> None:
    told = text(statuses=red(*(pair_finding("harv41", peer) for peer in ("harv42", "harv43", "harv44"))))
    assert headings(told) == ["CRITICAL peer-unreachable harv41>harv42"]
    assert "the same to im-harv43 on harv43, im-harv44 on harv44" in told


def test_what_fails_otherwise_keeps_its_paragraph() -> None:
    told = text(statuses=red(port_closed("harv41"), pair_finding("harv43", "harv42"), pair_finding("harv44", "harv41")))
    assert len(headings(told)) == 3


def test_a_node_cut_off_for_a_reason_it_found_itself_is_told_once() -> None:
    cut = finding("node-cut-off", reason="uplink-down", summary="harv43 is cut off", evidence=["uplink-down: no carrier", "other"])
    told = text(statuses=red(finding()), judgement=Judgement(source="harv42", findings=(cut,), sentence="harv43 is cut off"))
    assert headings(told) == ["CRITICAL node-cut-off harv43"]
    assert "uplink-down since 07:58:12Z: ens5 and ens6 are down" in told
    assert "uplink-down: no carrier" not in told, "once is enough"
    assert told.startswith("storage network CRITICAL: harv43 is cut off\n")


def test_a_second_fault_of_that_node_has_its_own_paragraph() -> None:
    cut = finding("node-cut-off", reason="uplink-down")
    other = finding("bond-degraded", "warning", summary="a slave is down")
    told = text(statuses=red(finding(), other), judgement=Judgement(source="harv42", findings=(cut,)))
    assert headings(told) == ["CRITICAL node-cut-off harv43", "WARNING bond-degraded harv43"]


def test_three_nodes_with_the_same_trouble_are_one_paragraph_and_two_are_two() -> None:
    dark = [finding(node=node, summary=f"uplink of {node} has no carrier") for node in NODES]
    told = text(statuses=red(*dark[:3]))
    assert headings(told) == ["CRITICAL uplink-down harv41"]
    assert "the same on harv42, harv43" in told
    assert told.startswith("storage network CRITICAL: uplink of harv41 has no carrier; the same on harv42,\nharv43\n")
    assert len(headings(text(statuses=red(*dark[:2])))) == 2


def test_what_follows_from_the_worst_is_not_counted_as_more() -> None:
    dark = finding(node="harv43", summary="uplink of harv43 has no carrier")
    told = text(statuses=red(dark, pair_finding("harv43", "harv41"), pair_finding("harv41", "harv43"), pair_finding("harv41", "harv42")))
    assert told.startswith("storage network CRITICAL: uplink of harv43 has no carrier (and 1 more critical)\n")


@pytest.mark.parametrize("subject", [None, "harv41", {"peer_pod": 7, "pod": []}, {"peer_pod": "a/b"}, {}])
def test_a_pair_of_another_shape_stands_alone(subject: Any) -> None:
    odd = pair_finding("harv41", "harv42") | {"subject": subject, "evidence": "none"}
    assert together([odd, pair_finding("harv43", "harv42"), odd]) == [odd, pair_finding("harv43", "harv42"), odd]


def test_before_the_holder_has_looked_the_rows_themselves_name_the_culprit() -> None:
    pairs = [(a, b) for a in NODES for b in NODES if a != b and "harv43" in (a, b)]
    parts = {"broken": cut_off(NODES, "harv43"), "statuses": red(*(pair_finding(a, b) for a, b in pairs))}
    calm = Judgement(source="harv42", sentence="storage network ok: 4 nodes reach each other")
    told = cluster(NODES, **parts, judgement=calm)
    said = "harv43 is cut off, its own side looks fine: suspect its switch port or VLAN (seen in one round so far)"
    assert page.sentence(told) == f"storage network CRITICAL: {said}"
    assert page.document(told, wall=WALL)["sentence"] == said


def test_the_document_says_in_one_sentence_that_all_is_well() -> None:
    assert page.document(cluster(NODES), wall=WALL)["sentence"] == "4 nodes reach each other"


def test_a_probe_that_failed_just_now_is_no_failure_and_no_health_either() -> None:
    told = cluster(NODES, broken={("harv41", "harv43"): row(0, "timeout", failing=0)})
    assert page.sentence(told) == "storage network ok so far: the last probe of 1 of 12 node pairs failed, which is no finding yet"


def test_no_word_from_the_api_server_is_not_the_storage_network() -> None:
    old = [finding("sources-stale", "warning", node=node, scope="agent", summary=f"{node} has not heard of pods") for node in NODES]
    assert page.sentence(cluster(NODES, statuses=red(*old))) == (
        "storage network WARNING: no node hears from the API server; 4 nodes reach each other"
    )
    assert page.sentence(cluster(NODES, statuses=red(old[0]))) == (
        "storage network WARNING: harv41 does not hear from the API server; 4 nodes reach each other"
    )


def test_the_first_line_names_the_network_once() -> None:
    down = Judgement(source="harv42", findings=(finding("network-down", scope="cluster"),), sentence="the storage network is down: no pair")
    assert page.sentence(cluster(NODES, judgement=down)) == "storage network CRITICAL: it is down: no pair"


def test_more_warnings_than_one_are_warnings() -> None:
    slow = [finding(name, "warning", node=node, summary=name) for name, node in (("a", "harv41"), ("b", "harv42"), ("c", "harv43"))]
    assert page.sentence(cluster(NODES, statuses=red(*slow))).endswith("(and 2 more warnings)")


def test_a_long_name_of_a_pod_does_not_fill_the_line_of_what_it_explains() -> None:
    pod = "longhorn-system/bim-7a6fb1b773ea1248e2cbf9cff7a164915b0428c9467c23dd853edcfe"
    told = text(statuses=red(pair_finding("harv41", "harv42", explained_by=f"interface-down:{pod}")))
    assert "explained by interface-down:longhorn-system/bim-7a6fb1b773ea1248e2cbf9c…: 1\n" in told
