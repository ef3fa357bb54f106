"""Step 4 of Harvester's verification guide: do the pods reach each other over the storage network? The agents measure it all the time.

Judges what one agent answered about all of them. Nothing of that document is trusted to have its shape: what cannot be understood makes
the step unknown, and so does an answer without a single measured pair. No claim is better than the agents' own verdict.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.model.finding import Scope, Severity, Verdict
from agent.model.gathered import Answered, Document, Judgement, Reply, Silence, Unreachable
from agent.model.peers import Mode
from agent.model.records import PodRecord, SourceState
from agent.model.steps import MeshAnswer, Places, Result, Step, Survey
from agent.rules.mode import Reading
from agent.rules.roundup import MESH, sort_findings
from agent.rules.roundup_read import is_finding, number
from agent.rules.steps import apart, few, many, not_applicable, plain
from agent.rules.steps_ready import has_harvester

TITLE = "reachability"
EXPECTED = "every pair of storage pods connects over the storage network, and no agent finds anything wrong"
_INSTALL = "kubectl apply -k manifests/overlays/{}"
_AGENT_PORT = 9811
_RESULTS = {
    Verdict.OK: Result.OK,
    Verdict.UNKNOWN: Result.UNKNOWN,
    Verdict.WARNING: Result.WARNING,
    Verdict.CRITICAL: Result.CRITICAL,
}
_SENTENCE_CHARACTERS = 600
_UNSAID = (None, "not_probed")
_KINDS = (("tcp", "TCP"), ("http", "HTTP"), ("large", "large packets"))


def reachability_step(survey: Survey, reading: Reading, *, places: Places) -> Step:
    """Step 4."""
    if reading.mode in (Mode.OFF, Mode.UNINITIALISED) and not reading.nads:
        return not_applicable(TITLE, why="the storage network is not in use", expected=EXPECTED)
    running = sorted((pod for pod in survey.cluster.agent_pods.items if pod.live), key=lambda pod: (not pod.ready, pod.key))
    if not running:
        return _nobody(survey, places=places)
    for answer in survey.mesh.items:
        told = _read(answer)
        return _unclear(answer) if told is None else _judge(told, answer, places=places)
    return _unasked(running, why=survey.mesh.status.detail, places=places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The parts of an agent's /api/v1/cluster that this step goes by."""

    verdict: str
    source: str
    age_seconds: float | None
    statuses: Mapping[str, Reply]
    apart: frozenset[str]
    findings: tuple[Document, ...]
    sentence: str = ""
    """What all of them come to; older agents do not say it."""
    pairs: int = 0
    failing: int = 0
    unknown: int = 0
    """Pairs whose last result is too old, or that were never asked."""
    kinds: tuple[str, ...] = ()

    @property
    def taking_part(self) -> list[str]:
        return [node for node in self.statuses if node not in self.apart]

    @property
    def silent(self) -> list[str]:
        return [f"{node} ({plain(reply.why)})" for node, reply in self.statuses.items() if isinstance(reply, Unreachable)]


def _read(answer: MeshAnswer) -> _Told | None:
    document = answer.document
    verdict, nodes, findings, matrix = (document.get(key) for key in ("verdict", "nodes", "findings", "matrix"))
    if not (isinstance(verdict, str) and isinstance(nodes, dict) and isinstance(findings, list) and isinstance(matrix, list)):
        return None
    # Every failing pair has a row of its own beside those of the node pairs.
    rows = [row for row in matrix if isinstance(row, dict) and "source_pod" not in row]
    source, apart_ = document.get("findings_from"), document.get("apart")
    return _Told(
        verdict=verdict,
        source=source if isinstance(source, str) else "",
        age_seconds=number(document.get("findings_age_seconds")),
        statuses={plain(str(node)): _reply(told) for node, told in nodes.items()},
        apart=frozenset(apart_) if isinstance(apart_, dict) else frozenset(),
        findings=tuple(one for one in findings if is_finding(one)),
        sentence=plain(said, most=_SENTENCE_CHARACTERS) if isinstance(said := document.get("sentence"), str) else "",
        pairs=sum(_count(row, "pairs") for row in rows),
        failing=sum(_count(row, "failing") for row in rows),
        unknown=sum(_count(row, "pairs") for row in rows if row.get("stale") is True or row.get("tcp") in _UNSAID),
        kinds=tuple(word for key, word in _KINDS if rows and all(row.get(key) == "ok" for row in rows)),
    )


