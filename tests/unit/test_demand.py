"""How many addresses a cluster needs, by the guide of each Harvester and by the pods that there are."""

import pytest

from agent.model.holder import InstanceManagerRecord
from agent.model.peers import Network, Role, StoragePod
from agent.model.pool import Demand
from agent.model.records import PodRecord
from agent.rules.demand import Cluster, Rwx, count_pods, formula, guide, parse_version, places_of, planned, unsupported, whereabouts_of

FIVE = {"nodes": 5, "disks": 10, "images": 10}


@pytest.mark.parametrize(
    ("version", "rwx", "expected"),
    [
        ((1, 1, 0), Rwx.OFF, 20),
        ((1, 2, 0), Rwx.OFF, 50),
        ((1, 3, 0), Rwx.OFF, 40),
        ((1, 7, 2), Rwx.SHARED, 40),
        ((1, 8, 0), Rwx.OFF, 40),
        ((1, 8, 0), Rwx.SHARED, 77),
        ((1, 8, 0), Rwx.DEDICATED, 37),
        ((2, 0, 0), Rwx.OFF, 40),
    ],
)
def test_the_guides_example_of_five_nodes_with_two_disks_each_and_ten_images(version, rwx, expected):
    assert guide(Cluster(**FIVE, rwx=rwx, harvester=version)) == expected


@pytest.mark.parametrize(
    ("version", "changes", "expected"),
    [
        ((1, 2, 0), {}, Demand(steady=30, upgrade=50, guide=50)),
        ((1, 2, 2), {}, Demand(steady=25, upgrade=40, guide=50)),
        ((1, 6, 0), {}, Demand(steady=25, upgrade=40, guide=40)),
        ((1, 8, 0), {"rwx": Rwx.SHARED}, Demand(steady=62, upgrade=77, guide=77)),
        ((1, 8, 0), {"rwx": Rwx.DEDICATED}, Demand(steady=37, upgrade=37, guide=37)),
        ((1, 8, 0), {"v2": True}, Demand(steady=30, upgrade=50, guide=40)),
    ],
)
def test_what_pods_take_now_and_during_an_upgrade(version, changes, expected):
    assert planned(Cluster(**FIVE, harvester=version, **changes)) == expected


def test_250_nodes_of_harvester_1_1_need_a_thousand():
    assert guide(Cluster(nodes=250, disks=0, harvester=(1, 1, 2))) == 1000


def test_each_formula_says_for_which_harvester_it_stands():
    texts = [formula(version, Rwx.OFF) for version in ((1, 1, 0), (1, 2, 0), (1, 3, 0), (1, 8, 0))]
    assert [text.rpartition("(")[2] for text in texts] == [
        "Harvester 1.1)",
        "Harvester 1.2)",
        "Harvester 1.3 and newer)",
        "Harvester 1.3 and newer)",
    ]
    assert formula((1, 8, 0), Rwx.SHARED).startswith("nodes x 3 + disks x 2 + images + 32")


@pytest.mark.parametrize(("text", "version"), [("1.4", (1, 4, 0)), ("v1.4.2", (1, 4, 2)), ("1.9.0-rc6", (1, 9, 0)), ("2.0", (2, 0, 0))])
def test_versions_are_read(text, version):
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "1", "one.two", "1.4.2.1", "1.0", "0.3", "9" * 50 + ".1", "1.٤"])
def test_what_is_no_version_or_has_no_storage_network_is_refused(text):
    with pytest.raises(ValueError, match=r"version|storage network"):
        parse_version(text)


@pytest.mark.parametrize(
    ("harvester", "whereabouts"),
    [((1, 1, 0), (0, 5, 4)), ((1, 1, 2), (0, 6, 1)), ((1, 1, 3), (0, 6, 2)), ((1, 2, 1), (0, 6, 2)), ((1, 2, 2), None), ((1, 8, 0), None)],
)
def test_each_harvester_has_its_whereabouts(harvester, whereabouts):
    assert whereabouts_of(harvester) == whereabouts


