"""Commands about settings and NADs: whole, in backticks, and never made of what somebody put where a name should be."""

import pytest
from setting_cases import NAD

from agent.rules.setting_texts import Places, is_key, is_name, list_nads, listing, show_longhorn_setting, show_nad

HERE = Places()


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a b", "a/b", "a;b", "$(id)", "a`b", "a\n", "ä", "a" * 254, None])
def test_what_is_no_kubernetes_name_is_none(text):
    assert not is_name(text)


@pytest.mark.parametrize("text", ["a", "pvc-0a151c59", "rke2.io", "0", "a" * 253])
def test_what_is_one_is(text):
    assert is_name(text)


def test_a_key_is_two_names():
    assert is_key(NAD)
    assert not any(is_key(text) for text in ("a", "a/", "/a", "a/b/c", "a/$(id)"))


def test_long_lists_end_in_a_count():
    assert listing(["a", "b"]) == "a, b"
    assert listing([f"v{i}" for i in range(9)]) == "v0, v1, v2, v3, v4 and 4 more"
    assert listing([]) == ""
    assert len(listing(["x" * 10_000])) <= 80


def test_a_nad_is_shown_by_name_and_a_hostile_one_only_looked_for():
    assert show_nad(NAD, places=HERE) == (
        "`kubectl -n harvester-system get network-attachment-definitions.k8s.cni.cncf.io storagenetwork-95bj4 -o yaml`"
    )
    assert show_nad("net/$(id)", places=HERE) == "`kubectl -n net get network-attachment-definitions.k8s.cni.cncf.io`"
    assert list_nads("$(id)/x", places=HERE) == "`kubectl -n harvester-system get network-attachment-definitions.k8s.cni.cncf.io`"


def test_other_namespaces_than_harvesters_are_taken_as_set():
    assert "-n storage get settings.longhorn.io storage-network" in show_longhorn_setting(
        "storage-network", places=Places(longhorn="storage")
    )
