"""`/cluster`: the whole cluster as one agent gathered it. JSON carries other agents' documents as they came; text trusts none of them.

The first line answers whether it is the storage network, the second whether that can be believed, then the mesh, then findings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.clock import age_text, utc_text
from agent.model.finding import Scope, Severity, Verdict
from agent.model.gathered import Answered, MeshRow, NodePair, Roundup, Unreachable
from agent.model.peers import Mode
from agent.rules.blame_early import early_sentence
from agent.rules.roundup import MESH
from agent.rules.roundup_matrix import Cell, cell, reach_each_other
from agent.rules.roundup_read import number
from agent.serve import cluster_matrix
from agent.serve.alike import together
from agent.serve.documents import SCHEMA, Document
from agent.serve.tame import plain, tame
from agent.serve.text import paragraph, short_name, wrap

_MAX_PARAGRAPHS = 20
_MAX_EXPLANATIONS = 20
_JUST_NOW = "the last probe"
_SUBJECT = "the storage network "


def document(roundup: Roundup, *, wall: float, full: bool = False) -> Document:
    """`/api/v1/cluster`; `full` is `?matrix=full`: one row a pair."""
    return {
        "schema": SCHEMA,
        "generated_at": utc_text(wall),
        "asked_node": roundup.asked_node,
        "findings_from": roundup.judgement.source,
        "findings_age_seconds": round(roundup.judgement.age_seconds, 1),
        "verdict": roundup.verdict.value,
        "sentence": plain(_said(roundup)[0]),
        "mode": roundup.mode,
        "nodes": {node: _node(reply) for node, reply in roundup.statuses.items()},
        "apart": dict(roundup.apart),
        "matrix": [_pair(row) for row in roundup.rows] if full else _matrix(roundup),
        "findings": [dict(one) for one in roundup.judgement.findings],
    }


def _node(reply: Answered | Unreachable) -> Document:
    if isinstance(reply, Answered):
        return dict(reply.document)
    age = reply.last_answer_age_seconds
    return {"unreachable": reply.why, "age_seconds": None if age is None else round(age, 1)}


def _matrix(roundup: Roundup) -> list[Document]:
    """One row a node pair, then every failing pair, with its pods."""
    rows = [_node_pair(nodes, pair) for nodes, pair in roundup.matrix.items()]
    return rows + [_pair(row) for row in roundup.rows if row.failing and not row.stale]


def _node_pair(nodes: tuple[str, str], pair: NodePair) -> Document:
    return {"source_node": nodes[0], "peer_node": nodes[1], **_measured(pair.worst), "pairs": pair.pairs, "failing": pair.failing}


def _pair(row: MeshRow) -> Document:
    return {
        "source_node": row.source_node,
        "peer_node": row.peer_node,
        "source_pod": row.source_pod,
        "source_address": row.source_address,
        "peer_pod": row.peer_pod,
        "peer_address": row.peer_address,
        "role": row.role,
        **_measured(row),
        "pairs": 1,
        "failing": int(row.failing),
    }


def _measured(row: MeshRow) -> Document:
    return {
        "tcp": row.tcp,
        "http": row.http,
        "large": row.large,
        "rtt_seconds": row.rtt_seconds,
        "age_seconds": None if row.age_seconds is None else round(row.age_seconds, 1),
        "stale": row.stale,
    }


def text(roundup: Roundup) -> str:
    """`/cluster` for people."""
    told = [wrap(plain(sentence(roundup))), wrap(trust(roundup))]
    table = cluster_matrix.lines(roundup)
    told += ["", *table] if table else []
    counting = together(roundup.counting)
    for one in counting[:_MAX_PARAGRAPHS]:
        told += ["", paragraph(tame(one))]
    if len(counting) > _MAX_PARAGRAPHS:
        told += ["", f"and {len(counting) - _MAX_PARAGRAPHS} more: /api/v1/cluster has them all"]
    aside = _aside(roundup)
    return "\n".join(told + (["", *aside] if aside else [])) + "\n"


def sentence(roundup: Roundup) -> str:
    """Is it the storage network?"""
    said, more = _said(roundup)
    match roundup.verdict:
        case Verdict.OK:
            doubt = " so far" if said.startswith(_JUST_NOW) else ""
            return f"storage network ok{doubt}: {said}"
        case Verdict.UNKNOWN:
            return f"storage network: {said}"
        case Verdict.INACTIVE:
            return f"storage network {said}"
    if said.startswith(_SUBJECT):
        said = f"it {said.removeprefix(_SUBJECT)}"
    return f"storage network {roundup.verdict.value.upper()}: {said}{more}"


def _said(roundup: Roundup) -> tuple[str, str]:
    """What is wrong and who is to blame, or that nothing is; and how much it leaves unsaid."""
    match roundup.verdict:
        case Verdict.INACTIVE:
            return "not in use", ""
        case Verdict.OK:
            return _reach(roundup), ""
        case Verdict.UNKNOWN:
            return f"cannot tell: {_doubt(roundup)}", ""
    if not roundup.counting:
        return "see the nodes' own words", ""
    worst = roundup.counting[0]
    known = _judged(roundup, worst) if _is_of_the_mesh(worst) else None
    said = known or str(worst.get("summary") or f"{worst['id']} {worst.get('culprit') or ''}")
    others = [one for one in roundup.counting if one["severity"] == worst["severity"] and one.get("culprit") != worst.get("culprit")]
    if known:
        others = [one for one in others if not _is_of_the_mesh(one)]
    elif worst["id"] == "sources-stale":
        said, others = _cut_from_the_api(roundup), [one for one in others if one["id"] != "sources-stale"]
    elif worst.get("scope") in (Scope.POD, Scope.NODE):
        same = sorted((one for one in [worst, *others] if one["id"] == worst["id"]), key=lambda one: str(one.get("culprit")))
        others = [one for one in others if one not in same and not any(_touches(one, spoken_of) for spoken_of in same)]
        said = str(same[0].get("summary") or said) + (
            f"; the same on {_few([str(one.get('culprit')) for one in same[1:]])}" if len(same) > 1 else ""
        )
    plural = "s" if len(others) > 1 and worst["severity"] == Severity.WARNING else ""
    return said, f" (and {len(others)} more {worst['severity']}{plural})" if others else ""


def _cut_from_the_api(roundup: Roundup) -> str:
    """It is not the storage network, and of that is told how far it is known."""
    nodes = sorted({str(one.get("culprit")) for one in roundup.counting if one["id"] == "sources-stale"})
    answering = [node for node, reply in roundup.statuses.items() if isinstance(reply, Answered)]
    if len(nodes) > 1 and len(nodes) == len(answering):
        who = "no node hears"
    else:
        who = f"{_few(nodes)} {'does' if len(nodes) == 1 else 'do'} not hear"
    return f"{who} from the API server; {_reach(roundup)}"


def _judged(roundup: Roundup, worst: Mapping[str, Any]) -> str | None:
    """In the judge's words; of pairs that it has not seen fail yet, in those that its rules would find now."""
    known = roundup.judgement.sentence
    if known is not None and not _calm(known):
        return known
    return early_sentence(roundup) if worst.get("scope") == Scope.PAIR else None


