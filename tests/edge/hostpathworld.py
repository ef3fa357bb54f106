"""Runs the host-path check once in the network namespace that this program is started in, as the agent would on a node.

`python hostpathworld.py FOLDER NIC…`: the pod's namespace is the file `pod` there, the VlanConfig names the NICs. Prints one JSON
document. A program of its own, since the check reads the namespace of its process.
"""

import asyncio
import json
import sys
from pathlib import Path

from agent.checks.base import Context, Outcome
from agent.checks.hostpath import HostPathCheck
from agent.checks.namespaces import Namespaces
from agent.config import Settings
from agent.edge.netlink import read_namespace
from agent.edge.netns import Entrance, scan
from agent.model.cluster import ClusterFacts, Known
from agent.model.holder import HolderFacts
from agent.model.peers import Mode, Network
from agent.model.records import ClusterNetworkRecord, PodRecord, SourceState, SourceStatus, VlanConfigRecord
from agent.model.view import InspectedPod, NodeView
from agent.rules.mode import Reading
from agent.rules.nad import parse_nad
from agent.rules.netstatus import NETWORK_STATUS, NETWORKS, storage_pods
from agent.serve.hostpath import document, lines

NAD = "harvester-system/storagenetwork-95bj4"
CONFIG = '{"type":"bridge","bridge":"storage-br","ipam":{"type":"whereabouts","range":"192.168.0.0/24"}}'
POD = PodRecord(
    namespace="longhorn-system",
    name="instance-manager-a",
    uid="uid-a",
    node="harv41",
    phase="Running",
    pod_ips=("10.52.0.7",),
    labels={"longhorn.io/component": "instance-manager"},
    annotations={
        NETWORKS: '[{"namespace":"harvester-system","name":"storagenetwork-95bj4","interface":"lhnet1"}]',
        NETWORK_STATUS: '[{"name":"k8s-pod-network","ips":["10.52.0.7"],"default":true},'
        f'{{"name":"{NAD}","interface":"lhnet1","ips":["192.168.0.2"]}}]',
    },
)


def known(name: str, *items: object) -> Known:
    return Known(items=items, status=SourceStatus(name=name, state=SourceState.LIVE))


async def main(folder: Path, nics: tuple[str, ...]) -> None:
    entrance = Entrance()
    try:
        file = next(one for one in (await asyncio.wrap_future(scan((str(folder),), entrance))).files if one.path.endswith("/pod"))
        (pod,) = storage_pods((POD,), nads={NAD: Network.STORAGE}, interface="lhnet1")
        seen = InspectedPod(pod=pod, namespace=file, facts=await read_namespace(entrance, file))
        config = VlanConfigRecord(name="storage-all", cluster_network="storage", nics=nics, matched_nodes='["harv41"]')
        context = Context(
            settings=Settings(node_name="harv41"),
            facts=ClusterFacts(
                pods=known("pods", POD),
                vlan_configs=known("cluster_network", config),
                cluster_networks=known("cluster_network", ClusterNetworkRecord(name="storage")),
            ),
            reading=Reading(mode=Mode.ON, nads={NAD: Network.STORAGE}, storage_nad=NAD, cluster_network="storage"),
            pods=(pod,),
            nads={NAD: parse_nad(NAD, CONFIG)},
            view=NodeView(node="harv41", version="0", started_monotonic_seconds=0.0, inspected=(seen,)),
            holder=HolderFacts(),
            sources=(),
            now=0.0,
            wall=0.0,
        )
        namespaces = Namespaces(directories=(str(folder),), entrance=entrance, monotonic=lambda: 0.0)
        outcomes: list[Outcome] = []
        await HostPathCheck(namespaces=namespaces).run(lambda: context, outcomes.append)
        (outcome,) = outcomes
        assert outcome.look is not None
        path = outcome.parts["host_path"]
        told = [{"id": one.finding.id, "reason": one.finding.reason, "summary": one.finding.summary} for one in outcome.look.claims]
        print(json.dumps({"findings": told, "host_path": document(path), "lines": lines(path)}))
    finally:
        entrance.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), tuple(sys.argv[2:])))
