"""NADs that are gone, that drifted from the setting, and that nobody names any more."""

import json

import pytest
from setting_cases import (
    CONFIG,
    NAD,
    OLD_NAD,
    RWX_CONFIG,
    RWX_NAD,
    RWX_VALUE,
    VALUE,
    busy,
    config,
    disabled,
    enabled,
    longhorn,
    manager_pods,
    nad_record,
    rwx,
    setting,
)
from unitworld import record

from agent.model.finding import Severity
from agent.model.peers import Network
from agent.rules.netstatus import NETWORKS
from agent.rules.setting_nads import LEFTOVERS_TOLD, nad_drift, nad_leftovers, nad_missing
from agent.rules.setting_value import value_hash

IN_USE = {NAD: Network.STORAGE}


def changed(**ipam):
    document = json.loads(CONFIG)
    document["ipam"] |= ipam
    return config(json.dumps(document))


def test_a_nad_deleted_under_a_running_cluster_is_missing_by_name():
    """Harvester up to 1.7 lets kubectl delete it (issue 9623); nothing breaks until a pod starts again."""
    (found,) = nad_missing(IN_USE, known=())
    assert found.subject.as_dict() == {"nad": NAD}
    assert (found.culprit, found.severity, found.network) == (NAD, Severity.CRITICAL, Network.STORAGE)
    assert "no storage pod can start again" in found.summary
    assert "`kubectl -n harvester-system get network-attachment-definitions.k8s.cni.cncf.io`" in found.next_step
    assert "`kubectl get settings.harvesterhci.io storage-network -o yaml`" in found.next_step


def test_a_nad_that_is_there_or_could_only_not_be_read_is_not_missing():
    assert nad_missing(IN_USE, known=(NAD,)) == []
    assert nad_missing(IN_USE, known=(), skipped=(f"{NAD}: spec.config is a number",)) == []
    assert nad_missing({}, known=()) == []


def test_without_harvester_longhorns_setting_is_the_one_to_look_at():
    (found,) = nad_missing({"net/sn": Network.STORAGE}, known=(), harvester=False)
    assert "harvesterhci" not in found.next_step
    assert "`kubectl -n longhorn-system get settings.longhorn.io storage-network -o yaml`" in found.next_step
    assert "`kubectl -n net get network-attachment-definitions" in found.next_step


def test_a_missing_rwx_nad_points_at_its_own_setting():
    (found,) = nad_missing({RWX_NAD: Network.RWX}, known=())
    assert found.network is Network.RWX
    assert "rwx-network" in found.expected


def test_a_name_that_is_no_name_is_shown_short_and_put_into_no_command():
    (found,) = nad_missing({"$(reboot)/" + "x" * 100_000: Network.STORAGE}, known=())
    assert len(found.culprit) <= 80
    assert "reboot" not in found.next_step


def test_a_nad_as_harvester_wrote_it_has_not_drifted():
    assert nad_drift(enabled(), config()) is None
    assert nad_drift(rwx(), config(RWX_CONFIG, name=RWX_NAD)) is None
    assert nad_drift(enabled(), config(CONFIG.replace('"vlan":100', '"mtu":9000,"vlan":100'))) is None


@pytest.mark.parametrize(
    ("nad", "key", "seen", "expected"),
    [
        (changed(range="192.168.5.0/24"), "range+exclude", "192.168.5.0/24", "192.168.0.0/24"),
        (changed(range="192.168.0.0/25"), "range", "192.168.0.0/25", "192.168.0.0/24"),
        (changed(range_start="192.168.0.100"), "range", "192.168.0.100", "192.168.0.1 – 192.168.0.254"),
        (changed(exclude=["192.168.0.2/32"]), "exclude", "192.168.0.2/32", "192.168.0.1/32"),
        (changed(exclude=[]), "exclude", "none", "192.168.0.1/32"),
        (config(CONFIG.replace('"vlan":100', '"vlan":200')), "vlan", "200", "100"),
        (config(CONFIG.replace('"vlan":100,', "")), "vlan", "none", "100"),
        (config(CONFIG.replace("storage-br", "mgmt-br")), "bridge", "mgmt-br", "storage-br"),
    ],
)
def test_each_part_that_was_edited_by_hand_is_told_with_both_values(nad, key, seen, expected):
    found = nad_drift(enabled(), nad)
    assert found is not None
    assert found.culprit == NAD
    assert found.reason is not None
    assert set(found.reason.split("+")) & set(key.split("+"))
    assert seen in found.seen
    assert expected in found.expected
    assert "storagenetwork-95bj4 -o yaml`" in found.next_step


def test_several_parts_make_one_finding():
    found = nad_drift(enabled(), config(CONFIG.replace('"vlan":100', '"vlan":200').replace("192.168.0.0/24", "192.168.1.0/24")))
    assert found is not None
    assert found.reason == "vlan+range"
    assert "vlan, range differ" in found.summary


def test_order_spelling_and_the_untagged_vlan_make_no_drift():
    two = VALUE.replace('["192.168.0.1/32"]', '["192.168.0.8/30","192.168.0.1/32"]')
    assert nad_drift(setting(two, enabled().conditions[0]), changed(exclude=["192.168.0.1", "192.168.0.9/30"])) is None
    untagged = VALUE.replace('"vlan":100,', "")
    assert nad_drift(setting(untagged, enabled().conditions[0]), config(CONFIG.replace('"vlan":100', '"vlan":1'))) is None


