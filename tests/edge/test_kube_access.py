"""Ways in: the mounted service account, whose files change under us, and kubeconfigs of every sort."""

import base64
import builtins
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubeserver as fake
import pytest
import yaml

from agent.edge.kube import InCluster, KubeconfigAccess, NoAccess, find_access
from agent.edge.kube.access import WatchedFile

INSIDE = {"KUBERNETES_SERVICE_HOST": "10.53.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    fake.make_certificate(tmp_path)
    (tmp_path / "token").write_text("from-the-kubelet\n")
    return tmp_path


def found(environ: Mapping[str, str], *, kubeconfig: str | None = None, directory: Path = Path("/nowhere")) -> Any:
    return find_access(kubeconfig=kubeconfig, environ=environ, clock=fake.Turned(), directory=directory)


async def test_inside_a_cluster_the_service_account_is_used(account: Path) -> None:
    access = found(INSIDE, directory=account)
    assert access.url == "https://10.53.0.1:443"
    assert await access.authorization() == "Bearer from-the-kubelet"
    context = access.tls()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert access.tls() is context


def test_a_service_address_of_ipv6_is_put_in_brackets(account: Path) -> None:
    assert found({"KUBERNETES_SERVICE_HOST": "fd00::1"}, directory=account).url == "https://[fd00::1]:443"


async def test_a_token_replaced_by_the_kubelet_is_read_at_the_next_request(account: Path) -> None:
    access = InCluster(host="h", port="1", clock=fake.Turned(), directory=account)
    await access.authorization()
    (account / "token.new").write_text("the-next-one")
    (account / "token.new").rename(account / "token")
    assert await access.authorization() == "Bearer the-next-one"


def test_a_file_whose_times_tell_nothing_is_read_again_after_a_minute_or_on_demand(tmp_path: Path) -> None:
    clock = fake.Turned()
    path = tmp_path / "token"
    path.write_text("one")
    file = WatchedFile(path, clock=clock)
    assert file.content() == b"one"
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.content() == b"one"
    clock.now += 60
    assert file.content() == b"two"
    path.write_text("six")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.content(force=True) == b"six"


async def test_renewing_tells_whether_asking_again_makes_sense(account: Path) -> None:
    access = InCluster(host="h", port="1", clock=fake.Turned(), directory=account)
    await access.authorization()
    assert not await access.renew()
    (account / "token").write_text("replaced while the request was on its way")
    assert await access.renew()


@pytest.mark.parametrize("content", ["", "two\nlines", "Bjørn"])
async def test_a_token_file_that_holds_no_token_is_said_and_nothing_is_sent(account: Path, content: str) -> None:
    (account / "token").write_text(content)
    access = InCluster(host="h", port="1", clock=fake.Turned(), directory=account)
    with pytest.raises(NoAccess, match="token"):
        await access.authorization()


def test_a_ca_that_is_missing_or_no_certificate_is_said(account: Path) -> None:
    access = InCluster(host="h", port="1", clock=fake.Turned(), directory=account)
    (account / "ca.crt").write_text("nothing of the kind")
    with pytest.raises(NoAccess, match="no usable certificate"):
        access.tls()
    (account / "ca.crt").unlink()
    with pytest.raises(NoAccess, match="No such file"):
        access.tls()


def test_outside_of_everything_one_line_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NoAccess, match=r"KUBERNETES_SERVICE_HOST is not set.*KUBECONFIG.*\.kube/config"):
        found({"HOME": str(tmp_path)})


def kubeconfig(directory: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def test_a_kubeconfig_with_a_token_and_a_ca_as_data(account: Path) -> None:
    path = kubeconfig(account, cluster={"certificate-authority-data": encoded(account / "ca.crt")}, user={"token": "mine"})
    access = found({"KUBECONFIG": path})
    assert (access.url, await access.authorization()) == ("https://127.0.0.1:6443", "Bearer mine")
    assert access.tls().cert_store_stats()["x509"] == 1


async def test_a_kubeconfig_with_a_client_certificate_and_a_ca_as_file(account: Path) -> None:
    user = {"client-certificate": str(account / "ca.crt"), "client-key": str(account / "server.key")}
    path = kubeconfig(account, cluster={"certificate-authority": "ca.crt", "tls-server-name": "kubernetes"}, user=user)
    access = found({}, kubeconfig=path)
    assert await access.authorization() is None
    assert access.server_name == "kubernetes"
    assert "no credentials" not in access.origin


async def test_a_kubeconfig_whose_exec_plugin_makes_the_token(account: Path) -> None:
    plugin = account / "plugin"
    credential = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"made"}}'
    plugin.write_text(f"#!/bin/sh\necho '{credential}'\n")
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}}
    access = found({"KUBECONFIG": kubeconfig(account, user=user)})
    assert await access.authorization() == "Bearer made"
    plugin.write_text(f"#!/bin/sh\necho '{credential.replace('made', 'renewed')}'\n")
    assert await access.renew()
    assert await access.authorization() == "Bearer renewed"


async def test_a_user_without_any_credentials_is_told_where_they_were_looked_for(account: Path) -> None:
    access = found({"KUBECONFIG": kubeconfig(account)})
    assert await access.authorization() is None
    assert "no credentials" in access.origin


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify is not supported"),
        ({"server": "http://127.0.0.1:8080"}, "not an https address"),
        ({"certificate-authority": "/nowhere/ca.crt"}, "/nowhere/ca.crt"),
        ({"certificate-authority-data": "bm90aGluZw=="}, "certificates cannot be used"),
        ({"certificate-authority-data": "!"}, "kubeconfig"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_one_line(account: Path, cluster: dict[str, Any], said: str) -> None:
    with pytest.raises(NoAccess, match=said) as caught:
        KubeconfigAccess(path=kubeconfig(account, cluster=cluster))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{: :", "kind: Config", "a: &a [*a]", "clusters: 7", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    with pytest.raises(NoAccess, match="kubeconfig") as caught:
        KubeconfigAccess(path=str(path))
    assert "\n" not in str(caught.value)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoAccess, match="kubeconfig /nowhere/config: no such file"):
        found({"KUBECONFIG": "/nowhere/config", "HOME": str(tmp_path)})


def test_without_the_package_a_kubeconfig_says_how_to_get_it(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kubeconfig(account)
    for name in [name for name in sys.modules if name.split(".")[0] == "kubernetes"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def refusing(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("kubernetes"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(NoAccess, match=r"pip install 'lhnet-agent\[kube\]'"):
        KubeconfigAccess(path=path)


def test_a_node_never_pays_for_the_kubernetes_package() -> None:
    script = "import sys, agent.edge.cluster; sys.exit('kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == 0
