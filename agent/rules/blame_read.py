"""Makes the reports that blame() judges from what the agents answered and from the Nodes. Reads; judges nothing.

Tolerant as the answers are: a finding or row of another shape is left out. Of a Node that is not known, or known only from before the
watch broke, nothing is assumed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from agent.model.blame import NodeReport, OwnFinding, Row
from agent.model.gathered import Answered, Document, Identity, MeshRow, Roundup
from agent.rules.blame_texts import HOST_PATH_CAUSES
from agent.rules.explain import BREAKS_PAIRS
from agent.rules.roundup_read import identity_of

_TWICE = "address-duplicate"
WITNESS_LABEL = "node-role.harvesterhci.io/witness"


class NodeFacts(Protocol):
    """What is read of a Node; model.records.NodeRecord is one."""

    @property
    def ready(self) -> bool | None:
        """None stands for Unknown and for a missing condition."""

    @property
    def unschedulable(self) -> bool: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


def reports_of(
    roundup: Roundup,
    nodes: Mapping[str, NodeFacts],
    *,
    nodes_live: bool = True,
    holder_findings: Iterable[Document] = (),
    addresses: Mapping[str, str] | None = None,
) -> tuple[NodeReport, ...]:
    """One report a node of the roundup. `nodes_live` is False while the watch of the Nodes is not: then Ready is not known.

    `holder_findings` are documents of what the holder itself found now (`grant-missing`); those of the last judgement are read anyway.
    `addresses` are the pods' own, by pod, while their watch is live. An agent that has not heard of the API server for a while asks where
    pods used to be: what comes back from there, or does not, is no evidence.
    """
    rows: dict[str, list[Row]] = {}
    for row in roundup.rows:
        read = _row(row)
        rows.setdefault(row.source_node, []).append(read if _is_there(row, addresses) else replace(read, stale=True))
    shared = [*roundup.judgement.findings, *holder_findings]
    return tuple(
        _report(roundup, node=node, facts=nodes.get(node), nodes_live=nodes_live, shared=shared, rows=tuple(rows.get(node, ())))
        for node in roundup.statuses
    )


def _report(
    roundup: Roundup, *, node: str, facts: NodeFacts | None, nodes_live: bool, shared: Iterable[Document], rows: tuple[Row, ...]
) -> NodeReport:
    reply = roundup.statuses[node]
    told = reply.document["findings"] if isinstance(reply, Answered) else ()
    # No agent speaks of another node's pods.
    mine = [one for one in (*shared, *told) if _subject(one).get("node") == node]
    why_apart = roundup.apart.get(node)
    return NodeReport(
        name=node,
        answered=isinstance(reply, Answered),
        silence=None if isinstance(reply, Answered) else reply.silence,
        answer_age_seconds=0.0 if isinstance(reply, Answered) else reply.last_answer_age_seconds,
        # Unknown is what Kubernetes says of a node whose kubelet has gone quiet.
        kube_ready=bool(facts.ready) if facts is not None and nodes_live else None,
        unschedulable=facts is not None and facts.unschedulable,
        witness=why_apart == "witness" or (facts is not None and facts.labels.get(WITNESS_LABEL) == "true"),
        has_storage_pods=why_apart is None,
        host_path_findings=tuple(_own(mine, ids=HOST_PATH_CAUSES, scope="node")),
        pod_findings=(*_own(mine, ids=BREAKS_PAIRS, scope="pod"), *_twins(shared, node=node)),
        pair_findings=tuple(_pairs(mine)),
        rows=rows,
    )


def _is_there(row: MeshRow, addresses: Mapping[str, str] | None) -> bool:
    """Both ends are where the row says; an end whose address is not told is taken at its word."""
    ends = ((row.source_pod, row.source_address), (row.peer_pod, row.peer_address))
    return addresses is None or all(address is None or addresses.get(pod) == address for pod, address in ends)


def _row(row: MeshRow) -> Row:
    return Row(
        source_node=row.source_node,
        source_pod=row.source_pod,
        peer_node=row.peer_node,
        peer_pod=row.peer_pod,
        role=row.role,
        # The last probe may not have been asked, or be the first good one: what fails is told by how it failed.
        tcp=(row.failed_as or row.tcp) if row.failing else row.tcp,
        failing=row.failing,
        answered_otherwise=row.answered_otherwise,
        age_seconds=row.age_seconds,
        stale=row.stale,
        peer_address=row.peer_address,
        mending=row.failing and row.tcp == "ok",
    )


def _own(documents: Iterable[Document], *, ids: Iterable[str], scope: str) -> Iterable[OwnFinding]:
    known = frozenset(ids) - {_TWICE}
    for one in documents:
        name, culprit = one.get("id"), _text(_subject(one).get(scope))
        if name in known and culprit:
            yield OwnFinding(
                id=str(name),
                culprit=culprit,
                summary=_text(one.get("summary")) or f"{name} on {culprit}",
                next_step=_text(one.get("next_step")),
            )


def _twins(documents: Iterable[Document], *, node: str) -> Iterable[OwnFinding]:
    """The pods of this node that share their address with another one: who of the two answers is a matter of luck."""
    for one in documents:
        subject, culprit = _subject(one), _text(one.get("culprit"))
        if one.get("id") != _TWICE or not culprit:
            continue
        for home, name in (("node", "pod"), ("peer_node", "peer_pod")):
            pod = _text(subject.get(name))
            if subject.get(home) == node and pod:
                yield OwnFinding(id=_TWICE, culprit=culprit, summary=_text(one.get("summary")) or f"{_TWICE} {culprit}", pod=pod)


def _pairs(documents: Iterable[Document]) -> Iterable[Identity]:
    for one in documents:
        if one.get("scope") == "pair" and (identity := identity_of(one)) is not None:
            yield identity


def _subject(one: Document) -> Mapping[str, object]:
    subject = one.get("subject")
    return subject if isinstance(subject, dict) else {}


def _text(one: object) -> str | None:
    return one if isinstance(one, str) and one else None
