"""Steps 1 and 2 of Harvester's verification guide: is the setting really in use, and do the pods run that need the network?

"Completed" alone proves nothing: the guide's own example of a completed setting is the switched-off one. A pod that cannot start is
explained by its newest event; nothing here waits to see whether a young pod makes it.
"""

from collections.abc import Iterator

from agent.model.cluster import ClusterFacts
from agent.model.events import Explanation
from agent.model.finding import Severity
from agent.model.peers import Mode, Network, Role
from agent.model.records import EventRecord, PodRecord, SettingRecord, SourceState
from agent.model.steps import Places, Result, Step, Survey
from agent.rules.mode import STORAGE_SETTING, Reading
from agent.rules.nad import parse_nad
from agent.rules.netstatus import NETWORKS, read_requests, role_of
from agent.rules.sandbox import explain
from agent.rules.sandbox_findings import severity_of
from agent.rules.setting import setting_unapplied
from agent.rules.setting_nads import nad_drift
from agent.rules.setting_value import annotation
from agent.rules.steps import Trouble, apart, few, judged, many, not_applicable, plain, unread, why_not

SETTING_EXPECTED = "condition configured is True, a NAD is named, and Longhorn's setting is the same NAD"
PODS_EXPECTED = "every instance-manager and backing-image-manager pod is Running and ready"
_OUT_OF_ADDRESSES = "IP allocation failure"
"""Harvester 1.5 and newer; it tries for ever and never says Failed (storage_network.go)."""
_SHOW_SETTING = "kubectl get settings.harvesterhci.io storage-network -o yaml"
_GUIDE_ROLES = (Role.INSTANCE_MANAGER, Role.BACKING_IMAGE_MANAGER, Role.BACKING_IMAGE_DATA_SOURCE)


def setting_step(survey: Survey, reading: Reading, *, places: Places) -> Step:
    """Step 1."""
    return judged(
        "setting",
        fine=plain(reading.why),
        expected=SETTING_EXPECTED,
        troubles=list(_setting_troubles(survey.cluster, reading, places=places)),
    )


def _setting_troubles(facts: ClusterFacts, reading: Reading, *, places: Places) -> Iterator[Trouble]:
    longhorn_command = f"kubectl -n {places.longhorn} get settings.longhorn.io storage-network -o yaml"
    setting = next((one for one in facts.setting.items if one.name == STORAGE_SETTING), None)
    match reading.mode:
        case Mode.UNKNOWN:
            source = unread(facts.setting, what="Harvester's settings") if facts.setting.status.state is not SourceState.ABSENT else None
            text = source.what if source else plain(reading.why)
            yield Trouble(
                result=Result.UNKNOWN,
                what=text,
                next_step="look at the settings with credentials that may read them",
                commands=(_SHOW_SETTING, longhorn_command),
            )
            return
        case Mode.OFF | Mode.UNINITIALISED:
            yield _switched_off(reading)
        case Mode.APPLYING:
            yield _applying(reading, command=_SHOW_SETTING if setting else longhorn_command)
        case Mode.ON:
            pass
    if setting is not None and reading.mode is not Mode.UNINITIALISED:
        yield from _unseen_value(setting, facts)
    yield from _two_settings(facts, reading, setting=setting, command=longhorn_command)
    if reading.mode is Mode.ON and reading.storage_nad:
        yield from _nad(facts, reading.storage_nad)


def _switched_off(reading: Reading) -> Trouble:
    done = " although its condition says Completed" if reading.configured and reading.configured.status == "True" else ""
    return Trouble(
        result=Result.WARNING,
        what=f"the storage network is not in use{done}: {plain(reading.why)}; Longhorn replicates over the pod network",
        next_step="if it shall be used, see whether everything is ready for it, then set it",
        commands=(
            "lhnet-agent preflight --range CIDR --cluster-network NAME --vlan N",
            "kubectl edit settings.harvesterhci.io storage-network",
        ),
    )


def _applying(reading: Reading, *, command: str) -> Trouble:
    condition = reading.configured
    since = f" (last change {plain(condition.last_update_time)})" if condition and condition.last_update_time else ""
    if condition and _OUT_OF_ADDRESSES.lower() in (condition.message or "").lower():
        return Trouble(
            result=Result.CRITICAL,
            what=f"{plain(reading.why)}{since}: Harvester tries again for ever",
            next_step="the range has too few free addresses; count it, and look at step 2 for the pods that wait",
            commands=("lhnet-agent plan-range --range CIDR --nodes N --disks TOTAL",),
        )
    return Trouble(
        result=Result.WARNING,
        what=f"not completed: {plain(reading.why)}{since}",
        next_step="wait and look again; if the message stays for ten minutes it is stuck",
        commands=(command,),
    )


