"""Judges the MTU along a node's storage path: NIC, bond, bridge and the pods' ends agree, or full packets are lost on the way.

A Linux bridge takes the smallest MTU of its ports unless somebody set it by hand, so the port that lowers it is named, also where that is
a VM's end. What the pods' own interfaces have is judged in links.py.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from agent.model.finding import Finding, Subject, short
from agent.model.hostpath import HostPath
from agent.rules.hostpath_texts import VLAN_CONFIGS, listed, network_words, set_link
from agent.rules.ipam_range import shown
from agent.rules.make import make
from agent.rules.mtu import ExpectedMtu

_MOST_COMMANDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One link of the chain."""

    element: str
    """`nic`, `uplink`, `bridge` or `veth`."""
    words: str
    name: str
    mtu_bytes: int


def parts(path: HostPath) -> Iterator[Part]:
    """From the outside in. Pods' ends that are not on the bridge carry nothing and are left out."""
    for nic in path.nics:
        yield Part(element="nic", words=f"NIC {shown(nic.name)}", name=nic.name, mtu_bytes=nic.mtu_bytes)
    if path.uplink and path.uplink.name not in {nic.name for nic in path.nics}:
        yield Part(element="uplink", words=f"uplink {shown(path.uplink.name)}", name=path.uplink.name, mtu_bytes=path.uplink.mtu_bytes)
    if path.bridge:
        yield Part(element="bridge", words=f"bridge {shown(path.bridge.name)}", name=path.bridge.name, mtu_bytes=path.bridge.mtu_bytes)
    for veth in path.veths:
        if veth.name and veth.mtu_bytes and veth.bridge == path.bridge_name:
            words = f"{shown(veth.name)} of {short(veth.pod.key)}"
            yield Part(element="veth", words=words, name=veth.name, mtu_bytes=veth.mtu_bytes)


def odd_parts(path: HostPath, *, expected_mtu_bytes: int | None) -> tuple[int | None, tuple[Part, ...]]:
    """The MTU that the path should have and the parts with another one. The expected one counts if some part has it, else the most
    common, of several the largest. None for a path without parts."""
    chain = tuple(parts(path))
    if not chain:
        return None, ()
    counts = Counter(part.mtu_bytes for part in chain)
    wanted = expected_mtu_bytes if expected_mtu_bytes in counts else max(counts, key=lambda mtu: (counts[mtu], mtu))
    return wanted, tuple(part for part in chain if part.mtu_bytes != wanted)


def mtu_chain(path: HostPath, *, expected: ExpectedMtu | None) -> Finding | None:
    wanted, odd = odd_parts(path, expected_mtu_bytes=expected.mtu_bytes if expected else None)
    if wanted is None or not odd:
        return None
    chain = tuple(parts(path))
    by_mtu: dict[int, list[str]] = {}
    for part in _causes(odd, wanted):
        by_mtu.setdefault(part.mtu_bytes, []).append(part.words)
    clause = ", ".join(f"{listed(words)} {'has' if len(words) == 1 else 'have'} MTU {mtu}" for mtu, words in by_mtu.items())
    said_by = f" ({expected.said_by} {expected.mtu_bytes})" if expected and expected.mtu_bytes == wanted else ""
    return make(
        "mtu-chain",
        subject=Subject(node=path.node),
        network=path.network,
        reason=_causes(odd, wanted)[0].element,
        summary=f"full packets of the {network_words(path)} can be lost on {path.node}: its {clause}, the rest of the path {wanted}"
        + _lowered_by(path, odd, wanted),
        seen=", ".join(f"{shown(part.name)} {part.mtu_bytes}" for part in chain[:12]) + (" …" if len(chain) > 12 else ""),
        expected=f"one MTU all along, {wanted}{said_by}",
        next_step=_step(path, _causes(odd, wanted), wanted=wanted, as_configured=bool(said_by)),
        clears_when="all of them have the same MTU",
    )


def _step(path: HostPath, odd: tuple[Part, ...], *, wanted: int, as_configured: bool) -> str:
    """Where the configuration is right, the link is to be mended; else the configuration, which Harvester takes with the network off."""
    mend = "; ".join(filter(None, (set_link(part.name, f"mtu {wanted}") for part in odd[:_MOST_COMMANDS])))
    if as_configured and mend:
        return f"on {path.node} find out who changed it, and set it back: {mend}"
    compare = f"on {path.node} compare: `grep . /sys/class/net/*/mtu`; then set it where Harvester keeps it, in the VlanConfigs, with "
    return f"{compare}the storage network disabled: `kubectl get {VLAN_CONFIGS} -o yaml`"


def _causes(odd: tuple[Part, ...], wanted: int) -> tuple[Part, ...]:
    """Without a bridge that only follows the smallest of its ports."""
    low = {part.mtu_bytes for part in odd if part.element != "bridge" and part.mtu_bytes < wanted}
    return tuple(part for part in odd if part.element != "bridge" or part.mtu_bytes not in low)


def _lowered_by(path: HostPath, odd: tuple[Part, ...], wanted: int) -> str:
    """Why the bridge is low, if one of its ports accounts for it."""
    bridge = next((part for part in odd if part.element == "bridge"), None)
    if bridge is None or bridge.mtu_bytes >= wanted:
        return ""
    if bridge not in _causes(odd, wanted):
        return f"; {shown(bridge.name)} follows, as a bridge takes the smallest of its ports"
    port = path.lowering_port
    if port is None or port.mtu_bytes != bridge.mtu_bytes:
        return ""
    return f"; a bridge takes the smallest of its ports, and {shown(port.name)} has {port.mtu_bytes}"
