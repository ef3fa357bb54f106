"""Looks into each local storage pod: which interface, address and routes its kernel has, against what it asked for and was granted."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from agent.checks.base import Context, GetContext, Outcome, Publish
from agent.checks.namespaces import Namespaces
from agent.config import Settings
from agent.edge.netns import NamespaceDenied, NamespaceError
from agent.model.catalogue import CATALOGUE
from agent.model.finding import Finding, short
from agent.model.net import IPNetwork, NamespaceFacts, NamespaceFile
from agent.model.peers import StoragePod
from agent.model.records import SourceState
from agent.model.view import InspectedPod
from agent.rules import links
from agent.rules.ledger import Claim, Look
from agent.rules.make import make, pod_subject
from agent.rules.mtu import expected_mtu
from agent.rules.routes import judge_routes

SKIPPED_KEPT = 8
"""Files told of in findings and /status; a node may have hundreds that are not ours."""


class Interfaces:
    """Contract §5, the findings of scope pod that one kernel can tell."""

    name = "interfaces"
    holder_only = False

    def __init__(self, *, namespaces: Namespaces) -> None:
        self._namespaces = namespaces

    def timeout_seconds(self, settings: Settings) -> float:
        return max(30.0, 2 * settings.inspect.interval_seconds)

    def interval_seconds(self, settings: Settings) -> float:
        return settings.inspect.interval_seconds

    def woken_by(self) -> frozenset[str]:
        return frozenset({"kernel", "pods", "nads", "setting", "longhorn_settings", "cluster_network"})

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        context = get_context()
        self._namespaces.denied = ()
        scan = await self._namespaces.look()
        mine = [pod for pod in context.pods if pod.node == context.node and pod.record.live]
        blind = bool(scan.not_propagated) or (bool(mine) and not scan.result.files)
        inspected = [InspectedPod(pod=pod, why_not="no namespace is opened") for pod in mine]
        if not blind:
            found = await self._namespaces.find(mine, scan.result.files)
            inspected = [await self._inspect(pod, found) for pod in mine]
        context = get_context()
        inspected = [_measured(context, one) for one in inspected]
        own = replace(
            context.view.own,
            directories=context.settings.netns_dir,
            not_propagated=scan.not_propagated,
            namespaces=len(scan.result.files),
            skipped=scan.result.skipped[:SKIPPED_KEPT],
            # where others open, a single one that does not may be anybody's
            denied=self._namespaces.denied if scan.result.files else scan.result.barred,
            storage_pods=len(mine),
        )
        publish(
            Outcome(
                look=judge(context, inspected, blind=blind),
                parts={"inspected": tuple(inspected), "inspected_monotonic_seconds": context.now, "own": own},
            )
        )

    async def _inspect(self, pod: StoragePod, found: Mapping[str, NamespaceFile]) -> InspectedPod:
        file = found.get(pod.uid)
        if file is None:
            return InspectedPod(pod=pod)
        try:
            facts = await self._namespaces.read(pod, file)
        except NamespaceDenied as error:
            self._namespaces.denied = (*self._namespaces.denied[:3], str(error))
            return InspectedPod(pod=pod, why_not=str(error))
        except NamespaceError as error:
            return InspectedPod(pod=pod, why_not=str(error))
        return InspectedPod(pod=pod, namespace=file, facts=facts, why_not=None if facts else "its namespace is another pod's now")


def _measured(context: Context, one: InspectedPod) -> InspectedPod:
    """With what the raw metrics tell of address and routes, each by itself: no hiding, no second look."""
    pod, facts = one.pod, one.facts
    if facts is None or pod.grant is None or facts.link(pod.interface) is None:
        return one
    routes = judge_routes(pod, facts, ranges=_ranges(context, pod, facts))
    return replace(one, address_ok=links.address_mismatch(pod, facts) is None, route_ok=routes is None)


def judge(context: Context, inspected: list[InspectedPod], *, blind: bool) -> Look:
    """Claims about the pods that could be read. Pods that could not stay as they were; `blind` is one finding of another check."""
    unread = {one.pod.key for one in inspected if one.facts is None and (blind or one.why_not is not None)}
    claims = [claim for one in inspected if one.pod.key not in unread for claim in _claims(context, one)]
    return Look(claims=tuple(claims), undecided=lambda finding: finding.subject.pod in unread)


def _claims(context: Context, one: InspectedPod) -> Iterator[Claim]:
    pod, facts = one.pod, one.facts
    live = context.facts.pods.status.state is SourceState.LIVE
    born = pod.record.born_monotonic_seconds
    grown = born is None or context.now - born >= context.settings.thresholds.pod_grace_seconds
    comparable = live and grown
    if facts is None:
        yield Claim(finding=_namespace_not_found(pod, context.settings.netns_dir), may_start=comparable)
        return
    nad = context.nads.get(pod.grant.nad) if pod.grant else None
    outside = links.address_outside_range(pod, nad)
    # of another network it has another on-link route: what is to be mended is the address, not the way to the range
    first = _first_of(context, pod, facts, with_routes=outside is None or outside.reason != "outside")
    if first is not None:
        yield Claim(finding=first, may_start=comparable or not CATALOGUE[first.id].two_looks)
    if outside is not None:
        yield Claim(finding=outside, may_start=comparable and context.facts.nads.status.state is SourceState.LIVE)
    mac = links.mac_mismatch(pod, facts, peers=_peers(context, pod))
    if mac is not None:
        yield Claim(finding=mac, may_start=comparable)
    expected = expected_mtu(pod, context.pods, facts=context.facts, reading=context.reading, nad=nad)
    mtu = links.mtu_mismatch(pod, facts, expected=expected)
    if mtu is not None:
        yield Claim(finding=mtu, may_start=comparable and expected is not None and expected.compared_live)


def _first_of(context: Context, pod: StoragePod, facts: NamespaceFacts, *, with_routes: bool) -> Finding | None:
    """The first of the four that hide each other, in the contract's order."""
    peers = _peers(context, pod)
    return (
        links.interface_missing(pod, facts)
        or links.interface_down(pod, facts)
        or links.address_mismatch(pod, facts)
        or links.address_borrowed(pod, facts, peers=peers)
        or (judge_routes(pod, facts, ranges=_ranges(context, pod, facts), peers=peers) if with_routes else None)
    )


