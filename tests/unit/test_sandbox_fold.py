"""Events over time: what stands at a pod, what ends it, and the finding and rows that people see."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_cases import FULL_NEW, FULL_OLD

from agent.model.catalogue import identity
from agent.model.events import Cause, NetworkKind
from agent.model.finding import Finding, Severity
from agent.model.peers import Grant, Network, Role, StoragePod
from agent.model.records import EventRecord, PodRecord
from agent.rules.sandbox_findings import failing_pods, findings, rows, settled
from agent.rules.sandbox_fold import MAX_MESSAGE_CHARS, MAX_PODS, MAX_SEEN, Networks, SandboxState, fold, fold_all

NAD = "harvester-system/storagenetwork-95bj4"
NETWORKS = Networks(storage_nads=frozenset({NAD}), rwx_nads=frozenset())
WALL = 1_795_000_000.0


def pod(name: str = "im-1", *, uid: str = "u1", phase: str = "Pending", granted: bool = False) -> StoragePod:
    return StoragePod(
        record=PodRecord(namespace="longhorn-system", name=name, uid=uid, node="harv43", phase=phase),
        role=Role.INSTANCE_MANAGER,
        network=Network.STORAGE,
        interface="lhnet1",
        grant=Grant(nad=NAD, interface="lhnet1") if granted else None,
    )


def on(network: str, reason: str, *, name: str = "im-1") -> str:
    return (
        f"Failed to create pod sandbox: rpc error: code = Unknown desc = [longhorn-system/{name}/u1:{network}]: error adding container to "
        f'network "{network}": {reason}'
    )


FULL = on("storagenetwork-95bj4", "error at storage engine: " + FULL_NEW)
LOCK = on("storagenetwork-95bj4", "error at storage engine: time limit exceeded while waiting to become leader")
DEADLINE = "Failed to create pod sandbox: rpc error: code = DeadlineExceeded desc = context deadline exceeded"
POD_NETWORK_FULL = on("k8s-pod-network", "failed to allocate for range 0: no IP addresses available in range set: 10.52.0.1-10.52.0.254")


def event(
    message: str,
    *,
    uid: str = "e1",
    count: int = 1,
    age: float = 0.0,
    first_age: float | None = None,
    reason: str = "FailedCreatePodSandBox",
    name: str = "im-1",
    pod_uid: str | None = "u1",
) -> EventRecord:
    return EventRecord(
        uid=uid,
        namespace="longhorn-system",
        pod=name,
        pod_uid=pod_uid,
        reason=reason,
        message=message,
        count=count,
        first_seen_age_seconds=age if first_age is None else first_age,
        last_seen_age_seconds=age,
    )


def added(interface: str, network: str, *, age: float = 0.0, uid: str = "a1") -> EventRecord:
    return event(f"Add {interface} [10.1.1.1/24] from {network}", uid=uid, age=age, reason="AddedInterface")


def after(*events: EventRecord, now: float = 1000.0) -> SandboxState:
    return fold_all(SandboxState(), events, now=now, networks=NETWORKS)


def seen(state: SandboxState, *pods: StoragePod, now: float = 1000.0, grace: float = 20.0) -> tuple[Finding, ...]:
    return findings(state, pods=pods or (pod(),), now=now, sandbox_grace_seconds=grace, networks=NETWORKS)


def test_an_exhausted_storage_network_is_critical_after_the_grace_and_not_before() -> None:
    state = after(event(FULL))
    assert seen(state, now=1019.0) == ()
    (finding,) = seen(state, now=1021.0)
    assert (finding.id, finding.severity, finding.reason) == ("sandbox-failing", Severity.CRITICAL, "ip_exhausted")
    assert (finding.network_kind, finding.culprit, finding.subject.node) == ("storage", "longhorn-system/im-1", "harv43")
    assert identity(finding) == ("sandbox-failing", "harv43", "longhorn-system/im-1", "storage")
    assert "no free address in 192.168.7.0/29 (.1 – .6)" in finding.summary
    assert finding.seen == "no sandbox for 21 s, at least 1 attempt"
    assert finding.evidence == (f"ip_exhausted, once: {FULL}",)
    assert finding.clears_when == "the pod runs with its grant or is gone"


def test_a_next_step_on_the_node_names_the_node_that_the_message_does_not() -> None:
    (finding,) = seen(after(event(on("storagenetwork-95bj4", 'failed to find plugin "bridge" in path [/opt/cni/bin]'))), now=1021.0)
    assert finding.next_step.endswith("; list what is there, on harv43: `ls -l /opt/cni/bin`")
    assert "the pod's node" not in finding.next_step


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        (FULL, Severity.CRITICAL),
        (on("storagenetwork-95bj4", "net mask is too short, subnet {10.0.0.0 ffffffff} has no usable IP addresses"), Severity.CRITICAL),
        (on("storagenetwork-95bj4", "k8s get error: the server "
        "could not find the requested resource (get ippools.whereabouts x)"), Severity.CRITICAL),
        (LOCK, Severity.WARNING),
        (on("storagenetwork-95bj4", "k8s get error: context deadline exceeded"), Severity.WARNING),
        (on("vm-vlan", FULL_NEW), Severity.WARNING),
        (POD_NETWORK_FULL, Severity.WARNING),
        (DEADLINE, Severity.WARNING),
        ('Failed to create pod sandbox: Multus: [a/b]: error getting pod: pods "b" not found', Severity.INFO),
    ],
)  # fmt: skip
def test_severity_follows_cause_and_network(message: str, severity: Severity) -> None:
    (finding,) = seen(after(event(message)), now=1100.0)
    assert finding.severity == severity


def test_a_nad_that_is_missing_is_critical_only_if_it_is_the_storage_networks() -> None:
    text = "Failed to create pod sandbox: Multus: [a/b]: cannot find a network-attachment-definition (%s) in namespace (x): not found"
    assert seen(after(event(text % "storagenetwork-95bj4")), now=1100.0)[0].severity == Severity.CRITICAL
    assert seen(after(event(text % "vm-vlan")), now=1100.0)[0].severity == Severity.WARNING


def test_an_events_count_is_no_failure_count_and_a_repeated_event_counts_once() -> None:
    state = after(event(FULL, count=48))
    for count in (48, 47, 49, 49):
        state = fold(state, event(FULL, count=count), now=1000.0, networks=NETWORKS)
    (row,) = rows(state, pods=[pod()], now=1000.0, wall=WALL, networks=NETWORKS)
    assert row.attempts == 2
    assert state.totals == {(Cause.IP_EXHAUSTED, NetworkKind.STORAGE): 2}


def test_events_of_a_first_list_are_shown_but_not_counted_as_seen_live() -> None:
    state = fold(SandboxState(), event(FULL), now=0.0, networks=NETWORKS, live=False)
    assert state.totals == {}
    assert rows(state, pods=[pod()], now=0.0, wall=WALL)


def test_the_deadline_that_follows_does_not_hide_the_cause() -> None:
    """The kubelet rewrites one event: its newest text is an echo of the lock that the one before it named."""
    state = after(event(LOCK, count=3, age=60), event(DEADLINE, count=4, age=1))
    (finding,) = seen(state)
    assert finding.reason == "ipam_lock_timeout"
    assert len(finding.evidence) == 2


def test_a_pod_network_that_was_full_earlier_gives_way_to_what_fails_later_in_an_attempt() -> None:
    state = after(event(POD_NETWORK_FULL, uid="e1", age=300), event(FULL, uid="e2", age=10))
    assert [row.explanation.cause for row in rows(state, pods=[pod()], now=1000.0, wall=WALL, networks=NETWORKS)] == [Cause.IP_EXHAUSTED]
    back = after(event(FULL, uid="e2", age=300), event(POD_NETWORK_FULL, uid="e1", age=10))
    assert {row.explanation.cause for row in rows(back, pods=[pod()], now=1000.0, wall=WALL, networks=NETWORKS)} == {
        Cause.IP_EXHAUSTED,
        Cause.IP_EXHAUSTED_DEFAULT_NET,
    }


def test_eth0_clears_nothing_and_the_storage_interface_clears_all() -> None:
    state = after(event(FULL, age=30))
    state = fold(state, added("eth0", "k8s-pod-network", age=5), now=1000.0, networks=NETWORKS)
    assert seen(state)
    state = fold(state, added("lhnet1", NAD, age=1, uid="a2"), now=1000.0, networks=NETWORKS)
    assert seen(state) == ()
    assert rows(state, pods=[pod()], now=1000.0, wall=WALL) == ()


def test_another_networks_interface_clears_nothing() -> None:
    state = after(event(FULL, age=30), added("net1", "default/vm-vlan", age=5))
    assert seen(state)


def test_a_list_gives_events_in_any_order_and_times_decide() -> None:
    assert seen(after(added("lhnet1", NAD, age=5), event(FULL, age=30))) == ()
    assert seen(after(added("lhnet1", NAD, age=60), event(FULL, age=30)))


def test_a_failure_after_a_success_begins_anew() -> None:
    state = after(event(FULL, age=300), added("lhnet1", NAD, age=200), event(FULL, count=2, age=10, first_age=300))
    (row,) = rows(state, pods=[pod()], now=1000.0, wall=WALL, networks=NETWORKS)
    assert row.attempts == 1
    assert row.first_seen_wall_seconds == WALL - 10


def test_the_first_time_of_an_aggregated_event_is_not_this_causes() -> None:
    state = after(event("(combined from similar events): " + FULL, count=30, age=5, first_age=900))
    (row,) = rows(state, pods=[pod()], now=1000.0, wall=WALL, networks=NETWORKS)
    assert row.first_seen_wall_seconds == WALL - 5


def test_running_with_the_grant_clears_and_running_without_does_not() -> None:
    state = after(event(FULL, age=100))
    assert seen(settled(state, pods=[pod(phase="Running")], pods_live=True, now=1000.0))
    assert settled(state, pods=[pod(phase="Running", granted=True)], pods_live=True, now=1000.0).pods == {}
    assert settled(state, pods=[pod(phase="Failed")], pods_live=True, now=1000.0).pods == {}


def test_a_pod_that_is_gone_or_made_anew_clears_but_only_while_the_list_is_live() -> None:
    state = after(event(FULL, age=100))
    assert settled(state, pods=[], pods_live=True, now=1000.0).pods == {}
    assert settled(state, pods=[pod(uid="u2")], pods_live=True, now=1000.0).pods == {}
    assert settled(state, pods=[], pods_live=False, now=1000.0) == state
    assert seen(state, pod(uid="u2")) == ()


def test_an_event_that_overtakes_its_pod_is_not_forgotten() -> None:
    state = settled(after(event(FULL, age=1)), pods=[], pods_live=True, now=1000.0)
    assert seen(state, now=1030.0)


def test_pods_that_want_no_storage_network_are_nobodys_business() -> None:
    assert seen(after(event(FULL, name="shop", pod_uid="u9"))) == ()


def test_the_setting_may_become_known_after_the_event() -> None:
    early = fold(SandboxState(), event(on("mine", FULL_OLD)), now=1000.0)
    late = Networks(storage_nads=frozenset({"longhorn-system/mine"}))
    (finding,) = findings(early, pods=[pod()], now=1100.0, sandbox_grace_seconds=20, networks=late)
    assert (finding.network_kind, finding.severity) == ("storage", Severity.CRITICAL)
    assert failing_pods(early, pods=[pod()], networks=late) == {(Cause.IP_EXHAUSTED, NetworkKind.STORAGE): 1}


def test_events_about_the_end_of_a_sandbox_are_no_failed_start() -> None:
    killed = event('error killing pod: failed to "KillPodSandbox" for "u1"', reason="FailedKillPod")
    changed = event("Pod sandbox changed, it will be killed and re-created.", reason="SandboxChanged", uid="e2")
    assert seen(after(killed, changed), now=2000.0) == ()


def test_a_row_of_the_events_page_has_the_contracts_keys() -> None:
    (row,) = rows(after(event(FULL, age=60)), pods=[pod()], now=1000.0, wall=WALL, networks=NETWORKS)
    assert row.as_dict() == {
        "pod": "longhorn-system/im-1",
        "cause": "ip_exhausted",
        "network": "storagenetwork-95bj4",
        "network_kind": "storage",
        "range": "192.168.7.0/29",
        "attempts": 1,
        "first_seen": "2026-11-18T11:05:40Z",
        "last_seen": "2026-11-18T11:05:40Z",
        "message": FULL,
    }


def test_memory_is_bounded_whatever_comes() -> None:
    crowd = [event(FULL + " x" * 5000, uid=f"e{number}", name=f"p{number}", age=float(number)) for number in range(MAX_PODS + 40)]
    state = after(*crowd, *(event(DEADLINE, uid=f"s{number}", name="p0") for number in range(MAX_SEEN)))
    assert len(state.pods) == MAX_PODS
    assert len(state.seen) == MAX_SEEN
    assert all(len(failure.message) <= MAX_MESSAGE_CHARS for one in state.pods.values() for failure in one.failures)
    assert ("longhorn-system/p0", "u1") in state.pods
    assert (f"longhorn-system/p{MAX_PODS + 39}", "u1") not in state.pods


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            EventRecord,
            uid=st.sampled_from("abc"),
            namespace=st.just("longhorn-system"),
            pod=st.sampled_from(["im-1", "im-2"]),
            pod_uid=st.sampled_from([None, "u1", ""]),
            reason=st.sampled_from([None, "FailedCreatePodSandBox", "AddedInterface", "Other"]),
            message=st.sampled_from([FULL, DEADLINE, LOCK, "", "Add lhnet1 [10.1.1.1/24]", f"Add lhnet1 [10.1.1.1/24] from {NAD}", "�"]),
            count=st.integers(-1, 5),
            first_seen_age_seconds=st.one_of(st.none(), st.floats(-10, 1e6)),
            last_seen_age_seconds=st.one_of(st.none(), st.floats(-10, 1e6)),
        ),
        max_size=30,
    )
)
def test_no_sequence_of_events_makes_it_fail(events: list[EventRecord]) -> None:
    one_by_one = SandboxState()
    for one in events:
        one_by_one = fold(one_by_one, one, now=1000.0, networks=NETWORKS)
    assert one_by_one == fold_all(SandboxState(), events, now=1000.0, networks=NETWORKS)
    for failing in one_by_one.pods.values():
        assert all(one.first_seen_monotonic_seconds <= one.last_seen_monotonic_seconds <= 1000.0 for one in failing.failures)
    pods = [pod(), pod("im-2")]
    assert len(seen(one_by_one, *pods, now=2000.0)) <= 2
    rows(settled(one_by_one, pods=pods, pods_live=True, now=1000.0), pods=pods, now=1000.0, wall=WALL)
