"""Which namespace is whose: by the default interface's address, never by the storage address."""

from dataclasses import replace
from ipaddress import ip_interface

from unitworld import LHNET1, facts, file, pod

from agent.model.net import Address, NamespaceFacts
from agent.rules.match import Candidate, match


def candidate(number, **fields):
    return Candidate(file=file(number), facts=facts(**fields))


def test_the_pod_ip_on_the_default_interface_decides():
    mine, other = candidate(1), candidate(2, pod_ip="10.52.0.122/32", addresses=("192.168.0.5/24",))
    assert match([pod()], [other, mine])[pod().uid] is mine


def test_a_namespace_that_only_carries_the_storage_address_is_not_taken():
    impostor = candidate(3, pod_ip="10.52.0.200/32")
    assert match([pod()], [impostor]) == {}


def test_the_pod_ip_on_the_storage_interface_does_not_count():
    odd = candidate(4, pod_ip="10.52.0.200/32", addresses=("10.52.0.121/24",))
    assert match([pod()], [odd]) == {}


def test_the_granted_mac_breaks_the_tie_with_a_dead_pods_namespace():
    dead, alive = candidate(9, lhnet1=None, addresses=()), candidate(2)
    assert match([pod()], [dead, alive])[pod().uid] is alive
    renamed = Candidate(file=file(3), facts=facts(lhnet1=replace(LHNET1, name="x0")))
    assert match([pod()], [dead, renamed])[pod().uid] is renamed


def test_of_two_that_are_alike_the_younger_is_taken():
    assert match([pod()], [candidate(5), candidate(7), candidate(6)])[pod().uid].file.cookie == 7


def test_a_pod_whose_namespace_has_gone_takes_no_dead_pods_namespace_for_its_own():
    dead, alive = candidate(9, lhnet1=None, addresses=()), candidate(2)
    assert match([pod()], [dead], only_by_mac={pod().uid}) == {}
    assert match([pod()], [dead, alive], only_by_mac={pod().uid})[pod().uid] is alive


def test_a_pod_without_an_ip_has_no_namespace():
    assert match([pod(address=None, pod_ips=())], [candidate(1)]) == {}


def test_link_local_addresses_tell_nobody_apart():
    empty = NamespaceFacts(addresses=(Address(link_index=2, interface=ip_interface("fe80::1/64"), scope="link"),))
    assert match([pod()], [Candidate(file=file(1), facts=empty)]) == {}
