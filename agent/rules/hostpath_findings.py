"""The findings about a node's storage path, one rule each. What hides what is decided in hostpath.py, the MTU in hostpath_mtu.py.

They rest on the kernel alone and so begin at the first look; only what a VlanConfig names is compared with a second source.
"""

from agent.model.finding import Finding, Subject, short
from agent.model.hostpath import HostPath, PathVeth
from agent.rules.hostpath_texts import (
    attach,
    controller,
    is_link_name,
    listed,
    network_words,
    set_link,
    show_link,
    show_vlan_config,
    speed_text,
    states,
)
from agent.rules.hostpath_uplink import BOND_SUFFIX
from agent.rules.ipam_range import shown
from agent.rules.make import make, pod_subject
from agent.rules.setting_texts import Places

_FILTERS = "net.bridge.bridge-nf-call-iptables"


def bridge_missing(path: HostPath, *, places: Places) -> Finding | None:
    """There is no bridge of that name, what has the name is no bridge, or it is set down."""
    bridge, name = path.bridge, shown(path.bridge_name)
    if bridge is not None and bridge.kind == "bridge" and bridge.up:
        return None
    if bridge is None:
        reason, clause, seen = "missing", f"its bridge {name} does not exist", f"no link {name} in the host's kernel"
    elif bridge.kind != "bridge":
        kind = bridge.kind or "physical device"
        reason, clause, seen = "not_a_bridge", f"its {name} is a {kind}, not a bridge", f"{name} of kind {kind}"
    else:
        reason, clause, seen = "admin_down", f"its bridge {name} is set down", f"{name} DOWN"
    step = f"on {path.node}: `ip -d link show type bridge`; {controller(path, places=places)}"
    if reason == "admin_down":
        step = f"on {path.node} find out who set it down, and bring it up: {set_link(path.bridge_name, 'up') or 'by hand'}"
    return make(
        "bridge-missing",
        subject=Subject(node=path.node),
        network=path.network,
        reason=reason,
        summary=f"{path.node} has no way to the {network_words(path)}: {clause}",
        seen=seen,
        expected=f"a bridge {name}, up, as the pods' NAD names it",
        next_step=step,
        clears_when=f"the bridge {name} is there and up",
    )


def uplink_missing(path: HostPath) -> Finding | None:
    """No port of the bridge leads out."""
    if path.uplink is not None:
        return None
    bridge = shown(path.bridge_name)
    stray = next(iter(path.strays), None)
    bond = f"{path.cluster_network}{BOND_SUFFIX}" if path.cluster_network else None
    if stray is not None and (stray.name == bond or len(path.configured_nics) < 2 or bond is None):
        place = f"on {shown(stray.master)}" if stray.master else "on no bridge"
        reason, why = "not_attached", f"{shown(stray.name)} is there and {place}"
        step = f"attach it for the time being: {attach(stray.name, path.bridge_name) or 'by hand'}; then see who took it off"
    elif bond is not None and len(path.configured_nics) != 1:
        reason, why = "no_bond", f"{shown(bond)} does not exist"
        step = "the network controller makes the bond"
    else:
        reason, why = "no_link", f"{listed([shown(nic) for nic in path.configured_nics])} is not there" if path.configured_nics else ""
        step = "find the NIC that belongs there"
    return make(
        "uplink-missing",
        subject=Subject(node=path.node),
        network=path.network,
        reason=reason,
        summary=f"storage pods of {path.node} reach nobody outside it: its bridge {bridge} has no uplink" + (f", {why}" if why else ""),
        seen=f"no port of {bridge} besides the ends of pods and VMs" + (f"; {states(path.strays[:4])}" if path.strays else ""),
        expected=f"{shown(stray.name) if stray else shown(bond) if bond else 'a NIC or bond'} as a port of {bridge}",
        next_step=f"on {path.node}: `ip -d link show master {path.bridge_name if is_link_name(path.bridge_name) else 'BRIDGE'}`; {step}; "
        f"the VlanConfig of the node: {show_vlan_config(path.vlan_configs)}",
        clears_when=f"the uplink is a port of {bridge}",
    )


def uplink_down(path: HostPath) -> Finding | None:
    """No NIC below the uplink has carrier, or the uplink itself is down."""
    uplink = path.uplink
    if uplink is None:
        return None
    alive = [nic for nic in path.nics if nic.up and nic.carrier]
    if uplink.up and uplink.carrier and alive:
        return None
    alone = [nic.name for nic in path.nics] == [uplink.name]
    name = shown(uplink.name)
    if not uplink.up:
        reason, clause = "admin_down", f"its uplink {name} is set down"
    elif not path.nics:
        reason, clause = "no_nics", f"its uplink {name} has no NIC in it"
    else:
        reason = "admin_down" if not any(nic.up for nic in path.nics) else "no_carrier"
        clause = f"its uplink {name} has no carrier" + ("" if alone else f" ({states(path.nics)})")
    names = [nic.name for nic in path.nics]
    mend = "; ".join(filter(None, (set_link(link.name, "up") for link in dict.fromkeys((uplink, *path.nics)) if not link.up)))
    look = f"look at cable, transceiver and switch port of {path.node} {listed([shown(one) for one in names])}, then on {path.node}: "
    step = f"on {path.node} find out who set it down, and bring it up: {mend}" if mend else look + show_link(uplink.name)
    if reason == "no_nics":
        step = f"put its NICs back into it; the VlanConfig of the node: {show_vlan_config(path.vlan_configs)}"
    return make(
        "uplink-down",
        subject=Subject(node=path.node),
        network=path.network,
        reason=reason,
        summary=f"storage pods of {path.node} reach nobody outside it: {clause}",
        seen=f"{name} {'UP' if uplink.up else 'DOWN'}, {'carrier' if uplink.carrier else 'no carrier'}"
        + ("" if alone or not path.nics else f"; {states(path.nics)}"),
        expected=f"carrier on {'at least one of ' if names[1:] else ''}{listed([shown(one) for one in names])}"
        if names
        else f"a NIC with carrier in {name}",
        next_step=step,
        clears_when="the uplink is up and at least one NIC has carrier",
    )