def _unseen_value(setting: SettingRecord, facts: ClusterFacts) -> Iterator[Trouble]:
    """The value that stands there against what Harvester's controller applied, and that against the NAD it made."""
    unapplied = setting_unapplied(setting)
    if unapplied is not None:
        unreadable = unapplied.reason == "unparsable"
        yield Trouble(
            result=Result.WARNING,
            what=plain(unapplied.summary),
            next_step="write the value as the guide shows" if unreadable else "wait a minute and look again; a blank more is a change, too",
            commands=("kubectl edit settings.harvesterhci.io storage-network" if unreadable else _SHOW_SETTING,),
        )
    for nad in facts.nads.items:
        drift = nad_drift(setting, parse_nad(nad.key, nad.config))
        if drift is not None:
            yield Trouble(
                result=Result.WARNING,
                what=plain(drift.summary),
                next_step="have Harvester make the NAD anew: empty the setting and set it again, with all volumes detached",
                commands=(f"kubectl -n {nad.namespace} get network-attachment-definitions {nad.name} -o yaml", _SHOW_SETTING),
            )


def _two_settings(facts: ClusterFacts, reading: Reading, *, setting: SettingRecord | None, command: str) -> Iterator[Trouble]:
    if setting is None or reading.mode is Mode.APPLYING:
        return
    longhorn = next((one for one in facts.longhorn_settings.items if one.name == STORAGE_SETTING), None)
    if longhorn is None:
        source = unread(facts.longhorn_settings, what="Longhorn's settings", command=command)
        yield source or Trouble(result=Result.UNKNOWN, what="Longhorn has no setting storage-network", commands=(command,))
        return
    named, used = annotation(setting, "net-attach-def") or "", (longhorn.value or "").strip()
    if used != named:
        yield Trouble(
            result=Result.CRITICAL,
            what=f"Longhorn's setting is {plain(used) or 'empty'}, Harvester's NAD is {plain(named) or 'none'}",
            next_step="Longhorn's setting is Harvester's to write: set Harvester's value anew while all volumes are detached",
            commands=(command, "kubectl edit settings.harvesterhci.io storage-network"),
        )
    elif longhorn.applied is False:
        yield Trouble(
            result=Result.WARNING,
            what="Longhorn has not applied its setting yet: it waits for volumes to be detached",
            next_step="see which volumes are attached",
            commands=(f"{command.partition(' get ')[0]} get volumes.longhorn.io",),
        )


def _nad(facts: ClusterFacts, name: str) -> Iterator[Trouble]:
    if any(nad.key == name for nad in facts.nads.items):
        return
    namespace, _, short = name.partition("/")
    command = f"kubectl -n {namespace} get network-attachment-definitions {short}"
    if source := unread(facts.nads, what="NetworkAttachmentDefinitions", command=command):
        yield source
        return
    yield Trouble(
        result=Result.CRITICAL,
        what=f"the NAD {plain(name)} does not exist: pods that start now get no storage network",
        next_step="have Harvester make it anew: empty the setting and set it again, with all volumes detached",
        commands=(command, _SHOW_SETTING),
    )


def guide_pods(survey: Survey, reading: Reading) -> list[PodRecord]:
    """Pods that the guide speaks of, and those others that ask for one of the networks. Ended and terminating pods are not among them."""
    return [
        pod
        for pod in survey.cluster.pods.items
        if not pod.deleted
        and pod.phase not in ("Succeeded", "Failed")
        and (
            role_of(pod.labels) in _GUIDE_ROLES
            or any(one.nad in reading.nads for one in read_requests(pod.annotations.get(NETWORKS), namespace=pod.namespace)[0])
        )
    ]


def pods_step(survey: Survey, reading: Reading, *, places: Places) -> Step:
    """Step 2."""
    if reading.mode in (Mode.OFF, Mode.UNINITIALISED) and not reading.nads:
        return not_applicable("pods", why="the storage network is not in use", expected=PODS_EXPECTED)
    pods = guide_pods(survey, reading)
    ready = [pod for pod in pods if pod.live and pod.ready]
    troubles = list(_pod_troubles(survey, reading, pods=pods, places=places))
    return judged("pods", fine=f"{len(ready)} of {many(len(pods), 'storage pod')} run", expected=PODS_EXPECTED, troubles=troubles)


