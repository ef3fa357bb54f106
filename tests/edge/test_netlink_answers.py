"""Answers that a kernel hardly ever gives when it is asked to: scripted, not left to luck."""

import errno
import socket
import struct
import time
from ipaddress import ip_interface, ip_network
from socket import AF_INET
from typing import Any, cast

import pytest

from agent.edge import netlink
from agent.edge.netns import NamespaceUnreadable
from agent.model.net import Address, Link, Route

PATIENCE = 60


def message(kind: int, body: bytes = b"", *, flags: int = 2, sequence: int = 1) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


ADDRESS = message(20, struct.pack("=BBBBI", 2, 24, 0x80, 0, 7) + struct.pack("=HH4s", 8, 2, bytes((192, 168, 0, 5))))
DONE = message(3, struct.pack("=i", 0))
Reply = tuple[bytes, int, int] | OSError


class ScriptedKernel:
    """Answers each question with the next list of (data, flags, sender) or errors; sequence numbers are put right."""

    def __init__(self, *answers: list[Reply]) -> None:
        self._answers = list(answers)
        self._now: list[Reply] = []
        self.questions = 0

    def settimeout(self, _: float) -> None: ...

    def send(self, data: bytes) -> int:
        self.questions += 1
        self._now = self._answers.pop(0) if self._answers else []
        return len(data)

    def recvmsg(self, _: int) -> tuple[bytes, list[Any], int, tuple[int, int]]:
        if not self._now:
            raise TimeoutError
        reply = self._now.pop(0)
        if isinstance(reply, OSError):
            raise reply
        data, flags, sender = reply
        patched, offset = bytearray(data), 0
        while offset + 16 <= len(data) and (length := struct.unpack_from("=I", data, offset)[0]) >= 16:
            if struct.unpack_from("=I", data, offset + 8)[0] == 1:
                struct.pack_into("=I", patched, offset + 8, self.questions)
            offset += length
        return bytes(patched), [], flags, (sender, 0)


def ask(kernel: ScriptedKernel) -> tuple[Address, ...]:
    def read(deadline: float) -> tuple[Address, ...]:
        conversation = netlink._Conversation(kernel, path="/run/netns/pod", deadline=deadline)
        return conversation.ask(Address, (22, bytes(12)))

    return netlink._sorted("/run/netns/pod", read, time.monotonic() + PATIENCE)


def whole(*parts: bytes) -> list[Reply]:
    return [(part, 0, 0) for part in parts]


def interrupted(data: bytes) -> bytes:
    return data[:6] + struct.pack("=H", 0x12) + data[8:]


@pytest.mark.parametrize("torn", [[interrupted(ADDRESS), DONE], [ADDRESS, interrupted(DONE)]], ids=["at-an-entry", "at-the-end"])
def test_a_table_that_changed_while_it_was_read_is_read_again(torn: list[bytes]) -> None:
    kernel = ScriptedKernel(whole(*torn), whole(ADDRESS + ADDRESS, DONE))
    assert len(ask(kernel)) == 2
    assert kernel.questions == 2


def test_a_table_that_never_stands_still_is_given_up() -> None:
    kernel = ScriptedKernel(*(whole(interrupted(ADDRESS), DONE) for _ in range(99)))
    with pytest.raises(NamespaceUnreadable, match="/run/netns/pod: changed during each of 5 readings"):
        ask(kernel)
    assert kernel.questions == 5


def test_messages_of_anybody_but_the_kernel_are_ignored() -> None:
    assert len(ask(ScriptedKernel([(ADDRESS, 0, 4711), (ADDRESS, 0, 0), (DONE, 0, 4711), (DONE, 0, 0)]))) == 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ([(ADDRESS, socket.MSG_TRUNC, 0)], "an answer longer than the kernel makes them"),
        ([(message(4), 0, 0)], "messages were lost"),
        ([(message(2, struct.pack("=i", -errno.EPERM)), 0, 0)], "error 1 of the kernel"),
        ([(ADDRESS, 0, 0), (message(3, struct.pack("=i", -errno.ENOMEM)), 0, 0)], "error 12 of the kernel"),
        ([(ADDRESS[:-1], 0, 0)], "a malformed message"),
        ([(struct.pack("=IHHII", 0, 20, 2, 1, 0), 0, 0)], "a malformed message"),
        ([(message(20, sequence=77), 0, 0)], "a malformed message"),
        ([(message(20, b"\2"), 0, 0)], "an answer that makes no sense"),
        ([OSError(errno.ENOBUFS, "No buffer space available")], "No buffer space available"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_of_ours_not_an_empty_namespace(answer: list[Reply], text: str) -> None:
    with pytest.raises(NamespaceUnreadable, match=text):
        ask(ScriptedKernel(answer))


def test_a_family_that_this_kernel_does_not_have_has_no_entries() -> None:
    assert ask(ScriptedKernel([(message(2, struct.pack("=i", -errno.EOPNOTSUPP)), 0, 0)])) == ()


def test_an_answer_without_end_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "MAX_ITEMS", 100)
    with pytest.raises(NamespaceUnreadable, match="more than 100 address entries"):
        ask(ScriptedKernel(whole(*[ADDRESS * 10] * 50)))


class TornKernel:
    """A pod whose link is set down and up again while it is being read, `torn` times."""

    def __init__(self, *, torn: int) -> None:
        self._torn = torn
        self._asked = 0

    def ask(self, kind: type[Any], _: tuple[int, bytes], *, family: int = 0) -> tuple[Any, ...]:
        if kind is Link:
            self._asked += 1
            # of each pair of questions the second finds it down, for as long as it flaps
            return (Link(index=2, name="lhnet1", up=not (self._torn >= 0 and self._asked % 2 == 0), carrier=True),)
        if kind is Address:
            return (Address(link_index=2, interface=ip_interface("192.168.0.2/24")),)
        if kind is Route and family == AF_INET:
            self._torn -= 1
            return () if self._torn >= 0 else (Route(to=ip_network("192.168.0.0/24"), link_index=2),)
        return ()


def test_a_link_that_flaps_while_its_pod_is_read_is_never_seen_up_without_its_routes() -> None:
    facts = netlink._steady(cast("Any", TornKernel(torn=2)), netlink.ALL)
    assert facts.links[0].up
    assert [str(route.to) for route in facts.routes] == ["192.168.0.0/24"]


def test_a_pod_that_never_stands_still_is_not_judged() -> None:
    with pytest.raises(netlink._Changed):
        netlink._steady(cast("Any", TornKernel(torn=99)), netlink.ALL)
