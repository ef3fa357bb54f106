"""The silent fallback to the pod network, seen in the pods' grants and in the volumes' addresses, and pods that are not there."""

from dataclasses import replace

import pytest
from setting_cases import MANAGERS, NAD, RWX_CONFIG, RWX_NAD, VOLUME, config, manager, manager_pods, replica
from unitworld import REQUEST, pod, record

from agent.model.finding import Severity
from agent.model.peers import Network
from agent.rules.netstatus import NETWORK_STATUS, NETWORKS, OLD_NETWORK_STATUS, read_pod
from agent.rules.setting_pods import CUT_CHARACTERS, FALLBACKS_TOLD, grant_missing, instance_managers_missing, storage_ip_fallbacks
from agent.rules.setting_texts import Places

IN_USE = {NAD: Network.STORAGE}
ONLY_DEFAULT = '[{"name": "k8s-pod-network", "ips": ["10.52.0.121"], "default": true, "dns": {}}]'


def asking(status=None, *, key=NETWORK_STATUS, **fields):
    annotations = {NETWORKS: REQUEST} | ({key: status} if status is not None else {})
    made = read_pod(record(address=None, annotations=annotations, **fields), nads=IN_USE, interface="lhnet1")
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "missing_annotation"),
        ("", "missing_annotation"),
        (ONLY_DEFAULT, "no_entry"),
        ("[]", "no_entry"),
        ("[{", "unparsable"),
        ('{"name": "x"}', "unparsable"),
        ("[" * 20_000, "unparsable"),
        (f'[{{"name": "{NAD}", "interface": "lhnet1", "ips": []}}]', "no_address"),
        (f'[{{"name": "{NAD}", "interface": "lhnet1", "ips": ["none", 4]}}]', "no_address"),
        (f'[{{"name": "{NAD}", "interface": "lhnet1"}}]', "no_address"),
    ],
)
def test_a_live_pod_without_its_grant_is_on_the_pod_network_and_says_why(status, reason):
    """Harvester issue 11639: kubelet was ready before Multus after a restart, and no event says so."""
    found = grant_missing(asking(status), nads=IN_USE)
    assert found is not None
    assert (found.id, found.severity, found.reason) == ("grant-missing", Severity.CRITICAL, reason)
    assert found.subject.as_dict() == {"node": "harv41", "pod": "longhorn-system/instance-manager-a", "interface": "lhnet1"}
    assert found.culprit == "longhorn-system/instance-manager-a"
    assert "Longhorn silently uses the pod network (10.52.0.121)" in found.summary
    assert "volumes that it serves are detached" in found.next_step
    assert "`kubectl -n longhorn-system delete pod instance-manager-a`" in found.next_step


def test_a_granted_pod_and_one_granted_under_the_old_key_are_well():
    assert grant_missing(pod(), nads=IN_USE) is None
    old = asking(pod().record.annotations[NETWORK_STATUS], key=OLD_NETWORK_STATUS)
    assert grant_missing(old, nads=IN_USE) is None


@pytest.mark.parametrize("fields", [{"phase": "Pending"}, {"phase": "Failed"}, {"deleted": True}])
def test_a_pod_that_is_not_live_misses_nothing(fields):
    assert grant_missing(asking(**fields), nads=IN_USE) is None


def test_a_pod_whose_nad_is_no_longer_in_use_misses_nothing():
    assert grant_missing(asking(), nads={}) is None


def test_a_status_that_may_have_been_cut_on_its_way_to_us_is_no_evidence():
    assert grant_missing(asking("[" + "x" * (CUT_CHARACTERS - 1)), nads=IN_USE) is None


def fallbacks(*instances, nads=None, pods=()):
    return storage_ip_fallbacks(instances, nads=(config(),) if nads is None else nads, pods=pods)


def test_a_replica_on_the_pod_ip_is_told_with_volume_node_and_instance_manager():
    """Longhorn issue 4937: the setting is on, everything is green, replicas copy over the management network."""
    (found,) = fallbacks(replica("10.52.2.121"), pods=manager_pods())
    assert (found.id, found.severity, found.reason, found.culprit) == ("storage-ip-fallback", Severity.CRITICAL, "pod_network", VOLUME)
    subject = found.subject.as_dict()
    assert (subject["object"], subject["volume"], subject["node"]) == (f"{VOLUME}-r-076c3070", VOLUME, "harv43")
    assert subject["pod"] == f"longhorn-system/{MANAGERS['harv43']}"
    assert "10.52.2.121" in found.summary
    assert "192.168.0.0/24" in found.expected
    assert f"`kubectl -n longhorn-system delete pod {MANAGERS['harv43']}`" in found.next_step


def test_an_engine_is_told_as_an_engine():
    (found,) = fallbacks(replica("10.52.0.121", kind="engine", name=f"{VOLUME}-e-0"))
    assert found.summary.startswith(f"the engine {VOLUME}-e-0")
    assert found.reason == "outside_range"