def _peers(context: Context, pod: StoragePod) -> list[StoragePod]:
    """The others with a grant on the pod's NAD."""
    return [peer for peer in context.pods if peer.uid != pod.uid and peer.grant and pod.grant and peer.grant.nad == pod.grant.nad]


def _ranges(context: Context, pod: StoragePod, facts: NamespaceFacts) -> tuple[IPNetwork, ...]:
    """The networks of the pod's NAD; where that cannot be read, the network of its own address as the kernel has it."""
    nad = context.nads.get(pod.grant.nad) if pod.grant else None
    configured = tuple(one.network for one in nad.ranges) if nad else ()
    if configured:
        return configured
    return tuple(address.interface.network for address in facts.addresses if address.interface.ip == pod.address)


def _namespace_not_found(pod: StoragePod, directories: tuple[str, ...]) -> Finding:
    addresses = ", ".join(str(address) for address in pod.default_addresses)
    return make(
        "namespace-not-found",
        subject=pod_subject(pod),
        network=pod.network,
        reason="not_found" if addresses else "no_address",
        summary=f"none of the network namespaces on {pod.node} is that of {short(pod.key)}"
        + ("" if addresses else ", whose status names no pod IP"),
        seen=f"no namespace under {', '.join(directories)} carries {addresses}" if addresses else "the pod runs without a pod IP",
        expected="one namespace file with the pod's default address",
        next_step=f"set netns_dir if its namespace lies elsewhere; on {pod.node}: "
        f"`crictl inspectp $(crictl pods -q --name {pod.record.name}) | grep -B1 -A1 '\"network\"'`",
        clears_when="the namespace is found, or the pod is gone",
    )
