"""`lhnet-agent check` as an operator runs it: a healthy cluster, then each of the guide's steps broken as clusters break."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from stepsworld import ADMIN, NAD, READER, SETTING_KEYS, Objects, Said, World, prepare, refusing, write_kubeconfig

from agent.lab.objects_pods import network_status_annotation
from agent.lab.pki import Pki

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
EMPTY_HASH = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
EXHAUSTED = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "04e9bc16": plugin type="multus" '
    'name="multus-cni-network" failed (add): [longhorn-system/{pod}:storagenetwork-95bj4]: error adding container to network '
    '"storagenetwork-95bj4": error at storage engine: Could not allocate IP in range: ip: 192.168.0.1 / - 192.168.0.6 / range: '
    "192.168.0.0/29 / excludeRanges: []"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pki]:
    folder = tmp_path_factory.mktemp("check")
    return folder, prepare(folder)


@pytest.fixture
def world(made: tuple[Path, Pki], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    for name in [name for name in os.environ if name.startswith("LHNET_") or name in ("KUBECONFIG", "POD_NAMESPACE", "NODE_NAME")]:
        monkeypatch.delenv(name)
    return World(*made, capsys)


@pytest.fixture
def objects() -> Objects:
    return Objects()


async def both(world: World, objects: Objects, **more) -> tuple[Said, Said]:
    """As JSON and as text; the status is the same."""
    as_json, as_text = await world.ask(objects.all, "check", "-o", "json", **more), await world.ask(objects.all, "check", **more)
    assert as_json.status == as_text.status
    assert as_json.err == as_text.err == ""
    for line in as_text.out.splitlines():
        assert len(line) <= 80 or line.startswith(("    kubectl", "    curl")), line
    return as_json, as_text


async def test_a_healthy_cluster_passes(world: World, objects: Objects) -> None:
    said, text = await both(world, objects)
    assert said.status == 0
    assert said.document.keys() == {"schema", "result", "steps"}
    assert (said.document["schema"], said.document["result"]) == (1, "ok")
    assert said.results == {"setting": "ok", "pods": "ok", "addresses": "ok", "reachability": "ok"}
    assert all(step.keys() == {"step", "title", "result", "seen", "expected", "next_step"} for step in said.document["steps"])
    assert [step["step"] for step in said.document["steps"]] == [1, 2, 3, 4]
    assert "2  pods           ok     6 of 6 storage pods run\n" in text.out
    assert "4  reachability   ok     12 of 12 pairs between 3 nodes connect: TCP, HTTP" in text.out
    assert text.out.splitlines()[-1].startswith("ok: 4 of 4 steps passed ")
    assert text.out.endswith("(exit 0)\n")
    assert {method for method, _ in world.requests} == {"GET"}


async def test_the_json_is_one_document_on_one_line(world: World, objects: Objects) -> None:
    said = await world.ask(objects.all, "check", "-o", "json")
    assert said.out.count("\n") == 1
    assert json.loads(said.out)


async def test_the_guides_own_completed_example_is_the_switched_off_state(world: World, objects: Objects) -> None:
    objects.setting["value"] = ""
    objects.setting["metadata"]["annotations"] |= {f"{SETTING_KEYS}/hash": EMPTY_HASH, f"{SETTING_KEYS}/net-attach-def": ""}
    objects.longhorn_setting["value"] = ""
    said, text = await both(world, objects)
    assert said.status == 1
    assert said.results["setting"] == "warning"
    assert "not in use although its condition says Completed" in said.step("setting")["seen"]
    assert said.step("addresses")["seen"] == "not applicable: the storage network is not in use"
    assert "1  setting        WARN   " in text.out


async def test_a_setting_that_waits_for_volumes_is_not_completed(world: World, objects: Objects) -> None:
    condition = objects.setting["status"]["conditions"][0]
    condition |= {"status": "False", "reason": "In Progress", "message": "waiting for all volumes detached: pvc-a,pvc-b"}
    said, _ = await both(world, objects)
    assert said.status == 1
    assert "waiting for all volumes detached: pvc-a,pvc-b (last change 2026-" in said.step("setting")["seen"]


async def test_addresses_that_run_out_never_show_as_failed_and_are_told_as_failed(world: World, objects: Objects) -> None:
    condition = objects.setting["status"]["conditions"][0]
    condition |= {"status": "False", "reason": "In Progress", "message": "IP allocation failure for Longhorn Pods"}
    said, _ = await both(world, objects)
    assert said.status == 2
    assert said.results["setting"] == "critical"


async def test_longhorns_own_setting_points_elsewhere(world: World, objects: Objects) -> None:
    objects.longhorn_setting["value"] = "harvester-system/storagenetwork-old11"
    said, _ = await both(world, objects)
    assert said.status == 2
    assert "storagenetwork-old11" in said.step("setting")["seen"]
    assert NAD in said.step("setting")["seen"]


async def test_a_value_that_was_edited_after_it_was_applied(world: World, objects: Objects) -> None:
    objects.setting["value"] = objects.setting["value"].replace("100", "101")
    said, _ = await both(world, objects)
    assert (said.status, said.results["setting"]) == (1, "warning")
    assert "Harvester has not taken up its present value" in said.step("setting")["seen"]


async def test_the_nad_was_deleted_under_the_cluster(world: World, objects: Objects) -> None:
    objects.remove(objects.find("NetworkAttachmentDefinition"))
    said, text = await both(world, objects)
    assert said.status == 2
    assert f"the NAD {NAD} does not exist" in said.step("setting")["seen"]
    assert "    kubectl -n harvester-system get network-attachment-definitions storagenetwork-95bj4\n" in text.out
    assert said.results["addresses"] == "unknown"


async def test_a_pod_that_gets_no_address_is_explained(world: World, objects: Objects) -> None:
    pod = objects.managers()[2]
    name = pod["metadata"]["name"]
    pod["status"] |= {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]}
    del pod["metadata"]["annotations"][NETWORK_STATUS]
    objects.all.append(event(name, EXHAUSTED.format(pod=name), uid=pod["metadata"]["uid"]))
    objects.all.append(
        event(name, "Failed to create pod sandbox: rpc error: code = DeadlineExceeded desc = context deadline exceeded", n=2)
    )
    said, text = await both(world, objects)
    assert said.status == 2
    step = said.step("pods")
    assert step["result"] == "critical"
    assert f"longhorn-system/{name} on harv43 is Pending" in step["seen"]
    assert "ip_exhausted" in step["seen"]
    assert f"    kubectl -n longhorn-system describe pod {name}\n" in text.out
    assert said.results["addresses"] == "ok"


async def test_an_event_of_an_earlier_pod_of_that_name_explains_nothing(world: World, objects: Objects) -> None:
    pod = objects.managers()[0]
    pod["status"]["phase"] = "Pending"
    objects.all.append(event(pod["metadata"]["name"], EXHAUSTED.format(pod="x"), uid="another-pod-long-gone"))
    said, _ = await both(world, objects)
    assert "no event says that its sandbox fails" in said.step("pods")["seen"]
    assert said.results["pods"] == "warning"


def event(pod: str, message: str, *, uid: str = "", n: int = 1) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{pod}.{n:x}", "namespace": "longhorn-system"},
        "involvedObject": {"kind": "Pod", "namespace": "longhorn-system", "name": pod, **({"uid": uid} if uid else {})},
        "reason": "FailedCreatePodSandBox",
        "type": "Warning",
        "message": message,
        "lastTimestamp": f"2026-06-02T08:14:5{n}Z",
    }


async def test_an_instance_manager_without_a_pod(world: World, objects: Objects) -> None:
    gone = objects.managers()[0]
    objects.remove(gone)
    said, _ = await both(world, objects)
    assert (said.status, said.results["pods"]) == (1, "warning")
    assert f"1 instance-manager without a live pod: {gone['metadata']['name']} on harv41 (running)" in said.step("pods")["seen"]


async def test_a_running_pod_that_is_not_ready(world: World, objects: Objects) -> None:
    pod = objects.managers()[1]
    pod["status"]["conditions"][0]["status"] = "False"
    said, _ = await both(world, objects)
    assert said.results["pods"] == "warning"
    assert f"not ready: longhorn-system/{pod['metadata']['name']}" in said.step("pods")["seen"]


async def test_a_pod_without_its_grant_is_longhorns_silent_fallback(world: World, objects: Objects) -> None:
    pod = objects.managers()[0]
    pod["metadata"]["annotations"][NETWORK_STATUS] = status_of(pod, address=None)
    said, text = await both(world, objects)
    name = pod["metadata"]["name"]
    assert said.status == 2
    assert f"longhorn-system/{name}: no lhnet1 with an address in its network-status" in said.step("addresses")["seen"]
    assert "3  addresses      FAIL   " in text.out
    assert f"    kubectl -n longhorn-system delete pod {name}\n" in text.out
    assert text.out.splitlines()[-1].startswith("critical: 1 of 4 steps failed ")


def status_of(pod: dict, *, address: str | None, interface: str = "lhnet1") -> str:
    return network_status_annotation(
        pod_ip=pod["status"]["podIP"], address=address, mac="2e:00:00:00:00:01", mtu_bytes=1500, interface=interface
    )


async def test_many_bad_pods_are_named_a_few_and_counted(world: World, objects: Objects) -> None:
    bad = [
        pod
        for pod in objects.every("Pod")
        if NETWORK_STATUS in pod["metadata"].get("annotations", {}) and pod["metadata"]["namespace"] != "default"
    ]
    for pod in bad:
        pod["metadata"]["annotations"][NETWORK_STATUS] = "[{"
    said, text = await both(world, objects)
    seen = said.step("addresses")["seen"]
    assert (said.status, len(bad)) == (2, 6)
    assert "3 more pods" in seen
    assert "is not JSON" in seen
    assert text.out.count("delete pod") == 1


async def test_a_pod_from_before_the_setting_asks_for_nothing(world: World, objects: Objects) -> None:
    pod = objects.managers()[0]
    del pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"]
    said, _ = await both(world, objects)
    assert said.results["addresses"] == "critical"
    assert "it does not ask for the storage network" in said.step("addresses")["seen"]


async def test_an_address_of_another_range(world: World, objects: Objects) -> None:
    pod = objects.managers()[0]
    pod["metadata"]["annotations"][NETWORK_STATUS] = status_of(pod, address="192.168.7.9")
    said, _ = await both(world, objects)
    assert said.status == 2
    assert "its address 192.168.7.9 is not one that 192.168.0.0/24 gives out" in said.step("addresses")["seen"]


async def test_one_address_twice(world: World, objects: Objects) -> None:
    one, other = objects.managers()[:2]
    for pod in (one, other):
        pod["metadata"]["annotations"][NETWORK_STATUS] = status_of(pod, address="192.168.0.2")
    said, _ = await both(world, objects)
    assert said.status == 2
    assert "192.168.0.2 was granted to two live pods" in said.step("addresses")["seen"]


async def test_another_interface_name_than_the_guides(world: World, objects: Objects) -> None:
    pod = objects.managers()[0]
    pod["metadata"]["annotations"][NETWORK_STATUS] = status_of(pod, address="192.168.0.2", interface="net1")
    said, _ = await both(world, objects)
    assert (said.status, said.results["addresses"]) == (1, "warning")
    assert "its storage interface is net1, not lhnet1" in said.step("addresses")["seen"]


async def test_a_failed_pod_keeps_its_annotations_and_is_not_looked_at(world: World, objects: Objects) -> None:
    """Its address is long somebody else's."""
    old = {**objects.managers()[0]}
    old["metadata"] = {**old["metadata"], "name": "instance-manager-old", "uid": "old"}
    old["status"] = {**old["status"], "phase": "Failed"}
    objects.all.append(old)
    said, _ = await both(world, objects)
    assert said.status == 0