@pytest.mark.parametrize(
    "one",
    [
        replica("192.168.0.4"),
        replica("192.168.0.1"),
        replica(None),
        replica(""),
        replica("10.52.2.121", state="stopped"),
        replica("10.52.2.121", state="error"),
        replica("not an address" * 1000),
    ],
)
def test_what_is_inside_the_range_or_not_running_or_not_known_is_no_fallback(one):
    assert fallbacks(one) == []


def test_while_two_nads_are_in_use_an_address_of_either_is_fine():
    other = config(RWX_CONFIG, name=RWX_NAD)
    assert fallbacks(replica("192.168.10.4"), nads=(config(), other)) == []


def test_a_nad_whose_range_nobody_can_read_judges_nobody():
    assert fallbacks(replica("10.52.2.121"), nads=(config(), config("{broken"))) == []
    assert fallbacks(replica("10.52.2.121"), nads=(config('{"type":"bridge","ipam":{"type":"static"}}'),)) == []
    assert fallbacks(replica("10.52.2.121"), nads=()) == []


def test_an_address_of_the_other_family_is_outside():
    (found,) = fallbacks(replica("fd00::4"))
    assert found.subject.address == "fd00::4"


def test_thousands_are_bounded_and_the_last_one_counts_the_rest_by_node():
    many = [replica("10.52.2.121", name=f"v{i:04}-r-0", volume=f"v{i:04}", node_name=f"harv{41 + i % 3}") for i in range(3000)]
    found = fallbacks(*many)
    assert len(found) == FALLBACKS_TOLD
    assert len({one.culprit for one in found}) == FALLBACKS_TOLD
    assert "so do 2950 more of 2950 volumes" in found[-1].summary
    assert found[-1].evidence[0] == "984 more on harv43"
    assert sum(int(line.split()[0]) for line in found[-1].evidence) == 2950
    assert "so do" not in found[0].summary


def test_the_order_of_the_list_changes_nothing():
    many = [replica("10.52.2.121", name=f"v{i}-r-0", volume=f"v{i}") for i in range(60)]
    assert [one.subject for one in fallbacks(*many)] == [one.subject for one in fallbacks(*reversed(many))]


def test_an_instance_without_volume_and_manager_still_names_itself():
    odd = replace(replica("10.52.2.121"), volume=None, instance_manager=None, node_id=None)
    (found,) = fallbacks(odd)
    assert found.culprit == odd.name
    assert f"replicas.longhorn.io {odd.name} -o yaml`" in found.next_step


def test_an_instance_manager_that_says_running_without_a_pod_is_missing_on_its_node():
    (found,) = instance_managers_missing([manager("harv43")], pods=[one for one in manager_pods() if one.node != "harv43"])
    assert (found.id, found.severity, found.culprit) == ("instance-manager-missing", Severity.WARNING, "harv43")
    assert found.subject.as_dict() == {"node": "harv43"}
    assert MANAGERS["harv43"] in found.summary
    assert "there is no such pod" in found.summary
    assert "--field-selector spec.nodeName=harv43`" in found.next_step


def test_managers_with_their_pods_are_well():
    assert instance_managers_missing([manager(name) for name in MANAGERS], pods=manager_pods()) == []


@pytest.mark.parametrize("state", ["starting", "stopped", "error", "unknown", None])
def test_one_that_does_not_say_running_is_not_expected(state):
    assert instance_managers_missing([replace(manager(), state=state)], pods=()) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"phase": "Failed"}, "the pod is Failed"),
        ({"phase": "Pending"}, "the pod is Pending"),
        ({"deleted": True}, "being deleted"),
        ({"node": "harv42"}, "the pod is on harv42"),
        ({"phase": None}, "in no phase"),
    ],
)
def test_a_pod_of_that_name_that_does_not_do_says_why(changes, why):
    pods = [replace(one, **changes) for one in manager_pods() if one.node == "harv43"]
    (found,) = instance_managers_missing([manager("harv43")], pods=pods)
    assert why in found.summary


def test_a_pod_that_could_only_not_be_read_is_not_missing():
    skipped = (f"longhorn-system/{MANAGERS['harv43']}: phase is a number",)
    assert instance_managers_missing([manager("harv43")], pods=(), skipped=skipped) == []


def test_two_generations_on_one_node_make_one_finding():
    gone = [manager("harv43"), manager("harv43", name="instance-manager-r-old"), manager("harv41", name="instance-manager-e-old")]
    found = instance_managers_missing(gone, pods=())
    assert [one.culprit for one in found] == ["harv41", "harv43"]
    assert "and 1 more" in found[1].summary


def test_pods_of_another_namespace_do_not_count():
    assert len(instance_managers_missing([manager("harv43")], pods=manager_pods(), places=Places(longhorn="storage"))) == 1
