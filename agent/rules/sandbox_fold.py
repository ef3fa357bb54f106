"""Folds Events into what fails now: by pod and cause, with when it began and what has ended it.

An Event is a weak witness: the kubelet rewrites one for many messages, its count is no failure count, and a list gives them in any order.
So each (uid, count) counts once, the newest is never the only one looked at, and times are compared, not the order of arrival. A report
that the storage interface was added ends what failed before; one about eth0 ends nothing, since each failed attempt begins with it.
Refuses to say how bad it is (sandbox_findings), and to remember without bound.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from agent.model.events import Cause, Explanation, NetworkKind, SandboxFailure
from agent.model.records import EventRecord
from agent.rules.sandbox import explain
from agent.rules.sandbox_text import keepable

MAX_PODS = 500
"""Failing pods kept: more than a cluster has storage pods; beyond it the one that was silent longest goes."""
MAX_SEEN = 4 * MAX_PODS
"""Events remembered for de-duplication; the oldest go first."""
MAX_CAUSES = 8
"""Causes kept of one pod: the most recent."""
MAX_MESSAGE_CHARS = 2048
"""Longest message kept: the kubelet's own are shorter once byte dumps are gone."""

NEWS_SECONDS = 60.0
"""How long an Event of a pod that the list does not hold may be the newer of the two."""

FAILED = "FailedCreatePodSandBox"
_REPORTS = frozenset({FAILED, "NetworkNotReady"})
"""Reasons of Events that say that a sandbox was not made. FailedKillPod is about the end of one, NoNetworkFound comes beside a failure."""

PodKey = tuple[str, str]
"""namespace/name and the pod's UID ("" if the Event has none): a pod made anew under its old name starts clean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFailures:
    """What is standing at one pod, by cause and network, and when its storage interface was last reported as added."""

    failures: tuple[SandboxFailure, ...] = ()
    added_monotonic_seconds: float | None = None

    @property
    def last_seen_monotonic_seconds(self) -> float:
        times = [failure.last_seen_monotonic_seconds for failure in self.failures]
        return max([*times, *([] if self.added_monotonic_seconds is None else [self.added_monotonic_seconds])], default=float("-inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxState:
    """All that is remembered. Immutable: `fold` and `settle` give a new one."""

    pods: Mapping[PodKey, PodFailures] = field(default_factory=lambda: MappingProxyType({}))
    seen: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Newest count by Event UID."""
    totals: Mapping[tuple[Cause, NetworkKind], int] = field(default_factory=lambda: MappingProxyType({}))
    """Failures seen live, for the counter; never goes down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The NADs that the settings name, as namespace/name; None while the settings are unreadable, then the NADs' names decide."""

    storage_nads: frozenset[str] | None = None
    rwx_nads: frozenset[str] | None = None
    interfaces: frozenset[str] = frozenset({"lhnet1", "lhnet2"})
    """Names of storage interfaces inside pods."""


ANY_NETWORKS = Networks()


def fold(state: SandboxState, event: EventRecord, *, now: float, networks: Networks = ANY_NETWORKS, live: bool = True) -> SandboxState:
    """The state after one Event. `now` is monotonic seconds; `live` is False for Events of a first list, which are not counted."""
    return fold_all(state, (event,), now=now, networks=networks, live=live)


def fold_all(
    state: SandboxState, events: Iterable[EventRecord], *, now: float, networks: Networks = ANY_NETWORKS, live: bool = True
) -> SandboxState:
    """The same for many Events at once, in any order, without copying for each."""
    pods, seen, totals = dict(state.pods), dict(state.seen), dict(state.totals)
    for event in events:
        known = seen.pop(event.uid, None)
        seen[event.uid] = event.count if known is None else max(known, event.count)
        if len(seen) > MAX_SEEN:
            del seen[next(iter(seen))]
        if known is not None and event.count <= known:
            continue
        key = (f"{event.namespace}/{event.pod}", event.pod_uid or "")
        after = _after(pods.get(key, PodFailures()), event, now=now, networks=networks)
        if after is None:
            continue
        pods[key], counted = after
        if live and counted:
            totals[counted] = totals.get(counted, 0) + 1
        if len(pods) > MAX_PODS:
            del pods[min(pods, key=lambda one: pods[one].last_seen_monotonic_seconds)]
    return SandboxState(pods=MappingProxyType(pods), seen=MappingProxyType(seen), totals=MappingProxyType(totals))


