"""What the holder must say about each fault of the cluster half, in a lab of three nodes with a /28: about what, how bad, and why.

Read with the contract's table in §5. Everything named here must be there; nothing else that is a warning or worse may be. The lab's
agents call a leak old after a few seconds, so leaks are warnings.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.lab.changes import image_pod_name
from agent.lab.faults.sandboxes import REPLICA, VOLUME
from agent.lab.faults.settings import OLD_NAD
from agent.lab.plan import NAD_NAME

Json = dict[str, Any]

RANGE = "192.168.7.0/28"
FREE = 8
"""Of 14 addresses; two of each node's pods hold the others."""
NAD = f"harvester-system/{NAD_NAME}"
POOL = {"pool": "kube-system/192.168.7.0-28", "nad": NAD}
SETTING = {"setting": "storage-network"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One finding of the holder's, with its whole subject."""

    id: str
    subject: Mapping[str, str]
    severity: str = "warning"
    reason: str | None = None
    network_kind: str | None = None

    def problem(self, finding: Json) -> str:
        """What is wrong with a finding of this id. Empty if nothing."""
        for key in ("subject", "severity", "reason", "network_kind"):
            wanted = dict(self.subject) if key == "subject" else getattr(self, key)
            if finding.get(key) != wanted:
                return f"{key} {finding.get(key)}, expected {wanted}"
        return "" if finding["explained_by"] is None else f"explained by {finding['explained_by']}"


class Scene:
    """The lab and the fault, as `lab status` and `lab inject` tell them."""

    def __init__(self, status: Json, active: Json) -> None:
        self._facts = {pod: facts for values in status["nodes"].values() for pod, facts in values["pods"].items()}
        self._home = {pod: node for node, values in status["nodes"].items() for pod in values["pods"]}
        self.nodes = list(status["nodes"])
        self.pod: str = active["pod"] or ""
        self.node: str = active["node"] or self._home.get(self.pod, "")

    def address(self, pod: str) -> str:
        return str(self._facts[pod]["address"])

    def manager(self) -> str:
        """The instance-manager of the fault's node."""
        return next(pod for pod, node in self._home.items() if node == self.node and self._facts[pod]["role"] == "im")

    def pod_ip(self, pod: str) -> str:
        return str(self._facts[pod]["pod_ip"])


def _failing(node: str, *words: str, reason: str, kind: str = "storage", severity: str = "critical") -> Expected:
    subject = {"node": node, "pod": f"longhorn-system/{image_pod_name(*words)}", "interface": "lhnet1"}
    return Expected(id="sandbox-failing", subject=subject, severity=severity, reason=reason, network_kind=kind)


def _pool_full(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="pool-exhausted", subject=POOL, severity="critical", reason="in_use")
    yield Expected(id="upgrade-headroom", subject=POOL)
    yield _failing(scene.nodes[FREE % len(scene.nodes)], "full", str(FREE), reason="ip_exhausted")


def _pool_nearly_full(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="pool-nearly-full", subject=POOL)
    yield Expected(id="upgrade-headroom", subject=POOL)


def _upgrade_headroom(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="upgrade-headroom", subject=POOL)


def _allocation_leaked(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="allocation-orphaned", subject=POOL, reason="old")
    yield Expected(id="reservation-orphaned", subject=POOL, reason="old")


def _reservation_leaked(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="reservation-orphaned", subject=POOL, reason="old")


def _allocation_removed(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="allocation-missing", subject=POOL)


def _address_twice(scene: Scene) -> Iterator[Expected]:
    other = next(node for node in scene.nodes if node != scene.node)
    twin = f"longhorn-system/{image_pod_name('twin')}"
    subject = {"node": other, "pod": twin, "address": scene.address(scene.pod), "peer_node": scene.node, "peer_pod": scene.pod}
    yield Expected(id="address-duplicate", subject=subject, severity="critical")
    yield Expected(id="allocation-missing", subject=POOL)


def _pool_left_behind(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="pool-leftover", subject={"pool": "kube-system/192.168.50.0-25"}, severity="info")


def _crd_deleted(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="crd-missing", subject={}, severity="critical")


def _grant_lost(scene: Scene) -> Iterator[Expected]:
    subject = {"node": scene.node, "pod": scene.pod, "interface": "lhnet1"}
    yield Expected(id="grant-missing", subject=subject, severity="critical", reason="missing_annotation")


def _default_network_full(scene: Scene) -> Iterator[Expected]:
    yield _failing(scene.node, "pod-network", reason="ip_exhausted_default_net", kind="default", severity="warning")


def _instance_manager_gone(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="instance-manager-missing", subject={"node": scene.node})


def _storage_ip_fallback(scene: Scene) -> Iterator[Expected]:
    manager = scene.manager()
    subject = {"node": scene.node, "pod": manager, "address": scene.pod_ip(manager), "object": REPLICA, "volume": VOLUME}
    yield Expected(id="storage-ip-fallback", subject=subject, severity="critical", reason="pod_network")


def _range_invalid(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="range-unusable", subject={"pool": "kube-system/192.168.7.0-32", "nad": NAD}, severity="critical")
    yield _failing(scene.nodes[0], "invalid", reason="ipam_range_invalid")


def _exclude_host_bits(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="exclude-widened", subject={"nad": NAD})


def _nad_deleted(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="nad-missing", subject={"nad": NAD}, severity="critical")
    yield _failing(scene.nodes[0], "no-nad", reason="nad_not_found")


def _nad_changed(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="nad-drift", subject={"nad": NAD, **SETTING}, reason="vlan")


def _nad_left_behind(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="nad-leftover", subject={"nad": f"harvester-system/{OLD_NAD}"}, severity="info")


def _setting_stuck(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="setting-stuck", subject=SETTING, reason="volumes_attached")


def _setting_changed(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="setting-unapplied", subject=SETTING, reason="hash")


def _longhorn_setting_changed(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="setting-mismatch", subject={"nad": NAD, **SETTING}, severity="critical", reason="longhorn_empty")


def _range_overlaps(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="range-overlap", subject={"nad": NAD}, severity="critical", reason="in_use")


def _vlanconfig_misses_node(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="coverage-missing", subject={"node": scene.node})


def _monitoring_held(scene: Scene) -> Iterator[Expected]:
    yield Expected(id="monitoring-left-stopped", subject={})


EXPECTATIONS: dict[str, Callable[[Scene], Iterator[Expected]]] = {
    "pool-full": _pool_full,
    "pool-nearly-full": _pool_nearly_full,
    "upgrade-headroom": _upgrade_headroom,
    "allocation-leaked": _allocation_leaked,
    "reservation-leaked": _reservation_leaked,
    "allocation-removed": _allocation_removed,
    "address-twice": _address_twice,
    "pool-left-behind": _pool_left_behind,
    "crd-deleted": _crd_deleted,
    "grant-lost": _grant_lost,
    "default-network-full": _default_network_full,
    "instance-manager-gone": _instance_manager_gone,
    "storage-ip-fallback": _storage_ip_fallback,
    "range-invalid": _range_invalid,
    "exclude-host-bits": _exclude_host_bits,
    "nad-deleted": _nad_deleted,
    "nad-changed": _nad_changed,
    "nad-left-behind": _nad_left_behind,
    "setting-stuck": _setting_stuck,
    "setting-changed": _setting_changed,
    "longhorn-setting-changed": _longhorn_setting_changed,
    "range-overlaps": _range_overlaps,
    "vlanconfig-misses-node": _vlanconfig_misses_node,
    "monitoring-held": _monitoring_held,
}
TOLERATED: dict[str, frozenset[str]] = {
    # Two pods answer for one address, so what the others see of it is a matter of luck.
    "address-twice": frozenset({"foreign-responder", "peer-unreachable", "peer-port-closed", "packet-loss", "mac-mismatch"}),
}
"""Findings of any subject that a fault may bring, but need not."""
