"""What a sandbox message names: the network that failed, its kind, and the pod.

Multus puts `[namespace/pod/uid:network]: ` before a plugin's words and nests it when it calls itself, so the last one counts.
Refuses to guess: a pod is named only where the text gives namespace and name, and not where the text contradicts itself.
"""

import re
from collections.abc import Set as AbstractSet

from agent.model.events import NetworkKind
from agent.rules.sandbox_text import Text

_NAME = r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}"
_NETWORK = r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,252})?"
TAG = re.compile(rf"\[({_NAME})/({_NAME})(?:/[A-Za-z0-9-]{{0,64}})?:({_NETWORK})\]")
_QUOTED_NETWORK = re.compile(
    rf"(?:(?:container|pod)(?:to|from)network|invokeconflistadd-|conflist(?:add|del)-|fromnetwork)\"({_NETWORK})(?=[\":])", re.IGNORECASE
)
_NAD_LOOKUP = re.compile(rf"network-attachment-definition\(({_NETWORK})\)innamespace", re.IGNORECASE)
_NAD_OF_INTERFACE = re.compile(rf"network-attachment-definitionforiface({_NETWORK}):", re.IGNORECASE)
_MISSING_NAD = re.compile(rf"networks?-?attachment-?definitions?\.k8s\.cni\.cncf\.io\"({_NETWORK})\"notfound", re.IGNORECASE)
_PLUGIN_LAYER = re.compile(
    r"plugintype=\"(?:macvlan|ipvlan|vlan|bridge|host-device|sriov|ovs|tap|ipoib|bond|vrf)\"name=\"([A-Za-z0-9][A-Za-z0-9._-]{0,252})\"",
    re.IGNORECASE,
)
_ADDED = re.compile(
    rf"^(?:message:|\"message\":)?\"?(?:\(combinedfromsimilarevents\):)?Add([A-Za-z0-9._@-]{{1,32}}?)\[([0-9A-Fa-f.:/,]{{0,1024}})\](?:from({_NETWORK}))?\W{{0,4}}$"
)

DEFAULT_NETWORKS = frozenset(
    {
        "10-calico",
        "10-canal",
        "10-flannel",
        "antrea",
        "aws-cni",
        "azure",
        "azure-vnet",
        "calico",
        "canal",
        "cbr0",
        "cilium",
        "cilium-cni",
        "cni0",
        "containerd-net",
        "contiv-net",
        "crio-bridge",
        "default-cni-network",
        "flannel",
        "gke-pod-network",
        "k8s-cni",
        "k8s-pod-network",
        "kindnet",
        "kube-ovn",
        "kube-router",
        "kubenet",
        "nuage-k8s-network",
        "openshift-sdn",
        "ovn-kubernetes",
        "weave",
        "weave-net",
    }
)
"""What default plugins call their network in the CNI configuration."""
_MULTUS_ITSELF = frozenset({"multus-cni-network", "multus", "multus-shim", "node-cni-network"})

_POD_AND_NAMESPACE = (
    re.compile(rf"k8s_(?P<pod>{_NAME})_(?P<ns>{_NAME})_[0-9A-Fa-f-]{{8,64}}_\d"),
    re.compile(rf"(?:adding|removing)pod(?P<ns>{_NAME})_(?P<pod>{_NAME})(?:to|from)CNInetw", re.IGNORECASE),
    re.compile(rf"pod\"(?P<pod>{_NAME})_(?P<ns>{_NAME})[\"(]", re.IGNORECASE),
    re.compile(rf"erroradding(?P<ns>{_NAME})_(?P<pod>{_NAME})/[0-9a-f]{{12,64}}tonetwork", re.IGNORECASE),
    re.compile(r"K8S_POD_NAMESPACE=(?P<ns>[a-z0-9][a-z0-9.-]{0,252});K8S_POD_NAME=(?P<pod>[a-z0-9][a-z0-9.-]{0,252})(?=[;\"P}])"),
    re.compile(rf"name\"(?P<pod>{_NAME})_(?P<ns>{_NAME})_[0-9A-Fa-f-]{{8,64}}_\d", re.IGNORECASE),
    re.compile(rf"for\"(?P<pod>{_NAME})_(?P<ns>{_NAME})\(", re.IGNORECASE),
    re.compile(rf"pod=\"(?P<ns>{_NAME})/(?P<pod>{_NAME})\"", re.IGNORECASE),
    re.compile(r"\"PodName\":\"(?P<pod>[\w.-]{1,253})\",\"PodNamespace\":\"(?P<ns>[\w.-]{1,253})\"", re.IGNORECASE),
)
"""CRI-O (twice), dockershim and its log, the shim's arguments, a reserved sandbox name, Azure, kubelet's log (twice): in order of trust."""
_POD_OF_MULTUS = re.compile(
    rf"(?:multus:|configuringpod|waitingforpod|gettingpod)\[({_NAME})/({_NAME})(?:/[A-Za-z0-9-]{{0,64}})?\]", re.IGNORECASE
)
_CUT_TAG = re.compile(rf"\[({_NAME})/({_NAME})(?:/[A-Za-z0-9-]{{0,64}}(?::[A-Za-z0-9._-]{{0,253}})?|:[A-Za-z0-9._-]{{0,253}})$")
_SPOKEN_POD = re.compile(rf"(?:\bto pod|\b(?:addresses|ip) for pod) ({_NAME}/{_NAME})(?=\s|$|,|\.|\")", re.IGNORECASE)
_POD_ALONE = re.compile(rf"networkforpod\"({_NAME})\":", re.IGNORECASE)
_SET_UP_POD = re.compile(rf"(?:setup|teardown)pod\"({_NAME})_{_NAME}\"", re.IGNORECASE)

