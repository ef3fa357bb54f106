"""Each overlay is a whole installation, and one's own kustomization on top of it changes what people change."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifestworld import HARVESTERS_NAMESPACES, MANIFESTS, OVERLAYS, ROOT, built, environment, one, overlay, pod_of

from agent.config import load

Json = dict[str, Any]
Installed = tuple[str, list[Json]]

EVERYWHERE = [
    ("ClusterRole", ""),
    ("ClusterRoleBinding", ""),
    ("ConfigMap", "lhnet-system"),
    ("DaemonSet", "lhnet-system"),
    ("Lease", "lhnet-system"),
    ("Namespace", ""),
    ("Service", "lhnet-system"),
    ("ServiceAccount", "lhnet-system"),
    *((kind, name) for kind in ("Role", "RoleBinding") for name in ("kube-system", "lhnet-system", "longhorn-system")),
]
OPERATOR = [("PodMonitor", "lhnet-system"), ("PrometheusRule", "lhnet-system")]
OWN_RIGHTS = [("Role", "lhnet-system"), ("RoleBinding", "lhnet-system")]
ADDED = {
    "harvester": [*OPERATOR, *((kind, name) for kind in ("Role", "RoleBinding") for name in HARVESTERS_NAMESPACES)],
    "longhorn": [*OPERATOR, *OWN_RIGHTS],
    "no-operator": [("ConfigMap", "lhnet-system"), *OWN_RIGHTS],
}


def where(item: Json) -> tuple[str, str]:
    return item["kind"], item["metadata"].get("namespace", "")


def test_an_overlay_has_what_its_cluster_needs_and_nothing_besides(installed: Installed) -> None:
    name, objects = installed
    assert sorted(map(where, objects)) == sorted([*EVERYWHERE, *ADDED[name]])
    keys = Counter((*where(item), item["metadata"]["name"]) for item in objects)
    assert set(keys.values()) == {1}
    assert all(item["metadata"]["labels"]["app.kubernetes.io/name"] == "lhnet-agent" for item in objects)


@pytest.mark.parametrize("name", ["longhorn", "no-operator"])
def test_without_harvester_nothing_asks_for_its_namespaces(name: str) -> None:
    """An apply would stop at a namespace that does not exist, and an agent that may not look there would say so for ever."""
    objects = overlay(name)
    for item in objects:
        assert item["metadata"].get("namespace", "") not in HARVESTERS_NAMESPACES
    settings, origins = load(None, environ=environment(objects))
    assert settings.namespaces.harvester == settings.namespaces.monitoring == "lhnet-system"
    assert origins["namespaces.harvester"] == "environment LHNET_NAMESPACES__HARVESTER"


def test_on_harvester_the_namespaces_are_the_default_ones() -> None:
    settings, _ = load(None, environ=environment(overlay("harvester")))
    assert (settings.namespaces.harvester, settings.namespaces.monitoring) == HARVESTERS_NAMESPACES


@pytest.mark.parametrize("version", ["1.31", "1.34"])
def test_every_object_fits_the_schema_of_its_kind(installed: Installed, version: str) -> None:
    """Strict: a misspelt field is refused instead of being dropped by the server. The operator's kinds: test_apply.py."""
    for item in installed[1]:
        if item["apiVersion"] != "monitoring.coreos.com/v1":
            kubernetes_validate.validate(item, version, strict=True)


