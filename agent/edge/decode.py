"""From the API server's JSON to our records: structs that name only the fields we read, and what is made of them.

Texts stay texts: parsing annotations, settings and CNI configuration is judgement. A field of a wrong type makes the whole object
unreadable (the reflector then keeps what it knew and says why), since half a pod would be worse than an old one.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from agent.edge.kube.wire import Kind, Meta, Sighting, Wire
from agent.model.records import (
    ClusterNetworkRecord,
    ConditionRecord,
    LonghornSettingRecord,
    NadRecord,
    NodeRecord,
    PodRecord,
    SettingRecord,
    VlanConfigRecord,
)

POD_ANNOTATIONS = frozenset(
    {"k8s.v1.cni.cncf.io/networks", "k8s.v1.cni.cncf.io/network-status", "k8s.v1.cni.cncf.io/networks-status"},
)
POD_LABELS = ("longhorn.io/", "app")
ANNOTATION_CHARS = 32 << 10
"""Longer texts in a pod's annotations are cut: they cannot be what Multus writes, and a cut JSON text is seen to be one."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
S = TypeVar("S")


class _Port(msgspec.Struct, rename="camel"):
    name: str | None = None
    container_port: int | None = None


class _Container(msgspec.Struct):
    ports: list[_Port] | None = None


class _PodSpec(msgspec.Struct, rename="camel"):
    node_name: str | None = None
    host_network: bool | None = None
    priority_class_name: str | None = None
    containers: list[_Container] | None = None


class _Condition(msgspec.Struct, rename="camel"):
    type: str | None = None
    status: str | None = None
    reason: str | None = None
    message: str | None = None
    last_update_time: str | None = None


class _PodIP(msgspec.Struct):
    ip: str | None = None


class _PodStatus(msgspec.Struct, rename="camel"):
    phase: str | None = None
    host_ip: str | None = msgspec.field(default=None, name="hostIP")
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    pod_ips: list[_PodIP] | None = msgspec.field(default=None, name="podIPs")
    conditions: list[_Condition] | None = None


class _Pod(Wire):
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


class _Conditions(msgspec.Struct):
    conditions: list[_Condition] | None = None


class _Setting(Wire):
    value: str | None = None
    status: _Conditions | None = None


class _Applied(msgspec.Struct):
    applied: bool | None = None


class _LonghornSetting(Wire):
    value: str | None = None
    status: _Applied | None = None


class _NadSpec(msgspec.Struct):
    config: str | None = None


class _Nad(Wire):
    spec: _NadSpec | None = None


class _NodeSpec(msgspec.Struct, rename="camel"):
    unschedulable: bool | None = None
    pod_cidr: str | None = msgspec.field(default=None, name="podCIDR")
    pod_cidrs: list[str] | None = msgspec.field(default=None, name="podCIDRs")


class _NodeAddress(msgspec.Struct):
    type: str | None = None
    address: str | None = None


class _NodeStatus(msgspec.Struct):
    addresses: list[_NodeAddress] | None = None
    conditions: list[_Condition] | None = None


class _Node(Wire):
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _LinkAttributes(msgspec.Struct):
    mtu: int | None = None


class _BondOptions(msgspec.Struct):
    mode: str | None = None


class _Uplink(msgspec.Struct, rename="camel"):
    nics: list[str] | None = None
    link_attributes: _LinkAttributes | None = None
    bond_options: _BondOptions | None = None


class _VlanSpec(msgspec.Struct, rename="camel"):
    cluster_network: str | None = None
    uplink: _Uplink | None = None


class _VlanConfig(Wire):
    spec: _VlanSpec | None = None


def _pod(obj: _Pod, seen: Sighting, earlier: PodRecord | None) -> PodRecord:
    meta, spec, status = obj.metadata, obj.spec or _PodSpec(), obj.status or _PodStatus()
    uid = meta.uid or ""
    addresses = [item.ip for item in status.pod_ips or () if item.ip] or ([status.pod_ip] if status.pod_ip else [])
    return PodRecord(
        namespace=meta.namespace or "",
        name=meta.name,
        uid=uid,
        node=spec.node_name or None,
        phase=status.phase,
        deleted=meta.deletion_timestamp is not None,
        ready=_condition(status.conditions, "Ready") == "True",
        born_monotonic_seconds=_born(meta, seen, earlier),
        pod_ips=tuple(addresses),
        host_ip=status.host_ip or None,
        host_network=bool(spec.host_network),
        labels=_picked(meta.labels, (key for key in meta.labels or () if key.startswith(POD_LABELS))),
        annotations={
            key: text[:ANNOTATION_CHARS]
            for key, text in _picked(meta.annotations, POD_ANNOTATIONS.intersection(meta.annotations or ())).items()
        }
        or _NOTHING,
        ports={
            port.name: port.container_port
            for container in spec.containers or ()
            for port in container.ports or ()
            if port.name and port.container_port is not None
        },
        priority_class=spec.priority_class_name or None,
    )


