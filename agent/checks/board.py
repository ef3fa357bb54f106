"""Holds the one NodeView and the ledger behind it: takes the checks' outcomes, and replaces the view whole.

Single-threaded, like the event loop that owns it; reads clocks only through what it is given.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.checks.base import Context, Outcome
from agent.clock import Clock
from agent.config import Settings
from agent.model.catalogue import CATALOGUE, identity
from agent.model.cluster import ClusterFacts
from agent.model.finding import ActiveFinding, Finding
from agent.model.gathered import Judgement
from agent.model.holder import HolderFacts
from agent.model.peers import Mode, StoragePod
from agent.model.pool import NadConfig
from agent.model.records import SourceState, SourceStatus
from agent.model.view import CheckRun, HistoryEntry, NodeView
from agent.rules import ledger, verdict
from agent.rules.blame_read import WITNESS_LABEL
from agent.rules.explain import explain
from agent.rules.itself import check_failed
from agent.rules.mode import Reading, read_mode
from agent.rules.nad import parse_nad
from agent.rules.netstatus import storage_pods
from agent.rules.setting import said_seconds

EXPLANATION_ROUNDS = 3
"""Contract §3: an explanation that is not renewed for three rounds lapses."""

OnChange = Callable[[str, Finding], None]
"""Called with `raised`, `cleared` or `reason`, and the finding."""


class Board:
    """What is known and what is concluded, at this moment."""

    def __init__(
        self,
        *,
        settings: Settings,
        version: str,
        clock: Clock,
        get_facts: Callable[[], ClusterFacts],
        get_holder: Callable[[], HolderFacts],
        on_change: OnChange,
        get_more_sources: Callable[[], tuple[SourceStatus, ...]] = tuple,
        server_wall_seconds: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._get_facts = get_facts
        self._get_holder = get_holder
        self._get_more_sources = get_more_sources
        self._on_change = on_change
        self._server_wall_seconds = server_wall_seconds
        self._ledger: dict[ledger.Key, ledger.Entry] = {}
        self._view = NodeView(node=settings.node_name, version=version, started_monotonic_seconds=clock.monotonic())
        self._reading = Reading()
        self._pods: tuple[StoragePod, ...] = ()
        self._nads: dict[str, NadConfig] = {}
        self._revisions: tuple[int, ...] = ()
        self._applying_since: float | None = None
        self._explanations: dict[ledger.Key, tuple[str, float]] = {}
        self._foreign: dict[tuple[str, ...], str] = {}

    def context(self) -> Context:
        """Everything known now; the storage pods are the same tuple for as long as nothing about them changed."""
        facts = self._get_facts()
        self._interpret(facts)
        return Context(
            settings=self._settings,
            facts=facts,
            reading=self._reading,
            pods=self._pods,
            nads=self._nads,
            view=self._view,
            holder=self._get_holder(),
            sources=(*facts.statuses(), *self._get_more_sources()),
            now=self._clock.monotonic(),
            wall=self._clock.wall(),
        )

    def view(self) -> NodeView:
        """The view with the ages of its sources as they are now."""
        facts = self._get_facts()
        return replace(
            self._view,
            sources=(*facts.statuses(), *self._get_more_sources()),
            applying_seconds=self._applying_seconds(),
            witness=any(node.labels.get(WITNESS_LABEL) == "true" for node in facts.node.items),
        )

    def publish(self, producer: str, outcome: Outcome) -> None:
        """Take what a check saw."""
        changes: tuple[ledger.Change, ...] = ()
        if outcome.look is not None:
            self._ledger, changes = ledger.advance(
                self._ledger,
                outcome.look,
                producer=producer,
                now=self._clock.monotonic(),
                wall=self._clock.wall(),
                disagreement_seconds=self._settings.thresholds.disagreement_seconds,
            )
        self._view = replace(self._view, **outcome.parts)
        self._compose()
        self._remember(changes)

    def ran(self, run: CheckRun, why: str | None) -> None:
        """Note how a check's run went; a run that failed is a finding until one does not."""
        others = tuple(other for other in self._view.checks if other.name != run.name)
        self._view = replace(self._view, checks=(*others, run))
        failed = () if why is None else (ledger.Claim(finding=check_failed(self._settings.node_name, check=run.name, why=why)),)
        self.publish(f"frame:{run.name}", Outcome(look=ledger.Look(claims=failed)))

    def leased(self, state: str, holder: str | None) -> None:
        """Note who holds the Lease."""
        if (state, holder) != (self._view.lease, self._view.holder):
            self._view = replace(self._view, lease=state, holder=holder)

    def explained_by_holder(self, judgement: Judgement | None) -> None:
        """What the holder says of the cluster and explains of this node's findings; to be renewed each round."""
        self._foreign = dict(judgement.explanations) if judgement else {}
        self._view = replace(self._view, heard=judgement, heard_monotonic_seconds=self._clock.monotonic())
        self._compose()

    def forget(self, producer: str, **parts: Any) -> None:
        """Drop what a check of the holder claimed: somebody else says it now. It has not cleared, so nothing is told."""
        for name in (producer, f"frame:{producer}"):
            self._ledger = {key: entry for key, entry in self._ledger.items() if entry.producer != name}
        self._view = replace(self._view, checks=tuple(run for run in self._view.checks if run.name != producer), **parts)
        self._compose()

    def note(self, *notes: str) -> None:
        """Say once what the agent does less well here."""
        self._view = replace(self._view, notes=tuple(dict.fromkeys((*self._view.notes, *notes))))

    def next_look(self, producer: str) -> float | None:
        """When a finding of `producer` that waits for its second look may have it."""
        return ledger.next_look(self._ledger, producer=producer, disagreement_seconds=self._settings.thresholds.disagreement_seconds)

    def _interpret(self, facts: ClusterFacts) -> None:
        # the states count too: a source that turns absent or stale changes what the settings mean without a new revision
        known = (facts.pods, facts.setting, facts.longhorn_settings, facts.nads)
        revisions = tuple(number for one in known for number in (one.revision, list(SourceState).index(one.status.state)))
        if revisions == self._revisions:
            return
        self._revisions = revisions
        self._reading = read_mode(facts, interface=self._settings.interface)
        self._pods = storage_pods(facts.pods.items, nads=self._reading.nads, interface=self._settings.interface)
        self._nads = {nad.key: parse_nad(nad.key, nad.config) for nad in facts.nads.items}
        if self._reading.mode is not Mode.APPLYING:
            self._applying_since = None
        elif self._applying_since is None:
            self._applying_since = self._clock.monotonic()
        self._compose()

    def _applying_seconds(self) -> float:
        return 0.0 if self._applying_since is None else self._clock.monotonic() - self._applying_since

    def _waited_seconds(self) -> float:
        """As `setting-stuck` counts: an agent that starts anew in a cluster that is stuck for days holds nothing back."""
        condition = self._reading.configured
        said = said_seconds(condition.last_update_time, self._server_wall_seconds()) if condition is not None else 0.0
        return max(self._applying_seconds(), said)

    def _compose(self) -> None:
        mode = self._reading.mode
        standing = self._explained(ledger.standing(self._ledger))
        told = verdict.apply_settings(
            standing,
            severities=self._settings.findings.severities,
            ignore=self._settings.findings.ignore,
            wall=self._clock.wall(),
        )
        held = verdict.held_back(
            mode, applying_seconds=self._waited_seconds(), stuck_seconds=self._settings.thresholds.setting_stuck_seconds
        )
        visible, hidden = verdict.visible(told, mode=mode, held=held)
        shown = tuple(active for active in visible if not CATALOGUE[active.finding.id].holder)
        cluster = tuple(active for active in visible if CATALOGUE[active.finding.id].holder)
        ready, because, complete = self._readiness(shown)
        configured = self._reading.configured
        self._view = replace(
            self._view,
            mode=mode,
            mode_why=self._reading.why,
            storage_nad=self._reading.storage_nad,
            nads=tuple(self._reading.nads.items()),
            configured=None if configured is None else configured.status == "True",
            findings=verdict.worst_first(shown),
            cluster_findings=verdict.worst_first(cluster),
            held_back=hidden,
            verdict=verdict.node_verdict(shown, mode=mode, complete=complete, held=hidden, node=self._settings.node_name),
            ready=ready,
            not_ready_because=because,
        )

    def _explained(self, standing: tuple[ActiveFinding, ...]) -> tuple[ActiveFinding, ...]:
        """With explanations; one that is not renewed goes on for three rounds, in which what it explained has time to clear as well."""
        now = self._clock.monotonic()
        lasting = EXPLANATION_ROUNDS * self._settings.probe.interval_seconds
        remembered = {key: (why, at) for key, (why, at) in self._explanations.items() if now - at < lasting}
        told = []
        for active in explain(standing, foreign={**self._foreign, **self._view.explanations}):
            key = identity(active.finding)
            why = active.finding.explained_by
            if why is not None:
                remembered[key] = (why, now)
            elif key in remembered:
                active = replace(active, finding=replace(active.finding, explained_by=remembered[key][0]))  # noqa: PLW2901
            told.append(active)
        present = {identity(active.finding) for active in standing}
        self._explanations = {key: value for key, value in remembered.items() if key in present}
        return tuple(told)

    def _readiness(self, shown: tuple[ActiveFinding, ...]) -> tuple[bool, str, bool]:
        """Ready, why not, and whether the first round is complete."""
        facts = self._get_facts()
        if self._reading.mode in (Mode.OFF, Mode.UNINITIALISED):
            return True, "", True
        impaired = any(active.finding.id == "agent-impaired" for active in shown)
        if not facts.pods.status.readable:
            said = f" ({facts.pods.status.detail})" if facts.pods.status.detail else ""
            return impaired, f"Longhorn's pods have not been read: {facts.pods.status.state}{said}", False
        if self._view.inspected_monotonic_seconds is None:
            return impaired, "the interfaces have not been looked at yet", False
        if not self._view.mesh.completed_rounds:
            return impaired, "the first round of probes is not complete", False
        return True, "", True

    def _remember(self, changes: tuple[ledger.Change, ...]) -> None:
        entries = []
        for change in changes:
            self._on_change(change.kind, change.finding)
            entries.append(
                HistoryEntry(
                    wall_seconds=self._clock.wall(),
                    monotonic_seconds=self._clock.monotonic(),
                    change=change.kind,
                    finding=change.finding,
                )
            )
        if entries:
            kept = (*reversed(entries), *self._view.history)[: self._settings.history.size]
            self._view = replace(self._view, history=kept)
