"""Messages from the field, each with the answer that a careful reader gives.

The texts stand in tests/data/sandbox-events.jsonl, as people posted them: cut, quoted twice, wrapped. Answers hold only what the message
itself gives: three fragments end before the range's mask, so their range is null. Where a text names no network, or one of the default
plugins', `default` is as right an answer as `unknown`.
"""

import json
from pathlib import Path

import pytest

from agent.model.events import Cause, Explanation
from agent.rules.sandbox import explain
from agent.rules.sandbox_advice import ADVICE

SAMPLES = [
    json.loads(line) for line in (Path(__file__).parents[1] / "data" / "sandbox-events.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("sample", SAMPLES, ids=[f"{number}-{sample['cause']}" for number, sample in enumerate(SAMPLES)])
def test_a_message_from_the_field_is_read_as_a_careful_reader_would(sample: dict[str, object]) -> None:
    answer = explain(str(sample["message"])).as_dict()
    for key in ("cause", "network", "range", "pod", "is_failure"):
        assert answer[key] == sample[key], key
    right = {"unknown", "default"} if sample["network_kind"] == "unknown" else {sample["network_kind"]}
    assert answer["network_kind"] in right


UNWRAPPED = [sample for sample in SAMPLES[::3] if "\n" not in str(sample["message"]) and sample["cause"] != "pod_gone"]


@pytest.mark.parametrize("sample", UNWRAPPED, ids=range(len(UNWRAPPED)))
@pytest.mark.parametrize("width", [61, 80, 133])
def test_a_terminal_that_wrapped_it_inside_words_changes_nothing(sample: dict[str, object], width: int) -> None:
    text = str(sample["message"])
    wrapped = explain("\n".join(text[start : start + width] for start in range(0, len(text), width)))
    flat = explain(text)
    assert _facts(wrapped) == _facts(flat)


@pytest.mark.parametrize("sample", SAMPLES[1::3], ids=range(len(SAMPLES[1::3])))
def test_case_quoting_and_aggregation_change_nothing(sample: dict[str, object]) -> None:
    text = str(sample["message"])
    flat = explain(text)
    quoted = json.dumps(text)[1:-1]
    assert _facts(explain(f"(combined from similar events): {text}".replace("  ", " "))) == _facts(flat)
    assert _facts(explain(quoted)) == _facts(flat)
    assert explain(text.replace("rror", "RROR").replace("ailed", "AILED")).cause == flat.cause


def test_every_cause_has_words_and_complete_commands() -> None:
    special = {Cause.IP_EXHAUSTED, Cause.IP_EXHAUSTED_DEFAULT_NET, Cause.ADDRESS_CONFLICT}
    assert set(ADVICE) | special == set(Cause)
    for sample in SAMPLES:
        answer = explain(str(sample["message"]))
        assert answer.summary
        assert not answer.summary.endswith(".") or answer.summary.endswith("...")
        assert answer.next_step
        assert "None" not in answer.summary + answer.next_step


def _facts(answer: Explanation) -> tuple[object, ...]:
    return answer.cause, answer.network, answer.network_kind, answer.range, answer.first, answer.last, answer.pod, answer.is_failure
