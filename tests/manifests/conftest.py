"""The manifests as a cluster would get them."""

from typing import Any

import pytest
from manifestworld import MANIFESTS, OVERLAYS, built, one, overlay, pod_of

Json = dict[str, Any]


@pytest.fixture(scope="session")
def objects() -> list[Json]:
    """Of the base, which every overlay has."""
    return built(MANIFESTS / "base")


@pytest.fixture(scope="session", params=OVERLAYS)
def installed(request: pytest.FixtureRequest) -> tuple[str, list[Json]]:
    """Each overlay in turn: its name and everything that `kubectl apply -k` would apply."""
    return request.param, overlay(request.param)


@pytest.fixture(scope="session")
def daemon_set(objects: list[Json]) -> Json:
    return one(objects, "DaemonSet")


@pytest.fixture(scope="session")
def pod(objects: list[Json]) -> Json:
    return pod_of(objects)


@pytest.fixture(scope="session")
def container(pod: Json) -> Json:
    (only,) = pod["containers"]
    assert "initContainers" not in pod
    found: Json = only
    return found
