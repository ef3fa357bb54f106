"""The whole of a cluster in one look: what is raised, on which sources it rests, and what an outage of ours does not clear."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from setting_cases import (
    CONFIG,
    CRDS,
    HELD,
    NAD,
    OLD_NAD,
    RWX_CONFIG,
    RWX_NAD,
    VALUE,
    VOLUME,
    busy,
    cluster_facts,
    disabled,
    enabled,
    holder_facts,
    ids,
    judged,
    known,
    longhorn,
    manager,
    manager_pods,
    monitored,
    nad_record,
    node,
    nodes,
    replica,
    rwx,
    setting,
    vlan_config,
)
from unitworld import REQUEST, record

from agent.model.catalogue import CATALOGUE, identity
from agent.model.cluster import ClusterFacts
from agent.model.holder import HolderFacts, InstanceManagerRecord, InstanceRecord, MonitoringRecord
from agent.model.records import NadRecord, NodeRecord, SettingRecord, SourceState, VlanConfigRecord
from agent.rules.ledger import advance
from agent.rules.mode import read_mode
from agent.rules.nad import parse_nad
from agent.rules.netstatus import NETWORK_STATUS, NETWORKS
from agent.rules.setting_judge import RESTS_ON, look_setting, source_states

FALLEN = replica("10.52.2.121")
BARE = record("instance-manager-bare", address=None)


def broken() -> tuple[ClusterFacts, HolderFacts]:
    """One cluster with one case of everything that does not exclude the others."""
    bare = record("instance-manager-bare", address=None)
    facts = cluster_facts(
        setting=known("setting", enabled(), rwx('{"share-storage-network":false,"network":{"range":7}}', busy(), nad=RWX_NAD)),
        longhorn_settings=known("longhorn_settings", longhorn(OLD_NAD)),
        pods=known("pods", *manager_pods(), bare),
        nads=known("nads", nad_record(config=CONFIG.replace('"vlan":100', '"vlan":200'))),
        vlan_configs=known("cluster_network", vlan_config('["harv41"]')),
    )
    holder = holder_facts(
        crds=known("crds", CRDS[1]),
        monitoring=known("monitoring", monitored(replicas=0, held=HELD)),
        instance_managers=known("instance_managers", manager("harv41", name="instance-manager-gone")),
        all_nads=known("all_nads", nad_record(), nad_record("harvester-system/storagenetwork-leak1")),
        nodes=known("nodes", *nodes(), node("harv45", pod_cidrs=("192.168.0.0/24",))),
    )
    return facts, holder


def look(facts: ClusterFacts, holder: HolderFacts, **other):
    reading = read_mode(facts, interface="lhnet1")
    nads = {nad.key: parse_nad(nad.key, nad.config) for nad in facts.nads.items}
    return look_setting(judged(facts, holder, **other), facts=facts, holder=holder, reading=reading, nads=nads)


def test_a_healthy_cluster_has_nothing_to_say():
    assert judged() == []


def test_a_healthy_cluster_with_a_dedicated_rwx_network_has_nothing_to_say():
    facts = cluster_facts(
        setting=known("setting", enabled(), rwx()),
        longhorn_settings=known("longhorn_settings", longhorn(), longhorn(RWX_NAD, name="endpoint-network-for-rwx-volume")),
        nads=known("nads", nad_record(), nad_record(RWX_NAD, RWX_CONFIG, made_for="rwx-network")),
    )
    both = known("all_nads", nad_record(), nad_record(RWX_NAD, RWX_CONFIG, made_for="rwx-network"))
    assert judged(facts, holder_facts(all_nads=both)) == []


def test_everything_at_once_is_told_each_with_an_identity_of_its_own():
    facts, holder = broken()
    told = judged(facts, holder, unconfigured_since={"rwx-network": -700.0})
    assert set(ids(told)) == {
        "coverage-missing", "crd-missing", "grant-missing", "instance-manager-missing", "monitoring-left-stopped", "nad-drift",
        "nad-leftover", "nad-missing", "range-overlap", "setting-mismatch", "setting-stuck", "setting-unapplied",
    }  # fmt: skip
    assert len({identity(one.finding) for one in told}) == len(told)
    assert all(one.needs <= set(source_states(facts, holder)) for one in told)
    assert all(CATALOGUE[one.finding.id].holder for one in told)


def test_every_rule_says_what_it_rests_on():
    sources = set(source_states(cluster_facts(), holder_facts()))
    for name, needs in RESTS_ON.items():
        assert name in CATALOGUE
        assert needs
        assert needs <= sources


def test_a_replica_on_the_pod_network_rests_on_its_list_the_nad_and_the_setting():
    (told,) = judged(holder=holder_facts(replicas=known("replicas", FALLEN)))
    assert (told.finding.id, told.needs) == ("storage-ip-fallback", {"replicas", "nads", "setting"})
    engine = replace(FALLEN, kind="engine", name=f"{VOLUME}-e-0")
    (told,) = judged(holder=holder_facts(engines=known("engines", engine)))
    assert told.needs == {"engines", "nads", "setting"}


def test_without_harvester_only_what_applies_is_told_and_rests_on_longhorns_setting():
    facts = cluster_facts(
        setting=known("setting", state=SourceState.ABSENT),
        vlan_configs=known("cluster_network", state=SourceState.ABSENT),
        pods=known("pods", *manager_pods(), BARE),
    )
    told = judged(facts, holder_facts(replicas=known("replicas", FALLEN)))
    assert ids(told) == ["grant-missing", "storage-ip-fallback"]
    assert all("longhorn_settings" in one.needs and "setting" not in one.needs for one in told)


@pytest.mark.parametrize(
    "config",
    [
        '{"type":"macvlan","master":"ens7","ipam":{"type":"host-local","ranges":[[{"subnet":"192.168.0.0/24"}]]}}',
        '{"type":"ipvlan","ipam":{"type":"static"}}',
        '{"type":"bridge","bridge":"br7"}',
    ],
)
def test_a_macvlan_or_another_ipam_raises_nothing_that_does_not_apply(config):
    facts = cluster_facts(setting=known("setting", state=SourceState.ABSENT), nads=known("nads", nad_record(config=config)))
    assert judged(facts, holder_facts(crds=known("crds"), nodes=known("nodes"))) == []


def test_switched_off_only_leftovers_are_looked_for():
    facts = cluster_facts(
        setting=known("setting", disabled()),
        longhorn_settings=known("longhorn_settings", longhorn("")),
        nads=known("nads"),
        pods=known("pods"),
    )
    assert ids(judged(facts, holder_facts(crds=known("crds")))) == ["nad-leftover"]


def test_never_used_there_is_nothing_to_judge():
    facts = cluster_facts(
        setting=known("setting", setting("", touched=False)), longhorn_settings=known("longhorn_settings", longhorn("")), nads=known("nads")
    )
    assert judged(facts, holder_facts(all_nads=known("all_nads"))) == []


def test_nothing_read_yet_raises_nothing():
    assert judged(ClusterFacts(), HolderFacts()) == []


def test_the_nads_source_must_have_been_read_for_a_nad_to_be_missing():
    assert judged(cluster_facts(nads=known("nads", state=SourceState.NEVER))) == []
    assert judged(cluster_facts(nads=known("nads", state=SourceState.FORBIDDEN))) == []
    assert ids(judged(cluster_facts(nads=known("nads")))) == ["nad-missing"]


def test_each_missing_nad_points_at_the_setting_that_names_it():
    facts = cluster_facts(longhorn_settings=known("longhorn_settings", longhorn(OLD_NAD)), nads=known("nads"))
    told = {one.finding.culprit: one for one in judged(facts) if one.finding.id == "nad-missing"}
    assert told[NAD].needs == {"nads", "setting"}
    assert "settings.harvesterhci.io" in told[NAD].finding.next_step
    assert told[OLD_NAD].needs == {"nads", "longhorn_settings"}
    assert "settings.longhorn.io" in told[OLD_NAD].finding.next_step


def test_while_harvester_switches_off_longhorns_last_word_is_not_missed():
    facts = cluster_facts(setting=known("setting", setting("", busy("Update Longhorn setting"), nad="", old=NAD)), nads=known("nads"))
    assert judged(facts) == []


def test_a_guessed_name_is_never_missing():
    """Both settings unreadable: the name is what the pods ask for, and their NAD is nobody's to watch yet."""
    facts = cluster_facts(
        setting=known("setting", state=SourceState.FORBIDDEN),
        longhorn_settings=known("longhorn_settings", state=SourceState.FORBIDDEN),
        nads=known("nads"),
    )
    assert judged(facts) == []


