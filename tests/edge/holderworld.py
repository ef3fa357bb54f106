"""A cluster for the holder's sources: what Harvester, whereabouts, Longhorn and the monitoring hold, on the lab's embedded API."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import kubeserver as fake
from leaseworld import ADMIN, PACE, LabApi

from agent.edge.holder import HolderSources
from agent.edge.holder_memory import Memory
from agent.edge.kube import KubeClient, Timeouts
from agent.lab.objects import cluster_objects
from agent.lab.objects_pods import node_object
from agent.lab.plan import make_plan

Json = dict[str, Any]
HELD = "storage-network.settings.harvesterhci.io/replica"
EXHAUSTED = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "831b": plugin type="multus" '
    'name="multus-cni-network" failed (add): [longhorn-system/instance-manager-a1/e349:storagenetwork-95bj4]: error adding container to '
    'network "storagenetwork-95bj4": error at storage engine: Could not allocate IP in range: ip: 192.168.0.1 / - 192.168.0.6 / '
    "range: 192.168.0.0/29 / excludeRanges: []"
)


def stamp(seconds_ago: float = 0.0) -> str:
    return datetime.fromtimestamp(time.time() - seconds_ago, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(name: str, *, reason: str = "FailedCreatePodSandBox", message: str = EXHAUSTED, kind: str = "Pod", **more: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "longhorn-system", "creationTimestamp": more.pop("made", stamp(600))},
        "involvedObject": {"kind": kind, "namespace": "longhorn-system", "name": "instance-manager-a1", "uid": "e349"},
        "reason": reason,
        "type": "Warning",
        "message": message,
        "count": 14,
        "firstTimestamp": stamp(600),
        "lastTimestamp": stamp(120),
        **more,
    }


def instance(kind: str, name: str, *, storage_ip: str = "192.168.0.2", state: str = "running") -> Json:
    return {
        "apiVersion": "longhorn.io/v1beta2",
        "kind": kind,
        "metadata": {"name": name, "namespace": "longhorn-system"},
        "spec": {"volumeName": name.rpartition("-")[0], "nodeID": "harv41"},
        "status": {"storageIP": storage_ip, "currentState": state, "instanceManagerName": "instance-manager-a1"},
    }


def nad(name: str, *, config: str = '{"type":"bridge","ipam":{}}') -> Json:
    kind = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition"}
    return {**kind, "metadata": {"name": name, "namespace": "harvester-system"}, "spec": {"config": config}}


def deployment(name: str, *, namespace: str, replicas: int = 0, **annotations: str) -> Json:
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}}
    spec["template"] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    held = {HELD: annotations["held"]} if "held" in annotations else {}
    metadata = {"name": name, "namespace": namespace, "annotations": held}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def whole_cluster() -> list[Json]:
    plan = make_plan()
    return [
        *(node_object(node) for node in plan.nodes),
        *cluster_objects(plan),
        nad("vm-network"),
        nad("rwx-network-4x2k1"),
        nad("shop", config='{"type":"macvlan","ipam":{"type": "whereabouts","range":"10.9.0.0/24"}}'),
        deployment("rancher-monitoring-grafana", namespace="cattle-monitoring-system", held="1"),
        deployment("somebody-elses", namespace="cattle-monitoring-system"),
        deployment("harvester-harvester-vm-import-controller", namespace="harvester-system", replicas=1),
        instance("Replica", "pvc-1-r"),
        instance("Engine", "pvc-1-e", storage_ip="10.52.0.7"),
        event("failing"),
        event("added", reason="AddedInterface", message="Add lhnet1 [192.168.0.2/24] from harvester-system/storagenetwork-95bj4"),
        event("of-a-volume", kind="Volume"),
        event("pulled", reason="Pulled", message="image is there"),
    ]


class Room:
    """Memory that a test fills."""

    def __init__(self, used_bytes: int = 10) -> None:
        self.memory = Memory(used_bytes=used_bytes, limit_bytes=100)

    def __call__(self) -> Memory:
        return self.memory


def sources_of(client: KubeClient, *, clock: Callable[[], float] = time.monotonic, **more: Any) -> HolderSources:
    settings: dict[str, Any] = {"pace": PACE, "list_interval_seconds": 0.3, "memory_interval_seconds": 0.05, "memory": Room()}
    return HolderSources(
        client=client,
        longhorn_namespace="longhorn-system",
        harvester_namespace="harvester-system",
        whereabouts_namespace="kube-system",
        monitoring_namespace="cattle-monitoring-system",
        clock=clock,
        rng=fake.even(),
        **(settings | more),
    )


@asynccontextmanager
async def holder_at(api: LabApi, *, token: str = ADMIN, synced: bool = True, **more: Any) -> AsyncIterator[HolderSources]:
    timeouts = Timeouts(connect_seconds=10, answer_seconds=20)
    async with KubeClient(access=api.access(clock=time.monotonic, token=token), timeouts=timeouts) as client:
        sources = sources_of(client, **more)
        async with fake.running(sources.run()):
            sources.want(True)
            if synced:
                await fake.until(lambda: sources.synced)
            yield sources


def states(sources: HolderSources) -> dict[str, str]:
    return {status.name: status.state.value for status in sources.facts().statuses()}
