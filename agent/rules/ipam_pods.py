"""What became of the pod that a pool's entry names: the one question behind live, orphaned, stale and undecided.

Follows whereabouts' reconciler (pkg/reconciler/iploop.go, wrappedPod.go) where that is right and stays undecided where it guesses: a pod
without network-status yet is no orphan, and a pod of a namespace that nobody watches is not gone.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from agent.model.net import IPAddress
from agent.model.peers import Grant
from agent.model.pool import EntryState, PodUse
from agent.model.records import PodRecord
from agent.rules.ipam_range import shown
from agent.rules.netstatus import read_status


def pod_uses(records: Iterable[PodRecord]) -> tuple[PodUse, ...]:
    """Every pod with all its secondary networks, whatever it requested: entries may name any pod of the namespace."""
    return tuple(
        PodUse(
            podref=record.key,
            live=record.live,
            ended=record.phase in ("Succeeded", "Failed"),
            node=record.node,
            born_monotonic_seconds=record.born_monotonic_seconds,
            grants=_grants(record),
        )
        for record in records
    )


def _grants(record: PodRecord) -> tuple[Grant, ...]:
    entries, _ = read_status(record.annotations)
    found: list[Grant] = []
    for entry in entries:
        name, interface, ips = entry.get("name"), entry.get("interface"), entry.get("ips")
        if entry.get("default") is True or not isinstance(name, str) or not isinstance(ips, list):
            continue
        addresses = tuple(address for text in ips if (address := _address(text)) is not None)
        if addresses:
            found.append(Grant(nad=name, interface=interface if isinstance(interface, str) else None, addresses=addresses))
    return tuple(found)


def _address(text: object) -> IPAddress | None:
    try:
        return ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    state: EntryState
    why: str
    expects_pod: bool = False


_LIVE = Fate(state=EntryState.LIVE, why="the pod was granted it", expects_pod=True)
_GONE = Fate(state=EntryState.ORPHANED, why="no pod of this name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """All pods of the namespaces that are watched whole, and what else is known about who comes back."""

    by_podref: Mapping[str, PodUse]
    namespaces: Collection[str]
    """Where a podref without a pod means that the pod is gone."""
    returning: Collection[str] = ()
    """podrefs that an owner still wants (InstanceManager objects): their next pod takes its old entry."""
    reuses: bool = True
    """An ADD of the same podref and interface takes its old entry (whereabouts 0.8)."""
    nodes_down: Collection[str] = ()
    """What the API shows of their pods may be long over."""

    def fate(self, podref: str | None, *, address: IPAddress, interface: str | None) -> Fate:
        if not podref or "/" not in podref:
            return Fate(state=EntryState.UNDECIDED, why="it names no pod")
        pod = self.by_podref.get(podref)
        if pod is None:
            return self._without_pod(podref, interface)
        if pod.node is not None and pod.node in self.nodes_down:
            return Fate(state=EntryState.UNDECIDED, why=f"its node {pod.node} is down", expects_pod=True)
        for grant in pod.grants:
            if address in grant.addresses:
                return _granted(pod)
        return _elsewhere(pod, interface)

    def _without_pod(self, podref: str, interface: str | None) -> Fate:
        namespace = podref.partition("/")[0]
        if namespace not in self.namespaces:
            return Fate(state=EntryState.UNDECIDED, why=f"pods of namespace {shown(namespace)} are not watched")
        if self.reuses and interface is not None and podref in self.returning:
            return Fate(state=EntryState.UNDECIDED, why="its pod comes back under this name and takes it again", expects_pod=True)
        return _GONE


def _granted(pod: PodUse) -> Fate:
    if pod.live:
        return _LIVE
    why = "the pod has ended" if pod.ended else "the pod ends or has not started"
    return Fate(state=EntryState.UNDECIDED, why=why, expects_pod=True)


def _elsewhere(pod: PodUse, interface: str | None) -> Fate:
    """The pod is there and its network-status does not name the address."""
    if not pod.grants:
        return Fate(state=EntryState.UNDECIDED, why="the pod has no network-status yet", expects_pod=not pod.ended)
    same = [grant for grant in pod.grants if interface is None or grant.interface in (None, interface)]
    if not same and pod.live:
        return Fate(state=EntryState.STALE, why=f"the pod has no interface {shown(interface or '')}")
    held = ", ".join(str(one) for grant in same or pod.grants for one in grant.addresses[:4])
    return Fate(state=EntryState.STALE, why=f"the pod holds {held}")
