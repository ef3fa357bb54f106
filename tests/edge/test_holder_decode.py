"""What the holder makes of single objects: pools of any size, Events and their times, Longhorn's and Harvester's objects."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from holderworld import EXHAUSTED

from agent.edge import decode_holder
from agent.edge.decode_events import MESSAGE_CHARS, MESSAGES_CHARS, STORM_MESSAGE_CHARS, EventKind
from agent.edge.decode_holder import ALLOCATIONS_KEPT, read_allocations
from agent.edge.kube import BadAnswer, Kind, Sighting
from agent.edge.kube.wire import unix_seconds
from agent.model.records import Allocation, EventRecord

NOW = "2026-06-02T08:15:00Z"
SEEN = Sighting(monotonic_seconds=500.0, server_unix_seconds=unix_seconds(NOW))


def read(kind: Kind[Any], obj: dict[str, Any], *, seen: Sighting = SEEN, earlier: Any = None) -> Any:
    return kind.build(kind.decoder.decode(json.dumps(obj).encode()), seen, earlier)


def pool(allocations: Any, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "192.168.0.0-24", "namespace": "kube-system"},
        "spec": {"range": "192.168.0.0/24", "allocations": allocations, **spec},
    }


def event(**fields: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "im.1",
            "namespace": "longhorn-system",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": fields.pop("made", None),
        },
        "involvedObject": {"kind": "Pod", "name": "im", "namespace": "longhorn-system", "uid": "pod-uid"},
        "reason": "FailedCreatePodSandBox",
        "message": EXHAUSTED,
        **fields,
    }


def events(*, listed: bool = True, kept: tuple[EventRecord, ...] = ()) -> Kind[EventRecord]:
    return EventKind(listed=lambda: listed, kept=lambda: kept).kind


def test_an_entry_of_the_oldest_whereabouts_has_an_id_only() -> None:
    """`podref` came with 0.4.1 and `ifname` with 0.8: a reader accepts both missing."""
    found = read(decode_holder.POOL, pool({"1": {"id": "aa"}, "2": {"id": "bb", "podref": "longhorn-system/im", "ifname": "lhnet1"}}))
    assert found.allocations == (
        Allocation(key="1", container_id="aa"),
        Allocation(key="2", container_id="bb", podref="longhorn-system/im", interface="lhnet1"),
    )
    assert found.allocations_dropped == 0


@pytest.mark.parametrize("allocations", [{}, None])
def test_a_pool_without_allocations_is_empty(allocations: Any) -> None:
    found = read(decode_holder.POOL, pool(allocations))
    assert (found.range, found.allocations, found.allocations_dropped) == ("192.168.0.0/24", (), 0)
    assert read(decode_holder.POOL, {"metadata": {"name": "p", "namespace": "kube-system"}}).allocations == ()


@pytest.mark.parametrize("allocations", [[], "many", {"1": []}, {"1": {"id": 5}}, 7])
def test_a_pool_that_is_none_is_unreadable_and_not_empty(allocations: Any) -> None:
    with pytest.raises(BadAnswer):
        read(decode_holder.POOL, pool(allocations))


def allocations_text(count: int) -> bytes:
    entry = b'{"id":"%064d","podref":"longhorn-system/instance-manager-%d","ifname":"lhnet1"}'
    return b"{" + b",".join(b'"%d": ' % number + entry % (number, number) for number in range(count)) + b"}"


def test_of_a_million_allocations_a_bounded_number_is_kept_and_the_rest_is_counted() -> None:
    text = b"{" + b",".join(b'"%d":{"id":"a"}' % number for number in range(1_000_000)) + b"}"
    assert len(text) > decode_holder.ALLOCATIONS_BYTES
    kept, dropped = read_allocations(text)
    assert len(kept) == ALLOCATIONS_KEPT
    assert len(kept) + dropped == 1_000_000
    assert kept[3] == Allocation(key="3", container_id="a")


def test_what_is_not_kept_of_a_pool_takes_no_memory() -> None:
    text = allocations_text(150_000)
    tracemalloc.start()
    try:
        kept, dropped = read_allocations(text, keep=100)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(kept), dropped) == (100, 149_900)
    assert peak < 1 << 20


def test_a_pool_that_is_walked_through_reads_as_one_that_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: dict[str, Any] = {str(number): {"id": f'"{number}', "podref": "a/{b}", "ifname": "\\"} for number in range(50)}
    entries['strange "key" \\'] = {"id": "\u00e4"}
    for text in (
        json.dumps(entries).encode(),
        json.dumps(entries, indent=3).encode(),
        json.dumps(entries, ensure_ascii=False).encode(),
        b"{}",
    ):
        whole = read_allocations(text)
        with monkeypatch.context() as patch:
            patch.setattr(decode_holder, "ALLOCATIONS_BYTES", 0)
            assert read_allocations(text) == whole
            assert read_allocations(text, keep=3) == (whole[0][:3], max(0, len(whole[0]) - 3))


@pytest.mark.parametrize("text", [b'{"1":{"id":{}}}', b'{"1":7}', b"[]", b'{"1":{"id":"a"},"2":null}', b'"' + b'\\"' * 100_000 + b'"'])
def test_a_large_map_of_something_else_is_unreadable(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_holder, "ALLOCATIONS_BYTES", 0)
    with pytest.raises(BadAnswer):
        read_allocations(msgspec.Raw(text))


@pytest.mark.parametrize(
    ("fields", "first", "last"),
    [
        ({"count": 14, "firstTimestamp": "2026-06-02T08:12:02Z", "lastTimestamp": "2026-06-02T08:14:58Z"}, 178.0, 2.0),
        ({"eventTime": "2026-06-02T08:14:00.250000Z"}, 59.75, 59.75),
        ({"eventTime": "2026-06-02T08:10:00.0Z", "series": {"count": 5, "lastObservedTime": "2026-06-02T08:14:30.0Z"}}, 300.0, 30.0),
        (
            {"made": "2026-06-02T08:14:40Z", "count": 1, "firstTimestamp": "2026-06-02T08:09:40Z", "lastTimestamp": "2026-06-02T08:09:40Z"},
            20.0,
            20.0,
        ),
        (
            {"made": "2026-06-02T08:14:40Z", "count": 3, "firstTimestamp": "2026-06-02T08:09:40Z", "lastTimestamp": "2026-06-02T08:09:50Z"},
            320.0,
            20.0,
        ),
        ({"count": 2, "lastTimestamp": "2026-06-02T09:00:00Z"}, 0.0, 0.0),
        ({"firstTimestamp": None, "lastTimestamp": "soon", "eventTime": None}, None, None),
    ],
    ids=["kubelet", "new API", "series", "node's clock five minutes slow", "slow clock, rewritten", "fast clock", "no times"],
)
def test_the_age_of_an_event_is_by_the_servers_clock(fields: dict[str, Any], first: float | None, last: float | None) -> None:
    found = read(events(), event(**fields))
    assert found.first_seen_age_seconds == (None if first is None else pytest.approx(first))
    assert found.last_seen_age_seconds == (None if last is None else pytest.approx(last))
    assert found.seen_monotonic_seconds == 500.0


def test_without_the_servers_clock_an_event_has_no_age() -> None:
    found = read(events(), event(lastTimestamp=NOW), seen=Sighting(monotonic_seconds=1.0))
    assert (found.first_seen_age_seconds, found.last_seen_age_seconds) == (None, None)


def test_a_series_counts_and_an_events_note_is_its_message() -> None:
    found = read(events(), event(series={"count": 40}, message=None, note="short"))
    assert (found.count, found.message, found.pod, found.pod_uid) == (40, "short", "im", "pod-uid")
    assert read(events(), {"metadata": {"name": "e", "namespace": "n"}}).count == 1


def test_an_event_that_a_new_list_brings_again_stays_what_it_was() -> None:
    first = read(events(listed=False), event())
    assert not first.live
    later = Sighting(monotonic_seconds=900.0, server_unix_seconds=SEEN.server_unix_seconds)
    assert read(events(), event(), seen=later, earlier=first) is first


def test_long_messages_are_cut_and_a_storm_of_them_keeps_its_beginnings() -> None:
    kept: list[EventRecord] = []
    listed = [False]
    kind = EventKind(listed=lambda: listed[0], kept=lambda: kept).kind
    for _ in range(MESSAGES_CHARS // MESSAGE_CHARS + 10):
        kept.append(read(kind, event(message="x" * 5_000)))
    assert {len(item.message) for item in kept} == {MESSAGE_CHARS, STORM_MESSAGE_CHARS}
    listed[0] = True
    assert len(read(kind, event(message="x" * 9000)).message) == STORM_MESSAGE_CHARS
    kept.clear()
    assert len(read(kind, event(message="x" * 9000)).message) == MESSAGE_CHARS, "the old ones are gone"


def test_of_a_replica_only_what_is_compared_is_kept() -> None:
    obj = {
        "metadata": {"name": "pvc-1-r-1", "namespace": "longhorn-system"},
        "spec": {"volumeName": "pvc-1", "nodeID": "harv41", "healthyAt": NOW, "logRequested": False},
        "status": {"storageIP": "192.168.0.2", "ip": "10.52.0.9", "currentState": "running", "instanceManagerName": "im", "port": 10000},
    }
    found = read(decode_holder.REPLICA, obj)
    assert (found.kind, found.volume, found.node_id, found.storage_ip, found.state) == (
        "replica",
        "pvc-1",
        "harv41",
        "192.168.0.2",
        "running",
    )
    stopped = read(decode_holder.ENGINE, {"metadata": {"name": "e"}, "spec": {"nodeID": ""}, "status": {"storageIP": ""}})
    assert (stopped.kind, stopped.node_id, stopped.storage_ip, stopped.state) == ("engine", None, None, None)


def test_a_reservation_of_any_version_gives_its_pod() -> None:
    old = {"metadata": {"name": "192.168.0.9", "namespace": "kube-system"}, "spec": {"containerid": "aa", "podref": "longhorn-system/im"}}
    found = read(decode_holder.RESERVATION, old)
    assert (found.name, found.podref, found.interface) == ("192.168.0.9", "longhorn-system/im", None)


def test_disks_of_a_longhorn_node_are_counted_whatever_they_are() -> None:
    node = {"metadata": {"name": "harv41"}, "spec": {"disks": {"a": {"path": "/"}, "b": None}}}
    assert read(decode_holder.LONGHORN_NODE, node).disks == 2
    assert read(decode_holder.LONGHORN_NODE, {"metadata": {"name": "harv42"}}).disks == 0


def test_what_harvester_holds_at_zero_is_told_by_its_annotation() -> None:
    notes = {"storage-network.settings.harvesterhci.io/replica": "1", "rwx-network.settings.harvesterhci.io/replica": "2", "other": "x"}
    obj = {"metadata": {"name": "p", "namespace": "m", "annotations": notes}, "spec": {"replicas": 0}}
    found = read(decode_holder.monitoring_of("Prometheus"), obj)
    assert (found.key, found.replicas, sorted(found.held.values())) == ("m/p", 0, ["1", "2"])
