"""The host's path as people see it below the pods of /interfaces, and as scripts read it."""

import json

from hostpath_cases import POD, VETH, host, inspected, path, vlan_config
from unitworld import pod

from agent.serve.hostpath import document, lines

NO_CARRIER = {"carrier": False}


def test_a_healthy_path_is_three_lines():
    assert lines(path()) == [
        "path of harv41",
        "  lhnet1 – veth0a1b2c3d – storage-br – storage-bo – ens5 10 Gb/s, ens6 10 Gb/s",
        "  mtu 1500 all along",
    ]


def test_what_is_wrong_stands_in_capitals_where_it_is():
    assert "storage-bo NO CARRIER – ens5 NO CARRIER, ens6 DOWN" in _drawn(
        host(ens5=NO_CARRIER, ens6={"up": False, "carrier": False}, storage_bo=NO_CARRIER)
    )
    assert "storage-br – NO UPLINK (storage-bo not on it)" in _drawn(host(storage_bo={"master_index": None}))
    assert "storage-br DOWN" in _drawn(host(storage_br={"up": False}))
    assert "lhnet1 – veth0a1b2c3d – storage-br MISSING – storage-bo" in _drawn(
        host("storage-br", storage_bo={"master_index": None}, **{VETH: {"master_index": None}})
    )
    assert "instance-manager-a: veth0a1b2c3d ON mgmt-br" in _drawn(host(**{VETH: {"master_index": 9}}))
    assert "instance-manager-a: NO END ON THE HOST (index 2278)" in _drawn(host(VETH))
    assert "VlanConfig names ens6: NO SUCH NIC" in _drawn(host("ens6"))
    assert "mtu 1500, but ens5 1400" in _drawn(host(ens5={"mtu_bytes": 1400}))


def _drawn(links):
    drawn = lines(path(links))
    assert all(len(line) <= 80 for line in drawn)
    return " ".join(line.strip() for line in drawn)


def test_iptables_in_the_way_and_a_nic_on_the_bridge_itself():
    direct = host("storage-bo", "ens6", ens5={"master_index": 7})
    drawn = lines(path(direct, configs=(vlan_config("ens5"),), filters=True, speeds={"ens5": 2500}))
    assert drawn[1] == "  lhnet1 – veth0a1b2c3d – storage-br – ens5 2.5 Gb/s"
    assert drawn[-1] == "  bridge-nf-call-iptables is 1: bridged packets pass iptables"


def test_a_node_with_many_pods_still_fits_the_screen():
    pods = tuple(inspected(pod(f"instance-manager-{i}")) for i in range(9))
    drawn = lines(path(pods=pods))
    assert "and 5 more" in "\n".join(drawn)
    assert all(len(line) <= 80 for line in drawn)


def test_pods_that_could_not_be_looked_into_are_said_to_be_unseen():
    assert "no pod's end seen – storage-br" in lines(path(pods=(inspected(lhnet1=None),)))[1]


def test_the_document_has_the_keys_of_the_contract():
    told = document(path())
    assert json.loads(json.dumps(told)) == told
    assert told["cluster_network"] == "storage"
    assert told["bridge"].items() >= {"name": "storage-br", "up": True, "mtu_bytes": 1500}.items()
    assert told["uplink"].items() >= {"name": "storage-bo", "kind": "bond", "up": True, "carrier": True, "mtu_bytes": 1500}.items()
    assert told["nics"][1] == {"name": "ens6", "up": True, "carrier": True, "speed_mbits": 10000, "mtu_bytes": 1500}
    assert told["veths"][0].items() >= {"name": VETH, "pod": POD.key, "bridge": "storage-br", "up": True, "mtu_bytes": 1500}.items()
    assert told["vlan"] is None


def test_a_missing_bridge_keeps_its_name_and_has_no_invented_values():
    told = document(path(host("storage-br"), speeds={}))
    assert told["bridge"] == {"name": "storage-br", "present": False, "up": False, "mtu_bytes": None}
    assert (told["uplink"], told["nics"]) == (None, [])
    assert document(None) is None
