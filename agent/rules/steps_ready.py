"""Preflight, the cluster's part: are the resources there, does the cluster network reach every node, and does everything stand still?

Health fields of Harvester's network objects are not believed: `ready` is set without looking (network-controller-harvester,
pkg/controller/manager). What is judged is what the objects say about nodes. Clusters without Harvester skip what only Harvester has.
"""

from collections.abc import Iterator

from agent.model.peers import Role
from agent.model.records import SourceState
from agent.model.steps import DataSourceRecord, Places, Result, Step, Survey, VolumeRecord, Wanted
from agent.rules.mode import Reading
from agent.rules.nad import parse_nad
from agent.rules.netstatus import role_of
from agent.rules.setting_cluster import matched_nodes
from agent.rules.steps import Trouble, few, judged, many, not_applicable, plain, unread
from agent.rules.steps_wanted import MGMT, storage_nodes

WHEREABOUTS_CRDS = ("ippools.whereabouts.cni.cncf.io", "overlappingrangeipreservations.whereabouts.cni.cncf.io")
MULTUS_CRD = "network-attachment-definitions.k8s.cni.cncf.io"
NO_HARVESTER = "the cluster has no Harvester"
_CRDS_AT = (
    "https://raw.githubusercontent.com/harvester/harvester/v1.1.0/deploy/charts/harvester/dependency_charts/whereabouts/crds/"
    "whereabouts.cni.cncf.io_{}.yaml"
)
"""Named by Harvester's guide."""
_MAX_VLAN = 4094
_DONE = frozenset({"ready", "failed", "failed-and-cleanup"})
"""States of a backing-image-data-source in which nothing is transferred (longhorn-manager types, BackingImageState)."""
_LIST_NETWORKS = "kubectl get clusternetworks.network.harvesterhci.io,vlanconfigs.network.harvesterhci.io"


def has_harvester(survey: Survey) -> bool:
    """Unless the cluster says that it has no such settings, it is taken to be Harvester."""
    setting = survey.cluster.setting
    return not (setting.status.state is SourceState.ABSENT or (setting.status.state is SourceState.LIVE and not setting.items))


def whereabouts_step(survey: Survey, reading: Reading) -> Step:
    expected = "both CRDs of whereabouts exist"
    ipam = next((parse_nad(nad.key, nad.config).ipam_type for nad in survey.cluster.nads.items if nad.key == reading.storage_nad), None)
    if not has_harvester(survey) and ipam not in (None, "whereabouts"):
        return not_applicable("whereabouts", why=f"the NAD in use has IPAM {plain(ipam or '')}", expected=expected)
    missing = [name for name in WHEREABOUTS_CRDS if name not in survey.holder.crds.items]
    troubles = []
    if missing:
        troubles.append(
            unread(survey.holder.crds, what="custom resource definitions", command=f"kubectl get crd {' '.join(missing)}")
            or Trouble(
                result=Result.CRITICAL,
                what=f"missing: {' and '.join(missing)}",
                next_step="install them, as Harvester's guide says",
                commands=tuple(f"kubectl apply -f {_CRDS_AT.format(name.partition('.')[0])}" for name in missing),
            )
        )
    return judged("whereabouts", fine="both are there", expected=expected, troubles=troubles)


def multus_step(survey: Survey) -> Step:
    troubles = []
    if MULTUS_CRD not in survey.holder.crds.items:
        command = f"kubectl get crd {MULTUS_CRD}"
        troubles.append(
            unread(survey.holder.crds, what="custom resource definitions", command=command)
            or Trouble(
                result=Result.CRITICAL,
                what=f"{MULTUS_CRD} is missing: Multus is not installed",
                next_step="Harvester brings Multus with RKE2; see why it is not there",
                commands=("kubectl -n kube-system get daemonsets", command),
            )
        )
    return judged("multus", fine="it is there", expected="the CRD of Multus exists", troubles=troubles)


