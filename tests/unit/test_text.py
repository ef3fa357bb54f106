"""What a person reads at three in the morning, in 80 columns."""

from dataclasses import replace
from ipaddress import ip_network

from roundup_cases import finding as cluster_finding
from test_verdict import DOWN, MAC, STALE, active, unreachable
from unitworld import DEFAULT, LHNET1, facts, file, pair, pod, result

from agent.model.finding import Scope, Subject, Verdict
from agent.model.gathered import Judgement
from agent.model.mesh import Mesh
from agent.model.net import Route
from agent.model.peers import Mode
from agent.model.probe import Reason
from agent.model.records import SourceState, SourceStatus
from agent.model.view import HistoryEntry, InspectedPod, KeptFailure, NodeView
from agent.rules import reach
from agent.rules.explain import explain
from agent.rules.routes import judge_routes
from agent.serve import documents, text

NOW, WALL = 1000.0, 1_800_000_000.0


def state(*reasons, of=None):
    made = None
    for reason in reasons:
        made = reach.advance(made, of or pair(), [result(reason, of=of)], now=NOW - 3, wall=WALL - 3, probe_failures=2, probe_successes=2)
    return made


def view(**fields):
    healthy = {
        "node": "harv41",
        "version": "0.1.0",
        "started_monotonic_seconds": 0.0,
        "mode": Mode.ON,
        "mode_why": "configured, NAD harvester-system/storagenetwork-95bj4",
        "verdict": Verdict.OK,
        "ready": True,
        "inspected": (InspectedPod(pod=pod(), namespace=file(), facts=facts()),),
        "inspected_monotonic_seconds": NOW - 3,
        "mesh": Mesh(round=7, completed_rounds=6, coverage_seconds=10.0, pairs=(state(Reason.OK),)),
    }
    return NodeView(**(healthy | fields))


def lines(one):
    told = text.status(one, now=NOW, wall=WALL)
    return told.splitlines()


def test_a_healthy_answer_is_three_lines_not_a_page_of_green():
    told = lines(view())
    assert len(told) <= 3
    assert told[0].startswith("harv41: storage network ok here")
    assert told[0].endswith("lhnet-agent 0.1.0")
    assert "looked 3 s ago at 1 pod and 1 pair" in told[1]


def test_a_finding_is_a_paragraph_with_its_command_whole_on_one_line():
    down = replace(DOWN, since_monotonic_seconds=NOW - 130, since_wall_seconds=WALL - 130)
    told = lines(view(findings=(down,), verdict=Verdict.CRITICAL))
    assert told[0].startswith("harv41: storage network: CRITICAL here")
    head = next(line for line in told if line.startswith("CRITICAL"))
    assert "interface-down  instance-manager-a on harv41" in head
    assert "(2 min)" in head
    assert any("exec instance-manager-a -- ip link set lhnet1 up" in line for line in told)
    for label in ("seen", "expected", "do next", "clears", "runbook"):
        assert any(line.startswith(f"  {label}") for line in told), label


def test_prose_stays_within_eighty_columns_and_only_commands_may_be_wider():
    findings = explain([DOWN, MAC, STALE, unreachable()])
    for line in lines(view(findings=findings, verdict=Verdict.CRITICAL)):
        assert len(line) <= 80 or "kubectl" in line or "runbook" in line, line


def test_explained_findings_are_counted_not_told():
    told = "\n".join(lines(view(findings=explain([DOWN, unreachable()]), verdict=Verdict.CRITICAL)))
    assert told.count("CRITICAL  ") == 1
    assert "explained by interface-down:longhorn-system/instance-manager-a: 1 peer-unreachable" in " ".join(told.split())


def test_an_ignored_finding_is_listed_with_why():
    ignored = replace(DOWN, finding=replace(DOWN.finding, ignored="being rebuilt"))
    assert any(
        "ignored: interface-down" in line and "being rebuilt" in " ".join(lines(view(findings=(ignored,))))
        for line in lines(view(findings=(ignored,)))
    )


def test_an_answer_that_cannot_be_trusted_says_so_before_anything_else():
    old = SourceStatus(name="pods", state=SourceState.STALE, age_seconds=240, detail="connection refused")
    told = lines(view(sources=(old,), findings=(STALE,), verdict=Verdict.WARNING))
    said = next(i for i, line in enumerate(told) if line.startswith("pods as known 4 min ago"))
    assert said < next(i for i, line in enumerate(told) if line.startswith("WARNING"))


