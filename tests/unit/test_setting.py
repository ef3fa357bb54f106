"""Settings that hang, that are not in force, and that Longhorn does not share. Messages as Harvester 1.1 to 1.9 writes them."""

from datetime import UTC, datetime

import pytest
from setting_cases import (
    DONE,
    EMPTY_HASH,
    NAD,
    OLD_NAD,
    RWX_NAD,
    RWX_VALUE,
    VALUE,
    VOLUME,
    busy,
    disabled,
    enabled,
    longhorn,
    rwx,
    setting,
)

from agent.model.finding import Severity
from agent.model.peers import Network
from agent.model.records import ConditionRecord, SettingRecord
from agent.rules.setting import is_waiting, setting_mismatch, setting_stuck, setting_unapplied, unconfigured_since, waited_for

UPDATED = "2026-06-02T08:05:17Z"
UPDATED_AT = datetime(2026, 6, 2, 8, 5, 17, tzinfo=UTC).timestamp()
WAITING = f"waiting for all volumes detached: {VOLUME},pvc-5f6d2f0e-9a53-4b2b-8f0b-5d5f3c1e7a10"


def stuck(one, own_seconds=601.0, stuck_seconds=600.0, server_wall_seconds=None):
    return setting_stuck(one, own_seconds=own_seconds, stuck_seconds=stuck_seconds, server_wall_seconds=server_wall_seconds)


def test_a_setting_in_progress_for_longer_than_the_threshold_quotes_what_harvester_says():
    found = stuck(setting(VALUE, busy()), own_seconds=1200)
    assert found is not None
    assert found.subject.as_dict() == {"setting": "storage-network"}
    assert (found.culprit, found.severity, found.network) == ("storage-network", Severity.WARNING, Network.STORAGE)
    assert '"Restarting Pods"' in found.summary
    assert "20 min" in found.summary
    assert "`kubectl -n harvester-system logs deployment/harvester" in found.next_step


def test_a_setting_in_progress_for_less_is_left_alone_and_a_completed_one_whatever_its_age():
    assert stuck(setting(VALUE, busy()), own_seconds=599) is None
    assert stuck(enabled(), own_seconds=1e9) is None
    assert stuck(disabled(), own_seconds=1e9) is None


@pytest.mark.parametrize("message", [WAITING, WAITING.replace("waiting", "Waiting", 1)])
def test_volumes_that_are_still_attached_are_named_with_the_command_that_says_who_holds_them(message):
    found = stuck(setting(VALUE, busy(message)))
    assert found is not None
    assert found.reason == "volumes_attached"
    assert f"`kubectl -n longhorn-system get volumeattachments.longhorn.io {VOLUME} -o yaml`" in found.next_step
    assert "pvc-5f6d2f0e-9a53-4b2b-8f0b-5d5f3c1e7a10" in found.next_step
    assert found.evidence == (f"waits for volume {VOLUME}", "waits for volume pvc-5f6d2f0e-9a53-4b2b-8f0b-5d5f3c1e7a10")


def test_a_thousand_attached_volumes_are_counted_not_all_listed():
    found = stuck(setting(VALUE, busy("waiting for all volumes detached: " + ",".join(f"pvc-{i:04}" for i in range(1000)))))
    assert found is not None
    assert len(found.summary) < 400
    assert len(found.evidence) == 20
    assert "more attached" in found.next_step


def test_a_volume_with_a_hostile_name_reaches_no_command():
    found = stuck(setting(VALUE, busy("waiting for all volumes detached: $(reboot),`id`")))
    assert found is not None
    assert "`kubectl -n longhorn-system get volumeattachments.longhorn.io -o yaml`" in found.next_step


def test_an_allocation_failure_that_is_retried_for_ever_points_at_events_and_pools():
    found = stuck(setting(VALUE, busy("IP allocation failure for Longhorn Pods")))
    assert found is not None
    assert found.reason == "no_addresses"
    assert "FailedCreatePodSandBox" in found.next_step
    assert "ippools.whereabouts.cni.cncf.io" in found.next_step