def _reply(told: object) -> Reply:
    if isinstance(told, dict):
        findings = told.get("findings")
        if isinstance(told.get("verdict"), str) and isinstance(findings, list) and all(is_finding(one) for one in findings):
            return Answered(document=told, received_monotonic_seconds=0.0)
        if isinstance(why := told.get("unreachable"), str):
            return Unreachable(silence=Silence.SILENT, why=why)
    return Unreachable(silence=Silence.BAD_ANSWER, why="its answer cannot be understood")


def _count(row: Mapping[str, Any], key: str) -> int:
    return int(number(row.get(key)) or 0)


def _judge(told: _Told, answer: MeshAnswer, *, places: Places) -> Step:
    counting, aside = sort_findings(told.statuses, Judgement(findings=told.findings))
    wrong = [one for one in counting if one["severity"] != Severity.INFO.value]
    explained = sum(one.get("explained_by") is not None and one.get("ignored") is None for one in aside)
    result = _RESULTS.get(Verdict(told.verdict), Result.UNKNOWN) if told.verdict in set(Verdict) else Result.UNKNOWN
    unmeasured = len(told.taking_part) > 1 and told.pairs <= told.unknown
    if result is Result.OK and unmeasured:
        result = Result.UNKNOWN
    said = [told.sentence or _worst(wrong[0])] if wrong and result in (Result.WARNING, Result.CRITICAL) else []
    said += _doubts(told, result) if not said and result is not Result.OK else []
    said.append(_pairs_text(told))
    said += [f"{many(explained, 'finding')} explained by that"] if explained and wrong else []
    more = [one for one in wrong[1:] if not (told.sentence and _is_folded(one, by=wrong[0]))]
    said += [f"{many(len(more), 'more finding')}: {few(dict.fromkeys(plain(str(one['id'])) for one in more))}"] if more else []
    said += [f"no answer from the agent of {few(told.silent)}"] if told.silent else []
    sentence, commands = _next(wrong, told, result, places=places)
    seen = "; ".join(said) + f" ({_whose(told, answer)})"
    if result is Result.OK:
        return Step(title=TITLE, result=result, seen=seen, expected=EXPECTED)
    return Step(
        title=TITLE, result=result, seen=seen, expected=EXPECTED, next_step=sentence, commands=(*commands, plain(answer.way.command))
    )


def _is_folded(one: Document, *, by: Document) -> bool:
    """Whether the agents' one sentence speaks of it, perhaps as the reason."""
    is_reason = one["id"] == by.get("reason") and one.get("culprit") == by.get("culprit")
    return is_reason or one["id"] in MESH or one.get("scope") == Scope.PAIR


def _worst(one: Document) -> str:
    return plain(str(one.get("summary") or f"{one['id']} {one.get('culprit') or ''}"))


def _doubts(told: _Told, result: Result) -> list[str]:
    if told.verdict == Verdict.INACTIVE:
        return ["the agents say that the storage network is not in use"]
    if told.verdict not in set(Verdict):
        return [f"the agents' verdict is {plain(told.verdict, most=40)}, which this version does not know"]
    if result is not Result.UNKNOWN:
        return [f"the agents say {told.verdict}"]
    unsure = [node for node, reply in told.statuses.items() if isinstance(reply, Answered) and reply.document["verdict"] == Verdict.UNKNOWN]
    return [f"the agents of {few(unsure)} cannot tell"] if unsure else []


