"""The matrix' cases for the faults of interfaces, of the host path and of the cluster's objects."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cluster_expectations import NAD, RANGE
from matrixtools import FOUND_SECONDS, Case, Said

FILLED: Mapping[str, Any] = {"range": RANGE}
STALE = Said(id="sources-stale")
HERE, WHOLE = "{node}", "cluster"
POOL = "kube-system/192.168.7.0-28"


def _one(name: str, *must: Said, may: tuple[Said, ...] = (), up: Mapping[str, Any] | None = None, verdict: str | None = None) -> Case:
    return Case(inject=({"name": name},), must=must, may=may, up=up or {}, verdict=verdict)


def _pod(name: str, finding: str, **more: str) -> Case:
    return _one(name, Said(id=finding, culprit="{pod}", node=HERE, explained=False, **more), verdict=more.get("severity", "critical"))


def _held(name: str, finding: str, *others: Said, **more: str) -> Case:
    """What the holder finds in a lab whose range is small."""
    return _one(name, Said(id=finding, node=WHOLE, explained=False, **more), *others, up=FILLED)


CASES: dict[str, Case] = {
    "link-down": _pod("link-down", "interface-down"),
    "interface-renamed": _pod("interface-renamed", "interface-missing"),
    "address-changed": _pod("address-changed", "address-mismatch"),
    "route-deleted": _pod("route-deleted", "route-missing"),
    "route-shadowed": _pod("route-shadowed", "route-shadowed"),
    "namespace-hidden": _pod("namespace-hidden", "namespace-not-found", severity="warning"),
    "veth-off-bridge": _pod("veth-off-bridge", "veth-detached"),
    "port-closed": _one("port-closed", Said(id="peer-port-closed", culprit="*>{peer_node}", reason="refused"), verdict="warning"),
    "packets-dropped": _one("packets-dropped", Said(id="peer-unreachable", culprit="*>{peer_node}", reason="timeout"), verdict="critical"),
    "segment-moved": _one("segment-moved", Said(id="node-cut-off", culprit=HERE, node=WHOLE), verdict="critical"),
    "uplink-down": _one(
        "uplink-down",
        Said(id="uplink-down", culprit=HERE, node=HERE),
        Said(id="node-cut-off", culprit=HERE, node=WHOLE, words="ens5"),
        verdict="critical",
    ),
    "bridge-deleted": _one(
        "bridge-deleted",
        Said(id="bridge-missing", culprit=HERE, node=HERE),
        Said(id="node-cut-off", culprit=HERE, node=WHOLE, words="storage-br"),
        verdict="critical",
    ),
    "uplink-off-bridge": _one(
        "uplink-off-bridge",
        Said(id="uplink-missing", culprit=HERE, node=HERE),
        Said(id="node-cut-off", culprit=HERE, node=WHOLE),
        verdict="critical",
    ),
    "mtu-lowered": _one("mtu-lowered", Said(id="mtu-chain", culprit=HERE, node=HERE, severity="warning"), verdict="warning"),
    "bridge-netfilter-on": _one("bridge-netfilter-on", Said(id="bridge-netfilter", culprit=HERE, node=HERE), verdict="warning"),
    "api-stopped": _one("api-stopped", STALE),
    "api-frozen": _one("api-frozen"),
    "api-unreachable": _one("api-unreachable", STALE),
    "pool-full": _held(
        "pool-full",
        "pool-exhausted",
        Said(id="sandbox-failing", node=WHOLE, reason="ip_exhausted", culprit="longhorn-system/*"),
        Said(id="upgrade-headroom", node=WHOLE, culprit=POOL),
        culprit=POOL,
        severity="critical",
    ),
    "pool-nearly-full": _held("pool-nearly-full", "pool-nearly-full", Said(id="upgrade-headroom", node=WHOLE), culprit=POOL),
    "upgrade-headroom": _held("upgrade-headroom", "upgrade-headroom", culprit=POOL),
    "allocation-leaked": _held(
        "allocation-leaked", "allocation-orphaned", Said(id="reservation-orphaned", node=WHOLE, culprit=POOL), culprit=POOL
    ),
    "reservation-leaked": _held("reservation-leaked", "reservation-orphaned", culprit=POOL),
    "allocation-removed": _held("allocation-removed", "allocation-missing", culprit=POOL),
    "address-twice": _one(
        "address-twice",
        Said(id="address-duplicate", node=WHOLE, culprit="192.168.7.*", severity="critical"),
        Said(id="allocation-missing", node=WHOLE, culprit=POOL),
        # Two pods answer for one address, so what the others see of it is a matter of luck.
        may=tuple(Said(id=one) for one in ("foreign-responder", "peer-unreachable", "peer-port-closed", "packet-loss", "mac-mismatch")),
        up=FILLED,
    ),
    "pool-left-behind": _held("pool-left-behind", "pool-leftover", culprit="kube-system/192.168.50.0-25", severity="info"),
    "crd-deleted": _held("crd-deleted", "crd-missing", culprit=WHOLE, severity="critical"),
    "grant-lost": _held("grant-lost", "grant-missing", culprit="{pod}", severity="critical", reason="missing_annotation"),
    "default-network-full": _held(
        "default-network-full", "sandbox-failing", culprit="longhorn-system/*", severity="warning", reason="ip_exhausted_default_net"
    ),
    "instance-manager-gone": _held("instance-manager-gone", "instance-manager-missing", culprit=HERE),
    "storage-ip-fallback": replace(
        _held("storage-ip-fallback", "storage-ip-fallback", severity="critical", reason="pod_network"), found_seconds=FOUND_SECONDS + 60.0
    ),
    "range-invalid": _held(
        "range-invalid",
        "range-unusable",
        Said(id="sandbox-failing", node=WHOLE, reason="ipam_range_invalid"),
        culprit="kube-system/192.168.7.0-32",
        severity="critical",
    ),
    "exclude-host-bits": _held("exclude-host-bits", "exclude-widened", words=NAD),
    "nad-deleted": _held(
        "nad-deleted", "nad-missing", Said(id="sandbox-failing", node=WHOLE, reason="nad_not_found"), culprit=NAD, severity="critical"
    ),
    "nad-changed": _held("nad-changed", "nad-drift", reason="vlan"),
    "nad-left-behind": _held("nad-left-behind", "nad-leftover", severity="info"),
    "setting-stuck": _held("setting-stuck", "setting-stuck", culprit="storage-network", reason="volumes_attached"),
    "setting-changed": _held("setting-changed", "setting-unapplied", culprit="storage-network", reason="hash"),
    "longhorn-setting-changed": _held("longhorn-setting-changed", "setting-mismatch", severity="critical", reason="longhorn_empty"),
    "range-overlaps": _held("range-overlaps", "range-overlap", culprit=NAD, severity="critical", reason="in_use"),
    "vlanconfig-misses-node": _held("vlanconfig-misses-node", "coverage-missing", culprit=HERE),
    "monitoring-held": _held("monitoring-held", "monitoring-left-stopped", culprit=WHOLE),
    "steady": Case(inject=(), up={}, hold_seconds=60.0, is_control=True, verdict="ok"),
}
