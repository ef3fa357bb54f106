"""Builds findings so that scope, normal severity and culprit always follow the catalogue, and no rule spells them again."""

from agent.model.catalogue import CATALOGUE
from agent.model.finding import Finding, Scope, Severity, Subject
from agent.model.peers import Network, StoragePod


def make(
    id: str,  # the field's name in the contract
    *,
    subject: Subject,
    summary: str,
    seen: str,
    expected: str,
    next_step: str,
    clears_when: str,
    severity: Severity | None = None,
    reason: str | None = None,
    network: Network | None = None,
    network_kind: str | None = None,
    culprit: str | None = None,
    evidence: tuple[str, ...] = (),
    affects: tuple[str, ...] | None = None,
) -> Finding:
    """A finding of catalogue id `id`; severity and culprit as the contract says unless given. Raises KeyError for an unknown id."""
    kind = CATALOGUE[id]
    return Finding(
        id=id,
        severity=severity or kind.severity,
        scope=kind.scope,
        subject=subject,
        culprit=culprit or culprit_of(kind.scope, subject),
        summary=summary,
        seen=seen,
        expected=expected,
        next_step=next_step,
        clears_when=clears_when,
        reason=reason,
        network=network,
        network_kind=network_kind,
        evidence=evidence,
        affects=affects,
    )


def culprit_of(scope: Scope, subject: Subject) -> str:
    """Contract §0: a node's name, namespace/pod, A>B, the pool's name, or `cluster`."""
    by_scope = {
        Scope.AGENT: subject.node,
        Scope.NODE: subject.node,
        Scope.POD: subject.pod,
        Scope.PAIR: f"{subject.node}>{subject.peer_node}",
        Scope.POOL: subject.pool,
        Scope.CLUSTER: "cluster",
    }
    return by_scope[scope] or "unknown"


def pod_subject(pod: StoragePod) -> Subject:
    return Subject(node=pod.node, pod=pod.key, interface=pod.interface, address=str(pod.address) if pod.address else None)
