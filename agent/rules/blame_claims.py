"""From ways between nodes to claims: network down, split, a node down or cut off, one way only. At most one claim speaks of a node pair.

Judges one round; whether a claim stands is a matter of rounds and kept elsewhere. Where the ways do not suffice it claims nothing: a red
pair stays a red pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from agent.model.blame import BlameState, NodeReport
from agent.model.finding import Finding
from agent.model.gathered import Silence
from agent.rules import blame_texts as texts
from agent.rules.blame_mesh import ENOUGH_WITNESSES, MeshView

READY_SECONDS = 90.0
"""A dead machine's Node stays Ready for some 40 s; one that is Ready for longer lives, and only its network is gone (contract §5)."""
THOROUGH = 4
"""Most nodes must fail with so many others (or with all there are) before the network is called down: two cut-off nodes and a pair of
which nothing is known look much the same."""
MAX_ONE_WAY = 64
"""More than anybody reads; their pairs are red without us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`weak`: only the pods' own state speaks for it so far, and their own findings, on their way, would say more."""

    finding: Finding
    weak: bool = False


def claims(mesh: MeshView, *, state: BlameState, now: float) -> tuple[Claim, ...]:
    """What this round shows, the widest first."""
    given_up = [Claim(finding=texts.node_down(mesh, node)) for node in _given_up(mesh, state)]
    if len(mesh.parts) < 2:
        return tuple(given_up)
    return (*_of_parts(mesh, state=state, now=now), *given_up)


def _given_up(mesh: MeshView, state: BlameState) -> list[str]:
    """Nodes that were down when Kubernetes or Longhorn ended their pods, minutes later: no pair is left to fail."""
    were = sorted(key[1] for key, old in state.claims.items() if key[0] == "node-down" and old.standing)
    reports = {node: mesh.reports[node] for node in were if node in mesh.reports}
    return [node for node, one in reports.items() if not one.takes_part and _is_silent(one) and one.kube_ready is False]


def _of_parts(mesh: MeshView, *, state: BlameState, now: float) -> tuple[Claim, ...]:
    down = _down(mesh)
    core = [node for node in mesh.parts if node not in down]
    made = [_silent(mesh, node, state=state, now=now) for node in sorted(down)]
    if not mesh.linked_anywhere:
        return (*_no_pair_works(mesh, core), *made)
    groups = _groups(mesh, excluded=down)
    fit = {node for node in core if mesh.nodes[node].linked}
    cut = [node for node in core if _is_cut_off(mesh, node, fit)]
    # A node of which it is not known how it fares with one of the groups may well belong to that.
    cut = [node for node in cut if all(mesh.nodes[node].broken.intersection(group) for group in groups)]
    made += [Claim(finding=texts.node_cut_off(mesh, node), weak=_is_weak(mesh, node)) for node in cut]
    split = [Claim(finding=texts.network_split(groups))] if groups else []
    return (*split, *made, *_one_way(mesh, state=state, now=now))


def _down(mesh: MeshView) -> set[str]:
    """Nodes whose agents are silent and that no pair reaches. A single witness that hears nobody rather has lost its own way."""
    askers = {source for source, _ in mesh.ways}
    # Who is cut off himself reaches nobody whatever their state.
    fit = {node for node in askers if mesh.nodes[node].linked} or askers
    quiet = {name for name in mesh.parts if _is_silent(mesh.reports[name])}
    down = set()
    for node in quiet:
        ways = mesh.nodes[node]
        if ways.linked or not _enough(ways.not_reached_by & fit, fit - {node}):
            continue
        alone = len(askers) == 1 and len(quiet) > 1
        if not alone or mesh.reports[node].kube_ready is False:
            down.add(node)
    return down


def _is_silent(report: NodeReport) -> bool:
    return not report.answered and report.silence is Silence.SILENT


def _enough(found: set[str], possible: set[str]) -> bool:
    return len(found) >= max(1, min(ENOUGH_WITNESSES, len(possible)))


def _silent(mesh: MeshView, node: str, *, state: BlameState, now: float) -> Claim:
    """node-down, or node-cut-off where the Node proves to live."""
    report, old = mesh.reports[node], {key[0]: one for key, one in state.claims.items() if key[1:] == (node,)}
    cut, down = old.get("node-cut-off"), old.get("node-down")
    if cut is not None and cut.standing and report.kube_ready is not False:
        return Claim(finding=texts.node_cut_off(mesh, node))
    ready_since = state.ready_since.get(node)
    if down is not None and down.standing and ready_since is not None and report.kube_ready:
        since = max(down.first_seconds, ready_since)
        if now - since >= READY_SECONDS:
            return Claim(finding=texts.node_cut_off(mesh, node))
    return Claim(finding=texts.node_down(mesh, node))


