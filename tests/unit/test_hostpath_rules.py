"""A node's way to the storage network, judged from the links of its kernel: cases that people had, and what must stay silent."""

from dataclasses import replace

import pytest
from hostpath_cases import CONFIG, HEALTHY, NADS, NODE, POD, VETH, found, host, ids, inspected, link, only, path, vlan_config
from unitworld import LHNET1, NAD, pod

from agent.model.catalogue import identity
from agent.model.finding import Severity
from agent.rules.hostpath import bridges_here, elements, uplinks_of
from agent.rules.hostpath_texts import cause_clause
from agent.rules.nad import parse_nad

NO_CARRIER = {"carrier": False, "operstate": "down"}
SET_DOWN = {"up": False, "carrier": False, "operstate": "down"}


def test_a_healthy_node_is_followed_from_the_pod_to_its_nics_and_nothing_is_found():
    seen = path()
    assert found(seen) == []
    assert (seen.bridge.name, seen.uplink.name, seen.uplink.kind) == ("storage-br", "storage-bo", "bond")
    assert [nic.name for nic in seen.nics] == ["ens5", "ens6"]
    assert [(veth.name, veth.bridge, veth.pod.key) for veth in seen.veths] == [(VETH, "storage-br", POD.key)]
    assert seen.cluster_network == "storage"


def test_a_bridge_that_is_gone_is_one_finding_and_not_five():
    """The pods' ends lose their master with it; the bond hangs in the air."""
    orphaned = host("storage-br", storage_bo={"master_index": None, "carrier": False}, **{VETH: {"master_index": None}})
    finding = only(path(orphaned))
    assert (finding.id, finding.severity, finding.reason) == ("bridge-missing", Severity.CRITICAL, "missing")
    assert finding.subject.as_dict() == {"node": NODE}
    assert cause_clause(finding.summary) == "its bridge storage-br does not exist"
    assert "network-controller" in finding.next_step


def test_a_bridge_that_is_set_down_carries_as_little_as_none_and_is_told_as_that():
    finding = only(path(host(storage_br=SET_DOWN)))
    assert (finding.id, finding.reason) == ("bridge-missing", "admin_down")
    assert "`sudo ip link set dev storage-br up`" in finding.next_step


def test_something_else_of_the_bridges_name_is_no_bridge():
    finding = only(path(host(storage_br={"kind": "dummy"})))
    assert (finding.id, finding.reason) == ("bridge-missing", "not_a_bridge")


def test_a_bridge_in_state_unknown_alone_is_no_finding():
    """Harvester issue 3664 showed it, and so does many a healthy bridge: flags and ports decide."""
    assert ids(path(host(storage_br={"operstate": "unknown"}))) == []


def test_after_a_boot_the_bond_is_there_and_not_on_the_bridge():
    finding = only(path(host(storage_bo={"master_index": None})))
    assert (finding.id, finding.reason) == ("uplink-missing", "not_attached")
    assert cause_clause(finding.summary) == "its bridge storage-br has no uplink, storage-bo is there and on no bridge"
    assert "`sudo ip link set dev storage-bo master storage-br up`" in finding.next_step


def test_a_missing_uplink_hides_that_it_has_no_carrier():
    off = host(storage_bo={"master_index": None} | NO_CARRIER, ens5=NO_CARRIER, ens6=NO_CARRIER)
    assert ids(path(off)) == ["uplink-missing"]


def test_a_bond_that_was_deleted_is_told_by_its_name():
    gone = host("storage-bo", ens5={"master_index": None}, ens6={"master_index": None})
    finding = only(path(gone))
    assert (finding.id, finding.reason) == ("uplink-missing", "no_bond")
    assert "storage-bo does not exist" in finding.summary


def test_ends_of_pods_and_vms_are_no_uplink():
    """The tap and a veth of somebody's VM are ports of the bridge too."""
    other = link(2400, "veth77889900", "veth", master_index=7, peer_index=2)
    assert ids(path(host("storage-bo", "ens5", "ens6", links=(other,)), configs=())) == ["uplink-missing"]


