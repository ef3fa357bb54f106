"""Preflight, the rest: how fast the uplinks are, whether storage pods may be evicted, and whether somebody edited Longhorn by hand.

The uplink's speed is the kernel's to tell, so without an agent on the node it is said how to read it, and it does not count.
"""

from collections.abc import Iterator

from agent.model.peers import Role
from agent.model.records import PodRecord, SourceState
from agent.model.steps import Places, Result, Step, Survey, UplinkRecord, Wanted
from agent.rules.mode import STORAGE_SETTING
from agent.rules.netstatus import role_of
from agent.rules.setting_value import annotation
from agent.rules.steps import Trouble, few, judged, many, not_applicable, plain, unread
from agent.rules.steps_ready import NO_HARVESTER, has_harvester
from agent.rules.steps_wanted import MGMT, storage_nodes

_PRIORITY = "priority-class"


def uplink_step(survey: Survey, wanted: Wanted, *, min_mbits: int) -> Step:
    expected = f"NICs of at least {min_mbits} Mbit/s below the cluster network, on every node"
    by_node = {one.node: one for one in survey.uplinks.items if _means(one, wanted)}
    nodes = storage_nodes(survey)
    slow, silent = [], [node for node in nodes if node not in by_node]
    for node, uplink in sorted(by_node.items()):
        up = [nic for nic in uplink.nics if nic.carrier is not False]
        speeds = [nic.speed_mbits for nic in up if nic.speed_mbits is not None]
        if not speeds:
            silent.append(node)
        elif max(speeds) < min_mbits:
            slow.append(f"{node} ({max(speeds)} Mbit/s)")
    commands = tuple(f"cat /sys/class/net/{nic}/speed" for nic in _nics(survey, wanted)[:4]) or ("grep -H . /sys/class/net/*/speed",)
    if slow:
        trouble = Trouble(
            result=Result.WARNING,
            what=f"slow uplink: {few(slow)}",
            next_step="1 Gbit/s is enough for a test only; on the node, in Mbit/s",
            commands=commands,
        )
        return judged("uplink", fine="", expected=expected, troubles=[trouble])
    if silent or not by_node:
        who = f" of {few(sorted(silent))}" if silent and by_node else ""
        why = f" ({plain(survey.uplinks.status.detail)})" if survey.uplinks.status.detail else ""
        return Step(
            title="uplink",
            result=Result.UNKNOWN,
            seen=f"the speed{who} is not known: it needs agents{why}",
            expected=expected,
            next_step="read it on each node, in Mbit/s",
            commands=commands,
            counts=False,
        )
    return judged("uplink", fine=f"{many(len(by_node), 'node')} with at least {min_mbits} Mbit/s", expected=expected, troubles=[])


def _means(uplink: UplinkRecord, wanted: Wanted) -> bool:
    return uplink.cluster_network is None or wanted.cluster_network is None or uplink.cluster_network == wanted.cluster_network


def _nics(survey: Survey, wanted: Wanted) -> list[str]:
    """As VlanConfigs name them; only names that are good in a command."""
    name = wanted.cluster_network
    if name is None or name == MGMT:
        return []
    named = {nic for one in survey.cluster.vlan_configs.items if one.cluster_network == name for nic in one.nics}
    return sorted(nic for nic in named if all(letter.isalnum() or letter in "-_.@" for letter in nic))


def priority_step(survey: Survey, *, places: Places) -> Step:
    expected = "Longhorn's storage pods have the priority class of its setting, so that none is evicted under pressure"
    return judged(
        "priority",
        fine=f"{_setting(survey) or ''} on all storage pods",
        expected=expected,
        troubles=list(_priority_troubles(survey, places=places)),
    )


def _setting(survey: Survey) -> str | None:
    return next(((one.value or "").strip() for one in survey.more_longhorn_settings.items if one.name == _PRIORITY), None)


def _priority_troubles(survey: Survey, *, places: Places) -> Iterator[Trouble]:
    value = _setting(survey)
    edit = f"kubectl -n {places.longhorn} get settings.longhorn.io {_PRIORITY} -o yaml"
    show = f"kubectl -n {places.longhorn} get pods -o custom-columns=NAME:.metadata.name,CLASS:.spec.priorityClassName"
    remedy = "set Longhorn's priority class (Harvester: system-cluster-critical) while all volumes are detached"
    if value is None:
        source = unread(survey.more_longhorn_settings, what="Longhorn's settings", command=edit)
        yield source or Trouble(result=Result.UNKNOWN, what=f"Longhorn has no setting {_PRIORITY}", commands=(edit,))
    elif not value:
        yield Trouble(result=Result.WARNING, what=f"Longhorn's setting {_PRIORITY} is empty", next_step=remedy, commands=(edit,))
    if source := unread(survey.cluster.pods, what="pods", command=show):
        yield source
    pods = [pod for pod in survey.cluster.pods.items if _stores(pod)]
    bare = sorted(pod.name for pod in pods if not pod.priority_class)
    if bare:
        what = f"{many(len(bare), 'storage pod')} without a priority class: {few(bare)}"
        yield Trouble(result=Result.WARNING, what=what, next_step=remedy, commands=(show,))
    other = sorted(f"{pod.name} ({plain(pod.priority_class or '')})" for pod in pods if value and pod.priority_class not in (None, value))
    if other:
        what = (
            f"the setting says {plain(value or '')}, {many(len(other), 'pod')} {'has' if len(other) == 1 else 'have'} another: {few(other)}"
        )
        yield Trouble(result=Result.WARNING, what=what, next_step="they get it when Longhorn makes them anew", commands=(show,))


def _stores(pod: PodRecord) -> bool:
    """Pods whose eviction would look like a network outage."""
    return role_of(pod.labels) is not Role.OTHER and not pod.deleted and pod.phase not in ("Succeeded", "Failed")


def longhorn_step(survey: Survey, *, places: Places) -> Step:
    """Harvester writes Longhorn's setting; anything else in it was somebody's own hand."""
    expected = "Longhorn's setting storage-network is what Harvester wrote"
    if not has_harvester(survey):
        return not_applicable("longhorn", why=f"{NO_HARVESTER}: the setting is yours to write", expected=expected)
    command = f"kubectl -n {places.longhorn} get settings.longhorn.io {STORAGE_SETTING} -o yaml"
    setting = next((one for one in survey.cluster.setting.items if one.name == STORAGE_SETTING), None)
    longhorn = next((one for one in survey.cluster.longhorn_settings.items if one.name == STORAGE_SETTING), None)
    troubles = []
    if setting is None or longhorn is None:
        source = survey.cluster.setting if setting is None else survey.cluster.longhorn_settings
        what = "Harvester's settings" if setting is None else "Longhorn's settings"
        missing = Trouble(result=Result.UNKNOWN, what=f"{what} have no {STORAGE_SETTING}", commands=(command,))
        troubles.append((unread(source, what=what, command=command) if source.status.state is not SourceState.LIVE else None) or missing)
        return judged("longhorn", fine="", expected=expected, troubles=troubles)
    named, used = annotation(setting, "net-attach-def") or "", (longhorn.value or "").strip()
    if named != used:
        troubles.append(
            Trouble(
                result=Result.WARNING,
                what=f"Longhorn's setting is {plain(used) or 'empty'}, Harvester wrote {plain(named) or 'nothing'}",
                next_step="do not edit Longhorn's setting; Harvester's setting writes it",
                commands=(command,),
            )
        )
    return judged("longhorn", fine=plain(used) or "empty, as Harvester has it", expected=expected, troubles=troubles)