def _is_cut_off(mesh: MeshView, node: str, fit: set[str]) -> bool:
    """By its own fresh row, and by those of others, while others reach each other; nodes without a link of their own are no witnesses."""
    ways = mesh.nodes[node]
    if ways.linked or not fit or not mesh.reports[node].answered:
        return False
    reaching, reached = ways.cannot_reach & fit, ways.not_reached_by & fit
    return bool(reaching and reached) and _enough(reaching | reached, fit)


def _is_weak(mesh: MeshView, node: str) -> bool:
    return all((node, peer) in mesh.weak for peer in mesh.nodes[node].cannot_reach)


def _no_pair_works(mesh: MeshView, core: list[str]) -> tuple[Claim, ...]:
    """network-down; of two nodes the one that knows a cause on its host path."""
    live = set(core)
    known = [node for node in core if mesh.nodes[node].broken & live]
    asking = [node for node in known if mesh.reports[node].answered and mesh.nodes[node].cannot_reach & live]
    mute = [node for node in core if node not in known and mesh.reports[node].answered and not mesh.reports[node].pod_findings]
    if len(asking) < 2 or 2 * len(asking) <= len(known) or mute:
        return ()
    fails_with = {node: len(mesh.nodes[node].broken & live) for node in known}
    thorough = sum(many >= min(THOROUGH, len(known) - 1) for many in fails_with.values())
    if 2 * thorough <= len(known):
        return ()
    weak = all(_is_weak(mesh, node) for node in asking)
    if len(known) == 2:
        causes = [node for node in known if texts.cause(mesh.reports[node])]
        if len(causes) == 1:
            return (Claim(finding=texts.node_cut_off(mesh, causes[0]), weak=weak),)
    return (Claim(finding=texts.network_down(mesh, known), weak=weak),)


def _groups(mesh: MeshView, *, excluded: set[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of nodes, each joined by pairs that work, each pair of groups shown apart by pairs that fail; () if there is one only."""
    found = [part for part in _components(mesh, excluded) if len(part) > 1]
    if len(found) < 2:
        return ()
    groups: list[set[str]] = []
    for part in sorted(found, key=lambda part: (-len(part), min(part))):
        near = [group for group in groups if not _apart(mesh, part, group)]
        if not near:
            groups.append(set(part))
        elif len(near) == 1:
            near[0].update(part)
    smaller = groups[1:]
    everybody = set().union(*groups)
    proven = all(mesh.nodes[node].broken & (everybody - group) for group in smaller for node in group)
    return tuple(sorted(tuple(sorted(group)) for group in groups)) if smaller and proven else ()


def _apart(mesh: MeshView, one: set[str], other: set[str]) -> bool:
    small, large = (one, other) if len(one) <= len(other) else (other, one)
    return any(mesh.nodes[node].broken & large for node in small)


def _components(mesh: MeshView, excluded: set[str]) -> list[set[str]]:
    found: list[set[str]] = []
    seen = set(excluded)
    for start in mesh.parts:
        if start in seen:
            continue
        part, ahead = {start}, [start]
        while ahead:
            for other in mesh.nodes[ahead.pop()].linked - part - excluded:
                part.add(other)
                ahead.append(other)
        seen |= part
        found.append(part)
    return found


def _one_way(mesh: MeshView, *, state: BlameState, now: float) -> list[Claim]:
    """Only where both was seen of one time. While a node goes down, one side knows it before the other: the other way must have passed
    after this one was first seen broken. While it comes back, one side has probed before the other: this one must have failed after the
    other passed again."""
    ways: Mapping[tuple[str, str], bool] = mesh.ways
    single = []
    for nodes in sorted(nodes for nodes, works in ways.items() if not works):
        back = (nodes[1], nodes[0])
        if not ways.get(back) or now - mesh.passed_age_seconds[back] < state.broken_since.get(nodes, -inf):
            continue
        if now - mesh.failed_age_seconds.get(nodes, inf) >= state.passing_since.get(back, -inf):
            single.append(nodes)
    return [Claim(finding=texts.one_way(mesh, *nodes), weak=nodes in mesh.weak) for nodes in single[:MAX_ONE_WAY]]
