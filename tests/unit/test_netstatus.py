"""What a pod asked for and was granted, from annotations as Longhorn and Multus write them, and as nobody should."""

import json
from ipaddress import ip_address

import pytest
from unitworld import NAD, REQUEST, pod, record, status_text

from agent.model.peers import Network, Role
from agent.rules.netstatus import NETWORK_STATUS, NETWORKS, OLD_NETWORK_STATUS, read_pod, read_requests, role_of, storage_pods


def test_a_healthy_instance_manager_is_read_as_the_guide_shows_it():
    one = pod()
    assert one.role is Role.INSTANCE_MANAGER
    assert one.interface == "lhnet1"
    assert one.address == ip_address("192.168.0.2")
    assert one.grant is not None
    assert one.grant.mac == "2e:51:e6:31:96:40"
    assert one.default_addresses == (ip_address("10.52.0.121"),)
    assert one.problems == ()


def test_multus_three_wrote_only_the_old_annotation():
    old = record(annotations={NETWORKS: REQUEST, OLD_NETWORK_STATUS: status_text()})
    one = read_pod(old, nads={NAD: Network.STORAGE}, interface="lhnet1")
    assert one is not None
    assert one.address == ip_address("192.168.0.2")


def test_the_short_form_of_multus_names_namespace_and_interface():
    requests, problem = read_requests("harvester-system/storagenetwork-95bj4@lhnet1, other", namespace="longhorn-system")
    assert [(request.nad, request.interface) for request in requests] == [(NAD, "lhnet1"), ("longhorn-system/other", None)]
    assert problem is None


def test_a_pod_that_asks_for_other_networks_is_no_storage_pod():
    stranger = record(annotations={NETWORKS: '[{"namespace": "default", "name": "vm-net"}]'})
    assert storage_pods([stranger], nads={NAD: Network.STORAGE}, interface="lhnet1") == ()


def test_two_entries_for_one_network_take_the_first_as_longhorn_does_and_are_told():
    entries = [*json.loads(status_text("192.168.0.9")), {"name": NAD, "interface": "lhnet1", "ips": ["192.168.0.2"]}]
    one = read_pod(record(annotations={NETWORKS: REQUEST, NETWORK_STATUS: json.dumps(entries)}), nads={NAD: Network.STORAGE}, interface="x")
    assert one is not None
    assert one.address == ip_address("192.168.0.9")
    assert "2 entries" in one.problems[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "is not JSON"),
        ("{}", "is not a list"),
        ("[" * 5000, "is not JSON"),
        (json.dumps([{"name": NAD, "ips": []}]), "names no address"),
        (json.dumps([{"name": NAD, "ips": ["here", 7]}]), "is no address"),
        (json.dumps([{"name": NAD, "ips": {"a": 1}, "mac": 5, "mtu": "x"}]), "names no address"),
    ],
)
def test_a_network_status_that_cannot_be_read_is_a_problem_and_no_exception(text, said):
    one = read_pod(record(annotations={NETWORKS: REQUEST, NETWORK_STATUS: text}), nads={NAD: Network.STORAGE}, interface="lhnet1")
    assert one is not None
    assert one.address is None
    assert said in one.problems[0]


def test_an_annotation_longer_than_any_server_keeps_is_not_read():
    one = read_pod(record(annotations={NETWORKS: REQUEST, NETWORK_STATUS: " " + "x" * 300_000}), nads={NAD: Network.STORAGE}, interface="l")
    assert one is not None
    assert "was not read" in one.problems[0]


@pytest.mark.parametrize("text", ["[1, 2]", '["a"]', "[{}]", '[{"name": 5}]'])
def test_requests_without_a_name_are_left_out_and_told(text):
    requests, problem = read_requests(text, namespace="longhorn-system")
    assert requests == ()
    assert problem is not None


@pytest.mark.parametrize("text", ["[{", "[" * 100_000, "{}"])
def test_a_pod_whose_request_cannot_be_read_goes_by_what_it_was_granted(text):
    one = read_pod(record(annotations={NETWORKS: text, NETWORK_STATUS: status_text()}), nads={NAD: Network.STORAGE}, interface="lhnet1")
    assert one is not None
    assert (one.interface, str(one.address)) == ("lhnet1", "192.168.0.2")
    assert NETWORKS in one.problems[0]


def test_the_storage_address_is_never_among_those_that_tell_a_namespace():
    broken = record(address=None, pod_ips=("192.168.0.2", "10.52.0.121"))
    broken = record(annotations={NETWORKS: REQUEST, NETWORK_STATUS: status_text()}, pod_ips=("192.168.0.2", "10.52.0.121"))
    one = read_pod(broken, nads={NAD: Network.STORAGE}, interface="lhnet1")
    assert one is not None
    assert one.default_addresses == (ip_address("10.52.0.121"),)


def test_roles_come_from_labels_never_from_names():
    assert role_of({"longhorn.io/component": "backing-image-manager"}) is Role.BACKING_IMAGE_MANAGER
    assert role_of({"app": "longhorn-csi-plugin"}) is Role.CSI_PLUGIN
    assert role_of({"longhorn.io/component": "something-new"}) is Role.OTHER


HOSTILE = (
    {"mac": "\ud800"},
    {"mac": "\x1b[2J02:00:00:00:00:01"},
    {"mac": "a" * 200_000},
    {"interface": "\ud800"},
    {"interface": "lhnet1\nok"},
    {"interface": "i" * 200_000},
    {"mtu": 10**4000},
    {"ips": ["192.168.0.2", "\ud800"]},
    {"ips": ["192.168.0.2", "fe80::1%" + "z" * 100_000]},
    {"ips": [f"192.168.{i // 256}.{i % 256}" for i in range(15_000)]},
    {"ips": ["192.168.0.2", json.loads("[" * 400 + "]" * 400)]},
)


@pytest.mark.parametrize("odd", HOSTILE, ids=lambda odd: f"{next(iter(odd))} {str(odd)[:32]!a}")
def test_whoever_may_annotate_a_pod_gets_no_odd_text_onto_a_page_or_into_a_label(odd):
    entry = {"name": NAD, "interface": "lhnet1", "ips": ["192.168.0.2"], "mac": "2e:51:e6:31:96:40"} | odd
    one = read_pod(
        record(annotations={NETWORKS: REQUEST, NETWORK_STATUS: json.dumps([entry])}), nads={NAD: Network.STORAGE}, interface="lhnet1"
    )
    assert one is not None
    assert one.grant is not None
    told = [
        one.interface,
        *map(str, one.grant.addresses),
        one.grant.mac or "",
        str(one.grant.mtu_bytes),
        one.grant.interface or "",
        *one.problems,
    ]
    assert all(text.isascii() and text.isprintable() for text in told)
    assert sum(map(len, told)) < 600


@pytest.mark.parametrize("interface", ["\ud800", "lhnet1\x1b[2J", "i" * 16, "a/b", "a b", ".."])
def test_a_requested_interface_that_no_kernel_takes_is_left_out_and_told(interface):
    requests, problem = read_requests(json.dumps([{"name": "n", "interface": interface}]), namespace="h")
    assert [request.interface for request in requests] == [None]
    assert problem is not None
    assert "interface" in problem


def test_interfaces_of_every_kind_that_multus_takes_are_read():
    for name in ("lhnet1", "lhnet2", "eth0.100", "net1-a_b", "1", "@if0"):
        requests, problem = read_requests(json.dumps([{"name": "n", "interface": name}]), namespace="h")
        assert ([request.interface for request in requests], problem) == ([name], None)
