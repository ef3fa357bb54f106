"""All that the lab can do, by name: `FAULTS` and `CONTROLS`. Whoever looks one up takes it from here, so that all are registered."""

from agent.lab import controls, faults
from agent.lab.acts import CONTROLS, FAULTS, Aim, Fault, FaultError, FaultUsageError, find, take_aim
from agent.lab.faults import CLUSTER_FAMILIES

__all__ = [
    "CLUSTER_FAMILIES",
    "CONTROLS",
    "FAULTS",
    "Aim",
    "Fault",
    "FaultError",
    "FaultUsageError",
    "controls",
    "faults",
    "find",
    "take_aim",
]
