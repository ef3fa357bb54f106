"""The log during a quiet night and during a storm, read line by line as a collector would."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from agent.clock import Clock, age_text, time_of_day_text, utc_text
from agent.log import LINES_A_MINUTE, BoundedHandler, ChangeLog, configure
from agent.model.catalogue import CATALOGUE
from agent.model.finding import Finding, Severity, Subject

EIGHT = datetime(2026, 11, 20, 8, 0, 0, tzinfo=UTC).timestamp()


class Hands:
    """A clock that somebody turns."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall = EIGHT
        self.clock = Clock(monotonic=lambda: self.seconds, wall=lambda: self.wall)

    def turn(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture(autouse=True)
def root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def start(hands: Hands, *, style: str = "json", level: str = "info") -> tuple[io.StringIO, BoundedHandler]:
    stream = io.StringIO()
    return stream, configure(level=level, style=style, clock=hands.clock, stream=stream)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def finding(name: str = "peer-unreachable", *, peer: str = "harv43", severity: Severity = Severity.CRITICAL) -> Finding:
    return Finding(
        id=name,
        severity=severity,
        scope=CATALOGUE[name].scope,
        subject=Subject(node="harv41", peer_node=peer),
        culprit=f"harv41>{peer}",
        summary=f"harv41 does not reach {peer}",
        seen="",
        expected="",
        next_step="",
        clears_when="",
    )


def test_a_json_line_has_time_level_message_and_what_was_added(hands: Hands) -> None:
    stream, _ = start(hands)
    logging.getLogger("agent.test").warning("pods: watch lost after %d s", 41, extra={"source": "pods", "age": float("nan")})
    assert lines(stream) == [
        {
            "ts": "2026-11-20T08:00:00.000Z",
            "level": "warning",
            "logger": "agent.test",
            "msg": "pods: watch lost after 41 s",
            "source": "pods",
            "age": "nan",
        }
    ]


def test_an_exception_stays_in_its_line(hands: Hands) -> None:
    stream, _ = start(hands)
    try:
        raise OSError("no\nroute")
    except OSError:
        logging.getLogger("agent.test").exception("round failed")
    (line,) = lines(stream)
    assert line["msg"] == "round failed"
    assert str(line["exception"]).endswith("OSError: no\nroute")


def test_text_is_one_line_too(hands: Hands) -> None:
    stream, _ = start(hands, style="text")
    logging.getLogger("agent.test").info("two\nlines\r", extra={"pod": "a/b"})
    assert stream.getvalue() == "2026-11-20T08:00:00.000Z info two\\nlines\\r pod=a/b\n"


def test_the_level_is_the_least_that_is_written(hands: Hands) -> None:
    stream, _ = start(hands, level="warning")
    logging.getLogger("agent.test").info("quiet")
    logging.getLogger("agent.test").error("loud")
    assert [line["msg"] for line in lines(stream)] == ["loud"]


def test_a_message_that_cannot_be_made_stops_nobody(hands: Hands) -> None:
    stream, _ = start(hands)
    logging.getLogger("agent.test").info("%d pods", "three")
    logging.getLogger("agent.test").info("next")
    assert [line["msg"] for line in lines(stream)] == ["next"]


def test_a_megabyte_is_cut(hands: Hands) -> None:
    stream, _ = start(hands)
    logging.getLogger("agent.test").info("x" * 1_000_000)
    assert len(stream.getvalue()) < 5000


def test_a_closed_stream_stops_nobody(hands: Hands) -> None:
    stream, handler = start(hands)
    stream.close()
    logging.getLogger("agent.test").error("anybody there?")
    handler.tick()
    handler.close()


def test_a_storm_is_sixty_lines_and_a_count(hands: Hands) -> None:
    """A thousand lines within ten seconds, then quiet: the count comes by itself once the minute is over."""
    stream, handler = start(hands)
    for number in range(1000):
        logging.getLogger("agent.test").info("line %d", number)
        hands.turn(0.01)
    assert len(lines(stream)) == LINES_A_MINUTE
    hands.turn(30)
    handler.tick()
    assert len(lines(stream)) == LINES_A_MINUTE
    hands.turn(30)
    handler.tick()
    last = lines(stream)[-1]
    assert (last["msg"], last["suppressed"]) == ("940 lines were not written: more than 60 in a minute", 940)
    handler.tick()
    assert len(lines(stream)) == LINES_A_MINUTE + 1


def test_a_storm_without_end_never_gets_more_than_its_share(hands: Hands) -> None:
    """Ten lines a second for ten minutes: no sixty seconds hold more than sixty lines, and every line is written or counted."""
    stream, handler = start(hands)
    times: list[float] = []
    for _ in range(6000):
        before = len(stream.getvalue())
        logging.getLogger("agent.test").info("again")
        times += [hands.seconds] * stream.getvalue()[before:].count("\n")
        hands.turn(0.1)
    assert all(sum(1 for other in times if moment <= other < moment + 60) <= LINES_A_MINUTE for moment in times)
    handler.close()
    written = lines(stream)
    counted = sum(int(str(line["suppressed"])) for line in written if "suppressed" in line)
    assert counted + sum(1 for line in written if line["msg"] == "again") == 6000
    assert sum(1 for line in written if "suppressed" in line) < 30


def test_the_heartbeat_of_the_changes_tells_the_count_too(hands: Hands) -> None:
    stream, handler = start(hands)
    for _ in range(70):
        logging.getLogger("agent.test").info("again")
    hands.turn(60)
    ChangeLog(logging.getLogger("agent.changes"), clock=hands.clock).tick()
    assert lines(stream)[-1]["suppressed"] == 10
    assert handler.suppressed == 0


def test_what_is_untold_at_the_end_is_told_at_the_end(hands: Hands) -> None:
    stream, handler = start(hands)
    for _ in range(70):
        logging.getLogger("agent.test").info("again")
    handler.close()
    assert lines(stream)[-1]["suppressed"] == 10


def test_sixty_three_peers_of_one_second_are_one_line_with_one_example(hands: Hands) -> None:
    stream, _ = start(hands)
    changes = ChangeLog(logging.getLogger("agent.changes"), clock=hands.clock)
    for number in range(63):
        changes.raised(finding(peer=f"harv{100 + number}"))
    changes.tick()
    assert lines(stream) == []
    hands.turn(1)
    changes.tick()
    (line,) = lines(stream)
    assert line["msg"] == "peer-unreachable: +63, e.g. harv41 does not reach harv100"
    assert (line["level"], line["finding"], line["raised"], line["cleared"]) == ("error", "peer-unreachable", 63, 0)


def test_each_finding_has_a_line_of_its_own_and_the_worst_is_the_example(hands: Hands) -> None:
    stream, _ = start(hands)
    changes = ChangeLog(logging.getLogger("agent.changes"), clock=hands.clock)
    changes.raised(finding(severity=Severity.WARNING))
    changes.raised(finding(peer="harv44"))
    changes.cleared(finding(peer="harv45"))
    changes.cleared(finding("interface-down", severity=Severity.CRITICAL))
    changes.flush()
    assert [(line["level"], line["msg"]) for line in lines(stream)] == [
        ("error", "peer-unreachable: +2 -1, e.g. harv41 does not reach harv44"),
        ("info", "interface-down: -1, harv41 does not reach harv43"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (41.9, "41 s"),
        (99, "99 s"),
        (120, "2 min"),
        (111600, "31 h"),
        (777600, "9 d"),
        (float("nan"), "unknown time"),
    ],
)
def test_ages_have_one_unit(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_times_are_utc_and_never_an_exception() -> None:
    assert utc_text(EIGHT) == "2026-11-20T08:00:00Z"
    assert time_of_day_text(EIGHT + 59.9) == "08:00:59Z"
    assert utc_text(float("inf")) == utc_text(-5) == "1970-01-01T00:00:00Z"
    assert utc_text(1e18) == "9999-12-31T23:59:59Z"
