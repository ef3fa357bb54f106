"""One real cluster for a module of tests, with the agent installed and every instance-manager running."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from realcluster.install import agent_image
from realcluster.needs import NeedsError, find_programs
from realworld import World


@pytest.fixture(scope="session")
def image() -> Path:
    """The archive of the agent's image; skips where it or a cluster cannot be had."""
    try:
        find_programs()
        return agent_image()
    except NeedsError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def world(image: Path) -> Iterator[World]:
    programs = find_programs()
    with World(programs=programs, image=image) as made:
        made.begin()
        yield made
