"""Faults of the setting and of what follows from it: the NAD, Longhorn's own setting, coverage, monitoring, and what Longhorn runs on."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.changes import added, changed, image_pod, read, removed, start
from agent.lab.changes import end as end_pods
from agent.lab.objects_pods import VLAN_CONFIG
from agent.lab.objects_storage import MONITORING_NAMESPACE, SETTING_KEYS, nad, setting_value, sha1, vlan_status
from agent.lab.plan import LONGHORN_NAMESPACE, NAD_NAME, NAD_NAMESPACE, LabNode

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

HARVESTER = "harvesterhci.io/v1beta1"
NETWORK = "network.harvesterhci.io/v1beta1"
LONGHORN = "longhorn.io/v1beta2"
MULTUS = "k8s.cni.cncf.io/v1"
NAD_KIND = "NetworkAttachmentDefinition"
OLD_NAD = "storagenetwork-zz81q"
SETTING = "storage-network"


@asynccontextmanager
async def _configured(lab: "Lab", **values: object) -> AsyncIterator[None]:
    """As if Harvester had been given these values and had applied them: the setting with its hash, and the NAD."""
    setting = await read(lab, HARVESTER, "Setting", SETTING)
    held = await read(lab, MULTUS, NAD_KIND, NAD_NAME, namespace=NAD_NAMESPACE)
    value = json.dumps({**json.loads(setting["value"]), **values}, separators=(",", ":"))
    config = json.loads(held["spec"]["config"])
    config["ipam"] |= values
    told = {"value": value, "metadata": {"annotations": {f"{SETTING_KEYS}/hash": sha1(value)}}}
    made = {
        "spec": {"config": json.dumps(config, separators=(",", ":"))},
        "metadata": {"labels": {f"{SETTING_KEYS}/hash": sha1(value)}},
    }
    async with (
        changed(lab, HARVESTER, "Setting", SETTING, told),
        changed(lab, MULTUS, NAD_KIND, NAD_NAME, made, namespace=NAD_NAMESPACE),
    ):
        yield


@fault(
    "range-invalid",
    breaks="the range is set to a single address, from which whereabouts gives none; a new pod cannot start, running ones keep theirs",
    findings=(("range-unusable", "cluster"), ("sandbox-failing", "cluster")),
)
async def range_invalid(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    async with _configured(lab, range=f"{IPv4Network(lab.plan.range).network_address}/32"), _waiting(lab, lab.world.nodes[0], "invalid"):
        yield


@asynccontextmanager
async def _waiting(lab: "Lab", node: LabNode, word: str) -> AsyncIterator[None]:
    """One new pod that cannot start now."""
    pod = image_pod(lab, node, word)
    await start(lab, [pod])
    yield
    await end_pods(lab, [pod])


@fault(
    "exclude-host-bits",
    breaks="the setting excludes the range's last address and writes it with a mask: whereabouts leaves out the whole subnet",
    findings=(("exclude-widened", "cluster"),),
)
async def exclude_host_bits(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    async with _configured(lab, exclude=[f"{IPv4Network(lab.plan.range).broadcast_address}/31"]):
        yield


@fault(
    "nad-deleted",
    breaks="the NAD in use is deleted; running pods keep their interfaces, a new pod cannot start",
    findings=(("nad-missing", "cluster"), ("sandbox-failing", "cluster")),
)
async def nad_deleted(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    async with removed(lab, MULTUS, NAD_KIND, NAD_NAME, namespace=NAD_NAMESPACE), _waiting(lab, lab.world.nodes[0], "no-nad"):
        yield


@fault(
    "nad-changed",
    breaks="somebody edits the VLAN in the NAD by hand; the setting still names the old one",
    findings=(("nad-drift", "cluster"),),
)
async def nad_changed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    held = await read(lab, MULTUS, NAD_KIND, NAD_NAME, namespace=NAD_NAMESPACE)
    config = json.loads(held["spec"]["config"])
    change = {"spec": {"config": json.dumps({**config, "vlan": config["vlan"] + 1}, separators=(",", ":"))}}
    async with changed(lab, MULTUS, NAD_KIND, NAD_NAME, change, namespace=NAD_NAMESPACE):
        yield


@fault(
    "nad-left-behind",
    breaks="a NAD of an earlier setting is still there; no setting names it and no pod asks for it",
    findings=(("nad-leftover", "cluster"),),
)
async def nad_left_behind(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    old = nad(lab.plan)
    old["metadata"]["name"] = OLD_NAD
    old["metadata"]["labels"][f"{SETTING_KEYS}/hash"] = sha1(setting_value(lab.plan, exclude=["192.168.0.1/32"]))
    async with added(lab, old):
        yield


@fault(
    "setting-stuck",
    breaks="the setting's condition goes back to In Progress and stays there, waiting for volumes",
    findings=(("setting-stuck", "cluster"),),
)
async def setting_stuck(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    condition = {
        "type": "configured",
        "status": "False",
        "reason": "In Progress",
        "message": "waiting for all volumes detached: pvc-0a151c59-ffa9-4938-9c86-59ebb296bc88,pvc-5f6d2f0e-9a53-4b2b-8f0b-5d5f3c1e7a10",
        "lastUpdateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    async with changed(lab, HARVESTER, "Setting", SETTING, {"status": {"conditions": [condition]}}, status=True):
        yield


@fault(
    "setting-changed",
    breaks="the setting's value is edited behind the webhook's back, and Harvester never acts on it: hash and NAD are the old ones",
    findings=(("setting-unapplied", "cluster"),),
)
async def setting_changed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    # Spaces alone: the hash is of the text as it stands, and nothing else may disagree.
    value = json.dumps(json.loads((await read(lab, HARVESTER, "Setting", SETTING))["value"]))
    async with changed(lab, HARVESTER, "Setting", SETTING, {"value": value}):
        yield


@fault(
    "longhorn-setting-changed",
    breaks="Longhorn's own setting storage-network is emptied; Harvester still names its NAD, and running pods keep theirs",
    findings=(("setting-mismatch", "cluster"),),
)
async def longhorn_setting_changed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    async with changed(lab, LONGHORN, "Setting", SETTING, {"value": ""}, namespace=LONGHORN_NAMESPACE):
        yield


@fault(
    "range-overlaps",
    breaks="the node is given a second address out of the storage network's range",
    targets=("node",),
    findings=(("range-overlap", "cluster"),),
)
async def range_overlaps(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    name = _node(aim).name
    addresses = (await read(lab, "v1", "Node", name))["status"]["addresses"]
    taken = {"type": "InternalIP", "address": str(IPv4Network(lab.plan.range)[-2])}
    async with changed(lab, "v1", "Node", name, {"status": {"addresses": [*addresses, taken]}}, status=True):
        yield


def _node(aim: Aim) -> LabNode:
    if aim.node is None:
        raise FaultError("this fault needs a node")
    return aim.node


@fault(
    "vlanconfig-misses-node",
    breaks="the VlanConfig no longer matches the node, which loses its label and its VlanStatus; its bridge is still there",
    targets=("node",),
    findings=(("coverage-missing", "cluster"),),
)
async def vlanconfig_misses_node(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    matched = "network.harvesterhci.io/matched-nodes"
    names = json.loads((await read(lab, NETWORK, "VlanConfig", VLAN_CONFIG))["metadata"]["annotations"][matched])
    left = json.dumps([name for name in names if name != node], separators=(",", ":"))
    async with AsyncExitStack() as stack:
        change: Json = {"metadata": {"annotations": {matched: left}}}
        await stack.enter_async_context(changed(lab, NETWORK, "VlanConfig", VLAN_CONFIG, change))
        change = {"metadata": {"labels": {"network.harvesterhci.io/vlanconfig": None}}}
        await stack.enter_async_context(changed(lab, "v1", "Node", node, change))
        await stack.enter_async_context(removed(lab, NETWORK, "VlanStatus", vlan_status(node)["metadata"]["name"]))
        yield


@fault(
    "monitoring-held",
    breaks="Prometheus is still held at no replicas after the setting has completed, with the number to give back in its annotation",
    findings=(("monitoring-left-stopped", "cluster"),),
)
async def monitoring_held(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    change = {"spec": {"replicas": 0}, "metadata": {"annotations": {f"{SETTING_KEYS}/replica": "1"}}}
    name = "rancher-monitoring-prometheus"
    async with changed(lab, "monitoring.coreos.com/v1", "Prometheus", name, change, namespace=MONITORING_NAMESPACE):
        yield
