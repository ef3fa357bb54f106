"""Settings as an operator meets them: who wins, what is told, and a reference that names every key."""

import json
import re
from pathlib import Path

import pytest

from agent import config
from agent.cli import main
from agent.config import Settings, effective, load
from agent.config_sources import known_keys, known_sections, variable_name
from agent.model.catalogue import CATALOGUE
from agent.model.finding import Severity, Subject
from agent.model.peers import Role

ROOT = Path(__file__).resolve().parents[2]


def settings(file: Path | None = None, *, flags: tuple[str, ...] = (), **environ: str) -> Settings:
    return load(file, environ=environ, flags=flags)[0]


def test_without_a_file_everything_is_at_the_documented_default() -> None:
    loaded, origins = load(None, environ={"NODE_NAME": "harv41"})
    assert loaded.probe.interval_seconds == 10
    assert loaded.probe.ports.by_role == {Role.INSTANCE_MANAGER: 8500, Role.BACKING_IMAGE_MANAGER: 8000}
    assert [str(address) for address in loaded.listen] == ["0.0.0.0:9811"]
    assert loaded.node_name == "harv41"
    assert origins["node_name"] == "environment NODE_NAME"
    assert {origin for key, origin in origins.items() if key != "node_name"} == {"default"}


def test_file_then_environment_then_flag(tmp_path: Path) -> None:
    """The same key in three places, two in two, one in one: each origin is told."""
    file = tmp_path / "config.yaml"
    file.write_text("probe: {interval_seconds: 20, fanout: 8}\ninspect: {interval_seconds: 30}\nlog: {level: debug}\n")
    environ = {"LHNET_PROBE__INTERVAL_SECONDS": "30", "LHNET_PROBE__FANOUT": "9", "LHNET_INTERFACE": "net1"}
    loaded, origins = load(file, environ=environ, flags=["probe.interval_seconds=40", "interface=lhnet7", "interface=lhnet8"])
    assert (loaded.probe.interval_seconds, loaded.probe.fanout, loaded.inspect.interval_seconds) == (40, 9, 30)
    assert loaded.interface == "lhnet8"
    assert origins["probe.interval_seconds"] == "flag"
    assert origins["probe.fanout"] == "environment LHNET_PROBE__FANOUT"
    assert origins["inspect.interval_seconds"] == f"file:{file}"
    assert origins["probe.timeout_seconds"] == "default"


def test_every_key_has_a_variable_of_its_own_and_every_variable_can_be_read() -> None:
    names = {variable_name(key) for key in known_keys()}
    assert len(names) == len(known_keys())
    assert not any(name.startswith(("LHNET_AGENT_", "LHNET_LAB_")) for name in names)
    assert variable_name("probe.ports.im") == "LHNET_PROBE__PORTS__IM"
    assert variable_name("findings.peer-unreachable") == "LHNET_FINDINGS__PEER_UNREACHABLE"


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    loaded = settings(LHNET_LISTEN="[fd00::41]:9811, 127.0.0.1:9811", LHNET_NETNS_DIR="/run/netns,/var/run/docker/netns")
    assert [str(address) for address in loaded.listen] == ["[fd00::41]:9811", "127.0.0.1:9811"]
    assert loaded.netns_dir == ("/run/netns", "/var/run/docker/netns")


@pytest.mark.parametrize(
    ("text", "host", "shown"),
    [
        (":9811", None, ":9811"),
        ("[::]:9811", "::", "[::]:9811"),
        ("0.0.0.0:9811", "0.0.0.0", "0.0.0.0:9811"),
        ("[192.168.10.41]:9811", "192.168.10.41", "192.168.10.41:9811"),
    ],
)
def test_listen_takes_what_a_manifest_can_write(text: str, host: str | None, shown: str) -> None:
    (address,) = settings(LHNET_LISTEN=text).listen
    assert (address.host, address.port, str(address)) == (host, 9811, shown)


def test_findings_by_variable_by_flag_and_by_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("findings:\n  uplink-slow: off\n")
    loaded = settings(file, flags=("findings.mtu-chain=critical",), LHNET_FINDINGS__PEER_UNREACHABLE="info")
    assert dict(loaded.findings.severities) == {
        "uplink-slow": None,
        "mtu-chain": Severity.CRITICAL,
        "peer-unreachable": Severity.INFO,
    }


def test_an_ignored_finding_is_one_of_that_node_until_that_time() -> None:
    rule = "findings.ignore=[{id: peer-unreachable, node: harv43, until: 2026-12-24T18:00:00+01:00, why: moved  to\n  rack 7}]"
    (ignore,) = settings(flags=(rule,)).findings.ignore
    assert ignore.why == "moved to rack 7"
    seen_from_it, towards_it = Subject(node="harv43", peer_node="harv41"), Subject(node="harv41", peer_node="harv43")
    before, after = 1798131599.0, 1798131600.0
    assert ignore.covers(finding_id="peer-unreachable", subject=seen_from_it, wall_seconds=before)
    assert ignore.covers(finding_id="peer-unreachable", subject=towards_it, wall_seconds=before)
    assert not ignore.covers(finding_id="peer-unreachable", subject=towards_it, wall_seconds=after)
    assert not ignore.covers(finding_id="peer-unreachable", subject=Subject(node="harv41", peer_node="harv42"), wall_seconds=before)
    assert not ignore.covers(finding_id="peer-port-closed", subject=towards_it, wall_seconds=before)