def nic_missing(path: HostPath) -> Finding | None:
    """Compares: the NICs that this node's VlanConfigs name with the kernel's links, alternative names included."""
    missing = [shown(name) for name in path.missing_nics]
    if not missing:
        return None
    configs = listed([shown(name) for name in path.vlan_configs])
    spare = [shown(name) for name in path.spare_nics]
    return make(
        "nic-missing",
        subject=Subject(node=path.node),
        network=path.network,
        summary=f"the uplink of {path.node} lacks a NIC: VlanConfig {configs} names {listed(missing)}, which its kernel does not have",
        seen=f"no link {listed(missing)}; NICs that are no port of anything: {listed(spare) or 'none'}",
        expected=f"the NICs of VlanConfig {configs}: {listed([shown(name) for name in path.configured_nics])}",
        next_step=f"on {path.node} see whether it was renamed: `ip -br link`; `sudo dmesg | grep -i renamed`; then give the VlanConfig the "
        f"new name: {show_vlan_config(path.vlan_configs)}",
        clears_when="the kernel has the NIC, or the VlanConfig names another one",
    )


def veth_detached(path: HostPath, veth: PathVeth) -> Finding | None:
    """The pod's end on the host is elsewhere, on another bridge or none, or set down."""
    bridge = shown(path.bridge_name)
    if veth.name is not None and veth.bridge == path.bridge_name and veth.up:
        return None
    pod, name = veth.pod, shown(veth.name or "")
    if veth.name is None:
        reason, clause = "gone", f"the other end of its {pod.interface} (index {veth.index}) is not on the host"
        delete = f"`kubectl -n {pod.record.namespace} delete pod {pod.record.name}`"
        step = f"have Longhorn make the pod anew when its volumes are detached: {delete}"
    elif veth.bridge != path.bridge_name:
        reason = "other_bridge" if veth.bridge else "no_bridge"
        clause = f"its host end {name} is " + (f"on {shown(veth.bridge)} instead of {bridge}" if veth.bridge else "on no bridge")
        back = attach(veth.name, path.bridge_name) or "by hand"
        step = f"on {path.node} put it back: {back}; then see that its VLAN is right: `bridge vlan show`"
    else:
        reason, clause = "admin_down", f"its host end {name} is set down"
        step = f"on {path.node} find out who set it down, and bring it up: {set_link(veth.name, 'up') or 'by hand'}"
    return make(
        "veth-detached",
        subject=pod_subject(pod),
        network=path.network,
        reason=reason,
        summary=f"{short(pod.key)} on {path.node} is alone on the {network_words(path)}: {clause}",
        seen=f"{name or 'no link with index ' + str(veth.index)}"
        + (f": {'UP' if veth.up else 'DOWN'}, master {shown(veth.bridge or 'none')}" if veth.name else " that leads back to the pod"),
        expected=f"the host's end up and a port of {bridge}",
        next_step=step,
        clears_when=f"it is up and a port of {bridge}, or the pod is gone",
    )


def bridge_netfilter(path: HostPath) -> Finding | None:
    """Only called where the cluster has Harvester's network objects: elsewhere somebody may want it."""
    if not path.bridge_filters:
        return None
    return make(
        "bridge-netfilter",
        subject=Subject(node=path.node),
        network=path.network,
        summary=f"bridged storage traffic of {path.node} can be dropped by iptables rules made for something else: "
        "bridge-nf-call-iptables is 1",
        seen=f"{_FILTERS} = 1",
        expected=f"{_FILTERS} = 0, as Harvester's network controller sets it",
        next_step=f"on {path.node}: `sudo sysctl -w {_FILTERS}=0`; then find who sets it, Docker, firewalld or a file: "
        "`grep -rs bridge-nf-call /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d`",
        clears_when="it is 0",
    )


def uplink_slow(path: HostPath, *, min_mbits: int) -> Finding | None:
    """What the kernel says of the uplink; of a bond that does not say, what its NICs with carrier have. Unknown is not slow."""
    speed = uplink_speed_mbits(path)
    if path.uplink is None or speed is None or speed >= min_mbits:
        return None
    known = ", ".join(f"{shown(nic.name)} {speed_text(nic.speed_mbits)}" for nic in path.nics if nic.speed_mbits)
    return make(
        "uplink-slow",
        subject=Subject(node=path.node),
        network=path.network,
        summary=f"rebuilding takes its time on {path.node}: its uplink {shown(path.uplink.name)} has {speed_text(speed)}",
        seen=known or f"{shown(path.uplink.name)} {speed_text(speed)}",
        expected=f"at least {speed_text(min_mbits)} (thresholds.uplink_min_mbits)",
        next_step=f"if the NIC can do more, look at cable, transceiver and switch port; on {path.node}: `grep -s . /sys/class/net/*/speed`",
        clears_when="the speed is at or above the threshold",
    )


def uplink_speed_mbits(path: HostPath) -> int | None:
    """Of a bond the kernel tells the sum of the NICs that it sends by; None if nobody says it."""
    if path.uplink is None:
        return None
    if path.uplink.speed_mbits:
        return path.uplink.speed_mbits
    known = [nic.speed_mbits for nic in path.nics if nic.up and nic.carrier]
    speeds = [speed for speed in known if speed]
    if not speeds or len(speeds) < len(known):
        return None
    return max(speeds) if path.bond_mode in (None, "active-backup") else sum(speeds)
