"""Messages that read alike and mean different things, and what the addresses in them add up to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_cases import FULL_NEW, FULL_OLD

from agent.model.events import Cause, Explanation
from agent.rules.sandbox import explain

GUIDE = """Events:
  Type     Reason                  Age                    From     Message
  ----     ------                  ----                   ----     -------
  ....

  Warning  FailedCreatePodSandBox  2m58s                  kubelet  Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for
 sandbox "04e9bc160c4f1da612e2bb52dadc86702817ac557e641a3b07b7c4a340c9fc48": plugin type="multus" name="multus-cni-network" failed (add): [longhorn-system/ba
cking-image-ds-default-image-lxq7r/7d6995ee-60a6-4f67-b9ea-246a73a4df54:storagenetwork-sdfg8]: error adding container to network "storagenetwork-sdfg8": erro
r at storage engine: Could not allocate IP in range: ip: 172.16.0.1 / - 172.16.0.6 / range: net.IPNet{IP:net.IP{0xac, 0x10, 0x0, 0x0}, Mask:net.IPMask{0xff,
0xff, 0xff, 0xf8}}

  ....
"""  # noqa: E501  # wrapped where the guide's terminal wrapped it


def on_storage(reason: str) -> Explanation:
    return explain(f'[longhorn-system/im-1/1-2:storagenetwork-95bj4]: error adding container to network "storagenetwork-95bj4": {reason}')


def test_the_guides_own_event_is_explained_although_its_lines_are_cut_inside_words_and_numbers() -> None:
    assert explain(GUIDE).as_dict() == {
        "cause": "ip_exhausted",
        "network": "storagenetwork-sdfg8",
        "network_kind": "storage",
        "pod": "longhorn-system/backing-image-ds-default-image-lxq7r",
        "range": "172.16.0.0/29",
        "first": "172.16.0.1",
        "last": "172.16.0.6",
        "excludes": None,
        "is_failure": True,
        "truncated": False,
        "summary": "no free address in 172.16.0.0/29 (.1 – .6) for storage network storagenetwork-sdfg8: 6 addresses were searched",
        "next_step": explain(GUIDE).next_step,
    }
    assert "get ippools.whereabouts.cni.cncf.io 172.16.0.0-29 -o yaml" in explain(GUIDE).next_step


def test_a_full_pod_network_under_a_longhorn_pod_is_not_the_storage_network() -> None:
    answer = explain(
        '[longhorn-system/backing-image-manager-1/1-2:k8s-pod-network]: error adding container to network "k8s-pod-network": plugin '
        'type="calico" failed (add): failed to allocate for range 0: no IP addresses available in range set: 10.52.0.1-10.52.0.254'
    )
    assert (answer.cause, answer.network_kind) == (Cause.IP_EXHAUSTED_DEFAULT_NET, "default")
    assert answer.summary.startswith("not the storage network")
    assert "/var/lib/cni/networks/k8s-pod-network/" in answer.next_step
    assert (answer.first, answer.last) == ("10.52.0.1", "10.52.0.254")


def test_an_exclude_with_host_bits_that_takes_the_whole_range_is_no_shortage() -> None:
    """Harvester issue 6256: pool empty, text says exhausted."""
    answer = on_storage(
        "error at storage engine: Could not allocate IP in range: ip: 192.168.205.1 / - 192.168.205.254 / range: 192.168.205.0/24 / "
        "excludeRanges: [192.168.205.1/24 192.168.205.9/32]"
    )
    assert answer.cause == Cause.IP_EXHAUSTED
    assert answer.excludes == ("192.168.205.1/24", "192.168.205.9/32")
    assert answer.summary.startswith("not a shortage: the excludes (192.168.205.1/24, ")
    assert "storage-network" in answer.next_step


def test_a_range_of_one_address_is_held_by_the_pods_own_predecessor() -> None:
    single = on_storage("Could not allocate IP in range: ip: 10.1.1.5 / - 10.1.1.5 / range: 10.1.1.0/24 / excludeRanges: []")
    assert "one pod only" in single.summary
    almost = on_storage("Could not allocate IP in range: ip: 10.1.1.1 / - 10.1.1.2 / range: 10.1.1.0/30 / excludeRanges: [10.1.1.2/32]")
    assert "one pod only" in almost.summary


def test_a_range_of_64_bits_cannot_be_full() -> None:
    answer = on_storage(
        "Could not allocate IP in range: ip: fd00:100::1 / - fd00:100::ffff:ffff:ffff:fffe / range: fd00:100::/64 / excludeRanges: []"
    )
    assert (answer.range, answer.first) == ("fd00:100::/64", "fd00:100::1")
    assert "cannot be in use" in answer.summary
    assert "overlappingrangeipreservations" in answer.next_step


def test_a_real_shortage_says_how_many_addresses_there_were() -> None:
    answer = on_storage(FULL_NEW)
    assert answer.summary == (
        "no free address in 192.168.7.0/29 (.1 – .6) for storage network storagenetwork-95bj4: all 5 addresses are taken"
    )
    assert "lhnet-agent plan-range" in answer.next_step


def test_a_conflict_that_reads_like_exhaustion_says_that_the_range_is_not_full() -> None:
    answer = on_storage("failed to allocate for range 0: requested IP address 10.2.2.9 is not available in range set 10.2.2.1-10.2.2.254")
    assert answer.cause == Cause.ADDRESS_CONFLICT
    assert "taken already (the range is not full)" in answer.summary


def test_a_missing_crd_is_told_from_a_slow_api_server() -> None:
    answer = on_storage(
        "error at storage engine: k8s get error: the server could not find the requested resource (get ippools.whereabouts.cni.cncf.io x)"
    )
    assert answer.crd_missing
    assert "kubectl get crd ippools.whereabouts.cni.cncf.io" in answer.next_step
    assert not on_storage("error at storage engine: k8s get error: context deadline exceeded").crd_missing


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("net.IPNet{IP:net.IP{0xa, 0x14, 0x0, 0x80}, Mask:net.IPMask{0xff, 0xff, 0xff, 0xe0}}", "10.20.0.128/27"),
        (
            "net.IPNet{IP:net.IP{0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0xff, 0xff, 0xa, 0x0, 0x0, 0x0}, "
            "Mask:net.IPMask{0xff, 0xff, 0xff, 0x0}}",
            "10.0.0.0/24",
        ),
        (
            "net.IPNet{IP:net.IP{0xfd, 0x0, 0x1, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0}, "
            "Mask:net.IPMask{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0}}",
            "fd00:100::/64",
        ),
        ("net.IPNet{IP:net.IP{0xac, 0x10, 0x0, 0x0}, Mask:net.IPMask{0xff, 0xf", None),
        ("net.IPNet{IP:net.IP{0xac, 0x10, 0x0, 0x0}, Mask:net.IPMask{0xff, 0x0, 0xff, 0x0}}", None),
        ("net.IPNet{IP:net.IP{0xac, 0x10, 0x0, 0xfff}, Mask:net.IPMask{0xff, 0xff, 0xff, 0x0}}", None),
        ("192.168.0.0/2", None),
        ("192.168.0.5/24 / excludeRanges: []", "192.168.0.0/24"),
        ("192.168.0.0/99 / excludeRanges: []", None),
    ],
)
def test_the_range_is_rebuilt_or_left_out_but_never_guessed(printed: str, expected: str | None) -> None:
    answer = explain(f"error at storage engine: Could not allocate IP in range: ip: 10.0.0.1 / - 10.0.0.9 / range: {printed}")
    assert answer.cause == Cause.IP_EXHAUSTED
    assert answer.range == expected


@pytest.mark.parametrize("cut", range(3, 131, 7))
def test_a_text_that_ends_anywhere_gives_what_it_still_holds(cut: int) -> None:
    whole = "Could not allocate IP in range: " + FULL_OLD.partition("range: ")[2]
    answer = on_storage("error at storage engine: " + whole[: len(whole) - cut])
    assert answer.cause == Cause.IP_EXHAUSTED
    assert answer.range is None
    assert answer.truncated
    assert answer.network_kind == "storage"


def test_a_wrap_that_became_a_blank_changes_nothing() -> None:
    """Copied through a web page, line breaks inside words and numbers come out as blanks."""
    assert explain(" ".join(GUIDE.split())).as_dict() == explain(GUIDE).as_dict()
    assert on_storage(FULL_NEW.replace("168.7.1/32]", "168.7.1/3 2 192.168.7.2/32]")).excludes == ("192.168.7.1/32", "192.168.7.2/32")


def test_excludes_wrapped_inside_an_entry_are_joined_again() -> None:
    answer = on_storage(FULL_NEW.replace("[192.168.7.1/32]", "[192.168.7.1/3\n2 192.168.7.2/32\n192.168.7.3/32 192.168\n.7.4/32]"))
    assert answer.excludes == ("192.168.7.1/32", "192.168.7.2/32", "192.168.7.3/32", "192.168.7.4/32")
    assert "all 2 addresses" in answer.summary


@pytest.mark.parametrize("text", ["", "   \n", "\x00\x01\xff", "hello", "Successfully pulled image", "é" * 99])
def test_what_says_nothing_is_answered_with_unknown_not_with_a_failure(text: str) -> None:
    answer = explain(text)
    assert (answer.cause, answer.is_failure, answer.network_kind) == (Cause.UNKNOWN_TRUNCATED, False, "unknown")
    assert "FailedCreatePodSandBox" in answer.next_step


@pytest.mark.parametrize(
    "text",
    [
        "[a/b:c]: error adding container to network " * 60_000,
        "excludeRanges: [" * 150_000,
        'netplugin failed: "' * 150_000,
        "StdinData:[" + "1 " * 1_000_000,
        "dial tcp " * 300_000,
        "Warning Failed 3s kubelet " * 100_000,
        "\\" * 2_000_000,
        "[" * 1_000_000,
        "pod" * 800_000,
        "0x0," * 600_000,
        "range set: " + "1-" * 900_000,
        "ip: " * 500_000,
        "\n" * 2_000_000,
    ],
    ids=lambda text: text[:16].strip() or "newlines",
)
def test_megabytes_of_anything_are_answered(text: str) -> None:
    """A pattern that ran away would meet the time limit of the test run, by orders of magnitude."""
    answer = explain("Failed to create pod sandbox: " + text)
    assert answer.truncated or len(answer.summary) > 0
    assert len(answer.summary) < 2000
    assert len(answer.next_step) < 4000


_WORDS = st.sampled_from(
    [
        "Failed to create pod sandbox: ", "[", "]: ", "a/b", ":", "/", '"', "\\", "\n", " ", "{", "}", "net.IPNet{IP:net.IP{", "0xff, ",
        "Mask:net.IPMask{", "Could not allocate IP in range: ip: ", "10.0.0.1", "fd00::1", " / - ", " / range: ", "/24", "excludeRanges: [",
        "error adding container to network ", "Multus: ", "ERRORED: ", "StdinData: [", "12 34 ", "Add eth0 [", "] from ", "range set: ",
        "-",
        "subnet {10.0.0.0 ffffffff} has no usable", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b", "k8s_a_b_0123456789_0(",
        "Warning  X  3s  kubelet  ",
        "&quot;", "�", "\x1b[31m", "network for pod \"a\": set up pod \"b_c\"",
    ]
)  # fmt: skip

_TEXTS = st.one_of(
    st.text(max_size=400), st.lists(_WORDS, max_size=40).map("".join), st.binary(max_size=300).map(lambda raw: raw.decode("latin-1"))
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=400), st.lists(_WORDS, max_size=40).map("".join), st.binary(max_size=300).map(lambda raw: raw.decode("latin-1"))
    )
)
def test_no_text_makes_it_fail(text: str) -> None:
    answer = explain(text)
    assert list(answer.as_dict()) == [
        "cause", "network", "network_kind", "pod", "range", "first", "last", "excludes", "is_failure", "truncated", "summary", "next_step",
    ]  # fmt: skip
    assert answer.summary
    assert answer.next_step
