"""Judges the NADs that the settings name: there at all, still as the setting says, and none that nobody uses any more.

Nobody in Harvester looks at a NAD again once the setting is completed. What drifts here reaches pods at their next start, all at once.
NADs of other plugins or another IPAM are compared only in what they have in common with Harvester's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_network

from agent.model.finding import Finding, Subject
from agent.model.peers import Network
from agent.model.pool import AddressRange, NadConfig
from agent.model.records import LonghornSettingRecord, NadRecord, PodRecord, SettingRecord
from agent.rules.ipam_range import parse_address, parse_cidr, shown, whereabouts_range
from agent.rules.make import make
from agent.rules.mode import RWX_ENDPOINT_SETTING, RWX_SETTING, STORAGE_SETTING
from agent.rules.netstatus import NETWORKS, read_requests
from agent.rules.setting import is_waiting
from agent.rules.setting_texts import NADS, Places, is_key, list_nads, listing, show_longhorn_setting, show_nad, show_setting
from agent.rules.setting_value import NETWORK_OF, NetworkValue, annotation, is_done, named_nad, read_value, value_hash

LEFTOVERS_TOLD = 50
"""Findings of one look; a controller in a loop has left hundreds (harvester issue 9621)."""
_ENDED = ("Succeeded", "Failed")


def nad_missing(
    named: Mapping[str, Network],
    *,
    known: Collection[str],
    skipped: Sequence[str] = (),
    harvester: bool = True,
    places: Places | None = None,
) -> list[Finding]:
    """Compares: what the settings name with the NADs that were read. `known` are namespace/name; `skipped` those that are there but
    could not be read ("key: reason"), which are not missing. Without `harvester`, Longhorn's settings are what names them."""
    unread = {one.partition(":")[0].strip() for one in skipped}
    gone = [nad for nad in named if nad not in known and nad not in unread]
    return [_missing(nad, named[nad], harvester=harvester, places=places or Places()) for nad in gone]


def _missing(nad: str, network: Network, *, harvester: bool, places: Places) -> Finding:
    told = shown(nad)
    setting = RWX_SETTING if network is Network.RWX else STORAGE_SETTING
    if harvester:
        who, look = "the setting", show_setting(setting)
        anew = "or set the network anew in Harvester with VMs stopped and volumes detached"
    else:
        setting = RWX_ENDPOINT_SETTING if network is Network.RWX else STORAGE_SETTING
        who, look = "Longhorn's setting", show_longhorn_setting(setting, places=places)
        anew = "or have the setting name another with all volumes detached"
    return make(
        "nad-missing",
        subject=Subject(nad=told),
        culprit=told,
        network=network,
        summary=f"the NAD {told} that the {network} network uses does not exist: no storage pod can start again without it",
        seen=f"no NetworkAttachmentDefinition {told}",
        expected=f"the one that {who} {setting} names",
        next_step=f"see what is left, {list_nads(nad, places=places)}, and who names it, {look}; put it back under its old name, {anew}",
        clears_when="the NAD is there, or no setting names it",
    )


def nad_drift(setting: SettingRecord, nad: NadConfig | None, *, places: Places | None = None) -> Finding | None:
    """Compares: the setting's value with the configuration of the NAD that it names. Says nothing while the value is not yet in force
    (setting-unapplied, setting-stuck), and nothing of a NAD that was not read."""
    value = read_value(setting).network
    if value is None or nad is None or nad.name != named_nad(setting) or not is_done(setting):
        return None
    if setting.name == STORAGE_SETTING and annotation(setting, "hash") != value_hash(setting):
        return None
    drift = _drift(value, nad)
    if not drift:
        return None
    keys = [key for key, _, _ in drift]
    return make(
        "nad-drift",
        subject=Subject(nad=nad.name, setting=setting.name),
        culprit=nad.name,
        network=NETWORK_OF[setting.name],
        reason="+".join(keys),
        summary=f"{nad.name} is not what the setting {setting.name} says: {', '.join(keys)} "
        f"{'differs' if len(keys) == 1 else 'differ'}, and pods get the NAD's at their next start",
        seen="; ".join(f"{key} {has}" for key, has, _ in drift),
        expected="; ".join(f"{key} {wanted}" for key, _, wanted in drift),
        next_step=f"compare {show_nad(nad.name, places=places or Places())} with {show_setting(setting.name)}; a NAD must not be edited by "
        "hand: set the network anew in Harvester with VMs stopped and volumes detached",
        clears_when="NAD and setting say the same",
        evidence=nad.problems[:5],
    )


def _drift(value: NetworkValue, nad: NadConfig) -> list[tuple[str, str, str]]:
    """Key, what the NAD has, what the setting says."""
    if nad.type is None and nad.ipam_type is None:
        return [("config", shown(nad.problems[0] if nad.problems else "is empty"), "as Harvester wrote it")]
    found: list[tuple[str, str, str]] = []
    if nad.type == "bridge":
        bridge = f"{value.cluster_network}-br" if value.cluster_network else nad.bridge
        if nad.bridge != bridge:
            found.append(("bridge", shown(nad.bridge or "none"), shown(bridge or "none")))
        if (nad.vlan or 1) != value.vlan:
            found.append(("vlan", str(nad.vlan or "none"), str(value.vlan)))
    if nad.whereabouts:
        found += _range_drift(value, nad)
    return found


