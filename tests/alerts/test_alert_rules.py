"""The rules as Prometheus reads them: valid, the same for everybody, complete for every finding that there is, and tested one by one."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import finding_cases
import pytest
import yaml
from finding_cases import FINDING, alerts, finding_of

from agent.model.catalogue import CATALOGUE
from agent.model.finding import Scope, Severity
from agent.serve import names, runbooks

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "manifests/monitoring"
RULES = MONITORING / "rules.yaml"
SCENES = sorted(Path(__file__).parent.glob("*.test.yaml"))
ALERTS = {rule["alert"]: rule for rule in alerts()}
BY_FINDING = {name: rule for rule in ALERTS.values() if (name := finding_of(rule))}
RECORDED = {rule["record"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "record" in rule}
FOREIGN = {"up", "ALERTS", "kube_node_spec_unschedulable", "kube_daemonset_status_desired_number_scheduled"}
"""Of Prometheus itself and of kube-state-metrics; where there is none of the latter, these parts are silent."""
NOT_TOLD = {
    "nad-leftover": "tidiness: it does no harm while it lies there",
    "pool-leftover": "tidiness: it does no harm while it lies there",
    "uplink-slow": "a fact about the hardware that no page changes; preflight warns of it",
}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing; Debian's package prometheus has it")


def promtool(*words: str, given: str | None = None) -> str:
    """What it says. Fails with that where promtool does."""
    done = subprocess.run(["promtool", *words], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"promtool {' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


@needs_promtool
@pytest.mark.parametrize("path", SCENES, ids=lambda path: path.name)
def test_the_alerts_do_what_their_cases_say(path: Path) -> None:
    promtool("test", "rules", str(path))


@needs_promtool
def test_the_metrics_keep_the_rules_of_prometheus() -> None:
    assert promtool("check", "metrics", given=(ROOT / "tests/data/metrics.txt").read_text()) == ""


def test_the_operator_gets_the_same_rules() -> None:
    carried = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    assert (carried["kind"], carried["metadata"]["namespace"]) == ("PrometheusRule", "lhnet-system")
    assert carried["spec"]["groups"] == yaml.safe_load(RULES.read_text())["groups"], "make rules"


def test_every_finding_that_deserves_a_page_or_a_ticket_has_an_alert() -> None:
    """Leaks are an `info` that grows into a warning: they have one as well."""
    deserving = {name for name, kind in CATALOGUE.items() if kind.severity is not Severity.INFO}
    assert deserving <= set(BY_FINDING)
    assert set(BY_FINDING) | set(NOT_TOLD) == set(CATALOGUE)
    assert not set(BY_FINDING) & set(NOT_TOLD)


def test_every_alert_has_the_three_cases() -> None:
    named = {test["name"] for path in SCENES for test in yaml.safe_load(path.read_text())["tests"]}
    wanted = {f"{alert} {case}" for alert in ALERTS for case in ("fires", "stays silent", "clears")}
    assert wanted - named == set()


def test_the_cases_of_findings_are_those_of_the_rules() -> None:
    assert finding_cases.WRITTEN.read_text() == finding_cases.text(), "python tests/alerts/finding_cases.py"


@pytest.mark.parametrize("alert", list(ALERTS))
def test_an_alert_says_what_it_is_about_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert set(rule["annotations"]) == {"summary", "culprit", "next_step", "runbook_url"}
    assert all(value.strip() and "\n" not in value for value in rule["annotations"].values())
    assert not rule["annotations"]["summary"].endswith(".")
    page = rule["annotations"]["runbook_url"].removeprefix("http://lhnet-agent.lhnet-system.svc:9811/runbooks/")
    assert runbooks.text(page), f"no agent serves /runbooks/{page}"


@pytest.mark.parametrize("name", list(BY_FINDING))
def test_an_alert_on_a_finding_has_its_scope_and_its_page(name: str) -> None:
    rule = BY_FINDING[name]
    assert rule["alert"] == "Lhnet" + name.replace("-", " ").title().replace(" ", "")
    assert rule["labels"] == {"scope": CATALOGUE[name].scope.value}, "severity is the finding's own"
    assert rule["annotations"]["runbook_url"].endswith(f"/runbooks/{name}")
    assert rule["for"] in ("30s", "1m", "2m", "5m", "15m")
    if CATALOGUE[name].severity is Severity.CRITICAL:
        assert rule["for"] in ("30s", "1m"), "a page comes within two minutes"


def test_severities_are_two_and_the_watchdog_has_none() -> None:
    fixed = {alert: rule["labels"]["severity"] for alert, rule in ALERTS.items() if "severity" in rule["labels"]}
    assert fixed.pop("LhnetWatchdog") == "none"
    assert set(fixed.values()) == {"critical", "warning"}


def test_rules_read_only_metrics_that_there_are() -> None:
    known = {metric.name + ("_total" if metric.kind == "counter" else "") for metric in names.ALL} | set(RECORDED) | FOREIGN
    for rule in [*ALERTS.values(), *RECORDED.values()]:
        texts = [rule["expr"], *rule.get("annotations", {}).values()]
        read = {name for text in texts for name in re.findall(r"\b(lhnet[_:][a-z_:]*[a-z]|kube_[a-z_]+|up|ALERTS)(?=[{\[\s)]|$)", text)}
        assert read - known == set(), rule


def test_labels_in_the_rules_are_those_of_the_metrics() -> None:
    labels = {metric.name: set(metric.labels) | {"instance", "agent_node"} for metric in names.ALL}
    for rule in [*ALERTS.values(), *RECORDED.values()]:
        for name, matchers in re.findall(r"\b(lhnet_[a-z_]+)\{([^}]*)\}", " ".join([rule["expr"], *rule.get("annotations", {}).values()])):
            assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)", re.sub(r"\"[^\"]*\"|'[^']*'", "", matchers))) <= labels[name], rule


def test_pools_and_only_pools_are_told_by_name() -> None:
    """They have no node; one-way has two."""
    (pattern,) = set(re.findall(r'id!?=?~"(pool-[^"]+)"', RECORDED["lhnet:finding:seen"]["expr"]))
    told = {name for name in CATALOGUE if re.fullmatch(pattern, name)}
    assert told == {name for name, kind in CATALOGUE.items() if kind.scope is Scope.POOL} | {"one-way"}


def test_only_what_nobody_else_can_see_waits_for_a_dead_agent() -> None:
    (pattern,) = re.findall(r'id=~"(bridge-[^"]+)"', RECORDED["lhnet:finding:held"]["expr"])
    seen_there = {name for name, kind in CATALOGUE.items() if kind.scope in (Scope.NODE, Scope.POD) and not kind.holder}
    assert {name for name in CATALOGUE if re.fullmatch(pattern, name)} == seen_there


def test_only_the_agents_own_trouble_is_told_while_the_setting_is_applied() -> None:
    (pattern,) = re.findall(r'id=~"(agent-[^"]+)"', RECORDED["lhnet:finding:standing"]["expr"])
    own = {name for name, kind in CATALOGUE.items() if kind.scope is Scope.AGENT} | {"agent-missing"}
    assert {name for name in CATALOGUE if re.fullmatch(pattern, name)} == own


def test_the_pod_monitor_gives_the_labels_that_the_rules_read() -> None:
    monitor: dict[str, Any] = yaml.safe_load((MONITORING / "podmonitor.yaml").read_text())["spec"]
    daemon_set = yaml.safe_load((ROOT / "manifests/base/daemonset.yaml").read_text())
    labels = daemon_set["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert f'up{{job="{labels[monitor["jobLabel"]]}"}}' in RECORDED["lhnet:agent:up"]["expr"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    ports = daemon_set["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert endpoint["port"] in {port["name"] for port in ports}
    assert endpoint["honorLabels"] is True
    assert endpoint["relabelings"][0]["targetLabel"] == "agent_node"
    assert {"node", "id", "severity"}.isdisjoint(one.get("targetLabel") for one in endpoint["relabelings"])


def test_nothing_stands_on_a_finding_by_another_way() -> None:
    """So that hand-over, quiet and severity are the same for all of them."""
    for alert, rule in ALERTS.items():
        assert FINDING.fullmatch(rule["expr"]) or "lhnet_finding_" not in rule["expr"], alert


ALERTING = (ROOT / "docs/alerting.md").read_text()


def test_the_page_on_alerting_lists_every_alert_with_its_wait() -> None:
    rows = re.findall(r"^\| `(Lhnet\w+)` \| (.+?) \| (.+?) \|", ALERTING, flags=re.MULTILINE)
    assert [(name, wait) for name, _, wait in rows] == [(name, rule.get("for", "–")) for name, rule in ALERTS.items()]
    for name, severity, _ in rows:
        finding = finding_of(ALERTS[name])
        normal = CATALOGUE[finding].severity.value if finding else ALERTS[name]["labels"]["severity"]
        assert severity in (normal, "by cause", "warning once old", "–"), name


@needs_promtool
def test_prometheus_takes_the_job_that_the_page_on_alerting_gives(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n([\s\S]*?)^```$", ALERTING, flags=re.MULTILINE)
    config = yaml.safe_load(block)
    (job,) = config["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["lhnet-system"]}}]  # Debian's build knows none
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(RULES, tmp_path / "rules.yaml")
    assert "SUCCESS" in promtool("check", "config", str(tmp_path / "prometheus.yaml"))
    assert (job["job_name"], job["honor_labels"]) == ("lhnet-agent", True)
    assert job["relabel_configs"][-1]["target_label"] == "agent_node"
