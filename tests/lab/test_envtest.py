"""The real kube-apiserver from KUBEBUILDER_ASSETS, and the embedded API beside it: the same objects, the same answers."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from apiworld import ADMIN, AGENT, DEADLINE_SECONDS, NOBODY, EmbeddedProcess, caller, config_map, free_port, prepare, write_kubeconfig

from agent.edge.cluster import Cluster
from agent.edge.kube.access import KubeconfigAccess
from agent.edge.kube.client import KubeClient
from agent.lab.apiclient import ApiFailed, WaitTimeout
from agent.lab.envtest import Assets, EnvtestError, RealApi, apiserver_argv, find_assets
from agent.lab.objects import everything
from agent.lab.pki import Pki
from agent.lab.plan import make_plan
from agent.model.records import SourceState

pytestmark = pytest.mark.timeout(600)

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests" / "base"
OBJECTS = everything(make_plan(nodes=3), manifests=MANIFESTS)
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/longhorn-system/pods"
SETTINGS = "/apis/harvesterhci.io/v1beta1/settings"
LONGHORN = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/settings"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def new_real_api(folder: Path, *, assets: Assets, pki: Pki, **more: Any) -> RealApi:
    ports = {"port": free_port(), "etcd_port": free_port(), "etcd_peer_port": free_port()}
    return RealApi(assets, folder=folder / "run", pki=pki, tokens=folder / "tokens.csv", admin_token=ADMIN, **ports, **more)


def assets_or_skip() -> Assets:
    assets = find_assets()
    if assets is None:
        pytest.skip("KUBEBUILDER_ASSETS is not set")
    return assets


@dataclass
class Server:
    url: str
    pki: Pki
    controllable: bool = False
    """It has the lab's own door."""

    def caller(self):
        return caller(self.url, self.pki)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory):
    assets = assets_or_skip()
    folder = tmp_path_factory.mktemp("real")
    pki = prepare(folder)
    api = new_real_api(folder, assets=assets, pki=pki, audit_log=folder / "audit.log")
    try:
        asyncio.run(api.start())
        yield Server(api.url, pki)
        assert (folder / "audit.log").stat().st_size > 0
    finally:
        asyncio.run(api.stop())
    assert api.pids == {"etcd": None, "kube-apiserver": None}


@pytest.fixture(scope="module")
def seeded_real(real: Server):
    asyncio.run(apply_all(real))
    return real


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("embedded")
    pki = prepare(folder)
    process = EmbeddedProcess(folder, pki)
    process.start()
    try:
        server = Server(process.url, pki, controllable=True)
        asyncio.run(apply_all(server))
        yield server
    finally:
        process.kill()


