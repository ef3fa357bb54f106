"""Counts probes for Prometheus: by kind and reason, and how long the good ones took by the kernel's own round-trip time."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace

from agent.model.mesh import Histogram, ProbeCounters
from agent.model.probe import ProbeResult, Reason

BOUNDS_SECONDS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
"""From 50 µs: two hosts on one switch are some 100 µs apart."""


def count(counters: ProbeCounters, results: Iterable[ProbeResult]) -> ProbeCounters:
    """The counters after `results`. What was not asked is not a probe; a failed probe has no duration."""
    by_reason, durations = dict(counters.by_reason), dict(counters.durations)
    for result in results:
        if result.reason is Reason.NOT_PROBED:
            continue
        label = (result.plan.kind, result.reason)
        by_reason[label] = by_reason.get(label, 0) + 1
        if result.rtt_seconds is not None:
            durations[result.plan.kind] = _observe(durations.get(result.plan.kind), result.rtt_seconds)
    return ProbeCounters(by_reason=by_reason, durations=durations)


def _observe(histogram: Histogram | None, seconds: float) -> Histogram:
    histogram = histogram or Histogram(bounds_seconds=BOUNDS_SECONDS, counts=(0,) * (len(BOUNDS_SECONDS) + 1))
    place = bisect_left(histogram.bounds_seconds, seconds)
    counts = tuple(number + (i == place) for i, number in enumerate(histogram.counts))
    return replace(histogram, counts=counts, sum_seconds=histogram.sum_seconds + seconds)
