"""What the search for a culprit works on: each node's own words with their ages, and what is remembered from round to round.

Values only. A row that is missing is simply not there; nothing here stands for "failed" because it was not heard of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from agent.model.finding import Finding
from agent.model.gathered import Identity, Silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One pair as its source's agent told it."""

    source_node: str
    source_pod: str
    peer_node: str
    peer_pod: str
    role: str
    """Of the peer."""
    tcp: str | None
    """A reason of contract §4 (of a newer agent perhaps another); of a failing pair the one it fails with. None if never asked."""
    failing: bool
    answered_otherwise: bool = False
    """Ping or HTTP got an answer in the round of the last TCP failure."""
    age_seconds: float | None = 0.0
    """Since it was last asked; None if it never was."""
    stale: bool = False
    """Older than three rounds: no evidence any more."""
    peer_address: str | None = None
    mending: bool = False
    """It fails, and its last probe passed: one more and it is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFinding:
    """What a node found on itself: on its host path (`culprit` is the node) or on one of its pods (namespace/name)."""

    id: str
    culprit: str
    summary: str
    next_step: str | None = None
    pod: str | None = None
    """Whose pairs it breaks, where the culprit is something else: an address that two pods hold."""

    @property
    def name(self) -> str:
        return f"{self.id}:{self.culprit}"

    @property
    def broken(self) -> str:
        return self.pod or self.culprit


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One node as the judging agent knows it now."""

    name: str
    answered: bool
    silence: Silence | None = None
    """How it did not answer; None if it did."""
    answer_age_seconds: float | None = None
    """Since its last answer; None if there was none since we started."""
    kube_ready: bool | None = None
    """The Node's condition Ready; None where that is not known now."""
    unschedulable: bool = False
    witness: bool = False
    has_storage_pods: bool = True
    host_path_findings: tuple[OwnFinding, ...] = ()
    pod_findings: tuple[OwnFinding, ...] = ()
    """Of its storage pods, only those that break pairs."""
    pair_findings: tuple[Identity, ...] = ()
    """Identities of the pair findings that its status lists: they are explained even where no row tells of them any more."""
    rows: tuple[Row, ...] = ()

    @property
    def takes_part(self) -> bool:
        return self.has_storage_pods and not self.witness


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One mesh finding over rounds, on the monotonic clock."""

    finding: Finding
    first_seconds: float
    last_seconds: float
    """When a round last showed it."""
    standing: bool
    worded_seconds: float | None = None
    """When a round last gave the finding its words; `last_seconds` where none kept older ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlameState:
    """What the next round must know of this one. Start with an empty one."""

    claims: Mapping[Identity, Claimed] = field(default_factory=lambda: MappingProxyType({}))
    unanswered_since: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """By node, where the age of the last answer is not known."""
    ready_since: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """By node: since when every round saw it Ready."""
    broken_since: Mapping[tuple[str, ...], float] = field(default_factory=lambda: MappingProxyType({}))
    """By node (one name) and by way (source, peer): since when every round saw it broken. What passed before then is no news."""
    passing_since: Mapping[tuple[str, str], float] = field(default_factory=lambda: MappingProxyType({}))
    """By way: since when every round that could tell saw it pass after it had been broken; infinite while it is. Else it is not there."""
    watching_since: float | None = None
    """When this judge began to ask everybody each round; None if it always did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """The smallest explanation of what all nodes told."""

    findings: tuple[Finding, ...]
    """Those that stand, the widest first."""
    explanations: Mapping[Identity, str]
    """Of the nodes' own findings, by identity (model.catalogue): `<id>:<culprit>` of what explains them."""
    verdict_sentence: str
    state: BlameState
