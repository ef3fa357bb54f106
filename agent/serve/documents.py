"""The JSON documents (contract §3), made from one NodeView and the moment of asking. Keys are a contract: extend, never rename."""

from typing import Any

from agent.clock import utc_text
from agent.model.finding import ActiveFinding, Finding
from agent.model.mesh import PairState
from agent.model.net import Counters, NamespaceFacts, Route
from agent.model.peers import StoragePod
from agent.model.view import HistoryEntry, InspectedPod, KeptFailure, NodeView
from agent.serve import hostpath

SCHEMA = 1
RUNBOOK_PATH = "/runbooks/{id}"
"""Served by every agent: whoever reads a finding reaches its page the same way."""
MAIN_TABLE = 254

Document = dict[str, Any]


def status(view: NodeView, *, now: float, wall: float) -> Document:
    """`/api/v1/status`, also each element of `nodes` in `/api/v1/cluster`. `now` is monotonic."""
    return {
        "schema": SCHEMA,
        "node": view.node,
        "generated_at": utc_text(wall),
        "version": view.version,
        "lease": view.lease,
        "holder": view.holder,
        "mode": view.mode.value,
        "mode_why": view.mode_why,
        "verdict": view.verdict.value,
        "ready": view.ready,
        "held_back": view.held_back,
        **({"witness": True} if view.witness else {}),
        "sources": {
            source.name: {
                "state": source.state.value,
                "age_seconds": round(source.age_seconds, 1),
                **({"detail": source.detail} if source.detail else {}),
            }
            for source in view.sources
        },
        "notes": list(view.notes),
        "findings": [finding(active, now=now) for active in view.findings],
    }


def finding(active: ActiveFinding, *, now: float) -> Document:
    one = active.finding
    return {
        "id": one.id,
        "severity": one.severity.value,
        "scope": one.scope.value,
        "network": one.network.value if one.network else None,
        "network_kind": one.network_kind,
        "subject": one.subject.as_dict(),
        "reason": one.reason,
        "culprit": one.culprit,
        "summary": one.summary,
        "seen": one.seen,
        "expected": one.expected,
        "evidence": list(one.evidence),
        "since": utc_text(active.since_wall_seconds),
        "age_seconds": round(max(0.0, now - active.since_monotonic_seconds), 1),
        "last_seen": utc_text(active.last_seen_wall_seconds),
        "clears_when": one.clears_when,
        "next_step": one.next_step,
        "runbook": runbook(one),
        "explained_by": one.explained_by,
        "ignored": one.ignored,
    }


def runbook(one: Finding) -> str:
    return RUNBOOK_PATH.format(id=one.id)


def peers(view: NodeView, *, now: float) -> Document:
    """`/api/v1/peers`: this node's rows of the mesh."""
    return {
        "schema": SCHEMA,
        "node": view.node,
        "round": view.mesh.round,
        "coverage_seconds": view.mesh.coverage_seconds,
        "pairs": [_pair(state, now=now) for state in view.mesh.pairs],
    }


def _pair(state: PairState, *, now: float) -> Document:
    source, peer = state.pair.source, state.pair.peer
    failure = state.last_failure
    return {
        "source_pod": source.key,
        "source_address": _text(source.address),
        "peer_node": peer.node,
        "peer_pod": peer.key,
        "peer_address": _text(peer.address),
        "role": peer.role.value,
        "tcp": state.tcp,
        "http": state.http,
        "large": state.large,
        "rtt_seconds": state.rtt_seconds,
        "path_mtu_bytes": state.path_mtu_bytes,
        "last_probe_age_seconds": _age(state.last_probe_monotonic_seconds, now),
        "since": utc_text(state.since_wall_seconds),
        "failing": state.failing,
        "detail": state.detail,
        "last_failure": None
        if failure is None
        else {"kind": failure.kind.value, "reason": failure.reason.value, "age_seconds": _age(failure.monotonic_seconds, now)},
    }


