"""The objects of a lab, against what the fact sheets and samples of a Harvester 1.7 cluster say."""

import hashlib
import json
from collections import Counter
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml

from agent.lab.api import new_store
from agent.lab.objects import agent_objects, definitions, everything
from agent.lab.objects_pods import agent_pod, container_id, node_object, pod_object
from agent.lab.objects_storage import ip_pool, nad, pool_name, setting_value, vlan_config, vlan_status
from agent.lab.plan import LabPlan, LabPod, make_plan
from agent.model.peers import Role

PLAN = make_plan(nodes=3)
MANIFESTS = Path(__file__).resolve().parents[2] / "manifests" / "base"

NETWORK_STATUS = """[{
    "name": "k8s-pod-network",
    "ips": [
        "10.52.0.10"
    ],
    "default": true,
    "dns": {}
},{
    "name": "harvester-system/storagenetwork-95bj4",
    "interface": "lhnet1",
    "ips": [
        "192.168.0.2"
    ],
    "mac": "%s",
    "mtu": 1500,
    "dns": {}
}]"""


def only(kind: str, name: str, *, group: str = "", plan: LabPlan = PLAN) -> dict:
    (found,) = [
        obj for obj in everything(plan) if (obj["kind"], obj["metadata"]["name"]) == (kind, name) and obj["apiVersion"].startswith(group)
    ]
    return found


def first(role: Role | None) -> LabPod:
    return next(pod for pod in PLAN.pods if pod.role == role)


def test_an_instance_manager_pod_carries_the_annotations_that_longhorn_and_multus_write():
    pod = first(Role.INSTANCE_MANAGER)
    made = pod_object(PLAN, pod)
    annotations = made["metadata"]["annotations"]
    assert annotations["k8s.v1.cni.cncf.io/networks"] == (
        '[{"namespace": "harvester-system", "name": "storagenetwork-95bj4", "interface": "lhnet1"}]'
    )
    assert annotations["k8s.v1.cni.cncf.io/network-status"] == NETWORK_STATUS % pod.mac
    assert "k8s.v1.cni.cncf.io/networks-status" not in annotations
    assert annotations["cni.projectcalico.org/podIP"] == "10.52.0.10/32"
    assert annotations["cni.projectcalico.org/containerID"] == container_id(pod)
    labels = made["metadata"]["labels"]
    assert labels["longhorn.io/component"] == "instance-manager"
    assert labels["longhorn.io/instance-manager-type"] == "aio"
    assert labels["longhorn.io/managed-by"] == "longhorn-manager"
    assert labels["longhorn.io/node"] == made["spec"]["nodeName"] == "harv41"
    assert (made["status"]["phase"], made["status"]["podIP"], made["status"]["hostIP"]) == ("Running", "10.52.0.10", "172.19.108.41")
    assert {"type": "Ready", "status": "True"}.items() <= made["status"]["conditions"][0].items()