def test_our_own_clock_decides_and_a_new_message_does_not_begin_anew():
    since = unconfigured_since({}, [setting(VALUE, busy("Stopping Pods"))], now=100.0)
    assert since == {"storage-network": 100.0}
    later = unconfigured_since(since, [setting(VALUE, busy("Restarting Pods")), rwx(RWX_VALUE, busy())], now=900.0)
    assert later == {"storage-network": 100.0, "rwx-network": 900.0}
    assert unconfigured_since(later, [enabled()], now=901.0) == {}


def test_after_a_restart_of_ours_the_old_update_time_tells_that_it_hangs_for_days():
    found = stuck(setting(VALUE, busy(since=UPDATED)), own_seconds=0, server_wall_seconds=UPDATED_AT + 3 * 86_400)
    assert found is not None
    assert "3 d" in found.summary


def test_the_longer_of_our_own_clock_and_the_servers_word_decides():
    one = setting(VALUE, busy(since=UPDATED))
    assert stuck(one, own_seconds=30, server_wall_seconds=UPDATED_AT + 30) is None
    assert stuck(one, own_seconds=30, server_wall_seconds=UPDATED_AT + 601) is not None
    assert stuck(one, own_seconds=601, server_wall_seconds=UPDATED_AT + 5) is not None
    assert stuck(one, own_seconds=30, server_wall_seconds=UPDATED_AT - 3600) is None, "a time ahead of the server's clock says nothing"


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-13-45T99:99:99Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9" * 5000, "2126-01-01T00:00:00Z"],
)
def test_an_update_time_that_says_nothing_useful_is_left_out(text):
    assert stuck(setting(VALUE, busy(since=text)), own_seconds=10, server_wall_seconds=UPDATED_AT) is None
    assert stuck(setting(VALUE, busy(since=text)), own_seconds=700, server_wall_seconds=UPDATED_AT) is not None


def test_the_rwx_network_hangs_by_its_own_name():
    found = stuck(rwx(RWX_VALUE, busy()))
    assert found is not None
    assert (found.culprit, found.network) == ("rwx-network", Network.RWX)


@pytest.mark.parametrize(
    ("one", "waits"),
    [
        (setting("", touched=False), False),
        (setting(None, touched=False), False),
        (setting(VALUE, touched=False), True),
        (setting("", touched=True), True),
        (setting(VALUE, ConditionRecord(type="configured", status="Unknown")), True),
        (setting(VALUE, ConditionRecord(type="other", status="True")), True),
        (setting('{"share-storage-network":false}', name="rwx-network", nad=""), False),
        (setting('{"share-storage-network":true}', name="rwx-network", nad=""), True),
        (setting("x", busy(), name="some-other-setting"), False),
    ],
)
def test_what_was_never_asked_for_does_not_wait(one, waits):
    assert is_waiting(one) is waits


def test_a_message_of_another_kind_names_no_volumes():
    assert waited_for("Stopping Pods") == ()
    assert waited_for("waiting for all volumes detached: ") == ()


def test_a_message_with_line_breaks_and_control_characters_is_quoted_on_one_line():
    found = stuck(setting(VALUE, busy("volume error:\n\tfoo\x1b[31m bar " + "x" * 100_000)))
    assert found is not None
    assert found.summary.isprintable()
    assert len(found.summary) < 400


def test_an_edited_value_that_harvester_has_not_taken_up_is_told_by_its_hash():
    """The value got an exclude; the annotation is still the hash of the one without."""
    found = setting_unapplied(enabled(applied="176f5586f518f9b795ac530933b7588b17613c06"))
    assert found is not None
    assert (found.reason, found.culprit) == ("hash", "storage-network")
    assert "176f5586f518f9b795ac530933b7588b17613c06" in found.seen
    assert "ce19d914b0e767de923961a8d8d5503c006afc79" in found.expected
    assert setting_unapplied(enabled()) is None


