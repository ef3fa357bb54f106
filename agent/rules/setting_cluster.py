"""Judges what the setting needs around it: whereabouts' CRDs, a cluster network on every node, and monitoring that runs again afterwards.

Harvester checks these once, when the setting is edited, and never again. What could not be read is unknown and raises nothing.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from agent.model.finding import Finding, Subject
from agent.model.holder import MonitoringRecord
from agent.model.pool import NadConfig
from agent.model.records import NodeRecord, SettingRecord, VlanConfigRecord
from agent.rules.ipam_range import shown
from agent.rules.make import make
from agent.rules.netstatus import MAX_ANNOTATION_BYTES
from agent.rules.setting_texts import EVIDENCE_LISTED, Places, is_name, listing, show_setting
from agent.rules.setting_value import is_done, read_value

POOLS_CRD = "ippools.whereabouts.cni.cncf.io"
RESERVATIONS_CRD = "overlappingrangeipreservations.whereabouts.cni.cncf.io"
SLICES_CRD = "nodeslicepools.whereabouts.cni.cncf.io"
MANAGEMENT = "mgmt"
"""Harvester's built-in cluster network: it is on every node, mostly without a VlanConfig."""
WITNESS_LABEL = "node-role.harvesterhci.io/witness"

_VLAN_CONFIGS = "vlanconfigs.network.harvesterhci.io"
_HELD = re.compile(r"([a-z0-9-]{1,63})\.settings\.harvesterhci\.io/replica")
_COUNT = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_RESOURCES: Mapping[str, str] = {
    "Prometheus": "prometheuses.monitoring.coreos.com",
    "Alertmanager": "alertmanagers.monitoring.coreos.com",
    "Deployment": "deployments.apps",
    "StatefulSet": "statefulsets.apps",
}


def needed_crds(nads: Iterable[NadConfig]) -> tuple[str, ...]:
    """CRDs without which whereabouts gives no address to these NADs; none for those of another IPAM."""
    needed: dict[str, None] = {}
    for nad in nads:
        if nad.whereabouts:
            needed[POOLS_CRD] = None
            if nad.overlapping_ranges:
                needed[RESERVATIONS_CRD] = None
            if nad.node_slice_size:
                needed[SLICES_CRD] = None
    return tuple(needed)


def crd_missing(missing: Sequence[str], *, places: Places | None = None) -> Finding | None:
    """Compares: the IPAM of the NADs in use with the CRDs that are there. `missing` are those of `needed_crds` that are not."""
    if not missing:
        return None
    return make(
        "crd-missing",
        subject=Subject(),
        summary=f"whereabouts' CRD {listing(missing)} is not installed: no storage pod can get an address",
        seen=f"no CustomResourceDefinition {listing(missing)}",
        expected="the CRDs of whereabouts, which the storage network's NAD names as its IPAM",
        next_step="see what is there, `kubectl get crd -o name | grep -e whereabouts -e k8s.cni.cncf.io`, and install them from the "
        f"manifests of the whereabouts version in use: `kubectl -n {(places or Places()).whereabouts} get daemonset -o wide`",
        clears_when="the CRDs are there",
        evidence=tuple(missing),
    )


def cluster_networks_of(settings: Iterable[SettingRecord]) -> tuple[str, ...]:
    """Cluster networks that the settings' values name."""
    values = (read_value(setting).network for setting in settings)
    return tuple(dict.fromkeys(value.cluster_network for value in values if value and value.cluster_network))


def coverage_missing(
    cluster_network: str | None,
    *,
    nodes: Iterable[NodeRecord],
    vlan_configs: Iterable[VlanConfigRecord],
    skipped: Sequence[str] = (),
) -> list[Finding]:
    """Compares: the nodes with those that some VlanConfig of the cluster network matches. One that does not say whom it matches, or could
    not be read (`skipped`), may match anybody: then nothing is known."""
    if not cluster_network or cluster_network == MANAGEMENT or skipped:
        return []
    configs = [config for config in vlan_configs if config.cluster_network == cluster_network]
    matched = [matched_nodes(config.matched_nodes) for config in configs]
    covered: set[str] = set()
    for names in matched:
        if names is None:
            return []
        covered |= names
    bare = sorted({node.name for node in nodes if node.name not in covered and node.labels.get(WITNESS_LABEL) != "true"})
    return [_uncovered(name, cluster_network, configs) for name in bare]