@pytest.fixture(params=["embedded", pytest.param("seeded_real", marks=pytest.mark.apiserver)])
def either(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


async def apply_all(server: Server) -> None:
    async with server.caller() as call, call.client() as api:
        await api.ready()
        await api.apply_all(OBJECTS)
        # Twice, since the lab applies again what a fault has changed.
        await api.apply_all(OBJECTS)


def missing(wanted: object, held: object, path: str = "") -> list[str]:
    """What of `wanted` the server does not hold. It may hold more: defaults, its own marks."""
    if isinstance(wanted, dict) and isinstance(held, dict):
        return [line for key, value in wanted.items() for line in missing(value, held.get(key), f"{path}.{key}")]
    if isinstance(wanted, list) and isinstance(held, list) and len(wanted) == len(held):
        return [line for at, value in enumerate(wanted) for line in missing(value, held[at], f"{path}[{at}]")]
    return [] if wanted == held or (not wanted and held is None) else [f"{path}: {wanted!r} became {held!r}"]


async def test_every_object_of_a_lab_is_read_back_as_it_was_meant(either: Server):
    async with either.caller() as call, call.client() as api:
        for obj in OBJECTS:
            metadata = {key: value for key, value in obj["metadata"].items() if key != "uid"}
            held = await api.get(obj["apiVersion"], obj["kind"], metadata["name"], namespace=metadata.get("namespace", ""))
            assert held is not None, obj
            assert missing({**obj, "metadata": metadata}, held, obj["kind"]) == []
        pods = await api.list("v1", "Pod", namespace="longhorn-system", labels="longhorn.io/component=instance-manager")
        assert [pod["kind"] for pod in pods] == ["Pod"] * 3
        assert await api.list("v1", "Pod", namespace="longhorn-system", fields="status.phase=Pending") == []


async def test_a_pod_is_replaced_under_its_name_and_a_fault_patches_objects(either: Server):
    pod = next(obj for obj in OBJECTS if obj["kind"] == "Pod" and obj["metadata"]["namespace"] == "longhorn-system")
    name = pod["metadata"]["name"]
    async with either.caller() as call, call.client() as api:
        before = await api.get("v1", "Pod", name, namespace="longhorn-system")
        assert await api.delete("v1", "Pod", name, namespace="longhorn-system")
        assert await api.get("v1", "Pod", name, namespace="longhorn-system") is None
        assert not await api.delete("v1", "Pod", name, namespace="longhorn-system")
        after = await api.apply(pod)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert after["status"]["podIP"] == pod["status"]["podIP"]
        annotations = {"k8s.v1.cni.cncf.io/network-status": None}
        patched = await api.patch("v1", "Pod", name, {"metadata": {"annotations": annotations}}, namespace="longhorn-system")
        assert "k8s.v1.cni.cncf.io/network-status" not in patched["metadata"]["annotations"]
        status = {"status": {"phase": "Failed"}}
        await api.patch("v1", "Pod", name, status, namespace="longhorn-system", status=True)
        assert (await api.get("v1", "Pod", name, namespace="longhorn-system"))["status"]["phase"] == "Failed"
        restored = await api.apply(pod)
        assert missing(pod["metadata"]["annotations"], restored["metadata"]["annotations"]) == []
        in_progress = {"conditions": [{"type": "configured", "status": "False", "reason": "In Progress"}]}
        await api.patch("harvesterhci.io/v1beta1", "Setting", "storage-network", {"status": in_progress}, status=True)
        held = await api.get("harvesterhci.io/v1beta1", "Setting", "storage-network")
        assert held["status"] == in_progress
        await api.apply(
            next(obj for obj in OBJECTS if obj["metadata"]["name"] == "storage-network" and obj["apiVersion"].startswith("harv"))
        )


async def test_objects_with_finalizers_can_be_removed_all_the_same(either: Server):
    nad = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "leaked", "namespace": "default", "finalizers": ["wrangler.cattle.io/harvester-network-nad-controller"]},
    }
    async with either.caller() as call, call.client() as api:
        await api.apply(nad)
        assert await api.delete(nad["apiVersion"], nad["kind"], "leaked", namespace="default")
        assert await api.get(nad["apiVersion"], nad["kind"], "leaked", namespace="default") is None


async def test_a_service_account_token_has_the_rights_of_the_manifests(either: Server):
    async with either.caller() as call:
        async with call.client() as api:
            token = await api.service_account_token("lhnet-system", "lhnet-agent")
        assert (await call.ask("GET", f"{PODS}?limit=1", token=token))[0] == 200
        assert (await call.ask("GET", "/api/v1/secrets", token=token))[0] == 403
        assert (await call.ask("GET", f"{SETTINGS}?fieldSelector=metadata.name%3Dstorage-network", token=token))[0] == 200
        assert (await call.ask("GET", SETTINGS, token=token))[0] == 403


async def test_the_client_says_what_it_waited_for(either: Server):
    async with either.caller() as call, call.client() as api:
        with pytest.raises(WaitTimeout, match=r"nothing\.example\.com to be served"):
            await api.established("nothing.example.com", timeout_seconds=0)
        with pytest.raises(ApiFailed, match="no resource of kind Thing") as failed:
            await api.get("v1", "Thing", "a")
        assert failed.value.code == 404


