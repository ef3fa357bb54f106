"""Watches of the embedded API: what a reflector relies on, and what it must survive."""

from collections import deque
from pathlib import Path

import pytest
from apiworld import ADMIN, Caller, config_map, embedded, prepare

from agent.lab import api_store, api_watch
from agent.lab.api_store import Store
from agent.lab.pki import Pki

MAPS = "/api/v1/namespaces/default/configmaps"
EVENTS = "/api/v1/namespaces/default/events"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def pki(folder: Path) -> Pki:
    return prepare(folder)


@pytest.fixture
async def world(folder: Path, pki: Pki):
    async with embedded(folder, pki) as world:
        yield world


@pytest.fixture
def api(world: tuple[Caller, Store]) -> Caller:
    return world[0]


async def version_of(api: Caller, path: str = MAPS) -> str:
    return (await api.ask("GET", path))[1]["metadata"]["resourceVersion"]


async def test_a_list_and_a_watch_from_its_version_leave_no_gap(api: Caller):
    await api.ask("POST", MAPS, body=config_map("before"))
    version = await version_of(api)
    await api.ask("POST", MAPS, body=config_map("between"))
    async with api.watch(f"{MAPS}?watch=true&resourceVersion={version}") as events:
        await api.ask("DELETE", f"{MAPS}/before")
        assert await events.names(2) == [("ADDED", "between"), ("DELETED", "before")]


