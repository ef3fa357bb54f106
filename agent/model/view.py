"""One immutable picture of a node, replaced whole; everything that people and Prometheus see is made from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.model.events import Cause, FailingSandbox, NetworkKind
from agent.model.finding import ActiveFinding, Finding, Verdict
from agent.model.gathered import Judgement
from agent.model.hostpath import HostPath
from agent.model.mesh import Failure, Mesh
from agent.model.net import NamespaceFacts, NamespaceFile
from agent.model.peers import Mode, Network, Pair, StoragePod
from agent.model.pool import PoolState
from agent.model.records import SourceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedPod:
    """A storage pod of this node with what its kernel says; `facts` is None where its namespace was not found or not readable."""

    pod: StoragePod
    namespace: NamespaceFile | None = None
    facts: NamespaceFacts | None = None
    why_not: str | None = None
    """Why there are no facts."""
    address_ok: bool | None = None
    """The kernel has the granted address; None if that cannot be told."""
    route_ok: bool | None = None
    """The whole range is routed over the interface; None if that cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFacts:
    """What the agent sees of itself at one inspection."""

    capabilities: frozenset[str] = frozenset()
    directories: tuple[str, ...] = ()
    """`netns_dir`, as set."""
    not_propagated: tuple[str, ...] = ()
    """Those of them on a mount that is neither a slave nor shared."""
    namespaces: int = 0
    """Files there that opened as a network namespace."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Files there that did not, with why."""
    denied: tuple[str, ...] = ()
    """Namespaces that the kernel did not let us enter, with why."""
    storage_pods: int = 0
    """Live storage pods on this node."""
    taken: tuple[str, ...] = ()
    """Addresses to listen on that are somebody else's, with why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """The last run of one check, for lhnet_check_success and lhnet_check_duration_seconds."""

    name: str
    success: bool
    duration_seconds: float
    finished_monotonic_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One state change, for people and for /history."""

    wall_seconds: float
    monotonic_seconds: float
    change: str
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFailure:
    """A failed probe, kept when successes would push it out of sight."""

    pair: Pair
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    node: str
    version: str
    started_monotonic_seconds: float
    mode: Mode = Mode.UNKNOWN
    mode_why: str = ""
    storage_nad: str | None = None
    nads: tuple[tuple[str, Network], ...] = ()
    configured: bool | None = None
    """Harvester's condition `configured`; None without Harvester."""
    applying_seconds: float = 0.0
    """How long the mode has been `applying`, by our own clock."""
    sources: tuple[SourceStatus, ...] = ()
    findings: tuple[ActiveFinding, ...] = ()
    """Worst first."""
    cluster_findings: tuple[ActiveFinding, ...] = ()
    """Those of the cluster, its pools, and others that only the holder of the Lease raises. Worst first."""
    explanations: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """On the holder: what explains findings of all nodes, by their identity."""
    node_verdicts: tuple[tuple[str, str], ...] = ()
    """On the holder: each node's own verdict, `unknown` for one that does not answer."""
    sentence: str | None = None
    """On the holder: the cluster in one sentence."""
    heard: Judgement | None = None
    """What the holder answered when it was last asked what explains this node's findings; nobody asks while there are none."""
    heard_monotonic_seconds: float = 0.0
    pools: tuple[PoolState, ...] = ()
    failing: tuple[FailingSandbox, ...] = ()
    sandbox_totals: Mapping[tuple[Cause, NetworkKind], int] = field(default_factory=dict)
    """Sandbox failures heard live since the start."""
    sandbox_pods: Mapping[tuple[Cause, NetworkKind], int] = field(default_factory=dict)
    """Storage pods that cannot start now."""
    held_back: int = 0
    """Findings that the mode keeps back for now."""
    verdict: Verdict = Verdict.UNKNOWN
    ready: bool = False
    not_ready_because: str = "nothing has been read yet"
    lease: str = "none"
    holder: str | None = None
    inspected: tuple[InspectedPod, ...] = ()
    inspected_monotonic_seconds: float | None = None
    witness: bool = False
    """This node votes in etcd and stores nothing."""
    host_path: HostPath | None = None
    """The storage network's way through the host; None where no storage pod is on a bridge."""
    own: OwnFacts = OwnFacts()
    mesh: Mesh = field(default_factory=Mesh)
    checks: tuple[CheckRun, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    """Newest first."""
    failures: tuple[KeptFailure, ...] = ()
    """Newest first."""
    notes: tuple[str, ...] = ()
    """What the agent does less well here and why, e.g. an old kernel: one sentence each."""