def _range_drift(value: NetworkValue, nad: NadConfig) -> list[tuple[str, str, str]]:
    try:
        wanted, _ = whereabouts_range(value.range or "")
    except ValueError:
        return []  # the setting's own range is no range: what it means nobody can say
    found: list[tuple[str, str, str]] = []
    if {_searched(one) for one in nad.ranges} != {_searched(wanted)}:
        has = listing([f"{one.text} ({one.first} – {one.last})" for one in nad.ranges]) or "none that can be read"
        found.append(("range", has, f"{shown(value.range or '')} ({wanted.first} – {wanted.last})"))
    excludes = [text for one in nad.ranges for text in one.excludes]
    if _canonical(excludes) != _canonical(value.excludes):
        found.append(("exclude", listing(excludes) or "none", listing(value.excludes) or "none"))
    return found


def _searched(one: AddressRange) -> tuple[str, str, str]:
    """Excludes are compared by themselves."""
    return str(one.network), str(one.first), str(one.last)


def _canonical(texts: Iterable[str]) -> frozenset[str]:
    """Excludes as networks: order, bare addresses and host bits make no difference to whereabouts."""
    found = set()
    for text in texts:
        try:
            found.add(str(parse_cidr(text).network if "/" in text else ip_network(parse_address(text))))
        except ValueError:
            found.add(text)
    return frozenset(found)


def nad_leftovers(
    nads: Sequence[NadRecord],
    *,
    settings: Iterable[SettingRecord],
    longhorn: Iterable[LonghornSettingRecord],
    pods: Iterable[PodRecord],
    other_requests: Collection[str] = (),
    places: Places | None = None,
) -> list[Finding]:
    """Compares: all NADs that Harvester made for its settings with what settings and pods name. At most LEFTOVERS_TOLD.

    `other_requests`: NADs (namespace/name) that pods elsewhere are known to ask for.
    """
    candidates = [nad for nad in nads if _network(nad) is not None]
    if not candidates:
        return []
    settings = tuple(settings)
    used = {named for setting in settings for named in _named(setting)} | set(other_requests)
    used |= {(one.value or "").strip() for one in longhorn if one.name in (STORAGE_SETTING, RWX_ENDPOINT_SETTING)}
    left = [nad for nad in candidates if nad.key not in used and not _in_the_making(nad, settings)]
    if left:
        asked = _asked_for(pods)
        left = [nad for nad in left if nad.key not in asked]
    left.sort(key=lambda nad: nad.key)
    return [_leftover(nad, more=len(left) - LEFTOVERS_TOLD, places=places or Places()) for nad in left[:LEFTOVERS_TOLD]]


def _network(nad: NadRecord) -> Network | None:
    """Of a NAD that Harvester's controller made for a setting; None of others."""
    for setting, network in NETWORK_OF.items():
        if nad.annotations.get(f"{setting}.settings.harvesterhci.io") == "true":
            return network
    return None


def _named(setting: SettingRecord) -> list[str]:
    """The old NAD is in use until the new one is completed."""
    names = [named_nad(setting), named_nad(setting, key="old-net-attach-def") if is_waiting(setting) else None]
    return [name for name in names if name]


def _in_the_making(nad: NadRecord, settings: Iterable[SettingRecord]) -> bool:
    """Harvester makes the NAD first and names it afterwards."""
    return any(
        is_waiting(setting) and nad.labels.get(f"{setting.name}.settings.harvesterhci.io/hash", "-") == _hash_sought(setting)
        for setting in settings
    )


def _hash_sought(setting: SettingRecord) -> str | None:
    """By which Harvester finds a NAD that it made before; of `rwx-network` only what it has written down is known."""
    return value_hash(setting) if setting.name == STORAGE_SETTING else annotation(setting, "hash")


def _asked_for(pods: Iterable[PodRecord]) -> frozenset[str]:
    alive = (pod for pod in pods if pod.phase not in _ENDED)
    return frozenset(request.nad for pod in alive for request in read_requests(pod.annotations.get(NETWORKS), namespace=pod.namespace)[0])


def _leftover(nad: NadRecord, *, more: int, places: Places) -> Finding:
    step = "see that it is the one that nobody uses"
    delete = f", then delete it: `kubectl -n {nad.namespace} delete {NADS} {nad.name}`" if is_key(nad.key) else ""
    return make(
        "nad-leftover",
        subject=Subject(nad=nad.key),
        culprit=nad.key,
        network=_network(nad),
        summary=f"{nad.key} is left over: Harvester made it for a setting, and neither a setting nor a pod names it",
        seen=f"{nad.key}, with the annotation of a setting's NAD",
        expected="only the NADs that the settings name; a left-over one keeps its cluster network from being changed",
        next_step=f"{step}, {show_nad(nad.key, places=places)}{delete}",
        clears_when="it is gone, or named again",
        evidence=(f"{more} more are left over and not listed",) if more > 0 else (),
    )
