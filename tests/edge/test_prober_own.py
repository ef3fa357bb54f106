"""The prober's own troubles: a thread that is late or dies, callers that leave, an entrance that is stuck. On loopback, unprivileged."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from meshworld import Here, gone, namespace_here, open_prober, until

from agent.edge import prober_tcp, prober_worker
from agent.edge.netns import NamespaceDenied, NamespaceGone
from agent.edge.prober import Prober, ProberClosed, ProberFailed
from agent.model.net import NamespaceFile
from agent.model.probe import ProbeKind, ProbePlan, ProbeResult, Reason


class Clock:
    """The real one, moved ahead on demand: as if the thread had not run for a while. Can also make the thread wait."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0
        self.broken: BaseException | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.held = threading.Event()

    def __call__(self) -> float:
        if self.broken:
            raise self.broken
        if not self.hold.is_set():
            self.held.set()
            self.hold.wait(60)
        return time.monotonic() + self.ahead_seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def prober(clock: Clock) -> AsyncIterator[Prober]:
    async with open_prober(entrance=Here(), clock=clock, own_delay_seconds=0.5) as prober:
        yield prober
        clock.hold.set()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A full backlog: the kernel answers no further SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(2)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]
        for filler in fillers:
            filler.close()


@pytest.fixture
def open_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def plan(port: int, *, kind: ProbeKind = ProbeKind.TCP, timeout_seconds: float = 30.0) -> ProbePlan:
    return ProbePlan(
        key=("a", "b"),
        kind=kind,
        namespace=namespace_here(),
        interface="lo",
        source_address=ip_address("127.0.0.2"),
        target_address=ip_address("127.0.0.1"),
        port=port,
        timeout_seconds=timeout_seconds,
    )


def connections(port: int) -> list[str]:
    """States (hexadecimal, net/tcp_states.h) of our sockets towards `port`."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return [fields[3] for fields in lines if fields[1].startswith("0200007F:") and fields[2] == f"0100007F:{port:04X}"]


SYN_SENT, ESTABLISHED, TIME_WAIT = "02", "01", "06"


async def in_flight(prober: Prober, one: ProbePlan, *, state: str = SYN_SENT) -> "asyncio.Task[list[ProbeResult]]":
    task = asyncio.create_task(prober.probe([one]))
    await until(lambda: state in connections(one.port), what="the probe's connection")
    return task


async def nothing_left(port: int) -> None:
    await gone(lambda: bool(set(connections(port)) - {TIME_WAIT}), what="the probe's socket")


async def test_silence_in_a_turn_that_came_late_proves_nothing(prober, clock, silent_port) -> None:
    task = await in_flight(prober, plan(silent_port, timeout_seconds=2.0))
    clock.ahead_seconds = 100.0
    (result,) = await task
    assert result.reason is Reason.NOT_PROBED
    assert (result.detail or "").startswith("own thread was late by ")
    assert prober.max_delay_seconds > 90
    await nothing_left(silent_port)


async def test_the_next_turn_is_in_time_again(prober, clock, silent_port) -> None:
    task = await in_flight(prober, plan(silent_port, timeout_seconds=2.0))
    clock.ahead_seconds = 100.0
    await task
    (result,) = await prober.probe([plan(silent_port, timeout_seconds=0.2)])
    assert result.reason is Reason.TIMEOUT
    assert result.detail == "no answer within 0.2 s; not asked: the interface is no Ethernet device" or "EPERM" in (result.detail or "")


async def test_an_answer_that_came_while_we_were_late_counts(prober, clock) -> None:
    """The peer answers while the thread stands still; only afterwards does it see that the deadline is long over."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as server:
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(prober.probe([plan(server.getsockname()[1], kind=ProbeKind.HTTP, timeout_seconds=1.0)]))
        connection, _ = await loop.sock_accept(server)
        with connection:
            await loop.sock_recv(connection, 1000)
            clock.hold.clear()
            await until(clock.held.is_set, what="the thread's next look at the clock")
            await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            clock.ahead_seconds = 100.0
            clock.hold.set()
            (result,) = await task
    assert (result.reason, result.detail) == (Reason.OK, "HTTP 200")


async def test_an_open_connection_stays_ok_however_late_we_are(prober, clock, open_port, monkeypatch) -> None:
    monkeypatch.setattr(prober_tcp, "RESET_WAIT_SECONDS", 10.0)
    task = await in_flight(prober, plan(open_port), state=ESTABLISHED)
    clock.ahead_seconds = 100.0
    (result,) = await task
    assert result.ok


async def test_a_caller_that_leaves_takes_its_sockets_along(prober, silent_port) -> None:
    task = await in_flight(prober, plan(silent_port))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await nothing_left(silent_port)