def test_the_image_has_a_version_and_is_not_the_latest(installed: Installed) -> None:
    (container,) = pod_of(installed[1])["containers"]
    assert re.fullmatch(r"lhnet-agent:\d+\.\d+\.\d+", container["image"])
    assert container["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize("name", ["harvester", "longhorn"])
def test_the_operator_asks_the_agents_pods_on_their_named_port(name: str) -> None:
    objects = overlay(name)
    spec = one(objects, "PodMonitor")["spec"]
    template = one(objects, "DaemonSet")["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    (endpoint,) = spec["podMetricsEndpoints"]
    assert ports[endpoint["port"]] == 9811
    assert endpoint["path"] == "/metrics"
    assert "annotations" not in spec


def test_a_prometheus_without_an_operator_finds_the_pods_by_their_annotations_and_only_them() -> None:
    objects = overlay("no-operator")
    annotations = one(objects, "DaemonSet")["spec"]["template"]["metadata"]["annotations"]
    found = {key: value for key, value in annotations.items() if key.startswith("prometheus.io/")}
    assert found == {"prometheus.io/scrape": "true", "prometheus.io/port": "9811", "prometheus.io/path": "/metrics"}
    assert annotations["kubectl.kubernetes.io/default-container"] == "agent"
    assert "annotations" not in one(objects, "Service")["metadata"], "every series would come twice"


def test_the_plain_rule_file_holds_the_same_rules_as_the_operators_object() -> None:
    rules = one(overlay("no-operator"), "ConfigMap", "lhnet-agent-rules")["data"]["rules.yaml"]
    assert rules == (MANIFESTS / "monitoring/rules.yaml").read_text(), "run `make rules`"
    assert yaml.safe_load(rules)["groups"] == one(overlay("harvester"), "PrometheusRule")["spec"]["groups"], "run `make rules`"


def test_no_file_is_left_out() -> None:
    """What no kustomization names would never reach a cluster."""
    named: set[Path] = set()
    for file in MANIFESTS.rglob("kustomization.yaml"):
        document = yaml.safe_load(file.read_text())
        sources = [source for generator in document.get("configMapGenerator", ()) for source in generator["files"]]
        named |= {(file.parent / name).resolve() for name in (*document["resources"], *document.get("components", ()), *sources)}
        named.add(file)
    files = {path for path in MANIFESTS.rglob("*.yaml") if ".example." not in path.name}
    assert files - named == {MANIFESTS / "monitoring/rules.yaml"}
    assert {path.parent.name for path in files if path.parent.parent.name == "overlays"} == set(OVERLAYS)


def own(folder: Path, overlay: str, **document: Any) -> list[Json]:
    """What a kustomization of one's own makes of an overlay."""
    target = os.path.relpath(MANIFESTS / "overlays" / overlay, folder)
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [target], **document}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return built(folder)


@pytest.mark.parametrize("name", OVERLAYS)
def test_another_image_and_a_pull_secret_are_one_kustomization_away(name: str, tmp_path: Path) -> None:
    secret = [{"op": "add", "path": "/imagePullSecrets", "value": [{"name": "regcred"}]}]
    objects = own(
        tmp_path,
        name,
        images=[{"name": "lhnet-agent", "newName": "registry.example/storage/lhnet-agent", "newTag": "0.1.0"}],
        patches=[{"target": {"kind": "ServiceAccount"}, "patch": yaml.safe_dump(secret)}],
    )
    assert pod_of(objects)["containers"][0]["image"] == "registry.example/storage/lhnet-agent:0.1.0"
    assert one(objects, "ServiceAccount")["imagePullSecrets"] == [{"name": "regcred"}]


@pytest.mark.parametrize("name", OVERLAYS)
def test_settings_of_ones_own_take_the_files_place_and_roll_out(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("probe:\n  interval_seconds: 30\n")
    generator = {"name": "lhnet-agent-config", "namespace": "lhnet-system", "behavior": "replace", "files": ["config.yaml"]}
    objects = own(tmp_path, name, configMapGenerator=[generator])
    (config,) = [item for item in objects if item["kind"] == "ConfigMap" and "config.yaml" in item["data"]]
    assert config["data"] == {"config.yaml": "probe:\n  interval_seconds: 30\n"}
    (volume,) = [volume for volume in pod_of(objects)["volumes"] if "configMap" in volume]
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    before = one(overlay(name), "DaemonSet")["spec"]["template"]["spec"]["volumes"]
    assert volume not in before, "the pods are made anew"


def test_the_install_page_says_which_overlay_is_for_whom() -> None:
    text = (ROOT / "docs/install.md").read_text()
    for name in OVERLAYS:
        assert f"kubectl apply -k manifests/overlays/{name}" in text


def test_the_kustomization_of_the_install_page_does_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs/install.md").read_text()
    (document,) = re.findall(r"<<'END'\n(.*?)^END$", text, flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "config.yaml").write_text((ROOT / "docs/example-config.yaml").read_text())
    objects = own(tmp_path, "harvester", **{key: value for key, value in yaml.safe_load(document).items() if key != "resources"})
    assert sorted(map(where, objects)) == sorted(map(where, overlay("harvester")))
    assert pod_of(objects)["containers"][0]["image"] == "registry.example/storage/lhnet-agent:0.1.0"
    assert one(objects, "ServiceAccount")["imagePullSecrets"] == [{"name": "regcred"}]
    assert one(objects, "ConfigMap")["data"]["config.yaml"] == (ROOT / "docs/example-config.yaml").read_text()
