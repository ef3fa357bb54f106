"""From a fault in the lab to the message in somebody's hand: real agents with the settings of production, the rules and routes that the
repository ships, a real Prometheus that scrapes and evaluates every 15 s, a real Alertmanager."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pagers import Json, Receiver, Told, alertmanager, get, missing_programs, prometheus, query, until

from agent.lab import traces
from agent.lab.client import LabClient, LabError, Wish, check_machine

pytestmark = [pytest.mark.root, pytest.mark.timeout(2400)]

PAGED_SECONDS = 120.0
"""From fault to webhook, as promised."""
RESOLVED_SECONDS = 420.0
"""The agents believe in a mend after two good rounds, the rules hold an alert for three minutes, Alertmanager sends once a minute."""
HEALTHY_SECONDS = float(os.environ.get("LHNET_HEALTHY_SECONDS", "90"))
"""How long nothing may be told while the agents are rolled over. `make soak-alerts` takes ten minutes."""
SETTLED_SECONDS = 90.0
LATE_SECONDS = 45.0
"""Three evaluations and a scrape: what would come beside the right alert has come by then."""
GONE_SECONDS = 20.0


@dataclass
class Field:
    """The lab with its monitoring, and a timeline of what happened."""

    lab: LabClient
    receiver: Receiver
    prometheus_url: str
    began: float = field(default_factory=time.monotonic)
    printed: int = 0

    def note(self, what: str) -> float:
        now = time.monotonic()
        for told in self.receiver.told()[self.printed :]:
            self.printed += 1
            print(f"{told.at_monotonic_seconds - self.began:7.1f} s  {told.brief}\n           culprit: {told.annotations.get('culprit')}")
        print(f"{now - self.began:7.1f} s  {what}")
        return now

    def nodes(self) -> Json:
        found: Json = self.lab.ask("status")["nodes"]
        return found

    def wait_until_healthy(self, when: str) -> None:
        def verdicts() -> Json:
            some = next(iter(self.nodes().values()))["agent_url"]
            try:
                document = get(f"{some}/api/v1/cluster")
            except OSError as error:
                return {"cluster": repr(error)}
            return {"cluster": document["verdict"], **{node: one.get("verdict") for node, one in document["nodes"].items()}}

        well = until(lambda: set(verdicts().values()) == {"ok"}, within_seconds=SETTLED_SECONDS)
        assert well, f"not healthy {when}: {verdicts()}"

    def holder(self) -> str:
        def named() -> str | None:
            for facts in self.nodes().values():
                try:
                    status = get(f"{facts['agent_url']}/api/v1/status")
                except OSError:
                    continue
                if status["lease"] == "holder":
                    return str(status["node"])
            return None

        found = until(named, within_seconds=SETTLED_SECONDS)
        assert found, "nobody holds the Lease"
        return str(found)

    def restart_agent(self, node: str) -> None:
        """As a rolling update does: ends one agent politely, and waits until its successor is ready."""
        before = self.nodes()[node]["agent_pid"]
        os.kill(before, signal.SIGTERM)

        def back() -> bool:
            facts = self.nodes()[node]
            try:
                return facts["agent_pid"] not in (None, before) and bool(get(f"{facts['agent_url']}/api/v1/status"))
            except OSError:
                return False

        assert until(back, within_seconds=SETTLED_SECONDS), f"the agent on {node} does not come back"
        self.note(f"the agent on {node} was restarted")

    def look_on(self, seconds: float) -> None:
        """Real time has to pass where nothing may happen: Prometheus has no other clock."""
        until_then = time.monotonic() + seconds
        until(lambda: time.monotonic() > until_then, within_seconds=seconds + 1)

    def wait_for(self, status: str, alert: str, *, since: float, within_seconds: float) -> Told:
        def came() -> Told | None:
            known = [one for one in self.receiver.told() if one.at_monotonic_seconds >= since]
            return next((one for one in known if (one.status, one.labels["alertname"]) == (status, alert)), None)

        found: Told | None = until(came, within_seconds=since + within_seconds - time.monotonic())
        firing = [one["metric"] for one in query(self.prometheus_url, 'ALERTS{alertname!="LhnetWatchdog"}')]
        assert found, f"{alert} was not told as {status} within {within_seconds:.0f} s; Prometheus has {firing}"
        self.note(f"{alert} {status}: {found.at_monotonic_seconds - since:.1f} s")
        return found

    def briefs(self) -> set[str]:
        return {one.brief for one in self.receiver.told()}


@pytest.fixture(scope="module")
def watched() -> Iterator[Field]:
    """Three nodes with agents as in production, and everything that watches them."""
    try:
        check_machine()
    except LabError as error:
        pytest.skip(str(error))
    if absent := missing_programs():
        pytest.skip(f"{absent} missing; Debian's packages have the same names")
    environment = {key: value for key, value in os.environ.items() if key != "KUBEBUILDER_ASSETS"}
    with tempfile.TemporaryDirectory(prefix="lhnet-test-") as parent, ExitStack() as stack:
        folder = Path(parent)
        lab = LabClient(folder / "lab")
        stack.callback(lab.down)
        status = lab.up(Wish(environment=environment), stay=False)
        trace = traces.take(status)
        agents = {node: facts["agent_url"] for node, facts in status["nodes"].items()}
        receiver = Receiver()
        stack.callback(receiver.close)
        pager = stack.enter_context(alertmanager(folder, receiver))
        url = stack.enter_context(prometheus(folder, alertmanager_url=pager, agents=agents))
        yield Field(lab=lab, receiver=receiver, prometheus_url=url)
        stack.close()
        assert trace.wait_until_gone(timeout_seconds=GONE_SECONDS) == []


def test_a_healthy_network_with_an_agent_rollout_tells_nobody_anything(watched: Field) -> None:
    watched.wait_until_healthy("at the start")
    assert until(lambda: len(query(watched.prometheus_url, "lhnet:agent:up == 1")) == 3, within_seconds=SETTLED_SECONDS)
    began = watched.note("healthy, all agents are scraped")
    for node in watched.nodes():
        watched.restart_agent(node)
        watched.wait_until_healthy(f"after the agent on {node} was restarted")
    watched.look_on(began + HEALTHY_SECONDS - time.monotonic())
    watched.note(f"{HEALTHY_SECONDS:.0f} s with a rollout, and nothing was told but {watched.receiver.beats} beats of the watchdog")
    fired = query(watched.prometheus_url, f'count_over_time(ALERTS{{alertstate="firing"}}[{HEALTHY_SECONDS:.0f}s])')
    assert {one["metric"]["alertname"] for one in fired} == {"LhnetWatchdog"}
    assert watched.briefs() == set()
    assert watched.receiver.beats >= 1, "the watchdog is not heard outside"


def test_what_a_real_agent_exports_keeps_the_rules_of_prometheus(watched: Field) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing; Debian's package prometheus has it")
    for node, facts in watched.nodes().items():
        with urllib.request.urlopen(f"{facts['agent_url']}/metrics", timeout=20) as answer:
            exposed = answer.read()
        done = subprocess.run(["promtool", "check", "metrics"], input=exposed, capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, b""), node


def test_each_fault_is_told_once_by_the_right_alert_and_told_again_when_it_is_over(watched: Field) -> None:
    """The second fault comes while the first one's alert runs out."""
    nodes = list(watched.nodes())
    watched.wait_until_healthy("before the faults")
    before = watched.briefs()
    cut, broken = nodes[2], nodes[1]

    watched.lab.ask("inject", name="segment-moved", node=cut)
    injected = watched.note(f"segment-moved on {cut}")
    page = watched.wait_for("firing", "LhnetNodeCutOff", since=injected, within_seconds=PAGED_SECONDS)
    assert (page.receiver, page.labels["node"], page.labels["severity"]) == ("pager", cut, "critical")
    assert cut in page.annotations["summary"]
    assert page.annotations["culprit"].startswith(cut)
    assert page.annotations["next_step"]
    assert page.annotations["runbook_url"].endswith("/runbooks/node-cut-off")

    holder = watched.holder()
    watched.note(f"{holder} holds the Lease, and its agent is restarted")
    watched.restart_agent(holder)
    watched.look_on(LATE_SECONDS)
    assert watched.briefs() - before == {page.brief}, "told once, also when the Lease changes hands"

    watched.lab.ask("clear", name="segment-moved")
    mended = watched.note(f"segment-moved on {cut} mended")
    watched.wait_until_healthy("after the cable was put back")

    active = watched.lab.ask("inject", name="link-down", node=broken)
    downed = watched.note(f"link-down: {active['pod']} on {broken}")
    second = watched.wait_for("firing", "LhnetInterfaceDown", since=downed, within_seconds=PAGED_SECONDS)
    assert (second.receiver, second.labels["node"], second.labels["severity"]) == ("pager", broken, "critical")
    assert active["pod"] in second.annotations["culprit"]

    watched.look_on(LATE_SECONDS)
    watched.lab.ask("clear", name="link-down")
    up = watched.note("link-down mended")
    resolved = watched.wait_for("resolved", "LhnetNodeCutOff", since=mended, within_seconds=RESOLVED_SECONDS)
    over = watched.wait_for("resolved", "LhnetInterfaceDown", since=up, within_seconds=RESOLVED_SECONDS)
    assert active["pod"] in over.annotations["culprit"]
    watched.note("quiet again")
    assert watched.briefs() - before == {page.brief, second.brief, resolved.brief, over.brief}