async def test_closing_ends_everything(prober, silent_port) -> None:
    task = await in_flight(prober, plan(silent_port))
    prober.close()
    with pytest.raises(ProberClosed):
        await task
    assert not connections(silent_port)
    with pytest.raises(ProberClosed):
        await prober.probe([plan(silent_port)])
    prober.close()
    assert prober.failed is None


async def test_a_thread_that_dies_is_loud(prober, clock, silent_port, caplog) -> None:
    task = await in_flight(prober, plan(silent_port, timeout_seconds=1.0))
    clock.broken = ZeroDivisionError("a bug of ours")
    with pytest.raises(ProberFailed, match="ZeroDivisionError: a bug of ours"):
        await task
    assert isinstance(prober.failed, ZeroDivisionError)
    assert not connections(silent_port)
    with pytest.raises(ProberFailed):
        await prober.probe([plan(silent_port)])
    assert "the prober's thread died" in caplog.text


def test_an_event_loop_that_is_gone_hurts_nobody_else(silent_port, open_port) -> None:
    prober = Prober(entrance=Here())  # type: ignore[arg-type]
    try:

        async def leave() -> None:
            task = await in_flight(prober, plan(silent_port))
            assert not task.done()

        asyncio.run(leave())
        (result,) = asyncio.run(prober.probe([plan(open_port)]))
        assert result.ok
    finally:
        prober.close()


class Refusing:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def call(self, file: NamespaceFile, make: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_exception(self.error)
        return future


@pytest.mark.parametrize(
    "error",
    [NamespaceGone("/run/netns/cni-1", "no such file"), NamespaceDenied("/run/netns/cni-1", "not permitted"), OSError("something else")],
)
async def test_a_namespace_that_lets_nobody_in(error, open_port) -> None:
    async with open_prober(entrance=Refusing(error)) as prober:
        (result,) = await prober.probe([plan(open_port)])
    assert (result.reason, result.detail) == (Reason.NOT_PROBED, str(error))


class Closed:
    def call(self, file: NamespaceFile, make: Callable[[], Any]) -> "Future[Any]":
        raise RuntimeError("the entrance is closed")


async def test_an_entrance_that_is_closed(open_port) -> None:
    async with open_prober(entrance=Closed()) as prober:
        (result,) = await prober.probe([plan(open_port)])
    assert (result.reason, result.detail) == (Reason.NOT_PROBED, "the entrance is closed")


class Stuck:
    """Answers when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Future[Any], Callable[[], Any]]] = []

    def call(self, file: NamespaceFile, make: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        self.asked.append((future, make))
        return future

    def release(self) -> list[socket.socket]:
        made: list[socket.socket] = []
        for future, make in self.asked:
            made += make()
            future.set_result(made)
        return made


async def test_an_entrance_that_is_stuck_and_wakes_too_late(open_port, monkeypatch) -> None:
    monkeypatch.setattr(prober_worker, "ENTRANCE_WAIT_SECONDS", 0.2)
    entrance = Stuck()
    async with open_prober(entrance=entrance) as prober:
        (result,) = await prober.probe([plan(open_port)])
        assert (result.reason, result.detail) == (Reason.NOT_PROBED, "its namespace could not be entered within 0.2 s")
        (sock,) = entrance.release()
        await until(lambda: sock.fileno() == -1, what="the late socket's end")


async def test_sockets_that_arrive_after_the_end_are_closed(open_port) -> None:
    entrance = Stuck()
    async with open_prober(entrance=entrance) as prober:
        task = asyncio.create_task(prober.probe([plan(open_port)]))
        await until(lambda: bool(entrance.asked), what="a call of the entrance")
    with pytest.raises(ProberClosed):
        await task
    (sock,) = entrance.release()
    assert sock.fileno() == -1


async def test_a_caller_that_leaves_before_its_sockets_are_there(open_port) -> None:
    entrance = Stuck()
    async with open_prober(entrance=entrance) as prober:
        task = asyncio.create_task(prober.probe([plan(open_port)]))
        await until(lambda: bool(entrance.asked), what="a call of the entrance")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (sock,) = entrance.release()
        await until(lambda: sock.fileno() == -1, what="the socket's end")


async def test_no_descriptor_stays(open_port, silent_port) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    async with open_prober(entrance=Here()) as prober:
        for _ in range(3):
            await prober.probe(
                [plan(open_port), plan(silent_port, timeout_seconds=0.1), plan(open_port, kind=ProbeKind.HTTP, timeout_seconds=0.1)] * 5
            )
    assert descriptors() == before


async def test_too_many_plans_are_refused_not_remembered(monkeypatch, open_port) -> None:
    monkeypatch.setattr(prober_worker, "MAX_WAITING", 10)
    async with open_prober(entrance=Here()) as prober:
        results = await prober.probe([plan(open_port)] * 12)
    assert [result.ok for result in results] == [True] * 10 + [False] * 2
    assert results[-1].detail == "more than 10 probes were waiting"


async def test_nothing_to_ask(prober) -> None:
    assert await prober.probe([]) == []
