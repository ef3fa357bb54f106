"""Settings of `run`: the typed tree, and how it comes together from a file, the environment and flags (contract §2).

    settings, origins = load("/etc/lhnet-agent/config.yaml", environ=os.environ, flags=["probe.fanout=32"])

A flag beats a variable, a variable beats the file, the file beats the default. Whatever is wrong stops the start with one line; nothing
is repaired, guessed or dropped.
"""

import argparse
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agent import config_sources as sources
from agent.config_findings import IgnoreRule
from agent.config_kinds import NODE, ListenAddress
from agent.config_sources import ConfigError, Raw
from agent.config_tree import (
    AgentsClient,
    Api,
    ClusterAsking,
    FindingSettings,
    History,
    Inspect,
    LogSettings,
    Namespaces,
    Probe,
    ProbePorts,
    Settings,
    Thresholds,
)
from agent.model.catalogue import CATALOGUE
from agent.model.finding import Severity

__all__ = [
    "AgentsClient",
    "Api",
    "ClusterAsking",
    "ConfigError",
    "FindingSettings",
    "History",
    "IgnoreRule",
    "Inspect",
    "ListenAddress",
    "LogSettings",
    "Namespaces",
    "Probe",
    "ProbePorts",
    "Settings",
    "Thresholds",
    "add_flags",
    "effective",
    "load",
    "load_from_args",
]

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--set`, for every command that needs settings; read them back with `load_from_args`."""
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings (docs/settings.md lists all keys)")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, for instance --set probe.interval_seconds=5; beats the environment and the file; may be repeated",
    )


def load_from_args(args: argparse.Namespace, *, environ: Mapping[str, str] | None = None) -> tuple[Settings, dict[str, str]]:
    """`load` with what `add_flags` gathered. Raises ConfigError."""
    return load(args.config, environ=os.environ if environ is None else environ, flags=args.set)


def load(file: str | os.PathLike[str] | None, *, environ: Mapping[str, str], flags: Sequence[str] = ()) -> tuple[Settings, dict[str, str]]:
    """The settings, and by full key where each came from: `default`, `file:PATH`, `environment NAME` or `flag`.

    Keys of `findings.<id>` are only there when somebody set them. Raises ConfigError.
    """
    given = _defaults_of_this_place(environ)
    if file is not None:
        given.update(sources.from_file(os.fspath(file)))
    given.update(sources.from_environment(environ))
    given.update(sources.from_flags(flags))
    values = {key: sources.convert(key, raw) for key, raw in given.items()}
    settings: Settings = _build(Settings(), values, "", findings=_findings(values))
    origins = {key: given[key].origin if key in given else "default" for key in _keys_to_tell(settings)}
    _refuse_contradictions(settings, origins)
    return settings, origins


def effective(settings: Settings) -> dict[str, object]:
    """Every key with its value as JSON has it, in the order of the reference."""
    plain: dict[str, object] = {}
    for key in _keys_to_tell(settings):
        value: Any = settings
        if key == "findings.ignore":
            value = [rule.as_dict() for rule in settings.findings.ignore]
        elif key.startswith("findings."):
            value = settings.findings.severities[key.removeprefix("findings.")] or "off"
        else:
            for word in key.split("."):
                value = getattr(value, word)
        plain[key] = [str(item) if isinstance(item, ListenAddress) else item for item in value] if isinstance(value, tuple) else value
    return plain


def _defaults_of_this_place(environ: Mapping[str, str]) -> dict[str, Raw]:
    """What stands in nobody's file because every pod has it: who we are and where."""
    given: dict[str, Raw] = {}
    if environ.get("NODE_NAME"):
        given["node_name"] = Raw(value=environ["NODE_NAME"], origin="environment NODE_NAME", is_text=True)
    else:
        # Kubelet registers the host's name in lower case.
        name = socket.gethostname().lower()
        given["node_name"] = Raw(value=name if re.fullmatch(NODE.pattern, name) else "localhost", origin="default", is_text=True)
    if environ.get("POD_NAMESPACE"):
        given["namespaces.agent"] = Raw(value=environ["POD_NAMESPACE"], origin="environment POD_NAMESPACE", is_text=True)
    elif namespace := _service_account_namespace():
        given["namespaces.agent"] = Raw(value=namespace, origin=f"file:{SERVICE_ACCOUNT_NAMESPACE}", is_text=True)
    if environ.get("KUBECONFIG") and not environ.get("KUBERNETES_SERVICE_HOST"):
        given["kubeconfig"] = Raw(value=environ["KUBECONFIG"], origin="environment KUBECONFIG", is_text=True)
    return given


def _service_account_namespace() -> str:
    try:
        with SERVICE_ACCOUNT_NAMESPACE.open(encoding="ascii") as stream:
            return stream.read(64).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _build(tree: Any, values: Mapping[str, Any], prefix: str, **ready: Any) -> Any:
    arguments = dict(ready)
    for field in fields(tree):
        key = prefix + field.name
        if key in values:
            arguments[field.name] = values[key]
        elif is_dataclass(field.default) and field.name not in ready and "kind" not in field.metadata:
            arguments[field.name] = _build(field.default, values, f"{key}.")
    return type(tree)(**arguments)


def _findings(values: Mapping[str, Any]) -> FindingSettings:
    levels = {
        key.removeprefix("findings."): None if value == "off" else Severity(value)
        for key, value in sorted(values.items())
        if key.startswith("findings.") and key != "findings.ignore"
    }
    return FindingSettings(severities=MappingProxyType(levels), ignore=values.get("findings.ignore", ()))


def _keys_to_tell(settings: Settings) -> list[str]:
    quiet = {f"findings.{name}" for name in CATALOGUE if name not in settings.findings.severities}
    return [key for key in sources.known_keys() if key not in quiet]


def _refuse_contradictions(settings: Settings, origins: Mapping[str, str]) -> None:
    """What is right alone and wrong together. The line names the key that somebody set."""

    def refuse(key: str, value: object, expected: str) -> None:
        raise sources.bad_value(key, value=value, origin=origins[key], expected=expected)

    probe, thresholds, client = settings.probe, settings.thresholds, settings.agents_client
    if probe.timeout_seconds >= probe.interval_seconds:
        refuse(
            "probe.timeout_seconds",
            probe.timeout_seconds,
            f"less than probe.interval_seconds, which is {probe.interval_seconds:g} ({origins['probe.interval_seconds']})",
        )
    if thresholds.neighbour_table_ratio > thresholds.neighbour_table_stop_ratio:
        refuse(
            "thresholds.neighbour_table_ratio",
            thresholds.neighbour_table_ratio,
            f"at most thresholds.neighbour_table_stop_ratio, which is {thresholds.neighbour_table_stop_ratio:g}",
        )
    if (client.username is None) != (client.password_file is None):
        missing, there = ("password_file", "username") if client.password_file is None else ("username", "password_file")
        refuse(f"agents_client.{missing}", None, f"a value beside agents_client.{there}")
    if settings.responder_port in probe.ports.by_role.values():
        refuse("responder_port", settings.responder_port, "another port than those of probe.ports, which are Longhorn's")
    wide = {address.port for address in settings.listen if address.address is None or address.address.is_unspecified}
    for address in settings.listen:
        if address.port and address.port in wide and address.address is not None and not address.address.is_unspecified:
            refuse("listen", str(address), f"no single address beside one that takes port {address.port} of all addresses")
