"""HTTP probes on loopback, without any privilege: peers that answer, that answer something else, and that play for time."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import ip_address

import pytest
from meshworld import Handler, Here, answering, namespace_here, open_prober, resetting

from agent.edge.prober import Prober
from agent.model.probe import ProbeKind, ProbePlan, ProbeResult, Reason

IDENTITY = b'{"schema":1,"node":"harv42","pod":"longhorn-system/instance-manager-b","uid":"7","address":"127.0.0.3"}'

Serve = Callable[[Handler], Awaitable[int]]


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with open_prober(entrance=Here()) as prober:
        yield prober


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:
        tasks: set[asyncio.Task[None]] = set()

        async def start(handler: Handler) -> int:
            async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.add(asyncio.current_task())  # type: ignore[arg-type]
                try:
                    await handler(reader, writer)
                except ConnectionError:
                    pass
                finally:
                    writer.transport.abort()

            server = await asyncio.start_server(tracked, "127.0.0.1", 0)
            stack.callback(server.close)
            return int(server.sockets[0].getsockname()[1])

        yield start
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plan(port: int, *, path: str = "/", timeout_seconds: float = 30.0) -> ProbePlan:
    return ProbePlan(
        key=("a", "b"),
        kind=ProbeKind.HTTP,
        namespace=namespace_here(),
        interface="lo",
        source_address=ip_address("127.0.0.2"),
        target_address=ip_address("127.0.0.1"),
        port=port,
        http_path=path,
        timeout_seconds=timeout_seconds,
    )


async def ask(prober: Prober, port: int, **other: float) -> ProbeResult:
    (result,) = await prober.probe([plan(port, **other)])
    return result


@pytest.mark.parametrize(
    ("answer", "detail", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(IDENTITY) + IDENTITY, "HTTP 200", IDENTITY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(IDENTITY) + IDENTITY + b"more", "HTTP 200", IDENTITY),
        (b"HTTP/1.0 200 OK\r\n\r\n" + IDENTITY, "HTTP 200", IDENTITY),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 19\r\n\r\n404 page not found\n", "HTTP 404", b"404 page not found\n"),
        (b"HTTP/1.1 204\r\n\r\n", "HTTP 204", b""),
        (b"HTTP/1.1 503 Overloaded\n\n", "HTTP 503", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut off", "HTTP 200", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + bytes(2000), "HTTP 200", None),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5000), "HTTP 200", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "HTTP 200", None),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Endless: 1\r\n" * 4000, "HTTP 200", None),
        (b"HTTP/1.1 200 OK\r\nX-No-End: 1\r\n", "HTTP 200", None),
    ],
    ids=[
        "identity", "identity-and-more", "http-1.0", "pprof", "no-reason-phrase", "bare-newlines", "body-cut-off", "body-too-long",
        "endless-body", "chunked", "endless-head", "head-cut-off",
    ],
)  # fmt: skip
async def test_any_status_line_is_an_answer(prober, serve, answer, detail, body) -> None:
    result = await ask(prober, await serve(answering(answer)))
    assert (result.reason, result.detail, result.body) == (Reason.OK, detail, body)
    assert result.rtt_seconds is not None
    assert result.duration_seconds is not None


@pytest.mark.parametrize(
    "answer",
    [
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"A" * 3000,
        b"<html>hello</html>",
        b"HTTP/1.1\xff\xfe\r\n",
    ],
    ids=["tls-alert", "http2-settings", "ssh", "http-2", "words", "four-digits", "endless-line", "http-0.9", "binary"],
)
async def test_an_answer_that_is_not_http(prober, serve, answer) -> None:
    result = await ask(prober, await serve(answering(answer)))
    assert result.reason is Reason.HTTP_STATUS
    assert (result.detail or "").startswith("the answer is not HTTP: b'")
    assert (result.detail or "").isascii()
    assert len(result.detail or "") < 150
    assert result.rtt_seconds is None


async def half_a_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 20")
    await asyncio.Event().wait()


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("handler", [mute, half_a_line])
async def test_no_status_line_until_the_timeout(prober, serve, handler) -> None:
    """And nobody asks ARP about it: that is TCP's question."""
    result = await ask(prober, await serve(handler), timeout_seconds=0.3)
    assert (result.reason, result.detail, result.neighbour_mac) == (Reason.TIMEOUT, "no answer within 0.3 s", None)


async def test_a_status_line_and_then_silence_is_an_answer_without_a_body(prober, serve) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12")
        await asyncio.Event().wait()

    result = await ask(prober, await serve(handler), timeout_seconds=1.0)
    assert (result.reason, result.detail, result.body) == (Reason.OK, "HTTP 200", None)


async def test_one_byte_at_a_time(prober, serve) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    result = await ask(prober, await serve(handler))
    assert (result.reason, result.body) == (Reason.OK, b"ok")


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("handler", [resetting, closing, answering(b""), answering(b"HTTP/1.")])
async def test_an_end_before_the_status_line(prober, serve, handler) -> None:
    assert (await ask(prober, await serve(handler))).reason is Reason.RESET


async def test_nobody_listens(prober) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = await ask(prober, taken.getsockname()[1])
    assert (result.reason, result.detail) == (Reason.REFUSED, "ECONNREFUSED")


async def test_the_request_is_plain_and_closes(prober, serve) -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert writer.get_extra_info("peername")[0] == "127.0.0.2"
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    port = await serve(handler)
    await prober.probe([plan(port, path="/debug/pprof/cmdline")])
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "GET /debug/pprof/cmdline HTTP/1.1"
    assert {f"Host: 127.0.0.1:{port}", "Connection: close", "User-Agent: lhnet-agent"} <= set(lines)
