"""lhnet-agent: a node-level diagnostic agent for the Longhorn storage network."""

__version__ = "0.1.0"
