"""Words of the mesh findings: each names its culprit, what was seen from where, and the next thing to do by hand.

Texts of other agents are quoted cut and printable; names are listed only as far as a sentence carries them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from agent.model.blame import NodeReport, OwnFinding
from agent.model.finding import Finding, Severity, Subject
from agent.model.gathered import Silence
from agent.model.peers import Network
from agent.rules.blame_mesh import MeshView
from agent.rules.hostpath_texts import cause_clause
from agent.rules.make import make

HOST_PATH_CAUSES = {
    "bridge-missing": "its storage bridge is missing",
    "uplink-missing": "its uplink is missing",
    "uplink-down": "its uplink has no carrier",
    "vlan-missing": "the VLAN is not on its uplink",
    "nic-missing": "a NIC of its uplink is missing",
}
"""Findings on a node's host path that cut it off, the most certain first, and how a sentence says them."""
_CLAUSED = ("bridge-missing", "uplink-down")
_LISTED = 3
_QUOTED_CHARACTERS = 300
_CLEARS = "two rounds pass both ways"


def names(nodes: Iterable[str]) -> str:
    """ "harv41, harv42 and harv44"; of many the first few and how many more."""
    told = sorted(nodes)
    if len(told) > _LISTED + 1:
        return f"{', '.join(told[:_LISTED])} and {len(told) - _LISTED} more"
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}" if told else "nobody"


def quoted(text: str) -> str:
    """Another agent's words, fit to stand in ours."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_QUOTED_CHARACTERS]).strip().rstrip(".")


def cause(report: NodeReport) -> OwnFinding | None:
    """The finding on this node's host path that explains best why nothing passes."""
    order = list(HOST_PATH_CAUSES)
    causes = [one for one in report.host_path_findings if one.id in HOST_PATH_CAUSES]
    return min(causes, key=lambda one: order.index(one.id), default=None)


def clause(why: OwnFinding) -> str:
    """How a sentence says the cause: in the finding's own words where they hold one ("its uplink ens5 has no carrier")."""
    said = cause_clause(why.summary)
    return quoted(said) if why.id in _CLAUSED and said != why.summary else HOST_PATH_CAUSES[why.id]


def node_cut_off(mesh: MeshView, node: str) -> Finding:
    report, ways = mesh.reports[node], mesh.nodes[node]
    why = cause(report)
    others = sorted(ways.broken)
    if report.answered:
        asked = sorted(ways.not_reached_by)
        seen = f"{names(asked)} {_verb(asked, 'do')} not reach it, and it reaches none of the {len(ways.cannot_reach)} that it asks"
    else:
        seen = f"{names(others)} {_verb(others, 'do')} not reach it and its agent is silent, yet Kubernetes has it Ready"
    if report.answered:
        second = "" if report.pod_findings else ", with nothing found wrong on its own side: suspect its switch port or the VLAN there"
        step = f"look at the VLAN and the link of {node}'s port on the storage switch, at its host path in {node}'s /interfaces, "
        step += f"then on {node}: `ip -d link show`"
    else:
        second = "; its management network is silent as well"
        step = f"look at the VLAN and the link on {node}'s switch ports, then on its console: `ip -d link show`"
    return make(
        "node-cut-off",
        subject=Subject(node=node),
        network=Network.STORAGE,
        reason=why.id if why else None,
        summary=f"{node} is cut off from the storage network" + (f": {clause(why)}" if why else second),
        seen=seen,
        expected=f"{node} reaches the other nodes and they reach it",
        evidence=tuple(f"{one.id}: {quoted(one.summary)}" for one in report.host_path_findings),
        next_step=quoted(why.next_step) if why and why.next_step else step,
        clears_when=_CLEARS,
    )


def node_down(mesh: MeshView, node: str) -> Finding:
    report, ways = mesh.reports[node], mesh.nodes.get(node)
    cordoned = report.unschedulable
    pods = "its storage pods were given up"
    if ways is not None:
        pods = f"{names(ways.not_reached_by)} {_verb(ways.not_reached_by, 'do')} not reach it"
    ready = {True: "Ready", False: "not Ready", None: "not known to be Ready"}[report.kube_ready]
    return make(
        "node-down",
        subject=Subject(node=node),
        network=Network.STORAGE,
        severity=Severity.INFO if cordoned else None,
        summary=f"{node} seems to be down: its agent is silent and "
        + ("nobody reaches its storage pods" if ways is not None else pods)
        + (" (it is cordoned)" if cordoned else ""),
        seen=f"{pods}; its agent is silent; the Node is {ready}",
        expected=f"{node} answers on the management or on the storage network",
        next_step=f"look whether it runs: `kubectl get node {node}`, then its console or BMC",
        clears_when=f"its agent answers, or a pair to {node} passes",
    )


