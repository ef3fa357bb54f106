"""What containerd, Multus and the pod network's plugin say when a sandbox cannot be made, word for word as clusters show it.

Shapes: containerd 1.7 and 2, Multus 4, canal's host-local (harvester issue 4359).
"""

from ipaddress import IPv4Network
from typing import Any

DEFAULT_NETWORK = "k8s-pod-network"


def attempt_failed(sandbox: str, why: str) -> str:
    return (
        f'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "{sandbox}": '
        f'plugin type="multus" name="multus-cni-network" failed (add): {why}'
    )


def delegate_failed(metadata: dict[str, Any], network: str | None, why: str) -> str:
    """Multus' own words around those of a plugin; without a network it failed before it called one."""
    pod = f"{metadata['namespace']}/{metadata['name']}/{metadata.get('uid') or ''}"
    if network is not None:
        return f'[{pod}:{network}]: error adding container to network "{network}": {why}'
    return (
        f"Multus: [{pod}]: error loading k8s delegates k8s args: TryLoadPodDelegates: error in getting k8s network for pod: "
        f"GetNetworkDelegates: failed getting the delegate: getKubernetesDelegate: {why}"
    )


def nad_not_found(namespace: str, name: str) -> str:
    return (
        f"cannot find a network-attachment-definition ({name}) in namespace ({namespace}): "
        f'network-attachment-definitions.k8s.cni.cncf.io "{name}" not found'
    )


def pod_network_full(pod_cidr: str) -> str:
    network = IPv4Network(pod_cidr)
    return (
        'plugin type="calico" failed (add): failed to allocate for range 0: no IP addresses available in range set: '
        f"{network[1]}-{network[-2]}"
    )
