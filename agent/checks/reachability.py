"""Asks the peers: rounds of TCP and HTTP probes from the local storage pods, each pair at its place in the round, again after a failure.

A round schedules its pairs over the interval and ends there; slow answers come in later, and a pair that is still being asked is not
asked again. What comes back is judged and published at once, so that a fault is told as soon as it is certain.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent.checks.base import Context, GetContext, Outcome, Publish
from agent.config import Settings
from agent.edge.kube.store import UNNOTICED_SECONDS
from agent.edge.prober import Prober
from agent.model.finding import Finding
from agent.model.mesh import Mesh, PairState
from agent.model.net import NamespaceFile
from agent.model.peers import Pair, Role, StoragePod
from agent.model.probe import ProbeKind, ProbePlan, ProbeResult, Reason
from agent.model.records import SourceState
from agent.model.view import KeptFailure
from agent.rules import reach
from agent.rules.count import count
from agent.rules.ledger import Claim, Look
from agent.rules.pace import offset_seconds
from agent.rules.select import Selection, pairs_of, select

REPEAT_AFTER_SECONDS = 1.0
"""A failed probe is repeated after this long (contract §4), and so is the first good one of a pair that failed: mended is told soon."""
REPEAT_SHARE = 4
"""At most a quarter of the fan-out is repeated in a round."""
PING_TIMEOUT_SECONDS = 1.0
QUESTION_SECONDS = 0.5
"""What the ARP or ND question after a silent connection takes at most (contract §4)."""
PPROF_PORT = 6060
"""net/http/pprof of every instance-manager since Longhorn 1.6; `/` answers 404 at no cost."""
PPROF_PATH = "/"
_HAS_PPROF = "longhorn.io/data-engine"
"""A label that instance-managers carry since the release that opened port 6060 (longhorn-manager types/types.go)."""

Key = tuple[str, str]


class Reachability:
    """Contract §5: peer-unreachable, peer-port-closed. Owns the node's rows of the mesh."""

    name = "reachability"
    holder_only = False

    def __init__(self, *, prober: Prober, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._prober = prober
        self._sleep = sleep
        self._states: dict[Key, PairState] = {}
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._mesh = Mesh()
        self._failures: tuple[KeptFailure, ...] = ()
        self._failing_as: dict[tuple[str, str, ProbeKind], Reason] = {}
        self._repeats_left = 0
        self._broken: BaseException | None = None
        self._pods: tuple[StoragePod, ...] | None = None
        self._pairs: dict[Key, Pair] = {}

    def timeout_seconds(self, settings: Settings) -> float:
        return settings.probe.interval_seconds + 4 * settings.probe.timeout_seconds + 30.0

    def interval_seconds(self, settings: Settings) -> float:
        return settings.probe.interval_seconds

    def woken_by(self) -> frozenset[str]:
        return frozenset()

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        """One round: ask what was selected, each at its place; the first round waits for all answers, later ones only for their own end."""
        context = get_context()
        first = self._mesh.round == 0
        selection = self._select(context)
        coverage = selection.coverage_rounds * context.settings.probe.interval_seconds
        self._mesh = replace(self._mesh, round=self._mesh.round + 1, coverage_seconds=coverage, last_round_monotonic_seconds=context.now)
        self._repeats_left = math.ceil(context.settings.probe.fanout / REPEAT_SHARE)
        due = [
            (offset_seconds(pair, interval_seconds=context.settings.probe.interval_seconds, paced=not first), pair)
            for pair in selection.pairs
        ]
        waited = 0.0
        for offset, pair in sorted(due, key=lambda item: item[0]):
            if offset > waited:
                await self._sleep(offset - waited)
                waited = offset
            # looked at now and not at the round's start, where a pair with a late place has only just been asked; it may have gone, too
            current = self._current(get_context()).get(pair.key)
            if current is not None and pair.key not in self._asking:
                self._start(current, get_context, publish)
        if first and self._asking:
            await asyncio.wait(list(self._asking.values()))
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        self._mesh = replace(self._mesh, completed_rounds=self._mesh.completed_rounds + 1)
        self.refresh(get_context, publish)

    def refresh(self, get_context: GetContext, publish: Publish) -> None:
        """Publish anew with the pods as they are known now: pairs of departed pods go, at once."""
        context = get_context()
        current = self._current(context)
        self._states = {
            key: replace(state, pair=current[key])
            for key, state in self._states.items()
            if key in current and _same_way(state.pair, current[key])
        }
        self._failing_as = {key: reason for key, reason in self._failing_as.items() if key[:2] in self._states}
        known = [self._states.get(key) or _new_state(pair, context) for key, pair in current.items()]
        self._mesh = replace(self._mesh, pairs=tuple(known))
        publish(Outcome(look=judge(context, known), parts={"mesh": self._mesh, "failures": self._failures}))

    def _current(self, context: Context) -> dict[Key, Pair]:
        """All pairs of this node as the pods are known now."""
        if context.pods is not self._pods:
            self._pods, self._pairs = context.pods, {pair.key: pair for pair in pairs_of(context.pods, node=context.node)}
        return self._pairs

    async def close(self) -> None:
        """Cancel what is being asked and wait until it has ended."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _select(self, context: Context) -> Selection:
        live = [pod for pod in context.pods if pod.record.live and pod.grant]
        sources = {pod.node for pod in live if pod.node and pod.role in (Role.INSTANCE_MANAGER, Role.BACKING_IMAGE_MANAGER)}
        return select(
            pairs_of(live, node=context.node),
            node=context.node,
            nodes=sources,
            round_number=self._mesh.round,
            fanout=context.settings.probe.fanout,
            failing=frozenset(key for key, state in self._states.items() if state.failing or state.failures),
        )

    def _start(self, pair: Pair, get_context: GetContext, publish: Publish) -> None:
        task = asyncio.create_task(self._ask(pair, get_context, publish), name=f"probe {pair.peer.key}")
        self._asking[pair.key] = task

        def ended(done: asyncio.Task[None]) -> None:
            self._asking.pop(pair.key, None)
            if not done.cancelled() and done.exception() is not None:
                self._broken = done.exception()

        task.add_done_callback(ended)

    async def _ask(self, pair: Pair, get_context: GetContext, publish: Publish) -> None:
        reason = await self._probe(pair, get_context, publish)
        state = self._states.get(pair.key)
        mending = reason is Reason.OK and state is not None and state.failing
        if (reason in _REPEATED or mending) and self._repeats_left > 0:
            self._repeats_left -= 1
            await self._sleep(REPEAT_AFTER_SECONDS)
            current = self._current(get_context()).get(pair.key)
            if current is not None:
                await self._probe(current, get_context, publish)

    async def _probe(self, pair: Pair, get_context: GetContext, publish: Publish) -> Reason | None:
        """Ask once; the reason of the TCP probe, None if nothing could be asked.

        HTTP runs beside TCP and is waited for only when TCP failed, whose severity it decides. The echo runs beside them once the pair
        has failed, so that it costs no time when it matters.
        """
        context = get_context()
        plans = plans_for(pair, context)
        if not plans:
            self._take(pair, [], get_context, publish)
            return None
        state = self._states.get(pair.key)
        failures = state.failures if state else 0
        asked = [plans[0], *([ping_plan(plans[0])] if failures else [])]
        beside = asyncio.create_task(self._prober.probe(plans[1:])) if plans[1:] else None
        try:
            results = list(await self._prober.probe(asked))
            tcp = results[0].reason
            if tcp is Reason.TIMEOUT and not failures and context.settings.thresholds.probe_failures == 1:
                results += await self._prober.probe([ping_plan(plans[0])])
            if tcp is Reason.OK or beside is None:
                self._take(pair, results, get_context, publish)
                results = []
            if beside is not None:
                self._take(pair, [*results, *await beside], get_context, publish)
            return tcp
        finally:
            if beside is not None:
                beside.cancel()

    def _take(self, pair: Pair, results: list[ProbeResult], get_context: GetContext, publish: Publish) -> None:
        context = get_context()
        current, known = self._current(context).get(pair.key), self._states.get(pair.key)
        before = known if known is not None and _same_way(known.pair, pair) else _new_state(pair, context)
        if current is None or not _same_way(current, pair):
            self._mesh = replace(self._mesh, counters=count(self._mesh.counters, results))  # asked, and of nobody's interest any more
        elif not results:
            self._states[pair.key] = reach.not_probed(before, why="the source pod's namespace is not open")
        else:
            self._states[pair.key] = reach.advance(
                before,
                pair,
                results,
                now=context.now,
                wall=context.wall,
                probe_failures=context.settings.thresholds.probe_failures,
                probe_successes=context.settings.thresholds.probe_successes,
            )
            self._mesh = replace(self._mesh, counters=count(self._mesh.counters, results))
            self._keep(pair, results, context)
        self.refresh(get_context, publish)

    def _keep(self, pair: Pair, results: list[ProbeResult], context: Context) -> None:
        """A failure is told when it begins or changes: a peer that stays dead must not push all others out."""
        for result in results:
            ongoing = (*pair.key, result.plan.kind)
            if result.ok:
                self._failing_as.pop(ongoing, None)
            elif result.reason is not Reason.NOT_PROBED and self._failing_as.get(ongoing) is not result.reason:
                self._failing_as[ongoing] = result.reason
                kept = KeptFailure(pair=pair, failure=reach.failure(result, context.now, context.wall))
                self._failures = (kept, *self._failures)[: context.settings.history.size]


_REPEATED = frozenset(reason for reason in Reason if reason not in (Reason.OK, Reason.NOT_PROBED))


def _same_way(one: Pair, other: Pair) -> bool:
    """A pod that is given another address, as when its sandbox is made anew, begins without the failures of the old one."""
    return (one.source.address, one.peer.address) == (other.source.address, other.peer.address)


def _new_state(pair: Pair, context: Context) -> PairState:
    return PairState(pair=pair, since_monotonic_seconds=context.now, since_wall_seconds=context.wall)


def plans_for(pair: Pair, context: Context) -> list[ProbePlan]:
    """What is asked of a pair: TCP on the role's port, and HTTP where the peer has somebody who speaks it. Empty if the source pod's
    namespace is not known."""
    namespace = _namespace_of(pair, context)
    source, target = pair.source.address, pair.peer.address
    port = context.settings.probe.ports.by_role.get(pair.peer.role)
    if namespace is None or source is None or target is None or port is None:
        return []
    tcp = ProbePlan(
        key=pair.key,
        kind=ProbeKind.TCP,
        namespace=namespace,
        interface=pair.source.interface,
        source_address=source,
        target_address=target,
        port=port,
        timeout_seconds=patience_seconds(context.settings.probe.timeout_seconds),
    )
    if context.settings.probe.http == "off" or not speaks_http(pair):
        return [tcp]
    patience = min(tcp.timeout_seconds, context.settings.probe.interval_seconds / 2)
    return [tcp, replace(tcp, kind=ProbeKind.HTTP, port=PPROF_PORT, http_path=PPROF_PATH, timeout_seconds=patience)]


def patience_seconds(timeout_seconds: float) -> float:
    """How long a connection may take, so that the question who owns the address fits into the probe's time as well."""
    return timeout_seconds - min(QUESTION_SECONDS, timeout_seconds / 4)


def ping_plan(tcp: ProbePlan) -> ProbePlan:
    """One small echo to the same peer: does anything answer there at all?"""
    return replace(tcp, kind=ProbeKind.PING, port=0, timeout_seconds=min(PING_TIMEOUT_SECONDS, tcp.timeout_seconds))


def speaks_http(pair: Pair) -> bool:
    """Whether the peer has port 6060: older instance-managers refuse it, which would say nothing of the network."""
    return pair.peer.role is Role.INSTANCE_MANAGER and _HAS_PPROF in pair.peer.record.labels


def _namespace_of(pair: Pair, context: Context) -> NamespaceFile | None:
    return next((one.namespace for one in context.view.inspected if one.pod.uid == pair.source.uid and one.facts is not None), None)


def judge(context: Context, states: list[PairState]) -> Look:
    """Findings of the pairs that fail now."""
    status = context.facts.pods.status
    claims = []
    for state in states:
        port = context.settings.probe.ports.by_role.get(state.pair.peer.role, 0)
        pods = reach.PodsView(stale=_may_have_moved(state, context), age_seconds=status.age_seconds)
        finding: Finding | None = reach.judge(state, port=port, pods=pods)
        if finding is not None:
            # ports open a moment after a pod is called Running; the way to it is there before
            claims.append(Claim(finding=finding, may_start=finding.id != "peer-port-closed" or _grown(state.pair, context)))
    return Look(claims=tuple(claims))


def _may_have_moved(state: PairState, context: Context) -> bool:
    """Whether the pods are known from too long ago to say that the peer is still there. What failed before the watch broke does fail."""
    status = context.facts.pods.status
    if status.state is not SourceState.STALE or status.age_seconds > context.settings.api.stale_after_seconds:
        return status.state is SourceState.STALE
    return state.since_monotonic_seconds > context.now - status.age_seconds - UNNOTICED_SECONDS


def _grown(pair: Pair, context: Context) -> bool:
    """Both pods are past their grace."""
    grace = context.settings.thresholds.pod_grace_seconds
    born = (pair.source.record.born_monotonic_seconds, pair.peer.record.born_monotonic_seconds)
    return all(moment is None or context.now - moment >= grace for moment in born)
