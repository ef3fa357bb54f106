"""Which storage network preflight judges: the value of Harvester's setting, overridden by what somebody said on the command line.

Whether it is a good one is for the other steps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from agent.model.records import LonghornSettingRecord, SettingRecord
from agent.model.steps import Survey, Wanted
from agent.rules.demand import NEWEST, Cluster, Rwx, parse_version
from agent.rules.ipam_range import Version
from agent.rules.mode import RWX_SETTING, STORAGE_SETTING, Reading
from agent.rules.nad import parse_nad
from agent.rules.setting_value import NetworkValue, read_value

_WITNESS = "node-role.harvesterhci.io/witness"
_MIGRATION_SETTING = "vm-migration-network"
MGMT = "mgmt"


def wanted_of(
    survey: Survey, reading: Reading, *, range_text: str | None, exclude: Sequence[str], cluster_network: str | None, vlan: int | None
) -> Wanted:
    """What is given beats the setting's value, piece by piece; a given range brings its own excludes."""
    setting = next((one for one in survey.cluster.setting.items if one.name == STORAGE_SETTING), None)
    current = _of_setting(setting) if setting is not None else _of_nad(survey, reading)
    if range_text is not None or exclude:
        current = replace(current, exclude=tuple(exclude), problem=None)
    return replace(
        current,
        range=current.range if range_text is None else range_text,
        cluster_network=current.cluster_network if cluster_network is None else cluster_network,
        vlan=current.vlan if vlan is None else vlan,
    )


def _of_nad(survey: Survey, reading: Reading) -> Wanted:
    """Without Harvester nobody keeps a value, but the NAD in use tells."""
    for nad in survey.cluster.nads.items:
        if nad.key == reading.storage_nad:
            config = parse_nad(nad.key, nad.config)
            if config.ranges:
                return Wanted(range=config.ranges[0].text, exclude=config.ranges[0].excludes, vlan=config.vlan)
    return Wanted()


def _of_setting(setting: SettingRecord) -> Wanted:
    value = read_value(setting)
    network = value.network or NetworkValue()
    why = value.unread or (f"Harvester cannot read it: {value.problem}" if value.problem else None)
    return Wanted(
        range=network.range,
        exclude=network.excludes,
        cluster_network=network.cluster_network,
        vlan=network.vlan if value.network is not None else None,
        problem=f"the setting's value: {why}" if why else None,
    )


def storage_nodes(survey: Survey) -> list[str]:
    """Kubernetes nodes that take part: all but witnesses."""
    return sorted(node.name for node in survey.holder.nodes.items if node.labels.get(_WITNESS) != "true")


def other_ranges(survey: Survey) -> list[tuple[str, str]]:
    """Setting and range of the networks that Harvester's other settings hold."""
    others = (one for one in (*survey.cluster.setting.items, *survey.more_settings.items) if one.name in (RWX_SETTING, _MIGRATION_SETTING))
    values = ((one.name, read_value(one).network) for one in others)
    return [(name, network.range) for name, network in values if network is not None and network.range]


def harvester_version(survey: Survey) -> Version:
    """From Harvester's setting server-version; the newest known where it does not say."""
    for setting in survey.more_settings.items:
        if setting.name == "server-version" and setting.value:
            try:
                return parse_version(setting.value)
            except ValueError:
                return NEWEST
    return NEWEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What the range has to serve, and where that was read; None where it could not be."""

    cluster: Cluster | None
    source: str


def size_of(survey: Survey, *, images: int) -> Size:
    """Longhorn's nodes and their disks; without those, one disk for each Kubernetes node that is no witness."""
    longhorn = survey.holder.longhorn_nodes
    version = harvester_version(survey)
    if longhorn.items:
        nodes, disks, source = len(longhorn.items), sum(node.disks for node in longhorn.items), "Longhorn's nodes"
    elif names := storage_nodes(survey):
        nodes, disks, source = len(names), len(names), "Kubernetes nodes, one disk each taken for granted"
    else:
        return Size(cluster=None, source="no node could be read")
    settings = {one.name: (one.value or "").strip().lower() for one in _longhorn_settings(survey)}
    shared = settings.get("storage-network-for-rwx-volume-enabled") == "true" or _rwx_shared(survey.cluster.setting.items)
    cluster = Cluster(
        nodes=nodes,
        disks=disks,
        images=images,
        rwx=Rwx.SHARED if shared else Rwx.OFF,
        v2=settings.get("v2-data-engine") == "true",
        harvester=version,
    )
    return Size(cluster=cluster, source=source)


def _longhorn_settings(survey: Survey) -> tuple[LonghornSettingRecord, ...]:
    return (*survey.cluster.longhorn_settings.items, *survey.more_longhorn_settings.items)


def _rwx_shared(settings: Iterable[SettingRecord]) -> bool:
    return any(read_value(setting).shared for setting in settings if setting.name == RWX_SETTING)
