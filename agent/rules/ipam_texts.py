"""Words and commands about pools. Every command is whole and can be pasted; none is ever run by the agent.

Names in an IPPool are free text to whoever may write one, so a name that is no Kubernetes name is shown, never put into a command.
"""

import re
from collections.abc import Iterable

from agent.model.peers import Network
from agent.model.pool import EntryState, PoolEntry, PoolNad, PoolState

POOLS = "ippools.whereabouts.cni.cncf.io"
RESERVATIONS = "overlappingrangeipreservations.whereabouts.cni.cncf.io"

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_KEY = re.compile(r"[0-9]{1,20}", re.ASCII)


def addresses(count: int) -> str:
    return f"{count} address" if count == 1 else f"{count} addresses"


def duration(seconds: float) -> str:
    """Rough age for a sentence: 40 s, 12 min, 31 h, 4 d."""
    for unit, size, least in (("d", 86_400, 172_800), ("h", 3600, 7200), ("min", 60, 120)):
        if seconds >= least:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def show_nad(nad: str) -> str:
    namespace, _, name = nad.partition("/")
    return f"kubectl -n {namespace} get network-attachment-definitions.k8s.cni.cncf.io {name} -o yaml"


def show_pool(pool: str) -> str:
    namespace, _, name = pool.partition("/")
    return f"kubectl -n {namespace} get {POOLS} {name} -o yaml"


def look_for_pod(entry: PoolEntry) -> str | None:
    namespace, _, name = (entry.podref or "").partition("/")
    form = "" if entry.state is EntryState.ORPHANED else " -o yaml"
    return f"kubectl -n {namespace} get pod {name}{form}" if _NAME.fullmatch(namespace) and _NAME.fullmatch(name) else None


def free_allocation(pool: str, entry: PoolEntry) -> str | None:
    """A patch that fails if the entry has become another pod's meanwhile."""
    namespace, _, name = pool.partition("/")
    if look_for_pod(entry) is None or not _KEY.fullmatch(entry.key):
        return None
    path = f"/spec/allocations/{entry.key}"
    patch = f'[{{"op":"test","path":"{path}/podref","value":"{entry.podref}"}},{{"op":"remove","path":"{path}"}}]'
    return f"kubectl -n {namespace} patch {POOLS} {name} --type=json -p '{patch}'"


def free_reservation(pool: str, entry: PoolEntry) -> str | None:
    namespace = pool.partition("/")[0]
    return f"kubectl -n {namespace} delete {RESERVATIONS} {entry.key}" if _NAME.fullmatch(entry.key) else None


def clean_up(state: PoolState) -> str:
    """How a person frees the first leaked entry, and that the others go alike."""
    allocations = [entry for entry in state.entries if entry.leaked]
    reservations = [entry for entry in state.reservations if entry.leaked]
    return "; ".join(step for step in (clean_allocations(state.pool, allocations), clean_reservations(state.pool, reservations)) if step)


def _surest_first(entries: Iterable[PoolEntry]) -> list[PoolEntry]:
    """A pod that is gone is easier to make sure of than one that moved on."""
    return sorted(entries, key=lambda entry: entry.state is not EntryState.ORPHANED)


def clean_allocations(pool: str, entries: Iterable[PoolEntry]) -> str:
    for entry in _surest_first(entries):
        look, free = look_for_pod(entry), free_allocation(pool, entry)
        if look and free:
            return f"make sure that nobody uses {entry.address} ({look}), then free it, and the other listed entries alike: {free}"
    return ""


def clean_reservations(pool: str, entries: Iterable[PoolEntry]) -> str:
    for entry in _surest_first(entries):
        look, free = look_for_pod(entry), free_reservation(pool, entry)
        if look and free:
            return f"make sure that nobody uses {entry.address} ({look}), then drop its reservation, and the others alike: {free}"
    return ""


def edit_setting(network: Network | None) -> str:
    """Where Harvester keeps the range. It refuses the change while VMs run or volumes are attached."""
    setting = "rwx-network" if network is Network.RWX else "storage-network"
    return f"with VMs stopped and volumes detached: kubectl edit settings.harvesterhci.io {setting}"


def larger_range(nad: PoolNad) -> str:
    need = "" if nad.demand is None else f", which has to give {addresses(nad.demand.upgrade)} during an upgrade"
    network = nad.range.network
    wider = network.supernet() if network.prefixlen > 16 else network
    return (
        f"the range is small for its pods: look for a wider one{need}, for example lhnet-agent plan-range --range {wider}; "
        f"then set it {edit_setting(nad.network)}"
    )
