"""From the API server's JSON to the records that only the holder of the Lease keeps: pools, reservations, Longhorn's objects, monitoring.

There may be thousands of them in the one process that also serves everybody else, so texts that repeat are stored once, and what grows
without limit elsewhere (a pool's allocations) has a bound here. Texts stay texts: what an allocation's key means is judgement.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from agent.edge.kube.errors import BadAnswer
from agent.edge.kube.wire import Kind, Sighting, Wire, decode
from agent.model.holder import InstanceManagerRecord, InstanceRecord, LonghornNodeRecord, MonitoringRecord
from agent.model.records import Allocation, NadRecord, PoolRecord, ReservationRecord

ALLOCATIONS_KEPT = 65_536
"""Of one pool: a whole /16. etcd's limit of 1.5 MiB an object is reached at about ten thousand."""
ALLOCATIONS_BYTES = 8 << 20
"""More than this is not decoded at once but walked through, entry by entry."""
CONFIG_CHARS = 64 << 10
HELD_SUFFIX = ".settings.harvesterhci.io/replica"
NETWORKS = ("storagenetwork-", "rwx-network-")
NETWORK_ANNOTATIONS = ("storage-network.settings.harvesterhci.io", "rwx-network.settings.harvesterhci.io")

_NOTHING: Mapping[str, str] = MappingProxyType({})
_ENTRY = re.compile(rb'[\s,{]*+("(?:[^"\\]++|\\.)*+")\s*+:\s*+(\{(?:[^{}"]++|"(?:[^"\\]++|\\.)*+")*+\})')
_END = re.compile(rb"[\s{]*+\}\s*+")


class _Allocation(msgspec.Struct):
    id: str | None = None
    podref: str | None = None
    ifname: str | None = None


class _PoolSpec(msgspec.Struct):
    range: str | None = None
    allocations: msgspec.Raw = msgspec.Raw(b"null")


class _Pool(Wire):
    spec: _PoolSpec | None = None


class _ReservationSpec(msgspec.Struct):
    podref: str | None = None
    ifname: str | None = None


class _Reservation(Wire):
    spec: _ReservationSpec | None = None


class _ManagerSpec(msgspec.Struct, rename="camel"):
    node_id: str | None = msgspec.field(default=None, name="nodeID")
    type: str | None = None
    data_engine: str | None = None
    image: str | None = None


class _ManagerStatus(msgspec.Struct, rename="camel"):
    current_state: str | None = None


class _Manager(Wire):
    spec: _ManagerSpec | None = None
    status: _ManagerStatus | None = None


class _LonghornNodeSpec(msgspec.Struct):
    disks: dict[str, msgspec.Raw] | None = None


class _LonghornNode(Wire):
    spec: _LonghornNodeSpec | None = None


class _InstanceSpec(msgspec.Struct, rename="camel"):
    volume_name: str | None = None
    node_id: str | None = msgspec.field(default=None, name="nodeID")


class _InstanceStatus(msgspec.Struct, rename="camel"):
    storage_ip: str | None = msgspec.field(default=None, name="storageIP")
    current_state: str | None = None
    instance_manager_name: str | None = None


class _Instance(Wire):
    spec: _InstanceSpec | None = None
    status: _InstanceStatus | None = None


class _Scale(msgspec.Struct):
    replicas: int | None = None


class _Scaled(Wire):
    spec: _Scale | None = None


class _NadSpec(msgspec.Struct):
    config: str | None = None


class _Nad(Wire):
    spec: _NadSpec | None = None


_ALLOCATIONS: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder(dict[str, _Allocation] | None)
_ALLOCATION: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder(_Allocation)
_KEY: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder(str)


def _pool(obj: _Pool, seen: Sighting, earlier: PoolRecord | None) -> PoolRecord:
    del seen, earlier
    spec = obj.spec or _PoolSpec()
    kept, dropped = read_allocations(spec.allocations)
    return PoolRecord(
        namespace=obj.metadata.namespace or "", name=obj.metadata.name, range=spec.range, allocations=kept, allocations_dropped=dropped
    )


def read_allocations(raw: msgspec.Raw | bytes, *, keep: int = ALLOCATIONS_KEPT) -> tuple[tuple[Allocation, ...], int]:
    """The first `keep` entries and the number of the others. Raises BadAnswer for what is no map of allocations."""
    if len(memoryview(raw)) > ALLOCATIONS_BYTES:
        return _walk(raw, keep=keep)
    entries = decode(raw, decoder=_ALLOCATIONS, what="allocations") or {}
    kept = tuple(_made(key, entry) for key, entry, _ in zip(entries, entries.values(), range(keep), strict=False))
    return kept, len(entries) - len(kept)


def _walk(raw: msgspec.Raw | bytes, *, keep: int) -> tuple[tuple[Allocation, ...], int]:
    """Without ever having the whole map as objects: that would be ten times its text."""
    kept: list[Allocation] = []
    dropped = 0
    for key, entry in _entries(raw):
        if len(kept) >= keep:
            dropped += 1
            continue
        kept.append(_made(decode(key, decoder=_KEY, what="allocations"), decode(entry, decoder=_ALLOCATION, what="allocations")))
    return tuple(kept), dropped