async def test_a_reflectors_life_is_the_same_on_both(either: Server):
    """List, watch from its version, a change of each sort, and 410 for the distant past."""
    async with either.caller() as call:
        _, listed = await call.ask("GET", f"{LONGHORN}?limit=500")
        version = listed["metadata"]["resourceVersion"]
        body = {"apiVersion": "longhorn.io/v1beta2", "kind": "Setting", "metadata": {"name": "watched"}, "value": "1"}
        async with call.watch(f"{LONGHORN}?watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=600") as events:
            await call.ask("POST", LONGHORN, body=body)
            await call.ask("PATCH", f"{LONGHORN}/watched", body={"value": "2"}, media=MERGE)
            await call.ask("DELETE", f"{LONGHORN}/watched")
            seen = []
            while len(seen) < 3:
                kind, obj = await events.next()
                if kind != "BOOKMARK":
                    seen.append((kind, obj["metadata"]["name"], obj["value"]))
            assert seen == [("ADDED", "watched", "1"), ("MODIFIED", "watched", "2"), ("DELETED", "watched", "2")]
        async with call.watch(f"{LONGHORN}?watch=1&resourceVersion=1&timeoutSeconds=600") as events:
            kind, obj = await events.next()
            assert (kind, obj["kind"], obj["code"], obj["reason"]) == ("ERROR", "Status", 410, "Expired")
        async with call.watch(f"{LONGHORN}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Dstorage-network") as events:
            kind, obj = await events.next()
            assert (kind, obj["metadata"]["name"]) == ("ADDED", "storage-network")


async def test_the_agents_own_watches_know_the_lab_and_hear_of_changes(either: Server, tmp_path: Path):
    """With the rights of the manifests, and over a moment when the API forgets all versions."""
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", url=either.url, pki=either.pki, token=AGENT)
    async with KubeClient(access=KubeconfigAccess(path=str(kubeconfig))) as client, either.caller() as call, call.client() as api:
        cluster = Cluster(
            client=client,
            longhorn_namespace="longhorn-system",
            agent_namespace="lhnet-system",
            agents_selector="app.kubernetes.io/name=lhnet-agent",
            node_name="harv42",
            clock=time.monotonic,
            rng=Random(1),
        )
        cluster.set_nads(frozenset({"harvester-system/storagenetwork-95bj4"}))
        heard = asyncio.Event()
        cluster.subscribe(lambda _: heard.set())

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not condition():
                    await heard.wait()
                    heard.clear()

        running = asyncio.create_task(cluster.run())
        try:
            assert await cluster.first_sync(timeout_seconds=DEADLINE_SECONDS)
            facts = cluster.facts()
            assert {status.name: status.state for status in facts.statuses() if status.state is not SourceState.LIVE} == {}
            assert len(facts.pods.items) == 6
            assert len(facts.agent_pods.items) == 3
            assert [node.name for node in facts.node.items] == ["harv42"]
            assert [nad.key for nad in facts.nads.items] == ["harvester-system/storagenetwork-95bj4"]
            assert {setting.name for setting in facts.setting.items} == {"storage-network", "rwx-network"}
            if either.controllable:
                await api.control("compact")
            labels = {"metadata": {"labels": {"seen": "yes"}}}
            await api.patch("v1", "Node", "harv42", labels)
            await api.patch("longhorn.io/v1beta2", "Setting", "storage-network", {"value": "a/b"}, namespace="longhorn-system")
            await until(lambda: cluster.facts().node.items[0].labels.get("seen") == "yes")
            await until(lambda: "a/b" in [setting.value for setting in cluster.facts().longhorn_settings.items])
        finally:
            running.cancel()
            await asyncio.wait([running])
            await api.apply_all(OBJECTS)


@dataclass(frozen=True)
class Case:
    method: str
    path: str
    body: Any = None
    media: str = "application/json"
    token: str | None = ADMIN
    accept: str = ""

    def __str__(self) -> str:
        who = {ADMIN: "", NOBODY: " as nobody", AGENT: " as agent", None: " without token"}.get(self.token, " with a wrong token")
        content = f" {json.dumps(self.body)}" if self.body is not None else ""
        content += f" as {self.accept.partition('as=')[2].partition(';')[0]}" if self.accept else ""
        return f"{self.method} {self.path}{who}{content}"[:110]


