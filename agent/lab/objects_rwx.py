"""The network for RWX volumes in a lab that has one: its setting, NAD and pool, and Longhorn's setting that names it.

As Harvester 1.8 makes it when the storage network is not shared: share-managers and csi-plugins get a second interface of their own.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from agent.lab.objects_longhorn import longhorn_setting
from agent.lab.objects_pods import RWX_NAD
from agent.lab.objects_storage import SETTING_HOST, ip_pool, nad, rwx_setting, setting_value, sha1
from agent.lab.plan import RWX_INTERFACE, RWX_NAD_NAME, RWX_RANGE, LabPlan

Json = dict[str, Any]

RWX_KEYS = f"rwx-network.{SETTING_HOST}"
RWX_VLAN = 200


def rwx_objects(plan: LabPlan) -> Iterator[Json]:
    """The NAD and the pool. The plan's other networks are left out."""
    own = rwx_plan(plan)
    made = nad(own)
    made["metadata"]["name"] = RWX_NAD_NAME
    made["metadata"]["annotations"] = {RWX_KEYS: "true"}
    labels = made["metadata"]["labels"]
    labels[f"{RWX_KEYS}/hash"] = sha1(setting_value(own))
    del labels[f"storage-network.{SETTING_HOST}/hash"]
    yield made
    yield ip_pool(own)
    yield longhorn_setting("endpoint-network-for-rwx-volume", RWX_NAD)


def rwx_network_setting(plan: LabPlan) -> Json:
    """Harvester's setting rwx-network; its hash is over the network that stands in it, not over the whole text."""
    inner = setting_value(rwx_plan(plan))
    annotations = {"hash": sha1(inner), "net-attach-def": RWX_NAD, "old-net-attach-def": "", "initialized": "true"}
    return rwx_setting(
        value=json.dumps({"share-storage-network": False, "network": json.loads(inner)}, separators=(",", ":")),
        annotations={f"{RWX_KEYS}/{key}": value for key, value in annotations.items()},
    )


def rwx_plan(plan: LabPlan) -> LabPlan:
    """The same cluster as its RWX network alone sees it."""
    pods = tuple(pod for pod in plan.pods if pod.interface == RWX_INTERFACE)
    return replace(plan, range=RWX_RANGE, vlan=RWX_VLAN, pods=pods)
