"""The board: what the checks saw becomes one view, with mode, readiness, history and verdict."""

from test_verdict import unreachable
from unitworld import NAD, down, facts, file, pod, record

from agent.checks.base import Outcome
from agent.checks.board import Board
from agent.clock import Clock
from agent.config import Settings
from agent.model.catalogue import identity
from agent.model.cluster import ClusterFacts, Known
from agent.model.finding import Verdict
from agent.model.gathered import Judgement
from agent.model.holder import HolderFacts
from agent.model.mesh import Mesh
from agent.model.peers import Mode
from agent.model.records import ConditionRecord, LonghornSettingRecord, SettingRecord, SourceState, SourceStatus
from agent.model.view import CheckRun, InspectedPod
from agent.rules.ledger import Claim, Look
from agent.rules.links import address_mismatch, interface_down

PREFIX = "storage-network.settings.harvesterhci.io"
DOWN = interface_down(pod(), facts(lhnet1=down(up=False, carrier=False)))
WRONG = address_mismatch(pod(), facts(addresses=("192.168.0.99/24",)))
LOOKED = {"inspected": (InspectedPod(pod=pod(), namespace=file(), facts=facts()),), "inspected_monotonic_seconds": 1.0}


class Bench:
    def __init__(self, *, condition="True", value="{}", named=NAD, updated=None):
        self.now = 0.0
        self.server_wall = None
        self.updated = updated
        self.told = []
        self.state = SourceState.LIVE
        self.setting(condition, value, named)
        self.board = Board(
            settings=Settings(node_name="harv41"),
            version="0.1.0",
            clock=Clock(monotonic=lambda: self.now, wall=lambda: 1e9 + self.now),
            get_facts=lambda: self.facts,
            get_holder=HolderFacts,
            on_change=lambda kind, finding: self.told.append((kind, finding.id)),
            server_wall_seconds=lambda: self.server_wall,
        )

    def setting(self, condition="True", value="{}", named=NAD):
        one = SettingRecord(
            name="storage-network",
            value=value,
            annotations={f"{PREFIX}/net-attach-def": named, f"{PREFIX}/hash": "x"},
            conditions=(ConditionRecord(type="configured", status=condition, last_update_time=self.updated),),
        )
        self.facts = ClusterFacts(
            pods=self.known("pods", record()),
            setting=self.known("setting", one),
            longhorn_settings=self.known("longhorn_settings", LonghornSettingRecord(name="storage-network", value=named)),
        )

    def known(self, name, *items):
        revision = len(self.told) + int(self.now * 10) + 1
        return Known(items=items, status=SourceStatus(name=name, state=self.state), revision=revision)

    def look(self, *findings, check="interfaces", **parts):
        self.board.publish(check, Outcome(look=Look(claims=tuple(Claim(finding=one) for one in findings)), parts=parts))

    def complete(self):
        self.board.context()
        self.look(**LOOKED)
        self.look(check="reachability", mesh=Mesh(round=1, completed_rounds=1))


def test_it_starts_as_unknown_and_not_ready_and_says_what_it_waits_for():
    bench = Bench()
    bench.board.context()
    view = bench.board.view()
    assert (view.verdict, view.ready) == (Verdict.UNKNOWN, False)
    bench.look(**LOOKED)
    assert "first round" in bench.board.view().not_ready_because
    bench.complete()
    view = bench.board.view()
    assert (view.verdict, view.ready, view.mode) == (Verdict.OK, True, Mode.ON)


def test_pods_that_were_never_read_keep_it_from_being_ready():
    bench = Bench()
    bench.state = SourceState.NEVER
    bench.setting()
    bench.complete()
    view = bench.board.view()
    assert (view.ready, view.verdict) == (False, Verdict.UNKNOWN)
    assert "pods have not been read" in view.not_ready_because


def test_a_finding_is_raised_told_once_remembered_and_cleared():
    bench = Bench()
    bench.complete()
    bench.look(DOWN, **LOOKED)
    bench.look(DOWN, **LOOKED)
    assert bench.board.view().verdict is Verdict.CRITICAL
    bench.look(**LOOKED)
    view = bench.board.view()
    assert view.verdict is Verdict.OK
    assert bench.told == [("raised", "interface-down"), ("cleared", "interface-down")]
    assert [entry.change for entry in view.history] == ["cleared", "raised"]


def test_a_second_look_is_asked_for_when_two_sources_disagree():
    bench = Bench()
    bench.complete()
    bench.look(WRONG, **LOOKED)
    assert bench.board.view().findings == ()
    assert bench.board.next_look("interfaces") == 10.0
    bench.now = 10.0
    bench.look(WRONG, **LOOKED)
    assert [active.finding.id for active in bench.board.view().findings] == ["address-mismatch"]