def test_a_nic_that_stands_on_the_bridge_itself_is_the_uplink():
    direct = host("storage-bo", "ens6", ens5={"master_index": 7})
    seen = path(direct, configs=())
    assert ids(seen) == []
    assert (seen.uplink.name, [nic.name for nic in seen.nics]) == ("ens5", ["ens5"])


def test_a_veth_with_the_name_that_the_vlanconfig_gives_is_the_uplink():
    direct = host("storage-bo", "ens6", ens5={"master_index": 7, "kind": "veth", "peer_index": 44})
    assert ids(path(direct, configs=(vlan_config("ens5"),))) == []
    moved = host("storage-bo", "ens6", ens5={"master_index": None, "kind": "veth", "peer_index": 44})
    finding = only(path(moved, configs=(vlan_config("ens5"),)))
    assert (finding.id, finding.reason) == ("uplink-missing", "not_attached")
    assert "ens5 is there and on no bridge" in finding.summary


def test_without_any_vlanconfig_a_veth_is_an_uplink_only_if_it_is_not_called_like_a_pods_end():
    direct = host("storage-bo", "ens5", "ens6", links=(link(50, "uplink0", "veth", master_index=7, peer_index=9),))
    assert path(direct, configs=()).uplink.name == "uplink0"


def test_the_nics_of_a_vlan_interface_are_those_of_the_bond_below_it():
    tagged = host(storage_bo={"master_index": None}, links=(link(60, "storage-bo.100", "vlan", master_index=7, peer_index=6),))
    seen = path(tagged)
    assert (seen.uplink.name, [nic.name for nic in seen.nics]) == ("storage-bo.100", ["ens5", "ens6"])


def test_no_carrier_on_any_nic_names_all_of_them():
    finding = only(path(host(ens5=NO_CARRIER, ens6=NO_CARRIER, storage_bo=NO_CARRIER)))
    assert (finding.id, finding.reason) == ("uplink-down", "no_carrier")
    assert cause_clause(finding.summary) == "its uplink storage-bo has no carrier (ens5 and ens6 have no carrier)"
    assert finding.expected == "carrier on at least one of ens5 and ens6"
    assert "`ip -d link show dev storage-bo`" in finding.next_step


def test_a_bond_without_link_monitoring_keeps_carrier_and_is_down_all_the_same():
    assert ids(path(host(ens5=NO_CARRIER, ens6=NO_CARRIER))) == ["uplink-down"]


def test_one_nic_of_two_is_enough():
    assert "uplink-down" not in ids(path(host(ens6=NO_CARRIER)))


def test_nics_that_were_left_set_down_are_told_apart_from_a_pulled_cable():
    finding = only(path(host(ens5=SET_DOWN, ens6=SET_DOWN, storage_bo=NO_CARRIER)))
    assert finding.reason == "admin_down"
    assert "`sudo ip link set dev ens5 up`; `sudo ip link set dev ens6 up`" in finding.next_step
    mixed = only(path(host(ens5=NO_CARRIER, ens6=SET_DOWN, storage_bo=NO_CARRIER)))
    assert (mixed.reason, "ens5 has no carrier, ens6 is set down" in mixed.summary) == ("no_carrier", True)


def test_a_single_nic_is_named_once():
    finding = only(path(host("storage-bo", "ens6", ens5={"master_index": 7} | NO_CARRIER), configs=()))
    assert cause_clause(finding.summary) == "its uplink ens5 has no carrier"


def test_a_bond_with_nothing_in_it():
    finding = only(path(host(ens5={"master_index": None}, ens6={"master_index": None}, storage_bo=NO_CARRIER)))
    assert (finding.id, finding.reason) == ("uplink-down", "no_nics")


def test_a_nic_renamed_by_an_upgrade_is_missing_and_the_unused_one_is_shown():
    """Harvester issue 9815: ens6 is enp6s0 since the reboot."""
    finding = only(path(host("ens6", links=(link(5, "enp6s0"),))))
    assert (finding.id, finding.severity) == ("nic-missing", Severity.CRITICAL)
    assert "VlanConfig storage-all names ens6" in finding.summary
    assert "enp6s0" in finding.seen
    assert "`kubectl get vlanconfigs.network.harvesterhci.io storage-all -o yaml`" in finding.next_step