def test_the_api_servers_word_that_there_are_no_pools_does_for_a_list_of_crds_that_may_not_be_read():
    holder = holder_facts(crds=known("crds", state=SourceState.FORBIDDEN), pools=known("ippools", state=SourceState.ABSENT))
    (told,) = judged(holder=holder)
    assert told.finding.id == "crd-missing"
    assert "ippools" in told.finding.summary
    assert "overlapping" not in told.finding.summary
    assert "crds" not in told.needs


def test_a_young_pod_is_given_its_grace():
    young = record("instance-manager-new", address=None, born_monotonic_seconds=90.0)
    facts = cluster_facts(pods=known("pods", *manager_pods(), young))
    assert judged(facts, now=100.0) == []
    assert ids(judged(facts, now=121.0)) == ["grant-missing"]


def test_a_setting_is_stuck_by_the_clock_that_the_caller_keeps():
    facts = cluster_facts(setting=known("setting", setting(VALUE, busy("Stopping Pods"))))
    assert ids(judged(facts, now=1000.0)) == []
    assert ids(judged(facts, now=1000.0, unconfigured_since={"storage-network": 500.0})) == []
    assert ids(judged(facts, now=1000.0, unconfigured_since={"storage-network": 399.0})) == ["setting-stuck"]


def test_while_it_is_applied_volumes_are_not_judged():
    facts = cluster_facts(setting=known("setting", setting(VALUE, busy())))
    assert judged(facts, holder_facts(replicas=known("replicas", FALLEN))) == []


