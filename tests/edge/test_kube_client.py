"""The client by itself: which error for which failure, bounds, and the few writes that a Lease needs."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kubeserver as fake
import msgspec
import pytest
from aiohttp import web
from kubeserver import PODS, KubeServer, answer, page, refuse

from agent.edge.kube import (
    AnswerTimedOut,
    BadAnswer,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    Expired,
    InCluster,
    KubeClient,
    KubeError,
    NoAccess,
    Refused,
    ServerFailed,
    Throttled,
    Timeouts,
    TlsFailed,
    TooLong,
    Unauthorized,
    Unreachable,
)
from agent.edge.kube import client as client_module
from agent.edge.kube.errors import one_line
from agent.edge.kube.lines import LineBuffer

ANYTHING = msgspec.json.Decoder(dict[str, Any])
LEASE = "/apis/coordination.k8s.io/v1/namespaces/lhnet-system/leases"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubeServer]:
    async with fake.serving(tmp_path) as running:
        yield running


@pytest.fixture
async def client(server: KubeServer) -> AsyncIterator[KubeClient]:
    async with fake.client_of(server, clock=fake.Turned()) as made:
        yield made


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized),
        (409, Conflict),
        (410, Expired),
        (422, Refused),
        (429, Throttled),
        (500, ServerFailed),
        (503, ServerFailed),
        (304, BadAnswer),
    ],
)
async def test_each_status_is_its_own_error_with_the_servers_words(
    server: KubeServer, client: KubeClient, status: int, kind: type[KubeError]
) -> None:
    server.lists = [refuse(status, "because of\n the  weather")]
    with pytest.raises(kind) as caught:
        await client.get(PODS, decoder=ANYTHING)
    assert type(caught.value) is kind
    if status != 304:
        assert "because of the weather" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("86400", 60.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("²", None)]
)
async def test_retry_after_is_taken_in_seconds_and_bounded(
    server: KubeServer, client: KubeClient, header: str, seconds: float | None
) -> None:
    server.lists = [refuse(429, Retry_After=header)]
    with pytest.raises(Throttled) as caught:
        await client.get(PODS, decoder=ANYTHING)
    assert caught.value.retry_after_seconds == seconds


async def test_an_error_page_of_a_proxy_is_cut_to_a_line(server: KubeServer, client: KubeClient) -> None:
    server.lists = [answer(b"<html>\n<h1>Bad gateway</h1>" + b"x" * 100_000, status=502)]
    with pytest.raises(ServerFailed, match="Bad gateway") as caught:
        await client.get(PODS, decoder=ANYTHING)
    assert len(str(caught.value)) < 400


async def test_nobody_listens(tmp_path: Path) -> None:
    async with fake.serving(tmp_path) as gone:
        pass
    async with fake.client_of(gone, clock=fake.Turned()) as client:
        with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1"):
            await client.get(PODS, decoder=ANYTHING)


async def test_a_port_that_never_speaks_tls_is_a_timeout_of_the_connection(server: KubeServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        access = InCluster(host="127.0.0.1", port=str(mute.getsockname()[1]), clock=fake.Turned(), directory=tmp_path)
        async with KubeClient(access=access, timeouts=Timeouts(connect_seconds=0.1, answer_seconds=30)) as client:
            with pytest.raises(ConnectTimedOut, match=r"TLS connection within 0\.1 s"):
                await client.get(PODS, decoder=ANYTHING)


async def test_a_certificate_of_another_authority_is_not_accepted(server: KubeServer, tmp_path: Path) -> None:
    fake.make_certificate(tmp_path)
    async with fake.client_of(server, clock=fake.Turned()) as client:
        with pytest.raises(TlsFailed, match="certificate verify failed"):
            await client.get(PODS, decoder=ANYTHING)
    assert server.seen == []


async def test_a_certificate_for_another_name_is_not_accepted(server: KubeServer, tmp_path: Path) -> None:
    access = InCluster(host="localhost", port=str(server.port), clock=fake.Turned(), directory=tmp_path)
    async with KubeClient(access=access) as client:
        with pytest.raises(TlsFailed, match="localhost"):
            await client.get(PODS, decoder=ANYTHING)


async def test_a_port_that_speaks_something_else_than_tls(server: KubeServer, tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with listener:
        access = InCluster(host="127.0.0.1", port=str(listener.sockets[0].getsockname()[1]), clock=fake.Turned(), directory=tmp_path)
        async with KubeClient(access=access) as client:
            with pytest.raises(Unreachable):
                await client.get(PODS, decoder=ANYTHING)


async def test_tls_but_no_http(server: KubeServer, tmp_path: Path) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "ca.crt", tmp_path / "server.key")
    listener = await asyncio.start_server(babble, "127.0.0.1", 0, ssl=tls)
    async with listener:
        access = InCluster(host="127.0.0.1", port=str(listener.sockets[0].getsockname()[1]), clock=fake.Turned(), directory=tmp_path)
        async with KubeClient(access=access) as client:
            with pytest.raises(KubeError):
                await client.get(PODS, decoder=ANYTHING)


async def test_an_answer_that_stops_half_way_and_one_that_is_cut(server: KubeServer) -> None:
    async with fake.client_of(server, clock=fake.Turned(), timeouts=Timeouts(answer_seconds=0.2)) as client:
        server.lists = [fake.stream(b'{"half":', then="stay")]
        with pytest.raises(AnswerTimedOut, match="stopped half-way"):
            await client.get(PODS, decoder=ANYTHING)
        server.lists = [fake.stream(b'{"half":', then="cut")]
        with pytest.raises(ConnectionLost, match="half-way"):
            await client.get(PODS, decoder=ANYTHING)


async def test_an_endless_answer_is_given_up(server: KubeServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BODY_BYTES", 100_000)
    server.lists = [answer(b"[" + b" " * 200_000)]
    with pytest.raises(TooLong, match="more than 100000 bytes"):
        await client.get(PODS, decoder=ANYTHING)


async def test_a_token_is_sent_again_once_and_only_if_it_changed(server: KubeServer, client: KubeClient, tmp_path: Path) -> None:
    server.tokens = {"replaced"}
    with pytest.raises(Unauthorized, match="service account"):
        await client.get(PODS, decoder=ANYTHING)
    assert server.rejected == 1


async def test_a_missing_token_is_said_before_anything_is_sent(server: KubeServer, client: KubeClient, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    with pytest.raises(NoAccess, match="token: No such file"):
        await client.get(PODS, decoder=ANYTHING)


async def test_dead_connections_are_the_kernels_to_find(server: KubeServer, client: KubeClient) -> None:
    made: list[socket.socket] = []
    server.watches = [fake.stream()]
    async with client.watch(PODS, query={}):
        session = client._current_session()
        assert session.connector is not None
        for connection in session.connector._acquired:  # type: ignore[attr-defined]
            made.append(connection.transport.get_extra_info("socket"))
        options = {
            name: made[0].getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        }
        assert options == {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 20_000}
        assert made[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_lease_is_created_replaced_and_patched(server: KubeServer, client: KubeClient) -> None:
    asked: list[tuple[str, str, Any]] = []

    async def record(request: web.Request) -> web.StreamResponse:
        asked.append((request.method, request.headers["Content-Type"], await request.json()))
        return web.json_response({"metadata": {"name": "lhnet-agent"}})

    server.fallback = record
    body = {"spec": {"holderIdentity": "harv41"}}
    assert await client.create(LEASE, body, decoder=ANYTHING) == {"metadata": {"name": "lhnet-agent"}}
    await client.put(f"{LEASE}/lhnet-agent", body, decoder=ANYTHING)
    await client.patch(f"{LEASE}/lhnet-agent", body, decoder=ANYTHING)
    assert asked == [
        ("POST", "application/json", body),
        ("PUT", "application/json", body),
        ("PATCH", "application/merge-patch+json", body),
    ]


async def test_all_pages_of_a_list_can_be_read_without_a_reflector(server: KubeServer, client: KubeClient) -> None:
    server.lists = [page(1, 2, more="t"), page(3)]
    items = [bytes(item) async for part in client.list_pages(PODS) for item in part.items]
    assert items == [b"1", b"2", b"3"]


def test_lines_come_out_whole_however_the_bytes_come_in() -> None:
    text = b'{"a":1}\n\n  \n{"b":2}\r\n{"c":'
    for size in range(1, len(text) + 1):
        buffer = LineBuffer()
        lines = [line for start in range(0, len(text), size) for line in buffer.feed(text[start : start + size])]
        assert lines == [b'{"a":1}', b'{"b":2}']
        assert buffer.rest_bytes == 5


def test_the_longest_line_is_bounded_exactly() -> None:
    assert LineBuffer(limit_bytes=10).feed(b"x" * 10 + b"\n") == [b"x" * 10]
    with pytest.raises(TooLong):
        LineBuffer(limit_bytes=10).feed(b"x" * 11)


def test_foreign_text_becomes_one_short_line() -> None:
    assert one_line("a\n\tb\x1b[31m  c") == "a b [31m c"
    assert len(one_line("x" * 1_000_000)) == 300
