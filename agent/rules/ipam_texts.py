"""Words and commands about pools. Every command stands in backticks, is whole and can be pasted; none is ever run by the agent.

Names in an IPPool are free text to whoever may write one, so a name that is no Kubernetes name is shown, never put into a command.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from agent.model.net import IPNetwork
from agent.model.peers import Network
from agent.model.pool import EntryState, PoolEntry, PoolNad, PoolState
from agent.rules.setting_texts import NADS, SETTINGS, is_name

POOLS = "ippools.whereabouts.cni.cncf.io"
RESERVATIONS = "overlappingrangeipreservations.whereabouts.cni.cncf.io"

ALL_PODS = "`kubectl get pods -A -o wide`"
CLEANER_WILL = "whereabouts frees them at its next nightly run (04:30 UTC on Harvester)"
CLEANER_IS_LATE = (
    "whereabouts' nightly cleaner let them pass; see whether its pods run on every node: "
    "`kubectl -n kube-system get pods -o wide | grep whereabouts`"
)

WIDEST_PREFIX = 16
"""Harvester's webhook takes no wider IPv4 range."""
_KEY = re.compile(r"[0-9]{1,20}", re.ASCII)


def addresses(count: int) -> str:
    return f"{count} address" if count == 1 else f"{count} addresses"


def entries(count: int) -> str:
    return f"{count} entry" if count == 1 else f"{count} entries"


def reservations(count: int) -> str:
    return f"{count} reservation" if count == 1 else f"{count} reservations"


def duration(seconds: float) -> str:
    """Rough age for a sentence: 40 s, 12 min, 31 h, 4 d."""
    for unit, size, least in (("d", 86_400, 172_800), ("h", 3600, 7200), ("min", 60, 120)):
        if seconds >= least:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def show_nad(nad: str) -> str:
    namespace, _, name = nad.partition("/")
    return f"`kubectl -n {namespace} get {NADS} {name} -o yaml`"


def show_pool(pool: str) -> str:
    namespace, _, name = pool.partition("/")
    return f"`kubectl -n {namespace} get {POOLS} {name} -o yaml`"


def delete_pool(pool: str) -> str:
    namespace, _, name = pool.partition("/")
    return f"`kubectl -n {namespace} delete {POOLS} {name}`"


def delete_pod(podref: str) -> str:
    """Longhorn makes the pod anew, and every instance in it stops meanwhile."""
    namespace, _, name = podref.partition("/")
    return f"`kubectl -n {namespace} delete pod {name}`"


def look_for_pod(entry: PoolEntry) -> str | None:
    namespace, _, name = (entry.podref or "").partition("/")
    form = "" if entry.state is EntryState.ORPHANED else " -o yaml"
    return f"`kubectl -n {namespace} get pod {name}{form}`" if is_name(namespace) and is_name(name) else None


def free_allocation(pool: str, entry: PoolEntry) -> str | None:
    """A patch that fails if the entry has become another pod's meanwhile."""
    namespace, _, name = pool.partition("/")
    if look_for_pod(entry) is None or not _KEY.fullmatch(entry.key):
        return None
    path = f"/spec/allocations/{entry.key}"
    patch = f'[{{"op":"test","path":"{path}/podref","value":"{entry.podref}"}},{{"op":"remove","path":"{path}"}}]'
    return f"`kubectl -n {namespace} patch {POOLS} {name} --type=json -p '{patch}'`"


def free_reservation(pool: str, entry: PoolEntry) -> str | None:
    namespace = pool.partition("/")[0]
    return f"`kubectl -n {namespace} delete {RESERVATIONS} {entry.key}`" if is_name(entry.key) else None


def clean_up(state: PoolState) -> str:
    """How a person frees the first leaked entry and the first leaked reservation; the others go alike."""
    allocated = [entry for entry in state.entries if entry.leaked]
    reserved = [entry for entry in state.reservations if entry.leaked]
    return "; ".join(step for step in (clean_allocations(state.pool, allocated), clean_reservations(state.pool, reserved)) if step)


def _surest_first(entries: Iterable[PoolEntry]) -> list[PoolEntry]:
    """A pod that is gone is easier to make sure of than one that moved on."""
    return sorted(entries, key=lambda entry: entry.state is not EntryState.ORPHANED)


def clean_allocations(pool: str, entries: Sequence[PoolEntry]) -> str:
    return _clean(entries, free=lambda entry: free_allocation(pool, entry), what="take its entry out of the pool")


def clean_reservations(pool: str, entries: Sequence[PoolEntry]) -> str:
    return _clean(entries, free=lambda entry: free_reservation(pool, entry), what="drop its reservation")


def _clean(entries: Sequence[PoolEntry], *, free: Callable[[PoolEntry], str | None], what: str) -> str:
    for entry in _surest_first(entries):
        look, command = look_for_pod(entry), free(entry)
        if look and command:
            sure = "is gone (NotFound is right)" if entry.state is EntryState.ORPHANED else "holds another address now"
            alike = f"; do the same for the other {len(entries) - 1}" if len(entries) > 1 else ""
            return f"make sure that the pod of {entry.address} {sure}: {look}; then {what}: {command}{alike}"
    return ""


def edit_setting(network: Network | None) -> str:
    """Where Harvester keeps the range. It refuses the change while VMs run or volumes are attached."""
    setting = "rwx-network" if network is Network.RWX else "storage-network"
    return f"with VMs stopped and volumes detached: `kubectl edit {SETTINGS} {setting}`"


def larger_range(nad: PoolNad) -> str:
    """Harvester's guide: reconfigure the network with a sufficient range. What to write there is counted first."""
    need = "" if nad.demand is None else f" that gives {addresses(nad.demand.upgrade)} during an upgrade"
    return (
        f"the pods need a larger range: count one{need}: `lhnet-agent plan-range --range {_wider(nad)}`; "
        f"then set it, {edit_setting(nad.network)}"
    )


def _wider(nad: PoolNad) -> IPNetwork:
    """Twice as wide, or as wide as the known demand needs; never wider than Harvester takes."""
    network, need = nad.range.network, nad.demand.upgrade if nad.demand else 0
    widest = WIDEST_PREFIX if network.version == 4 else 1
    while network.prefixlen > widest:
        network = network.supernet()
        if network.num_addresses - 2 >= need:
            break
    return network
