"""Judges the settings themselves: applied at all, applied as written, and the same in Harvester and in Longhorn.

Harvester knows no failure: what will never succeed looks like an old "In Progress", so the age is what counts, by our own clock.
Without Harvester's settings there is nothing here to judge. The rules compare what they are given; which sources must be live for a
finding to start is told by setting_judge.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from agent.model.finding import Finding, Subject
from agent.model.records import ConditionRecord, LonghornSettingRecord, SettingRecord
from agent.rules.ipam_range import shown
from agent.rules.ipam_texts import duration
from agent.rules.make import make
from agent.rules.mode import RWX_SETTING, STORAGE_SETTING, configured_of
from agent.rules.setting_texts import (
    EVIDENCE_LISTED,
    SETTINGS,
    Places,
    harvester_log,
    is_name,
    listing,
    show_longhorn_setting,
    show_setting,
)
from agent.rules.setting_value import NETWORK_OF, annotation, is_done, named_nad, read_value, touched, value_hash

_EARLIEST = datetime(2015, 1, 1, tzinfo=UTC).timestamp()
"""No condition is older than Kubernetes; Go's zero time, 0001-01-01, means that none was written."""
_LONGEST_TIME = 40
_LONGEST_MESSAGE = 4096
_WAITING = re.compile(r"\s*waiting for all volumes detached:(.*)", re.IGNORECASE | re.DOTALL)
_NO_ADDRESSES = re.compile(r"IP allocation failure", re.IGNORECASE)


def is_waiting(setting: SettingRecord) -> bool:
    """Something is to be applied and Harvester does not say that it is done."""
    if is_done(setting) or setting.name not in NETWORK_OF:
        return False
    if configured_of(setting) is None:
        return read_value(setting).asks or (setting.name == STORAGE_SETTING and touched(setting))
    return True


def unconfigured_since(previous: Mapping[str, float], settings: Iterable[SettingRecord], *, now: float) -> dict[str, float]:
    """Since when each setting waits, by our own monotonic clock (seconds). A new message or status does not begin anew."""
    return {setting.name: previous.get(setting.name, now) for setting in settings if is_waiting(setting)}


def setting_stuck(
    setting: SettingRecord,
    *,
    own_seconds: float,
    stuck_seconds: float,
    server_wall_seconds: float | None = None,
    places: Places | None = None,
) -> Finding | None:
    """Compares: `setting` with time. `own_seconds`: how long we have seen it wait. `server_wall_seconds`: the server's clock, if known."""
    if not is_waiting(setting):
        return None
    condition = configured_of(setting) or ConditionRecord(type="configured")
    waited_seconds = max(own_seconds, said_seconds(condition.last_update_time, server_wall_seconds))
    if waited_seconds <= stuck_seconds:
        return None
    age = duration(waited_seconds)
    message = (condition.message or "")[:_LONGEST_MESSAGE]
    quoted = f'"{_quoted(message)}"' if message.strip() else "no message"
    volumes = waited_for(message)
    return make(
        "setting-stuck",
        subject=Subject(setting=setting.name),
        culprit=setting.name,
        network=NETWORK_OF[setting.name],
        reason=_stuck_reason(message, volumes),
        summary=f"Harvester has been applying the setting {setting.name} for {age}: {quoted}",
        seen=f"condition configured is {shown(condition.status or 'missing')} ({shown(condition.reason or 'no reason')}), {quoted}",
        expected=f"configured True within {duration(stuck_seconds)}",
        next_step=_stuck_step(setting.name, message, volumes, places=places or Places()),
        clears_when="the condition configured is True",
        evidence=tuple(f"waits for volume {shown(volume)}" for volume in volumes[:EVIDENCE_LISTED]),
    )


def waited_for(message: str) -> tuple[str, ...]:
    """Volumes that Harvester waits for, out of `waiting for all volumes detached: a,b` (with a capital up to 1.5)."""
    match = _WAITING.match(message)
    return tuple(name for part in match[1].split(",") if (name := part.strip())) if match else ()


def said_seconds(text: str | None, server_wall_seconds: float | None) -> float:
    """How long ago lastUpdateTime was; 0 where it is missing, unreadable, unset or ahead of the server's clock."""
    if not text or server_wall_seconds is None or len(text) > _LONGEST_TIME:
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
        updated = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, server_wall_seconds - updated) if updated >= _EARLIEST else 0.0


def _quoted(message: str) -> str:
    flat = " ".join(message.split())
    cut = flat if len(flat) <= 240 else f"{flat[:239]}…"
    return "".join(letter if letter.isprintable() else "?" for letter in cut)


