"""Lease and holder's sources against a real kube-apiserver with etcd: what the embedded one might imitate too kindly."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import kubeserver as fake
import pytest
from holderworld import event, instance, sources_of, stamp, states, whole_cluster
from kubeserver import named, until
from leaseworld import ADMIN, NAMESPACE, PACE, QUICK, lease_object

from agent.edge.kube import InCluster, KubeClient
from agent.edge.lease import Lease
from agent.edge.lease_record import Terms
from agent.lab.apiclient import ApiClient
from agent.lab.envtest import RealApi, find_assets
from agent.lab.objects import namespace
from agent.lab.pki import make_pki, write_tokens

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(find_assets() is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"),
]
NODES = ("harv41", "harv42", "harv43", "harv44", "harv45")
LEASES = "coordination.k8s.io/v1"


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    folder = tmp_path_factory.mktemp("apiserver")
    pki = make_pki(folder, names=["127.0.0.1"])
    write_tokens(folder / "tokens.csv", {ADMIN: ("admin", ["system:masters"])})
    (folder / "token").write_text(ADMIN)
    port, etcd_port, peer_port = free_ports(3)
    assets = find_assets()
    assert assets is not None
    api = RealApi(
        assets,
        folder=folder / "run",
        pki=pki,
        tokens=folder / "tokens.csv",
        admin_token=ADMIN,
        port=port,
        etcd_port=etcd_port,
        etcd_peer_port=peer_port,
    )
    asyncio.run(api.start())
    try:
        asyncio.run(fill(api))
        yield api
    finally:
        asyncio.run(api.stop())


async def fill(api: RealApi) -> None:
    async with api.client() as admin:
        names = ("longhorn-system", "harvester-system", "cattle-monitoring-system", NAMESPACE)
        await admin.apply_all(namespace(name) for name in names)
        await admin.apply_all(obj for obj in whole_cluster() if obj["kind"] != "VlanStatus")
        await admin.apply_all(instance("Replica", f"pvc-{number:03}-r") for number in range(270))
        await admin.apply(lease_object())


@asynccontextmanager
async def client_of(api: RealApi, folder: Path) -> AsyncIterator[KubeClient]:
    port = int(api.url.rpartition(":")[2])
    access = InCluster(host="127.0.0.1", port=str(port), clock=time.monotonic, directory=folder)
    async with KubeClient(access=access) as client:
        yield client


@pytest.fixture
def account(real: RealApi, tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(ADMIN)
    (tmp_path / "ca.crt").write_bytes(real._pki.ca_cert.read_bytes())
    return tmp_path


@pytest.fixture
async def admin(real: RealApi) -> AsyncIterator[ApiClient]:
    async with real.client() as client:
        yield client


@asynccontextmanager
async def five(
    api: RealApi, account: Path, *, terms: Terms = QUICK
) -> AsyncIterator[tuple[dict[str, Lease], dict[str, "asyncio.Task[object]"]]]:
    async with AsyncExitStack() as stack:
        leases: dict[str, Lease] = {}
        for name in NODES:
            client = await stack.enter_async_context(client_of(api, account))
            leases[name] = Lease(
                client=client, namespace=NAMESPACE, identity=name, clock=time.monotonic, rng=Random(name), terms=terms, pace=PACE
            )
        tasks = {name: asyncio.ensure_future(lease.run()) for name, lease in leases.items()}
        try:
            yield leases, tasks
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            for lease in leases.values():
                await lease.release()


async def agreed(leases: dict[str, Lease], *, without: tuple[str, ...] = ()) -> str:
    alive = [lease for name, lease in leases.items() if name not in without]
    await until(
        lambda: (
            sorted(lease.view.state.value for lease in alive) == ["holder"] + ["other"] * (len(alive) - 1)
            and len({lease.view.holder for lease in alive}) == 1
        )
    )
    return alive[0].view.holder or ""


async def test_five_agents_hand_the_lease_on(real: RealApi, account: Path, admin: ApiClient) -> None:
    most = 0
    async with five(real, account) as (leases, tasks):

        def count(_: object) -> None:
            nonlocal most
            most = max(most, sum(lease.view.state.value == "holder" for lease in leases.values()))

        for lease in leases.values():
            lease.subscribe(count)
        first = await agreed(leases)
        began = time.monotonic()
        assert await leases[first].release()
        await until(lambda: any(lease.view.state.value == "holder" for lease in leases.values()))
        assert time.monotonic() - began < 3.0, "contract §3; it did not wait for the term"
        second = await agreed(leases, without=(first,))
        tasks[second].cancel()
        third = await agreed(leases, without=(first, second))
        assert len({first, second, third}) == 3
        assert most == 1
        held = await admin.get(LEASES, "Lease", "lhnet-agent", namespace=NAMESPACE)
        assert held is not None
        assert (held["spec"]["holderIdentity"], held["spec"]["leaseTransitions"]) == (third, 2)
        assert held["metadata"]["labels"] == {"app.kubernetes.io/name": "lhnet-agent"}
        assert len(held["spec"]["renewTime"]) == len("2026-11-20T08:00:00.000000Z")


async def test_a_lease_that_is_missing_is_made_by_one(real: RealApi, account: Path, admin: ApiClient) -> None:
    await admin.delete(LEASES, "Lease", "lhnet-agent", namespace=NAMESPACE)
    async with five(real, account) as (leases, _):
        holder = await agreed(leases)
        await admin.delete(LEASES, "Lease", "lhnet-agent", namespace=NAMESPACE)

        async def made_again() -> bool:
            found = await admin.get(LEASES, "Lease", "lhnet-agent", namespace=NAMESPACE)
            return found is not None and found["spec"]["holderIdentity"] in NODES

        await admin.wait(made_again, timeout_seconds=60, what="the Lease to be there again")
        assert await agreed(leases) in NODES
        assert holder in NODES


async def test_the_holders_sources_are_read_and_kept_current(real: RealApi, account: Path, admin: ApiClient) -> None:
    async with client_of(real, account) as client:
        sources = sources_of(client)
        async with fake.running(sources.run()):
            sources.want(True)
            await until(lambda: sources.synced and set(states(sources).values()) == {"live"})
            facts = sources.facts()
            assert named(facts.nodes.items) == ["harv41", "harv42", "harv43"]
            assert len(facts.pools.items[0].allocations) == 6
            assert len(facts.reservations.items) == 6
            assert named(facts.all_nads.items) == ["rwx-network-4x2k1", "shop", "storagenetwork-95bj4"]
            assert len(facts.replicas.items) == 271
            assert len(facts.engines.items) == 1
            assert len(facts.crds.items) >= 3
            assert len(facts.monitoring.items) == 4
            assert sorted((item.reason, item.live) for item in facts.events.items) == [
                ("AddedInterface", False),
                ("FailedCreatePodSandBox", False),
            ]
            assert all((item.last_seen_age_seconds or 0) < 3600 for item in facts.events.items)
            await admin.apply(event("of-now", lastTimestamp=stamp()))
            await until(lambda: any(item.live for item in sources.facts().events.items))
            await admin.delete("longhorn.io/v1beta2", "Engine", "pvc-1-e", namespace="longhorn-system")
            await until(lambda: sources.facts().engines.items == ())


async def test_a_killed_api_server_leaves_holder_and_sources_on_duty(real: RealApi, account: Path) -> None:
    async with client_of(real, account) as client:
        lease = Lease(client=client, namespace=NAMESPACE, identity="harv41", clock=time.monotonic, rng=Random(1), terms=QUICK, pace=PACE)
        sources = sources_of(client)
        lease.subscribe(lambda view: sources.want(view.on_duty))
        async with fake.running(lease.run(), sources.run()):
            await until(lambda: sources.synced)
            await real.stop_apiserver()
            try:
                await until(lambda: lease.view.state.value == "unconfirmed" and set(states(sources).values()) == {"stale"})
                assert sources.active
                assert len(sources.facts().replicas.items) >= 270
            finally:
                await real.start_apiserver()
            await until(lambda: lease.view.state.value == "holder" and set(states(sources).values()) == {"live"})
        assert await lease.release()