def test_two_networks_that_meet_are_told_once_on_the_rwx_network():
    meeting = RWX_CONFIG.replace("192.168.10.0/26", "192.168.0.64/26")
    facts = cluster_facts(
        setting=known("setting", enabled(), rwx()), nads=known("nads", nad_record(), nad_record(RWX_NAD, meeting, made_for="rwx-network"))
    )
    overlaps = [one for one in judged(facts) if one.finding.id == "range-overlap"]
    assert [one.finding.culprit for one in overlaps] == [RWX_NAD]


def test_an_old_and_a_new_nad_of_the_same_range_do_not_overlap():
    facts = cluster_facts(
        longhorn_settings=known("longhorn_settings", longhorn(OLD_NAD)), nads=known("nads", nad_record(), nad_record(OLD_NAD))
    )
    assert "range-overlap" not in ids(judged(facts))


def test_a_node_uncovered_by_two_cluster_networks_is_one_finding():
    value = '{"share-storage-network":false,"network":{"vlan":110,"clusterNetwork":"nfs","range":"192.168.10.0/26"}}'
    nad = nad_record(RWX_NAD, RWX_CONFIG.replace("storage-br", "nfs-br"), made_for="rwx-network")
    facts = cluster_facts(
        setting=known("setting", enabled(), rwx(value)),
        nads=known("nads", nad_record(), nad),
        vlan_configs=known("cluster_network", vlan_config('["harv41"]'), vlan_config('["harv41","harv42"]', network="nfs")),
    )
    told = [one for one in judged(facts) if one.finding.id == "coverage-missing"]
    assert [one.finding.culprit for one in told] == ["harv42", "harv43"]


