"""Says which finding explains which: what is wrong with one pod explains the pairs of that pod, as source and as peer.

Only findings that stand explain; of several, the widest. What the holder knows of other nodes comes in as `foreign`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.model.catalogue import identity
from agent.model.finding import ActiveFinding, Finding, Scope

BREAKS_PAIRS = (
    "address-duplicate",
    "grant-missing",
    "interface-missing",
    "interface-down",
    "address-mismatch",
    "address-outside-range",
    "route-missing",
    "route-shadowed",
    "veth-detached",
    "vlan-wrong",
    "namespace-not-found",
)
"""Findings about pods that make a pair fail, the most telling first."""

_STRAYED = ("grant-missing", "interface-missing", "address-mismatch", "address-outside-range")
_PAIR_FINDINGS = ("peer-unreachable", "peer-port-closed", "large-packets-lost", "packet-loss", "latency-high")


def explain(findings: Iterable[ActiveFinding], *, foreign: Mapping[tuple[str, ...], str] | None = None) -> tuple[ActiveFinding, ...]:
    """The same findings, in the same order, each with the widest true explanation. `foreign` maps identities to the holder's."""
    standing = tuple(findings)
    pods: dict[str, Finding] = {}
    for name in reversed(BREAKS_PAIRS):
        for active in standing:
            if active.finding.id == name and active.finding.subject.pod:
                pods[active.finding.subject.pod] = active.finding
    return tuple(_explained(active, pods, foreign or {}) for active in standing)


def _explained(active: ActiveFinding, pods: Mapping[str, Finding], foreign: Mapping[tuple[str, ...], str]) -> ActiveFinding:
    finding = active.finding
    wider = foreign.get(identity(finding)) or finding.explained_by
    if wider is None and finding.scope is Scope.PAIR and finding.id in _PAIR_FINDINGS:
        subject = finding.subject
        causes = (pods.get(subject.pod or ""), pods.get(subject.peer_pod or ""))
        wider = next((cause.name for cause in causes if cause is not None and _breaks(cause, finding)), None)
    return active if wider == finding.explained_by else replace(active, finding=replace(finding, explained_by=wider))


def _breaks(cause: Finding, pair: Finding) -> bool:
    """Whether what is wrong with a pod can be why this pair fails. A peer that refuses was reached: nothing of the way explains it, but
    that the peer does not own its address, or lost the interface with it, may be why somebody else refuses."""
    if pair.id == "peer-port-closed":
        return cause.subject.pod == pair.subject.peer_pod and cause.id in _STRAYED
    to = pair.subject.peer_address if cause.subject.pod == pair.subject.pod else pair.subject.address
    return cause.affects is None or to in cause.affects
