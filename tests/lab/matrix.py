"""Runs faults and controls of the lab one after another and prints a line for each: detected, culprit right, false findings, seconds.

`python tests/lab/matrix.py [PATTERN…] [--list] [--real] [--show] [-o json]`; `make matrix` runs all of it. Exit status 1 if anything was
missed, wrong, false or late. Labs are shared by cases that want the same one.
"""

import argparse
import contextlib
import fnmatch
import importlib
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matrixjudge import CLUSTER, Watch, loud
from matrixtools import CLEARED_SECONDS, SETTINGS, Case, Json, Said

from agent.lab.client import LabClient, LabError, Wish

LOOK_SECONDS = 0.5
ANSWER_SECONDS = 6.0
CALM_SECONDS = 60.0
CALM_VERDICTS = ("ok", "inactive")
STILL_SECONDS = 8.0
"""How long calm must last: one round and a look more."""


@dataclass(slots=True)
class Line:
    """What the matrix prints of one case."""

    name: str
    is_control: bool
    detected: bool = False
    culprit_right: bool = False
    false: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    detect_seconds: float | None = None
    clear_seconds: float | None = None
    sentence: str = ""

    @property
    def good(self) -> bool:
        return self.detected and self.culprit_right and not self.false and not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A `Said` with the names of this injection filled in."""

    said: Said
    names: Mapping[str, str]
    required: bool

    @property
    def label(self) -> str:
        culprit = f" {self._fill(self.said.culprit)}" if self.said.culprit else ""
        return f"{self.said.id}{culprit}" + (f" on {self._fill(self.said.node)}" if self.said.node else "")

    def _fill(self, text: str) -> str:
        for key, value in self.names.items():
            text = text.replace("{" + key + "}", value)
        return text

    def is_about(self, finding: Json, *, place: str) -> bool:
        if not fnmatch.fnmatchcase(finding["id"], self.said.id):
            return False
        if self.said.node is not None and place != self._fill(self.said.node):
            return False
        return self.required or self.said.culprit is None or self._has_culprit(finding)

    def _has_culprit(self, finding: Json) -> bool:
        return fnmatch.fnmatchcase(finding["culprit"], self._fill(self.said.culprit or "*"))

    def problem(self, finding: Json) -> str:
        if not self._has_culprit(finding):
            return f"{finding['id']} blames {finding['culprit']}, expected {self._fill(self.said.culprit or '*')}"
        for key in ("severity", "reason"):
            wanted = getattr(self.said, key)
            if wanted is not None and finding[key] not in wanted.split("|"):
                return f"{finding['id']}: {key} {finding[key]}, expected {wanted}"
        if self.said.explained is not None and bool(finding["explained_by"]) != self.said.explained:
            return f"{finding['id']}: explained by {finding['explained_by']}"
        text = " ".join(str(finding[key]) for key in ("summary", "seen", "expected", "next_step", "evidence"))
        words = self._fill(self.said.words)
        return "" if words in text else f"{finding['id']} does not say {words!r}: {finding['summary']}"


class Stage:
    """One lab, with what the agents in it say."""

    def __init__(self, lab: LabClient) -> None:
        self.lab = lab

    def documents(self) -> dict[str, Json]:
        """By node, and of the whole cluster as the first agent that answers tells it. Agents that do not answer are left out."""
        urls = {node: values["agent_url"] for node, values in self.lab.ask("status")["nodes"].items()}
        found = {node: document for node, url in urls.items() if (document := get(f"{url}/api/v1/status")) is not None}
        for node in found:
            document = get(f"{urls[node]}/api/v1/cluster")
            if document is not None:
                found[CLUSTER] = document
                break
        return found

    def text(self) -> str:
        for values in self.lab.ask("status")["nodes"].values():
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{values['agent_url']}/cluster", timeout=ANSWER_SECONDS) as answer,
            ):
                return str(answer.read().decode())
        return ""

    def unrest(self) -> str:
        """Why this lab is not calm; empty if it is."""
        status = self.lab.ask("status")
        documents = self.documents()
        if silent := sorted(set(status["nodes"]) - set(documents)):
            return f"{', '.join(silent)} does not answer"
        cluster = documents.get(CLUSTER, {})
        if cluster.get("verdict") not in CALM_VERDICTS:
            return f"verdict {cluster.get('verdict')}: {'; '.join(loud(documents)) or 'no finding says why'}"
        return "; ".join(loud(documents))

    def wait_until_calm(self, *, within_seconds: float) -> tuple[float | None, str]:
        """Seconds until it was calm, and has stayed so for a moment; None and why not."""
        start = time.monotonic()
        calm_at: float | None = None
        why = ""
        while (now := time.monotonic()) - start < within_seconds + (STILL_SECONDS if calm_at is not None else 0.0):
            why = self.unrest()
            calm_at = None if why else (calm_at if calm_at is not None else now)
            if calm_at is not None and now - calm_at >= STILL_SECONDS:
                return calm_at - start, ""
            time.sleep(LOOK_SECONDS)
        return None, why


def get(url: str) -> Json | None:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            document: Json = json.load(answer)
    except (OSError, ValueError):
        return None
    return document


def names_of(status: Json, active: Sequence[Json]) -> dict[str, str]:
    """`node`, `pod`, `peer`, `peer_node` of the first injection; those of the n-th as `node2`, …"""
    home = {pod: node for node, values in status["nodes"].items() for pod in values["pods"]}
    names: dict[str, str] = {f"node[{index}]": node for index, node in enumerate(status["nodes"])}
    for number, one in enumerate(active, 1):
        end = "" if number == 1 else str(number)
        peer = one["peer"] or ""
        node = one["node"] or home.get(one["pod"] or "") or home.get(peer, "")
        names |= {f"node{end}": node, f"pod{end}": one["pod"] or "", f"peer{end}": peer, f"peer_node{end}": home.get(peer, "")}
    return names


def play(stage: Stage, name: str, case: Case, *, show: bool) -> Line:
    line = Line(name=name, is_control=case.is_control)
    before = stage.lab.ask("status")
    start = time.monotonic()
    active = []
    try:
        for wish in case.inject:
            active.append(stage.lab.ask("inject", **wish))
        done = time.monotonic() - start
        names = names_of(before, active)
        names["holder"] = next((node for node, one in stage.documents().items() if one.get("lease") == "holder"), "")
        wanted = [Wanted(said=said, names=names, required=True) for said in case.must]
        wanted += [Wanted(said=said, names=names, required=False) for said in case.may]
        watch = Watch(tuple(wanted))
        _watch(stage, watch, case, start=start, line=line, show=show)
    except LabError as error:
        line.problems.append(f"the lab: {error}")
        return line
    finally:
        if active:
            stage.lab.ask("clear")
    cleared = time.monotonic()
    line.detected = not watch.missing
    line.culprit_right = not watch.wrong
    line.problems += [f"not said: {label}" for label in watch.missing if label not in watch.wrong] + list(watch.wrong.values())
    found = [at for label, at in watch.seen_at.items()]
    line.detect_seconds = max(0.0, max(found) - done) if found and case.must else None
    if line.detect_seconds is not None and line.detect_seconds > case.found_seconds:
        line.problems.append(f"found after {line.detect_seconds:.0f} s")
    if case.inject:
        _until_cleared(stage, watch, line, start=start, cleared=cleared)
    line.false = [f"{text} (at {at})" for text, at in watch.false.items()]
    return line


def _watch(stage: Stage, watch: Watch, case: Case, *, start: float, line: Line, show: bool) -> None:
    deadline = time.monotonic() + 1.5 * case.found_seconds
    while watch.missing and time.monotonic() < deadline:
        watch.look(stage.documents(), at=time.monotonic() - start)
        time.sleep(LOOK_SECONDS)
    hold = time.monotonic() + case.hold_seconds
    documents: dict[str, Json] = {}
    while time.monotonic() < hold:
        documents = stage.documents()
        watch.look(documents, at=time.monotonic() - start)
        time.sleep(LOOK_SECONDS)
    documents = stage.documents()
    cluster = documents.get(CLUSTER, {})
    text = stage.text()
    line.sentence = next((one for one in text.splitlines() if one.strip()), "")
    if show:
        sys.stderr.write(f"--- {line.name}\n{text}\n")
    if case.verdict is not None and cluster.get("verdict") not in case.verdict.split("|"):
        line.problems.append(f"verdict {cluster.get('verdict')}, expected {case.verdict}: {'; '.join(loud(documents))}")
    still = Watch(watch.matchers)
    still.look(documents, at=0.0)
    line.problems += [f"no longer said at the end: {label}" for label in still.missing if label in watch.seen_at]
    if case.check is not None:
        by_path = {(key if key == CLUSTER else f"status/{key}"): value for key, value in documents.items()}
        line.problems += [problem] if (problem := case.check(by_path)) else []


def _until_cleared(stage: Stage, watch: Watch, line: Line, *, start: float, cleared: float) -> None:
    deadline = cleared + 2 * CLEARED_SECONDS
    calm_at: float | None = None
    why = ""
    while (now := time.monotonic()) < deadline and (calm_at is None or now - calm_at < STILL_SECONDS):
        watch.look(stage.documents(), at=now - start)
        why = stage.unrest()
        calm_at = None if why else (calm_at if calm_at is not None else now)
        time.sleep(LOOK_SECONDS)
    if calm_at is None:
        line.problems.append(f"not cleared within {2 * CLEARED_SECONDS:.0f} s: {why}")
        return
    line.clear_seconds = max(0.0, calm_at - cleared)
    if line.clear_seconds > CLEARED_SECONDS:
        line.problems.append(f"cleared after {line.clear_seconds:.0f} s")


def gathered() -> dict[str, Case]:
    """All cases, by name, from the modules cases_*.py beside this one; those that want one lab stand together."""
    found: dict[str, Case] = {}
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        for name, case in importlib.import_module(path.stem).CASES.items():
            if name in found:
                raise ValueError(f"two cases are called {name}")
            found[name] = case
    return dict(sorted(found.items(), key=lambda item: (_shape(item[1]), item[1].is_control)))


def _shape(case: Case) -> str:
    return json.dumps(case.up, sort_keys=True, default=str) if case.up else ""


@contextlib.contextmanager
def lab_for(case: Case, *, real: bool) -> Iterator[Stage]:
    environment = dict(os.environ)
    if not real:
        environment.pop("KUBEBUILDER_ASSETS", None)
    wanted: dict[str, Any] = {"environment": environment, **case.up}
    wanted["settings"] = SETTINGS | dict(case.up.get("settings", {}))
    with tempfile.TemporaryDirectory(prefix="lhnet-matrix-") as parent:
        lab = LabClient(Path(parent, "lab"))
        try:
            lab.up(Wish(**wanted), stay=False)
            yield Stage(lab)
        finally:
            lab.down()


def run(cases: Mapping[str, Case], *, real: bool, show: bool, tell: Any) -> list[Line]:
    lines: list[Line] = []
    names = list(cases)
    while names:
        shape = _shape(cases[names[0]])
        together = [name for name in names if _shape(cases[name]) == shape]
        names = [name for name in names if name not in together]
        while together:
            with lab_for(cases[together[0]], real=real) as stage:
                together = _play_all(stage, together, cases, lines=lines, show=show, tell=tell)
    return lines


def _play_all(stage: Stage, names: list[str], cases: Mapping[str, Case], *, lines: list[Line], show: bool, tell: Any) -> list[str]:
    """Plays them on one lab until it does not calm down any more; returns those that are left."""
    for index, name in enumerate(names):
        if cases[name].inject:
            calm, why = stage.wait_until_calm(within_seconds=CALM_SECONDS)
            if calm is None and index > 0:
                return names[index:]
            if calm is None:
                lines.append(Line(name=name, is_control=cases[name].is_control, problems=[f"the lab never was calm: {why}"]))
                tell(lines[-1])
                continue
        lines.append(play(stage, name, cases[name], show=show))
        tell(lines[-1])
    return []


HEAD = f"{'':34} {'detected':>9} {'culprit':>8} {'false':>6} {'detect':>8} {'clear':>8}"


def text_of(line: Line) -> str:
    def seconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f} s"

    detected = "-" if line.is_control and line.detected else "yes" if line.detected else "NO"
    culprit = "-" if line.is_control and line.culprit_right else "right" if line.culprit_right and line.detected else "WRONG"
    row = (
        f"{line.name:34} {detected:>9} {culprit:>8} {len(line.false):>6} {seconds(line.detect_seconds):>8} {seconds(line.clear_seconds):>8}"
    )
    more = [f"    false: {text}" for text in line.false] + [f"    {text}" for text in line.problems]
    return "\n".join([row, *([f"    {line.sentence}"] if line.sentence else []), *more])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="matrix", description="Runs faults and controls of the lab and prints what the agents made of them."
    )
    parser.add_argument("names", nargs="*", metavar="PATTERN", help="cases by name or shell pattern (default: all)")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--real", action="store_true", help="with the kube-apiserver that KUBEBUILDER_ASSETS names")
    parser.add_argument("--show", action="store_true", help="print /cluster of each case to standard error")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    args = parser.parse_args(arguments)
    cases = gathered()
    if args.names:
        cases = {name: case for name, case in cases.items() if any(fnmatch.fnmatchcase(name, one) for one in args.names)}
    if not cases:
        parser.error("no case has such a name; --list names them")
    if args.list:
        print("\n".join(cases))
        return 0
    is_text = args.output == "text"
    if is_text:
        print(HEAD, flush=True)
    lines = run(cases, real=args.real, show=args.show, tell=lambda line: print(text_of(line), flush=True) if is_text else None)
    if not is_text:
        print(json.dumps([{slot: getattr(line, slot) for slot in Line.__slots__} | {"good": line.good} for line in lines], indent=1))
    else:
        print(summary(lines))
    return 0 if all(line.good for line in lines) else 1


def summary(lines: Sequence[Line]) -> str:
    faults = [line for line in lines if not line.is_control]
    controls = [line for line in lines if line.is_control]
    found = [line.detect_seconds for line in faults if line.detect_seconds is not None]
    cleared = [line.clear_seconds for line in lines if line.clear_seconds is not None]
    words = [
        f"{sum(line.detected for line in faults)} of {len(faults)} faults detected",
        f"{sum(line.culprit_right and line.detected for line in faults)} with the right culprit",
        f"{sum(len(line.false) for line in lines)} false findings",
        f"{sum(line.good for line in controls)} of {len(controls)} controls silent",
    ]
    if found:
        words.append(f"slowest detection {max(found):.1f} s")
    if cleared:
        words.append(f"slowest clearing {max(cleared):.1f} s")
    return ", ".join(words)


if __name__ == "__main__":
    sys.exit(main())
