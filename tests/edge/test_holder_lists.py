"""The lists of replicas and engines, and the memory that they must not use up; the server says what the test tells it to."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kubeserver as fake
import pytest
from holderworld import Room, instance
from kubeserver import KubeServer, Turned, answer, client_of, page, refuse

from agent.edge import holder_lists
from agent.edge.decode_holder import REPLICA
from agent.edge.holder_lists import PagedList
from agent.edge.holder_memory import Memory, Shedding, read_memory
from agent.edge.kube import KubeClient
from agent.model.holder import InstanceRecord

PATH = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/replicas"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubeServer]:
    async with fake.serving(tmp_path / "server") as server:
        yield server


@pytest.fixture
async def client(server: KubeServer) -> AsyncIterator[KubeClient]:
    async with client_of(server, clock=Turned()) as client:
        yield client


def replicas_of(client: KubeClient, *, clock: Turned | None = None, memory: Room | None = None) -> PagedList[InstanceRecord]:
    return PagedList(
        "replicas",
        client=client,
        path=PATH,
        kind=REPLICA,
        clock=clock or Turned(),
        rng=fake.even(),
        changed=lambda: None,
        shedding=Shedding(memory or Room()),
    )


def replica(name: str, **more: Any) -> dict[str, Any]:
    return instance("Replica", name, **more)


async def test_the_set_is_replaced_when_the_last_page_is_here(server: KubeServer, client: KubeClient) -> None:
    server.lists = [page(replica("a-r"), more="next"), page(replica("b-r")), page(replica("b-r", state="stopped"))]
    clock = Turned()
    replicas = replicas_of(client, clock=clock)
    assert replicas.known().status.state == "never"
    assert 50.0 < await replicas.step() <= 60.0
    known = replicas.known()
    assert [item.name for item in known.items] == ["a-r", "b-r"]
    assert (known.status.state, known.confirmed_monotonic_seconds) == ("live", 1000.0)
    clock.now += 60.0
    assert replicas.known().confirmed_monotonic_seconds == 1000.0, "nobody has looked since"
    await replicas.step()
    assert [(item.name, item.state) for item in replicas.known().items] == [("b-r", "stopped")]
    assert replicas.known().revision > known.revision


async def test_a_failed_list_keeps_the_set_and_tells_its_age(server: KubeServer, client: KubeClient) -> None:
    server.lists = [page(replica("a-r")), page(replica("b-r"), more="next"), refuse(503)]
    clock = Turned()
    replicas = replicas_of(client, clock=clock)
    await replicas.step()
    clock.now += 60.0
    await replicas.step()
    clock.now += 30.0
    known = replicas.known()
    assert [item.name for item in known.items] == ["a-r"]
    assert (known.status.state, known.status.age_seconds, known.confirmed_monotonic_seconds) == ("stale", 30.0, 1000.0)


async def test_a_snapshot_that_the_server_forgot_is_asked_for_anew_soon(server: KubeServer, client: KubeClient) -> None:
    server.lists = [page(replica("a-r"), more="next"), refuse(410), page(replica("a-r"))]
    replicas = replicas_of(client)
    assert await replicas.step() == 5.0
    await replicas.step()
    assert replicas.known().status.state == "live"


async def test_a_list_that_failed_is_tried_again_long_before_the_next_would_be_due(server: KubeServer, client: KubeClient) -> None:
    """An API server that was away for a moment must not leave a warning behind for a minute."""
    server.lists = [refuse(500, "etcd is gone")]
    assert 10.0 < await replicas_of(client).step() <= 20.0


@pytest.mark.parametrize(("code", "state"), [(403, "forbidden"), (404, "absent"), (429, "never"), (500, "never")])
async def test_why_there_is_no_list_is_told(server: KubeServer, client: KubeClient, code: int, state: str) -> None:
    server.lists = [refuse(code, "told to", Retry_After="59")]
    replicas = replicas_of(client)
    assert await replicas.step() >= 45.0
    assert replicas.known().status.state == state
    assert "told to" in (replicas.known().status.detail or "")
    assert replicas.settled is (code in (403, 404))


async def test_an_object_that_cannot_be_read_keeps_what_was_known_of_it(server: KubeServer, client: KubeClient) -> None:
    broken = {"metadata": {"name": "a-r", "namespace": "longhorn-system"}, "spec": [], "status": 7}
    server.lists = [page(replica("a-r"), replica("b-r")), page(broken, replica("b-r"), {"metadata": {}}), answer(b"<html>")]
    replicas = replicas_of(client)
    await replicas.step()
    await replicas.step()
    known = replicas.known()
    assert [item.name for item in known.items] == ["a-r", "b-r"]
    assert len(known.skipped) == 2
    assert known.skipped[1].startswith("longhorn-system/a-r: ")
    await replicas.step()
    assert replicas.known().status.state == "stale"
    assert [item.name for item in replicas.known().items] == ["a-r", "b-r"]


async def test_more_than_can_be_kept_is_said(server: KubeServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holder_lists, "OBJECTS_KEPT", 2)
    server.lists = [page(*(replica(f"{number}-r") for number in range(5)))]
    replicas = replicas_of(client)
    await replicas.step()
    known = replicas.known()
    assert (len(known.items), known.status.state, known.status.detail) == (2, "live", "3 more than the 2 that are kept")


async def test_a_list_under_way_is_dropped_when_memory_runs_short(server: KubeServer, client: KubeClient) -> None:
    room = Room()
    replicas = replicas_of(client, memory=room)
    shedding = replicas._shedding

    async def fills_up(request: Any) -> Any:
        room.memory = Memory(used_bytes=90, limit_bytes=100)
        replicas.give_up(shedding.look() or "")
        return await page(replica("a-r"), more="next")(request)

    server.lists = [fills_up, page(replica("b-r"))]
    await replicas.step()
    assert replicas.known().items == ()
    assert len(server.seen) == 1, "the second page was not asked for"
    assert "to save memory" in (replicas.known().status.detail or "")
    assert replicas.settled


def test_the_marks_leave_a_gap_so_that_it_does_not_flap() -> None:
    room = Room(69)
    shedding = Shedding(room)
    seen = []
    for used in (69, 70, 65, 60, 59, 69):
        room.memory = Memory(used_bytes=used, limit_bytes=100)
        seen.append(shedding.look() is not None)
    assert seen == [False, True, True, True, False, False]


@pytest.mark.parametrize(
    ("limit", "expected"), [("201326592\n", 201326592), ("max\n", None), ("9223372036854771712\n", None), ("", None), ("0\n", None)]
)
def test_the_limit_is_read_as_the_kernel_writes_it(tmp_path: Path, limit: str, expected: int | None) -> None:
    """memory.max says `max`, version 1 says a huge number where there is no limit."""
    first, second, statm = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes", tmp_path / "statm"
    second.write_text(limit)
    statm.write_text("56070 20000 4000 1 0 30000 0\n")
    memory = read_memory(limit_files=[first, second], statm=statm)
    assert memory.limit_bytes == expected
    assert memory.used_bytes is not None
    assert memory.used_bytes % 20000 == 0
    first.write_text("100000\n")
    assert read_memory(limit_files=[first, second], statm=statm).limit_bytes == 100000


def test_where_nothing_can_be_read_nothing_is_shed(tmp_path: Path) -> None:
    memory = read_memory(limit_files=[tmp_path / "none"], statm=tmp_path / "none")
    assert memory == Memory()
    assert Shedding(lambda: memory).look() is None
    assert str(memory) == "? of ? MiB of memory in use"
    assert (read_memory().used_bytes or 0) > 1 << 20
