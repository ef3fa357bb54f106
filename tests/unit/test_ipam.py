"""Pools as they were found in clusters: what stands for a pod, what leaked, and what the next ADD could get."""

import json
from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from ipam_cases import facts, judged, pod

from agent.model.pool import Demand, EntryState
from agent.model.records import Allocation, PodRecord, PoolRecord, ReservationRecord
from agent.rules.ipam import MAX_ENTRIES, NadUse, PoolFacts, judge_pools
from agent.rules.ipam_pods import pod_uses
from agent.rules.ipam_seen import SeenClock, from_document, to_document
from agent.rules.nad import parse_nad

NAD = "harvester-system/sn"


def nad(**ipam):
    return parse_nad(NAD, json.dumps({"type": "bridge", "bridge": "storage-br", "vlan": 100, "ipam": {"type": "whereabouts", **ipam}}))


def pool(range_text, allocations, *, name=None, dropped=0):
    """`allocations`: key → podref."""
    entries = tuple(Allocation(key=key, podref=podref, container_id="c" * 64, interface="lhnet1") for key, podref in allocations.items())
    return PoolRecord(
        namespace="kube-system",
        name=name or range_text.replace("/", "-").replace(":", "-"),
        range=range_text,
        allocations=entries,
        allocations_dropped=dropped,
    )


def granted(name, *addresses, nad_name=NAD, interface="lhnet1", **changes):
    return pod(name, status=json.dumps([{"name": nad_name, "interface": interface, "ips": list(addresses)}]), **changes)


def look(*, pools=(), pods=(), reservations=(), config=None, clock=None, now=1000.0, **changes):
    config = config or nad(range="10.10.0.0/28")
    given_facts = PoolFacts(
        pools=tuple(pools), pods=pod_uses(pods), reservations=tuple(reservations), nads=(NadUse(nad=config),), **changes
    )
    return judge_pools(given_facts, clock=clock or SeenClock(), now=now)


def only(result):
    (state,) = result.states
    return state


def states_of(state):
    return {str(entry.address).rpartition(".")[2]: entry.state.value for entry in state.entries}


def test_a_healthy_24_has_251_free():
    found = [pod(f"instance-manager-{name}") for name in ("a", "b")]
    state = only(judged("healthy-24.yaml", pods=pod_uses(found)))
    assert (state.nads[0].capacity, state.nads[0].taken, state.nads[0].free) == (254, 3, 251)


def test_a_29_with_six_instance_managers_is_full_without_a_leak():
    names = ("e-02aa3133b3dea3a0e17de8d80f59f370", "r-538a409617a531d30094df118748df31", "e-eb64bacba1c171d04c55b0ff6305c5a8")
    names += ("r-59b8f7c3a74262ed3812fb3a41199bdc", "e-a97e4a8b69ba278675b77acdf6deba5f", "r-3e9d4dbf7a3652bddbe5de031fb3fa72")
    pods = [
        granted(f"instance-manager-{name}", f"172.16.0.{number}", nad_name="harvester-system/storagenetwork-sdfg8", interface=None)
        for number, name in enumerate(names, start=1)
    ]
    state = only(judged("full-29.yaml", pods=pod_uses(pods)))
    assert (state.nads[0].capacity, state.nads[0].free, state.nads[0].leaked) == (6, 0, 0)
    assert state.count(EntryState.LIVE) == 6
    assert state.reservations_blocking == 0, "a reservation beside its own allocation takes no second address"


def test_two_orphans_two_stale_one_waiting():
    state = only(judged("leaks-28.yaml", "leaks-28-pods.yaml"))
    assert states_of(state) == {
        "1": "live",
        "2": "stale",
        "3": "live",
        "4": "live",
        "5": "orphaned",
        "6": "orphaned",
        "7": "stale",
        "8": "live",
        "9": "undecided",
    }
    assert (state.nads[0].free, state.nads[0].leaked, state.nads[0].held) == (5, 4, 5)
    assert next(entry.why for entry in state.entries if str(entry.address) == "10.10.0.2") == "the pod holds 10.10.0.4"


def test_an_entry_inside_an_exclude_takes_no_room():
    state = only(judged("excludes-24.yaml"))
    assert (state.nads[0].capacity, state.nads[0].taken, state.nads[0].free) == (238, 2, 236)
    assert len(state.entries) == 3


