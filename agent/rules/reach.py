"""Turns probe results into the state of a pair, and the state of a pair into findings (contract §4).

Failures count in a row; what was not probed counts for nothing. A refused connection proves the way there: it is a closed port, not an
unreachable peer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent.model.finding import Finding, Severity, Subject, short
from agent.model.mesh import Failure, PairState
from agent.model.peers import Pair
from agent.model.probe import ProbeKind, ProbeResult, Reason
from agent.rules.make import make

_CLOSED = (Reason.REFUSED, Reason.RESET)
_WORDS = {
    Reason.NO_ROUTE: "nobody answers for {address}",
    Reason.TIMEOUT: "{address} does not answer on port {port}",
    Reason.NET_UNREACHABLE: "the source pod has no route to {address}",
    Reason.NO_SOURCE_ADDRESS: "the source pod does not own its address {source}",
    Reason.REFUSED: "{address} refuses port {port}",
    Reason.RESET: "{address} resets connections to port {port}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsView:
    """How well the set of pods is known: while it is stale a peer may have moved, and that is said."""

    stale: bool = False
    age_seconds: float = 0.0


def advance(
    state: PairState | None,
    pair: Pair,
    results: Iterable[ProbeResult],
    *,
    now: float,
    wall: float,
    probe_failures: int,
    probe_successes: int,
) -> PairState:
    """The pair's state after the results of one asking (TCP, and what was asked beside it). `now` monotonic, `wall` for people."""
    by_kind = {result.plan.kind: result for result in results}
    state = replace(state, pair=pair) if state else PairState(pair=pair, since_monotonic_seconds=now, since_wall_seconds=wall)
    http = by_kind.get(ProbeKind.HTTP)
    if http is not None:
        state = replace(state, http=http.reason)
        if http.reason not in (Reason.OK, Reason.NOT_PROBED):
            state = replace(state, last_failure=failure(http, now, wall))
    tcp = by_kind.get(ProbeKind.TCP)
    if tcp is None:
        return state
    if tcp.reason is Reason.NOT_PROBED:
        return replace(state, tcp=Reason.NOT_PROBED, rtt_seconds=None, detail=tcp.detail)
    if tcp.ok:
        successes = state.successes + 1
        mended = state.failing and successes >= probe_successes
        state = replace(
            state,
            tcp=Reason.OK,
            # until it is mended the finding stands on what the last failure saw: a good probe must not make it worse
            ping=state.ping if state.failing and not mended else None,
            rtt_seconds=tcp.rtt_seconds,
            failures=0,
            successes=successes,
            failing=state.failing and not mended,
            failed_as=None if mended else state.failed_as,
            detail=state.detail if state.failing and not mended else None,
            retransmits=tcp.retransmits,
            last_probe_monotonic_seconds=now,
        )
        return replace(state, since_monotonic_seconds=now, since_wall_seconds=wall) if mended else state
    ping = by_kind.get(ProbeKind.PING)
    failures = state.failures + 1
    broke = not state.failing and failures >= probe_failures
    state = replace(
        state,
        tcp=tcp.reason,
        ping=ping.reason if ping else None,
        rtt_seconds=None,
        failures=failures,
        successes=0,
        failing=state.failing or broke,
        failed_as=tcp.reason,
        answered_http=bool(http and http.ok),
        detail=tcp.detail,
        neighbour_mac=tcp.neighbour_mac,
        last_probe_monotonic_seconds=now,
        last_failure=failure(tcp, now, wall),
    )
    return replace(state, since_monotonic_seconds=now, since_wall_seconds=wall) if broke else state


def not_probed(state: PairState, *, why: str) -> PairState:
    """The pair could not be asked at all: what it showed last is no longer shown as if it were new, and no streak moves."""
    return replace(state, tcp=Reason.NOT_PROBED, http=Reason.NOT_PROBED if state.http else None, rtt_seconds=None, detail=why)


def failure(result: ProbeResult, now: float, wall: float) -> Failure:
    """What is kept of a probe that failed."""
    return Failure(kind=result.plan.kind, reason=result.reason, monotonic_seconds=now, wall_seconds=wall, detail=result.detail)


def judge(state: PairState, *, port: int, pods: PodsView) -> Finding | None:
    """The finding of a pair that fails now, or None."""
    reason = state.failed_as
    if not state.failing or reason is None:
        return None
    return _closed(state, reason, port, pods) if reason in _CLOSED else _unreachable(state, reason, port, pods)


