"""Words for curl in an 80-column terminal, worst first, one finding a paragraph. Made from the same view as the JSON."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.clock import age_text, time_of_day_text
from agent.model.finding import ActiveFinding, Scope, Verdict, short
from agent.model.mesh import PairState
from agent.model.peers import Mode
from agent.model.probe import Reason
from agent.model.records import SourceState
from agent.model.view import InspectedPod, NodeView
from agent.rules.roundup import MESH
from agent.rules.verdict import counts
from agent.serve import documents, hostpath
from agent.serve.alike import together
from agent.serve.tame import tame

WIDTH = 80
_INDENT = "  "
_LABEL = 11
_LISTED = 4
_MAX_CAUSES = 3
_MAX_PARAGRAPHS = 20
"""More findings than this are counted, not told: nobody reads a hundred at night, and the JSON has them all."""


def wrap(text: str, *, indent: str = "", hang: str | None = None) -> str:
    """Folded at 80 columns without breaking what gets copied (names, commands with hyphens)."""
    return textwrap.fill(
        text,
        width=WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if hang is None else hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def status(view: NodeView, *, now: float, wall: float) -> str:
    """`/status`: is it the storage network, can I believe this, what broke and what do I do."""
    lines = [_headline(view), wrap(_trust(view, now=now))]
    lines += [wrap(line) for line in _caveats(view)]
    own = [active for active in view.findings if counts(active) and active.finding.id != "sources-stale"]
    explained = [active for active in view.findings if not counts(active)]
    told = together([documents.finding(active, now=now) for active in own])
    for one in told[:_MAX_PARAGRAPHS]:
        lines += ["", paragraph(one)]
    lines += _stale(view, now=now)
    if len(told) > _MAX_PARAGRAPHS:
        lines += ["", f"and {len(told) - _MAX_PARAGRAPHS} more: /api/v1/status has them all"]
    for one in _wider(view, explained):
        lines += ["", paragraph(one)]
    if explained:
        lines += ["", *_explained(explained)]
    return "\n".join(lines) + "\n"


def _wider(view: NodeView, explained: Iterable[ActiveFinding]) -> Sequence[Mapping[str, Any]]:
    """The findings of the cluster that explain what is wrong here, as the holder told them; not one that only repeats our own."""
    causes = {active.finding.explained_by for active in explained}
    own = {(active.finding.id, active.finding.culprit) for active in view.findings if counts(active)}
    heard = view.heard.findings if view.heard else ()
    wider = [one for one in heard if f"{one.get('id')}:{one.get('culprit')}" in causes]
    return [tame(one) for one in wider if (one.get("reason"), one.get("culprit")) not in own][:_MAX_CAUSES]


def _headline(view: NodeView) -> str:
    words = {
        Verdict.INACTIVE: "storage network not in use",
        Verdict.OK: "storage network ok here",
        Verdict.UNKNOWN: "cannot tell yet",
        Verdict.WARNING: "storage network: WARNING here",
        Verdict.CRITICAL: "storage network: CRITICAL here",
    }
    left, right = f"{view.node}: {words[view.verdict]}{_elsewhere(view)}", f"lhnet-agent {view.version}"
    return left + right.rjust(WIDTH - len(left)) if len(left) + len(right) + 2 <= WIDTH else f"{left}  {right}"


def _elsewhere(view: NodeView) -> str:
    """Where the cluster is worse off than this node."""
    heard = view.heard.findings if view.heard else ()
    counting = {one.get("severity") for one in heard if not one.get("explained_by") and not one.get("ignored")}
    if "critical" in counting and view.verdict is not Verdict.CRITICAL:
        return "; critical in the cluster"
    return "; warning in the cluster" if "warning" in counting and view.verdict in (Verdict.OK, Verdict.UNKNOWN) else ""


def _trust(view: NodeView, *, now: float) -> str:
    if view.inspected_monotonic_seconds is None:
        return f"nothing looked at yet: {view.not_ready_because}"
    asked = [state for state in view.mesh.pairs if state.last_probe_monotonic_seconds is not None]
    said = f"looked {age_text(now - view.inspected_monotonic_seconds)} ago at {_many(len(view.inspected), 'pod')}"
    said += f" and {_many(len(view.mesh.pairs), 'pair')}" + (f" ({len(asked)} asked so far)" if len(asked) < len(view.mesh.pairs) else "")
    if view.heard is not None:
        said += f"; cluster view from {view.heard.source}, {age_text(view.heard.age_seconds + now - view.heard_monotonic_seconds)} old"
    return f"{said}; mode {view.mode.value}: {view.mode_why}"


def _caveats(view: NodeView) -> Iterator[str]:
    old = [source for source in view.sources if source.state is SourceState.STALE]
    if old:
        worst = max(old, key=lambda source: source.age_seconds)
        names = ", ".join(_spoken(source.name) for source in old)
        yield f"{names} as known {age_text(worst.age_seconds)} ago: API server out of reach" + (
            f" ({worst.detail})" if worst.detail else ""
        )
    never = [source for source in view.sources if source.state in (SourceState.NEVER, SourceState.FORBIDDEN)]
    for source in never:
        said = "may not be read" if source.state is SourceState.FORBIDDEN else "has never been read"
        yield f"{_spoken(source.name)} {said}" + (f": {source.detail}" if source.detail else "")
    if not view.ready:
        yield f"not ready: {view.not_ready_because}"
    if view.held_back:
        yield (f"{_many(view.held_back, 'finding')} held back while the setting is being applied ({age_text(view.applying_seconds)})")
    if view.mode is Mode.ON and not view.inspected and view.ready:
        yield "a witness: it stores nothing, and no storage pod is expected" if view.witness else "no storage pod runs on this node"
    yield from view.notes


def _spoken(source: str) -> str:
    return source.replace("_", " ")


def _stale(view: NodeView, *, now: float) -> list[str]:
    """Sources grow old together, with the one API server: one paragraph for all of them."""
    old = [active for active in view.findings if counts(active) and active.finding.id == "sources-stale"]
    if not old:
        return []
    first = documents.finding(old[0], now=now)
    others = [_spoken(active.finding.subject.source or "") for active in old[1:]]
    first["evidence"] = [*first["evidence"], *([f"the same of {', '.join(others)}"] if others else [])]
    return ["", paragraph(first)]


def paragraph(one: Mapping[str, Any]) -> str:
    """One finding as it is told to a person, from its JSON: of this agent, or as another one answered it."""
    left = f"{str(one['severity']).upper()}  {one['id']}  {_title(one)}"
    right = f"since {str(one.get('since') or '')[11:]} ({age_text(float(one.get('age_seconds') or 0))})"
    head = left + right.rjust(WIDTH - len(left)) if len(left) + len(right) + 2 <= WIDTH else f"{left}\n{_INDENT}{right}"
    parts = [head, wrap(f"{one.get('summary') or one['id']}.", indent=_INDENT)]
    parts += [field("seen", str(one["seen"]))] if one.get("seen") else []
    parts += [field("", str(evidence)) for evidence in one.get("evidence") or ()]
    parts += [field("expected", str(one["expected"]))] if one.get("expected") else []
    parts += _steps(str(one.get("next_step") or ""))
    parts += [field(label, str(one[key])) for label, key in (("clears", "clears_when"), ("runbook", "runbook")) if one.get(key)]
    parts += [field("explained", f"by {one['explained_by']}")] if one.get("explained_by") else []
    parts += [field("ignored", str(one["ignored"]))] if one.get("ignored") else []
    return "\n".join(parts)


def _title(one: Mapping[str, Any]) -> str:
    """The culprit, short: full names stand in the commands below."""
    node = (one.get("subject") or {}).get("node")
    culprit = str(one.get("culprit") or "")
    return f"{short(culprit)} on {node}" if one.get("scope") == Scope.POD and node else culprit


def _steps(next_step: str) -> list[str]:
    """The next step; commands (in backticks) whole, each on a line of its own, to be copied."""
    lines: list[str] = []
    for i, part in enumerate(next_step.split("`")):
        text = part.strip(" ;,")
        if text:
            label = "do next" if not lines else ""
            lines.append(f"{_INDENT}{label.ljust(_LABEL)}{text}" if i % 2 else field(label, text))
    return lines


def short_name(finding: str) -> str:
    """`<id>:<culprit>` for a line to read: of a pod's long name only so much as tells it."""
    head, slash, name = finding.rpartition("/")
    return f"{head}{slash}{short(name)}" if slash else finding


