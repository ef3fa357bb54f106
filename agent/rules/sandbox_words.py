"""The sentence and the next step for one explained message.

Address supply gets words of its own, because its texts lie most: the same words stand for a full range, a range that its excludes empty, a
range of one address, and a pod network that has nothing to do with storage. What can be computed from the message is said with numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.model.events import Cause, NetworkKind
from agent.rules import sandbox_commands as commands
from agent.rules.sandbox_advice import ADVICE, CRD_MISSING, NO_WORD, NODE_TOLD, ON_NODE
from agent.rules.sandbox_commands import PodCommands
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
    def commands(self) -> PodCommands:
        return PodCommands(self.pod)

    @property
    def nad(self) -> str | None:
        """The definition's name, as far as the message tells."""
        return self.network.rpartition("/")[2] if self.network else None

    @property
    def nad_namespace(self) -> str:
        if self.network and "/" in self.network:
            return self.network.partition("/")[0]
        return "harvester-system" if self.kind in (NetworkKind.STORAGE, NetworkKind.RWX) else self.commands.namespace


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
        "namespace": words.commands.namespace,
        "pod": words.pod or "the pod",
        "reason": words.reason,
    }
    return Answer(summary=summary.format(**values), next_step=step.format(**_plain(values), **_commands(words)))


def _plain(values: Mapping[str, str]) -> dict[str, str]:
    """Backticks are for commands; those of a message would turn its words into one."""
    return {key: value.replace("`", "'") for key, value in values.items()}


def _commands(words: Words) -> dict[str, str]:
    of_pod = words.commands
    return {
        "see_node": of_pod.node(),
        "see_pod": of_pod.whole(),
        "see_events": of_pod.events(),
        "see_request": of_pod.request(),
        "see_sandboxes": of_pod.sandboxes(),
        "see_nad": commands.nad(words.nad_namespace, words.nad),
        "see_rights": commands.rights(words.text.readable),
        "see_host_local": commands.address_files(words.nad),
    }


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
    look = commands.pool(pool_name(addresses.range) if addresses.range else None)
    many = addresses.searched if addresses.usable is None else addresses.usable
    if addresses.usable == 0:
        excludes = addresses.excludes or ()
        listed = ", ".join(excludes[:2]) + (", …" if len(excludes) > 2 else "")
        return Answer(
            summary=f"not a shortage: the excludes ({listed}) leave nothing of {span}, so {words.where} has no address to give",
            next_step="an exclude counts from its network address, host bits are dropped (192.168.0.9/24 takes the whole /24); write "
            f"single addresses as /32, {_configuration(words)}",
        )
    if many is not None and many >= NEVER_FULL:
        return Answer(
            summary=f"no free address in {span} for {words.where}, yet so many cannot be in use: excludes or stale reservations block it",
            next_step=f"look for an exclude that covers the range: {commands.nad(words.nad_namespace, words.nad)}; and for reservations of "
            f"pods that are gone: {commands.reservations()}",
        )
    if many == 1:
        return Answer(
            summary=f"{span} can serve one pod only, and an older attempt of this pod or the pod it replaces holds it ({words.where})",
            next_step=f"see who holds it: {look}; then widen range_start and range_end, {_configuration(words)}",
        )
    counted = ""
    if addresses.usable is not None:
        counted = f": all {addresses.usable} addresses are taken"
    elif many is not None:
        counted = f": {many} addresses were searched"
    ours = words.kind in (NetworkKind.STORAGE, NetworkKind.RWX)
    listed = " (/pools of any lhnet-agent lists them)" if ours else ""
    return Answer(
        summary=f"no free address in {span} for {words.where}{counted}",
        next_step=f"see who holds the addresses; entries whose pod is gone are leaks{listed}: {look}; if all belong to running pods, "
        f"{_image(words)}count a larger range: {commands.plan_range(addresses.range)}; then set it, {_configuration(words)}",
    )


def _image(words: Words) -> str:
    """Harvester's guide: the same happens while images are up- or downloaded."""
    waits = words.pod is not None and words.pod.partition("/")[2].startswith("backing-image-ds-")
    return "delete the image that this pod up- or downloads, or " if waits else ""


def _configuration(words: Words) -> str:
    """Where the range is written."""
    if words.kind is NetworkKind.STORAGE:
        return commands.edit_setting("storage-network")
    if words.kind is NetworkKind.RWX:
        return commands.edit_setting("rwx-network")
    return commands.edit_nad(words.nad_namespace, words.nad or "")


def _pod_network_full(words: Words) -> Answer:
    span = f" ({words.addresses.range})" if words.addresses.range else ""
    if words.addresses.range:
        step = (
            f"compare the address files, one a pod, {ON_NODE}: {commands.address_files(words.network or 'k8s-pod-network')}; with the "
            "sandboxes there are; files of others are left over from an unclean shutdown: `crictl pods`"
        )
    else:
        step = f"look at the default CNI's address pool, and at its agent {ON_NODE}: `kubectl -n kube-system get pods -o wide`"
    return Answer(
        summary=f"not the storage network: the pod network of this node has no free address{span}",
        next_step=f"{step}{NODE_TOLD}{words.commands.node()}",
    )


def _conflict(words: Words) -> Answer:
    own = "the range is not full" if "available" in words.text.core or "exhaust" in words.text.core else "no shortage of addresses"
    return Answer(
        summary=f"one address or MAC that the pod asked for on {words.where} is taken already ({own}): {words.reason}",
        next_step=f"look for a running twin: `kubectl get pods -A -o wide`; if there is none, an older sandbox or a stale address file "
        f"{ON_NODE} holds it: {words.commands.sandboxes()}; {commands.address_files(words.nad)}{NODE_TOLD}{words.commands.node()}",
    )
