"""What happens in a healthy cluster and must not be called broken: `CONTROLS`. Importing this package registers all of it."""

from agent.lab import faults  # isort: skip  # noqa: F401  # first: its tools and ours are used by both
from agent.lab.controls import agents, nodes, pods, shapes, tenants

__all__ = ["agents", "nodes", "pods", "shapes", "tenants"]
