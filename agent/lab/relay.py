"""Carries TCP connections from 127.0.0.1 of the machine into a place of the lab: plain curl reaches every agent, and kubectl the API.

Knows no protocol. A target that refuses is passed on as a closed connection: a relay never makes a dead agent look alive.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from agent.lab import kernel

_CONNECT_SECONDS = 5.0
_CHUNK_BYTES = 65536


class Relay:
    def __init__(self, *, netns: Callable[[], int | None], host: str, port: int) -> None:
        """`netns` is asked at each connection: the place may have been rebuilt meanwhile, or be gone (None)."""
        self._netns = netns
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.local_port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, host="127.0.0.1", port=0)
        self.local_port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def answers(self) -> bool:
        """Whether the target accepts a connection now."""
        try:
            _, writer = await self._connect()
        except (OSError, TimeoutError):
            return False
        writer.transport.abort()
        return True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # start_server runs each handler in a task
        self._running.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._running.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._connect()
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        netns = self._netns()
        if netns is None:
            raise ConnectionRefusedError("the place is gone")
        with kernel.inside(netns):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, self._target)
                return await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
    with contextlib.suppress(OSError, RuntimeError):
        sink.write_eof()
