"""What the lab can break, by name: `FAULTS`. Importing this package registers all of it, in the order in which people see it."""

from agent.lab.faults import interfaces, network, pools, sandboxes, settings
from agent.lab.faults.registry import CONTROLS, FAULTS, Aim, Fault, FaultError, FaultUsageError, find, take_aim

from agent.lab.faults import hostpath  # isort: skip
from agent.lab.faults import cluster_network  # isort: skip
from agent.lab.faults import agents  # isort: skip
from agent.lab.faults import pods, itself  # isort: skip
from agent.lab.faults import api  # isort: skip  # last in the list that people see
from agent.lab import controls  # isort: skip  # they use the faults' tools

__all__ = [
    "CLUSTER_FAMILIES",
    "CONTROLS",
    "FAULTS",
    "Aim",
    "Fault",
    "FaultError",
    "FaultUsageError",
    "agents",
    "api",
    "cluster_network",
    "controls",
    "find",
    "hostpath",
    "interfaces",
    "itself",
    "network",
    "pods",
    "pools",
    "sandboxes",
    "settings",
    "take_aim",
]
CLUSTER_FAMILIES = frozenset({"pools", "sandboxes", "settings"})
"""Faults of objects and of pods that cannot start: the holder finds them."""
