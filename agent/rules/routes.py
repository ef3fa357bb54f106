"""Judges where a storage pod's kernel sends packets for the storage range: over the storage interface, on-link, all of it.

The range is cut at every route's border, and each piece is looked up as the kernel would: policy rules in their order, in the table the
longest prefix first, then the lowest metric.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from agent.model.finding import Finding, short
from agent.model.net import IPAddress, IPNetwork, Link, NamespaceFacts, Route
from agent.model.peers import StoragePod
from agent.rules.make import make, pod_subject

MAIN_TABLE, LOCAL_TABLE = 254, 255
MAX_ROUTES = 2000
"""Of those that meet the range; a pod has a handful, and each adds a piece."""
_DEAD = ("blackhole", "unreachable", "prohibit", "throw")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of the range that one route decides; addresses as integers, both ends included."""

    first: int
    last: int
    best: Route | None
    on_link: bool
    """Some route sends this piece out of the storage interface directly, whether or not it is the best."""


def judge_routes(
    pod: StoragePod, facts: NamespaceFacts, *, ranges: Iterable[IPNetwork], peers: Iterable[StoragePod] = ()
) -> Finding | None:
    """`route-missing` if part of a range has no on-link route over the storage interface, else `route-shadowed` if part of it is
    taken by another route. Only ranges of the pod's own address family count; without a link or an address there is nothing to judge."""
    link = facts.link(pod.interface)
    if link is None or pod.address is None:
        return None
    for network in ranges:
        if network.version != pod.address.version:
            continue
        pieces = cut(network, facts, link, source=pod.address)
        missing = [piece for piece in pieces if not piece.on_link]
        if missing:
            return _missing(pod, facts, network, missing, link, peers=tuple(peers))
        shadowed = [piece for piece in pieces if not _straight(piece.best, link)]
        if shadowed:
            return _shadowed(pod, facts, network, shadowed, tuple(peers))
    return None


def cut(network: IPNetwork, facts: NamespaceFacts, link: Link, *, source: IPAddress) -> list[Piece]:
    """The pieces of `network`, in order, each with the route that a packet from `source` takes: policy rules by priority, and in the
    table that they name the longest prefix, then the lowest metric. Rules with conditions that we cannot weigh (marks, ports, input
    interfaces) are left out."""
    low, high = int(network.network_address), int(network.broadcast_address)
    tables = _tables(facts, source)
    used = {table for _, table, _ in tables if table is not None}
    usable = [route for route in facts.routes if route.table in used and route.to.version == network.version and route.kind != "local"]
    usable = [route for route in usable if _meets(route.to, low, high)][:MAX_ROUTES]
    borders = {low, high + 1}
    for to in [*(route.to for route in usable), *(to for to, _, _ in tables if to is not None and _meets(to, low, high))]:
        borders |= {max(low, int(to.network_address)), min(high, int(to.broadcast_address)) + 1}
    pieces: list[Piece] = []
    for first, after in pairwise(sorted(borders)):
        best = _lookup(first, tables, usable, network)
        on_link = any(_straight(route, link) and _holds(route.to, first) for route in usable)
        if pieces and pieces[-1].best == best and pieces[-1].on_link == on_link:
            pieces[-1] = Piece(first=pieces[-1].first, last=after - 1, best=best, on_link=on_link)
        else:
            pieces.append(Piece(first=first, last=after - 1, best=best, on_link=on_link))
    return pieces


_Table = tuple[IPNetwork | None, int | None, str]
"""For which destinations (None: all), which table, and the rule's action where it names none."""


def _tables(facts: NamespaceFacts, source: IPAddress) -> list[_Table]:
    """What a packet from `source` is looked up in, in order. Without rules that were read: the table `main`."""
    found: list[_Table] = []
    for rule in sorted(facts.rules, key=lambda rule: rule.priority):
        known = rule.action == "to_table" or rule.action in _DEAD
        conditional = rule.input_link or rule.output_link or rule.mark is not None or rule.inverted or rule.more
        if not known or conditional or rule.family != source.version or rule.table == LOCAL_TABLE:
            continue
        if rule.source is None or source in rule.source:
            found.append((rule.to, rule.table if rule.action == "to_table" else None, rule.action))
    return found or [(None, MAIN_TABLE, "to_table")]


def _lookup(number: int, tables: list[_Table], usable: list[Route], network: IPNetwork) -> Route | None:
    for to, table, action in tables:
        if to is not None and not _holds(to, number):
            continue
        if table is None:
            return Route(to=to or network, kind=action)
        over = [route for route in usable if route.table == table and _holds(route.to, number)]
        best = min(over, key=lambda route: (-route.to.prefixlen, route.metric), default=None)
        if best is not None and best.kind != "throw":
            return best
    return None


def _holds(network: IPNetwork, number: int) -> bool:
    return int(network.network_address) <= number <= int(network.broadcast_address)


