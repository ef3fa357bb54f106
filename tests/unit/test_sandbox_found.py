"""Shapes found in public reports after the table was written; each stands for a kind of text, with invented names.

Every line of tests/data/sandbox-found.jsonl says in `why` what it is there for, and holds the whole answer that the message gives.
"""

import json
from pathlib import Path

import pytest

from agent.rules.sandbox import explain

FOUND = [json.loads(line) for line in (Path(__file__).parents[1] / "data" / "sandbox-found.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("found", FOUND, ids=[found["why"] for found in FOUND])
def test_a_text_nobody_had_seen_is_read_by_its_kind(found: dict[str, object]) -> None:
    answer = explain(str(found["message"])).as_dict()
    expected = {key: value for key, value in found.items() if key not in ("why", "message", "network_kind")}
    assert {key: answer[key] for key in expected} == expected
    right = {"unknown", "default"} if found["network_kind"] == "unknown" else {found["network_kind"]}
    assert answer["network_kind"] in right


@pytest.mark.parametrize("name", ["k8s-pod-network", "host-device", "my-sandbox", "web-pod", "old-plugin"])
def test_what_a_name_ends_in_does_not_make_a_text_look_cut(name: str) -> None:
    text = (
        f'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to find plugin "{name}" in path [/opt/cni/bin /usr/lib/cni]'
    )
    assert not explain(text).truncated
    assert explain(text[: text.index(name) + 3]).truncated
