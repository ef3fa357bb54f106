"""Chooses which pairs a node asks in a round. Choosing who asks never changes who is expected.

Three parts, in this order, within the fan-out: the node's *duty* (each peer has a few nodes that ask it in every round, by rendezvous
hash, so that every peer is asked by someone whatever the others do and without any two clocks agreeing), pairs that *fail*, and a
*rotating* window over all others, so that every pair is covered in a bounded number of rounds.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from agent.model.peers import Pair, Role, StoragePod

ASKERS_PER_PEER = 2
"""One may be dead without its peers being asked by nobody."""
ROTATING_SHARE = 4
"""At least 1/4 of the fan-out always rotates, however many pairs fail: coverage stays bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    pairs: tuple[Pair, ...]
    """Asked in this round, in stable order."""
    total: int
    coverage_rounds: int
    """In so many rounds every pair is asked at least once."""


def pairs_of(pods: Iterable[StoragePod], *, node: str) -> tuple[Pair, ...]:
    """All pairs whose source is on `node` (contract §0): sources are its live instance-managers, or one backing-image-manager where it
    has none; peers are the live instance-managers and backing-image-managers with a grant on the same NAD, of every node."""
    live = [pod for pod in pods if pod.record.live and pod.grant and pod.address]
    sources = sources_of(live, node=node)
    peers = sorted(
        (pod for pod in live if pod.role in (Role.INSTANCE_MANAGER, Role.BACKING_IMAGE_MANAGER)), key=lambda pod: (pod.node or "", pod.key)
    )
    return tuple(
        Pair(source=source, peer=peer)
        for source in sources
        for peer in peers
        if peer.uid != source.uid and peer.grant and source.grant and peer.grant.nad == source.grant.nad and peer.address != source.address
    )


def sources_of(live: Iterable[StoragePod], *, node: str) -> tuple[StoragePod, ...]:
    """Who asks on this node."""
    mine = sorted((pod for pod in live if pod.node == node), key=lambda pod: pod.key)
    managers = tuple(pod for pod in mine if pod.role is Role.INSTANCE_MANAGER)
    return managers or tuple(pod for pod in mine if pod.role is Role.BACKING_IMAGE_MANAGER)[:1]


def select(
    pairs: Sequence[Pair],
    *,
    node: str,
    nodes: Collection[str],
    round_number: int,
    fanout: int,
    failing: Collection[tuple[str, str]] = (),
) -> Selection:
    """The pairs of one round. `nodes` are all nodes that have sources; `failing` the keys of pairs that fail now."""
    total = len(pairs)
    if total <= fanout:
        return Selection(pairs=tuple(pairs), total=total, coverage_rounds=1 if total else 0)
    rotating = max(1, fanout // ROTATING_SHARE)
    wanted = {pair.key: pair for pair in _turn(_duty(pairs, node, nodes, round_number, fanout - rotating), round_number, fanout - rotating)}
    bad = [pair for pair in pairs if pair.key in failing and pair.key not in wanted]
    wanted |= {pair.key: pair for pair in _turn(bad, round_number, fanout - rotating - len(wanted))}
    # the window moves over all pairs, not over those left today: what comes and goes with failures must not shift it
    every = sorted(pairs, key=lambda pair: score(node, *pair.key))
    for i in range(total):
        if i >= rotating and len(wanted) >= fanout:
            break
        pair = every[(round_number * rotating + i) % total]
        wanted.setdefault(pair.key, pair)
    chosen = tuple(pair for pair in pairs if pair.key in wanted)
    return Selection(pairs=chosen, total=total, coverage_rounds=math.ceil(total / rotating))


def _duty(pairs: Sequence[Pair], node: str, nodes: Collection[str], round_number: int, room: int) -> list[Pair]:
    """One pair for each peer that this node is to ask in every round; its sources take turns."""
    by_peer: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_peer.setdefault(pair.peer.uid, []).append(pair)
    for askers in range(ASKERS_PER_PEER, 0, -1):
        mine = [
            same[(score(uid) + round_number) % len(same)]
            for uid, same in by_peer.items()
            if node in _askers(uid, same[0].peer.node, nodes)[:askers]
        ]
        if len(mine) <= room:
            return mine
    return mine


def _askers(peer_uid: str, peer_node: str | None, nodes: Collection[str]) -> list[str]:
    """Nodes by their duty to ask a peer, first the one that has it most; its own node only where there is no other."""
    others = [name for name in nodes if name != peer_node] or list(nodes)
    return sorted(others, key=lambda name: score(name, peer_uid), reverse=True)


def _turn(pairs: Sequence[Pair], round_number: int, room: int) -> list[Pair]:
    """`room` of the pairs, another stretch each round when they are more."""
    if len(pairs) <= room:
        return list(pairs)
    if room <= 0:
        return []
    start = round_number * room % len(pairs)
    return [pairs[(start + i) % len(pairs)] for i in range(room)]


def score(*words: str) -> int:
    """A hash that is the same on every node and in every release of Python."""
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest(), "big")
