"""Keeps mesh findings over rounds: one that two rounds show stands; one that nothing contradicts outlives three rounds of silence.

A fresh claim about the same thing takes over from the old one (node-down becomes node-cut-off, a split takes in one more node), so that
nobody sees the fault go and come again.
"""

from collections.abc import Iterable, Mapping
from math import inf

from agent.model.blame import Claimed, NodeReport
from agent.model.catalogue import identity
from agent.model.finding import Finding
from agent.model.gathered import Identity
from agent.rules.blame_claims import Claim
from agent.rules.blame_mesh import ENOUGH_WITNESSES, MeshView

HELD_ROUNDS = 3.0
"""Without a fresh row, as for explanations (contract §3)."""
WEAK_ROUNDS = 3.0
"""A pod's own finding needs a second look, at most an inspection and `disagreement_seconds` after the pairs fail."""
SETTLED_ROUNDS = 1.5
"""A round of probes is spread over its interval: after one and a half every node has had a whole one."""
UNWATCHED_SECONDS = 10.0
"""How much of the time before a judge took up its duty counts for an agent that it has not heard since: a round, as the judge before it
would have asked."""
SAME_ROUND = 0.5
"""Of an interval: two askings closer than this saw the same rows."""


def advance(
    before: Mapping[Identity, Claimed], claims: Iterable[Claim], mesh: MeshView, *, now: float, interval_seconds: float
) -> dict[Identity, Claimed]:
    """What is claimed after this round, in the claims' order, then what is held. `now` is monotonic."""
    before = {key: old for key, old in before.items() if now - old.last_seconds <= HELD_ROUNDS * interval_seconds}
    after: dict[Identity, Claimed] = {}
    topics = {_topic(identity(one.finding)): one for one in claims}
    inherited = {_topic(key) for key, old in before.items() if old.standing}
    for topic, claim in topics.items():
        key = identity(claim.finding)
        old = before.get(key)
        first = old.first_seconds if old else now
        wait = (WEAK_ROUNDS if claim.weak else SAME_ROUND) * interval_seconds
        again = old is not None and now - first >= wait
        finding, worded = claim.finding, now
        if old is not None and _names_less(finding, old, now=now, interval_seconds=interval_seconds):
            finding, worded = old.finding, old.worded_seconds or old.last_seconds
        standing = again or topic in inherited
        after[key] = Claimed(finding=finding, first_seconds=first, last_seconds=now, standing=standing, worded_seconds=worded)
    shown = {key[0] for key, one in after.items() if one.standing}
    for key, old in before.items():
        outdated = _topic(key) in topics or "network-down" in shown or (key[0] == "network-down" and shown)
        if old.standing and not outdated and not _contradicted(old.finding, mesh):
            after[key] = old
    return after


def _names_less(finding: Finding, old: Claimed, *, now: float, interval_seconds: float) -> bool:
    """A mended cause is heard of at once, that packets pass only after two probes: meanwhile nobody is sent to the switch."""
    if finding.id != "node-cut-off" or finding.reason is not None or old.finding.reason is None:
        return False
    return old.standing and now - (old.worded_seconds or old.last_seconds) <= HELD_ROUNDS * interval_seconds


def _topic(key: Identity) -> Identity:
    """Findings of one topic take over from each other."""
    if key[0] in ("node-down", "node-cut-off"):
        return ("node", key[1])
    return ("network-split",) if key[0] == "network-split" else key


def _contradicted(finding: Finding, mesh: MeshView) -> bool:
    """Whether anything fresh speaks against a finding of an earlier round."""
    subject = finding.subject
    match finding.id:
        case "network-down":
            return mesh.linked_anywhere
        case "one-way":
            there, back = (subject.node or "", subject.peer_node or ""), (subject.peer_node or "", subject.node or "")
            return mesh.ways.get(there) is True or mesh.ways.get(back) is False
        case "network-split":
            side = {node: number for number, group in enumerate((subject.groups or "").split("|")) for node in group.split(",")}
            return any(works and side.get(a, -1) != side.get(b, -1) for (a, b), works in mesh.ways.items() if a in side and b in side)
    node = mesh.nodes.get(subject.node or "")
    if node is None or node.linked:
        return True
    return finding.id == "node-down" and mesh.reports[subject.node or ""].answered


def ready_since(before: Mapping[str, float], reports: Iterable[NodeReport], *, now: float) -> dict[str, float]:
    """Since when every round saw the Node Ready, by node."""
    return {report.name: before.get(report.name, now) for report in reports if report.kube_ready}


def unanswered_since(
    before: Mapping[str, float], reports: Iterable[NodeReport], *, now: float, watching_since: float | None
) -> dict[str, float]:
    """Since when an agent has not answered, by node: by its last answer, or since we first missed it.

    An answer from before we asked regularly may be hours old, and nobody would have missed a newer one.
    """
    earliest = -inf if watching_since is None else watching_since - UNWATCHED_SECONDS
    since: dict[str, float] = {}
    for report in reports:
        if report.answered:
            continue
        age = report.answer_age_seconds
        since[report.name] = before.get(report.name, now) if age is None else max(earliest, now - age)
    return since


def broken_since(before: Mapping[tuple[str, ...], float], mesh: MeshView, *, now: float) -> dict[tuple[str, ...], float]:
    """Since when every round saw a way fail, and a node fail with as many others as make it suspect."""
    with_whom: dict[str, set[str]] = {}
    for source, peer in mesh.reasons:
        with_whom.setdefault(source, set()).add(peer)
        with_whom.setdefault(peer, set()).add(source)
    suspect = min(ENOUGH_WITNESSES, len(mesh.parts) - 1)
    keys: list[tuple[str, ...]] = [*mesh.reasons, *((node,) for node, others in with_whom.items() if len(others) >= suspect)]
    return {key: before.get(key, now) for key in keys}


def passing_since(before: Mapping[tuple[str, str], float], mesh: MeshView, *, now: float) -> dict[tuple[str, str], float]:
    """Since when a way passes that was broken before; infinite while it is broken. A way that always passed is not in it."""
    parts = set(mesh.parts)
    since = {way: at for way, at in before.items() if parts.issuperset(way)}
    for way, works in mesh.ways.items():
        if not works:
            since[way] = inf
        elif since.get(way) == inf:
            since[way] = now
    return since


def long_broken(since: Mapping[tuple[str, ...], float], *, now: float, probe_interval_seconds: float) -> dict[tuple[str, ...], float]:
    """Nodes that are broken for so long that a living one would have passed something since."""
    return {key: at for key, at in since.items() if len(key) == 1 and now - at >= SETTLED_ROUNDS * probe_interval_seconds}
