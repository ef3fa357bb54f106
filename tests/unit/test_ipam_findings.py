"""What a person reads about pools: which finding, about what, and a command that can be pasted."""

import json
import re
import shlex
from dataclasses import replace

import pytest
from ipam_cases import judged, pod

from agent.model.catalogue import CATALOGUE, identity
from agent.model.finding import Finding, Severity
from agent.model.peers import Network
from agent.model.pool import Demand
from agent.model.records import Allocation, PoolRecord, ReservationRecord
from agent.rules.ipam import NadUse, PoolFacts, judge_pools
from agent.rules.ipam_findings import Limits, nad_findings, pool_findings
from agent.rules.ipam_grants import address_duplicates
from agent.rules.ipam_pods import pod_uses
from agent.rules.ipam_seen import SeenClock
from agent.rules.nad import parse_nad

NAD = "harvester-system/storagenetwork-q9v4t"


def nad(*, name=NAD, bridge="storage-br", vlan=100, **ipam):
    return parse_nad(name, json.dumps({"type": "bridge", "bridge": bridge, "vlan": vlan, "ipam": {"type": "whereabouts", **ipam}}))


def use(**ipam):
    return NadUse(nad=nad(**ipam), network=Network.STORAGE)


def granted(name, address, *, nad_name=NAD, **changes):
    return pod(name, status=json.dumps([{"name": nad_name, "interface": "lhnet1", "ips": [address]}]), **changes)


def by_id(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.id: finding for finding in findings}


def assert_complete(finding: Finding):
    """Every text is there, the scope is the catalogue's, and commands can be read by a shell."""
    assert finding.scope is CATALOGUE[finding.id].scope
    assert all((finding.summary, finding.seen, finding.expected, finding.next_step, finding.clears_when))
    assert len(identity(finding)) == 1 + len(CATALOGUE[finding.id].keys)
    assert not finding.summary.endswith(".")
    assert len(finding.summary) <= 140
    assert commands(finding)
    for command in commands(finding):
        assert shlex.split(command)[0] in ("kubectl", "lhnet-agent")
    assert not re.search(r"kubectl|lhnet-agent ", " ".join(finding.next_step.split("`")[::2])), "a command outside backticks"


def commands(finding: Finding) -> list[str]:
    """What stands in backticks; serve/text.py prints each on a line of its own."""
    parts = finding.next_step.split("`")
    assert len(parts) % 2, "every backtick has its twin"
    return parts[1::2]


def test_a_full_29_without_leaks_asks_for_a_larger_range():
    found = by_id(pool_findings(judged("full-29.yaml", pod_namespaces=())))
    finding = found["pool-exhausted"]
    assert_complete(finding)
    assert (finding.severity, finding.culprit, finding.reason) == (Severity.CRITICAL, "kube-system/172.16.0.0-29", "in_use")
    assert finding.summary.startswith("pool kube-system/172.16.0.0-29 has no free address for harvester-system/storagenetwork-sdfg8")
    assert "172.16.0.1 – 172.16.0.6, 6 addresses to give: 6 listed in the pool" in finding.seen
    assert finding.summary.endswith(": all 6 are taken")
    assert commands(finding) == [
        "lhnet-agent plan-range --range 172.16.0.0/28",
        "kubectl edit settings.harvesterhci.io storage-network",
    ]
    assert "pool-nearly-full" not in found


def test_a_29_full_of_orphans_is_emptied_by_hand():
    found = by_id(pool_findings(judged("full-29.yaml")))
    finding = found["pool-exhausted"]
    assert finding.reason == "leaked"
    assert finding.summary.endswith(": 6 of 6 are kept for pods that are gone or moved on")
    assert "kubectl -n kube-system patch ippools.whereabouts.cni.cncf.io 172.16.0.0-29 --type=json -p" in finding.next_step
    assert "plan-range" not in finding.next_step
    assert found["allocation-orphaned"].severity is Severity.INFO


