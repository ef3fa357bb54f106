"""`lhnet-agent explain-event`: says why a pod sandbox failed, from the message alone. Needs no cluster, no network and no rights.

Input may be anything that somebody pasted or piped: it is read up to a bound and never refused for its bytes.
"""

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from typing import BinaryIO

from agent.cli.parser import Commands, add_output, usage
from agent.model.events import Explanation
from agent.rules.sandbox import explain

MAX_MESSAGE_BYTES = 4 << 20
"""Most that is read of one message: etcd refuses objects far below it."""
WIDTH = 80


class BadLine(Exception):
    """A line of JSON lines that holds no message, in words that fit behind `line N:`."""


def register(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "explain-event",
        help="say why a pod sandbox failed, from an event's message, offline",
        description="Explains the message of an event such as FailedCreatePodSandBox: cause, network, addresses and the next step. "
        "Reads standard input without MESSAGE or with `-`.",
    )
    parser.add_argument("message", nargs="?", metavar="MESSAGE", help="the message, or `-` for standard input (with --jsonl: a file)")
    parser.add_argument("--jsonl", action="store_true", help='read lines {"message": …}, write one JSON line for each')
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.message in (None, "-"):
        if args.message is None and sys.stdin is not None and sys.stdin.isatty():
            usage("lhnet-agent explain-event: MESSAGE is missing: give it as one argument, or `-` to read standard input")
        source: BinaryIO | None = sys.stdin.buffer if sys.stdin is not None else None
        if source is None:
            usage("lhnet-agent explain-event: MESSAGE is missing and there is no standard input")
        return _lines(source) if args.jsonl else _one(_decoded(source.read(MAX_MESSAGE_BYTES)), args.output)
    if not args.jsonl:
        return _one(args.message, args.output)
    try:
        with open(args.message, "rb") as file:
            return _lines(file)
    except OSError as error:
        usage(f"lhnet-agent explain-event: --jsonl {args.message}: {error.strerror or error}")


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return data.decode(encoding, errors="replace")


def _one(message: str, output: str) -> int:
    answer = explain(message)
    _print(json.dumps(as_json(answer), indent=2) if output == "json" else as_text(answer))
    return 0


def _lines(source: BinaryIO) -> int:
    """One JSON line for each line that is not blank; a bad one is told in its place and the rest goes on. 1 if any was bad."""
    bad = False
    for number, line in enumerate(_bounded_lines(source), start=1):
        if line is not None and not line.strip():
            continue
        try:
            answer = as_json(explain(_message_of(line)))
        except BadLine as error:
            bad = True
            answer = {"error": f"line {number}: {error}"}
        _print(json.dumps(answer), flush=True)
    return 1 if bad else 0


def _bounded_lines(source: BinaryIO) -> Iterator[bytes | None]:
    """Lines as they come; None for one that is longer than `MAX_MESSAGE_BYTES`, whose rest is skipped."""
    while line := source.readline(MAX_MESSAGE_BYTES):
        if len(line) < MAX_MESSAGE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = source.readline(MAX_MESSAGE_BYTES)
        yield None


def _message_of(line: bytes | None) -> str:
    if line is None:
        raise BadLine(f"longer than {MAX_MESSAGE_BYTES} bytes")
    try:
        value = json.loads(line.decode("utf-8-sig", errors="replace"))
    except RecursionError:
        raise BadLine("nested too deeply") from None
    except ValueError as error:
        raise BadLine(f"not JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("message"), str):
        raise BadLine('expected an object with a text under "message"')
    return str(value["message"])


def as_json(answer: Explanation) -> dict[str, object]:
    """Contract §1. The next step is one plain text: the backticks around commands are for who lays it out."""
    return answer.as_dict() | {"next_step": answer.next_step.replace("`", "")}


def as_text(answer: Explanation) -> str:
    """The answer for people: cause and sentence, what the message gives, and what to do, in 80 columns."""
    network = f"{answer.network} ({answer.network_kind})" if answer.network else str(answer.network_kind)
    span = " – ".join(address for address in (answer.first, answer.last) if address)
    pairs = (
        ("pod", answer.pod),
        ("network", network if answer.network or answer.network_kind != "unknown" else "not named in the message"),
        ("range", answer.range),
        ("searched", span if span and answer.range != f"{answer.first}-{answer.last}" else None),
        ("excludes", None if answer.excludes is None else ", ".join(answer.excludes) or "none"),
        ("note", "the message is cut off; what was lost is not shown" if answer.truncated else None),
    )
    lines = _wrapped(f"{answer.cause}: {answer.summary}", first="", rest="  ")
    for label, value in pairs:
        if value:
            lines += _labelled(label, value)
    return "\n".join(lines + _steps(answer.next_step))


def _steps(next_step: str) -> list[str]:
    """Commands whole, each on a line of its own: a fold would be copied with them."""
    lines: list[str] = []
    for number, part in enumerate(next_step.split("`")):
        if text := part.strip(" ;"):
            label = "" if lines else "do next"
            lines += [f"  {label:<10} {text}"] if number % 2 else _labelled(label, text)
    return lines


def _labelled(label: str, text: str) -> list[str]:
    return _wrapped(text, first=f"  {label:<10} ", rest=" " * 13)


def _wrapped(text: str, *, first: str, rest: str) -> list[str]:
    """Words that are longer than a line stay whole: they get copied."""
    return textwrap.wrap(
        text, width=WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]


def _print(text: str, *, flush: bool = False) -> None:
    """A terminal that cannot show a dash gets a question mark, never an exception."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding) + "\n")
    if flush:
        sys.stdout.flush()
