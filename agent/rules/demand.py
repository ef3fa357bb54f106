"""How many addresses a storage network needs: by the guide's formula of a Harvester version, and by the pods that there are.

The guide counts twice what an upgrade doubles (the old and the new generation of a pod stand side by side) and once what it does not.
Nothing here asks whether a range is large enough. Sources: Harvester docs 1.1 to 1.8, advanced/storagenetwork; longhorn-manager
types/types.go for which pods there are.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agent.model.holder import InstanceManagerRecord
from agent.model.peers import Network, Role, StoragePod
from agent.model.pool import Demand
from agent.rules.ipam_range import Version

SHARE_MANAGERS = 32
"""What the guide of Harvester 1.8 sets aside for share-manager pods."""
OLDEST: Version = (1, 1, 0)
NEWEST: Version = (1, 8, 0)
"""The newest whose formula is known; later versions are taken to keep it."""
_ONE_INSTANCE_MANAGER: Version = (1, 2, 2)
"""Longhorn 1.5 merged the engine's and the replica's instance-manager."""
_SHARED_RWX: Version = (1, 4, 0)
"""Longhorn 1.7: share-managers may use the storage network."""
_DEDICATED_RWX: Version = (1, 8, 0)
_V2: Version = (1, 3, 0)

_VERSION = re.compile(r"v?([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,3}))?(?:[-+].*)?", re.ASCII)


class Rwx(StrEnum):
    """Which part ReadWriteMany volumes play for the range."""

    OFF = "off"
    SHARED = "shared"
    """Their pods take addresses of the storage network's range."""
    DEDICATED = "dedicated"
    """The range is that of the dedicated RWX network; Longhorn's other pods take none of it."""