def _closed(state: PairState, reason: Reason, port: int, pods: PodsView) -> Finding:
    peer = state.pair.peer
    summary = f"{state.pair.source.node} reaches {peer.node}, but {_words(state.pair, reason, port)} ({short(peer.key)})"
    if pods.stale:
        summary = (
            f"{_words(state.pair, reason, port)}, where {short(peer.key)} was {pods.age_seconds:.0f} s ago; it may be another pod's by now"
        )
    return make(
        "peer-port-closed",
        subject=_subject(state.pair),
        network=peer.network,
        severity=Severity.INFO if pods.stale else None,
        reason=reason,
        summary=summary,
        seen=f"{_seen(state, reason, port)}; the way there works",
        expected=f"port {port} of {peer.address} accepts connections",
        next_step=f"look at the pod, then at its log: `kubectl -n {peer.record.namespace} get pod {peer.record.name} -o wide` "
        f"`kubectl -n {peer.record.namespace} logs {peer.record.name} --tail=50`",
        clears_when="two probes in a row pass, or the pod is gone",
    )


def _unreachable(state: PairState, reason: Reason, port: int, pods: PodsView) -> Finding:
    source, peer = state.pair.source, state.pair.peer
    # an echo is bound to the device and needs no route: it says nothing where the pod itself has none
    silent = reason in (Reason.NO_ROUTE, Reason.TIMEOUT)
    answered = [word for word, does in (("ping", state.ping is Reason.OK), ("HTTP", state.answered_http)) if does and silent]
    who = f"{short(peer.key)} on {peer.node}"
    summary = f"{source.node} does not reach {who} over {source.interface}: {_words(state.pair, reason, port)}"
    if answered:
        summary = f"{source.node} reaches {who}, but {peer.address} answers {' and '.join(answered)}, not port {port}"
    if pods.stale:
        summary += f" (pods as known {pods.age_seconds:.0f} s ago)"
    evidence = [_streak(state)]
    told = state.detail or ""
    if state.neighbour_mac and state.neighbour_mac not in told:
        evidence.append(f"{state.neighbour_mac} answers ARP for {peer.address}")
    elif reason is Reason.NO_ROUTE and "ARP" not in told:
        evidence.append(f"no answer to ARP for {peer.address} on {source.interface}")
    return make(
        "peer-unreachable",
        subject=_subject(state.pair),
        network=peer.network,
        severity=Severity.WARNING if answered or pods.stale else None,
        reason=reason,
        summary=summary,
        seen=_seen(state, reason, port),
        expected=f"a TCP connection from {source.address} to {peer.address} port {port}",
        evidence=tuple(evidence),
        next_step=_unreachable_step(state.pair, reason, answered=bool(answered), port=port),
        clears_when="two probes in a row pass, or one of the pods is gone",
    )


def _streak(state: PairState) -> str:
    if state.failures:
        return f"the last {state.failures} probes failed" if state.failures > 1 else "the last probe failed"
    return f"{state.successes} probe{'' if state.successes == 1 else 's'} passed since, too few in a row to believe it"


def _unreachable_step(pair: Pair, reason: Reason, *, answered: bool, port: int) -> str:
    source, peer = pair.source, pair.peer
    if answered:
        return f"something filters or does not serve port {port}: `kubectl -n {peer.record.namespace} logs {peer.record.name} --tail=50`"
    if reason in (Reason.NET_UNREACHABLE, Reason.NO_SOURCE_ADDRESS):
        shown = "ip route" if reason is Reason.NET_UNREACHABLE else "ip addr"
        return f"look at the source pod: `kubectl -n {source.record.namespace} exec {source.record.name} -- {shown}`"
    if reason is Reason.NO_ROUTE:
        return (
            f"ask another node whether it reaches {peer.node} (any agent: /cluster); then look at {peer.node}'s /interfaces, "
            f"its uplink, and the VLAN on its switch port"
        )
    return (
        f"packets from {source.address} to {peer.address} are lost on the way: look at MTU and drops in {peer.node}'s /interfaces, "
        f"then on {peer.node} for a filter: `nft list ruleset`"
    )


def _words(pair: Pair, reason: Reason, port: int) -> str:
    pattern = _WORDS.get(reason, "{address} port {port} failed")
    return pattern.format(address=pair.peer.address, source=pair.source.address, port=port)


def _seen(state: PairState, reason: Reason, port: int) -> str:
    detail = f" ({state.detail})" if state.detail else ""
    return f"TCP {state.pair.source.address} to {state.pair.peer.address} port {port}: {reason}{detail}"


def _subject(pair: Pair) -> Subject:
    return Subject(
        node=pair.source.node,
        pod=pair.source.key,
        address=str(pair.source.address),
        peer_node=pair.peer.node,
        peer_pod=pair.peer.key,
        peer_address=str(pair.peer.address),
    )
