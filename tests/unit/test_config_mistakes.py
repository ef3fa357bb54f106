"""Mistakes in settings: each stops the start with one line that names the key, the value and what was expected."""

from pathlib import Path

import pytest

from agent.config import ConfigError, load
from agent.config_yaml import LARGEST_BYTES

ROOT = Path(__file__).resolve().parents[2]
BAD = ROOT / "tests/data/bad-config"
ADDRESS = "IP:PORT, [IPv6]:PORT or :PORT with a port from 0 to 65535, for instance 0.0.0.0:9811"

# {file} stands for the origin of everything in the file.
EXPECTED = {
    "alias": "{file}: line 2: an alias; expected the value itself",
    "alias-bomb": "{file}: line 2: an alias; expected the value itself",
    "boolean-for-a-number": "probe.fanout: true ({file}), expected a whole number of pairs from 1 to 4096",
    "duplicate-key": "{file}: line 3: 'probe' is there twice; expected each key once",
    "fraction-for-a-count": "probe.fanout: 12.5 ({file}), expected a whole number of pairs from 1 to 4096",
    "huge-number": "{file}: line 1: not a value of its type; expected a text, a number or true or false",
    "ignore-is-a-mapping": "findings.ignore: a mapping of 2 ({file}), expected a list of {{id, node?, pod?, until?, why}}",
    "ignore-pod-without-namespace": "findings.ignore[1].pod: 'instance-manager-1' ({file}), expected a pod as namespace/name",
    "ignore-unknown-key": "findings.ignore[1].nodes: 'harv41' ({file}), expected only id, node, pod, until and why",
    "ignore-until-impossible-day": "findings.ignore[1].until: '2026-02-30T00:00:00Z' ({file}), "
    "expected a time with its zone such as 2026-12-24T18:00:00Z",
    "ignore-until-no-time": "findings.ignore[1].until: 'next week' ({file}), expected a time with its zone such as 2026-12-24T18:00:00Z",
    "ignore-until-without-zone": "findings.ignore[1].until: '2026-12-24T18:00:00' ({file}), "
    "expected a time with its zone such as 2026-12-24T18:00:00Z",
    "ignore-without-id": "findings.ignore[1].id: null ({file}), expected the id of a finding",
    "ignore-without-why": "findings.ignore[1].why: null ({file}), expected the sentence that is to stand beside the ignored finding",
    "infinite": "thresholds.error_rate: '.inf' ({file}), expected a number of errors or drops a second from 0 to 1000000000",
    "interface-name-too-long": "interface: 'longhorn-storage-0' ({file}), expected an interface name of 1 to 15 characters",
    "key-outside-its-section": "fanout: 32 ({file}), expected a known setting; did you mean probe.fanout?",
    "list-instead-of-mapping": "{file}: holds ['probe', 'inspect'], expected a mapping of settings",
    "listen-ipv6-without-brackets": "listen[1]: '::1:9811' ({file}), expected " + ADDRESS,
    "listen-is-no-list": "listen: '0.0.0.0:9811' ({file}), expected a list: " + ADDRESS,
    "listen-on-a-host-name": "listen[1]: 'localhost:9811' ({file}), expected " + ADDRESS,
    "listen-on-all-and-one": "listen: '127.0.0.1:9811' ({file}), "
    "expected no single address beside one that takes port 9811 of all addresses",
    "listen-on-nothing": "listen: [] ({file}), expected 1 to 16 of " + ADDRESS,
    "listen-twice": "listen[2]: '127.0.0.1:9811' ({file}), expected each only once",
    "listen-without-port": "listen[1]: '0.0.0.0' ({file}), expected " + ADDRESS,
    "namespace-in-capitals": "namespaces.longhorn: 'Longhorn-System' ({file}), expected the name of a Kubernetes namespace",
    "negative-interval": "inspect.interval_seconds: -15 ({file}), expected a number of seconds from 0.5 to 3600",
    "nested-too-deep": "{file}: line 1: nested deeper than 12 levels; expected the tree of settings",
    "not-a-number": "thresholds.rtt_seconds: '.nan' ({file}), expected a number of seconds from 0.0001 to 60",
    "not-utf8": "{file}: is not UTF-8 text, expected a YAML file of settings",
    "not-yaml": "{file}: line 3: not YAML: expected ',' or ']', but got '<stream end>'",
    "null-value": "probe.fanout: null ({file}), expected a whole number of pairs from 1 to 4096",
    "number-in-quotes": "probe.interval_seconds: '5' ({file}), expected a number of seconds from 0.5 to 3600",
    "password-in-the-file": "agents_client.password: a value not shown ({file}), expected a known setting; "
    "did you mean agents_client.password_file?",
    "port-too-large": "responder_port: 70000 ({file}), expected 0 for off or a TCP port from 0 to 65535",
    "port-zero": "probe.ports.im: 0 ({file}), expected a TCP port from 1 to 65535",
    "python-tag": "{file}: line 1: not YAML: could not determine a constructor for the tag "
    "'tag:yaml.org,2002:python/object/apply:os.getcwd'",
    "ratio-in-percent": "thresholds.loss_ratio: 5 ({file}), expected a ratio from 0 to 1",
    "relative-netns-dir": "netns_dir[1]: 'run/netns' ({file}), expected an absolute path",
    "responder-on-longhorns-port": "responder_port: 8500 ({file}), expected another port than those of probe.ports, which are Longhorn's",
    "scheme-unknown": "agents_client.scheme: 'ftp' ({file}), expected one of http, https",
    "section-is-a-number": "probe: 5 ({file}), expected a mapping of settings",
    "selector-without-value": "agents_selector: 'lhnet-agent' ({file}), "
    "expected a label selector such as app.kubernetes.io/name=lhnet-agent",
    "stop-ratio-below-ratio": "thresholds.neighbour_table_ratio: 0.8 ({file}), "
    "expected at most thresholds.neighbour_table_stop_ratio, which is 0.7",
    "tab-indented": "{file}: line 2: not YAML: found character '\\t' that cannot start any token",
    "timeout-not-below-interval": "probe.timeout_seconds: 4 ({file}), expected less than probe.interval_seconds, which is 4 ({file})",
    "unknown-finding": "findings.peer-unreachabel: 'off' ({file}), expected the id of a finding, or ignore; "
    "did you mean findings.peer-unreachable?",
    "unknown-key": "probe.interval: 5 ({file}), expected a known setting; did you mean probe.interval_seconds?",
    "unknown-section": "probes: a mapping of 1 ({file}), expected a known setting; did you mean probe?",
    "unknown-severity": "findings.peer-unreachable: 'error' ({file}), expected one of off, info, warning, critical",
    "username-without-password": "agents_client.password_file: null (default), expected a value beside agents_client.username",
    "zero-interval": "cluster.interval_seconds: 0 ({file}), expected a number of seconds from 0.5 to 3600",
}


