"""One node of the lab as a process: it holds the node's mount namespace and serves the ports of its pods.

`python -m agent.lab.node` is started by the supervisor inside the node's network namespace and obeys it over a socket. It makes
/run/netns a place of its own, so that none of the lab's namespaces appears in the machine's.
"""

import array
import asyncio
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.lab import kernel
from agent.lab.mounts import Mounts, enter_copy, forget, fresh_sysfs, share_within
from agent.lab.podserver import PodServers

NETNS_DIR = "/run/netns"
STATE_DIR = "/var/lib/lhnet-agent"
MESSAGE_LIMIT_BYTES = 65536


class Node:
    def __init__(self, *, state_folder: str) -> None:
        mounts = Mounts()
        enter_copy()
        state = kernel.clone_tree(state_folder)  # it may lie under /run, which is covered below
        fresh_sysfs()
        forget(NETNS_DIR)
        mounts.cover("/run")
        Path(NETNS_DIR).mkdir()
        kernel.attach_tree(state, mounts.ensure_directory(STATE_DIR))
        os.close(state)
        share_within()
        self._servers = PodServers()

    async def obey(self, order: dict[str, Any], netns: int | None) -> None:
        """Carries out one order of the supervisor. Raises OSError with the reason when the kernel refuses."""
        match order["do"]:
            case "show":
                show_file(Path(NETNS_DIR, order["file"]), netns=netns)
            case "hide":
                hide_file(Path(NETNS_DIR, order["file"]), unlink=order.get("unlink", True))
            case "listen":
                if netns is not None:
                    await self._servers.open(order["pod"], netns=netns, ports=order["ports"])
            case "close":
                await self._servers.close(order["pod"], ports=order.get("ports"))
            case other:
                raise OSError(f"unknown order {other}")


def show_file(file: Path, *, netns: int | None) -> None:
    """The namespace as a file, as a runtime makes it; without one, the empty file that a failed start leaves."""
    file.touch(mode=0o444)
    if netns is not None:
        kernel.mount(f"/proc/self/fd/{netns}", str(file), flags=kernel.MS_BIND)


def hide_file(file: Path, *, unlink: bool) -> None:
    with suppress(OSError):  # nothing is mounted there
        kernel.unmount(str(file))
    if unlink:
        file.unlink(missing_ok=True)


async def serve(node: Node, control: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    control.setblocking(False)
    gone = asyncio.Event()
    orders: asyncio.Queue[tuple[dict[str, Any], int | None]] = asyncio.Queue()

    def readable() -> None:
        try:
            data, ancillary, _, _ = control.recvmsg(MESSAGE_LIMIT_BYTES, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            gone.set()
            return
        descriptors = array.array("i")
        for _, _, payload in ancillary:
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        orders.put_nowait((json.loads(data), descriptors[0] if descriptors else None))

    async def work() -> None:
        while True:
            order, netns = await orders.get()
            try:
                await node.obey(order, netns)
                answer: dict[str, Any] = {"ok": True}
            except OSError as error:
                answer = {"ok": False, "error": str(error)}
            finally:
                if netns is not None:
                    os.close(netns)
            control.send(json.dumps(answer).encode())

    loop.add_reader(control.fileno(), readable)
    worker = loop.create_task(work())
    waiter = loop.create_task(gone.wait())
    await asyncio.wait((worker, waiter), return_when=asyncio.FIRST_COMPLETED)
    worker.cancel()


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    node = Node(state_folder=sys.argv[2])
    control.send(b'{"ok": true}')
    asyncio.run(serve(node, control))


if __name__ == "__main__":
    main()