def test_a_configuration_that_nobody_can_read_is_drift():
    found = nad_drift(enabled(), config("{broken"))
    assert found is not None
    assert found.reason == "config"
    assert "not JSON" in found.seen


def test_while_the_value_is_not_in_force_its_nad_may_differ():
    other = config(CONFIG.replace('"vlan":100', '"vlan":200'))
    assert nad_drift(setting(VALUE, busy()), other) is None
    assert nad_drift(enabled(applied="176f5586f518f9b795ac530933b7588b17613c06"), other) is None
    assert nad_drift(disabled(), other) is None
    assert nad_drift(enabled(), None) is None
    assert nad_drift(enabled(), config(name=OLD_NAD)) is None
    assert nad_drift(setting("{", enabled().conditions[0]), other) is None


def test_a_shared_rwx_network_has_no_nad_of_its_own_to_drift():
    assert nad_drift(rwx('{"share-storage-network":true}', nad=NAD), config()) is None


def test_other_plugins_and_other_ipam_are_compared_only_in_what_they_share():
    macvlan = '{"type":"macvlan","master":"ens7","ipam":{"type":"whereabouts","range":"192.168.0.0/24","exclude":["192.168.0.1/32"]}}'
    static = '{"type":"bridge","bridge":"storage-br","vlan":100,"ipam":{"type":"host-local","ranges":[[{"subnet":"172.16.0.0/24"}]]}}'
    assert nad_drift(enabled(), config(macvlan)) is None
    assert nad_drift(enabled(), config(static)) is None


def test_a_range_in_the_setting_that_is_none_is_not_compared():
    assert nad_drift(setting(VALUE.replace("192.168.0.0/24", "storage"), enabled().conditions[0]), config()) is None


def leftovers(*nads, settings=None, lh=None, pods=None, other=()):
    return nad_leftovers(
        nads,
        settings=(enabled(), rwx()) if settings is None else settings,
        longhorn=(longhorn(),) if lh is None else lh,
        pods=manager_pods() if pods is None else pods,
        other_requests=other,
    )


def test_a_nad_that_a_retrying_controller_left_behind_is_told_with_how_to_delete_it():
    (found,) = leftovers(nad_record(), nad_record(OLD_NAD), nad_record(RWX_NAD, RWX_CONFIG, made_for="rwx-network"))
    assert (found.id, found.culprit, found.severity) == ("nad-leftover", OLD_NAD, Severity.INFO)
    assert "`kubectl -n harvester-system delete network-attachment-definitions.k8s.cni.cncf.io storagenetwork-zz81q`" in found.next_step


def test_a_left_over_rwx_nad_is_of_its_own_network():
    (found,) = leftovers(nad_record(RWX_NAD, RWX_CONFIG, made_for="rwx-network"), settings=(enabled(),))
    assert found.network is Network.RWX


def test_networks_of_vms_are_nobodys_leftovers():
    assert leftovers(nad_record("default/vm-vlan-200", made_for=None), nad_record("a/b", made_for="vm-migration-network")) == []


def test_the_old_nad_is_in_use_until_the_new_one_is_completed():
    changing = setting(VALUE, busy(), old=OLD_NAD)
    assert leftovers(nad_record(OLD_NAD), settings=(changing,)) == []
    assert len(leftovers(nad_record(OLD_NAD), settings=(enabled(old=OLD_NAD),))) == 1


def test_the_nad_that_harvester_is_just_making_is_not_left_over():
    fresh = setting(VALUE, busy("create NAD"), nad="")
    assert leftovers(nad_record(OLD_NAD, hashed=value_hash(fresh)), settings=(fresh,), lh=()) == []
    assert len(leftovers(nad_record(OLD_NAD, hashed="of another value"), settings=(fresh,), lh=())) == 1
    unlabelled = nad_record(OLD_NAD, hashed="")
    assert len(leftovers(unlabelled, settings=(setting("", busy(), name="rwx-network", nad=""),), lh=())) == 1


def test_what_longhorn_or_any_pod_names_is_used():
    asking = record("share-manager-x", annotations={NETWORKS: OLD_NAD})
    assert leftovers(nad_record(OLD_NAD), lh=(longhorn(OLD_NAD),)) == []
    assert leftovers(nad_record(OLD_NAD), lh=(longhorn(OLD_NAD, name="endpoint-network-for-rwx-volume"),)) == []
    assert leftovers(nad_record(OLD_NAD), pods=(asking,)) == []
    assert leftovers(nad_record(OLD_NAD), other=(OLD_NAD,)) == []


def test_a_pod_that_has_ended_uses_nothing():
    ended = record("instance-manager-old", annotations={NETWORKS: OLD_NAD}, phase="Failed")
    assert len(leftovers(nad_record(OLD_NAD), pods=(ended,))) == 1


def test_after_switching_off_its_nads_are_left_over():
    assert [one.culprit for one in leftovers(nad_record(), settings=(disabled(),), lh=(longhorn(""),), pods=())] == [NAD]


def test_hundreds_of_leftovers_are_bounded_and_the_rest_is_counted():
    found = leftovers(*(nad_record(f"harvester-system/storagenetwork-{i:05}") for i in range(300)))
    assert len(found) == LEFTOVERS_TOLD
    assert found[0].evidence == ("250 more are left over and not listed",)


def test_the_dedicated_rwx_nad_that_drifted_names_its_setting():
    found = nad_drift(rwx(RWX_VALUE), config(RWX_CONFIG.replace("110", "111"), name=RWX_NAD))
    assert found is not None
    assert found.network is Network.RWX
    assert "the setting rwx-network says" in found.summary
