"""Words and commands about a node's storage path. Names of links come from kernels and VlanConfigs: what could mean more than a name to
a shell is shown, never put into a command.

Each summary of a node's host path is "<what it costs>: <cause>", so that others can quote the cause alone.
"""

import re
from collections.abc import Sequence

from agent.model.hostpath import HostPath, PathLink
from agent.model.peers import Network
from agent.rules.ipam_range import shown
from agent.rules.setting_texts import Places, is_name

VLAN_CONFIGS = "vlanconfigs.network.harvesterhci.io"
VLAN_STATUSES = "vlanstatuses.network.harvesterhci.io"
LISTED = 4
_LINK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}", re.ASCII)


def cause_clause(summary: str) -> str:
    """The cause in a summary of a host-path finding: "its uplink ens5 has no carrier"."""
    return summary.partition(": ")[2] or summary


def network_words(path: HostPath) -> str:
    return "RWX network" if path.network is Network.RWX else "storage network"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c, d and 3 more`. The names are fit to be shown."""
    head, tail = [*names[:LISTED]], len(names) - LISTED
    if tail > 0:
        return f"{', '.join(head)} and {tail} more"
    return f"{', '.join(head[:-1])} and {head[-1]}" if len(head) > 1 else "".join(head)


def is_link_name(name: str | None) -> bool:
    """Fit to stand in a command."""
    return name is not None and _LINK_NAME.fullmatch(name) is not None


def show_link(name: str) -> str:
    return f"`ip -d link show dev {name}`" if is_link_name(name) else "`ip -d link`"


def set_link(name: str, words: str) -> str:
    """A command that mends, for a person to run; empty for a name that no command should hold."""
    return f"`sudo ip link set dev {name} {words}`" if is_link_name(name) else ""


def attach(name: str, bridge: str) -> str:
    return set_link(name, f"master {bridge} up") if is_link_name(bridge) else ""


def show_vlan_config(names: Sequence[str]) -> str:
    name = names[0] if len(names) == 1 and is_name(names[0]) else ""
    return f"`kubectl get {VLAN_CONFIGS} {name + ' ' if name else ''}-o yaml`"


def controller(path: HostPath, *, places: Places) -> str:
    """Who makes bridge and bond, and how to see what it says. Nobody does where the bridge has no name of Harvester's."""
    if path.cluster_network is None or not is_name(path.node):
        return "the CNI plugin makes it with the next storage pod that starts here"
    return (
        f"Harvester's network controller makes it; see that it runs there: `kubectl -n {places.harvester} get pods -o wide | "
        f"grep network-controller`; and what it says: `kubectl get {VLAN_STATUSES} -o yaml | grep -A12 'node: {path.node}'`"
    )


def states(nics: Sequence[PathLink]) -> str:
    """`ens5 has no carrier, ens6 and ens7 are set down`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for nic in nics:
        words = ("is set down", "are set down") if not nic.up else (("has carrier", "have carrier") if nic.carrier else _NO_CARRIER)
        groups.setdefault(words, []).append(shown(nic.name))
    return ", ".join(f"{listed(names)} {one if len(names) == 1 else many}" for (one, many), names in groups.items())


_NO_CARRIER = ("has no carrier", "have no carrier")


def speed_text(mbits: int) -> str:
    return f"{mbits / 1000:g} Gb/s" if mbits >= 1000 else f"{mbits} Mb/s"