STALE = SourceState.STALE


@pytest.mark.parametrize(
    ("source", "stale_facts", "stale_holder", "silenced"),
    [
        ("setting", {"setting": known("setting", enabled(), state=STALE)}, {}, {"setting-mismatch", "nad-drift", "coverage-missing"}),
        ("pods", {"pods": known("pods", *manager_pods(), BARE, state=STALE)}, {}, {"grant-missing", "instance-manager-missing"}),
        ("crds", {}, {"crds": known("crds", state=STALE)}, {"crd-missing"}),
        (
            "all_nads",
            {},
            {"all_nads": known("all_nads", nad_record("harvester-system/storagenetwork-leak1"), state=STALE)},
            {"nad-leftover"},
        ),
        ("monitoring", {}, {"monitoring": known("monitoring", monitored(replicas=0, held=HELD), state=STALE)}, {"monitoring-left-stopped"}),
    ],
)
def test_on_a_stale_source_a_finding_may_go_on_and_not_begin(source, stale_facts, stale_holder, silenced):
    facts, holder = broken()
    seen = look(replace(facts, **stale_facts), replace(holder, **stale_holder))
    begins = {claim.finding.id for claim in seen.claims if claim.may_start}
    assert silenced & {claim.finding.id for claim in seen.claims}, source
    assert not silenced & begins, source


def test_a_source_that_was_lost_for_good_clears_nothing():
    """The holder may no longer read InstanceManagers: what was known of them is neither confirmed nor cleared."""
    facts, holder = broken()
    first = look(facts, holder)
    ledger, _ = advance({}, first, producer="setting", now=0, wall=0, disagreement_seconds=10)
    ledger, raised = advance(ledger, first, producer="setting", now=11, wall=11, disagreement_seconds=10)
    assert "instance-manager-missing" in {change.finding.id for change in raised}
    blind = replace(holder, instance_managers=known("instance_managers", state=SourceState.FORBIDDEN))
    ledger, changes = advance(ledger, look(facts, blind), producer="setting", now=22, wall=22, disagreement_seconds=10)
    assert "instance-manager-missing" not in {change.finding.id for change in changes}
    mended = replace(holder, instance_managers=known("instance_managers"))
    _, changes = advance(ledger, look(facts, mended), producer="setting", now=33, wall=33, disagreement_seconds=10)
    assert ("cleared", "instance-manager-missing") in {(change.kind, change.finding.id) for change in changes}


def test_everything_clears_once_it_is_mended():
    facts, holder = broken()
    ledger, _ = advance({}, look(facts, holder), producer="setting", now=0, wall=0, disagreement_seconds=10)
    ledger, raised = advance(ledger, look(facts, holder), producer="setting", now=11, wall=11, disagreement_seconds=10)
    standing = [entry.finding for entry in ledger.values() if entry.standing]
    assert len(standing) == len(ledger)
    assert raised
    ledger, changes = advance(
        ledger, look(cluster_facts(), holder_facts()), producer="setting", now=22, wall=22, disagreement_seconds=10
    )  # fmt: skip
    assert ledger == {}
    assert {change.kind for change in changes} == {"cleared"}
    assert len(changes) == len(standing)


def test_a_nad_that_turned_unreadable_does_not_mend_a_fallback():
    facts, holder = cluster_facts(), holder_facts(replicas=known("replicas", FALLEN))
    (claim,) = look(facts, holder).claims
    unreadable = cluster_facts(nads=known("nads", nad_record(config="{broken")))
    assert look(unreadable, holder).undecided(claim.finding)
    assert not look(facts, holder_facts()).undecided(claim.finding)