def test_reservations_alone_exhaust_and_are_dropped_by_name():
    found = by_id(pool_findings(judged("reservations-only.yaml", pod_namespaces=("dns",))))
    finding = found["pool-exhausted"]
    assert_complete(finding)
    assert "0 listed in the pool, 2 more kept by reservations" in finding.seen
    assert "kubectl -n kube-system delete overlappingrangeipreservations.whereabouts.cni.cncf.io 10.0.0.98" in finding.next_step
    assert_complete(found["reservation-orphaned"])
    assert "allocation-orphaned" not in found


def test_a_healthy_pool_says_nothing():
    assert pool_findings(judged("healthy-24.yaml", pod_namespaces=())) == ()


def test_orphans_are_listed_with_their_pods_and_the_patch_is_safe_to_paste():
    finding = by_id(pool_findings(judged("leaks-28.yaml", "leaks-28-pods.yaml")))["allocation-orphaned"]
    assert_complete(finding)
    assert finding.summary == "4 entries of pool kube-system/10.10.0.0-28 are kept for pods that are gone or hold another address"
    assert "10.10.0.5 for longhorn-system/backing-image-ds-default-image-7hk2d: no pod of this name" in finding.evidence
    look, command = commands(finding)
    assert look == "kubectl -n longhorn-system get pod backing-image-ds-default-image-7hk2d"
    patch = json.loads(shlex.split(command)[-1])
    assert patch == [
        {"op": "test", "path": "/spec/allocations/5/podref", "value": "longhorn-system/backing-image-ds-default-image-7hk2d"},
        {"op": "remove", "path": "/spec/allocations/5"},
    ]


def test_orphans_become_a_warning_after_the_nightly_cleaner_passed_them_by():
    first = judged("leaks-28.yaml", now=0.0)
    day = judged("leaks-28.yaml", now=86_400.0, clock=first.clock)
    older = judged("leaks-28.yaml", now=97_200.0, clock=day.clock)
    assert by_id(pool_findings(day))["allocation-orphaned"].severity is Severity.INFO
    finding = by_id(pool_findings(older))["allocation-orphaned"]
    assert (finding.severity, finding.reason) == (Severity.WARNING, "old")
    assert "known as such for 27 h" in finding.seen


def test_orphans_that_eat_the_headroom_are_a_warning_at_once():
    found = by_id(pool_findings(judged("leaks-28.yaml", "leaks-28-pods.yaml", demand=Demand(steady=8, upgrade=14))))
    assert (found["allocation-orphaned"].severity, found["allocation-orphaned"].reason) == (Severity.WARNING, "headroom")
    finding = found["upgrade-headroom"]
    assert_complete(finding)
    assert finding.summary == "an upgrade would need 14 addresses of pool kube-system/10.10.0.0-28, which has room for 10"
    assert "plan-range" not in finding.next_step, "removing the four leaks is enough"


def test_headroom_that_no_clean_up_can_give_asks_for_a_larger_range():
    found = by_id(pool_findings(judged("leaks-28.yaml", "leaks-28-pods.yaml", demand=Demand(steady=8, upgrade=20))))
    assert "that gives 20 addresses during an upgrade" in found["upgrade-headroom"].next_step
    assert "lhnet-agent plan-range --range 10.10.0.0/27" in commands(found["upgrade-headroom"])


def test_in_the_middle_of_an_upgrade_both_generations_count_as_room():
    names = [f"im{number}" for number in range(1, 13)]
    record = PoolRecord(
        namespace="kube-system",
        name="10.10.0.0-28",
        range="10.10.0.0/28",
        allocations=tuple(Allocation(key=name[2:], podref=f"longhorn-system/{name}") for name in names),
    )
    pods = pod_uses([granted(name, f"10.10.0.{name[2:]}") for name in names])
    wanted = replace(use(range="10.10.0.0/28"), demand=Demand(steady=6, upgrade=12))
    found = by_id(pool_findings(judge_pools(PoolFacts(pools=(record,), pods=pods, nads=(wanted,)), clock=SeenClock(), now=0)))
    assert "upgrade-headroom" not in found