def interfaces(view: NodeView) -> Document:
    """`/api/v1/interfaces`: what `ip addr` and `ip route` show in each local storage pod, beside request and grant."""
    return {
        "schema": SCHEMA,
        "node": view.node,
        "pods": [_inspected(one) for one in view.inspected],
        "host_path": hostpath.document(view.host_path),
    }


def _inspected(one: InspectedPod) -> Document:
    pod = one.pod
    return {
        "pod": pod.key,
        "uid": pod.uid,
        "role": pod.role.value,
        "network": pod.network.value,
        "netns": one.namespace.path if one.namespace else None,
        "why_no_netns": one.why_not,
        "interface": pod.interface,
        "requested": [{"nad": request.nad, "interface": request.interface} for request in pod.requests],
        "granted": _granted(pod),
        "problems": list(pod.problems),
        "kernel": None if one.facts is None else kernel(pod, one.facts),
    }


def _granted(pod: StoragePod) -> Document | None:
    grant = pod.grant
    if grant is None:
        return None
    return {
        "address": _text(grant.address),
        "mac": grant.mac,
        "mtu_bytes": grant.mtu_bytes,
        "interface": grant.interface,
        "nad": grant.nad,
        "addresses": [str(address) for address in grant.addresses],
    }


def kernel(pod: StoragePod, facts: NamespaceFacts) -> Document:
    link = facts.link(pod.interface)
    return {
        "addresses": [str(address.interface) for address in facts.addresses_of(link) if address.scope == "global"] if link else [],
        "mac": link.mac if link else None,
        "mtu_bytes": link.mtu_bytes if link else None,
        "up": link.up if link else False,
        "carrier": link.carrier if link else False,
        "present": link is not None,
        "links": [other.name for other in facts.links],
        "routes": [_route(route, facts) for route in facts.routes if _shown(route)],
        "counters": None if link is None else {"receive": _counters(link.receive), "transmit": _counters(link.transmit)},
    }


def _shown(route: Route) -> bool:
    """What `ip route` and `ip -6 route` show: table main, without the multicast noise."""
    return route.table == MAIN_TABLE and route.kind not in ("local", "broadcast", "multicast", "anycast")


def _route(route: Route, facts: NamespaceFacts) -> Document:
    device = facts.link_at(route.link_index)
    return {
        "to": "default" if route.to.prefixlen == 0 else str(route.to),
        "via": _text(route.via),
        "device": device.name if device else None,
        "source": _text(route.source),
        "metric": route.metric,
        "scope": route.scope,
        "type": route.kind,
    }


def _counters(counters: Counters) -> Document:
    return {"bytes": counters.bytes, "packets": counters.packets, "errors": counters.errors, "drops": counters.drops}


def history(view: NodeView, *, now: float) -> Document:
    """`/api/v1/history`: the last state changes and kept failures, newest first."""
    return {
        "schema": SCHEMA,
        "node": view.node,
        "changes": [_change(entry, now=now) for entry in view.history],
        "failures": [_kept(kept, now=now) for kept in view.failures],
    }


def _change(entry: HistoryEntry, *, now: float) -> Document:
    return {
        "at": utc_text(entry.wall_seconds),
        "age_seconds": _age(entry.monotonic_seconds, now),
        "finding": entry.finding.id,
        "culprit": entry.finding.culprit,
        "subject": entry.finding.subject.as_dict(),
        "change": entry.change,
        "severity": entry.finding.severity.value,
        "reason": entry.finding.reason,
        "summary": entry.finding.summary,
    }


def _kept(kept: KeptFailure, *, now: float) -> Document:
    return {
        "at": utc_text(kept.failure.wall_seconds),
        "age_seconds": _age(kept.failure.monotonic_seconds, now),
        "kind": kept.failure.kind.value,
        "reason": kept.failure.reason.value,
        "detail": kept.failure.detail,
        "source_pod": kept.pair.source.key,
        "peer_node": kept.pair.peer.node,
        "peer_pod": kept.pair.peer.key,
        "peer_address": _text(kept.pair.peer.address),
    }


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else round(max(0.0, now - moment), 1)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
