"""What the service account may do equals this table: a right that nobody uses is a right for somebody else."""

from typing import Any

from manifestworld import HARVESTERS_NAMESPACES, environment

from agent.config import load
from agent.edge.cluster import HARVESTER_SETTINGS, LONGHORN_SETTINGS
from agent.edge.holder_watches import CRDS, GRAFANA, VM_IMPORT

Json = dict[str, Any]
Right = tuple[str, str, str, str]
"""Namespace (empty: the whole cluster), group/resource, name (empty: all), verb."""

READ = ("get", "list", "watch")

NADS = "k8s.cni.cncf.io/network-attachment-definitions"
DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
# Harvester pkg/util/constants.go, HarvesterVMImportController, newest first.
VM_IMPORTS = (
    "vm-import-controller-harvester-vm-import-controller",
    "harvester-harvester-vm-import-controller",
    "harvester-vm-import-controller",
)

# Reference, section 3: what every agent watches.
EVERY_AGENT: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("", "/nodes", ""): READ,
    ("", "harvesterhci.io/settings", "storage-network"): READ,
    ("", "harvesterhci.io/settings", "rwx-network"): READ,
    ("", NADS, ""): READ,
    ("", "network.harvesterhci.io/clusternetworks", ""): READ,
    ("", "network.harvesterhci.io/vlanconfigs", ""): READ,
    ("longhorn-system", "/pods", ""): READ,
    ("longhorn-system", "longhorn.io/settings", "storage-network"): READ,
    ("longhorn-system", "longhorn.io/settings", "storage-network-for-rwx-volume-enabled"): READ,
    ("longhorn-system", "longhorn.io/settings", "endpoint-network-for-rwx-volume"): READ,
    ("lhnet-system", "/pods", ""): READ,
    ("lhnet-system", "coordination.k8s.io/leases", "lhnet-agent"): (*READ, "patch"),
}
# And what the holder of the Lease watches besides; its Nodes and NADs are among the above.
HOLDER: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("", DEFINITIONS, "ippools.whereabouts.cni.cncf.io"): READ,
    ("", DEFINITIONS, "overlappingrangeipreservations.whereabouts.cni.cncf.io"): READ,
    ("", DEFINITIONS, "nodeslicepools.whereabouts.cni.cncf.io"): READ,
    ("", DEFINITIONS, "network-attachment-definitions.k8s.cni.cncf.io"): READ,
    ("kube-system", "whereabouts.cni.cncf.io/ippools", ""): READ,
    ("kube-system", "whereabouts.cni.cncf.io/overlappingrangeipreservations", ""): READ,
    ("longhorn-system", "/events", ""): READ,
    ("longhorn-system", "longhorn.io/instancemanagers", ""): READ,
    ("longhorn-system", "longhorn.io/nodes", ""): READ,
    ("longhorn-system", "longhorn.io/replicas", ""): READ,
    ("longhorn-system", "longhorn.io/engines", ""): READ,
    ("cattle-monitoring-system", "monitoring.coreos.com/prometheuses", ""): READ,
    ("cattle-monitoring-system", "monitoring.coreos.com/alertmanagers", ""): READ,
    ("cattle-monitoring-system", "apps/deployments", "rancher-monitoring-grafana"): READ,
    **{("harvester-system", "apps/deployments", name): READ for name in VM_IMPORTS},
}
TABLE = EVERY_AGENT | HOLDER
Installed = tuple[str, list[Json]]


def table(overlay: str) -> set[Right]:
    """Without Harvester, its namespaces are not there, and the agent looks for their objects in its own."""
    rights = {(*where, verb) for where, verbs in TABLE.items() for verb in verbs}
    if overlay == "harvester":
        return rights
    return {("lhnet-system" if place in HARVESTERS_NAMESPACES else place, *rest) for place, *rest in rights}


def granted(objects: list[Json]) -> set[Right]:
    """Every right of every role that a binding gives to the agent's service account."""
    roles = {(item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]): item for item in objects}
    rights: set[Right] = set()
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "lhnet-agent", "namespace": "lhnet-system"}]
        namespace = binding["metadata"].get("namespace", "")
        reference = binding["roleRef"]
        role = roles[(reference["kind"], namespace if reference["kind"] == "Role" else "", reference["name"])]
        for rule in role["rules"]:
            assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
            rights |= {
                (namespace, f"{group}/{resource}", name, verb)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for name in rule.get("resourceNames", [""])
                for verb in rule["verbs"]
            }
    return rights


def test_the_rights_are_those_of_the_table_and_no_more(installed: Installed) -> None:
    name, objects = installed
    assert granted(objects) == table(name)


def test_it_writes_nothing_but_its_lease(installed: Installed) -> None:
    writes = {right for right in granted(installed[1]) if right[3] not in READ}
    assert writes == {("lhnet-system", "coordination.k8s.io/leases", "lhnet-agent", "patch")}


def test_no_star_and_no_secret(installed: Installed) -> None:
    for namespace, resource, name, verb in granted(installed[1]):
        assert "*" not in (namespace + resource + name + verb)
        assert not resource.endswith(("/secrets", "/configmaps"))


def test_harvesters_settings_with_keys_and_passwords_stay_closed(installed: Installed) -> None:
    """backup-target, ssl-certificates and containerd-registry are objects of the same resource."""
    names = {right[2] for right in granted(installed[1]) if right[1] == "harvesterhci.io/settings"}
    assert names == {"storage-network", "rwx-network"}


def test_the_namespaces_are_those_that_the_settings_of_the_daemon_set_name(installed: Installed) -> None:
    objects = installed[1]
    settings, _ = load(None, environ=environment(objects))
    names = settings.namespaces
    known = {"", names.agent, names.longhorn, names.harvester, names.whereabouts, names.monitoring}
    assert {right[0] for right in granted(objects)} == known


def test_what_can_be_anywhere_is_the_only_thing_read_everywhere(installed: Installed) -> None:
    """Pods, Events, Deployments and Longhorn's objects of other namespaces stay closed."""
    everywhere = {right[1] for right in granted(installed[1]) if right[0] == ""}
    without_namespace = {"/nodes", "harvesterhci.io/settings", DEFINITIONS}
    without_namespace |= {"network.harvesterhci.io/clusternetworks", "network.harvesterhci.io/vlanconfigs"}
    assert everywhere - without_namespace == {NADS}, "a storage network set in Longhorn itself may have its NAD in any namespace"


def test_nothing_below_an_object_is_open(installed: Installed) -> None:
    """No exec, no log, no proxy, no status, no token."""
    assert not [right for right in granted(installed[1]) if "/" in right[1].partition("/")[2]]


def test_deployments_are_read_by_name(installed: Installed) -> None:
    """Their pod templates may hold passwords in variables."""
    names = {right[2] for right in granted(installed[1]) if right[1] == "apps/deployments"}
    assert names == {"rancher-monitoring-grafana", *VM_IMPORTS}


def test_the_names_in_the_roles_are_those_that_the_code_asks_for(installed: Installed) -> None:
    """A list or watch of one object by its name needs a right for that very name."""
    by_resource: dict[str, set[str]] = {}
    for _, resource, name, _ in granted(installed[1]):
        by_resource.setdefault(resource, set()).add(name)
    assert by_resource["harvesterhci.io/settings"] == set(HARVESTER_SETTINGS)
    assert by_resource["longhorn.io/settings"] == set(LONGHORN_SETTINGS)
    assert by_resource[DEFINITIONS] == set(CRDS)
    assert by_resource["apps/deployments"] >= {GRAFANA, *VM_IMPORT}
