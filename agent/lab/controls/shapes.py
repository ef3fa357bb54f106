"""Controls of the setting: Harvester switches the storage network off, or is in the middle of applying it."""

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.lab.acts import Aim, control
from agent.lab.changes import changed, removed
from agent.lab.faults.settings import HARVESTER, MULTUS, NAD_KIND, SETTING
from agent.lab.longhorn import LONGHORN, add_sandbox, end, keep, put_back, say
from agent.lab.objects_pods import pod_object
from agent.lab.objects_storage import MONITORING_NAMESPACE, configured, monitoring, storage_setting
from agent.lab.plan import LONGHORN_NAMESPACE, NAD_NAME, NAD_NAMESPACE, LabPod
from agent.model.peers import Mode

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]


@control(
    "mode-applying",
    does="Harvester applies the setting once more: it holds monitoring at no replicas and waits for a volume to be detached",
    findings=(("setting-stuck", "cluster"),),
)
async def mode_applying(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    async with _applying(lab), AsyncExitStack() as stack:
        for held in monitoring(held=True):
            change = {"spec": held["spec"], "metadata": {"annotations": held["metadata"]["annotations"]}}
            await stack.enter_async_context(
                changed(lab, held["apiVersion"], held["kind"], held["metadata"]["name"], change, namespace=MONITORING_NAMESPACE)
            )
        yield


@control(
    "mode-off",
    does="the storage network is switched off: the setting is empty, Longhorn's pods run anew without lhnet1, the NAD is gone, and "
    "whereabouts' pool is left",
    findings=(("pool-leftover", "cluster"),),
)
async def mode_off(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    off = storage_setting(replace(lab.plan, mode=Mode.OFF))
    told = {"value": "", "metadata": {"annotations": off["metadata"]["annotations"]}}
    pods = [pod for pod in lab.world.pods if pod.storage_address is not None]
    kept = await keep(lab, pods)
    # Harvester passes through `applying` on both ways, and so Longhorn's pods change while reachability is not judged.
    async with _applying(lab):
        async with (
            changed(lab, HARVESTER, "Setting", SETTING, told),
            changed(lab, LONGHORN, "Setting", SETTING, {"value": ""}, namespace=LONGHORN_NAMESPACE),
        ):
            await end(lab, pods)
            await _start_without_network(lab, pods)
            async with removed(lab, MULTUS, NAD_KIND, NAD_NAME, namespace=NAD_NAMESPACE):
                await _say(lab, configured(since=_now()))
                yield
                await _say(lab, configured(applying=True, since=_now()))
        await put_back(lab, kept)


@asynccontextmanager
async def _applying(lab: "Lab") -> AsyncIterator[None]:
    change = {"status": {"conditions": [configured(applying=True, since=_now())]}}
    async with changed(lab, HARVESTER, "Setting", SETTING, change, status=True):
        yield


async def _say(lab: "Lab", condition: Json) -> None:
    await lab.api.client.patch(HARVESTER, "Setting", SETTING, {"status": {"conditions": [condition]}}, status=True)


async def _start_without_network(lab: "Lab", pods: Sequence[LabPod]) -> None:
    off = replace(lab.plan, mode=Mode.OFF)
    for pod in pods:
        plain = replace(pod, storage_address=None, mac=None, uid=str(uuid.uuid4()), netns_name=f"cni-{uuid.uuid4()}")
        add_sandbox(lab, plain)
        await lab.api.client.apply(pod_object(off, plain))
        await say(lab, pod.name, "running", ip=pod.pod_ip)
    await lab.kubelet.work()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
