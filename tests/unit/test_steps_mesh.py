"""Step 4 of `check` from what one agent answered: what a person is told, what it counts for, and that no answer can break it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roundup_cases import cluster, cut_off, finding, names, pair_finding, pair_identity, status
from test_steps import PLACES, known, setting, survey

from agent.model.gathered import Judgement, Reply, Silence, Unreachable
from agent.model.peers import Mode, Network
from agent.model.records import PodRecord, SourceState
from agent.model.steps import AgentWay, MeshAnswer, Result, Step
from agent.rules.mode import Reading
from agent.rules.steps_mesh import reachability_step
from agent.serve.cluster import document

NODES = names(4)
SICK = "harv43"
READING = Reading(mode=Mode.ON, nads={"harvester-system/storagenetwork-95bj4": Network.STORAGE})
DIRECT = AgentWay(command="curl -s http://172.19.108.41:9811/cluster", direct=True)
PROXIED = AgentWay(command="kubectl get --raw /api/v1/namespaces/lhnet-system/pods/lhnet-agent-x:9811/proxy/cluster", direct=False)
CUT = finding("node-cut-off", summary="harv43 is cut off from the storage network, its uplink has no carrier")
SILENT = Unreachable(silence=Silence.SILENT, why="silent", last_answer_age_seconds=64.0)


def agent(node: str = "harv41", **fields: Any) -> PodRecord:
    return PodRecord(
        **({"namespace": "lhnet-system", "name": f"lhnet-agent-{node}", "uid": node, "node": node, "phase": "Running"} | fields)
    )


def step(told: Any, *, way: AgentWay = DIRECT, reading: Reading = READING, agents: tuple[PodRecord, ...] = (agent(),)) -> Step:
    """`told` is a document, or why there is none."""
    answer = known("agents", state=SourceState.NEVER, detail=told) if isinstance(told, str) else known("agents", _answer(told, way))
    return reachability_step(replace(survey(agent_pods=known("agent_pods", *agents)), mesh=answer), reading, places=PLACES)


def _answer(told: Any, way: AgentWay) -> MeshAnswer:
    return MeshAnswer(node="harv41", document=told, way=way)


def sick(*, explained: bool = True, replies: dict[str, Reply] | None = None, **judged: Any) -> dict[str, Any]:
    pairs = [(a, b) for a in NODES for b in NODES if a != b and SICK in (a, b)]
    statuses = {node: status(node, *(pair_finding(a, b) for a, b in pairs if a == node)) for node in NODES}
    explanations = {pair_identity(a, b): "node-cut-off:harv43" for a, b in pairs} if explained else {}
    judgement = Judgement(source="harv42", age_seconds=2.0, explanations=explanations, **judged)
    return document(cluster(NODES, broken=cut_off(NODES, SICK), statuses=statuses, replies=replies, judgement=judgement), wall=0.0)


def healthy(**fields: Any) -> dict[str, Any]:
    return document(cluster(NODES), wall=0.0) | fields


def test_health_is_one_sentence_with_the_number_of_pairs() -> None:
    told = step(healthy())
    assert (told.result, told.counts, told.next_step, told.commands) == (Result.OK, True, "", ())
    assert told.seen == "12 of 12 pairs between 4 nodes connect: TCP, HTTP, large packets (told by harv41, judged by harv42, 2 s old)"


def test_what_was_not_measured_is_not_claimed() -> None:
    told = healthy()
    for row in told["matrix"]:
        row |= {"http": None, "large": "not_probed"}
    assert step(told).seen.startswith("12 of 12 pairs between 4 nodes connect: TCP (")


def test_a_cut_off_node_is_named_with_its_next_step_and_what_follows_from_it() -> None:
    told = step(sick(findings=(CUT,)))
    assert told.result is Result.CRITICAL
    assert told.seen.startswith(
        "harv43 is cut off from the storage network, its uplink has no carrier; 6 of 12 pairs between nodes fail; "
        "6 findings explained by that (told by harv41"
    )
    assert told.next_step == "look at cables and switch ports of harv43 ens5, ens6; then"
    assert told.commands == ("ip -d link show storage-bo", "curl -s http://172.19.108.41:9811/cluster")


def test_red_pairs_without_an_explanation_are_counted() -> None:
    """By an agent that does not yet fold them into one sentence."""
    document = sick(explained=False)
    del document["sentence"]
    told = step(document)
    assert told.result is Result.CRITICAL
    assert told.seen.startswith("harv41 does not reach harv43; 6 of 12 pairs between nodes fail; 5 more findings: peer-unreachable (")


def test_red_pairs_are_folded_by_the_agents_before_any_judge_has_confirmed_it() -> None:
    told = step(sick(explained=False))
    assert told.result is Result.CRITICAL
    assert told.seen.startswith(
        "harv43 is cut off, its own side looks fine: suspect its switch port or VLAN (seen in one round so far); "
        "6 of 12 pairs between nodes fail (told by harv41"
    )


def test_what_the_one_sentence_does_not_speak_of_is_named_beside_it() -> None:
    full = finding("pool-exhausted", scope="pool", culprit="kube-system/192.168.7.0-28", summary="pool 192.168.7.0/28 has no free address")
    told = step(sick(explained=False, findings=(full,), sentence="harv43 is cut off"))
    assert told.seen.startswith("pool 192.168.7.0/28 has no free address; 6 of 12 pairs between nodes fail (")
    slow = full | {"severity": "warning", "id": "pool-nearly-full"}
    told = step(sick(explained=False, findings=(slow,), sentence="harv43 is cut off"))
    assert told.seen.startswith("harv43 is cut off; 6 of 12 pairs between nodes fail; 1 more finding: pool-nearly-full (")


@pytest.mark.parametrize("said", [None, 7, ["harv43"], "\x1b[2J" * 1000])
def test_a_sentence_that_is_none_harms_nobody(said: Any) -> None:
    told = step(sick() | {"sentence": said})
    assert all(letter.isprintable() for letter in told.seen)
    assert len(told.seen) < 1200


def test_an_ignored_finding_decides_nothing() -> None:
    ignored = CUT | {"ignored": "harv43 is being moved"}
    told = document(cluster(NODES, judgement=Judgement(source="harv42", findings=(ignored,))), wall=0.0)
    assert step(told).result is Result.OK


def test_a_warning_of_any_agent_is_a_warning_here() -> None:
    slow = finding("bond-degraded", "warning", summary="a slave of storage-bo on harv43 is down")
    told = step(document(cluster(NODES, statuses={SICK: status(SICK, slow) | {"verdict": "warning"}}), wall=0.0))
    assert told.result is Result.WARNING
    assert told.seen.startswith("a slave of storage-bo on harv43 is down; 12 of 12 pairs between 4 nodes connect")


def test_an_info_is_no_reason_to_fail() -> None:
    left = finding("nad-leftover", "info", scope="cluster", summary="nothing uses it")
    assert step(document(cluster(NODES, judgement=Judgement(source="harv42", findings=(left,))), wall=0.0)).result is Result.OK


def test_an_agent_that_does_not_answer_is_named_and_makes_it_unknown() -> None:
    told = step(document(cluster(NODES, replies={SICK: SILENT}), wall=0.0))
    assert told.result is Result.UNKNOWN
    assert "no answer from the agent of harv43 (silent)" in told.seen
    assert told.commands[0] == "kubectl -n lhnet-system get pods -o wide -l app.kubernetes.io/name=lhnet-agent"


def test_agents_in_their_first_round_cannot_tell() -> None:
    young = {node: status(node, verdict="unknown") for node in NODES}
    told = step(document(cluster(NODES, statuses=young), wall=0.0))
    assert told.result is Result.UNKNOWN
    assert told.seen.startswith("the agents of harv41, harv42, harv43 and 1 more cannot tell; ")


def test_a_good_verdict_without_one_measured_pair_is_not_believed() -> None:
    for change in ({"stale": True}, {"tcp": None}, {"tcp": "not_probed"}):
        told = healthy()
        told["matrix"] = [row | change for row in told["matrix"]]
        unmeasured = step(told)
        assert unmeasured.result is Result.UNKNOWN
        assert "12 of 12 pairs between nodes not measured lately" in unmeasured.seen
    assert step(healthy(matrix=[])).result is Result.UNKNOWN
    assert "no pair between two nodes is known" in step(healthy(matrix=[])).seen


def test_a_single_node_has_nobody_to_reach() -> None:
    told = step(document(cluster(["harv41"], holder="harv41"), wall=0.0))
    assert (told.result, told.seen.partition(" (")[0]) == (Result.OK, "one node, no other to reach")


def test_whose_word_it_is() -> None:
    alone = document(cluster(NODES, holder=None), wall=0.0)
    assert step(alone, way=PROXIED).seen.endswith("(told by harv41 through the API server, on its own, as no holder of the Lease answers)")
    own = document(cluster(NODES, holder="harv41", judgement=Judgement(source="harv41", age_seconds=0.2)), wall=0.0)
    assert step(own).seen.endswith("(told by harv41)")


def test_agents_that_believe_the_network_is_off_contradict_the_setting() -> None:
    off = {node: status(node, verdict="inactive", mode="off") for node in NODES}
    told = step(document(cluster(NODES, statuses=off), wall=0.0))
    assert told.result is Result.UNKNOWN
    assert told.seen.startswith("the agents say that the storage network is not in use; ")


def test_where_the_network_is_off_nobody_needs_agents() -> None:
    told = step("not asked", reading=Reading(mode=Mode.OFF), agents=())
    assert (told.result, told.seen) == (Result.OK, "not applicable: the storage network is not in use")


def test_without_agents_it_cannot_tell_and_says_how_to_install_them() -> None:
    told = step("", agents=())
    assert (told.result, told.counts) == (Result.UNKNOWN, True)
    assert told.seen == "no agent runs: none was found in namespace lhnet-system"
    assert told.commands[0] == "kubectl apply -k manifests/overlays/harvester"
    assert (Path(__file__).parents[2] / "manifests" / "overlays" / "harvester").is_dir()


def test_without_harvester_the_other_overlay_is_named() -> None:
    bare = survey(agent_pods=known("agent_pods"), setting=known("setting", state=SourceState.ABSENT))
    assert reachability_step(bare, READING, places=PLACES).commands[0] == "kubectl apply -k manifests/overlays/longhorn"


def test_agent_pods_that_wait_are_told() -> None:
    told = step("", agents=(agent(phase="Pending"), agent("harv42", phase="Failed")))
    assert told.seen == "no agent runs: of 2 agent pods none is Running: lhnet-agent-harv41 (Pending), lhnet-agent-harv42 (Failed)"


def test_agents_that_may_not_be_listed_are_not_said_to_be_missing() -> None:
    agents = known("agent_pods", state=SourceState.FORBIDDEN, detail="pods is forbidden")
    told = reachability_step(survey(agent_pods=agents), READING, places=PLACES)
    assert told.seen == "no agent runs: agent pods in lhnet-system could not be listed (pods is forbidden)"


def test_agents_out_of_reach_are_a_port_forward_away() -> None:
    agents = (agent("harv41", ready=False, ports={"http": 9999}), agent("harv42", ready=True, ports={"http": 9999}))
    told = step("the agent on harv42 cannot be asked: silent", agents=agents)
    assert told.seen == "2 agents run, and none could be asked: the agent on harv42 cannot be asked: silent"
    assert told.commands == (
        "kubectl -n lhnet-system port-forward pod/lhnet-agent-harv42 9999:9999",
        "curl -s http://127.0.0.1:9999/cluster",
    )
    assert step("", agents=(replace(agents[0]),)).seen.startswith("1 agent runs, and ")


def test_a_verdict_of_a_newer_agent_is_not_guessed_at() -> None:
    told = step(healthy(verdict="splendid"))
    assert told.result is Result.UNKNOWN
    assert told.seen.startswith("the agents' verdict is splendid, which this version does not know; ")


@pytest.mark.parametrize("odd", [{}, {"verdict": 1}, {"nodes": []}, {"findings": {}}, {"matrix": None}, {"nodes": None}])
def test_an_answer_of_another_shape_is_no_verdict(odd: dict[str, Any]) -> None:
    told = step(healthy(**odd) if odd else {})
    assert told.result is Result.UNKNOWN
    assert "cannot be understood" in told.seen


def test_a_setting_that_is_being_applied_is_asked_about_all_the_same() -> None:
    made = replace(
        survey(agent_pods=known("agent_pods", agent()), setting=known("setting", setting())),
        mesh=known("agents", _answer(sick(findings=(CUT,)), DIRECT)),
    )
    assert reachability_step(made, Reading(mode=Mode.APPLYING), places=PLACES).result is Result.CRITICAL


KEYS = [
    *("verdict", "nodes", "findings", "matrix", "findings_from", "apart", "unreachable", "id", "severity", "scope", "subject", "node"),
    *("pairs", "failing", "stale", "tcp", "http", "summary", "next_step", "explained_by", "ignored", "age_seconds", "harv41"),
]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from(["ok", "critical", "unknown", "silent"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


HEALTHY, BROKEN = healthy(), sick(findings=(CUT,))


@given(told=st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=8), key=st.sampled_from(KEYS), value=ANYTHING)
def test_no_answer_of_anybodys_raises_or_writes_to_the_terminal(told: dict[str, Any], key: str, value: Any) -> None:
    for answer in (told, HEALTHY | {key: value}, BROKEN | {"findings": [CUT | {key: value}]}):
        made = step(answer)
        assert made.seen.isprintable()
        assert made.next_step.isprintable()
        assert all(command.isprintable() for command in made.commands)
