"""A small storage segment for tests: pods in namespaces of their own, all on one bridge in another namespace, and servers inside them.

Made with `ip`; `MeshWorld.close` removes everything, and each name carries our process id, so that tests beside us do not meet.
"""

import asyncio
import ctypes
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Any, TypeVar

import pytest

from agent.edge.netns import Entrance
from agent.edge.prober import Prober
from agent.model.net import IPAddress, NamespaceFile
from agent.model.probe import ProbeKind, ProbePlan

T = TypeVar("T")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SO_NETNS_COOKIE = 71
CLONE_NEWNET = 0x40000000
INTERFACE = "lhnet1"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_libc = ctypes.CDLL(None, use_errno=True)
_worlds = itertools.count()

MISSING = [name for name in ("ip", "nft", "ss") if shutil.which(name) is None]
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or bool(MISSING), reason=f"needs root{' and ' + ', '.join(MISSING) if MISSING else ''} to make network namespaces"
)


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def inside(path: str, make: Callable[[], T]) -> T:
    """Run `make` in the namespace of `path`, on a thread that ends there and never comes back."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(descriptor, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(descriptor)
            future.set_result(make())
        except BaseException as error:  # the caller's, on its own thread
            future.set_exception(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return future.result()


def file_of(path: str) -> NamespaceFile:
    def cookie() -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            return struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]

    status = os.stat(path)
    return NamespaceFile(path=path, cookie=inside(path, cookie), device=status.st_dev, inode=status.st_ino)


@dataclass
class Pod:
    name: str
    netns: str
    port_name: str
    """Its veth's end on the bridge."""
    addresses: tuple[IPAddress, ...]
    mac: str
    file: NamespaceFile

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def address(self) -> IPAddress:
        return self.addresses[0]

    def ip(self, *arguments: str) -> str:
        return run("ip", "-n", self.netns, *arguments)

    def nft(self, rules: str) -> None:
        run("ip", "netns", "exec", self.netns, "nft", "-f", "-", stdin=rules)

    def drop_input(self, match: str) -> None:
        self.nft(f"table inet t {{ chain c {{ type filter hook input priority 0; {match} drop; }}; }}")

    def sockets(self) -> list[str]:
        """State, local and peer address of every TCP socket of the namespace."""
        return [" ".join(line.split()) for line in run("ip", "netns", "exec", self.netns, "ss", "-Htan").splitlines()]

    def states(self) -> list[str]:
        return [line.split()[0] for line in self.sockets()]


