"""This node's rows of the mesh: what is known of each pair, and the counters of all probes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.model.peers import Pair
from agent.model.probe import ProbeKind, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failed probe of a pair, kept after it works again."""

    kind: ProbeKind
    reason: Reason
    monotonic_seconds: float
    wall_seconds: float
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairState:
    """One pair over time. `since_…` is when it last changed between working and failing."""

    pair: Pair
    tcp: Reason | None = None
    """Of the last TCP probe that said anything; None if never asked."""
    http: Reason | None = None
    large: Reason | None = None
    ping: Reason | None = None
    """Of the echo asked after the last failed TCP probe; None while TCP works."""
    rtt_seconds: float | None = None
    """Of the last good TCP probe; None while TCP fails."""
    path_mtu_bytes: int | None = None
    failures: int = 0
    """TCP failures in a row."""
    successes: int = 0
    failing: bool = False
    """Raised after `probe_failures` in a row, cleared after `probe_successes`."""
    failed_as: Reason | None = None
    """Reason of the last TCP failure while `failing`; `tcp` may be `not_probed` or a first `ok` by then."""
    answered_http: bool = False
    """HTTP answered in the round of the last TCP failure."""
    detail: str | None = None
    neighbour_mac: str | None = None
    retransmits: int = 0
    last_probe_monotonic_seconds: float | None = None
    since_monotonic_seconds: float = 0.0
    since_wall_seconds: float = 0.0
    last_failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Cumulative as Prometheus has it is made at the scrape; `counts` are plain, one a bucket and one for all above."""

    bounds_seconds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeCounters:
    by_reason: Mapping[tuple[ProbeKind, Reason], int] = field(default_factory=dict)
    durations: Mapping[ProbeKind, Histogram] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """All pairs of this node after some probe."""

    round: int = 0
    """Rounds begun."""
    completed_rounds: int = 0
    coverage_seconds: float = 0.0
    """Every pair is asked at least once in so many seconds."""
    pairs: tuple[PairState, ...] = ()
    counters: ProbeCounters = field(default_factory=ProbeCounters)
    last_round_monotonic_seconds: float | None = None
