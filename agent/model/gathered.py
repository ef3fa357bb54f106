"""What the agents of other nodes answered: documents, or why there is none; and the rows of the mesh read from them.

Documents come from agents of any version, so they stay plain mappings: ids, severities, reasons and keys that nobody here knows are
carried through. Times of other machines are never compared with ours; ages are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from agent.model.finding import Verdict

Document = Mapping[str, Any]
"""Decoded JSON. Never changed after it came in."""
Identity = tuple[str, ...]
"""As `agent.model.catalogue.identity`."""


class Silence(StrEnum):
    """How an agent did not answer. Only `SILENT` says nothing is there; the others prove a machine, or blame us."""

    SILENT = "silent"
    """No packet came back, or the kernel found no neighbour."""
    REFUSED = "refused"
    BROKEN = "broken"
    """Reset, TLS, or a connection that ended early: somebody is there."""
    HTTP = "http"
    """Another status than 200."""
    BAD_ANSWER = "bad_answer"
    NO_AGENT = "no_agent"
    """No live agent pod with an address runs there: nobody was asked."""
    OURS = "ours"
    """Our own certificates, password file or lack of time: says nothing about the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    document: Document
    received_monotonic_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    silence: Silence
    why: str
    """For people and for `unreachable` of the JSON: "silent", "refused", "http 500", "bad answer: …"."""
    last_answer_age_seconds: float | None = None
    """Since the last good answer of that node to us; None if there was none since we started."""


Reply = Answered | Unreachable
Statuses = Mapping[str, Answered | Unreachable]
"""By node; every `Answered` holds a status document whose outline was checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshRow:
    """One pair as its source's agent told it. Reasons are text, since a newer agent may know more of them."""

    source_node: str
    source_pod: str
    source_address: str | None
    peer_node: str
    peer_pod: str
    peer_address: str | None
    role: str
    tcp: str | None
    http: str | None
    large: str | None
    rtt_seconds: float | None
    age_seconds: float | None
    """Since the pair was last asked, the way to us included; None if it never was."""
    failing: bool
    answered_otherwise: bool = False
    """HTTP or ping got an answer in the round of the last TCP failure."""
    failed_as: str | None = None
    """Reason of the last TCP failure while failing."""
    stale: bool = False
    """Older than three rounds: no evidence any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What one node told of its pairs."""

    node: str
    round: int = 0
    interval_seconds: float = 0.0
    coverage_seconds: float = 0.0
    rows: tuple[MeshRow, ...] = ()
    skipped: int = 0
    """Rows that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePair:
    """All pairs from one node to another, told as the worst of those that are fresh (of all where none is)."""

    worst: MeshRow
    pairs: int
    failing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who holds the Lease, as the agents say. `node` is None where nobody that answers claims it."""

    node: str | None = None
    confirmed: bool = False
    """The claimant says `holder`, not `unconfirmed`."""
    named: str | None = None
    """Whom the others name, if nobody claims it himself: a holder that does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Cluster findings and what they explain, from the holder or made by the asked agent itself."""

    source: str = "self"
    """The holder's node, or `self`."""
    findings: tuple[Document, ...] = ()
    explanations: Mapping[Identity, str] = field(default_factory=lambda: MappingProxyType({}))
    age_seconds: float = 0.0
    sentence: str | None = None
    """The first line in words, if whoever judged has better ones than the summary of the worst finding."""
    skipped: int = 0
    """Findings and explanations that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roundup:
    """The cluster at one moment as one agent sees it: everything that /cluster shows."""

    asked_node: str
    claim: Claim
    judgement: Judgement
    verdict: Verdict
    mode: str
    statuses: Statuses
    apart: Mapping[str, str]
    """Nodes that take no part in the mesh, with why: `witness`, `no storage pod`."""
    rows: tuple[MeshRow, ...] = ()
    matrix: Mapping[tuple[str, str], NodePair] = field(default_factory=lambda: MappingProxyType({}))
    told_rows: frozenset[str] = frozenset()
    """Nodes whose rows could be read."""
    counting: tuple[Document, ...] = ()
    """Findings of the cluster and of all nodes that decide the verdict, worst first."""
    explained: tuple[Document, ...] = ()
    """Those that something else explains, with `explained_by` filled in, and ignored ones."""
    counting_on: Mapping[str, tuple[Document, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Of `counting`, by the subject's node."""
    explained_on: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """How many of `explained` something else explains, by the subject's node."""