async def test_a_watch_without_a_version_begins_with_what_is_there(api: Caller):
    for name in "ab":
        await api.ask("POST", MAPS, body=config_map(name))
    for version in ("", "&resourceVersion=0"):
        async with api.watch(f"{MAPS}?watch=1{version}") as events:
            assert await events.names(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_an_object_that_stops_matching_leaves_and_one_that_starts_enters(api: Caller):
    await api.ask("POST", MAPS, body=config_map("in", labels={"app": "web"}))
    await api.ask("POST", MAPS, body=config_map("out"))
    async with api.watch(f"{MAPS}?watch=1&labelSelector=app%3Dweb&resourceVersion={await version_of(api)}") as events:
        await api.ask("PATCH", f"{MAPS}/in", body={"metadata": {"labels": {"app": "db"}}}, media=MERGE)
        await api.ask("PATCH", f"{MAPS}/out", body={"metadata": {"labels": {"app": "web"}}}, media=MERGE)
        await api.ask("PATCH", f"{MAPS}/out", body={"data": {"a": "b"}}, media=MERGE)
        await api.ask("DELETE", f"{MAPS}/in")
        await api.ask("DELETE", f"{MAPS}/out")
        gone = await events.next()
        assert gone[0] == "DELETED"
        assert gone[1]["metadata"]["labels"] == {"app": "web"}, "the last state that matched"
        assert await events.names(3) == [("ADDED", "out"), ("MODIFIED", "out"), ("DELETED", "out")]


async def test_a_watch_of_one_name_and_of_one_namespace(api: Caller):
    await api.ask("POST", "/api/v1/namespaces", body={"metadata": {"name": "shop"}})
    async with (
        api.watch(f"/api/v1/configmaps?watch=1&fieldSelector=metadata.name%3Db&resourceVersion={await version_of(api)}") as by_name,
        api.watch(f"{MAPS}?watch=1&resourceVersion={await version_of(api)}") as by_namespace,
    ):
        await api.ask("POST", "/api/v1/namespaces/shop/configmaps", body=config_map("b", namespace="shop"))
        await api.ask("POST", MAPS, body=config_map("a"))
        await api.ask("POST", MAPS, body=config_map("b"))
        found = [await by_name.next(), await by_name.next()]
        assert [event[1]["metadata"]["namespace"] for event in found] == ["shop", "default"]
        assert await by_namespace.names(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_deletions_carry_the_version_at_which_they_happened(api: Caller):
    _, made = await api.ask("POST", MAPS, body=config_map("one"))
    async with api.watch(f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}") as events:
        await api.ask("DELETE", f"{MAPS}/one")
        _, last = await events.next()
        assert int(last["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


async def test_bookmarks_come_to_those_who_asked_and_move_on_without_changes_of_their_own(api: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api_watch, "BOOKMARK_SECONDS", 0.05)
    await api.ask("POST", EVENTS, body={"metadata": {"name": "e"}, "involvedObject": {}})
    async with api.watch(f"{MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={await version_of(api)}") as events:
        _, other = await api.ask("POST", "/api/v1/namespaces", body={"metadata": {"name": "elsewhere"}})
        kind, mark = await events.next()
        while mark["metadata"]["resourceVersion"] != other["metadata"]["resourceVersion"]:
            kind, mark = await events.next()
        assert (kind, mark["kind"]) == ("BOOKMARK", "ConfigMap")
    async with api.watch(f"{EVENTS}?watch=1&allowWatchBookmarks=true&resourceVersion=0&timeoutSeconds=1") as events:
        assert [kind for kind, _ in await events.rest()] == ["ADDED"], "Events have no bookmarks"


async def test_a_watch_ends_when_its_time_is_up_with_a_bookmark_before(api: Caller):
    async with api.watch(f"{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1") as events:
        assert [kind for kind, _ in await events.rest()] == ["BOOKMARK"]


async def test_a_watch_can_stream_the_list_as_well(api: Caller):
    await api.ask("POST", MAPS, body=config_map("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion="
    async with api.watch(f"{MAPS}?{query}") as events:
        assert await events.names(1) == [("ADDED", "a")]
        kind, mark = await events.next()
        assert (kind, mark["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})


@pytest.mark.parametrize("way", ["event", "http"])
async def test_after_a_compaction_every_version_is_too_old(api: Caller, way: str):
    old = await version_of(api)
    async with api.watch(f"{MAPS}?watch=1&resourceVersion={old}") as events:
        await api.ask("POST", "/lab/compact", body={"as": way})
        ended = await events.rest()
        assert [(kind, obj["code"]) for kind, obj in ended] == [("ERROR", 410)]
    if way == "event":
        async with api.watch(f"{MAPS}?watch=1&resourceVersion={old}") as events:
            assert [(kind, obj["reason"]) for kind, obj in await events.rest()] == [("ERROR", "Expired")]
    else:
        status, refused = await api.ask("GET", f"{MAPS}?watch=1&resourceVersion={old}")
        assert (status, refused["reason"]) == (410, "Expired")
    async with api.watch(f"{MAPS}?watch=1&resourceVersion={await version_of(api)}") as events:
        await api.ask("POST", MAPS, body=config_map("new"))
        assert await events.names(1) == [("ADDED", "new")]


async def test_more_changes_than_the_log_holds_make_old_versions_expire(api: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api_store, "LOG_SIZE", 3)
    old = await version_of(api)
    for name in "abcd":
        await api.ask("POST", MAPS, body=config_map(name))
    async with api.watch(f"{MAPS}?watch=1&resourceVersion={old}") as events:
        assert [kind for kind, _ in await events.rest()] == ["ERROR"]
    recent = str(int(await version_of(api)) - 1)
    async with api.watch(f"{MAPS}?watch=1&resourceVersion={recent}") as events:
        assert await events.names(1) == [("ADDED", "d")]


async def test_a_version_of_the_future_is_refused(api: Caller):
    status, refused = await api.ask("GET", f"{MAPS}?watch=1&resourceVersion=999999999999999")
    assert (status, refused["reason"]) == (504, "Timeout")


async def test_a_client_that_goes_away_is_forgotten(world: tuple[Caller, Store]):
    api, store = world
    key = ("", "configmaps")
    async with api.watch(f"{MAPS}?watch=1"):
        pass
    # Any request makes the loop turn; the cancelled handler needs a few turns.
    for _ in range(1000):
        await api.ask("GET", "/readyz", token=ADMIN)
        if not store._subscriptions[key]:
            break
    assert not store._subscriptions[key]


def test_a_watcher_that_does_not_read_is_cut_off_instead_of_filling_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api_store, "QUEUE_SIZE", 3)
    store = Store()
    resource = store.registry.find("", "v1", "configmaps")
    assert resource is not None
    _, slow = store.subscribe(resource.key, since=None)
    for number in range(10):
        store.put(resource, config_map(f"m{number}"))
    queued = deque(slow.queue.get_nowait() for _ in range(slow.queue.qsize()))
    assert queued.pop() is None
    assert len(queued) == 3
