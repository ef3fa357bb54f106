"""Where settings come from: a YAML file, the environment and flags, each turned into raw values by full key. Judges no value.

A key that nobody knows stops the start: a misspelt threshold that is silently the default is worse than no start.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agent.config_findings import LEVEL, IgnoreRules
from agent.config_kinds import BadValue, Kind
from agent.config_tree import Settings
from agent.config_yaml import LARGEST_BYTES, BadYaml, parse_yaml
from agent.model.catalogue import CATALOGUE

PREFIX = "LHNET_"
FOREIGN_PREFIXES = ("LHNET_AGENT_", "LHNET_LAB_")
"""Kubernetes sets LHNET_AGENT_* for a Service called lhnet-agent, in every pod of its namespace; LHNET_LAB_* is the lab's."""
FOREIGN_NAMES = ("LHNET_CNI_BIN", "LHNET_IMAGE_BASE", "LHNET_IMAGE_TAR")
"""Read by tests that run real CNI plugins and the real image, and by what builds it."""


class ConfigError(Exception):
    """One line that names the key, the value and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A value as somebody gave it. `is_text`: it came from a variable or a flag and has no type of its own."""

    value: Any
    origin: str
    is_text: bool


@cache
def known_keys() -> Mapping[str, Kind]:
    """Every full key and what it may be, in the order of the tree."""
    keys = dict(_walk(Settings, ""))
    keys.update({f"findings.{name}": LEVEL for name in CATALOGUE})
    keys["findings.ignore"] = IgnoreRules()
    return keys


def _walk(tree: Any, prefix: str) -> Iterable[tuple[str, Kind]]:
    for field in fields(tree):
        if "kind" in field.metadata:
            yield prefix + field.name, field.metadata["kind"]
        elif is_dataclass(field.default):
            yield from _walk(field.default, f"{prefix}{field.name}.")


@cache
def known_sections() -> frozenset[str]:
    parts = [key.split(".") for key in known_keys()]
    return frozenset(".".join(words[:depth]) for words in parts for depth in range(1, len(words)))


@cache
def variable_names() -> Mapping[str, str]:
    """Full key by name of its environment variable."""
    return {variable_name(key): key for key in known_keys()}


def variable_name(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__").replace("-", "_")


def from_file(path: str) -> dict[str, Raw]:
    """Raises ConfigError with one line for a file that cannot be read, is too large, is no YAML or holds no mapping."""
    origin = f"file:{path}"
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
        document = parse_yaml(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{origin}: cannot be read ({error.strerror or error}), expected a YAML file of settings") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{origin}: is not UTF-8 text, expected a YAML file of settings") from None
    except BadYaml as error:
        raise ConfigError(f"{origin}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{origin}: holds {show(document)}, expected a mapping of settings")
    return dict(_flatten(document, prefix="", origin=origin))


def _flatten(mapping: dict[str, Any], *, prefix: str, origin: str) -> Iterable[tuple[str, Raw]]:
    for word, value in mapping.items():
        key = prefix + word
        if key in known_sections():
            if isinstance(value, dict):
                yield from _flatten(value, prefix=f"{key}.", origin=origin)
            elif value is not None:
                raise ConfigError(f"{key}: {show(value)} ({origin}), expected a mapping of settings")
        elif key in known_keys():
            yield key, Raw(value=value, origin=origin, is_text=False)
        else:
            raise unknown(key, value=value, origin=origin)


def from_environment(environ: Mapping[str, str]) -> dict[str, Raw]:
    found = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name.startswith(FOREIGN_PREFIXES) or name in FOREIGN_NAMES:
            continue
        if name not in variable_names():
            near = difflib.get_close_matches(name, list(variable_names()), n=1, cutoff=0.75)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{name}: {_discreet(name, environ[name])} (environment), expected LHNET_ with the path of a setting{hint}")
        found[variable_names()[name]] = Raw(value=environ[name], origin=f"environment {name}", is_text=True)
    return found


def from_flags(assignments: Sequence[str]) -> dict[str, Raw]:
    """Of `--set KEY=VALUE`; the last one of a key counts, as with other flags."""
    found = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set: {show(assignment)}, expected KEY=VALUE")
        if key not in known_keys():
            raise unknown(key, value=value, origin="flag")
        found[key] = Raw(value=value, origin="flag", is_text=True)
    return found


def convert(key: str, raw: Raw) -> Any:
    """The value of a known key. Raises ConfigError."""
    kind = known_keys()[key]
    try:
        return kind.from_text(raw.value) if raw.is_text else kind.from_yaml(raw.value)
    except BadValue as error:
        value = error.part if error.at else raw.value
        raise bad_value(key + error.at, value=value, origin=raw.origin, expected=str(error) or kind.expected) from None


def bad_value(key: str, *, value: object, origin: str, expected: str) -> ConfigError:
    return ConfigError(f"{key}: {_discreet(key, value)} ({origin}), expected {expected}")


def unknown(key: str, *, value: object, origin: str) -> ConfigError:
    near = difflib.get_close_matches(key, [*known_keys(), *known_sections() - {key}], n=1, cutoff=0.7)
    same_last_word = [known for known in known_keys() if known.rpartition(".")[2] == key.rpartition(".")[2]]
    suggestions = near or (same_last_word if len(same_last_word) == 1 else [])
    expected = "the id of a finding, or ignore" if key.startswith("findings.") else "a known setting"
    hint = f"; did you mean {suggestions[0]}?" if suggestions else ""
    return ConfigError(f"{_one_line(key)}: {_discreet(key, value)} ({origin}), expected {expected}{hint}")


def show(value: object) -> str:
    """A value as its author would know it again, on one line and short."""
    if isinstance(value, dict):
        return f"a mapping of {len(value)}"
    if isinstance(value, list) and (len(value) > 3 or any(isinstance(item, list | dict) for item in value)):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    return _one_line(repr(value))


LONGEST_SHOWN_CHARACTERS = 80


def _one_line(text: str) -> str:
    plain = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return plain if len(plain) <= LONGEST_SHOWN_CHARACTERS else plain[: LONGEST_SHOWN_CHARACTERS - 1] + "…"


def _discreet(key: str, value: object) -> str:
    """Somebody may have written a password where only the path of a file belongs: the line goes to a log."""
    words = ("password", "token", "secret", "credential")
    secret = any(word in key.lower() for word in words) and not key.lower().endswith("_file")
    return "a value not shown" if secret else show(value)
