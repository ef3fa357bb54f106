"""A lab without agents for tests of its cluster half: nodes, pods and the embedded API in this process, and what the API shows of them."""

import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agent.lab.apiclient import ApiFailed
from agent.lab.lab import Lab, LabOptions
from agent.lab.manifest import DEFAULT_FOLDER
from agent.lab.plan import LONGHORN_NAMESPACE, make_plan
from agent.lab.whereabouts import API as WHEREABOUTS

Json = dict[str, Any]

STATUS = "k8s.v1.cni.cncf.io/network-status"
KINDS = (
    ("harvesterhci.io/v1beta1", "Setting", ""),
    ("longhorn.io/v1beta2", "Setting", LONGHORN_NAMESPACE),
    ("longhorn.io/v1beta2", "InstanceManager", LONGHORN_NAMESPACE),
    ("longhorn.io/v1beta2", "Replica", LONGHORN_NAMESPACE),
    ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", "harvester-system"),
    ("network.harvesterhci.io/v1beta1", "VlanConfig", ""),
    ("network.harvesterhci.io/v1beta1", "VlanStatus", ""),
    ("monitoring.coreos.com/v1", "Prometheus", "cattle-monitoring-system"),
    (WHEREABOUTS, "OverlappingRangeIPReservation", "kube-system"),
    ("v1", "Node", ""),
)


@contextlib.asynccontextmanager
async def cluster(*, nodes: int = 2, storage_range: str = "192.168.7.0/29") -> AsyncIterator["Cluster"]:
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as folder:
        for name in ("logs", "nodes"):
            os.mkdir(os.path.join(folder, name))
        plan = make_plan(nodes=nodes, storage_range=storage_range)
        lab = Lab(LabOptions(folder=Path(folder), plan=plan, manifests=DEFAULT_FOLDER))
        try:
            await lab.world.build()
            await lab.api.prepare()
            found = Cluster(lab)
            await found.look()
            yield found
        finally:
            await lab.down()


class Cluster:
    def __init__(self, lab: Lab) -> None:
        self.lab, self.api = lab, lab.api.client

    async def look(self, *, times: int = 1) -> None:
        """The nodes' kubelets look at their pods once, and try again what failed."""
        for _ in range(times):
            async with self.lab.kubelet.held():
                await self.lab.kubelet.work(retry_now=True)

    async def pod(self, name: str) -> Json:
        held = await self.api.get("v1", "Pod", name, namespace=LONGHORN_NAMESPACE)
        assert held is not None, f"there is no pod {name}"
        return held

    async def events(self, name: str, reason: str = "") -> list[Json]:
        """Oldest first."""
        found = await self.api.list("v1", "Event", namespace=LONGHORN_NAMESPACE)
        mine = [one for one in found if one["involvedObject"]["name"] == name and reason in ("", one["reason"])]
        return sorted(mine, key=lambda one: str(one["metadata"]["name"]))

    async def pool(self) -> dict[str, str]:
        """Whom the pool lists, by address; of a range with at most 256 of them."""
        stem, _, _ = self.lab.plan.range.rpartition(".")
        (pool,) = await self.api.list(WHEREABOUTS, "IPPool", namespace="kube-system")
        return {f"{stem}.{key}": entry["podref"].partition("/")[2] for key, entry in pool["spec"]["allocations"].items()}

    async def reservations(self) -> dict[str, str]:
        found = await self.api.list(WHEREABOUTS, "OverlappingRangeIPReservation", namespace="kube-system")
        return {one["metadata"]["name"]: one["spec"]["podref"].partition("/")[2] for one in found}

    async def everything(self) -> Json:
        """What faults change and must give back, without what a server or a new sandbox fills in anew."""
        shown: Json = {"pods": {}, "pools": {}, "world": {pod.key: pod.storage_address for pod in self.lab.world.pods}}
        for api_version, kind, namespace in KINDS:
            for one in await self.listed(api_version, kind, namespace=namespace):
                metadata = {key: one["metadata"].get(key) for key in ("labels", "annotations")}
                content = {key: value for key, value in one.items() if key != "metadata"}
                shown[f"{api_version} {kind} {one['metadata']['name']}"] = {**content, **metadata}
        for one in await self.api.list("v1", "Pod", namespace=LONGHORN_NAMESPACE):
            shown["pods"][one["metadata"]["name"]] = (one["status"]["phase"], storage_address(one))
        for one in await self.listed(WHEREABOUTS, "IPPool", namespace="kube-system"):
            entries = {key: (entry["podref"], entry["ifname"]) for key, entry in one["spec"]["allocations"].items()}
            shown["pools"][one["metadata"]["name"]] = (one["spec"]["range"], entries)
        return shown

    async def listed(self, api_version: str, kind: str, *, namespace: str = "") -> list[Json]:
        """Nothing where the API does not serve the kind."""
        try:
            return await self.api.list(api_version, kind, namespace=namespace)
        except ApiFailed as error:
            if error.code != 404:
                raise
            return []

    async def interfaces(self, name: str) -> dict[str, str]:
        """What the kernel shows inside a pod: address by interface."""
        links = self.lab.world.ip_json(f"{LONGHORN_NAMESPACE}/{name}", "-4", "addr", "show")
        return {link["ifname"]: link["addr_info"][0]["local"] for link in links if link["addr_info"] and link["ifname"] != "lo"}


def storage_address(pod: Json) -> str | None:
    """As Multus granted it."""
    text = (pod["metadata"].get("annotations") or {}).get(STATUS)
    entries = json.loads(text) if text else []
    return next((entry["ips"][0] for entry in entries if not entry.get("default")), None)
