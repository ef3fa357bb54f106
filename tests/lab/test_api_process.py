"""The embedded API as a process of its own, and what other people's clients make of it: the official Python client and kubectl."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from apiworld import ADMIN, AGENT, DEADLINE_SECONDS, EmbeddedProcess, caller, config_map, prepare
from kubernetes import client, config, watch

from agent.lab.api import main
from agent.lab.objects import everything
from agent.lab.plan import make_plan

MAPS = "/api/v1/namespaces/default/configmaps"
NAMESPACE = "longhorn-system"
KUBECTL = shutil.which("kubectl", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("api")
    process = EmbeddedProcess(folder, prepare(folder), seed=everything(make_plan(nodes=3)))
    process.start()
    yield process
    process.kill()


@pytest.fixture
def own(tmp_path: Path):
    process = EmbeddedProcess(tmp_path, prepare(tmp_path))
    process.start()
    yield process
    process.kill()


@contextlib.contextmanager
def official_client(process: EmbeddedProcess, *, token: str = ADMIN):
    configuration = client.Configuration()
    config.load_kube_config(str(process.write_kubeconfig(token=token)), client_configuration=configuration)
    with client.ApiClient(configuration) as api:
        yield api
        api.rest_client.pool_manager.clear()


@pytest.fixture
def official(shared: EmbeddedProcess):
    with official_client(shared) as api:
        yield api


async def test_a_killed_server_comes_back_with_its_objects_and_versions_and_watches_go_on(own: EmbeddedProcess):
    async with caller(own.url, own.pki) as api:
        _, first = await api.ask("POST", MAPS, body=config_map("first"))
        account = {"metadata": {"name": "agent"}}
        await api.ask("POST", "/api/v1/namespaces/default/serviceaccounts", body=account)
        _, made = await api.ask("POST", "/api/v1/namespaces/default/serviceaccounts/agent/token", body={})
        _, listed = await api.ask("GET", MAPS)
    own.kill()
    own.start(port=own.port)
    async with caller(own.url, own.pki) as api:
        assert (await api.ask("GET", f"{MAPS}/first")) == (200, first)
        assert (await api.ask("GET", "/version", token=made["status"]["token"]))[0] == 200
        version = listed["metadata"]["resourceVersion"]
        async with api.watch(f"{MAPS}?watch=1&resourceVersion={version}") as events:
            await api.ask("POST", MAPS, body=config_map("second"))
            assert await events.names(1) == [("ADDED", "second")]


async def test_a_server_that_comes_back_without_its_data_never_repeats_versions(own: EmbeddedProcess):
    async with caller(own.url, own.pki) as api:
        _, listed = await api.ask("GET", MAPS)
    own.kill()
    (own.folder / "journal").unlink()
    own.start(port=own.port)
    path = f"{MAPS}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
    async with caller(own.url, own.pki) as api, api.watch(path) as events:
        assert [(kind, obj["code"]) for kind, obj in await events.rest()] == [("ERROR", 410)]


async def test_sigterm_ends_it_politely_with_watches_open(own: EmbeddedProcess):
    async with caller(own.url, own.pki) as api, api.watch(f"{MAPS}?watch=1") as events:
        own.process.send_signal(signal.SIGTERM)
        assert await events.rest() == []
        assert own.process.wait(DEADLINE_SECONDS) == 0


@pytest.mark.parametrize(
    ("name", "content"), [("tokens.csv", "one,two\n"), ("seed.json", "{"), ("seed.json", '[{"kind": "Thing"}]'), ("api.crt", "")]
)
def test_a_file_that_cannot_be_used_ends_the_start_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
):
    prepare(tmp_path)
    (tmp_path / "seed.json").write_text("[]")
    (tmp_path / name).write_text(content)
    files = {"--cert": "api.crt", "--key": "api.key", "--tokens": "tokens.csv", "--seed": "seed.json"}
    argv = [word for option, file in files.items() for word in (option, str(tmp_path / file))]
    assert main(["--listen", "127.0.0.1:0", *argv]) == 1
    said = capsys.readouterr().err
    assert said.startswith("agent.lab.api: ")
    assert said.count("\n") == 1


def test_the_official_client_lists_in_pages(official: client.ApiClient):
    core = client.CoreV1Api(official)
    first = core.list_namespaced_pod(NAMESPACE, limit=4)
    second = core.list_namespaced_pod(NAMESPACE, limit=4, _continue=first.metadata._continue)
    assert (len(first.items), len(second.items)) == (4, 2)
    chosen = core.list_namespaced_pod(
        NAMESPACE, label_selector="longhorn.io/component=instance-manager", field_selector="spec.nodeName=harv41"
    )
    (pod,) = chosen.items
    assert pod.metadata.labels["longhorn.io/node"] == "harv41"
    assert pod.status.pod_ip == "10.52.0.10"
    settings = client.CustomObjectsApi(official).list_cluster_custom_object("harvesterhci.io", "v1beta1", "settings")
    assert [item["metadata"]["name"] for item in settings["items"]] == ["rwx-network", "storage-network"]


def test_the_official_client_watches_and_is_told_410(official: client.ApiClient):
    core = client.CoreV1Api(official)
    version = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", config_map("watched"))
    core.patch_namespaced_config_map("watched", "default", {"data": {"a": "b"}})
    core.delete_namespaced_config_map("watched", "default")
    stream = watch.Watch().stream(core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=1)
    assert [(event["type"], event["object"].metadata.name) for event in stream] == [
        ("ADDED", "watched"),
        ("MODIFIED", "watched"),
        ("DELETED", "watched"),
    ]
    with pytest.raises(client.ApiException) as gone:
        list(watch.Watch().stream(core.list_namespaced_config_map, "default", resource_version="1", timeout_seconds=1))
    assert gone.value.status == 410


def test_the_official_client_meets_the_errors_it_knows(shared: EmbeddedProcess, official: client.ApiClient):
    core = client.CoreV1Api(official)
    with pytest.raises(client.ApiException) as missing:
        core.read_namespaced_pod("gone", NAMESPACE)
    assert json.loads(missing.value.body)["reason"] == "NotFound"
    with official_client(shared, token=AGENT) as agent, pytest.raises(client.ApiException) as refused:
        client.CoreV1Api(agent).list_node()
    assert refused.value.status == 403


def kubectl(process: EmbeddedProcess, *words: str, stdin: str = "") -> str:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    environ = {"PATH": os.defpath, "HOME": str(process.folder), "KUBECONFIG": str(process.write_kubeconfig(token=ADMIN))}
    done = subprocess.run(
        [KUBECTL, *words], input=stdin, env=environ, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kubectl_get(shared: EmbeddedProcess):
    selected = kubectl(shared, "get", "pods", "-n", NAMESPACE, "-l", "longhorn.io/component=instance-manager").splitlines()
    assert selected[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [line.split()[1:3] for line in selected[1:]] == [["1/1", "Running"]] * 3
    listed = json.loads(kubectl(shared, "get", "pods", "-n", NAMESPACE, "-o", "json"))
    assert {item["kind"] for item in listed["items"]} == {"Pod"}
    assert kubectl(shared, "get", "net-attach-def", "-A", "-o", "name").strip() == (
        "networkattachmentdefinition.k8s.cni.cncf.io/storagenetwork-95bj4"
    )
    value = kubectl(shared, "get", "settings.harvesterhci.io", "storage-network", "-o", "jsonpath={.value}")
    assert json.loads(value)["range"] == "192.168.0.0/24"


def test_kubectl_writes(shared: EmbeddedProcess):
    manifest = json.dumps({**config_map("by-kubectl"), "data": {"a": "1"}})
    assert "created" in kubectl(shared, "apply", "-f", "-", stdin=manifest)
    assert "unchanged" in kubectl(shared, "apply", "-f", "-", stdin=manifest)
    assert "configured" in kubectl(shared, "apply", "-f", "-", stdin=manifest.replace('"a": "1"', '"b": "2"'))
    kubectl(shared, "label", "configmap", "by-kubectl", "x=y")
    held = json.loads(kubectl(shared, "get", "configmap", "by-kubectl", "-o", "json"))
    assert (held["data"], held["metadata"]["labels"]) == ({"b": "2"}, {"x": "y"})
    kubectl(shared, "patch", "lhs", "-n", NAMESPACE, "storage-network", "--type=merge", "-p", '{"value":""}')
    assert kubectl(shared, "get", "lhs", "-n", NAMESPACE, "storage-network", "-o", "jsonpath={.value}") == ""
    kubectl(shared, "delete", "configmap", "by-kubectl")
    assert kubectl(shared, "get", "configmap", "by-kubectl", "--ignore-not-found") == ""


def test_kubectl_deletes_a_pod_and_waits_for_its_end(shared: EmbeddedProcess):
    (name,) = kubectl(shared, "get", "pods", "-o", "name", "-l", "app=shop", "--field-selector=spec.nodeName=harv43").split()
    kubectl(shared, "delete", name)
    assert kubectl(shared, "get", name, "--ignore-not-found") == ""


def test_kubectl_watches(shared: EmbeddedProcess):
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    environ = {"PATH": os.defpath, "HOME": str(shared.folder), "KUBECONFIG": str(shared.write_kubeconfig())}
    watching = [KUBECTL, "get", "configmaps", "--watch", "-o", "name"]
    with subprocess.Popen(watching, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        stop = threading.Timer(DEADLINE_SECONDS, process.kill)
        stop.start()
        try:
            kubectl(shared, "apply", "-f", "-", stdin=json.dumps(config_map("seen-by-watch")))
            assert "configmap/seen-by-watch\n" in iter(process.stdout.readline, "")
        finally:
            stop.cancel()
            process.kill()
