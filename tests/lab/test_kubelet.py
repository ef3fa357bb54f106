"""The lab's kubelets: a pod object becomes a real pod with a real address, or an Event says why not, in the words of a cluster."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from lab_clusterworld import Cluster, Json, cluster, storage_address
from labtools import missing_for_a_lab

from agent.lab.changes import image_pod
from agent.lab.kubelet import LEAK, WORDING
from agent.lab.plan import LONGHORN_NAMESPACE, NAD_NAME, LabNode
from agent.lab.recorder import COMBINED
from agent.model.events import Cause, NetworkKind
from agent.rules.sandbox import explain

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing_for_a_lab()), reason=missing_for_a_lab() or "-")]

DEADLINE_SECONDS = 60.0
FAILED = "FailedCreatePodSandBox"


@pytest_asyncio.fixture
async def small() -> AsyncIterator[Cluster]:
    """Two nodes and a /29: four of six addresses are in use, .1 and .6 are free."""
    async with cluster() as found:
        yield found


def waiting(small: Cluster, *, node: LabNode | None = None, number: int = 0, **annotations: str) -> Json:
    pod = image_pod(small.lab, node or small.lab.plan.nodes[0], str(number))
    pod["metadata"]["annotations"].update(annotations)
    return pod


async def apply(small: Cluster, *pods: Json) -> list[str]:
    for pod in pods:
        await small.api.apply(pod)
    await small.look()
    return [pod["metadata"]["name"] for pod in pods]


async def delete(small: Cluster, name: str, *, force: bool = True) -> None:
    await small.api.delete("v1", "Pod", name, namespace=LONGHORN_NAMESPACE, force=force)


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS:.0f} s: {what}"
        await asyncio.sleep(0.1)


async def test_a_pod_gets_the_lowest_free_address_in_all_four_places(small: Cluster) -> None:
    (name,) = await apply(small, waiting(small))
    pod = await small.pod(name)
    assert (pod["status"]["phase"], storage_address(pod)) == ("Running", "192.168.7.1")
    assert (await small.interfaces(name))["lhnet1"] == "192.168.7.1"
    assert (await small.interfaces(name))["eth0"] == pod["status"]["podIP"]
    assert (await small.pool())["192.168.7.1"] == name
    assert (await small.reservations())["192.168.7.1"] == name
    granted = json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])[1]
    (link,) = small.lab.world.ip_json(f"{LONGHORN_NAMESPACE}/{name}", "link", "show", "lhnet1")
    assert (granted["name"], granted["interface"], granted["mac"]) == (f"harvester-system/{NAD_NAME}", "lhnet1", link["address"])
    assert [one["message"] for one in await small.events(name)] == [
        f"Add eth0 [{pod['status']['podIP']}/32] from k8s-pod-network",
        f"Add lhnet1 [192.168.7.1/29] from harvester-system/{NAD_NAME}",
    ]


async def test_a_deleted_pod_gives_everything_back(small: Cluster) -> None:
    before = await small.everything()
    (name,) = await apply(small, waiting(small))
    await delete(small, name)
    await small.look()
    assert await small.everything() == before


async def test_a_pod_that_is_deleted_politely_ends_at_once(small: Cluster) -> None:
    (name,) = await apply(small, waiting(small))
    await delete(small, name, force=False)
    await small.look(times=2)
    assert await small.api.get("v1", "Pod", name, namespace=LONGHORN_NAMESPACE) is None
    assert "192.168.7.1" not in await small.pool()


async def test_a_pod_that_the_lab_began_with_can_be_deleted_too(small: Cluster) -> None:
    manager = next(pod for pod in small.lab.world.pods if pod.storage_address == "192.168.7.2")
    await delete(small, manager.name)
    await small.look()
    assert "192.168.7.2" not in await small.pool()
    assert manager.key not in {pod.key for pod in small.lab.world.pods}


async def test_the_seventh_pod_of_a_29_stays_pending_until_an_address_is_free(small: Cluster) -> None:
    first, second, third = await apply(small, *(waiting(small, number=number) for number in range(3)))
    pod = await small.pod(third)
    assert (pod["status"]["phase"], storage_address(pod)) == ("Pending", None)
    assert [one["reason"] for one in await small.events(third)] == ["AddedInterface", FAILED]
    await delete(small, second)
    await small.look(times=2)
    assert storage_address(await small.pod(third)) == "192.168.7.6"
    assert storage_address(await small.pod(first)) == "192.168.7.1"
    messages = [one["message"].split(" [")[0] for one in await small.events(third, "AddedInterface")]
    assert messages[-2:] == ["Add eth0", "Add lhnet1"]


async def test_each_attempt_is_a_new_sandbox_and_the_tenth_message_is_combined(small: Cluster) -> None:
    *_, name = await apply(small, *(waiting(small, number=number) for number in range(3)))
    await small.look(times=11)
    events = await small.events(name, FAILED)
    assert len({one["message"] for one in events}) == 10
    assert events[-1]["message"].startswith(COMBINED)
    assert events[-1]["count"] == 3


async def test_a_pod_is_not_tried_again_before_its_pause_is_over(small: Cluster) -> None:
    *_, name = await apply(small, *(waiting(small, number=number) for number in range(3)))
    async with small.lab.kubelet.held():
        for _ in range(3):
            await small.lab.kubelet.work()
    assert len(await small.events(name, FAILED)) == 1


async def test_a_reservation_alone_keeps_an_address(small: Cluster) -> None:
    metadata = {"name": "192.168.7.1", "namespace": "kube-system"}
    reserved = {"kind": "OverlappingRangeIPReservation", "metadata": metadata, "spec": {"podref": "longhorn-system/gone"}}
    await small.api.apply({"apiVersion": "whereabouts.cni.cncf.io/v1alpha1", **reserved})
    (name,) = await apply(small, waiting(small))
    assert storage_address(await small.pod(name)) == "192.168.7.6"


async def test_what_a_leaking_pod_held_stays_listed(small: Cluster) -> None:
    (name,) = await apply(small, waiting(small, **{LEAK: "true"}))
    await delete(small, name)
    await small.look()
    assert ((await small.pool())["192.168.7.1"], (await small.reservations())["192.168.7.1"]) == (name, name)
    await apply(small, waiting(small))
    assert storage_address(await small.pod(name)) == "192.168.7.1", "the same name takes its old entry"


async def test_nobody_cleans_up_after_a_node_that_lost_its_power(small: Cluster) -> None:
    node = small.lab.plan.nodes[1]
    (name,) = await apply(small, waiting(small, node=node))
    await small.lab.world.remove_node(node.name)
    await delete(small, name)
    await small.look()
    assert (await small.pool())["192.168.7.1"] == name
    (late,) = await apply(small, waiting(small, node=node, number=1))
    assert (await small.pod(late))["status"]["phase"] == "Pending"
    assert await small.events(late) == []


async def test_pods_that_ask_for_nothing_or_live_elsewhere_are_left_alone(small: Cluster) -> None:
    plain, elsewhere = waiting(small), waiting(small, number=1)
    del plain["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"]
    elsewhere["metadata"]["namespace"] = "default"
    await apply(small, plain, elsewhere)
    assert (await small.pod(plain["metadata"]["name"]))["status"]["phase"] == "Pending"
    assert len(await small.pool()) == 4


async def _without_nad(small: Cluster) -> None:
    await small.api.delete("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", NAD_NAME, namespace="harvester-system")


async def _without_crds(small: Cluster) -> None:
    for plural in ("ippools", "overlappingrangeipreservations"):
        await small.api.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.whereabouts.cni.cncf.io")


async def _without_reservations(small: Cluster) -> None:
    name = "overlappingrangeipreservations.whereabouts.cni.cncf.io"
    await small.api.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)


async def _narrow(small: Cluster) -> None:
    config = json.dumps({"type": "bridge", "ipam": {"type": "whereabouts", "range": "192.168.7.0/32"}})
    patch = {"spec": {"config": config}}
    await small.api.patch("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", NAD_NAME, patch, namespace="harvester-system")


async def _full(small: Cluster) -> None:
    await apply(small, *(waiting(small, number=number) for number in (1, 2)))


async def _pod_network_full(small: Cluster) -> None:
    small.lab.kubelet.full_nodes.add(small.lab.plan.nodes[0].name)


CAUSES = [
    pytest.param(_full, {}, Cause.IP_EXHAUSTED, NetworkKind.STORAGE, id="the pool is full"),
    pytest.param(_full, {WORDING: "go-struct"}, Cause.IP_EXHAUSTED, NetworkKind.STORAGE, id="the pool is full, by an old release"),
    pytest.param(_without_nad, {}, Cause.NAD_NOT_FOUND, NetworkKind.STORAGE, id="the NAD is gone"),
    pytest.param(_without_crds, {}, Cause.IPAM_DATASTORE_ERROR, NetworkKind.STORAGE, id="the CRDs are gone"),
    pytest.param(_without_reservations, {}, Cause.IPAM_DATASTORE_ERROR, NetworkKind.STORAGE, id="the reservations' CRD is gone"),
    pytest.param(_narrow, {}, Cause.IPAM_RANGE_INVALID, NetworkKind.STORAGE, id="the range is one address"),
    pytest.param(_pod_network_full, {}, Cause.IP_EXHAUSTED_DEFAULT_NET, NetworkKind.DEFAULT, id="the pod network is full"),
]


@pytest.mark.parametrize(("arrange", "annotations", "cause", "kind"), CAUSES)
async def test_the_event_names_the_cause_so_that_the_agent_understands_it(
    small: Cluster, arrange: Callable[[Cluster], Awaitable[None]], annotations: dict[str, str], cause: Cause, kind: NetworkKind
) -> None:
    await arrange(small)
    (name,) = await apply(small, waiting(small, **annotations))
    assert (await small.pod(name))["status"]["phase"] == "Pending"
    (event,) = await small.events(name, FAILED)
    understood = explain(event["message"])
    assert (understood.cause, understood.network_kind) == (cause, kind), event["message"]
    assert event["involvedObject"]["uid"] == (await small.pod(name))["metadata"]["uid"]


async def test_a_node_without_multus_starts_the_pod_on_the_pod_network_alone(small: Cluster) -> None:
    small.lab.kubelet.nodes_without_multus.add(small.lab.plan.nodes[0].name)
    (name,) = await apply(small, waiting(small))
    pod = await small.pod(name)
    assert (pod["status"]["phase"], storage_address(pod)) == ("Running", None)
    assert list(await small.interfaces(name)) == ["eth0"]


async def test_the_kubelets_look_by_themselves_and_outlive_an_api_that_was_away(small: Cluster) -> None:
    small.lab.kubelet.start()
    await small.lab.api.stop()
    await small.lab.api.start()
    pod = waiting(small)
    await small.api.apply(pod)

    async def runs() -> bool:
        return bool((await small.pod(pod["metadata"]["name"]))["status"]["phase"] == "Running")

    await until(runs, "the pod runs")
