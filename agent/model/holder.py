"""What only the holder of the Lease watches (contract §3), as plain values; parsing and comparing them is judgement."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agent.model.cluster import Known, never
from agent.model.records import EventRecord, NadRecord, NodeRecord, PoolRecord, ReservationRecord, SourceStatus


class LeaseState(StrEnum):
    """Who judges the cluster as a whole, as this agent sees it (contract §3)."""

    HOLDER = "holder"
    OTHER = "other"
    UNCONFIRMED = "unconfirmed"
    """We held it last and can neither renew it nor read that somebody else has it: the duty goes on."""
    NONE = "none"
    """Nobody, as far as can be seen from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    state: LeaseState = LeaseState.NONE
    holder: str | None = None
    """Node name: ours for `holder` and `unconfirmed`."""
    detail: str | None = None
    """What stands in the way, in words."""

    @property
    def on_duty(self) -> bool:
        """The cluster-wide sources are ours to watch and the cluster findings ours to raise."""
        return self.state in (LeaseState.HOLDER, LeaseState.UNCONFIRMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceManagerRecord:
    """instancemanagers.longhorn.io. `status.ip` is the pod IP, never the storage address, and is left out here."""

    name: str
    node_id: str | None = None
    type: str | None = None
    data_engine: str | None = None
    image: str | None = None
    state: str | None = None
    """`running`, `starting`, `stopped`, `error`, `unknown`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LonghornNodeRecord:
    """nodes.longhorn.io; witness nodes have none."""

    name: str
    disks: int = 0
    """Length of spec.disks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """A replica or an engine, slim: there may be thousands."""

    kind: str
    """`replica` or `engine`."""
    name: str
    volume: str | None = None
    node_id: str | None = None
    storage_ip: str | None = None
    state: str | None = None
    instance_manager: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringRecord:
    """A Prometheus, Alertmanager, Grafana Deployment or VM-import-controller object that Harvester may hold at 0 replicas."""

    kind: str
    namespace: str
    name: str
    replicas: int | None = None
    held: Mapping[str, str] = field(default_factory=dict)
    """Annotations whose key ends in `.settings.harvesterhci.io/replica`: how many replicas are to be given back."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderFacts:
    """Live only while this agent holds the Lease; all `never` before."""

    nodes: Known[NodeRecord] = field(default_factory=lambda: never("nodes"))
    pools: Known[PoolRecord] = field(default_factory=lambda: never("ippools"))
    reservations: Known[ReservationRecord] = field(default_factory=lambda: never("reservations"))
    events: Known[EventRecord] = field(default_factory=lambda: never("events"))
    instance_managers: Known[InstanceManagerRecord] = field(default_factory=lambda: never("instance_managers"))
    longhorn_nodes: Known[LonghornNodeRecord] = field(default_factory=lambda: never("longhorn_nodes"))
    all_nads: Known[NadRecord] = field(default_factory=lambda: never("all_nads"))
    """All NADs of the storage network in Harvester's namespace, not only those in use."""
    crds: Known[str] = field(default_factory=lambda: never("crds"))
    """Names of the CustomResourceDefinitions of whereabouts and Multus that are there."""
    monitoring: Known[MonitoringRecord] = field(default_factory=lambda: never("monitoring"))
    replicas: Known[InstanceRecord] = field(default_factory=lambda: never("replicas"))
    engines: Known[InstanceRecord] = field(default_factory=lambda: never("engines"))

    def statuses(self) -> tuple[SourceStatus, ...]:
        """In the contract's order; `all_nads` is told as part of `nads`."""
        return (
            self.nodes.status,
            self.pools.status,
            self.reservations.status,
            self.events.status,
            self.instance_managers.status,
            self.longhorn_nodes.status,
            self.crds.status,
            self.monitoring.status,
            self.replicas.status,
            self.engines.status,
        )
