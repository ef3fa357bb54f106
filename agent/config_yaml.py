"""YAML as a settings file may use it: plain mappings, lists and scalars. Anchors, tags, repeated keys and deep nesting are refused.

An alias can make a kilobyte into gigabytes, and of two equal keys one would be dropped without a word. Only numbers, booleans and null
are read as such; times stay texts, so that `until:` means the same with and without quotes.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

LARGEST_BYTES = 1024 * 1024
"""Also the largest ConfigMap that Kubernetes stores."""
DEEPEST = 12
"""Twice what the deepest setting needs; below any recursion limit."""

MOST_VALUES = 20000
"""Keys and values together: reading as many takes a second, reading a mebibyte of them would take twenty."""


class BadYaml(Exception):
    """The text cannot be taken; the message says why, with the line where there is one."""


class _Loader(yaml.SafeLoader):
    depth = 0
    values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it bare
        if isinstance(event, yaml.AliasEvent):
            raise BadYaml(f"{_line(event.start_mark)}: an alias; expected the value itself")
        if self.depth >= DEEPEST:
            raise BadYaml(f"{_line(event.start_mark)}: nested deeper than {DEEPEST} levels; expected the tree of settings")
        self.values += 1
        if self.values > MOST_VALUES:
            raise BadYaml(f"{_line(event.start_mark)}: more than {MOST_VALUES} keys and values; expected a file of settings")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, TypeError):
            raise BadYaml(f"{_line(node.start_mark)}: not a value of its type; expected a text, a number or true or false") from None

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                raise BadYaml(f"{_line(key_node.start_mark)}: a key that is no word; expected the name of a setting")
            if key in seen:
                raise BadYaml(f"{_line(key_node.start_mark)}: {key[:60]!r} is there twice; expected each key once")
            seen.add(key)
        # By the words as written: `off`, `yes` or `8500` as a key is a word to us, not a boolean or a number.
        return {key_node.value: self.construct_object(value_node, deep=True) for key_node, value_node in node.value}


# The core schema of YAML 1.2: `off` is a word, `010` and `1:30` are not numbers in disguise.
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _construct_map(loader: _Loader, node: yaml.Node) -> dict[Hashable, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise BadYaml(f"{_line(node.start_mark)}: not a mapping")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}"


def parse_yaml(text: str) -> object:
    """Raises BadYaml. None for an empty document."""
    if len(text.encode("utf-8", "surrogateescape")) > LARGEST_BYTES:
        raise BadYaml(f"larger than {LARGEST_BYTES // 1024} KiB")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader with fewer liberties
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadYaml(f"{_line(mark)}: not YAML: {error.problem}" if mark else f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise BadYaml(f"not YAML: {' '.join(str(error).split())[:120]}") from None
