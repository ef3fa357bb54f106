"""What a case of the matrix is: one thing that the lab does, and what the agents must and may say about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
INTERVAL_SECONDS = 5
FOUND_SECONDS = 45.0
CLEARED_SECONDS = 45.0
SETTINGS = {
    "probe.interval_seconds": "5",
    "probe.timeout_seconds": "2",
    "inspect.interval_seconds": "5",
    "cluster.interval_seconds": "5",
    "api.stale_after_seconds": "15",
    "thresholds.disagreement_seconds": "5",
    "thresholds.pod_grace_seconds": "5",
    "thresholds.sandbox_grace_seconds": "5",
    "thresholds.agent_missing_seconds": "20",
    "thresholds.setting_stuck_seconds": "15",
    "thresholds.orphan_warning_seconds": "10",
}
"""An interval of 5 s, and thresholds of minutes and hours made short; how often a thing must be seen stays as in production."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One finding in somebody's documents: required unless `may`."""

    id: str
    culprit: str | None = None
    """As in the finding; `{node}`, `{pod}`, `{peer}`, `{peer_node}` stand for what the injection was aimed at. None: any."""
    severity: str | None = None
    reason: str | None = None
    node: str | None = None
    """Whose `/status` shows it: a node's name or `{node}`; "cluster" for `findings` of /api/v1/cluster; None: any of them."""
    explained: bool | None = None
    words: str = ""
    """Must stand in summary, seen, expected or next_step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the matrix. Findings of severity warning or critical that are neither explained nor listed are false."""

    inject: tuple[Mapping[str, str], ...] = ()
    """Arguments of `lab inject`, in order: {"name": …, "node": …, "pod": …, "peer": …}. Empty: nothing is injected."""
    must: tuple[Said, ...] = ()
    """Empty: a control."""
    may: tuple[Said, ...] = ()
    """True as well, and not required; while the case lasts, or on its way in or out."""
    verdict: str | None = None
    """Of /api/v1/cluster while it lasts; None: not asked."""
    up: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Wish` (nodes, range, settings, shape…) otherwise than the matrix's own lab of three nodes. Settings are added."""
    found_seconds: float = FOUND_SECONDS
    """More where the contract says so: replicas and engines are listed once a minute."""
    hold_seconds: float = 20.0
    """How long it is watched after everything was found (of a control: after the injection returned)."""
    check: Callable[[Mapping[str, Json]], str] | None = None
    """Looks at documents by path (`cluster`, `status/harv41`, …) at the end of the hold; says what is wrong, or nothing."""
    is_control: bool = False
