"""What the service account may do equals this table: a right that nobody uses is a right for somebody else."""

from typing import Any

Json = dict[str, Any]
Right = tuple[str, str, str, str]
"""Namespace (empty: the whole cluster), group/resource, name (empty: all), verb."""

READ = ("get", "list", "watch")

# Reference, section 3: what every agent watches, and the Lease.
TABLE: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("", "/nodes", ""): READ,
    ("", "harvesterhci.io/settings", "storage-network"): READ,
    ("", "harvesterhci.io/settings", "rwx-network"): READ,
    ("", "k8s.cni.cncf.io/network-attachment-definitions", ""): READ,
    ("", "network.harvesterhci.io/clusternetworks", ""): READ,
    ("", "network.harvesterhci.io/vlanconfigs", ""): READ,
    ("longhorn-system", "/pods", ""): READ,
    ("longhorn-system", "longhorn.io/settings", "storage-network"): READ,
    ("longhorn-system", "longhorn.io/settings", "storage-network-for-rwx-volume-enabled"): READ,
    ("longhorn-system", "longhorn.io/settings", "endpoint-network-for-rwx-volume"): READ,
    ("lhnet-system", "/pods", ""): READ,
    ("lhnet-system", "coordination.k8s.io/leases", "lhnet-agent"): (*READ, "update", "patch"),
}


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


def test_the_rights_are_those_of_the_table_and_no_more(objects: list[Json]) -> None:
    assert granted(objects) == {(*where, verb) for where, verbs in TABLE.items() for verb in verbs}


def test_it_writes_nothing_but_its_lease(objects: list[Json]) -> None:
    writes = {right for right in granted(objects) if right[3] not in READ}
    assert {right[:3] for right in writes} == {("lhnet-system", "coordination.k8s.io/leases", "lhnet-agent")}


def test_no_star_and_no_secret(objects: list[Json]) -> None:
    for namespace, resource, name, verb in granted(objects):
        assert "*" not in (namespace + resource + name + verb)
        assert not resource.endswith(("/secrets", "/configmaps"))


def test_harvesters_settings_with_keys_and_passwords_stay_closed(objects: list[Json]) -> None:
    """backup-target, ssl-certificates and containerd-registry are objects of the same resource."""
    names = {right[2] for right in granted(objects) if right[1] == "harvesterhci.io/settings"}
    assert names == {"storage-network", "rwx-network"}
