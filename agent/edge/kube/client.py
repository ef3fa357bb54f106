"""One HTTP session to the API server: bounded requests, list pages, watch streams, and errors sorted into our own tree.

Dead connections are found by TCP keepalive on the socket, never from silence: a watch on quiet objects says nothing for minutes, and
that is health. Redirects are not followed, since the token must not travel to another host. Retrying is the caller's, but for one:
after a 401 the credentials are read again, and the request is sent once more if they changed.
"""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

import agent
from agent.edge.kube.access import Access
from agent.edge.kube.errors import AnswerTimedOut, ConnectionLost, TooLong
from agent.edge.kube.lines import LINE_BYTES, LineBuffer
from agent.edge.kube.sorting import cut_text, refusal_of, sort_error
from agent.edge.kube.wire import PAGE, decode, http_date_seconds

S = TypeVar("S")

PAGE_ITEMS = 250
BODY_BYTES = 64 << 20
"""A whole list, when the server ignores `limit`: a thousand pods with managed fields are about 12 MiB."""
LIST_PAGES = 400
"""With pages of 250: a hundred thousand objects. A server whose `continue` never ends is broken."""
LIST_SECONDS = 120.0
"""For one page, however slowly it drips."""

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000),
)
"""A dead peer is known after 20 s; TCP_USER_TIMEOUT (ms) is the same bound for what we sent and nobody acknowledged. Much later, and
what the peers have become meanwhile would be taken for a fault of the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    connect_seconds: float = 10.0
    """TCP and TLS together."""
    answer_seconds: float = 30.0
    """From asking to the answer's header, and between two pieces of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    body: bytes
    server_unix_seconds: float | None
    """The Date header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    items: list[msgspec.Raw]
    resource_version: str
    server_unix_seconds: float | None


class Watch:
    """An open watch. It ends when the server closes it; a cut or a half line raises ConnectionLost."""

    def __init__(self, response: aiohttp.ClientResponse, *, line_bytes: int) -> None:
        self._response = response
        self._buffer = LineBuffer(limit_bytes=line_bytes)
        self.server_unix_seconds = http_date_seconds(response.headers.get("Date"))

    async def lines(self) -> AsyncGenerator[list[bytes], None]:
        try:
            async for chunk in self._response.content.iter_any():
                if lines := self._buffer.feed(chunk):
                    yield lines
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ConnectionLost(f"the watch was cut: {cut_text(error)}") from error
        if self._buffer.rest_bytes:
            raise ConnectionLost(f"the watch ended inside a line ({self._buffer.rest_bytes} bytes)")


CLOSING_TURNS = 3
"""Of the loop: connections that were given up half-way close in its next turns, and there may be none after ours."""


class KubeClient:
    """Use it in the loop that will close it: `async with KubeClient(access=…) as client`, or `close()`."""

    def __init__(self, *, access: Access, timeouts: Timeouts | None = None, line_bytes: int = LINE_BYTES) -> None:
        self.access = access
        self._timeouts = timeouts or Timeouts()
        self._line_bytes = line_bytes
        self._session: aiohttp.ClientSession | None = None
        self._server_clock: tuple[float, float] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
            for _ in range(CLOSING_TURNS):
                await asyncio.sleep(0)

    async def request_json(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, content_type: str = "application/json"
    ) -> Answer:
        """One request, its whole answer. `body` is encoded as JSON. Raises KubeError."""
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with asyncio.timeout(LIST_SECONDS):
                response = await self._open(method, path, query=query or {}, data=data, content_type=content_type, stream=False)
                try:
                    content = await _bounded(response, limit_bytes=BODY_BYTES)
                finally:
                    response.release()
        except TimeoutError as error:
            raise AnswerTimedOut(f"{method} {path}: the answer was not complete after {LIST_SECONDS:.0f} s") from error
        answer = Answer(body=content, server_unix_seconds=http_date_seconds(response.headers.get("Date")))
        if answer.server_unix_seconds is not None:
            self._server_clock = (time.monotonic(), answer.server_unix_seconds)
        return answer

    def server_wall_seconds(self) -> float | None:
        """The API server's wall clock as of now, by its last Date header and our monotonic clock; None before its first answer."""
        if self._server_clock is None:
            return None
        at, server = self._server_clock
        return server + time.monotonic() - at

    async def get(self, path: str, *, decoder: "msgspec.json.Decoder[S]", query: Mapping[str, str] | None = None) -> S:
        return decode((await self.request_json("GET", path, query=query)).body, decoder=decoder, what=path)

    async def create(self, path: str, body: Any, *, decoder: "msgspec.json.Decoder[S]") -> S:
        """POST to a collection. Raises Conflict if the object is there already."""
        return decode((await self.request_json("POST", path, body=body)).body, decoder=decoder, what=path)

    async def put(self, path: str, body: Any, *, decoder: "msgspec.json.Decoder[S]") -> S:
        """Raises Conflict if `body` carries a resourceVersion that is no longer the object's."""
        return decode((await self.request_json("PUT", path, body=body)).body, decoder=decoder, what=path)

    async def patch(self, path: str, body: Any, *, decoder: "msgspec.json.Decoder[S]") -> S:
        """A JSON merge patch (RFC 7386): the only kind that custom resources know too."""
        answer = await self.request_json("PATCH", path, body=body, content_type="application/merge-patch+json")
        return decode(answer.body, decoder=decoder, what=path)

    async def list_pages(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncGenerator[ListPage, None]:
        """All pages of a list. Servers that ignore `limit` give one. Raises Expired if the snapshot is gone half-way."""
        asked = {**(query or {}), "limit": str(PAGE_ITEMS)}
        for _ in range(LIST_PAGES):
            answer = await self.request_json("GET", path, query=asked)
            page = decode(answer.body, decoder=PAGE, what=f"list {path}")
            yield ListPage(
                items=page.items or [],
                resource_version=page.metadata.resource_version or "",
                server_unix_seconds=answer.server_unix_seconds,
            )
            if not page.metadata.continue_:
                return
            asked["continue"] = page.metadata.continue_
            # A version beside `continue` is refused by real servers: the token carries its own.
            asked.pop("resourceVersion", None)
            asked.pop("resourceVersionMatch", None)
        raise TooLong(f"list {path}: more than {LIST_PAGES} pages")

    @asynccontextmanager
    async def watch(self, path: str, *, query: Mapping[str, str]) -> AsyncIterator[Watch]:
        """Open a watch; leaving the block closes the connection. Raises KubeError."""
        response = await self._open("GET", path, query={**query, "watch": "1"}, data=None, content_type="", stream=True)
        try:
            yield Watch(response, line_bytes=self._line_bytes)
        finally:
            response.close()

    async def _open(
        self, method: str, path: str, *, query: Mapping[str, str], data: bytes | None, content_type: str, stream: bool
    ) -> aiohttp.ClientResponse:
        response = await self._send(method, path, query=query, data=data, content_type=content_type, stream=stream)
        if response.status == 401 and await self.access.renew():
            response.close()
            response = await self._send(method, path, query=query, data=data, content_type=content_type, stream=stream)
        if 200 <= response.status < 300:
            return response
        try:
            raise await refusal_of(response, what=f"{method} {path}", origin=self.access.origin)
        finally:
            response.close()

    async def _send(
        self, method: str, path: str, *, query: Mapping[str, str], data: bytes | None, content_type: str, stream: bool
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json"}
        if authorization := await self.access.authorization():
            headers["Authorization"] = authorization
        if data is not None:
            headers["Content-Type"] = content_type
        if stream:
            headers["Accept-Encoding"] = "identity"
        waits = self._timeouts
        try:
            async with asyncio.timeout(waits.connect_seconds + waits.answer_seconds):
                return await self._current_session().request(
                    method,
                    URL(self.access.url + path),
                    params=query,
                    data=data,
                    headers=headers,
                    ssl=self.access.tls(),
                    server_hostname=self.access.server_name,
                    proxy=self.access.proxy,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=waits.connect_seconds, sock_read=None if stream else waits.answer_seconds
                    ),
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise sort_error(
                error, what=f"{method} {self.access.url}", connect_seconds=waits.connect_seconds, answer_seconds=waits.answer_seconds
            ) from error

    def _current_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit: each watch holds a connection, and their number is ours.
            connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket, ttl_dns_cache=30)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"User-Agent": f"lhnet-agent/{agent.__version__}"},
            )
        return self._session


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    for level, option, value in _KEEPALIVE:
        made.setsockopt(level, option, value)
    return made


async def _bounded(response: aiohttp.ClientResponse, *, limit_bytes: int) -> bytes:
    content = bytearray()
    try:
        async for chunk in response.content.iter_any():
            if len(content) + len(chunk) > limit_bytes:
                response.close()
                raise TooLong(f"{response.url.path}: an answer of more than {limit_bytes} bytes")
            content += chunk
    except aiohttp.SocketTimeoutError as error:
        raise AnswerTimedOut(f"{response.url.path}: the answer stopped half-way") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ConnectionLost(f"{response.url.path}: cut half-way: {cut_text(error)}") from error
    return bytes(content)
