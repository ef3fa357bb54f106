"""Faults of whole nodes and of agents: a dead machine, an agent that is gone, a holder that is gone or has lost the API.

An agent that is gone breaks nothing that the others see: their rows stay true, and what it would have seen is not known.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.plan import AGENT_NAMESPACE, SERVICE_ADDRESS, LabNode
from agent.lab.power import Outage
from agent.lab.wiring import SWITCH

if TYPE_CHECKING:
    from agent.lab.lab import Lab

LEASE = "lhnet-agent"


def _node(aim: Aim) -> LabNode:
    if aim.node is None:
        raise FaultError("this fault needs a node")
    return aim.node


async def holder(lab: "Lab") -> LabNode:
    """Whom the Lease names now. Raises FaultError if nobody of this lab."""
    lease = await lab.api.client.get("coordination.k8s.io/v1", "Lease", LEASE, namespace=AGENT_NAMESPACE)
    name = ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
    if not name:
        raise FaultError("nobody holds the Lease now")
    return lab.node(name)


@fault(
    "node-off",
    breaks="the node's power is cut: machine, pods and agent are gone at once; Kubernetes notices after 40 s and evicts 5 min later; "
    "cleared, it boots and its storage pods are started anew",
    targets=("node",),
    findings=(("node-down", "cluster"), ("peer-unreachable", "observers")),
)
async def node_off(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    outage = Outage(lab, _node(aim))
    await outage.begin()
    yield
    await outage.end()


@fault(
    "agent-killed",
    breaks="the node's agent is killed (SIGKILL) and kept away; its pods go on and answer",
    targets=("node",),
    findings=(("agent-missing", "cluster"),),
)
async def agent_killed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    await lab.agents.hold_down(node)
    yield
    lab.agents.let_up(node)


@fault(
    "holder-killed",
    breaks="the agent that holds the Lease is killed (SIGKILL) and kept away: another one must take over",
    findings=(("agent-missing", "cluster"),),
)
async def holder_killed(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = (await holder(lab)).name
    await lab.agents.hold_down(node)
    yield
    lab.agents.let_up(node)


@fault(
    "holder-without-api",
    breaks="packets between the node of the agent that holds the Lease and the Kubernetes API are dropped; the others reach the API",
    findings=(("sources-stale", "observers"),),
)
async def holder_without_api(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = await holder(lab)
    rules = {
        "input": f'iifname "mgmt" ip saddr {node.management_address} ip daddr {SERVICE_ADDRESS} drop',
        "output": f'oifname "mgmt" ip saddr {SERVICE_ADDRESS} ip daddr {node.management_address} drop',
    }
    chains = "".join(f"chain {hook} {{ type filter hook {hook} priority 0; policy accept;\n{rule}\n}}\n" for hook, rule in rules.items())
    lab.world.nft(SWITCH, f"table inet lab_holder {{\n{chains}}}\n")
    yield
    lab.world.nft(SWITCH, "delete table inet lab_holder\n")
