"""Judges the agent itself: what it may not do, what it cannot see, and which of its sources have grown old."""

from collections.abc import Iterable

from agent.model.finding import Finding, Subject
from agent.model.records import SourceState, SourceStatus
from agent.model.view import OwnFacts
from agent.rules.make import make

NEEDED_CAPABILITIES = ("SYS_ADMIN", "NET_RAW", "NET_BROADCAST")


def impaired(node: str, own: OwnFacts) -> Finding | None:
    """`agent-impaired`, one finding for whatever keeps the agent from looking, the first cause as its reason."""
    missing = [name for name in NEEDED_CAPABILITIES if name not in own.capabilities]
    causes: list[tuple[str, str, str, str]] = []
    if missing:
        causes.append(
            (
                "capability_missing",
                f"it runs without {' and '.join(f'CAP_{name}' for name in missing)}",
                f"CAP_{', CAP_'.join(NEEDED_CAPABILITIES)}",
                "compare the DaemonSet's securityContext.capabilities.add with the manifest; an admission policy may drop them",
            )
        )
    if own.not_propagated:
        causes.append(
            (
                "netns_dir_not_propagated",
                f"{own.not_propagated[0]} is neither a slave nor a shared mount: new pods would be empty files",
                "mountPropagation: HostToContainer on netns_dir",
                "set mountPropagation: HostToContainer on the volume mount of netns_dir, and restart the agent",
            )
        )
    elif own.storage_pods and not own.namespaces and not own.denied:
        causes.append(
            (
                "netns_dir_empty",
                f"no file under {', '.join(own.directories)} opens as a network namespace",
                f"the namespaces of {own.storage_pods} storage pods of this node",
                f"set netns_dir to where the container runtime keeps them; on {node}: `ls -l {' '.join(own.directories)}`",
            )
        )
    if own.denied and "SYS_ADMIN" not in missing:  # else it follows from that
        causes.append(
            (
                "access_denied",
                f"the kernel keeps it out of {f'{len(own.denied)} places, e.g. ' if own.denied[1:] else ''}{own.denied[0]}",
                f"{', '.join(own.directories)} can be listed, and setns(2) works with CAP_SYS_ADMIN",
                f"look at the owner and mode of the directory, and for a seccomp or LSM profile on the agent's pod; on {node}: "
                f"`ls -ld {' '.join(own.directories)}` `dmesg | tail -50`",
            )
        )
    if own.taken:
        causes.append(
            (
                "port_taken",
                f"it cannot listen on {own.taken[0]}",
                "every address that it is set to listen on is its own",
                f"find out whose it is; on {node}: `ss -ltnp` then end that, or give the agent another address (setting listen)",
            )
        )
    if not causes:
        return None
    reason, seen, expected, step = causes[0]
    unopened = [f"{path}: {why}" for path, why in own.skipped[:1]] if reason == "netns_dir_empty" else []
    return make(
        "agent-impaired",
        subject=Subject(node=node),
        reason=reason,
        summary=f"the agent on {node} is impaired: {seen}",
        seen=seen,
        expected=expected,
        evidence=(*unopened, *(cause[1] for cause in causes[1:])),
        next_step=step,
        clears_when="the cause is gone at the next inspection",
    )


def stale_sources(node: str, statuses: Iterable[SourceStatus], *, stale_after_seconds: float) -> list[Finding]:
    """`sources-stale` for each source that was read once and is now out of reach for longer than the threshold."""
    return [
        make(
            "sources-stale",
            subject=Subject(node=node, source=status.name),
            summary=f"{node} has not heard of {status.name} from the API server for {status.age_seconds:.0f} s"
            + (f" ({status.detail})" if status.detail else ""),
            seen=f"{status.name} {status.state}, last known {status.age_seconds:.0f} s ago",
            expected=f"a live watch, or none for at most {stale_after_seconds:.0f} s",
            next_step=f"see whether {node} reaches the API server; probing goes on with what was last known: `kubectl get --raw /readyz`",
            clears_when="the watch is connected again",
        )
        for status in statuses
        if status.state is SourceState.STALE and status.age_seconds > stale_after_seconds
    ]


def check_failed(node: str, *, check: str, why: str) -> Finding:
    """A check of ours raised or timed out; the others go on."""
    return make(
        "check-failed",
        subject=Subject(node=node, check=check),
        summary=f"the check {check} of the agent on {node} did not finish: {why}",
        seen=why,
        expected=f"{check} runs to its end",
        next_step=f"look at the agent's log on {node} and report it as a fault of the agent; the other checks go on",
        clears_when=f"{check} runs to its end",
    )
