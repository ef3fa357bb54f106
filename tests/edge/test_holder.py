"""The holder's sources on the lab's embedded API: what is read, what happens when something is missing, forbidden, gone or too much."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from holderworld import EXHAUSTED, HELD, Room, deployment, event, holder_at, instance, nad, sources_of, stamp, states, whole_cluster
from kubeserver import named, running, until, unused_client
from leaseworld import LabApi, lab_api

from agent.edge.holder import NAMES, HolderSources
from agent.edge.holder_memory import Memory
from agent.model.holder import HolderFacts
from agent.model.records import EventRecord

NAMES_OF_THE_CONTRACT = [
    "nodes",
    "ippools",
    "reservations",
    "events",
    "instance_managers",
    "longhorn_nodes",
    "crds",
    "monitoring",
    "replicas",
    "engines",
]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LabApi]:
    async with lab_api(tmp_path, seed=whole_cluster()) as api:
        yield api


def event_of(sources: HolderSources, reason: str = "FailedCreatePodSandBox") -> EventRecord:
    return next(item for item in sources.facts().events.items if item.reason == reason)


def role(*, without: str) -> list[dict[str, object]]:
    """May read everything but one resource."""
    resources = {
        "": ["nodes", "events"],
        "whereabouts.cni.cncf.io": ["ippools", "overlappingrangeipreservations"],
        "longhorn.io": ["instancemanagers", "nodes", "replicas", "engines"],
        "k8s.cni.cncf.io": ["network-attachment-definitions"],
        "apiextensions.k8s.io": ["customresourcedefinitions"],
        "monitoring.coreos.com": ["prometheuses", "alertmanagers"],
        "apps": ["deployments"],
    }
    rules = [
        {"apiGroups": [group], "resources": [name for name in names if name != without], "verbs": ["get", "list", "watch"]}
        for group, names in resources.items()
    ]
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "reader"}}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
    subject = {"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}
    return [
        {**kind, "kind": "ClusterRole", "rules": rules},
        {**kind, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]},
    ]


async def test_everything_that_the_holder_judges_by_is_read(api: LabApi) -> None:
    async with holder_at(api) as sources:
        await until(lambda: set(states(sources).values()) == {"live"})
        facts = sources.facts()
    assert [status.name for status in facts.statuses()] == NAMES_OF_THE_CONTRACT
    assert named(facts.nodes.items) == ["harv41", "harv42", "harv43"]
    (pool,) = facts.pools.items
    assert (pool.namespace, pool.name, pool.range) == ("kube-system", "192.168.0.0-24", "192.168.0.0/24")
    assert len(pool.allocations) == 6
    assert pool.allocations[0].interface == "lhnet1"
    assert (pool.allocations[0].podref or "").startswith("longhorn-system/")
    assert {item.podref for item in facts.reservations.items} == {entry.podref for entry in pool.allocations}
    assert {(item.type, item.data_engine, item.state) for item in facts.instance_managers.items} == {("aio", "v1", "running")}
    assert {item.node_id for item in facts.instance_managers.items} == {"harv41", "harv42", "harv43"}
    assert [(item.name, item.disks) for item in facts.longhorn_nodes.items] == [("harv41", 1), ("harv42", 1), ("harv43", 1)]
    assert set(facts.crds.items) >= {"ippools.whereabouts.cni.cncf.io", "network-attachment-definitions.k8s.cni.cncf.io"}
    assert [(item.kind, item.name, item.replicas, dict(item.held)) for item in facts.monitoring.items] == [
        ("Alertmanager", "rancher-monitoring-alertmanager", 1, {}),
        ("Deployment", "rancher-monitoring-grafana", 0, {HELD: "1"}),
        ("Deployment", "harvester-harvester-vm-import-controller", 1, {}),
        ("Prometheus", "rancher-monitoring-prometheus", 1, {}),
    ]
    (replica,), (engine,) = facts.replicas.items, facts.engines.items
    assert (replica.kind, replica.volume, replica.node_id, replica.storage_ip) == ("replica", "pvc-1", "harv41", "192.168.0.2")
    assert (engine.kind, engine.storage_ip, engine.state, engine.instance_manager) == (
        "engine",
        "10.52.0.7",
        "running",
        "instance-manager-a1",
    )


async def test_of_the_nads_those_of_networks_and_those_on_whereabouts_are_kept(api: LabApi) -> None:
    async with holder_at(api) as sources, api.admin() as admin:
        assert named(sources.facts().all_nads.items) == ["rwx-network-4x2k1", "shop", "storagenetwork-95bj4"]
        await admin.apply(nad("storagenetwork-zz81q"))
        await until(lambda: "storagenetwork-zz81q" in named(sources.facts().all_nads.items))


async def test_only_events_about_pods_and_their_networks_are_watched(api: LabApi) -> None:
    async with holder_at(api) as sources:
        found = sources.facts().events.items
    assert sorted(item.reason or "" for item in found) == ["AddedInterface", "FailedCreatePodSandBox"]
    failing = next(item for item in found if item.reason == "FailedCreatePodSandBox")
    assert (failing.namespace, failing.pod, failing.pod_uid, failing.count) == ("longhorn-system", "instance-manager-a1", "e349", 14)
    assert failing.message == EXHAUSTED


async def test_events_of_the_first_list_are_told_from_those_that_came_live(api: LabApi) -> None:
    async with holder_at(api) as sources, api.admin() as admin:
        assert not event_of(sources).live
        await admin.apply(event("another", made=stamp()))
        await until(lambda: len(sources.facts().events.items) == 3)
        assert [item.live for item in sources.facts().events.items if item.reason == "FailedCreatePodSandBox"].count(True) == 1
        await admin.patch("v1", "Event", "failing", {"count": 15, "lastTimestamp": stamp()}, namespace="longhorn-system")
        await until(lambda: any(item.count == 15 and item.live for item in sources.facts().events.items))


async def test_a_new_list_after_a_compaction_does_not_make_old_events_new(api: LabApi) -> None:
    async with holder_at(api) as sources, api.admin() as admin:
        before = event_of(sources)
        lists = sum(path.endswith("/events") and "watch" not in query for _, path, query in api.requests)
        await admin.control("compact")
        await until(lambda: sum(path.endswith("/events") and "watch" not in query for _, path, query in api.requests) >= lists + 4)
        await until(lambda: states(sources)["events"] == "live")
        assert event_of(sources) == before


async def test_what_is_known_of_a_duty_that_is_over_is_forgotten_at_once(api: LabApi) -> None:
    heard: set[str] = set()
    async with holder_at(api) as sources:
        stop = sources.subscribe(heard.update)
        sources.want(True)
        assert heard == set()
        sources.want(False)
        assert sources.facts() == HolderFacts()
        assert not sources.synced
        await until(lambda: heard == set(NAMES))
        await until(lambda: not any(api.store._subscriptions.values()), what="its watches are closed")
        stop()
        sources.want(True)
        await until(lambda: sources.synced)
        assert not event_of(sources).live, "the first list of this duty"


async def test_giving_up_and_taking_up_again_in_one_turn_begins_anew(api: LabApi) -> None:
    async with holder_at(api) as sources:
        sources.want(False)
        sources.want(True)
        assert set(states(sources).values()) == {"never"}
        await until(lambda: sources.synced)
        assert named(sources.facts().nodes.items) == ["harv41", "harv42", "harv43"]


async def test_without_the_duty_nothing_is_asked(api: LabApi) -> None:
    async with holder_at(api, synced=False) as sources:
        await until(lambda: sources.synced)
        sources.want(False)
        async with api.admin() as admin:
            await admin.control("end-watches")
            before = [entry for entry in api.requests if "watch" in entry[2]]
            await admin.apply(nad("later"))
        assert [entry for entry in api.requests if "watch" in entry[2]] == before


@pytest.mark.parametrize(
    ("resource", "source"),
    [
        ("events", "events"),
        ("ippools", "ippools"),
        ("replicas", "replicas"),
        ("deployments", "monitoring"),
        ("customresourcedefinitions", "crds"),
        ("instancemanagers", "instance_managers"),
    ],
)
async def test_one_source_that_is_forbidden_stops_no_other(tmp_path: Path, resource: str, source: str) -> None:
    seed = [*whole_cluster(), *role(without=resource)]
    async with lab_api(tmp_path, seed=seed, users={"reader-token": ("reader", [])}) as api, holder_at(api, token="reader-token") as sources:
        await until(lambda: states(sources) == {name: "forbidden" if name == source else "live" for name in NAMES_OF_THE_CONTRACT})
        (status,) = [one for one in sources.facts().statuses() if one.name == source]
        assert f'cannot list resource "{resource}"' in (status.detail or "")


async def test_definitions_that_come_later_are_seen(api: LabApi) -> None:
    async with api.admin() as admin:
        names = [f"{plural}.whereabouts.cni.cncf.io" for plural in ("ippools", "overlappingrangeipreservations")]
        kept = [await admin.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name) for name in names]
        for name in names:
            await admin.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
        async with holder_at(api) as sources:
            assert (states(sources)["ippools"], states(sources)["reservations"], states(sources)["crds"]) == ("absent", "absent", "live")
            assert "ippools.whereabouts.cni.cncf.io" not in sources.facts().crds.items
            await admin.apply_all([{**found, "metadata": {"name": found["metadata"]["name"]}} for found in kept if found])
            await until(lambda: (states(sources)["ippools"], states(sources)["reservations"]) == ("live", "live"))
            assert set(names) <= set(sources.facts().crds.items)
            pool = {"apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool", "spec": {"range": "10.0.0.0/28", "allocations": {}}}
            await admin.apply({**pool, "metadata": {"name": "10.0.0.0-28", "namespace": "kube-system"}})
            await until(lambda: named(sources.facts().pools.items) == ["10.0.0.0-28"])


async def test_a_cluster_without_the_monitoring_addon_still_tells_of_the_deployments(api: LabApi) -> None:
    async with api.admin() as admin:
        for plural in ("prometheuses", "alertmanagers"):
            await admin.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.monitoring.coreos.com")
        async with holder_at(api) as sources:
            await until(lambda: states(sources)["monitoring"] == "live")
            assert named(sources.facts().monitoring.items) == ["rancher-monitoring-grafana", "harvester-harvester-vm-import-controller"]


async def test_an_outage_keeps_what_is_known_and_ends(api: LabApi) -> None:
    async with holder_at(api) as sources:
        await until(lambda: set(states(sources).values()) == {"live"})
        before = sources.facts()
        await api.stop()
        await until(lambda: set(states(sources).values()) == {"stale"})
        during = sources.facts()
        assert during.replicas.items == before.replicas.items
        assert during.pools.items == before.pools.items
        assert during.replicas.confirmed_monotonic_seconds is not None
        await api.start()
        await until(lambda: set(states(sources).values()) == {"live"})
        async with api.admin() as admin:
            await admin.apply(deployment("harvester-vm-import-controller", namespace="harvester-system", held="1"))
        await until(lambda: len(sources.facts().monitoring.items) == 5)


async def test_replicas_and_engines_are_listed_in_pages_past_the_watch_cache(tmp_path: Path) -> None:
    many = [instance("Replica", f"pvc-{number:03}-r") for number in range(520)]
    async with lab_api(tmp_path, seed=many) as api, holder_at(api) as sources:
        await until(lambda: len(sources.facts().replicas.items) == 520)
        asked = [query for _, path, query in api.requests if path.endswith("/replicas")]
        assert [("continue" in query, query["limit"]) for query in asked[:3]] == [(False, "250"), (True, "250"), (True, "250")]
        assert not any("resourceVersion" in query or "watch" in query for query in asked)
        revision = sources.facts().replicas.revision
        async with api.admin() as admin:
            await admin.delete("longhorn.io/v1beta2", "Replica", "pvc-007-r", namespace="longhorn-system")
        await until(lambda: len(sources.facts().replicas.items) == 519)
        assert sources.facts().replicas.revision > revision


async def test_when_memory_runs_short_the_large_lists_go_first_and_say_so(api: LabApi) -> None:
    room = Room()
    async with holder_at(api, memory=room) as sources:
        assert len(sources.facts().replicas.items) == 1
        revision = sources.facts().replicas.revision
        room.memory = Memory(used_bytes=71 << 20, limit_bytes=100 << 20)
        await until(lambda: {states(sources)[name] for name in ("replicas", "engines")} == {"never"})
        facts = sources.facts()
        assert (facts.replicas.items, facts.engines.items) == ((), ())
        assert facts.replicas.status.detail == "not read, to save memory: 71 of 100 MiB of memory in use"
        assert facts.replicas.revision > revision
        assert len(facts.pools.items) == 1
        room.memory = Memory(used_bytes=65 << 20, limit_bytes=100 << 20)
        before = len([entry for entry in api.requests if entry[1].endswith("/replicas")])
        await until(lambda: sources.facts().replicas.status.detail == facts.replicas.status.detail)
        assert len([entry for entry in api.requests if entry[1].endswith("/replicas")]) == before
        room.memory = Memory(used_bytes=50 << 20, limit_bytes=100 << 20)
        await until(lambda: len(sources.facts().replicas.items) == 1)
        assert states(sources)["replicas"] == "live"


async def test_a_subscriber_hears_which_source_changed_and_its_mistakes_stop_nothing(api: LabApi, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[frozenset[str]] = []

    def broken(names: frozenset[str]) -> None:
        raise RuntimeError("a bug of the reader")

    async with holder_at(api) as sources, api.admin() as admin:
        sources.subscribe(broken)
        sources.subscribe(heard.append)
        patch = {"spec": {"allocations": {"200": {"id": "x", "podref": "longhorn-system/gone", "ifname": "lhnet1"}}}}
        await admin.patch("whereabouts.cni.cncf.io/v1alpha1", "IPPool", "192.168.0.0-24", patch, namespace="kube-system")
        await until(lambda: any("ippools" in names for names in heard))
        assert len(sources.facts().pools.items[0].allocations) == 7
    assert "a subscriber of the holder's facts raised" in caplog.text


async def test_before_it_runs_and_after_it_ended_nothing_is_known() -> None:
    client = unused_client()
    sources = sources_of(client)
    sources.want(True)
    assert sources.facts() == HolderFacts()
    assert not sources.synced
    async with running(sources.run()):
        await until(lambda: states(sources)["nodes"] == "never" and sources._watches is not None)
    assert sources.facts() == HolderFacts()
    await client.close()
