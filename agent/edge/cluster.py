"""What this agent watches of the cluster, kept current, as one immutable value for the checks.

Every source is one or more small reflectors; a source with several (settings by name, NADs by name) is as good as its worst one.
Which NADs are watched is somebody else's judgement: `set_nads` is told. Nothing here writes to the cluster.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Any, NoReturn, TypeVar

from agent.edge import decode
from agent.edge.kube import Kind, KubeClient, Pace, Reflector, Source
from agent.edge.state import StateFile
from agent.model.cluster import ClusterFacts, Known
from agent.model.records import (
    ClusterNetworkRecord,
    LonghornSettingRecord,
    NadRecord,
    NodeRecord,
    PodRecord,
    SettingRecord,
    VlanConfigRecord,
)

T = TypeVar("T")

HARVESTER_SETTINGS = ("storage-network", "rwx-network")
LONGHORN_SETTINGS = ("storage-network", "storage-network-for-rwx-volume-enabled", "endpoint-network-for-rwx-volume")
STORAGE_PODS = "longhorn.io/managed-by=longhorn-manager"
"""Longhorn puts this label on every pod that it makes, csi-plugin included (longhorn-manager types/types.go)."""
NADS_LIMIT = 16
"""Two are in use (storage and RWX), a few more while an old one is replaced. Each costs a connection."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_log = logging.getLogger(__name__)

Subscriber = Callable[[frozenset[str]], None]


