"""The embedded API as its clients meet it: objects, versions, selectors, pages, subresources, deletion."""

import asyncio
from pathlib import Path

import pytest
from apiworld import ADMIN, Caller, config_map, embedded, prepare

from agent.lab import api_objects
from agent.lab.objects import definitions, namespace
from agent.lab.pki import Pki

MAPS = "/api/v1/namespaces/default/configmaps"
LONGHORN = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def pki(folder: Path) -> Pki:
    return prepare(folder)


@pytest.fixture
async def api(folder: Path, pki: Pki):
    async with embedded(folder, pki, seed=[*definitions(), namespace("longhorn-system")]) as (call, _):
        yield call


def pod(name: str, **metadata) -> dict:
    spec = {"nodeName": "harv41", "containers": [{"name": "c", "image": "i"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


async def test_a_client_finds_its_way_from_the_root(api: Caller):
    assert (await api.ask("GET", "/api"))[1]["versions"] == ["v1"]
    _, groups = await api.ask("GET", "/apis")
    assert "longhorn.io" in [group["name"] for group in groups["groups"]]
    _, resources = await api.ask("GET", "/apis/longhorn.io/v1beta2")
    by_name = {resource["name"]: resource for resource in resources["resources"]}
    assert by_name["settings"]["namespaced"]
    assert "watch" in by_name["settings"]["verbs"]
    assert "settings/status" in by_name
    assert (await api.ask("GET", "/readyz")) == (200, "ok")
    assert (await api.ask("GET", "/version"))[1]["minor"] == "34"


async def test_what_is_created_can_be_read_and_carries_the_servers_own_marks(api: Caller):
    status, made = await api.ask("POST", MAPS, body=config_map("one", uid="mine", resourceVersion=None))
    assert status == 201
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert (await api.ask("GET", f"{MAPS}/one")) == (200, made)
    _, listed = await api.ask("GET", MAPS)
    assert listed["kind"] == "ConfigMapList"
    assert "kind" not in listed["items"][0], "items of built-in lists carry no kind"
    assert int(listed["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])


async def test_of_two_writers_with_the_same_version_the_second_gets_a_conflict(api: Caller):
    _, first = await api.ask("POST", MAPS, body=config_map("one"))
    status, _ = await api.ask("PUT", f"{MAPS}/one", body={**first, "data": {"by": "first"}})
    assert status == 200
    status, refused = await api.ask("PUT", f"{MAPS}/one", body={**first, "data": {"by": "second"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    assert (await api.ask("GET", f"{MAPS}/one"))[1]["data"] == {"by": "first"}


async def test_a_write_that_changes_nothing_makes_no_new_version(api: Caller):
    _, made = await api.ask("POST", MAPS, body=config_map("one"))
    assert (await api.ask("PUT", f"{MAPS}/one", body=made)) == (200, made)


async def test_versions_grow_over_all_resources(api: Caller):
    _, one = await api.ask("POST", MAPS, body=config_map("one"))
    _, two = await api.ask("POST", "/api/v1/namespaces/default/pods", body=pod("two"))
    assert int(two["metadata"]["resourceVersion"]) > int(one["metadata"]["resourceVersion"])


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        pytest.param({"metadata": {}}, 422, "Invalid", id="no name"),
        pytest.param({"metadata": {"name": "Upper_Case"}}, 422, "Invalid", id="name that DNS refuses"),
        pytest.param({"metadata": {"name": "a", "namespace": "other"}}, 400, "BadRequest", id="another namespace than the path's"),
        pytest.param({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}, 400, "BadRequest", id="another kind"),
        pytest.param({"metadata": {"name": "a", "labels": {"x": 1}}}, 400, "BadRequest", id="label that is no text"),
        pytest.param({"metadata": "a"}, 400, "BadRequest", id="metadata that is no object"),
        pytest.param(b'{"metadata', 400, "BadRequest", id="half an object"),
        pytest.param(b"[" * 100_000, 400, "BadRequest", id="deep nesting"),
        pytest.param(b'{"data":' * 400 + b"1" + b"}" * 400, 422, "Invalid", id="an object in an object in an object, and no name"),
        pytest.param([], 400, "BadRequest", id="a list"),
    ],
)
async def test_what_cannot_be_created_is_refused_with_a_status(api: Caller, body, code: int, reason: str):
    status, refused = await api.ask("POST", MAPS, body=body)
    assert (status, refused["kind"], refused["reason"], refused["code"]) == (code, "Status", reason, code)


async def test_a_body_beyond_three_megabytes_is_refused(api: Caller):
    status, refused = await api.ask("POST", MAPS, body=b" " * (3 * 1024 * 1024 + 1))
    assert (status, refused["reason"]) == (413, "RequestEntityTooLarge")


async def test_paths_that_no_resource_owns(api: Caller):
    assert await api.ask("GET", "/apis/nothing.io/v1/things") == (404, "404 page not found\n")
    assert await api.ask("GET", "/elsewhere") == (404, "404 page not found\n")
    status, body = await api.ask("GET", "/api/v1/things")
    assert (status, body["message"]) == (404, "the server could not find the requested resource")
    status, body = await api.ask("GET", "/api/v1/namespaces/default/pods/gone")
    assert (status, body["message"], body["details"]) == (404, 'pods "gone" not found', {"name": "gone", "kind": "pods"})
    status, body = await api.ask("POST", "/api/v1/namespaces/default/pods/gone", body={})
    assert (status, body["reason"]) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("labelSelector=app%3Dweb", "ab"),
        ("labelSelector=app%3D%3Dweb", "ab"),
        ("labelSelector=app!%3Dweb", "cd"),
        ("labelSelector=app+in+(web,db)", "abc"),
        ("labelSelector=app+notin+(web)", "cd"),
        ("labelSelector=app", "abc"),
        ("labelSelector=!app", "d"),
        ("labelSelector=app%3Dweb,tier%3Dfront", "a"),
        ("labelSelector=app+in+(web,db),tier", "a"),
        ("labelSelector=size%3E5", "b"),
        ("fieldSelector=metadata.name%3Dc", "c"),
        ("fieldSelector=metadata.name!%3Dc", "abd"),
        ("fieldSelector=metadata.namespace%3Ddefault,metadata.name%3Da", "a"),
        ("fieldSelector=metadata.name%3Da&labelSelector=app%3Ddb", ""),
        ("labelSelector=", "abcd"),
    ],
)
async def test_selectors_pick(api: Caller, selector: str, names: str):
    labels = {"a": {"app": "web", "tier": "front"}, "b": {"app": "web", "size": "9"}, "c": {"app": "db", "size": "x"}, "d": {}}
    for name, given in labels.items():
        await api.ask("POST", MAPS, body=config_map(name, labels=given))
    _, listed = await api.ask("GET", f"{MAPS}?{selector}")
    assert "".join(item["metadata"]["name"] for item in listed["items"]) == names


async def test_pods_and_events_can_be_picked_by_their_own_fields(api: Caller):
    pods, events = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/events"
    await api.ask("POST", pods, body=pod("p"))
    await api.ask("PUT", f"{pods}/p/status", body={**pod("p"), "status": {"phase": "Running"}})
    assert len((await api.ask("GET", f"{pods}?fieldSelector=spec.nodeName%3Dharv41,status.phase%3DRunning"))[1]["items"]) == 1
    assert (await api.ask("GET", f"{pods}?fieldSelector=status.phase%3DPending"))[1]["items"] == []
    event = {
        "metadata": {"name": "p.1"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "FailedCreatePodSandBox",
        "type": "Warning",
    }
    await api.ask("POST", events, body=event)
    picked = "involvedObject.kind%3DPod,involvedObject.name%3Dp,reason%3DFailedCreatePodSandBox,type%3DWarning"
    assert len((await api.ask("GET", f"{events}?fieldSelector={picked}"))[1]["items"]) == 1


@pytest.mark.parametrize(
    "selector", ["labelSelector=a%3D%3D%3Db", "labelSelector=a+in+b", "fieldSelector=foo", "fieldSelector=spec.x%3D1", "limit=x"]
)
async def test_selectors_that_cannot_be_read_are_refused(api: Caller, selector: str):
    status, refused = await api.ask("GET", f"{MAPS}?{selector}")
    assert (status, refused["reason"]) == (400, "BadRequest")


async def test_pages_show_one_moment_although_others_write_meanwhile(api: Caller):
    for name in "abcde":
        await api.ask("POST", MAPS, body=config_map(name))
    _, first = await api.ask("GET", f"{MAPS}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await api.ask("DELETE", f"{MAPS}/c")
    await api.ask("POST", MAPS, body=config_map("ab"))
    _, second = await api.ask("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
    _, third = await api.ask("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
    names = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
    assert names == ["a", "b", "c", "d", "e"]
    assert "continue" not in third["metadata"]
    assert first["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]


async def test_a_continue_token_that_is_too_old_gets_410_and_a_false_one_400(api: Caller):
    for name in "abc":
        await api.ask("POST", MAPS, body=config_map(name))
    _, first = await api.ask("GET", f"{MAPS}?limit=1")
    await api.ask("POST", "/lab/compact", body={})
    status, refused = await api.ask("GET", f"{MAPS}?limit=1&continue={first['metadata']['continue']}")
    assert (status, refused["reason"]) == (410, "Expired")
    for false in ("abc", "ü", "W10=", "bnVsbA=="):
        assert (await api.ask("GET", f"{MAPS}?limit=1&continue={false}"))[0] == 400


async def test_version_zero_ignores_the_limit_except_where_there_is_no_watch_cache(api: Caller):
    for name in "abc":
        await api.ask("POST", MAPS, body=config_map(name))
        event = {"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "name": "p"}}
        await api.ask("POST", "/api/v1/namespaces/default/events", body=event)
    assert len((await api.ask("GET", f"{MAPS}?resourceVersion=0&limit=1"))[1]["items"]) == 3
    assert len((await api.ask("GET", "/api/v1/namespaces/default/events?resourceVersion=0&limit=1"))[1]["items"]) == 1


async def test_versions_that_were_never_given_out(api: Caller):
    assert (await api.ask("GET", f"{MAPS}?resourceVersion=abc"))[0] == 400
    status, refused = await api.ask("GET", f"{MAPS}?resourceVersion=999999999999999")
    assert (status, refused["reason"]) == (504, "Timeout")
    assert (await api.ask("GET", f"{MAPS}?resourceVersion=1&resourceVersionMatch=Exact"))[0] == 410


async def test_status_is_written_at_its_own_door_only(api: Caller):
    path = f"{LONGHORN}/instancemanagers"
    body = {"apiVersion": "longhorn.io/v1beta2", "kind": "InstanceManager", "metadata": {"name": "im"}, "spec": {"nodeID": "harv41"}}
    _, made = await api.ask("POST", path, body={**body, "status": {"currentState": "running"}})
    assert "status" not in made
    _, written = await api.ask(
        "PUT", f"{path}/im/status", body={**made, "spec": {"nodeID": "other"}, "status": {"currentState": "running"}}
    )
    assert (written["spec"], written["status"]) == ({"nodeID": "harv41"}, {"currentState": "running"})
    assert written["metadata"]["generation"] == 1
    _, written = await api.ask("PUT", f"{path}/im", body={**written, "spec": {"nodeID": "harv42"}, "status": {}})
    assert (written["spec"], written["status"]) == ({"nodeID": "harv42"}, {"currentState": "running"})
    assert written["metadata"]["generation"] == 2


async def test_a_custom_object_wants_its_version_in_an_update(api: Caller):
    path = f"{LONGHORN}/settings"
    body = {"apiVersion": "longhorn.io/v1beta2", "kind": "Setting", "metadata": {"name": "storage-network"}, "value": "a/b"}
    await api.ask("POST", path, body=body)
    status, refused = await api.ask("PUT", f"{path}/storage-network", body=body)
    assert (status, refused["reason"]) == (422, "Invalid")
    assert (await api.ask("PUT", f"{path}/another", body=body))[0] == 400
    assert (await api.ask("PUT", f"{path}/gone", body={**body, "metadata": {"name": "gone"}}))[0] == 404


@pytest.mark.parametrize(
    ("media", "patch", "data"),
    [
        ("application/merge-patch+json", {"data": {"a": None, "b": "2"}}, {"b": "2"}),
        ("application/strategic-merge-patch+json", {"data": {"b": "2"}}, {"a": "1", "b": "2"}),
        ("application/json-patch+json", [{"op": "replace", "path": "/data/a", "value": "3"}], {"a": "3"}),
    ],
)
async def test_patches(api: Caller, media: str, patch, data: dict):
    await api.ask("POST", MAPS, body={**config_map("one"), "data": {"a": "1"}})
    status, patched = await api.ask("PATCH", f"{MAPS}/one", body=patch, media=media)
    assert (status, patched["data"]) == (200, data)


async def test_patches_that_do_not_fit(api: Caller):
    await api.ask("POST", MAPS, body=config_map("one"))
    for body, media, code in [
        ([{"op": "test", "path": "/data/a", "value": "9"}], "application/json-patch+json", 422),
        ({"metadata": {"resourceVersion": "1"}}, "application/merge-patch+json", 409),
        ({"metadata": {"uid": "other"}}, "application/merge-patch+json", 409),
        ([], "application/merge-patch+json", 400),
        ({}, "application/apply-patch+yaml", 415),
        ({}, "application/json", 415),
    ]:
        status, refused = await api.ask("PATCH", f"{MAPS}/one", body=body, media=media)
        assert (status, refused["kind"]) == (code, "Status"), (body, refused)


async def test_a_dry_run_leaves_no_trace(api: Caller):
    assert (await api.ask("POST", f"{MAPS}?dryRun=All", body=config_map("one")))[0] == 201
    assert (await api.ask("GET", f"{MAPS}/one"))[0] == 404
    await api.ask("POST", MAPS, body=config_map("one"))
    merge = "application/merge-patch+json"
    assert (await api.ask("PATCH", f"{MAPS}/one?dryRun=All", body={"data": {"a": "b"}}, media=merge))[1]["data"] == {"a": "b"}
    assert (await api.ask("DELETE", f"{MAPS}/one?dryRun=All"))[0] == 200
    assert "data" not in (await api.ask("GET", f"{MAPS}/one"))[1]


async def test_a_lease_is_renewed_by_update_and_made_by_it(api: Caller):
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/lhnet-agent"
    status, lease = await api.ask("PUT", path, body={"metadata": {"name": "lhnet-agent"}, "spec": {"holderIdentity": "harv41"}})
    assert status == 201
    lease["spec"]["holderIdentity"] = "harv42"
    status, lease = await api.ask("PUT", path, body=lease)
    assert (status, lease["spec"]["holderIdentity"]) == (200, "harv42")
    lease["metadata"].pop("resourceVersion")
    assert (await api.ask("PUT", path, body=lease))[0] == 422


async def test_a_pod_ends_after_its_grace_and_at_once_without(api: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api_objects, "KUBELET_SECONDS", 0.05)
    pods = "/api/v1/namespaces/default/pods"
    await api.ask("POST", pods, body=pod("slow"))
    async with api.watch(f"{pods}?watch=1") as events:
        assert await events.names(1) == [("ADDED", "slow")]
        _, ending = await api.ask("DELETE", f"{pods}/slow")
        assert ending["metadata"]["deletionGracePeriodSeconds"] == 30
        assert await events.names(2) == [("MODIFIED", "slow"), ("DELETED", "slow")]
        await api.ask("POST", pods, body=pod("quick"))
        assert (await api.ask("DELETE", f"{pods}/quick", body={"gracePeriodSeconds": 0}))[1]["kind"] == "Pod"
        assert await events.names(2) == [("ADDED", "quick"), ("DELETED", "quick")]


async def test_an_object_with_a_finalizer_waits_for_it(api: Caller):
    await api.ask("POST", MAPS, body=config_map("kept", finalizers=["example.com/one"]))
    status, waiting = await api.ask("DELETE", f"{MAPS}/kept")
    assert (status, waiting["kind"]) == (200, "ConfigMap")
    assert waiting["metadata"]["deletionTimestamp"]
    media = "application/merge-patch+json"
    await api.ask("PATCH", f"{MAPS}/kept", body={"metadata": {"finalizers": None}}, media=media)
    assert (await api.ask("GET", f"{MAPS}/kept"))[0] == 404


async def test_deleting_with_a_precondition_that_does_not_hold(api: Caller):
    await api.ask("POST", MAPS, body=config_map("one"))
    status, refused = await api.ask("DELETE", f"{MAPS}/one", body={"preconditions": {"uid": "of an earlier one"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    status, gone = await api.ask("DELETE", f"{MAPS}/one")
    assert (status, gone["status"], gone["details"]["name"]) == (200, "Success", "one")


async def test_a_selection_is_deleted_at_once_and_a_namespace_takes_its_content_along(api: Caller):
    await api.ask("POST", "/api/v1/namespaces", body={"metadata": {"name": "shop"}})
    for name, labels in {"a": {"x": "1"}, "b": {"x": "1"}, "c": {}}.items():
        await api.ask("POST", "/api/v1/namespaces/shop/configmaps", body=config_map(name, namespace="shop", labels=labels))
    _, deleted = await api.ask("DELETE", "/api/v1/namespaces/shop/configmaps?labelSelector=x")
    assert [item["metadata"]["name"] for item in deleted["items"]] == ["a", "b"]
    assert (await api.ask("DELETE", "/api/v1/configmaps"))[0] == 405
    assert (await api.ask("DELETE", "/api/v1/namespaces/shop"))[0] == 200
    assert (await api.ask("GET", "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dshop"))[1]["items"] == []
    status, refused = await api.ask("POST", "/api/v1/namespaces/shop/configmaps", body=config_map("d", namespace="shop"))
    assert (status, refused["message"]) == (404, 'namespaces "shop" not found')


async def test_a_custom_resource_lives_as_long_as_its_definition(api: Caller):
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/settings.longhorn.io"
    path = f"{LONGHORN}/settings"
    body = {"apiVersion": "longhorn.io/v1beta2", "kind": "Setting", "metadata": {"name": "storage-network"}, "value": ""}
    await api.ask("POST", path, body=body)
    _, crd = await api.ask("GET", definition)
    assert {"Established", "NamesAccepted"} == {condition["type"] for condition in crd["status"]["conditions"]}
    async with api.watch(f"{path}?watch=1") as events:
        assert await events.names(1) == [("ADDED", "storage-network")]
        assert (await api.ask("DELETE", definition))[0] == 200
        assert [kind for kind, _ in await events.rest()] == ["DELETED"]
    assert await api.ask("GET", path) == (404, "404 page not found\n")
    assert (await api.ask("GET", "/apis/longhorn.io/v1beta2"))[0] == 200, "its neighbours are still there"
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        crd["metadata"].pop(key)
    await api.ask("POST", definition.rpartition("/")[0], body=crd)
    assert (await api.ask("GET", path))[1]["items"] == []


async def test_kubectls_table(api: Caller):
    await api.ask("POST", "/api/v1/namespaces/default/pods", body=pod("p"))
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    _, listed = await api.ask("GET", "/api/v1/namespaces/default/pods", accept=table)
    assert listed["kind"] == "Table"
    assert [column["name"] for column in listed["columnDefinitions"]][:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert listed["rows"][0]["cells"][:4] == ["p", "0/1", "Pending", "0"]
    assert listed["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    _, one = await api.ask("GET", "/api/v1/namespaces/default", accept=table)
    assert one["rows"][0]["cells"][0] == "default"
    assert (await api.ask("GET", MAPS, accept="application/vnd.kubernetes.protobuf"))[0] == 406
    assert (await api.ask("GET", MAPS, accept="application/vnd.kubernetes.protobuf,application/json"))[1]["kind"] == "ConfigMapList"
    partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    assert (await api.ask("GET", MAPS, accept=partial))[1]["kind"] == "PartialObjectMetadataList"


async def test_many_writers_at_once_lose_nothing(api: Caller):
    await api.ask("POST", MAPS, body={**config_map("count"), "data": {"n": "0"}})

    async def add_one() -> None:
        while True:
            _, held = await api.ask("GET", f"{MAPS}/count")
            held["data"]["n"] = str(int(held["data"]["n"]) + 1)
            status, _ = await api.ask("PUT", f"{MAPS}/count", body=held, token=ADMIN)
            if status == 200:
                return

    await asyncio.gather(*(add_one() for _ in range(8)))
    assert (await api.ask("GET", f"{MAPS}/count"))[1]["data"] == {"n": "8"}
