"""What Harvester, Longhorn and Rancher's monitoring would have written before the first storage pod starts.

The lab's objects, with two differences: nothing that real programs here write themselves (IPPools, Nodes, pods), and no VLAN, since the
bridges of a machine that runs tests may be unable to filter any. Harvester writes a setting without VLAN as VLAN 1.
"""

import json
from dataclasses import replace
from typing import Any

from agent.lab.objects import cluster_objects, definitions, namespace
from agent.lab.objects_longhorn import instance_manager
from agent.lab.objects_pods import node_object
from agent.lab.plan import LONGHORN_NAMESPACE, NAD_NAMESPACE, LabNode, LabPlan, LabPod, make_plan

Json = dict[str, Any]

RANGE = "192.168.7.0/29"
"""Six addresses: three instance-managers, as many again in an upgrade, and not one more."""
CAPACITY = 6
NAMESPACES = (LONGHORN_NAMESPACE, NAD_NAMESPACE, "cattle-monitoring-system")
WRITTEN_BY_PROGRAMS = frozenset({"IPPool", "OverlappingRangeIPReservation", "InstanceManager", "BackingImageManager"})
"""Or, as for Longhorn's, with the pods."""
OPERATOR_KINDS = {"podmonitors": "PodMonitor", "prometheusrules": "PrometheusRule"}
"""Of the Prometheus operator, beside those that the lab has: the agent's manifests bring objects of these kinds."""


def cluster_plan(*, nodes: int) -> LabPlan:
    """Nodes and the storage network; the pods are made one by one, by name."""
    return replace(make_plan(nodes=nodes), range=RANGE, pods=(), vlan=1)


def first_objects(plan: LabPlan) -> list[Json]:
    """Definitions, namespaces, settings, the NAD: all that exists before any pod. Nodes are there already, made by their kubelets."""
    held = [_untagged(obj) for obj in cluster_objects(plan) if obj["kind"] not in WRITTEN_BY_PROGRAMS]
    operator = [_operator_definition(plural, kind) for plural, kind in OPERATOR_KINDS.items()]
    return [*definitions(), *operator, *(namespace(name) for name in NAMESPACES), *held]


def _untagged(obj: Json) -> Json:
    if obj["kind"] != "NetworkAttachmentDefinition":
        return obj
    config = json.loads(obj["spec"]["config"])
    del config["vlan"]
    return {**obj, "spec": {"config": json.dumps(config, separators=(",", ":"))}}


def node_patch(node: LabNode) -> Json:
    """What Harvester adds to the Node that a kubelet registered."""
    made = node_object(node)
    return {"metadata": {key: made["metadata"][key] for key in ("labels", "annotations")}, "spec": made["spec"]}


def instance_manager_object(pod: LabPod, *, state: str) -> Json:
    """`state` as Longhorn has it: starting, running, stopped, error."""
    made = instance_manager(pod)
    return {**made, "status": {**made["status"], "currentState": state, "ip": pod.pod_ip if state == "running" else ""}}


def _operator_definition(plural: str, kind: str) -> Json:
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": anything}],
        },
    }
