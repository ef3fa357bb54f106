"""Decoders of what only a survey reads: one-shot lists, cut down to the fields that a step of `check` or `preflight` names.

They give plain values and judge nothing. A field of a wrong type makes one object unreadable, which the survey then says.
"""

from typing import Any

import msgspec

from agent.edge.kube.wire import Kind, Sighting, Wire
from agent.model.steps import AttachmentRecord, DataSourceRecord, Nic, UplinkRecord, VolumeRecord

WORKLOADS_LIMIT = 16


class _State(msgspec.Struct, rename="camel"):
    current_state: str | None = None


class _Workload(msgspec.Struct, rename="camel"):
    pod_name: str | None = None


class _Kubernetes(msgspec.Struct, rename="camel"):
    namespace: str | None = None
    pvc_name: str | None = None
    workloads_status: list[_Workload] | None = None


class _VolumeStatus(msgspec.Struct, rename="camel"):
    state: str | None = None
    current_node_id: str | None = msgspec.field(default=None, name="currentNodeID")
    kubernetes_status: _Kubernetes | None = None


class _Volume(Wire):
    status: _VolumeStatus | None = None


class _Ticket(msgspec.Struct, rename="camel"):
    type: str | None = None
    node_id: str | None = msgspec.field(default=None, name="nodeID")


class _AttachmentSpec(msgspec.Struct, rename="camel"):
    volume: str | None = None
    attachment_tickets: dict[str, _Ticket] | None = None


class _Attachment(Wire):
    spec: _AttachmentSpec | None = None


class _DataSourceSpec(msgspec.Struct, rename="camel"):
    file_transferred: bool | None = None


class _DataSource(Wire):
    spec: _DataSourceSpec | None = None
    status: _State | None = None


class _Nic(msgspec.Struct):
    name: str
    carrier: bool | None = None
    speed_mbits: int | None = None


class _HostPath(msgspec.Struct):
    cluster_network: str | None = None
    nics: list[_Nic] | None = None


class _Interfaces(msgspec.Struct):
    node: str
    host_path: _HostPath | None = None


class _LeaseSpec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None


class _Lease(msgspec.Struct):
    spec: _LeaseSpec


INTERFACES = msgspec.json.Decoder(_Interfaces)
LEASE = msgspec.json.Decoder(_Lease)


def uplink_of(document: _Interfaces) -> UplinkRecord | None:
    """None while the agent does not look at its host's path."""
    path = document.host_path
    if path is None:
        return None
    nics = tuple(
        Nic(name=nic.name, carrier=nic.carrier, speed_mbits=nic.speed_mbits if nic.speed_mbits and nic.speed_mbits > 0 else None)
        for nic in path.nics or ()
    )
    return UplinkRecord(node=document.node, cluster_network=path.cluster_network, nics=nics)


def _volume(obj: _Volume, seen: Sighting, earlier: VolumeRecord | None) -> VolumeRecord:
    del seen, earlier
    status = obj.status or _VolumeStatus()
    use = status.kubernetes_status or _Kubernetes()
    workloads = (use.workloads_status or [])[:WORKLOADS_LIMIT]
    return VolumeRecord(
        name=obj.metadata.name,
        state=status.state or None,
        node=status.current_node_id or None,
        claim=f"{use.namespace}/{use.pvc_name}" if use.namespace and use.pvc_name else None,
        workloads=tuple(f"{use.namespace}/{one.pod_name}" for one in workloads if use.namespace and one.pod_name),
    )


def _attachment(obj: _Attachment, seen: Sighting, earlier: AttachmentRecord | None) -> AttachmentRecord:
    del seen, earlier
    spec = obj.spec or _AttachmentSpec()
    tickets = list((spec.attachment_tickets or {}).values())[:WORKLOADS_LIMIT]
    return AttachmentRecord(
        volume=spec.volume or obj.metadata.name,
        holders=tuple(f"{one.type or 'unknown'} on {one.node_id or 'no node'}" for one in tickets),
    )


def _data_source(obj: _DataSource, seen: Sighting, earlier: DataSourceRecord | None) -> DataSourceRecord:
    del seen, earlier
    return DataSourceRecord(
        name=obj.metadata.name,
        state=(obj.status.current_state if obj.status else None) or None,
        transferred=bool(obj.spec and obj.spec.file_transferred),
    )


def _key(obj: Wire, seen: Sighting, earlier: str | None) -> str:
    del seen, earlier
    return obj.metadata.key


def _decoder(struct: type[Any]) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(struct)


VOLUME: Kind[VolumeRecord] = Kind(decoder=_decoder(_Volume), build=_volume)
ATTACHMENT: Kind[AttachmentRecord] = Kind(decoder=_decoder(_Attachment), build=_attachment)
DATA_SOURCE: Kind[DataSourceRecord] = Kind(decoder=_decoder(_DataSource), build=_data_source)
KEY: Kind[str] = Kind(decoder=_decoder(Wire), build=_key)
