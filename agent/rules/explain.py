"""Says which finding explains which: what is wrong with one pod explains the pairs of that pod, as source and as peer.

Only findings that stand explain; of several, the widest. What the holder knows of other nodes comes in as `foreign`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.model.catalogue import identity
from agent.model.finding import ActiveFinding, Finding, Scope

_BREAKS_PAIRS = (
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
"""Pod findings that make a pair fail, the most telling first."""

_PAIR_FINDINGS = ("peer-unreachable", "peer-port-closed", "large-packets-lost", "packet-loss", "latency-high")


def explain(findings: Iterable[ActiveFinding], *, foreign: Mapping[tuple[str, ...], str] | None = None) -> tuple[ActiveFinding, ...]:
    """The same findings, in the same order, each with the widest true explanation. `foreign` maps identities to the holder's."""
    standing = tuple(findings)
    pods: dict[str, Finding] = {}
    for name in reversed(_BREAKS_PAIRS):
        for active in standing:
            if active.finding.id == name and active.finding.subject.pod:
                pods[active.finding.subject.pod] = active.finding
    return tuple(_explained(active, pods, foreign or {}) for active in standing)


def _explained(active: ActiveFinding, pods: Mapping[str, Finding], foreign: Mapping[tuple[str, ...], str]) -> ActiveFinding:
    finding = active.finding
    wider = foreign.get(identity(finding))
    if wider is None and finding.scope is Scope.PAIR and finding.id in _PAIR_FINDINGS:
        cause = pods.get(finding.subject.pod or "") or pods.get(finding.subject.peer_pod or "")
        wider = cause.name if cause else None
    return active if wider == finding.explained_by else replace(active, finding=replace(finding, explained_by=wider))
