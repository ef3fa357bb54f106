"""What listens where something else should: a stranger on a port, for as long as a fault lasts.

The sockets belong to the lab's own process and to the namespace that they were made in. Nobody waits for its end: what is still connected
when the fault is mended is cut.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from agent.lab import kernel

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_TALK_SECONDS = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""struct linger: no lingering, so that the kernel sends RST in FIN's place."""


@asynccontextmanager
async def listening(host: str, port: int, *, netns: int, talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Each connection is given to `talk` and closed after it. Raises OSError if the port is not free."""
    clients: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        try:
            async with asyncio.timeout(_TALK_SECONDS):
                await talk(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            clients.discard(writer)
            writer.close()

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with kernel.inside(netns):
        sock = socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    server = await asyncio.start_server(handle, sock=sock, ssl=tls)
    try:
        yield
    finally:
        server.close()
        for client in list(clients):
            client.transport.abort()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, and resets at once."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


def answering(status: str, body: bytes, *, media: str) -> Talk:
    """The same answer to every HTTP request, one a connection. `status` as in "404 Not Found"."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        with suppress(ConnectionError):
            await writer.drain()

    return answer