def test_a_service_called_lhnet_agent_and_our_own_tools_do_not_stop_the_start() -> None:
    settings(
        LHNET_AGENT_SERVICE_HOST="10.53.1.1",
        LHNET_AGENT_PORT_9811_TCP="tcp://10.53.1.1:9811",
        LHNET_LAB_DIR="/run/lab",
        LHNET_CNI_BIN="/opt/cni/bin",
        LHNET_IMAGE_TAR="build/lhnet-agent.tar",
        LHNET_IMAGE_BASE="made",
        HOME="/root",
    )


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "---\n", "probe:\n"])
def test_an_empty_file_is_a_file_without_settings(content: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    assert settings(file, NODE_NAME="harv41") == settings(NODE_NAME="harv41")


def test_where_we_are_comes_from_the_pod_unless_somebody_says_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "namespace"
    inside.write_text("diagnostics\n")
    monkeypatch.setattr(config, "SERVICE_ACCOUNT_NAMESPACE", inside)
    loaded, origins = load(None, environ={})
    assert (loaded.namespaces.agent, origins["namespaces.agent"]) == ("diagnostics", f"file:{inside}")
    assert settings(POD_NAMESPACE="other").namespaces.agent == "other"
    assert settings(POD_NAMESPACE="other", LHNET_NAMESPACES__AGENT="mine").namespaces.agent == "mine"
    monkeypatch.setattr(config, "SERVICE_ACCOUNT_NAMESPACE", tmp_path / "none")
    assert settings().namespaces.agent == "lhnet-system"


def test_a_kubeconfig_counts_outside_a_cluster_only() -> None:
    assert settings(KUBECONFIG="/home/me/.kube/config").kubeconfig == "/home/me/.kube/config"
    assert settings(KUBECONFIG="/home/me/.kube/config", KUBERNETES_SERVICE_HOST="10.53.0.1").kubeconfig is None
    assert settings(KUBERNETES_SERVICE_HOST="10.53.0.1", LHNET_KUBECONFIG="/etc/k").kubeconfig == "/etc/k"


def test_a_host_name_that_no_node_could_have_is_not_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Büro_PC")
    assert settings().node_name == "localhost"
    monkeypatch.setattr("socket.gethostname", lambda: "Harv41")
    assert settings().node_name == "harv41"


def test_the_command_prints_each_value_with_where_it_came_from(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LHNET_PROBE__FANOUT", "32")
    assert main(["config", "--set", "findings.uplink-slow=off"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"probe\.fanout +32 +environment LHNET_PROBE__FANOUT", next(line for line in lines if "fanout" in line))
    assert re.fullmatch(r"findings\.uplink-slow +off +flag", next(line for line in lines if "uplink-slow" in line))
    assert not any("findings.mtu-chain" in line for line in lines)


def test_the_command_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--config", str(ROOT / "docs/example-config.yaml"), "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["probe.interval_seconds"] == {"value": 20.0, "origin": f"file:{ROOT}/docs/example-config.yaml"}
    assert document["findings.ignore"]["value"][0]["node"] == "harv43"
    assert document["listen"]["value"] == ["0.0.0.0:9811"]


def test_the_command_ends_with_64_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["config", "--set", "probe.fanout=0"])
    assert caught.value.code == 64
    assert capsys.readouterr().err == "lhnet-agent config: probe.fanout: '0' (flag), expected a whole number of pairs from 1 to 4096\n"


def documented() -> dict[str, str]:
    """Key to default, from the tables of the reference."""
    rows = re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \|", (ROOT / "docs/settings.md").read_text(), flags=re.MULTILINE)
    return {key: default.strip().strip("`") for key, default in rows}


def test_the_reference_names_every_key_with_its_default() -> None:
    rows = documented()
    plain = effective(Settings())
    told = {key for key in rows if key != "findings.<id>"}
    assert told == {key for key in known_keys() if key.removeprefix("findings.") not in CATALOGUE}
    assert rows["node_name"] == "$NODE_NAME`, else the host's name"
    for key in told - {"node_name"}:
        value = plain[key]
        texts = value if isinstance(value, list) else [value]
        expected = ",".join("none" if text is None else _as_written(text) for text in texts) or "none"
        assert rows[key] == expected, key


def _as_written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and value < 1e5 else str(value).removesuffix(".0")


def test_the_reference_names_every_bound() -> None:
    """A range in the table is the one that the code has."""
    text = (ROOT / "docs/settings.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (?:seconds|count), ([0-9.]+) to ([0-9.]+) \|", text, flags=re.MULTILINE)
    assert len(rows) > 15
    for key, low, high in rows:
        assert known_keys()[key].expected.endswith(f"from {low} to {high}"), key


def test_the_example_file_loads() -> None:
    loaded = settings(ROOT / "docs/example-config.yaml")
    assert loaded.probe.fanout == 32
    assert loaded.findings.severities["uplink-slow"] is None


def test_the_file_of_the_manifests_loads() -> None:
    assert settings(ROOT / "manifests/base/config.yaml", NODE_NAME="harv41") == settings(NODE_NAME="harv41")


def test_sections_are_no_settings() -> None:
    assert known_sections() == {
        "agents_client",
        "namespaces",
        "probe",
        "probe.ports",
        "inspect",
        "cluster",
        "api",
        "history",
        "log",
        "findings",
        "thresholds",
    }