def network_step(survey: Survey, wanted: Wanted) -> Step:
    """The cluster network is there, and the VLAN is one that Harvester takes on it."""
    expected = "the cluster network exists and takes the VLAN"
    if not has_harvester(survey):
        return not_applicable("network", why=NO_HARVESTER, expected=expected)
    vlan = "" if wanted.vlan is None else f", VLAN {wanted.vlan}"
    return judged("network", fine=f"{wanted.cluster_network}{vlan}", expected=expected, troubles=list(_network_troubles(survey, wanted)))


def _network_troubles(survey: Survey, wanted: Wanted) -> Iterator[Trouble]:
    name, vlan = wanted.cluster_network, wanted.vlan
    if wanted.problem:
        yield Trouble(result=Result.CRITICAL, what=wanted.problem, next_step="write the value as Harvester's guide shows")
    if name is None:
        yield Trouble(
            result=Result.UNKNOWN,
            what="it is not known which cluster network is meant",
            next_step="name it with --cluster-network; the cluster has these",
            commands=(_LIST_NETWORKS,),
        )
    elif name not in {one.name for one in survey.cluster.cluster_networks.items}:
        yield unread(survey.cluster.cluster_networks, what="cluster networks", command=_LIST_NETWORKS) or Trouble(
            result=Result.CRITICAL,
            what=f"there is no cluster network {plain(name)}",
            next_step="make it, with a VLAN config for all nodes",
            commands=(_LIST_NETWORKS,),
        )
    if vlan is not None and not 0 <= vlan <= _MAX_VLAN:
        yield Trouble(result=Result.CRITICAL, what=f"VLAN {vlan}: Harvester takes 0 to {_MAX_VLAN}", next_step="choose another VLAN")
    elif name == MGMT and vlan is not None and vlan < 2:
        yield Trouble(
            result=Result.CRITICAL, what=f"VLAN {vlan} is not taken on {MGMT}: it carries the hosts", next_step="choose a VLAN from 2 up"
        )
    elif name == MGMT:
        yield Trouble(
            result=Result.WARNING,
            what=f"{MGMT} is shared with the hosts' own traffic",
            next_step="Harvester advises against it; a cluster network of its own is better",
        )


def coverage_step(survey: Survey, wanted: Wanted) -> Step:
    expected = "VlanConfigs of the cluster network cover every node that is no witness"
    if not has_harvester(survey):
        return not_applicable("coverage", why=NO_HARVESTER, expected=expected)
    if wanted.cluster_network == MGMT:
        return not_applicable("coverage", why=f"{MGMT} is on every node and needs no VlanConfig", expected=expected)
    nodes = storage_nodes(survey)
    return judged(
        "coverage",
        fine=f"all {many(len(nodes), 'node')} covered",
        expected=expected,
        troubles=list(_coverage_troubles(survey, wanted, nodes=nodes)),
    )


def _coverage_troubles(survey: Survey, wanted: Wanted, *, nodes: list[str]) -> Iterator[Trouble]:
    command = "kubectl get vlanconfigs.network.harvesterhci.io -o yaml"
    name = wanted.cluster_network
    if name is None:
        yield Trouble(result=Result.UNKNOWN, what="it is not known which cluster network is meant", next_step="name it: --cluster-network")
        return
    sources = (
        unread(survey.cluster.vlan_configs, what="VlanConfigs", command=command),
        unread(survey.holder.nodes, what="nodes", command="kubectl get nodes"),
    )
    if any(sources):
        yield from (source for source in sources if source)
        return
    configs = [one for one in survey.cluster.vlan_configs.items if one.cluster_network == name]
    covered = set[str]()
    for config in configs:
        matched = matched_nodes(config.matched_nodes)
        if matched is None:
            yield Trouble(
                result=Result.UNKNOWN,
                what=f"VlanConfig {config.name} does not say which nodes it matches",
                next_step="read its annotation network.harvesterhci.io/matched-nodes",
                commands=(command,),
            )
        covered |= set(matched or ())
    missing = [node for node in nodes if node not in covered]
    if missing and all(matched_nodes(config.matched_nodes) is not None for config in configs):
        yield Trouble(
            result=Result.CRITICAL,
            what=f"no VlanConfig of {plain(name)} covers {few(missing)}",
            next_step="widen the node selector of a VlanConfig, or make one for those nodes",
            commands=(command,),
        )
    elif not nodes:
        yield Trouble(result=Result.UNKNOWN, what="the API names no node", commands=("kubectl get nodes",))


