"""The small file that lets an agent start while the API server is away: last known peers, settings, NADs and their age.

Written at most every few seconds and only after a change, replaced atomically, read back with every bound on. A file that cannot be
read or written costs the memory of the last run, never the agent. Ages come from CLOCK_BOOTTIME within one boot, and from the wall
clock over a reboot (never negative), since nothing better survives one.
"""

import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from agent.edge.kube.errors import one_line
from agent.model.cluster import ClusterFacts, Known
from agent.model.records import (
    ClusterNetworkRecord,
    LonghornSettingRecord,
    NadRecord,
    NodeRecord,
    PodRecord,
    SettingRecord,
    SourceState,
    SourceStatus,
    VlanConfigRecord,
)

SCHEMA = 1
FILE_NAME = "state.json"
FILE_BYTES = 1 << 20
SAVE_EVERY_SECONDS = 10.0
"""The file is for restarts; flash wears."""
ASKED = "k8s.v1.cni.cncf.io/networks"
"""Pods without this annotation are no peers; they go first when the file would be too long."""


class _Saved(msgspec.Struct, omit_defaults=True):
    age_seconds: float
    items: list[msgspec.Raw]


class _Document(msgspec.Struct):
    schema: int
    boot_id: str
    boottime_seconds: float
    wall_seconds: float
    sources: dict[str, _Saved]


_RECORDS: dict[str, type[Any]] = {
    "pods": PodRecord,
    "agent_pods": PodRecord,
    "node": NodeRecord,
    "setting": SettingRecord,
    "longhorn_settings": LonghornSettingRecord,
    "nads": NadRecord,
    "cluster_networks": ClusterNetworkRecord,
    "vlan_configs": VlanConfigRecord,
}
"""By the names of ClusterFacts' fields."""
_ENCODER = msgspec.json.Encoder(enc_hook=dict)
"""The records' empty mappings are read-only proxies, which msgspec does not know."""
_DECODER = msgspec.json.Decoder(_Document)


