"""Finds the smallest explanation of what all nodes tell: one cut-off node instead of a red row and column.

Pure: reports with their ages, `now` and the state of the last round go in, findings, explanations, one sentence and the next state come
out. It claims nothing on silence: a row that is missing or old, an agent that cannot be asked from here, a port that is closed are never
taken for a broken network. Mesh findings need two rounds (contract §5).
"""

from collections.abc import Iterable
from dataclasses import replace

from agent.model.blame import Blame, BlameState, NodeReport
from agent.model.catalogue import identity
from agent.model.finding import Finding
from agent.model.gathered import Silence
from agent.rules import blame_rounds, blame_texts
from agent.rules.blame_claims import claims
from agent.rules.blame_explain import explanations
from agent.rules.blame_mesh import MeshView, read_mesh
from agent.rules.blame_sentence import sentence, width


def blame(
    reports: Iterable[NodeReport],
    *,
    state: BlameState,
    now: float,
    interval_seconds: float,
    agent_missing_seconds: float,
    probe_interval_seconds: float = 10.0,
) -> Blame:
    """One round. `now` is monotonic; `interval_seconds` is how often this is called (`cluster.interval_seconds`)."""
    long_broken = blame_rounds.long_broken(state.broken_since, now=now, probe_interval_seconds=probe_interval_seconds)
    mesh = read_mesh(reports, now=now, broken_since=long_broken)
    everybody = mesh.reports.values()
    state = BlameState(
        claims=state.claims,
        unanswered_since=blame_rounds.unanswered_since(state.unanswered_since, everybody, now=now, watching_since=state.watching_since),
        ready_since=blame_rounds.ready_since(state.ready_since, everybody, now=now),
        broken_since=state.broken_since,
        passing_since=blame_rounds.passing_since(state.passing_since, mesh, now=now),
        watching_since=state.watching_since,
    )
    shown = claims(mesh, state=state, now=now)
    claimed = blame_rounds.advance(state.claims, shown, mesh, now=now, interval_seconds=interval_seconds)
    standing = sorted((one.finding for one in claimed.values() if one.standing), key=width)
    pending = [one.finding for one in claimed.values() if not one.standing]
    missing = _missing(mesh, standing, state=state, now=now, threshold_seconds=agent_missing_seconds)
    return Blame(
        findings=(*standing, *missing),
        explanations={
            **explanations(mesh, standing),
            **{identity(finding): finding.explained_by for finding in missing if finding.explained_by is not None},
        },
        verdict_sentence=sentence(mesh, standing=standing, pending=pending, missing=missing),
        state=replace(state, claims=claimed, broken_since=blame_rounds.broken_since(state.broken_since, mesh, now=now)),
    )


def _missing(mesh: MeshView, standing: list[Finding], *, state: BlameState, now: float, threshold_seconds: float) -> list[Finding]:
    """agent-missing. What fails on our own side says nothing about the agent."""
    down = {finding.subject.node: finding.name for finding in standing if finding.id in ("node-down", "node-cut-off")}
    asked = [mesh.reports[node] for node in mesh.parts if mesh.reports[node].silence is not Silence.OURS]
    alone = len(asked) > 2 and sum(report.answered for report in asked) == 1
    found = []
    for report in asked:
        seconds = now - state.unanswered_since.get(report.name, now)
        if not report.answered and seconds >= threshold_seconds:
            runs, why = _linked(mesh, report), down.get(report.name)
            found.append(blame_texts.agent_missing(report, seconds=seconds, alone=alone, runs=runs, why_down=why))
    return found


def _linked(mesh: MeshView, report: NodeReport) -> bool:
    """Whether others reach the node's storage pods."""
    ways = mesh.nodes.get(report.name)
    return ways is not None and bool(ways.linked)
