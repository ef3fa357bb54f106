"""Every cause's next step, as an operator pastes it: whole commands in backticks, and nothing of a hostile message inside them."""

import re
import shlex
from dataclasses import replace

import pytest

from agent.model.events import Cause, NetworkKind
from agent.rules.sandbox_advice import ADVICE, NODE_TOLD, ON_NODE
from agent.rules.sandbox_range import Addresses
from agent.rules.sandbox_text import prepare
from agent.rules.sandbox_words import Words, words_for

PROGRAMS = {
    "kubectl", "lhnet-agent", "journalctl", "ls", "ip", "ovs-vsctl", "crictl", "curl", "df", "sysctl", "grep", "stat", "tail", "iptables",
    "iptables-save",
}  # fmt: skip
NAMED = Words(
    network="harvester-system/storagenetwork-95bj4",
    kind=NetworkKind.STORAGE,
    pod="longhorn-system/im-1",
    addresses=Addresses(),
    crd_missing=False,
    failure=True,
    reason="the last words",
    text=prepare("the last words"),
)
FULL = Addresses(range="192.168.7.0/29", first="192.168.7.1", last="192.168.7.6", excludes=())
SITUATIONS = {
    "named": NAMED,
    "not named": replace(NAMED, network=None, pod=None, kind=NetworkKind.UNKNOWN),
    "full": replace(NAMED, addresses=FULL),
    "excluded": replace(NAMED, addresses=replace(FULL, excludes=("192.168.7.1/24", "192.168.7.9/32", "10.0.0.0/8"))),
    "one address": replace(NAMED, addresses=replace(FULL, last="192.168.7.1")),
    "huge": replace(NAMED, addresses=Addresses(range="fd00::/64", first="fd00::1", last="fd00::ffff:ffff:ffff:fffe", excludes=())),
    "another network": replace(NAMED, network="shop/lan", kind=NetworkKind.SECONDARY, addresses=FULL),
    "pod network": replace(NAMED, network="k8s-pod-network", kind=NetworkKind.DEFAULT),
    "crd missing": replace(NAMED, crd_missing=True),
    "no failure": replace(NAMED, failure=False),
}


def apart(next_step: str) -> tuple[str, list[str]]:
    parts = next_step.split("`")
    assert len(parts) % 2, f"a backtick without its twin: {next_step}"
    return " ".join(parts[::2]), parts[1::2]


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("cause", list(Cause))
def test_commands_are_whole_and_stand_in_backticks(cause: Cause, situation: str) -> None:
    answer = words_for(cause, SITUATIONS[situation])
    prose, commands = apart(answer.next_step)
    assert not re.search(r"kubectl |journalctl |lhnet-agent p|crictl ", prose), prose
    for command in commands:
        assert shlex.split(command)[0] in PROGRAMS, command
        assert not re.search(r"\bPOD\b|\bNAD\b|\bNODE\b|<|None|\{\}|[.;,]$", command), command
    for sentence in answer.next_step.split("`")[::2]:
        assert any(letter.isalpha() for letter in sentence) or not sentence.strip(" ;"), f"a line of nothing: {sentence!r}"
    assert "`" not in answer.summary


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("cause", list(Cause))
def test_what_is_to_be_done_on_the_node_says_so_and_tells_last_which_one_that_is(cause: Cause, situation: str) -> None:
    step = words_for(cause, SITUATIONS[situation]).next_step
    first, told, which = step.partition(NODE_TOLD)
    assert not told or re.fullmatch(r"`kubectl -n longhorn-system get pods?( im-1)? -o wide`", which)
    local = [one for one in apart(first)[1] if shlex.split(one)[0] not in ("kubectl", "lhnet-agent")]
    assert not local or (ON_NODE in first and told), step


@pytest.mark.parametrize("hostile", ["$(reboot)/$(reboot)", "a`reboot`/b`reboot`", "x/y; reboot", "a'b/c'd"])
@pytest.mark.parametrize("cause", list(Cause))
def test_names_that_are_none_never_get_into_a_command(cause: Cause, hostile: str) -> None:
    words = replace(NAMED, pod=hostile, network=hostile, reason="`reboot`")
    _, commands = apart(words_for(cause, words).next_step)
    assert not any("reboot" in command or "'b" in command for command in commands)


def test_every_cause_without_arithmetic_has_its_row() -> None:
    assert set(Cause) - set(ADVICE) == {Cause.IP_EXHAUSTED, Cause.IP_EXHAUSTED_DEFAULT_NET, Cause.ADDRESS_CONFLICT}


def test_the_rights_of_the_account_that_the_message_names_are_asked_for() -> None:
    text = prepare('User "system:serviceaccount:kube-system:harvester-whereabouts" cannot list resource "ippools"')
    step = words_for(Cause.IPAM_DATASTORE_ERROR, replace(NAMED, text=text)).next_step
    assert "--as=system:serviceaccount:kube-system:harvester-whereabouts`" in step


def test_a_full_range_leads_to_one_twice_as_wide_and_to_the_setting() -> None:
    step = words_for(Cause.IP_EXHAUSTED, replace(NAMED, addresses=FULL)).next_step
    assert apart(step)[1] == [
        "kubectl -n kube-system get ippools.whereabouts.cni.cncf.io 192.168.7.0-29 -o yaml",
        "lhnet-agent plan-range --range 192.168.7.0/28",
        "kubectl edit settings.harvesterhci.io storage-network",
    ]
    assert "delete the image" not in step


def test_an_upload_that_waits_may_be_given_up_as_harvesters_guide_says() -> None:
    words = replace(NAMED, addresses=FULL, pod="longhorn-system/backing-image-ds-default-image-lxq7r")
    assert "delete the image that this pod up- or downloads" in words_for(Cause.IP_EXHAUSTED, words).next_step
