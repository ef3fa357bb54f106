"""The register of what the lab can break: name, words, targets, what an agent should then say, and the code that breaks and mends.
Beside it, in a register of their own, the controls: what happens in a healthy cluster and must not be called broken.

A fault is an asynchronous generator: it breaks one thing for real, yields once, and mends it exactly as it was. It may touch the lab's
network, processes and objects, never an agent's memory, files or interface. To add one: write the generator under @fault or @control in a
module that agent/lab/faults or agent/lab/controls imports.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agent.lab.plan import LabNode, LabPod
from agent.model.peers import Role

if TYPE_CHECKING:
    from agent.lab.lab import Lab

Target = Literal["node", "pod", "peer"]
Where = Literal["subject", "observers", "cluster"]


class FaultUsageError(Exception):
    """The request names something that is not there; the message is one line that lists what is."""


class FaultError(Exception):
    """The fault could not be injected or cleared now; one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What one injection is pointed at. Only what the fault's targets name is filled in."""

    node: LabNode | None = None
    pod: LabPod | None = None
    peer: LabPod | None = None

    def words(self) -> dict[str, str | None]:
        return {
            "node": self.node.name if self.node else None,
            "pod": self.pod.key if self.pod else None,
            "peer": self.peer.key if self.peer else None,
        }


Script = Callable[["Lab", Aim], AsyncIterator[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    name: str
    breaks: str
    """One sentence: what is broken, and what is left alone."""
    targets: tuple[Target, ...]
    findings: tuple[tuple[str, Where], ...]
    """Finding ids and who raises them: the agent on the broken thing's node (subject), other nodes' (observers), the holder (cluster)."""
    open: Callable[["Lab", Aim], AbstractAsyncContextManager[None]]
    from_everybody: bool = False
    """Of a pair: without --pod (and --node) every source is meant, not one."""
    family: str = ""
    """Name of the module that it stands in."""

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "breaks": self.breaks,
            "targets": list(self.targets),
            "findings": [{"id": name, "where": where} for name, where in self.findings],
        }


FAULTS: dict[str, Fault] = {}
CONTROLS: dict[str, Fault] = {}
"""Injected and cleared like faults; their `findings` are what is true of them and may be said, mostly nothing."""


def fault(
    name: str,
    *,
    breaks: str,
    targets: tuple[Target, ...] = (),
    findings: tuple[tuple[str, Where], ...] = (),
    from_everybody: bool = False,
) -> Callable[[Script], Script]:
    """Registers a generator under a name."""
    return _registrar(FAULTS, name, breaks=breaks, targets=targets, findings=findings, from_everybody=from_everybody)


def control(
    name: str, *, does: str, targets: tuple[Target, ...] = (), findings: tuple[tuple[str, Where], ...] = ()
) -> Callable[[Script], Script]:
    """Registers a generator that does something harmless, yields, and puts things back."""
    return _registrar(CONTROLS, name, breaks=does, targets=targets, findings=findings, from_everybody=False)


def _registrar(
    register: dict[str, Fault],
    name: str,
    *,
    breaks: str,
    targets: tuple[Target, ...],
    findings: tuple[tuple[str, Where], ...],
    from_everybody: bool,
) -> Callable[[Script], Script]:
    def enter(script: Script) -> Script:
        if name in FAULTS or name in CONTROLS:
            raise ValueError(f"two things that the lab can do are called {name}")
        register[name] = Fault(
            name=name,
            breaks=breaks,
            targets=targets,
            findings=findings,
            open=asynccontextmanager(script),
            from_everybody=from_everybody,
            family=script.__module__.rpartition(".")[2],
        )
        return script

    return enter


def find(name: str) -> Fault:
    """A fault or a control. Raises FaultUsageError for a name that is not registered."""
    known = FAULTS | CONTROLS
    if name not in known:
        raise FaultUsageError(f"no fault is called {name!r}; there are: {', '.join(known)}")
    return known[name]


def take_aim(
    wanted: Fault, *, nodes: tuple[LabNode, ...], pods: tuple[LabPod, ...], node: str | None, pod: str | None, peer: str | None
) -> Aim:
    """Fills in what was not named: the first node, its instance-manager, and the next node's instance-manager as the peer.

    --node alone means the instance-manager of that node. Of a fault with one pod as its target, --pod and --peer mean the same.
    Raises FaultUsageError for names that are not there and options that the fault cannot use.
    """
    given = {"--node": node, "--pod": pod, "--peer": peer}
    home = _node(nodes, node) if node else None
    if not wanted.targets:
        _refuse(wanted, {option for option, value in given.items() if value is not None}, allowed="no target")
        return Aim()
    if wanted.targets == ("node",):
        _refuse(wanted, {option for option in ("--pod", "--peer") if given[option] is not None}, allowed="--node")
        return Aim(node=home or nodes[0])
    if len(wanted.targets) == 1:
        return _aim_at_one(wanted, nodes=nodes, pods=pods, home=home, pod=pod, peer=peer)
    source = _pod(pods, pod, home=home) if pod else _instance_manager(pods, home) if home else None
    if peer is not None:
        target = _pod(pods, peer, home=None)
    else:
        first = next(index for index, one in enumerate(nodes) if source is None or one.name == source.node)
        target = _instance_manager(pods, nodes[(first + 1) % len(nodes)])
    if source is None and not wanted.from_everybody:
        source = _instance_manager(pods, next((one for one in nodes if one.name != target.node), nodes[0]))
    if source == target:
        raise FaultUsageError(f"{wanted.name} needs two pods: name another one by --peer")
    return Aim(pod=source, peer=target)


def _aim_at_one(
    wanted: Fault, *, nodes: tuple[LabNode, ...], pods: tuple[LabPod, ...], home: LabNode | None, pod: str | None, peer: str | None
) -> Aim:
    is_peer = wanted.targets == ("peer",)
    if pod and peer:
        raise FaultUsageError(f"{wanted.name} breaks one pod: name it by --{wanted.targets[0]} alone")
    named = pod or peer
    chosen = _pod(pods, named, home=home) if named else _instance_manager(pods, home or nodes[is_peer % len(nodes)])
    return Aim(peer=chosen) if is_peer else Aim(pod=chosen)


def _refuse(wanted: Fault, options: set[str], *, allowed: str) -> None:
    if options:
        raise FaultUsageError(f"{wanted.name} takes {allowed}, not {' and '.join(sorted(options))}")


def _node(nodes: tuple[LabNode, ...], name: str) -> LabNode:
    for node in nodes:
        if node.name == name:
            return node
    raise FaultUsageError(f"no node is called {name!r}; there are: {', '.join(node.name for node in nodes)}")


def _pod(pods: tuple[LabPod, ...], name: str, *, home: LabNode | None) -> LabPod:
    """By namespace/name, name, or a beginning of the name that only one pod has."""
    storage = [pod for pod in pods if pod.role is not None and (home is None or pod.node == home.name)]
    matches = [pod for pod in storage if name in (pod.key, pod.name)] or [pod for pod in storage if pod.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    problem = "more than one pod begins with" if matches else "no storage pod is called"
    place = f" on {home.name}" if home else ""
    raise FaultUsageError(f"{problem} {name!r}{place}; there are: {', '.join(pod.key for pod in storage)}")


def _instance_manager(pods: tuple[LabPod, ...], node: LabNode) -> LabPod:
    for pod in pods:
        if pod.node == node.name and pod.role is Role.INSTANCE_MANAGER:
            return pod
    raise FaultUsageError(f"{node.name} has no instance-manager now; name a pod")
