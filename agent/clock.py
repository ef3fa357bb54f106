"""Time as a value that can be handed in: durations on the monotonic clock, wall-clock time only for people.

Nothing decides by the wall clock: a node whose clock is off or steps must say the same things. Tests hand in a clock of their own.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """`monotonic()` in seconds since an arbitrary moment, `wall()` in seconds since the epoch."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


def utc_text(wall_seconds: float) -> str:
    """`2026-11-20T08:00:00Z`. A time that no calendar has is clamped to the nearest that one has, never an exception."""
    bounded = min(max(wall_seconds, _FIRST_SECONDS), _LAST_SECONDS) if math.isfinite(wall_seconds) else _FIRST_SECONDS
    return datetime.fromtimestamp(bounded, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of_day_text(wall_seconds: float) -> str:
    """`07:58:12Z`: enough beside an age."""
    return utc_text(wall_seconds)[11:]


_FIRST_SECONDS = 0.0
_LAST_SECONDS = 253402300799.0
"""9999-12-31T23:59:59Z, the last second that datetime knows."""


def age_text(seconds: float) -> str:
    """`41 s`, `2 min`, `31 h`, `9 d`: one unit, rounded down, the next one from about 100 on."""
    if not math.isfinite(seconds):
        return "unknown time"
    left = max(0, int(seconds))
    for unit, size, limit in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 100)):
        if left < size * limit:
            return f"{left // size} {unit}"
    return f"{left // 86400} d"
