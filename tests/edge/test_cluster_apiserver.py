"""The reflectors against a real kube-apiserver with etcd, and the official client as a second opinion on what they decoded."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clusterworld as world_of
import kubernetes.client
import kubeserver as fake
import msgspec
import pytest
from clusterworld import NAD, cluster_of, documents, nad
from kubeserver import named, until

from agent.edge.cluster import Cluster
from agent.edge.decode import POD
from agent.edge.kube import Absent, Conflict, Forbidden, InCluster, KubeClient, Pace, Reflector, Refused, Unauthorized
from agent.lab.envtest import RealApi, find_assets
from agent.lab.objects import namespace
from agent.lab.pki import make_pki, write_tokens
from agent.model.records import SourceState

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(find_assets() is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"),
]
ANYTHING = msgspec.json.Decoder(dict[str, Any])
ADMIN, NOBODY = "admin-token", "nobody-token"
PACE = Pace(first_pause_seconds=0.1, longest_pause_seconds=0.5, absent_seconds=0.5, forbidden_seconds=0.5)
LEASES = "/apis/coordination.k8s.io/v1/namespaces/lhnet-system/leases"


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


@dataclass(frozen=True)
class Real:
    api: RealApi
    directory: Path
    port: int

    def access(self, *, token: str = ADMIN) -> InCluster:
        (self.directory / "token").write_text(token)
        return InCluster(host="127.0.0.1", port=str(self.port), clock=time.monotonic, directory=self.directory)

    def second_opinion(self) -> kubernetes.client.ApiClient:
        configuration = kubernetes.client.Configuration()
        configuration.host = self.api.url
        configuration.ssl_ca_cert = str(self.directory / "ca.crt")
        configuration.api_key = {"BearerToken": f"Bearer {ADMIN}", "authorization": f"Bearer {ADMIN}"}
        return kubernetes.client.ApiClient(configuration)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder = tmp_path_factory.mktemp("apiserver")
    pki = make_pki(folder, names=["127.0.0.1"])
    write_tokens(folder / "tokens.csv", {ADMIN: ("admin", ["system:masters"]), NOBODY: ("nobody", [])})
    port, etcd_port, peer_port = free_ports(3)
    assets = find_assets()
    assert assets is not None
    api = RealApi(
        assets,
        folder=folder / "run",
        pki=pki,
        tokens=folder / "tokens.csv",
        admin_token=ADMIN,
        port=port,
        etcd_port=etcd_port,
        etcd_peer_port=peer_port,
    )
    asyncio.run(api.start())
    try:
        asyncio.run(fill(api))
        yield Real(api=api, directory=folder, port=port)
    finally:
        asyncio.run(api.stop())


async def fill(api: RealApi) -> None:
    """The samples as a cluster would hold them, among objects that we must not pick up."""
    other = {"metadata": {"name": "unrelated", "namespace": "longhorn-system"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    kinds = {
        "Pod": [
            *documents("pods_instance_managers").values(),
            *documents("pods_backing_images").values(),
            *documents("pods_rwx").values(),
            {"apiVersion": "v1", "kind": "Pod", **other},
        ],
        "Node": list(documents("nodes").values()),
        "Setting": [
            documents("settings_storage_network")["enabled-completed"],
            documents("settings_rwx_network")["rwx-dedicated"],
            documents("longhorn_settings")["on"],
            documents("longhorn_settings")["recommended"],
        ],
        "NetworkAttachmentDefinition": [
            {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", **nad(name)}
            for name in ("storagenetwork-95bj4", "another")
        ],
        "ClusterNetwork": [documents("harvester_network")["healthy"]],
        "VlanConfig": [documents("harvester_network")["all nodes, one config"]],
    }
    async with api.client() as client:
        await client.apply_all(namespace(name) for name in ("longhorn-system", "harvester-system", "lhnet-system"))
        for objects in kinds.values():
            unique = {(obj["apiVersion"], obj["metadata"]["name"]): obj for obj in objects}
            await client.apply_all(unique.values())


@asynccontextmanager
async def agent_on(real: Real, *, token: str = ADMIN) -> AsyncIterator[Cluster]:
    async with KubeClient(access=real.access(token=token)) as client:
        cluster = cluster_of(client, pace=PACE)
        cluster.set_nads(frozenset({NAD}))
        async with fake.running(cluster.run()):
            assert await cluster.first_sync(timeout_seconds=60)
            yield cluster


def all_in(cluster: Cluster, state: SourceState) -> bool:
    return {status.state for status in cluster.facts().statuses()} == {state}


async def test_the_decoded_set_is_what_the_official_client_sees(real: Real) -> None:
    async with agent_on(real) as cluster:
        await until(lambda: all_in(cluster, SourceState.LIVE))
        facts = cluster.facts()
    with real.second_opinion() as api:
        core, custom = kubernetes.client.CoreV1Api(api), kubernetes.client.CustomObjectsApi(api)
        plain = api.sanitize_for_serialization
        pods = plain(core.list_namespaced_pod("longhorn-system", label_selector="longhorn.io/managed-by=longhorn-manager"))["items"]
        node = plain(core.read_node("harv41"))
        setting = custom.get_cluster_custom_object("harvesterhci.io", "v1beta1", "settings", "storage-network")
        vlan = custom.list_cluster_custom_object("network.harvesterhci.io", "v1beta1", "vlanconfigs")["items"]
    assert len(pods) > 8
    ours = {pod.name: pod for pod in facts.pods.items}
    assert "unrelated" not in ours
    assert set(ours) == {pod["metadata"]["name"] for pod in pods}
    for pod in pods:
        mine, meta, spec, status = ours[pod["metadata"]["name"]], pod["metadata"], pod["spec"], pod["status"]
        assert (mine.uid, mine.node, mine.phase) == (meta["uid"], spec.get("nodeName"), status["phase"])
        assert mine.host_ip == status.get("hostIP")
        assert mine.pod_ips == tuple(item["ip"] for item in status.get("podIPs", ()))
        assert mine.deleted is ("deletionTimestamp" in meta)
        assert mine.priority_class == spec.get("priorityClassName")
        assert all(meta["annotations"][key] == text for key, text in mine.annotations.items())
        ready = next((item["status"] for item in status.get("conditions", ()) if item["type"] == "Ready"), None)
        assert mine.ready is (ready == "True")
        assert mine.born_monotonic_seconds is not None
        assert 0 <= time.monotonic() - mine.born_monotonic_seconds < 3600
    (ours_node,) = facts.node.items
    assert (ours_node.uid, ours_node.labels) == (node["metadata"]["uid"], node["metadata"]["labels"])
    assert ours_node.pod_cidrs == tuple(node["spec"]["podCIDRs"])
    known = {item.name: item for item in facts.setting.items}
    assert known["storage-network"].value == setting["value"]
    assert known["storage-network"].conditions[0].reason == setting["status"]["conditions"][0]["reason"]
    assert [item.name for item in facts.longhorn_settings.items] == ["storage-network"]
    assert facts.vlan_configs.items[0].nics == tuple(vlan[0]["spec"]["uplink"]["nics"])
    assert [item.key for item in facts.nads.items] == [NAD]


async def test_changes_arrive_by_the_watch(real: Real) -> None:
    heard: set[str] = set()
    async with agent_on(real) as cluster, real.api.client() as admin:
        await until(lambda: all_in(cluster, SourceState.LIVE))
        cluster.subscribe(heard.update)
        await admin.patch("longhorn.io/v1beta2", "Setting", "storage-network", {"value": "a/b"}, namespace="longhorn-system")
        await until(lambda: cluster.facts().longhorn_settings.items[0].value == "a/b")
        temporary = {**documents("pods_instance_managers")["healthy-aio"]}
        temporary["metadata"] = {**temporary["metadata"], "name": "im-for-a-while"}
        await admin.apply(temporary)
        await until(lambda: "im-for-a-while" in named(cluster.facts().pods.items))
        await admin.delete("v1", "Pod", "im-for-a-while", namespace="longhorn-system")
        await until(lambda: "im-for-a-while" not in named(cluster.facts().pods.items))
        await admin.patch("longhorn.io/v1beta2", "Setting", "storage-network", {"value": NAD}, namespace="longhorn-system")
    assert {"pods", "longhorn_settings"} <= heard


async def test_a_resource_that_the_cluster_loses_and_gets_back(real: Real) -> None:
    async with agent_on(real) as cluster, real.api.client() as admin:
        await until(lambda: all_in(cluster, SourceState.LIVE))
        name = "vlanconfigs.network.harvesterhci.io"
        definition = await admin.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
        assert definition is not None
        await admin.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
        await until(lambda: cluster.facts().vlan_configs.status.state is SourceState.ABSENT)
        assert cluster.facts().vlan_configs.items == ()
        meta = {"name": name}
        await admin.apply_all([{**{key: definition[key] for key in ("apiVersion", "kind", "spec")}, "metadata": meta}])
        await until(lambda: cluster.facts().vlan_configs.status.state is SourceState.LIVE)
        await admin.apply(documents("harvester_network")["all nodes, one config"])
        await until(lambda: cluster.facts().vlan_configs.items)


async def test_pages_of_a_real_list_make_one_set(real: Real) -> None:
    names = [f"m{number:04}" for number in range(260)]
    template = documents("longhorn_settings")["on"]
    async with real.api.client() as admin:
        await admin.apply_all({**template, "metadata": {"name": name, "namespace": "lhnet-system"}} for name in names)
    async with KubeClient(access=real.access()) as client:
        pages = [page async for page in client.list_pages("/apis/longhorn.io/v1beta2/namespaces/lhnet-system/settings")]
    assert [len(page.items) for page in pages] == [250, 10]
    assert len({page.resource_version for page in pages}) == 1


async def test_a_version_that_the_server_has_forgotten_leads_to_a_new_list(real: Real) -> None:
    async with KubeClient(access=real.access()) as client:
        reflector = Reflector(
            "pods", client=client, path=world_of.PODS, kind=POD, clock=time.monotonic, rng=fake.even(), changed=lambda: None, pace=PACE
        )
        reflector._version, reflector._listed = "1", True
        async with fake.running(reflector.run()):
            await until(lambda: len(reflector.store) > 8)
            assert int(reflector._version) > 1


async def test_a_continue_token_that_the_server_does_not_know_is_refused_in_its_words(real: Real) -> None:
    async with KubeClient(access=real.access()) as client:
        with pytest.raises(Refused, match="continue"):
            await client.request_json("GET", world_of.PODS, query={"limit": "1", "continue": "bm90IGEgdG9rZW4"})


async def test_rights_are_told_apart_from_identity(real: Real) -> None:
    async with agent_on(real, token=NOBODY) as cluster:
        await until(lambda: all_in(cluster, SourceState.FORBIDDEN))
        assert 'User "nobody" cannot list' in (cluster.facts().pods.status.detail or "")
    async with KubeClient(access=real.access(token="who")) as client:
        with pytest.raises(Unauthorized):
            await client.get(world_of.PODS, decoder=ANYTHING)
    async with KubeClient(access=real.access()) as client:
        with pytest.raises(Absent):
            await client.get("/apis/nobody.example/v1/things", decoder=ANYTHING)
    async with KubeClient(access=real.access(token=NOBODY)) as client:
        with pytest.raises(Forbidden):
            await client.get(world_of.PODS, decoder=ANYTHING)


async def test_a_lease_is_made_taken_and_not_taken_twice(real: Real) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "test"}, "spec": {"holderIdentity": "harv41"}}
    async with KubeClient(access=real.access()) as client:
        made = await client.create(LEASES, lease, decoder=ANYTHING)
        with pytest.raises(Conflict):
            await client.create(LEASES, lease, decoder=ANYTHING)
        taken = await client.put(f"{LEASES}/test", {**made, "spec": {"holderIdentity": "harv42"}}, decoder=ANYTHING)
        assert taken["spec"]["holderIdentity"] == "harv42"
        with pytest.raises(Conflict):
            await client.put(f"{LEASES}/test", made, decoder=ANYTHING)
        released = await client.patch(f"{LEASES}/test", {"spec": {"holderIdentity": None}}, decoder=ANYTHING)
        assert "holderIdentity" not in released["spec"]


async def test_the_api_server_is_killed_and_the_set_stays_until_it_is_back(real: Real) -> None:
    async with agent_on(real) as cluster:
        await until(lambda: all_in(cluster, SourceState.LIVE))
        before = cluster.facts()
        await real.api.stop_apiserver()
        try:
            await until(lambda: all_in(cluster, SourceState.STALE))
            assert named(cluster.facts().pods.items) == named(before.pods.items)
            assert named(cluster.facts().nads.items) == named(before.nads.items)
        finally:
            await real.api.start_apiserver()
        await until(lambda: all_in(cluster, SourceState.LIVE))
        assert named(cluster.facts().pods.items) == named(before.pods.items)
        async with real.api.client() as admin:
            await admin.delete("v1", "Pod", before.pods.items[0].name, namespace="longhorn-system")
        await until(lambda: len(cluster.facts().pods.items) == len(before.pods.items) - 1)