def machines_step(survey: Survey) -> Step:
    expected = "no virtual machine runs"
    if survey.machines.status.state is SourceState.ABSENT:
        return not_applicable("machines", why="the cluster has no virtual machines (KubeVirt)", expected=expected)
    command = "kubectl get -A vmi"
    troubles = []
    if survey.machines.items:
        names = sorted(survey.machines.items)
        troubles.append(
            Trouble(
                result=Result.CRITICAL,
                what=f"{many(len(names), 'virtual machine')} not stopped: {few(names)}",
                next_step="stop them; Harvester starts none of them again by itself",
                commands=(command,),
            )
        )
    elif source := unread(survey.machines, what="virtual machines", command=command):
        troubles.append(source)
    return judged("machines", fine="none runs", expected=expected, troubles=troubles)


def volumes_step(survey: Survey, *, places: Places) -> Step:
    """A warning: Harvester stops its own monitoring and then waits for whatever else is attached."""
    command = f"kubectl -n {places.longhorn} get volumes.longhorn.io"
    attached = sorted((one for one in survey.volumes.items if one.state != "detached"), key=lambda one: one.name)
    foreign = [one for one in attached if not (one.claim or "").startswith(f"{places.monitoring}/")]
    troubles = []
    if foreign:
        holders = {one.volume: one.holders for one in survey.attachments.items}
        named = few(_volume_words(one, holders.get(one.name, ())) for one in foreign)
        troubles.append(
            Trouble(
                result=Result.WARNING,
                what=f"{many(len(foreign), 'volume')} not detached: {named}",
                next_step="stop the pods that use them; until then the setting waits",
                commands=(command, f"kubectl -n {places.longhorn} get volumeattachments.longhorn.io -o yaml"),
            )
        )
    if source := unread(survey.volumes, what="Longhorn volumes", command=command):
        troubles.append(source)
    own = len(attached) - len(foreign)
    fine = f"only {many(own, 'volume')} of the monitoring, which Harvester stops by itself" if own else "all are detached"
    return judged("volumes", fine=fine, expected="every Longhorn volume is detached", troubles=troubles)


def _volume_words(volume: VolumeRecord, holders: tuple[str, ...]) -> str:
    held = few([*volume.workloads, *(() if volume.workloads else holders)])
    by = f", held by {plain(held)}" if held else ""
    where = f" on {volume.node}" if volume.node else ""
    return f"{volume.name} ({plain(volume.state or 'in no state')}{where}{by})"


def transfers(survey: Survey) -> list[DataSourceRecord]:
    """Images that are uploaded or downloaded just now."""
    return [one for one in survey.data_sources.items if not one.transferred and (one.state or "pending") not in _DONE]


def images_step(survey: Survey, *, places: Places) -> Step:
    command = f"kubectl -n {places.longhorn} get backingimagedatasources.longhorn.io"
    running = [f"{one.name} ({plain(one.state or 'pending')})" for one in transfers(survey)]
    pods = [
        pod.name
        for pod in survey.cluster.pods.items
        if role_of(pod.labels) is Role.BACKING_IMAGE_DATA_SOURCE and not pod.deleted and pod.phase not in ("Succeeded", "Failed")
    ]
    troubles = []
    if running or pods:
        told = [*running, *(f"pod {name}" for name in pods if not any(name.endswith(one.partition(" ")[0]) for one in running))]
        troubles.append(
            Trouble(
                result=Result.CRITICAL,
                what=f"{many(len(told), 'image')} in transfer: {few(told)}",
                next_step="let the transfers end, or delete the images",
                commands=(command,),
            )
        )
    for source, what in ((survey.data_sources, "image transfers"), (survey.cluster.pods, "pods")):
        if trouble := unread(source, what=what, command=command):
            troubles.append(trouble)
    return judged("images", fine="no image is in transfer", expected="no image upload or download goes on", troubles=troubles)
