"""Labs for the tests: one with real agents for the whole session, and places for those that a test builds itself."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from labtools import AGENT_SETTINGS, GONE_SECONDS, missing_for_a_lab

from agent.lab import traces
from agent.lab.client import LabClient, Wish


@pytest.fixture
def lab_place() -> Iterator[Path]:
    """A folder name for a lab; the lab that is still there afterwards is taken down."""
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as parent:
        place = Path(parent, "lab")
        yield place
        LabClient(place).down()


@pytest.fixture(scope="session")
def agent_lab(request: pytest.FixtureRequest) -> Iterator[LabClient]:
    """A lab of three nodes with real agents, by the Kubernetes API that the parameter names: `embedded` or `real`."""
    if reason := missing_for_a_lab():
        pytest.skip(reason)
    environment = dict(os.environ)
    if request.param == "embedded":
        environment.pop("KUBEBUILDER_ASSETS", None)
    elif "KUBEBUILDER_ASSETS" not in environment:
        pytest.skip("KUBEBUILDER_ASSETS does not name a folder with etcd and kube-apiserver")
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as parent:
        client = LabClient(Path(parent, "lab"))
        trace = traces.take(client.up(Wish(settings=AGENT_SETTINGS, environment=environment), stay=False))
        try:
            yield client
        finally:
            client.down()
        assert trace.wait_until_gone(timeout_seconds=GONE_SECONDS) == []
