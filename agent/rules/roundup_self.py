"""Judges the mesh where nobody holds the Lease, or who holds it does not answer: the asked agent's own look, by the holder's rules.

Pure. A reader may come once and not again, so the first look must not wait for a second one: what the nodes themselves tell of for a
round and longer is taken as the round before. Pools, the setting and pods that cannot start stay unjudged: only a holder watches them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from agent.model.blame import BlameState, NodeReport
from agent.model.catalogue import identity
from agent.model.finding import ActiveFinding, Finding, Severity
from agent.model.gathered import Answered, Identity, Roundup
from agent.model.peers import Mode
from agent.rules.blame import blame
from agent.rules.blame_read import reports_of
from agent.rules.blame_rounds import HELD_ROUNDS, SAME_ROUND
from agent.rules.roundup_read import identity_of, number
from agent.rules.verdict import Ignoring, apply_settings, visible

_A_ROUND = 1.01
"""A shade more than one, so that no rounding makes less of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfState:
    """What the next look must know of this one. Start with an empty one."""

    blame: BlameState = field(default_factory=BlameState)
    looked_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfJudged:
    findings: tuple[ActiveFinding, ...]
    explanations: Mapping[Identity, str]
    sentence: str
    state: SelfState


def judge_alone(
    roundup: Roundup,
    *,
    before: SelfState,
    now: float,
    wall: float,
    probe_interval_seconds: float,
    agent_missing_seconds: float,
    severities: Mapping[str, Severity | None],
    ignore: Iterable[Ignoring],
) -> SelfJudged:
    """One look at what was gathered. `now` is monotonic; looks may come at any distance, closer than a round as well."""
    # Two looks closer than a round of probes may have seen the same rows: only after a round does a second one count.
    interval = probe_interval_seconds / SAME_ROUND
    reports = tuple(reports_of(roundup, {}))
    state = before.blame
    if before.looked_seconds is None or now - before.looked_seconds > HELD_ROUNDS * interval:
        state = _round_before(
            roundup, reports, now=now, probe_interval_seconds=probe_interval_seconds, agent_missing_seconds=agent_missing_seconds
        )
    told = blame(
        reports,
        state=state,
        now=now,
        interval_seconds=interval,
        agent_missing_seconds=agent_missing_seconds,
        probe_interval_seconds=probe_interval_seconds,
    )
    mode = Mode(roundup.mode) if roundup.mode in set(Mode) else Mode.UNKNOWN
    active = apply_settings(
        (_active(one, told.state, now=now, wall=wall) for one in told.findings), severities=severities, ignore=ignore, wall=wall
    )
    shown, _ = visible(active, mode=mode, held=mode is Mode.APPLYING and _held_back(roundup))
    return SelfJudged(
        findings=shown,
        explanations=told.explanations,
        sentence=told.verdict_sentence,
        state=SelfState(blame=told.state, looked_seconds=now),
    )


def _round_before(
    roundup: Roundup, reports: Iterable[NodeReport], *, now: float, probe_interval_seconds: float, agent_missing_seconds: float
) -> BlameState:
    """The state that a look one round ago would have left, as far as the nodes' findings prove it: a pair that fails for a shorter time
    is not known there, and an agent that answered since did answer."""
    seconds = _A_ROUND * probe_interval_seconds
    old = {
        key[1:]
        for reply in roundup.statuses.values()
        if isinstance(reply, Answered)
        for one in reply.document["findings"]
        if one.get("scope") == "pair" and (number(one.get("age_seconds")) or 0.0) >= seconds and (key := identity_of(one)) is not None
    }

    def earlier(report: NodeReport) -> NodeReport:
        rows = tuple(row for row in report.rows if not row.failing or (row.source_node, row.source_pod, row.peer_node, row.peer_pod) in old)
        age = report.answer_age_seconds
        if not report.answered and age is not None and age < seconds:
            return replace(report, answered=True, silence=None, rows=rows)
        return replace(report, rows=rows)

    state = blame(
        [earlier(report) for report in reports],
        state=BlameState(),
        now=now - seconds,
        interval_seconds=probe_interval_seconds / SAME_ROUND,
        agent_missing_seconds=agent_missing_seconds,
        probe_interval_seconds=probe_interval_seconds,
    ).state
    # An agent that never answered us is missed from now on: its silence of before is nobody's word.
    claims = {key: claimed for key, claimed in state.claims.items() if key[0] != "one-way" or _failed_last(reports, key[1], key[2])}
    return replace(state, unanswered_since={}, claims=claims)


def _failed_last(reports: Iterable[NodeReport], node: str, peer: str) -> bool:
    """Whether the way failed after the way back had passed. No row tells since when it passes, and one side that comes back a probe
    before the other looks like one way only; what is not so clear has to wait for a second look."""
    rows = [row for report in reports for row in report.rows if row.age_seconds is not None and not row.stale]
    there = [row for row in rows if (row.source_node, row.peer_node) == (node, peer) and row.failing and not row.mending]
    back = [row for row in rows if (row.source_node, row.peer_node) == (peer, node) and not row.failing]
    failed, passed = ([row.age_seconds or 0.0 for row in way] for way in (there, back))
    return bool(failed and passed) and min(failed) <= min(passed)


def _active(finding: Finding, state: BlameState, *, now: float, wall: float) -> ActiveFinding:
    claimed = state.claims.get(identity(finding))
    since = claimed.first_seconds if claimed else state.unanswered_since.get(finding.subject.node or "", now)
    last = claimed.last_seconds if claimed else now
    return ActiveFinding(
        finding=finding,
        since_monotonic_seconds=since,
        last_seen_monotonic_seconds=last,
        since_wall_seconds=wall - (now - since),
        last_seen_wall_seconds=wall - (now - last),
    )


def _held_back(roundup: Roundup) -> bool:
    """While the setting is being applied each node holds back its own failing pairs; so do we with what we conclude from them."""
    documents = (reply.document for reply in roundup.statuses.values() if isinstance(reply, Answered))
    return any((number(document.get("held_back")) or 0) > 0 for document in documents)