_MASKS = (
    (re.compile(r"\[[a-z0-9.-]{1,253}/[a-z0-9.-]{1,253}(?:/[a-z0-9-]{0,64})?(?::[a-z0-9._/-]{1,253})?\]"), "[]"),
    (re.compile(r"(pod|network)\"[a-z0-9._/-]{1,510}(?=\"(?!notfound))"), r'\1"'),
    (re.compile(r"k8s_[a-z0-9.-]{1,253}_[a-z0-9.-]{1,253}_[0-9a-f-]{8,64}_\d{1,6}"), ""),
    (re.compile(r"pod[a-z0-9-]{1,63}_[a-z0-9.-]{1,253}(?=(?:to|from)cninetw)"), "pod"),
)


def added(text: Text) -> tuple[str, str | None] | None:
    """Interface and network of an AddedInterface text; None if it is none."""
    found = _ADDED.match(text.dense)
    return (found[1], found[3]) if found else None


def network_of(text: Text) -> str | None:
    """The innermost network that the text names; Multus' own name only where nothing else is there."""
    core = text.dense[text.core_start : text.core_start + len(text.core)]
    tags = [found[3] for found in TAG.finditer(core)]
    if tags:
        return tags[-1]
    for pattern in (_QUOTED_NETWORK, _NAD_LOOKUP, _NAD_OF_INTERFACE, _MISSING_NAD, _PLUGIN_LAYER):
        names = [found[1] for found in pattern.finditer(core) if found[1] not in _MULTUS_ITSELF]
        if names:
            return names[-1]
    return None


def named_by_layer_only(text: Text, network: str) -> bool:
    """The name stands in a plugin layer alone: it may as well be the pod's main network."""
    return TAG.search(text.dense) is None and not _QUOTED_NETWORK.search(text.dense) and f'name="{network}"' in text.dense


def kind_of(network: str | None, *, storage_nads: AbstractSet[str] | None = None, rwx_nads: AbstractSet[str] | None = None) -> NetworkKind:
    """Which network this is. The sets hold NADs as namespace/name (or names of CNI configurations); given, they decide; without them
    the names that Harvester gives to its NADs do."""
    if network is None or network in _MULTUS_ITSELF:
        return NetworkKind.UNKNOWN
    for nads, prefix, kind in (
        (storage_nads, "storagenetwork-", NetworkKind.STORAGE),
        (rwx_nads, "rwx-network-", NetworkKind.RWX),
    ):
        if nads is None:
            if network.rpartition("/")[2].startswith(prefix):
                return kind
        elif any(_same(network, nad) for nad in nads):
            return kind
    return NetworkKind.DEFAULT if network in DEFAULT_NETWORKS else NetworkKind.SECONDARY


def _same(network: str, nad: str) -> bool:
    if "/" in network and "/" in nad:
        return network == nad
    return network.rpartition("/")[2] == nad.rpartition("/")[2]


def pod_of(text: Text) -> str | None:
    """namespace/name, if the text gives both and does not contradict itself."""
    alone, set_up = _POD_ALONE.search(text.dense), _SET_UP_POD.search(text.dense)
    if alone and set_up and alone[1] != set_up[1]:
        return None
    tags = TAG.findall(text.dense)
    if tags:
        return f"{tags[-1][0]}/{tags[-1][1]}"
    found = _POD_OF_MULTUS.search(text.dense) or _CUT_TAG.search(text.dense)
    if found:
        return f"{found[1]}/{found[2]}"
    for pattern in _POD_AND_NAMESPACE:
        if match := pattern.search(text.dense):
            return f"{match['ns']}/{match['pod']}"
    spoken = _SPOKEN_POD.search(text.readable)
    return spoken[1] if spoken else None


def without_names(core: str) -> str:
    """The text with pods' and networks' names blanked, so that a pod called `iptables-test` explains nothing."""
    for pattern, blank in _MASKS:
        core = pattern.sub(blank, core)
    return core
