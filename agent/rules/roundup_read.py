"""Reads what other agents answered: status documents, rows of the mesh, and the holder's findings with what they explain.

Tolerant on purpose: agents of two versions live together. Unknown keys, ids and reasons are carried through; a document whose outline is
wrong becomes "bad answer", one wrong row or explanation is skipped and counted, and nothing that came in is changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from types import MappingProxyType
from typing import Any

from agent.model.catalogue import CATALOGUE
from agent.model.gathered import Answered, Document, Identity, Judgement, MeshRow, Reply, Rows, Silence, Unreachable

MAX_ROWS = 8192
"""Of one node; `probe.fanout` asks far fewer."""
MAX_EXPLANATIONS = 65536
MAX_NAME_CHARACTERS = 512
"""Namespace and name of a pod are at most 63 + 1 + 253."""
STALE_ROUNDS = 3
"""A row that was not renewed for so many rounds is no evidence any more."""

_NOBODY: Mapping[str, float | None] = MappingProxyType({})


def read_statuses(
    own: Document,
    replies: Mapping[str, Reply],
    *,
    own_node: str,
    now: float,
    expected: Mapping[str, float | None] = _NOBODY,
) -> dict[str, Reply]:
    """By node, sorted: our own document without a request, and every reply whose outline is that of a status document.

    `expected` are nodes where an agent should be (those with storage pods), with the age of their last answer if there was one: who of
    them was not asked, since no agent pod is known there, stands as not answering.
    """
    read: dict[str, Reply] = {
        node: Unreachable(silence=Silence.NO_AGENT, why="no agent pod runs there", last_answer_age_seconds=age)
        for node, age in expected.items()
    }
    read |= {node: _status(node, reply) for node, reply in replies.items()}
    read[own_node] = Answered(document=own, received_monotonic_seconds=now)
    return dict(sorted(read.items()))


def _status(node: str, reply: Reply) -> Reply:
    if isinstance(reply, Unreachable):
        return reply
    wrong = _what_is_wrong(reply.document, node)
    return reply if wrong is None else Unreachable(silence=Silence.BAD_ANSWER, why=f"bad answer: {wrong}")


def _what_is_wrong(document: Document, node: str) -> str | None:
    name, findings = document.get("node"), document.get("findings")
    if not isinstance(name, str) or not isinstance(document.get("verdict"), str) or not isinstance(findings, list):
        return "not a status document"
    if name != node:
        return f"it says it is {name[:64]}" if name.isprintable() else "it says it is another node"
    return None if all(is_finding(one) for one in findings) else "a finding without id and severity"


def is_finding(one: object) -> bool:
    """The least that must be there for a finding to be told at all."""
    return isinstance(one, dict) and all(isinstance(one.get(key), str) for key in ("id", "severity"))


def read_rows(reply: Reply, *, node: str, now: float) -> Rows | None:
    """The rows of `node`, ages counted up to `now`; None where there is no document of that kind."""
    if isinstance(reply, Unreachable):
        return None
    document = reply.document
    told = [document.get(key) for key in ("sources", "peers", "rows")]
    if document.get("node") != node or not all(isinstance(part, list) for part in told):
        return None
    sources, peers, raw = (part for part in told if isinstance(part, list))
    addresses = document.get("source_addresses")
    interval, coverage = number(document.get("interval_seconds")), number(document.get("coverage_seconds"))
    head = Rows(
        node=node,
        round=int(number(document.get("round")) or 0),
        interval_seconds=interval or 0.0,
        coverage_seconds=coverage or 0.0,
    )
    reader = _RowReader(
        node, sources, addresses if isinstance(addresses, list) else [], peers, max(0.0, now - reply.received_monotonic_seconds)
    )
    limit = STALE_ROUNDS * max(head.interval_seconds, head.coverage_seconds)
    rows = []
    for one in raw[:MAX_ROWS]:
        row = reader.read(one)
        if row is not None:
            rows.append(replace(row, stale=True) if limit and row.age_seconds is not None and row.age_seconds > limit else row)
    return replace(head, rows=tuple(rows), skipped=len(raw) - len(rows))


class _RowReader:
    """The tables that a row's numbers point into."""

    def __init__(self, node: str, sources: Sequence[Any], addresses: Sequence[Any], peers: Sequence[Any], travelled_seconds: float) -> None:
        self._node = node
        self._sources = [_name(one) for one in sources]
        self._addresses = [_name(one) for one in addresses]
        self._peers = [_peer(one) for one in peers]
        self._travelled_seconds = travelled_seconds

    def read(self, raw: object) -> MeshRow | None:
        """None if it cannot be read. More columns than we know are a newer agent's."""
        if not isinstance(raw, list) or len(raw) < 8:
            return None
        source, peer = _at(self._sources, raw[0]), _at(self._peers, raw[1])
        if source is None or peer is None:
            return None
        tcp, rtt, age = _name(raw[2]), number(raw[5]), number(raw[6])
        return MeshRow(
            source_node=self._node,
            source_pod=source,
            source_address=_at(self._addresses, raw[0]),
            peer_node=peer[0],
            peer_pod=peer[1],
            peer_address=peer[2],
            role=peer[3],
            tcp=tcp,
            http=_name(raw[3]),
            large=_name(raw[4]),
            rtt_seconds=rtt if tcp == "ok" else None,
            age_seconds=None if age is None else age + self._travelled_seconds,
            failing=raw[7] in (1, True),
            answered_otherwise=len(raw) > 8 and raw[8] in (1, True),
            failed_as=_name(raw[9]) if len(raw) > 9 else None,
        )


