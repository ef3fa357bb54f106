"""The three cases that every alert on a finding has: it fires, it stays silent on the control, it clears.

Writes findings.test.yaml, which `promtool test rules` reads as it is: `python tests/alerts/finding_cases.py`. A test compares the two, so
that an alert added to the rules without its cases is seen.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "manifests/monitoring/rules.yaml"
WRITTEN = HERE / "findings.test.yaml"
EVERY_SECONDS = 30
BEGINS_SECONDS = 60
HELD_SECONDS = 180
FINDING = re.compile(r'lhnet:finding:standing\{id="([a-z-]+)", severity!="info"\}')
POOL = "kube-system/192.168.0.0-24"


def alerts() -> list[Json]:
    """Every alerting rule, in the order of the file."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def finding_of(rule: Json) -> str | None:
    """The id of the finding that the alert stands on; None for those on raw metrics."""
    found = FINDING.fullmatch(rule["expr"])
    return found[1] if found else None


def seconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()  # type: ignore[union-attr]  # what the rules do not hold is a failure
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def document() -> Json:
    return {
        "rule_files": ["../../manifests/monitoring/rules.yaml"],
        "evaluation_interval": f"{EVERY_SECONDS}s",
        "tests": [case for rule in alerts() if (name := finding_of(rule)) for case in cases(rule, name)],
    }


def cases(rule: Json, finding: str) -> Iterator[Json]:
    alert, wait = rule["alert"], seconds(rule["for"])
    subject = labels_of(finding, rule["labels"]["scope"])
    firing = {"alertname": alert, "alertstate": "firing", "id": finding, "severity": "critical", **rule["labels"], **subject}
    ends_seconds = wait + 2 * EVERY_SECONDS
    ends = samples(ends_seconds)
    yield {
        "name": f"{alert} fires",
        "interval": f"{EVERY_SECONDS}s",
        "input_series": list(series(finding, subject, values=f"_x{samples(BEGINS_SECONDS)} 1x{ends}")),
        "promql_expr_test": [
            told(alert, at=BEGINS_SECONDS + wait - EVERY_SECONDS, state="firing"),
            told(alert, firing, at=BEGINS_SECONDS + wait),
        ],
    }
    yield {
        "name": f"{alert} stays silent",
        "interval": f"{EVERY_SECONDS}s",
        "input_series": [
            *series(finding, subject, values=f"1x{ends}", explained="true"),
            *series(finding, subject, values=f"1x{ends}", severity="info"),
        ],
        "promql_expr_test": [told(alert, at=ends_seconds)],
    }
    yield {
        "name": f"{alert} clears",
        "interval": f"{EVERY_SECONDS}s",
        "input_series": list(series(finding, subject, values=f"1x{ends} stale")),
        "promql_expr_test": [
            told(alert, firing, at=ends_seconds),
            told(alert, firing, at=ends_seconds + HELD_SECONDS - EVERY_SECONDS),
            told(alert, at=ends_seconds + HELD_SECONDS + 2 * EVERY_SECONDS),
        ],
    }


def labels_of(finding: str, scope: str) -> dict[str, str]:
    """What names the culprit, as the metrics have it."""
    if scope == "pool":
        return {"pool": POOL}
    if finding == "one-way":
        return {"node": "harv42", "peer_node": "harv43"}
    if finding == "sandbox-failing":
        return {"node": "harv42", "network_kind": "storage"}
    return {} if scope == "cluster" else {"node": "harv42"}


def series(finding: str, subject: Json, *, values: str, explained: str = "false", severity: str = "critical") -> Iterator[Json]:
    """As the agent on harv41 exports them."""
    common = {"id": finding, "severity": severity, "node": subject.get("node", ""), "instance": "10.0.0.41:9811", "agent_node": "harv41"}
    active = {**common, "explained": explained, "network_kind": subject.get("network_kind", "")}
    info = {**common, "peer_node": subject.get("peer_node", ""), "pool": subject.get("pool", ""), "pod": ""}
    yield {"series": "lhnet_finding_active" + selector(active), "values": values}
    yield {"series": "lhnet_finding_info" + selector(info), "values": values}


def told(alert: str, labels: Json | None = None, *, at: int, state: str | None = None) -> Json:
    """What `ALERTS` shows at that time: this one series, or none."""
    matchers = {"alertname": alert} | ({"alertstate": state} if state else {})
    expected = [{"labels": "ALERTS" + selector(labels), "value": 1}] if labels else []
    return {"expr": "ALERTS" + selector(matchers), "eval_time": f"{at}s", "exp_samples": expected}


def selector(labels: Json) -> str:
    return "{" + ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()) if value != "") + "}"


def samples(duration_seconds: int) -> int:
    """For promtool, `1x4` is five samples: one now and four more."""
    return duration_seconds // EVERY_SECONDS


def text() -> str:
    return "# Written by finding_cases.py, out of the rules.\n" + yaml.safe_dump(document(), sort_keys=False, width=200)


if __name__ == "__main__":
    WRITTEN.write_text(text())
    sys.stdout.write(f"{WRITTEN}\n")
