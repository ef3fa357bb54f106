"""The host's path as JSON (contract §3) and as a drawing for curl: from the pods' interface outwards, with what is wrong in capitals.

Made from the HostPath of one look; it judges nothing beyond what a link says of itself.
"""

import textwrap
from typing import Any

from agent.model.finding import short
from agent.model.hostpath import HostPath, PathLink, PathVeth
from agent.rules.hostpath_mtu import odd_parts, parts
from agent.rules.hostpath_texts import speed_text
from agent.rules.ipam_range import shown

Document = dict[str, Any]

WIDTH = 80
_INDENT = "  "
_VETHS_DRAWN = 4
"""Ends on the bridge that are named; more are counted."""


def document(path: HostPath | None) -> Document | None:
    """`host_path` of /api/v1/interfaces; None where no storage pod is on a bridge."""
    if path is None:
        return None
    bridge, uplink = path.bridge, path.uplink
    return {
        "cluster_network": path.cluster_network,
        "network": path.network.value,
        "bridge": {
            "name": path.bridge_name,
            "present": bridge is not None,
            "up": bridge.up if bridge else False,
            "mtu_bytes": bridge.mtu_bytes if bridge else None,
        },
        "uplink": None
        if uplink is None
        else {
            "name": uplink.name,
            "kind": uplink.kind,
            "up": uplink.up,
            "carrier": uplink.carrier,
            "mtu_bytes": uplink.mtu_bytes,
            "speed_mbits": uplink.speed_mbits,
        },
        "nics": [
            {"name": nic.name, "up": nic.up, "carrier": nic.carrier, "speed_mbits": nic.speed_mbits, "mtu_bytes": nic.mtu_bytes}
            for nic in path.nics
        ],
        "configured_nics": list(path.configured_nics),
        "missing_nics": list(path.missing_nics),
        "veths": [_veth(veth) for veth in path.veths],
        "vlan": None,
        "bridge_netfilter": path.bridge_filters,
    }


def _veth(veth: PathVeth) -> Document:
    return {
        "name": veth.name,
        "index": veth.index,
        "pod": veth.pod.key,
        "bridge": veth.bridge,
        "up": veth.up,
        "mtu_bytes": veth.mtu_bytes,
    }


def lines(path: HostPath) -> list[str]:
    """The drawing below the pods of /interfaces."""
    told = [
        " – ".join([_pods(path), _bridge(path), *_uplink(path)]),
        *(f"{short(veth.pod.key)}: {_off(veth, path)}" for veth in path.veths if _off(veth, path)),
        f"VlanConfig names {', '.join(map(shown, path.missing_nics))}: NO SUCH NIC" if path.missing_nics else "",
        _mtu(path),
        "bridge-nf-call-iptables is 1: bridged packets pass iptables" if path.bridge_filters else "",
    ]
    return [f"path of {path.node}", *(line for text in told if text for line in _folded(text))]


def _folded(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT * 2,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _pods(path: HostPath) -> str:
    """The pods' interface and those of their ends that are where they belong."""
    interfaces = "/".join(dict.fromkeys(veth.pod.interface for veth in path.veths)) or "no pod's end seen"
    ends = [shown(veth.name) for veth in path.veths if veth.name and not _off(veth, path)]
    if not ends:
        return interfaces
    more = f" and {len(ends) - _VETHS_DRAWN} more" if len(ends) > _VETHS_DRAWN else ""
    return f"{interfaces} – {', '.join(ends[:_VETHS_DRAWN])}{more}"


def _off(veth: PathVeth, path: HostPath) -> str:
    if veth.name is None:
        return f"NO END ON THE HOST (index {veth.index})"
    if path.bridge is None and veth.bridge is None:
        return ""
    if veth.bridge != path.bridge_name:
        return f"{shown(veth.name)} ON {shown(veth.bridge) if veth.bridge else 'NO BRIDGE'}"
    return "" if veth.up else f"{shown(veth.name)} DOWN"


def _bridge(path: HostPath) -> str:
    name = shown(path.bridge_name)
    if path.bridge is None:
        return f"{name} MISSING"
    if path.bridge.kind != "bridge":
        return f"{name} IS NO BRIDGE"
    return name if path.bridge.up else f"{name} DOWN"


def _uplink(path: HostPath) -> list[str]:
    if path.bridge is None:
        return [_nic(link) for link in path.strays[:_VETHS_DRAWN]]
    if path.uplink is None:
        return ["NO UPLINK" + (f" ({', '.join(shown(link.name) for link in path.strays[:_VETHS_DRAWN])} not on it)" if path.strays else "")]
    if [nic.name for nic in path.nics] == [path.uplink.name]:
        return [_nic(path.nics[0])]
    state = "" if path.uplink.up else " DOWN"
    return [
        f"{shown(path.uplink.name)}{state or ('' if path.uplink.carrier else ' NO CARRIER')}",
        ", ".join(map(_nic, path.nics)) or "NO NIC",
    ]


def _nic(nic: PathLink) -> str:
    name = shown(nic.name)
    if not nic.up:
        return f"{name} DOWN"
    if not nic.carrier:
        return f"{name} NO CARRIER"
    return f"{name} {speed_text(nic.speed_mbits)}" if nic.speed_mbits else name


def _mtu(path: HostPath) -> str:
    wanted, odd = odd_parts(path, expected_mtu_bytes=None)
    if wanted is None:
        return ""
    if not odd:
        return f"mtu {wanted} all along" if len(tuple(parts(path))) > 1 else f"mtu {wanted}"
    return f"mtu {wanted}, but " + ", ".join(f"{shown(part.name)} {part.mtu_bytes}" for part in odd)
