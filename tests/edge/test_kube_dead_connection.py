"""An API server whose machine loses its address says nothing, ever again: no FIN, no reset. Only keepalive can tell."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kubeserver as fake
import pytest
from kubeserver import FAST, PODS, page, pod, stream, until
from nsworld import NsWorld, needs_namespaces, nsworld

from agent.edge.decode import POD
from agent.edge.kube import InCluster, KubeClient, Reflector, Timeouts
from agent.edge.kube import client as client_module
from agent.edge.setns import enter
from agent.model.records import SourceState

pytestmark = needs_namespaces
IMPATIENT = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 3000}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NsWorld]:
    with nsworld(tmp_path / "netns") as made:
        made.add("agent", "server")
        made.veth("agent", "mgmt0", peer="server", peer_link="mgmt0")
        made.ip("agent", "addr add 10.88.0.2/24 dev mgmt0")
        made.ip("server", "addr add 10.88.0.1/24 dev mgmt0")
        yield made


def socket_in(world: NsWorld, name: str, *arguments: Any) -> socket.socket:
    """Made in a thread that ends right after, so that nothing else ever runs over there."""

    def make() -> socket.socket:
        descriptor = os.open(world.directory / name, os.O_RDONLY)
        try:
            enter(descriptor)
        finally:
            os.close(descriptor)
        return socket.socket(*arguments)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


async def test_a_server_that_vanishes_without_a_word_is_noticed(world: NsWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_the_agents_namespace(address: Any) -> socket.socket:
        made = socket_in(world, "agent", address[0], address[1], address[2])
        for level, option, value in client_module._KEEPALIVE:
            shorter = next((short for name, short in IMPATIENT.items() if option == getattr(socket, name)), value)
            made.setsockopt(level, option, shorter if level == socket.IPPROTO_TCP else value)
        return made

    monkeypatch.setattr(client_module, "_socket", in_the_agents_namespace)
    listener = socket_in(world, "server", socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("10.88.0.1", 6443))
    async with fake.serving(tmp_path / "account", listener=listener, address="10.88.0.1") as server:
        server.lists, server.watches = [page(pod("a"))], [stream()]
        access = InCluster(host="10.88.0.1", port="6443", clock=time.monotonic, directory=tmp_path / "account")
        async with KubeClient(access=access, timeouts=Timeouts(connect_seconds=1, answer_seconds=1)) as client:
            reflector = Reflector(
                "pods", client=client, path=PODS, kind=POD, clock=time.monotonic, rng=fake.even(), changed=lambda: None, pace=FAST
            )
            async with fake.running(reflector.run()):
                await until(lambda: server.queries(watch=True))
                await until(lambda: reflector.store.status().state is SourceState.LIVE)
                world.ip("server", "addr del 10.88.0.1/24 dev mgmt0")
                await until(lambda: reflector.store.status().state is SourceState.STALE)
                assert [item.name for item in reflector.store.items()] == ["a"]
                world.ip("server", "addr add 10.88.0.1/24 dev mgmt0")
                await until(lambda: reflector.store.status().state is SourceState.LIVE)
