"""How one row of the table of causes compares: phrases on a text without blanks, and what else the row wants to be true.

Comparing is finding literal words, never an open pattern, so that no message can make it slow.
"""

from collections.abc import Callable
from dataclasses import dataclass

from agent.model.events import Cause, NetworkKind
from agent.rules.sandbox_text import squeeze

GAP_CHARS = 240
"""Farthest that the parts of one phrase may stand apart: names, addresses and one wrapper between them, not another sentence."""
CUT_CHARS = 18
"""Shortest beginning of a phrase that counts where the text was cut in the middle of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What the rows may look at."""

    core: str
    """`Text.core`."""
    kind: NetworkKind
    delegated: bool
    """Multus had found its configuration and was calling a plugin."""
    wrapped: bool
    """The text begins as a sandbox failure does (kubelet, runtime or Multus around the reason)."""

    @property
    def secondary(self) -> bool:
        return self.kind in (NetworkKind.STORAGE, NetworkKind.RWX, NetworkKind.SECONDARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    cause: Cause
    phrases: tuple[tuple[str, ...], ...]
    when: Callable[[Signs], bool] | None = None

    def fits(self, signs: Signs) -> bool:
        return (self.when is None or self.when(signs)) and any(_stands(signs.core, parts) for parts in self.phrases)

    def fits_cut(self, signs: Signs) -> bool:
        """The text ends within one of the phrases."""
        return (self.when is None or self.when(signs)) and any(
            _ends_within(signs.core, parts[0]) for parts in self.phrases if len(parts) == 1
        )


def row(cause: Cause, *phrases: str, when: Callable[[Signs], bool] | None = None) -> Row:
    """A phrase is written as it reads; `…` stands for a few words in between, before a quotation mark
    for one name. Blanks and case do not matter."""
    return Row(cause=cause, phrases=tuple(tuple(squeeze(part) for part in phrase.split("…")) for phrase in phrases), when=when)


def _stands(core: str, parts: tuple[str, ...]) -> bool:
    start = core.find(parts[0])
    while start >= 0:
        end = start + len(parts[0])
        for part in parts[1:]:
            found = core.find(part, end, end + GAP_CHARS + len(part))
            if found < 0 or (part[0] == '"' and core.find('"', end, found) >= 0):
                break
            end = found + len(part)
        else:
            return True
        start = core.find(parts[0], start + 1)
    return False


def _ends_within(core: str, phrase: str) -> bool:
    found = phrase.find(core[-CUT_CHARS:]) if len(core) >= CUT_CHARS else -1
    return found >= 0 and found + CUT_CHARS < len(phrase) and core.endswith(phrase[: found + CUT_CHARS])


def own_words_of_multus(signs: Signs) -> bool:
    return "multus:" in signs.core and not signs.delegated


def on_secondary(signs: Signs) -> bool:
    return signs.secondary


def not_wrapped(signs: Signs) -> bool:
    return not signs.wrapped


def warning_about_default(signs: Signs) -> bool:
    return not signs.wrapped and signs.kind is NetworkKind.DEFAULT


def not_of_multus(signs: Signs) -> bool:
    return not own_words_of_multus(signs)