def _touches(pair: Mapping[str, Any], worst: Mapping[str, Any]) -> bool:
    """Whether a failing pair is a matter of the node or pod that a finding already speaks of: it would be counted twice."""
    ends, subject = pair.get("subject"), worst.get("subject")
    if pair.get("scope") != Scope.PAIR or not isinstance(ends, dict) or not isinstance(subject, dict):
        return False
    name = worst.get("scope")
    return subject.get(name) is not None and subject.get(name) in (ends.get(name), ends.get(f"peer_{name}"))


def _is_of_the_mesh(finding: Mapping[str, Any]) -> bool:
    """What the judge folds into its one sentence; it says nothing of pools, pods that cannot start, or the setting."""
    return finding["id"] in MESH or finding.get("scope") == Scope.PAIR


def _calm(said: str) -> bool:
    """Whether the judge had nothing to say of the mesh yet: it looks once a round, and pairs fail in between."""
    return said.startswith("storage network")


def _reach(roundup: Roundup) -> str:
    """Claims no more than the rows prove."""
    nodes = cluster_matrix.nodes_of(roundup)
    if not nodes:
        return "no pod is attached to it" + (" yet, the setting is being applied" if roundup.mode == Mode.APPLYING else "")
    if len(nodes) == 1:
        return "1 node, no other to reach"
    if reach_each_other(roundup.matrix, nodes):
        silent = sum(cell(pair.worst) is Cell.NO_HTTP for pair in roundup.matrix.values())
        return f"{len(nodes)} nodes reach each other" + (f", {silent} of {len(roundup.matrix)} node pairs by TCP only" if silent else "")
    bad = sum(cell(pair.worst).fails for pair in roundup.matrix.values())
    if bad and not any(pair.failing for pair in roundup.matrix.values()):
        return f"{_JUST_NOW} of {bad} of {len(roundup.matrix)} node pairs failed, which is no finding yet"
    if bad:
        return f"no finding counts, but {bad} of {len(roundup.matrix)} node pairs fail"
    return f"{len(nodes)} nodes, nothing wrong found in {len(roundup.matrix)} node pairs"