def boot_id_here() -> str:
    """Empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """All the clocks there are, so that a test can turn them."""

    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    wall: Callable[[], float] = time.time
    boot_id: Callable[[], str] = boot_id_here


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    facts: ClusterFacts
    """Stale sets with their true age; all `never` if there was nothing to load."""
    reason: str | None
    """Why nothing, or not everything, was loaded; None on a first start, too."""


class StateFile:
    def __init__(self, directory: Path, *, clocks: Clocks | None = None) -> None:
        self.path = directory / FILE_NAME
        self._clocks = clocks or Clocks()
        self._writing = threading.Lock()
        self.problem: str | None = None
        """Why the last save did not come about, or is not complete."""

    def load(self) -> Loaded:
        nothing = ClusterFacts()
        try:
            content = _read(self.path)
        except FileNotFoundError:
            return Loaded(facts=nothing, reason=None)
        except (OSError, ValueError) as error:
            return Loaded(facts=nothing, reason=f"{self.path}: {_said(error)}")
        try:
            document = _DECODER.decode(content)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
            return Loaded(facts=nothing, reason=f"{self.path}: not a state file: {one_line(str(error))}")
        if document.schema != SCHEMA:
            return Loaded(facts=nothing, reason=f"{self.path}: schema {document.schema}, this agent knows {SCHEMA}")
        return self._facts_of(document)

    def save(self, facts: ClusterFacts) -> str | None:
        """Blocks on the disk. Returns why nothing, or not everything, was saved; None if all is well. Never raises OSError."""
        return self.write(self.encode(facts))

    def encode(self, facts: ClusterFacts) -> bytes | None:
        """The file's content; None if even the short form is too long. Cheap enough for the loop: some milliseconds."""
        now = self._clocks.monotonic()
        self.problem = None
        for shorten in (None, ASKED):
            content = _ENCODER.encode(
                _Document(
                    schema=SCHEMA,
                    boot_id=self._clocks.boot_id(),
                    boottime_seconds=self._clocks.boottime(),
                    wall_seconds=self._clocks.wall(),
                    sources={name: _saved(getattr(facts, name), now=now, only_with=shorten) for name in _RECORDS if _worth(facts, name)},
                )
            )
            if len(content) <= FILE_BYTES:
                return content
            self.problem = f"{self.path}: pods without a storage network are left out, to stay below {FILE_BYTES} bytes"
        self.problem = f"{self.path}: not saved: {len(content)} bytes are more than {FILE_BYTES}"
        return None

    def write(self, content: bytes | None) -> str | None:
        if content is None:
            return self.problem
        try:
            # The last save, at the end, must not meet one that is still going on in its thread.
            with self._writing:
                _replace(self.path, content)
        except OSError as error:
            self.problem = f"{self.path}: not saved: {_said(error)}"
        return self.problem

    async def keep(self, facts: Callable[[], ClusterFacts], *, dirty: asyncio.Event, every_seconds: float = SAVE_EVERY_SECONDS) -> NoReturn:
        """Save after changes, not more often than `every_seconds`; the disk is waited for in a thread. One last save on cancellation."""
        try:
            while True:
                await dirty.wait()
                dirty.clear()
                await asyncio.to_thread(self.write, self.encode(facts()))
                await asyncio.sleep(every_seconds)
        finally:
            if dirty.is_set():
                self.save(facts())

    def _facts_of(self, document: _Document) -> Loaded:
        now = self._clocks.monotonic()
        if document.boot_id and document.boot_id == self._clocks.boot_id():
            elapsed = self._clocks.boottime() - document.boottime_seconds
        else:
            elapsed = self._clocks.wall() - document.wall_seconds
        elapsed = max(0.0, elapsed)
        sets: dict[str, Known[Any]] = {}
        problems: list[str] = []
        for name, saved in document.sources.items():
            if name not in _RECORDS:
                continue
            try:
                items = [msgspec.json.decode(raw, type=_RECORDS[name]) for raw in saved.items]
            except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
                problems.append(f"{self.path}: {name}: {one_line(str(error))}")
                continue
            sets[name] = _stale(name, items, age_seconds=max(0.0, saved.age_seconds) + elapsed, now=now, elapsed=elapsed)
        return Loaded(facts=replace(ClusterFacts(), **sets), reason="; ".join(problems) or None)


def _worth(facts: ClusterFacts, name: str) -> bool:
    known: Known[Any] = getattr(facts, name)
    return known.status.readable or bool(known.items)


def _saved(known: Known[Any], *, now: float, only_with: str | None) -> _Saved:
    items = [
        msgspec.Raw(_ENCODER.encode(_aged(item, now=now)))
        for item in known.items
        if only_with is None or not isinstance(item, PodRecord) or only_with in item.annotations
    ]
    return _Saved(age_seconds=known.status.age_seconds, items=items)


def _aged(item: Any, *, now: float) -> Any:
    """In the file a pod's birth is written as how long ago it was: monotonic clocks do not survive a boot."""
    if isinstance(item, PodRecord) and item.born_monotonic_seconds is not None:
        return replace(item, born_monotonic_seconds=now - item.born_monotonic_seconds)
    return item


def _stale(name: str, items: list[Any], *, age_seconds: float, now: float, elapsed: float) -> Known[Any]:
    back = tuple(
        replace(item, born_monotonic_seconds=now - elapsed - item.born_monotonic_seconds)
        if isinstance(item, PodRecord) and item.born_monotonic_seconds is not None
        else item
        for item in items
    )
    source = "cluster_network" if name in ("cluster_networks", "vlan_configs") else name
    return Known(items=back, status=SourceStatus(name=source, state=SourceState.STALE, age_seconds=age_seconds), revision=1)


def _read(path: Path) -> bytes:
    """At most FILE_BYTES of a regular file; a pipe or a link in its place must not hold us up. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        content = file.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        raise ValueError(f"longer than {FILE_BYTES} bytes")
    return content


def _replace(path: Path, content: bytes) -> None:
    """A reader, or the next start after a power cut, sees the old file or the new one, never half of one."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or one_line(str(error))