def _born(meta: Meta, seen: Sighting, earlier: PodRecord | None) -> float | None:
    """Once known of a UID it stays: a server whose clock steps must not make a pod younger or older."""
    if earlier is not None and earlier.uid == (meta.uid or "") and earlier.born_monotonic_seconds is not None:
        return earlier.born_monotonic_seconds
    return seen.born_seconds(meta.creation_timestamp)


def _setting(obj: _Setting, seen: Sighting, earlier: SettingRecord | None) -> SettingRecord:
    del seen, earlier
    conditions = obj.status.conditions if obj.status else None
    return SettingRecord(
        name=obj.metadata.name,
        value=obj.value,
        annotations=obj.metadata.annotations or _NOTHING,
        conditions=tuple(
            ConditionRecord(
                type=item.type, status=item.status, reason=item.reason, message=item.message, last_update_time=item.last_update_time
            )
            for item in conditions or ()
            if item.type
        ),
    )


def _longhorn_setting(obj: _LonghornSetting, seen: Sighting, earlier: LonghornSettingRecord | None) -> LonghornSettingRecord:
    del seen, earlier
    return LonghornSettingRecord(name=obj.metadata.name, value=obj.value, applied=obj.status.applied if obj.status else None)


def _nad(obj: _Nad, seen: Sighting, earlier: NadRecord | None) -> NadRecord:
    del seen, earlier
    return NadRecord(
        namespace=obj.metadata.namespace or "",
        name=obj.metadata.name,
        config=obj.spec.config if obj.spec else None,
        labels=obj.metadata.labels or _NOTHING,
        annotations=obj.metadata.annotations or _NOTHING,
    )


def _node(obj: _Node, seen: Sighting, earlier: NodeRecord | None) -> NodeRecord:
    del seen, earlier
    spec, status = obj.spec or _NodeSpec(), obj.status or _NodeStatus()
    return NodeRecord(
        name=obj.metadata.name,
        uid=obj.metadata.uid or "",
        ready={"True": True, "False": False}.get(_condition(status.conditions, "Ready") or ""),
        unschedulable=bool(spec.unschedulable),
        labels=obj.metadata.labels or _NOTHING,
        internal_ips=tuple(item.address for item in status.addresses or () if item.type == "InternalIP" and item.address),
        pod_cidrs=tuple(spec.pod_cidrs or ()) or ((spec.pod_cidr,) if spec.pod_cidr else ()),
    )


def _cluster_network(obj: Wire, seen: Sighting, earlier: ClusterNetworkRecord | None) -> ClusterNetworkRecord:
    del seen, earlier
    return ClusterNetworkRecord(name=obj.metadata.name, annotations=obj.metadata.annotations or _NOTHING)


def _vlan_config(obj: _VlanConfig, seen: Sighting, earlier: VlanConfigRecord | None) -> VlanConfigRecord:
    del seen, earlier
    spec = obj.spec or _VlanSpec()
    uplink = spec.uplink or _Uplink()
    return VlanConfigRecord(
        name=obj.metadata.name,
        cluster_network=spec.cluster_network,
        nics=tuple(uplink.nics or ()),
        mtu_bytes=uplink.link_attributes.mtu if uplink.link_attributes else None,
        bond_mode=uplink.bond_options.mode if uplink.bond_options else None,
        matched_nodes=(obj.metadata.annotations or {}).get("network.harvesterhci.io/matched-nodes"),
    )


def _condition(conditions: list[_Condition] | None, kind: str) -> str | None:
    return next((item.status for item in conditions or () if item.type == kind), None)


def _picked(mapping: dict[str, str] | None, keys: Iterable[str]) -> Mapping[str, str]:
    return {key: mapping[key] for key in keys} or _NOTHING if mapping else _NOTHING


def _decoder(struct: type[S]) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(struct)


POD: Kind[PodRecord] = Kind(decoder=_decoder(_Pod), build=_pod)
SETTING: Kind[SettingRecord] = Kind(decoder=_decoder(_Setting), build=_setting)
LONGHORN_SETTING: Kind[LonghornSettingRecord] = Kind(decoder=_decoder(_LonghornSetting), build=_longhorn_setting)
NAD: Kind[NadRecord] = Kind(decoder=_decoder(_Nad), build=_nad)
NODE: Kind[NodeRecord] = Kind(decoder=_decoder(_Node), build=_node)
CLUSTER_NETWORK: Kind[ClusterNetworkRecord] = Kind(decoder=_decoder(Wire), build=_cluster_network)
VLAN_CONFIG: Kind[VlanConfigRecord] = Kind(decoder=_decoder(_VlanConfig), build=_vlan_config)
