"""Facts of this node and of our own process that no pod's namespace tells: ports, load, privileges.

Each reading stands alone: what is absent (a kernel without PSI, a node without bridge netfilter) is None, not an error and not zero.
Refused here: looking at other processes, and saying what any of it means.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl

import psutil

PRESSURE_CPU = "/proc/pressure/cpu"
STATUS = "/proc/self/status"
BRIDGE_NF_CALL_IPTABLES = "/proc/sys/net/bridge/bridge-nf-call-iptables"

CAPABILITIES: Mapping[int, str] = {11: "NET_BROADCAST", 13: "NET_RAW", 21: "SYS_ADMIN"}
"""linux/capability.h: those that the agent asks for. All others keep their number."""

_MAX_BYTES = 1 << 16
_MAX_NAMES = 64
"""A VlanConfig names a handful."""
_LONGEST_NAME = 15
"""IFNAMSIZ without the zero; longer alternative names do not fit into this question."""
_SIOCGIFINDEX = 0x8933
_INDEX = struct.Struct("=16si20x")
"""struct ifreq with ifr_ifindex (netdevice(7))."""
_UNKNOWN_SPEEDS = frozenset({0, 0xFFFF, 0xFFFFFFFF})
"""What drivers answer when the link is down or has no speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    name: str
    up: bool
    """IFF_UP and IFF_RUNNING, as psutil has it."""
    speed_mbit: int | None
    """Per second; None if the driver does not say, as for bridges, tunnels and links that are down."""
    mtu_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNetwork:
    """What netlink's links do not tell of our own network namespace, read in one go."""

    speeds_mbits: Mapping[str, int]
    """By link name; only of those whose driver says it."""
    nic_indexes: Mapping[str, int | None]
    """See `find_indexes`."""
    bridge_filters: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnProcess:
    rss_bytes: int
    cpu_seconds: float
    """User and system, since the process started."""
    threads: int
    descriptors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Share of the time in which some task waited for the CPU, in percent, and the total since the boot."""

    some_10s_percent: float
    some_60s_percent: float
    some_300s_percent: float
    some_total_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    effective: frozenset[str]
    """`SYS_ADMIN`, `NET_RAW`, `NET_BROADCAST`; other capabilities by number as text."""
    no_new_privs: bool | None
    """None before Linux 4.10."""


def read_nics() -> tuple[Nic, ...]:
    """Every interface of our own network namespace, in the kernel's order. Empty if the kernel refuses."""
    try:
        stats = psutil.net_if_stats()
    except OSError:
        return ()
    return tuple(
        Nic(name=name, up=nic.isup, speed_mbit=None if nic.speed in _UNKNOWN_SPEEDS else nic.speed, mtu_bytes=nic.mtu)
        for name, nic in stats.items()
    )


def find_indexes(names: Iterable[str]) -> dict[str, int | None]:
    """Link indexes by name or alternative name (`ip link property`), as the kernel itself looks them up; None: it has no such name.

    A name that this question cannot be asked for (it does not fit, or the kernel refuses for another reason) is left out.
    """
    found: dict[str, int | None] = {}
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        for name in list(dict.fromkeys(names))[:_MAX_NAMES]:
            encoded = os.fsencode(name)
            if not 0 < len(encoded) <= _LONGEST_NAME or b"\0" in encoded:
                continue
            try:
                (found[name],) = _INDEX.unpack_from(ioctl(sock, _SIOCGIFINDEX, _INDEX.pack(encoded, 0)), 0)[1:]
            except OSError as error:
                if error.errno == errno.ENODEV:
                    found[name] = None
    return found


def read_host_network(nic_names: Iterable[str]) -> HostNetwork:
    """Blocks while others hold the rtnl lock, as drivers are asked for their speed under it: for a worker thread."""
    return HostNetwork(
        speeds_mbits={nic.name: nic.speed_mbit for nic in read_nics() if nic.speed_mbit},
        nic_indexes=find_indexes(nic_names),
        bridge_filters=read_bridge_filters(),
    )


def read_own_process() -> OwnProcess:
    process = psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        return OwnProcess(
            rss_bytes=process.memory_info().rss,
            cpu_seconds=times.user + times.system,
            threads=process.num_threads(),
            descriptors=process.num_fds(),
        )


def parse_pressure(text: str) -> Pressure | None:
    """Documentation/accounting/psi.rst: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, in microseconds."""
    for line in text.splitlines():
        kind, *pairs = line.split() or [""]
        if kind != "some":
            continue
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        try:
            return Pressure(
                some_10s_percent=float(values["avg10"]),
                some_60s_percent=float(values["avg60"]),
                some_300s_percent=float(values["avg300"]),
                some_total_seconds=int(values["total"]) / 1e6,
            )
        except (KeyError, ValueError):
            return None
    return None


def read_pressure(path: str = PRESSURE_CPU) -> Pressure | None:
    """None on kernels without PSI, and where it is switched off (the file is there and cannot be opened)."""
    text = _read(path)
    return None if text is None else parse_pressure(text)


def parse_privileges(text: str) -> Privileges | None:
    """Of the text of /proc/PID/status; None if it has no readable CapEff."""
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        mask = int(values["CapEff"].strip(), 16)
    except (KeyError, ValueError):
        return None
    numbers = (number for number in range(mask.bit_length()) if mask >> number & 1)
    flag = values.get("NoNewPrivs", "").strip()
    return Privileges(
        effective=frozenset(CAPABILITIES.get(number, str(number)) for number in numbers),
        no_new_privs={"0": False, "1": True}.get(flag),
    )


def read_privileges(path: str = STATUS) -> Privileges | None:
    text = _read(path)
    return None if text is None else parse_privileges(text)


def read_bridge_filters(path: str = BRIDGE_NF_CALL_IPTABLES) -> bool | None:
    """Whether iptables rules of this network namespace see bridged IPv4. None: the module br_netfilter is not loaded, so they do not."""
    text = _read(path)
    return {"0": False, "1": True}.get(text.strip()) if text is not None else None


def _read(path: str) -> str | None:
    with suppress(OSError), open(path, "rb") as file:
        return os.fsdecode(file.read(_MAX_BYTES))
    return None