def parse_version(text: str) -> Version:
    """`1.4`, `v1.4.2` or `1.9.0-rc6`. Raises ValueError for other texts and for versions before the storage network."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a version such as 1.4")
    version = (int(match[1]), int(match[2]), int(match[3] or 0))
    if version < OLDEST:
        raise ValueError(f"{text[:40]!r} has no storage network: Harvester 1.1 brought it")
    return version


def whereabouts_of(harvester: Version) -> Version | None:
    """The whereabouts whose rules that Harvester follows; None for 0.6.3 and newer (Harvester's chart, values.yaml)."""
    if harvester >= (1, 2, 2):
        return None
    images: tuple[tuple[Version, Version], ...] = (((1, 1, 3), (0, 6, 2)), ((1, 1, 2), (0, 6, 1)), (OLDEST, (0, 5, 4)))
    return next(image for since, image in images if harvester >= since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a plan is made for. `disks` is the number of all disks together; witness nodes do not count."""

    nodes: int
    disks: int
    images: int = 0
    """Images that are uploaded or downloaded at one time."""
    rwx: Rwx = Rwx.OFF
    v2: bool = False
    harvester: Version = NEWEST


def formula(harvester: Version, rwx: Rwx) -> str:
    """The guide's formula in words, with the versions that it stands for."""
    if harvester >= _DEDICATED_RWX:
        if rwx is Rwx.DEDICATED:
            return f"nodes + {SHARE_MANAGERS} (Harvester 1.8 and newer, dedicated RWX range)"
        if rwx is Rwx.SHARED:
            return f"nodes x 3 + disks x 2 + images + {SHARE_MANAGERS} (Harvester 1.8 and newer, RWX shared)"
    if harvester >= (1, 3, 0):
        return "nodes x 2 + disks x 2 + images (Harvester 1.3 and newer)"
    return "nodes x 4 + disks x 2 + images (Harvester 1.2)" if harvester >= (1, 2, 0) else "nodes x 4 (Harvester 1.1)"


def guide(cluster: Cluster) -> int:
    """Addresses by that formula."""
    nodes, disks, images, version = cluster.nodes, cluster.disks, cluster.images, cluster.harvester
    if version >= _DEDICATED_RWX:
        if cluster.rwx is Rwx.DEDICATED:
            return nodes + SHARE_MANAGERS
        if cluster.rwx is Rwx.SHARED:
            return nodes * 3 + disks * 2 + images + SHARE_MANAGERS
    if version >= (1, 3, 0):
        return nodes * 2 + disks * 2 + images
    return nodes * 4 + (disks * 2 + images if version >= (1, 2, 0) else 0)


def planned(cluster: Cluster) -> Demand:
    """Steady and upgrade by pods: instance-managers and backing-image-managers double in an upgrade, the others do not."""
    rwx = cluster.nodes + SHARE_MANAGERS if cluster.rwx is not Rwx.OFF else 0
    if cluster.rwx is Rwx.DEDICATED:
        return Demand(steady=rwx, upgrade=rwx, guide=guide(cluster))
    managers = cluster.nodes * (1 if cluster.harvester >= _ONE_INSTANCE_MANAGER else 2) + (cluster.nodes if cluster.v2 else 0)
    doubling, others = managers + cluster.disks, cluster.images + rwx
    return Demand(steady=doubling + others, upgrade=2 * doubling + others, guide=guide(cluster))


def unsupported(cluster: Cluster) -> str | None:
    """Why that Harvester has no such cluster."""
    if cluster.rwx is Rwx.DEDICATED and cluster.harvester < _DEDICATED_RWX:
        return "a dedicated RWX network needs Harvester 1.8"
    if cluster.rwx is Rwx.SHARED and cluster.harvester < _SHARED_RWX:
        return "RWX volumes on the storage network need Harvester 1.4"
    return "the V2 data engine needs Harvester 1.3" if cluster.v2 and cluster.harvester < _V2 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Pods of one network, each place once, however many generations stand there just now."""

    instance_managers: int = 0
    backing_image_managers: int = 0
    others: int = 0
    """backing-image-data-sources, share-managers, csi-plugins."""
    upgrade_volume: bool = False
    """Share-managers use this network, so an upgrade's own RWX volume takes one more address for a while."""

    def demand(self) -> Demand:
        doubling = self.instance_managers + self.backing_image_managers
        return Demand(steady=doubling + self.others, upgrade=2 * doubling + self.others + int(self.upgrade_volume))


def places_of(managers: Iterable[InstanceManagerRecord]) -> int:
    """How many instance-managers Longhorn means to run. In an upgrade a node has an object of each generation for one place."""
    wanted = (one for one in managers if one.state in (None, "running", "starting"))
    return len({(one.node_id or one.name, one.type, one.data_engine or "v1") for one in wanted})


def count_pods(pods: Iterable[StoragePod], *, network: Network, instance_managers_wanted: int = 0) -> Counted:
    """From the pods that request the network and have not ended. A node's second generation of a manager is counted with the first.

    `instance_managers_wanted` is the number of places by InstanceManager objects, where those are known: the larger number counts.
    """
    managers: set[tuple[object, ...]] = set()
    images: set[tuple[object, ...]] = set()
    others: set[str] = set()
    shares = False
    for pod in pods:
        if pod.network is not network or pod.record.phase in ("Succeeded", "Failed"):
            continue
        labels = pod.record.labels
        if pod.role is Role.INSTANCE_MANAGER:
            managers.add((pod.node, labels.get("longhorn.io/instance-manager-type"), labels.get("longhorn.io/data-engine") or "v1"))
        elif pod.role is Role.BACKING_IMAGE_MANAGER:
            images.add((pod.node, labels.get("longhorn.io/disk-uuid") or pod.key))
        else:
            others.add(pod.key)
            shares = shares or pod.role in (Role.SHARE_MANAGER, Role.CSI_PLUGIN)
    return Counted(
        instance_managers=max(len(managers), instance_managers_wanted if network is Network.STORAGE else 0),
        backing_image_managers=len(images),
        others=len(others),
        upgrade_volume=shares,
    )