def test_what_a_harvester_does_not_have_is_said():
    assert unsupported(Cluster(**FIVE, rwx=Rwx.DEDICATED, harvester=(1, 7, 0))) == "a dedicated RWX network needs Harvester 1.8"
    assert unsupported(Cluster(**FIVE, rwx=Rwx.SHARED, harvester=(1, 3, 0))) == "RWX volumes on the storage network need Harvester 1.4"
    assert unsupported(Cluster(**FIVE, v2=True, harvester=(1, 2, 0))) == "the V2 data engine needs Harvester 1.3"
    assert unsupported(Cluster(**FIVE, rwx=Rwx.SHARED, v2=True)) is None


def storage_pod(name, role, *, node="harv41", phase="Running", network=Network.STORAGE, **labels):
    record = PodRecord(
        namespace="longhorn-system",
        name=name,
        uid=name,
        node=node,
        phase=phase,
        labels={f"longhorn.io/{key.replace('_', '-')}": value for key, value in labels.items()},
    )
    return StoragePod(record=record, role=role, network=network, interface="lhnet1")


def test_two_generations_of_a_manager_are_one_place():
    """In the middle of an upgrade each node has the old and the new instance-manager."""
    pods = [
        storage_pod(f"im-{node}-{image}", Role.INSTANCE_MANAGER, node=node, instance_manager_type="aio", instance_manager_image=image)
        for node in ("harv41", "harv42")
        for image in ("imi-old", "imi-new")
    ]
    pods += [
        storage_pod("bim-old", Role.BACKING_IMAGE_MANAGER, disk_uuid="d1"),
        storage_pod("bim-new", Role.BACKING_IMAGE_MANAGER, disk_uuid="d1"),
        storage_pod("bids", Role.BACKING_IMAGE_DATA_SOURCE),
        storage_pod("failed", Role.INSTANCE_MANAGER, node="harv43", phase="Failed"),
        storage_pod("rwx", Role.SHARE_MANAGER, network=Network.RWX),
    ]
    assert count_pods(pods, network=Network.STORAGE).demand() == Demand(steady=4, upgrade=7)
    assert count_pods(pods, network=Network.RWX).demand() == Demand(steady=1, upgrade=2)


def test_two_generations_of_objects_are_one_place_and_what_is_stopped_is_none():
    """Else every upgrade would be called one for which there is no room."""
    managers = [
        InstanceManagerRecord(name=f"im-{node}-{image}", node_id=node, type="aio", data_engine=engine, image=image, state=state)
        for node in ("harv41", "harv42")
        for image, engine, state in (("old", None, "running"), ("new", "v1", "starting"), ("older", "v1", "stopped"), ("new", "v2", None))
    ]
    assert places_of(managers) == 4
    assert places_of([InstanceManagerRecord(name="a"), InstanceManagerRecord(name="b")]) == 2


def test_engine_and_replica_managers_and_v2_have_places_of_their_own():
    pods = [
        storage_pod("e", Role.INSTANCE_MANAGER, instance_manager_type="engine"),
        storage_pod("r", Role.INSTANCE_MANAGER, instance_manager_type="replica"),
        storage_pod("v1", Role.INSTANCE_MANAGER, node="harv42", instance_manager_type="aio", data_engine="v1"),
        storage_pod("v2", Role.INSTANCE_MANAGER, node="harv42", instance_manager_type="aio", data_engine="v2"),
    ]
    assert count_pods(pods, network=Network.STORAGE).instance_managers == 4


def test_managers_that_do_not_run_just_now_still_need_their_address():
    assert count_pods([], network=Network.STORAGE, instance_managers_wanted=3).demand() == Demand(steady=3, upgrade=6)
    assert count_pods([], network=Network.RWX, instance_managers_wanted=3).demand() == Demand(steady=0, upgrade=0)