def test_a_64_is_counted_not_listed():
    state = only(judged("ipv6-64.yaml", pod_namespaces=("default",)))
    assert (state.nads[0].capacity, state.nads[0].free) == (2**64 - 2, 2**64 - 5)
    assert [str(entry.address) for entry in state.entries] == ["fd00:100::1", "fd00:100::5", "fd00:100::1:0:0:5"]
    assert state.count(EntryState.ORPHANED) == 3


def test_reservations_alone_exhaust_an_empty_pool():
    state = only(judged("reservations-only.yaml", pod_namespaces=("dns",)))
    assert (state.nads[0].capacity, state.nads[0].taken, state.nads[0].free) == (2, 0, 0)
    assert (state.reservations_blocking, state.nads[0].reservations_leaked) == (2, 2)


def test_without_overlapping_ranges_reservations_keep_nothing():
    reservation = ReservationRecord(namespace="kube-system", name="10.10.0.5", podref="longhorn-system/gone")
    blocking = look(pools=[pool("10.10.0.0/28", {})], reservations=[reservation])
    ignored = look(
        pools=[pool("10.10.0.0/28", {})], reservations=[reservation], config=nad(range="10.10.0.0/28", enable_overlapping_ranges=False)
    )
    assert (only(blocking).nads[0].free, only(ignored).nads[0].free) == (13, 14)


def test_two_nads_with_one_cidr_share_a_pool_and_get_different_counts():
    one, two = nad(range="10.10.0.0/28"), replace(nad(range="10.10.0.0/28", exclude=["10.10.0.8/29"]), name="harvester-system/other")
    record = pool("10.10.0.0/28", {"1": "longhorn-system/a", "9": "longhorn-system/b"})
    state = only(judge_pools(PoolFacts(pools=(record,), nads=(NadUse(nad=one), NadUse(nad=two))), clock=SeenClock(), now=0))
    assert [(use.nad, use.capacity, use.free) for use in state.nads] == [(NAD, 14, 12), ("harvester-system/other", 7, 6)]
    assert state.tightest is state.nads[1]


def test_a_pool_that_is_not_made_yet_counts_its_reservations():
    reservation = ReservationRecord(namespace="kube-system", name="10.10.0.5", podref="longhorn-system/gone")
    state = only(look(reservations=[reservation]))
    assert (state.pool, state.exists, state.range, state.nads[0].free) == ("kube-system/10.10.0.0-28", False, None, 13)


def test_pools_that_nobody_could_read_have_no_free_count():
    state = only(look(pools_known=False))
    assert state.nads[0].free is None
    assert state.problem == "the pools could not be read"


def test_a_pool_with_host_bits_in_its_range_is_not_trusted():
    state = only(look(pools=[pool("10.10.0.3/28", {"1": "longhorn-system/a"}, name="10.10.0.0-28")]))
    assert state.nads[0].free is None
    assert "host bits" in (state.problem or "")
    assert state.count(EntryState.UNDECIDED) == 1


def test_keys_that_whereabouts_does_not_see_take_no_room_and_are_told():
    record = pool("10.10.0.0/28", {"1": "longhorn-system/a", "-4": "x/y", "banana": "x/y", str(2**63): "x/y", "77": "x/y"})
    state = only(look(pools=[record]))
    assert state.nads[0].free == 13
    assert len(state.skipped) == 4
    assert state.count(EntryState.UNDECIDED) == 4


def test_entries_that_were_not_kept_in_memory_still_take_room():
    state = only(look(pools=[pool("10.10.0.0/28", {"1": "longhorn-system/a"}, dropped=3)]))
    assert state.nads[0].free == 10
    assert state.incomplete
    assert state.missing == ()


def test_a_pod_that_has_no_network_status_yet_is_no_orphan():
    state = only(look(pools=[pool("10.10.0.0/28", {"1": "longhorn-system/im"})], pods=[pod("im", phase="Pending")]))
    assert states_of(state) == {"1": "undecided"}


def test_a_failed_pod_keeps_its_annotation_and_is_neither_live_nor_gone():
    state = only(look(pools=[pool("10.10.0.0/28", {"1": "longhorn-system/im"})], pods=[granted("im", "10.10.0.1", phase="Failed")]))
    assert states_of(state) == {"1": "undecided"}