def test_a_storage_network_that_is_off_is_inactive_and_ready():
    bench = Bench(value="", named="")
    bench.board.context()
    bench.look(DOWN, **LOOKED)
    view = bench.board.view()
    assert (view.mode, view.verdict, view.ready, view.findings) == (Mode.OFF, Verdict.INACTIVE, True, ())


def test_while_the_setting_is_applied_findings_are_held_back_and_after_ten_minutes_not():
    bench = Bench(condition="False")
    bench.complete()
    bench.look(DOWN, **LOOKED)
    view = bench.board.view()
    assert (view.mode, view.findings, view.held_back, view.verdict) == (Mode.APPLYING, (), 1, Verdict.UNKNOWN)
    bench.now = 601.0
    bench.look(DOWN, **LOOKED)
    view = bench.board.view()
    assert [active.finding.id for active in view.findings] == ["interface-down"]
    assert view.applying_seconds == 601.0


def test_an_agent_that_starts_in_a_cluster_that_is_stuck_for_days_holds_nothing_back():
    """By the server's clock, as setting-stuck counts: our own started a moment ago, and our wall clock may be off."""
    bench = Bench(condition="False", updated="2026-01-01T00:00:00Z")
    bench.server_wall = 1767225600.0 + 599.0
    bench.complete()
    bench.look(DOWN, **LOOKED)
    assert bench.board.view().held_back == 1
    bench.server_wall = 1767225600.0 + 601.0
    bench.look(DOWN, **LOOKED)
    assert [active.finding.id for active in bench.board.view().findings] == ["interface-down"]


def test_a_check_that_failed_is_a_finding_until_it_does_not():
    bench = Bench()
    bench.complete()
    run = CheckRun(name="interfaces", success=False, duration_seconds=0.1, finished_monotonic_seconds=0.0)
    bench.board.ran(run, "ValueError: no")
    (active,) = bench.board.view().findings
    assert active.finding.subject.as_dict() == {"node": "harv41", "check": "interfaces"}
    assert "ValueError: no" in active.finding.summary
    bench.board.ran(run, None)
    assert bench.board.view().findings == ()


def test_a_failed_check_keeps_what_it_knew():
    bench = Bench()
    bench.complete()
    bench.look(DOWN, **LOOKED)
    bench.board.ran(CheckRun(name="interfaces", success=False, duration_seconds=0.1, finished_monotonic_seconds=0.0), "it raised")
    assert {active.finding.id for active in bench.board.view().findings} == {"interface-down", "check-failed"}


def test_an_explanation_outlives_its_cause_by_three_rounds_so_that_pairs_clear_with_it():
    bench = Bench()
    bench.complete()
    pair = unreachable().finding
    bench.look(DOWN, **LOOKED)
    bench.look(pair, check="reachability")
    explained = {active.finding.id: active.finding.explained_by for active in bench.board.view().findings}
    assert explained["peer-unreachable"] == DOWN.name
    bench.now = 5.0
    bench.look(**LOOKED)
    assert bench.board.view().verdict is Verdict.OK
    bench.now = 31.0
    bench.look(**LOOKED)
    assert bench.board.view().verdict is Verdict.CRITICAL


def test_what_the_holder_says_explains_this_nodes_findings_and_is_kept_with_its_time():
    bench = Bench()
    bench.complete()
    pair = unreachable().finding
    bench.look(pair, check="reachability")
    said = Judgement(source="harv42", findings=({"id": "node-cut-off"},), explanations={identity(pair): "node-cut-off:harv42"})
    bench.now = 3.0
    bench.board.explained_by_holder(said)
    seen = bench.board.view()
    assert [active.finding.explained_by for active in seen.findings] == ["node-cut-off:harv42"]
    assert (seen.heard, seen.heard_monotonic_seconds) == (said, 3.0)
    bench.board.explained_by_holder(None)
    assert bench.board.view().heard is None


def test_what_the_holder_forgets_has_not_cleared():
    bench = Bench()
    bench.complete()
    bench.look(DOWN, check="pools")
    bench.board.forget("pools", pools=())
    assert bench.board.view().findings == ()
    assert bench.told == [("raised", "interface-down")]


def test_the_same_pods_are_the_same_tuple_until_something_changes():
    bench = Bench()
    assert bench.board.context().pods is bench.board.context().pods
    before = bench.board.context().pods
    bench.now = 1.0
    bench.setting()
    assert bench.board.context().pods is not before