def _doubt(roundup: Roundup) -> str:
    held = sum(int(number(reply.document.get("held_back")) or 0) for reply in roundup.statuses.values() if isinstance(reply, Answered))
    if held and roundup.mode == Mode.APPLYING:
        return f"the setting is being applied, and {held} finding{'' if held == 1 else 's'} of the nodes are held back meanwhile"
    silent = [node for node, reply in roundup.statuses.items() if isinstance(reply, Unreachable) and node not in roundup.apart]
    if silent:
        fine = roundup.matrix and not any(cell(pair.worst).fails for pair in roundup.matrix.values())
        said = f"{_few(silent)} did not answer"
        return f"{said}; nothing else found wrong" if fine else said
    unsure = [
        node for node, reply in roundup.statuses.items() if isinstance(reply, Answered) and reply.document["verdict"] == Verdict.UNKNOWN
    ]
    return f"{_few(unsure)} cannot tell yet" if unsure else "no evidence"


def _few(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")


def trust(roundup: Roundup) -> str:
    """Can I believe this?"""
    nodes, answering = len(roundup.statuses), sum(isinstance(reply, Answered) for reply in roundup.statuses.values())
    said = f"{nodes} node{'s' if nodes != 1 else ''}, {answering} agent{' answers' if answering == 1 else 's answer'}; "
    claim, judgement = roundup.claim, roundup.judgement
    if judgement.source != "self":
        said += f"findings from {judgement.source}, {age_text(judgement.age_seconds)} old"
        said += "" if claim.confirmed else " (its hold on the Lease is unconfirmed)"
    elif claim.node:
        said += f"{claim.node} holds the Lease but gave no findings: findings from self"
    elif claim.named:
        said += f"{claim.named} holds the Lease but does not answer: findings from self"
    else:
        said += "nobody holds the Lease: findings from self"
    if judgement.source == "self":
        said += "; of pools, pods that cannot start and the setting nobody tells now"
    return plain(said)


def _aside(roundup: Roundup) -> list[str]:
    """Explained findings are counted for each explanation, ignored ones for each reason."""
    counts: dict[str, dict[str, int]] = {}
    for one in roundup.explained:
        why = f"ignored ({one['ignored']})" if one.get("ignored") is not None else f"explained by {short_name(str(one['explained_by']))}"
        by_id = counts.setdefault(plain(why), {})
        by_id[plain(one["id"])] = by_id.get(plain(one["id"]), 0) + 1
    told = [wrap(f"{why}: {', '.join(f'{many} {name}' for name, many in by_id.items())}", hang="  ") for why, by_id in counts.items()]
    return told[:_MAX_EXPLANATIONS] + ([f"and {len(told) - _MAX_EXPLANATIONS} more reasons"] if len(told) > _MAX_EXPLANATIONS else [])
