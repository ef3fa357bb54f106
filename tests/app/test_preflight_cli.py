"""`lhnet-agent preflight` before the setting is applied: a cluster that is ready, then each prerequisite of the guide missing."""

import os
from pathlib import Path

import pytest
from stepsworld import NODES, READER, Objects, Said, World, prepare, refusing, write_kubeconfig

from agent.lab.objects_pods import node_object
from agent.lab.pki import Pki
from agent.lab.plan import make_plan

TITLES = (
    *("whereabouts", "multus", "network", "coverage", "machines", "volumes", "images"),
    *("range", "overlap", "size", "uplink", "priority", "longhorn"),
)
PLANNED = ("--range", "192.168.0.0/24", "--cluster-network", "storage", "--vlan", "100")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pki]:
    folder = tmp_path_factory.mktemp("preflight")
    return folder, prepare(folder)


@pytest.fixture
def world(made: tuple[Path, Pki], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    for name in [name for name in os.environ if name.startswith("LHNET_") or name in ("KUBECONFIG", "POD_NAMESPACE", "NODE_NAME")]:
        monkeypatch.delenv(name)
    return World(*made, capsys)


@pytest.fixture
def objects() -> Objects:
    return Objects()


async def both(world: World, objects: Objects, *words: str, **more) -> tuple[Said, Said]:
    as_json = await world.ask(objects.all, "preflight", "-o", "json", *words, **more)
    as_text = await world.ask(objects.all, "preflight", *words, **more)
    assert as_json.status == as_text.status
    assert as_json.err == as_text.err == ""
    for line in as_text.out.splitlines():
        assert len(line) <= 80 or line.startswith(("    kubectl", "    lhnet-agent", "    cat")), line
    assert tuple(as_json.results) == TITLES
    return as_json, as_text


def custom(kind: str, name: str, *, api: str = "longhorn.io/v1beta2", namespace: str = "longhorn-system", **body) -> dict:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **body}


def fresh(objects: Objects) -> Objects:
    """Before anything was set: Harvester's setting is empty, and so is Longhorn's."""
    objects.setting.pop("value")
    objects.setting.pop("status")
    objects.setting["metadata"].pop("annotations")
    objects.longhorn_setting["value"] = ""
    objects.remove(objects.find("NetworkAttachmentDefinition"))
    return objects


async def test_a_cluster_that_is_ready(world: World, objects: Objects) -> None:
    said, text = await both(world, objects)
    assert said.status == 0
    assert {title for title, result in said.results.items() if result != "ok"} == {"uplink"}
    assert said.step("size")["seen"] == "gives 254; 3 nodes, 3 disks (Longhorn's nodes) need 6 now, 12 during an upgrade, 12 by the guide"
    assert said.step("network")["seen"] == "storage, VLAN 100"
    assert "10 size           ok     gives 254; " in text.out
    assert text.out.splitlines()[-1].startswith("ok: 12 of 13 steps passed, 1 not asked ")
    assert {method for method, _ in world.requests} == {"GET"}


async def test_a_plan_for_a_cluster_that_was_never_set(world: World, objects: Objects) -> None:
    said, _ = await both(world, fresh(objects), *PLANNED)
    assert said.status == 0
    assert said.step("longhorn")["seen"] == "empty, as Harvester has it"


async def test_without_a_value_and_without_a_plan_it_cannot_tell(world: World, objects: Objects) -> None:
    said, text = await both(world, fresh(objects))
    assert said.status == 3
    assert {said.results[title] for title in ("network", "coverage", "range", "overlap", "size")} == {"unknown"}
    assert said.results["machines"] == "ok"
    assert "    lhnet-agent preflight --range CIDR --cluster-network NAME --vlan N\n" in text.out


@pytest.mark.parametrize(
    ("crd", "title"), [("ippools", "whereabouts"), ("overlappingrangeipreservations", "whereabouts"), ("network-attachment", "multus")]
)
async def test_a_definition_is_missing(world: World, objects: Objects, crd: str, title: str) -> None:
    objects.without_crds(
        next(one["metadata"]["name"] for one in objects.every("CustomResourceDefinition") if one["metadata"]["name"].startswith(crd))
    )
    said, text = await both(world, objects)
    assert said.status == 2
    assert said.results[title] == "critical"
    assert f"{crd}" in said.step(title)["seen"]
    if title == "whereabouts":
        assert "    kubectl apply -f https://raw.githubusercontent.com/harvester/harvester/v1.1.0/" in text.out