def test_before_the_first_round_it_says_what_it_waits_for():
    told = lines(view(verdict=Verdict.UNKNOWN, ready=False, inspected_monotonic_seconds=None, not_ready_because="nothing yet"))
    assert "cannot tell yet" in told[0]
    assert "nothing yet" in told[1]


def test_held_back_findings_are_said_with_the_time():
    assert any(
        "1 finding held back while the setting is being applied (8 min)" in line for line in lines(view(held_back=1, applying_seconds=480))
    )


def test_peers_shows_failing_pairs_first_with_their_reason():
    good, bad = state(Reason.OK), state(Reason.TIMEOUT, Reason.NO_ROUTE, of=pair(peer=pod("c", node="harv43", address="192.168.0.9")))
    told = text.peers(view(mesh=Mesh(round=2, coverage_seconds=10, pairs=(good, bad))), now=NOW).splitlines()
    assert "2 pairs, 1 failing; round 2, every pair within 10 s" in told[0]
    assert "harv43" in told[3]
    assert "no_route" in told[3]
    assert "0.20" in told[4]


def test_interfaces_shows_what_was_asked_granted_and_what_the_kernel_has():
    told = text.interfaces(view())
    assert "longhorn-system/instance-manager-a  im  OK" in told
    assert "harvester-system/storagenetwork-95bj4 as lhnet1" in told
    assert "192.168.0.2/24  2e:51:e6:31:96:40  mtu 1500  up, carrier" in told
    assert "192.168.0.0/24 dev lhnet1 src 192.168.0.2" in told
    assert "default via 169.254.1.1 dev eth0" in told


def test_interfaces_says_why_nothing_is_known_of_a_pod():
    told = text.interfaces(view(inspected=(InspectedPod(pod=pod(), why_not="it vanished"),)))
    assert "UNKNOWN" in told
    assert "it vanished" in told


def test_a_missing_interface_lists_those_that_are_there():
    gone = InspectedPod(pod=pod(), namespace=file(), facts=facts(lhnet1=replace(LHNET1, name="x0")))
    assert "no lhnet1; there are lo, eth0, x0" in text.interfaces(view(inspected=(gone,)))


def test_history_has_changes_and_kept_failures_newest_first():
    entry = HistoryEntry(wall_seconds=WALL - 5, monotonic_seconds=NOW - 5, change="raised", finding=DOWN.finding)
    kept = KeptFailure(pair=pair(), failure=reach.failure(result(Reason.TIMEOUT), NOW - 9, WALL - 9))
    told = text.history(view(history=(entry,), failures=(kept,)), now=NOW)
    assert "(5 s ago)  raised  interface-down" in told
    assert "192.168.0.2 to 192.168.0.3 on harv42: timeout" in told
    assert "nothing has changed" in text.history(view(), now=NOW)


def test_the_documents_have_the_keys_that_scripts_rely_on():
    status = documents.status(view(findings=(DOWN,)), now=NOW, wall=WALL)
    assert {"schema", "node", "generated_at", "version", "lease", "holder", "mode", "verdict", "sources", "findings"} <= status.keys()
    finding = status["findings"][0]
    assert {
        "id", "severity", "scope", "network", "network_kind", "subject", "reason", "culprit", "summary", "seen", "expected", "evidence",
        "since", "age_seconds", "last_seen", "clears_when", "next_step", "runbook", "explained_by", "ignored",
    } <= finding.keys()  # fmt: skip
    (row,) = documents.peers(view(), now=NOW)["pairs"]
    assert {
        "source_pod", "source_address", "peer_node", "peer_pod", "peer_address", "role", "tcp", "http", "large", "rtt_seconds",
        "path_mtu_bytes", "last_probe_age_seconds", "since", "last_failure",
    } <= row.keys()  # fmt: skip
    assert (row["tcp"], row["http"], row["last_failure"]) == ("ok", None, None)
    (one,) = documents.interfaces(view())["pods"]
    assert {"pod", "uid", "role", "netns", "interface", "requested", "granted", "kernel"} <= one.keys()
    assert {"addresses", "mac", "mtu_bytes", "up", "carrier", "routes", "counters"} <= one["kernel"].keys()
    assert one["kernel"]["routes"][0].keys() >= {"to", "via", "device", "source", "metric", "scope"}


def test_a_shadowing_route_reads_as_ip_route_prints_it():
    hole = Route(to=ip_network("192.168.0.3/32"), kind="blackhole")
    found = judge_routes(pod(), facts(routes=(DEFAULT, *facts().routes, hole)), ranges=[ip_network("192.168.0.0/24")])
    assert "blackhole 192.168.0.3/32" in " ".join(text.paragraph(documents.finding(active(found), now=NOW)).split())


