"""Every overlay on a real API server, as `kubectl apply -k` gives it, on a cluster without Harvester's namespaces and then with them.

The tests of this module follow one another on one server.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from manifestworld import HARVESTERS_NAMESPACES, MANIFESTS, OVERLAYS, Server, namespace, overlay, real_server

from agent.lab.envtest import find_assets

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(find_assets() is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Longhorn's namespace, and none of Harvester's."""
    with real_server(tmp_path_factory.mktemp("apply")) as server:
        server.apply([namespace("longhorn-system")])
        yield server


def apply(server: Server, name: str, *words: str) -> tuple[int, list[str], str]:
    """Exit status, what kubectl said to each object, and its complaints."""
    done = server.kubectl("apply", "-k", str(MANIFESTS / "overlays" / name), *words)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("name", ["longhorn", "no-operator"])
def test_the_first_apply_makes_everything_where_harvester_is_not(server: Server, name: str) -> None:
    status, lines, complaints = apply(server, name)
    assert (status, complaints) == (0, "")
    assert len(lines) == len(overlay(name))
    assert all(line.endswith((" created", " unchanged", " configured")) for line in lines)


def test_what_is_installed_stays_as_it_is_when_applied_again(server: Server) -> None:
    assert apply(server, "longhorn")[0] == 0
    status, lines, complaints = apply(server, "longhorn")
    assert (status, complaints) == (0, "")
    assert [line for line in lines if not line.endswith(" unchanged")] == []


def test_harvesters_overlay_does_not_fit_a_cluster_without_it(server: Server) -> None:
    """Why there is another one."""
    status, _, complaints = apply(server, "harvester", "--dry-run=server")
    assert status == 1
    for name in HARVESTERS_NAMESPACES:
        assert f'namespaces "{name}" not found' in complaints


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_passes_the_servers_dry_run(server: Server, name: str) -> None:
    """With the strict look at fields that only the server has: of built-in kinds and of the operator's."""
    server.apply(map(namespace, HARVESTERS_NAMESPACES))
    status, lines, complaints = apply(server, name, "--dry-run=server", "--validate=strict")
    assert (status, complaints) == (0, "")
    assert len(lines) == len(overlay(name))
    assert all(line.endswith(" (server dry run)") for line in lines)


def test_a_field_that_the_operator_does_not_know_is_refused(server: Server, tmp_path: Path) -> None:
    """Else the test before would say nothing about PodMonitor and PrometheusRule."""
    file = tmp_path / "monitor.yaml"
    file.write_text(
        "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nmetadata: {name: x, namespace: lhnet-system}\n"
        "spec: {selector: {}, podMetricsEndpoints: [{prt: http}]}\n"
    )
    done = server.kubectl("apply", "-f", str(file), "--dry-run=server", "--validate=strict")
    assert done.returncode == 1
    assert "podMetricsEndpoints[0].prt" in done.stderr


def test_from_one_overlay_to_another_no_right_is_lost(server: Server) -> None:
    """Harvester came later, or the wrong overlay was taken first."""
    assert apply(server, "harvester")[0] == 0
    status, lines, complaints = apply(server, "harvester")
    assert (status, complaints) == (0, "")
    assert [line for line in lines if not line.endswith(" unchanged")] == []


def test_what_was_applied_can_be_deleted(server: Server) -> None:
    done = server.kubectl("delete", "-k", str(MANIFESTS / "overlays/harvester"), "--wait=false")
    assert done.returncode == 0, done.stderr
    left = server.kubectl("get", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/name=lhnet-agent", "-o", "name")
    assert left.stdout == ""
