"""Preflight, the range: can whereabouts and Harvester use it, is it nobody else's, and is it large enough for this cluster?

The arithmetic is plan_range's; what is added here is what only a cluster can tell: its networks, its nodes and its disks.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from agent.model.net import IPNetwork
from agent.model.steps import Result, Step, Survey, Wanted
from agent.rules.ipam_range import parse_cidr, whereabouts_range
from agent.rules.plan_range import DEFAULT_NETWORKS, UNUSABLE, overlapping, plan_range
from agent.rules.steps import Trouble, few, judged, many, plain, unread
from agent.rules.steps_ready import transfers
from agent.rules.steps_wanted import harvester_version, other_ranges, size_of

_ELSEWHERE = frozenset({"range-overlap", "too-small", "version-unsupported"})
"""Problems that the steps overlap and size tell."""
_HOPELESS = UNUSABLE | {
    "range-reserved",
    "exclude-invalid",
    "exclude-covers-range",
    "exclude-outside",
    "exclude-overlap",
    "range-host-bits",
    "range-not-cidr",
    "prefix-too-short",
    "exclude-not-cidr",
}
"""With these the network does not come about, or Harvester's webhook refuses the value."""
_CHOOSE = "choose another range, and try it first"
_TRY = ("lhnet-agent plan-range --range CIDR --nodes N --disks TOTAL",)


def _no_range(wanted: Wanted) -> Trouble:
    return Trouble(
        result=Result.UNKNOWN,
        what=wanted.problem or "no range is set, and none was given",
        next_step="say which range is planned",
        commands=("lhnet-agent preflight --range CIDR --cluster-network NAME --vlan N",),
    )


def range_step(survey: Survey, wanted: Wanted) -> Step:
    expected = "an IPv4 CIDR that whereabouts gives addresses from and Harvester accepts"
    if wanted.range is None:
        return judged("range", fine="", expected=expected, troubles=[_no_range(wanted)])
    plan = plan_range(wanted.range, excludes=wanted.exclude, harvester=harvester_version(survey))
    troubles = [
        Trouble(
            result=Result.CRITICAL if problem.id in _HOPELESS else Result.WARNING,
            what=plain(problem.summary),
            next_step=_CHOOSE if not problem.id.startswith("exclude") else "correct the exclude, and try it first",
            commands=_TRY,
        )
        for problem in plan.problems
        if problem.id not in _ELSEWHERE
    ]
    excluded = f", {plan.excluded} excluded" if plan.excluded else ""
    return judged("range", fine=f"{plain(wanted.range)}: {plan.first} – {plan.last}{excluded}", expected=expected, troubles=troubles)


def overlap_step(survey: Survey, wanted: Wanted) -> Step:
    """Networks that were read count as critical, those that are only documented defaults as a warning."""
    expected = "the range overlaps no pod, service, node or other network of the cluster"
    network = _network(wanted)
    if network is None:
        return judged("overlap", fine="", expected=expected, troubles=[_no_range(wanted) if wanted.range is None else _unreadable()])
    return judged("overlap", fine=f"{network} is nobody else's here", expected=expected, troubles=list(_overlap_troubles(survey, network)))


def _unreadable() -> Trouble:
    return Trouble(result=Result.UNKNOWN, what="the range cannot be read", next_step="mend the range first")


def _network(wanted: Wanted) -> IPNetwork | None:
    try:
        return None if wanted.range is None else whereabouts_range(wanted.range)[0].network
    except ValueError:
        return None


def _overlap_troubles(survey: Survey, network: IPNetwork) -> Iterator[Trouble]:
    real = [*_pod_networks(survey, network), *_node_addresses(survey, network), *_others(survey, network)]
    if real:
        yield Trouble(result=Result.CRITICAL, what=f"{network} overlaps {few(real)}", next_step=_CHOOSE, commands=_TRY)
    told = [f"{other} ({name})" for name, other in overlapping(network, DEFAULT_NETWORKS)]
    if told and not real:
        yield Trouble(result=Result.WARNING, what=f"{network} overlaps {few(told)}", next_step=_CHOOSE, commands=_TRY)
    if source := unread(survey.holder.nodes, what="nodes", command="kubectl get nodes -o wide"):
        yield source
    elif not survey.holder.nodes.items:
        yield Trouble(result=Result.UNKNOWN, what="the API names no node")


def _pod_networks(survey: Survey, network: IPNetwork) -> Iterator[str]:
    for node in survey.holder.nodes.items:
        for text in node.pod_cidrs:
            if _meets(network, text):
                yield f"{text}, the pods of {node.name}"


def _node_addresses(survey: Survey, network: IPNetwork) -> Iterator[str]:
    for node in survey.holder.nodes.items:
        for text in node.internal_ips:
            try:
                inside = ip_address(text) in network
            except ValueError:
                continue
            if inside:
                yield f"{text}, the address of {node.name}"


def _others(survey: Survey, network: IPNetwork) -> Iterator[str]:
    for setting, text in other_ranges(survey):
        if _meets(network, text):
            yield f"{plain(text)} of the setting {setting}"


def _meets(network: IPNetwork, text: str) -> bool:
    try:
        other = parse_cidr(text, sloppy=True).network
    except ValueError:
        return False
    return other.version == network.version and other.overlaps(network)


def size_step(survey: Survey, wanted: Wanted) -> Step:
    """Steady, upgrade and the guide's formula for this Harvester: the largest must fit."""
    expected = "the range gives what an upgrade and the guide's formula need"
    if wanted.range is None:
        return judged("size", fine="", expected=expected, troubles=[_no_range(wanted)])
    size = size_of(survey, images=len(transfers(survey)))
    if size.cluster is None:
        trouble = Trouble(result=Result.UNKNOWN, what=f"the demand cannot be told: {size.source}", next_step="count by hand", commands=_TRY)
        return judged("size", fine="", expected=expected, troubles=[trouble])
    one = size.cluster
    plan = plan_range(
        wanted.range,
        excludes=wanted.exclude,
        nodes=one.nodes,
        disks=one.disks,
        images=one.images,
        rwx=one.rwx,
        v2=one.v2,
        harvester=one.harvester,
    )
    need = plan.demand
    counted = f"{many(one.nodes, 'node')}, {many(one.disks, 'disk')} ({size.source})"
    needs = "" if need is None else f"{need.steady} now, {need.upgrade} during an upgrade, {need.guide} by the guide"
    text = f"gives {plan.capacity}; {counted} need {needs}"
    if plan.fits:
        return judged("size", fine=text, expected=expected, troubles=[])
    enough = f"a /{plan.smallest_prefix} would do" if plan.smallest_prefix is not None else "no range that Harvester takes would do"
    trouble = Trouble(result=Result.CRITICAL, what=f"{text}: {enough}", next_step="choose a wider range, and try it first", commands=_TRY)
    return judged("size", fine=text, expected=expected, troubles=[trouble])
