"""What the duty of the holder costs in memory: one agent's view of a large cluster, with and without the sources of the holder.

    python benchmarks/holder_memory.py [--nodes 200] [--pods 1000] [--replicas 3000] [--events 500]

Both are processes of their own against one embedded API, so that neither sees what the other left behind. The holder may cost 30 MiB.
It prints and judges nothing: memory on a developer's machine is no test.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.edge.cluster import Cluster
from agent.edge.holder import HolderSources
from agent.edge.kube import InCluster, KubeClient
from agent.edge.lease import Lease
from agent.lab.objects import NAMESPACES, cluster_objects, definitions, namespace
from agent.lab.objects_pods import node_object, pod_object
from agent.lab.pki import make_pki, write_tokens
from agent.lab.plan import make_plan

Json = dict[str, Any]

BUDGET_MIB = 30
ROUNDS = 3
"""Lists of replicas and engines until the numbers are read: memory that only a second list needs is counted too."""
DEADLINE_SECONDS = 300.0
FILLER = {f"field{number}": "x" * 120 for number in range(20)}
"""What real replicas, engines and pods carry beside the fields that are read: about 2.5 kB."""


def large_cluster(*, nodes: int, pods: int, replicas: int, events: int) -> Iterator[Json]:
    plan = make_plan(nodes=nodes, storage_range="192.168.0.0/19")
    yield from definitions()
    yield from (namespace(name) for name in NAMESPACES)
    yield from (node_object(node) for node in plan.nodes)
    made = [pod for pod in plan.pods if pod.storage_address]
    for obj in cluster_objects(plan):
        yield _with_allocations(obj, count=pods) if obj["kind"] == "IPPool" else obj
    for number in range(pods):
        pod = deepcopy(pod_object(plan, made[number % len(made)]))
        pod["metadata"] |= {"name": f"{pod['metadata']['name'][:40]}-{number}", "uid": f"00000000-0000-4000-8000-{number:012}"}
        pod["metadata"].setdefault("annotations", {})["filler"] = json.dumps(FILLER)
        yield pod
    for number in range(replicas):
        for kind in ("Replica", "Engine") if number % 3 == 0 else ("Replica",):
            yield _instance(kind, number, node=plan.nodes[number % nodes].name)
    for number in range(events):
        yield _event(number)


def _with_allocations(pool: Json, *, count: int) -> Json:
    entry = {"id": "f" * 64, "podref": "longhorn-system/instance-manager-589f85baa537ee42c89e9ce25e553c8c", "ifname": "lhnet1"}
    return {**pool, "spec": {**pool["spec"], "allocations": {str(number): entry for number in range(1, count + 1)}}}


def _instance(kind: str, number: int, *, node: str) -> Json:
    volume = f"pvc-{number // 3:08x}-ffa9-4938-9c86-59ebb296bc88"
    name = f"{volume}-r-{number:08x}" if kind == "Replica" else f"{volume}-e-0"
    return {
        "apiVersion": "longhorn.io/v1beta2",
        "kind": kind,
        "metadata": {"name": name, "namespace": "longhorn-system"},
        "spec": {"volumeName": volume, "nodeID": node, "filler": FILLER},
        "status": {
            "storageIP": f"192.168.{number % 16}.{number % 250 + 1}",
            "currentState": "running",
            "instanceManagerName": f"instance-manager-{node}",
        },
    }


def _event(number: int) -> Json:
    stamp = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"failing-{number}", "namespace": "longhorn-system", "creationTimestamp": stamp},
        "involvedObject": {"kind": "Pod", "namespace": "longhorn-system", "name": f"instance-manager-{number}", "uid": f"uid-{number}"},
        "reason": "FailedCreatePodSandBox" if number % 2 else "AddedInterface",
        "type": "Warning",
        "message": f"{number}: " + "Failed to create pod sandbox: rpc error: code = Unknown " * 18,
        "count": 1 + number % 9,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
    }


async def measure(*, port: int, account: Path, holder: bool) -> None:
    """In the measured process: one agent's watches, then two numbers in KiB on standard output."""
    clock, rng = time.monotonic, random.Random(1)  # noqa: S311  jitter
    access = InCluster(host="127.0.0.1", port=str(port), clock=clock, directory=account)
    async with KubeClient(access=access) as client, asyncio.timeout(DEADLINE_SECONDS):
        cluster = Cluster(
            client=client,
            longhorn_namespace="longhorn-system",
            agent_namespace="lhnet-system",
            agents_selector="app.kubernetes.io/name=lhnet-agent",
            node_name="harv41",
            clock=clock,
            rng=rng,
        )
        lease = Lease(client=client, namespace="lhnet-system", identity="harv41" if holder else "harv42", clock=clock, rng=rng)
        sources = HolderSources(
            client=client,
            longhorn_namespace="longhorn-system",
            harvester_namespace="harvester-system",
            whereabouts_namespace="kube-system",
            monitoring_namespace="cattle-monitoring-system",
            clock=clock,
            rng=rng,
            list_interval_seconds=0.5,
        )
        tasks = [asyncio.ensure_future(work) for work in (cluster.run(), lease.run(), sources.run())]
        sources.want(holder)
        await cluster.first_sync(timeout_seconds=DEADLINE_SECONDS)
        while holder and not (sources.synced and sources.facts().replicas.revision >= ROUNDS):  # noqa: ASYNC110  several conditions
            await asyncio.sleep(0.1)
        facts = sources.facts()
        counts = {known.status.name: len(known.items) for known in (facts.nodes, facts.events, facts.replicas, facts.engines)}
        print(json.dumps({"rss": _kib("VmRSS"), "peak": _kib("VmHWM"), "pods": len(cluster.facts().pods.items), **counts}))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _kib(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


async def compare(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="lhnet-benchmark-") as name:
        folder = Path(name)
        pki = make_pki(folder, names=["127.0.0.1"])
        write_tokens(folder / "tokens.csv", {"admin-token": ("admin", ["system:masters"])})
        (folder / "token").write_text("admin-token")
        objects = large_cluster(nodes=options.nodes, pods=options.pods, replicas=options.replicas, events=options.events)
        (folder / "seed.json").write_text(json.dumps(list(objects)))
        read, write = os.pipe()
        argv = ["-m", "agent.lab.api", "--listen", "127.0.0.1:0", "--cert", pki.cert, "--key", pki.key, "--ready-fd", write]
        argv += ["--tokens", folder / "tokens.csv", "--seed", folder / "seed.json"]
        server = await asyncio.create_subprocess_exec(sys.executable, *map(str, argv), pass_fds=[write])
        os.close(write)
        try:
            with os.fdopen(read) as ready:
                said = await asyncio.to_thread(ready.read)
            port = int(said.rpartition(":")[2])
            plain, holder = [await _measured(port, folder, role=role) for role in ("plain", "holder")]
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.terminate()
            await server.wait()
    for role, found in (("plain agent", plain), ("holder", holder)):
        print(f"{role:12} {found['rss'] / 1024:6.1f} MiB resident, {found['peak'] / 1024:6.1f} MiB at its peak")
    print(f"{'difference':12} {(holder['rss'] - plain['rss']) / 1024:6.1f} MiB resident, ", end="")
    print(f"{(holder['peak'] - plain['peak']) / 1024:6.1f} MiB at its peak; {BUDGET_MIB} MiB are allowed")
    print("seen by the holder:", ", ".join(f"{count} {name}" for name, count in holder.items() if name not in ("rss", "peak")))


async def _measured(port: int, account: Path, *, role: str) -> dict[str, int]:
    argv = [__file__, "--measure", role, "--port", str(port), "--account", str(account)]
    environ = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    child = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=asyncio.subprocess.PIPE, env=environ)
    output, _ = await child.communicate()
    if child.returncode:
        raise SystemExit(f"the {role} process ended with status {child.returncode}")
    found: dict[str, int] = json.loads(output)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=3000)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--measure", choices=("plain", "holder"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--account", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        asyncio.run(measure(port=options.port, account=options.account, holder=options.measure == "holder"))
    else:
        asyncio.run(compare(options))


if __name__ == "__main__":
    main()