def test_a_pod_of_another_namespace_is_not_ours_to_call_gone():
    state = only(look(pools=[pool("10.10.0.0/28", {"1": "default/web-0"})]))
    assert states_of(state) == {"1": "undecided"}
    assert state.entries[0].why == "pods of namespace default are not watched"


def test_without_a_readable_pod_list_nothing_is_orphaned():
    state = only(look(pools=[pool("10.10.0.0/28", {"1": "longhorn-system/im"})], pod_namespaces=()))
    assert states_of(state) == {"1": "undecided"}


def test_an_entry_that_its_pod_will_take_again_is_no_leak():
    """Instance-managers come back under their name, and whereabouts 0.8 gives them their old entry."""
    record = pool("10.10.0.0/28", {"1": "longhorn-system/im"})
    state = only(look(pools=[record], returning=("longhorn-system/im",)))
    assert (states_of(state), state.nads[0].held) == ({"1": "undecided"}, 1)
    older = only(look(pools=[record], returning=("longhorn-system/im",), whereabouts=(0, 7, 0)))
    assert states_of(older) == {"1": "orphaned"}


def test_pods_of_a_node_that_is_down_are_undecided():
    record = pool("10.10.0.0/28", {"1": "longhorn-system/im", "2": "longhorn-system/im"})
    state = only(look(pools=[record], pods=[granted("im", "10.10.0.1", node="harv43")], nodes_down=("harv43",)))
    assert states_of(state) == {"1": "undecided", "2": "undecided"}
    assert state.nads[0].leaked == 0


def test_an_entry_of_another_interface_of_a_live_pod_is_stale():
    state = only(
        look(
            pools=[pool("10.10.0.0/28", {"1": "longhorn-system/csi"})],
            pods=[granted("csi", "192.168.9.1", nad_name="harvester-system/rwx", interface="lhnet2")],
        )
    )
    assert state.entries[0].why == "the pod has no interface lhnet1"


def test_a_live_pod_that_its_pool_does_not_list_is_missing():
    record = pool("10.10.0.0/28", {"2": "longhorn-system/other"})
    state = only(look(pools=[record], pods=[granted("im", "10.10.0.1"), granted("second", "10.10.0.2")]))
    assert [(one.podref, str(one.address), one.listed_for) for one in state.missing] == [
        ("longhorn-system/im", "10.10.0.1", None),
        ("longhorn-system/second", "10.10.0.2", "longhorn-system/other"),
    ]


def test_a_pod_younger_than_its_grace_is_not_missing_yet():
    young = replace(granted("im", "10.10.0.1"), born_monotonic_seconds=990.0)
    assert only(look(pools=[pool("10.10.0.0/28", {})], pods=[young], now=1000.0)).missing == ()
    assert only(look(pools=[pool("10.10.0.0/28", {})], pods=[young], now=1030.0)).missing != ()


def test_the_old_pool_of_a_setting_that_changed_is_a_left_over():
    """A /24 that became a /25: the old pool stays, with entries of pods that moved."""
    old = pool("192.168.50.0/24", {"1": "longhorn-system/im"})
    new = pool("192.168.50.0/25", {"1": "longhorn-system/im"})
    found = look(pools=[old, new], pods=[granted("im", "192.168.50.9")], config=nad(range="192.168.50.0/25"))
    assert [(state.name, state.leftover) for state in found.states] == [("192.168.50.0-25", False), ("192.168.50.0-24", True)]


def test_a_pool_of_somebody_else_is_left_alone():
    foreign = pool("172.30.0.0/24", {"1": "default/vm-0"})
    empty = pool("172.31.0.0/24", {})
    assert [state.name for state in look(pools=[foreign, empty]).states] == ["10.10.0.0-28"]


def test_an_empty_pool_is_a_left_over_where_it_is_known_to_have_been_ours():
    empty = pool("172.31.0.0/24", {})
    found = look(pools=[empty], formerly=("172.31.0.0-24",))
    assert [state.leftover for state in found.states] == [False, True]
    unused = judge_pools(PoolFacts(pools=(empty,), nads=(NadUse(nad=nad(range="172.31.0.0/24"), in_use=False),)), clock=SeenClock(), now=0)
    assert only(unused).leftover


