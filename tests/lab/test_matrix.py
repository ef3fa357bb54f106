"""What the matrix calls detected, right and false, without a lab."""

import pytest
from matrix import Line as MatrixLine
from matrix import Wanted, gathered, names_of, summary, text_of
from matrixjudge import Watch
from matrixtools import Json, Said

from agent.lab.plan import make_plan
from agent.lab.repertoire import CONTROLS, FAULTS

NAMES = {"node": "harv41", "pod": "longhorn-system/instance-manager-a"}


def finding(name: str, culprit: str, *, scope: str = "pod", severity: str = "critical", explained_by: str | None = None) -> Json:
    words = dict.fromkeys(("summary", "seen", "expected", "next_step"), f"{name} of {culprit}")
    return {
        "id": name,
        "culprit": culprit,
        "scope": scope,
        "severity": severity,
        "reason": "admin_down",
        "explained_by": explained_by,
        "ignored": None,
        "evidence": [],
        **words,
    }


def watch(*said: Said, may: tuple[Said, ...] = ()) -> Watch:
    required = [Wanted(said=one, names=NAMES, required=True) for one in said]
    return Watch((*required, *(Wanted(said=one, names=NAMES, required=False) for one in may)))


def told(*findings: Json, node: str = "harv41") -> dict[str, Json]:
    return {node: {"findings": list(findings)}}


def test_what_is_said_of_the_right_pod_is_detected_at_its_time() -> None:
    seen = watch(Said(id="interface-down", culprit="{pod}", node="{node}"))
    seen.look(told(), at=1.0)
    assert seen.missing == ["interface-down longhorn-system/instance-manager-a on harv41"]
    seen.look(told(finding("interface-down", NAMES["pod"])), at=2.0)
    seen.look(told(finding("interface-down", NAMES["pod"])), at=3.0)
    assert (seen.missing, list(seen.seen_at.values()), seen.wrong, seen.false) == ([], [2.0], {}, {})


def test_another_culprit_is_wrong_and_not_detected() -> None:
    seen = watch(Said(id="interface-down", culprit="{pod}"))
    seen.look(told(finding("interface-down", "longhorn-system/instance-manager-b")), at=1.0)
    assert seen.missing
    assert "blames longhorn-system/instance-manager-b" in next(iter(seen.wrong.values()))


def test_two_of_one_kind_with_two_culprits_are_both_right() -> None:
    seen = watch(Said(id="node-cut-off", culprit="harv41"), Said(id="node-cut-off", culprit="harv42"))
    both = (finding("node-cut-off", "harv41", scope="node"), finding("node-cut-off", "harv42", scope="node"))
    seen.look(told(*both), at=1.0)
    assert (seen.missing, seen.wrong, seen.false) == ([], {}, {})


def test_the_right_finding_in_the_wrong_place_is_missing_and_false() -> None:
    seen = watch(Said(id="interface-down", culprit="{pod}", node="{node}"))
    seen.look(told(finding("interface-down", NAMES["pod"]), node="harv42"), at=1.0)
    assert seen.missing
    assert len(seen.false) == 1


@pytest.mark.parametrize(
    ("extra", "is_false"),
    [
        (finding("route-missing", "longhorn-system/x"), True),
        (finding("route-missing", "longhorn-system/x", severity="warning"), True),
        (finding("route-missing", "longhorn-system/x", severity="info"), False),
        (finding("route-missing", "longhorn-system/x", explained_by="node-down:harv42"), False),
    ],
)
def test_what_nobody_asked_for_is_false_if_it_would_count(extra: Json, is_false: bool) -> None:
    seen = watch(Said(id="interface-down", culprit="{pod}"))
    seen.look(told(extra), at=1.0)
    assert bool(seen.false) is is_false


def test_a_pair_may_wait_for_its_explanation_for_two_rounds() -> None:
    pair = finding("peer-unreachable", "harv41>harv42", scope="pair")
    early = watch()
    early.look(told(pair), at=1.0)
    early.look(told(pair), at=15.0)
    early.look(told(finding("peer-unreachable", "harv41>harv42", scope="pair", explained_by="node-down:harv42")), at=20.0)
    early.look(told(pair), at=25.0)
    assert early.false == {}
    late = watch()
    late.look(told(pair), at=1.0)
    late.look(told(pair), at=22.0)
    assert list(late.false.values()) == ["22 s"]


def test_what_may_be_said_is_neither_missing_nor_false() -> None:
    seen = watch(may=(Said(id="sources-stale"),))
    assert seen.missing == []
    seen.look(told(finding("sources-stale", "harv41", scope="agent", severity="warning")), at=1.0)
    assert seen.false == {}


def test_names_come_from_what_the_injection_was_aimed_at() -> None:
    status = {"nodes": {"harv41": {"pods": {"ns/a": {}}}, "harv42": {"pods": {"ns/b": {}}}}}
    names = names_of(status, [{"node": None, "pod": "ns/a", "peer": "ns/b"}, {"node": "harv42", "pod": None, "peer": None}])
    assert (names["node"], names["peer_node"], names["node2"], names["node[1]"]) == ("harv41", "harv42", "harv42", "harv42")


def test_every_case_plays_what_the_lab_has_and_everything_in_the_lab_is_played() -> None:
    played = {wish["name"] for case in gathered().values() for wish in case.inject}
    assert played == set(FAULTS) | set(CONTROLS)


def test_every_case_that_must_find_something_is_no_control() -> None:
    for name, case in gathered().items():
        assert not (case.is_control and case.must and not case.inject and not case.up), name
        nodes = [node.name for node in make_plan(nodes=case.up.get("nodes", 3), storage_range=case.up.get("range", "192.168.0.0/24")).nodes]
        assert {wish["node"] for wish in case.inject if "node" in wish} <= set(nodes), name


def test_a_line_says_what_was_wrong() -> None:
    line = MatrixLine(name="link-down", is_control=False, detected=True, culprit_right=True, false=["harv43: x"], detect_seconds=1.25)
    text = text_of(line)
    assert "1.2 s" in text
    assert "false: harv43: x" in text
    assert "1 of 1 faults detected, 1 with the right culprit, 1 false findings, 0 of 0 controls silent" in summary([line])
