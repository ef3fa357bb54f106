"""Says which state the storage network is in and which NADs carry it, from the settings of Harvester and Longhorn.

`configured=True` alone is not evidence that the network is in use: the "completed" example of Harvester's guide is the disabled state.
What Longhorn's own setting names is what its pods ask for, so both names count until they agree.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.model.cluster import ClusterFacts
from agent.model.peers import Mode, Network
from agent.model.records import ConditionRecord, LonghornSettingRecord, PodRecord, SettingRecord, SourceState
from agent.rules.netstatus import NETWORKS, read_requests

STORAGE_SETTING = "storage-network"
RWX_SETTING = "rwx-network"
RWX_ENDPOINT_SETTING = "endpoint-network-for-rwx-volume"
_NAD_ANNOTATION = "{name}.settings.harvesterhci.io/net-attach-def"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the settings mean. `nads` maps ns/name to its network, the one that Harvester names first."""

    mode: Mode = Mode.UNKNOWN
    nads: Mapping[str, Network] = field(default_factory=dict)
    storage_nad: str | None = None
    cluster_network: str | None = None
    """From the Harvester setting's value."""
    why: str = "the settings have not been read"
    configured: ConditionRecord | None = None
    inferred: bool = False
    """No setting could be read: the NADs are those that Longhorn's pods ask for."""


def read_mode(facts: ClusterFacts, *, interface: str) -> Reading:
    """Mode and NADs (contract §4). `interface` is what Longhorn calls the storage interface, for clusters whose settings are unreadable."""
    harvester = {item.name: item for item in facts.setting.items}
    longhorn = {item.name: item for item in facts.longhorn_settings.items}
    storage = harvester.get(STORAGE_SETTING) if facts.setting.status.readable else None
    value = longhorn.get(STORAGE_SETTING) if facts.longhorn_settings.status.readable else None
    if storage is not None:
        mode, why = _harvester_mode(storage)
    elif _no_harvester(facts):
        mode, why = _longhorn_mode(value)
    else:
        mode, why = Mode.UNKNOWN, f"Harvester's setting is {facts.setting.status.state}"
    annotated = _nad(storage.annotations.get(_NAD_ANNOTATION.format(name=STORAGE_SETTING))) if storage else None
    nads: dict[str, Network] = {}
    for name in (annotated, _nad(value.value) if value else None):
        if name:
            nads.setdefault(name, Network.STORAGE)
    inferred = not nads and mode is Mode.UNKNOWN
    if inferred:
        nads = dict.fromkeys(_asked_for(facts.pods.items, interface), Network.STORAGE)
        why += f"; going by what the pods ask for: {', '.join(nads)}" if nads else ""
    storage_nad = next(iter(nads), None)
    for name in _rwx_nads(harvester.get(RWX_SETTING), longhorn.get(RWX_ENDPOINT_SETTING)):
        nads.setdefault(name, Network.RWX)
    return Reading(
        mode=mode,
        nads=nads,
        storage_nad=storage_nad,
        cluster_network=_cluster_network(storage),
        why=why,
        configured=configured_of(storage) if storage else None,
        inferred=inferred and bool(nads),
    )


def configured_of(setting: SettingRecord) -> ConditionRecord | None:
    return next((condition for condition in setting.conditions if condition.type == "configured"), None)


def _no_harvester(facts: ClusterFacts) -> bool:
    """The resource is absent, or it is there and holds no such setting (another operator's CRD of that name)."""
    return facts.setting.status.state is SourceState.ABSENT or (facts.setting.status.state is SourceState.LIVE and not facts.setting.items)


def _harvester_mode(setting: SettingRecord) -> tuple[Mode, str]:
    value = (setting.value or "").strip()
    condition = configured_of(setting)
    done = condition is not None and condition.status == "True"
    annotated = any(key.startswith(f"{STORAGE_SETTING}.settings.harvesterhci.io/") for key in setting.annotations)
    named = _nad(setting.annotations.get(_NAD_ANNOTATION.format(name=STORAGE_SETTING)))
    if not value and not annotated and not done:
        return Mode.UNINITIALISED, "the setting storage-network was never used"
    if not done:
        said = f": {condition.message}" if condition and condition.message else ""
        return Mode.APPLYING, f"Harvester applies the setting storage-network{said}"
    if not value:
        return Mode.OFF, "the setting storage-network is empty"
    if named is None:
        return Mode.APPLYING, "the setting has a value, but Harvester has not yet made a NAD for it"
    return Mode.ON, f"configured, NAD {named}"


def _longhorn_mode(setting: LonghornSettingRecord | None) -> tuple[Mode, str]:
    if setting is None:
        return Mode.UNKNOWN, "neither Harvester's nor Longhorn's setting storage-network is there"
    if not (setting.value or "").strip():
        return Mode.OFF, "Longhorn's setting storage-network is empty"
    if setting.applied is False:
        return Mode.APPLYING, "Longhorn waits for its volumes to be detached before it applies the setting storage-network"
    return Mode.ON, f"Longhorn's setting names {setting.value}"


def _rwx_nads(setting: SettingRecord | None, endpoint: LonghornSettingRecord | None) -> list[str]:
    names = (
        _nad(setting.annotations.get(_NAD_ANNOTATION.format(name=RWX_SETTING))) if setting else None,
        _nad(endpoint.value) if endpoint else None,
    )
    return [name for name in names if name]


def _nad(text: str | None) -> str | None:
    """`ns/name`, or None for anything that is not that."""
    namespace, slash, name = (text or "").strip().partition("/")
    return f"{namespace}/{name}" if slash and namespace and name and "/" not in name else None


def _asked_for(pods: tuple[PodRecord, ...], interface: str) -> list[str]:
    """NADs that Longhorn's pods request under the storage interface's name, the most wanted first."""
    counts: Counter[str] = Counter()
    for pod in pods:
        requests, _ = read_requests(pod.annotations.get(NETWORKS), namespace=pod.namespace)
        counts.update(request.nad for request in requests if request.interface == interface)
    return [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:4]]


def _cluster_network(setting: SettingRecord | None) -> str | None:
    try:
        value = json.loads((setting.value if setting else None) or "null")
    except (ValueError, RecursionError):
        return None
    name = value.get("clusterNetwork") if isinstance(value, dict) else None
    return name if isinstance(name, str) and name else None
