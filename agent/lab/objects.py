"""All API objects of a lab, in an order in which they can be created: definitions, namespaces, nodes, the agent's own, settings, pods.

Made from the plan alone, plus the agent's manifests, which are read so that the lab runs with exactly the rights that a cluster would
give. It talks to no server: see apiclient and api.
"""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from agent.lab.manifest import manifest_files
from agent.lab.objects_longhorn import longhorn_objects
from agent.lab.objects_pods import agent_pod, node_object, pod_object
from agent.lab.objects_rwx import rwx_network_setting, rwx_objects
from agent.lab.objects_storage import (
    MONITORING_NAMESPACE,
    cluster_networks,
    ip_pool,
    monitoring,
    nad,
    reservation,
    rwx_setting,
    storage_setting,
    vlan_config,
    vlan_status,
)
from agent.lab.plan import AGENT_NAMESPACE, LONGHORN_NAMESPACE, NAD_NAMESPACE, LabPlan
from agent.model.peers import Mode

Json = dict[str, Any]

NAMESPACES = (LONGHORN_NAMESPACE, NAD_NAMESPACE, MONITORING_NAMESPACE, AGENT_NAMESPACE)
MANIFEST_KINDS = frozenset(
    {
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Lease",
        "DaemonSet",
        "ConfigMap",
        "Service",
    }
)
"""What of the manifests an API server can hold by itself; a kustomization, for one, it cannot."""
_HARVESTERS_OWN = ("harvester.yaml", "harvester-network.yaml", "kubevirt.yaml")


def everything(plan: LabPlan, *, manifests: Path | None = None) -> list[Json]:
    """Each object with its status. Raises ValueError if the manifests cannot be read as YAML."""
    own = agent_objects(manifests)
    brought = {obj["metadata"]["name"] for obj in own if obj["kind"] == "Namespace"}
    objects = [*definitions(harvester=plan.harvester), *(namespace(name) for name in NAMESPACES if name not in brought)]
    objects += [obj for obj in own if obj["kind"] == "Namespace"]
    objects += [node_object(node, harvester=plan.harvester) for node in plan.nodes]
    objects += [obj for obj in own if obj["kind"] != "Namespace"]
    objects += cluster_objects(plan)
    objects += [pod_object(plan, pod) for pod in plan.pods]
    objects += [agent_pod(node) for node in plan.nodes]
    return objects


def cluster_objects(plan: LabPlan) -> list[Json]:
    """What Harvester, whereabouts, Longhorn and Rancher's monitoring hold."""
    objects = list(_of_harvester(plan)) if plan.harvester else []
    if plan.mode in (Mode.ON, Mode.APPLYING):
        objects.append(nad(plan))
    if plan.mode in (Mode.ON, Mode.OFF):
        objects.append(ip_pool(plan))  # whereabouts makes it with the first address, and nobody removes it
    objects += [reservation(pod) for pod in plan.pods if pod.storage_address]
    objects += longhorn_objects(plan)
    if plan.rwx:
        objects += rwx_objects(plan)
    return [*objects, *monitoring(held=plan.mode is Mode.APPLYING and plan.harvester)]


def _of_harvester(plan: LabPlan) -> Iterator[Json]:
    names = [node.name for node in plan.storage_nodes]
    yield storage_setting(plan)
    yield rwx_network_setting(plan) if plan.rwx else rwx_setting()
    yield from cluster_networks(plan)
    yield vlan_config(plan, names)
    yield from map(vlan_status, names)


def namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def definitions(*, harvester: bool = True) -> list[Json]:
    """The CustomResourceDefinitions that come with the package; those of Harvester only with it."""
    entries = sorted(files("agent.lab").joinpath("crds").iterdir(), key=lambda entry: entry.name)
    wanted = [one for one in entries if one.name.endswith(".yaml") and (harvester or one.name not in _HARVESTERS_OWN)]
    return [document for one in wanted for document in yaml.safe_load_all(one.read_text("utf-8")) if document]


def agent_objects(manifests: Path | None) -> list[Json]:
    """The agent's own objects out of a folder of manifests; without one, the ServiceAccount and the Lease alone."""
    found = list(_read(manifests)) if manifests is not None and manifests.is_dir() else []
    kinds = {obj["kind"] for obj in found}
    if "ServiceAccount" not in kinds:
        found.append({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "lhnet-agent", "namespace": AGENT_NAMESPACE}})
    if "Lease" not in kinds:
        metadata = {"name": "lhnet-agent", "namespace": AGENT_NAMESPACE}
        found.append({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})
    return sorted(found, key=lambda obj: obj["kind"] != "Namespace")


def _read(folder: Path) -> Iterator[Json]:
    for path in manifest_files(folder):
        try:
            documents = list(yaml.safe_load_all(path.read_text("utf-8")))
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
        for document in documents:
            if isinstance(document, dict) and document.get("kind") in MANIFEST_KINDS and isinstance(document.get("metadata"), dict):
                yield _at_home(document)


def _at_home(obj: Json) -> Json:
    """The namespace that `kubectl apply -n` or a kustomization would fill in."""
    if obj["kind"] in ("Namespace", "ClusterRole", "ClusterRoleBinding") or obj["metadata"].get("namespace"):
        return obj
    return {**obj, "metadata": {**obj["metadata"], "namespace": AGENT_NAMESPACE}}