def test_a_pool_with_a_tenth_left_is_nearly_full():
    record = PoolRecord(
        namespace="kube-system",
        name="10.0.0.0-24",
        range="10.0.0.0/24",
        allocations=tuple(Allocation(key=str(number), podref="x/y") for number in range(1, 231)),
    )
    state = judge_pools(PoolFacts(pools=(record,), nads=(use(range="10.0.0.0/24"),)), clock=SeenClock(), now=0)
    finding = by_id(pool_findings(state))["pool-nearly-full"]
    assert_complete(finding)
    assert finding.summary == f"pool kube-system/10.0.0.0-24 has 24 addresses left of 254 for {NAD}"
    assert pool_findings(state, limits=Limits(free_ratio=0.05)) == ()


def test_a_pool_that_cannot_be_counted_raises_nothing():
    record = PoolRecord(namespace="kube-system", name="10.0.0.0-24", range="10.0.0.9/24", allocations=(Allocation(key="1", podref="x/y"),))
    state = judge_pools(PoolFacts(pools=(record,), nads=(use(range="10.0.0.0/24"),)), clock=SeenClock(), now=0)
    assert pool_findings(state) == ()


def test_missing_allocations_name_the_pod_and_who_has_the_entry():
    record = PoolRecord(namespace="kube-system", name="10.0.0.0-24", range="10.0.0.0/24", allocations=(Allocation(key="1", podref="x/y"),))
    state = judge_pools(
        PoolFacts(
            pools=(record,), nads=(use(range="10.0.0.0/24"),), pods=pod_uses([granted("im", "10.0.0.1"), granted("bim", "10.0.0.7")])
        ),
        clock=SeenClock(),
        now=0,
    )
    finding = by_id(pool_findings(state))["allocation-missing"]
    assert_complete(finding)
    assert finding.summary == "pool kube-system/10.0.0.0-24 does not list 10.0.0.1 for im, which holds it; 1 more alike"
    assert finding.seen == "10.0.0.1 granted to longhorn-system/im on harv41, listed for x/y"
    assert finding.evidence == ("10.0.0.7 granted to longhorn-system/bim on harv41, listed for nobody",)


def test_a_left_over_pool_is_shown_with_the_way_to_remove_it():
    record = PoolRecord(
        namespace="kube-system", name="10.0.0.0-24", range="10.0.0.0/24", allocations=(Allocation(key="1", podref="longhorn-system/im"),)
    )
    (finding,) = pool_findings(judge_pools(PoolFacts(pools=(record,)), clock=SeenClock(), now=0))
    assert_complete(finding)
    assert (finding.id, finding.severity, finding.subject.pool) == ("pool-leftover", Severity.INFO, "kube-system/10.0.0.0-24")
    assert commands(finding)[-1] == "kubectl -n kube-system delete ippools.whereabouts.cni.cncf.io 10.0.0.0-24"
    assert finding.seen == "1 entry in it, 0 reservations on its addresses"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.0.0.9", "1 entry of pool kube-system/10.0.0.0-24 is kept for a pod that holds another address"),
        (None, "1 entry of pool kube-system/10.0.0.0-24 is kept for a pod that is gone"),
    ],
)
def test_one_leak_is_told_in_the_singular(address, words):
    record = PoolRecord(
        namespace="kube-system", name="10.0.0.0-24", range="10.0.0.0/24", allocations=(Allocation(key="1", podref="longhorn-system/im"),)
    )
    pods = pod_uses([granted("im", address)] if address else [])
    state = judge_pools(PoolFacts(pools=(record,), nads=(use(range="10.0.0.0/24"),), pods=pods), clock=SeenClock(), now=0)
    finding = by_id(pool_findings(state))["allocation-orphaned"]
    assert_complete(finding)
    assert finding.summary == words
    assert "others" not in finding.next_step


def test_a_full_pool_whose_addresses_serve_uploads_names_the_guides_other_way_out():
    names = ["backing-image-ds-default-image-7hk2d", "im"]
    record = PoolRecord(
        namespace="kube-system",
        name="10.0.0.0-30",
        range="10.0.0.0/30",
        allocations=tuple(Allocation(key=str(key), podref=f"longhorn-system/{name}") for key, name in enumerate(names, start=1)),
    )
    pods = pod_uses([granted(name, f"10.0.0.{key}") for key, name in enumerate(names, start=1)])
    state = judge_pools(PoolFacts(pools=(record,), nads=(use(range="10.0.0.0/30"),), pods=pods), clock=SeenClock(), now=0)
    finding = by_id(pool_findings(state))["pool-exhausted"]
    assert_complete(finding)
    assert finding.next_step.startswith(
        "1 address serves an image up- or download: let them end, or delete these images; if that is not enough, "
    )
    assert commands(finding)[-1] == "kubectl edit settings.harvesterhci.io storage-network"


