"""Storage pods as the mesh sees them: role, what they asked for, what they were granted, and the pairs between them."""

from dataclasses import dataclass, field
from enum import StrEnum

from agent.model.net import IPAddress
from agent.model.records import PodRecord


class Mode(StrEnum):
    """State of the storage network as a whole (contract §4)."""

    OFF = "off"
    UNINITIALISED = "uninitialised"
    APPLYING = "applying"
    ON = "on"
    UNKNOWN = "unknown"


class Network(StrEnum):
    STORAGE = "storage"
    RWX = "rwx"


class Role(StrEnum):
    """What a storage pod is, from Longhorn's label `longhorn.io/component` (longhorn-manager types/types.go)."""

    INSTANCE_MANAGER = "im"
    BACKING_IMAGE_MANAGER = "bim"
    BACKING_IMAGE_DATA_SOURCE = "bids"
    SHARE_MANAGER = "share-manager"
    CSI_PLUGIN = "csi-plugin"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One element of annotation k8s.v1.cni.cncf.io/networks."""

    nad: str
    """namespace/name."""
    interface: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The element of annotation k8s.v1.cni.cncf.io/network-status that Multus wrote for the storage NAD."""

    nad: str
    interface: str | None = None
    addresses: tuple[IPAddress, ...] = ()
    """In the annotation's order; Longhorn takes the first of the sorted ones."""
    mac: str | None = None
    mtu_bytes: int | None = None

    @property
    def address(self) -> IPAddress | None:
        """The one that Longhorn uses: the first in sorted text order (longhorn-manager datastore/kubernetes.go)."""
        return min(self.addresses, key=str) if self.addresses else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePod:
    """A pod in Longhorn's namespace that requests the storage or RWX NAD, with its annotations parsed."""

    record: PodRecord
    role: Role
    network: Network
    interface: str
    """Where the address must be: the request's interface name, else the grant's, else the setting `interface`."""
    requests: tuple[Request, ...] = ()
    grant: Grant | None = None
    default_addresses: tuple[IPAddress, ...] = ()
    """Addresses of the pod's default interface: status.podIPs and the default entry of network-status."""
    problems: tuple[str, ...] = field(default=())
    """What could not be read in the annotations, one sentence each."""

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def uid(self) -> str:
        return self.record.uid

    @property
    def node(self) -> str | None:
        return self.record.node

    @property
    def address(self) -> IPAddress | None:
        return self.grant.address if self.grant else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """From a live source pod on this node to a live peer pod with a grant on the same NAD. Keyed by UIDs: a pod that is replaced
    under its old name makes a new pair."""

    source: StoragePod
    peer: StoragePod

    @property
    def key(self) -> tuple[str, str]:
        return (self.source.uid, self.peer.uid)

    @property
    def between_nodes(self) -> bool:
        return self.source.node != self.peer.node
