"""Which state the storage network is in, by every shape of setting that a controller writes."""

import pytest
from unitworld import NAD, record

from agent.model.cluster import ClusterFacts, Known
from agent.model.peers import Mode, Network
from agent.model.records import ConditionRecord, LonghornSettingRecord, SettingRecord, SourceState, SourceStatus
from agent.rules.mode import read_mode

PREFIX = "storage-network.settings.harvesterhci.io"
EMPTY_HASH = {f"{PREFIX}/hash": "da39a3ee5e6b4b0d3255bfef95601890afd80709", f"{PREFIX}/net-attach-def": ""}
NAMED = {f"{PREFIX}/net-attach-def": NAD}
VALUE = '{"vlan":100,"clusterNetwork":"storage","range":"192.168.0.0/24"}'
DONE = ConditionRecord(type="configured", status="True", reason="Completed")
BUSY = ConditionRecord(type="configured", status="False", reason="In Progress", message="Stopping Pods")


def known(name, *items, state=SourceState.LIVE):
    return Known(items=items, status=SourceStatus(name=name, state=state))


def harvester(value, annotations=None, *conditions):
    return known("setting", SettingRecord(name="storage-network", value=value, annotations=annotations or {}, conditions=conditions))


def longhorn(value, applied=None):
    return known("longhorn_settings", LonghornSettingRecord(name="storage-network", value=value, applied=applied))


ABSENT = known("setting", state=SourceState.ABSENT)


@pytest.mark.parametrize(
    ("setting", "mode"),
    [
        (harvester("", {}), Mode.UNINITIALISED),
        (harvester(None, {}), Mode.UNINITIALISED),
        (harvester("", EMPTY_HASH, DONE), Mode.OFF),
        (harvester("", EMPTY_HASH, BUSY), Mode.APPLYING),
        (harvester(VALUE, NAMED, BUSY), Mode.APPLYING),
        (harvester(VALUE, {}), Mode.APPLYING),
        (harvester(VALUE, EMPTY_HASH, DONE), Mode.APPLYING),
        (harvester(VALUE, NAMED, DONE), Mode.ON),
        (known("setting", state=SourceState.FORBIDDEN), Mode.UNKNOWN),
        (known("setting", state=SourceState.NEVER), Mode.UNKNOWN),
    ],
)
def test_with_harvester(setting, mode):
    assert read_mode(ClusterFacts(setting=setting, longhorn_settings=longhorn(NAD)), interface="lhnet1").mode is mode


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        (longhorn("", True), Mode.OFF),
        (longhorn(NAD, True), Mode.ON),
        (longhorn(NAD, None), Mode.ON),
        (longhorn(NAD, False), Mode.APPLYING),
        (known("longhorn_settings"), Mode.UNKNOWN),
    ],
)
def test_without_harvester(settings, mode):
    assert read_mode(ClusterFacts(setting=ABSENT, longhorn_settings=settings), interface="lhnet1").mode is mode


def test_the_completed_example_of_the_guide_is_the_disabled_state():
    reading = read_mode(ClusterFacts(setting=harvester("", EMPTY_HASH, DONE), longhorn_settings=longhorn("")), interface="lhnet1")
    assert reading.mode is Mode.OFF
    assert reading.nads == {}


def test_while_the_two_settings_name_different_nads_both_count_harvesters_first():
    reading = read_mode(
        ClusterFacts(setting=harvester(VALUE, NAMED, DONE), longhorn_settings=longhorn("harvester-system/storagenetwork-old")),
        interface="lhnet1",
    )
    assert reading.storage_nad == NAD
    assert list(reading.nads) == [NAD, "harvester-system/storagenetwork-old"]
    assert reading.cluster_network == "storage"


def test_without_any_setting_the_pods_tell_what_they_ask_for():
    facts = ClusterFacts(
        setting=ABSENT, longhorn_settings=known("longhorn_settings", state=SourceState.ABSENT), pods=known("pods", record())
    )
    reading = read_mode(facts, interface="lhnet1")
    assert reading.mode is Mode.UNKNOWN
    assert reading.inferred
    assert reading.nads == {NAD: Network.STORAGE}


@pytest.mark.parametrize("value", ["{", "[]", '{"clusterNetwork": 5}', "[" * 10000])
def test_a_value_that_does_not_parse_stops_nothing(value):
    assert read_mode(ClusterFacts(setting=harvester(value, NAMED, DONE)), interface="lhnet1").cluster_network is None
