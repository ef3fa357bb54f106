"""What the setting needs around it: CRDs, a cluster network on every node, monitoring that runs again."""

from dataclasses import replace

import pytest
from setting_cases import CONFIG, CRDS, HELD, VALUE, busy, config, disabled, enabled, monitored, node, nodes, rwx, setting, vlan_config

from agent.model.finding import Severity
from agent.rules.setting_cluster import (
    cluster_networks_of,
    coverage_missing,
    crd_missing,
    matched_nodes,
    monitoring_left_stopped,
    needed_crds,
)


def test_a_whereabouts_nad_needs_pools_and_reservations():
    assert needed_crds([config()]) == CRDS


def test_other_ipam_needs_none_and_options_need_what_they_use():
    assert needed_crds([config('{"type":"macvlan","ipam":{"type":"host-local"}}'), config("{broken")]) == ()
    alone = config(CONFIG.replace('"range"', '"enable_overlapping_ranges":false,"range"'))
    assert needed_crds([alone]) == CRDS[:1]
    sliced = config(CONFIG.replace('"range"', '"node_slice_size":"/28","range"'))
    assert "nodeslicepools.whereabouts.cni.cncf.io" in needed_crds([sliced])


def test_missing_crds_are_named_with_how_to_look():
    """Harvester issue 3168: they did not survive an upgrade from 1.0.3 to 1.1."""
    found = crd_missing(CRDS)
    assert found is not None
    assert (found.culprit, found.severity, found.subject.as_dict()) == ("cluster", Severity.CRITICAL, {})
    assert all(name in found.summary for name in CRDS)
    assert "`kubectl get crd -o name" in found.next_step
    assert crd_missing(()) is None


def covered(*configs, network="storage", among=None, skipped=()):
    return coverage_missing(network, nodes=nodes() if among is None else among, vlan_configs=configs, skipped=skipped)


def test_a_node_in_no_vlan_config_is_told_and_the_witness_is_not():
    (found,) = covered(vlan_config('["harv41","harv42"]'))
    assert (found.id, found.severity, found.culprit) == ("coverage-missing", Severity.WARNING, "harv43")
    assert found.subject.as_dict() == {"node": "harv43"}
    assert "no VlanConfig of the cluster network storage" in found.summary
    assert "storage-all" in found.seen
    assert "`kubectl get vlanconfigs.network.harvesterhci.io -o yaml`" in found.next_step


def test_one_config_for_all_or_one_for_each_covers_everybody():
    assert covered(vlan_config()) == []
    assert covered(vlan_config('["harv41"]'), vlan_config('["harv42","harv43"]')) == []


def test_configs_of_another_cluster_network_cover_nobody_here():
    found = covered(vlan_config(network="vm"))
    assert [one.culprit for one in found] == ["harv41", "harv42", "harv43"]
    assert "none; none matches harv41" in found[0].seen


@pytest.mark.parametrize("text", [None, "", "harv41", "[", '{"harv41":true}', "[1]", '["harv41",null]', "[" * 50_000, "x" * 300_000])
def test_a_config_that_does_not_say_whom_it_matches_may_match_anybody(text):
    assert matched_nodes(text) is None
    assert covered(vlan_config('["harv41"]'), vlan_config(text)) == []


def test_the_management_network_and_an_unknown_one_are_not_judged():
    assert covered(network="mgmt") == []
    assert covered(network=None) == []


def test_a_config_that_could_not_be_read_leaves_it_undecided():
    assert covered(skipped=("storage-43: spec.uplink is a text",)) == []


def test_a_label_that_says_false_makes_no_witness():
    plain = replace(node("harv45"), labels={"node-role.harvesterhci.io/witness": "false"})
    assert [one.culprit for one in covered(vlan_config(), among=(plain,))] == ["harv45"]


def test_cluster_networks_come_from_the_values_of_both_settings():
    other = rwx('{"network":{"clusterNetwork":"nfs","range":"192.168.10.0/26"}}')
    assert cluster_networks_of([enabled(), other]) == ("storage", "nfs")
    assert cluster_networks_of([enabled(), rwx()]) == ("storage",)
    assert cluster_networks_of([disabled(), setting("{")]) == ()


def stopped(*records, settings=None):
    return monitoring_left_stopped(records, settings=(enabled(),) if settings is None else settings)


def test_monitoring_that_never_came_back_is_one_finding_with_the_commands_that_bring_it_back():
    """Harvester issue 8565."""
    held = [monitored(kind, replicas=0, held=HELD) for kind in ("Prometheus", "Alertmanager", "Deployment")]
    found = stopped(*held, monitored("Prometheus"))
    assert found is not None
    assert (found.culprit, found.severity) == ("cluster", Severity.WARNING)
    assert "Prometheus cattle-monitoring-system/rancher-monitoring-prometheus" in found.summary
    assert "Alertmanager cattle-monitoring-system/rancher-monitoring-alertmanager" in found.summary
    assert (
        "`kubectl -n cattle-monitoring-system patch prometheuses.monitoring.coreos.com rancher-monitoring-prometheus --type=merge "
        '-p \'{"metadata":{"annotations":{"storage-network.settings.harvesterhci.io/replica":null}},"spec":{"replicas":1}}\'`'
    ) in found.next_step
    assert found.evidence[0].endswith("replicas before 1")


def test_what_is_held_while_the_setting_is_applied_is_held_on_purpose():
    held = monitored(replicas=0, held=HELD)
    assert stopped(held, settings=(setting(VALUE, busy()),)) is None
    assert stopped(held, settings=()) is None
    assert stopped(held, settings=(disabled(),)) is not None


def test_what_runs_again_or_never_ran_is_not_left_stopped():
    assert stopped(monitored(), monitored("Alertmanager")) is None
    assert stopped(monitored(replicas=1, held=HELD)) is None
    assert stopped(monitored(replicas=None, held=HELD)) is None
    assert stopped(monitored(replicas=0, held={"storage-network.settings.harvesterhci.io/replica": "0"})) is None
    assert stopped(monitored(replicas=0)) is None


def test_what_the_other_setting_holds_goes_by_the_other_setting():
    held = monitored(replicas=0, held={"rwx-network.settings.harvesterhci.io/replica": "1"})
    assert stopped(held, settings=(enabled(), rwx('{"share-storage-network":true}', busy()))) is None
    found = stopped(held, settings=(enabled(), rwx()))
    assert found is not None
    assert "the setting rwx-network is completed" in found.summary


@pytest.mark.parametrize("count", ["$(reboot)", "-1", "1e9", "", "99999999999"])
def test_a_count_that_is_none_is_put_into_no_command(count):
    found = stopped(monitored(replicas=0, held={"storage-network.settings.harvesterhci.io/replica": count}))
    assert found is not None
    assert "patch" not in found.next_step


def test_a_kind_that_we_do_not_know_gets_words_instead_of_a_command():
    found = stopped(monitored("Grafana", replicas=0, held=HELD))
    assert found is not None
    assert "start Grafana" in found.next_step
