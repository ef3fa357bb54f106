"""Each promise of the base, and of its DaemonSet above all: what it may, what it may not, and what must not be forgotten."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifestworld import environment, one

from agent.cli import main
from agent.config import load
from agent.model.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]

Json = dict[str, Any]

ROLES = ("kube-system", "lhnet-system", "longhorn-system")


def test_every_cluster_gets_this_and_no_more(objects: list[Json]) -> None:
    kinds = sorted((item["kind"], item["metadata"].get("namespace", "")) for item in objects)
    assert kinds == [
        ("ClusterRole", ""),
        ("ClusterRoleBinding", ""),
        ("ConfigMap", "lhnet-system"),
        ("DaemonSet", "lhnet-system"),
        ("Lease", "lhnet-system"),
        ("Namespace", ""),
        *(("Role", name) for name in ROLES),
        *(("RoleBinding", name) for name in ROLES),
        ("Service", "lhnet-system"),
        ("ServiceAccount", "lhnet-system"),
    ]
    assert all(item["metadata"]["labels"]["app.kubernetes.io/name"] == "lhnet-agent" for item in objects)


def test_the_namespace_admits_what_the_pod_asks_for(objects: list[Json]) -> None:
    labels = one(objects, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"


def test_three_capabilities_and_no_privilege(pod: Json, container: Json) -> None:
    security = container["securityContext"]
    assert sorted(security["capabilities"]["add"]) == ["NET_BROADCAST", "NET_RAW", "SYS_ADMIN"]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security["privileged"] is False
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsUser"] == 0


def test_the_hosts_network_but_not_its_processes(pod: Json) -> None:
    assert pod["hostNetwork"] is True
    # Absent and not false: a server leaves a false out, and every apply would say that it changed something.
    assert not {"hostPID", "hostIPC", "shareProcessNamespace"} & set(pod)
    assert pod["enableServiceLinks"] is False
    assert pod["dnsPolicy"] == "Default"


def test_only_two_folders_of_the_host(pod: Json, container: Json) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == {"/etc/lhnet-agent", "/var/run/netns", "/var/lib/lhnet-agent"}
    assert {volume["hostPath"]["path"] for volume in volumes.values() if "hostPath" in volume} == {"/var/run/netns", "/var/lib/lhnet-agent"}
    netns = mounts["/var/run/netns"]
    assert netns["mountPropagation"] == "HostToContainer"
    assert netns["readOnly"] is True
    state = volumes[mounts["/var/lib/lhnet-agent"]["name"]]["hostPath"]
    assert state["type"] == "DirectoryOrCreate"
    assert not mounts["/var/lib/lhnet-agent"].get("readOnly")


def test_the_mounts_are_where_the_settings_look(container: Json) -> None:
    settings, _ = load(None, environ={})
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {settings.state_dir, *settings.netns_dir} < mounted


def test_no_limit_on_cpu_since_throttling_looks_like_latency(container: Json) -> None:
    assert container["resources"] == {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "192Mi"}}
    assert {"name": "MALLOC_ARENA_MAX", "value": "1"} in container["env"]


def test_it_stays_and_goes_everywhere(pod: Json, daemon_set: Json) -> None:
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    assert daemon_set["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}


def test_kubelet_asks_the_two_open_paths_on_the_named_port(container: Json) -> None:
    assert container["ports"] == [{"name": "http", "containerPort": 9811, "protocol": "TCP"}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    patience = container["livenessProbe"]["periodSeconds"] * container["livenessProbe"]["failureThreshold"]
    assert patience >= 30, "a stall of a starved node is no reason to restart the witness"


@pytest.mark.parametrize(("host", "listens"), [("192.168.10.41", "192.168.10.41:9811"), ("fd00::41", "[fd00::41]:9811")])
def test_the_variables_make_settings_on_hosts_of_both_families(objects: list[Json], host: str, listens: str) -> None:
    settings, origins = load(None, environ=environment(objects, host_ip=host))
    assert [str(address) for address in settings.listen] == [listens, "127.0.0.1:9811"]
    assert (settings.node_name, settings.namespaces.agent) == ("harv41", "lhnet-system")
    assert origins["listen"] == "environment LHNET_LISTEN"


def test_the_arguments_are_understood(container: Json, objects: list[Json], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file of the generated ConfigMap, through the same option, by the command that starts nothing."""
    assert "command" not in container, "the image's entry point"
    assert container["args"] == ["run", "--config", "/etc/lhnet-agent/config.yaml"]
    file = tmp_path / "config.yaml"
    file.write_text(one(objects, "ConfigMap")["data"]["config.yaml"])
    assert main(["config", "--config", str(file)]) == 0
    assert "default" in capsys.readouterr().out


def test_the_config_maps_name_changes_with_its_content(objects: list[Json], pod: Json) -> None:
    name = one(objects, "ConfigMap")["metadata"]["name"]
    assert re.fullmatch(r"lhnet-agent-config-[a-z0-9]{10}", name)
    (volume,) = [volume for volume in pod["volumes"] if "configMap" in volume]
    assert volume["configMap"]["name"] == name


def test_the_example_in_the_config_file_is_true() -> None:
    """Its commented lines are a valid file once uncommented."""
    text = (ROOT / "manifests/base/config.yaml").read_text()
    example = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.split("#\n", 1)[1].splitlines())
    document = yaml.safe_load(example)
    assert document["findings"]["ignore"][0]["id"] in CATALOGUE


def test_agents_find_each_other_by_the_default_selector(daemon_set: Json, objects: list[Json]) -> None:
    settings, _ = load(None, environ={})
    key, _, value = settings.agents_selector.partition("=")
    assert daemon_set["spec"]["template"]["metadata"]["labels"][key] == value
    assert daemon_set["spec"]["selector"]["matchLabels"] == {key: value}
    service = one(objects, "Service")
    assert service["spec"]["selector"] == {key: value}
    assert service["spec"]["clusterIP"] == "None"


def test_an_apply_never_takes_the_lease_from_its_holder(objects: list[Json]) -> None:
    lease = one(objects, "Lease")
    assert lease["metadata"]["name"] == "lhnet-agent"
    assert "spec" not in lease
