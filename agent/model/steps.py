"""What `check` and `preflight` read once and what they say, step by step (contract §1). Values only: reading is in edge/survey, judging
in rules/steps*. A source that could not be read is a `Known` that says why, so that no step takes silence for health."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agent.model.cluster import ClusterFacts, Known, never
from agent.model.holder import HolderFacts
from agent.model.records import LonghornSettingRecord, SettingRecord


class Result(StrEnum):
    """Best to worst is ok, unknown, warning, critical, as for verdicts (contract §3)."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Result).index(self)

    @property
    def exit_status(self) -> int:
        """Of the monitoring-plugin convention."""
        return {Result.OK: 0, Result.WARNING: 1, Result.CRITICAL: 2, Result.UNKNOWN: 3}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One question and its answer. `commands` are complete and stand apart from the sentence, so that they can be pasted whole."""

    title: str
    """A stable word, at most 13 letters."""
    result: Result
    seen: str
    expected: str
    next_step: str = ""
    commands: tuple[str, ...] = ()
    counts: bool = True
    """False for what only running agents could tell: shown, and left out of the result."""

    @property
    def next_text(self) -> str:
        """Sentence and commands in one line, for the JSON."""
        return ": ".join(part for part in (self.next_step, "; ".join(self.commands)) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    steps: tuple[Step, ...]

    @property
    def result(self) -> Result:
        return worst(step.result for step in self.steps if step.counts)

    def as_dict(self) -> dict[str, object]:
        """The JSON document, keys in the contract's order; steps are numbered from 1."""
        return {
            "schema": 1,
            "result": str(self.result),
            "steps": [
                {
                    "step": number,
                    "title": step.title,
                    "result": str(step.result),
                    "seen": step.seen,
                    "expected": step.expected,
                    "next_step": step.next_text,
                }
                for number, step in enumerate(self.steps, start=1)
            ],
        }


def worst(results: Iterable[Result]) -> Result:
    return max(results, key=lambda one: one.rank, default=Result.OK)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRecord:
    """volumes.longhorn.io."""

    name: str
    state: str | None = None
    """`attached`, `detached`, `attaching`, …"""
    node: str | None = None
    claim: str | None = None
    """namespace/name of the PersistentVolumeClaim."""
    workloads: tuple[str, ...] = ()
    """Pods that use it, as namespace/name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentRecord:
    """volumeattachments.longhorn.io (Longhorn 1.5 and newer): who wants a volume attached, and where."""

    volume: str
    holders: tuple[str, ...] = ()
    """`type on node`, one a ticket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSourceRecord:
    """backingimagedatasources.longhorn.io: the upload or download of one image."""

    name: str
    state: str | None = None
    transferred: bool = False
    """spec.fileTransferred: the file has gone to a backing-image-manager and the data source has nothing left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    name: str
    carrier: bool | None = None
    speed_mbits: int | None = None
    """None where the driver does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkRecord:
    """What a node's agent says of the NICs below the cluster network."""

    node: str
    cluster_network: str | None = None
    nics: tuple[Nic, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWay:
    """How an agent was asked, as a command that asks it again for /cluster."""

    command: str
    direct: bool
    """At its own address; else through the API server's pod proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshAnswer:
    """What one agent answered to /api/v1/cluster."""

    node: str
    document: Mapping[str, Any]
    """Decoded JSON; nothing of it has been checked but whose it is."""
    way: AgentWay


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything that was read, once. `cluster` and `holder` are filled as far as somebody asked; no source is ever `stale`:
    what could not be read is `never` with the reason in its status."""

    cluster: ClusterFacts = field(default_factory=ClusterFacts)
    holder: HolderFacts = field(default_factory=HolderFacts)
    more_settings: Known[SettingRecord] = field(default_factory=lambda: never("more settings"))
    """Harvester's `server-version` and `vm-migration-network`."""
    more_longhorn_settings: Known[LonghornSettingRecord] = field(default_factory=lambda: never("more Longhorn settings"))
    """`priority-class` and `v2-data-engine`."""
    machines: Known[str] = field(default_factory=lambda: never("virtual machines"))
    """namespace/name of each VirtualMachineInstance."""
    volumes: Known[VolumeRecord] = field(default_factory=lambda: never("volumes"))
    attachments: Known[AttachmentRecord] = field(default_factory=lambda: never("volume attachments"))
    data_sources: Known[DataSourceRecord] = field(default_factory=lambda: never("image transfers"))
    uplinks: Known[UplinkRecord] = field(default_factory=lambda: never("agents"))
    """Nodes whose agent told of its uplink."""
    mesh: Known[MeshAnswer] = field(default_factory=lambda: never("agents"))
    """The answer of one agent, for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Names that steps need to say a complete command."""

    longhorn: str = "longhorn-system"
    harvester: str = "harvester-system"
    whereabouts: str = "kube-system"
    monitoring: str = "cattle-monitoring-system"
    agent: str = "lhnet-system"
    interface: str = "lhnet1"
    agents_selector: str = "app.kubernetes.io/name=lhnet-agent"
    agents_scheme: str = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The storage network that preflight judges: the current setting's value, or what the options put in its place."""

    range: str | None = None
    exclude: tuple[str, ...] = ()
    cluster_network: str | None = None
    vlan: int | None = None
    problem: str | None = None
    """Why the setting's value could not be read."""