async def test_who_may_not_read_definitions_learns_it_from_the_resources(world: World, objects: Objects) -> None:
    said, _ = await both(world, objects, answer=refusing("customresourcedefinitions"))
    assert said.status == 0
    objects.without_crds("ippools.whereabouts.cni.cncf.io")
    said, _ = await both(world, objects, answer=refusing("customresourcedefinitions"))
    assert said.results["whereabouts"] == "critical"


async def test_the_cluster_network_is_not_there(world: World, objects: Objects) -> None:
    said, _ = await both(world, objects, "--cluster-network", "stroage")
    assert said.status == 2
    assert "there is no cluster network stroage" in said.step("network")["seen"]
    assert said.results["coverage"] == "critical"


async def test_a_node_without_a_vlan_config(world: World, objects: Objects) -> None:
    objects.find("VlanConfig")["metadata"]["annotations"]["network.harvesterhci.io/matched-nodes"] = '["harv41","harv42"]'
    said, _ = await both(world, objects)
    assert said.status == 2
    assert said.step("coverage")["seen"] == "no VlanConfig of storage covers harv43"


async def test_several_vlan_configs_cover_together_and_a_witness_needs_none(world: World, objects: Objects) -> None:
    first = objects.find("VlanConfig")
    second = {**first, "metadata": {**first["metadata"], "name": "storage-43"}}
    first["metadata"]["annotations"] = {"network.harvesterhci.io/matched-nodes": '["harv41","harv42"]'}
    second["metadata"]["annotations"] = {"network.harvesterhci.io/matched-nodes": '["harv43"]'}
    witness = node_object(make_plan(nodes=4).nodes[3], witness=True)
    objects.all += [second, witness]
    said, _ = await both(world, objects)
    assert said.status == 0
    assert said.step("coverage")["seen"] == "all 3 nodes covered"


async def test_a_vlan_config_that_does_not_say_its_nodes(world: World, objects: Objects) -> None:
    objects.find("VlanConfig")["metadata"]["annotations"] = {"network.harvesterhci.io/matched-nodes": "harv41,"}
    said, _ = await both(world, objects)
    assert (said.status, said.results["coverage"]) == (3, "unknown")


@pytest.mark.parametrize(("vlan", "result"), [("1", "critical"), ("2", "warning")])
async def test_mgmt_needs_no_vlan_config_and_takes_no_low_vlan(world: World, objects: Objects, vlan: str, result: str) -> None:
    said, _ = await both(world, objects, "--cluster-network", "mgmt", "--vlan", vlan)
    assert said.results["network"] == result
    assert said.step("coverage")["seen"].startswith("not applicable: mgmt is on every node")


async def test_virtual_machines_run(world: World, objects: Objects) -> None:
    objects.all += [
        custom("VirtualMachineInstance", f"web-{i}", api="kubevirt.io/v1", namespace="default", status={"phase": "Running"})
        for i in range(5)
    ]
    said, text = await both(world, objects)
    assert said.status == 2
    assert said.step("machines")["seen"] == "5 virtual machines not stopped: default/web-0, default/web-1, default/web-2 and 2 more"
    assert "5  machines       FAIL   " in text.out
    assert "    kubectl get -A vmi\n" in text.out