LEASE_BODY = {"metadata": {"name": "made"}, "spec": {"holderIdentity": "harv41"}}
SETTING_BODY = {"apiVersion": "harvesterhci.io/v1beta1", "kind": "Setting", "metadata": {"name": "made"}, "value": "a"}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
READING = [
    *(Case("GET", path) for path in ("/api", "/apis", "/api/v1", "/apis/longhorn.io", "/apis/longhorn.io/v1beta2", "/version")),
    *(Case("GET", path) for path in ("/readyz", "/healthz", "/livez", "/nowhere", "/api/v2", "/apis/none.io", "/apis/none.io/v1")),
    *(Case("GET", path) for path in ("/apis/none.io/v1/things", "/api/v1/things", "/apis/longhorn.io/v1beta2/things")),
    Case("POST", "/version", {}),
    *(Case("GET", path, token=token) for path in (PODS, "/readyz", "/nowhere", "/apis") for token in (None, "wrong", NOBODY)),
    *(
        Case("GET", path, token=AGENT)
        for path in (PODS, f"{PODS}/none", "/api/v1/pods", "/api/v1/nodes", SETTINGS, "/apis/none.io/v1/things")
    ),
    *(Case("GET", f"{SETTINGS}?fieldSelector=metadata.name%3D{name}", token=AGENT) for name in ("storage-network", "ssl-certificates")),
    Case("GET", "/apis/coordination.k8s.io/v1/namespaces/lhnet-system/leases/lhnet-agent", token=AGENT),
    Case("POST", MAPS, config_map("no"), token=AGENT),
    Case("DELETE", f"{PODS}/none", token=AGENT),
    *(Case("GET", f"{PODS}{query}") for query in ("", "?limit=2", "?resourceVersion=0", "?resourceVersion=0&limit=2", "?limit=x")),
    *(
        Case("GET", f"{PODS}?labelSelector={text}")
        for text in ("app", "a%3D%3D%3Db", "app+in+(a,b),!c", "longhorn.io/component%3Dinstance-manager")
    ),
    *(Case("GET", f"{PODS}?fieldSelector={text}") for text in ("spec.nodeName%3Dharv41", "status.phase!%3DRunning", "foo%3Dbar", "foo")),
    *(
        Case("GET", f"{LONGHORN}?fieldSelector={text}")
        for text in ("metadata.name%3Dstorage-network", "metadata.namespace%3Dx", "value%3Dx")
    ),
    *(Case("GET", f"{PODS}?resourceVersion={text}") for text in ("abc", "999999999999999999")),
    Case("GET", f"{PODS}?resourceVersionMatch=Exact"),
    *(Case("GET", f"{PODS}?limit=1&continue={text}") for text in ("abc", "x&resourceVersion=7")),
    *(Case("GET", path, accept=TABLE) for path in (PODS, SETTINGS, f"{SETTINGS}/storage-network", "/api/v1/nodes")),
    Case("GET", SETTINGS, accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
    *(
        Case("GET", path)
        for path in (f"{PODS}/none", f"{PODS}/none/status", f"{PODS}/none/nothing", f"{SETTINGS}/none", "/api/v1/pods/none")
    ),
    *(Case("GET", path) for path in ("/api/v1/namespaces/none/pods", "/api/v1/namespaces/default/nodes", "/api/v1/namespaces/default")),
    *(Case("GET", path) for path in ("/apis/longhorn.io/v1beta2/settings", "/apis/longhorn.io/v1beta2/settings/storage-network", CRDS)),
    *(Case("GET", f"{SETTINGS}/storage-network{rest}") for rest in ("", "/status", "/scale")),
]
WRITING = [
    *(
        Case("POST", MAPS, body)
        for body in ({"metadata": {}}, {"metadata": {"name": "A_b"}}, {"metadata": {"name": "a", "namespace": "b"}})
    ),
    *(Case("POST", MAPS, body) for body in ([], {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}, {"metadata": 1})),
    *(Case("POST", MAPS, {"metadata": {"name": "a", **more}}) for more in ({"labels": {"a": 1}}, {"resourceVersion": "1"})),
    Case("POST", "/api/v1/namespaces/none/configmaps", config_map("a", namespace="none")),
    Case("POST", "/api/v1/configmaps", config_map("a")),
    Case("POST", f"{MAPS}/a", config_map("a")),
    Case("POST", f"{MAPS}?dryRun=All", config_map("dry")),
    Case("GET", f"{MAPS}/dry"),
    Case("POST", MAPS, {"metadata": {"generateName": "gen-"}}),
    Case("POST", MAPS, config_map("made")),
    Case("POST", MAPS, config_map("made")),
    Case("PUT", f"{MAPS}/made", {**config_map("made"), "data": {"a": "1"}}),
    Case("PUT", f"{MAPS}/made", config_map("other")),
    Case("PUT", f"{MAPS}/none", config_map("none")),
    Case("PUT", f"{MAPS}/made", config_map("made", resourceVersion="1")),
    Case("PUT", f"{MAPS}/made", config_map("made", uid="another")),
    Case("PUT", MAPS, config_map("made")),
    Case("PATCH", f"{MAPS}/made", {"data": {"a": None, "b": "2"}}, MERGE),
    Case("PATCH", f"{MAPS}/made", {"data": {"c": "3"}}, "application/strategic-merge-patch+json"),
    Case("PATCH", f"{MAPS}/made", [{"op": "add", "path": "/data/d", "value": "4"}], JSON_PATCH),
    Case("PATCH", f"{MAPS}/made", [{"op": "test", "path": "/data/d", "value": "5"}], JSON_PATCH),
    Case("PATCH", f"{MAPS}/made", [{"op": "remove", "path": "/data/none"}], JSON_PATCH),
    Case("PATCH", f"{MAPS}/made", {}, "application/json"),
    Case("PATCH", f"{MAPS}/made", {"metadata": {"resourceVersion": "1"}}, MERGE),
    Case("PATCH", f"{MAPS}/none", {}, MERGE),
    Case("GET", f"{MAPS}/made"),
    Case("DELETE", f"{MAPS}/made", {"preconditions": {"uid": "another"}}),
    Case("DELETE", f"{MAPS}/made?dryRun=All"),
    Case("DELETE", f"{MAPS}/made"),
    Case("DELETE", f"{MAPS}/made"),
    Case("DELETE", f"{MAPS}?labelSelector=none"),
    Case("DELETE", "/api/v1/configmaps"),
    Case("POST", LEASES, LEASE_BODY),
    Case("PUT", f"{LEASES}/made", LEASE_BODY),
    Case("PUT", f"{LEASES}/fresh", {**LEASE_BODY, "metadata": {"name": "fresh"}}),
    Case("PATCH", f"{LEASES}/made", {"spec": {"holderIdentity": "harv42"}}, MERGE),
    Case("POST", SETTINGS, SETTING_BODY),
    Case("PUT", f"{SETTINGS}/made", SETTING_BODY),
    Case("PUT", f"{SETTINGS}/none", {**SETTING_BODY, "metadata": {"name": "none"}}),
    Case("PATCH", f"{SETTINGS}/made", {"value": "b"}, MERGE),
    Case("PATCH", f"{SETTINGS}/made", {"value": "b"}, "application/strategic-merge-patch+json"),
    Case("DELETE", f"{SETTINGS}/made"),
    Case("POST", "/api/v1/namespaces/lhnet-system/serviceaccounts/lhnet-agent/token", {"spec": {"expirationSeconds": 3600}}),
    Case("POST", "/api/v1/namespaces/lhnet-system/serviceaccounts/none/token", {"spec": {}}),
    Case("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": {"verb": "get"}}}, token=NOBODY),
    Case("DELETE", f"{CRDS}/none.example.com"),
]