def one_way(mesh: MeshView, node: str, peer: str) -> Finding:
    counted = mesh.reasons.get((node, peer), Counter())
    reasons, total = sorted(counted), sum(counted.values())
    return make(
        "one-way",
        subject=Subject(node=node, peer_node=peer),
        network=Network.STORAGE,
        culprit=f"{node}>{peer}",
        reason=reasons[0] if len(reasons) == 1 else None,
        summary=f"{node} does not reach {peer}, the other way works",
        seen=f"{node} to {peer}: {', '.join(reasons)} ({total} pair{'' if total == 1 else 's'}); {peer} to {node} passes",
        expected="both ways pass",
        next_step=f"something filters one way, or answers ARP for the wrong side: look on {peer} for a filter, arp_ignore and rp_filter: "
        "`nft list ruleset` `sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.rp_filter`; then the same on " + node,
        clears_when=f"{node} reaches {peer} again, or neither reaches the other",
    )


def network_split(groups: Sequence[Sequence[str]]) -> Finding:
    """`groups` sorted, each sorted."""
    smallest = min(groups, key=lambda group: (len(group), group))
    rest = [node for group in groups if group is not smallest for node in group]
    apart = "; ".join(names(group) for group in groups)
    return make(
        "network-split",
        subject=Subject(groups="|".join(",".join(group) for group in groups)),
        network=Network.STORAGE,
        culprit="+".join(smallest),
        summary=f"the storage network has fallen apart into {len(groups)} groups: {names(smallest)} {_verb(smallest, 'do')} not reach "
        f"{names(rest)}",
        seen=f"each reaches its own group and no other: {apart}",
        expected="all nodes reach each other",
        next_step="the groups follow the wiring: look at what connects their switches, and at the VLAN allowed there",
        clears_when="two rounds pass between the groups",
    )


def network_down(mesh: MeshView, nodes: Sequence[str]) -> Finding:
    causes = [(node, why) for node in nodes if (why := cause(mesh.reports[node]))]
    two = len(nodes) == 2
    summary = f"the storage network is down: no pair of nodes reaches each other ({names(nodes)}), the management network works"
    if two:
        summary = (
            f"{names(nodes)} do not reach each other over the storage network: cannot tell which side, it takes a third node; "
            "the management network works"
        )
    return make(
        "network-down",
        subject=Subject(),
        network=Network.STORAGE,
        summary=summary,
        seen=f"not one pair works between {names(nodes)}; their agents answer",
        expected="all nodes reach each other",
        evidence=tuple(f"{node}: {why.id}: {quoted(why.summary)}" for node, why in causes[:_LISTED]),
        next_step="look at the switch and the VLAN that carry the storage network"
        + (f", and at both host paths (/interfaces of {nodes[0]} and of {nodes[1]})" if two else ""),
        clears_when="a pair between nodes passes",
    )


def agent_missing(report: NodeReport, *, seconds: float, alone: bool, runs: bool, why_down: str | None) -> Finding:
    """`alone`: no other agent answers either; `runs`: the node's storage pods answer; `why_down`: the finding that explains it."""
    quiet = report.unschedulable or report.kube_ready is False
    how = {
        Silence.SILENT: "no answer comes back",
        Silence.REFUSED: "its address refuses connections",
        Silence.BROKEN: "the connection breaks off",
        Silence.HTTP: "what listens at its address answers with an HTTP error",
        Silence.BAD_ANSWER: "its answer cannot be read",
        Silence.NO_AGENT: "no agent pod runs there",
    }.get(report.silence or Silence.SILENT, "it does not answer")
    lost = runs and report.silence is Silence.SILENT
    state = "cordoned" if report.unschedulable else "not Ready" if report.kube_ready is False else ""
    made = make(
        "agent-missing",
        subject=Subject(node=report.name),
        severity=Severity.INFO if quiet else None,
        reason=report.silence.value if report.silence else None,
        summary=f"the agent on {report.name} has not answered for {seconds:.0f} s: {how}" + (f" (the node is {state})" if state else ""),
        seen=how
        + ("; no other agent answers either, so it may be the way from here" if alone else "")
        + ("; its storage pods answer, so the node runs" if runs else ""),
        expected=f"an agent that answers on {report.name}, which has storage pods; what it would see is not known",
        next_step=(f"see whether {report.name} answers on the management network: `kubectl get node {report.name}` then " if lost else "")
        + f"look at its pod: `kubectl get pods -A -o wide --field-selector spec.nodeName={report.name} "
        "-l app.kubernetes.io/name=lhnet-agent`",
        clears_when="it answers, or the node has no storage pod any more",
    )
    return replace(made, explained_by=why_down)


def _verb(subjects: Iterable[str], plural: str) -> str:
    return plural if len(tuple(subjects)) != 1 else {"do": "does"}.get(plural, plural)
