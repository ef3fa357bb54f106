"""The manifests in a real API server: it takes every object, admits the pod, and lets the agent read what it must and nothing else."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from manifestworld import HARVESTERS_NAMESPACES, Server, namespace, overlay, real_server

from agent.lab.apiclient import ApiFailed
from agent.lab.envtest import find_assets

Json = dict[str, Any]

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(find_assets() is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"),
]

LEASES = "/apis/coordination.k8s.io/v1/namespaces/lhnet-system/leases"
SETTINGS = "/apis/harvesterhci.io/v1beta1/settings"
LONGHORN_SETTINGS = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/settings"
LONGHORN = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system"
WHEREABOUTS = "/apis/whereabouts.cni.cncf.io/v1alpha1"
MONITORING = "/apis/monitoring.coreos.com/v1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEPLOYMENTS = "/apis/apps/v1/namespaces"
NADS = "/apis/k8s.cni.cncf.io/v1"
PATCH = "application/merge-patch+json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With Harvester's namespaces there and its overlay applied twice, as an upgrade does."""
    with real_server(tmp_path_factory.mktemp("apiserver")) as server:
        server.apply([*map(namespace, ("longhorn-system", *HARVESTERS_NAMESPACES)), *overlay("harvester")])
        server.apply(overlay("harvester"))
        yield server


def answer(server: Server, method: str, path: str, *, body: object = None, media: str = "", **query: str) -> int:
    """Status of one request with the token of the agent's service account."""
    token = server.token()

    async def ask() -> int:
        async with server.client(token) as agent:
            try:
                await agent.request(method, path, body=body, media=media, query=query)
            except ApiFailed as failed:
                return failed.code
            return 200

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/v1/nodes", {"fieldSelector": "metadata.name=harv41"}),
        ("/api/v1/namespaces/longhorn-system/pods", {"labelSelector": "longhorn.io/managed-by=longhorn-manager"}),
        ("/api/v1/namespaces/lhnet-system/pods", {"labelSelector": "app.kubernetes.io/name=lhnet-agent"}),
        (SETTINGS, {"fieldSelector": "metadata.name=storage-network"}),
        (SETTINGS, {"fieldSelector": "metadata.name=rwx-network"}),
        (LONGHORN_SETTINGS, {"fieldSelector": "metadata.name=storage-network"}),
        (LONGHORN_SETTINGS, {"fieldSelector": "metadata.name=storage-network-for-rwx-volume-enabled"}),
        (LONGHORN_SETTINGS, {"fieldSelector": "metadata.name=endpoint-network-for-rwx-volume"}),
        ("/apis/k8s.cni.cncf.io/v1/network-attachment-definitions", {}),
        ("/apis/network.harvesterhci.io/v1beta1/clusternetworks", {}),
        ("/apis/network.harvesterhci.io/v1beta1/vlanconfigs", {}),
        (LEASES, {"fieldSelector": "metadata.name=lhnet-agent"}),
    ],
)
def test_what_every_agent_watches_can_be_listed(server: Server, path: str, query: dict[str, str]) -> None:
    assert answer(server, "GET", path, **query) == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/v1/nodes", {}),
        (f"{WHEREABOUTS}/namespaces/kube-system/ippools", {}),
        (f"{WHEREABOUTS}/namespaces/kube-system/overlappingrangeipreservations", {}),
        ("/api/v1/namespaces/longhorn-system/events", {"fieldSelector": "reason=FailedCreatePodSandBox"}),
        *((f"{LONGHORN}/{kind}", {}) for kind in ("instancemanagers", "nodes", "replicas", "engines")),
        (f"{NADS}/namespaces/harvester-system/network-attachment-definitions", {}),
        *(
            (DEFINITIONS, {"fieldSelector": f"metadata.name={name}"})
            for name in (
                "ippools.whereabouts.cni.cncf.io",
                "overlappingrangeipreservations.whereabouts.cni.cncf.io",
                "nodeslicepools.whereabouts.cni.cncf.io",
                "network-attachment-definitions.k8s.cni.cncf.io",
            )
        ),
        *((f"{MONITORING}/namespaces/cattle-monitoring-system/{kind}", {}) for kind in ("prometheuses", "alertmanagers")),
        (f"{DEPLOYMENTS}/cattle-monitoring-system/deployments", {"fieldSelector": "metadata.name=rancher-monitoring-grafana"}),
        *(
            (f"{DEPLOYMENTS}/harvester-system/deployments", {"fieldSelector": f"metadata.name={name}"})
            for name in (
                "vm-import-controller-harvester-vm-import-controller",
                "harvester-harvester-vm-import-controller",
                "harvester-vm-import-controller",
            )
        ),
    ],
)
def test_what_the_holder_watches_can_be_listed(server: Server, path: str, query: dict[str, str]) -> None:
    assert answer(server, "GET", path, **query) == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (SETTINGS, {}),
        (SETTINGS, {"fieldSelector": "metadata.name=backup-target"}),
        (f"{SETTINGS}/ssl-certificates", {}),
        (LONGHORN_SETTINGS, {}),
        (LEASES, {}),
        ("/api/v1/pods", {}),
        ("/api/v1/namespaces/default/pods", {}),
        ("/api/v1/namespaces/longhorn-system/secrets", {}),
        ("/api/v1/namespaces/lhnet-system/secrets", {}),
        ("/api/v1/namespaces/lhnet-system/configmaps", {}),
        ("/api/v1/namespaces/longhorn-system/pods/any/log", {}),
        ("/api/v1/events", {}),
        (DEFINITIONS, {}),
        ("/api/v1/namespaces/kube-system/pods", {}),
        (f"{LONGHORN}/volumes", {}),
        ("/apis/longhorn.io/v1beta2/replicas", {}),
        (f"{WHEREABOUTS}/ippools", {}),
        (f"{MONITORING}/namespaces/cattle-monitoring-system/servicemonitors", {}),
        (f"{DEPLOYMENTS}/cattle-monitoring-system/deployments", {}),
        (f"{DEPLOYMENTS}/harvester-system/deployments", {}),
        (f"{DEPLOYMENTS}/harvester-system/deployments/harvester", {}),
    ],
)
def test_everything_else_is_closed(server: Server, path: str, query: dict[str, str]) -> None:
    assert answer(server, "GET", path, **query) == 403


