"""One MTU from the NIC to the pod's end, or which link breaks it."""

from hostpath_cases import VETH, host, ids, only, path

from agent.model.finding import Severity
from agent.rules.mtu import ExpectedMtu

JUMBO = ExpectedMtu(9000, "the cluster network storage has", True)
NINE = {"mtu_bytes": 9000}
ALL_NINE = {"ens5": NINE, "ens6": NINE, "storage_bo": NINE, "storage_br": NINE, VETH: NINE}


def test_the_same_everywhere_is_fine_whatever_it_is():
    assert ids(path(host(**ALL_NINE))) == []
    assert ids(path(), expected=JUMBO) == []


def test_a_bridge_that_fell_back_to_1500_is_the_culprit():
    """Harvester issue 4297: NICs and bond have 9000."""
    finding = only(path(host(**(ALL_NINE | {"storage_br": {"mtu_bytes": 1500}, "tap1c0ffee": NINE}))), expected=JUMBO)
    assert (finding.id, finding.severity, finding.reason) == ("mtu-chain", Severity.WARNING, "bridge")
    assert "its bridge storage-br has MTU 1500, the rest of the path 9000" in finding.summary
    assert finding.expected == "one MTU all along, 9000 (the cluster network storage has 9000)"
    assert finding.next_step == "on harv41 find out who changed it, and set it back: `sudo ip link set dev storage-br mtu 9000`"


def test_the_vm_whose_port_pulls_the_bridge_down_is_named():
    finding = only(path(host(**(ALL_NINE | {"storage_br": {"mtu_bytes": 1500}}))))
    assert finding.summary.endswith("a bridge takes the smallest of its ports, and tap1c0ffee has 1500")


def test_a_nic_that_pulls_the_bridge_down_is_the_culprit_and_the_bridge_follows():
    low = {"mtu_bytes": 1400}
    finding = only(path(host(ens5=low, storage_br=low)))
    assert finding.reason == "nic"
    assert "its NIC ens5 has MTU 1400, the rest of the path 1500" in finding.summary
    assert "storage-br follows" in finding.summary
    assert "in the VlanConfigs, with the storage network disabled" in finding.next_step, "nobody said which of them is right"


def test_what_the_cluster_network_has_decides_which_part_is_odd_even_against_the_most():
    one = host(**(ALL_NINE | {"storage_br": {"mtu_bytes": 1500}, VETH: {"mtu_bytes": 1500}, "ens6": {"mtu_bytes": 1500}}))
    finding = only(path(one), expected=JUMBO)
    assert "NIC ens6" in finding.summary
    assert "the rest of the path 9000" in finding.summary


def test_a_pods_end_from_before_the_change_is_told_with_its_pod():
    finding = only(path(host(**(ALL_NINE | {VETH: {"mtu_bytes": 1500}}))))
    assert finding.reason == "veth"
    assert f"{VETH} of instance-manager-a has MTU 1500" in finding.summary


def test_an_end_that_is_not_on_the_bridge_carries_nothing_and_a_vms_end_is_not_ours():
    assert ids(path(host(**{VETH: {"master_index": None, "mtu_bytes": 1400}}))) == ["veth-detached"]
    assert ids(path(host(tap1c0ffee={"mtu_bytes": 1400}))) == []


def test_without_a_bridge_there_is_no_chain():
    assert ids(path(host("storage-br", ens5={"mtu_bytes": 1400}))) == ["bridge-missing"]
