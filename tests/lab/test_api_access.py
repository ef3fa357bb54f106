"""Who may do what at the embedded API, and the faults that the lab can switch on in it."""

from pathlib import Path

import aiohttp
import pytest
from apiworld import AGENT, AGENT_NAME, NOBODY, Caller, embedded, prepare

from agent.lab.objects import agent_objects, definitions, namespace
from agent.lab.pki import Pki

LONGHORN = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system"
SETTINGS = "/apis/harvesterhci.io/v1beta1/settings"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/lhnet-system/leases/lhnet-agent"
MERGE = "application/merge-patch+json"
SUBJECT = {"kind": "ServiceAccount", "name": "lhnet-agent", "namespace": "lhnet-system"}
RBAC = "rbac.authorization.k8s.io"


def role(kind: str, rules: list, **metadata: str) -> dict:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": "agent", **metadata}, "rules": rules}


def binding(kind: str, subject: dict, **metadata: str) -> dict:
    ref = {"apiGroup": RBAC, "kind": kind.removesuffix("Binding"), "name": "agent"}
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": "agent", **metadata}, "roleRef": ref, "subjects": [subject]}


READ = ["get", "list", "watch"]
SEED = [
    *definitions(),
    namespace("longhorn-system"),
    namespace("lhnet-system"),
    *agent_objects(None),
    role(
        "ClusterRole", [{"apiGroups": ["harvesterhci.io"], "resources": ["settings"], "resourceNames": ["storage-network"], "verbs": READ}]
    ),
    binding("ClusterRoleBinding", SUBJECT),
    role("Role", [{"apiGroups": [""], "resources": ["pods"], "verbs": READ}], namespace="longhorn-system"),
    binding("RoleBinding", SUBJECT, namespace="longhorn-system"),
    role("Role", [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "patch"]}], namespace="lhnet-system"),
    binding("RoleBinding", SUBJECT, namespace="lhnet-system"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def pki(folder: Path) -> Pki:
    return prepare(folder)


@pytest.fixture
async def api(folder: Path, pki: Pki):
    async with embedded(folder, pki, seed=SEED) as (call, _):
        yield call


@pytest.mark.parametrize("token", [None, "wrong", "a.b", "ü", "W10.x"])
@pytest.mark.parametrize("path", ["/readyz", "/api/v1/pods", "/nowhere", "/lab/fail"])
async def test_without_a_good_token_nothing_is_answered(api: Caller, token: str | None, path: str):
    status, refused = await api.ask("GET", path, token=token)
    assert (status, refused["reason"], refused["message"]) == (401, "Unauthorized", "Unauthorized")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/namespaces/longhorn-system/pods", 200),
        ("GET", "/api/v1/namespaces/longhorn-system/pods/gone", 404),
        ("GET", "/api/v1/pods", 403),
        ("GET", "/api/v1/namespaces/kube-system/pods", 403),
        ("GET", "/api/v1/namespaces/longhorn-system/pods/x/log", 403),
        ("DELETE", "/api/v1/namespaces/longhorn-system/pods/x", 403),
        ("GET", f"{SETTINGS}?fieldSelector=metadata.name%3Dstorage-network", 200),
        ("GET", f"{SETTINGS}?fieldSelector=metadata.name%3Dother", 403),
        ("GET", SETTINGS, 403),
        ("GET", f"{SETTINGS}/storage-network", 404),
        ("GET", LEASE, 200),
        ("PUT", LEASE, 403),
        ("GET", f"{LONGHORN}/settings", 403),
        ("GET", "/apis/nothing.io/v1/things", 403),
        ("GET", "/version", 200),
        ("GET", "/apis", 200),
        ("GET", "/metrics", 403),
        ("POST", "/lab/compact", 403),
    ],
)
async def test_the_agents_account_may_do_what_its_roles_say(api: Caller, method: str, path: str, code: int):
    status, body = await api.ask(method, path, token=AGENT)
    assert status == code, body
    if code == 403:
        assert body["reason"] == "Forbidden"
        assert AGENT_NAME in body["message"]


async def test_the_words_of_a_refusal_are_those_of_a_real_server(api: Caller):
    _, body = await api.ask("GET", "/api/v1/pods", token=NOBODY)
    assert body["message"] == 'pods is forbidden: User "nobody" cannot list resource "pods" in API group "" at the cluster scope'
    _, body = await api.ask("GET", f"{LONGHORN}/settings/a", token=NOBODY)
    expected = 'User "nobody" cannot get resource "settings" in API group "longhorn.io" in the namespace "longhorn-system"'
    assert body["message"] == f'settings.longhorn.io "a" is forbidden: {expected}'


