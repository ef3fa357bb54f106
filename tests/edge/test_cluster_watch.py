"""What an agent knows of its cluster: complete at the start, current afterwards, and honest when the API server is away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import clusterworld as world_of
import kubeserver as fake
import pytest
from clusterworld import NAD, NADS, PODS, agent_at, cluster_of, documents, healthy_world
from kubeserver import KubeServer, World, named, until

from agent.model.cluster import ClusterFacts
from agent.model.records import SourceState


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubeServer]:
    async with fake.serving(tmp_path) as running:
        yield running


def states(facts: ClusterFacts) -> dict[str, str]:
    return {status.name: status.state.value for status in facts.statuses()}


ALL_LIVE = {name: "live" for name in ("pods", "agent_pods", "node", "setting", "longhorn_settings", "nads", "cluster_network")}


async def test_a_healthy_cluster_is_known_after_the_first_sync(server: KubeServer) -> None:
    server.fallback = healthy_world()
    async with agent_at(server) as cluster:
        cluster.set_nads(frozenset({NAD}))
        assert await cluster.first_sync(timeout_seconds=60)
        await until(lambda: states(cluster.facts()) == ALL_LIVE)
        facts = cluster.facts()
    assert len(facts.pods.items) == 3
    assert {pod.node for pod in facts.pods.items} == {"harv41", "harv42", "harv43"}
    assert [(pod.name, pod.ports) for pod in facts.agent_pods.items] == [("lhnet-agent-x", {"http": 9811})]
    assert named(facts.node.items) == ["harv41"]
    assert named(facts.setting.items) == ["rwx-network", "storage-network"]
    assert named(facts.longhorn_settings.items) == ["endpoint-network-for-rwx-volume", "storage-network"]
    assert [nad.key for nad in facts.nads.items] == [NAD]
    assert named(facts.cluster_networks.items) == ["storage"]
    assert facts.vlan_configs.items[0].nics == ("ens5", "ens6")
    assert all(status.age_seconds == 0 for status in facts.statuses())


async def test_no_query_carries_a_selector_that_real_servers_refuse_on_custom_resources(server: KubeServer) -> None:
    server.fallback = healthy_world()
    async with agent_at(server) as cluster:
        cluster.set_nads(frozenset({NAD}))
        assert await cluster.first_sync(timeout_seconds=60)
    for request in server.seen:
        if request.path.startswith("/apis/"):
            selector = request.query.get("fieldSelector", "metadata.name=any")
            assert selector.startswith("metadata.name=")
            assert "labelSelector" not in request.query


async def test_a_cluster_without_harvester_is_absent_there_and_live_elsewhere(server: KubeServer) -> None:
    world = healthy_world()
    for path in (world_of.SETTINGS, world_of.CLUSTER_NETWORKS, world_of.VLAN_CONFIGS):
        del world.collections[path]
    server.fallback = world
    async with agent_at(server) as cluster:
        cluster.set_nads(frozenset())
        assert await cluster.first_sync(timeout_seconds=60)
        await until(lambda: states(cluster.facts()) == ALL_LIVE | {"setting": "absent", "cluster_network": "absent"})
        assert cluster.facts().pods.items


async def test_an_object_that_does_not_exist_is_live_and_empty_unlike_a_resource_that_does_not(server: KubeServer) -> None:
    world = World()
    world.install(*world_of.EVERYTHING)
    server.fallback = world
    async with agent_at(server) as cluster:
        cluster.set_nads(frozenset({NAD}))
        assert await cluster.first_sync(timeout_seconds=60)
        await until(lambda: states(cluster.facts()) == ALL_LIVE)
        facts = cluster.facts()
    assert not any(known.items for known in (facts.setting, facts.longhorn_settings, facts.nads, facts.node))


async def test_nads_are_never_known_until_somebody_says_which(server: KubeServer) -> None:
    server.fallback = healthy_world()
    async with agent_at(server) as cluster:
        assert await cluster.first_sync(timeout_seconds=60)
        assert cluster.facts().nads.status.state is SourceState.NEVER
        cluster.set_nads(frozenset())
        nads = cluster.facts().nads
        assert (nads.status.state, nads.items) == (SourceState.LIVE, ())


async def test_another_nad_comes_into_use_and_the_old_one_is_let_go(server: KubeServer) -> None:
    world = healthy_world()
    server.fallback = world
    async with agent_at(server) as cluster:
        cluster.set_nads(frozenset({NAD}))
        await until(lambda: cluster.facts().nads.items)
        first = cluster.facts().nads.revision
        world.apply(NADS, world_of.nad("storagenetwork-zz81q"))
        cluster.set_nads(frozenset({"harvester-system/storagenetwork-zz81q"}))
        await until(lambda: named(cluster.facts().nads.items) == ["storagenetwork-zz81q"])
        assert cluster.facts().nads.revision > first
        world.apply(NADS, world_of.nad("storagenetwork-zz81q", config="changed"))
        await until(lambda: cluster.facts().nads.items[0].config == "changed")


async def test_a_name_out_of_a_hostile_setting_never_becomes_a_path(server: KubeServer) -> None:
    server.fallback = healthy_world()
    hostile = frozenset({"../../secrets/x", "a/b/c", "storagenetwork", "default/UPPER", "default/" + "x" * 300, "", "default/a?b=c", NAD})
    async with agent_at(server) as cluster:
        cluster.set_nads(hostile)
        await until(lambda: cluster.facts().nads.items)
        assert "not a NAD's name" in (cluster.facts().nads.status.detail or "")
    paths = {request.path for request in server.seen if "k8s.cni.cncf.io" in request.path}
    assert paths == {NADS}


async def test_a_thousand_named_nads_do_not_open_a_thousand_connections(server: KubeServer) -> None:
    server.fallback = healthy_world()
    async with agent_at(server) as cluster:
        cluster.set_nads(frozenset(f"default/n{number}" for number in range(1000)))
        assert "16 are watched" in (cluster.facts().nads.status.detail or "")


async def test_subscribers_hear_the_names_of_what_changed_and_one_that_raises_harms_nobody(server: KubeServer) -> None:
    world = healthy_world()
    server.fallback = world
    heard: list[frozenset[str]] = []
    async with agent_at(server) as cluster:
        cluster.set_nads(frozenset())
        assert await cluster.first_sync(timeout_seconds=60)
        await until(lambda: states(cluster.facts()) == ALL_LIVE)
        cluster.subscribe(lambda names: 1 / 0)
        stop = cluster.subscribe(heard.append)
        before = cluster.facts()
        world.delete(PODS, before.pods.items[0].name)
        await until(lambda: heard)
        assert heard == [frozenset({"pods"})]
        after = cluster.facts()
        assert len(after.pods.items) == 2
        assert after.pods.revision > before.pods.revision
        assert after.setting.items is before.setting.items
        stop()
        world.delete(PODS, after.pods.items[0].name)
        await until(lambda: len(cluster.facts().pods.items) == 1)
        assert len(heard) == 1


async def test_the_api_server_goes_away_and_comes_back(tmp_path: Path) -> None:
    clock = fake.Turned()
    world = healthy_world()
    async with fake.serving(tmp_path) as server:
        server.fallback = world
        port = server.port
        async with fake.client_of(server, clock=clock) as client:
            cluster = cluster_of(client, clock=clock)
            cluster.set_nads(frozenset({NAD}))
            async with fake.running(cluster.run()):
                assert await cluster.first_sync(timeout_seconds=60)
                await until(lambda: states(cluster.facts()) == ALL_LIVE)
                known = cluster.facts()
                await server.stop()
                await until(lambda: set(states(cluster.facts()).values()) == {"stale"})
                clock.now += 130
                away = cluster.facts()
                assert {status.age_seconds for status in away.statuses()} == {130.0}
                await until(lambda: "Connection refused" in (cluster.facts().pods.status.detail or ""))
                assert away.pods.items == known.pods.items
                assert away.nads.items == known.nads.items
                assert away.pods.confirmed_monotonic_seconds == known.pods.confirmed_monotonic_seconds
                async with fake.serving(tmp_path / "again", port=port) as again:
                    again.adopt(tmp_path)
                    again.fallback = world
                    await until(lambda: states(cluster.facts()) == ALL_LIVE)


async def test_first_sync_does_not_wait_for_ever_for_a_server_that_is_not_there(tmp_path: Path) -> None:
    async with fake.serving(tmp_path) as server:
        pass
    async with agent_at(server) as cluster:
        assert not await cluster.first_sync(timeout_seconds=0.1)
        assert not cluster.synced
        assert set(states(cluster.facts()).values()) == {"never"}


async def test_facts_before_anything_ran_are_all_never() -> None:
    cluster = cluster_of(fake.unused_client())
    assert set(states(cluster.facts()).values()) == {"never"}
    assert cluster.facts().pods.items == ()


async def test_cancelling_ends_every_watch(server: KubeServer) -> None:
    world = healthy_world()
    server.fallback = world
    async with agent_at(server) as cluster:
        cluster.set_nads(frozenset({NAD}))
        assert await cluster.first_sync(timeout_seconds=60)
    assert [task for task in asyncio.all_tasks() if (task.get_name() or "").startswith("watch ")] == []


async def test_two_settings_are_one_source_and_as_good_as_the_worse_of_them(server: KubeServer) -> None:
    world = healthy_world()

    async def only_one_may_be_read(request: fake.web.Request) -> fake.web.StreamResponse:
        if request.path == world_of.SETTINGS and "rwx" in request.query["fieldSelector"]:
            return fake.web.json_response({"code": 403, "message": "rwx-network is not for you"}, status=403)
        return await world(request)

    server.fallback = only_one_may_be_read
    async with agent_at(server) as cluster:
        await until(lambda: states(cluster.facts())["setting"] == "forbidden")
        await until(lambda: named(cluster.facts().setting.items) == ["storage-network"])
        setting = cluster.facts().setting
        assert "not for you" in (setting.status.detail or "")
        assert setting.items[0].value == documents("settings_storage_network")["enabled-completed"]["value"]
