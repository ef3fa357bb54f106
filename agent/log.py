"""Logging that a storm cannot turn into a second one: JSON lines or text, state changes put together, sixty lines a minute at most.

When a switch dies, hundreds of pairs change in the same second on every node. What each of them is stands in /status; the log says how
many and gives one example. What was not written is counted and the count is written. Nothing here decides what is worth a line.
"""

import json
import logging
import math
import sys
from collections import deque
from datetime import UTC, datetime
from typing import TextIO

from agent.clock import Clock
from agent.model.finding import Finding, Severity

LINES_A_MINUTE = 60
"""A node's share of what a log collector takes without shedding; a quiet agent writes a few lines a day."""
RESUME_LINES = 30
"""After the limit was reached, silence lasts until so few lines are left in the minute: one count for many lines, not one for each."""
LONGEST_TEXT_CHARACTERS = 4000
"""Of one message or traceback."""
COALESCE_SECONDS = 1.0

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class BoundedHandler(logging.Handler):
    """Writes lines to a stream within the limit. Never raises: a full disk or a closed pipe must not stop the agent."""

    def __init__(self, stream: TextIO, *, clock: Clock) -> None:
        super().__init__()
        self.suppressed = 0
        """Lines not written and not told yet."""
        self._stream = stream
        self._clock = clock
        self._written: deque[float] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._may_write():
                self._write(self.format(record))
            else:
                self.suppressed += 1
        except Exception:  # the contract of logging.Handler: emit hands its trouble to handleError
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Where the log itself fails there is nobody to tell."""

    def tick(self) -> None:
        """To be called now and then, so that the count is told even when nothing else is logged."""
        with self.lock or _NO_LOCK:
            try:
                self._may_write()
            except (OSError, ValueError):
                return

    def close(self) -> None:
        """Tells what is still untold; there is no later."""
        with self.lock or _NO_LOCK:
            try:
                if self.suppressed:
                    self._tell()
                self._stream.flush()
            except (OSError, ValueError):
                self.suppressed = 0
        super().close()

    def _may_write(self) -> bool:
        now = self._clock.monotonic()
        while self._written and self._written[0] <= now - 60:
            self._written.popleft()
        if self.suppressed and len(self._written) <= RESUME_LINES:
            self._tell()
        return not self.suppressed and len(self._written) < LINES_A_MINUTE

    def _tell(self) -> None:
        count, self.suppressed = self.suppressed, 0
        record = logging.makeLogRecord(
            {
                "name": __name__,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": f"{count} lines were not written: more than {LINES_A_MINUTE} in a minute",
                "suppressed": count,
            }
        )
        self._write(self.format(record))

    def _write(self, line: str) -> None:
        self._written.append(self._clock.monotonic())
        self._stream.write(line + "\n")
        self._stream.flush()


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_NO_LOCK = _NoLock()


class JsonFormatter(logging.Formatter):
    """`{"ts", "level", "logger", "msg", …}` and whatever was handed in as `extra`."""

    def __init__(self, *, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "ts": _stamp(self._clock),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": _bounded(record.getMessage()),
        }
        fields.update(_extra(record))
        if record.exc_info:
            fields["exception"] = _bounded(self.formatException(record.exc_info), end=True)
        return json.dumps(fields, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """`2026-11-20T08:00:00.000Z warning message key=value`, always one line."""

    def __init__(self, *, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def format(self, record: logging.LogRecord) -> str:
        words = [_stamp(self._clock), record.levelname.lower(), _bounded(record.getMessage())]
        words += [f"{key}={value}" for key, value in _extra(record).items()]
        if record.exc_info:
            words.append(_bounded(self.formatException(record.exc_info), end=True))
        return " ".join(words).replace("\r", "\\r").replace("\n", "\\n")


def _stamp(clock: Clock) -> str:
    try:
        return datetime.fromtimestamp(clock.wall(), tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00.000Z"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    fields = ((key, value) for key, value in vars(record).items() if key not in _OWN_FIELDS)
    return {key: str(value) if isinstance(value, float) and not math.isfinite(value) else value for key, value in fields}


def _bounded(text: str, *, end: bool = False) -> str:
    if len(text) <= LONGEST_TEXT_CHARACTERS:
        return text
    return "…" + text[-LONGEST_TEXT_CHARACTERS:] if end else text[:LONGEST_TEXT_CHARACTERS] + "…"


def configure(*, level: str, style: str, clock: Clock, stream: TextIO | None = None) -> BoundedHandler:
    """Makes one handler the only one of the whole process. `style` is `json` or `text`, `level` a key of LEVELS."""
    handler = BoundedHandler(stream or sys.stderr, clock=clock)
    handler.setFormatter(JsonFormatter(clock=clock) if style == "json" else TextFormatter(clock=clock))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    return handler


_LEVEL_OF = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}


class ChangeLog:
    """Findings that came and went, one line an id and second. Single-threaded, like the loop that owns it."""

    def __init__(self, logger: logging.Logger, *, clock: Clock) -> None:
        self._logger = logger
        self._clock = clock
        self._pending: dict[str, _Pending] = {}

    def raised(self, finding: Finding) -> None:
        pending = self._of(finding.id)
        pending.raised += 1
        if pending.worst is None or finding.severity.rank > pending.worst.severity.rank:
            pending.worst = finding

    def cleared(self, finding: Finding) -> None:
        pending = self._of(finding.id)
        pending.cleared += 1
        pending.gone = pending.gone or finding

    def tick(self) -> None:
        """Writes every id whose second is over, and what the handlers owe. To be called about once a second."""
        now = self._clock.monotonic()
        self._write([name for name, pending in self._pending.items() if now - pending.since >= COALESCE_SECONDS])
        for handler in logging.getLogger().handlers:
            if isinstance(handler, BoundedHandler):
                handler.tick()

    def flush(self) -> None:
        """Writes all of it; for the end of the process."""
        self._write(list(self._pending))

    def _of(self, name: str) -> "_Pending":
        return self._pending.setdefault(name, _Pending(since=self._clock.monotonic()))

    def _write(self, names: list[str]) -> None:
        for name in names:
            pending = self._pending.pop(name)
            level = _LEVEL_OF[pending.worst.severity] if pending.worst else logging.INFO
            self._logger.log(level, pending.text(name), extra={"finding": name, "raised": pending.raised, "cleared": pending.cleared})


class _Pending:
    def __init__(self, *, since: float) -> None:
        self.since = since
        self.raised = 0
        self.cleared = 0
        self.worst: Finding | None = None
        self.gone: Finding | None = None

    def text(self, name: str) -> str:
        example = self.worst or self.gone
        counts = " ".join(f"{sign}{count}" for sign, count in (("+", self.raised), ("-", self.cleared)) if count)
        alone = "" if self.raised + self.cleared == 1 else "e.g. "
        return f"{name}: {counts}, {alone}{example.summary if example else ''}"
