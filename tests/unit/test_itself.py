"""What keeps the agent from looking is one finding, with the first cause as its reason."""

import pytest

from agent.model.view import OwnFacts
from agent.rules.itself import impaired

ALL = frozenset({"SYS_ADMIN", "NET_RAW", "NET_BROADCAST"})
DIRS = ("/var/run/netns",)


def own(**fields):
    return OwnFacts(**({"capabilities": ALL, "directories": DIRS, "namespaces": 5, "storage_pods": 2} | fields))


def test_an_agent_that_may_and_can_look_is_not_impaired():
    assert impaired("harv41", own()) is None
    assert impaired("harv41", own(storage_pods=0, namespaces=0)) is None


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        ({"capabilities": ALL - {"NET_RAW"}}, "capability_missing", "CAP_NET_RAW"),
        ({"namespaces": 0}, "netns_dir_empty", "/var/run/netns"),
        ({"not_propagated": DIRS, "namespaces": 0}, "netns_dir_not_propagated", "neither a slave nor a shared mount"),
        ({"denied": ("cni-1: not permitted",)}, "access_denied", "out of cni-1"),
        ({"denied": ("cni-1: not permitted", "cni-2: not permitted")}, "access_denied", "out of 2 places, e.g. cni-1"),
        ({"denied": ("/var/run/netns: cannot be listed: Permission denied",), "namespaces": 0}, "access_denied", "cannot be listed"),
        ({"taken": ("127.0.0.1:9811: Address already in use",)}, "port_taken", "127.0.0.1:9811"),
        ({"capabilities": frozenset(), "namespaces": 0}, "capability_missing", "SYS_ADMIN"),
    ],
)
def test_each_cause_has_its_reason_and_is_named(fields, reason, said):
    found = impaired("harv41", own(**fields))
    assert found is not None
    assert (found.id, found.reason, found.culprit) == ("agent-impaired", reason, "harv41")
    assert said in found.summary


def test_an_agent_without_sys_admin_enters_no_namespace_and_that_is_no_second_cause():
    found = impaired("harv41", own(capabilities=ALL - {"SYS_ADMIN"}, namespaces=0, denied=("/var/run/netns/cni-1: not permitted",)))
    assert found is not None
    assert (found.reason, found.evidence) == ("capability_missing", ())


def test_a_folder_of_empty_files_is_named_with_one_of_them():
    found = impaired("harv41", own(namespaces=0, skipped=(("/var/run/netns/cni-1", "not a namespace"), ("/var/run/netns/cni-2", "too"))))
    assert found is not None
    assert found.evidence == ("/var/run/netns/cni-1: not a namespace",)
    assert "cni-1" not in found.summary
