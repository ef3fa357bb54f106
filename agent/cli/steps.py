"""What `check` and `preflight` share: their flags, one survey of the cluster, and how a report is printed.

Reads only; asks the API server and, through it, agents. Progress goes to standard error and only where somebody looks at it.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from agent.cli.parser import Parser, add_output, usage

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.edge.kube import Access
    from agent.edge.survey import Surveyor
    from agent.model.steps import Places, Report, Step, Survey

WIDTH = 80
_TEXT_AT = 25
_COMMAND_AT = 4
_LONGEST_WORD = WIDTH - _TEXT_AT - 3
_LONG = re.compile(rf"[\w./:%-]{{{_LONGEST_WORD},}}")
_WORDS = {"ok": "ok", "warning": "WARN", "critical": "FAIL", "unknown": "?"}
_COLOURS = {"warning": "33", "critical": "1;31", "unknown": "36"}
EXIT_CODES = (
    "Exit status: 0 ok, 1 warning, 2 critical, 3 could not tell (of several the worst, in the order critical, warning, could not tell)."
)


def add_step_flags(parser: Parser) -> None:
    from agent.config import add_flags  # noqa: PLC0415  # keeps --help of other commands quick

    add_flags(parser)
    parser.add_argument("--kubeconfig", metavar="FILE", help="instead of $KUBECONFIG, ~/.kube/config or the service account")
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    add_output(parser)


def settings_of(args: argparse.Namespace, *, command: str) -> "Settings":
    """Wrong settings end the command with 64 and one line."""
    from agent.config import ConfigError, load_from_args  # noqa: PLC0415

    try:
        return load_from_args(args)[0]
    except ConfigError as error:
        usage(f"lhnet-agent {command}: {error}")


def places_of(settings: "Settings") -> "Places":
    from agent.model.steps import Places  # noqa: PLC0415

    spaces = settings.namespaces
    return Places(
        longhorn=spaces.longhorn,
        harvester=spaces.harvester,
        whereabouts=spaces.whereabouts,
        monitoring=spaces.monitoring,
        agent=spaces.agent,
        interface=settings.interface,
        agents_selector=settings.agents_selector,
        agents_scheme=settings.agents_client.scheme,
    )


def run_survey(
    args: argparse.Namespace, settings: "Settings", ask: "Callable[[Surveyor], Awaitable[Survey]]", *, command: str
) -> "Survey | None":
    """None if the API server cannot be asked at all, which one line on standard error then says; a script gets a document all the same."""
    from agent.edge.kube import KubeError  # noqa: PLC0415

    try:
        return asyncio.run(_survey(_access(args, settings), settings, ask))
    except KubeError as error:
        why = f"the API server cannot be asked: {error}"
        sys.stderr.write(f"lhnet-agent {command}: {why}\n")
        if args.output == "json":
            sys.stdout.write(json.dumps({"schema": 1, "result": "unknown", "steps": [], "error": why}, ensure_ascii=False) + "\n")
        return None


async def _survey(access: "Access", settings: "Settings", ask: "Callable[[Surveyor], Awaitable[Survey]]") -> "Survey":
    from agent.edge.kube import KubeClient  # noqa: PLC0415
    from agent.edge.survey import Surveyor  # noqa: PLC0415
    from agent.edge.survey_asker import AgentsAsker, Terms, may_reach_nodes  # noqa: PLC0415

    terms = settings.agents_client
    asked = Terms(scheme=terms.scheme, ca_file=terms.ca_file, username=terms.username, password_file=terms.password_file)
    direct = may_reach_nodes(access)
    async with KubeClient(access=access) as client, AgentsAsker(client=client, terms=asked, direct=direct) as agents:
        surveyor = Surveyor(
            client=client,
            agents=agents,
            places=places_of(settings),
            clock=time.monotonic,
            say=progress(sys.stderr),
        )
        return await ask(surveyor)


def _access(args: argparse.Namespace, settings: "Settings") -> "Access":
    """Raises NoAccess. May run an exec plugin of the kubeconfig, so it is called before the loop starts."""
    from agent.edge.kube import KubeconfigAccess, find_access  # noqa: PLC0415

    path = args.kubeconfig or settings.kubeconfig
    if args.context is not None:
        usual = Path(os.environ.get("HOME") or "/nonexistent") / ".kube" / "config"
        return KubeconfigAccess(path=path or os.environ.get("KUBECONFIG") or str(usual), context=args.context)
    return find_access(kubeconfig=path, environ=os.environ, clock=time.monotonic)


def progress(stream: TextIO) -> Callable[[str], None]:
    """Says what is being done, to a person at a terminal and to nobody else."""
    if not stream.isatty():
        return lambda _: None

    def say(text: str) -> None:
        stream.write(f"{text} …\n")
        stream.flush()

    return say


def show(report: "Report", *, output: str) -> int:
    """Print it and give the exit status."""
    if output == "json":
        sys.stdout.write(json.dumps(report.as_dict(), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(as_text(report, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return report.result.exit_status


def as_text(report: "Report", *, colour: bool = False) -> str:
    lines: list[str] = []
    for number, step in enumerate(report.steps, start=1):
        lines += _step(number, step, colour=colour)
    left, right = last_line(report), f"(exit {report.result.exit_status})"
    return "\n".join([*lines, f"{left}{right:>{WIDTH - len(left)}}"]) + "\n"


def _step(number: int, step: "Step", *, colour: bool) -> list[str]:
    word = _WORDS[step.result] if step.counts else "-"
    painted = f"\x1b[{_COLOURS[step.result]}m{word}\x1b[0m" if colour and step.counts and step.result in _COLOURS else word
    lines = _fold(step.seen)
    lines[0] = f"{number:<3}{step.title:<15}{painted}{' ' * (7 - len(word))}{lines[0].lstrip()}"
    if step.result == "ok":
        return lines
    lines += _fold(f"expected: {step.expected}")
    if step.next_step or step.commands:
        lines += _fold(f"→ {step.next_step or 'see for yourself'}{':' if step.commands else ''}", hang="  ")
    return lines + [" " * _COMMAND_AT + command for command in step.commands]


def _shortened(match: "re.Match[str]") -> str:
    """A name that fits no line: without its namespace, then cut. The JSON and the commands have it whole."""
    word = match[0].rstrip(":.")
    name = word.rpartition("/")[2] or word
    return (name if len(name) < _LONGEST_WORD else f"{name[:40]}…") + match[0][len(word) :]


def _fold(text: str, *, hang: str = "") -> list[str]:
    indent = " " * _TEXT_AT
    return textwrap.wrap(
        _LONG.sub(_shortened, text),
        width=WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + hang,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [indent]


def last_line(report: "Report") -> str:
    total = len(report.steps)
    by_result: dict[str, int] = {}
    for step in report.steps:
        if step.counts:
            by_result[step.result] = by_result.get(step.result, 0) + 1
    words = {
        "critical": "failed",
        "warning": "with a warning",
        "unknown": "could not be told",
        "ok": "passed",
    }
    told = [f"{by_result[key]} {word}" for key, word in words.items() if by_result.get(key)]
    quiet = sum(not step.counts for step in report.steps)
    if report.result == "ok":
        told += [f"{quiet} not asked"] if quiet else []
    else:
        told = [part for part in told if not part.endswith(words["ok"])]
    first, *rest = told or ["no step counts"]
    head, _, tail = first.partition(" ")
    sentence = f"{head} of {total} steps {tail}" if told else first
    return f"{report.result}: {', '.join([sentence, *rest])}"


def reading_of(survey: "Survey", settings: "Settings") -> Any:
    from agent.rules.mode import read_mode  # noqa: PLC0415

    return read_mode(survey.cluster, interface=settings.interface)


def name_nads(settings: "Settings") -> Callable[[Any], Any]:
    """Which NADs the survey has to read, once it knows the settings and the pods."""
    from agent.rules.mode import read_mode  # noqa: PLC0415

    return lambda facts: tuple(read_mode(facts, interface=settings.interface).nads)