def test_a_blank_more_is_another_configuration():
    assert setting_unapplied(setting(VALUE + " ", DONE, applied="ce19d914b0e767de923961a8d8d5503c006afc79")) is not None


def test_a_disabled_setting_and_one_never_used_are_applied():
    assert setting_unapplied(disabled()) is None
    assert setting_unapplied(setting("", touched=False)) is None
    assert setting_unapplied(setting(None, DONE, nad="", applied=EMPTY_HASH)) is None


def test_a_value_taken_away_that_is_still_in_force_is_not_applied():
    assert setting_unapplied(setting("", DONE, applied="ce19d914b0e767de923961a8d8d5503c006afc79")) is not None


def test_a_value_written_with_the_webhook_off_is_told_with_what_is_wrong_with_it():
    found = setting_unapplied(setting("{vlan:100}", busy("create NAD"), nad=""))
    assert found is not None
    assert found.reason == "unparsable"
    assert "{vlan:100}" in found.seen
    assert "`kubectl get settings.harvesterhci.io storage-network -o yaml`" in found.next_step


def test_the_hash_of_the_rwx_network_is_not_over_its_raw_value_so_it_is_never_judged():
    assert setting_unapplied(rwx()) is None
    found = setting_unapplied(rwx("{"))
    assert found is not None
    assert (found.reason, found.culprit) == ("unparsable", "rwx-network")


def test_a_value_too_long_for_us_is_not_called_unreadable():
    assert setting_unapplied(setting('{"range":"' + "1" * 100_000 + '"}', DONE)) is None


def test_longhorn_on_another_nad_than_harvester_is_critical_and_names_both():
    found = setting_mismatch(enabled(), longhorn(OLD_NAD))
    assert found is not None
    assert (found.severity, found.reason, found.culprit) == (Severity.CRITICAL, "other_nad", "storage-network")
    assert OLD_NAD in found.summary
    assert NAD in found.summary
    assert "`kubectl -n longhorn-system get settings.longhorn.io storage-network -o yaml`" in found.next_step


def test_longhorn_emptied_by_hand_says_that_replicas_use_the_pod_network():
    found = setting_mismatch(enabled(), longhorn(""))
    assert found is not None
    assert found.reason == "longhorn_empty"
    assert "pod network" in found.summary


def test_longhorn_still_set_after_harvester_was_switched_off():
    found = setting_mismatch(disabled(), longhorn())
    assert found is not None
    assert found.reason == "still_set"
    assert "the network is off" in found.summary


def test_the_same_name_in_both_is_no_mismatch_nor_are_two_empty_ones():
    assert setting_mismatch(enabled(), longhorn()) is None
    assert setting_mismatch(enabled(), longhorn(f" {NAD}\n")) is None
    assert setting_mismatch(disabled(), longhorn("")) is None
    assert setting_mismatch(disabled(), longhorn(None)) is None


def test_while_harvester_applies_or_longhorns_setting_is_unknown_nothing_is_compared():
    assert setting_mismatch(setting(VALUE, busy("waiting for all volumes detached: pvc-a")), longhorn("")) is None
    assert setting_mismatch(enabled(), None) is None
    assert setting_mismatch(rwx(), longhorn(RWX_NAD)) is None


def test_a_value_of_longhorn_that_is_no_name_is_shown_and_not_run():
    found = setting_mismatch(enabled(), longhorn("`reboot`\n" * 10_000))
    assert found is not None
    assert len(found.summary) < 400
    assert "reboot" not in found.next_step


def test_other_settings_are_nobodys_business_here():
    other = SettingRecord(name="vm-migration-network", value="{", conditions=(busy(),))
    assert stuck(other, own_seconds=1e6) is None
    assert setting_unapplied(other) is None
    assert setting_mismatch(other, longhorn()) is None