def _pairs_text(told: _Told) -> str:
    if not told.pairs:
        return "no pair between two nodes is known" if len(told.taking_part) > 1 else "one node, no other to reach"
    if told.failing:
        return f"{told.failing} of {many(told.pairs, 'pair')} between nodes fail"
    if told.unknown:
        return f"{told.unknown} of {many(told.pairs, 'pair')} between nodes not measured lately"
    how = f": {', '.join(told.kinds)}" if told.kinds else ""
    return f"{told.pairs} of {many(told.pairs, 'pair')} between {len(told.taking_part)} nodes connect{how}"


def _whose(told: _Told, answer: MeshAnswer) -> str:
    asked = f"told by {answer.node}{'' if answer.way.direct else ' through the API server'}"
    if told.source == "self" or not told.source:
        return f"{asked}, on its own, as no holder of the Lease answers"
    age = f", {told.age_seconds:.0f} s old" if told.age_seconds is not None and told.age_seconds >= 1 else ""
    return f"{asked}{age}" if told.source == answer.node else f"{asked}, judged by {plain(told.source)}{age}"


def _next(wrong: list[Document], told: _Told, result: Result, *, places: Places) -> tuple[str, tuple[str, ...]]:
    if wrong and result in (Result.WARNING, Result.CRITICAL):
        sentence, commands = apart(str(wrong[0].get("next_step") or ""))
        return sentence or "read what the agents say", commands
    if told.silent:
        return "see why an agent is silent, and what the others say", (_list_agents(places),)
    return "read what the agents say", ()


def _nobody(survey: Survey, *, places: Places) -> Step:
    agents = survey.cluster.agent_pods
    waiting = [f"{pod.name} ({plain(pod.phase or 'no phase')})" for pod in agents.items]
    if agents.status.state is not SourceState.LIVE:
        why = f": agent pods in {places.agent} could not be listed ({plain(agents.status.detail or agents.status.state)})"
    elif waiting:
        why = f": of {many(len(waiting), 'agent pod')} none is Running: {few(waiting)}"
    else:
        why = f": none was found in namespace {places.agent}"
    return _cannot_tell(
        f"no agent runs{why}",
        next_step="install lhnet-agent from its folder, or do step 4 of Harvester's guide by hand",
        commands=(
            _INSTALL.format("harvester" if has_harvester(survey) else "longhorn"),
            f"kubectl get pods -A -l {places.agents_selector}",
        ),
    )


def _unasked(running: Iterable[PodRecord], *, why: str | None, places: Places) -> Step:
    """Neither way to the agents is open from here; a person may still open one."""
    pods = list(running)
    port = pods[0].ports.get("http", _AGENT_PORT)
    # The certificate names the node, not the near end of a port-forward.
    curl, base = "curl -sk" if places.agents_scheme == "https" else "curl -s", f"{places.agents_scheme}://127.0.0.1:{port}"
    return _cannot_tell(
        f"{many(len(pods), 'agent')} run{'s' if len(pods) == 1 else ''}, and none could be asked: {plain(why or 'none was asked')}",
        next_step="forward a port to any of them, and ask it in another terminal",
        commands=(f"kubectl -n {pods[0].namespace} port-forward pod/{pods[0].name} {port}:{port}", f"{curl} {base}/cluster"),
    )


def _unclear(answer: MeshAnswer) -> Step:
    return _cannot_tell(
        f"the agent on {answer.node} gave an answer that cannot be understood (another version?)",
        next_step="read it",
        commands=(plain(answer.way.command),),
    )


def _list_agents(places: Places) -> str:
    return f"kubectl -n {places.agent} get pods -o wide -l {places.agents_selector}"


def _cannot_tell(seen: str, *, next_step: str, commands: tuple[str, ...]) -> Step:
    return Step(title=TITLE, result=Result.UNKNOWN, seen=seen, expected=EXPECTED, next_step=next_step, commands=commands)
