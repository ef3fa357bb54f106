"""Which pairs a node asks: everything soon, everybody always by someone, and no more than the fan-out."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitworld import mesh_pods, pod

from agent.model.peers import Role
from agent.rules.pace import offset_seconds
from agent.rules.select import pairs_of, select, sources_of


def rounds(pods, node, nodes, *, fanout, count, failing=()):
    pairs = pairs_of(pods, node=node)
    return [select(pairs, node=node, nodes=nodes, round_number=i, fanout=fanout, failing=failing) for i in range(count)]


def test_every_instance_manager_of_the_node_asks_every_other_manager_and_image_pod():
    pods = mesh_pods(3, managers=2, images=1)
    pairs = pairs_of(pods, node="harv1")
    assert {pair.source.key for pair in pairs} == {"longhorn-system/pod-1-0", "longhorn-system/pod-1-1"}
    assert len(pairs) == 2 * (9 - 1)
    assert any(not pair.between_nodes for pair in pairs)


def test_a_node_without_a_manager_asks_from_one_image_pod():
    pods = [one for one in mesh_pods(2, managers=1, images=2) if not (one.node == "harv1" and one.role is Role.INSTANCE_MANAGER)]
    assert len(sources_of(pods, node="harv1")) == 1


def test_failed_deleted_and_ungranted_pods_are_nobodys_peer():
    gone = [
        pod("b", node="harv2", address="192.168.0.3", phase="Failed"),
        pod("c", node="harv2", address="192.168.0.4", deleted=True),
        pod("d", node="harv2", address=None),
        pod("e", node="harv2", address="192.168.0.6", component="share-manager"),
    ]
    assert pairs_of([pod(), *gone], node="harv41") == ()


def test_few_pairs_are_all_asked_in_every_round():
    pods = mesh_pods(3)
    (first, second) = rounds(pods, "harv1", {"harv1", "harv2", "harv3"}, fanout=64, count=2)
    assert len(first.pairs) == len(second.pairs) == 2
    assert first.coverage_rounds == 1


@settings(max_examples=25, deadline=None)
@given(
    nodes=st.integers(2, 14), managers=st.integers(1, 2), images=st.integers(0, 4), fanout=st.integers(8, 32), failing=st.integers(0, 40)
)
def test_coverage_is_bounded_and_the_fanout_is_kept(nodes, managers, images, fanout, failing):
    pods = mesh_pods(nodes, managers=managers, images=images)
    names = {one.node for one in pods}
    pairs = pairs_of(pods, node="harv1")
    bad = {pair.key for pair in pairs[:failing]}
    bound = select(pairs, node="harv1", nodes=names, round_number=0, fanout=fanout).coverage_rounds
    chosen = rounds(pods, "harv1", names, fanout=fanout, count=bound, failing=bad)
    assert all(len(one.pairs) <= fanout for one in chosen)
    assert {pair.key for one in chosen for pair in one.pairs} == {pair.key for pair in pairs}


@pytest.mark.parametrize("phase", [0, 1, 5])
def test_every_peer_is_asked_by_someone_in_every_round_although_no_two_count_alike(phase):
    pods = mesh_pods(40, managers=1, images=3)
    names = {one.node for one in pods}
    asked = set()
    for i, node in enumerate(sorted(names)):
        pairs = pairs_of(pods, node=node)
        chosen = select(pairs, node=node, nodes=names, round_number=phase + 7 * i, fanout=64)
        asked |= {pair.peer.uid for pair in chosen.pairs}
    assert asked == {one.uid for one in pods}


def test_pairs_that_fail_are_asked_in_every_round_while_they_fit():
    pods = mesh_pods(100)
    names = {one.node for one in pods}
    pairs = pairs_of(pods, node="harv1")
    bad = {pair.key for pair in pairs[10:20]}
    for one in rounds(pods, "harv1", names, fanout=64, count=5, failing=bad):
        assert bad <= {pair.key for pair in one.pairs}


def test_a_replaced_pod_of_the_same_name_is_another_pair():
    old = pod("b", node="harv2", address="192.168.0.3")
    new = replace(old, record=replace(old.record, uid="another"))
    assert pairs_of([pod(), old], node="harv41")[0].key != pairs_of([pod(), new], node="harv41")[0].key


def test_a_pair_keeps_its_place_in_the_round_and_the_first_round_has_none():
    (pair,) = pairs_of([pod(), pod("b", node="harv2", address="192.168.0.3")], node="harv41")
    place = offset_seconds(pair, interval_seconds=10.0)
    assert 0 <= place < 10.0
    assert place == offset_seconds(pair, interval_seconds=10.0)
    assert offset_seconds(pair, interval_seconds=10.0, paced=False) == 0.0