async def test_a_role_that_is_taken_away_or_given_counts_at_once(api: Caller):
    path = "/api/v1/namespaces/longhorn-system/pods"
    bindings = f"/apis/{RBAC}/v1/namespaces/longhorn-system/rolebindings"
    assert (await api.ask("GET", path, token=AGENT))[0] == 200
    await api.ask("DELETE", f"{bindings}/agent")
    assert (await api.ask("GET", path, token=AGENT))[0] == 403
    for subject in (
        {"kind": "User", "name": "nobody", "apiGroup": RBAC},
        {"kind": "Group", "name": "system:authenticated", "apiGroup": RBAC},
    ):
        await api.ask("POST", bindings, body=binding("RoleBinding", subject))
        assert (await api.ask("GET", path, token=NOBODY))[0] == 200
        await api.ask("DELETE", f"{bindings}/agent")
    group = {"kind": "Group", "name": "system:serviceaccounts:lhnet-system", "apiGroup": RBAC}
    await api.ask("POST", bindings, body=binding("RoleBinding", group))
    assert (await api.ask("GET", path, token=AGENT))[0] == 200
    assert (await api.ask("GET", path, token=NOBODY))[0] == 403


async def test_a_token_can_be_made_for_an_account_that_exists(api: Caller):
    accounts = "/api/v1/namespaces/lhnet-system/serviceaccounts"
    status, made = await api.ask("POST", f"{accounts}/lhnet-agent/token", body={"spec": {"expirationSeconds": 3600}})
    assert (status, made["kind"]) == (201, "TokenRequest")
    token = made["status"]["token"]
    assert (await api.ask("GET", "/api/v1/namespaces/longhorn-system/pods", token=token))[0] == 200
    assert (await api.ask("GET", "/api/v1/pods", token=token))[0] == 403
    assert (await api.ask("GET", "/api/v1/pods", token=token[:-1]))[0] == 401
    assert (await api.ask("POST", f"{accounts}/gone/token", body={}))[0] == 404


async def test_an_account_can_ask_what_it_may(api: Caller):
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for where, allowed in (("longhorn-system", True), ("default", False)):
        about = {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": where}}
        status, answer = await api.ask("POST", path, body={"spec": about}, token=AGENT)
        assert (status, answer["status"]["allowed"]) == (201, allowed)


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "InternalError"), (503, "ServiceUnavailable"), (401, "Unauthorized"), (403, "Forbidden")]
)
async def test_a_fault_breaks_what_the_agents_ask_and_nothing_else(api: Caller, status: int, reason: str):
    path = "/api/v1/namespaces/longhorn-system/pods"
    async with api.watch(f"{path}?watch=1", token=AGENT) as events:
        assert (await api.ask("POST", "/lab/fail", body={"status": status, "paths": "/pods$"}))[0] == 200
        assert await events.rest() == [], "open watches end, so that the fault is met at once"
    code, refused = await api.ask("GET", path, token=AGENT)
    assert (code, refused["kind"], refused["reason"]) == (status, "Status", reason)
    assert (await api.ask("GET", LEASE, token=AGENT))[0] == 200
    assert (await api.ask("GET", path))[0] == 200, "the administrator is spared"
    assert (await api.ask("POST", "/lab/clear", body={}))[1] == {"faults": 0}
    assert (await api.ask("GET", path, token=AGENT))[0] == 200


async def test_a_throttled_client_is_told_when_to_come_back(api: Caller):
    await api.ask("POST", "/lab/fail", body={"status": 429, "retry_after": 7})
    async with api.raw("GET", LEASE, token=AGENT) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert (await response.json())["reason"] == "TooManyRequests"


async def test_a_connection_can_be_cut_without_an_answer(api: Caller):
    await api.ask("POST", "/lab/fail", body={"status": 0, "paths": "leases"})
    with pytest.raises(aiohttp.ClientError):
        await api.ask("GET", LEASE, token=AGENT)
    await api.ask("POST", "/lab/clear", body={})
    assert (await api.ask("GET", LEASE, token=AGENT))[0] == 200


@pytest.mark.parametrize("fault", [{"paths": "("}, {"status": "many"}, {"delay_seconds": "long"}, []])
async def test_a_fault_that_makes_no_sense_is_refused(api: Caller, fault):
    status, refused = await api.ask("POST", "/lab/fail", body=fault)
    assert (status, refused["reason"]) == (400, "BadRequest")
    assert (await api.ask("POST", "/lab/unknown", body={}))[0] == 404
    assert (await api.ask("GET", "/lab/fail"))[0] == 405
