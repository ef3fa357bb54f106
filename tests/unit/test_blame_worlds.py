"""Worlds of 1 to 200 nodes with none to three independent faults: what was planted is named, and nothing besides."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from blame_cases import (
    Change,
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
    manager,
    named,
    parted,
    uplink_down,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model.blame import Row
from agent.model.gathered import Silence
from agent.rules.blame_mesh import passes

NETWORK = ("cut", "down", "one-way", "split", "all")
LOCAL = ("pod", "pair", "port")
HIDDEN_BY_ALL = ("cut", "split", "one-way")
"""Nobody can tell these while no pair at all works."""


@dataclass
class Plan:
    """Faults as planted, and what an operator should read of them."""

    world: World
    random: Random
    free: list[str]
    side: frozenset[str] = frozenset()
    changes: list[Change] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    blamed: list[str] = field(default_factory=list)
    hit: list[str] = field(default_factory=list)
    """May be named beside the culprits."""
    anybody: bool = False
    """The sentence may list nodes that were only hit."""

    def take(self, count: int = 1) -> list[str]:
        """Nodes of one side that no other fault touches; of each side enough stay untouched."""
        for side in self.random.sample([True, False], 2):
            here = [node for node in self.free if (node in self.side) is side]
            if len(here) >= count + 2:
                taken = self.random.sample(here, count)
                self.free = [node for node in self.free if node not in taken]
                return taken
        return []


def neighbours(nodes: list[str], random: Random) -> Callable[[str, str], bool]:
    """Who asks whom where not everybody asks everybody: near ones on a ring, and some far ones; always both ways."""
    count = len(nodes)
    if count <= 12:
        return lambda _source, _peer: True
    steps = {1, 2, 3, 4} | set(random.sample(range(5, count // 2), min(4, count // 2 - 5)))
    place = {node: i for i, node in enumerate(nodes)}
    return lambda source, peer: min((place[source] - place[peer]) % count, (place[peer] - place[source]) % count) in steps


def planted(count: int, kinds: list[str], *, seed: int, with_images: bool) -> Plan:
    random = Random(seed)
    nodes = harv(count)
    plan = Plan(world=World(nodes, with_images=with_images, asks=neighbours(nodes, random)), random=random, free=list(nodes))
    for kind in sorted(kinds, key=(*NETWORK[::-1], *LOCAL).index):
        if "all" in kinds and kind in HIDDEN_BY_ALL:
            continue
        PLANT[kind](plan)
    # Order as in the field: what is refused passed all that is broken.
    plan.world.changes = plan.changes
    plan.expected.sort()
    return plan


def plant_all(plan: Plan) -> None:
    if len(plan.world.nodes) >= 2 and not plan.anybody:
        plan.changes.append(all_down())
        plan.expected.append("network-down:cluster")
        plan.anybody = True
        plan.free = plan.free[2:]


def plant_split(plan: Plan) -> None:
    nodes = plan.world.nodes
    if plan.side or len(nodes) < 4:
        return
    size = plan.random.randint(2, len(nodes) // 2)
    start = plan.random.randrange(len(nodes))
    group = sorted((nodes + nodes)[start : start + size])
    rest = sorted(set(nodes) - set(group))
    smaller = min((group, rest), key=lambda one: (len(one), one))
    plan.side = frozenset(group)
    plan.changes.append(parted(group))
    plan.expected.append(f"network-split:{'+'.join(smaller)}")
    plan.anybody = True


def plant_cut(plan: Plan) -> None:
    if not plan.side and (taken := plan.take()):
        plan.changes.append(cut(*taken))
        if plan.random.random() < 0.5:
            uplink_down(plan.world, taken[0])
        plan.expected.append(f"node-cut-off:{taken[0]}")
        plan.blamed += taken


def plant_down(plan: Plan) -> None:
    if not plan.side and (taken := plan.take()):
        plan.changes.append(cut(*taken))
        plan.world.silent[taken[0]] = Silence.SILENT
        plan.expected.append(f"node-down:{taken[0]}")
        plan.blamed += taken


def plant_one_way(plan: Plan) -> None:
    for _ in range(50):
        taken = plan.take(2)
        if not taken:
            return
        if plan.world.asks(*taken):
            plan.changes.append(deaf(*taken))
            plan.expected.append(f"one-way:{taken[0]}>{taken[1]}")
            plan.blamed += taken
            return
        plan.free += taken


def plant_pod(plan: Plan) -> None:
    if plan.world.with_images and not plan.anybody and (taken := plan.take()):
        plan.changes.append(dead_pod(plan.random.choice((manager, images))(taken[0])))
        plan.blamed += taken


def plant_pair(plan: Plan) -> None:
    if plan.world.with_images and not plan.anybody and (taken := plan.take(2)) and plan.world.asks(*taken):
        plan.changes.append(bad_pair(manager(taken[0]), images(taken[1])))
        plan.blamed += taken[1:]
        plan.hit += taken


def plant_port(plan: Plan) -> None:
    if not plan.anybody and (taken := plan.take()):
        plan.changes.append(closed(manager(taken[0])))
        plan.blamed += taken


PLANT: dict[str, Callable[[Plan], None]] = {
    "all": plant_all,
    "split": plant_split,
    "cut": plant_cut,
    "down": plant_down,
    "one-way": plant_one_way,
    "pod": plant_pod,
    "pair": plant_pair,
    "port": plant_port,
}

SIZES = st.one_of(st.integers(1, 8), st.integers(1, 8), st.integers(9, 30))
CHECKS = [HealthCheck.too_slow]


def check(plan: Plan) -> None:
    told = judged(plan.world)
    assert named(told) == plan.expected
    sentence = told.verdict_sentence
    assert all(node in sentence for node in plan.blamed[:4])
    if not plan.anybody:
        assert set(re.findall(r"harv\d+", sentence)) <= {*plan.blamed, *plan.hit}
    if not plan.changes:
        assert sentence.startswith("storage network ok: ")
        assert told.explanations == {}
    names = {one.name for one in told.findings}
    assert set(told.explanations.values()) <= names | {f"uplink-down:{node}" for node in plan.world.nodes}


@settings(max_examples=160, deadline=None, suppress_health_check=CHECKS)
@given(
    count=SIZES,
    kinds=st.lists(st.sampled_from(NETWORK + LOCAL), max_size=3),
    seed=st.integers(0, 2**32),
    with_images=st.booleans(),
)
def test_what_was_planted_is_named_and_nothing_besides(count: int, kinds: list[str], seed: int, with_images: bool) -> None:
    check(planted(count, kinds, seed=seed, with_images=with_images))


@settings(max_examples=8, deadline=None, suppress_health_check=CHECKS)
@given(count=st.integers(60, 200), kinds=st.lists(st.sampled_from(NETWORK + LOCAL), min_size=1, max_size=3), seed=st.integers(0, 2**32))
def test_in_a_large_cluster_where_each_asks_a_few(count: int, kinds: list[str], seed: int) -> None:
    check(planted(count, kinds, seed=seed, with_images=True))


def spoil(world: World, seed: int, *, share: float) -> None:
    """Some rows are missing, some stale with whatever they said last, some never asked."""
    random = Random(seed)
    drawn: dict[tuple[str, str], float] = {}

    def draw(row: Row) -> float:
        return drawn.setdefault((row.source_pod, row.peer_pod), random.random())

    def change(row: Row) -> Row:
        dice = draw(row)
        if dice < share / 3:
            return replace(row, stale=True, failing=True, tcp="no_route", age_seconds=300.0)
        return replace(row, tcp=None, age_seconds=None, failing=False) if dice < share * 2 / 3 else row

    world.changes = [*world.changes, change]
    world.missing = lambda row: share * 2 / 3 <= draw(row) < share


@settings(max_examples=60, deadline=None, suppress_health_check=CHECKS)
@given(count=SIZES, seed=st.integers(0, 2**32), share=st.floats(0.0, 1.0), silent=st.sets(st.integers(0, 29), max_size=3), data=st.data())
def test_noise_alone_never_makes_red(count: int, seed: int, share: float, silent: set[int], data: st.DataObject) -> None:
    """Missing, stale and never-asked rows, and agents that do not answer in whatever manner."""
    plan = planted(count, [], seed=seed, with_images=True)
    spoil(plan.world, seed, share=share)
    for index in silent & set(range(count)):
        plan.world.silent[plan.world.nodes[index]] = data.draw(st.sampled_from(list(Silence)))
    told = judged(plan.world, rounds=3)
    assert told.findings == ()
    assert told.verdict_sentence.startswith(("storage network ok: ", "storage network: cannot tell"))


@settings(max_examples=80, deadline=None, suppress_health_check=CHECKS)
@given(
    count=SIZES,
    kinds=st.lists(st.sampled_from([kind for kind in NETWORK if kind != "split"]), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
    share=st.floats(0.0, 0.5),
)
def test_under_noise_less_may_be_known_but_nobody_else_is_blamed(count: int, kinds: list[str], seed: int, share: float) -> None:
    plan = planted(count, kinds, seed=seed, with_images=True)
    spoil(plan.world, seed, share=share)
    assert set(named(judged(plan.world, rounds=3))) <= set(plan.expected)


@settings(max_examples=60, deadline=None, suppress_health_check=CHECKS)
@given(count=st.integers(4, 20), seed=st.integers(0, 2**32), share=st.floats(0.0, 0.8))
def test_under_noise_the_groups_of_a_split_are_never_mixed(count: int, seed: int, share: float) -> None:
    """A node of which no pair is known to work may be told as cut off, or not at all; nothing else is."""
    plan = planted(count, ["split"], seed=seed, with_images=True)
    spoil(plan.world, seed, share=share)
    worked = {node for report in plan.world.told() for row in report.rows if passes(row) for node in (row.source_node, row.peer_node)}
    for one in judged(plan.world, rounds=3).findings:
        if one.id == "network-split":
            groups = [set(group.split(",")) for group in (one.subject.groups or "").split("|")]
            assert all(group <= plan.side or not group & plan.side for group in groups)
        else:
            assert (one.id, one.subject.node in worked) in (("node-cut-off", False), ("network-down", False))


@settings(max_examples=30, deadline=None)
@given(first=st.sampled_from(["none", "left", "right"]), silent=st.sampled_from([None, *Silence]), with_images=st.booleans())
def test_two_storage_nodes_and_a_witness(first: str, silent: Silence | None, with_images: bool) -> None:
    left, right = harv(2)
    world = World([left, right], witnesses=["witness1"], changes=[all_down()], with_images=with_images)
    if first != "none":
        uplink_down(world, left if first == "left" else right)
    if silent is not None:
        world.silent[right] = silent
        expected = [f"node-down:{right}"] if silent is Silence.SILENT else []
    else:
        expected = ["network-down:cluster"] if first == "none" else [f"node-cut-off:{left if first == 'left' else right}"]
    assert named(judged(world)) == expected
