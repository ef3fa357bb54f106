"""Facts of the node: what the kernel's own files say, and what is said when they are absent."""

import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nsworld import needs_namespaces, python, without

from agent.edge.host import (
    CAPABILITIES,
    Pressure,
    Privileges,
    parse_pressure,
    parse_privileges,
    read_bridge_filters,
    read_nics,
    read_own_process,
    read_pressure,
    read_privileges,
)

PSI = "some avg10=1.53 avg60=0.87 avg300=0.12 total=88331417\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
POD_STATUS = "Name:\tpython3\nUid:\t0\t0\t0\t0\nCapPrm:\t0000000000202800\nCapEff:\t0000000000202800\nNoNewPrivs:\t1\nSeccomp:\t2\n"


def test_every_interface_is_told_with_its_mtu_and_no_invented_speed() -> None:
    nics = {nic.name: nic for nic in read_nics()}
    assert set(nics) == set(os.listdir("/sys/class/net")) - {"bonding_masters"}
    assert nics["lo"].up
    assert nics["lo"].speed_mbit is None
    for name, nic in nics.items():
        assert nic.mtu_bytes == int(Path(f"/sys/class/net/{name}/mtu").read_text())


def test_a_kernel_that_refuses_leaves_no_interfaces_rather_than_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("agent.edge.host.psutil.net_if_stats", refuse)
    assert read_nics() == ()


def test_our_own_process_is_told_as_the_kernel_accounts_it() -> None:
    own = read_own_process()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert 0 < own.rss_bytes <= usage.ru_maxrss * 1024 + (64 << 20)
    # The kernel counts in ticks of 10 ms here, and both go on.
    assert 0 <= own.cpu_seconds <= usage.ru_utime + usage.ru_stime + 1
    assert own.threads >= 1
    assert own.descriptors >= 3


def test_pressure_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "cpu"
    file.write_text(PSI)
    assert read_pressure(str(file)) == Pressure(
        some_10s_percent=1.53, some_60s_percent=0.87, some_300s_percent=0.12, some_total_seconds=88.331417
    )


@pytest.mark.parametrize(
    "text", ["", "full avg10=1 avg60=1 avg300=1 total=1\n", "some\n", "some avg10=x avg60=0 avg300=0 total=0\n", "some avg10=1\n", "\n\n"]
)
def test_pressure_that_makes_no_sense_is_none(text: str) -> None:
    assert parse_pressure(text) is None


def test_a_kernel_without_psi_has_no_pressure_not_a_pressure_of_zero(tmp_path: Path) -> None:
    assert read_pressure(str(tmp_path / "missing")) is None
    assert read_pressure(str(tmp_path)) is None


def test_the_capabilities_of_the_manifest_have_names_and_others_numbers() -> None:
    assert parse_privileges(POD_STATUS) == Privileges(effective=frozenset({"SYS_ADMIN", "NET_RAW", "NET_BROADCAST"}), no_new_privs=True)
    assert parse_privileges("CapEff:\t0000000000001001\nNoNewPrivs:\t0\n") == Privileges(
        effective=frozenset({"0", "12"}), no_new_privs=False
    )


def test_an_old_kernel_does_not_say_whether_new_privileges_are_barred() -> None:
    assert parse_privileges("CapEff:\t0000000000000000\n") == Privileges(effective=frozenset(), no_new_privs=None)


@pytest.mark.parametrize("text", ["", "CapEff:\n", "CapEff:\tzz\n", "Name:\tx\n"])
def test_a_status_without_capabilities_is_none_not_an_empty_set(text: str) -> None:
    assert parse_privileges(text) is None


def test_privileges_of_a_missing_file_are_none(tmp_path: Path) -> None:
    assert read_privileges(str(tmp_path / "missing")) is None


@given(st.text(max_size=200))
def test_no_text_breaks_the_parsers(text: str) -> None:
    parse_pressure(text)
    parse_pressure("some " + text)
    parse_privileges(text)
    parse_privileges("CapEff:" + text)


OWN = """
from agent.edge.host import read_privileges
found = read_privileges()
print(sorted(name for name in found.effective if not name.isdigit()), found.no_new_privs)
"""


@needs_namespaces[0]
@needs_namespaces[1]
def test_a_capability_that_the_container_lacks_is_not_claimed() -> None:
    """setpriv takes it away for real; the process then reads its own status."""
    assert python(OWN, before=without("net_raw")).stdout == "['NET_BROADCAST', 'SYS_ADMIN'] True\n"
    assert python(OWN, before=without("sys_admin", "net_broadcast")).stdout == "['NET_RAW'] True\n"


def test_our_own_capabilities_are_those_in_the_kernels_mask() -> None:
    mask = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")).split()[1], 16)
    found = read_privileges()
    assert found is not None
    assert {name in found.effective for number, name in CAPABILITIES.items() if mask >> number & 1} <= {True}
    assert len(found.effective) == mask.bit_count()


def test_bridge_filters_are_on_off_or_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "bridge-nf-call-iptables"
    assert read_bridge_filters(str(file)) is None
    for text, expected in (("1\n", True), ("0\n", False), ("what\n", None), ("", None)):
        file.write_text(text)
        assert read_bridge_filters(str(file)) is expected
