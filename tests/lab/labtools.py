"""What several test files about labs need: whether this machine can hold one, and how patient they are."""

import os
import shutil
import sys
from pathlib import Path

STANDIN = Path(__file__).with_name("standin.py")
GONE_SECONDS = 20.0
AGENT_SETTINGS = {
    "probe.interval_seconds": "3",
    "probe.timeout_seconds": "2",
    "inspect.interval_seconds": "3",
    "api.stale_after_seconds": "6",
    "thresholds.disagreement_seconds": "2",
    "thresholds.pod_grace_seconds": "1",
}
"""Shorter waits; what is judged and how often it must be seen stays as in production."""


def missing_for_a_lab() -> str:
    """Why no lab can be built here; empty if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a lab needs root on Linux"
    absent = [program for program in ("ip", "nft") if shutil.which(program) is None]
    return f"a lab needs {' and '.join(absent)}" if absent else ""
