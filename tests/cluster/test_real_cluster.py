"""The agent in a real Kubernetes of three nodes, as an operator meets it: every pod, address, event and namespace is made by the programs
that make it in a Harvester cluster. The tests are chapters of one story and run in order, each from a cluster that is whole again.

`make test-cluster` prints the timeline: + and - are findings that the agents began and ceased to tell.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from realcluster import audit, namespaces, pods
from realcluster.cluster import RealCluster
from realcluster.control import GRACE_SECONDS
from realcluster.objects import CAPACITY
from realworld import World

from agent.lab.plan import NAD_NAME

pytestmark = [pytest.mark.root, pytest.mark.apiserver, pytest.mark.timeout(600)]

FINDING_SECONDS = 60.0
"""Far more than the agent needs: the machine may be slow, and what is asserted is what it says."""
KUBELET_SECONDS = 120.0
"""A kubelet comes back to a sandbox that failed after 10 to 30 s."""
NAMESPACE_SECONDS = 30.0
FEW_ANSWERS = 10
"""Ten seconds of answers, three rounds of probes."""


def test_a_fresh_installation_finds_every_node_ok(world: World) -> None:
    """`kubectl apply -k`, half a minute later: three agents, six pairs, the addresses that whereabouts gave, and nothing to report."""
    began = world.begin_chapter("a fresh installation")
    world.until_answers(FEW_ANSWERS)

    assert "daemonset.apps/lhnet-agent created" in world.installed
    cluster = world.cluster.ask("harv42", "/api/v1/cluster")
    assert cluster is not None
    assert cluster["verdict"] == "ok"
    assert {name: status["verdict"] for name, status in cluster["nodes"].items()} == dict.fromkeys(world.names, "ok")
    pairs = [(row["source_node"], row["peer_node"], row["tcp"], row["http"]) for row in cluster["matrix"]]
    assert sorted(pairs) == [(a, b, "ok", "ok") for a in world.names for b in world.names if a != b]
    allocations = world.longhorn.allocations()
    for name in world.names:
        document = world.cluster.ask(name, "/api/v1/interfaces")
        assert document is not None
        (pod,) = document["pods"]
        assert allocations[pod["granted"]["address"]] == pods.instance_manager(name).name
        assert pod["kernel"]["addresses"] == [f"{pod['granted']['address']}/29"]
    assert world.watch.found(since=began) == []


def test_a_full_pool_stops_the_next_pod_and_both_are_told_until_a_pod_goes(world: World) -> None:
    """Six addresses, six pods. Somebody uploads an image: whereabouts refuses, and the kubelet says so in an event of its own."""
    world.begin_chapter("a /29 is filled by real pods")
    fillers = [pods.backing_image_manager(name) for name in world.names]
    for pod in fillers:
        world.longhorn.create(pod)
    world.longhorn.wait_until_running(*fillers)
    assert len(world.longhorn.allocations()) == CAPACITY
    world.say(f"{CAPACITY} pods hold {CAPACITY} addresses")
    world.until_found("pool-exhausted", seconds=FINDING_SECONDS, severity="critical", where="cluster")

    upload = pods.backing_image_source("harv42", "default-image-7kz2p")
    world.longhorn.create(upload)
    failing = world.until_found("sandbox-failing", seconds=KUBELET_SECONDS, reason="ip_exhausted", severity="critical")
    (event, *_) = world.longhorn.events(upload, "FailedCreatePodSandBox")
    world.say(f"the kubelet's own words: {event['message'][:160]}…")
    assert event["source"]["component"] == "kubelet"
    assert event["source"]["host"] == "harv42"
    assert "Could not allocate IP in range" in event["message"]
    assert upload.name in failing.culprit
    assert NAD_NAME in failing.summary or "192.168.7" in failing.summary

    world.longhorn.delete(fillers[2])
    world.say("one backing-image-manager goes, and its address with it")
    world.longhorn.wait_until_running(upload)
    world.until_cleared("sandbox-failing", seconds=FINDING_SECONDS)
    for pod in (upload, *fillers[:2]):
        world.longhorn.delete(pod)
    world.until_cleared("pool-exhausted", seconds=FINDING_SECONDS)


def test_an_allocation_is_left_behind_by_a_pod_whose_node_was_down(world: World) -> None:
    """Power goes; somebody deletes the pod by force, so no CNI plugin ever gives its address back."""
    world.begin_chapter("a node goes down, and a pod of it is deleted by force")
    left = pods.backing_image_manager("harv43")
    world.longhorn.create(left)
    world.longhorn.wait_until_running(left)
    world.settle(apart_from="upgrade-headroom")

    world.cluster.power_off("harv43")
    world.say("harv43 lost its power")
    world.until_found("node-down", seconds=FINDING_SECONDS, culprit="harv43")
    world.until(
        lambda: world.cluster.node_ready("harv43") == "Unknown", seconds=FINDING_SECONDS + GRACE_SECONDS, what="harv43 to be NotReady"
    )
    world.longhorn.delete(left, force=True)
    world.say(f"kubectl delete pod {left.name} --force")
    world.until_found("allocation-orphaned", seconds=FINDING_SECONDS, where="cluster")
    (address,) = [address for address, pod in world.longhorn.allocations().items() if pod == left.name]
    pools = world.cluster.ask("harv41", "/api/v1/pools")
    assert pools is not None
    (pool,) = pools["pools"]
    assert pool["allocations"]["orphaned"] == 1
    assert [entry["address"] for entry in pool["entries"] if entry["state"] == "orphaned"] == [address]

    world.cluster.power_on("harv43")
    world.say("harv43 is switched on again; its kubelet finds what it had forgotten to end")
    _until_ready(world, "harv43", "True")
    world.longhorn.mark_failed("harv43")
    world.longhorn.delete(pods.instance_manager("harv43"))
    world.longhorn.start_managers("harv43")
    world.say("Longhorn has a new instance-manager there")
    world.until_cleared("allocation-orphaned", "node-down", seconds=KUBELET_SECONDS)


def test_an_uplink_without_carrier_cuts_its_node_off_and_no_other(world: World) -> None:
    """The storage cable of one node is pulled; management goes on."""
    world.begin_chapter("the storage cable of harv42 is pulled")
    world.cluster.set_uplink("harv42", up=False)
    try:
        cut = world.until_found("node-cut-off", seconds=FINDING_SECONDS, culprit="harv42", severity="critical")
        cause = world.until_found("uplink-down", seconds=FINDING_SECONDS, where="harv42")
        assert "ens5 has no carrier" in cut.summary
        assert "ens5 has no carrier" in cause.summary
        only = {"harv41": "ok", "harv42": "critical", "harv43": "ok"}
        world.until(lambda: _verdicts(world) == only, seconds=FINDING_SECONDS, what="only harv42 to be blamed")
    finally:
        world.cluster.set_uplink("harv42", up=True)
    world.say("the cable is back")
    world.until_cleared("node-cut-off", "uplink-down", "peer-unreachable", seconds=FINDING_SECONDS)


def test_an_instance_manager_is_replaced_and_nothing_of_the_old_one_is_held(world: World) -> None:
    """Longhorn replaces a pod: nobody is alarmed, and the kernel destroys the old network namespace, although we were in it."""
    began = world.begin_chapter("an instance-manager is deleted and recreated")
    node = world.cluster.nodes["harv41"]
    old = pods.instance_manager("harv41")
    held = world.longhorn.pod(old)
    assert held is not None
    namespace = namespaces.find(node, pod_ip=held["status"]["podIP"])
    assert namespaces.lives(node, namespace)

    world.longhorn.mark_failed("harv41")
    world.longhorn.delete(old)
    held_by = f"its namespace to go; in it: {namespaces.holders(namespace)}"
    world.until(lambda: not namespaces.lives(node, namespace), seconds=NAMESPACE_SECONDS, what=held_by)
    assert namespace.file not in namespaces.files(node)
    world.say(f"the kernel has destroyed its namespace {namespace.file}; nobody held it")
    (new,) = world.longhorn.start_managers("harv41")
    world.say(f"the new one runs, as {new.pod_ip}")
    world.until_answers(FEW_ANSWERS)
    assert world.watch.found(since=began) == []


def test_a_killed_agent_comes_back_and_nobody_else_notices(world: World) -> None:
    """The kernel's OOM killer takes the holder's agent, of all."""
    began = world.begin_chapter("the holder's agent is killed")
    victim = world.holder()
    assert victim in world.names
    before = world.restarts(victim)
    os.kill(_agent_process(world.cluster, victim), signal.SIGKILL)
    world.say(f"the agent of {victim} was killed")
    world.until(lambda: world.restarts(victim) == before + 1, seconds=FINDING_SECONDS, what=f"the agent of {victim} to be restarted")
    world.until(lambda: world.cluster.fetch(victim, "/readyz"), seconds=FINDING_SECONDS, what=f"the agent of {victim} to be ready")
    world.say("it is back and ready")
    world.until_answers(FEW_ANSWERS)
    assert world.holder() in world.names
    assert world.watch.found(since=began) == []


def test_a_rolling_update_is_no_event(world: World) -> None:
    """One agent after the other is replaced, as with a new image."""
    began = world.begin_chapter("kubectl rollout restart")
    before = {pod["metadata"]["name"] for pod in world.agent_pods()}
    world.cluster.kubectl("-n", "lhnet-system", "rollout", "restart", "daemonset/lhnet-agent")
    printed = world.cluster.kubectl("-n", "lhnet-system", "rollout", "status", "daemonset/lhnet-agent", "--timeout=110s")
    assert "successfully rolled out" in printed
    world.say("rolled out")
    world.until_answers(FEW_ANSWERS)
    assert not before & {pod["metadata"]["name"] for pod in world.agent_pods()}
    assert world.watch.found(since=began) == []


def test_a_drained_node_is_maintenance_and_no_fault(world: World) -> None:
    """`kubectl drain` takes its instance-manager; the others go on and nobody misses it."""
    began = world.begin_chapter("harv43 is drained")
    world.cluster.kubectl("cordon", "harv43")
    manager = pods.instance_manager("harv43")
    world.longhorn.mark_stopped("harv43")
    printed = world.cluster.kubectl("drain", "harv43", "--ignore-daemonsets", "--force", "--timeout=60s")
    assert manager.name in printed
    assert world.longhorn.pod(manager) is None
    world.say("drained: no storage pod is left on it, its agent stays")
    world.until_answers(FEW_ANSWERS)
    assert world.watch.found(since=began) == []

    world.cluster.kubectl("uncordon", "harv43")
    world.longhorn.start_managers("harv43")
    world.until_answers(FEW_ANSWERS)
    assert world.watch.found(since=began) == []


def test_a_node_without_kubelet_and_containerd_still_has_its_storage_network(world: World) -> None:
    """Both are killed; the containers live on under their shims, the agent's among them, and the mesh is as good as before."""
    began = world.begin_chapter("kubelet and containerd of harv41 are killed")
    before = world.restarts("harv41")
    world.cluster.nodes["harv41"].stop_programs()
    world.until(
        lambda: world.cluster.node_ready("harv41") == "Unknown", seconds=FINDING_SECONDS + GRACE_SECONDS, what="harv41 to be NotReady"
    )
    world.say("the Node is NotReady")
    world.until_answers(FEW_ANSWERS)
    document = world.cluster.ask("harv41", "/api/v1/status")
    assert document is not None
    assert document["verdict"] == "ok"

    world.cluster.start_programs("harv41")
    _until_ready(world, "harv41", "True")
    world.say("both run again, the Node is Ready")
    world.until_answers(FEW_ANSWERS)
    assert world.restarts("harv41") == before
    assert world.watch.found(since=began) == []


