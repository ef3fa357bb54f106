"""Faults of the Kubernetes API: gone, silent, broken, or out of reach. The storage network itself is fine in all of them."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from agent.lab.acts import Aim, fault
from agent.lab.api import server_context
from agent.lab.faults.listeners import answering, listening
from agent.lab.plan import SERVICE_ADDRESS
from agent.lab.wiring import SWITCH

if TYPE_CHECKING:
    from agent.lab.lab import Lab

INTERNAL_ERROR = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "Internal error occurred: etcdserver: request timed out",
    "reason": "InternalError",
    "code": 500,
}


@fault(
    "api-stopped",
    breaks="the Kubernetes API server's process is ended and stays down: connections are refused",
    findings=(("sources-stale", "observers"),),
)
async def api_stopped(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    await lab.api.stop()
    yield
    await lab.api.start()


@fault(
    "api-frozen",
    breaks="the Kubernetes API server's process is stopped (SIGSTOP): connections stay up and nothing answers, which alone is no evidence",
)
async def api_frozen(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    lab.api.freeze()
    yield
    lab.api.thaw()


@fault(
    "api-unreachable",
    breaks="packets to the Kubernetes API are dropped on their way: open connections die unnoticed, new ones time out",
    findings=(("sources-stale", "observers"),),
)
async def api_unreachable(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    both_ways = f'iifname "mgmt" ip daddr {SERVICE_ADDRESS} tcp dport 443', f'oifname "mgmt" ip saddr {SERVICE_ADDRESS} tcp sport 443'
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; policy accept;\n{packets} drop\n}}\n"
        for hook, packets in zip(("input", "output"), both_ways, strict=True)
    )
    lab.world.nft(SWITCH, f"table inet lab_api {{\n{chains}}}\n")
    yield
    lab.world.nft(SWITCH, "delete table inet lab_api\n")


@fault(
    "api-500",
    breaks="what listens in the Kubernetes API server's place answers 500 to every request, as one does whose etcd has lost its quorum",
    findings=(("sources-stale", "observers"),),
)
async def api_500(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    cert, key = lab.api.certificate()
    broken = answering("500 Internal Server Error", json.dumps(INTERNAL_ERROR).encode(), media="application/json")
    await lab.api.stop()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(lab.api.start)  # after the stranger has left
        place = listening(SERVICE_ADDRESS, 443, netns=lab.world.netns(SWITCH), talk=broken, tls=server_context(cert=cert, key=key))
        await stack.enter_async_context(place)
        yield
