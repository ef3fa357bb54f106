"""The reflectors and lists of one time of duty, and the facts that are made of them. Whoever takes up the duty anew makes them anew."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from random import Random
from typing import Any, NoReturn, TypeVar

from agent.edge import decode, decode_holder
from agent.edge.decode_events import EventKind
from agent.edge.holder_lists import PagedList
from agent.edge.holder_memory import Shedding
from agent.edge.kube import Kind, KubeClient, Pace, Reflector, Source
from agent.model.cluster import Known
from agent.model.holder import HolderFacts, MonitoringRecord
from agent.model.records import EventRecord, NadRecord, SourceState, SourceStatus

T = TypeVar("T")

EVENT_REASONS = ("FailedCreatePodSandBox", "AddedInterface", "FailedKillPod", "NoNetworkFound")
"""Each is one small watch: a server's field selector knows no "or"."""
CRDS = (
    "ippools.whereabouts.cni.cncf.io",
    "overlappingrangeipreservations.whereabouts.cni.cncf.io",
    "nodeslicepools.whereabouts.cni.cncf.io",
    "network-attachment-definitions.k8s.cni.cncf.io",
)
"""Watched by name: all definitions of a Harvester cluster together are megabytes."""
GRAFANA = "rancher-monitoring-grafana"
VM_IMPORT = (
    "vm-import-controller-harvester-vm-import-controller",
    "harvester-vm-import-controller",
    "harvester-harvester-vm-import-controller",
)
"""The Deployment's name begins with the name of the add-on's Helm release (harvester pkg/util/constants.go has the first)."""
MEMORY_SECONDS = 5.0
"""Between two looks at our own memory."""


class Maker:
    """Makes reflectors that share a client, a clock and a pace."""

    def __init__(
        self, *, client: KubeClient, clock: Callable[[], float], rng: Random, pace: Pace | None, changed: Callable[[str], None]
    ) -> None:
        self.client, self.clock, self.rng, self.changed = client, clock, rng, changed
        self._pace = pace

    def watch(self, name: str, path: str, kind: Kind[T], *, fields: str = "") -> Reflector[T]:
        query: Mapping[str, str] = {"fieldSelector": fields} if fields else {}
        return Reflector(
            name,
            client=self.client,
            path=path,
            kind=kind,
            query=query,
            clock=self.clock,
            rng=self.rng,
            pace=self._pace,
            changed=partial(self.changed, name),
        )

    def source(self, name: str, path: str, kind: Kind[T]) -> Source[T]:
        source: Source[T] = Source(name)
        source.reflectors[""] = self.watch(name, path, kind)
        return source

    def events(self, path: str, reason: str) -> Reflector[EventRecord]:
        def kept() -> tuple[EventRecord, ...]:
            return reflector.store.items()

        kind = EventKind(listed=lambda: reflector.store.revision > 0, kept=kept)
        reflector = self.watch("events", path, kind.kind, fields=f"involvedObject.kind=Pod,reason={reason}")
        return reflector


