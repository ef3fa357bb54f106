"""What agents must say about each fault of the lab: who says it, about what, and why; and what they may say beside it.

Read with the contract's tables in §4 and §5. An observer is the agent of another node than the broken thing's.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
NO_ROUTE = frozenset({"no_route"})
LOST = frozenset({"timeout", "no_route", "net_unreachable"})
"""Where packets leave by the wrong interface it depends on the way back what the source sees."""
CRITICAL = frozenset({"critical"})
WARNING = frozenset({"warning"})
EITHER = CRITICAL | WARNING
"""TCP follows the pod's broken routing, a ping over the interface may get through: then it is a warning that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One finding. Without `required` it may be there, but need not."""

    node: str
    id: str
    subject: Mapping[str, str]
    severities: frozenset[str] = CRITICAL
    reasons: frozenset[str] | None = None
    explained_by: str | None = None
    """The finding that must explain it; "" if nothing may."""
    required: bool = True

    def is_about(self, finding: Json) -> bool:
        return bool(finding["id"] == self.id and finding["subject"] == dict(self.subject))

    def problem(self, finding: Json) -> str:
        """What is wrong with the finding, though it is about the right thing. Empty if nothing."""
        if finding["severity"] not in self.severities:
            return f"severity {finding['severity']}, expected {' or '.join(sorted(self.severities))}"
        if self.reasons is not None and finding["reason"] not in self.reasons:
            return f"reason {finding['reason']}, expected one of {sorted(self.reasons)}"
        if self.explained_by is not None and (finding["explained_by"] or "") != self.explained_by:
            return f"explained by {finding['explained_by']}, expected {self.explained_by or 'nothing'}"
        return ""


class Scene:
    """The lab and the fault, as `lab status` and `lab inject` tell them."""

    def __init__(self, status: Json, active: Json) -> None:
        self._home = {pod: node for node, values in status["nodes"].items() for pod in values["pods"]}
        self._facts = {pod: facts for values in status["nodes"].values() for pod, facts in values["pods"].items()}
        self.nodes = list(status["nodes"])
        self.pod: str = active["pod"] or ""
        self.peer: str = active["peer"] or ""
        self.node: str = active["node"] or self._home.get(self.pod) or self._home.get(self.peer, "")

    def pods(self, *roles: str) -> list[str]:
        return [pod for pod, facts in self._facts.items() if facts["role"] in roles]

    def home(self, pod: str) -> str:
        return self._home[pod]

    def on_pod(self, finding: str, *, severities: frozenset[str] = CRITICAL, reasons: frozenset[str] | None = None) -> Expected:
        subject = {"node": self.node, "pod": self.pod, "address": self._facts[self.pod]["address"], "interface": "lhnet1"}
        return Expected(node=self.node, id=finding, subject=subject, severities=severities, reasons=reasons, explained_by="")

    def pair(self, source: str, peer: str, **more: Any) -> Expected:
        subject = {
            "node": self._home[source],
            "pod": source,
            "address": self._facts[source]["address"],
            "peer_node": self._home[peer],
            "peer_pod": peer,
            "peer_address": self._facts[peer]["address"],
        }
        return Expected(node=self._home[source], subject=subject, **{"id": "peer-unreachable", **more})

    def from_pod(self, explained_by: str, *, reasons: frozenset[str], severities: frozenset[str] = CRITICAL) -> Iterator[Expected]:
        """The broken pod's own pairs: all fail, and are explained by what is wrong with it."""
        for peer in self.pods("im", "bim"):
            if peer != self.pod:
                yield self.pair(self.pod, peer, reasons=reasons, severities=severities, explained_by=f"{explained_by}:{self.pod}")

    def to_pod(self, pod: str, *, reasons: frozenset[str], **more: Any) -> Iterator[Expected]:
        """What other nodes' instance-managers see of a pod. That node's own instance-manager is another matter."""
        for source in self.pods("im"):
            if self._home[source] != self._home[pod]:
                yield self.pair(source, pod, reasons=reasons, **more)


def _link_down(scene: Scene) -> Iterator[Expected]:
    yield scene.on_pod("interface-down", reasons=frozenset({"admin_down"}))
    yield from scene.from_pod("interface-down", reasons=LOST)
    yield from scene.to_pod(scene.pod, reasons=NO_ROUTE)


def _interface_renamed(scene: Scene) -> Iterator[Expected]:
    yield scene.on_pod("interface-missing")


def _address_changed(scene: Scene) -> Iterator[Expected]:
    yield scene.on_pod("address-mismatch")
    yield from scene.from_pod("address-mismatch", reasons=frozenset({"no_source_address"}))
    yield from scene.to_pod(scene.pod, reasons=NO_ROUTE)


def _route_deleted(scene: Scene) -> Iterator[Expected]:
    yield scene.on_pod("route-missing")
    yield from scene.from_pod("route-missing", reasons=LOST, severities=EITHER)
    yield from scene.to_pod(scene.pod, reasons=frozenset({"timeout"}))


def _route_shadowed(scene: Scene) -> Iterator[Expected]:
    yield scene.on_pod("route-shadowed")
    yield scene.pair(scene.pod, scene.peer, reasons=LOST, severities=EITHER, explained_by=f"route-shadowed:{scene.pod}")
    yield scene.pair(scene.peer, scene.pod, reasons=frozenset({"timeout"}))


def _namespace_hidden(scene: Scene) -> Iterator[Expected]:
    yield scene.on_pod("namespace-not-found", severities=WARNING)


def _port_closed(scene: Scene) -> Iterator[Expected]:
    yield from scene.to_pod(scene.peer, reasons=frozenset({"refused"}), id="peer-port-closed", severities=WARNING)


def _packets_dropped(scene: Scene) -> Iterator[Expected]:
    yield from scene.to_pod(scene.peer, reasons=frozenset({"timeout"}))


def _segment_moved(scene: Scene) -> Iterator[Expected]:
    for source in scene.pods("im"):
        for peer in scene.pods("im", "bim"):
            if (scene.home(source) == scene.node) != (scene.home(peer) == scene.node):
                yield scene.pair(source, peer, reasons=NO_ROUTE)


_HOLDERS = (
    "nodes",
    "ippools",
    "reservations",
    "events",
    "instance_managers",
    "longhorn_nodes",
    "crds",
    "monitoring",
    "replicas",
    "engines",
)
"""Sources of the holder alone; any of the nodes may be it."""


def _sources_stale(scene: Scene) -> Iterator[Expected]:
    for node in scene.nodes:
        for source in ("pods", "agent_pods", "node", "setting", "longhorn_settings", "nads", "cluster_network", "lease", *_HOLDERS):
            subject = {"node": node, "source": source}
            yield Expected(node=node, id="sources-stale", subject=subject, severities=WARNING, required=source not in _HOLDERS)


def _nothing(scene: Scene) -> Iterator[Expected]:
    yield from ()


EXPECTATIONS: dict[str, Callable[[Scene], Iterator[Expected]]] = {
    "link-down": _link_down,
    "interface-renamed": _interface_renamed,
    "address-changed": _address_changed,
    "route-deleted": _route_deleted,
    "route-shadowed": _route_shadowed,
    "namespace-hidden": _namespace_hidden,
    "port-closed": _port_closed,
    "packets-dropped": _packets_dropped,
    "segment-moved": _segment_moved,
    "api-stopped": _sources_stale,
    "api-frozen": _nothing,
    "api-unreachable": _sources_stale,
    "api-500": _sources_stale,
}