def field(label: str, text: str) -> str:
    """A labelled line, folded under itself."""
    return wrap(text, indent=f"{_INDENT}{label.ljust(_LABEL)}", hang=" " * (_LABEL + len(_INDENT)))


def _explained(findings: Iterable[ActiveFinding]) -> list[str]:
    lines: dict[str, dict[str, list[str]]] = {}
    ignored = []
    for active in findings:
        one = active.finding
        if one.ignored:
            ignored.append(wrap(f"ignored: {one.id} {one.culprit} ({one.ignored})", hang=_INDENT))
        elif one.explained_by:
            lines.setdefault(one.explained_by, {}).setdefault(one.id, []).append(one.culprit)
    told = [
        wrap(
            f"explained by {short_name(cause)}{_where(cause)}: "
            + "; ".join(f"{len(culprits)} {name} ({_few(sorted(set(culprits)))})" for name, culprits in by_id.items()),
            hang=_INDENT,
        )
        for cause, by_id in lines.items()
    ]
    return told + ignored


def _few(culprits: Sequence[str]) -> str:
    more = len(culprits) - _LISTED
    return ", ".join(culprits[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _where(cause: str) -> str:
    """What the holder found stands on no node's own page."""
    return " (see /cluster)" if cause.partition(":")[0] in MESH else ""


def peers(view: NodeView, *, now: float) -> str:
    """`/peers`: this node's rows of the mesh, failing ones first."""
    pairs = sorted(view.mesh.pairs, key=lambda state: (not state.failing, state.tcp is Reason.OK, state.pair.peer.node or ""))
    failing = sum(state.failing for state in pairs)
    head = f"{view.node} asks {_many(len(pairs), 'pair')}, {failing} failing; round {view.mesh.round}"
    head += f", every pair within {view.mesh.coverage_seconds:.0f} s" if view.mesh.coverage_seconds else ""
    if not pairs:
        return f"{head}\n"
    rows: list[tuple[str, ...]] = [("from", "to", "peer", "role", "tcp", "http", "ms", "asked")]
    rows += [_row(state, now=now) for state in pairs]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [wrap(f"{state.pair.peer.key}: {state.detail}", hang=_INDENT) for state in pairs if state.failing and state.detail]
    return "\n".join([head, "", *table, *([""] if notes else []), *notes[:_MAX_PARAGRAPHS]]) + "\n"


def _row(state: PairState, *, now: float) -> tuple[str, ...]:
    asked = state.last_probe_monotonic_seconds
    return (
        str(state.pair.source.address),
        str(state.pair.peer.address),
        state.pair.peer.node or "?",
        state.pair.peer.role.value,
        _word(state.tcp),
        _word(state.http),
        f"{state.rtt_seconds * 1000:.2f}" if state.rtt_seconds is not None else "-",
        f"{age_text(now - asked)} ago" if asked is not None else "not yet",
    )


def _word(reason: Reason | None) -> str:
    return "-" if reason is None else reason.value


def interfaces(view: NodeView) -> str:
    """`/interfaces`: asked, granted, and what the kernel says, pod by pod."""
    if not view.inspected:
        return f"{view.node}: no storage pod runs on this node\n"
    bad = {active.finding.subject.pod: active.finding.severity for active in view.findings if active.finding.scope == "pod"}
    blocks = [_pod(one, bad.get(one.pod.key)) for one in view.inspected]
    blocks += ["\n".join(hostpath.lines(view.host_path))] if view.host_path is not None else []
    return "\n\n".join(blocks) + "\n"


def _pod(one: InspectedPod, severity: str | None) -> str:
    pod, grant = one.pod, one.pod.grant
    judged = one.facts is not None and grant is not None
    state = severity.upper() if severity else ("OK" if judged else "UNKNOWN")
    lines = [f"{pod.key}  {pod.role.value}  {state}"]
    lines.append(field("asked", ", ".join(f"{one.nad} as {one.interface or pod.interface}" for one in pod.requests)))
    mtu = f"mtu {grant.mtu_bytes}" if grant and grant.mtu_bytes else ""
    nothing = "nothing that could be read" if pod.problems else "nothing: no entry in network-status"
    lines.append(field("granted", "  ".join(filter(None, (str(grant.address), grant.mac, mtu))) if grant else nothing))
    if one.facts is None:
        lines.append(field("kernel", one.why_not or "its network namespace was not found"))
    else:
        lines += _kernel(one)
    lines += [field("problem", problem) for problem in pod.problems]
    return "\n".join(lines)


def _kernel(one: InspectedPod) -> list[str]:
    facts = one.facts
    if facts is None:
        return []
    kernel = documents.kernel(one.pod, facts)
    if not kernel["present"]:
        lines = [field("kernel", f"no {one.pod.interface}; there are {', '.join(kernel['links'])}")]
    else:
        up = ("up" if kernel["up"] else "DOWN") + (", carrier" if kernel["carrier"] else ", NO CARRIER")
        addresses = ", ".join(kernel["addresses"]) or "no address"
        lines = [field("kernel", f"{addresses}  {kernel['mac']}  mtu {kernel['mtu_bytes']}  {up}")]
    routes = [_route(route) for route in kernel["routes"]]
    lines += [field("routes" if i == 0 else "", route) for i, route in enumerate(routes)]
    counters = kernel["counters"]
    if counters:
        told = ", ".join(
            f"{short} {counters[way]['errors']} errors {counters[way]['drops']} drops"
            for short, way in (("rx", "receive"), ("tx", "transmit"))
        )
        lines.append(field("counters", told))
    return lines


def _route(route: documents.Document) -> str:
    words = [route["type"] if route["type"] != "unicast" else "", route["to"]]
    for key, word in (("via", "via"), ("device", "dev"), ("source", "src")):
        words += [word, route[key]] if route[key] else []
    return " ".join(filter(None, words))


def history(view: NodeView, *, now: float) -> str:
    """`/history`: what changed, newest first, then kept failures."""
    if not view.history and not view.failures:
        return f"{view.node}: nothing has changed since the agent started {age_text(now - view.started_monotonic_seconds)} ago\n"
    lines = [f"{view.node}: {_many(len(view.history), 'change')}, newest first"]
    for entry in view.history:
        head = f"{time_of_day_text(entry.wall_seconds)} ({age_text(now - entry.monotonic_seconds)} ago)  {entry.change}  {entry.finding.id}"
        lines += [head, wrap(entry.finding.summary, indent=_INDENT)]
    if view.failures:
        lines += ["", f"{_many(len(view.failures), 'failed probe')} kept"]
        for kept in view.failures[:_MAX_PARAGRAPHS]:
            failure = kept.failure
            said = f"{time_of_day_text(failure.wall_seconds)} ({age_text(now - failure.monotonic_seconds)} ago)  {failure.kind.value} "
            said += f"{kept.pair.source.address} to {kept.pair.peer.address} on {kept.pair.peer.node}: {failure.reason.value}"
            lines.append(wrap(said + (f" ({failure.detail})" if failure.detail else ""), hang=_INDENT))
    return "\n".join(lines) + "\n"


def _many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