def _meets(network: IPNetwork, low: int, high: int) -> bool:
    return int(network.network_address) <= high and int(network.broadcast_address) >= low


def _straight(route: Route | None, link: Link) -> bool:
    return route is not None and route.kind == "unicast" and route.via is None and route.link_index == link.index


def _hit(peers: Iterable[StoragePod], network: IPNetwork, pieces: list[Piece]) -> tuple[str, ...]:
    """Addresses of the peers in these pieces."""
    mine = (peer.address for peer in peers if peer.address and peer.address.version == network.version)
    return tuple(sorted({str(address) for address in mine if any(one.first <= int(address) <= one.last for one in pieces)}))


def _missing(
    pod: StoragePod, facts: NamespaceFacts, network: IPNetwork, pieces: list[Piece], link: Link, *, peers: tuple[StoragePod, ...]
) -> Finding:
    whole = sum(piece.last - piece.first + 1 for piece in pieces) == network.num_addresses
    part = str(network) if whole else f"{_stretch(pieces[0], network)} of {network}"
    instead = describe(pieces[0].best, facts) if pieces[0].best else "no route at all"
    kubectl = f"kubectl -n {pod.record.namespace}"
    bare = not any(route.kind == "unicast" and route.to.version == network.version for route in facts.routes)
    return make(
        "route-missing",
        subject=pod_subject(pod),
        network=pod.network,
        reason="none" if whole else "partial",
        affects=None if whole else _hit(peers, network, pieces),
        summary=f"{short(pod.key)} on {pod.node} has no route for {part} over {pod.interface}" + (", nor any other route" if bare else ""),
        seen=f"packets for {part} take: {instead}",
        expected=f"{network} dev {pod.interface} scope link src {pod.address}",
        next_step=f"look at the pod's routes: `{kubectl} exec {pod.record.name} -- ip route` and put it back: "
        f"`{kubectl} exec {pod.record.name} -- ip route replace {network} dev {link.name} src {pod.address}`"
        + (
            f" then, since the others are gone too, have Longhorn make the pod anew: `{kubectl} delete pod {pod.record.name}`"
            if bare
            else ""
        ),
        clears_when=f"all of {network} is routed on-link over {pod.interface}, or the pod is gone",
    )


def _shadowed(pod: StoragePod, facts: NamespaceFacts, network: IPNetwork, pieces: list[Piece], peers: tuple[StoragePod, ...]) -> Finding:
    piece = pieces[0]
    route = piece.best
    hit = _hit(peers, network, pieces)
    return make(
        "route-shadowed",
        subject=pod_subject(pod),
        network=pod.network,
        reason=route.kind if route and route.kind in _DEAD else "other_device",
        affects=hit,
        summary=f"{short(pod.key)} on {pod.node} sends {_stretch(piece, network)} past {pod.interface}: {describe(route, facts)}",
        seen=f"{len(pieces)} part(s) of {network}, first {_stretch(piece, network)}: {describe(route, facts)}",
        expected=f"all of {network} dev {pod.interface} scope link",
        evidence=(f"peers in that part: {', '.join(hit[:8])}" if hit else "no peer has an address in that part now",),
        next_step=_unshadow(pod, facts, route),
        clears_when=f"no other route takes a part of {network}, or the pod is gone",
    )


def _unshadow(pod: StoragePod, facts: NamespaceFacts, route: Route | None) -> str:
    """Names the whole route: the prefix alone may be that of the right one too. Where a policy rule decided, the rule is the stranger."""
    run = f"kubectl -n {pod.record.namespace} exec {pod.record.name} -- ip"
    if route is None or route not in facts.routes:
        return f"a policy rule of the pod decides this, find who added it: `{run} rule`"
    if route.table != MAIN_TABLE:
        table = f"`{run} route show table {route.table}`"
        return f"a policy rule of the pod asks table {route.table} first, find who added it: `{run} rule` {table}"
    return f"find who added the route, then remove it: `{run} route del {describe(route, facts)}`"


def describe(route: Route | None, facts: NamespaceFacts) -> str:
    """A route as `ip route` prints it."""
    if route is None:
        return "no route"
    to = "default" if route.to.prefixlen == 0 else str(route.to)
    words = [route.kind, to] if route.kind != "unicast" else [to]
    words += ["via", str(route.via)] if route.via else []
    device = facts.link_at(route.link_index)
    words += ["dev", device.name] if device else []
    words += ["scope", route.scope] if route.scope not in ("global", "universe") else []
    words += ["table", str(route.table)] if route.table != MAIN_TABLE else []
    words += ["src", str(route.source)] if route.source else []
    words += ["metric", str(route.metric)] if route.metric and route.to.version == 4 else []
    return " ".join(words)


def _stretch(piece: Piece, network: IPNetwork) -> str:
    kind = type(network.network_address)
    return str(kind(piece.first)) if piece.first == piece.last else f"{kind(piece.first)} – {kind(piece.last)}"
