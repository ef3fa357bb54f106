"""What the steps of `check` and `preflight` have in common: how to say that something could not be read, and how to name a few of many.

A step never guesses: a source that was not read makes it `unknown` with the reason, unless what was read is bad enough already.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.model.cluster import Known
from agent.model.records import SourceState
from agent.model.steps import Result, Step, worst

NAMED = 3
"""So many of a kind are named, the rest is counted: a step is a paragraph, not a list of a thousand pods."""
TEXT_CHARACTERS = 300
NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that keeps a step from being ok."""

    result: Result
    what: str
    next_step: str = ""
    commands: tuple[str, ...] = ()


def plain(text: str, *, most: int = TEXT_CHARACTERS) -> str:
    """Somebody else's text on one line, printable and cut."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def apart(next_step: str) -> tuple[str, tuple[str, ...]]:
    """The words of a next step, and its commands, which stand in backticks."""
    parts = plain(next_step, most=4 * TEXT_CHARACTERS).split("`")
    sentence = "; ".join(text for part in parts[::2] if (text := part.strip(" ;:")))
    return sentence, tuple(parts[1::2])


def few(names: Iterable[str], *, most: int = NAMED) -> str:
    """`a, b, c and 4 more`."""
    every = list(names)
    named = ", ".join(every[:most])
    return f"{named} and {len(every) - most} more" if len(every) > most else named


def many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def why_not(known: Known[Any], *, what: str) -> str:
    """Why there is nothing to judge, in words."""
    detail = f": {plain(known.status.detail)}" if known.status.detail else ""
    match known.status.state:
        case SourceState.FORBIDDEN:
            return f"{what} may not be read{detail}"
        case SourceState.ABSENT:
            return f"the cluster has no {what}"
        case _:
            return f"{what} could not be read{detail}"


def unread(known: Known[Any], *, what: str, command: str = "") -> Trouble | None:
    """The trouble that a source makes by itself: not read, or some of its objects not understood."""
    if known.status.state is not SourceState.LIVE:
        text = why_not(known, what=what)
        next_step = "use credentials that may list them, or look by hand" if known.status.state is SourceState.FORBIDDEN else ""
        return Trouble(result=Result.UNKNOWN, what=text, next_step=next_step or "look by hand", commands=(command,) if command else ())
    if known.skipped:
        return Trouble(result=Result.UNKNOWN, what=f"some {what} could not be understood: {plain(few(known.skipped))}")
    return None


def judged(title: str, *, fine: str, expected: str, troubles: Sequence[Trouble], note: str = "") -> Step:
    """A step from its troubles, worst first: the first of them gives the next step, all are told (the like ones are to be put together
    by the caller)."""
    if not troubles:
        return Step(title=title, result=Result.OK, seen=fine, expected=expected)
    ranked = sorted(troubles, key=lambda one: -one.result.rank)
    more = f"; and {len(ranked) - NAMED} more" if len(ranked) > NAMED else ""
    return Step(
        title=title,
        result=worst(one.result for one in ranked),
        seen="; ".join(one.what for one in ranked[:NAMED]) + more + (f" ({note})" if note else ""),
        expected=expected,
        next_step=ranked[0].next_step,
        commands=ranked[0].commands,
    )


def not_applicable(title: str, *, why: str, expected: str) -> Step:
    return Step(title=title, result=Result.OK, seen=f"{NOT_APPLICABLE}: {why}", expected=expected)


def softened(troubles: Iterable[Trouble]) -> list[Trouble]:
    """Critical becomes a warning: for what is expected to be so just now."""
    return [
        Trouble(result=Result.WARNING, what=one.what, next_step=one.next_step, commands=one.commands)
        if one.result is Result.CRITICAL
        else one
        for one in troubles
    ]
