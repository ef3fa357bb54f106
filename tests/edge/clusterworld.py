"""A small cluster for the tests of `Cluster`: every collection that an agent watches, and an agent's view of it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kubeserver as fake
import yaml
from kubeserver import FAST, KubeServer, World

from agent.edge.cluster import Cluster
from agent.edge.kube import KubeClient
from agent.edge.state import StateFile

PODS = fake.PODS
AGENTS = "/api/v1/namespaces/lhnet-system/pods"
NODES = "/api/v1/nodes"
SETTINGS = "/apis/harvesterhci.io/v1beta1/settings"
LONGHORN_SETTINGS = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/settings"
NADS = "/apis/k8s.cni.cncf.io/v1/namespaces/harvester-system/network-attachment-definitions"
CLUSTER_NETWORKS = "/apis/network.harvesterhci.io/v1beta1/clusternetworks"
VLAN_CONFIGS = "/apis/network.harvesterhci.io/v1beta1/vlanconfigs"
EVERYTHING = (PODS, AGENTS, NODES, SETTINGS, LONGHORN_SETTINGS, NADS, CLUSTER_NETWORKS, VLAN_CONFIGS)
DATA = Path(__file__).parent.parent / "data" / "kube"
NAD = "harvester-system/storagenetwork-95bj4"


def documents(name: str) -> dict[str, dict[str, Any]]:
    """The objects of one file by case; of several objects with one case, by case and name."""
    found: dict[str, dict[str, Any]] = {}
    for document in yaml.safe_load_all((DATA / f"{name}.yaml").read_text()):
        case = document["metadata"]["annotations"].pop("test/case")
        found[case if case not in found else f"{case} {document['metadata']['name']}"] = document
    return found


def nad(name: str = "storagenetwork-95bj4", *, config: str = '{"type":"bridge"}') -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "harvester-system"}, "spec": {"config": config}}


def healthy_world() -> World:
    world = World()
    world.install(*EVERYTHING)
    for obj in documents("pods_instance_managers").values():
        world.apply(PODS, obj)
    for obj in list(documents("nodes").values())[:3]:
        world.apply(NODES, obj)
    world.apply(SETTINGS, documents("settings_storage_network")["enabled-completed"])
    world.apply(SETTINGS, documents("settings_rwx_network")["rwx-off"])
    world.apply(SETTINGS, {"metadata": {"name": "backup-target"}, "value": "nfs://somewhere"})
    world.apply(LONGHORN_SETTINGS, documents("longhorn_settings")["on"])
    world.apply(LONGHORN_SETTINGS, documents("longhorn_settings")[">=1.11 off"])
    world.apply(NADS, nad())
    world.apply(NADS, nad("vm-network"))
    world.apply(CLUSTER_NETWORKS, documents("harvester_network")["healthy"])
    world.apply(VLAN_CONFIGS, documents("harvester_network")["all nodes, one config"])
    agent = {"name": "lhnet-agent-x", "namespace": "lhnet-system", "uid": "u", "labels": {"app.kubernetes.io/name": "lhnet-agent"}}
    world.apply(AGENTS, {"metadata": agent, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 9811}]}]}})
    return world


def cluster_of(
    client: KubeClient, *, clock: Callable[[], float] = time.monotonic, state: StateFile | None = None, **changes: Any
) -> Cluster:
    return Cluster(
        client=client,
        longhorn_namespace="longhorn-system",
        agent_namespace="lhnet-system",
        agents_selector="app.kubernetes.io/name=lhnet-agent",
        node_name="harv41",
        clock=clock,
        rng=fake.even(),
        pace=changes.get("pace", FAST),
        state=state,
    )


@asynccontextmanager
async def agent_at(
    server: KubeServer, *, clock: Callable[[], float] = time.monotonic, state: StateFile | None = None
) -> AsyncIterator[Cluster]:
    async with fake.client_of(server, clock=clock) as client:
        cluster = cluster_of(client, clock=clock, state=state)
        async with fake.running(cluster.run()):
            yield cluster
