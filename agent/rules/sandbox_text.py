"""Prepares a sandbox message for reading: undoes what terminals, quoting, posters and truncation did to it.

The texts of kubelet, runtimes, Multus and plugins reach people wrapped in the middle of words, quoted twice, in table columns and cut off.
So every comparison runs on a text without any blanks, in lower case, with one kind of quote; a mask wrapped as `0xf` + `f` then reads as
written. Refuses to judge, and refuses to read without bound: a message is cut before anything else looks at it.
"""

import re
from dataclasses import dataclass
from html import unescape

MAX_RAW_CHARS = 262_144
"""Longest text looked at: far beyond real events (a few kB),
short enough to be read at once."""
MAX_DENSE_CHARS = 32_768
"""Longest text matched, after byte dumps are gone."""
MAX_ROWS = 64
"""Most rows of a pasted table that are read."""

_ANSI = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_BYTE_DUMP = re.compile(r"(StdinData:\s{0,4})\[[\d\s]{8,}\]?", re.IGNORECASE)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\xa0\u200b-\u200f\u2028-\u202f\u2060\ufeff\ufffd\ud800-\udfff\u2500-\u257f]+")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_LOOKALIKES = {ord(quote): '"' for quote in "'`‘’“”„‟´"} | {ord(dash): "-" for dash in "‐‑‒–—−"} | {ord("…"): "..."}
_HEADER = re.compile(r"\b(Normal|Warning)\s{1,64}([A-Z][A-Za-z]{3,63})\s{1,64}(?=\S)")
_COLUMNS = re.compile(
    r"^(?:Normal|Warning)\s{1,64}[A-Za-z]{1,64}\s{1,64}"
    r"(?:(?:\d[\dywdhms.]{0,15}|<\w{1,16}>)(?:\s{1,64}\(x\d{1,9} over \S{1,16}\))?\s{1,64}[\w.-]{1,64}(?:,\s?\S{1,253})?\s{1,64}"
    r"|[a-z]{1,64}/\S{1,253}\s{1,64})(?=\S)"
)
"""Type, reason, and then either age and component (`describe`) or the object (`get events`)."""
_CLEAN_UP = re.compile(r",?failedtocleanupsandboxcontainer")
_DUMP_AFTER = re.compile(r"\"?:?stdindata:\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One message in the forms that rules need. `dense` and `low` have equal length and equal positions."""

    readable: str
    """Byte dumps gone, blanks single: for people, and for the few texts in which a blank separates."""
    dense: str
    """No blanks at all, one kind of quote, escapes undone."""
    low: str
    """`dense` in ASCII lower case."""
    core: str
    """The part of `low` that holds the reason: without clean-up clauses, shim headers and configuration dumps."""
    cut: bool
    """We did not read all of it."""

    @property
    def core_start(self) -> int:
        """Where `core` begins in `dense`."""
        return self.low.find(self.core) if self.core else 0


def prepare(message: str) -> Text:
    """Every form of one message. Linear in its length; never raises."""
    raw, cut = shorten(message, limit=MAX_RAW_CHARS)
    raw = _ANSI.sub("", raw)
    raw = _BYTE_DUMP.sub(r"\1[] ", raw)
    if "&" in raw:
        raw = unescape(raw)
    raw = _unescape(raw)
    dense, cut_again = shorten(_BLANKS.sub("", raw.translate(_LOOKALIKES)), limit=MAX_DENSE_CHARS)
    low = dense.translate(_ASCII_LOWER)
    return Text(
        readable=_BLANKS.sub(" ", raw).strip(),
        dense=dense,
        low=low,
        core=_core(low),
        cut=cut or cut_again,
    )


def shorten(text: str, *, limit: int) -> tuple[str, bool]:
    """The text, or its beginning and end where it is longer than `limit`: the reason stands at one of the two. True if it was cut."""
    if len(text) <= limit:
        return text, False
    tail = limit // 3
    return f"{text[: limit - tail]} ... {text[-tail:]}", True


def keepable(message: str, *, limit: int) -> str:
    """The message as it came, for people: byte dumps gone, blanks single, at most `limit` characters."""
    raw, _ = shorten(message, limit=MAX_RAW_CHARS)
    text, _ = shorten(_BLANKS.sub(" ", _BYTE_DUMP.sub(r"\1[] ", raw)).strip(), limit=limit - len(" ... "))
    return text


def squeeze(phrase: str) -> str:
    """A phrase of a rule, in the form in which `Text.low` is."""
    return _BLANKS.sub("", phrase.translate(_LOOKALIKES)).translate(_ASCII_LOWER)


def rows(message: str) -> tuple[str, ...]:
    """The messages of the rows of a pasted `kubectl describe` or `kubectl get events` table; the text itself if it is none."""
    text, _ = shorten(message, limit=MAX_RAW_CHARS)
    starts = [match.start() for match in _HEADER.finditer(text)][:MAX_ROWS]
    if not starts:
        return (message,)
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    before = text[: starts[0]].strip()
    return (*([before] if before else []), *(_COLUMNS.sub("", part, count=1) for part in parts))


def _unescape(text: str) -> str:
    """Undoes Go's and JSON's quoting as often as it was applied, within reason."""
    for _ in range(4):
        if "\\" not in text:
            break
        text = text.replace('\\"', '"').replace("\\'", "'").replace("\\n", "\n").replace("\\t", " ").replace("\\\\", "\\")
    return text.replace("\\", "")


def _core(low: str) -> str:
    core = low.removeprefix(squeeze("(combined from similar events):"))
    cleaning = _CLEAN_UP.search(core)
    if cleaning and cleaning.start() > 0:
        core = core[: cleaning.start()]
    errored = core.rfind("errored:")
    if errored >= 0:
        core = core[errored + len("errored:") :]
        dump = _DUMP_AFTER.search(core)
        core = core[: dump.start()] if dump else core
    return core
