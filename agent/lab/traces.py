"""What a lab could leave behind: processes, interfaces, namespace files, folders. Noted while it runs, looked for after it ended.

Reads /proc and /sys of the machine; changes nothing. Other labs and tests may run beside it: only this lab's own traces count.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    processes: Mapping[int, str]
    """Process id and start time: ids are used again."""
    interfaces: frozenset[str]
    """Names that the lab's namespaces use and the machine does not."""
    namespace_files: frozenset[str]
    folder: Path

    def left(self) -> list[str]:
        """What is still there, one line each."""
        found = [f"process {pid}" for pid, started in self.processes.items() if _started(pid) == started]
        found += [f"interface {name}" for name in self.interfaces & _interfaces("/")]
        found += [f"/run/netns/{name}" for name in self.namespace_files if Path("/run/netns", name).exists()]
        found += [str(path) for path in (self.folder, *self.folder.parent.glob(f"{self.folder.name}.gone-*")) if path.exists()]
        return found

    def wait_until_gone(self, *, timeout_seconds: float) -> list[str]:
        """What is left when nothing is any more, or at the deadline."""
        deadline = time.monotonic() + timeout_seconds
        while (found := self.left()) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return found


def take(status: Mapping[str, Any]) -> Traces:
    """The traces of a lab that runs, from what `lab status` says of it."""
    roots = [f"/proc/{node['node_pid']}/root" for node in status["nodes"].values()]
    files = {name for root in roots for name in os.listdir(f"{root}/run/netns")}
    return Traces(
        processes={pid: _started(pid) for pid in _family(status["supervisor_pid"])},
        interfaces=frozenset().union(*(_interfaces(root) for root in roots)) - _interfaces("/"),
        namespace_files=frozenset(files),
        folder=Path(status["folder"]),
    )


def _interfaces(root: str) -> frozenset[str]:
    return frozenset(os.listdir(f"{root}/sys/class/net"))


def _family(root: int) -> set[int]:
    """A process and all that it started, directly or not."""
    parents = {int(entry): _parent(int(entry)) for entry in os.listdir("/proc") if entry.isdecimal()}
    family = {root}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return family


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _started(pid: int) -> str:
    """Empty for a process that is gone or only waits to be reaped."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def _stat(pid: int) -> list[str]:
    """Fields of proc(5) stat from the state on; the name before them may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
