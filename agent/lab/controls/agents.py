"""Controls around the agents and what they need: two versions of them, clocks that are off, an API server that restarts or that one node
does not reach while the cluster goes on without it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.lab import changes
from agent.lab.acts import Aim, FaultError, control
from agent.lab.agents import Change
from agent.lab.longhorn import end, keep, make_anew, managers, meanwhile, node_of, put_back
from agent.lab.objects_pods import AGENT_LABEL, agent_pod, agent_pod_name
from agent.lab.plan import AGENT_NAMESPACE, SERVICE_ADDRESS, LabNode

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Json = dict[str, Any]

LIBRARIES = Path("/usr/lib")
LIBRARY = "*/faketime/libfaketimeMT.so.1"
OFF_BY = "+300"
"""Seconds: more than any lease, threshold or timeout of ours, and less than what a certificate or a token would mind."""
CLOCK_FILE = "clock"
STATE_FOLDER = "/var/lib/lhnet-agent"
"""As the agent sees the folder that its node keeps for it: the one place of the machine's that both can name."""
READY_SECONDS = 30.0
NO_API = "lab_no_api"
UNNOTICED_SECONDS = 32.0
"""TCP keepalive finds a connection dead after 30 s: till then nobody on the node knows that what he sees is old."""


@control("api-restart", does="the Kubernetes API server's process is ended and started again, as in an upgrade of one control plane")
async def api_restart(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    await lab.api.stop()
    await lab.api.start()
    yield


@control(
    "agent-rollout",
    does="the agents are replaced one after another by a later version, which says things that today's has never heard of; the last node "
    "still runs today's",
)
async def agent_rollout(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    rolled = lab.world.nodes[:-1] or lab.world.nodes
    for node in rolled:
        await _roll(lab, node, Change(module="agent.lab.future"))
    yield
    for node in rolled:
        await _roll(lab, node, None)


async def _roll(lab: "Lab", node: LabNode, change: Change | None) -> None:
    """As a DaemonSet does it: the old pod goes, the new one is there and not ready until the agent is."""
    await lab.api.client.delete("v1", "Pod", agent_pod_name(node.name), namespace=AGENT_NAMESPACE)
    await lab.api.client.apply(agent_pod(node, ready=False))
    await lab.agents.change(node.name, change)
    await lab.agents.wait_ready(timeout_seconds=READY_SECONDS)
    await lab.api.client.apply(agent_pod(node))


@control(
    "node-without-api",
    does="one node does not reach the Kubernetes API for long, and the storage pods of all others are meanwhile made anew with other "
    "addresses",
    targets=("node",),
    findings=(("sources-stale", "subject"), ("peer-unreachable", "subject")),
)
async def node_without_api(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = node_of(lab, aim)
    # Both ways: open connections die unnoticed, new ones time out, and nothing says no.
    rules = {"input": f"ip saddr {SERVICE_ADDRESS} tcp sport 443 drop", "output": f"ip daddr {SERVICE_ADDRESS} tcp dport 443 drop"}
    chains = "".join(f"chain {hook} {{ type filter hook {hook} priority 0; policy accept;\n{rule}\n}}\n" for hook, rule in rules.items())
    lab.world.nft(node.name, f"table inet {NO_API} {{\n{chains}}}\n")
    others = [one.name for one in lab.world.nodes if one.name != node.name]
    moved = managers(lab, *others) if others else []
    kept = await keep(lab, moved)
    images = changes.image_pods(lab, len(moved), "no-api")

    async def story() -> None:
        await asyncio.sleep(UNNOTICED_SECONDS)
        async with lab.kubelet.held():
            await end(lab, moved)
            # Images that are uploaded just now are given some of the addresses that have become free.
            await changes.start(lab, images)
            await make_anew(lab, moved)
            await changes.end(lab, images)

    async with meanwhile(story):
        yield
    await changes.end(lab, images)
    await put_back(lab, kept)
    lab.world.nft(node.name, f"delete table inet {NO_API}\n")


@control(
    "clock-off", does="the agent of one node starts with its wall clock five minutes ahead; monotonic time is right", targets=("node",)
)
async def clock_off(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = node_of(lab, aim).name
    await _restart(lab, node, _clock(FAKETIME=OFF_BY))
    yield
    await _restart(lab, node, None)


@control(
    "clock-steps",
    does="the wall clock of one node steps ahead by five minutes while its agent holds the Lease, and later back; monotonic time goes on",
    targets=("node",),
)
async def clock_steps(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = node_of(lab, aim).name
    clock = lab.world.state_folder(node) / CLOCK_FILE
    clock.write_text("+0\n")
    await _restart(lab, node, _clock(FAKETIME_TIMESTAMP_FILE=f"{STATE_FOLDER}/{CLOCK_FILE}", FAKETIME_CACHE_DURATION="1"))
    await _give_lease(lab, node)
    clock.write_text(f"{OFF_BY}\n")
    yield
    clock.write_text("+0\n")
    await asyncio.sleep(2.0)  # it steps back while the agent still runs
    await _restart(lab, node, None)
    clock.unlink()


async def _give_lease(lab: "Lab", node: str) -> None:
    """The other agents are away until this one has it."""
    others = [one.name for one in lab.world.nodes if one.name != node]
    await asyncio.gather(*(lab.agents.hold_down(other, grace_seconds=3.0) for other in others))
    try:
        await lab.api.client.wait(lambda: _holds(lab, node), timeout_seconds=READY_SECONDS, what=f"{node} to hold the Lease")
    finally:
        for other in others:
            lab.agents.let_up(other)
    await lab.agents.wait_ready(timeout_seconds=READY_SECONDS)


async def _holds(lab: "Lab", node: str) -> bool:
    lease = await lab.api.client.get("coordination.k8s.io/v1", "Lease", AGENT_LABEL, namespace=AGENT_NAMESPACE)
    return ((lease or {}).get("spec") or {}).get("holderIdentity") == node


async def _restart(lab: "Lab", node: str, change: Change | None) -> None:
    await lab.agents.change(node, change)
    await lab.agents.wait_ready(timeout_seconds=READY_SECONDS)


def _clock(**variables: str) -> Change:
    """Another wall clock for one process. Raises FaultError where the library is missing."""
    library = next(iter(sorted(LIBRARIES.glob(LIBRARY))), None)
    if library is None:
        raise FaultError("libfaketime is missing; on Debian: apt-get install faketime")
    return Change(environment={"LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1", **variables})
