"""From probe results to what is said of a pair."""

from dataclasses import replace

from unitworld import pair, result

from agent.model.finding import Severity
from agent.model.probe import ProbeKind, Reason
from agent.rules import reach
from agent.rules.reach import PodsView


def after(*rounds, of=None, state=None):
    for i, given in enumerate(rounds):
        results = given if isinstance(given, list) else [given]
        made = [one if not isinstance(one, Reason) else result(one, of=of) for one in results]
        state = reach.advance(state, of or pair(), made, now=float(i), wall=1000.0 + i, probe_failures=2, probe_successes=2)
    return state


def told(state, *, pods=None):
    return reach.judge(state, port=8500, pods=pods or PodsView())


def test_one_failure_is_no_finding_two_in_a_row_are():
    assert told(after(Reason.TIMEOUT)) is None
    assert told(after(Reason.TIMEOUT, Reason.OK, Reason.TIMEOUT)) is None
    found = told(after(Reason.TIMEOUT, Reason.NO_ROUTE))
    assert found is not None
    assert (found.id, found.severity, found.reason, found.culprit) == ("peer-unreachable", Severity.CRITICAL, "no_route", "harv41>harv42")
    assert found.subject.as_dict() == {
        "node": "harv41",
        "pod": "longhorn-system/instance-manager-a",
        "address": "192.168.0.2",
        "peer_node": "harv42",
        "peer_pod": "longhorn-system/instance-manager-b",
        "peer_address": "192.168.0.3",
    }


def test_it_clears_after_two_successes_and_not_after_one():
    broken = after(Reason.TIMEOUT, Reason.TIMEOUT)
    once = after(Reason.OK, state=broken)
    still = told(once)
    assert still is not None
    assert still.reason == "timeout"
    assert told(after(Reason.OK, state=once)) is None


def test_the_first_good_probe_never_makes_a_warning_worse():
    ping = [result(Reason.TIMEOUT), result(Reason.OK, kind=ProbeKind.PING)]
    warned = after(Reason.TIMEOUT, ping)
    mending = told(after(Reason.OK, state=warned))
    assert mending is not None
    assert mending.severity is Severity.WARNING
    assert "answers ping, not port 8500" in mending.summary
    assert after(Reason.OK, Reason.OK, state=warned).ping is None


def test_a_refused_port_proves_the_way_there():
    found = told(after(Reason.REFUSED, Reason.REFUSED))
    assert found is not None
    assert (found.id, found.severity, found.reason) == ("peer-port-closed", Severity.WARNING, "refused")
    assert "refuses port 8500" in found.summary


def test_what_was_not_probed_moves_no_streak_and_shows_no_old_success():
    state = after(Reason.OK, Reason.TIMEOUT, Reason.NOT_PROBED, Reason.TIMEOUT)
    assert told(state) is not None
    quiet = after(Reason.OK, Reason.NOT_PROBED)
    assert (quiet.tcp, quiet.rtt_seconds, quiet.failures) == (Reason.NOT_PROBED, None, 0)


def test_a_peer_that_answers_ping_or_http_is_a_warning_that_says_so():
    ping = [result(Reason.TIMEOUT), result(Reason.OK, kind=ProbeKind.PING)]
    found = told(after(Reason.TIMEOUT, ping))
    assert found is not None
    assert found.severity is Severity.WARNING
    assert "answers ping, not port 8500" in found.summary
    both = [*ping, result(Reason.OK, kind=ProbeKind.HTTP)]
    found = told(after(Reason.TIMEOUT, both))
    assert found is not None
    assert "answers ping and HTTP, not port 8500" in found.summary


def test_the_pod_that_is_not_reached_is_named_beside_its_node():
    found = told(after(Reason.TIMEOUT, Reason.TIMEOUT))
    assert found is not None
    assert found.summary == "harv41 does not reach instance-manager-b on harv42 over lhnet1: 192.168.0.3 does not answer on port 8500"
    assert found.next_step.endswith("then on harv42 for a filter: `nft list ruleset`")


def test_what_the_probe_tells_of_arp_is_told_once():
    def seen_with(detail: str | None):
        state = replace(after(Reason.TIMEOUT, Reason.TIMEOUT), detail=detail, neighbour_mac="2e:72:6f:17:b2:5a")
        found = told(state)
        assert found is not None
        return " ".join([found.seen, *found.evidence]).count("2e:72:6f:17:b2:5a answers ARP")

    assert seen_with("no answer within 1.5 s; 2e:72:6f:17:b2:5a answers ARP") == 1
    assert seen_with(None) == 1


def test_one_failed_probe_is_said_in_the_singular():
    state = replace(after(Reason.TIMEOUT, Reason.TIMEOUT), failures=1)
    found = told(state)
    assert found is not None
    assert found.evidence[0] == "the last probe failed"


def test_while_the_pods_are_old_it_is_a_warning_that_names_the_age():
    found = told(after(Reason.TIMEOUT, Reason.TIMEOUT), pods=PodsView(stale=True, age_seconds=240))
    assert found is not None
    assert found.severity is Severity.WARNING
    assert "pods as known 240 s ago" in found.summary


def test_while_the_pods_are_old_a_closed_port_may_be_somebody_elses():
    """Whoever refuses has the address now; nobody here knows who that is."""
    found = told(after(Reason.REFUSED, Reason.REFUSED), pods=PodsView(stale=True, age_seconds=240))
    assert found is not None
    assert (found.id, found.severity) == ("peer-port-closed", Severity.INFO)
    assert found.summary.startswith("192.168.0.3 refuses port 8500, where ")
    assert found.summary.endswith(" was 240 s ago; it may be another pod's by now")


def test_http_alone_never_makes_a_finding():
    state = after([Reason.OK, result(Reason.TIMEOUT, kind=ProbeKind.HTTP)], [Reason.OK, result(Reason.REFUSED, kind=ProbeKind.HTTP)])
    assert told(state) is None
    assert state.http is Reason.REFUSED
    assert state.last_failure is not None
    assert state.last_failure.kind is ProbeKind.HTTP


def test_a_failed_probe_leaves_no_latency_behind():
    assert after(Reason.OK, Reason.TIMEOUT).rtt_seconds is None


def test_the_next_step_at_the_source_shows_what_is_missing_there():
    for reason, command in ((Reason.NET_UNREACHABLE, "ip route"), (Reason.NO_SOURCE_ADDRESS, "ip addr")):
        found = told(after(reason, reason))
        assert found is not None
        assert found.next_step.endswith(f"exec instance-manager-a -- {command}`")