def test_a_pod_that_waits_for_its_network_has_asked_and_been_granted_nothing():
    made = pod_object(PLAN, first(Role.BACKING_IMAGE_MANAGER), phase="Pending")
    assert list(made["metadata"]["annotations"]) == ["k8s.v1.cni.cncf.io/networks", "longhorn.io/last-applied-tolerations"]
    assert "podIP" not in made["status"]
    assert made["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_a_running_storage_pod_without_an_address_shows_the_pod_network_only():
    pod = first(Role.INSTANCE_MANAGER)
    without = LabPod(**{**{slot: getattr(pod, slot) for slot in pod.__slots__}, "storage_address": None, "mac": None})
    status = json.loads(pod_object(PLAN, without)["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])
    assert [entry["name"] for entry in status] == ["k8s-pod-network"]


def test_a_tenants_pod_has_nothing_to_do_with_storage():
    made = pod_object(PLAN, first(None))
    assert made["metadata"]["namespace"] == "default"
    assert not [key for key in made["metadata"]["labels"] if key.startswith("longhorn.io/")]
    assert "k8s.v1.cni.cncf.io/networks" not in made["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("role", "label", "value"),
    [
        (Role.BACKING_IMAGE_MANAGER, "longhorn.io/component", "backing-image-manager"),
        (Role.BACKING_IMAGE_DATA_SOURCE, "longhorn.io/component", "backing-image-data-source"),
        (Role.SHARE_MANAGER, "longhorn.io/share-manager", "pvc-1"),
        (Role.CSI_PLUGIN, "app", "longhorn-csi-plugin"),
    ],
)
def test_every_role_is_found_by_its_label(role: Role, label: str, value: str):
    pod = first(Role.INSTANCE_MANAGER)
    other = LabPod(**{**{slot: getattr(pod, slot) for slot in pod.__slots__}, "role": role, "name": "share-manager-pvc-1"})
    labels = pod_object(PLAN, other)["metadata"]["labels"]
    assert labels[label] == value
    assert labels["longhorn.io/managed-by"] == "longhorn-manager"


def test_agents_are_pods_of_the_hosts_network_with_a_port_named_http():
    made = agent_pod(PLAN.nodes[1])
    assert made["spec"]["hostNetwork"]
    assert made["status"]["podIP"] == made["status"]["hostIP"] == PLAN.nodes[1].management_address
    assert [(port["name"], port["containerPort"]) for port in made["spec"]["containers"][0]["ports"]] == [("http", 9811)]
    assert made["metadata"]["labels"]["app.kubernetes.io/name"] == "lhnet-agent"
    assert (made["metadata"]["namespace"], made["spec"]["serviceAccountName"]) == ("lhnet-system", "lhnet-agent")


def test_nodes_are_those_of_harvester():
    worker, witness = node_object(PLAN.nodes[0]), node_object(PLAN.nodes[0], witness=True, ready="Unknown")
    assert worker["metadata"]["labels"]["network.harvesterhci.io/storage"] == "true"
    assert witness["metadata"]["labels"]["node-role.harvesterhci.io/witness"] == "true"
    assert "network.harvesterhci.io/storage" not in witness["metadata"]["labels"]
    ready = [{c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] for node in (worker, witness)]
    assert ready == ["True", "Unknown"]
    assert worker["spec"]["podCIDR"] == "10.52.0.0/24"


def test_the_setting_is_applied_and_its_hash_is_that_of_its_text():
    setting = only("Setting", "storage-network", group="harvesterhci.io")
    assert setting["value"] == '{"vlan":100,"clusterNetwork":"storage","range":"192.168.0.0/24"}'
    annotations = setting["metadata"]["annotations"]
    assert annotations["storage-network.settings.harvesterhci.io/hash"] == hashlib.sha1(setting["value"].encode()).hexdigest()
    assert annotations["storage-network.settings.harvesterhci.io/net-attach-def"] == "harvester-system/storagenetwork-95bj4"
    (condition,) = setting["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("configured", "True", "Completed")
    assert "message" not in condition


def test_with_the_sample_value_the_hash_is_the_samples():
    value = setting_value(PLAN, exclude=["192.168.0.1/32"])
    assert value == '{"vlan":100,"clusterNetwork":"storage","range":"192.168.0.0/24","exclude":["192.168.0.1/32"]}'
    labels = nad(PLAN, exclude=["192.168.0.1/32"])["metadata"]["labels"]
    assert labels["storage-network.settings.harvesterhci.io/hash"] == "ce19d914b0e767de923961a8d8d5503c006afc79"


def test_the_nad_is_written_as_harvester_writes_it():
    plain, jumbo = nad(PLAN), nad(make_plan(mtu_bytes=9000), exclude=["192.168.0.1/32"])
    assert plain["spec"]["config"] == (
        '{"cniVersion":"0.3.1","type":"bridge","bridge":"storage-br","promiscMode":true,"vlan":100,'
        '"ipam":{"type":"whereabouts","range":"192.168.0.0/24"}}'
    )
    assert jumbo["spec"]["config"].endswith('"range":"192.168.0.0/24","exclude":["192.168.0.1/32"]},"mtu":9000}')
    assert plain["metadata"]["labels"]["network.harvesterhci.io/vlan-id"] == "100"


def test_longhorn_was_told_of_the_same_nad():
    assert only("Setting", "storage-network", group="longhorn.io")["value"] == "harvester-system/storagenetwork-95bj4"


def test_the_pool_holds_what_the_pods_were_granted():
    pool = ip_pool(PLAN)
    assert (pool["metadata"]["name"], pool["metadata"]["namespace"]) == ("192.168.0.0-24", "kube-system")
    network = ip_network(pool["spec"]["range"])
    held = {str(network[int(offset)]): entry["podref"] for offset, entry in pool["spec"]["allocations"].items()}
    assert held == {pod.storage_address: pod.key for pod in PLAN.pods if pod.storage_address}
    by_pod = {pod.key: container_id(pod) for pod in PLAN.pods}
    assert all(entry["id"] == by_pod[entry["podref"]] for entry in pool["spec"]["allocations"].values())
    reservations = {obj["metadata"]["name"]: obj["spec"] for obj in everything(PLAN) if obj["kind"] == "OverlappingRangeIPReservation"}
    assert reservations == {address: {"podref": podref, "ifname": "lhnet1"} for address, podref in held.items()}


def test_a_pool_of_a_range_that_does_not_begin_at_zero():
    plan = make_plan(nodes=2, storage_range="172.16.4.0/28")
    assert pool_name(plan) == "172.16.4.0-28"
    assert min(map(int, ip_pool(plan)["spec"]["allocations"])) == int(ip_address(plan.pods[0].storage_address)) - int(
        ip_address("172.16.4.0")
    )


def test_the_cluster_network_spans_all_nodes():
    config = only("VlanConfig", "storage-all")
    assert json.loads(config["metadata"]["annotations"]["network.harvesterhci.io/matched-nodes"]) == ["harv41", "harv42", "harv43"]
    assert config["spec"]["uplink"]["nics"] == ["ens5"]
    assert config["spec"]["uplink"]["linkAttributes"]["mtu"] == 1500
    annotations = only("ClusterNetwork", "storage")["metadata"]["annotations"]
    assert annotations["network.harvesterhci.io/uplink-mtu"] == "1500"
    assert annotations["network.harvesterhci.io/vlan-id-set-str-hash"] == "9a2cb37b82454c2a646ee45002785050600d161d"
    assert vlan_status("harv41")["metadata"]["name"] == "storage-harv41-ca7dc852"
    assert vlan_config(PLAN, ["harv41"], name="part", nics=["ens5", "ens6"])["metadata"]["name"] == "part"


def test_longhorn_knows_the_address_of_the_pod_network_alone():
    pod = first(Role.INSTANCE_MANAGER)
    assert only("InstanceManager", pod.name)["status"]["ip"] == pod.pod_ip
    image_pod = first(Role.BACKING_IMAGE_MANAGER)
    assert only("BackingImageManager", image_pod.name)["status"]["storageIP"] == image_pod.storage_address
    disks = only("Node", "harv41", group="longhorn.io")["status"]["diskStatus"].values()
    labels = pod_object(PLAN, image_pod)["metadata"]["labels"]
    assert [disk["diskUUID"] for disk in disks] == [labels["longhorn.io/disk-uuid"]]


def test_the_same_plan_gives_the_same_objects():
    assert everything(make_plan(nodes=3)) == everything(PLAN)


@pytest.mark.parametrize("nodes", [1, 2, 5, 12])
def test_everything_can_be_created_in_the_order_in_which_it_comes(nodes: int):
    objects = everything(make_plan(nodes=nodes), manifests=MANIFESTS)
    store = new_store()
    seen = Counter((obj["apiVersion"], obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]) for obj in objects)
    assert [key for key, count in seen.items() if count > 1] == []
    store = new_store(objects)
    assert len(store.select(("", "pods"))) == 4 * nodes
    assert len(store.select(("", "nodes"))) == nodes


def test_each_definition_names_itself_rightly():
    names = {crd["metadata"]["name"] for crd in definitions()}
    for crd in definitions():
        assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"
    assert {
        "settings.harvesterhci.io",
        "settings.longhorn.io",
        "ippools.whereabouts.cni.cncf.io",
        "hostnetworkconfigs.network.harvesterhci.io",
    } <= names
    cluster_wide = {crd["metadata"]["name"] for crd in definitions() if crd["spec"]["scope"] == "Cluster"}
    assert {name.partition(".")[2] for name in cluster_wide} == {"harvesterhci.io", "network.harvesterhci.io"}


def test_without_manifests_the_account_and_the_lease_are_still_there(tmp_path: Path):
    for folder in (None, tmp_path / "missing", tmp_path):
        assert [(obj["kind"], obj["metadata"]["namespace"]) for obj in agent_objects(folder)] == [
            ("ServiceAccount", "lhnet-system"),
            ("Lease", "lhnet-system"),
        ]


def test_manifests_are_taken_as_an_api_server_can_hold_them(tmp_path: Path):
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nresources: []\n")
    (tmp_path / "config.yaml").write_text("# nothing but a comment\n")
    (tmp_path / "a.yaml").write_text(
        "kind: Role\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: r}\n---\n"
        "kind: Lease\napiVersion: coordination.k8s.io/v1\nmetadata: {name: lhnet-agent, namespace: other}\n---\n"
        "kind: Namespace\napiVersion: v1\nmetadata: {name: other}\n"
    )
    found = [(obj["kind"], obj["metadata"].get("namespace")) for obj in agent_objects(tmp_path)]
    assert found == [("Namespace", None), ("Role", "lhnet-system"), ("Lease", "other"), ("ServiceAccount", "lhnet-system")]
    (tmp_path / "b.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"b\.yaml") as error:
        agent_objects(tmp_path)
    assert "\n" not in str(error.value)


def test_definitions_are_data_of_the_package():
    folder = Path(__file__).resolve().parents[2] / "agent" / "lab" / "crds"
    count = sum(1 for path in folder.glob("*.yaml") for document in yaml.safe_load_all(path.read_text()) if document)
    assert len(definitions()) == count == 24
