"""Stands in for Longhorn's programs in a pod: the ports in $PORTS accept, say nothing and close when the client has finished.

On 6060 it answers as Go's pprof does. Runs on nothing but the Python of the agent's image, which does not have this file: the pod gets
its text as an argument.
"""

import asyncio
import contextlib
import os

PPROF = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 25\r\n\r\nlonghorn-instance-manager"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass
    writer.close()


async def pprof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PPROF)
        await writer.drain()
    writer.close()


async def main() -> None:
    for port in map(int, os.environ["PORTS"].split(",")):
        await asyncio.start_server(pprof if port == 6060 else silent, "0.0.0.0", port)
    await asyncio.Event().wait()


asyncio.run(main())
