"""One pod that nobody reaches, that reaches nobody, or that has closed its port: a clause each, however many see it."""

import pytest
from blame_cases import Change, World, bad_pair, closed, deaf, harv, images, judged, lost, manager

from agent.model.blame import Row

A, B, C, D = harv(4)


def sentence(*changes: Change, nodes: int = 4, **fields: object) -> str:
    return judged(World(harv(nodes), changes=list(changes), **fields)).verdict_sentence  # type: ignore[arg-type]


def unheard(pod: str, *, but: str = "") -> Change:
    """A filter in the pod drops what comes in; what it asks itself is answered."""
    return lambda row: lost(row, "timeout") if row.peer_pod == pod and row.source_node not in (row.peer_node, but) else row


def muted(pod: str) -> Change:
    return lambda row: lost(row, "timeout") if row.source_pod == pod and row.peer_pod.startswith("longhorn-system/backing") else row


def addressed(row: Row) -> Row:
    return Row(**{name: getattr(row, name) for name in row.__slots__} | {"peer_address": "192.168.0.3"})


def test_a_pod_that_drops_what_others_send_is_named_once() -> None:
    assert sentence(unheard(manager(B)), addressed) == (
        f"nobody reaches instance-manager-{B} (192.168.0.3) on {B}, whose other pod is reached"
    )


def test_who_still_reaches_it_keeps_it_from_being_nobody() -> None:
    assert sentence(unheard(manager(B), but=C)) == f"{A} and {D} do not reach instance-manager-{B} on {B}, whose other pod is reached"


def test_one_asker_is_one_pair_and_not_nobody() -> None:
    assert sentence(bad_pair(manager(A), images(B)), addressed) == (
        f"instance-manager-{A} on {A} does not reach backing-image-manager-{B} (192.168.0.3) on {B}, other pairs of these nodes pass"
    )


def test_a_pod_that_does_not_reach_some_pods_of_all_others_is_named_once() -> None:
    assert sentence(bad_pair(manager(A), images(B)), bad_pair(manager(A), images(C)), bad_pair(manager(A), images(D))) == (
        f"instance-manager-{A} on {A} does not reach pods on {B}, {C} and {D}, other pairs of these nodes pass"
    )


def test_two_pods_of_one_cluster_that_nobody_reaches_are_two_clauses() -> None:
    assert sentence(unheard(manager(B)), unheard(manager(C))).split("; ") == [
        f"nobody reaches instance-manager-{B} on {B}, whose other pod is reached",
        f"nobody reaches instance-manager-{C} on {C}, whose other pod is reached",
    ]


def test_a_pod_that_never_asks_and_that_nobody_reaches_is_dead() -> None:
    assert sentence(unheard(images(C)), addressed) == (
        f"no pair of backing-image-manager-{C} (192.168.0.3) on {C} passes, while another pod of {C} is reached"
    )


def test_a_broken_way_is_not_told_again_for_its_pods() -> None:
    assert sentence(deaf(A, B), unheard(manager(C))).startswith(f"{A} does not reach {B}, the other way works; nobody reaches")


@pytest.mark.parametrize(
    ("reason", "only", "said"),
    [
        ("refused", None, "all 4 nodes that ask are refused"),
        ("reset", None, "all 4 nodes that ask are reset"),
        ("refused", A, "1 of 4 nodes that ask is refused"),
    ],
)
def test_a_closed_port_says_how_many_find_it_closed(reason: str, only: str | None, said: str) -> None:
    def shut(row: Row) -> Row:
        return lost(row, reason) if row.peer_pod == images(B) and only in (None, row.source_node) else row

    assert sentence(shut, addressed if only is None else closed("")) == (
        f"backing-image-manager-{B}{'' if only else ' (192.168.0.3)'} on {B} does not serve its port: {said}"
    )


def test_one_that_asks_is_the_only_one() -> None:
    assert (
        sentence(closed(manager(B)), nodes=2) == f"instance-manager-{B} on {B} does not serve its port: the only node that asks is refused"
    )


def test_what_answers_otherwise_is_said_so() -> None:
    def filtered(row: Row) -> Row:
        if row.peer_pod != images(B):
            return row
        return Row(**{name: getattr(lost(row, "timeout"), name) for name in row.__slots__} | {"answered_otherwise": True})

    assert sentence(filtered) == f"backing-image-manager-{B} on {B} answers, but not on its port"
