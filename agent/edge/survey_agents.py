"""What `check` and `preflight` ask the agents: one of them for the whole mesh, each for its node's uplink.

Whose an answer is gets checked here, since on a foreign network a stranger may have a node's address; what it means is judged elsewhere.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agent.edge import survey_kinds
from agent.edge.agents_wire import one_line
from agent.edge.kube import KubeClient, KubeError
from agent.edge.survey_asker import AgentsAsker, Told
from agent.model.cluster import Known
from agent.model.records import PodRecord, SourceState, SourceStatus
from agent.model.steps import MeshAnswer, UplinkRecord

AGENTS_AT_ONCE = 16
LEASE_SECONDS = 5.0
LEASE = "lhnet-agent"

Say = Callable[[str], None]


async def ask_mesh(asker: AgentsAsker, agents: Known[PodRecord], *, client: KubeClient, namespace: str, say: Say) -> Known[MeshAnswer]:
    """One agent's answer about all of them: of the holder if it can be had, else of one that is ready."""
    running = [pod for pod in agents.items if pod.live]
    if not running:
        return Known(status=SourceStatus(name="agents", detail=agents.status.detail))
    holder = await _holder(client, namespace=namespace)
    say("asking the agents")
    order = sorted(running, key=lambda pod: (holder is None or pod.node != holder, not pod.ready, pod.key))
    told = await asker.first(order, "/api/v1/cluster", read_mesh)
    if isinstance(told, str):
        return Known(status=SourceStatus(name="agents", detail=told))
    answer = MeshAnswer(node=told.node, document=told.value, way=told.way)
    return Known(items=(answer,), status=SourceStatus(name="agents", state=SourceState.LIVE))


async def ask_uplinks(asker: AgentsAsker, agents: Known[PodRecord], *, say: Say) -> Known[UplinkRecord]:
    """Each agent's NICs below the cluster network, as far as they can be had."""
    asked = [pod for pod in agents.items if pod.live]
    if not asked:
        return Known(status=SourceStatus(name="agents", detail=agents.status.detail or "no agent runs"))
    say(f"asking {len(asked)} agents")
    slots = asyncio.Semaphore(AGENTS_AT_ONCE)

    async def ask(pod: PodRecord) -> UplinkRecord | str:
        async with slots:
            told = await asker.ask(pod, "/api/v1/interfaces", _read_uplink)
        if isinstance(told, Told):
            return told.value or f"the agent on {pod.node} tells of no uplink: no storage pod there is on a bridge"
        return told

    answers = await asyncio.gather(*(ask(pod) for pod in asked))
    found = tuple(answer for answer in answers if isinstance(answer, UplinkRecord))
    why = next((answer for answer in answers if isinstance(answer, str)), None)
    return Known(items=found, status=SourceStatus(name="agents", state=SourceState.LIVE if found else SourceState.NEVER, detail=why))


async def _holder(client: KubeClient, *, namespace: str) -> str | None:
    """Whom the Lease names. Without it any agent does as well."""
    try:
        async with asyncio.timeout(LEASE_SECONDS):
            answer = await client.request_json("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")
        return survey_kinds.LEASE.decode(answer.body).spec.holder_identity
    except (KubeError, msgspec.MsgspecError, TimeoutError):
        return None


def read_mesh(body: bytes, node: str | None) -> Mapping[str, Any]:
    """Raises ValueError for anything but this node's answer."""
    document = msgspec.json.decode(body)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # a wrong answer, not a wrong call
    _is_of(node, document.get("asked_node"))
    return document


def _read_uplink(body: bytes, node: str | None) -> UplinkRecord | None:
    document = survey_kinds.INTERFACES.decode(body)
    _is_of(node, document.node)
    return survey_kinds.uplink_of(document)


def _is_of(node: str | None, said: object) -> None:
    if said != node:
        raise ValueError(f"it is of {one_line(str(said))[:64]}, not of {node}")