async def test_volumes_are_attached_and_their_holders_named(world: World, objects: Objects) -> None:
    used = {"namespace": "shop", "pvcName": "data", "workloadsStatus": [{"podName": "db-0", "workloadType": "StatefulSet"}]}
    own = {"namespace": "cattle-monitoring-system", "pvcName": "prometheus"}
    objects.all += [
        custom("Volume", "pvc-a", status={"state": "attached", "currentNodeID": "harv41", "kubernetesStatus": used}),
        custom("Volume", "pvc-b", status={"state": "attached", "currentNodeID": "harv42"}),
        custom("Volume", "pvc-c", status={"state": "detached"}),
        custom("Volume", "pvc-d", status={"state": "attached", "kubernetesStatus": own}),
        custom(
            "VolumeAttachment",
            "pvc-b",
            spec={"volume": "pvc-b", "attachmentTickets": {"t": {"id": "t", "type": "longhorn-api", "nodeID": "harv42"}}},
        ),
    ]
    said, _ = await both(world, objects)
    assert (said.status, said.results["volumes"]) == (1, "warning")
    seen = said.step("volumes")["seen"]
    assert seen.startswith("2 volumes not detached: ")
    assert "pvc-a (attached on harv41, held by shop/db-0)" in seen
    assert "pvc-b (attached on harv42, held by longhorn-api on harv42)" in seen


async def test_volumes_of_the_monitoring_are_harvesters_to_stop(world: World, objects: Objects) -> None:
    own = {"namespace": "cattle-monitoring-system", "pvcName": "prometheus"}
    objects.all.append(custom("Volume", "pvc-d", status={"state": "attached", "kubernetesStatus": own}))
    said, _ = await both(world, objects)
    assert said.status == 0
    assert "which Harvester stops by itself" in said.step("volumes")["seen"]


@pytest.mark.parametrize(
    ("state", "transferred", "result"),
    [
        ("in-progress", False, "critical"),
        ("starting", False, "critical"),
        ("ready", False, "ok"),
        ("in-progress", True, "ok"),
        ("failed", False, "ok"),
    ],
)
async def test_images_in_transfer(world: World, objects: Objects, state: str, transferred: bool, result: str) -> None:
    objects.all.append(
        custom("BackingImageDataSource", "default-image-lxq7r", spec={"fileTransferred": transferred}, status={"currentState": state})
    )
    said, _ = await both(world, objects)
    assert said.results["images"] == result
    assert said.status == (2 if result == "critical" else 0)


async def test_a_data_source_pod_is_a_transfer_too(world: World, objects: Objects) -> None:
    pod = objects.managers()[0]
    pod["metadata"]["labels"]["longhorn.io/component"] = "backing-image-data-source"
    said, _ = await both(world, objects)
    assert "1 image in transfer: pod instance-manager-" in said.step("images")["seen"]


@pytest.mark.parametrize(
    ("words", "results", "text"),
    [
        (("--range", "192.168.0.0/31"), {"range": "critical"}, "no address can be given"),
        (("--range", "fd00::/64"), {"range": "critical"}, "Harvester takes IPv4 ranges only"),
        (("--range", "192.168.0.5/24"), {"range": "critical"}, "has host bits"),
        (("--range", "10.64.0.0/15"), {"range": "critical"}, "no range wider than /16"),
        (("--range", "192.168.0.20-192.168.0.90/24"), {"range": "critical"}, "Harvester takes a CIDR only"),
        (("--range", "192.168.0.0/24", "--exclude", "192.168.0.9"), {"range": "critical"}, "Harvester takes an exclude as CIDR only"),
        (("--range", "192.168.0.0/24", "--exclude", "192.168.0.1/24"), {"range": "critical", "size": "critical"}, "leave nothing"),
        (("--range", "192.168.0.0/24", "--exclude", "192.168.0.9/29"), {"range": "warning"}, "leaves out all of 192.168.0.8/29"),
        (("--range", "192.168.0.0/29"), {"range": "ok", "size": "critical"}, "gives 6; 3 nodes, 3 disks"),
        (("--range", "10.52.0.0/16"), {"overlap": "critical"}, "10.52.0.0/24, the pods of harv41"),
        (("--range", "172.19.108.0/24"), {"overlap": "critical"}, "172.19.108.41, the address of harv41"),
        (("--range", "10.43.0.0/16"), {"overlap": "warning"}, "RKE2's default service network"),
    ],
)
async def test_a_range_that_is_planned(world: World, objects: Objects, words: tuple[str, ...], results: dict, text: str) -> None:
    said, _ = await both(world, objects, *words)
    assert {title: said.results[title] for title in results} == results
    assert text in said.out
    assert said.status == (2 if "critical" in results.values() else 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rwx-network", '{"share-storage-network":false,"network":{"vlan":7,"clusterNetwork":"storage","range":"192.168.0.128/25"}}'),
        ("vm-migration-network", '{"vlan":8,"clusterNetwork":"mgmt","range":"192.168.0.0/16"}'),
    ],
)
async def test_the_range_of_another_setting(world: World, objects: Objects, name: str, value: str) -> None:
    objects.remove(*(one for one in objects.every("Setting", group="harvesterhci.io") if one["metadata"]["name"] == name))
    objects.all.append({"apiVersion": "harvesterhci.io/v1beta1", "kind": "Setting", "metadata": {"name": name}, "value": value})
    said, _ = await both(world, objects)
    assert (said.status, said.results["overlap"]) == (2, "critical")
    assert f"of the setting {name}" in said.step("overlap")["seen"]


