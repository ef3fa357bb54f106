"""What happens in a healthy cluster and must not be called broken. Importing this package registers all of it."""

from agent.lab.controls import agents, nodes, pods, shapes, tenants

__all__ = ["agents", "nodes", "pods", "shapes", "tenants"]
