"""Judges standing sandbox failures of storage pods: finding `sandbox-failing`, rows for /api/v1/events, numbers for the gauge.

One finding a pod, of the cause that tells most: deadlines, reserved names and cut texts are echoes of another failure and only speak where
nothing else does, and what failed on the pod network before a later network failed is over, for the pod network comes first in an attempt.
Refuses to judge pods that did not ask for a storage network.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.model.events import Cause, Explanation, FailingSandbox, NetworkKind, SandboxFailure
from agent.model.finding import Finding, Severity, short
from agent.model.peers import StoragePod
from agent.rules.ipam_texts import duration
from agent.rules.make import make, pod_subject
from agent.rules.sandbox import ECHOES, NO_FAILURE
from agent.rules.sandbox_advice import NODE_TOLD, ON_NODE
from agent.rules.sandbox_fold import ANY_NETWORKS, Networks, PodFailures, SandboxState, settle
from agent.rules.sandbox_names import kind_of

_GRAVE = frozenset({Cause.IP_EXHAUSTED, Cause.IPAM_RANGE_INVALID, Cause.NAD_NOT_FOUND})
_HARMLESS = NO_FAILURE | {Cause.POD_GONE}
_LATER = frozenset({NetworkKind.STORAGE, NetworkKind.RWX, NetworkKind.SECONDARY})


def severity_of(explanation: Explanation) -> Severity:
    """Contract §5: critical only on the storage network and only for what will not pass by itself."""
    if explanation.cause in _HARMLESS:
        return Severity.INFO
    grave = explanation.cause in _GRAVE or explanation.crd_missing
    return Severity.CRITICAL if grave and explanation.network_kind is NetworkKind.STORAGE else Severity.WARNING


def settled(state: SandboxState, *, pods: Iterable[StoragePod], pods_live: bool, now: float) -> SandboxState:
    """The state without pods that run with their grant, have ended, or (only while the list of pods is live) are gone."""
    every = tuple(pods)
    running = frozenset(pod.uid for pod in every if (pod.record.live and pod.grant) or pod.record.phase in ("Succeeded", "Failed"))
    return settle(state, running=running, known={pod.key: pod.uid for pod in every} if pods_live else None, now=now)


def findings(
    state: SandboxState, *, pods: Iterable[StoragePod], now: float, sandbox_grace_seconds: float, networks: Networks = ANY_NETWORKS
) -> tuple[Finding, ...]:
    """`sandbox-failing` for each storage pod whose first standing failure is at least `sandbox_grace_seconds` old. `now` is monotonic."""
    found = []
    for pod, failing in _of_storage_pods(state, pods):
        ranked = standing(failing, networks=networks)
        if not ranked:
            continue
        first = min(failure.first_seen_monotonic_seconds for failure in failing.failures)
        if now - first >= sandbox_grace_seconds:
            found.append(_finding(pod, ranked, now=now, first=first))
    return tuple(found)


def rows(
    state: SandboxState, *, pods: Iterable[StoragePod], now: float, wall: float, networks: Networks = ANY_NETWORKS
) -> tuple[FailingSandbox, ...]:
    """`failing` of /api/v1/events: a row for each storage pod and standing cause, worst pod first and of a pod the telling cause first."""
    listed: list[tuple[int, str, tuple[FailingSandbox, ...]]] = []
    for pod, failing in _of_storage_pods(state, pods):
        ranked = standing(failing, networks=networks)
        if ranked:
            of_pod = tuple(_row(pod, failure, now=now, wall=wall) for failure in ranked)
            listed.append((-severity_of(ranked[0].explanation).rank, pod.key, of_pod))
    return tuple(row for _, _, of_pod in sorted(listed, key=lambda one: one[:2]) for row in of_pod)


def failing_pods(
    state: SandboxState, *, pods: Iterable[StoragePod], networks: Networks = ANY_NETWORKS
) -> Mapping[tuple[Cause, NetworkKind], int]:
    """Storage pods that fail now, by the cause that tells most."""
    ranked = (standing(failing, networks=networks) for _, failing in _of_storage_pods(state, pods))
    return Counter((first[0].explanation.cause, first[0].explanation.network_kind) for first in ranked if first)


def standing(failing: PodFailures, *, networks: Networks = ANY_NETWORKS) -> tuple[SandboxFailure, ...]:
    """What stands at one pod, the telling cause first; network kinds by the settings as they are now."""
    every = [replace(one, explanation=_with_kind(one.explanation, networks)) for one in failing.failures]
    later = max((one.last_seen_monotonic_seconds for one in every if one.explanation.network_kind in _LATER), default=float("-inf"))
    still = [one for one in every if one.explanation.network_kind is not NetworkKind.DEFAULT or one.last_seen_monotonic_seconds >= later]
    return tuple(sorted(still, key=_rank))


def _rank(failure: SandboxFailure) -> tuple[bool, int, float]:
    echo = failure.explanation.cause in ECHOES
    return echo, -severity_of(failure.explanation).rank, -failure.last_seen_monotonic_seconds


def _with_kind(explanation: Explanation, networks: Networks) -> Explanation:
    """Messages may come before the settings are known, so the kind is looked at again."""
    if explanation.network is None:
        return explanation
    kind = kind_of(explanation.network, storage_nads=networks.storage_nads, rwx_nads=networks.rwx_nads)
    keep = kind is explanation.network_kind or (kind is NetworkKind.SECONDARY and explanation.network_kind is NetworkKind.UNKNOWN)
    return explanation if keep or kind is NetworkKind.UNKNOWN else replace(explanation, network_kind=kind)


def _of_storage_pods(state: SandboxState, pods: Iterable[StoragePod]) -> Iterable[tuple[StoragePod, PodFailures]]:
    for pod in sorted(pods, key=lambda one: one.key):
        failing = state.pods.get((pod.key, pod.uid)) or state.pods.get((pod.key, ""))
        if failing is not None and failing.failures:
            yield pod, failing


def _finding(pod: StoragePod, ranked: tuple[SandboxFailure, ...], *, now: float, first: float) -> Finding:
    telling, attempts = ranked[0], sum(failure.attempts for failure in ranked)
    explanation = telling.explanation
    return make(
        "sandbox-failing",
        subject=replace(pod_subject(pod), address=None),
        severity=severity_of(explanation),
        reason=str(explanation.cause),
        network=pod.network,
        network_kind=str(explanation.network_kind),
        summary=f"{short(pod.key)} cannot start: {explanation.summary}",
        seen=f"no sandbox for {duration(now - first)}, at least {attempts} {'attempt' if attempts == 1 else 'attempts'}",
        expected=f"a sandbox with {pod.interface}, a few seconds after the pod is bound to its node",
        next_step=_named_node(explanation.next_step, pod.node),
        clears_when="the pod runs with its grant or is gone",
        evidence=tuple(f"{failure.explanation.cause}, {_times(failure.attempts)}: {failure.message}" for failure in ranked),
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _named_node(next_step: str, node: str | None) -> str:
    """A message does not say on which node; the pod does."""
    if node is None:
        return next_step
    return next_step.partition(NODE_TOLD)[0].replace(ON_NODE, f"on {node}").replace("on that node", f"on {node}")


def _row(pod: StoragePod, failure: SandboxFailure, *, now: float, wall: float) -> FailingSandbox:
    return FailingSandbox(
        pod=pod.key,
        node=pod.node,
        explanation=failure.explanation,
        attempts=failure.attempts,
        first_seen_wall_seconds=wall - (now - failure.first_seen_monotonic_seconds),
        last_seen_wall_seconds=wall - (now - failure.last_seen_monotonic_seconds),
        message=failure.message,
    )
