"""`lhnet-agent explain-event` as people and scripts use it: an argument, a pipe, lines of JSON, and whatever else gets pasted."""

import io
import json
import sys
from pathlib import Path

import pytest

from agent.cli import main
from agent.cli.explain_event import MAX_MESSAGE_BYTES

MESSAGE = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = [longhorn-system/im-1/1-2:storagenetwork-95bj4]: "
    'error adding container to network "storagenetwork-95bj4": error at storage engine: Could not allocate IP in range: '
    "ip: 192.168.7.1 / - 192.168.7.6 / range: 192.168.7.0/29 / excludeRanges: [192.168.7.1/32]"
)
KEYS = ["cause", "network", "network_kind", "pod", "range", "first", "last", "excludes", "is_failure", "truncated", "summary", "next_step"]


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def give(monkeypatch: pytest.MonkeyPatch, data: bytes, *, terminal: bool = False) -> None:
    monkeypatch.setattr(sys, "stdin", (Terminal if terminal else io.TextIOWrapper)(io.BytesIO(data), encoding="utf-8"))


def test_the_json_has_the_contracts_keys_in_its_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain-event", MESSAGE, "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == KEYS
    assert answer["excludes"] == ["192.168.7.1/32"]
    assert "`" not in answer["next_step"], "laying commands out is for the text form"
    assert (answer["cause"], answer["pod"], answer["range"]) == ("ip_exhausted", "longhorn-system/im-1", "192.168.7.0/29")


def test_the_text_tells_cause_evidence_and_next_step_in_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain-event", MESSAGE]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "ip_exhausted: no free address in 192.168.7.0/29 (.1 – .6) for storage network\n  storagenetwork-95bj4: all 5 addresses"
    )
    assert "  pod        longhorn-system/im-1\n  network    storagenetwork-95bj4 (storage)\n" in out
    assert "  do next    see who holds the addresses;" in out
    assert "`" not in out
    commands = [line for line in out.splitlines() if line.strip().startswith(("kubectl ", "lhnet-agent "))]
    assert all(len(line) <= 80 or line in commands for line in out.splitlines())
    assert [command.strip() for command in commands] == [
        "kubectl -n kube-system get ippools.whereabouts.cni.cncf.io 192.168.7.0-29 -o yaml",
        "lhnet-agent plan-range --range 192.168.7.0/28",
        "kubectl edit settings.harvesterhci.io storage-network",
    ]


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_a_piped_message_is_read(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, MESSAGE.encode())
    assert main(["explain-event", *arguments, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["cause"] == "ip_exhausted"


def test_without_message_on_a_terminal_the_usage_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, b"", terminal=True)
    with pytest.raises(SystemExit) as stop:
        main(["explain-event"])
    assert stop.value.code == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "MESSAGE" in captured.err


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"\x80\x81" * 999, MESSAGE.encode("utf-16"), MESSAGE.encode("latin-1") + b"\xe9"])
def test_bytes_that_are_no_utf_8_are_read_as_well_as_they_can_be(
    data: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, data)
    assert main(["explain-event", "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["cause"] == ("ip_exhausted" if len(data) > len(MESSAGE) and b"\x80" not in data else "unknown_truncated")


def test_lines_of_json_are_answered_one_by_one_and_a_bad_one_does_not_stop_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        json.dumps({"message": MESSAGE, "other": 1}),
        "not json",
        "",
        '{"message": 5}',
        "[1]",
        "[" * 100_000,
        '{"message": "x" }' + "\\" * 3,
        '{"message": "\\ud800 Add lhnet1 [1.1.1.1/24]"}',
        json.dumps({"message": "Pod sandbox changed, it will be killed and re-created."}),
    ]
    give(monkeypatch, "\n".join(lines).encode() + b'\n{"message": "\xff"}\n')
    assert main(["explain-event", "--jsonl"]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer.get("cause") for answer in answers] == [
        "ip_exhausted", None, None, None, None, None, "added_interface", "sandbox_changed", "unknown_truncated",
    ]  # fmt: skip
    assert all(list(answer) == KEYS or list(answer) == ["error"] for answer in answers)
    assert answers[1]["error"].startswith("line 2: not JSON")
    assert answers[2]["error"] == 'line 4: expected an object with a text under "message"'


def test_a_file_of_good_lines_ends_with_status_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text((json.dumps({"message": MESSAGE}) + "\n") * 3, encoding="utf-8")
    assert main(["explain-event", "--jsonl", str(file)]) == 0
    assert capsys.readouterr().out.count('"cause": "ip_exhausted"') == 3


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["explain-event", "--jsonl", str(tmp_path / "none.jsonl")])
    assert stop.value.code == 64
    assert "none.jsonl" in capsys.readouterr().err


def test_a_line_beyond_the_bound_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, b"x" * (2 * MAX_MESSAGE_BYTES + 5) + b'\n{"message": "Add eth0 [1.1.1.1/24] from cbr0"}\n')
    assert main(["explain-event", "--jsonl"]) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == {"error": f"line 1: longer than {MAX_MESSAGE_BYTES} bytes"}
    assert second["cause"] == "added_interface"


def test_a_terminal_without_dashes_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    assert main(["explain-event", MESSAGE]) == 0
    sys.stdout.flush()
    assert b"(.1 ? .6)" in shown.getvalue()
