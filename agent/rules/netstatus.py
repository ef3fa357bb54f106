"""Reads what a pod asked for and what it was granted, from the texts of its annotations.

Longhorn writes `k8s.v1.cni.cncf.io/networks`, Multus answers in `…/network-status` (`…/networks-status` before Multus 4). Longhorn matches
an entry by `name` alone and takes the first one (longhorn-manager datastore/kubernetes.go); so do we, and say when there are more.
Anything that cannot be read becomes a sentence in `problems`, never an exception.
"""

import json
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from agent.model.net import IPAddress
from agent.model.peers import Grant, Network, Request, Role, StoragePod
from agent.model.records import PodRecord

NETWORKS = "k8s.v1.cni.cncf.io/networks"
NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
OLD_NETWORK_STATUS = "k8s.v1.cni.cncf.io/networks-status"

MAX_ANNOTATION_BYTES = 262_144
"""The API server's limit for all annotations of an object together; a longer text cannot have come from one."""
MAX_ADDRESSES = 16
"""Of one entry; Multus writes one or two, and each is told in JSON."""
MAX_MTU_BYTES = 65_535
_MAX_NAME_CHARACTERS = 2 * 253 + 1
_INTERFACE = re.compile(r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}")
"""What the kernel takes for a name (net/core/dev.c, dev_valid_name), in ASCII. It ends up in labels and on terminals."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}((:[0-9a-f]{2}){14})?")
"""Ethernet has six bytes, InfiniBand twenty."""

_ROLES = {
    "instance-manager": Role.INSTANCE_MANAGER,
    "backing-image-manager": Role.BACKING_IMAGE_MANAGER,
    "backing-image-data-source": Role.BACKING_IMAGE_DATA_SOURCE,
    "share-manager": Role.SHARE_MANAGER,
}


def role_of(labels: Mapping[str, str]) -> Role:
    """By label, never by name (longhorn-manager types/types.go)."""
    if labels.get("app") == "longhorn-csi-plugin":
        return Role.CSI_PLUGIN
    return _ROLES.get(labels.get("longhorn.io/component", ""), Role.OTHER)


def read_requests(text: str | None, *, namespace: str) -> tuple[tuple[Request, ...], str | None]:
    """Requests of annotation `networks` (JSON list, or Multus' short form `[ns/]name[@interface], …`), and why it could not be read."""
    if text is None or not text.strip():
        return (), None
    if len(text) > MAX_ANNOTATION_BYTES:
        return (), f"annotation {NETWORKS} has {len(text)} characters and was not read"
    if not text.lstrip().startswith(("[", "{")):
        parts = [_short_form(part, namespace) for part in text.split(",") if part.strip()]
        requests = tuple(request for request in parts if _name(request.nad))
        return requests, None if len(requests) == len(parts) else f"annotation {NETWORKS} has entries without a name"
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        return (), f"annotation {NETWORKS} is not JSON: {_why(error)}"
    if not isinstance(entries, list):
        return (), f"annotation {NETWORKS} is not a list"
    requests = tuple(
        Request(nad=f"{_name(entry.get('namespace')) or namespace}/{name}", interface=_interface(entry.get("interface")))
        for entry in entries
        if isinstance(entry, dict) and (name := _name(entry.get("name")))
    )
    problem = None if len(requests) == len(entries) else f"annotation {NETWORKS} has entries without a name"
    if any(isinstance(entry, dict) and entry.get("interface") and not _interface(entry["interface"]) for entry in entries):
        problem = f"annotation {NETWORKS} names an interface that no kernel takes"
    return requests, problem


def _short_form(part: str, namespace: str) -> Request:
    name, _, interface = part.strip().partition("@")
    return Request(nad=name if "/" in name else f"{namespace}/{name}", interface=_interface(interface))


def read_status(annotations: Mapping[str, str]) -> tuple[tuple[dict[str, object], ...], str | None]:
    """Entries of the network-status annotation (of the old one where that alone is there), and why it could not be read."""
    key = NETWORK_STATUS if NETWORK_STATUS in annotations else OLD_NETWORK_STATUS
    text = annotations.get(key)
    if text is None or not text.strip():
        return (), None
    if len(text) > MAX_ANNOTATION_BYTES:
        return (), f"annotation {key} has {len(text)} characters and was not read"
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        return (), f"annotation {key} is not JSON: {_why(error)}"
    if not isinstance(entries, list):
        return (), f"annotation {key} is not a list"
    return tuple(entry for entry in entries if isinstance(entry, dict)), None


def storage_pods(records: Iterable[PodRecord], *, nads: Mapping[str, Network], interface: str) -> tuple[StoragePod, ...]:
    """Those of `records` that request one of `nads` (name → network), with their annotations read.

    `interface` is used where no annotation names one. A pod that requests both networks counts for the storage network.
    """
    pods = (read_pod(record, nads=nads, interface=interface) for record in records)
    return tuple(pod for pod in pods if pod is not None)


def read_pod(record: PodRecord, *, nads: Mapping[str, Network], interface: str) -> StoragePod | None:
    """One storage pod, or None if it requests none of `nads`. Where the requests cannot be read, what Multus granted tells them."""
    requests, problem = read_requests(record.annotations.get(NETWORKS), namespace=record.namespace)
    problems = [problem] if problem else []
    entries, unread = read_status(record.annotations)
    if problem and not requests:
        granted = ((_name(entry.get("name")), _interface(entry.get("interface"))) for entry in entries)
        requests = tuple(Request(nad=name, interface=interface) for name, interface in granted if name and name in nads)
    wanted = sorted((request for request in requests if request.nad in nads), key=lambda one: nads[one.nad] is not Network.STORAGE)
    if not wanted:
        return None
    problems += [unread] if unread else []
    grant, problem = _grant(entries, wanted[0].nad)
    problems += [problem] if problem else []
    return StoragePod(
        record=record,
        role=role_of(record.labels),
        network=nads[wanted[0].nad],
        interface=wanted[0].interface or (grant.interface if grant else None) or interface,
        requests=requests,
        grant=grant,
        default_addresses=_default_addresses(record, entries, grant),
        problems=tuple(problems),
    )


def _grant(entries: tuple[dict[str, object], ...], nad: str) -> tuple[Grant | None, str | None]:
    mine = [entry for entry in entries if entry.get("name") == nad]
    if not mine:
        return None, None
    entry, problem = mine[0], None
    if len(mine) > 1:
        problem = f"network-status has {len(mine)} entries for {nad}; Longhorn uses the first"
    texts = _ips(entry)
    addresses = tuple(address for text in texts if (address := _address(text)) is not None)
    mac, interface, mtu = _mac(entry.get("mac")), _interface(entry.get("interface")), entry.get("mtu")
    if bad := [_shown(text) for text in texts if _address(text) is None]:
        problem = f"network-status of {nad} names what is no address: {', '.join(bad[:3])}"
    elif not addresses:
        problem = f"network-status of {nad} names no address"
    elif (entry.get("mac") and not mac) or (entry.get("interface") and not interface):
        problem = f"network-status of {nad} names a MAC address or an interface that cannot be one"
    mtu_bytes = mtu if isinstance(mtu, int) and not isinstance(mtu, bool) and 0 < mtu <= MAX_MTU_BYTES else None
    return Grant(nad=nad, interface=interface, addresses=addresses, mac=mac, mtu_bytes=mtu_bytes), problem


def _default_addresses(record: PodRecord, entries: tuple[dict[str, object], ...], grant: Grant | None) -> tuple[IPAddress, ...]:
    """podIPs, and the default entry of network-status; never a granted storage address, by which no pod may be told from another."""
    texts: list[object] = list(record.pod_ips)
    for entry in entries:
        if entry.get("default") is True:
            texts += _ips(entry)
    found = dict.fromkeys(address for text in texts if (address := _address(text)) is not None)
    granted = set(grant.addresses) if grant else set()
    return tuple(address for address in found if address not in granted)


def _ips(entry: Mapping[str, object]) -> list[object]:
    ips = entry.get("ips")
    return ips[:MAX_ADDRESSES] if isinstance(ips, list) else []


def _address(text: object) -> IPAddress | None:
    if not isinstance(text, str) or "%" in text:  # Python takes any text after it for a zone
        return None
    try:
        return ip_address(text.strip().partition("/")[0])
    except ValueError:
        return None


def _name(value: object) -> str | None:
    """A NAD's name or namespace: plain text, whatever may stand in it. Whether there is such a NAD is asked elsewhere."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME_CHARACTERS:
        return None
    return value if value.isascii() and value.isprintable() else None


def _interface(value: object) -> str | None:
    return value if isinstance(value, str) and _INTERFACE.fullmatch(value) else None


def _mac(value: object) -> str | None:
    lower = value.lower() if isinstance(value, str) else ""
    return lower if _MAC.fullmatch(lower) else None


def _shown(value: object) -> str:
    """Containers by kind only: printing one that is nested to the parser's limit would go over the printer's."""
    return type(value).__name__ if isinstance(value, dict | list) else ascii(value)[:64]


def _why(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:80]
