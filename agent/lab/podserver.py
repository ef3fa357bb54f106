"""What listens in the lab's pods: ports that behave like Longhorn's on the wire, and nothing behind them.

The gRPC ports accept, say nothing and close when the client has finished, as a gRPC server does with a client that sends no preface.
Port 6060 answers like Go's default mux with pprof. One process serves all pods of a node; each socket is made inside its pod's namespace.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from email.utils import formatdate

from agent.lab import kernel

PPROF_PORT = 6060
_CMDLINE = b"longhorn-instance-manager\0--debug\0daemon\0--listen\0:8500"
_HEAD_LIMIT_BYTES = 8192
_IDLE_SECONDS = 30.0
"""A client that neither speaks nor leaves is let go, so that no connection holds a dead pod's namespace."""


class PodServers:
    """Listeners by pod and port."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._clients: dict[tuple[str, int], set[asyncio.StreamWriter]] = {}

    async def open(self, pod: str, *, netns: int, ports: Iterable[int]) -> None:
        for port in ports:
            if (pod, port) in self._servers:
                continue
            with kernel.inside(netns):
                listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
            self._servers[pod, port] = await asyncio.start_server(self._handler(pod, port), sock=listener)

    async def close(self, pod: str, *, ports: Iterable[int] | None = None) -> None:
        """Closes listeners and cuts their connections; all ports of the pod by default."""
        wanted = None if ports is None else set(ports)
        for key in [key for key in self._servers if key[0] == pod and (wanted is None or key[1] in wanted)]:
            self._servers.pop(key).close()
            for client in self._clients.pop(key, set()):
                client.transport.abort()

    def _handler(self, pod: str, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        talk = _pprof if port == PPROF_PORT else _silent

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            clients = self._clients.setdefault((pod, port), set())
            clients.add(writer)
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    await talk(reader, writer)
            except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                writer.transport.abort()
            finally:
                clients.discard(writer)
                writer.close()

        return handle


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        pass


async def _pprof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    words = head[:_HEAD_LIMIT_BYTES].split(b"\r\n", 1)[0].split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        status, body = b"400 Bad Request", b"400 Bad Request"
    elif words[1].split(b"?")[0] == b"/debug/pprof/cmdline":
        status, body = b"200 OK", _CMDLINE
    else:
        status, body = b"404 Not Found", b"404 page not found\n"
    writer.write(
        b"HTTP/1.1 " + status + b"\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
        b"Date: " + formatdate(usegmt=True).encode() + b"\r\nConnection: close\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
        + (b"" if words[:1] == [b"HEAD"] else body)
    )  # fmt: skip
    await writer.drain()
