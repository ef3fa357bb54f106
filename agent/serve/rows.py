"""`/api/v1/rows`: this node's rows of the mesh as compact arrays, for other agents. Read by agent.rules.roundup_read.read_rows.

Pods and addresses stand once in tables and rows point into them. 64 pairs are some 8 kB, of which gzip leaves a third: the holder of a
cluster of 200 nodes reads less than 1 MB a round. New columns go to the end, new tables beside the old ones.
"""

from agent.model.mesh import PairState
from agent.model.probe import Reason
from agent.model.view import NodeView
from agent.serve.documents import SCHEMA, Document


def document(view: NodeView, *, interval_seconds: float, now: float) -> Document:
    """`now` is monotonic. A row: source, peer, tcp, http, large, rtt, age, failing, answered otherwise, failed as."""
    sources: dict[tuple[str, str], int] = {}
    peers: dict[tuple[str, str, str, str], int] = {}
    rows = []
    for state in view.mesh.pairs:
        source, peer = state.pair.source, state.pair.peer
        from_index = sources.setdefault((source.key, str(source.address or "")), len(sources))
        to_index = peers.setdefault((peer.node or "", peer.key, str(peer.address or ""), peer.role.value), len(peers))
        rows.append(_row(from_index, to_index, state, now=now))
    return {
        "schema": SCHEMA,
        "node": view.node,
        "round": view.mesh.round,
        "interval_seconds": interval_seconds,
        "coverage_seconds": view.mesh.coverage_seconds,
        "sources": [pod for pod, _ in sources],
        "source_addresses": [address for _, address in sources],
        "peers": [list(peer) for peer in peers],
        "rows": rows,
    }


def _row(source: int, peer: int, state: PairState, *, now: float) -> list[object]:
    asked = state.last_probe_monotonic_seconds
    rtt = state.rtt_seconds
    row: list[object] = [
        source,
        peer,
        state.tcp,
        state.http,
        state.large,
        None if rtt is None else round(rtt, 6),
        None if asked is None else round(max(0.0, now - asked), 1),
        int(state.failing),
    ]
    if state.failing:
        # Only then is there more to say; most rows of most days end here.
        answered = state.answered_http or state.ping is Reason.OK
        row += [int(answered), state.failed_as]
    return row
