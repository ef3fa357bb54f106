"""Looks at the host's side of the storage network: bridge, uplink, NICs and the pods' host ends, and judges each part of the way."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.checks.base import Context, GetContext, Outcome, Publish
from agent.checks.namespaces import Namespaces
from agent.config import Settings
from agent.edge.host import HostNetwork, read_host_network
from agent.edge.netlink import read_here
from agent.edge.netns import NamespaceError
from agent.model.finding import Finding
from agent.model.hostpath import HostPath, HostReading
from agent.model.net import Link
from agent.model.peers import StoragePod
from agent.model.records import SourceState
from agent.model.view import InspectedPod
from agent.rules.hostpath import BridgeUse, bridges_here, elements, follow, judge, other_end_gone, uplinks_of
from agent.rules.ledger import Claim, Look
from agent.rules.mtu import expected_mtu
from agent.rules.setting_texts import Places

_NEEDS_VLAN_CONFIGS = "nic-missing"
_NEEDS_CLUSTER_NETWORKS = "bridge-netfilter"
MOST_LOOKED_AGAIN = 64
"""Pods whose own end is read once more because the host's is gone; of more, the rest waits for the next look."""


class HostPathCheck:
    """Contract §5, the findings that the host's own namespace tells. Goes by the pods' ends as the inspection before it saw them."""

    name = "hostpath"
    holder_only = False

    def __init__(self, *, namespaces: Namespaces) -> None:
        self._namespaces = namespaces

    def timeout_seconds(self, settings: Settings) -> float:
        return max(30.0, 2 * settings.inspect.interval_seconds)

    def interval_seconds(self, settings: Settings) -> float:
        return settings.inspect.interval_seconds

    def woken_by(self) -> frozenset[str]:
        return frozenset({"kernel", "inspected", "nads", "setting", "cluster_network"})

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        """Raises NamespaceError if the host's links cannot be read: then everything stays as it was and `check-failed` says so."""
        before = get_context()
        if not _bridges(before):
            publish(_nothing(before))
            return
        names = [nic for config in before.facts.vlan_configs.items for nic in config.nics]
        links = (await read_here(wants=frozenset({"links"}))).links
        network = await asyncio.to_thread(read_host_network, names)
        seen = await self._still_there(_inspected(before), links)
        publish(look(get_context(), _reading(links, network), inspected=seen))

    async def _still_there(self, inspected: Mapping[str, InspectedPod], links: tuple[Link, ...]) -> dict[str, InspectedPod]:
        """Without the pods that went away while we looked: a veth that the host does not have is evidence only if the pod, asked after
        the host, still has its end of it."""
        by_index = {link.index: link for link in links}
        doubtful = [uid for uid, one in inspected.items() if _other_end_gone(one, by_index)]
        kept = {uid: one for uid, one in inspected.items() if uid not in doubtful}
        for uid in doubtful[:MOST_LOOKED_AGAIN]:
            again = await self._again(inspected[uid])
            if again is not None:
                kept[uid] = again
        return kept

    async def _again(self, one: InspectedPod) -> InspectedPod | None:
        if one.namespace is None or one.facts is None:
            return None
        try:
            facts = await self._namespaces.read(one.pod, one.namespace)
        except NamespaceError:
            return None
        old, new = one.facts.link(one.pod.interface), facts.link(one.pod.interface) if facts else None
        same = old is not None and new is not None and (old.index, old.peer_index) == (new.index, new.peer_index)
        return replace(one, facts=facts) if same else None


def look(context: Context, reading: HostReading, *, inspected: Mapping[str, InspectedPod]) -> Outcome:
    """What this reading of the host means. `inspected`, by pod UID, are the pods whose own end could be read."""
    uses = _bridges(context)
    if not uses:
        return _nothing(context)
    judged = [_judge(context, use, _follow(context, use, reading, inspected)) for use in uses]
    claims = tuple(claim for _, found in judged for claim in _claims(context, found))
    unread = {pod.key for pod in _mine(context) if pod.uid not in inspected}

    def undecided(finding: Finding) -> bool:
        facts = context.facts
        unknown = {
            _NEEDS_VLAN_CONFIGS: facts.vlan_configs.status.state in (SourceState.NEVER, SourceState.FORBIDDEN),
            _NEEDS_CLUSTER_NETWORKS: facts.cluster_networks.status.state in (SourceState.NEVER, SourceState.FORBIDDEN),
        }
        return unknown.get(finding.id, False) or finding.subject.pod in unread

    return Outcome(look=Look(claims=claims, undecided=undecided), parts={"host_path": judged[0][0]})


def _nothing(context: Context) -> Outcome:
    """No storage pod here is on a bridge; or its NAD is not known, and then everything stays as it was."""
    _, complete = bridges_here(_mine(context), context.nads)
    return Outcome(look=Look(undecided=lambda _finding: not complete), parts={"host_path": None} if complete else {})


def _follow(context: Context, use: BridgeUse, reading: HostReading, inspected: Mapping[str, InspectedPod]) -> HostPath:
    uplinks = uplinks_of(use.cluster_network, node=context.node, vlan_configs=context.facts.vlan_configs.items)
    pods = [inspected[pod.uid] for pod in use.pods if pod.uid in inspected]
    return follow(use, reading, node=context.node, uplinks=uplinks, inspected=pods)


def _judge(context: Context, use: BridgeUse, path: HostPath) -> tuple[HostPath, list[Finding]]:
    facts = context.facts
    found = judge(
        path,
        expected=expected_mtu(use.pods[0], context.pods, facts=facts, reading=context.reading, nad=use.nad),
        uplink_min_mbits=context.settings.thresholds.uplink_min_mbits,
        harvester=bool(facts.cluster_networks.items),
        places=Places(harvester=context.settings.namespaces.harvester),
    )
    return replace(path, elements=tuple(elements(path, found).items())), found


def _claims(context: Context, found: Iterable[Finding]) -> list[Claim]:
    """The kernel's word is enough to begin; what compares with a source needs that source live."""
    live = {
        _NEEDS_VLAN_CONFIGS: context.facts.vlan_configs.status.state is SourceState.LIVE,
        _NEEDS_CLUSTER_NETWORKS: context.facts.cluster_networks.status.state is SourceState.LIVE,
    }
    return [Claim(finding=finding, may_start=live.get(finding.id, True)) for finding in found]


def _mine(context: Context) -> list[StoragePod]:
    return [pod for pod in context.pods if pod.node == context.node and pod.record.live]


def _bridges(context: Context) -> tuple[BridgeUse, ...]:
    return bridges_here(_mine(context), context.nads)[0]


def _inspected(context: Context) -> dict[str, InspectedPod]:
    """By UID, those that run and whose own namespace could be read."""
    mine = {pod.uid for pod in _mine(context)}
    return {one.pod.uid: one for one in context.view.inspected if one.pod.uid in mine and one.facts is not None}


def _other_end_gone(one: InspectedPod, links: Mapping[int, Link]) -> bool:
    inner = one.facts.link(one.pod.interface) if one.facts else None
    return inner is not None and other_end_gone(inner, links)


def _reading(links: tuple[Link, ...], network: HostNetwork) -> HostReading:
    return HostReading(
        links=links,
        speeds_mbits=tuple(network.speeds_mbits.items()),
        nic_indexes=tuple(network.nic_indexes.items()),
        bridge_filters=network.bridge_filters,
    )
