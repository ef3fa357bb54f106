"""Ranges that meet networks which are used otherwise: what was read is critical, what is only documented a warning."""

from ipaddress import ip_network

import pytest
from setting_cases import CONFIG, NAD, RWX_CONFIG, RWX_NAD, config, node, nodes

from agent.model.finding import Severity
from agent.model.peers import Network
from agent.rules.setting_overlap import ConnectedRoute, range_overlap


def at(cidr, *, name=NAD):
    return config(CONFIG.replace("192.168.0.0/24", cidr).replace(',"exclude":["192.168.0.1/32"]', ""), name=name)


def route(cidr, device="mgmt-br", node_name="harv41"):
    return ConnectedRoute(node=node_name, device=device, network=ip_network(cidr))


def overlap(nad, **other):
    return range_overlap(nad, network=Network.STORAGE, **other)


def test_a_range_of_its_own_overlaps_nothing():
    assert overlap(config(), nodes=nodes(), connected=(route("172.16.4.0/24"), route("0.0.0.0/0"))) is None


def test_a_range_in_the_pods_network_of_a_node_is_critical_and_rests_on_the_nodes():
    told = overlap(at("10.52.1.0/24"), nodes=nodes())
    assert told is not None
    found, needs = told
    assert (found.id, found.severity, found.reason, found.culprit) == ("range-overlap", Severity.CRITICAL, "in_use", NAD)
    assert "10.52.1.0/24, the pods of node harv42" in found.summary
    assert needs == {"nodes"}
    assert "`lhnet-agent plan-range --range CIDR`" in found.next_step
    assert "with VMs stopped and volumes detached: `kubectl edit settings.harvesterhci.io storage-network`" in found.next_step


def test_the_default_service_network_alone_is_a_warning():
    """Longhorn issue 6554: instance-managers restart for ever after the range was put on the service network."""
    told = overlap(at("10.53.8.0/24"), nodes=nodes())
    assert told is not None
    found, needs = told
    assert (found.severity, found.reason) == (Severity.WARNING, "default_network")
    assert "10.53.0.0/16, Harvester's default service network" in found.summary
    assert needs == frozenset()


@pytest.mark.parametrize("cidr", ["10.42.7.0/24", "10.43.0.0/16", "10.52.200.0/24", "10.53.0.0/24", "10.0.0.0/8"])
def test_every_documented_default_counts(cidr):
    told = overlap(at(cidr))
    assert told is not None
    assert told[0].severity is Severity.WARNING


def test_a_nodes_address_inside_the_range_is_critical():
    told = overlap(at("172.16.4.0/26"), nodes=nodes())
    assert told is not None
    assert "172.16.4.41, the address of node harv41" in told[0].summary


def test_a_network_that_the_host_has_on_another_device_is_critical_and_its_own_is_not():
    """A HostNetworkConfig gives the host an address on the storage bridge itself: that is no collision."""
    own = (route("192.168.0.0/24", "storage-br"), route("192.168.0.0/24", "storage-br.100"))
    assert overlap(config(), connected=own) is None
    told = overlap(config(), connected=(*own, route("192.168.0.0/16", "mgmt-br")))
    assert told is not None
    assert "192.168.0.0/16, which harv41 has on mgmt-br" in told[0].summary
    assert told[1] == {"kernel"}


def test_a_device_whose_name_only_begins_alike_is_another():
    assert overlap(config(), connected=(route("192.168.0.0/24", "storage-br2"),)) is not None


def test_two_networks_of_one_cluster_that_meet_are_told_with_the_others_name():
    rwx = config(RWX_CONFIG.replace("192.168.10.0/26", "192.168.0.128/26"), name=RWX_NAD)
    told = range_overlap(rwx, network=Network.RWX, others={NAD: config()})
    assert told is not None
    assert f"192.168.0.0/24, the range of {NAD}" in told[0].summary
    assert "settings.harvesterhci.io rwx-network" in told[0].next_step


def test_a_macvlan_may_share_its_nodes_lan_if_it_gives_out_none_of_their_addresses():
    plain = '{"type":"macvlan","master":"eth0","ipam":{"type":"whereabouts","range":"172.16.4.0/24"EXTRA}}'
    apart = config(plain.replace("EXTRA", ',"range_start":"172.16.4.200"'))
    assert overlap(apart, nodes=nodes(), connected=(route("172.16.4.0/24", "eth0"),)) is None
    told = overlap(config(plain.replace("EXTRA", "")), nodes=nodes())
    assert told is not None
    assert "172.16.4.42, the address of node harv42" in told[0].summary


def test_without_harvester_no_command_speaks_of_its_setting():
    told = overlap(at("10.52.1.0/24"), nodes=nodes(), harvester=False)
    assert told is not None
    assert "harvesterhci" not in told[0].next_step


def test_a_hundred_nodes_are_counted_not_all_listed():
    many = [node(f"harv{i}", number=i % 200, pod_cidrs=(f"10.52.{i}.0/24",)) for i in range(100)]
    told = overlap(at("10.52.0.0/16"), nodes=many)
    assert told is not None
    assert "and 95 more" in told[0].summary
    assert len(told[0].evidence) <= 30


def test_what_a_node_says_of_itself_may_be_nonsense():
    odd = node("harv41", internal_ips=("", "harv41.local", "fe80::1%eth0", "1" * 10_000), pod_cidrs=("", "10.52.0.0", "x/24", "9" * 9999))
    assert overlap(config(), nodes=(odd,)) is None


def test_families_are_kept_apart():
    six = node("harv41", internal_ips=("fd00::41",), pod_cidrs=("fd00:52::/64",))
    assert overlap(config(), nodes=(six,), connected=(route("fd00::/8"),)) is None
    told = overlap(at("fd00:52::/80"), nodes=(six,))
    assert told is not None
    assert "fd00:52::/64" in told[0].summary


def test_a_nad_without_a_readable_range_overlaps_nothing():
    assert overlap(config("{broken"), nodes=nodes()) is None
    assert overlap(config('{"type":"bridge","bridge":"storage-br","ipam":{"type":"static"}}'), nodes=nodes()) is None
