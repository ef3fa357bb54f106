"""`check` and `preflight` against a real kube-apiserver: its RBAC, its 404s, its field selectors and its pages are the last word."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from stepsworld import ADMIN, READER, Objects, World, prepare, write_kubeconfig

from agent.lab.apiclient import ApiFailed
from agent.lab.envtest import RealApi, find_assets

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(find_assets() is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"),
]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, RealApi]]:
    folder = tmp_path_factory.mktemp("steps-apiserver")
    pki = prepare(folder)
    assets = find_assets()
    assert assets is not None
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    port, etcd_port, peer_port = (one.getsockname()[1] for one in held)
    for one in held:
        one.close()
    api = RealApi(
        assets,
        folder=folder / "run",
        pki=pki,
        tokens=folder / "tokens.csv",
        admin_token=ADMIN,
        port=port,
        etcd_port=etcd_port,
        etcd_peer_port=peer_port,
    )
    asyncio.run(api.start())
    try:
        asyncio.run(fill(api))
        for token in (ADMIN, READER):
            write_kubeconfig(folder / token, url=api.url, pki=pki, token=token)
        yield folder, api
    finally:
        asyncio.run(api.stop())


async def fill(api: RealApi) -> None:
    objects = Objects()
    # A real server would try to reach them.
    objects.without_agents()
    async with api.client() as client:
        await client.apply_all(objects.all)


async def test_check_and_preflight_on_the_real_thing(real: tuple[Path, RealApi], capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, api = real
    for name in [name for name in os.environ if name.startswith("LHNET_")]:
        monkeypatch.delenv(name)
    world = World(folder, None, capsys)  # type: ignore[arg-type]
    kubeconfig = ("-o", "json", "--kubeconfig", str(folder / ADMIN))

    said = await world.run("check", *kubeconfig)
    assert (said.status, said.err) == (3, "")
    assert said.results == {"setting": "ok", "pods": "ok", "addresses": "ok", "reachability": "unknown"}
    said = await world.run("preflight", *kubeconfig)
    assert said.status == 0
    assert {title for title, result in said.results.items() if result != "ok"} == {"uplink"}

    said = await world.run("check", "-o", "json", "--kubeconfig", str(folder / READER))
    assert (said.status, set(said.results.values())) == (3, {"unknown"})

    async with api.client() as client:
        crd = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "virtualmachineinstances.kubevirt.io")
        await client.delete(*crd)

        async def unserved() -> bool:
            try:
                await client.request("GET", "/apis/kubevirt.io/v1/virtualmachineinstances")
            except ApiFailed as error:
                return error.code == 404
            return False

        await client.wait(unserved, timeout_seconds=60, what="virtual machines to be no resource any more")
    said = await world.run("preflight", *kubeconfig)
    assert said.step("machines")["seen"] == "not applicable: the cluster has no virtual machines (KubeVirt)"