def _entries(raw: msgspec.Raw | bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each entry begins where the one before ended, so that no text makes this slower than its length."""
    end = 0
    while match := _ENTRY.match(raw, end):
        end = match.end()
        yield match[1], match[2]
    if not _END.fullmatch(raw, end):
        raise BadAnswer("allocations: not a map of flat objects")


def _made(key: str, entry: _Allocation) -> Allocation:
    return Allocation(key=key, podref=entry.podref, container_id=entry.id, interface=_shared(entry.ifname))


def _reservation(obj: _Reservation, seen: Sighting, earlier: ReservationRecord | None) -> ReservationRecord:
    del seen, earlier
    spec = obj.spec or _ReservationSpec()
    return ReservationRecord(
        namespace=_shared(obj.metadata.namespace) or "", name=obj.metadata.name, podref=spec.podref, interface=_shared(spec.ifname)
    )


def _instance_manager(obj: _Manager, seen: Sighting, earlier: InstanceManagerRecord | None) -> InstanceManagerRecord:
    del seen, earlier
    spec, status = obj.spec or _ManagerSpec(), obj.status or _ManagerStatus()
    return InstanceManagerRecord(
        name=obj.metadata.name,
        node_id=_shared(spec.node_id) or None,
        type=_shared(spec.type) or None,
        data_engine=_shared(spec.data_engine) or None,
        image=_shared(spec.image) or None,
        state=_shared(status.current_state) or None,
    )


def _longhorn_node(obj: _LonghornNode, seen: Sighting, earlier: LonghornNodeRecord | None) -> LonghornNodeRecord:
    del seen, earlier
    disks = obj.spec.disks if obj.spec else None
    return LonghornNodeRecord(name=obj.metadata.name, disks=len(disks or ()))


def _instance_of(kind: str) -> Kind[InstanceRecord]:
    def build(obj: _Instance, seen: Sighting, earlier: InstanceRecord | None) -> InstanceRecord:
        del seen, earlier
        spec, status = obj.spec or _InstanceSpec(), obj.status or _InstanceStatus()
        return InstanceRecord(
            kind=kind,
            name=obj.metadata.name,
            # A volume's name is in its engine and in each of its replicas.
            volume=_shared(spec.volume_name) or None,
            node_id=_shared(spec.node_id) or None,
            storage_ip=_shared(status.storage_ip) or None,
            state=_shared(status.current_state) or None,
            instance_manager=_shared(status.instance_manager_name) or None,
        )

    return Kind(decoder=msgspec.json.Decoder(_Instance), build=build)


def monitoring_of(kind: str) -> Kind[MonitoringRecord]:
    """`kind` as people know it: Prometheus, Alertmanager, Deployment. Objects inside lists carry none."""

    def build(obj: _Scaled, seen: Sighting, earlier: MonitoringRecord | None) -> MonitoringRecord:
        del seen, earlier
        notes = obj.metadata.annotations or {}
        return MonitoringRecord(
            kind=kind,
            namespace=obj.metadata.namespace or "",
            name=obj.metadata.name,
            replicas=obj.spec.replicas if obj.spec else None,
            held={key: text[:NAME_CHARS] for key, text in notes.items() if key.endswith(HELD_SUFFIX)} or _NOTHING,
        )

    return Kind(decoder=msgspec.json.Decoder(_Scaled), build=build)


NAME_CHARS = 253


def _crd(obj: Wire, seen: Sighting, earlier: str | None) -> str:
    del seen, earlier
    return obj.metadata.name


def _network_nad(obj: _Nad, seen: Sighting, earlier: NadRecord | None) -> NadRecord:
    """Whole where it may be one of ours; of a VM's network only the name, since there may be hundreds."""
    del seen, earlier
    meta, config = obj.metadata, (obj.spec.config if obj.spec else None) or ""
    namespace = _shared(meta.namespace) or ""
    if not _concerns_us(meta.name, meta.annotations or _NOTHING, config):
        return NadRecord(namespace=namespace, name=meta.name)
    return NadRecord(
        namespace=namespace,
        name=meta.name,
        config=config[:CONFIG_CHARS] or None,
        labels=meta.labels or _NOTHING,
        annotations=meta.annotations or _NOTHING,
    )


def is_network_nad(nad: NadRecord) -> bool:
    """One of Harvester's for storage or RWX, by name or annotation, or any that takes its addresses from whereabouts."""
    return _concerns_us(nad.name, nad.annotations, nad.config or "")


def _concerns_us(name: str, annotations: Mapping[str, str], config: str) -> bool:
    return name.startswith(NETWORKS) or any(key in annotations for key in NETWORK_ANNOTATIONS) or '"whereabouts"' in config


def _shared(text: str | None) -> str | None:
    """One copy of a text that many objects repeat. Such texts die with their last user."""
    return sys.intern(text) if text is not None and len(text) <= NAME_CHARS else text


POOL: Kind[PoolRecord] = Kind(decoder=msgspec.json.Decoder(_Pool), build=_pool)
RESERVATION: Kind[ReservationRecord] = Kind(decoder=msgspec.json.Decoder(_Reservation), build=_reservation)
INSTANCE_MANAGER: Kind[InstanceManagerRecord] = Kind(decoder=msgspec.json.Decoder(_Manager), build=_instance_manager)
LONGHORN_NODE: Kind[LonghornNodeRecord] = Kind(decoder=msgspec.json.Decoder(_LonghornNode), build=_longhorn_node)
REPLICA = _instance_of("replica")
ENGINE = _instance_of("engine")
CRD: Kind[str] = Kind(decoder=msgspec.json.Decoder(Wire), build=_crd)
NETWORK_NAD: Kind[NadRecord] = Kind(decoder=msgspec.json.Decoder(_Nad), build=_network_nad)
