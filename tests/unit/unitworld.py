"""Small makers for unit tests: a pod, its kernel, a probe result, with the values of a healthy Harvester node unless told otherwise."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from agent.model.net import Address, Link, NamespaceFacts, NamespaceFile, Route
from agent.model.peers import Network, Pair, StoragePod
from agent.model.probe import ProbeKind, ProbePlan, ProbeResult, Reason
from agent.model.records import PodRecord
from agent.rules.netstatus import NETWORK_STATUS, NETWORKS, read_pod

NAD = "harvester-system/storagenetwork-95bj4"
MAC = "2e:51:e6:31:96:40"
REQUEST = '[{"namespace": "harvester-system", "name": "storagenetwork-95bj4", "interface": "lhnet1"}]'


def status_text(address: str = "192.168.0.2", *, mac: str = MAC, pod_ip: str = "10.52.0.121", mtu: int | None = None) -> str:
    """A network-status as Multus writes it on Harvester: the default entry has no interface."""
    extra = f', "mtu": {mtu}' if mtu else ""
    return (
        f'[{{"name": "k8s-pod-network", "ips": ["{pod_ip}"], "default": true, "dns": {{}}}}, '
        f'{{"name": "{NAD}", "interface": "lhnet1", "ips": ["{address}"], "mac": "{mac}"{extra}, "dns": {{}}}}]'
    )


def record(
    name: str = "instance-manager-a",
    *,
    node: str = "harv41",
    address: str | None = "192.168.0.2",
    pod_ip: str = "10.52.0.121",
    component: str = "instance-manager",
    mac: str = MAC,
    mtu: int | None = None,
    **other: Any,
) -> PodRecord:
    annotations = {NETWORKS: REQUEST}
    if address is not None:
        annotations[NETWORK_STATUS] = status_text(address, mac=mac, pod_ip=pod_ip, mtu=mtu)
    fields: dict[str, Any] = {
        "namespace": "longhorn-system",
        "name": name,
        "uid": f"uid-{name}-{node}",
        "node": node,
        "phase": "Running",
        "pod_ips": (pod_ip,),
        "labels": {"longhorn.io/component": component, "longhorn.io/data-engine": "v1"},
        "annotations": annotations,
        "born_monotonic_seconds": -1000.0,
    }
    return PodRecord(**(fields | other))


def pod(name: str = "instance-manager-a", **fields: Any) -> StoragePod:
    made = read_pod(record(name, **fields), nads={NAD: Network.STORAGE}, interface="lhnet1")
    assert made is not None
    return made


def mesh_pods(nodes: int, *, managers: int = 1, images: int = 0) -> list[StoragePod]:
    """Instance-managers and backing-image-managers of a cluster of harv1…."""
    pods = []
    for node in range(1, nodes + 1):
        for i in range(managers + images):
            number = node * 16 + i
            pods.append(
                pod(
                    f"pod-{node}-{i}",
                    node=f"harv{node}",
                    address=str(ip_address("192.168.0.0") + number),
                    pod_ip=str(ip_address("10.52.0.0") + number),
                    component="instance-manager" if i < managers else "backing-image-manager",
                )
            )
    return pods


ETH0 = Link(
    index=2, name="eth0", kind="veth", mac="0e:7c:d6:77:44:72", mtu_bytes=1450, up=True, carrier=True, operstate="up", peer_index=2277
)
LHNET1 = Link(index=3, name="lhnet1", kind="veth", mac=MAC, mtu_bytes=1500, up=True, carrier=True, operstate="up", peer_index=2278)
LO = Link(index=1, name="lo", mtu_bytes=65536, up=True, carrier=True)
ON_LINK = Route(to=ip_network("192.168.0.0/24"), link_index=3, source=ip_address("192.168.0.2"), scope="link", protocol="kernel")
DEFAULT = Route(to=ip_network("0.0.0.0/0"), via=ip_address("169.254.1.1"), link_index=2)
GATEWAY = Route(to=ip_network("169.254.1.1/32"), link_index=2, scope="link")


def facts(
    *,
    lhnet1: Link | None = LHNET1,
    addresses: Sequence[str] = ("192.168.0.2/24",),
    routes: Iterable[Route] = (DEFAULT, GATEWAY, ON_LINK),
    pod_ip: str = "10.52.0.121/32",
) -> NamespaceFacts:
    """What the kernel of a healthy instance-manager says (Harvester's guide, step 4.2)."""
    links = (LO, ETH0, *((lhnet1,) if lhnet1 else ()))
    found = [
        Address(link_index=1, interface=ip_interface("127.0.0.1/8"), scope="host"),
        Address(link_index=2, interface=ip_interface(pod_ip)),
    ]
    found += [Address(link_index=3, interface=ip_interface(text)) for text in addresses]
    return NamespaceFacts(links=links, addresses=tuple(found), routes=tuple(routes))


def down(**changes: Any) -> Link:
    return replace(LHNET1, **changes)


def file(number: int = 1) -> NamespaceFile:
    return NamespaceFile(path=f"/var/run/netns/cni-{number}", cookie=number, device=4, inode=4026530000 + number)


def pair(source: StoragePod | None = None, peer: StoragePod | None = None) -> Pair:
    return Pair(source=source or pod(), peer=peer or pod("instance-manager-b", node="harv42", address="192.168.0.3", pod_ip="10.52.1.121"))


def result(reason: Reason = Reason.OK, *, kind: ProbeKind = ProbeKind.TCP, of: Pair | None = None, **fields: Any) -> ProbeResult:
    asked = of or pair()
    assert asked.source.address is not None
    assert asked.peer.address is not None
    plan = ProbePlan(
        key=asked.key,
        kind=kind,
        namespace=file(),
        interface="lhnet1",
        source_address=asked.source.address,
        target_address=asked.peer.address,
        port=8500,
    )
    rtt = 0.0002 if reason is Reason.OK else None
    return ProbeResult(plan=plan, reason=reason, rtt_seconds=rtt, **fields)