class Watches:
    """All sources of one time of duty."""

    def __init__(
        self,
        *,
        make: Maker,
        longhorn: str,
        harvester: str,
        whereabouts: str,
        monitoring: str,
        shedding: Shedding,
        list_interval_seconds: float,
        memory_interval_seconds: float,
    ) -> None:
        self._shedding, self._memory_interval_seconds = shedding, memory_interval_seconds
        own = f"/apis/longhorn.io/v1beta2/namespaces/{longhorn}"
        pools = f"/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/{whereabouts}"
        self.nodes = make.source("nodes", "/api/v1/nodes", decode.NODE)
        self.pools = make.source("ippools", f"{pools}/ippools", decode_holder.POOL)
        self.reservations = make.source("reservations", f"{pools}/overlappingrangeipreservations", decode_holder.RESERVATION)
        self.instance_managers = make.source("instance_managers", f"{own}/instancemanagers", decode_holder.INSTANCE_MANAGER)
        self.longhorn_nodes = make.source("longhorn_nodes", f"{own}/nodes", decode_holder.LONGHORN_NODE)
        nads = f"/apis/k8s.cni.cncf.io/v1/namespaces/{harvester}/network-attachment-definitions"
        self.nads = make.source("all_nads", nads, decode_holder.NETWORK_NAD)
        self.events: Source[EventRecord] = Source("events")
        for reason in EVENT_REASONS:
            self.events.reflectors[reason] = make.events(f"/api/v1/namespaces/{longhorn}/events", reason)
        self.crds: Source[str] = Source("crds")
        for name in CRDS:
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            self.crds.reflectors[name] = make.watch("crds", path, decode_holder.CRD, fields=f"metadata.name={name}")
        self.monitoring = _monitoring(make, monitoring=monitoring, harvester=harvester)
        self.lists = tuple(
            PagedList(
                name,
                client=make.client,
                path=f"{own}/{name}",
                kind=kind,
                clock=make.clock,
                rng=make.rng,
                changed=partial(make.changed, name),
                shedding=shedding,
                interval_seconds=list_interval_seconds,
            )
            for name, kind in (("replicas", decode_holder.REPLICA), ("engines", decode_holder.ENGINE))
        )
        self._network_nads: tuple[int, tuple[NadRecord, ...]] = (-1, ())

    @property
    def settled(self) -> bool:
        return all(source.settled for source in self._sources()) and all(one.settled for one in self.lists)

    def work(self) -> dict[str, Coroutine[Any, Any, NoReturn]]:
        """Everything that runs, by a name for people."""
        found: dict[str, Coroutine[Any, Any, NoReturn]] = {}
        for source in self._sources():
            for key, reflector in source.reflectors.items():
                found[f"watch {source.name} {key}".strip()] = reflector.run()
        for one in self.lists:
            found[f"list {one.name}"] = one.run()
        found["look at our memory"] = self._look_at_memory()
        return found

    def facts(self, *, now: float) -> HolderFacts:
        replicas, engines = (one.known() for one in self.lists)
        return HolderFacts(
            nodes=self.nodes.known(now=now),
            pools=self.pools.known(now=now),
            reservations=self.reservations.known(now=now),
            events=self.events.known(now=now),
            instance_managers=self.instance_managers.known(now=now),
            longhorn_nodes=self.longhorn_nodes.known(now=now),
            all_nads=self._nads_of_networks(now=now),
            crds=self.crds.known(now=now),
            monitoring=self.monitoring.known(now=now),
            replicas=replicas,
            engines=engines,
        )

    def _nads_of_networks(self, *, now: float) -> Known[NadRecord]:
        known = self.nads.known(now=now)
        if self._network_nads[0] != known.revision:
            self._network_nads = (known.revision, tuple(nad for nad in known.items if decode_holder.is_network_nad(nad)))
        return Known(
            items=self._network_nads[1],
            status=known.status,
            revision=known.revision,
            confirmed_monotonic_seconds=known.confirmed_monotonic_seconds,
            skipped=known.skipped,
        )

    async def _look_at_memory(self) -> NoReturn:
        while True:
            if why := self._shedding.look():
                for one in self.lists:
                    one.give_up(why)
            await asyncio.sleep(self._memory_interval_seconds)

    def _sources(self) -> tuple[Source[Any], ...]:
        return (
            self.nodes,
            self.pools,
            self.reservations,
            self.events,
            self.instance_managers,
            self.longhorn_nodes,
            self.nads,
            self.crds,
            self.monitoring,
        )


class AnyOf(Source[MonitoringRecord]):
    """Made of resources that a cluster may have or not: it is absent only where it has none of them."""

    def _status(self, statuses: list[SourceStatus]) -> SourceStatus:
        return super()._status([one for one in statuses if one.state is not SourceState.ABSENT] or statuses)


def _monitoring(make: Maker, *, monitoring: str, harvester: str) -> Source[MonitoringRecord]:
    source = AnyOf("monitoring")
    operator = f"/apis/monitoring.coreos.com/v1/namespaces/{monitoring}"
    for kind, plural in (("Prometheus", "prometheuses"), ("Alertmanager", "alertmanagers")):
        source.reflectors[plural] = make.watch("monitoring", f"{operator}/{plural}", decode_holder.monitoring_of(kind))
    for namespace, name in ((monitoring, GRAFANA), *((harvester, name) for name in VM_IMPORT)):
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        source.reflectors[f"{namespace}/{name}"] = make.watch(
            "monitoring", path, decode_holder.monitoring_of("Deployment"), fields=f"metadata.name={name}"
        )
    return source
