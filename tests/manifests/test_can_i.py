"""What the service account can do, in the words of a real API server: all that the code asks for, and nothing that it must not.

What the code asks for is not written down here: its sources are run against a client that only notes what they want.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, NoReturn, cast

import pytest
from manifestworld import HARVESTERS_NAMESPACES, Server, environment, namespace, overlay, real_server

from agent.config import Settings, load
from agent.edge.cluster import Cluster
from agent.edge.holder import HolderSources
from agent.edge.kube import Absent, KubeClient, Pace
from agent.edge.kube.client import ListPage
from agent.edge.lease import Lease
from agent.lab.envtest import find_assets

Json = dict[str, Any]
Wish = tuple[str, str, str, str, str]
"""Verb, group, resource with its subresource, namespace, name."""

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(find_assets() is None, reason="KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver"),
]

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
NAD = "elsewhere/storagenetwork-95bj4"
PACE = Pace(first_pause_seconds=0.01, longest_pause_seconds=0.01, absent_seconds=0.01, forbidden_seconds=0.01)


class Notebook:
    """A client to which every resource is absent, and which keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str, str]] = set()

    async def list_pages(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncGenerator[ListPage, None]:
        self.asked |= {(verb, path, (query or {}).get("fieldSelector", "")) for verb in ("list", "watch")}
        raise Absent("there is nothing here", status=404)
        yield

    @asynccontextmanager
    async def watch(self, path: str, *, query: Mapping[str, str]) -> AsyncGenerator[NoReturn, None]:
        raise AssertionError(f"{path} is watched before it was listed")
        yield

    async def patch(self, path: str, body: object, *, decoder: object) -> NoReturn:
        self.asked.add(("patch", path, ""))
        raise Absent("there is nothing here", status=404)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # anything may make it true
            await asyncio.sleep(0.01)


def sources(settings: Settings, client: KubeClient) -> tuple[Cluster, HolderSources, Lease]:
    """As `run` makes them from its settings."""
    places, rng, clock = settings.namespaces, Random(7), time.monotonic
    cluster = Cluster(
        client=client,
        longhorn_namespace=places.longhorn,
        agent_namespace=places.agent,
        agents_selector=settings.agents_selector,
        node_name=settings.node_name,
        clock=clock,
        rng=rng,
        pace=PACE,
    )
    cluster.set_nads(frozenset({NAD}))
    holder = HolderSources(
        client=client,
        longhorn_namespace=places.longhorn,
        harvester_namespace=places.harvester,
        whereabouts_namespace=places.whereabouts,
        monitoring_namespace=places.monitoring,
        clock=clock,
        rng=rng,
        pace=PACE,
    )
    holder.want(True)
    return cluster, holder, Lease(client=client, namespace=places.agent, identity=settings.node_name, clock=clock, rng=rng, pace=PACE)


async def asked_by_the_code(settings: Settings) -> set[tuple[str, str, str]]:
    book = Notebook()
    cluster, holder, lease = sources(settings, cast("KubeClient", book))
    tasks = [asyncio.create_task(work) for work in (cluster.run(), holder.run(), lease.run())]
    try:
        await until(lambda: holder.synced and cluster.synced and any("/leases" in path for _, path, _ in book.asked))
        assert not [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # It is only taken once it has been seen; that it is patched by its name is tested with the Lease itself.
    (lease_path,) = {path for _, path, _ in book.asked if path.endswith("/leases")}
    return book.asked | {("patch", f"{lease_path}/lhnet-agent", "")}


def as_wish(verb: str, path: str, fields: str) -> Wish:
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    place, rest = (rest[1], rest[2:]) if rest[0] == "namespaces" else ("", rest)
    resource, name = rest[0], rest[1] if len(rest) > 1 else ""
    # A server takes a selector for the one name as a request for that object.
    return verb, group, resource, place, name or (fields.removeprefix("metadata.name=") if fields.startswith("metadata.name=") else "")


def settings_of(name: str) -> Settings:
    return load(None, environ=environment(overlay(name)))[0]


@pytest.fixture(scope="module", params=["harvester", "longhorn"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Server, str]]:
    """The overlay's name, the server that it was applied to, and the token of the agent's service account."""
    with real_server(tmp_path_factory.mktemp("cani")) as server:
        others = HARVESTERS_NAMESPACES if request.param == "harvester" else ()
        server.apply([*map(namespace, ("longhorn-system", *others)), *overlay(request.param)])
        yield request.param, server, server.token()


async def allowed(server: Server, token: str, wishes: list[Wish]) -> list[Wish]:
    granted = []
    async with server.client(token) as agent:
        for wish in wishes:
            verb, group, resource, place, name = wish
            kind, _, part = resource.partition("/")
            attributes = {"verb": verb, "group": group, "resource": kind, "subresource": part, "namespace": place, "name": name}
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
            review = await agent.request("POST", REVIEWS, body=body)
            if review["status"]["allowed"]:
                granted.append(wish)
    return granted


def test_everything_that_the_code_asks_for_is_allowed(installed: tuple[str, Server, str]) -> None:
    name, server, token = installed
    asked = asyncio.run(asked_by_the_code(settings_of(name)))
    wishes = sorted({as_wish(*request) for request in asked})
    assert len(wishes) > 50
    assert {resource for _, _, resource, _, _ in wishes} >= {
        "pods",
        "leases",
        "ippools",
        "events",
        "prometheuses",
        "deployments",
        "replicas",
    }
    granted = asyncio.run(allowed(server, token, wishes))
    assert [wish for wish in wishes if wish not in granted] == []


def rules(printed: str) -> set[tuple[str, str, str]]:
    """Lines of `kubectl auth can-i --list`: resource, names, verbs; without what every account may ask about itself and the server."""
    found = set()
    for line in printed.splitlines()[1:]:
        resource = line.split()[0]
        names, verbs = line.split("[")[2].split("]")[0], line.split("[")[-1].split("]")[0]
        if not resource.startswith(("[", "selfsubject")):
            found.add((resource, names, verbs))
    return found


def test_in_a_namespace_that_is_none_of_its_business_it_can_do_only_what_is_open_everywhere(installed: tuple[str, Server, str]) -> None:
    """As a person would look: kubectl with the agent's own token."""
    _, server, token = installed
    done = server.kubectl("auth", "can-i", "--list", "--namespace=default", token=token)
    assert done.returncode == 0, done.stderr
    seen = rules(done.stdout)
    assert {verbs for _, _, verbs in seen} == {"get list watch"}
    assert {resource for resource, _, _ in seen} == {
        "nodes",
        "settings.harvesterhci.io",
        "network-attachment-definitions.k8s.cni.cncf.io",
        "clusternetworks.network.harvesterhci.io",
        "vlanconfigs.network.harvesterhci.io",
        "customresourcedefinitions.apiextensions.k8s.io",
    }


def test_its_one_write_is_its_own_lease(installed: tuple[str, Server, str]) -> None:
    _, server, token = installed
    writes = set()
    for place in ("lhnet-system", "longhorn-system", "kube-system", *HARVESTERS_NAMESPACES, "default"):
        done = server.kubectl("auth", "can-i", "--list", f"--namespace={place}", token=token)
        assert done.returncode == 0, done.stderr
        writes |= {(place, resource, names, verbs) for resource, names, verbs in rules(done.stdout) if verbs != "get list watch"}
    assert writes == {("lhnet-system", "leases.coordination.k8s.io", "lhnet-agent", "get list watch patch")}


PLACES = ("lhnet-system", "longhorn-system", "kube-system", *HARVESTERS_NAMESPACES, "default")
WRITES = ("create", "update", "patch", "delete", "deletecollection")
FOREIGN = [
    ("k8s.cni.cncf.io", "network-attachment-definitions"),
    ("whereabouts.cni.cncf.io", "ippools"),
    ("whereabouts.cni.cncf.io", "overlappingrangeipreservations"),
    ("whereabouts.cni.cncf.io", "nodeslicepools"),
    ("harvesterhci.io", "settings"),
    ("network.harvesterhci.io", "vlanconfigs"),
    ("network.harvesterhci.io", "clusternetworks"),
    *(("longhorn.io", kind) for kind in ("settings", "nodes", "replicas", "engines", "instancemanagers", "volumes")),
    *(("monitoring.coreos.com", kind) for kind in ("prometheuses", "alertmanagers", "prometheusrules")),
    *(("apps", kind) for kind in ("deployments", "daemonsets", "statefulsets", "deployments/scale")),
    *(("", kind) for kind in ("pods", "nodes", "events", "configmaps", "secrets", "services", "namespaces", "serviceaccounts")),
    *(("rbac.authorization.k8s.io", kind) for kind in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
]
MUST_NOT: dict[str, list[Wish]] = {
    "write to anything of others": [
        (verb, group, resource, place, "any") for group, resource in FOREIGN for verb in WRITES for place in PLACES
    ],
    "read what is secret": [
        *(
            (verb, "", kind, place, "")
            for verb in ("get", "list", "watch")
            for kind in ("secrets", "configmaps")
            for place in (*PLACES, "")
        ),
        *(("create", "", "serviceaccounts/token", place, "lhnet-agent") for place in PLACES),
        *((verb, "harvesterhci.io", "settings", "", "") for verb in ("list", "watch")),
        *(("get", "harvesterhci.io", "settings", "", name) for name in ("backup-target", "ssl-certificates", "containerd-registry")),
        ("get", "longhorn.io", "settings", "longhorn-system", "backup-target-credential-secret"),
        ("impersonate", "", "users", "", "admin"),
    ],
    "get into pods and nodes": [
        (verb, "", f"pods/{part}", place, "any")
        for verb in ("get", "create")
        for part in ("exec", "attach", "portforward", "proxy", "log", "eviction", "ephemeralcontainers")
        for place in PLACES
    ]
    + [(verb, "", f"nodes/{part}", "", "harv41") for verb in ("get", "create") for part in ("proxy", "log", "stats", "metrics")],
    "see pods elsewhere": [(verb, "", "pods", place, "") for verb in ("get", "list", "watch") for place in ("", "kube-system", "default")],
    "take another lease": [
        *((verb, "coordination.k8s.io", "leases", "lhnet-system", "another") for verb in ("get", "list", "watch", *WRITES)),
        *((verb, "coordination.k8s.io", "leases", "lhnet-system", "") for verb in ("list", "watch", *WRITES)),
        *((verb, "coordination.k8s.io", "leases", "lhnet-system", "lhnet-agent") for verb in ("create", "update", "delete")),
        *((verb, "coordination.k8s.io", "leases", "kube-system", "whereabouts") for verb in ("get", *WRITES)),
        *((verb, "coordination.k8s.io", "leases", "kube-node-lease", "harv41") for verb in ("get", *WRITES)),
    ],
}


@pytest.mark.parametrize("what", MUST_NOT)
def test_an_agent_that_was_taken_over_cannot(installed: tuple[str, Server, str], what: str) -> None:
    _, server, token = installed
    assert asyncio.run(allowed(server, token, MUST_NOT[what])) == []