def _peer(one: object) -> tuple[str, str, str | None, str] | None:
    if not isinstance(one, list) or len(one) < 4:
        return None
    node, pod, role = _name(one[0]), _name(one[1]), _name(one[3])
    return None if node is None or pod is None or role is None else (node, pod, _name(one[2]), role)


def _at(table: Sequence[Any], index: object) -> Any:
    return table[index] if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(table) else None


def _name(one: object) -> str | None:
    """Printable, since names end up in tables on terminals."""
    return one if isinstance(one, str) and 0 < len(one) <= MAX_NAME_CHARACTERS and one.isprintable() else None


def number(one: object) -> float | None:
    """A number that counts something: finite and not negative; anything else is not known."""
    return float(one) if isinstance(one, (int, float)) and not isinstance(one, bool) and isfinite(one) and one >= 0 else None


def read_explanations(reply: Reply, *, node: str, now: float) -> Judgement | None:
    """What the holder `node` answered to /api/v1/explanations; None where that is no such document, or another's."""
    if isinstance(reply, Unreachable):
        return None
    document = reply.document
    findings, raw = document.get("findings"), document.get("explanations")
    if document.get("node") != node or not isinstance(findings, list) or not isinstance(raw, list):
        return None
    kept = tuple(one for one in findings if is_finding(one))
    explanations: dict[Identity, str] = {}
    skipped = len(findings) - len(kept)
    for one in raw[:MAX_EXPLANATIONS]:
        if isinstance(one, list) and len(one) >= 3 and all(isinstance(part, str) for part in one):
            explanations[tuple(one[:-1])] = one[-1]
        else:
            skipped += 1
    sentence = document.get("sentence")
    return Judgement(
        source=node,
        findings=kept,
        explanations=explanations,
        age_seconds=(number(document.get("age_seconds")) or 0.0) + max(0.0, now - reply.received_monotonic_seconds),
        sentence=sentence if isinstance(sentence, str) and sentence else None,
        skipped=skipped,
    )


def identity_of(finding: Document) -> Identity | None:
    """As `catalogue.identity`, of a finding's JSON; None for an id that only a newer agent knows."""
    kind, subject = CATALOGUE.get(finding["id"]), finding.get("subject")
    if kind is None or not isinstance(subject, dict):
        return None
    told = {**subject, "network_kind": finding.get("network_kind")}
    return (kind.id, *(str(told.get(key) or "") for key in kind.keys))