def settle(state: SandboxState, *, running: AbstractSet[str], known: Mapping[str, str] | None, now: float) -> SandboxState:
    """Drops what is over: pods that run with their grant, and pods that are gone or were made anew.

    `running` holds the UIDs of pods that run with their grant or have ended. `known` gives the UID by namespace/name of every pod there is,
    or None while that list cannot be believed: then nobody counts as gone. An Event may overtake the pod it is about, so an unknown pod
    with fresh news is kept. `now` is monotonic seconds.
    """

    def over(key: PodKey) -> bool:
        name, uid = key
        if known is None:
            return uid in running
        current = known.get(name)
        if current is None:
            return now - state.pods[key].last_seen_monotonic_seconds > NEWS_SECONDS
        return current in running or (bool(uid) and uid != current)

    kept = {key: pod for key, pod in state.pods.items() if not over(key)}
    return state if len(kept) == len(state.pods) else replace(state, pods=MappingProxyType(kept))


def _after(
    pod: PodFailures, event: EventRecord, *, now: float, networks: Networks
) -> tuple[PodFailures, tuple[Cause, NetworkKind] | None] | None:
    """The pod after the event and what to count; None if the event changes nothing."""
    last = now - max(0.0, event.last_seen_age_seconds or 0.0)
    explanation = explain(event.message, storage_nads=networks.storage_nads, rwx_nads=networks.rwx_nads)
    if explanation.cause is Cause.ADDED_INTERFACE and event.reason in ("AddedInterface", None):
        return (_cleared(pod, at=last), None) if _is_storage(explanation, networks) else None
    about_a_start = explanation.is_failure and explanation.cause is not Cause.CNI_DEL_FAILED
    if event.reason not in _REPORTS and not (event.reason is None and about_a_start):
        return None
    counted = (explanation.cause, explanation.network_kind)
    if pod.added_monotonic_seconds is not None and last < pod.added_monotonic_seconds:
        return pod, counted
    return replace(pod, failures=_with(pod, event, explanation, now=now, last=last)), counted


def _is_storage(explanation: Explanation, networks: Networks) -> bool:
    if explanation.network is None:
        return explanation.interface in networks.interfaces
    return explanation.network_kind in (NetworkKind.STORAGE, NetworkKind.RWX) or (
        explanation.interface in networks.interfaces and networks.storage_nads is None
    )


def _cleared(pod: PodFailures, *, at: float) -> PodFailures:
    at = max(at, pod.added_monotonic_seconds or at)
    return PodFailures(
        failures=tuple(failure for failure in pod.failures if failure.last_seen_monotonic_seconds >= at), added_monotonic_seconds=at
    )


def _with(pod: PodFailures, event: EventRecord, explanation: Explanation, *, now: float, last: float) -> tuple[SandboxFailure, ...]:
    same = next((one for one in pod.failures if _identity(one.explanation) == _identity(explanation)), None)
    message = keepable(event.message, limit=MAX_MESSAGE_CHARS)
    newest = same is None or last >= same.last_seen_monotonic_seconds
    failure = SandboxFailure(
        explanation=explanation if newest or same is None else same.explanation,
        message=message if newest or same is None else same.message,
        attempts=1 + (same.attempts if same else 0),
        first_seen_monotonic_seconds=min(
            _first(pod, event, now=now, last=last), *([same.first_seen_monotonic_seconds] if same else [last])
        ),
        last_seen_monotonic_seconds=max(last, same.last_seen_monotonic_seconds if same else last),
    )
    others = sorted((one for one in pod.failures if one is not same), key=lambda one: -one.last_seen_monotonic_seconds)
    return (failure, *others[: MAX_CAUSES - 1])


def _identity(explanation: Explanation) -> tuple[Cause, str | None]:
    return explanation.cause, explanation.network


def _first(pod: PodFailures, event: EventRecord, *, now: float, last: float) -> float:
    """When this began. The first time of an Event that the kubelet rewrites belongs to some other message, and one before the last success
    to a failure that was over."""
    if event.first_seen_age_seconds is None or event.message.startswith("(combined"):
        return last
    first = now - max(0.0, event.first_seen_age_seconds)
    if pod.added_monotonic_seconds is not None and first < pod.added_monotonic_seconds:
        return last
    return min(first, last)
