"""The exposition that Prometheus scrapes: names, types, labels and values of a node with one fault."""

from dataclasses import replace
from pathlib import Path

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from test_text import NOW, WALL, state, view
from test_verdict import DOWN, unreachable
from unitworld import facts, file, pod, result

from agent.model.finding import Verdict
from agent.model.mesh import Mesh, ProbeCounters
from agent.model.probe import ProbeKind, Reason
from agent.model.records import SourceState, SourceStatus
from agent.model.view import CheckRun, InspectedPod
from agent.rules.count import count
from agent.rules.explain import explain
from agent.serve import names
from agent.serve.metrics import make_registry

GOLDEN = Path(__file__).parent.parent / "data" / "metrics.txt"


def exposition(one):
    return generate_latest(make_registry(lambda: one)).decode()


def broken_node():
    counters = count(ProbeCounters(), [result(Reason.OK), result(Reason.TIMEOUT), result(Reason.NOT_PROBED), result(kind=ProbeKind.HTTP)])
    return view(
        verdict=Verdict.CRITICAL,
        findings=explain([DOWN, unreachable()]),
        inspected=(InspectedPod(pod=pod(), namespace=file(), facts=facts(), address_ok=True, route_ok=False),),
        mesh=Mesh(round=2, completed_rounds=2, pairs=(state(Reason.OK), state(Reason.TIMEOUT)), counters=counters),
        checks=(CheckRun(name="interfaces", success=True, duration_seconds=0.25, finished_monotonic_seconds=NOW),),
        sources=(
            SourceStatus(name="pods", state=SourceState.STALE, age_seconds=31.5),
            SourceStatus(name="setting", state=SourceState.ABSENT),
        ),
    )


def test_the_exposition_is_the_one_that_was_reviewed():
    assert exposition(broken_node()) == GOLDEN.read_text()


def test_every_metric_is_named_once_and_keeps_the_rules_of_prometheus():
    assert len({metric.name for metric in names.ALL}) == len(names.ALL)
    for metric in names.ALL:
        assert metric.name.startswith("lhnet_")
        assert not metric.name.endswith("_total"), "the library adds it to counters"
        assert metric.help.endswith(".")
        assert "message" not in metric.labels


def test_a_failed_probe_has_no_latency_sample():
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(exposition(broken_node()))
        for sample in family.samples
        if sample.labels.get("kind") == "tcp" and sample.name.startswith("lhnet_probe_duration")
    }
    assert samples["lhnet_probe_duration_seconds_count"] == 1


def test_the_worst_pair_of_a_peer_node_is_its_success():
    samples = {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(exposition(broken_node()))
        for sample in family.samples
        if sample.name == "lhnet_probe_success"
    }
    assert samples == {"tcp": 0.0}


def test_series_of_departed_pods_are_gone_at_the_next_scrape():
    assert "instance-manager-a" in exposition(broken_node())
    empty = replace(broken_node(), inspected=(), findings=(), mesh=Mesh())
    told = exposition(empty)
    assert "instance-manager-a" not in told
    assert "harv42" not in told
    assert WALL