async def test_the_formula_is_that_of_the_installed_harvester(world: World, objects: Objects) -> None:
    version = {"apiVersion": "harvesterhci.io/v1beta1", "kind": "Setting", "metadata": {"name": "server-version"}, "value": "v1.2.1"}
    objects.all.append(version)
    said, _ = await both(world, objects)
    assert "18 by the guide" in said.step("size")["seen"]


async def test_the_setting_itself_is_no_json(world: World, objects: Objects) -> None:
    objects.setting["value"] = "{vlan:100}"
    said, _ = await both(world, objects)
    assert said.status == 2
    assert "the setting's value: Harvester cannot read it: " in said.step("network")["seen"]
    assert said.results["range"] == "unknown"


def telling(world: World, nics: list[dict], *, cluster_network: str = "storage", silent: str = "") -> None:
    """What the agents see below the bridge of each node."""
    world.agents.uplinks = {node: {"cluster_network": cluster_network, "nics": nics} for node in NODES}
    world.agents.silent = {silent}


FAST = [{"name": "ens5", "up": True, "carrier": True, "speed_mbits": 10000, "mtu_bytes": 1500}]
SLOW = [{"name": "ens5", "up": True, "carrier": True, "speed_mbits": 1000, "mtu_bytes": 1500}]
SILENT = [{"name": "ens5", "up": True, "carrier": True, "speed_mbits": -1, "mtu_bytes": 1500}]


@pytest.mark.parametrize(("nics", "result", "status"), [(FAST, "ok", 0), (SLOW, "warning", 1), (SILENT, "unknown", 0), ([], "unknown", 0)])
async def test_uplinks_as_agents_tell_them(world: World, objects: Objects, nics: list[dict], result: str, status: int) -> None:
    telling(world, nics)
    said = await world.ask(objects.all, "preflight", "-o", "json")
    assert (said.status, said.results["uplink"]) == (status, result)


async def test_a_node_whose_agent_is_silent_is_named(world: World, objects: Objects) -> None:
    telling(world, FAST, silent="harv42")
    said = await world.ask(objects.all, "preflight", "-o", "json")
    assert said.results["uplink"] == "unknown"
    assert "the speed of harv42 is not known" in said.step("uplink")["seen"]


async def test_without_agents_the_command_for_the_uplink_is_told(world: World, objects: Objects) -> None:
    objects.without_agents()
    said, text = await both(world, objects)
    assert said.status == 0
    assert "    cat /sys/class/net/ens5/speed\n" in text.out
    assert "11 uplink         -      " in text.out


async def test_storage_pods_without_a_priority_class(world: World, objects: Objects) -> None:
    pod = objects.managers()[0]
    del pod["spec"]["priorityClassName"]
    said, _ = await both(world, objects)
    assert (said.status, said.results["priority"]) == (1, "warning")
    assert f"1 storage pod without a priority class: {pod['metadata']['name']}" in said.step("priority")["seen"]


async def test_longhorns_priority_class_is_empty(world: World, objects: Objects) -> None:
    next(one for one in objects.every("Setting", group="longhorn.io") if one["metadata"]["name"] == "priority-class")["value"] = ""
    said, _ = await both(world, objects)
    assert (said.status, said.results["priority"]) == (1, "warning")


