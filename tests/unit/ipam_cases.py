"""Field cases for the pool rules: whereabouts and pod objects in YAML, turned into the records that the edge would give."""

from pathlib import Path

import yaml

from agent.model.peers import Network
from agent.model.pool import Demand
from agent.model.records import Allocation, PodRecord, PoolRecord, ReservationRecord
from agent.rules.ipam import Judged, NadUse, PoolFacts, judge_pools
from agent.rules.ipam_pods import pod_uses
from agent.rules.ipam_seen import SeenClock
from agent.rules.nad import parse_nad

DATA = Path(__file__).parent.parent / "data" / "ippools"


def pod(
    name: str, *, status: str | None = None, phase: str = "Running", namespace: str = "longhorn-system", node: str = "harv41"
) -> PodRecord:
    annotations = {"k8s.v1.cni.cncf.io/network-status": status} if status else {}
    return PodRecord(namespace=namespace, name=name, uid=f"uid-{name}", node=node, phase=phase, annotations=annotations)


def facts(*files: str, demand: Demand | None = None, **changes: object) -> PoolFacts:
    """All objects of the files. The first NAD is in use by the storage network."""
    objects = [one for file in files for one in yaml.safe_load_all((DATA / file).read_text()) if one]
    kinds: dict[str, list[dict]] = {}  # type: ignore[type-arg]  # YAML
    for one in objects:
        kinds.setdefault(one["kind"], []).append(one)
    given: dict[str, object] = {
        "pools": tuple(_pool(one) for one in kinds.get("IPPool", [])),
        "reservations": tuple(_reservation(one) for one in kinds.get("OverlappingRangeIPReservation", [])),
        "nads": tuple(_nad(one, demand=demand) for one in kinds.get("NetworkAttachmentDefinition", [])),
        "pods": pod_uses(_pod(one) for one in kinds.get("Pod", [])),
        **changes,
    }
    return PoolFacts(**given)  # type: ignore[arg-type]  # names as in the class


def judged(*files: str, now: float = 1000.0, clock: SeenClock | None = None, **changes: object) -> Judged:
    return judge_pools(facts(*files, **changes), clock=clock or SeenClock(), now=now)


def _pool(one: dict) -> PoolRecord:  # type: ignore[type-arg]  # YAML
    allocations = tuple(
        Allocation(key=key, podref=value.get("podref"), container_id=value.get("id"), interface=value.get("ifname"))
        for key, value in one["spec"]["allocations"].items()
    )
    meta = one["metadata"]
    return PoolRecord(namespace=meta["namespace"], name=meta["name"], range=one["spec"]["range"], allocations=allocations)


def _reservation(one: dict) -> ReservationRecord:  # type: ignore[type-arg]  # YAML
    meta, spec = one["metadata"], one["spec"]
    return ReservationRecord(namespace=meta["namespace"], name=meta["name"], podref=spec.get("podref"), interface=spec.get("ifname"))


def _nad(one: dict, *, demand: Demand | None) -> NadUse:  # type: ignore[type-arg]  # YAML
    meta = one["metadata"]
    nad = parse_nad(f"{meta['namespace']}/{meta['name']}", one["spec"]["config"])
    return NadUse(nad=nad, network=Network.STORAGE, demand=demand)


def _pod(one: dict) -> PodRecord:  # type: ignore[type-arg]  # YAML
    meta = one["metadata"]
    return PodRecord(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        node=one["spec"].get("nodeName"),
        phase=one["status"]["phase"],
        annotations=meta["annotations"],
    )