@dataclass
class MeshWorld:
    prefix: str = field(default_factory=lambda: f"lhp{os.getpid()}x{next(_worlds)}")
    pods: dict[str, Pod] = field(default_factory=dict)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def segment(self) -> str:
        return f"{self.prefix}-segment"

    def open(self) -> None:
        run("ip", "netns", "add", self.segment)
        for bridge in ("br0", "br1"):
            run("ip", "-n", self.segment, "link", "add", bridge, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
            run("ip", "-n", self.segment, "link", "set", bridge, "up")

    def add(self, name: str, *addresses: str) -> Pod:
        """`addresses` without prefix length: /24 and /64."""
        number = len(self.pods) + 1
        netns, port = f"{self.prefix}-{name}", f"port{number}"
        mac = f"02:00:5e:00:00:{number:02x}"
        run("ip", "netns", "add", netns)
        commands = [
            f"link add {INTERFACE} address {mac} type veth peer name {port} netns {self.segment}",
            "link set lo up",
            f"link set {INTERFACE} up",
        ]
        parsed = tuple(ip_address(address) for address in addresses)
        commands += [f"address add {a}/{24 if isinstance(a, IPv4Address) else 64} dev {INTERFACE}" for a in parsed if a.version == 4]
        commands += [f"address add {a}/64 dev {INTERFACE} nodad" for a in parsed if a.version == 6]
        run("ip", "-n", netns, "-batch", "-", stdin="\n".join(commands))
        run("ip", "-n", self.segment, "link", "set", port, "up", "master", "br0")
        pod = Pod(name=name, netns=netns, port_name=port, addresses=parsed, mac=mac, file=file_of(f"/run/netns/{netns}"))
        self.pods[name] = pod
        return pod

    def move(self, pod: Pod, *, bridge: str) -> None:
        """To another segment, as a switch port in the wrong VLAN would be: the pod's own link stays up."""
        run("ip", "-n", self.segment, "link", "set", pod.port_name, "master", bridge)

    def ports(self) -> set[str]:
        return {link["ifname"] for link in json.loads(run("ip", "-n", self.segment, "-j", "link"))}

    def listen(self, pod: Pod, port: int, *, address: IPAddress | None = None, backlog: int = 64) -> socket.socket:
        """A listening socket in the pod that nobody accepts from; closed with the world."""
        wanted = address or pod.address

        def make() -> socket.socket:
            return socket.create_server((str(wanted), port), family=family(wanted), backlog=backlog)

        sock = inside(pod.path, make)
        sock.setblocking(False)
        self._sockets.append(sock)
        return sock

    async def serve(self, pod: Pod, port: int, handler: Handler, *, address: IPAddress | None = None) -> None:
        async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._tasks.add(task)
            try:
                with suppress(ConnectionError):
                    await handler(reader, writer)
            finally:
                self._tasks.discard(task)  # type: ignore[arg-type]
                writer.transport.abort()

        sock = self.listen(pod, port, address=address)
        self._sockets.remove(sock)
        self._servers.append(await asyncio.start_server(tracked, sock=sock))

    async def stop_servers(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._sockets:
            sock.close()
        self._servers.clear()
        self._sockets.clear()

    def remove(self, pod: Pod) -> None:
        run("ip", "netns", "del", pod.netns)
        del self.pods[pod.name]

    def close(self) -> None:
        for netns in [*(pod.netns for pod in self.pods.values()), self.segment]:
            with suppress(RuntimeError):
                run("ip", "netns", "del", netns)


@asynccontextmanager
async def open_world() -> AsyncIterator[MeshWorld]:
    world = MeshWorld()
    try:
        world.open()
        yield world
    finally:
        await world.stop_servers()
        world.close()


@asynccontextmanager
async def open_prober(*, entrance: Any = None, **settings: Any) -> AsyncIterator[Prober]:
    """A prober on `entrance`, by default a real one. Its own lateness counts for nothing: the test machine may be late itself."""
    own = entrance or Entrance()
    prober = Prober(entrance=own, **{"own_delay_seconds": 30.0, **settings})
    try:
        yield prober
    finally:
        prober.close()
        if entrance is None:
            own.close()


class Here:
    """Stands for the entrance where no privilege is: makes everything in the namespace that the tests run in."""

    def call(self, file: NamespaceFile, make: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        future.set_result(make())
        return future


def namespace_here() -> NamespaceFile:
    status = os.stat("/proc/self/ns/net")
    return NamespaceFile(path="/proc/self/ns/net", cookie=None, device=status.st_dev, inode=status.st_ino)


def family(address: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def plan_of(
    source: Pod, target: Pod | str, *, port: int = 8500, kind: ProbeKind = ProbeKind.TCP, version: int = 4, **other: Any
) -> ProbePlan:
    def pick(pod: Pod) -> IPAddress:
        return next(address for address in pod.addresses if address.version == version)

    target_address = ip_address(target) if isinstance(target, str) else pick(target)
    values = {"source_address": pick(source), "interface": INTERFACE, "namespace": source.file, "timeout_seconds": 4.0, **other}
    return ProbePlan(key=(source.name, str(target_address)), kind=kind, target_address=target_address, port=port, **values)


async def until(condition: Callable[[], bool], *, within_seconds: float = 20.0, what: str = "the condition") -> None:
    """Wait for a condition; never for a duration."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {within_seconds:g} s")
        await asyncio.sleep(0.02)


async def gone(condition: Callable[[], bool], **other: Any) -> None:
    await until(lambda: not condition(), **other)


# Servers, each one like something met in the field.


async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a gRPC server that waits for the client's preface: says nothing, closes when the client has finished."""
    await reader.read()


async def stubborn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never closes its side."""
    await asyncio.Event().wait()


async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As grpc-go: sends its SETTINGS frame at once."""
    writer.write(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00")
    await reader.read()


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, then resets."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


def answering(answer: bytes) -> Handler:
    """Reads a request's head, then sends `answer` and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return handle
