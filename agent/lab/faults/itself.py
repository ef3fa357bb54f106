"""Faults of one node's agent: what it may not do, where it cannot look, what it cannot listen on. The storage network itself is fine."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from agent.lab.acts import Aim, FaultError, fault
from agent.lab.agents import Change
from agent.lab.faults.listeners import answering, listening
from agent.lab.plan import LabNode

if TYPE_CHECKING:
    from agent.lab.lab import Lab

TAKEN_AWAY = frozenset({"SYS_ADMIN", "NET_RAW"})
NOBODY = 65534


def _node(aim: Aim) -> LabNode:
    if aim.node is None:
        raise FaultError("this fault needs a node")
    return aim.node


def _run_netns(lab: "Lab", node: str) -> Path:
    return Path(f"/proc/{lab.world.node_process(node).pid}/root/run/netns")


@fault(
    "capability-missing",
    breaks="the node's agent is started anew without CAP_SYS_ADMIN and CAP_NET_RAW, as an admission policy would have it",
    targets=("node",),
    findings=(("agent-impaired", "subject"),),
)
async def capability_missing(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    await lab.agents.change(node, Change(without_capabilities=TAKEN_AWAY))
    yield
    await lab.agents.change(node, None)


@fault(
    "netns-dir-empty",
    breaks="every namespace under the node's /run/netns is unmounted, the empty files stay; the pods themselves run on",
    targets=("node",),
    findings=(("agent-impaired", "subject"),),
)
async def netns_dir_empty(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    folder = _run_netns(lab, node)
    kind = os.stat("/proc/self/ns/net").st_dev
    kept = {file.name: os.open(file, os.O_RDONLY | os.O_CLOEXEC) for file in folder.iterdir() if file.stat().st_dev == kind}
    try:
        for name in kept:
            lab.world.hide_file(node, name)
        yield
        for name, netns in kept.items():
            if (folder / name).exists():  # else its pod has ended meanwhile
                lab.world.show_file(node, name, netns=netns)
    finally:
        for netns in kept.values():
            os.close(netns)


@fault(
    "netns-dir-not-propagated",
    breaks="the node's agent is started anew without mountPropagation: namespaces that are mounted later never reach it",
    targets=("node",),
    findings=(("agent-impaired", "subject"),),
)
async def netns_dir_not_propagated(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim).name
    await lab.agents.change(node, Change(without_propagation=True))
    yield
    await lab.agents.change(node, None)


@fault(
    "access-denied",
    breaks="the node's /run/netns is closed to all but its new owner: an agent without CAP_DAC_OVERRIDE may not look into it",
    targets=("node",),
    findings=(("agent-impaired", "subject"),),
)
async def access_denied(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    folder = _run_netns(lab, _node(aim).name)
    before = folder.stat()
    folder.chmod(0o700)
    os.chown(folder, NOBODY, NOBODY)
    yield
    os.chown(folder, before.st_uid, before.st_gid)
    folder.chmod(before.st_mode & 0o7777)


@fault(
    "port-taken",
    breaks="another program of the node listens on the host address and port of the agent before the agent starts, and answers 404",
    targets=("node",),
    findings=(("agent-impaired", "subject"), ("agent-missing", "cluster")),
)
async def port_taken(lab: "Lab", aim: Aim) -> AsyncIterator[None]:
    node = _node(aim)
    stranger = answering("404 Not Found", b"404 page not found\n", media="text/plain")
    await lab.agents.hold_down(node.name, grace_seconds=3.0)
    async with AsyncExitStack() as stack:
        try:
            place = listening(node.management_address, lab.agents.port, netns=lab.world.netns(node.name), talk=stranger)
            await stack.enter_async_context(place)
        finally:
            lab.agents.let_up(node.name)
        yield
