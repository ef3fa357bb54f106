"""What the lab can break. Importing this package registers all of it, in the order in which people see it."""

from agent.lab.faults import interfaces, network, pools, sandboxes, settings

from agent.lab.faults import hostpath  # isort: skip
from agent.lab.faults import cluster_network  # isort: skip
from agent.lab.faults import agents  # isort: skip
from agent.lab.faults import pods, itself  # isort: skip
from agent.lab.faults import api  # isort: skip  # last in the list that people see

__all__ = [
    "CLUSTER_FAMILIES",
    "agents",
    "api",
    "cluster_network",
    "hostpath",
    "interfaces",
    "itself",
    "network",
    "pods",
    "pools",
    "sandboxes",
    "settings",
]
CLUSTER_FAMILIES = frozenset({"pools", "sandboxes", "settings"})
"""Faults of objects and of pods that cannot start: the holder finds them."""