async def test_who_may_read_nothing_is_told_so_and_cannot_tell(world: World, objects: Objects) -> None:
    said, text = await both(world, objects, token=READER)
    assert said.status == 3
    assert set(said.results.values()) == {"unknown"}
    assert "agent pods in lhnet-system could not be listed" in said.step("reachability")["seen"]
    assert "may not be read" in said.step("setting")["seen"]
    assert "1  setting        ?      " in text.out
    assert text.out.splitlines()[-1].startswith("unknown: 4 of 4 steps could not be told ")


@pytest.mark.parametrize(
    ("part", "title"),
    [
        ("instancemanagers", "pods"),
        ("/longhorn-system/pods", "addresses"),
        ("network-attachment-definitions", "addresses"),
        ("longhorn-system/settings", "setting"),
    ],
)
@pytest.mark.parametrize("code", [403, 500])
async def test_one_source_that_is_refused_makes_its_step_unknown(world: World, objects: Objects, part: str, title: str, code: int) -> None:
    said, _ = await both(world, objects, answer=refusing(part, code=code))
    assert said.status == 3
    assert said.results[title] == "unknown"


async def test_events_that_may_not_be_read_spoil_nothing_while_all_pods_run(world: World, objects: Objects) -> None:
    said, _ = await both(world, objects, answer=refusing("/events"))
    assert said.status == 0


