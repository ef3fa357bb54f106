"""The mesh as a table of 80 columns: one cell a node pair; of more than a dozen nodes only those with something to say.

A large cluster with one sick node must still show which one: nodes are picked so that every bad cell has its row or its column, and all
others share one row and one column.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.model.finding import Severity
from agent.model.gathered import Answered, NodePair, Roundup
from agent.rules.roundup_matrix import Cell, cell, reach_each_other
from agent.serve.text import WIDTH, wrap

MAX_WHOLE = 12
"""Nodes up to which every row and column is shown."""
_MAX_PICKED = 9
"""Of more nodes: so many columns of their own, and one for the others, fit beside a name."""
_LEGEND = ("ms of the slowest pair; X no TCP; h no HTTP; m only small packets pass;", "? older than 3 rounds; - no agent answers")
_CORNER = "from \\ to"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Nodes that share a row and a column."""

    name: str
    nodes: tuple[str, ...]


def nodes_of(roundup: Roundup) -> list[str]:
    """All that take part, in the order a person counts: harv9 before harv10."""
    known = {*roundup.statuses, *(node for pair in roundup.matrix for node in pair)}
    return sorted(known - roundup.apart.keys(), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() and part.isascii() and len(part) < 10 else (-1, part) for part in re.split(r"(\d+)", name)]


def lines(roundup: Roundup) -> list[str]:
    """The table with its legend, then those who take no part."""
    nodes = nodes_of(roundup)
    told: list[str] = []
    if roundup.matrix and len(nodes) > MAX_WHOLE:
        told = _large(roundup, nodes)
    elif roundup.matrix:
        told = [*_table(roundup, [_Group(name=node, nodes=(node,)) for node in nodes]), *_LEGEND]
    else:
        told = _states(roundup, nodes)
    return told + _apart(roundup)


def _large(roundup: Roundup, nodes: Sequence[str]) -> list[str]:
    bad = [pair for pair, told in roundup.matrix.items() if cell(told.worst).bad or cell(told.worst) is Cell.STALE]
    told = []
    picked: list[str] = []
    if 2 * len(bad) >= len(roundup.matrix):
        told.append(wrap(f"{len(bad)} of {len(roundup.matrix)} node pairs fail or were not asked for 3 rounds"))
    elif bad:
        picked = sorted(_pick(bad), key=_natural)
    others = tuple(node for node in nodes if node not in picked)
    if picked:
        groups = [_Group(name=node, nodes=(node,)) for node in picked] + [_Group(name=f"{len(others)} others", nodes=others)]
        told += [*_table(roundup, groups), *_LEGEND, wrap("3X: so between three of these nodes; all X: between all")]
    return told + _rest(roundup, others) + _states(roundup, nodes)


def _pick(bad: Iterable[tuple[str, str]]) -> set[str]:
    """The nodes that most bad cells belong to, until every bad cell has one; then the other ends, while there is room."""
    left = set(bad)
    picked: set[str] = set()
    ends: list[str] = []
    while left and len(picked) < _MAX_PICKED:
        counts = Counter(node for pair in left for node in pair)
        best = max(counts, key=lambda node: (counts[node], node))
        mine = {pair for pair in left if best in pair}
        ends += [node for pair in sorted(mine)[:2] for node in pair] if len(mine) <= 2 else []
        picked.add(best)
        left -= mine
    for node in ends:
        if len(picked) < _MAX_PICKED:
            picked.add(node)
    return picked


def _rest(roundup: Roundup, others: Sequence[str]) -> list[str]:
    """One line for all without anything to say."""
    answering = [node for node in others if node in roundup.told_rows]
    known = set(answering)
    between = {pair: told for pair, told in roundup.matrix.items() if known.issuperset(pair)}
    if len(answering) < 2 or not between or any(cell(told.worst) is not Cell.OK for told in between.values()):
        return []
    said = f"{len(answering)} nodes reach each other"
    if not reach_each_other(between, answering):
        said += f" in all {len(between)} node pairs asked"
    pair, slowest = max(between.items(), key=lambda item: item[1].worst.rtt_seconds or 0.0)
    if slowest.worst.rtt_seconds is not None:
        said += f", slowest {milliseconds(slowest)} ms {pair[0]} > {pair[1]}"
    return [wrap(said)]


def _table(roundup: Roundup, groups: Sequence[_Group]) -> list[str]:
    body = [[_cell_text(roundup, row, column) for column in groups] for row in groups]
    states = [_state(roundup, row.nodes[0]) if len(row.nodes) == 1 else "" for row in groups]
    headings, labels = [group.name for group in groups], [group.name for group in groups]
    if not _fits(labels, headings, body, states):
        headings = [str(i + 1) for i in range(len(groups))]
        width, _ = _widths(labels, headings, body)
        room = WIDTH - width * len(groups) - 4
        shown = _short([group.name for group in groups])
        labels = [f"{heading.rjust(2)} {_cut(name, room)}" for heading, name in zip(headings, shown, strict=True)]
    beside = _fits(labels, headings, body, states)
    width, first = _widths(labels, headings, body)
    rows = [_CORNER.ljust(first) + "".join(heading.rjust(width) for heading in headings)]
    for label, row, state in zip(labels, body, states, strict=True):
        rows.append((label.ljust(first) + "".join(text.rjust(width) for text in row) + (f"   {state}" if beside else "")).rstrip())
    return rows if beside else [*rows, *_states(roundup, [node for group in groups if len(group.nodes) == 1 for node in group.nodes])]