def test_a_pool_that_live_pods_still_use_is_no_left_over():
    record = pool("172.31.0.0/24", {"1": "longhorn-system/im"})
    found = look(pools=[record], pods=[granted("im", "172.31.0.1", nad_name="harvester-system/older")])
    assert [state.name for state in found.states] == ["10.10.0.0-28"]


def test_node_slices_are_pools_of_their_own():
    config = nad(range="10.20.0.0/24", node_slice_size="/28", network_name="fast")
    records = [
        pool("10.20.0.0/28", {"1": "longhorn-system/a"}, name="fast-harv41-10.20.0.0-28"),
        pool("10.20.0.16/28", {}, name="fast-harv42-10.20.0.16-28"),
    ]
    found = look(pools=records, config=config)
    assert [(state.name, state.nads[0].capacity, state.nads[0].free) for state in found.states] == [
        ("fast-harv41-10.20.0.0-28", 14, 13),
        ("fast-harv42-10.20.0.16-28", 14, 14),
    ]


def test_an_upgrade_is_short_of_what_free_and_held_do_not_cover():
    state = only(judged("leaks-28.yaml", "leaks-28-pods.yaml", demand=Demand(steady=8, upgrade=14)))
    assert (state.nads[0].free, state.nads[0].held, state.nads[0].short_of) == (5, 5, 4)


# --- time


def test_ages_run_on_over_looks_and_a_new_sandbox_starts_anew():
    first = judged("leaks-28.yaml", "leaks-28-pods.yaml", now=100.0)
    second = judged("leaks-28.yaml", "leaks-28-pods.yaml", now=160.0, clock=first.clock)
    orphan = next(entry for entry in only(second).entries if entry.state is EntryState.ORPHANED)
    live = next(entry for entry in only(second).entries if entry.state is EntryState.LIVE)
    assert (orphan.age_seconds, orphan.suspect_seconds) == (60.0, 60.0)
    assert (live.age_seconds, live.suspect_seconds) == (60.0, None)
    replaced = replace(facts("leaks-28.yaml", "leaks-28-pods.yaml"), pools=(pool("10.10.0.0/28", {"1": "longhorn-system/x"}),))
    assert only(judge_pools(replaced, clock=second.clock, now=200.0)).entries[0].age_seconds == 0.0


def test_the_age_of_a_leak_counts_from_the_pods_end_not_from_the_allocation():
    record, holder = pool("10.10.0.0/28", {"1": "longhorn-system/im"}), granted("im", "10.10.0.1")
    first = look(pools=[record], pods=[holder], now=0.0)
    gone = look(pools=[record], clock=first.clock, now=5000.0)
    later = look(pools=[record], clock=gone.clock, now=5060.0)
    assert (only(later).entries[0].age_seconds, only(later).entries[0].suspect_seconds) == (5060.0, 60.0)
    back = look(pools=[record], pods=[holder], clock=later.clock, now=5100.0)
    again = look(pools=[record], clock=back.clock, now=5200.0)
    assert only(again).entries[0].suspect_seconds == 0.0


def test_a_hand_over_keeps_the_ages_on_another_nodes_clock():
    first = judged("leaks-28.yaml", now=100.0)
    document = json.loads(json.dumps(to_document(first.clock, now=700.0)))
    there = judged("leaks-28.yaml", now=50.0, clock=from_document(document, now=20.0))
    assert {entry.suspect_seconds for entry in only(there).entries} == {630.0}


def test_a_hand_over_that_cannot_be_read_makes_entries_young():
    for document in (
        None,
        [],
        {"a": 1},
        {"a": [True, None]},
        {"a": [-1, None]},
        {"a": [1e300, 2]},
        {"a": ["1", 2]},
        {"a": [float("nan"), None]},
    ):
        assert dict(from_document(document, now=0.0).entries) == {}
    assert from_document({"a": [10, 99]}, now=0.0).entries["a"].suspect_monotonic_seconds == -10.0


def test_a_pool_that_cannot_be_read_for_a_while_forgets_no_age():
    good = pool("10.10.0.0/28", {"1": "longhorn-system/gone"})
    bad = replace(good, range="broken")
    first = look(pools=[good], now=0.0)
    second = look(pools=[bad], clock=first.clock, now=100.0)
    third = look(pools=[good], clock=second.clock, now=200.0)
    assert only(third).entries[0].suspect_seconds == 200.0


# --- size and spite


