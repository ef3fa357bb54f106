"""Clusters for the search for a culprit: healthy nodes with one instance-manager (and perhaps a backing-image-manager) each, and faults
that change their rows as they would in the field."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from agent.model.blame import Blame, BlameState, NodeReport, OwnFinding, Row
from agent.model.gathered import Silence
from agent.rules.blame import blame

INTERVAL, MISSING = 10.0, 90.0
START = 5000.0


def harv(count: int) -> list[str]:
    return [f"harv{number}" for number in range(41, 41 + count)] if count < 50 else [f"harv{number:03}" for number in range(count)]


def manager(node: str) -> str:
    return f"longhorn-system/instance-manager-{node}"


def images(node: str) -> str:
    return f"longhorn-system/backing-image-manager-{node}"


Change = Callable[[Row], Row]


@dataclass
class World:
    """`asks(source, peer)` picks the node pairs that anybody asked; `changes` are the faults, each may spoil a row."""

    nodes: list[str]
    with_images: bool = True
    asks: Callable[[str, str], bool] = lambda _source, _peer: True
    changes: list[Change] = field(default_factory=list)
    silent: dict[str, Silence] = field(default_factory=dict)
    reports: dict[str, dict[str, object]] = field(default_factory=dict)
    witnesses: Collection[str] = ()
    missing: Callable[[Row], bool] = lambda _row: False

    def say(self, node: str, **fields: object) -> None:
        self.reports.setdefault(node, {}).update(fields)

    def rows(self, node: str) -> Iterator[Row]:
        for peer in self.nodes:
            for role, name in (("im", manager), ("bim", images)) if self.with_images else (("im", manager),):
                if (peer == node and role == "im") or (peer != node and not self.asks(node, peer)):
                    continue
                row = Row(
                    source_node=node,
                    source_pod=manager(node),
                    peer_node=peer,
                    peer_pod=name(peer),
                    role=role,
                    tcp="ok",
                    failing=False,
                    age_seconds=3.0,
                )
                for change in self.changes:
                    row = change(row)
                if not self.missing(row):
                    yield row

    def told(self) -> tuple[NodeReport, ...]:
        made = []
        for node in [*self.nodes, *self.witnesses]:
            silence = self.silent.get(node)
            usual = NodeReport(
                name=node,
                answered=silence is None,
                silence=silence,
                answer_age_seconds=0.0 if silence is None else 30.0,
                kube_ready=True,
                witness=node in self.witnesses,
                has_storage_pods=node not in self.witnesses,
                rows=() if silence or node in self.witnesses else tuple(self.rows(node)),
            )
            made.append(replace(usual, **self.reports.get(node, {})))  # type: ignore[arg-type]
        return tuple(made)


def lost(row: Row, reason: str = "no_route") -> Row:
    return replace(row, tcp=reason, failing=True)


def cut(*nodes: str, reason: str = "no_route") -> Change:
    """The node's uplink: pairs on the node itself go on working."""
    return lambda row: lost(row, reason) if row.source_node != row.peer_node and {row.source_node, row.peer_node} & {*nodes} else row


def deaf(source: str, peer: str) -> Change:
    return lambda row: lost(row, "timeout") if (row.source_node, row.peer_node) == (source, peer) else row


def parted(group: Iterable[str]) -> Change:
    side = frozenset(group)
    return lambda row: lost(row) if (row.source_node in side) != (row.peer_node in side) else row


def all_down() -> Change:
    return lambda row: lost(row) if row.source_node != row.peer_node else row


def dead_pod(pod: str) -> Change:
    return lambda row: lost(row) if pod in (row.source_pod, row.peer_pod) else row


def bad_pair(source_pod: str, peer_pod: str) -> Change:
    return lambda row: lost(row, "timeout") if (row.source_pod, row.peer_pod) == (source_pod, peer_pod) else row


def closed(pod: str) -> Change:
    """Only where packets pass can anything refuse: give it after the faults of the network."""
    return lambda row: lost(row, "refused") if row.peer_pod == pod and not row.failing else row


def own(name: str, culprit: str, summary: str = "") -> OwnFinding:
    return OwnFinding(id=name, culprit=culprit, summary=summary or f"{name} on {culprit}")


UPLINK = "uplink storage-bo of {} has no carrier (ens5 and ens6 are down)"


def uplink_down(world: World, node: str) -> None:
    world.say(node, host_path_findings=(own("uplink-down", node, UPLINK.format(node)),))


class Rounds:
    """The holder, round after round."""

    def __init__(self) -> None:
        self.state = BlameState()
        self.now = START

    def look(self, world: World, *, rounds: int = 1, apart: float = INTERVAL) -> Blame:
        reports = world.told()
        for _ in range(rounds):
            told = blame(reports, state=self.state, now=self.now, interval_seconds=INTERVAL, agent_missing_seconds=MISSING)
            self.state = told.state
            self.now += apart
        return told


def judged(world: World, *, rounds: int = 2) -> Blame:
    return Rounds().look(world, rounds=rounds)


def named(told: Blame) -> list[str]:
    return sorted(one.name for one in told.findings)


def pair_identity(source: str, peer: str, name: str = "peer-unreachable") -> tuple[str, ...]:
    return (name, source, manager(source), peer, manager(peer))
