"""Findings: what is wrong, about what, by which evidence, and what to do. A rule makes a Finding; time is added where it is kept."""

from dataclasses import dataclass, fields
from enum import StrEnum

from agent.model.peers import Network


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Scope(StrEnum):
    AGENT = "agent"
    NODE = "node"
    POD = "pod"
    PAIR = "pair"
    POOL = "pool"
    CLUSTER = "cluster"


class Verdict(StrEnum):
    """Best to worst: inactive, ok, unknown, warning, critical (contract §3)."""

    INACTIVE = "inactive"
    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Verdict).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a finding is about. Keys that do not apply are None and are left out of the JSON."""

    node: str | None = None
    pod: str | None = None
    address: str | None = None
    interface: str | None = None
    peer_node: str | None = None
    peer_pod: str | None = None
    peer_address: str | None = None
    pool: str | None = None
    nad: str | None = None
    setting: str | None = None
    source: str | None = None
    check: str | None = None
    object: str | None = None
    volume: str | None = None
    groups: str | None = None

    def as_dict(self) -> dict[str, str]:
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One claim of one rule at one look. `id` is a key of model.catalogue.CATALOGUE, which gives scope and identity keys."""

    id: str
    severity: Severity
    scope: Scope
    subject: Subject
    culprit: str
    """By scope: a node's name (agent, node), namespace/pod (pod), A>B (pair), the pool's name (pool), see contract §0."""
    summary: str
    """One sentence that names the culprit; no full stop needed to read it aloud."""
    seen: str
    expected: str
    next_step: str
    clears_when: str
    network: Network | None = None
    network_kind: str | None = None
    reason: str | None = None
    evidence: tuple[str, ...] = ()
    affects: tuple[str, ...] | None = None
    """Of a pod's finding: peer addresses that it keeps the pod from reaching; None for all of them."""
    explained_by: str | None = None
    """`<id>:<culprit>` of the finding that explains this one."""
    ignored: str | None = None
    """Why the settings say to ignore it."""

    @property
    def name(self) -> str:
        """What `explained_by` of others says."""
        return f"{self.id}:{self.culprit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveFinding:
    """A finding that stands, with its times on the monotonic clock (`…_monotonic_seconds`) and on the wall clock for people."""

    finding: Finding
    since_monotonic_seconds: float
    last_seen_monotonic_seconds: float
    since_wall_seconds: float
    last_seen_wall_seconds: float


def short(key: str) -> str:
    """A pod's name short enough for a sentence: namespace dropped, long hash names cut."""
    name = key.rpartition("/")[2]
    return name if len(name) <= 30 else f"{name[:27]}…"