def test_a_16_with_six_thousand_entries_is_counted_exactly():
    holders = [granted(f"p{number}", f"10.0.{number // 250}.{number % 250 + 1}") for number in range(3000)]
    keys = {str((number // 250) * 256 + number % 250 + 1): f"longhorn-system/p{number}" for number in range(6000)}
    state = only(look(pools=[pool("10.0.0.0/16", keys)], pods=holders, config=nad(range="10.0.0.0/16")))
    assert (state.count(EntryState.LIVE), state.count(EntryState.ORPHANED)) == (3000, 3000)
    assert state.nads[0].free == 65534 - 6000


def test_more_entries_than_an_object_can_hold_are_counted_without_being_looked_at():
    entry = Allocation(key="1", podref="a/b")
    record = PoolRecord(namespace="kube-system", name="10.10.0.0-28", range="10.10.0.0/28", allocations=(entry,) * 1_000_000)
    state = only(look(pools=[record]))
    assert len(state.entries) == MAX_ENTRIES
    assert state.unread == 1_000_000 - MAX_ENTRIES
    assert state.nads[0].free == 0


def test_a_refused_configuration_gives_nothing_whatever_its_ranges_say():
    config = nad(range="10.10.0.0/28", ipRanges=[{"range": "nowhere"}])
    state = only(look(pools=[pool("10.10.0.0/28", {})], config=config))
    assert (state.nads[0].capacity, state.nads[0].free) == (0, 0)


def test_reservations_of_a_network_name_count_for_its_nads_alone():
    named = nad(range="10.10.0.0/28", network_name="fast")
    reservations = [
        ReservationRecord(namespace="kube-system", name=name, podref="a/b") for name in ("fast-10.10.0.5", "10.10.0.6", "10.10.0.99")
    ]
    state = only(look(reservations=reservations, config=named))
    assert (state.name, state.nads[0].free) == ("fast-10.10.0.0-28", 13)
    assert [str(entry.address) for entry in state.reservations] == ["10.10.0.5"]


def test_spiteful_texts_stay_texts():
    record = PoolRecord(
        namespace="kube-system",
        name="10.10.0.0-28",
        range="10.10.0.0/28",
        allocations=(
            Allocation(key="1", podref="longhorn-system/`reboot`\n"),
            Allocation(key="2", podref=""),
            Allocation(key="3", podref="/"),
        ),
    )
    reservation = ReservationRecord(namespace="kube-system", name="not-an-address")
    result = look(pools=[record], reservations=[reservation])
    assert states_of(only(result)) == {"1": "orphaned", "2": "undecided", "3": "undecided"}
    assert result.unread_reservations == ("reservation 'not-an-address' does not read as an address",)


@settings(max_examples=60, deadline=None)
@given(
    taken=st.sets(st.integers(0, 63), max_size=30),
    reserved=st.sets(st.integers(0, 63), max_size=20),
    excludes=st.lists(st.tuples(st.integers(0, 63), st.integers(26, 32)), max_size=3),
)
def test_free_is_what_a_walk_would_find(taken, reserved, excludes):
    """Address by address, as an ADD of a new pod does it: not excluded, not listed, not reserved."""
    texts = [f"10.9.0.{host}/{length}" for host, length in excludes]
    state = only(
        look(
            pools=[pool("10.9.0.0/26", {str(offset): f"longhorn-system/p{offset}" for offset in taken})],
            reservations=[ReservationRecord(namespace="kube-system", name=f"10.9.0.{host}", podref="a/b") for host in reserved],
            config=nad(range="10.9.0.0/26", exclude=texts),
        )
    )
    out = {int(address) & 255 for text in texts for address in ip_network(text, strict=False)}
    assert state.nads[0].free == len([host for host in range(1, 63) if host not in taken | reserved | out])


def test_pods_with_broken_annotations_hold_nothing():
    texts = [
        "{",
        "[]",
        "[5]",
        '[{"name":5}]',
        '[{"name":"a/b","ips":"x"}]',
        '[{"name":"a/b","ips":[7,"x"]}]',
        '[{"default":true,"name":"a","ips":["10.0.0.1"]}]',
    ]
    records = [
        PodRecord(namespace="n", name=str(i), uid=str(i), annotations={"k8s.v1.cni.cncf.io/network-status": text})
        for i, text in enumerate(texts)
    ]
    assert all(use.grants == () for use in pod_uses(records))
