"""How much memory this process uses and how much it may: the holder drops its largest lists before the kernel drops the holder.

An agent killed for its memory hands the Lease to the next one, which then dies in turn. Nothing here frees anything: it tells.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of control groups version 2 and 1, as a container sees its own."""
STATM = Path("/proc/self/statm")
NO_LIMIT_BYTES = 1 << 60
"""Version 1 writes a number near 2^63 where there is none."""
SHED_RATIO = 0.70
RESUME_RATIO = 0.60


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """None where it cannot be read, or where there is no limit."""

    used_bytes: int | None = None
    limit_bytes: int | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.used_bytes is None or not self.limit_bytes else self.used_bytes / self.limit_bytes

    def __str__(self) -> str:
        used, limit = ("?" if number is None else f"{number / (1 << 20):.0f}" for number in (self.used_bytes, self.limit_bytes))
        return f"{used} of {limit} MiB of memory in use"


ReadMemory = Callable[[], Memory]


def read_memory(*, limit_files: Sequence[Path] = LIMIT_FILES, statm: Path = STATM) -> Memory:
    """Resident memory of this process and the limit of its control group. Never raises."""
    pages = _number(_first_line([statm]).split(" ")[1:2])
    limit = _number(_first_line(limit_files).split(" ")[:1])
    return Memory(
        used_bytes=None if pages is None else pages * os.sysconf("SC_PAGE_SIZE"),
        limit_bytes=None if limit is None or not 0 < limit < NO_LIMIT_BYTES else limit,
    )


class Shedding:
    """Whether the large lists are held back, with a gap between the two marks so that it does not flap."""

    def __init__(self, read: ReadMemory = read_memory) -> None:
        self._read = read
        self.active = False

    def look(self) -> str | None:
        """Why they are held back now; None if they are not."""
        memory = self._read()
        ratio = memory.ratio
        self.active = ratio is not None and ratio >= (RESUME_RATIO if self.active else SHED_RATIO)
        return f"not read, to save memory: {memory}" if self.active else None


def _first_line(paths: Sequence[Path]) -> str:
    for path in paths:
        try:
            with path.open(encoding="ascii", errors="replace") as file:
                return file.readline(200).strip()
        except OSError:
            continue
    return ""


def _number(words: Sequence[str]) -> int | None:
    return int(words[0]) if words and words[0].isascii() and words[0].isdigit() else None
