"""All findings about the setting and its drift in one call, each with the sources that must be live for it to start.

The rules themselves stand in setting, setting_nads, setting_overlap, setting_pods and setting_cluster. Here is only what goes to whom, and
what a look could not judge. Harvester's rules stay silent where its settings were never read.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from agent.model.cluster import ClusterFacts
from agent.model.finding import Finding
from agent.model.holder import HolderFacts
from agent.model.peers import Mode, Network, StoragePod
from agent.model.pool import NadConfig
from agent.model.records import SourceState, SourceStatus
from agent.rules.ledger import Claim, Look
from agent.rules.mode import STORAGE_SETTING, Reading
from agent.rules.setting import is_waiting, setting_mismatch, setting_stuck, setting_unapplied, settings_by_name
from agent.rules.setting_cluster import (
    POOLS_CRD,
    RESERVATIONS_CRD,
    cluster_networks_of,
    coverage_missing,
    crd_missing,
    matched_nodes,
    monitoring_left_stopped,
    needed_crds,
)
from agent.rules.setting_nads import nad_drift, nad_leftovers, nad_missing
from agent.rules.setting_overlap import ConnectedRoute, range_overlap
from agent.rules.setting_pods import grant_missing, instance_managers_missing, storage_ip_fallbacks
from agent.rules.setting_texts import Places
from agent.rules.setting_value import named_nad

RESTS_ON: Mapping[str, frozenset[str]] = {
    "setting-stuck": frozenset({"setting"}),
    "setting-unapplied": frozenset({"setting"}),
    "setting-mismatch": frozenset({"setting", "longhorn_settings"}),
    "nad-missing": frozenset({"nads"}),
    "nad-drift": frozenset({"setting", "nads"}),
    "nad-leftover": frozenset({"setting", "longhorn_settings", "all_nads", "pods"}),
    "crd-missing": frozenset({"nads", "crds"}),
    "range-overlap": frozenset({"nads"}),
    "coverage-missing": frozenset({"setting", "nodes", "vlan_configs"}),
    "monitoring-left-stopped": frozenset({"setting", "monitoring"}),
    "grant-missing": frozenset({"pods"}),
    "storage-ip-fallback": frozenset({"nads", "replicas", "engines"}),
    "instance-manager-missing": frozenset({"instance_managers", "pods"}),
}
"""Sources that each rule compares, beside those that name the NAD. `all_nads` and `vlan_configs` are halves of `nads` and
`cluster_network`; `nodes` of range-overlap counts only where a node is what is overlapped."""


class Limits(Protocol):
    """Settings `thresholds.*` of contract §2."""

    @property
    def setting_stuck_seconds(self) -> float: ...

    @property
    def pod_grace_seconds(self) -> float: ...


class Told(NamedTuple):
    finding: Finding
    needs: frozenset[str]
    """Names of the sources that must be live for it to start; it may go on without."""


def judge_setting(
    *,
    facts: ClusterFacts,
    holder: HolderFacts,
    reading: Reading,
    pods: Iterable[StoragePod],
    nads: Mapping[str, NadConfig],
    thresholds: Limits,
    unconfigured_since: Mapping[str, float],
    now: float,
    server_wall_seconds: float | None = None,
    connected: Iterable[ConnectedRoute] = (),
    other_requests: Collection[str] = (),
    places: Places | None = None,
) -> list[Told]:
    """`now` and `unconfigured_since` (kept by the caller with `setting.unconfigured_since`) are seconds of our monotonic clock;
    `server_wall_seconds` is the API server's wall clock, None if it is not known.

    `connected` are the host's routes as somebody read them, `other_requests` NADs that pods outside Longhorn's namespace ask for.
    Which findings the mode lets through is judged elsewhere.
    """
    places = places or Places()
    settings = settings_by_name(facts.setting.items) if facts.setting.status.readable else {}
    told: list[Told] = []
    for setting in settings.values():
        own = now - unconfigured_since.get(setting.name, now)
        stuck = setting_stuck(
            setting,
            own_seconds=own,
            stuck_seconds=thresholds.setting_stuck_seconds,
            server_wall_seconds=server_wall_seconds,
            places=places,
        )
        told += _told(stuck, setting_unapplied(setting, places=places))
        told += _told(nad_drift(setting, nads.get(named_nad(setting) or ""), places=places))
    if STORAGE_SETTING in settings and facts.longhorn_settings.status.readable:
        longhorn = next((one for one in facts.longhorn_settings.items if one.name == STORAGE_SETTING), None)
        told += _told(setting_mismatch(settings[STORAGE_SETTING], longhorn, places=places))
    told += _leftovers(facts, holder, other_requests=other_requests, places=places)
    told += _told(_monitoring(holder, facts))
    if reading.mode in (Mode.OFF, Mode.UNINITIALISED):
        return told
    told += _nads(facts, holder, reading, nads, connected=tuple(connected), places=places)
    told += _pods(facts, holder, reading, pods, nads, now=now, grace_seconds=thresholds.pod_grace_seconds, places=places)
    if facts.vlan_configs.status.readable and holder.nodes.status.readable:
        told += _told(*_coverage(facts, holder))
    return told


def look_setting(
    told: Iterable[Told], *, facts: ClusterFacts, holder: HolderFacts, reading: Reading, nads: Mapping[str, NadConfig]
) -> Look:
    """What judge_setting told of the same values, as the ledger takes it: a finding starts only on live sources; one whose sources cannot
    be read, or were never, is neither confirmed nor cleared."""
    blind = unjudged(facts=facts, reading=reading, nads=nads)
    states = source_states(facts, holder)
    live = frozenset(name for name, state in states.items() if state is SourceState.LIVE)
    known = frozenset(name for name, state in states.items() if state not in (SourceState.NEVER, SourceState.FORBIDDEN))
    return Look(
        claims=tuple(Claim(finding=one.finding, may_start=one.needs <= live) for one in told),
        undecided=lambda finding: finding.id in blind or not RESTS_ON.get(finding.id, frozenset()) <= known,
    )


def unjudged(*, facts: ClusterFacts, reading: Reading, nads: Mapping[str, NadConfig]) -> frozenset[str]:
    """Ids about which this look can say nothing because something in a source, not the source, could not be read."""
    found = set()
    if any(name not in nads or not nads[name].ranges for name in _storage(reading)):
        found.add("storage-ip-fallback")
    configs = facts.vlan_configs
    wanted = cluster_networks_of(facts.setting.items)
    if configs.skipped or any(one.cluster_network in wanted and matched_nodes(one.matched_nodes) is None for one in configs.items):
        found.add("coverage-missing")
    return frozenset(found)


def _storage(reading: Reading) -> list[str]:
    return [name for name, network in reading.nads.items() if network is Network.STORAGE]


def source_states(facts: ClusterFacts, holder: HolderFacts) -> dict[str, SourceState]:
    """By the names that `needs` uses. `kernel` is always live: it was asked by whoever passed the routes."""
    halves: dict[str, SourceStatus] = {"vlan_configs": facts.vlan_configs.status, "all_nads": holder.all_nads.status}
    statuses = {status.name: status for status in (*facts.statuses(), *holder.statuses())} | halves
    return {name: status.state for name, status in statuses.items()} | {"kernel": SourceState.LIVE}


def _told(*findings: Finding | None, also: Collection[str] = ()) -> Iterator[Told]:
    for finding in findings:
        if finding is not None:
            yield Told(finding, RESTS_ON[finding.id] | frozenset(also))


def _naming(facts: ClusterFacts, reading: Reading) -> frozenset[str]:
    """Who says which NADs are in use."""
    if reading.inferred:
        return frozenset({"pods"})
    harvester = facts.setting.status.readable and any(one.name == STORAGE_SETTING for one in facts.setting.items)
    return frozenset({"setting" if harvester else "longhorn_settings"})


def _leftovers(facts: ClusterFacts, holder: HolderFacts, *, other_requests: Collection[str], places: Places) -> Iterator[Told]:
    sources = (facts.setting, facts.longhorn_settings, facts.pods, holder.all_nads)
    if all(source.status.readable for source in sources):
        yield from _told(
            *nad_leftovers(
                holder.all_nads.items,
                settings=facts.setting.items,
                longhorn=facts.longhorn_settings.items,
                pods=facts.pods.items,
                other_requests=other_requests,
                places=places,
            )
        )


def _monitoring(holder: HolderFacts, facts: ClusterFacts) -> Finding | None:
    if not (holder.monitoring.status.readable and facts.setting.status.readable):
        return None
    return monitoring_left_stopped(holder.monitoring.items, settings=facts.setting.items)


def _nads(
    facts: ClusterFacts,
    holder: HolderFacts,
    reading: Reading,
    nads: Mapping[str, NadConfig],
    *,
    connected: tuple[ConnectedRoute, ...],
    places: Places,
) -> Iterator[Told]:
    """Rules about the NADs in use."""
    if not facts.nads.status.readable:
        return
    naming = _naming(facts, reading)
    if not reading.inferred:
        yield from _missing(facts, reading, places=places)
    used = {name: nads[name] for name in reading.nads if name in nads}
    yield from _crds(holder, used.values(), naming=naming, places=places)
    from_holder = holder.nodes.status.readable
    for name, nad in used.items():
        # the storage network was there first: of two ranges that meet, the RWX network's is blamed, once
        storage = {other: one for other, one in used.items() if reading.nads[other] is Network.STORAGE and other != name}
        overlap = range_overlap(
            nad,
            network=reading.nads[name],
            nodes=holder.nodes.items if from_holder else facts.node.items,
            node_source="nodes" if from_holder else "node",
            connected=connected,
            others=storage if reading.nads[name] is Network.RWX else {},
            harvester="setting" in naming,
            places=places,
        )
        if overlap is not None:
            yield from _told(overlap[0], also=overlap[1] | naming)


def _missing(facts: ClusterFacts, reading: Reading, *, places: Places) -> Iterator[Told]:
    """Each name goes with the setting that says it: Harvester's, or else Longhorn's. While Harvester changes over, it deletes the NAD that
    Longhorn may name for a moment longer."""
    known = frozenset(nad.key for nad in facts.nads.items)
    said = {named_nad(setting) for setting in facts.setting.items} if facts.setting.status.readable else set()
    changing = any(is_waiting(setting) for setting in facts.setting.items)
    for source, by_harvester in (("setting", True), ("longhorn_settings", False)):
        if changing and not by_harvester:
            continue
        named = {name: network for name, network in reading.nads.items() if (name in said) is by_harvester}
        found = nad_missing(named, known=known, skipped=facts.nads.skipped, harvester=by_harvester, places=places)
        yield from _told(*found, also=(source,))


def _crds(holder: HolderFacts, used: Iterable[NadConfig], *, naming: frozenset[str], places: Places) -> Iterator[Told]:
    """Where the list of CRDs may not be read, the API server's word that it knows no such resource does as well."""
    needed = needed_crds(used)
    if holder.crds.status.readable:
        missing = [name for name in needed if name not in holder.crds.items]
        yield from _told(crd_missing(missing, places=places), also=naming)
        return
    absent = {POOLS_CRD: holder.pools.status.state, RESERVATIONS_CRD: holder.reservations.status.state}
    finding = crd_missing([name for name in needed if absent.get(name) is SourceState.ABSENT], places=places)
    if finding is not None:
        yield Told(finding, frozenset({"nads"}) | naming)