def refusal(file: Path | None = None, *, flags: tuple[str, ...] = (), **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, environ=environ, flags=flags)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_every_bad_file_has_its_line_and_every_line_its_file() -> None:
    assert {path.stem for path in BAD.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_mistake_in_the_file_stops_the_start_with_one_line(name: str) -> None:
    path = BAD / f"{name}.yaml"
    assert refusal(path) == EXPECTED[name].format(file=f"file:{path}")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "LHNET_PROBE__INTERVAL_SECOND",
            "LHNET_PROBE__INTERVAL_SECOND: '5' (environment), expected LHNET_ with the path of a setting; "
            "did you mean LHNET_PROBE__INTERVAL_SECONDS?",
        ),
        ("LHNET_", "LHNET_: '5' (environment), expected LHNET_ with the path of a setting"),
        (
            "LHNET_AGENTS_CLIENT__PASSWORD",
            "LHNET_AGENTS_CLIENT__PASSWORD: a value not shown (environment), expected LHNET_ with the path of a setting; "
            "did you mean LHNET_AGENTS_CLIENT__PASSWORD_FILE?",
        ),
        (
            "LHNET_PROBE__PORTS__IM",
            "probe.ports.im: '5.5' (environment LHNET_PROBE__PORTS__IM), expected a TCP port from 1 to 65535",
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(name: str, line: str) -> None:
    assert refusal(**{name: "5.5" if name.endswith("IM") else "5"}) == line


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("probe.fanout", "--set: 'probe.fanout', expected KEY=VALUE"),
        ("probe.fan_out=3", "probe.fan_out: '3' (flag), expected a known setting; did you mean probe.fanout?"),
        ("probe=3", "probe: '3' (flag), expected a known setting"),
        ("probe.timeout_seconds=nan", "probe.timeout_seconds: 'nan' (flag), expected a number of seconds from 0.1 to 60"),
        ("probe.timeout_seconds=1_0", "probe.timeout_seconds: '1_0' (flag), expected a number of seconds from 0.1 to 60"),
        ("probe.timeout_seconds=1e999", "probe.timeout_seconds: '1e999' (flag), expected a number of seconds from 0.1 to 60"),
        ("probe.fanout=٦٤", "probe.fanout: '٦٤' (flag), expected a whole number of pairs from 1 to 4096"),
        ("probe.large_packets=maybe", "probe.large_packets: 'maybe' (flag), expected true or false"),
        ("findings.ignore=[{", "findings.ignore: '[{' (flag), expected a list of {id, node?, pod?, until?, why}, written as YAML"),
        (
            "findings.ignore=[{id: [], why: x}]",
            "findings.ignore[1].id: [] (flag), expected a text",
        ),
        ("interface=" + "x" * 5000, f"interface: 'x{'x' * 77}… (flag), expected an interface name of 1 to 15 characters"),
        ("interface=a\nb", "interface: 'a\\nb' (flag), expected an interface name of 1 to 15 characters"),
    ],
)
def test_a_mistake_in_a_flag_is_one_short_line(flag: str, line: str) -> None:
    assert refusal(flags=(flag,)) == line


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert refusal(missing) == f"file:{missing}: cannot be read (No such file or directory), expected a YAML file of settings"
    assert refusal(tmp_path) == f"file:{tmp_path}: cannot be read (Is a directory), expected a YAML file of settings"
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (LARGEST_BYTES + 1))
    assert refusal(large) == f"file:{large}: larger than 1024 KiB"
    large.write_text("netns_dir: [" + "1," * 30000 + "1]")
    assert refusal(large) == f"file:{large}: line 1: more than 20000 keys and values; expected a file of settings"