class Cluster:
    """`run()` keeps it current until cancelled; `facts()` may be called at any time and from the loop's thread only."""

    def __init__(
        self,
        *,
        client: KubeClient,
        longhorn_namespace: str,
        agent_namespace: str,
        agents_selector: str,
        node_name: str,
        clock: Callable[[], float],
        rng: Random,
        pace: Pace | None = None,
        state: StateFile | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._pace = pace
        self._state = state
        self._longhorn_namespace = longhorn_namespace
        self._subscribers: list[Subscriber] = []
        self._pending: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None
        self._nad_tasks: dict[str, asyncio.Task[NoReturn]] = {}
        self._first_sync = asyncio.Event()
        self._dirty = asyncio.Event()
        longhorn = f"/api/v1/namespaces/{longhorn_namespace}/pods"
        own = f"/api/v1/namespaces/{agent_namespace}/pods"
        network = "/apis/network.harvesterhci.io/v1beta1"
        self._pods = self._source("pods", {"": self._watch("pods", longhorn, decode.POD, {"labelSelector": STORAGE_PODS})})
        self._agent_pods = self._source("agent_pods", {"": self._watch("agent_pods", own, decode.POD, {"labelSelector": agents_selector})})
        self._node = self._source("node", {"": self._watch("node", "/api/v1/nodes", decode.NODE, _named(node_name))})
        self._setting = self._source(
            "setting",
            {
                name: self._watch("setting", "/apis/harvesterhci.io/v1beta1/settings", decode.SETTING, _named(name))
                for name in HARVESTER_SETTINGS
            },
        )
        self._longhorn_settings = self._source(
            "longhorn_settings",
            {
                f"{longhorn_namespace}/{name}": self._watch(
                    "longhorn_settings",
                    f"/apis/longhorn.io/v1beta2/namespaces/{longhorn_namespace}/settings",
                    decode.LONGHORN_SETTING,
                    _named(name),
                )
                for name in LONGHORN_SETTINGS
            },
        )
        self._nads: Source[NadRecord] = self._source("nads", {})
        self._cluster_networks = self._source(
            "cluster_network", {"": self._watch("cluster_network", f"{network}/clusternetworks", decode.CLUSTER_NETWORK, {})}
        )
        self._vlan_configs = self._source(
            "cluster_network", {"": self._watch("cluster_network", f"{network}/vlanconfigs", decode.VLAN_CONFIG, {})}
        )

    async def run(self) -> NoReturn:
        """All reflectors in one task group. Ends by cancellation only; a bug in one ends all, loudly."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for source in self._sources():
                    for key, reflector in source.reflectors.items():
                        task = group.create_task(reflector.run(), name=f"watch {source.name} {key}".strip())
                        if source is self._nads:
                            self._nad_tasks[key] = task
                if self._state is not None:
                    group.create_task(self._state.keep(self.facts, dirty=self._dirty), name="keep state")
                self._schedule_flush()
        finally:
            self._group = self._loop = None
            self._nad_tasks.clear()
        raise AssertionError("the reflectors ended by themselves")

    def facts(self) -> ClusterFacts:
        now = self._clock()
        return ClusterFacts(
            pods=self._pods.known(now=now),
            agent_pods=self._agent_pods.known(now=now),
            node=self._node.known(now=now),
            setting=self._setting.known(now=now),
            longhorn_settings=self._longhorn_settings.known(now=now),
            nads=self._nads.known(now=now),
            cluster_networks=self._cluster_networks.known(now=now),
            vlan_configs=self._vlan_configs.known(now=now),
        )

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """`callback` gets the names of the sources that changed, in the loop, changes of one turn together. Returns how to stop it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    def set_nads(self, names: frozenset[str]) -> None:
        """Watch exactly these NADs ("namespace/name"). Names that cannot be names of objects are left out, and said in the status."""
        good = sorted(name for name in names if _valid_nad(name))
        notes = [f"not a NAD's name: {name[:80]!r}" for name in sorted(names.difference(good))[:3]]
        if len(good) > NADS_LIMIT:
            notes.append(f"{len(good)} NADs are named, {NADS_LIMIT} are watched")
        wanted = good[:NADS_LIMIT]
        before = (set(self._nads.reflectors), self._nads.notes, self._nads.empty_is_live)
        for key in sorted(set(self._nads.reflectors).difference(wanted)):
            self._nads.retire(key)
            if task := self._nad_tasks.pop(key, None):
                task.cancel()
        for key in wanted:
            if key not in self._nads.reflectors:
                self._start_nad(key)
        self._nads.notes, self._nads.empty_is_live = tuple(notes), True
        if before != (set(self._nads.reflectors), self._nads.notes, True):
            self._note("nads")

    def seed(self, facts: ClusterFacts) -> None:
        """Start with what an earlier process knew, as stale sets with their age. What the server said since stays."""
        by_name = _name_of
        for source, known, key_of in (
            (self._pods, facts.pods, _key_of),
            (self._agent_pods, facts.agent_pods, _key_of),
            (self._node, facts.node, by_name),
            (self._setting, facts.setting, by_name),
            (self._longhorn_settings, facts.longhorn_settings, lambda item: f"{self._longhorn_namespace}/{item.name}"),
            (self._cluster_networks, facts.cluster_networks, by_name),
            (self._vlan_configs, facts.vlan_configs, by_name),
        ):
            _seed(source, known, key_of)
        if not self._nads.empty_is_live:
            for nad in facts.nads.items[:NADS_LIMIT]:
                if _valid_nad(nad.key) and nad.key not in self._nads.reflectors:
                    self._start_nad(nad.key)
            _seed(self._nads, facts.nads, _key_of)

    @property
    def synced(self) -> bool:
        """The server has given its word on every source: a set, or that the resource is absent or forbidden."""
        return all(source.settled for source in self._sources())

    async def first_sync(self, *, timeout_seconds: float) -> bool:
        """Wait until `synced` was true once. False if it was not in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._first_sync.wait()
        except TimeoutError:
            return False
        return True

    def skipped_totals(self) -> Mapping[str, int]:
        """Objects by source that could not be read since the start; events, not objects that are unreadable now."""
        totals: dict[str, int] = {}
        for source in self._sources():
            totals[source.name] = totals.get(source.name, 0) + sum(item.store.skipped_total for item in source.reflectors.values())
        return totals

    def _sources(self) -> tuple[Source[Any], ...]:
        return (
            self._pods,
            self._agent_pods,
            self._node,
            self._setting,
            self._longhorn_settings,
            self._nads,
            self._cluster_networks,
            self._vlan_configs,
        )

    def _source(self, name: str, reflectors: dict[str, Reflector[T]]) -> Source[T]:
        source: Source[T] = Source(name)
        source.reflectors.update(reflectors)
        return source

    def _watch(self, name: str, path: str, kind: Kind[T], query: Mapping[str, str]) -> Reflector[T]:
        return Reflector(
            name,
            client=self._client,
            path=path,
            kind=kind,
            query=query,
            clock=self._clock,
            rng=self._rng,
            pace=self._pace,
            changed=lambda: self._note(name),
        )

    def _start_nad(self, key: str) -> None:
        namespace, name = key.split("/")
        path = f"/apis/k8s.cni.cncf.io/v1/namespaces/{namespace}/network-attachment-definitions"
        reflector = self._nads.reflectors[key] = self._watch("nads", path, decode.NAD, _named(name))
        if self._group is not None:
            self._nad_tasks[key] = self._group.create_task(reflector.run(), name=f"watch nads {key}")

    def _note(self, name: str) -> None:
        if not self._pending:
            self._schedule_flush()
        self._pending.add(name)

    def _schedule_flush(self) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        names, self._pending = frozenset(self._pending), set()
        if self.synced:
            self._first_sync.set()
        if not names:
            return
        self._dirty.set()
        for callback in tuple(self._subscribers):
            try:
                callback(names)
            except Exception:  # a reader's mistake must not stop the watches
                _log.exception("a subscriber of the cluster's facts raised")


def _named(name: str) -> Mapping[str, str]:
    """Real servers refuse any other field of a custom resource."""
    return {"fieldSelector": f"metadata.name={name}"}


def _valid_nad(name: str) -> bool:
    """Names come out of annotations and settings that anybody may have written; they end up in a path."""
    parts = name.split("/")
    return len(parts) == 2 and all(_NAME.fullmatch(part) for part in parts)


def _key_of(item: PodRecord | NadRecord) -> str:
    return item.key


def _name_of(item: NodeRecord | SettingRecord | LonghornSettingRecord | ClusterNetworkRecord | VlanConfigRecord) -> str:
    return item.name


def _seed(source: Source[Any], known: Known[Any], key_of: Callable[[Any], str]) -> None:
    """A source with one reflector a name gives each its own object; the others get everything."""
    if not (known.status.readable or known.items):
        return
    items = {key_of(item): item for item in known.items}
    for key, reflector in source.reflectors.items():
        mine = items if key == "" else {name: item for name, item in items.items() if name == key}
        reflector.store.seed(mine, age_seconds=known.status.age_seconds)
