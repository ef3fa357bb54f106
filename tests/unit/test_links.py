"""A storage pod's interface and address, as the kernel has them against what Multus granted."""

from dataclasses import replace

from unitworld import LHNET1, NAD, down, facts, pod

from agent.rules.links import (
    address_borrowed,
    address_mismatch,
    address_outside_range,
    interface_down,
    interface_missing,
    mac_mismatch,
    mtu_mismatch,
)
from agent.rules.mtu import ExpectedMtu
from agent.rules.nad import parse_nad


def config(extra: str = "") -> str:
    return '{"type":"bridge","bridge":"storage-br","ipam":{"type":"whereabouts","range":"192.168.0.0/24"' + extra + "}}"


def test_a_healthy_pod_has_no_finding():
    one, kernel = pod(), facts()
    assert interface_missing(one, kernel) is None
    assert interface_down(one, kernel) is None
    assert address_mismatch(one, kernel) is None
    assert mac_mismatch(one, kernel) is None
    assert address_outside_range(one, parse_nad(NAD, config())) is None
    assert mtu_mismatch(one, kernel, expected=ExpectedMtu(1500, "the cluster network storage has", True)) is None


def test_an_interface_that_was_renamed_away_is_missing_and_the_new_name_is_told():
    found = interface_missing(pod(), facts(lhnet1=replace(LHNET1, name="stolen0")))
    assert found is not None
    assert found.subject.as_dict() == {
        "node": "harv41", "pod": "longhorn-system/instance-manager-a", "interface": "lhnet1", "address": "192.168.0.2",
    }  # fmt: skip
    assert found.culprit == "longhorn-system/instance-manager-a"
    assert "stolen0" in found.summary


def test_a_pod_without_a_grant_has_no_interface_to_miss():
    assert interface_missing(pod(address=None), facts(lhnet1=None)) is None


def test_down_by_the_administrator_and_no_carrier_are_told_apart():
    set_down = interface_down(pod(), facts(lhnet1=down(up=False, carrier=False)))
    unplugged = interface_down(pod(), facts(lhnet1=down(carrier=False)))
    assert set_down is not None
    assert unplugged is not None
    assert (set_down.reason, unplugged.reason) == ("admin_down", "no_carrier")
    assert "is set down" in set_down.summary
    assert "2278" in unplugged.seen


def test_another_address_on_the_interface_is_a_mismatch_that_names_both():
    found = address_mismatch(pod(), facts(addresses=("192.168.0.99/24",)))
    assert found is not None
    assert (found.id, found.reason) == ("address-mismatch", "different")
    assert "192.168.0.2" in found.summary
    assert "192.168.0.99/24" in found.summary


def test_a_second_address_beside_the_granted_one_is_no_mismatch():
    assert address_mismatch(pod(), facts(addresses=("192.168.0.99/24", "192.168.0.2/24"))) is None


def test_a_second_address_that_another_live_pod_was_granted_names_both_pods_and_how_to_take_it_off():
    """As after a hand-made repair on the wrong pod: that pod answers for the other, and cannot even answer the other's probes."""
    owner = pod("instance-manager-b", node="harv42", address="192.168.0.9")
    found = address_borrowed(pod(), facts(addresses=("192.168.0.2/24", "192.168.0.9/24")), peers=[owner])
    assert found is not None
    assert (found.id, found.reason, found.affects) == ("address-mismatch", "borrowed", ("192.168.0.9",))
    assert "192.168.0.9, which was granted to" in found.summary
    assert "harv42" in found.summary
    assert found.next_step.endswith("-- ip address del 192.168.0.9/24 dev lhnet1`")


def test_a_second_address_of_nobody_or_of_a_pod_that_has_ended_is_not_borrowed():
    kernel = facts(addresses=("192.168.0.2/24", "192.168.0.9/24"))
    ended = pod("instance-manager-b", node="harv42", address="192.168.0.9", phase="Failed")
    other = pod("instance-manager-c", node="harv43", address="192.168.0.10")
    assert address_borrowed(pod(), kernel, peers=[ended, other]) is None
    assert address_borrowed(pod(), facts(), peers=[pod("instance-manager-d", node="harv43")]) is None, "granted twice is another finding"


def test_no_address_at_all_is_a_mismatch_with_its_own_reason():
    found = address_mismatch(pod(), facts(addresses=()))
    assert found is not None
    assert found.reason == "missing"


def test_a_granted_address_of_another_network_is_outside_the_range():
    found = address_outside_range(pod(address="172.16.5.4"), parse_nad(NAD, config()))
    assert found is not None
    assert (found.id, found.reason) == ("address-outside-range", "outside")
    assert "192.168.0.1 – 192.168.0.254" in found.expected


def test_a_granted_address_of_the_wrong_family_is_outside_the_range():
    found = address_outside_range(pod(address="fd00::5"), parse_nad(NAD, config()))
    assert found is not None
    assert found.reason == "outside"


def test_an_excluded_address_is_outside_although_the_network_contains_it():
    found = address_outside_range(pod(), parse_nad(NAD, config(',"exclude":["192.168.0.0/28"]')))
    assert found is not None
    assert found.reason == "excluded"


def test_a_nad_that_cannot_be_read_judges_nobody():
    assert address_outside_range(pod(address="172.16.5.4"), None) is None
    assert address_outside_range(pod(address="172.16.5.4"), parse_nad(NAD, "{broken")) is None


def test_a_changed_mac_is_told_with_both():
    found = mac_mismatch(pod(), facts(lhnet1=down(mac="02:00:00:00:00:01")))
    assert found is not None
    assert "02:00:00:00:00:01" in found.summary
    assert "2e:51:e6:31:96:40" in found.expected


def test_the_mac_of_another_pod_is_told_with_whose_it_is():
    twin = pod("instance-manager-b", node="harv42", address="192.168.0.9", mac="2e:00:00:00:00:09")
    found = mac_mismatch(pod(), facts(lhnet1=down(mac="2e:00:00:00:00:09")), peers=[twin])
    assert found is not None
    assert found.reason == "twin"
    assert "on harv42: packets for one reach the other" in found.summary


def test_an_mtu_below_the_cluster_network_is_told_with_who_says_so():
    expected = ExpectedMtu(9000, "the cluster network storage has", True)
    found = mtu_mismatch(pod(), facts(), expected=expected)
    assert found is not None
    assert found.reason == "below"
    assert "the cluster network storage has 9000" in found.summary