def matched_nodes(text: str | None) -> frozenset[str] | None:
    """Names in the annotation network.harvesterhci.io/matched-nodes; None if it is missing or not a list of names."""
    if not text or len(text) > MAX_ANNOTATION_BYTES:
        return None
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return frozenset(names)


def _uncovered(node: str, cluster_network: str, configs: Sequence[VlanConfigRecord]) -> Finding:
    network = shown(cluster_network)
    there = listing([config.name for config in configs]) or "none"
    return make(
        "coverage-missing",
        subject=Subject(node=node),
        summary=f"{shown(node)} is in no VlanConfig of the cluster network {network}: its storage pods have no uplink",
        seen=f"VlanConfigs of {network}: {there}; none matches {shown(node)}",
        expected=f"every node but witnesses in a VlanConfig of {network}",
        next_step=f"compare whom they match, `kubectl get {_VLAN_CONFIGS} -o yaml`, and in Harvester's UI add a network config of the "
        f"cluster network {network} for {shown(node)}, or widen the node selector of one",
        clears_when=f"a VlanConfig of {network} matches the node, or the node is gone",
        evidence=tuple(f"{config.name} matches {shown(config.matched_nodes or '')}" for config in configs[:EVIDENCE_LISTED]),
    )


def monitoring_left_stopped(records: Iterable[MonitoringRecord], *, settings: Iterable[SettingRecord]) -> Finding | None:
    """Compares: what Harvester holds at 0 replicas with the condition of the setting for which it did. One finding for all."""
    done = {setting.name for setting in settings if is_done(setting)}
    left = [(one, key, count) for one in records for key, count in _held(one, done)]
    if not left:
        return None
    left.sort(key=lambda item: (item[0].kind, item[0].key))
    names = list(dict.fromkeys(f"{one.kind} {one.key}" for one, _, _ in left))
    setting = left[0][1].partition(".")[0]
    return make(
        "monitoring-left-stopped",
        subject=Subject(),
        summary=f"Harvester has not started {listing(names)} again although the setting {setting} is completed",
        seen=f"{listing(names)} held at 0 by annotation {left[0][1]}",
        expected="what was stopped for the setting runs again once configured is True",
        next_step=f"see that nothing is being applied, {show_setting(setting)}, then bring them back: "
        + "; ".join(_restore(*one) for one in left[:4]),
        clears_when="none of them is held any more",
        evidence=tuple(f"{one.kind} {one.key}: replicas before {shown(count)}" for one, _, count in left[:EVIDENCE_LISTED]),
    )


def _held(one: MonitoringRecord, done: Collection[str]) -> list[tuple[str, str]]:
    """Annotations of settings that are completed. What has replicas again, or the default by naming none, was started by somebody; what
    had none has none to get back."""
    if one.replicas != 0:
        return []
    return [
        (key, count)
        for key, count in sorted(one.held.items())
        if (match := _HELD.fullmatch(key)) and match[1] in done and count.strip() != "0"
    ]


def _restore(one: MonitoringRecord, key: str, count: str) -> str:
    resource = _RESOURCES.get(one.kind)
    if resource is None or not (is_name(one.namespace) and is_name(one.name) and _COUNT.fullmatch(count)):
        return f"start {shown(one.kind)} {shown(one.key)} again and remove its annotation {key}"
    patch = f'{{"metadata":{{"annotations":{{"{key}":null}}}},"spec":{{"replicas":{count}}}}}'
    return f"`kubectl -n {one.namespace} patch {resource} {one.name} --type=merge -p '{patch}'`"
