"""How far a source can be believed, moment by moment, with a clock that is turned by hand."""

import pytest
from kubeserver import Turned

from agent.edge.kube import Absent, ConnectionLost, Forbidden, ServerFailed, Store
from agent.model.records import SourceState

LOST = ConnectionLost("the watch was cut")
NOT_FOUND = Absent("404", status=404)
DENIED = Forbidden("403", status=403)


class Told:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(clock: Turned, told: Told) -> Store[str]:
    return Store("pods", clock=clock, changed=told)


def seen(store: Store[str]) -> tuple[str, float]:
    status = store.status()
    return status.state.value, status.age_seconds


def test_before_anything_the_age_counts_from_the_start(store: Store[str], clock: Turned) -> None:
    clock.now += 7
    assert seen(store) == ("never", 7)
    store.failed(LOST)
    clock.now += 3
    assert seen(store) == ("never", 10)
    assert not store.settled


def test_live_while_connected_and_stale_from_the_moment_of_the_loss(store: Store[str], clock: Turned) -> None:
    store.replace({"a": "A"}, skipped={})
    store.connected()
    clock.now += 1000
    assert seen(store) == ("live", 0)
    store.failed(LOST)
    assert seen(store) == ("stale", 0)
    clock.now += 41
    store.failed(LOST)
    assert seen(store) == ("stale", 41)
    assert store.items() == ("A",)
    assert store.settled


def test_silence_never_makes_a_live_watch_stale(store: Store[str], clock: Turned) -> None:
    store.replace({}, skipped={})
    store.connected()
    clock.now += 1_000_000
    assert seen(store) == ("live", 0)


def test_a_watch_reopened_at_once_was_never_lost_and_one_that_is_not_was_lost_when_it_closed(
    store: Store[str], clock: Turned, told: Told
) -> None:
    store.replace({"a": "A"}, skipped={})
    store.connected()
    before = told.times
    store.closed(grace=True)
    clock.now += 1
    assert seen(store) == ("live", 0)
    store.connected()
    assert told.times == before
    store.closed(grace=True)
    clock.now += 3
    assert seen(store) == ("stale", 3)
    store.connected()
    store.closed(grace=False)
    assert seen(store) == ("stale", 0)


def test_grace_is_for_what_was_live(store: Store[str], clock: Turned) -> None:
    store.seed({"a": "A"}, age_seconds=0.5)
    store.closed(grace=True)
    assert seen(store) == ("stale", 0.5)


def test_a_list_alone_does_not_stay_live_for_long(store: Store[str], clock: Turned) -> None:
    store.replace({"a": "A"}, skipped={})
    assert seen(store) == ("live", 0)
    clock.now += 2.5
    assert seen(store) == ("stale", 2.5)


def test_a_known_set_is_believed_gone_after_the_third_404_only(store: Store[str], clock: Turned) -> None:
    store.replace({"a": "A"}, skipped={})
    store.connected()
    for _ in range(2):
        store.failed(NOT_FOUND)
        assert (store.status().state, store.items()) == (SourceState.STALE, ("A",))
    store.failed(NOT_FOUND)
    assert (store.status().state, store.items()) == (SourceState.ABSENT, ())


def test_404s_with_other_failures_between_are_no_row(store: Store[str]) -> None:
    store.replace({"a": "A"}, skipped={})
    for error in (NOT_FOUND, NOT_FOUND, ServerFailed("500", status=500), NOT_FOUND, NOT_FOUND):
        store.failed(error)
    assert store.items() == ("A",)


def test_a_resource_never_seen_is_absent_at_the_first_404(store: Store[str]) -> None:
    store.failed(NOT_FOUND)
    assert store.status().state is SourceState.ABSENT
    assert store.settled


def test_a_known_set_is_forbidden_at_the_third_403_only_and_stays(store: Store[str], clock: Turned) -> None:
    """A kube-apiserver that starts answers 403 until it has read its roles; that must not take every agent's verdict away."""
    store.replace({"a": "A"}, skipped={})
    store.connected()
    for _ in range(2):
        store.failed(DENIED)
        clock.now += 1
        assert store.status().state is SourceState.STALE
    store.failed(DENIED)
    clock.now += 3
    assert seen(store) == ("forbidden", 5)
    assert store.items() == ("A",)
    store.connected()
    store.failed(DENIED)
    assert store.status().state is SourceState.STALE


def test_a_role_that_allows_lists_and_no_watch_is_forbidden(store: Store[str]) -> None:
    for _ in range(3):
        store.replace({"a": "A"}, skipped={})
        store.failed(DENIED)
    assert store.status().state is SourceState.FORBIDDEN


def test_what_was_never_read_is_forbidden_at_the_first_403(store: Store[str]) -> None:
    store.failed(DENIED)
    assert store.status().state is SourceState.FORBIDDEN
    assert store.settled


def test_what_an_earlier_process_knew_is_stale_with_its_age_and_never_replaces_news(store: Store[str], clock: Turned) -> None:
    store.seed({"a": "A"}, age_seconds=3600)
    clock.now += 10
    assert seen(store) == ("stale", 3610)
    assert store.items() == ("A",)
    assert store.known().confirmed_monotonic_seconds is None
    assert not store.settled
    store.failed(LOST)
    assert seen(store) == ("stale", 3610)
    store.replace({"b": "B"}, skipped={})
    store.seed({"a": "A"}, age_seconds=1)
    assert store.items() == ("B",)


def test_the_set_was_confirmed_now_while_live_and_not_in_the_last_half_minute_of_a_broken_watch(store: Store[str], clock: Turned) -> None:
    store.replace({"a": "A"}, skipped={})
    store.connected()
    clock.now += 100
    assert store.known().confirmed_monotonic_seconds == clock.now
    broken = clock.now
    store.failed(LOST)
    clock.now += 10
    assert store.known().confirmed_monotonic_seconds == broken - 30
    store.connected()
    store.put("a", "A")
    clock.now += 1
    store.failed(LOST)
    assert store.known().confirmed_monotonic_seconds == broken + 10


def test_the_revision_grows_with_each_change_and_each_list_and_with_nothing_else(store: Store[str], told: Told) -> None:
    store.replace({"a": "A"}, skipped={})
    store.connected()
    store.put("a", "A")
    store.confirm()
    store.drop("unheard of")
    assert (store.revision, told.times) == (1, 1)
    first = store.items()
    assert store.items() is first
    store.put("a", "B")
    store.drop("a")
    store.replace({}, skipped={})
    assert (store.revision, told.times) == (4, 4)


def test_the_same_failure_again_and_again_wakes_readers_once(store: Store[str], told: Told) -> None:
    store.replace({}, skipped={})
    store.connected()
    before = told.times
    for _ in range(50):
        store.failed(LOST)
    assert told.times == before + 1
    store.failed(ServerFailed("500", status=500))
    assert told.times == before + 2


def test_reasons_for_unreadable_objects_are_kept_in_small_number_and_all_counted(store: Store[str]) -> None:
    for number in range(1000):
        store.skip(f"ns/{number:04}", "of no shape")
    assert len(store.known().skipped) == 20
    assert store.skipped_total == 1000
    store.connected()
    assert store.status().detail == "20 objects could not be read, e.g. ns/0000: of no shape"
    store.put("ns/0000", "readable again")
    assert len(store.known().skipped) == 19
