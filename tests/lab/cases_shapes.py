"""Cases of the matrix: clusters of other shapes, states of the setting, versions, clocks and the API, all of them healthy; and what two
storage nodes can say of a fault."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from matrixtools import Case, Json, Said

from agent.lab.future import FINDING, REASON, VERSION

PATIENT = {"settings": {"thresholds.setting_stuck_seconds": "600"}}
TWO = {"nodes": 2}
TWO_AND_WITNESS = {"nodes": 3, "witnesses": 1}
CLOCK_OFF_SECONDS = 240
"""Less than the five minutes that were injected: documents are not asked at one moment."""


def _healthy(verdict: str = "ok", **shape: Any) -> Case:
    """Nothing is injected, nothing may be raised."""
    return Case(up=shape, verdict=verdict, is_control=True, hold_seconds=15.0)


def _control(name: str, *, node: str | None = None, verdict: str = "ok", **more: Any) -> Case:
    wish = {"name": name, **({"node": node} if node else {})}
    return Case(inject=(wish,), verdict=verdict, is_control=True, **more)


def _uplink(shape: Mapping[str, Any]) -> Case:
    """Of two nodes one knows why: it is that one."""
    must = Said(id="node-cut-off", culprit="harv42", node="cluster", explained=False, words="carrier")
    own = Said(id="uplink-*", culprit="harv42")
    return Case(inject=({"name": "uplink-down", "node": "harv42"},), must=(must,), may=(own,), up=shape, verdict="critical")


def _segment(shape: Mapping[str, Any]) -> Case:
    """Of two nodes neither knows why: nobody can say which side it is, and that is said."""
    must = Said(id="network-down", node="cluster", explained=False, words="cannot tell which side")
    return Case(inject=({"name": "segment-moved", "node": "harv42"},), must=(must,), up=shape, verdict="critical")


def _both_versions(documents: Mapping[str, Json]) -> str:
    """What today's version does not know is handed on as it is."""
    nodes = documents["cluster"]["nodes"]
    versions = {node: one.get("version") for node, one in nodes.items()}
    later = [node for node, version in versions.items() if version == VERSION]
    if len(later) != len(nodes) - 1:
        return f"not all but one are of the later version: {versions}"
    for node in later:
        found = [one for one in nodes[node]["findings"] if one["id"] == FINDING]
        if [one["reason"] for one in found] != [REASON]:
            return f"{FINDING} of {node} was not handed on: {found}"
        if "forecast" not in nodes[node]:
            return f"an unknown key of {node} was not handed on"
    return ""


def _clock_is_off(documents: Mapping[str, Json]) -> str:
    """That the clock really is off, that one agent holds the Lease, and that no age shows any of it."""
    nodes = documents["cluster"]["nodes"]
    clocks = sorted(datetime.fromisoformat(one["generated_at"]) for one in nodes.values())
    if (clocks[-1] - clocks[0]).total_seconds() < CLOCK_OFF_SECONDS:
        return f"no clock is off: {clocks}"
    holders = [node for node, one in nodes.items() if one["lease"] == "holder"]
    old = [row for row in documents["cluster"]["matrix"] if (row["age_seconds"] or 0.0) > CLOCK_OFF_SECONDS]
    return f"holders {holders}, old rows {old}" if len(holders) != 1 or old else ""


def _held_back(documents: Mapping[str, Json]) -> str:
    """Something is wrong, is known, and is not told while the setting is applied."""
    held = {path: one["held_back"] for path, one in documents.items() if path.startswith("status/")}
    told = [one["id"] for document in documents.values() for one in document["findings"] if one["severity"] != "info"]
    return "" if any(held.values()) and not told else f"held back: {held}, told: {told}"


def _only_left_overs(documents: Mapping[str, Json]) -> str:
    told = [one["id"] for document in documents.values() for one in document["findings"]]
    return "" if set(told) <= {"nad-leftover", "pool-leftover"} else f"told although switched off: {told}"


STALE = Said(id="sources-stale", culprit="{node}", severity="warning")
OLD_VIEW = Said(id="peer-unreachable", culprit="{node}>*", severity="warning", words="pods as known")

CASES: dict[str, Case] = {
    "witness": _healthy(nodes=4, witnesses=1),
    "two-nodes": _healthy(**TWO),
    "two-nodes-and-witness": _healthy(**TWO_AND_WITNESS),
    "one-node": _healthy(nodes=1),
    "mtu-9000": _healthy(mtu_bytes=9000),
    "rwx": _healthy(rwx=True),
    "no-harvester": _healthy(harvester=False),
    "no-harvester-off": _healthy("inactive", harvester=False, mode="off"),
    "no-harvester-applying": _healthy("ok", harvester=False, mode="applying", **PATIENT),
    "shape-off": _healthy("inactive", mode="off"),
    "shape-uninitialised": _healthy("inactive", mode="uninitialised"),
    "shape-applying": _healthy("ok", mode="applying", **PATIENT),
    "mode-off": _control("mode-off", verdict="inactive", check=_only_left_overs),
    "mode-applying": Case(
        inject=({"name": "mode-applying"}, {"name": "uplink-down", "node": "harv42"}),
        verdict="unknown",
        up=PATIENT,
        check=_held_back,
        may=(Said(id="node-cut-off", culprit="harv42"), Said(id="uplink-*", culprit="harv42")),  # for a moment, once it is applied
        is_control=True,
        hold_seconds=30.0,
    ),
    "mode-applying-stuck": Case(
        inject=({"name": "mode-applying"}, {"name": "uplink-down", "node": "harv42"}),
        must=(
            Said(id="setting-stuck", node="cluster", severity="warning", words="waiting for all volumes detached"),
            Said(id="node-cut-off", culprit="harv42", node="cluster", words="carrier"),
        ),
        may=(Said(id="uplink-*", culprit="harv42"),),
        verdict="critical",
    ),
    "api-restart": _control("api-restart"),
    "agent-rollout": _control("agent-rollout", check=_both_versions),
    "node-without-api": _control("node-without-api", node="harv41", verdict="warning", may=(STALE, OLD_VIEW), hold_seconds=75.0),
    "clock-off": _control("clock-off", node="harv42", check=_clock_is_off),
    "clock-steps": _control("clock-steps", node="harv42", check=_clock_is_off, hold_seconds=30.0),
    "two-nodes-uplink-down": _uplink(TWO),
    "two-nodes-segment-moved": _segment(TWO),
    "two-nodes-and-witness-uplink-down": _uplink(TWO_AND_WITNESS),
    "two-nodes-and-witness-segment-moved": _segment(TWO_AND_WITNESS),
}