async def test_a_pod_that_cannot_be_understood_is_no_healthy_pod(world: World, objects: Objects) -> None:
    objects.managers()[0]["spec"]["nodeName"] = 41
    said, _ = await both(world, objects)
    assert said.results["pods"] == "unknown"
    assert "some pods could not be understood" in said.step("pods")["seen"]


async def test_longhorn_without_harvester(world: World, objects: Objects) -> None:
    objects.without_crds("harvesterhci.io")
    said, _ = await both(world, objects)
    assert said.status == 0
    assert said.step("setting")["seen"] == f"Longhorn's setting names {NAD}"


async def test_neither_harvester_nor_longhorn(world: World, objects: Objects) -> None:
    objects.without_crds("harvesterhci.io", "longhorn.io")
    said, _ = await both(world, objects)
    assert said.status == 3


async def test_foreign_texts_cannot_write_to_the_terminal(world: World, objects: Objects) -> None:
    objects.setting["status"]["conditions"][0] |= {"status": "False", "message": "\x1b[2Jgone\n\nok: all fine"}
    said, text = await both(world, objects)
    assert "\x1b" not in text.out
    assert "gone ok: all fine" in said.step("setting")["seen"]


async def test_other_namespaces_by_settings(world: World, objects: Objects) -> None:
    said = await world.ask(objects.all, "check", "-o", "json", "--set", "namespaces.longhorn=storage-system")
    assert "there is no instance-manager at all" in said.step("pods")["seen"]
    assert not [path for _, path in world.requests if "longhorn-system" in path]


