"""Asks the other agents: for the view of the whole cluster, and the holder for what only it knows. Serves readers and is never recursive:
whoever is asked answers from what it has.

Where no holder answers it judges by itself what it gathered. Then it goes on looking once a round for as long as somebody reads and
something is wrong, since a second look tells more than the first; without readers nothing is asked.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from agent.clock import Clock
from agent.config import Settings
from agent.edge.agents import AgentsClient
from agent.edge.agents_flight import SingleFlight
from agent.model.cluster import ClusterFacts
from agent.model.finding import Verdict
from agent.model.gathered import Answered, Document, Judgement, Reply, Roundup, Rows, Statuses, Unreachable
from agent.model.holder import LeaseView
from agent.model.records import PodRecord
from agent.rules.netstatus import NETWORKS
from agent.rules.roundup import claim, round_up
from agent.rules.roundup_read import read_explanations, read_rows, read_statuses
from agent.rules.roundup_self import SelfState, judge_alone
from agent.serve.documents import finding

STATUS, ROWS, EXPLANATIONS = "/api/v1/status", "/api/v1/rows", "/api/v1/explanations"

OwnDocument = Callable[[str], Document]
"""Our own answer to a path, without a request."""
FOLLOW_SECONDS = 180.0
"""After the last reader: longer than `agent-missing` needs, and an end for a page that nobody looks at any more."""

_log = logging.getLogger("agent.asking")


class Asking:
    """Use it on the event loop that closes it."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        get_facts: Callable[[], ClusterFacts],
        get_lease: Callable[[], LeaseView],
        own: OwnDocument,
        heard: Callable[[frozenset[str]], None],
    ) -> None:
        self._settings = settings
        self._node = settings.node_name
        self._clock = clock
        self._get_facts = get_facts
        self._get_lease = get_lease
        self._own = own
        self._heard = heard
        client = settings.agents_client
        self._client = AgentsClient(
            own_node=self._node,
            clock=clock,
            scheme=client.scheme,
            ca_file=client.ca_file,
            username=client.username,
            password_file=client.password_file,
        )
        self._flight: SingleFlight[Roundup] = SingleFlight(self._gather, monotonic=clock.monotonic)
        self._alone = SelfState()
        self._read_at = clock.monotonic()
        self._following: asyncio.Task[None] | None = None

    async def cluster(self) -> Roundup:
        """The whole cluster as seen from here; concurrent readers share one gathering, kept for 2 s."""
        self._read_at = self._clock.monotonic()
        roundup = await self._flight.get()
        if _wants_following(roundup) and (self._following is None or self._following.done()):
            self._following = asyncio.create_task(self._follow(), name="following without a holder")
        return roundup

    async def holder(self, path: str) -> tuple[Document | None, str]:
        """The holder's answer to `path`, or None and why there is none."""
        view = self._get_lease()
        if view.on_duty:
            return self._own(path.partition("?")[0]), ""
        if view.holder is None:
            return None, "nobody holds the Lease" + (f": {view.detail}" if view.detail else "")
        targets = {node: base for node, base in self._targets().items() if node == view.holder}
        if not targets:
            return None, f"{view.holder} holds the Lease, but no agent is known there"
        reply = (await self._client.gather(targets, path))[view.holder]
        if isinstance(reply, Unreachable):
            return None, f"{view.holder} holds the Lease and does not answer: {reply.why}"
        return reply.document, ""

    async def explanations(self) -> Judgement | None:
        """What the holder says of the cluster and of this node's findings; None where there is none to ask. Asks the API's path of §3."""
        document, _ = await self.holder(f"{EXPLANATIONS}?node={self._node}")
        if document is None:
            return None
        source = str(document.get("node"))
        reply = Answered(document=document, received_monotonic_seconds=self._clock.monotonic())
        return read_explanations(reply, node=source, now=self._clock.monotonic())

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        await self._flight.close()
        await self._client.close()

    def _targets(self) -> dict[str, str]:
        port = self._settings.listen[0].port if self._settings.listen else 9811
        return self._client.targets(self._get_facts().agent_pods.items, default_port=port)

    async def _gather(self) -> Roundup:
        facts = self._get_facts()
        answers = await self._client.gather_many(self._targets(), (STATUS, ROWS))
        now = self._clock.monotonic()
        storage_nodes = _storage_nodes(facts)
        ages = self._client.last_answer_ages()
        statuses = read_statuses(
            self._own(STATUS),
            {node: told[STATUS] for node, told in answers.items()},
            own_node=self._node,
            now=now,
            expected={node: ages.get(node) for node in storage_nodes or ()},
        )
        rows = [read_rows(reply, node=node, now=now) for node, reply in self._rows(answers, now).items()]
        self._heard(_claimants(statuses, self._node))
        told = await self._holders_judgement(statuses)
        readable = [one for one in rows if one is not None]
        return await asyncio.to_thread(self._fold, statuses, readable, storage_nodes, told)

    def _fold(self, statuses: Statuses, rows: Iterable[Rows], storage_nodes: frozenset[str] | None, told: Judgement | None) -> Roundup:
        def fold(judgement: Judgement) -> Roundup:
            return round_up(asked_node=self._node, statuses=statuses, rows=rows, judgement=judgement, storage_nodes=storage_nodes)

        if told is not None:
            self._alone = SelfState()
            return fold(told)
        settings, now = self._settings, self._clock.monotonic()
        judged = judge_alone(
            fold(Judgement()),
            before=self._alone,
            now=now,
            wall=self._clock.wall(),
            probe_interval_seconds=settings.probe.interval_seconds,
            agent_missing_seconds=settings.thresholds.agent_missing_seconds,
            severities=settings.findings.severities,
            ignore=settings.findings.ignore,
        )
        self._alone = judged.state
        return fold(
            Judgement(
                findings=tuple(finding(active, now=now) for active in judged.findings),
                explanations=judged.explanations,
                sentence=judged.sentence,
            )
        )

    async def _follow(self) -> None:
        """Ends by itself once a holder judges again, nothing is wrong, or nobody has read for a while."""
        while self._clock.monotonic() - self._read_at < FOLLOW_SECONDS:
            await asyncio.sleep(self._settings.probe.interval_seconds)
            try:
                roundup = await self._flight.get()
            except Exception:  # readers are told of it as well; here it only ends the following
                _log.exception("gathering without a holder failed")
                return
            if not _wants_following(roundup):
                return

    def _rows(self, answers: dict[str, dict[str, Reply]], now: float) -> dict[str, Reply]:
        own: Reply = Answered(document=self._own(ROWS), received_monotonic_seconds=now)
        return {node: replies[ROWS] for node, replies in answers.items()} | {self._node: own}

    async def _holders_judgement(self, statuses: Statuses) -> Judgement | None:
        """Of whoever says that it holds the Lease; None where nobody does, or gives no judgement."""
        holder = claim(statuses).node
        if holder is None:
            return None
        if holder == self._node:
            reply: Reply = Answered(document=self._own(EXPLANATIONS), received_monotonic_seconds=self._clock.monotonic())
        else:
            base = {node: url for node, url in self._targets().items() if node == holder}
            answered = (await self._client.gather(base, EXPLANATIONS)).get(holder)
            if answered is None:
                return None
            reply = answered
        return read_explanations(reply, node=holder, now=self._clock.monotonic())


def _wants_following(roundup: Roundup) -> bool:
    return roundup.judgement.source == Judgement().source and roundup.verdict not in (Verdict.OK, Verdict.INACTIVE)


def _storage_nodes(facts: ClusterFacts) -> frozenset[str] | None:
    """Nodes with live pods that ask for a second network; None while the pods were never read."""
    if not facts.pods.status.readable:
        return None
    return frozenset(pod.node for pod in facts.pods.items if pod.node and pod.live and _asks(pod))


def _asks(pod: PodRecord) -> bool:
    return NETWORKS in pod.annotations


def _claimants(statuses: Statuses, own: str) -> frozenset[str]:
    return frozenset(
        node for node, reply in statuses.items() if node != own and isinstance(reply, Answered) and reply.document.get("lease") == "holder"
    )