def shape(status: int, body: object) -> dict[str, object]:
    """What clients decide by."""
    if not isinstance(body, dict):
        return {"http": status, "text": body}
    names = ("kind", "apiVersion", "status", "reason", "code")
    kept = {name: body[name] for name in names if name in body and not isinstance(body[name], dict)}
    if isinstance(details := body.get("details"), dict):
        kept["details"] = {key: details[key] for key in ("name", "kind", "group") if key in details}
    if isinstance(items := body.get("items"), list):
        kept |= {"items": len(items), "more": bool(body["metadata"].get("continue"))}
    return {"http": status, **kept}


@pytest.mark.apiserver
@pytest.mark.parametrize("case", READING, ids=str)
async def test_both_servers_answer_a_reader_alike(case: Case, embedded: Server, seeded_real: Server):
    answers = []
    for server in (embedded, seeded_real):
        async with server.caller() as call:
            more = {"body": case.body, "media": case.media, "token": case.token, "accept": case.accept}
            answers.append(shape(*await call.ask(case.method, case.path, **more)))
    assert answers[0] == answers[1]


@pytest.mark.apiserver
async def test_both_servers_answer_a_writer_alike(embedded: Server, seeded_real: Server):
    """One story, since each step leaves something for the next."""
    told = []
    for server in (embedded, seeded_real):
        async with server.caller() as call:
            told.append([])
            for case in WRITING:
                answer = await call.ask(case.method, case.path, body=case.body, media=case.media, token=case.token)
                told[-1].append({"case": str(case), **shape(*answer)})
    assert [pair for pair in zip(*told, strict=True) if pair[0] != pair[1]] == []