def test_the_lease_can_be_taken_but_not_made_or_removed(server: Server) -> None:
    held = {"spec": {"holderIdentity": "harv41", "leaseDurationSeconds": 15}}
    assert answer(server, "PATCH", f"{LEASES}/lhnet-agent", body=held, media=PATCH) == 200
    assert answer(server, "PATCH", f"{LEASES}/another", body=held, media=PATCH) == 403
    whole = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lhnet-agent"}, **held}
    assert answer(server, "PUT", f"{LEASES}/lhnet-agent", body=whole) == 403
    assert answer(server, "DELETE", f"{LEASES}/lhnet-agent") == 403
    made = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "mine"}}
    assert answer(server, "POST", LEASES, body=made) == 403


def test_it_cannot_touch_a_pod(server: Server) -> None:
    assert answer(server, "DELETE", "/api/v1/namespaces/longhorn-system/pods/any") == 403
    assert answer(server, "POST", "/api/v1/namespaces/lhnet-system/pods", body={"kind": "Pod", "apiVersion": "v1"}) == 403


def test_the_namespace_admits_the_pod_and_another_one_with_the_baseline_would_not(server: Server, daemon_set: Json, pod: Json) -> None:
    """The pod that the DaemonSet's controller would make, through the admission of a real server."""
    strict = {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}

    def made(namespace: str) -> Json:
        labels = daemon_set["spec"]["template"]["metadata"]["labels"]
        metadata = {"name": "lhnet-agent-x", "namespace": namespace, "labels": labels}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}

    async def make() -> str:
        async with server.api.client() as admin:
            await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": strict})
            held = await admin.apply(made("lhnet-system"))
            assert held["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] == ["SYS_ADMIN", "NET_RAW", "NET_BROADCAST"]
            try:
                await admin.apply(made("strict"))
            except ApiFailed as failed:
                return str(failed)
            return "admitted"

    refused = asyncio.run(make())
    assert "PodSecurity" in refused
    assert "baseline" in refused
