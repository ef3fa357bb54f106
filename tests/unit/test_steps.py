"""Steps from plain facts: what each state of a cluster makes of `check`, and that no text of anybody's can break it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unitworld import NAD, record, status_text

from agent.model.cluster import ClusterFacts, Known
from agent.model.holder import HolderFacts, InstanceManagerRecord
from agent.model.peers import Mode
from agent.model.records import (
    ConditionRecord,
    EventRecord,
    LonghornSettingRecord,
    NadRecord,
    PodRecord,
    SettingRecord,
    SourceState,
    SourceStatus,
)
from agent.model.steps import AgentWay, MeshAnswer, Places, Report, Result, Step, Survey, worst
from agent.rules.mode import Reading, read_mode
from agent.rules.netstatus import NETWORK_STATUS, NETWORKS
from agent.rules.setting_value import value_hash
from agent.rules.steps import Trouble, apart, few, judged, plain, softened, unread
from agent.rules.steps_addresses import addresses_step
from agent.rules.steps_all import check_report
from agent.rules.steps_check import pods_step, setting_step

KEYS = "storage-network.settings.harvesterhci.io"
VALUE = '{"vlan":100,"clusterNetwork":"storage","range":"192.168.0.0/24"}'
CONFIG = '{"type":"bridge","bridge":"storage-br","vlan":100,"ipam":{"type":"whereabouts","range":"192.168.0.0/24"}}'
DONE = ConditionRecord(type="configured", status="True", reason="Completed")
PLACES = Places()
HEALTHY_MESH = {
    "verdict": "ok",
    "findings": [],
    "nodes": {node: {"verdict": "ok", "findings": []} for node in ("harv41", "harv42")},
    "matrix": [{"tcp": "ok", "pairs": 1, "failing": 0}, {"tcp": "ok", "pairs": 1, "failing": 0}],
}


def known(name: str, *items, state: SourceState = SourceState.LIVE, detail: str | None = None, skipped: tuple[str, ...] = ()) -> Known:
    return Known(items=items, status=SourceStatus(name=name, state=state, detail=detail), skipped=skipped)


def setting(value: str | None = VALUE, *, nad: str = NAD, condition: ConditionRecord | None = DONE, **annotations: str) -> SettingRecord:
    made = SettingRecord(name="storage-network", value=value, conditions=(condition,) if condition else ())
    return replace(made, annotations={f"{KEYS}/hash": value_hash(made), f"{KEYS}/net-attach-def": nad} | annotations)


def survey(**parts) -> Survey:
    """A healthy cluster of two nodes, whose agents say so; `parts` replace its sources."""
    mesh = parts.pop("mesh", known("agents", MeshAnswer(node="harv41", document=HEALTHY_MESH, way=AgentWay(command="curl", direct=True))))
    pods = (
        record("instance-manager-a", ready=True),
        record("instance-manager-b", node="harv42", address="192.168.0.3", pod_ip="10.52.1.121", ready=True),
    )
    cluster = {
        "pods": known("pods", *pods),
        "agent_pods": known("agent_pods", PodRecord(namespace="lhnet-system", name="a", uid="a", node="harv41", phase="Running")),
        "setting": known("setting", setting()),
        "longhorn_settings": known("longhorn_settings", LonghornSettingRecord(name="storage-network", value=NAD, applied=True)),
        "nads": known("nads", NadRecord(namespace="harvester-system", name="storagenetwork-95bj4", config=CONFIG)),
    }
    managers = (
        InstanceManagerRecord(name="instance-manager-a", node_id="harv41", state="running"),
        InstanceManagerRecord(name="instance-manager-b", node_id="harv42", state="running"),
    )
    holder = {
        "nodes": known("nodes"),
        "events": known("events"),
        "instance_managers": known("instance_managers", *managers),
    }
    for name, part in parts.items():
        (cluster if name in cluster else holder)[name] = part
    return Survey(cluster=ClusterFacts(**cluster), holder=HolderFacts(**holder), mesh=mesh)


def check(**parts) -> Report:
    made = survey(**parts)
    return check_report(made, read_mode(made.cluster, interface="lhnet1"), places=PLACES)


def results(report: Report) -> list[str]:
    return [str(step.result) for step in report.steps]


def step_of(result: Result, *, counts: bool = True) -> Step:
    return Step(title="x", result=result, seen="", expected="", counts=counts)


@pytest.mark.parametrize(
    ("given_results", "overall", "status"),
    [
        ("ok ok", "ok", 0),
        ("ok unknown", "unknown", 3),
        ("unknown warning", "warning", 1),
        ("unknown warning critical", "critical", 2),
        ("", "ok", 0),
    ],
)
def test_the_result_is_the_worst_step(given_results: str, overall: str, status: int) -> None:
    report = Report(steps=tuple(step_of(Result(word)) for word in given_results.split()))
    assert (report.result, report.result.exit_status) == (overall, status)


def test_a_step_that_nobody_could_ask_does_not_count() -> None:
    assert Report(steps=(step_of(Result.OK), step_of(Result.UNKNOWN, counts=False))).result is Result.OK
    assert worst(()) is Result.OK


def test_the_json_has_the_contracts_keys_in_order() -> None:
    step = Step(title="pods", result=Result.WARNING, seen="s", expected="e", next_step="look", commands=("kubectl get a", "kubectl get b"))
    document = Report(steps=(step,)).as_dict()
    assert list(document) == ["schema", "result", "steps"]
    assert document["steps"] == [
        {"step": 1, "title": "pods", "result": "warning", "seen": "s", "expected": "e", "next_step": "look: kubectl get a; kubectl get b"}
    ]


def test_troubles_are_told_worst_first_and_the_rest_counted() -> None:
    mild = [Trouble(result=Result.UNKNOWN, what=f"u{i}", next_step="no") for i in range(3)]
    step = judged(
        "x", fine="", expected="", troubles=[*mild, Trouble(result=Result.CRITICAL, what="bad", next_step="yes", commands=("c",))]
    )
    assert (step.result, step.next_step, step.commands) == (Result.CRITICAL, "yes", ("c",))
    assert step.seen == "bad; u0; u1; and 1 more"


def test_what_is_expected_just_now_is_no_more_than_a_warning() -> None:
    troubles = [Trouble(result=Result.CRITICAL, what="a", commands=("c",)), Trouble(result=Result.UNKNOWN, what="b")]
    assert [one.result for one in softened(troubles)] == [Result.WARNING, Result.UNKNOWN]
    assert softened(troubles)[0].commands == ("c",)


def test_names_are_listed_up_to_three() -> None:
    assert few(["a", "b", "c"]) == "a, b, c"
    assert few(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_a_next_step_is_taken_apart_into_sentence_and_commands() -> None:
    assert apart("see both: `kubectl get a`; `kubectl get b`; then wait") == ("see both; then wait", ("kubectl get a", "kubectl get b"))
    assert apart("nothing to do") == ("nothing to do", ())


@given(st.text())
def test_foreign_text_becomes_one_printable_line(text: str) -> None:
    line = plain(text)
    assert line.isprintable()
    assert len(line) <= 300


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (SourceState.FORBIDDEN, "pods may not be read: 403"),
        (SourceState.ABSENT, "the cluster has no pods"),
        (SourceState.NEVER, "pods could not be read: 403"),
    ],
)
def test_a_source_that_was_not_read_says_why(state: SourceState, words: str) -> None:
    trouble = unread(known("pods", state=state, detail="403"), what="pods")
    assert trouble is not None
    assert (trouble.result, trouble.what) == (Result.UNKNOWN, words)


def test_a_healthy_cluster() -> None:
    report = check()
    assert results(report) == ["ok", "ok", "ok", "ok"]
    assert report.result is Result.OK
    assert report.steps[1].seen == "2 of 2 storage pods run"
    assert report.steps[2].seen == "2 pods with lhnet1 in 192.168.0.0/24, no address twice"


def test_nothing_was_read_at_all() -> None:
    report = check_report(Survey(), Reading(), places=PLACES)
    assert results(report) == ["unknown"] * 4
    assert report.result is Result.UNKNOWN


@pytest.mark.parametrize(
    ("one", "mode", "result", "words"),
    [
        (setting(None, nad="", condition=None), Mode.APPLYING, "warning", "not completed"),
        (SettingRecord(name="storage-network"), Mode.UNINITIALISED, "critical", "never used"),
        (setting("", nad=""), Mode.OFF, "critical", "although its condition says Completed"),
        (setting(condition=replace(DONE, status="False", message="Stopping Pods")), Mode.APPLYING, "warning", "Stopping Pods"),
        (
            setting(condition=replace(DONE, status="False", message="IP allocation failure for Longhorn Pods")),
            Mode.APPLYING,
            "critical",
            "tries again for ever",
        ),
        (setting(nad="harvester-system/other"), Mode.ON, "critical", "Longhorn's setting is"),
        (setting("{vlan:100}"), Mode.ON, "warning", "cannot be read"),
        (setting(**{f"{KEYS}/hash": "another"}), Mode.ON, "warning", "has not taken up its present value"),
        (setting('{"vlan":101,"clusterNetwork":"storage","range":"192.168.0.0/24"}'), Mode.ON, "warning", "vlan"),
    ],
)
def test_step_1_in_every_state_of_the_setting(one: SettingRecord, mode: Mode, result: str, words: str) -> None:
    """In two of them Longhorn still names the NAD, which is what makes them critical."""
    made = survey(setting=known("setting", one))
    reading = read_mode(made.cluster, interface="lhnet1")
    step = setting_step(made, reading, places=PLACES)
    assert (reading.mode, step.result) == (mode, result)
    assert words in step.seen


def test_switched_off_in_both_settings_is_a_warning_not_a_success() -> None:
    longhorn = known("longhorn_settings", LonghornSettingRecord(name="storage-network", value=""))
    report = check(setting=known("setting", setting("", nad="")), longhorn_settings=longhorn)
    assert results(report)[:3] == ["warning", "ok", "ok"]
    assert all("not applicable" in step.seen for step in report.steps[1:3])


def test_longhorn_that_has_not_applied_its_setting_yet() -> None:
    longhorn = known("longhorn_settings", LonghornSettingRecord(name="storage-network", value=NAD, applied=False))
    report = check(longhorn_settings=longhorn)
    assert results(report)[0] == "warning"
    assert "kubectl -n longhorn-system get volumes.longhorn.io" in report.steps[0].commands


def test_an_instance_manager_object_that_is_stopped_wants_no_pod() -> None:
    stopped = InstanceManagerRecord(name="gone", node_id="harv41", state="stopped")
    made = survey()
    managers = known("instance_managers", *made.holder.instance_managers.items, stopped)
    assert results(check(instance_managers=managers))[1] == "ok"


def test_of_several_events_the_one_with_the_reason_is_told() -> None:
    young = record("instance-manager-a", phase="Pending", address=None)
    texts = (
        (1.0, "Failed to create pod sandbox: rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
        (9.0, 'error adding container to network "storagenetwork-95bj4": error at storage engine: Could not allocate IP in range: '
        "ip: 192.168.0.1 / - 192.168.0.6 / range: 192.168.0.0/29 / excludeRanges: []"),
    )  # fmt: skip
    events = [
        EventRecord(uid=str(age), namespace="longhorn-system", pod="instance-manager-a", message=text, last_seen_age_seconds=age)
        for age, text in texts
    ]
    made = survey(pods=known("pods", young), events=known("events", *events))
    step = pods_step(made, read_mode(made.cluster, interface="lhnet1"), places=PLACES)
    assert step.result is Result.CRITICAL
    assert "ip_exhausted" in step.seen


def test_while_the_setting_is_applied_missing_grants_are_a_warning() -> None:
    busy = setting(condition=replace(DONE, status="False", message="Restarting Pods"))
    report = check(setting=known("setting", busy), pods=known("pods", record(address=None, ready=True)))
    assert results(report)[2] == "warning"
    assert "the setting is being applied" in report.steps[2].seen


def test_terminating_and_ended_pods_are_nobodys_fault() -> None:
    made = survey()
    more = (record("old", deleted=True, address=None), record("older", phase="Failed"), record("done", phase="Succeeded"))
    assert results(check(pods=known("pods", *made.cluster.pods.items, *more)))[:3] == ["ok", "ok", "ok"]


def test_no_pod_at_all_is_not_health() -> None:
    report = check(pods=known("pods"), instance_managers=known("instance_managers"))
    assert results(report)[1:3] == ["critical", "unknown"]


def test_an_address_that_is_excluded_is_not_in_the_range() -> None:
    config = CONFIG.replace('"range"', '"exclude":["192.168.0.2/32"],"range"')
    report = check(nads=known("nads", NadRecord(namespace="harvester-system", name="storagenetwork-95bj4", config=config)))
    assert results(report)[2] == "critical"
    assert "192.168.0.2 is not one that 192.168.0.0/24 gives out" in report.steps[2].seen


@given(
    value=st.text(max_size=60),
    networks=st.text(max_size=60),
    granted=st.text(max_size=60) | st.just(status_text("999.1.1.1")) | st.just("[" * 5000),
    config=st.text(max_size=60) | st.just('{"ipam":{"type":"whereabouts","range":[]}}'),
    message=st.text(max_size=80),
)
def test_no_text_of_anybodys_raises(value: str, networks: str, granted: str, config: str, message: str) -> None:
    pod = record(ready=True, annotations={NETWORKS: networks or "x", NETWORK_STATUS: granted})
    pending = record("instance-manager-p", phase=message or None, annotations={})
    event = EventRecord(uid="e", namespace="longhorn-system", pod="instance-manager-p", message=message)
    report = check(
        setting=known("setting", setting(value)),
        pods=known("pods", pod, pending),
        nads=known("nads", NadRecord(namespace="harvester-system", name="storagenetwork-95bj4", config=config)),
        events=known("events", event),
    )
    assert report.result is not Result.OK
    assert all(step.seen.isprintable() for step in report.steps)


def test_a_thousand_pods_make_a_paragraph() -> None:
    pods = [record(f"instance-manager-{i:04}", address=None, ready=True) for i in range(1000)]
    made = survey(pods=known("pods", *pods), instance_managers=known("instance_managers"))
    step = addresses_step(made, read_mode(made.cluster, interface="lhnet1"), places=PLACES)
    assert "997 more pods" in step.seen
    assert len(step.seen) < 700
