"""Asks the agents for the cluster's view, one after the other and once a second, and keeps everything that they ever said.

So a test can say what must *not* have been found meanwhile: a false finding that clears by itself is one all the same. It takes the
agents' word for everything and judges nothing.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

Json = dict[str, Any]

PAUSE_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class Sighting:
    """One finding, from the first answer that told it to the last. Seconds are those of the monotonic clock."""

    key: tuple[str, ...]
    id: str
    severity: str
    where: str
    """The node whose status lists it, or `cluster`."""
    culprit: str
    reason: str | None
    summary: str
    explained_by: str | None
    first_seconds: float
    last_seconds: float
    over: bool = False

    def __str__(self) -> str:
        because = f" because of {self.explained_by}" if self.explained_by else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.severity} {self.id}{reason} at {self.where}{because}: {self.summary}"


class Watch:
    def __init__(self, ask: Callable[[str, str], Json | None], nodes: Sequence[str], *, say: Callable[[str], None]) -> None:
        """`ask` gives a node's answer to a path, None where there is none."""
        self._ask, self._nodes, self._say = ask, tuple(nodes), say
        self._seen: list[Sighting] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.answers = 0
        self.document: Json = {}
        """The last answer."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def found(self, *, since: float, apart_from: Iterable[str] = ()) -> list[str]:
        """What was told after `since` (monotonic), but for these ids, one line each."""
        known = set(apart_from)
        with self._lock:
            return [str(one) for one in self._seen if one.last_seconds >= since and one.id not in known]

    def ids(self) -> set[str]:
        """Of everything that was ever told."""
        with self._lock:
            return {one.id for one in self._seen}

    def quiet_seconds(self, *, apart_from: str = "") -> float:
        """How long nothing was told but findings of that id; since for ever, if nothing ever was."""
        with self._lock:
            return time.monotonic() - max((one.last_seconds for one in self._seen if one.id != apart_from), default=-inf)

    def active(self, finding_id: str = "") -> list[Sighting]:
        """What the last answers told and none since has not."""
        with self._lock:
            return [one for one in self._seen if not one.over and finding_id in ("", one.id)]

    def _run(self) -> None:
        turn = 0
        while not self._ended.wait(PAUSE_SECONDS):
            turn += 1
            asked_at = time.monotonic()
            document = self._ask(self._nodes[turn % len(self._nodes)], "/api/v1/cluster")
            if document is not None:
                self.take(document, now=asked_at)

    def take(self, document: Json, *, now: float) -> None:
        """One answer of /api/v1/cluster. A node that did not answer says nothing about its findings."""
        said: dict[str, list[Json]] = {"cluster": document.get("findings") or []}
        for name, status in (document.get("nodes") or {}).items():
            if "findings" in status:
                said[name] = status["findings"]
        with self._lock:
            self.answers += 1
            self.document = document
            for where, findings in said.items():
                self._compare(where, findings, now)

    def _compare(self, where: str, findings: list[Json], now: float) -> None:
        open_ones = {one.key: one for one in self._seen if not one.over and one.where == where}
        for finding in findings:
            held = open_ones.pop(_key(finding), None)
            if held is None:
                held = _sighting(finding, where=where, now=now)
                self._seen.append(held)
                self._say(f"    + {held}{self._by()}")
            held.last_seconds = now
            held.severity, held.explained_by = finding["severity"], finding.get("explained_by")
        for gone in open_ones.values():
            gone.over = True
            self._say(f"    - {gone.id} at {gone.where} after {gone.last_seconds - gone.first_seconds:.0f} s{self._by()}")

    def _by(self) -> str:
        """Who was asked and who judged, where it is not the same holder as ever."""
        judge, asked = self.document.get("findings_from"), self.document.get("asked_node")
        return f" [{asked} judged itself]" if judge == "self" else f" [{asked}, of {judge}]"


def _key(finding: Json) -> tuple[str, ...]:
    """One finding, whatever becomes of its severity, reason and addresses."""
    subject = {key: value for key, value in finding["subject"].items() if "address" not in key or finding["id"] == "address-duplicate"}
    return (finding["id"], *(f"{key}={value}" for key, value in sorted(subject.items())))


def _sighting(finding: Json, *, where: str, now: float) -> Sighting:
    return Sighting(
        key=_key(finding),
        id=finding["id"],
        severity=finding["severity"],
        where=where,
        culprit=str(finding.get("culprit")),
        reason=finding.get("reason"),
        summary=finding["summary"],
        explained_by=finding.get("explained_by"),
        first_seconds=now,
        last_seconds=now,
    )
