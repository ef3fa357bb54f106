"""From a plan to the thing that asks: which class, which plans cannot be asked at all, and the two touches with the namespace's file.

Bad input ends here, as a sentence in the result of that one plan.
"""

import os
from collections.abc import Callable, Sequence

from agent.edge.prober_asking import Asking
from agent.edge.prober_http import HttpAsking, valid_path
from agent.edge.prober_mail import Made
from agent.edge.prober_ping import PingAsking
from agent.edge.prober_tcp import TcpAsking
from agent.model.net import IPAddress, NamespaceFile
from agent.model.probe import ProbeKind, ProbePlan

MAX_TIMEOUT_SECONDS = 60.0
_MAX_INTERFACE_BYTES = 15
"""IFNAMSIZ less the closing zero."""

_ASKINGS: dict[ProbeKind, Callable[[ProbePlan], Asking]] = {
    ProbeKind.TCP: TcpAsking,
    ProbeKind.HTTP: HttpAsking,
    ProbeKind.PING: PingAsking,
}


def asking_for(plan: ProbePlan) -> Asking:
    """Only for plans that `problem_with` has nothing against."""
    return _ASKINGS[plan.kind](plan)


def problem_with(plan: ProbePlan) -> str | None:
    """Why a plan cannot be asked at all, or None."""
    checks = (
        (plan.kind in _ASKINGS, f"{plan.kind} probes are not asked here"),
        (plan.source_address.version == plan.target_address.version, "source and target are of different families"),
        (plan.source_address != plan.target_address, "source and target are one address: the pod would ask itself"),
        (not _is_special(plan.target_address), f"{plan.target_address} is no address of one pod in the range"),
        (plan.kind is ProbeKind.PING or 0 < plan.port <= 65535, f"{plan.port} is no TCP port"),
        (
            0 < plan.timeout_seconds <= MAX_TIMEOUT_SECONDS,
            f"a timeout of {plan.timeout_seconds} s is not within 0 to {MAX_TIMEOUT_SECONDS:g} s",
        ),
        (_can_name_interface(plan.interface), "no interface can have that name"),
        (plan.kind is not ProbeKind.HTTP or valid_path(plan.http_path), "the path cannot stand in a request"),
    )
    return next((problem for passed, problem in checks if not passed), None)


def _can_name_interface(name: str) -> bool:
    return 0 < len(name) <= _MAX_INTERFACE_BYTES and name.isascii() and name.isprintable()


def _is_special(address: IPAddress) -> bool:
    """0.0.0.0 would be the pod itself, and a link-local address means nothing without a device."""
    return address.is_multicast or address.is_unspecified or (address.version == 6 and address.is_link_local)


def make_all(askings: Sequence[Asking]) -> Made:
    """Inside the namespace: one socket for each asking, or why not."""
    made: Made = []
    for asking in askings:
        try:
            made.append(asking.make())
        except OSError as error:
            made.append(error)
    return made


def still_there(file: NamespaceFile) -> bool:
    """The file still names the namespace that we have sockets in. After an unmount it is an empty file."""
    try:
        status = os.stat(file.path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True  # not for us to say
    return (status.st_dev, status.st_ino) == (file.device, file.inode)
