"""An agent of a later version, for clusters in the middle of a rollout: the agent as it is, whose answers hold more than today's know.

`python -m agent.lab.future run …` adds to what the agent tells others what a later version may add: keys, a finding with an id, a scope
and a reason of its own, another column in the rows. It takes nothing away and judges nothing.
"""

import runpy
from typing import Any

import agent
from agent.serve import server

Json = dict[str, Any]

VERSION = "9.9.0"
FINDING = "optic-signal-weak"
REASON = "rx_power_low"
SHORT_ROW = 8
NOT_FAILING: list[object] = [0, None]
"""What today's version leaves off at the end of a row that works, which then has SHORT_ROW columns."""


def later(path: str, told: Json) -> Json:
    """The answer to `path` as the later version gives it."""
    match path:
        case "/api/v1/status":
            sources = {name: {**one, "revision": "7"} for name, one in told["sources"].items()}
            findings = [{**one, "confidence": 0.98} for one in told["findings"]]
            told = {**told, "sources": sources, "findings": [*findings, weak_signal(told)]}
        case "/api/v1/rows":
            told = {**told, "rows": [_row(row) for row in told["rows"]], "racks": ["r1"]}
        case "/api/v1/explanations":
            why = [FINDING, told["node"], "nic0", f"rack-hot:{told['node']}"]
            told = {**told, "explanations": [*told["explanations"], why]}
    return {**told, "forecast": {"loss_ratio": [0.0, 0.0], "by": {"hour": 1}}}


def weak_signal(status: Json) -> Json:
    """Information only: a finding that today's version has never heard of."""
    node = status["node"]
    return {
        "id": FINDING,
        "severity": "info",
        "scope": "nic",
        "network": "storage",
        "network_kind": None,
        "subject": {"node": node, "nic": "ens5"},
        "reason": REASON,
        "culprit": f"{node}/ens5",
        "summary": f"the optic of ens5 on {node} receives little light",
        "seen": "-11.2 dBm",
        "expected": "more than -9.5 dBm",
        "evidence": [],
        "since": status["generated_at"],
        "age_seconds": 1.0,
        "last_seen": status["generated_at"],
        "clears_when": "the optic receives more",
        "next_step": "clean the connector",
        "runbook": f"/runbooks/{FINDING}",
        "explained_by": None,
        "ignored": None,
    }


def _row(row: list[object]) -> list[object]:
    return [*row, *NOT_FAILING[max(0, len(row) - SHORT_ROW) :], 0.97]


def main() -> None:
    now = server.Server.own

    def own(self: server.Server, path: str, **options: Any) -> Json:
        return later(path, now(self, path, **options))

    server.Server.own = own  # type: ignore[method-assign]  # this process is another version
    agent.__version__ = VERSION
    runpy.run_module("agent", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