def test_a_vlan_config_that_turned_unreadable_does_not_cover_a_node():
    facts = cluster_facts(vlan_configs=known("cluster_network", vlan_config('["harv41","harv42"]')))
    (claim,) = look(facts, holder_facts()).claims
    unclear = cluster_facts(vlan_configs=known("cluster_network", vlan_config(None)))
    assert look(unclear, holder_facts()).undecided(claim.finding)


def test_a_waiting_fallback_needs_its_second_look():
    facts, holder = cluster_facts(), holder_facts(replicas=known("replicas", FALLEN))
    ledger, changes = advance({}, look(facts, holder), producer="setting", now=0, wall=0, disagreement_seconds=10)
    assert changes == ()
    _, changes = advance(ledger, look(facts, holder), producer="setting", now=10, wall=10, disagreement_seconds=10)
    assert [(change.kind, change.finding.id) for change in changes] == [("raised", "storage-ip-fallback")]


ODD = (
    *("", "a/b", NAD, VALUE, CONFIG, REQUEST, "[", "{}", "null", "[1]", "192.168.0.0/24", "10.52.2.121", "True", "running"),
    *("$(reboot)", "\x00\ud800"),
)
words = st.sampled_from(ODD) | st.text(max_size=20)
texts = (
    st.none() | words | st.builds(json.dumps, st.dictionaries(st.sampled_from(["vlan", "range", "type", "ipam"]), words | st.integers()))
)
hostile_settings = st.builds(
    lambda name, value, condition, notes: SettingRecord(name=name, value=value, annotations=notes, conditions=condition),
    st.sampled_from(["storage-network", "rwx-network", "other"]),
    texts,
    st.just(()) | st.builds(lambda message, at: (busy(message, since=at),), texts, words) | st.just(enabled().conditions),
    st.dictionaries(
        st.sampled_from(["hash", "net-attach-def", "old-net-attach-def"]).map("storage-network.settings.harvesterhci.io/{}".format), words
    ),
)
hostile_nads = st.builds(
    lambda name, config, on: NadRecord(
        namespace="harvester-system", name=name, config=config, annotations={"storage-network.settings.harvesterhci.io": on}
    ),
    words,
    texts,
    words | st.just("true"),
)


@hypothesis_settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_nothing_that_the_api_may_hold_makes_it_raise(data):
    draw = data.draw
    requests = st.dictionaries(st.sampled_from([NETWORKS, NETWORK_STATUS]), words)
    facts = cluster_facts(
        setting=known("setting", *draw(st.lists(hostile_settings, max_size=3))),
        longhorn_settings=known("longhorn_settings", longhorn(draw(texts))),
        nads=known("nads", *draw(st.lists(hostile_nads, max_size=3)), skipped=(draw(words),)),
        pods=known("pods", record(annotations=draw(requests)), record(draw(words), annotations=draw(requests))),
        vlan_configs=known("cluster_network", VlanConfigRecord(name="x", cluster_network=draw(texts), matched_nodes=draw(texts))),
    )
    holder = holder_facts(
        nodes=known("nodes", NodeRecord(name=draw(words), internal_ips=(draw(words),), pod_cidrs=(draw(words),))),
        all_nads=known("all_nads", *draw(st.lists(hostile_nads, max_size=3))),
        crds=known("crds", draw(words)),
        instance_managers=known("instance_managers", InstanceManagerRecord(name=draw(words), node_id=draw(texts), state=draw(texts))),
        replicas=known("replicas", InstanceRecord(kind=draw(words), name=draw(words), storage_ip=draw(texts), state="running")),
        monitoring=known("monitoring", MonitoringRecord(kind=draw(words), namespace="x", name=draw(words), replicas=0, held=HELD)),
    )
    for one in judged(facts, holder, now=1e6, unconfigured_since={"storage-network": 0.0}, server_wall_seconds=1.8e9):
        assert len(one.finding.summary) < 2000
        assert identity(one.finding)
        assert not [part for part in one.finding.next_step.split("`")[1::2] if "$(" in part or "\x00" in part]
