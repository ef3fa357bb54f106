"""Makes what another agent sent fit for a terminal: bounded, printable, and of the expected kinds. Judges nothing of it."""

from typing import Any

from agent.rules.roundup_read import number
from agent.serve.documents import Document

_MAX_CHARACTERS = 2000
"""Of one field of a finding."""
_MAX_EVIDENCE = 10
_TEXTS = ("severity", "id", "scope", "culprit", "summary", "seen", "expected", "next_step", "clears_when", "runbook", "since")


def tame(one: Any) -> Document:
    """A finding that another agent sent, fit for a terminal: no control characters, no endless text, every part of the expected kind."""
    subject, evidence = one.get("subject"), one.get("evidence")
    made: Document = {key: plain(one.get(key) or "") for key in _TEXTS}
    made["subject"] = (
        {str(key): plain(value) for key, value in subject.items() if isinstance(value, str)} if isinstance(subject, dict) else {}
    )
    made["evidence"] = [plain(line) for line in evidence[:_MAX_EVIDENCE]] if isinstance(evidence, list) else []
    made["age_seconds"] = number(one.get("age_seconds")) or 0.0
    return made


def plain(said: object) -> str:
    """Printable and bounded. A terminal obeys escape sequences, whoever wrote them."""
    return "".join(character if character.isprintable() else " " for character in str(said)[:_MAX_CHARACTERS])
