"""The settings of `run` as frozen dataclasses: every key once, with its kind, its default, its unit and the reason for the number.

Only a description: reading files, the environment and flags is config_sources, and putting it together is config. Built directly (in
tests) the values are taken as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Any

from agent import config_kinds as kinds
from agent.config_findings import IgnoreRule
from agent.config_kinds import Kind, ListenAddress, count, seconds
from agent.model.finding import Severity
from agent.model.peers import Role


def setting(kind: Kind, default: Any) -> Any:
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsClient:
    """How agents ask each other over HTTP."""

    scheme: str = setting(kinds.Choice(words=("http", "https")), "http")
    ca_file: str | None = setting(kinds.FILE, None)
    """PEM file that signs the other agents' certificates; none: the system's."""
    username: str | None = setting(kinds.NAME, None)
    password_file: str | None = setting(kinds.FILE, None)
    """A file, so that the password stands in no object, variable or command line that others may read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    longhorn: str = setting(kinds.NAMESPACE, "longhorn-system")
    harvester: str = setting(kinds.NAMESPACE, "harvester-system")
    whereabouts: str = setting(kinds.NAMESPACE, "kube-system")
    """Where whereabouts keeps its pools."""
    monitoring: str = setting(kinds.NAMESPACE, "cattle-monitoring-system")
    agent: str = setting(kinds.NAMESPACE, "lhnet-system")
    """Where our own pods and the Lease are. Not set: $POD_NAMESPACE, else the service account's namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePorts:
    """TCP port by role: Longhorn's gRPC servers, which every pod of the role has open."""

    im: int = setting(kinds.PORT, 8500)
    bim: int = setting(kinds.PORT, 8000)

    @property
    def by_role(self) -> dict[Role, int]:
        return {Role.INSTANCE_MANAGER: self.im, Role.BACKING_IMAGE_MANAGER: self.bim}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    interval_seconds: float = setting(seconds(0.5, 3600), 10.0)
    """From the start of one round to the start of the next."""
    timeout_seconds: float = setting(seconds(0.1, 60), 4.0)
    """Of one question; the kernel needs about 3 s to say "no route to host" on a silent segment. Below the interval."""
    ports: ProbePorts = ProbePorts()
    http: str = setting(kinds.Choice(words=("responder", "pprof", "off")), "responder")
    """Whom to ask by HTTP: the peer's agent's responder (where none answers, port 6060 of an instance-manager), only that port, nobody."""
    large_packets: bool = setting(kinds.Flag(), True)
    """Whether packets of the full MTU pass, by ICMP."""
    fanout: int = setting(count("pairs", 1, 4096), 64)
    """Most pairs that one node asks in one round; the others take turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    interval_seconds: float = setting(seconds(0.5, 3600), 15.0)
    """From one full look at interfaces, routes and host path to the next; changes are heard in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAsking:
    interval_seconds: float = setting(seconds(0.5, 3600), 10.0)
    """How often the holder of the Lease asks all agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    stale_after_seconds: float = setting(seconds(1, 86400), 120.0)
    """How long a source may be out of reach before a finding says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    size: int = setting(count("entries", 1, 10000), 200)
    """State changes kept; bounded because they live in memory, up to 1 kB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    level: str = setting(kinds.Choice(words=("debug", "info", "warning", "error")), "info")
    format: str = setting(kinds.Choice(words=("json", "text")), "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingSettings:
    """Not a table of keys: `findings.<id>` for every id of the catalogue, and `findings.ignore`."""

    severities: Mapping[str, Severity | None] = field(default_factory=lambda: MappingProxyType({}))
    """By finding id, instead of the normal severity; None is `off`: not raised at all."""
    ignore: tuple[IgnoreRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Durations run on the monotonic clock."""

    probe_failures: int = setting(count("probes in a row", 1, 100), 2)
    probe_successes: int = setting(count("probes in a row", 1, 100), 2)
    pod_grace_seconds: float = setting(seconds(0, 86400), 30.0)
    """Age below which a pod is not compared with anything: its annotations and its interface arrive one after the other."""
    disagreement_seconds: float = setting(seconds(0, 3600), 10.0)
    """Two sources must disagree in two looks at least this far apart."""
    agent_missing_seconds: float = setting(seconds(1, 86400), 90.0)
    sandbox_grace_seconds: float = setting(seconds(0, 86400), 20.0)
    """First failures of a sandbox are normal while Multus and whereabouts start."""
    setting_stuck_seconds: float = setting(seconds(1, 31536000), 600.0)
    orphan_warning_seconds: float = setting(seconds(1, 31536000), 93600.0)
    """26 h: whereabouts' own reconciler runs once a day."""
    pool_free_ratio: float = setting(kinds.RATIO, 0.1)
    loss_ratio: float = setting(kinds.RATIO, 0.05)
    loss_window_seconds: float = setting(seconds(1, 86400), 120.0)
    rtt_seconds: float = setting(seconds(0.0001, 60), 0.02)
    rtt_window_seconds: float = setting(seconds(1, 86400), 120.0)
    error_rate: float = setting(kinds.Number(what="a number of errors or drops a second", low=0, high=1e9), 10.0)
    error_ratio: float = setting(kinds.RATIO, 0.01)
    """Errors or drops to packets; rate and ratio must both be passed."""
    error_window_seconds: float = setting(seconds(1, 86400), 60.0)
    uplink_min_mbits: int = setting(count("Mbit/s", 0, 10000000), 10000)
    own_delay_seconds: float = setting(seconds(0.001, 60), 0.5)
    """Delay of our own scheduling above which latencies are not believed."""
    neighbour_table_ratio: float = setting(kinds.RATIO, 0.5)
    """Of gc_thresh3: above it only neighbours that the kernel already knows are probed."""
    neighbour_table_stop_ratio: float = setting(kinds.RATIO, 0.9)
    """Of gc_thresh3: above it nobody is probed; the table belongs to the whole host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    node_name: str = setting(kinds.NODE, "localhost")
    """This node. Not set: $NODE_NAME, else the host's name."""
    kubeconfig: str | None = setting(kinds.FILE, None)
    """None: the service account of the pod; outside a cluster $KUBECONFIG."""
    listen: tuple[ListenAddress, ...] = setting(
        kinds.Many(item=kinds.Listen()),
        (ListenAddress(address=IPv4Address("0.0.0.0"), port=9811),),  # noqa: S104  # the contract's default
    )
    """Where HTTP is served; port 0 takes any free one, which only makes sense in tests."""
    web_config_file: str | None = setting(kinds.FILE, None)
    """TLS and basic auth in the format of the Prometheus exporter-toolkit."""
    agents_client: AgentsClient = AgentsClient()
    agents_selector: str = setting(kinds.SELECTOR, "app.kubernetes.io/name=lhnet-agent")
    """Label selector of the agent pods in `namespaces.agent`."""
    responder_port: int = setting(kinds.PORT_OR_OFF, 9812)
    """TCP port of the identity responder on each local storage address; 0 turns it off."""
    netns_dir: tuple[str, ...] = setting(kinds.Many(item=kinds.PATH), ("/var/run/netns",))
    """Where the container runtime keeps the pods' network namespaces."""
    interface: str = setting(kinds.INTERFACE, "lhnet1")
    """The storage interface of a pod where no annotation names one."""
    namespaces: Namespaces = Namespaces()
    probe: Probe = Probe()
    inspect: Inspect = Inspect()
    cluster: ClusterAsking = ClusterAsking()
    api: Api = Api()
    state_dir: str = setting(kinds.PATH, "/var/lib/lhnet-agent")
    """For a small state file: what was known last, for a start while the API server is away."""
    history: History = History()
    log: LogSettings = LogSettings()
    findings: FindingSettings = FindingSettings()
    thresholds: Thresholds = Thresholds()
