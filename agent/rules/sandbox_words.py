"""The sentence and the next step for one explained message.

Address supply gets words of its own, because its texts lie most: the same words stand for a full range, a range that its excludes empty, a
range of one address, and a pod network that has nothing to do with storage. What can be computed from the message is said with numbers.
"""

from dataclasses import dataclass

from agent.model.events import Cause, NetworkKind
from agent.rules.sandbox_advice import ADVICE, CRD_MISSING, NO_WORD
from agent.rules.sandbox_range import Addresses, pool_name
from agent.rules.sandbox_text import Text

NEVER_FULL = 1 << 20
"""More addresses than any cluster has pods: a search of so many that found nothing was not met by a full range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the sentences may use."""

    network: str | None
    kind: NetworkKind
    pod: str | None
    addresses: Addresses
    crd_missing: bool
    failure: bool
    reason: str
    text: Text

    @property
    def where(self) -> str:
        """The network in words."""
        if self.kind is NetworkKind.DEFAULT:
            return f"the pod network ({self.network})" if self.network else "the pod network"
        if self.network is None:
            return "a network that the message does not name"
        names = {
            NetworkKind.STORAGE: "storage network",
            NetworkKind.RWX: "RWX network",
            NetworkKind.SECONDARY: "secondary network",
            NetworkKind.UNKNOWN: "network",
        }
        return f"{names[self.kind]} {self.network}"

    @property
    def namespace(self) -> str:
        return self.pod.partition("/")[0] if self.pod else "longhorn-system"

    @property
    def name(self) -> str:
        return self.pod.partition("/")[2] if self.pod else "POD"

    @property
    def nad(self) -> str:
        return self.network.rpartition("/")[2] if self.network else "NAD"

    @property
    def nad_namespace(self) -> str:
        if self.network and "/" in self.network:
            return self.network.partition("/")[0]
        return "harvester-system" if self.kind in (NetworkKind.STORAGE, NetworkKind.RWX) else self.namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    summary: str
    next_step: str


def words_for(cause: Cause, words: Words) -> Answer:
    """One sentence without full stop, and the next manual step with complete commands."""
    if cause is Cause.IP_EXHAUSTED:
        return _whereabouts_full(words)
    if cause is Cause.IP_EXHAUSTED_DEFAULT_NET:
        return _pod_network_full(words)
    if cause is Cause.ADDRESS_CONFLICT:
        return _conflict(words)
    if cause is Cause.UNKNOWN_TRUNCATED and not words.failure:
        summary, step = NO_WORD
    elif words.crd_missing:
        summary, step = CRD_MISSING
    else:
        summary, step = ADVICE[cause]
    values = {
        "where": words.where,
        "network": words.network or "the network",
        "named": f": {words.network}" if words.network else "",
        "namespace": words.namespace,
        "name": words.name,
        "pod": words.pod or "the pod",
        "nad": words.nad,
        "nad_namespace": words.nad_namespace,
        "reason": words.reason,
        "range": words.addresses.range or "its range",
    }
    return Answer(summary=summary.format(**values), next_step=step.format(**values))


def _span(addresses: Addresses) -> str:
    bounds = _bounds(addresses)
    if addresses.range is None:
        return bounds or "the range"
    return addresses.range if bounds is None or "-" in addresses.range else f"{addresses.range} ({bounds})"


def _bounds(addresses: Addresses) -> str | None:
    """First and last, IPv4 within a range in short."""
    first, last = addresses.first, addresses.last
    if first is None or last is None:
        return f"from {first}" if first else None
    if first == last:
        return f"{first} only"
    stem, _, low = first.rpartition(".")
    other, _, high = last.rpartition(".")
    return f".{low} – .{high}" if addresses.range and stem and stem == other else f"{first} – {last}"


def _whereabouts_full(words: Words) -> Answer:
    addresses, span = words.addresses, _span(words.addresses)
    look = _look_at_pool(words)
    many = addresses.searched if addresses.usable is None else addresses.usable
    if addresses.usable == 0:
        listed = ", ".join((addresses.excludes or ())[:4])
        return Answer(
            summary=f"not a shortage: the excludes ({listed}) take every address of {span} away, so {words.where} has none to give, "
            "even with an empty pool",
            next_step="an exclude counts from its network address, host bits are dropped (192.168.0.9/24 takes the whole /24): write "
            f"single addresses as /32 in {_configuration(words)}",
        )
    if many is not None and many >= NEVER_FULL:
        return Answer(
            summary=f"no free address in {span} for {words.where}, yet so many cannot be in use: excludes or stale reservations "
            "block the range",
            next_step="look for an exclude that covers the range and for reservations of pods that are gone: kubectl -n kube-system get "
            "overlappingrangeipreservations.whereabouts.cni.cncf.io",
        )
    if many == 1:
        return Answer(
            summary=f"{span} can serve one pod only and its one address is taken: on {words.where} an older attempt of this pod, or the "
            "pod that it replaces, holds it",
            next_step=f"see who holds it: {look}; widen range_start and range_end in {_configuration(words)}",
        )
    counted = ""
    if addresses.usable is not None:
        counted = f": all {addresses.usable} addresses that it can give are taken"
    elif many is not None:
        counted = f": {many} addresses were searched"
    ours = words.kind in (NetworkKind.STORAGE, NetworkKind.RWX)
    listed = " (curl NODE:9811/pools lists them)" if ours else ""
    return Answer(
        summary=f"no free address in {span} for {words.where}{counted}",
        next_step=f"see who holds the addresses: {look}; entries whose pod is gone are leaks{listed}; if "
        f"all belong to running pods, give {_configuration(words)} a larger range (lhnet-agent plan-range)",
    )


def _look_at_pool(words: Words) -> str:
    resource = "kubectl -n kube-system get ippools.whereabouts.cni.cncf.io"
    return f"{resource} {pool_name(words.addresses.range)} -o yaml" if words.addresses.range else f"{resource} -o yaml"


def _configuration(words: Words) -> str:
    if words.kind is NetworkKind.STORAGE:
        return "the Harvester setting storage-network"
    if words.kind is NetworkKind.RWX:
        return "the Harvester setting rwx-network"
    if words.network:
        return f"the NetworkAttachmentDefinition {words.network}"
    return "the NetworkAttachmentDefinition of the pod"


def _pod_network_full(words: Words) -> Answer:
    span = f" ({words.addresses.range})" if words.addresses.range else ""
    pod = f" for {words.pod}" if words.pod else ""
    directory = words.network or "k8s-pod-network"
    if words.addresses.range:
        step = (
            f"on the pod's node list the address files: ls /var/lib/cni/networks/{directory}/ (one a pod; those of sandboxes that crictl "
            "pods does not list are left over from an unclean shutdown)"
        )
    else:
        step = (
            "look at the default CNI's address pool and at its agent on the pod's node: kubectl -n kube-system get pods -o wide; kubectl "
            f"-n {words.namespace} get pod {words.name} -o wide tells the node"
        )
    return Answer(summary=f"not the storage network: the pod network of this node has no free address{span}{pod}", next_step=step)


def _conflict(words: Words) -> Answer:
    own = "the range is not full" if "available" in words.text.core or "exhaust" in words.text.core else "no shortage of addresses"
    return Answer(
        summary=f"one address or MAC that the pod asked for on {words.where} is taken already ({own}): {words.reason}",
        next_step="find the holder: kubectl get pods -A -o wide shows a running twin; if there is none, an older sandbox of the pod or a "
        "stale address file under /var/lib/cni/networks/ on its node still holds it (crictl pods)",
    )
