"""What the agent says of itself right after its node has come up, in virtual time."""

from dataclasses import replace

import pytest
from unitworld import NAD

from agent.checks import itself
from agent.checks.base import Context
from agent.checks.itself import Itself
from agent.config import Settings
from agent.edge.host import Privileges
from agent.model.cluster import ClusterFacts
from agent.model.holder import HolderFacts
from agent.model.peers import Mode
from agent.model.view import NodeView, OwnFacts
from agent.rules.mode import Reading

ALL = frozenset({"SYS_ADMIN", "NET_RAW", "NET_BROADCAST"})
OWN = OwnFacts(capabilities=ALL, directories=("/var/run/netns",), namespaces=0, storage_pods=2)


class Booted:
    """A node whose /var/run/netns is empty, while the API tells of its storage pods from before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(itself, "read_privileges", lambda: Privileges(effective=ALL, no_new_privs=True))
        self.now = 100.0
        self.own = OWN
        self.check = Itself(listen_again=self._listen_again)

    async def _listen_again(self) -> tuple[str, ...]:
        return ()

    def context(self) -> Context:
        view = NodeView(node="harv41", version="0", started_monotonic_seconds=0.0, own=self.own)
        return Context(
            settings=Settings(node_name="harv41"),
            facts=ClusterFacts(),
            reading=Reading(mode=Mode.ON, nads={}, storage_nad=NAD),
            pods=(),
            nads={},
            view=view,
            holder=HolderFacts(),
            sources=(),
            now=self.now,
            wall=1e9,
        )

    async def starts(self, *, after_seconds: float = 0.0) -> list[str | None]:
        """Reasons of what may be raised now."""
        self.now += after_seconds
        outcomes: list[itself.Outcome] = []
        await self.check.run(self.context, outcomes.append)
        return [claim.finding.reason for claim in outcomes[-1].look.claims if claim.may_start]


async def test_an_empty_folder_is_believed_at_a_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    booted = Booted(monkeypatch)
    assert await booted.starts() == []
    assert await booted.starts(after_seconds=5.0) == []
    assert await booted.starts(after_seconds=5.0) == ["netns_dir_empty"]


async def test_pods_that_a_boot_has_ended_make_no_empty_folder_and_the_next_look_is_a_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    booted = Booted(monkeypatch)
    assert await booted.starts() == []
    booted.own = replace(OWN, storage_pods=0)
    assert await booted.starts(after_seconds=5.0) == []
    booted.own = OWN
    assert await booted.starts(after_seconds=5.0) == []


async def test_what_no_boot_brings_about_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    booted = Booted(monkeypatch)
    booted.own = replace(OWN, not_propagated=("/var/run/netns",))
    assert await booted.starts() == ["netns_dir_not_propagated"]
