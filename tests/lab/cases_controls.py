"""The matrix' cases for what pods and nodes do in a healthy cluster: nothing may be said of it but what is true, and nothing may stay."""

from collections.abc import Mapping

from cluster_expectations import RANGE
from matrixjudge import CLUSTER, loud
from matrixtools import Case, Json, Said

DOWN_SECONDS = 85.0
"""Off, on again, and 45 s in which everything that was true of the node has to be gone."""


def _calm(documents: Mapping[str, Json]) -> str:
    """Whatever was true on the way, at the end nothing is left of it."""
    found = loud(documents)
    verdict = documents.get(CLUSTER, {}).get("verdict")
    return "; ".join(found) if found else "" if verdict == "ok" else f"verdict {verdict}"


def _while_off(severity: str) -> tuple[Said, ...]:
    """True of a node without power. If it held the Lease, up to 20 s pass before anybody explains its pairs."""
    return (
        Said(id="node-down", culprit="{node}", node=CLUSTER, severity=severity),
        Said(id="agent-missing", culprit="{node}", node=CLUSTER, severity=severity),
        Said(id="peer-unreachable", culprit="*>{node}"),
    )


def _quiet(name: str, *, node: str = "", hold_seconds: float = 25.0, small: bool = False) -> Case:
    """Nothing is said of it at all."""
    aim = {"node": node} if node else {}
    return Case(
        inject=({"name": name, **aim},),
        verdict="ok",
        check=_calm,
        hold_seconds=hold_seconds,
        is_control=True,
        up={"range": RANGE} if small else {},
    )


CASES: dict[str, Case] = {
    "im-replaced": _quiet("im-replaced"),
    "im-restarted": Case(
        inject=({"name": "im-restarted"},),
        may=(Said(id="peer-port-closed", culprit="*>{node}", severity="warning", reason="refused"),),
        verdict="ok",
        check=_calm,
        is_control=True,
    ),
    "sandbox-restarted": _quiet("sandbox-restarted"),
    "im-failed-address-reused": _quiet("im-failed-address-reused"),
    "bids-come-and-go": _quiet("bids-come-and-go", hold_seconds=30.0),
    "two-generations": _quiet("two-generations", hold_seconds=40.0),
    "two-generations-small-range": _quiet("two-generations", hold_seconds=40.0, small=True),
    "drain": _quiet("drain", hold_seconds=30.0),
    "tenant-failing": _quiet("tenant-failing", hold_seconds=30.0),
    "default-network-exhausted": _quiet("default-network-exhausted", hold_seconds=30.0),
    "node-reboot": Case(
        inject=({"name": "node-reboot"},),
        may=_while_off("warning"),
        verdict="ok",
        check=_calm,
        hold_seconds=DOWN_SECONDS,
        is_control=True,
    ),
    "node-reboot-cordoned": Case(
        inject=({"name": "node-reboot-cordoned"},),
        may=_while_off("info"),
        verdict="ok",
        check=_calm,
        hold_seconds=DOWN_SECONDS,
        is_control=True,
    ),
    "cold-boot": Case(
        inject=({"name": "cold-boot"},),
        # who is back first tells of those who are not, and Longhorn's objects are older than the power cut
        may=(Said(id="node-down"), Said(id="agent-missing"), Said(id="instance-manager-missing"), Said(id="peer-unreachable")),
        verdict="ok",
        check=_calm,
        hold_seconds=DOWN_SECONDS,
        is_control=True,
    ),
}
