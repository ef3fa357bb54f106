"""Preflight from plain facts: which network is judged, whether it fits, and what a missing source makes of each step."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_steps import PLACES, known, setting, survey
from unitworld import record

from agent.model.holder import LonghornNodeRecord
from agent.model.records import ClusterNetworkRecord, LonghornSettingRecord, NodeRecord, SettingRecord, SourceState, VlanConfigRecord
from agent.model.steps import AttachmentRecord, DataSourceRecord, Nic, Report, Result, Survey, UplinkRecord, VolumeRecord, Wanted
from agent.rules.mode import read_mode
from agent.rules.steps_all import preflight_report
from agent.rules.steps_longhorn import uplink_step
from agent.rules.steps_range import overlap_step, range_step, size_step
from agent.rules.steps_ready import coverage_step, images_step, volumes_step
from agent.rules.steps_wanted import wanted_of

WANTED = Wanted(range="192.168.0.0/24", cluster_network="storage", vlan=100)
WITNESS = {"node-role.harvesterhci.io/witness": "true"}
CRDS = (
    "ippools.whereabouts.cni.cncf.io",
    "overlappingrangeipreservations.whereabouts.cni.cncf.io",
    "network-attachment-definitions.k8s.cni.cncf.io",
)


def ready(**parts) -> Survey:
    """Two nodes and a witness, everything stopped; `parts` replace its sources."""
    nodes = (
        NodeRecord(name="harv41", internal_ips=("172.19.108.41",), pod_cidrs=("10.52.0.0/24",)),
        NodeRecord(name="harv42", internal_ips=("172.19.108.42",), pod_cidrs=("10.52.1.0/24",)),
        NodeRecord(name="witness", labels=WITNESS),
    )
    pods = [replace(pod, priority_class="longhorn-critical") for pod in survey().cluster.pods.items]
    made = survey(pods=known("pods", *pods), nodes=known("nodes", *nodes))
    cluster = {
        "cluster_networks": known("cluster_network", ClusterNetworkRecord(name="storage")),
        "vlan_configs": known(
            "cluster_network", VlanConfigRecord(name="all", cluster_network="storage", nics=("ens5",), matched_nodes='["harv41","harv42"]')
        ),
    }
    longhorn_nodes = (LonghornNodeRecord(name="harv41", disks=2), LonghornNodeRecord(name="harv42", disks=1))
    holder = {"longhorn_nodes": known("longhorn_nodes", *longhorn_nodes), "crds": known("crds", *CRDS)}
    rest = {
        "more_settings": known("more settings"),
        "more_longhorn_settings": known("more Longhorn settings", LonghornSettingRecord(name="priority-class", value="longhorn-critical")),
        "machines": known("virtual machines"),
        "volumes": known("volumes"),
        "attachments": known("volume attachments"),
        "data_sources": known("image transfers"),
    }
    for name, part in parts.items():
        if name in rest:
            rest[name] = part
        elif name in holder or name == "nodes":
            holder[name] = part
        else:
            cluster[name] = part
    return replace(made, cluster=replace(made.cluster, **cluster), holder=replace(made.holder, **holder), **rest)


def preflight(wanted: Wanted = WANTED, **parts) -> Report:
    made = ready(**parts)
    return preflight_report(made, read_mode(made.cluster, interface="lhnet1"), wanted, places=PLACES, min_mbits=10000)


def wanted(made: Survey, **given_parts) -> Wanted:
    options = {"range_text": None, "exclude": (), "cluster_network": None, "vlan": None} | given_parts
    return wanted_of(made, read_mode(made.cluster, interface="lhnet1"), **options)


def test_a_cluster_that_is_ready() -> None:
    report = preflight()
    assert {step.title: str(step.result) for step in report.steps if step.result is not Result.OK} == {"uplink": "unknown"}
    assert report.result is Result.OK
    assert [len(step.title) <= 13 for step in report.steps] == [True] * 13


def test_nothing_was_read_at_all() -> None:
    made = Survey()
    report = preflight_report(made, read_mode(made.cluster, interface="lhnet1"), Wanted(), places=PLACES, min_mbits=10000)
    assert {step.result for step in report.steps} == {Result.UNKNOWN}


def test_the_settings_value_is_judged_unless_something_else_is_planned() -> None:
    made = survey(setting=known("setting", setting('{"vlan":0,"clusterNetwork":"a","range":"10.1.0.0/24","exclude":["10.1.0.1/32"]}')))
    assert wanted(made) == Wanted(range="10.1.0.0/24", exclude=("10.1.0.1/32",), cluster_network="a", vlan=1)
    assert wanted(made, range_text="10.2.0.0/24") == Wanted(range="10.2.0.0/24", cluster_network="a", vlan=1)
    assert wanted(made, cluster_network="b", vlan=7) == Wanted(range="10.1.0.0/24", exclude=("10.1.0.1/32",), cluster_network="b", vlan=7)


@pytest.mark.parametrize("value", ["[]", "{vlan:1}", '{"range":7}', '{"exclude":"x"}', '{"vlan":true}', "[" * 100_000])
def test_a_value_that_nobody_can_read_is_said(value: str) -> None:
    made = survey(setting=known("setting", setting(value)))
    assert (wanted(made).problem or "").startswith("the setting's value: ")
    assert wanted(made, range_text="10.2.0.0/24").problem is None


def test_without_harvester_the_nad_in_use_tells_the_range() -> None:
    made = survey(setting=known("setting", state=SourceState.ABSENT))
    assert (wanted(made).range, wanted(made).vlan, wanted(made).cluster_network) == ("192.168.0.0/24", 100, None)


@given(st.text(max_size=40), st.text(max_size=20), st.integers(min_value=-5, max_value=70_000), st.text(max_size=40))
def test_no_plan_and_no_annotation_raises(range_text: str, name: str, vlan: int, matched: str) -> None:
    config = VlanConfigRecord(name="v", cluster_network=name, nics=(name,), matched_nodes=matched)
    node = NodeRecord(name="n", internal_ips=(range_text,), pod_cidrs=(range_text, name))
    other = SettingRecord(name="rwx-network", value=json.dumps({"network": {"range": range_text}}))
    report = preflight(
        Wanted(range=range_text, exclude=(name,), cluster_network=name, vlan=vlan),
        vlan_configs=known("cluster_network", config),
        nodes=known("nodes", node),
        more_settings=known("more settings", other, SettingRecord(name="server-version", value=name)),
    )
    assert all(step.seen.isprintable() for step in report.steps)


@pytest.mark.parametrize(
    ("version", "guide"),
    [("v1.1.2", "8 by the guide"), ("v1.2.1", "14 by the guide"), ("v1.7.1", "10 by the guide"), ("master-head", "10 by")],
)
def test_the_guides_formula_of_the_installed_version(version: str, guide: str) -> None:
    made = ready(more_settings=known("more settings", SettingRecord(name="server-version", value=version)))
    assert guide in size_step(made, WANTED).seen


def test_rwx_volumes_and_the_second_engine_need_room_too() -> None:
    shared = SettingRecord(name="rwx-network", value='{"share-storage-network":true}')
    plain = size_step(ready(), WANTED).seen
    made = ready()
    with_rwx = replace(made, cluster=replace(made.cluster, setting=known("setting", setting(), shared)))
    with_v2 = ready(more_longhorn_settings=known("s", LonghornSettingRecord(name="v2-data-engine", value="true")))
    assert "need 5 now, 10 during an upgrade" in plain
    assert "need 39 now" in size_step(with_rwx, WANTED).seen
    assert "need 7 now, 14 during an upgrade" in size_step(with_v2, WANTED).seen


def test_a_small_range_says_which_would_do() -> None:
    step = size_step(ready(), replace(WANTED, range="192.168.0.0/29"))
    assert step.result is Result.CRITICAL
    assert step.seen.startswith("gives 6; ")
    assert step.seen.endswith("a /28 would do")


def test_without_longhorns_nodes_one_disk_is_taken_for_granted_and_witnesses_left_out() -> None:
    made = ready(longhorn_nodes=known("longhorn_nodes", state=SourceState.FORBIDDEN))
    assert "2 nodes, 2 disks (Kubernetes nodes, one disk each taken for granted)" in size_step(made, WANTED).seen


def test_a_certain_overlap_beats_a_documented_one() -> None:
    step = overlap_step(ready(), replace(WANTED, range="10.52.0.0/16"))
    assert step.result is Result.CRITICAL
    assert "the pods of harv41" in step.seen
    assert "default" not in step.seen
    assert overlap_step(ready(), replace(WANTED, range="10.53.0.0/24")).result is Result.WARNING


def test_unreadable_nodes_leave_the_overlap_open_but_not_what_is_known() -> None:
    made = ready(nodes=known("nodes", state=SourceState.FORBIDDEN))
    assert overlap_step(made, WANTED).result is Result.UNKNOWN
    assert overlap_step(made, replace(WANTED, range="10.53.0.0/24")).result is Result.WARNING


def test_a_range_that_is_no_range() -> None:
    assert range_step(ready(), replace(WANTED, range="lots")).result is Result.CRITICAL
    assert overlap_step(ready(), replace(WANTED, range="lots")).result is Result.UNKNOWN


def test_a_vlan_config_of_another_network_covers_nobody() -> None:
    other = VlanConfigRecord(name="vm", cluster_network="vm", matched_nodes='["harv41","harv42"]')
    step = coverage_step(ready(vlan_configs=known("cluster_network", other)), WANTED)
    assert (step.result, step.seen) == (Result.CRITICAL, "no VlanConfig of storage covers harv41, harv42")


def test_holders_of_a_volume_are_pods_if_known_and_tickets_otherwise() -> None:
    volumes = known(
        "volumes",
        VolumeRecord(name="pvc-a", state="attached", workloads=("shop/db-0",)),
        VolumeRecord(name="pvc-b", state="attaching"),
        VolumeRecord(name="pvc-c"),
    )
    tickets = known(
        "t", AttachmentRecord(volume="pvc-a", holders=("csi-attacher on harv41",)), AttachmentRecord(volume="pvc-b", holders=("x on y",))
    )
    seen = volumes_step(ready(volumes=volumes, attachments=tickets), places=PLACES).seen
    assert "pvc-a (attached, held by shop/db-0)" in seen
    assert "pvc-b (attaching, held by x on y)" in seen
    assert "pvc-c (in no state)" in seen


def test_a_transfer_and_its_pod_are_one() -> None:
    made = ready(data_sources=known("image transfers", DataSourceRecord(name="win11", state="in-progress")))
    pod = record("backing-image-ds-win11", component="backing-image-data-source")
    made = replace(made, cluster=replace(made.cluster, pods=known("pods", pod)))
    assert images_step(made, places=PLACES).seen == "1 image in transfer: win11 (in-progress)"


@pytest.mark.parametrize(
    ("nics", "result"),
    [
        ((Nic(name="a", carrier=True, speed_mbits=25000),), Result.OK),
        ((Nic(name="a", carrier=True, speed_mbits=1000), Nic(name="b", carrier=True, speed_mbits=10000)), Result.OK),
        ((Nic(name="a", carrier=False, speed_mbits=10000), Nic(name="b", carrier=True, speed_mbits=1000)), Result.WARNING),
        ((Nic(name="a", carrier=True),), Result.UNKNOWN),
    ],
)
def test_uplinks(nics: tuple[Nic, ...], result: Result) -> None:
    told = known("agents", *(UplinkRecord(node=node, cluster_network="storage", nics=nics) for node in ("harv41", "harv42")))
    step = uplink_step(replace(ready(), uplinks=told), WANTED, min_mbits=10000)
    assert step.result is result
    assert step.counts is (result is not Result.UNKNOWN)


def test_an_uplink_of_another_network_tells_nothing() -> None:
    told = known("agents", UplinkRecord(node="harv41", cluster_network="mgmt", nics=(Nic(name="a", speed_mbits=25000),)))
    step = uplink_step(replace(ready(), uplinks=told), WANTED, min_mbits=10000)
    assert step.result is Result.UNKNOWN
    assert step.commands == ("cat /sys/class/net/ens5/speed",)


def test_an_interface_name_that_is_no_name_stays_out_of_the_command() -> None:
    evil = VlanConfigRecord(name="all", cluster_network="storage", nics=("a;reboot",), matched_nodes="[]")
    step = uplink_step(ready(vlan_configs=known("cluster_network", evil)), WANTED, min_mbits=10000)
    assert step.commands == ("grep -H . /sys/class/net/*/speed",)