async def test_a_named_context_is_used(world: World, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.serve(objects.all) as url:
        config = json.loads(write_kubeconfig(world.folder / "two", url=url, pki=world.pki, token=ADMIN, context="good").read_text())
        config["contexts"].append({"name": "bad", "context": {"cluster": "lab", "user": "nobody"}})
        config["users"].append({"name": "nobody", "user": {"token": "wrong"}})
        config["current-context"] = "bad"
        (world.folder / "two").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(world.folder / "two"))
        assert (await world.run("check", "--context", "good")).status == 0
        refused = await world.run("check")
        unknown = await world.run("check", "--context", "none")
    assert refused.status == unknown.status == 3
    assert refused.out == unknown.out == ""
    assert "Unauthorized" in refused.err
    assert refused.err.count("\n") == unknown.err.count("\n") == 1


async def test_an_api_server_out_of_reach_is_one_line_and_could_not_tell(world: World, objects: Objects) -> None:
    async with world.serve(objects.all) as url:
        kubeconfig = write_kubeconfig(world.folder / "gone", url=url, pki=world.pki)
    for output in ("text", "json"):
        said = await world.run("check", "--kubeconfig", str(kubeconfig), "-o", output)
        assert said.status == 3
        assert said.err == f"lhnet-agent check: the API server cannot be asked: GET {url}: Connection refused\n"
        if output == "json":
            document = json.loads(said.out)
            assert (document["schema"], document["result"], document["steps"]) == (1, "unknown", [])
            assert document["error"] in said.err
        else:
            assert said.out == ""


async def test_no_kubeconfig_at_all(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    said = await world.run("check")
    assert said.status == 3
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [("--sett", "x"), ("--set", "probe.fanout=many"), ("-o", "yaml"), ("leftover",), ("--config", "/nowhere.yaml")]
)
async def test_usage_errors_are_one_line_and_64(world: World, words: tuple[str, ...]) -> None:
    said = await world.run("check", *words)
    assert (said.status, said.out) == (64, "")
    assert said.err.count("\n") == 1


async def test_progress_is_for_terminals_only(world: World, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cli.steps.progress", lambda _: lines.append)
    lines: list[str] = []
    await world.ask(objects.all, "check")
    assert "asking the API server" in lines
    assert "reading pods" in lines


def test_progress_writes_to_a_terminal() -> None:
    from agent.cli.steps import progress

    class Screen:
        def __init__(self, tty: bool) -> None:
            self.tty, self.text = tty, ""

        def isatty(self) -> bool:
            return self.tty

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None:
            pass

    for tty, text in ((True, "reading pods …\n"), (False, "")):
        screen = Screen(tty)
        progress(screen)("reading pods")
        assert screen.text == text


async def test_ctrl_c_ends_it_without_a_traceback(world: World, objects: Objects) -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    def ask(_: web.Request) -> None:
        asked.set()

    async with world.serve(objects.all, ask, hold=never) as url:
        kubeconfig = write_kubeconfig(world.folder / "slow", url=url, pki=world.pki)
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        argv = [sys.executable, "-m", "agent", "check", "--kubeconfig", str(kubeconfig)]
        process = await asyncio.to_thread(
            subprocess.Popen, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, start_new_session=True
        )
        try:
            async with asyncio.timeout(60):
                await asked.wait()
            process.send_signal(signal.SIGINT)
            out, err = await asyncio.to_thread(process.communicate, None, 60)
        finally:
            process.kill()
            never.set()
    assert process.returncode == 130
    assert (out, err) == (b"", b"")