def test_a_nic_that_the_kernel_knows_by_an_alternative_name_is_not_missing():
    assert ids(path(host("ens6", links=(link(5, "enp6s0", master_index=6),)), alternative_names={"ens6": 5})) == []


def test_vlanconfigs_of_other_nodes_and_networks_say_nothing_here():
    elsewhere = vlan_config("ens9", name="others", nodes='["harv42"]')
    other = vlan_config("ens9", name="vms", cluster_network="vms")
    unknown = vlan_config("ens9", name="unknown", nodes="{broken")
    assert ids(path(configs=(vlan_config(), elsewhere, other, unknown))) == []


def test_on_the_management_network_no_vlanconfig_is_asked():
    """A sample of the field: mgmt-br over mgmt-bo, and a VlanConfig that only newer versions write."""
    nads = {NAD: parse_nad(NAD, CONFIG.replace("storage-br", "mgmt-br"))}
    seen = path(host(**{VETH: {"master_index": 9}}), configs=(vlan_config("ens9", cluster_network="mgmt"),), nads=nads)
    assert ids(seen) == []
    assert (seen.uplink.name, [nic.name for nic in seen.nics], seen.configured_nics) == ("mgmt-bo", ["ens3"], ())


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"master_index": None}, "no_bridge", f"its host end {VETH} is on no bridge"),
        ({"master_index": 9}, "other_bridge", f"its host end {VETH} is on mgmt-br instead of storage-br"),
        (SET_DOWN, "admin_down", f"its host end {VETH} is set down"),
    ],
)
def test_a_pods_end_that_leads_elsewhere_is_the_pods_finding(change, reason, words):
    finding = only(path(host(**{VETH: change})))
    assert (finding.id, finding.reason) == ("veth-detached", reason)
    assert finding.subject.as_dict() == {"node": NODE, "pod": POD.key, "address": "192.168.0.2", "interface": "lhnet1"}
    assert cause_clause(finding.summary) == words


def test_an_end_that_left_the_host_and_a_stranger_with_its_index():
    """The other end was moved into another namespace; by chance the host has a link of that number."""
    assert only(path(host(VETH))).reason == "gone"
    assert only(path(host(**{VETH: {"peer_index": 99}}))).reason == "gone"


def test_no_carrier_on_the_pods_side_is_not_the_hosts_fault():
    assert ids(path(host(**{VETH: NO_CARRIER}))) == []


def test_a_pod_whose_interface_is_missing_or_no_veth_has_no_end_to_judge():
    for lhnet1 in (None, replace(LHNET1, kind="macvlan", peer_index=7), replace(LHNET1, peer_index=None)):
        seen = path(pods=(inspected(lhnet1=lhnet1),))
        assert (ids(seen), seen.veths) == ([], ())


def test_bridged_packets_before_iptables_matter_where_harvester_is():
    assert only(path(filters=True)).id == "bridge-netfilter"
    assert "`sudo sysctl -w net.bridge.bridge-nf-call-iptables=0`" in only(path(filters=True)).next_step
    assert ids(path(filters=True), harvester=False) == []
    assert ids(path(filters=None)) == []


def test_a_slow_uplink_is_told_and_an_unknown_speed_is_not_slow():
    slow = only(path(speeds={"ens5": 1000, "ens6": 1000, "storage-bo": 1000}))
    assert (slow.id, slow.severity) == ("uplink-slow", Severity.INFO)
    assert "1 Gb/s" in slow.summary
    assert slow.expected.startswith("at least 10 Gb/s")
    assert ids(path(speeds={})) == []
    assert ids(path(speeds={"ens5": 1000})) == []
    assert ids(path(speeds={"storage-bo": 1000}), min_mbits=1000) == []


def test_nics_are_added_up_only_where_the_bond_uses_all_of_them():
    both = {"ens5": 5000, "ens6": 5000}
    assert ids(path(speeds=both)) == ["uplink-slow"]
    assert ids(path(speeds=both, configs=(vlan_config(bond_mode="802.3ad"),))) == []


