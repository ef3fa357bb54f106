"""Objects as clusters of all releases hold them, and as no cluster should."""

import json
from typing import Any

import pytest
from clusterworld import documents
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.edge import decode as kinds
from agent.edge.kube import BadAnswer, Kind, Sighting
from agent.edge.kube.wire import decode, http_date_seconds, name_of, unix_seconds, version_of

NOW = Sighting(monotonic_seconds=10_000.0, server_unix_seconds=1_790_000_000.0)


def read(obj: Any, kind: Kind[Any]) -> Any:
    return kind.build(decode(json.dumps(obj).encode(), decoder=kind.decoder, what="object"), NOW, None)


def pods(name: str) -> dict[str, Any]:
    return {case: read(obj, kinds.POD) for case, obj in documents(name).items()}


def test_a_healthy_instance_manager_keeps_only_what_is_read() -> None:
    pod = next(iter(pods("pods_instance_managers").values()))
    assert (pod.namespace, pod.node, pod.phase, pod.ready, pod.deleted, pod.live) == (
        "longhorn-system",
        "harv41",
        "Running",
        True,
        False,
        True,
    )
    assert set(pod.annotations) == {"k8s.v1.cni.cncf.io/networks", "k8s.v1.cni.cncf.io/network-status"}
    assert pod.labels["longhorn.io/component"] == "instance-manager"
    assert pod.priority_class == "system-cluster-critical"
    assert pod.host_ip == "172.19.108.41"
    assert len(pod.pod_ips) == 1
    assert pod.born_monotonic_seconds < NOW.monotonic_seconds


def test_old_pods_carry_both_status_annotations() -> None:
    for pod in pods("pods_engine_replica_managers").values():
        assert "k8s.v1.cni.cncf.io/networks-status" in pod.annotations
        assert pod.labels["longhorn.io/instance-manager-type"] in ("engine", "replica")


def test_pods_in_trouble_are_told_as_they_are() -> None:
    cases = pods("pods_in_trouble")
    assert set(cases["no-grant"].annotations) == {"k8s.v1.cni.cncf.io/networks"}
    assert cases["unparsable-status"].annotations["k8s.v1.cni.cncf.io/network-status"] == "[{"
    assert (cases["exhausted-pending"].phase, cases["exhausted-pending"].pod_ips) == ("Pending", ())
    assert cases["terminating"].deleted
    assert not cases["terminating"].live
    assert not cases["storage-network-off"].annotations


@pytest.mark.parametrize("name", ["pods_backing_images", "pods_rwx"])
def test_every_other_pod_with_an_interface_is_read(name: str) -> None:
    for pod in pods(name).values():
        assert pod.uid
        assert pod.labels


def test_the_csi_plugin_is_known_by_its_app_label() -> None:
    assert pods("pods_rwx")["csi-plugin-lhnet2"].labels["app"] == "longhorn-csi-plugin"


def test_harvesters_setting_in_every_state() -> None:
    cases = {case: read(obj, kinds.SETTING) for case, obj in documents("settings_storage_network").items()}
    on = cases["enabled-completed"]
    assert json.loads(on.value)["range"] == "192.168.0.0/24"
    assert [(item.type, item.status, item.reason, item.message) for item in on.conditions] == [("configured", "True", "Completed", None)]
    assert on.annotations["storage-network.settings.harvesterhci.io/net-attach-def"] == "harvester-system/storagenetwork-95bj4"
    waiting = cases["in-progress-waiting-volumes"].conditions[0]
    assert (waiting.status, waiting.last_update_time) == ("False", "2026-06-02T08:03:17Z")
    assert "pvc-0a151c59" in (waiting.message or "")
    assert cases["disabled-completed"].value == ""
    assert cases["disabled-completed-value-absent"].value is None
    fresh = cases["uninitialised"]
    assert (fresh.value, fresh.conditions, dict(fresh.annotations)) == (None, (), {})
    assert cases["unparsable-value"].value == "{vlan:100}"


def test_longhorns_settings_of_every_release() -> None:
    cases = {case: read(obj, kinds.LONGHORN_SETTING) for case, obj in documents("longhorn_settings").items()}
    assert (cases["on"].value, cases["on"].applied) == ("harvester-system/storagenetwork-95bj4", True)
    assert cases["on-not-applied"].applied is False
    assert cases["on-old"].applied is None
    assert cases["off"].value == ""