def test_a_witness_expects_no_pod_and_says_that_it_is_one():
    apart = view(inspected=(), mesh=Mesh(), witness=True, ready=True)
    assert "a witness: it stores nothing, and no storage pod is expected" in text.status(apart, now=NOW, wall=WALL)
    assert documents.status(apart, now=NOW, wall=WALL)["witness"] is True
    assert "witness" not in documents.status(view(), now=NOW, wall=WALL)


def test_pairs_that_fail_alike_are_one_paragraph():
    both = [unreachable(), unreachable()]
    both[1] = replace(
        both[1], finding=replace(both[1].finding, subject=replace(both[1].finding.subject, peer_pod="a/im-c", peer_node="harv43"))
    )
    told = lines(view(findings=tuple(both), verdict=Verdict.CRITICAL))
    assert sum(line.startswith("CRITICAL") for line in told) == 1
    assert any("the same to im-c on harv43" in line for line in told)


def test_what_the_holder_found_is_to_be_read_elsewhere():
    pairs = [replace(unreachable(), finding=replace(unreachable().finding, culprit=f"harv41>harv{n}")) for n in range(42, 48)]
    explained = tuple(replace(one, finding=replace(one.finding, explained_by="node-cut-off:harv41")) for one in pairs)
    told = " ".join(" ".join(lines(view(findings=explained, verdict=Verdict.CRITICAL))).split())
    assert "explained by node-cut-off:harv41 (see /cluster): 6 peer-unreachable (harv41>harv42" in told
    assert told.endswith("harv41>harv45 and 2 more)")


CUT_OFF = cluster_finding("node-cut-off", summary="harv43 is cut off: its uplink has no carrier", next_step="look at cables: `ip link`")
HEARD = Judgement(source="harv42", findings=(CUT_OFF,), age_seconds=2.0)


def cut_off_elsewhere(**fields):
    pairs = (replace(unreachable(), finding=replace(unreachable().finding, explained_by="node-cut-off:harv43")),)
    return view(findings=pairs, verdict=Verdict.OK, heard=HEARD, heard_monotonic_seconds=NOW - 1, **fields)


def test_what_broke_in_the_cluster_is_told_where_it_is_felt():
    told = lines(cut_off_elsewhere())
    assert told[0].startswith("harv41: storage network ok here; critical in the cluster")
    assert "cluster view from harv42, 3 s old" in " ".join(told)
    head = next(i for i, line in enumerate(told) if line.startswith("CRITICAL  node-cut-off  harv43"))
    assert "harv43 is cut off: its uplink has no carrier." in told[head + 1]
    assert any(line.startswith("explained by node-cut-off:harv43") for line in told[head:])
    assert all(len(line) <= 80 for line in told)


def test_on_the_node_that_knows_the_cause_the_same_is_not_told_twice():
    uplink = active(replace(DOWN.finding, id="uplink-down", scope=Scope.NODE, subject=Subject(node="harv43"), culprit="harv43"))
    heard = replace(HEARD, findings=({**CUT_OFF, "reason": "uplink-down"},))
    told = lines(view(node="harv43", findings=(uplink, *cut_off_elsewhere().findings), verdict=Verdict.CRITICAL, heard=heard))
    assert [line.split()[1] for line in told if line.startswith("CRITICAL")] == ["uplink-down"]
    assert any(line.startswith("explained by node-cut-off:harv43 (see /cluster)") for line in told)


def test_what_the_holder_tells_cannot_move_the_cursor():
    wild = {**CUT_OFF, "summary": "\x1b[2Jgone", "evidence": "no list", "subject": 7}
    told = "\n".join(lines(replace(cut_off_elsewhere(), heard=replace(HEARD, findings=(wild,)))))
    assert "\x1b" not in told
    assert "node-cut-off  harv43" in told


def test_a_warning_in_the_cluster_is_no_news_to_a_node_that_warns_itself():
    mild = replace(HEARD, findings=({**CUT_OFF, "severity": "warning"},))
    assert "in the cluster" in lines(view(verdict=Verdict.OK, heard=mild))[0]
    assert "in the cluster" not in lines(view(verdict=Verdict.WARNING, heard=mild))[0]
    assert "in the cluster" not in lines(view(verdict=Verdict.OK, heard=replace(HEARD, findings=({**CUT_OFF, "ignored": "known"},))))[0]


def test_sources_are_named_as_people_say_them():
    old = SourceStatus(name="longhorn_settings", state=SourceState.STALE, age_seconds=240, detail="connection refused")
    assert any(line.startswith("longhorn settings as known 4 min ago") for line in lines(view(sources=(old,))))
