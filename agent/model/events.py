"""What a sandbox message says, once explained, and a pod's standing failures as `/events` lists them.

The causes are a closed set: they are a metric's label. Values only; the reading of texts is in rules/sandbox*.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Cause(StrEnum):
    """Why a sandbox was not made. Names are stable: extend, never rename."""

    IP_EXHAUSTED = "ip_exhausted"
    IP_EXHAUSTED_DEFAULT_NET = "ip_exhausted_default_net"
    IP_EXHAUSTED_SECONDARY = "ip_exhausted_secondary"
    IPAM_DATASTORE_ERROR = "ipam_datastore_error"
    IPAM_RANGE_INVALID = "ipam_range_invalid"
    IPAM_LOCK_TIMEOUT = "ipam_lock_timeout"
    IPAM_PLUGIN_CRASH = "ipam_plugin_crash"
    IPAM_DHCP_NO_ANSWER = "ipam_dhcp_no_answer"
    IPAM_AGENT_UNREACHABLE = "ipam_agent_unreachable"
    ADDRESS_CONFLICT = "address_conflict"
    NAD_NOT_FOUND = "nad_not_found"
    NAD_INVALID = "nad_invalid"
    CNI_PLUGIN_MISSING = "cni_plugin_missing"
    CNI_PLUGIN_CRASH = "cni_plugin_crash"
    CNI_CONFIG_INVALID = "cni_config_invalid"
    CNI_CONFIG_MISSING = "cni_config_missing"
    CNI_VERSION_MISMATCH = "cni_version_mismatch"
    CNI_DEL_FAILED = "cni_del_failed"
    MASTER_LINK_MISSING = "master_link_missing"
    MASTER_LINK_BUSY = "master_link_busy"
    BRIDGE_MISSING = "bridge_missing"
    BRIDGE_SETUP_FAILED = "bridge_setup_failed"
    INTERFACE_EXISTS = "interface_exists"
    INTERFACE_CONFIG_FAILED = "interface_config_failed"
    DEVICE_UNAVAILABLE = "device_unavailable"
    DEVICE_CONFIG_FAILED = "device_config_failed"
    MULTUS_UNAUTHORIZED = "multus_unauthorized"
    MULTUS_APISERVER_UNREACHABLE = "multus_apiserver_unreachable"
    MULTUS_DAEMON_UNREACHABLE = "multus_daemon_unreachable"
    SECONDARY_CNI_AGENT_TIMEOUT = "secondary_cni_agent_timeout"
    DEFAULT_CNI_AGENT_TIMEOUT = "default_cni_agent_timeout"
    DEFAULT_CNI_UNAUTHORIZED = "default_cni_unauthorized"
    DEFAULT_CNI_NOT_READY = "default_cni_not_ready"
    DEFAULT_CNI_APISERVER_UNREACHABLE = "default_cni_apiserver_unreachable"
    OTHER_CNI_ERROR = "other_cni_error"
    HOST_FIREWALL_ERROR = "host_firewall_error"
    NETNS_MISSING = "netns_missing"
    SANDBOX_NAME_RESERVED = "sandbox_name_reserved"
    SANDBOX_IMAGE = "sandbox_image"
    RUNTIME_ERROR = "runtime_error"
    RUNTIME_TIMEOUT = "runtime_timeout"
    RUNTIME_HANDLER_MISSING = "runtime_handler_missing"
    CGROUP_ERROR = "cgroup_error"
    NODE_RESOURCE_EXHAUSTED = "node_resource_exhausted"
    POD_GONE = "pod_gone"
    ADDED_INTERFACE = "added_interface"
    SANDBOX_CHANGED = "sandbox_changed"
    BENIGN_NO_DEFAULT_NAD = "benign_no_default_nad"
    BENIGN_DEL_NOT_FOUND = "benign_del_not_found"
    UNKNOWN_TRUNCATED = "unknown_truncated"


class NetworkKind(StrEnum):
    STORAGE = "storage"
    RWX = "rwx"
    DEFAULT = "default"
    SECONDARY = "secondary"
    UNKNOWN = "unknown"
    """The text names no network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One message, explained (contract §1, `explain-event`). What the message does not give is None."""

    cause: Cause
    network: str | None = None
    """As the message names it: the name in the CNI configuration, seldom namespace/name."""
    network_kind: NetworkKind = NetworkKind.UNKNOWN
    pod: str | None = None
    """namespace/name."""
    range: str | None = None
    """CIDR, or `a-b` where host-local names its set so."""
    first: str | None = None
    last: str | None = None
    excludes: tuple[str, ...] | None = None
    """As printed; an empty tuple where the message says that there are none."""
    is_failure: bool = True
    truncated: bool = False
    summary: str = ""
    next_step: str = ""
    crd_missing: bool = False
    """The datastore error is that the cluster lacks whereabouts' resources. Not part of the JSON."""
    interface: str | None = None
    """The interface that an AddedInterface text reports. Not part of the JSON."""

    def as_dict(self) -> dict[str, object]:
        """The JSON object of `explain-event`, keys in the contract's order."""
        return {
            "cause": str(self.cause),
            "network": self.network,
            "network_kind": str(self.network_kind),
            "pod": self.pod,
            "range": self.range,
            "first": self.first,
            "last": self.last,
            "excludes": None if self.excludes is None else list(self.excludes),
            "is_failure": self.is_failure,
            "truncated": self.truncated,
            "summary": self.summary,
            "next_step": self.next_step,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFailure:
    """What is known of one cause at one pod. Times are on our monotonic clock."""

    explanation: Explanation
    message: str
    """The newest text of this cause, without byte dumps, cut to a bounded length."""
    attempts: int
    """Distinct events seen: a lower bound, since an Event's own count is no failure count."""
    first_seen_monotonic_seconds: float
    last_seen_monotonic_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingSandbox:
    """One row of /api/v1/events: a pod and one of its standing causes. Times are wall-clock seconds, for people."""

    pod: str
    node: str | None
    explanation: Explanation
    attempts: int
    first_seen_wall_seconds: float
    last_seen_wall_seconds: float
    message: str

    def as_dict(self) -> Mapping[str, object]:
        """The JSON row, keys in the contract's order (§3)."""
        return {
            "pod": self.pod,
            "cause": str(self.explanation.cause),
            "network": self.explanation.network,
            "network_kind": str(self.explanation.network_kind),
            "range": self.explanation.range,
            "attempts": self.attempts,
            "first_seen": _utc(self.first_seen_wall_seconds),
            "last_seen": _utc(self.last_seen_wall_seconds),
            "message": self.message,
        }


def _utc(wall_seconds: float) -> str:
    return datetime.fromtimestamp(wall_seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
