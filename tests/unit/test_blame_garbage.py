"""Whatever agents tell, in whatever order: there is always an answer, and it speaks only of nodes that take part."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model.blame import BlameState, NodeReport, OwnFinding, Row
from agent.model.catalogue import identity
from agent.model.gathered import Silence
from agent.rules.blame import blame
from agent.rules.blame_texts import HOST_PATH_CAUSES
from agent.rules.explain import BREAKS_PAIRS

ROWS = st.builds(
    Row,
    source_node=st.sampled_from(["a", "b", "c"]),
    source_pod=st.sampled_from(["ns/a", "ns/b", "ns/c"]),
    peer_node=st.sampled_from(["a", "b", "c", "nobody", ""]),
    peer_pod=st.sampled_from(["ns/a", "ns/b", "ns/c", ""]),
    role=st.sampled_from(["im", "bim", "from-next-year"]),
    tcp=st.sampled_from([None, "ok", "no_route", "timeout", "refused", "not_probed", "no_source_address", "from-next-year"]),
    failing=st.booleans(),
    answered_otherwise=st.booleans(),
    age_seconds=st.none() | st.floats(0.0, 1000.0),
    stale=st.booleans(),
)
OWN = st.builds(
    OwnFinding, id=st.sampled_from([*BREAKS_PAIRS, *HOST_PATH_CAUSES, "x"]), culprit=st.sampled_from(["ns/a", "a"]), summary=st.text()
)
REPORTS = st.builds(
    NodeReport,
    name=st.sampled_from(["a", "b", "c", "w"]),
    answered=st.booleans(),
    silence=st.none() | st.sampled_from(list(Silence)),
    answer_age_seconds=st.none() | st.floats(0.0, 1000.0),
    kube_ready=st.none() | st.booleans(),
    unschedulable=st.booleans(),
    witness=st.booleans(),
    has_storage_pods=st.booleans(),
    host_path_findings=st.lists(OWN, max_size=2).map(tuple),
    pod_findings=st.lists(OWN, max_size=2).map(tuple),
    pair_findings=st.lists(st.tuples(st.text()) | st.just(("packet-loss", "a", "ns/a", "b", "ns/b")), max_size=2).map(tuple),
    rows=st.lists(ROWS, max_size=8).map(tuple),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=st.lists(st.lists(REPORTS, max_size=4), max_size=4))
def test_whatever_is_told_round_after_round_there_is_an_answer(rounds: list[list[NodeReport]]) -> None:
    state = BlameState()
    for number, reports in enumerate(rounds):
        told = blame(reports, state=state, now=10.0 * number, interval_seconds=10.0, agent_missing_seconds=20.0)
        state = told.state
        assert told.verdict_sentence.isprintable()
        assert len({identity(one) for one in told.findings}) == len(told.findings)
        assert {one.subject.node for one in told.findings if one.subject.node} <= {report.name for report in reports if report.takes_part}