def test_cluster_networks_and_vlan_configurations() -> None:
    cases = documents("harvester_network")
    assert read(cases["jumbo"], kinds.CLUSTER_NETWORK).annotations["network.harvesterhci.io/uplink-mtu"] == "9000"
    assert dict(read(cases["old"], kinds.CLUSTER_NETWORK).annotations) == {}
    bond = read(cases["jumbo 802.3ad"], kinds.VLAN_CONFIG)
    assert (bond.cluster_network, bond.nics, bond.mtu_bytes, bond.bond_mode) == ("storage", ("ens5", "ens6"), 9000, "802.3ad")
    assert json.loads(bond.matched_nodes) == ["harv41", "harv42", "harv43"]
    assert read(cases["all nodes, one config"], kinds.VLAN_CONFIG).mtu_bytes is None


def test_nodes_ready_not_ready_and_unknown() -> None:
    cases = documents("nodes")
    worker = read(cases["worker"], kinds.NODE)
    assert (worker.ready, worker.unschedulable, worker.internal_ips, worker.pod_cidrs) == (
        True,
        False,
        ("172.19.108.41",),
        ("10.52.0.0/24",),
    )
    assert read(cases["not ready"], kinds.NODE).ready is not True
    assert read({"metadata": {"name": "n"}}, kinds.NODE).ready is None
    lost = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    assert read(lost, kinds.NODE).ready is None


ALL = [kinds.POD, kinds.SETTING, kinds.LONGHORN_SETTING, kinds.NAD, kinds.NODE, kinds.CLUSTER_NETWORK, kinds.VLAN_CONFIG]


@pytest.mark.parametrize("kind", ALL)
def test_null_stands_wherever_go_writes_it(kind: Kind[Any]) -> None:
    bare = {"metadata": {"name": "x", "namespace": None, "uid": None, "labels": None, "annotations": None, "creationTimestamp": None}}
    hollow = {
        "spec": {"nodeName": None, "containers": None, "config": None, "uplink": {"nics": None, "linkAttributes": None}, "podCIDRs": None},
        "status": {"conditions": None, "podIPs": [{"ip": None}, {}], "addresses": None, "applied": None},
        "value": None,
    }
    for obj in (bare, bare | hollow, bare | {"spec": None, "status": None}):
        assert read(obj, kind).name == "x"


@pytest.mark.parametrize(
    "obj",
    [
        None,
        7,
        "pod",
        [],
        {},
        {"metadata": None},
        {"metadata": []},
        {"metadata": {"name": 7}},
        {"metadata": {"name": "x", "annotations": {"a": 1}}},
    ],
)
@pytest.mark.parametrize("kind", ALL)
def test_an_object_without_an_identity_is_refused_with_a_reason(obj: Any, kind: Kind[Any]) -> None:
    with pytest.raises(BadAnswer, match="object: "):
        read(obj, kind)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["metadata", "name", "spec", "status", "conditions", "podIPs", "value", "uplink", "type"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_whatever_json_comes_it_is_read_or_refused(obj: Any) -> None:
    for kind in ALL:
        try:
            record = read(obj, kind)
        except BadAnswer:
            continue
        assert isinstance(record.name, str)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_whatever_bytes_come_they_are_refused_in_one_line(data: bytes) -> None:
    assert version_of(data) is None or isinstance(version_of(data), str)
    with pytest.raises(BadAnswer) as caught:
        decode(data, decoder=kinds.POD.decoder, what="object")
    assert "\n" not in str(caught.value)


def test_an_annotation_too_long_for_multus_is_cut_and_reads_as_broken_json() -> None:
    text = json.dumps([{"name": "x" * 100_000}])
    pod = read({"metadata": {"name": "x", "annotations": {"k8s.v1.cni.cncf.io/network-status": text}}}, kinds.POD)
    with pytest.raises(json.JSONDecodeError):
        json.loads(pod.annotations["k8s.v1.cni.cncf.io/network-status"])


def test_the_name_of_an_unreadable_object_is_still_found() -> None:
    assert name_of(b'{"metadata":{"name":"a","namespace":"b","labels":7},"spec":[]}') == "b/a"
    assert name_of(b'{"metadata":{"name":"a","uid":7}}') == "a"
    assert name_of(b'{"metadata":{}}') is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T01:01:00+01:00", 60.0),
        ("1970-01-01T00:01:00.500000Z", 60.5),
        ("", None),
        (None, None),
        ("yesterday", None),
        ("0001-01-01T00:00:00Z", None),
        ("9" * 100, None),
    ],
)
def test_times_of_objects(text: str | None, seconds: float | None) -> None:
    assert unix_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("Thu, 01 Jan 1970 00:01:00 GMT", 60.0), ("", None), (None, None), ("soon", None), ("Thu, 99 Jan 1970 00:01:00 GMT", None)],
)
def test_times_of_servers(text: str | None, seconds: float | None) -> None:
    assert http_date_seconds(text) == seconds


def test_a_pod_from_the_future_is_born_now() -> None:
    assert Sighting(monotonic_seconds=5.0, server_unix_seconds=100.0).born_seconds("1970-01-01T00:05:00Z") == 5.0
