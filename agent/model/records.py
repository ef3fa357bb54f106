"""What the API server says, cut down to the fields that anybody here reads. Texts (annotations, settings, CNI config) stay unparsed:
parsing them is judgement and belongs to rules/. A field that is missing or of the wrong type is None or empty, never an error."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})


def _nothing() -> Mapping[str, str]:
    return _NOTHING


class SourceState(StrEnum):
    """How far a watched source can be believed (contract §3)."""

    LIVE = "live"
    STALE = "stale"
    NEVER = "never"
    ABSENT = "absent"
    """The cluster has no such resource."""
    FORBIDDEN = "forbidden"
    """We may not read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    name: str
    state: SourceState = SourceState.NEVER
    age_seconds: float = 0.0
    """0 while the watch is connected and alive, else the time since it was lost (since the start, if it never was)."""
    detail: str | None = None
    """The last error in words, for people."""

    @property
    def readable(self) -> bool:
        """Something was read at some time: what is known may be old, but it is known."""
        return self.state in (SourceState.LIVE, SourceState.STALE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    namespace: str
    name: str
    uid: str
    node: str | None = None
    phase: str | None = None
    deleted: bool = False
    """A deletionTimestamp is set."""
    ready: bool = False
    born_monotonic_seconds: float | None = None
    """When the pod was created, on our monotonic clock: server's Date header minus creationTimestamp, both of the server's clock, so
    that our own wall clock plays no part. None if either was missing."""
    pod_ips: tuple[str, ...] = ()
    host_ip: str | None = None
    host_network: bool = False
    labels: Mapping[str, str] = field(default_factory=_nothing)
    """Only those that begin with `longhorn.io/` or `app`."""
    annotations: Mapping[str, str] = field(default_factory=_nothing)
    """Only k8s.v1.cni.cncf.io/networks, …/network-status, …/networks-status."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Named container ports."""
    priority_class: str | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def live(self) -> bool:
        """Contract §0: phase Running and no deletionTimestamp."""
        return self.phase == "Running" and not self.deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRecord:
    type: str
    status: str | None = None
    reason: str | None = None
    message: str | None = None
    last_update_time: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRecord:
    """A settings.harvesterhci.io object (cluster-scoped): value and conditions stand at the top level and under status."""

    name: str
    value: str | None = None
    annotations: Mapping[str, str] = field(default_factory=_nothing)
    conditions: tuple[ConditionRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LonghornSettingRecord:
    """A settings.longhorn.io object. `applied` is None before Longhorn 1.7."""

    name: str
    value: str | None = None
    applied: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NadRecord:
    namespace: str
    name: str
    config: str | None = None
    """`spec.config`: JSON text."""
    labels: Mapping[str, str] = field(default_factory=_nothing)
    annotations: Mapping[str, str] = field(default_factory=_nothing)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    name: str
    uid: str = ""
    ready: bool | None = None
    """Condition Ready: True, False, or None for Unknown and for a missing condition."""
    unschedulable: bool = False
    labels: Mapping[str, str] = field(default_factory=_nothing)
    internal_ips: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNetworkRecord:
    name: str
    annotations: Mapping[str, str] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanConfigRecord:
    name: str
    cluster_network: str | None = None
    nics: tuple[str, ...] = ()
    mtu_bytes: int | None = None
    bond_mode: str | None = None
    matched_nodes: str | None = None
    """Annotation network.harvesterhci.io/matched-nodes: JSON text, a list of node names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One core/v1 Event about a pod; `count` is not a failure count (kubelet rewrites one event for many messages)."""

    uid: str
    namespace: str
    pod: str
    pod_uid: str | None = None
    reason: str | None = None
    type: str | None = None
    message: str = ""
    count: int = 1
    first_seen_age_seconds: float | None = None
    last_seen_age_seconds: float | None = None
    resource_version: str = ""
    seen_monotonic_seconds: float | None = None
    """When the two ages were true."""
    live: bool = False
    """Heard by the watch, not found in a first list: only these are counted as failures of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One entry of an IPPool. `key` is the text of the offset, unparsed."""

    key: str
    podref: str | None = None
    container_id: str | None = None
    interface: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """whereabouts IPPool. `allocations_dropped` counts entries beyond what the edge keeps in memory."""

    namespace: str
    name: str
    range: str | None = None
    allocations: tuple[Allocation, ...] = ()
    allocations_dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRecord:
    """whereabouts OverlappingRangeIPReservation: its name is the address (":" written as "-")."""

    namespace: str
    name: str
    podref: str | None = None
    interface: str | None = None
