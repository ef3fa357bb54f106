"""The lab's own allocator and its Events, by themselves: whereabouts' arithmetic and client-go's merging, case by case."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from apiworld import embedded, prepare

from agent.lab.apiclient import ApiClient
from agent.lab.ipam import IpamError, PoolFull, Wording, assign, read_ipam
from agent.lab.recorder import BURST, COMBINED, Recorder
from agent.lab.whereabouts import ipam_of

Json = dict[str, Any]
ME = "longhorn-system/instance-manager-a"
OTHER = "longhorn-system/instance-manager-b"


@pytest.mark.parametrize(
    ("config", "first", "last", "capacity"),
    [
        ({"range": "172.16.0.0/29"}, "172.16.0.1", "172.16.0.6", 6),
        ({"range": "192.168.0.0/30"}, "192.168.0.1", "192.168.0.2", 2),
        ({"range": "192.168.2.225/28"}, "192.168.2.225", "192.168.2.238", 14),
        ({"range": "192.168.0.10-192.168.0.20/24"}, "192.168.0.10", "192.168.0.20", 11),
        ({"range": "10.20.0.128/27", "range_start": "10.20.0.151", "range_end": "10.20.0.154"}, "10.20.0.151", "10.20.0.154", 4),
        ({"range": "192.168.0.0/24", "range_start": "192.168.0.50", "range_end": "192.168.0.20"}, "192.168.0.50", "192.168.0.254", 205),
        ({"range": "192.168.0.0/24", "range_start": "10.0.0.5", "range_end": "10.0.0.9"}, "192.168.0.1", "192.168.0.254", 254),
        ({"range": "192.168.205.0/24", "exclude": ["192.168.205.1/24"]}, "192.168.205.1", "192.168.205.254", 0),
        ({"range": "10.0.0.0/29", "exclude": ["10.0.0.4/30"]}, "10.0.0.1", "10.0.0.6", 3),
        (
            {"range": "192.168.100.0/24", "exclude": ["192.168.100.0/28", "192.168.100.14/30", "192.168.100.254"]},
            "192.168.100.1",
            "192.168.100.254",
            238,
        ),
        ({"range": "2001:db8::/124"}, "2001:db8::1", "2001:db8::e", 14),
    ],
)
def test_a_range_gives_what_whereabouts_gives(config: Json, first: str, last: str, capacity: int) -> None:
    ipam = read_ipam(config)
    assert (str(ipam.first), str(ipam.last), ipam.capacity()) == (first, last, capacity)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"range": "192.168.205.0/32"}, "net mask is too short, subnet {192.168.205.0 ffffffff} has no usable IP addresses"),
        ({"range": "192.168.205.0/31"}, "net mask is too short, subnet {192.168.205.0 fffffffe}"),
        ({}, "invalid CIDR (do you have the 'range' parameter set for Whereabouts?) ''"),
        ({"range": "192.168.0.0"}, "invalid CIDR (do you have"),
        ({"range": "many/24"}, "invalid CIDR (do you have"),
        ({"range": "192.168.0.0/24", "exclude": ["192.168.0.0/33"]}, "invalid CIDR in exclude list 192.168.0.0/33"),
        ({"range": "192.168.0.0/24", "range_start": "first"}, "invalid range start IP: first"),
    ],
)
def test_a_range_that_cannot_be_used_is_refused_in_its_words(config: Json, words: str) -> None:
    with pytest.raises(IpamError) as refused:
        read_ipam(config)
    assert words in str(refused.value)


@pytest.mark.parametrize("config", ["", "{", "[]", "{}", '{"ipam": "whereabouts"}'])
def test_a_nad_without_ipam_is_refused(config: str) -> None:
    with pytest.raises(IpamError, match="IPAM config missing"):
        ipam_of(config)


def entry(podref: str, interface: str = "lhnet1") -> Json:
    return {"id": "f" * 64, "podref": podref, "ifname": interface}


def test_the_lowest_address_wins_that_is_neither_listed_nor_reserved_nor_excluded() -> None:
    ipam = read_ipam({"range": "192.168.7.0/29", "exclude": ["192.168.7.2/31"]})
    given = assign(ipam, allocations={"1": entry(OTHER)}, reserved={"192.168.7.4": OTHER}, podref=ME, interface="lhnet1")
    assert str(given) == "192.168.7.5"


def test_a_reservation_of_ones_own_is_no_obstacle() -> None:
    given = assign(read_ipam({"range": "192.168.7.0/29"}), allocations={}, reserved={"192.168.7.1": ME}, podref=ME, interface="lhnet1")
    assert str(given) == "192.168.7.1"


def test_a_pod_that_comes_back_takes_its_old_entry_even_out_of_an_exclude() -> None:
    ipam = read_ipam({"range": "192.168.7.0/29", "exclude": ["192.168.7.4/30"]})
    listed = {"5": entry(ME)}
    assert assign(ipam, allocations=listed, reserved={}, podref=ME, interface="lhnet1") == ip_address("192.168.7.5")
    assert assign(ipam, allocations=listed, reserved={}, podref=ME, interface="lhnet2") == ip_address("192.168.7.1")


def test_a_full_pool_is_told_as_each_release_tells_it() -> None:
    ipam = read_ipam({"range": "172.16.0.0/29", "exclude": ["172.16.0.1/32", "172.16.0.6/32"]})
    full = {str(offset): entry(OTHER) for offset in range(2, 6)}
    with pytest.raises(PoolFull) as new:
        assign(ipam, allocations=full, reserved={}, podref=ME, interface="lhnet1")
    assert str(new.value) == (
        "error at storage engine: Could not allocate IP in range: ip: 172.16.0.1 / - 172.16.0.6 / range: 172.16.0.0/29 / "
        "excludeRanges: [172.16.0.1/32 172.16.0.6/32]"
    )
    with pytest.raises(PoolFull) as old:
        assign(ipam, allocations=full, reserved={}, podref=ME, interface="lhnet1", wording=Wording.GO_STRUCT)
    assert str(old.value).endswith("range: net.IPNet{IP:net.IP{0xac, 0x10, 0x0, 0x0}, Mask:net.IPMask{0xff, 0xff, 0xff, 0xf8}}")


# events

POD: Json = {"metadata": {"name": "instance-manager-a", "namespace": "default", "uid": "8a0c"}}


class Reporter:
    """A kubelet's recorder with a clock of the test's."""

    def __init__(self, client: ApiClient) -> None:
        self.now, self.client = 1_750_000_000.0, client
        self._recorder = Recorder(lambda: client, clock=lambda: self.now)

    async def fail(self, times: int, *, every_seconds: float = 10.0, component: str = "kubelet", message: str = "sandbox") -> None:
        for _ in range(times):
            self.now += every_seconds
            words = f"{message} {self.now:.0f}" if message == "sandbox" else message
            await self._recorder.post(POD, reason="Failed", message=words, warning=True, component=component, node="harv41")

    async def events(self) -> list[Json]:
        return sorted(await self.client.list("v1", "Event", namespace="default"), key=lambda one: str(one["metadata"]["name"]))


@contextlib.asynccontextmanager
async def reporter(folder: Path) -> AsyncIterator[Reporter]:
    async with embedded(folder, prepare(folder)) as (call, _), call.client() as client:
        await client.ready()
        yield Reporter(client)
        await asyncio.sleep(0)


async def test_nine_messages_are_nine_events_and_all_later_ones_rewrite_a_tenth(tmp_path: Path) -> None:
    async with reporter(tmp_path) as kubelet:
        await kubelet.fail(14)
        events = await kubelet.events()
    assert [(one["count"], one["message"].startswith(COMBINED)) for one in events] == [(1, False)] * 9 + [(5, True)]
    assert events[-1]["message"] == f"{COMBINED}sandbox 1750000140"
    assert events[-1]["lastTimestamp"] > events[-1]["firstTimestamp"]
    assert events[-1]["source"] == {"component": "kubelet", "host": "harv41"}


async def test_after_ten_quiet_minutes_a_message_stands_for_itself_again(tmp_path: Path) -> None:
    async with reporter(tmp_path) as kubelet:
        await kubelet.fail(11)
        kubelet.now += 601
        await kubelet.fail(1)
        events = await kubelet.events()
    assert not events[-1]["message"].startswith(COMBINED)


async def test_the_same_words_again_raise_the_count(tmp_path: Path) -> None:
    async with reporter(tmp_path) as kubelet:
        await kubelet.fail(3, message="no sandbox for you")
        (event,) = await kubelet.events()
    assert (event["count"], event["message"]) == (3, "no sandbox for you")


async def test_who_talks_without_end_is_let_through_once_in_five_minutes(tmp_path: Path) -> None:
    async with reporter(tmp_path) as kubelet:
        await kubelet.fail(BURST + 10, every_seconds=1)
        assert sum(one["count"] for one in await kubelet.events()) == BURST
        kubelet.now += 300
        await kubelet.fail(1)
        assert sum(one["count"] for one in await kubelet.events()) == BURST + 1


async def test_an_event_that_has_expired_is_made_anew(tmp_path: Path) -> None:
    async with reporter(tmp_path) as kubelet:
        await kubelet.fail(1, message="again")
        (event,) = await kubelet.events()
        await kubelet.client.delete("v1", "Event", event["metadata"]["name"], namespace="default")
        await kubelet.fail(1, message="again")
        (event,) = await kubelet.events()
    assert event["count"] == 1


async def test_multus_is_a_new_process_each_time_and_merges_nothing(tmp_path: Path) -> None:
    async with reporter(tmp_path) as kubelet:
        await kubelet.fail(12, component="multus", message="Add eth0 [10.52.0.3/32] from k8s-pod-network")
        assert [one["count"] for one in await kubelet.events()] == [1] * 12