def test_the_rights_in_the_manifests_are_enough_and_no_more_was_asked(world: World) -> None:
    """Of everything that the agents asked in all these chapters, the API server refused nothing, and nothing was beyond the list."""
    assert world.cluster.control is not None
    asked = audit.read(world.cluster.control.audit_log)
    world.say(f"--- the audit log: {asked.total()} requests of the agents, {len({(one.verb, one.resource) for one in asked})} kinds")
    assert asked.total() > 0
    assert [str(one) for one in asked if one.code in (401, 403)] == []
    assert sorted({f"{one.verb} {one.resource}" for one in asked if (one.verb, one.resource) not in audit.ALLOWED}) == []
    assert {one.namespace for one in asked if one.resource == "pods"} == {"longhorn-system", "lhnet-system"}
    assert {(one.namespace, one.name) for one in asked if one.verb == "patch"} == {("lhnet-system", "lhnet-agent")}


def test_in_all_of_this_nothing_was_told_that_never_was(world: World) -> None:
    """Between break and mend there is much to tell; but no pair of MACs, no split, no impaired agent and no stale source."""
    known = {"upgrade-headroom", "pool-nearly-full", "pool-exhausted", "allocation-orphaned", "reservation-orphaned", "sandbox-failing"}
    known |= {"uplink-down", "node-cut-off", "node-down", "peer-unreachable", "instance-manager-missing"}
    assert world.watch.ids() <= known
    assert {"pool-exhausted", "sandbox-failing", "allocation-orphaned", "node-down", "node-cut-off"} <= world.watch.ids()


def _until_ready(world: World, node: str, wanted: str) -> None:
    world.until(
        lambda: world.cluster.node_ready(node) == wanted, seconds=KUBELET_SECONDS + GRACE_SECONDS, what=f"{node} to have Ready {wanted}"
    )


def _verdicts(world: World) -> dict[str, str]:
    document = world.cluster.ask("harv43", "/api/v1/cluster") or {}
    return {name: status.get("verdict", "") for name, status in (document.get("nodes") or {}).items()}


def _agent_process(cluster: RealCluster, node: str) -> int:
    """As the machine numbers it."""
    namespace = os.readlink(f"/proc/{cluster.nodes[node].first_process}/ns/net")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"run" in words and any(word.endswith(b"lhnet-agent") for word in words) and os.readlink(process / "ns/net") == namespace:
                found.append(int(process.name))
    assert len(found) == 1, found
    return found[0]
