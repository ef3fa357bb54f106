"""Reads once, by paged lists, everything that `check` and `preflight` judge. Only GET, and never an exception for one source.

Each source ends as items, as `absent` (no such resource), as `forbidden`, or as `never` with the reason; an object that cannot be decoded
is skipped and named. Only a server that cannot be reached at all, or does not know us, raises. Which NADs to read is the caller's
judgement. What the API cannot tell is asked of the agents, as survey_agents does it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from agent.edge import decode, decode_holder, survey_kinds
from agent.edge.cluster import HARVESTER_SETTINGS, LONGHORN_SETTINGS, STORAGE_PODS
from agent.edge.decode_events import EventKind
from agent.edge.kube import (
    Absent,
    BadAnswer,
    Expired,
    Forbidden,
    Kind,
    KubeClient,
    KubeError,
    NoAccess,
    Sighting,
    Unauthorized,
    Unreachable,
)
from agent.edge.kube.wire import decode as decode_json
from agent.edge.kube.wire import name_of
from agent.edge.survey_agents import ask_mesh, ask_uplinks
from agent.edge.survey_asker import AgentsAsker
from agent.model.cluster import ClusterFacts, Known
from agent.model.holder import HolderFacts
from agent.model.records import SourceState, SourceStatus
from agent.model.steps import Places, Survey

T = TypeVar("T")

CRDS = (
    "ippools.whereabouts.cni.cncf.io",
    "overlappingrangeipreservations.whereabouts.cni.cncf.io",
    "network-attachment-definitions.k8s.cni.cncf.io",
)
MORE_HARVESTER_SETTINGS = ("server-version", "vm-migration-network")
MORE_LONGHORN_SETTINGS = ("priority-class", "v2-data-engine")
SOURCE_SECONDS = 150.0
"""One source, all pages: thousands of volumes over a slow line, and still an end."""
PARALLEL = 6
"""Lists at a time: quick on a slow line, no load on a server in trouble."""
SKIPPED_NAMED = 3
NADS_LIMIT = 16

Say = Callable[[str], None]
NameNads = Callable[[ClusterFacts], Iterable[str]]


class Surveyor:
    """One survey by one client."""

    def __init__(self, *, client: KubeClient, agents: AgentsAsker, places: Places, clock: Callable[[], float], say: Say) -> None:
        self._client = client
        self._agents = agents
        self._places = places
        self._clock = clock
        self._say = say
        self._slots = asyncio.Semaphore(PARALLEL)

    async def for_check(self, *, name_nads: NameNads) -> Survey:
        """Raises KubeError if the server cannot be reached or does not know us."""
        await self._first_contact()
        survey = await self._common(name_nads)
        return replace(
            survey,
            mesh=await ask_mesh(self._agents, survey.cluster.agent_pods, client=self._client, namespace=self._places.agent, say=self._say),
        )

    async def for_preflight(self, *, name_nads: NameNads) -> Survey:
        """As for_check, and what must be so before the setting is applied."""
        await self._first_contact()
        longhorn = f"/apis/longhorn.io/v1beta2/namespaces/{self._places.longhorn}"
        async with asyncio.TaskGroup() as group:
            common = group.create_task(self._common(name_nads))
            more = group.create_task(self._named("more settings", _HARVESTER, decode.SETTING, MORE_HARVESTER_SETTINGS))
            more_longhorn = group.create_task(
                self._named("more Longhorn settings", f"{longhorn}/settings", decode.LONGHORN_SETTING, MORE_LONGHORN_SETTINGS)
            )
            networks = group.create_task(self._list("cluster networks", f"{_NETWORK}/clusternetworks", decode.CLUSTER_NETWORK))
            vlans = group.create_task(self._list("VlanConfigs", f"{_NETWORK}/vlanconfigs", decode.VLAN_CONFIG))
            longhorn_nodes = group.create_task(self._list("Longhorn nodes", f"{longhorn}/nodes", decode_holder.LONGHORN_NODE))
            crds = group.create_task(self._crds())
            machines = group.create_task(
                self._list("virtual machines", "/apis/kubevirt.io/v1/virtualmachineinstances", survey_kinds.KEY),
            )
            volumes = group.create_task(self._list("volumes", f"{longhorn}/volumes", survey_kinds.VOLUME))
            attachments = group.create_task(self._list("volume attachments", f"{longhorn}/volumeattachments", survey_kinds.ATTACHMENT))
            sources = group.create_task(self._list("image transfers", f"{longhorn}/backingimagedatasources", survey_kinds.DATA_SOURCE))
        survey = common.result()
        return replace(
            survey,
            cluster=replace(survey.cluster, cluster_networks=networks.result(), vlan_configs=vlans.result()),
            holder=replace(survey.holder, longhorn_nodes=longhorn_nodes.result(), crds=crds.result()),
            more_settings=more.result(),
            more_longhorn_settings=more_longhorn.result(),
            machines=machines.result(),
            volumes=volumes.result(),
            attachments=attachments.result(),
            data_sources=sources.result(),
            uplinks=await ask_uplinks(self._agents, survey.cluster.agent_pods, say=self._say),
        )

    async def _first_contact(self) -> None:
        """An answer of any kind is enough: not everybody may read the version."""
        self._say("asking the API server")
        try:
            await self._client.request_json("GET", "/version")
        except (NoAccess, Unreachable, Unauthorized, BadAnswer):
            raise
        except KubeError:
            return

    async def _common(self, name_nads: NameNads) -> Survey:
        longhorn = f"/apis/longhorn.io/v1beta2/namespaces/{self._places.longhorn}"
        pods_of = "/api/v1/namespaces/{}/pods".format
        async with asyncio.TaskGroup() as group:
            setting = group.create_task(self._named("setting", _HARVESTER, decode.SETTING, HARVESTER_SETTINGS))
            longhorn_settings = group.create_task(
                self._named("Longhorn settings", f"{longhorn}/settings", decode.LONGHORN_SETTING, LONGHORN_SETTINGS)
            )
            pods = group.create_task(self._list("pods", pods_of(self._places.longhorn), decode.POD, {"labelSelector": STORAGE_PODS}))
            agents = group.create_task(
                self._list("agent pods", pods_of(self._places.agent), decode.POD, {"labelSelector": self._places.agents_selector})
            )
            nodes = group.create_task(self._list("nodes", "/api/v1/nodes", decode.NODE))
            managers = group.create_task(self._list("instance-managers", f"{longhorn}/instancemanagers", decode_holder.INSTANCE_MANAGER))
            events = group.create_task(
                self._list(
                    "events",
                    f"/api/v1/namespaces/{self._places.longhorn}/events",
                    EventKind(listed=lambda: False, kept=lambda: ()).kind,
                    {"fieldSelector": "reason=FailedCreatePodSandBox"},
                )
            )
        facts = ClusterFacts(
            pods=pods.result(), agent_pods=agents.result(), setting=setting.result(), longhorn_settings=longhorn_settings.result()
        )
        facts = replace(facts, nads=await self._nads(name_nads(facts)))
        holder = HolderFacts(nodes=nodes.result(), events=events.result(), instance_managers=managers.result())
        return Survey(cluster=facts, holder=holder)

    async def _nads(self, names: Iterable[str]) -> Known[Any]:
        """By name, since a role may allow only those; a name is split as judged by the caller."""
        parts = []
        for key in list(names)[:NADS_LIMIT]:
            namespace, _, name = key.partition("/")
            if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
                continue  # no object can have this name, and it would end up in a path
            path = f"/apis/k8s.cni.cncf.io/v1/namespaces/{namespace}/network-attachment-definitions"
            parts.append(self._list(f"NAD {key}", path, decode.NAD, _by_name(name)))
        if not parts:
            return Known(status=SourceStatus(name="nads", state=SourceState.LIVE))
        return _merged("nads", await asyncio.gather(*parts))

    async def _named(self, name: str, path: str, kind: Kind[T], names: Iterable[str]) -> Known[T]:
        """Objects of these names, one question each."""
        return _merged(name, await asyncio.gather(*(self._list(f"{name} {one}", path, kind, _by_name(one)) for one in names)))

    async def _crds(self) -> Known[str]:
        """Which of CRDS are there. Who may not read definitions may still learn it from the resource itself."""
        found = await asyncio.gather(*(self._crd(name) for name in CRDS))
        return _merged("crds", found)

    async def _crd(self, name: str) -> Known[str]:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        known = await self._guarded(f"definition of {name}", lambda: self._get_name(path))
        if known.status.state is SourceState.FORBIDDEN:
            plural, _, group = name.partition(".")
            version = "v1" if group == "k8s.cni.cncf.io" else "v1alpha1"
            namespace = self._places.harvester if group == "k8s.cni.cncf.io" else self._places.whereabouts
            by_use = await self._list(f"one of {name}", f"/apis/{group}/{version}/namespaces/{namespace}/{plural}", survey_kinds.KEY)
            if by_use.status.state in (SourceState.LIVE, SourceState.ABSENT):
                known = replace(by_use, items=(name,) if by_use.status.state is SourceState.LIVE else (), skipped=())
        if known.status.state is SourceState.ABSENT:
            # Known to be missing is knowledge: the source is live, the name is not in it.
            return Known(status=SourceStatus(name="crds", state=SourceState.LIVE))
        return known

    async def _get_name(self, path: str) -> Known[str]:
        answer = await self._client.request_json("GET", path)
        name = decode_json(answer.body, decoder=survey_kinds.KEY.decoder, what=path).metadata.name
        return Known(items=(name,), status=SourceStatus(name="crds", state=SourceState.LIVE))

    async def _list(self, name: str, path: str, kind: Kind[T], query: Mapping[str, str] | None = None) -> Known[T]:
        async def read() -> Known[T]:
            for last in (False, True):
                try:
                    return await self._pages(name, path, kind, query)
                except Expired:
                    if last:
                        raise
            raise AssertionError("unreachable")

        self._say(f"reading {name}")
        return await self._guarded(name, read)

    async def _pages(self, name: str, path: str, kind: Kind[T], query: Mapping[str, str] | None) -> Known[T]:
        items: list[T] = []
        skipped: list[str] = []
        async with aclosing(self._client.list_pages(path, query=query)) as pages:
            async for page in pages:
                seen = Sighting(monotonic_seconds=self._clock(), server_unix_seconds=page.server_unix_seconds)
                for raw in page.items:
                    try:
                        items.append(kind.build(decode_json(raw, decoder=kind.decoder, what="object"), seen, None))
                    except BadAnswer as error:
                        skipped.append(f"{name_of(raw) or 'an object without a name'}: {error}")
        return Known(items=tuple(items), status=SourceStatus(name=name, state=SourceState.LIVE), skipped=_few(skipped))

    async def _guarded(self, name: str, read: Callable[[], Awaitable[Known[T]]]) -> Known[T]:
        try:
            async with self._slots, asyncio.timeout(SOURCE_SECONDS):
                return await read()
        except Absent as error:
            return _failed(name, SourceState.ABSENT, error)
        except Forbidden as error:
            return _failed(name, SourceState.FORBIDDEN, error)
        except TimeoutError:
            return _failed(name, SourceState.NEVER, f"not read within {SOURCE_SECONDS:.0f} s")
        except KubeError as error:
            return _failed(name, SourceState.NEVER, error)


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_HARVESTER = "/apis/harvesterhci.io/v1beta1/settings"
_NETWORK = "/apis/network.harvesterhci.io/v1beta1"
_WORST_LAST = (SourceState.LIVE, SourceState.ABSENT, SourceState.FORBIDDEN, SourceState.NEVER)


def _failed(name: str, state: SourceState, why: object) -> Known[T]:
    return Known(status=SourceStatus(name=name, state=state, detail=str(why)))


def _merged(name: str, parts: Iterable[Known[T]]) -> Known[T]:
    """Several questions as one source: as good as its worst."""
    known = list(parts)
    worst = max(known, key=lambda part: _WORST_LAST.index(part.status.state)).status
    return Known(
        items=tuple(item for part in known for item in part.items),
        status=replace(worst, name=name),
        skipped=tuple(text for part in known for text in part.skipped),
    )


def _few(skipped: list[str]) -> tuple[str, ...]:
    more = len(skipped) - SKIPPED_NAMED
    return tuple(skipped[:SKIPPED_NAMED]) + ((f"and {more} more",) if more > 0 else ())


def _by_name(name: str) -> Mapping[str, str]:
    return {"fieldSelector": f"metadata.name={name}"}
