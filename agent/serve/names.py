"""Every metric once: name, type, help and labels (contract §6). Closed label sets; no message text in a label."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    name: str
    kind: str
    """`gauge`, `counter` or `histogram`."""
    help: str
    labels: tuple[str, ...] = ()


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=name, kind="gauge", help=text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=name, kind="counter", help=text, labels=labels)


BUILD_INFO = _gauge("lhnet_build_info", "Version of the agent, always 1.", "version")
MODE = _gauge("lhnet_mode", "State of the storage network, 1 for the one it is in.", "mode")
VERDICT = _gauge("lhnet_verdict", "Verdict of this node, 1 for the one it has.", "verdict")
LEASE = _gauge("lhnet_lease", "Who holds the Lease as this agent sees it, 1 for the one that is.", "lease")
FINDING_ACTIVE = _gauge(
    "lhnet_finding_active", "Findings that stand, without ignored ones.", "id", "severity", "node", "explained", "network_kind"
)
FINDINGS_IGNORED = _gauge("lhnet_findings_ignored", "Findings that the settings say to ignore.", "id")
FINDING_INFO = _gauge(
    "lhnet_finding_info", "One standing finding, always 1; the worst 200.", "id", "severity", "node", "peer_node", "pod", "pool"
)
INTERFACE_UP = _gauge("lhnet_interface_up", "Whether the storage interface is up with carrier.", "pod", "role", "interface")
INTERFACE_MTU = _gauge("lhnet_interface_mtu_bytes", "MTU of the storage interface.", "pod", "role", "interface")
INTERFACE_ADDRESS_OK = _gauge("lhnet_interface_address_ok", "Whether the kernel has the granted address.", "pod", "role", "interface")
INTERFACE_ROUTE_OK = _gauge("lhnet_interface_route_ok", "Whether the whole range is routed over the interface.", "pod", "role", "interface")
RECEIVE_ERRORS = _counter("lhnet_interface_receive_errors", "Receive errors of the interface.", "pod", "role", "interface")
RECEIVE_DROPS = _counter("lhnet_interface_receive_drops", "Dropped received packets of the interface.", "pod", "role", "interface")
TRANSMIT_ERRORS = _counter("lhnet_interface_transmit_errors", "Transmit errors of the interface.", "pod", "role", "interface")
TRANSMIT_DROPS = _counter("lhnet_interface_transmit_drops", "Dropped packets to transmit of the interface.", "pod", "role", "interface")
PROBE_SUCCESS = _gauge(
    "lhnet_probe_success", "Whether the last probes passed, the worst of local sources and peer pods.", "kind", "peer_node", "role"
)
PROBE_RTT = _gauge("lhnet_probe_rtt_seconds", "The kernel's round-trip time of the slowest pair.", "peer_node", "role")
PATH_MTU = _gauge("lhnet_path_mtu_bytes", "Largest IP packet that passes, the worst pair.", "peer_node", "role")
PROBE_DURATION = Metric(
    name="lhnet_probe_duration_seconds", kind="histogram", help="The kernel's round-trip time of probes that passed.", labels=("kind",)
)
PROBES = _counter("lhnet_probes", "Probes by how they ended.", "kind", "reason")
CHECK_SUCCESS = _gauge("lhnet_check_success", "Whether the last run of the check finished.", "check")
CHECK_DURATION = _gauge("lhnet_check_duration_seconds", "How long the last run of the check took.", "check")
SOURCE_AGE = _gauge("lhnet_source_age_seconds", "Time since the watch of the source was lost; 0 while it lives.", "source")
SETTING_CONFIGURED = _gauge("lhnet_setting_configured", "Whether Harvester says that its setting storage-network is applied.")
SETTING_IN_PROGRESS = _gauge("lhnet_setting_in_progress_seconds", "How long the setting has been in the making, by our own clock.")
POOL_CAPACITY = _gauge("lhnet_pool_capacity_addresses", "Addresses that the pool can give to pods of the NAD.", "pool", "nad")
POOL_FREE = _gauge("lhnet_pool_free_addresses", "Addresses that a new pod of the NAD could really get.", "pool", "nad")
POOL_REQUIRED = _gauge("lhnet_pool_required_addresses", "Addresses that the cluster needs of the pool.", "pool", "nad", "when")
POOL_ALLOCATED = _gauge("lhnet_pool_allocated_addresses", "Entries of the pool by what became of their pod.", "pool", "state")
SANDBOX_FAILURES = _counter("lhnet_sandbox_failures", "Sandbox failures of storage pods heard as they happened.", "cause", "network_kind")
SANDBOX_FAILING = _gauge("lhnet_sandbox_failing_pods", "Storage pods that cannot start now.", "cause", "network_kind")
HOST_PATH_OK = _gauge("lhnet_host_path_ok", "Whether an element of the way from the pods to the wire is sound.", "element")
NODE_VERDICT = _gauge(
    "lhnet_cluster_node_verdict", "On the holder of the Lease: the verdict that each node has, always 1.", "node", "verdict"
)
SERIES_DROPPED = _gauge("lhnet_series_dropped", "Series left out to keep the budget.", "family")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