def test_a_leaked_reservation_of_an_address_that_was_given_again_is_no_reason_for_a_full_pool():
    record = PoolRecord(
        namespace="kube-system",
        name="10.0.0.0-30",
        range="10.0.0.0/30",
        allocations=tuple(Allocation(key=key, podref=f"longhorn-system/im-{key}") for key in ("1", "2")),
    )
    stale = ReservationRecord(namespace="kube-system", name="10.0.0.2", podref="longhorn-system/gone", interface=None)
    pods = pod_uses([granted("im-1", "10.0.0.1"), granted("im-2", "10.0.0.2")])
    facts = PoolFacts(pools=(record,), reservations=(stale,), nads=(use(range="10.0.0.0/30"),), pods=pods)
    found = by_id(pool_findings(judge_pools(facts, clock=SeenClock(), now=0)))
    assert found["pool-exhausted"].evidence == ()
    assert found["pool-exhausted"].summary.endswith(": all 2 are taken")
    assert (
        found["reservation-orphaned"].summary == "1 reservation on addresses of pool kube-system/10.0.0.0-30 is kept for a pod that is gone"
    )


@pytest.mark.parametrize(
    "podref", ["longhorn-system/$(reboot)", "longhorn-system/a'; reboot; '", "longhorn-system/a\nreboot", "longhorn-system/"]
)
def test_a_podref_that_is_no_name_never_gets_into_a_command(podref):
    record = PoolRecord(namespace="kube-system", name="10.0.0.0-24", range="10.0.0.0/24", allocations=(Allocation(key="1", podref=podref),))
    state = judge_pools(PoolFacts(pools=(record,), nads=(use(range="10.0.0.0/24"),)), clock=SeenClock(), now=0)
    finding = by_id(pool_findings(state))["allocation-orphaned"]
    assert "reboot" not in finding.next_step
    assert "\n" not in "".join(finding.evidence)


# --- what the configuration alone tells


def test_the_range_of_issue_6256_is_unusable_and_its_exclude_widened():
    found = by_id(nad_findings((use(range="192.168.205.0/24", exclude=["192.168.205.1/24"]),)))
    unusable, widened = found["range-unusable"], found["exclude-widened"]
    assert_complete(unusable)
    assert_complete(widened)
    assert (unusable.severity, unusable.culprit) == (Severity.CRITICAL, "kube-system/192.168.205.0-24")
    assert (widened.severity, widened.culprit, widened.subject.nad) == (Severity.WARNING, NAD, NAD)
    assert unusable.summary.endswith("even from an empty pool: its excludes leave nothing of 192.168.205.0/24")
    assert widened.summary == f"exclude 192.168.205.1/24 of {NAD} leaves out all of 192.168.205.0/24"
    assert widened.seen == "253 addresses fewer to give than as written"


def test_a_widened_exclude_that_costs_nothing_is_information():
    (finding,) = nad_findings((use(range="192.168.100.0/24", exclude=["192.168.100.0/28", "192.168.100.14/30"]),))
    assert (finding.id, finding.severity) == ("exclude-widened", Severity.INFO)


@pytest.mark.parametrize(
    "ipam", [{"range": "192.168.0.0/31"}, {"range": "nonsense"}, {}, {"range": "10.0.0.0/24", "exclude": ["10.0.0.1/99"]}]
)
def test_a_range_that_whereabouts_refuses_is_unusable(ipam):
    (finding,) = nad_findings((use(**ipam),))
    assert finding.id == "range-unusable"
    assert_complete(finding)


def test_an_unusable_range_is_not_also_exhausted():
    state = judge_pools(PoolFacts(nads=(use(range="192.168.205.0/24", exclude=["192.168.205.0/24"]),)), clock=SeenClock(), now=0)
    assert pool_findings(state) == ()


