"""Probe plans and results. A result is a success with a latency, or a failure with a reason and none: nothing else can be built."""

from dataclasses import dataclass
from enum import StrEnum

from agent.model.net import IPAddress, NamespaceFile


class ProbeKind(StrEnum):
    TCP = "tcp"
    HTTP = "http"
    PING = "ping"
    """One small ICMP echo, asked after a failed TCP probe: does anything answer for the address?"""
    LARGE = "large"


class Reason(StrEnum):
    """Contract §4. Closed: also a label of lhnet_probes_total."""

    OK = "ok"
    NO_ROUTE = "no_route"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    RESET = "reset"
    NET_UNREACHABLE = "net_unreachable"
    NO_SOURCE_ADDRESS = "no_source_address"
    HTTP_STATUS = "http_status"
    WRONG_IDENTITY = "wrong_identity"
    TOO_LARGE = "too_large"
    NOT_PROBED = "not_probed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """One question, complete: the prober needs nothing else.

    `source_address` is bound, `interface` only used by the ARP or ND question and by ICMP, which bind the device (contract §4).
    """

    key: tuple[str, str]
    """Returned untouched in the result: the pair's UIDs."""
    kind: ProbeKind
    namespace: NamespaceFile
    interface: str
    source_address: IPAddress
    target_address: IPAddress
    port: int = 0
    """TCP port; 0 for ICMP."""
    http_path: str = "/"
    timeout_seconds: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What came of one plan. Latency and retransmits are the kernel's (TCP_INFO tcpi_rtt, tcpi_total_retrans), never user-space time."""

    plan: ProbePlan
    reason: Reason
    rtt_seconds: float | None = None
    """Only with reason `ok`; None if the kernel gave none (ICMP: the time of the echo)."""
    retransmits: int = 0
    duration_seconds: float | None = None
    """From connect to the answer, user-space time; only with reason `ok`."""
    detail: str | None = None
    """errno name, HTTP status line, … for people."""
    neighbour_mac: str | None = None
    """Who answered the ARP or ND question, if one was asked and answered."""
    body: bytes | None = None
    """Of an HTTP answer, at most 1 kB; None where there was none, where it was longer, or where it did not come whole."""
    finished_monotonic_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.reason is not Reason.OK and (self.rtt_seconds is not None or self.duration_seconds is not None):
            raise ValueError(f"a probe that ended with {self.reason} has no latency")

    @property
    def ok(self) -> bool:
        return self.reason is Reason.OK
