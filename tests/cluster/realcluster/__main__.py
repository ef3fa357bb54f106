"""A cluster to look around in: `make cluster`, or PYTHONPATH=tests/cluster python -m realcluster [--nodes N].

It comes up with the agent installed and stays until Ctrl-C; then everything of it is removed. Relays on 127.0.0.1 lead to each agent and
to the API server, as their own addresses exist in the cluster's namespaces only.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from agent.lab.apiclient import ApiFailed, WaitTimeout
from agent.lab.relay import Relay
from agent.lab.wiring import MANAGEMENT_GATEWAY
from realcluster.cluster import AGENT_PORT, RealCluster
from realcluster.confine import ConfineError
from realcluster.control import PORT, ControlError
from realcluster.install import agent_image
from realcluster.longhorn import Longhorn
from realcluster.needs import NeedsError, find_programs
from realcluster.node import NodeError
from realcluster.timeline import Timeline, WaitedInVain

MOST_NODES = 9


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _end)
    try:
        programs, image = find_programs(), agent_image()
        with RealCluster(programs=programs, image=image, timeline=Timeline(), nodes=arguments.nodes) as cluster:
            cluster.up()
            cluster.install()
            cluster.timeline.say("the agent is installed")
            Longhorn(cluster).start_managers(*cluster.nodes)
            cluster.timeline.say("an instance-manager runs on each node")
            asyncio.run(_stay(cluster))
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        return 130
    except (NeedsError, ConfineError, NodeError, ControlError, ApiFailed, WaitTimeout, WaitedInVain) as error:
        sys.stderr.write(f"cluster: {error}\n")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="realcluster", description="A real Kubernetes with the agent in it, until Ctrl-C.")
    parser.add_argument("--nodes", type=int, default=3, choices=range(1, MOST_NODES + 1), metavar="N", help="1 to 9, by default 3")
    return parser.parse_args()


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


async def _stay(cluster: RealCluster) -> None:
    relays: list[Relay] = []
    try:
        lines = []
        for name, node in cluster.nodes.items():
            relay = await _open(relays, partial(getattr, node, "netns"), "127.0.0.1", AGENT_PORT)
            lines.append(f"  curl http://127.0.0.1:{relay.local_port}/cluster        # {name}")
        api = await _open(relays, lambda: cluster.switch, MANAGEMENT_GATEWAY, PORT)
        config = cluster.folder / "kubeconfig"
        _write_kubeconfig(cluster, config, port=api.local_port)
        sys.stdout.write("\n".join([*lines, f"  export KUBECONFIG={config}", "Ctrl-C ends and removes it", ""]))
        sys.stdout.flush()
        await _until_told()
    finally:
        for relay in relays:
            await relay.close()


async def _open(relays: list[Relay], netns: Callable[[], int], host: str, port: int) -> Relay:
    relay = Relay(netns=netns, host=host, port=port)
    await relay.open()
    relays.append(relay)
    return relay


async def _until_told() -> None:
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


def _write_kubeconfig(cluster: RealCluster, path: Path, *, port: int) -> None:
    assert cluster.control is not None
    path.touch(mode=0o600)
    path.write_text(json.dumps(cluster.control.kubeconfig(server=f"https://127.0.0.1:{port}")))


if __name__ == "__main__":
    sys.exit(main())