def _widths(labels: Sequence[str], headings: Sequence[str], body: Sequence[Sequence[str]]) -> tuple[int, int]:
    cells = max(len(text) for row in body for text in row)
    return max(4, cells, *(len(heading) for heading in headings)) + 1, max(len(_CORNER), *(len(label) for label in labels)) + 1


def _fits(labels: Sequence[str], headings: Sequence[str], body: Sequence[Sequence[str]], states: Sequence[str]) -> bool:
    width, first = _widths(labels, headings, body)
    return first + width * len(headings) + 3 + max(len(state) for state in states) <= WIDTH


def _short(names: list[str]) -> list[str]:
    """Without the domain, where the rest still tells them apart."""
    firsts = [name.partition(".")[0] for name in names]
    return firsts if len(set(firsts)) == len(names) else names


def _cut(name: str, limit: int) -> str:
    """The end of a node's name tells it from its neighbours."""
    return name if len(name) <= limit else f"…{name[1 - limit :]}"


def _cell_text(roundup: Roundup, row: _Group, column: _Group) -> str:
    if row == column and len(row.nodes) == 1:
        return "."
    if not any(node in roundup.told_rows for node in row.nodes):
        return "-"
    pairs = [pair for a in row.nodes for b in column.nodes if (pair := roundup.matrix.get((a, b))) is not None]
    if not pairs:
        return ""
    cells = [cell(pair.worst) for pair in pairs]
    worst = min(cells, key=list(Cell).index)
    if worst is Cell.OK:
        return milliseconds(max(pairs, key=lambda pair: pair.worst.rtt_seconds or 0.0))
    many = cells.count(worst)
    if len(pairs) == 1 or not worst.value:
        return worst.value
    return f"all {worst.value}" if many == len(pairs) else f"{many}{worst.value}"


def milliseconds(pair: NodePair) -> str:
    seconds = pair.worst.rtt_seconds
    if seconds is None:
        return "ok"
    value = seconds * 1000
    return f"{value:.2f}" if value < 0.1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _state(roundup: Roundup, node: str) -> str:
    """What the node's agent says of itself, in a few words."""
    reply = roundup.statuses.get(node)
    if reply is None:
        return "no agent runs there"
    if not isinstance(reply, Answered):
        return _cut_end(f"no answer: {reply.why}", 34)
    mine = [one for one in roundup.counting_on.get(node, ()) if one["severity"] != Severity.INFO]
    explained = roundup.explained_on.get(node, 0)
    verdict = str(reply.document["verdict"])
    ids = list(dict.fromkeys(str(one["id"]) for one in mine))
    if ids:
        said = f"{mine[0]['severity']}: {ids[0]}" + (f" +{len(ids) - 1}" if len(ids) > 1 else "")
    else:
        said = "ok" if explained and verdict in ("warning", "critical") else verdict
    said = _cut_end(said, 34) + (f", {explained} explained" if explained else "")
    return f"{said}   holder" if roundup.claim.node == node else said


def _cut_end(said: str, limit: int) -> str:
    plain = "".join(character if character.isprintable() else " " for character in said)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"


def _states(roundup: Roundup, nodes: Iterable[str]) -> list[str]:
    """Where there is no room beside the table: those that are not simply ok, a line each, at most twenty."""
    said = [f"{node}: {state}" for node in nodes if not (state := _state(roundup, node)).startswith(("ok", "inactive"))]
    return [wrap(line, hang="  ") for line in said[:20]] + ([f"and {len(said) - 20} more nodes"] if len(said) > 20 else [])


def _apart(roundup: Roundup) -> list[str]:
    """A witness is told; nodes without a storage pod too, many of them in one line."""
    apart = sorted(roundup.apart.items(), key=lambda item: _natural(item[0]))
    if len(apart) <= MAX_WHOLE:
        width = max((len(_CORNER), *(len(node) for node, _ in apart))) + 1
        return [wrap(f"{node.ljust(width)} takes no part ({why}){_silent(roundup, node)}", hang="  ") for node, why in apart]
    counts = Counter(why for _, why in apart)
    return [wrap("take no part: " + ", ".join(f"{number} nodes ({why})" for why, number in counts.items()))]


def _silent(roundup: Roundup, node: str) -> str:
    return "" if isinstance(roundup.statuses.get(node), Answered) else f"; {_state(roundup, node)}"