def _pod_troubles(survey: Survey, reading: Reading, *, pods: list[PodRecord], places: Places) -> Iterator[Trouble]:
    listing = f"kubectl -n {places.longhorn} get pods -o wide"
    if source := unread(survey.cluster.pods, what="pods", command=listing):
        yield source
        if survey.cluster.pods.status.state is not SourceState.LIVE:
            return
    events = _newest_events(survey)
    starting = sorted((pod for pod in pods if not pod.live), key=lambda pod: (pod.key not in events, pod.key))
    for pod in starting:
        yield _not_running(pod, events.get(pod.key), reading, survey)
    unready = sorted(pod.key for pod in pods if pod.live and not pod.ready)
    if unready:
        yield Trouble(
            result=Result.WARNING,
            what=f"not ready: {few(unready)}",
            next_step="see why",
            commands=(f"kubectl -n {places.longhorn} describe pod {unready[0].partition('/')[2]}",),
        )
    yield from _missing_managers(survey, pods=pods, listing=listing)


def _newest_events(survey: Survey) -> dict[str, list[EventRecord]]:
    """By pod, newest first. Events of an earlier pod of the same name do not count."""
    uids = {pod.key: pod.uid for pod in survey.cluster.pods.items}
    found: dict[str, list[EventRecord]] = {}
    for event in survey.holder.events.items:
        key = f"{event.namespace}/{event.pod}"
        if key in uids and event.pod_uid in (None, uids[key]):
            found.setdefault(key, []).append(event)
    for events in found.values():
        events.sort(key=lambda one: one.last_seen_age_seconds if one.last_seen_age_seconds is not None else float("inf"))
    return found


def _not_running(pod: PodRecord, events: list[EventRecord] | None, reading: Reading, survey: Survey) -> Trouble:
    where = f"{pod.key} on {pod.node or 'no node'} is {plain(pod.phase or 'in an unknown phase')}"
    describe = f"kubectl -n {pod.namespace} describe pod {pod.name}"
    told = _telling(events or [], reading)
    if told is not None:
        severe = Result.CRITICAL if severity_of(told) is Severity.CRITICAL else Result.WARNING
        sentence, commands = apart(told.next_step)
        what = f"{where}: {plain(told.summary)} ({told.cause})"
        return Trouble(result=severe, what=what, next_step=sentence, commands=(*commands, describe))
    unseen = survey.holder.events.status.state is not SourceState.LIVE
    why = why_not(survey.holder.events, what="events") if unseen else "no event says that its sandbox fails"
    return Trouble(
        result=Result.WARNING,
        what=f"{where}; {why}",
        next_step="a young pod may just be starting; look again, and read its events",
        commands=(describe,),
    )


def _telling(events: list[EventRecord], reading: Reading) -> Explanation | None:
    """Of the newest events the one that tells most: a text about a timeout often follows the one that has the reason."""
    storage = frozenset(name for name, network in reading.nads.items() if network is Network.STORAGE)
    rwx = frozenset(reading.nads) - storage
    answers = [explain(event.message, storage_nads=storage or None, rwx_nads=rwx or None) for event in events[:5]]
    failures = [answer for answer in answers if answer.is_failure]
    return max(failures, key=lambda one: severity_of(one).rank, default=None)


def _missing_managers(survey: Survey, *, pods: list[PodRecord], listing: str) -> Iterator[Trouble]:
    managers = survey.holder.instance_managers
    if source := unread(managers, what="instance-manager objects", command=listing):
        yield source
    if survey.cluster.pods.skipped:
        return  # the pod may be one of those that could not be understood
    # A pod that has ended is none: Longhorn makes a new one under the same name.
    there = {pod.name for pod in pods}
    wanted = [one for one in managers.items if one.node_id and one.state != "stopped"]
    missing = sorted((one for one in wanted if one.name not in there), key=lambda one: one.name)
    if missing:
        names = few(f"{one.name} on {one.node_id} ({one.state or 'no state'})" for one in missing)
        yield Trouble(
            result=Result.WARNING,
            what=f"{many(len(missing), 'instance-manager')} without a live pod: {names}",
            next_step="see whether the node is up and what longhorn-manager says",
            commands=("kubectl get nodes", listing),
        )
    elif not wanted and not there and managers.status.state is SourceState.LIVE:
        yield Trouble(result=Result.CRITICAL, what="there is no instance-manager at all", next_step="see what runs", commands=(listing,))