async def test_longhorns_setting_was_edited_by_hand(world: World, objects: Objects) -> None:
    fresh(objects).longhorn_setting["value"] = "default/mine"
    said, _ = await both(world, objects, *PLANNED)
    assert (said.status, said.results["longhorn"]) == (1, "warning")
    assert said.step("longhorn")["seen"] == "Longhorn's setting is default/mine, Harvester wrote nothing"


async def test_longhorn_without_harvester(world: World, objects: Objects) -> None:
    objects.without_crds("harvesterhci.io", "kubevirt.io")
    said, _ = await both(world, objects)
    assert said.status == 0
    not_for_it = {title for title in TITLES if said.step(title)["seen"].startswith("not applicable: ")}
    assert not_for_it == {"network", "coverage", "machines", "longhorn"}
    assert said.step("range")["seen"].startswith("192.168.0.0/24: ")


async def test_who_may_read_nothing_cannot_tell(world: World, objects: Objects) -> None:
    said, _ = await both(world, objects, token=READER)
    assert said.status == 3
    assert set(said.results.values()) <= {"unknown"}
    assert "may not be read" in said.step("machines")["seen"]


@pytest.mark.parametrize(
    ("part", "title"),
    [
        ("/vlanconfigs", "coverage"),
        ("/clusternetworks", "network"),
        ("/virtualmachineinstances", "machines"),
        ("/volumes", "volumes"),
        ("/backingimagedatasources", "images"),
        ("/api/v1/nodes", "overlap"),
        ("v1beta2/namespaces/longhorn-system/settings", "priority"),
        ("harvesterhci.io/v1beta1/settings", "longhorn"),
    ],
)
@pytest.mark.parametrize("code", [403, 500])
async def test_one_source_that_is_refused(world: World, objects: Objects, part: str, title: str, code: int) -> None:
    said, _ = await both(world, objects, *PLANNED, answer=refusing(part, code=code))
    assert said.status == 3
    assert said.results[title] == "unknown"


async def test_attachments_that_may_not_be_read_only_cost_the_names(world: World, objects: Objects) -> None:
    objects.all.append(custom("Volume", "pvc-a", status={"state": "attached", "currentNodeID": "harv41"}))
    said, _ = await both(world, objects, answer=refusing("volumeattachments"))
    assert "pvc-a (attached on harv41)" in said.step("volumes")["seen"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--range", "192.168.0.0"), "--range"),
        (("--range", "192.168.0.0/24", "--exclude", "x"), "--exclude"),
        (("--exclude", "192.168.0.1/32"), "--exclude"),
        (("--vlan", "4095"), "--vlan"),
        (("--vlan", "-1"), "--vlan"),
        (("--cluster-network", "a b"), "--cluster-network"),
    ],
)
async def test_usage_errors_name_the_option(world: World, words: tuple[str, ...], named: str) -> None:
    said = await world.run("preflight", *words)
    assert (said.status, said.out) == (64, "")
    assert named in said.err
    assert said.err.count("\n") == 1


async def test_an_api_server_out_of_reach(world: World, objects: Objects) -> None:
    async with world.serve(objects.all) as url:
        kubeconfig = write_kubeconfig(world.folder / "gone", url=url, pki=world.pki)
    said = await world.run("preflight", "--kubeconfig", str(kubeconfig))
    assert (said.status, said.out) == (3, "")
    assert said.err.startswith("lhnet-agent preflight: the API server cannot be asked: ")
    assert said.err.count("\n") == 1


async def test_a_large_cluster_is_read_in_pages(world: World, objects: Objects) -> None:
    objects.all += [custom("Volume", f"pvc-{i:04}", status={"state": "attached"}) for i in range(600)]
    said = await world.ask(objects.all, "preflight", "-o", "json")
    assert (
        "600 volumes not detached: pvc-0000 (attached), pvc-0001 (attached), pvc-0002 (attached) and 597 more"
        in said.step("volumes")["seen"]
    )
    assert len([path for _, path in world.requests if path.endswith("/volumes")]) > 1
