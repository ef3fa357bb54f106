"""The example for Alertmanager, read by its own tool and then by a real Alertmanager that is given alerts and asked what it sends."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from finding_cases import alerts, finding_of
from pagers import ROUTES, Receiver, alertmanager, missing_programs, until

from agent.model.catalogue import CATALOGUE

needs_amtool = pytest.mark.skipif(
    shutil.which("amtool") is None, reason="amtool is missing; Debian's package prometheus-alertmanager has it"
)
needs_alertmanager = pytest.mark.skipif(
    shutil.which("prometheus-alertmanager") is None, reason=f"{missing_programs()} missing; Debian's packages have the same names"
)

SENT_SECONDS = 60.0
GROUP_WAIT = "group_wait: 10s"
Labels = Mapping[str, str]


def amtool(*words: str) -> str:
    done = subprocess.run(["amtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alert(name: str, **labels: str) -> Labels:
    """As the rules make it: the severity and scope of its finding."""
    (rule,) = [rule for rule in alerts() if rule["alert"] == name]
    finding = finding_of(rule)
    normal = {"severity": CATALOGUE[finding].severity.value, "id": finding} if finding else {}
    return {"alertname": name, **normal, **rule["labels"], **labels}


@needs_amtool
def test_alertmanager_takes_the_example() -> None:
    said = amtool("check-config", str(ROUTES))
    assert "SUCCESS" in said
    assert "3 receivers" in said


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (alert("LhnetNodeCutOff", node="harv43"), "pager"),
        (alert("LhnetPeerUnreachable", node="harv43"), "pager"),
        (alert("LhnetPeerUnreachable", node="harv43", severity="warning"), "tickets"),
        (alert("LhnetAgentsAbsent"), "pager"),
        (alert("LhnetAgentNotScraped", node="harv42"), "tickets"),
        (alert("LhnetPoolNearlyFull", pool="kube-system/192.168.0.0-24"), "tickets"),
        (alert("LhnetWatchdog"), "watchdog-outside"),
        ({"alertname": "KubePodCrashLooping", "severity": "critical"}, "tickets"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value['alertname']}-{value['severity']}",
)
def test_an_alert_finds_its_receiver(labels: Labels, receiver: str) -> None:
    words = [f"{key}={value}" for key, value in labels.items()]
    assert amtool("config", "routes", "test", f"--config.file={ROUTES}", *words).strip() == receiver


def test_every_matcher_names_alerts_and_labels_that_there_are() -> None:
    known = {rule["alert"] for rule in alerts()}
    config = yaml.safe_load(ROUTES.read_text())
    matchers = [one for route in config["route"]["routes"] for one in route["matchers"]]
    matchers += [one for rule in config["inhibit_rules"] for key in ("source_matchers", "target_matchers") for one in rule[key]]
    named = {name for one in matchers if one.startswith("alertname") for name in one.split('"')[1].split("|")}
    assert named - known == {"Lhnet.+"}
    assert {re.split("[!=]", one)[0] for one in matchers} == {"alertname", "severity", "scope", "network_kind"}


def test_the_watchdog_goes_outside_and_nowhere_else() -> None:
    config = yaml.safe_load(ROUTES.read_text())
    first, *others = config["route"]["routes"]
    assert (first["receiver"], first["matchers"]) == ("watchdog-outside", ['alertname="LhnetWatchdog"'])
    assert all(route["receiver"] != "watchdog-outside" for route in others)


class Pager:
    """A running Alertmanager with the shipped inhibitions; it waits one second for a group, not ten."""

    def __init__(self, url: str, receiver: Receiver) -> None:
        self._url, self._receiver = url, receiver

    def raise_together(self, *firing: Labels) -> None:
        body = json.dumps([{"labels": dict(labels), "annotations": {}} for labels in firing]).encode()
        request = urllib.request.Request(f"{self._url}/api/v2/alerts", data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200

    def sent(self, *, last: str) -> set[str]:
        """Names of what came to anybody, once the alert `last`, which nothing inhibits, has come."""
        found = until(lambda: last in self.names(), within_seconds=SENT_SECONDS)
        assert found, f"{last} was not sent: {self.names()}"
        return self.names() - {last}

    def inhibited(self) -> set[str]:
        with urllib.request.urlopen(f"{self._url}/api/v2/alerts?inhibited=true", timeout=20) as answer:
            held: list[dict[str, Any]] = json.load(answer)
        return {_name(one["labels"]) for one in held if one["status"]["inhibitedBy"]}

    def names(self) -> set[str]:
        return {_name(one.labels) for one in self._receiver.told()}


def _name(labels: Labels) -> str:
    return " ".join([labels["alertname"], *(labels[key] for key in ("node", "peer_node", "pool") if key in labels)])


@pytest.fixture
def pager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pager]:
    text = ROUTES.read_text()
    assert GROUP_WAIT in text
    quick = tmp_path / "quick.yaml"
    quick.write_text(text.replace(GROUP_WAIT, "group_wait: 1s"))
    monkeypatch.setattr("pagers.ROUTES", quick)
    receiver = Receiver()
    try:
        with alertmanager(tmp_path, receiver) as url:
            yield Pager(url, receiver)
    finally:
        receiver.close()


UNRELATED = alert("LhnetPoolExhausted", pool="kube-system/192.168.0.0-24")


@needs_alertmanager
@pytest.mark.parametrize(
    ("firing", "told"),
    [
        pytest.param(
            [
                alert("LhnetNodeCutOff", node="harv43"),
                alert("LhnetUplinkDown", node="harv43"),
                alert("LhnetInterfaceDown", node="harv43"),
                alert("LhnetPeerUnreachable", node="harv43"),
                alert("LhnetInterfaceDown", node="harv42"),
            ],
            {"LhnetNodeCutOff harv43", "LhnetInterfaceDown harv42"},
            id="a cut-off node silences its links, pods and pairs, and no other node's",
        ),
        pytest.param(
            [
                alert("LhnetNetworkDown"),
                alert("LhnetNodeCutOff", node="harv43"),
                alert("LhnetUplinkDown", node="harv41"),
                alert("LhnetPeerUnreachable", node="harv42"),
                alert("LhnetOneWay", node="harv41", peer_node="harv42"),
                alert("LhnetAgentImpaired", node="harv41"),
            ],
            {"LhnetNetworkDown", "LhnetAgentImpaired harv41"},
            id="a network that is down silences everything below it, and not the agents' own trouble",
        ),
        pytest.param(
            [
                alert("LhnetNetworkSplit"),
                alert("LhnetPeerUnreachable", node="harv42"),
                alert("LhnetNodeCutOff", node="harv43"),
                alert("LhnetVlanMissing", node="harv43"),
            ],
            {"LhnetNetworkSplit"},
            id="a split silences pairs and nodes that are a group of one, and what these silence",
        ),
        pytest.param(
            [
                alert("LhnetNodeDown", node="harv43"),
                alert("LhnetAgentMissing", node="harv43"),
                alert("LhnetPeerUnreachable", node="harv43"),
                alert("LhnetPeerUnreachable", node="harv42"),
            ],
            {"LhnetNodeDown harv43", "LhnetPeerUnreachable harv42"},
            id="a node that is down silences the pairs to it",
        ),
        pytest.param(
            [
                alert("LhnetNadMissing"),
                alert("LhnetSandboxFailing", node="harv42", network_kind="storage", severity="critical"),
                alert("LhnetSandboxFailing", node="harv43", network_kind="default"),
            ],
            {"LhnetNadMissing", "LhnetSandboxFailing harv43"},
            id="what keeps every storage pod from starting silences those that wait, and not one that waits for the pod network",
        ),
        pytest.param(
            [
                alert("LhnetPeerUnreachable", node="harv43"),
                alert("LhnetPeerUnreachable", node="harv43", severity="warning"),
                alert("LhnetPeerUnreachable", node="harv42", severity="warning"),
                alert("LhnetAgentsAbsent"),
                alert("LhnetAgentNotScraped", node="harv41"),
            ],
            {"LhnetPeerUnreachable harv43", "LhnetPeerUnreachable harv42", "LhnetAgentsAbsent"},
            id="the same thing is not told twice",
        ),
    ],
)
def test_a_wider_alert_silences_what_follows_from_it(pager: Pager, firing: list[Labels], told: set[str]) -> None:
    pager.raise_together(*(one for one in firing if _name(one) in told))
    assert until(lambda: told <= pager.names(), within_seconds=SENT_SECONDS), pager.names()
    pager.raise_together(*firing)
    assert until(lambda: {_name(one) for one in firing} <= told | pager.inhibited(), within_seconds=SENT_SECONDS), pager.inhibited()
    pager.raise_together(UNRELATED)
    assert pager.sent(last=_name(UNRELATED)) == told