def test_a_missing_nic_is_told_beside_what_it_causes():
    dead = host("ens6", ens5=NO_CARRIER, storage_bo=NO_CARRIER)
    assert ids(path(dead)) == ["uplink-down", "nic-missing"]


def test_every_finding_has_its_identity_and_a_next_step_with_whole_commands():
    cases = [
        path(host("storage-br"), filters=True),
        path(host("ens6", storage_bo={"master_index": None}, **{VETH: {"master_index": None}})),
        path(host(ens5=NO_CARRIER, ens6=NO_CARRIER)),
        path(speeds={"storage-bo": 100}),
        path(host(storage_br={"mtu_bytes": 1400})),
    ]
    told = [finding for one in cases for finding in found(one)]
    assert len({identity(finding) for finding in told}) == 8
    for finding in told:
        assert finding.next_step.count("`") % 2 == 0
        assert "``" not in finding.next_step
        assert ": " in finding.summary
        assert not finding.summary.endswith(".")


def test_names_that_a_shell_would_take_apart_stand_in_no_command():
    evil = "a;reboot"
    nads = {NAD: parse_nad(NAD, CONFIG.replace("storage-br", evil))}
    links = (link(70, evil, "bridge", up=False, carrier=False),)
    (finding,) = (one for one in found(path(host(links=links), nads=nads, configs=())) if one.id == "bridge-missing")
    assert all(evil not in command for command in finding.next_step.split("`")[1::2])
    bad = vlan_config("$(reboot)", name="x;y")
    (missing,) = (one for one in found(path(configs=(bad,))) if one.id == "nic-missing")
    assert all(";" not in command.replace("; ", "") and "$(" not in command for command in missing.next_step.split("`")[1::2])


def test_which_bridges_storage_pods_are_on_and_when_that_is_not_known():
    rwx = parse_nad("harvester-system/rwx-network-x", CONFIG.replace("storage-br", "rwx-br"))
    other = replace(pod("share-manager-a"), grant=replace(POD.grant, nad="harvester-system/rwx-network-x"))
    uses, complete = bridges_here([other, POD], NADS | {"harvester-system/rwx-network-x": rwx})
    assert ([use.bridge for use in uses], complete) == (["storage-br", "rwx-br"], True)
    assert bridges_here([POD], {}) == ((), False)
    assert bridges_here([POD], {NAD: parse_nad(NAD, "{broken")}) == ((), False)
    assert bridges_here([POD], {NAD: parse_nad(NAD, '{"type":"macvlan","master":"ens5"}')}) == ((), True)
    assert bridges_here([], NADS) == ((), True)


def test_a_bridge_without_harvesters_name_belongs_to_no_cluster_network():
    uses, _ = bridges_here([POD], {NAD: parse_nad(NAD, CONFIG.replace("storage-br", "br1"))})
    assert uses[0].cluster_network is None
    assert uplinks_of(None, node=NODE, vlan_configs=(vlan_config(),)).nics == ()


def test_elements_for_the_metric_say_what_is_broken_and_leave_out_what_cannot_be_told():
    healthy = path()
    assert elements(healthy, []) == {"bridge": True, "uplink": True, "nic": True, "veth": True, "mtu": True}
    down = path(host(ens5=NO_CARRIER, ens6=NO_CARRIER))
    assert elements(down, found(down)) == {"bridge": True, "uplink": False, "nic": True, "veth": True, "mtu": True}
    gone = path(host("storage-br", "ens6"))
    assert elements(gone, found(gone)) == {"bridge": False, "nic": False}
    assert "nic" not in elements(path(configs=()), [])
    assert elements(None, []) == {}


def test_thousands_of_links_on_a_host_are_followed_in_one_pass():
    crowd = tuple(link(10_000 + i, f"veth{i:08x}", "veth", master_index=7, peer_index=3) for i in range(5000))
    assert ids(path(host(links=crowd))) == []
    assert len(HEALTHY) == 10
