"""From what all agents answered to the cluster's verdict: who holds the Lease, who takes part, what counts and what is explained.

Pure: it asks nobody. Verdict (contract §3): the worst of the cluster findings and the unexplained findings of the nodes. A node that takes
part and does not answer makes it unknown, unless a cluster finding already speaks of that node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.model.finding import Scope, Severity, Verdict
from agent.model.gathered import Answered, Claim, Document, Identity, Judgement, Reply, Roundup, Rows, Statuses, Unreachable
from agent.rules.roundup_matrix import by_node_pair
from agent.rules.roundup_read import identity_of, number
from agent.rules.verdict import WIDEST_FIRST


def claim(statuses: Statuses) -> Claim:
    """Who acts as holder. `holder` beats `unconfirmed`; of two the one whose view of the Lease is fresher, then whom more others name."""
    documents = {node: reply.document for node, reply in statuses.items() if isinstance(reply, Answered)}
    votes: dict[str, int] = {}
    for node, document in documents.items():
        named = document.get("holder")
        if isinstance(named, str) and named and named != node:
            votes[named] = votes.get(named, 0) + 1
    for word in ("holder", "unconfirmed"):
        claimants = [node for node, document in documents.items() if document.get("lease") == word]
        if claimants:
            best = min(claimants, key=lambda node: (_lease_age(documents[node]), -votes.get(node, 0), node))
            return Claim(node=best, confirmed=word == "holder", named=best)
    return Claim(named=min(votes, key=lambda node: (-votes[node], node)) if votes else None)


def _lease_age(document: Document) -> float:
    """How long ago this agent last saw the Lease; the wall clocks of two nodes are never compared."""
    sources = document.get("sources")
    lease = sources.get("lease") if isinstance(sources, dict) else None
    age = number(lease.get("age_seconds")) if isinstance(lease, dict) else None
    return float("inf") if age is None else age


def take_no_part(statuses: Statuses, *, storage_nodes: frozenset[str] | None, witnesses: frozenset[str] = frozenset()) -> dict[str, str]:
    """Nodes outside the mesh, with why. `storage_nodes` have live storage pods; None while the pods were never read."""
    apart = {}
    for node, reply in statuses.items():
        if node in witnesses or (isinstance(reply, Answered) and reply.document.get("witness") is True):
            apart[node] = "witness"
        elif storage_nodes is not None and node not in storage_nodes:
            apart[node] = "no storage pod"
    return apart


def round_up(
    *,
    asked_node: str,
    statuses: Statuses,
    rows: Iterable[Rows],
    judgement: Judgement,
    storage_nodes: frozenset[str] | None = None,
    witnesses: frozenset[str] = frozenset(),
) -> Roundup:
    """Everything that /cluster shows. `storage_nodes` that have no status are not invented: give them as Unreachable."""
    told = tuple(rows)
    statuses = explain_statuses(statuses, judgement)
    apart = take_no_part(statuses, storage_nodes=storage_nodes, witnesses=witnesses)
    counting, explained = sort_findings(statuses, judgement)
    return Roundup(
        asked_node=asked_node,
        claim=claim(statuses),
        judgement=judgement,
        verdict=verdict(statuses, counting, judgement.findings, apart=apart),
        mode=_mode(statuses, asked_node),
        statuses=statuses,
        apart=apart,
        rows=tuple(row for one in told for row in one.rows),
        matrix=by_node_pair(row for one in told for row in one.rows),
        told_rows=frozenset(one.node for one in told),
        counting=counting,
        explained=explained,
        counting_on=_by_node(counting),
        explained_on={node: len(found) for node, found in _by_node(one for one in explained if one.get("ignored") is None).items()},
    )


def _by_node(findings: Iterable[Document]) -> dict[str, tuple[Document, ...]]:
    found: dict[str, list[Document]] = {}
    for one in findings:
        node = _node_of(one)
        if isinstance(node, str):
            found.setdefault(node, []).append(one)
    return {node: tuple(mine) for node, mine in found.items()}


def explain_statuses(statuses: Statuses, judgement: Judgement) -> Statuses:
    """With `explained_by` where the judgement knows it and the node has not heard of it yet, or has nobody to hear it from. What the
    nodes say of themselves stays as it was: their verdicts are their own."""
    return {node: _explained(reply, judgement) for node, reply in statuses.items()} if judgement.explanations else statuses


def _explained(reply: Reply, judgement: Judgement) -> Reply:
    if isinstance(reply, Unreachable):
        return reply
    known = [(one, None if one.get("explained_by") else _why(one, judgement)) for one in reply.document["findings"]]
    if not any(why for _, why in known):
        return reply
    findings = [{**one, "explained_by": why} if why else one for one, why in known]
    return replace(reply, document={**reply.document, "findings": findings})


def _why(one: Document, judgement: Judgement) -> str | None:
    identity = identity_of(one)
    return judgement.explanations.get(identity) if identity else None


def sort_findings(statuses: Statuses, judgement: Judgement) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """What counts, worst first, and what does not. The holder may know an explanation before the node has heard of it."""
    counting: list[Document] = []
    aside: list[Document] = []
    seen: set[Identity] = set()
    everything = [*judgement.findings]
    for reply in statuses.values():
        everything += reply.document["findings"] if isinstance(reply, Answered) else []
    for one in everything:
        identity = identity_of(one)
        if identity is not None and all(identity):
            if identity in seen:
                continue
            seen.add(identity)
        why = one.get("explained_by") or _why(one, judgement)
        if one.get("ignored") is not None or why is not None:
            aside.append({**one, "explained_by": why})
        else:
            counting.append(one)
    return tuple(sorted(counting, key=_order)), tuple(sorted(aside, key=_order))


MESH = ("network-down", "network-split", "node-cut-off", "node-down", "one-way")
"""What folds many red cells into one sentence comes before what is only its cause."""


def _order(one: Document) -> tuple[int, bool, int, float, str]:
    """Severity, then what speaks of the mesh, then the widest scope, then the oldest.

    A severity that only a newer agent knows stands between warning and info.
    """
    severities = ["critical", "warning", None, "info"]
    severity = one["severity"] if one["severity"] in severities else None
    scope, widest = one.get("scope"), [known.value for known in WIDEST_FIRST]
    return (
        severities.index(severity),
        one["id"] not in MESH,
        widest.index(scope) if scope in widest else len(widest),
        -(number(one.get("age_seconds")) or 0.0),
        str(one.get("culprit")),
    )


def verdict(statuses: Statuses, counting: Iterable[Document], cluster_findings: Iterable[Document], *, apart: Mapping[str, str]) -> Verdict:
    """Contract §3. `counting` are the findings that decide; `apart` the nodes whose silence means nothing for the mesh."""
    spoken_of = {_node_of(one) for one in cluster_findings if one.get("scope") == Scope.NODE}
    bases = (_base(node, reply, apart, spoken_of) for node, reply in statuses.items())
    said = [one for one in bases if one is not None] or [Verdict.UNKNOWN]
    worst = Verdict.INACTIVE if all(one is Verdict.INACTIVE for one in said) else max(said, key=lambda one: one.rank)
    words = {Severity.CRITICAL.value: Verdict.CRITICAL, Severity.WARNING.value: Verdict.WARNING, Severity.INFO.value: worst}
    raised = (words.get(severity, Verdict.UNKNOWN) for severity in {one["severity"] for one in counting})
    return max((worst, *raised), key=lambda word: word.rank)


def _base(node: str, reply: Reply, apart: Mapping[str, str], spoken_of: set[object]) -> Verdict | None:
    """What a node says beside its findings: those are counted by themselves, since the holder may explain them."""
    if isinstance(reply, Unreachable):
        return None if node in apart or node in spoken_of else Verdict.UNKNOWN
    word = reply.document["verdict"]
    if word in (Verdict.INACTIVE, Verdict.OK):
        return Verdict(word)
    # A bad word needs findings that bear it; without any the word itself is all there is.
    if word in (Verdict.WARNING, Verdict.CRITICAL):
        return Verdict.OK if reply.document["findings"] else Verdict(word)
    return Verdict.UNKNOWN


def _node_of(one: Document) -> object:
    subject = one.get("subject")
    return subject.get("node") if isinstance(subject, dict) else None


def _mode(statuses: Statuses, asked_node: str) -> str:
    """Of the asked node; where that cannot tell, what most of the others say."""
    modes = {node: reply.document.get("mode") for node, reply in statuses.items() if isinstance(reply, Answered)}
    own = modes.get(asked_node)
    known = [mode for mode in modes.values() if isinstance(mode, str) and mode != "unknown"]
    if isinstance(own, str) and own != "unknown":
        return own
    return max(sorted(set(known)), key=known.count) if known else "unknown"
