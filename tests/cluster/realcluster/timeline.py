"""Tells what was done to the cluster and what was seen of it, with the seconds since it began to come up."""

import sys
import time
from collections.abc import Callable


class WaitedInVain(AssertionError):
    """What was waited for did not come; with what was seen last."""


class Timeline:
    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        sys.stdout.write(f"t+{self.seconds:5.1f}  {text}\n")
        sys.stdout.flush()


def wait_for(look: Callable[[], object], *, seconds: float, what: str, seen: Callable[[], object] = lambda: "") -> float:
    """Looks until it is true. Returns how long that took. Raises WaitedInVain with what `seen` says at the end."""
    began = time.monotonic()
    while not look():
        if time.monotonic() - began > seconds:
            raise WaitedInVain(f"waited {seconds:.0f} s for {what}; {seen()}")
        time.sleep(0.2)
    return time.monotonic() - began
