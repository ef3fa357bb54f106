"""All that is known of the cluster at one moment: one immutable value that the edge replaces whole and the checks read."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from agent.model.records import (
    ClusterNetworkRecord,
    LonghornSettingRecord,
    NadRecord,
    NodeRecord,
    PodRecord,
    SettingRecord,
    SourceStatus,
    VlanConfigRecord,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known(Generic[T]):
    """The last known set of one source and how far it can be believed. A failed list never empties `items`."""

    items: tuple[T, ...] = ()
    status: SourceStatus
    revision: int = 0
    """Grows by one at each change and each completed list of this source: two equal revisions are the same set."""
    confirmed_monotonic_seconds: float | None = None
    """When the server last confirmed the set (a completed list, a watch event or bookmark, or simply a live connection now)."""
    skipped: tuple[str, ...] = ()
    """Objects that exist but could not be read, as "key: reason" (the first few). What was known of them before stays in `items`;
    of one that was never read, nothing is known, and it must not be taken for missing."""


def never(name: str) -> Known[T]:
    """A source of which nothing has been read."""
    return Known(status=SourceStatus(name=name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What every agent watches (contract §3). Lists hold what the selectors gave; picking is judgement."""

    pods: Known[PodRecord] = field(default_factory=lambda: never("pods"))
    """Pods of Longhorn's namespace, of all nodes."""
    agent_pods: Known[PodRecord] = field(default_factory=lambda: never("agent_pods"))
    node: Known[NodeRecord] = field(default_factory=lambda: never("node"))
    """Our own Node: one item or none."""
    setting: Known[SettingRecord] = field(default_factory=lambda: never("setting"))
    """Harvester's `storage-network` and `rwx-network`."""
    longhorn_settings: Known[LonghornSettingRecord] = field(default_factory=lambda: never("longhorn_settings"))
    nads: Known[NadRecord] = field(default_factory=lambda: never("nads"))
    """The NADs that the settings (or, without readable settings, the pods' requests) name."""
    cluster_networks: Known[ClusterNetworkRecord] = field(default_factory=lambda: never("cluster_network"))
    vlan_configs: Known[VlanConfigRecord] = field(default_factory=lambda: never("cluster_network"))

    def statuses(self) -> tuple[SourceStatus, ...]:
        """One status a source name, in the contract's order. `cluster_network` is the worse of its two resources."""
        both = (self.cluster_networks.status, self.vlan_configs.status)
        order = ("live", "absent", "stale", "forbidden", "never")
        worse = max(both, key=lambda status: (order.index(status.state), status.age_seconds))
        return (
            self.pods.status,
            self.agent_pods.status,
            self.node.status,
            self.setting.status,
            self.longhorn_settings.status,
            self.nads.status,
            worse,
        )