def _pods(
    facts: ClusterFacts,
    holder: HolderFacts,
    reading: Reading,
    pods: Iterable[StoragePod],
    nads: Mapping[str, NadConfig],
    *,
    now: float,
    grace_seconds: float,
    places: Places,
) -> Iterator[Told]:
    naming = _naming(facts, reading)
    for pod in pods:
        born = pod.record.born_monotonic_seconds
        if born is None or now - born >= grace_seconds:
            yield from _told(grant_missing(pod, nads=reading.nads, places=places), also=naming)
    if facts.pods.status.readable and holder.instance_managers.status.readable:
        records = facts.pods
        yield from _told(
            *instance_managers_missing(holder.instance_managers.items, pods=records.items, skipped=records.skipped, places=places)
        )
    storage = _storage(reading)
    if reading.mode is Mode.ON and all(name in nads for name in storage):
        instances = (*holder.replicas.items, *holder.engines.items)
        told = storage_ip_fallbacks(instances, nads=[nads[name] for name in storage], pods=facts.pods.items, places=places)
        engines = {one.name for one in holder.engines.items} if told else set()
        for finding in told:
            its_list = "engines" if finding.subject.object in engines else "replicas"
            yield Told(finding, frozenset({"nads", its_list}) | naming)


def _coverage(facts: ClusterFacts, holder: HolderFacts) -> list[Finding]:
    """One finding a node, of the first cluster network that does not cover it."""
    found: dict[str, Finding] = {}
    for name in cluster_networks_of(facts.setting.items):
        for finding in coverage_missing(
            name, nodes=holder.nodes.items, vlan_configs=facts.vlan_configs.items, skipped=facts.vlan_configs.skipped
        ):
            found.setdefault(finding.culprit, finding)
    return list(found.values())