def test_without_assets_there_is_no_real_server_and_with_half_of_them_an_error(tmp_path: Path):
    assert find_assets({}) is None
    (tmp_path / "etcd").touch(mode=0o755)
    with pytest.raises(EnvtestError, match="kube-apiserver is not there"):
        find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)})
    (tmp_path / "kube-apiserver").touch(mode=0o755)
    assert find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)}) == Assets(etcd=tmp_path / "etcd", apiserver=tmp_path / "kube-apiserver")


def fake_assets(folder: Path, *, apiserver: str) -> Assets:
    assets = Assets(etcd=folder / "etcd", apiserver=folder / "kube-apiserver")
    for path, script in ((assets.etcd, "exec sleep 600"), (assets.apiserver, apiserver)):
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return assets


async def test_a_server_that_ends_says_why_and_leaves_nothing_running(tmp_path: Path):
    assets = fake_assets(tmp_path, apiserver="echo 'Error: unknown flag: --made-up' >&2; exit 1")
    api = new_real_api(tmp_path, assets=assets, pki=prepare(tmp_path))
    with pytest.raises(EnvtestError, match="kube-apiserver ended with status 1: Error: unknown flag: --made-up"):
        await api.start()
    assert api.pids == {"etcd": None, "kube-apiserver": None}


async def test_a_server_that_stays_silent_is_given_up(tmp_path: Path):
    api = new_real_api(tmp_path, assets=fake_assets(tmp_path, apiserver="echo waiting; exec sleep 600"), pki=prepare(tmp_path))
    with pytest.raises(EnvtestError, match="not ready after 0 s"):
        await api.start(timeout_seconds=0)
    assert api.pids == {"etcd": None, "kube-apiserver": None}


async def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path):
    assets = Assets(etcd=tmp_path / "none", apiserver=tmp_path / "none")
    with pytest.raises(EnvtestError, match="cannot start"):
        await new_real_api(tmp_path, assets=assets, pki=prepare(tmp_path)).start()


async def test_both_programs_are_started_behind_the_given_words_and_with_the_given_hook(tmp_path: Path):
    marked = tmp_path / "marked"
    # The first program may need a while to get as far as its mark.
    assets = fake_assets(tmp_path, apiserver=f"until grep -q /etcd {marked}; do sleep 0.1; done; exit 3")
    wrap = ["/bin/sh", "-c", f'echo "$0" >>{marked}; exec "$0" "$@"']

    def hook() -> None:
        hooked = os.open(tmp_path / "hooked", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(hooked, b"x")
        os.close(hooked)

    api = new_real_api(tmp_path, assets=assets, pki=prepare(tmp_path), wrap=wrap, preexec=hook, reach="https://127.0.0.1:1")
    with pytest.raises(EnvtestError, match="kube-apiserver ended with status 3"):
        await api.start()
    assert sorted(marked.read_text().split()) == [str(assets.etcd), str(assets.apiserver)]
    assert (tmp_path / "hooked").read_text() == "xx"
    assert api.url == "https://127.0.0.1:1"
    assert "--anonymous-auth=false" in apiserver_argv(
        assets, pki=prepare(tmp_path), tokens=tmp_path / "t", folder=tmp_path, address="10.53.0.1", port=443, etcd_port=1
    )


@pytest.mark.apiserver
async def test_a_killed_api_server_comes_back_with_what_etcd_kept(tmp_path: Path):
    api = new_real_api(tmp_path, assets=assets_or_skip(), pki=prepare(tmp_path))
    try:
        await api.start(install_definitions=False)
        async with api.client() as client:
            made = await client.apply(config_map("kept"))
        os.kill(api.pids["kube-apiserver"], signal.SIGKILL)
        await api.stop_apiserver()
        assert api.pids["kube-apiserver"] is None
        await api.start_apiserver()
        async with api.client() as client:
            assert (await client.get("v1", "ConfigMap", "kept", namespace="default"))["metadata"]["uid"] == made["metadata"]["uid"]
    finally:
        await api.stop()