def test_a_broken_nad_does_not_hide_that_its_neighbour_is_exhausted():
    broken = NadUse(nad=nad(name="harvester-system/broken", range="10.10.0.0/30", exclude=["10.10.0.0/30"]), network=Network.STORAGE)
    record = PoolRecord(
        namespace="kube-system",
        name="10.10.0.0-30",
        range="10.10.0.0/30",
        allocations=tuple(Allocation(key=key, podref="x/y") for key in ("1", "2")),
    )
    state = judge_pools(PoolFacts(pools=(record,), nads=(broken, use(range="10.10.0.0/30"))), clock=SeenClock(), now=0)
    assert by_id(pool_findings(state))["pool-exhausted"].subject.nad == NAD


def test_a_good_nad_and_one_that_is_not_whereabouts_say_nothing():
    other = NadUse(nad=parse_nad(NAD, '{"type":"macvlan","ipam":{"type":"static"}}'), network=Network.STORAGE)
    assert nad_findings((use(range="192.168.0.0/24", exclude=["192.168.0.1/32"]), other)) == ()


# --- two owners


def duplicates(pods, *, nads=None, **changes):
    return address_duplicates(pod_uses(pods), nads=nads or (nad(range="10.10.0.0/28"),), now=1000.0, **changes)


def test_two_live_pods_with_one_address_are_one_finding():
    (finding,) = duplicates([granted("im-b", "10.10.0.2", node="harv42"), granted("im-a", "10.10.0.2"), granted("im-c", "10.10.0.3")])
    assert_complete(finding)
    assert finding.culprit == "10.10.0.2"
    assert (finding.subject.pod, finding.subject.peer_pod) == ("longhorn-system/im-a", "longhorn-system/im-b")
    assert finding.summary == "10.10.0.2 was granted to two live pods: im-a on harv41 and im-b on harv42"


def test_the_pod_that_the_pool_lists_is_not_the_one_to_delete():
    record = PoolRecord(
        namespace="kube-system",
        name="10.10.0.0-28",
        range="10.10.0.0/28",
        allocations=(Allocation(key="2", podref="longhorn-system/im-a"),),
    )
    pods = [granted("im-a", "10.10.0.2"), granted("im-b", "10.10.0.2")]
    states = judge_pools(
        PoolFacts(pools=(record,), nads=(use(range="10.10.0.0/28"),), pods=pod_uses(pods)), clock=SeenClock(), now=0
    ).states
    (finding,) = duplicates(pods, states=states)
    assert finding.evidence == ("pool kube-system/10.10.0.0-28 lists 10.10.0.2 for longhorn-system/im-a",)
    assert finding.next_step.startswith("im-a is the one that the pool lists; detach the volumes that im-b serves")
    assert commands(finding) == ["kubectl -n longhorn-system delete pod im-b"]


@pytest.mark.parametrize(
    "other",
    [
        granted("im-b", "10.10.0.2", phase="Failed"),
        replace(granted("im-b", "10.10.0.2"), deleted=True),
        granted("im-b", "10.10.0.2", node="harv43"),
        replace(granted("im-b", "10.10.0.2"), born_monotonic_seconds=999.0),
        granted("im-b", "10.10.0.2", nad_name="default/somebody-elses"),
    ],
    ids=["failed", "terminating", "on a node that is down", "young", "other network"],
)
def test_what_is_no_duplicate(other):
    assert duplicates([granted("im-a", "10.10.0.2"), other], nodes_down=("harv43",)) == ()


def test_the_same_address_on_another_vlan_is_no_duplicate_on_the_same_one_it_is():
    first, elsewhere = nad(range="10.10.0.0/28"), nad(name="harvester-system/rwx", vlan=200, range="10.10.0.0/29")
    pods = [granted("im-a", "10.10.0.2"), granted("im-b", "10.10.0.2", nad_name="harvester-system/rwx")]
    assert duplicates(pods, nads=(first, elsewhere)) == ()
    here = nad(name="harvester-system/rwx", vlan=100, range="10.10.0.0/29")
    assert len(duplicates(pods, nads=(first, here))) == 1


def test_hundreds_of_pods_with_one_address_stay_a_hundred_findings():
    assert len(duplicates([granted(f"im-{number}", "10.10.0.2") for number in range(300)])) == 100
