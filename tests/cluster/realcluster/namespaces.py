"""Whether the network namespace of a pod that ended is really gone, as the kernel tells it, and who holds it if not.

A namespace lives on after its file and its processes, as long as any socket is open in it. The node's side knows it by a number, which
the kernel forgets only when it destroys the namespace.
"""

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.lab import kernel
from realcluster.node import Node, ip_json

NETNS_DIR = "run/netns"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNamespace:
    """What identifies a pod's network namespace while it lives."""

    file: str
    inode: int
    number: int
    """In the node's namespace, of the other end of the pod's veth."""


def find(node: Node, *, pod_ip: str) -> PodNamespace:
    """By the address of eth0. Raises LookupError."""
    hosts = {link["ifindex"]: link for link in node.ip_json("link", "show", "type", "veth")}
    for name in files(node):
        with suppress(OSError):
            descriptor = os.open(node.root / NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                for link in ip_json(descriptor, "-4", "addr", "show", "dev", "eth0"):
                    if pod_ip in [address["local"] for address in link.get("addr_info") or ()]:
                        peer = hosts[link["link_index"]]
                        return PodNamespace(file=name, inode=os.fstat(descriptor).st_ino, number=peer["link_netnsid"])
            finally:
                os.close(descriptor)
    raise LookupError(f"no namespace on {node.name} has {pod_ip}")


def files(node: Node) -> list[str]:
    return sorted(os.listdir(node.root / NETNS_DIR))


def lives(node: Node, namespace: PodNamespace) -> bool:
    with kernel.inside(node.netns):
        done = subprocess.run(["ip", "netns", "list-id"], capture_output=True, text=True, timeout=30, check=True)
    numbers = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("nsid ")]
    return namespace.number in numbers


def holders(namespace: PodNamespace) -> list[str]:
    """Processes in the namespace, and those with its file open; sockets in it show nowhere."""
    wanted, found = f"net:[{namespace.inode}]", []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            links = [process / "ns/net", *(process / "fd").iterdir()]
            if any(_target(link) == wanted for link in links):
                found.append(f"{process.name} {(process / 'cmdline').read_text().replace(chr(0), ' ')[:80]}")
    return found


def _target(link: Path) -> str:
    with suppress(OSError):
        return os.readlink(link)
    return ""
