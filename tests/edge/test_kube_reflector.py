"""A reflector against an API server that behaves, and against the ways in which real ones do not."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubeserver as fake
import pytest
from kubeserver import FAST, PODS, KubeServer, event, named, page, pod, refuse, stream, until

from agent.edge.decode import POD
from agent.edge.kube import Pace, Reflector, Timeouts
from agent.model.records import PodRecord, SourceState


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubeServer]:
    async with fake.serving(tmp_path) as running:
        yield running


@asynccontextmanager
async def watching(
    server: KubeServer,
    *,
    pace: Pace = FAST,
    clock: Callable[[], float] = time.monotonic,
    changed: Callable[[], None] = lambda: None,
    **client: Any,
) -> AsyncIterator[Reflector[PodRecord]]:
    async with fake.client_of(server, clock=clock, **client) as connection:
        reflector = Reflector(
            "pods",
            client=connection,
            path=PODS,
            kind=POD,
            clock=clock,
            rng=fake.even(),
            changed=changed,
            query={"labelSelector": "a=b"},
            pace=pace,
        )
        async with fake.running(reflector.run()):
            yield reflector


def live(reflector: Reflector[PodRecord]) -> Callable[[], bool]:
    return lambda: reflector.store.status().state is SourceState.LIVE and len(reflector.store) > 0


def state(reflector: Reflector[PodRecord]) -> SourceState:
    return reflector.store.status().state


async def test_three_pages_make_one_set_and_the_first_list_comes_from_the_watch_cache(server: KubeServer) -> None:
    server.lists = [page(pod("a"), version="7", more="t1"), page(pod("b"), version="7", more="t2"), page(pod("c"), version="7")]
    server.watches = [stream()]
    async with watching(server) as reflector:
        await until(lambda: server.queries(watch=True))
        assert named(reflector.store.items()) == ["a", "b", "c"]
        await until(live(reflector))
    first, second, third = server.queries(watch=False)
    assert first == {"labelSelector": "a=b", "resourceVersion": "0", "limit": "250"}
    assert second == {"labelSelector": "a=b", "limit": "250", "continue": "t1"}
    assert third["continue"] == "t2"
    watch = server.queries(watch=True)[0]
    assert (watch["resourceVersion"], watch["allowWatchBookmarks"], watch["labelSelector"]) == ("7", "true", "a=b")
    assert 300 <= int(watch["timeoutSeconds"]) <= 600


async def test_readers_see_no_half_set_while_pages_arrive(server: KubeServer) -> None:
    server.lists = [page(pod("a"), version="7", more="t1"), fake.silent()]
    async with watching(server) as reflector:
        await until(lambda: len(server.seen) == 2)
        assert reflector.store.items() == ()
        assert state(reflector) is SourceState.NEVER


async def test_events_change_the_set_and_a_bookmark_moves_the_place_to_resume(server: KubeServer) -> None:
    server.lists = [page(pod("a"), pod("b"), version="10")]
    server.watches = [
        stream(
            event("ADDED", pod("c", version="11")),
            event("MODIFIED", pod("a", version="12", node="harv42")),
            event("DELETED", pod("b", version="13")),
            event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "90", "creationTimestamp": None}}),
            then="close",
        ),
        stream(),
    ]
    async with watching(server) as reflector:
        await until(lambda: len(server.queries(watch=True)) == 2)
        assert [(item.name, item.node) for item in reflector.store.items()] == [("a", "harv42"), ("c", "harv41")]
        assert len(server.queries(watch=False)) == 1
    assert server.queries(watch=True)[1]["resourceVersion"] == "90"


async def test_the_server_closes_in_order_and_nobody_sees_the_source_flap(server: KubeServer) -> None:
    server.lists = [page(pod("a"))]
    server.watches = [stream(then="close"), stream()]
    states: list[SourceState] = []
    seen: list[Reflector[PodRecord]] = []
    async with watching(server, changed=lambda: states.extend(state(item) for item in seen)) as reflector:
        seen.append(reflector)
        await until(lambda: len(server.queries(watch=True)) == 2)
        await until(live(reflector))
    assert set(states) <= {SourceState.NEVER, SourceState.LIVE}


async def test_a_server_that_always_closes_at_once_is_asked_less_and_less_often(server: KubeServer) -> None:
    server.lists = [page(pod("a"))]
    server.watches = [stream(then="close")]
    pace = Pace(first_pause_seconds=0.05, longest_pause_seconds=30.0, steady_seconds=3600)
    async with watching(server, pace=pace):
        await until(lambda: len(server.queries(watch=True)) >= 7)
    # The next pause is at least 1.6 s; a client that spins asks thousands of times in the time that these seven took.
    assert len(server.queries(watch=True)) < 10
    assert len(server.queries(watch=False)) == 1


@pytest.mark.parametrize("how", ["http", "stream"])
async def test_410_leads_to_a_new_list_without_a_version_and_keeps_the_set_meanwhile(server: KubeServer, how: str) -> None:
    gone = (
        refuse(410, "too old resource version")
        if how == "http"
        else stream(event("ERROR", {"kind": "Status", "code": 410, "message": "gone"}))
    )
    server.lists = [page(pod("a"), version="10"), page(pod("a"), pod("b"), version="60")]
    server.watches = [gone, stream()]
    async with watching(server) as reflector:
        await until(lambda: len(server.queries(watch=True)) == 2)
        assert named(reflector.store.items()) == ["a", "b"]
        await until(live(reflector))
    assert "resourceVersion" not in server.queries(watch=False)[1]
    assert server.queries(watch=True)[1]["resourceVersion"] == "60"


async def test_410_between_two_pages_starts_the_list_again(server: KubeServer) -> None:
    server.lists = [page(pod("old"), version="7", more="t1"), refuse(410, "continue token expired"), page(pod("new"), version="9")]
    server.watches = [stream()]
    async with watching(server) as reflector:
        await until(live(reflector))
        assert named(reflector.store.items()) == ["new"]
    assert "continue" not in server.queries(watch=False)[2]


async def test_410_again_and_again_does_not_spin(server: KubeServer) -> None:
    server.lists = [page(pod("a"))]
    server.watches = [refuse(410)]
    pace = Pace(first_pause_seconds=60.0, longest_pause_seconds=60.0)
    async with watching(server, pace=pace) as reflector:
        await until(lambda: state(reflector) is SourceState.STALE)
        assert named(reflector.store.items()) == ["a"]
    assert len(server.queries(watch=True)) == 2


async def test_410_right_after_an_outage_does_not_wait_as_long_as_the_outage_had_made_it_wait(server: KubeServer) -> None:
    """A server that was restarted has forgotten its history: the watch is refused once, and a list would be answered at once."""
    server.lists = [page(pod("a"))]
    server.watches = [refuse(500), refuse(500), refuse(500), refuse(410), stream()]
    async with fake.client_of(server, clock=time.monotonic) as connection:
        reflector = Reflector(
            "pods", client=connection, path=PODS, kind=POD, clock=time.monotonic, rng=fake.even(), changed=lambda: None, pace=Pace()
        )
        pauses = [await reflector.step() for _ in range(4)]
        assert pauses[0] < pauses[1] < pauses[2]
        assert pauses[3] == 0.0
        async with fake.running(reflector.run()):
            await until(live(reflector))


async def test_a_server_that_only_starts_is_asked_again_soon_after_an_outage(server: KubeServer) -> None:
    """kube-apiserver answers 429 with Retry-After: 1 while its watch caches fill; one that goes on so is asked ever less often."""
    starting = refuse(429, "storage is (re)initializing", Retry_After="1")
    server.lists = [page(pod("a"))]
    server.watches = [refuse(500), refuse(500), refuse(500), refuse(500), starting, starting, starting, stream()]
    async with fake.client_of(server, clock=time.monotonic) as connection:
        reflector = Reflector(
            "pods", client=connection, path=PODS, kind=POD, clock=time.monotonic, rng=fake.even(), changed=lambda: None, pace=Pace()
        )
        pauses = [await reflector.step() for _ in range(7)]
    assert pauses[4] < pauses[3]
    assert 1.0 <= pauses[4] <= pauses[5] < pauses[6]


async def test_401_and_then_the_kubelet_replaces_the_token(server: KubeServer, tmp_path: Path) -> None:
    server.tokens = {"second-token"}
    server.lists = [page(pod("a"))]
    server.watches = [stream()]
    async with watching(server) as reflector:
        await until(lambda: server.rejected >= 3)
        assert state(reflector) is SourceState.NEVER
        assert "401" in (reflector.store.status().detail or "")
        (tmp_path / "token").write_text("second-token")
        await until(live(reflector))


async def test_a_token_replaced_under_a_running_watch_is_used_for_the_next_one(server: KubeServer, tmp_path: Path) -> None:
    server.lists = [page(pod("a"))]
    server.watches = [stream(then="close")]
    async with watching(server) as reflector:
        await until(live(reflector))
        (tmp_path / "token").write_text("second-token")
        server.tokens = {"second-token"}
        before = len(server.seen)
        await until(lambda: len(server.seen) > before)


async def test_403_says_forbidden_and_keeps_what_was_known(server: KubeServer) -> None:
    server.lists = [page(pod("a")), refuse(403, 'pods is forbidden: User "x" cannot list resource "pods"')]
    server.watches = [refuse(403, "no watch either")]
    async with watching(server) as reflector:
        await until(lambda: state(reflector) is SourceState.FORBIDDEN)
        assert named(reflector.store.items()) == ["a"]
        assert "cannot list" in (reflector.store.status().detail or "")


async def test_404_is_absent_and_the_resource_that_appears_later_is_found(server: KubeServer) -> None:
    server.lists = [refuse(404), refuse(404), page(pod("a"))]
    server.watches = [stream()]
    states: list[SourceState] = []
    seen: list[Reflector[PodRecord]] = []
    async with watching(server, changed=lambda: states.extend(state(item) for item in seen)) as reflector:
        seen.append(reflector)
        await until(live(reflector))
    assert states[0] is SourceState.ABSENT
    assert states[-1] is SourceState.LIVE


async def test_a_server_that_has_just_started_says_404_once_and_empties_nothing(server: KubeServer) -> None:
    server.lists = [page(pod("a"))]
    server.watches = [refuse(404, "404 page not found"), refuse(404, "404 page not found"), stream()]
    async with watching(server) as reflector:
        await until(lambda: len(server.queries(watch=True)) == 3)
        assert named(reflector.store.items()) == ["a"]


async def test_a_resource_that_is_taken_away_becomes_absent_and_empty(server: KubeServer) -> None:
    server.lists = [page(pod("a")), refuse(404)]
    server.watches = [refuse(404)]
    async with watching(server) as reflector:
        await until(lambda: state(reflector) is SourceState.ABSENT)
        assert reflector.store.items() == ()


async def test_429_is_obeyed_for_as_long_as_the_server_asks(server: KubeServer) -> None:
    server.lists = [refuse(429, "slow down", Retry_After="1"), page(pod("a"))]
    server.watches = [stream()]
    async with watching(server) as reflector:
        await until(lambda: len(server.seen) == 1)
        asked = time.monotonic()
        await until(live(reflector))
    # Our own pause would have been a hundredth of a second; being late is no mistake.
    assert time.monotonic() - asked > 0.9


async def test_500_leaves_the_last_set_with_its_age(server: KubeServer) -> None:
    clock = fake.Turned()
    server.lists = [page(pod("a"))]
    server.watches = [stream(then="cut"), refuse(500, "etcdserver: leader changed")]
    async with watching(server, clock=clock) as reflector:
        await until(lambda: "leader changed" in (reflector.store.status().detail or ""))
        clock.now += 41
        status = reflector.store.status()
        assert (status.state, status.age_seconds) == (SourceState.STALE, 41.0)
        assert named(reflector.store.items()) == ["a"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(stream(b'{"type":"ADDED","object":{"meta', then="close"), "ended inside a line", id="half a line"),
        pytest.param(stream(b'{"type":"ADDED","object":{"meta', then="cut"), "connection ended before", id="half a line and a cut"),
        pytest.param(stream(b"x" * 5000 + b"\n"), "longer than 4096 bytes", id="a huge line"),
        pytest.param(stream(b"y" * 5000), "longer than 4096 bytes", id="a line without end"),
        pytest.param(stream(b"<html>proxy error</html>\n"), "watch event", id="no JSON"),
        pytest.param(stream(b'["ADDED"]\n'), "watch event", id="JSON of another shape"),
        pytest.param(stream(b'{"type":"ADDED","object":' + b"[" * 4000 + b"\n"), "watch event", id="a nest of brackets"),
        pytest.param(stream({"type": "ERROR", "object": {"code": 500, "message": "etcd is gone"}}), "etcd is gone", id="an error event"),
        pytest.param(stream({"type": "ERROR", "object": "?"}), "ERROR event", id="an error event of no shape"),
        pytest.param(stream({"type": "DELETED", "object": {"metadata": {}}}), "without a name", id="nobody was deleted"),
    ],
)
async def test_a_broken_watch_is_named_resumed_and_loses_nothing(server: KubeServer, broken: Any, said: str) -> None:
    server.lists = [page(pod("a"), version="10")]
    server.watches = [broken, stream(event("ADDED", pod("b", version="11")))]
    details: list[str] = []
    seen: list[Reflector[PodRecord]] = []
    async with watching(
        server, changed=lambda: details.extend(str(item.store.status().detail) for item in seen), line_bytes=4096
    ) as reflector:
        seen.append(reflector)
        await until(lambda: len(reflector.store) == 2)
        await until(live(reflector))
    assert any(said in detail for detail in details), details
    assert [query["resourceVersion"] for query in server.queries(watch=True)] == ["10", "10"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(fake.answer(b"<html>"), "list", id="no JSON"),
        pytest.param(fake.answer(b'{"metadata":{"resourceVersion":"1"},"items":{}}'), "list", id="items are no list"),
        pytest.param(fake.answer(b'{"metadata":{},"items":[]}'), "no resourceVersion", id="no version"),
        pytest.param(fake.answer(b""), "list", id="nothing"),
        pytest.param(fake.answer(b"moved", status=302), "unexpected status 302", id="a redirect"),
        pytest.param(page(pod("a"), more="for ever"), "more than 400 pages", id="pages without end"),
    ],
)
async def test_a_broken_list_is_named_and_asked_again(server: KubeServer, broken: Any, said: str) -> None:
    server.lists = [broken]
    server.watches = [stream()]
    async with watching(server) as reflector:
        await until(lambda: said in (reflector.store.status().detail or ""))
        assert state(reflector) is SourceState.NEVER
        server.lists = [page(pod("a"))]
        await until(live(reflector))


async def test_a_server_that_accepts_and_says_nothing_is_a_timeout_of_the_answer(server: KubeServer) -> None:
    server.lists = [fake.silent()]
    async with watching(server, timeouts=Timeouts(connect_seconds=10, answer_seconds=0.2)) as reflector:
        await until(lambda: reflector.store.status().detail)
        assert "no answer within 0.2 s" in (reflector.store.status().detail or "")
        assert state(reflector) is SourceState.NEVER


async def test_an_unknown_event_type_is_noted_and_the_next_event_counts(server: KubeServer) -> None:
    server.lists = [page(version="10")]
    server.watches = [stream(event("TELEPORTED", pod("a", version="11")), event("ADDED", pod("b", version="12")))]
    async with watching(server) as reflector:
        await until(live(reflector))
        assert named(reflector.store.items()) == ["b"]
        assert "TELEPORTED" in (reflector.store.status().detail or "")


async def test_an_object_with_a_wrong_field_is_left_out_and_named(server: KubeServer) -> None:
    strange = pod("strange")
    strange["spec"]["nodeName"] = 41
    server.lists = [page(pod("a"), strange, {"metadata": "none"}, {"metadata": {"name": None}}, "text")]
    server.watches = [stream()]
    async with watching(server) as reflector:
        await until(live(reflector))
        assert named(reflector.store.items()) == ["a"]
        assert any("longhorn-system/strange" in reason and "nodeName" in reason for reason in reflector.store.skipped())
        assert reflector.store.skipped_total >= 2
        assert reflector.store.known().skipped == tuple(reflector.store.skipped())


async def test_what_was_known_of_an_object_stays_when_it_becomes_unreadable(server: KubeServer) -> None:
    strange = pod("a", version="11")
    strange["status"]["phase"] = ["Running"]
    server.lists = [page(pod("a"), version="10"), page(strange, version="20")]
    server.watches = [stream(event("MODIFIED", strange), event("ERROR", {"code": 410})), stream()]
    async with watching(server) as reflector:
        await until(lambda: len(server.queries(watch=True)) == 2)
        await until(live(reflector))
        assert [(item.name, item.phase) for item in reflector.store.items()] == [("a", "Running")]
        assert reflector.store.skipped_total == 2


async def test_a_server_restored_from_a_backup_is_listed_again(server: KubeServer) -> None:
    server.lists = [page(pod("a"), version="5000"), page(pod("b"), version="20")]
    server.watches = [stream(event("ADDED", pod("b", version="19"))), stream()]
    async with watching(server) as reflector:
        await until(lambda: named(reflector.store.items()) == ["b"])
    assert "resourceVersion" not in server.queries(watch=False)[1]


async def test_after_a_long_outage_the_set_is_listed_anew_and_not_from_an_older_moment(server: KubeServer) -> None:
    clock = fake.Turned()
    server.lists = [page(pod("a"), version="77"), refuse(504, "Too large resource version: 77, current: 9"), page(pod("b"), version="9")]
    server.watches = [stream(then="cut"), refuse(500)]
    pace = Pace(first_pause_seconds=0.01, longest_pause_seconds=0.05, relist_after_seconds=30)
    async with watching(server, clock=clock, pace=pace) as reflector:
        await until(lambda: len(server.queries(watch=True)) >= 2)
        clock.now += 31
        await until(lambda: named(reflector.store.items()) == ["b"])
    _, again, last, *_ = server.queries(watch=False)
    assert (again["resourceVersion"], again["resourceVersionMatch"]) == ("77", "NotOlderThan")
    assert "resourceVersion" not in last


async def test_a_pods_birth_is_told_by_the_servers_clock_and_stays(server: KubeServer) -> None:
    clock = fake.Turned(5000.0)
    created = datetime.fromtimestamp(time.time() - 3600, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    server.lists = [page(pod("old", creationTimestamp=created), pod("undated"), version="10")]
    later = datetime.fromtimestamp(time.time(), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    server.watches = [
        stream(
            event("MODIFIED", pod("old", version="11", node="harv43", creationTimestamp=later)),
            event("ADDED", pod("replaced", version="12", creationTimestamp=created)),
            event("MODIFIED", pod("replaced", version="13", creationTimestamp=later, uid="another")),
        )
    ]
    async with watching(server, clock=clock) as reflector:
        await until(lambda: len(reflector.store) == 3 and (reflector.store.get("longhorn-system/replaced") or pod).uid == "another")
        old, replaced, undated = reflector.store.items()
    assert old.node == "harv43"
    assert old.born_monotonic_seconds == pytest.approx(5000 - 3600, abs=60)
    assert replaced.born_monotonic_seconds == pytest.approx(5000, abs=60)
    assert undated.born_monotonic_seconds is None


async def test_a_modification_that_we_do_not_read_wakes_nobody(server: KubeServer) -> None:
    server.lists = [page(pod("a"), version="10")]
    server.watches = [stream(event("MODIFIED", {**pod("a", version="11"), "managed": "elsewhere"}), event("ADDED", pod("b", version="12")))]
    async with watching(server) as reflector:
        await until(lambda: len(reflector.store) == 2)
        assert reflector.store.revision == 2


async def test_ten_thousand_pods_in_one_answer_are_taken(server: KubeServer) -> None:
    """Real servers ignore `limit` when they answer from the watch cache."""
    server.lists = [page(*(pod(f"p{number:05}") for number in range(10_000)))]
    server.watches = [stream()]
    async with watching(server) as reflector:
        await until(lambda: len(reflector.store) == 10_000)
