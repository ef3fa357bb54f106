"""The mesh between nodes, from all nodes' rows: one cell a node pair, told as the worst of its pairs.

What was never asked is missing and what is older than three rounds is stale; neither is ever taken for failing or for working.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from agent.model.gathered import MeshRow, NodePair

_UNSAID = (None, "not_probed")
_REASONS = ("no_route", "net_unreachable", "no_source_address", "timeout", "reset", "refused")
"""Of TCP, the worst first: the last two prove that packets pass. A reason that only a newer agent knows comes before all."""


class Cell(StrEnum):
    """What one pair or node pair amounts to, worst first. The values are what the text shows."""

    NO_TCP = "X"
    NO_HTTP = "h"
    SMALL_ONLY = "m"
    STALE = "?"
    NOT_ASKED = ""
    OK = "ok"

    @property
    def bad(self) -> bool:
        return self in (Cell.NO_TCP, Cell.NO_HTTP, Cell.SMALL_ONLY)

    @property
    def fails(self) -> bool:
        """HTTP alone makes no finding (contract §4): storage traffic is TCP and passes."""
        return self in (Cell.NO_TCP, Cell.SMALL_ONLY)


_CELLS = {one: i for i, one in enumerate(Cell)}


def cell(row: MeshRow) -> Cell:
    if row.stale:
        return Cell.STALE
    if row.failing or row.tcp not in (*_UNSAID, "ok"):
        return Cell.NO_TCP
    if row.tcp in _UNSAID:
        return Cell.NOT_ASKED
    if row.large not in (*_UNSAID, "ok"):
        return Cell.SMALL_ONLY
    return Cell.OK if row.http in (*_UNSAID, "ok") else Cell.NO_HTTP


def badness(row: MeshRow) -> tuple[int, int, int, float]:
    """Greater is worse: failing, then the reason, then the slower."""
    reason = row.tcp if row.tcp != "not_probed" else row.failed_as or row.tcp
    rank = 0 if reason in (*_UNSAID, "ok") else _REASONS[::-1].index(reason) + 1 if reason in _REASONS else len(_REASONS) + 1
    return (int(row.failing), rank, -_CELLS[cell(row)], row.rtt_seconds or 0.0)


def by_node_pair(rows: Iterable[MeshRow]) -> dict[tuple[str, str], NodePair]:
    """Only between different nodes. Where any pair is fresh, the stale ones of the same two nodes say nothing."""
    grouped: dict[tuple[str, str], list[MeshRow]] = {}
    for row in rows:
        if row.source_node != row.peer_node:
            grouped.setdefault((row.source_node, row.peer_node), []).append(row)
    return {nodes: _worst(pairs) for nodes, pairs in sorted(grouped.items())}


def _worst(pairs: list[MeshRow]) -> NodePair:
    fresh = [row for row in pairs if not row.stale]
    return NodePair(worst=max(fresh or pairs, key=badness), pairs=len(pairs), failing=sum(row.failing for row in fresh))


def reach_each_other(matrix: Mapping[tuple[str, str], NodePair], nodes: Iterable[str]) -> bool:
    """Every node reaches every other one by a fresh row: the only ground for saying so."""
    known = tuple(nodes)
    if len(known) < 2:
        return False
    good = {nodes for nodes, pair in matrix.items() if cell(pair.worst) in (Cell.OK, Cell.NO_HTTP)}
    return all((a, b) in good for a in known for b in known if a != b)
