"""`pods/proxy` of the embedded API, as `kubectl get --raw …/proxy/…` uses it: to whom it leads, who may, and what is not passed on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from apiworld import AGENT, AGENT_NAME, NOBODY, Caller, embedded, prepare

from agent.lab.api_errors import ApiError
from agent.lab.api_proxy import read_target
from agent.lab.objects import agent_objects, definitions, namespace
from agent.lab.pki import Pki

RBAC = "rbac.authorization.k8s.io"
PODS = "/api/v1/namespaces/proxy-system/pods"
CLOSED_PORT = 1


def pod(name: str, **status: object) -> dict:
    spec = {"nodeName": "harv41", "containers": [{"name": "agent", "image": "x"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "proxy-system"},
        "spec": spec,
        "status": {"phase": "Running", **status},
    }


SEED = [
    *definitions(),
    namespace("proxy-system"),
    namespace("lhnet-system"),
    *agent_objects(None),
    pod("agent-a", podIP="127.0.0.1"),
    pod("agent-b"),
    {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": "ask", "namespace": "proxy-system"},
        "rules": [{"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]}],
    },
    {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "ask", "namespace": "proxy-system"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "ask"},
        "subjects": [{"kind": "User", "name": AGENT_NAME}],
    },
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proxy")


@pytest.fixture(scope="module")
def pki(folder: Path) -> Pki:
    return prepare(folder)


@pytest.fixture
async def api(folder: Path, pki: Pki) -> AsyncIterator[Caller]:
    async with embedded(folder, pki, seed=SEED) as (call, _):
        yield call


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """What runs in agent-a: it tells what reached it."""

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/gone":
            return web.Response(status=404, text="no such page\n")
        said = {
            "path": request.rel_url.raw_path,
            "query": request.rel_url.raw_query_string,
            "authorized": "Authorization" in request.headers,
        }
        response = web.json_response(said)
        response.enable_compression()
        return response

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_a_request_reaches_the_pod_as_it_was_asked_but_for_the_credentials(api: Caller, port: int) -> None:
    code, said = await api.ask("GET", f"{PODS}/agent-a:{port}/proxy/api/v1/cluster?matrix=full&x=1")
    assert (code, said) == (200, {"path": "/api/v1/cluster", "query": "matrix=full&x=1", "authorized": False})
    code, said = await api.ask("GET", f"{PODS}/http:agent-a:{port}/proxy")
    assert (code, said["path"]) == (200, "/")


async def test_the_pods_own_refusal_is_passed_on(api: Caller, port: int) -> None:
    assert await api.ask("GET", f"{PODS}/agent-a:{port}/proxy/gone") == (404, "no such page\n")


async def test_only_who_may_use_the_subresource_may_ask(api: Caller, port: int) -> None:
    """The right to read pods is none to speak with them, and the other way round."""
    assert (await api.ask("GET", f"{PODS}/agent-a:{port}/proxy/x", token=AGENT))[0] == 200
    assert (await api.ask("GET", f"{PODS}/agent-a", token=AGENT))[0] == 403
    code, said = await api.ask("GET", f"{PODS}/agent-a:{port}/proxy/x", token=NOBODY)
    assert (code, said["reason"]) == (403, "Forbidden")
    assert 'cannot get resource "pods/proxy" in API group "" in the namespace "proxy-system"' in said["message"]


@pytest.mark.parametrize(
    ("name", "code"),
    [("agent-z:9811", 404), ("agent-b:9811", 400), (f"agent-a:{CLOSED_PORT}", 503), ("ftp:agent-a:21", 400), ("agent-a:http", 400)],
    ids=["unknown", "no address", "refused", "scheme", "port by name"],
)
async def test_what_cannot_be_reached_is_an_error_of_the_api(api: Caller, name: str, code: int) -> None:
    said = await api.ask("GET", f"{PODS}/{name}/proxy/x")
    assert (said[0], said[1]["kind"], said[1]["code"]) == (code, "Status", code)


async def test_it_carries_questions_only(api: Caller, port: int) -> None:
    code, _ = await api.ask("POST", f"{PODS}/agent-a:{port}/proxy/x", body={})
    assert code == 405


@pytest.mark.parametrize("text", ["", ":", "a:b:c:d", "http::80", "a:0", "a:65536", "a:٣", "a:-1", "a:99999999999"])
def test_names_that_mean_no_pod(text: str) -> None:
    with pytest.raises(ApiError):
        read_target(text)