def _stuck_reason(message: str, volumes: tuple[str, ...]) -> str:
    if volumes:
        return "volumes_attached"
    return "no_addresses" if _NO_ADDRESSES.search(message) else "in_progress"


def _stuck_step(name: str, message: str, volumes: tuple[str, ...], *, places: Places) -> str:
    if volumes:
        first = next((f" {volume}" for volume in volumes if is_name(volume)), "")
        who = f"`kubectl -n {places.longhorn} get volumeattachments.longhorn.io{first} -o yaml`"
        return f"stop what keeps {listing(volumes)} attached: {who} names the node and who asked for it"
    if _NO_ADDRESSES.search(message):
        return (
            f"fewer addresses are taken than there are nodes: see what keeps storage pods from theirs, "
            f"`kubectl -n {places.longhorn} get events --field-selector reason=FailedCreatePodSandBox`, and what is left of the range, "
            f"`kubectl -n {places.whereabouts} get ippools.whereabouts.cni.cncf.io -o yaml`"
        )
    return f"read what Harvester says of it: {show_setting(name)} and {harvester_log(name, places=places)}"


def setting_unapplied(setting: SettingRecord, *, places: Places | None = None) -> Finding | None:
    """Compares: `setting`'s value with what its annotations say was applied. Of `rwx-network` the hash is not over the raw text, so there
    only a value that cannot be read is told."""
    if setting.name not in NETWORK_OF:
        return None
    value = read_value(setting)
    applied = annotation(setting, "hash")
    mine = value_hash(setting)
    if value.problem:
        reason, why = "unparsable", f"its value cannot be read: {value.problem}"
        seen, expected = f"value {shown(setting.value or '')}", "a JSON object with clusterNetwork, vlan, range and exclude"
    elif setting.name == STORAGE_SETTING and applied != mine and (applied or (setting.value or "").strip()):
        reason, why = "hash", "Harvester has not taken up its present value"
        seen, expected = f"applied is the value with sha1 {shown(applied or 'none')}", f"sha1 {mine}, of the value as it stands now"
    else:
        return None
    return make(
        "setting-unapplied",
        subject=Subject(setting=setting.name),
        culprit=setting.name,
        network=NETWORK_OF[setting.name],
        reason=reason,
        summary=f"the setting {setting.name} is not what is in force: {why}",
        seen=seen,
        expected=expected,
        next_step=_unapplied_step(setting.name, reason, places=places or Places()),
        clears_when="the value can be read and its sha1 is the one in the hash annotation",
    )


def _unapplied_step(name: str, reason: str, *, places: Places) -> str:
    if reason == "unparsable":
        return f"look at the value, {show_setting(name)}, and write it anew in Harvester's UI, or with `kubectl edit {SETTINGS} {name}`"
    return f"see why Harvester does not act on it: {harvester_log(name, places=places)}; the value and hash: {show_setting(name)}"


def setting_mismatch(setting: SettingRecord, longhorn: LonghornSettingRecord | None, *, places: Places | None = None) -> Finding | None:
    """Compares: Harvester's `storage-network` with Longhorn's. While Harvester applies it, they may differ; and without Longhorn's
    object nothing is known."""
    if setting.name != STORAGE_SETTING or longhorn is None or longhorn.name != STORAGE_SETTING or is_waiting(setting):
        return None
    named, used = named_nad(setting), (longhorn.value or "").strip()
    if (named or "") == used:
        return None
    places = places or Places()
    wanted = named or ("no NAD, although it has a value" if (setting.value or "").strip() else "no NAD, since the network is off")
    reason = "longhorn_empty" if not used else "still_set" if named is None else "other_nad"
    has = shown(used) if used else "nothing: replicas use the pod network"
    return make(
        "setting-mismatch",
        subject=Subject(setting=setting.name, nad=named),
        culprit=setting.name,
        network=NETWORK_OF[setting.name],
        reason=reason,
        summary=f"Longhorn's setting storage-network names {has}, Harvester's names {shown(wanted)}",
        seen=f"Longhorn: {has}",
        expected=f"Harvester: {shown(wanted)}",
        next_step=f"Longhorn's setting is Harvester's to write; see who changed it, "
        f"{show_longhorn_setting('storage-network', places=places)}, and set the network anew in Harvester with VMs stopped and volumes "
        f"detached: `kubectl edit {SETTINGS} {STORAGE_SETTING}`",
        clears_when="both name the same NAD, or neither names one",
    )


def settings_by_name(settings: Iterable[SettingRecord]) -> dict[str, SettingRecord]:
    """The two that this agent knows."""
    return {setting.name: setting for setting in settings if setting.name in (STORAGE_SETTING, RWX_SETTING)}
