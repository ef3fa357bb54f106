"""What one of Harvester's settings says, read as Harvester's own decoder reads it, and nothing that it could choke on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from setting_cases import DONE, EMPTY_HASH, NAD, RWX_VALUE, VALUE, disabled, enabled, rwx, setting

from agent.model.records import SettingRecord
from agent.rules.setting_value import NetworkValue, annotation, is_done, named_nad, read_value, touched, value_hash


def read(value, *, name="storage-network"):
    return read_value(SettingRecord(name=name, value=value))


def test_the_guides_value_is_read_in_all_its_parts():
    assert read(VALUE).network == NetworkValue(
        cluster_network="storage", vlan=100, range="192.168.0.0/24", excludes=("192.168.0.1/32",)
    )  # fmt: skip


@pytest.mark.parametrize("value", ['{"clusterNetwork":"storage","range":"192.168.20.0/24"}', '{"vlan":0,"range":"192.168.20.0/24"}'])
def test_no_vlan_and_vlan_0_become_1_as_in_the_nad(value):
    network = read(value).network
    assert network is not None
    assert network.vlan == 1


def test_keys_are_taken_in_any_case_as_gos_decoder_does():
    network = read('{"VLAN":7,"clusternetwork":"storage","Range":"192.168.20.0/24"}').network
    assert network == NetworkValue(cluster_network="storage", vlan=7, range="192.168.20.0/24")


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_an_empty_value_asks_for_nothing_and_is_no_mistake(value):
    assert not read(value).asks


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{vlan:100}", "property name"),
        ("[]", "not a JSON object"),
        ('"storage"', "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"vlan":"100"}', "vlan"),
        ('{"vlan":true}', "vlan"),
        ('{"vlan":-1}', "vlan"),
        ('{"vlan":1e2}', "vlan"),
        ('{"vlan":65536}', "vlan"),
        ('{"exclude":"192.168.0.1/32"}', "exclude"),
        ('{"exclude":[1]}', "exclude"),
        ('{"range":["192.168.0.0/24"]}', "range"),
        ('{"clusterNetwork":1}', "clusterNetwork"),
        ('{"vlan":NaN}', "NaN"),
        ('{"vlan":' + "9" * 5000 + "}", "digits"),
        ("[" * 50_000, "nested"),
        (VALUE + "}", "Extra data"),
    ],
)
def test_what_harvester_could_not_read_has_a_problem_in_words(value, why):
    found = read(value)
    assert found.problem is not None
    assert why in found.problem
    assert len(found.problem) <= 80
    assert found.network is None


def test_a_megabyte_is_our_limit_and_no_fault_of_the_value():
    found = read('{"range":"' + "1" * 1_000_000 + '"}')
    assert found.problem is None
    assert "1000012 characters" in (found.unread or "")
    assert found.asks


def test_a_dedicated_and_a_shared_rwx_network_are_told_apart():
    dedicated, shared, off = (
        read(value, name="rwx-network") for value in (RWX_VALUE, '{"share-storage-network":true}', '{"share-storage-network":false}')
    )
    assert dedicated.network == NetworkValue(cluster_network="storage", vlan=110, range="192.168.10.0/26")
    assert (shared.shared, shared.network, shared.asks) == (True, None, True)
    assert not off.asks


@pytest.mark.parametrize("value", ['{"share-storage-network":"yes"}', '{"share-storage-network":false,"network":[]}', "[]"])
def test_an_rwx_value_of_wrong_types_has_a_problem(value):
    assert read(value, name="rwx-network").problem


def test_the_hash_is_of_the_raw_text():
    assert value_hash(disabled()) == EMPTY_HASH
    assert value_hash(SettingRecord(name="storage-network")) == EMPTY_HASH
    assert value_hash(enabled()) == "ce19d914b0e767de923961a8d8d5503c006afc79"
    assert value_hash(setting(VALUE + " ")) != value_hash(enabled())
    assert value_hash(SettingRecord(name="storage-network", value="\ud800"))


def test_annotations_of_one_setting_are_not_those_of_the_other():
    assert named_nad(enabled()) == NAD
    assert named_nad(rwx()) == "harvester-system/rwx-network-k2m8p"
    assert named_nad(disabled()) is None
    assert annotation(disabled(), "net-attach-def") is None
    assert not touched(setting(VALUE, touched=False))


@pytest.mark.parametrize("text", ["storagenetwork", "a/b/c", "/x", "x/", "/"])
def test_what_is_no_namespace_and_name_names_no_nad(text):
    assert named_nad(enabled(nad=text)) is None


def test_done_is_what_the_condition_says_and_only_that():
    assert is_done(enabled())
    assert not is_done(setting(VALUE))
    assert DONE.status == "True"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["vlan", "range", "exclude", "network", "x"]), inner),
    max_leaves=12,
)


@given(anything.map(json.dumps) | st.text(), st.sampled_from(["storage-network", "rwx-network"]))
def test_no_value_makes_it_raise(value, name):
    found = read(value, name=name)
    assert found.network is None or found.problem is None
