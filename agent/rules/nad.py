"""Reads a NAD's `spec.config` as Multus, the CNI plugin and whereabouts would, and says in words what it could not read.

The text comes from whoever may write a NAD, so it is bounded in size and never trusted in type; nothing here raises. Unknown keys are
ignored. It does not ask whether a range is a good choice: that is for rules/plan_range and rules/ipam.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agent.model.net import IPAddress
from agent.model.pool import AddressRange, NadConfig
from agent.rules.ipam_range import Version, parse_address, searched, shown, whereabouts_range
from agent.rules.nad_host_local import host_local_ranges

MAX_CONFIG_CHARACTERS = 65_536
"""Real configurations have a few hundred; this bounds the excludes and ranges in it too."""
_LONGEST_NAME = 253
_MAX_VLAN = 4094
_MAX_MTU_BYTES = 65_535
_SEVERAL_RANGES: Version = (0, 6, 0)
_NETWORK_NAMES: Version = (0, 6, 2)
_NODE_SLICES: Version = (0, 9, 0)


class _Reader:
    """One object of the configuration and the list of complaints about it."""

    def __init__(self, values: Mapping[str, object], *, problems: list[str], where: str = "") -> None:
        self.values = values
        self.problems = problems
        self.where = where

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self._complain(key, value, "text")
            return None
        if len(value) > _LONGEST_NAME or not value.isprintable():
            self.problems.append(f"{self.where}{key} is not a plausible text: {shown(value)!r}")
            return None
        return value

    def number(self, key: str, *, most: int) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self._complain(key, value, f"a whole number from 0 to {most}")
            return None
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.values.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self._complain(key, value, "true or false")
        return default

    def items(self, key: str) -> list[object]:
        value = self.values.get(key)
        if value is None or isinstance(value, list):
            return value or []
        self._complain(key, value, "a list")
        return []

    def texts(self, key: str) -> tuple[str, ...]:
        items = self.items(key)
        for item in items:
            if not isinstance(item, str):
                self._complain(key, item, "a list of texts")
        return tuple(item for item in items if isinstance(item, str))

    def address(self, key: str) -> IPAddress | None:
        text = self.text(key)
        if text is None:
            return None
        try:
            return parse_address(text)
        except ValueError as error:
            self.problems.append(f"{self.where}{key}: {error}")
            return None

    def _complain(self, key: str, value: object, expected: str) -> None:
        self.problems.append(f"{self.where}{key} is {_described(value)}, expected {expected}")


def _described(value: object) -> str:
    """Containers by kind only: printing one that is nested to the parser's limit would go over the printer's."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return shown(json.dumps(value))


def parse_nad(name: str, config: str | None, *, whereabouts: tuple[int, int, int] | None = None) -> NadConfig:
    """The configuration of the NAD `name` (namespace/name). `whereabouts` is the version whose rules count (None: 0.6.3 or newer).

    A Conf and a ConfList are both read; of a list, the first plugin gives type, bridge, vlan and mtu, the first one with an `ipam` the
    IPAM. Never raises.
    """
    problems: list[str] = []
    own_name = name.rpartition("/")[2]
    document = _document(config, problems=problems)
    if document is None:
        return NadConfig(name=name, network_name=own_name, problems=tuple(problems))
    plugins = _plugins(document, problems=problems)
    first = _Reader(plugins[0] if plugins else {}, problems=problems)
    parsed = NadConfig(
        name=name,
        type=first.text("type"),
        network_name=_Reader(document, problems=problems).text("name") or own_name,
        bridge=first.text("bridge"),
        vlan=first.number("vlan", most=_MAX_VLAN),
        mtu_bytes=first.number("mtu", most=_MAX_MTU_BYTES),
    )
    ipam = next((value for plugin in plugins if isinstance(value := plugin.get("ipam"), dict)), None)
    if ipam is None and any(plugin.get("ipam") is not None for plugin in plugins):
        problems.append("ipam is not an object")
    if ipam is None:
        return replace(parsed, problems=tuple(problems))
    return _with_ipam(parsed, ipam, problems=problems, whereabouts=whereabouts)


def _document(config: str | None, *, problems: list[str]) -> dict[str, object] | None:
    if config is None or not config.strip():
        problems.append("the NAD has no spec.config: Multus then looks for a file of that name on the node")
        return None
    if len(config) > MAX_CONFIG_CHARACTERS:
        problems.append(f"spec.config has {len(config)} characters; more than {MAX_CONFIG_CHARACTERS} are not read")
        return None
    try:
        document = json.loads(config, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else shown(str(error))
        problems.append(f"spec.config is not JSON: {why}")
        return None
    if not isinstance(document, dict):
        problems.append("spec.config is not a JSON object")
        return None
    return document


def _refuse_constant(constant: str) -> object:
    raise ValueError(f"{constant} is not a JSON value")


def _plugins(document: dict[str, object], *, problems: list[str]) -> list[dict[str, object]]:
    if "plugins" not in document:
        return [document]
    plugins = document["plugins"]
    if not isinstance(plugins, list) or not plugins or not all(isinstance(plugin, dict) for plugin in plugins):
        problems.append("plugins is not a list of plugin configurations")
        return []
    return plugins


def _with_ipam(parsed: NadConfig, ipam: dict[str, object], *, problems: list[str], whereabouts: Version | None) -> NadConfig:
    reader = _Reader(ipam, problems=problems, where="ipam.")
    kind = reader.text("type")
    if kind == "host-local":
        ranges, complaints = host_local_ranges(ipam)
        return replace(parsed, ipam_type=kind, ranges=ranges, problems=(*problems, *complaints))
    if kind != "whereabouts":
        return replace(parsed, ipam_type=kind, problems=tuple(problems))
    read_before = len(problems)
    slice_size = reader.text("node_slice_size") if _knows(whereabouts, _NODE_SLICES) else None
    settled = replace(
        parsed,
        ipam_type=kind,
        pool_network_name=reader.text("network_name") if _knows(whereabouts, _NETWORK_NAMES) else None,
        node_slice_size=slice_size,
        overlapping_ranges=reader.flag("enable_overlapping_ranges", default=True),
    )
    notes: list[str] = []
    ranges = _ranges(reader, notes=notes, whereabouts=whereabouts)
    # Go's decoder refuses the whole configuration for one wrong type, and whereabouts for one range that it cannot read.
    refused = problems[read_before] if len(problems) > read_before else None
    if slice_size is not None:
        ranges = _sliced(ranges, slice_size, notes=notes)
    return replace(settled, ranges=ranges, problems=(*problems, *notes), refused=refused)


def _knows(whereabouts: Version | None, since: Version) -> bool:
    return whereabouts is None or whereabouts >= since


def _ranges(reader: _Reader, *, notes: list[str], whereabouts: Version | None) -> tuple[AddressRange, ...]:
    """The old top-level range first, then `ipRanges`, as whereabouts merges them (pkg/config/config.go, 0.6.0)."""
    complaints = len(reader.problems)
    readers = [reader] if reader.text("range") is not None else []
    for position, item in enumerate(reader.items("ipRanges") if _knows(whereabouts, _SEVERAL_RANGES) else ()):
        if isinstance(item, dict):
            readers.append(_Reader(item, problems=reader.problems, where=f"ipam.ipRanges[{position}]."))
        else:
            reader.problems.append(f"ipam.ipRanges[{position}] is not an object")
    if not readers and len(reader.problems) == complaints:
        reader.problems.append("ipam has no range: whereabouts refuses it")
    found = (_range(one, notes=notes, whereabouts=whereabouts) for one in readers)
    return tuple(one for one in found if one is not None)


def _range(reader: _Reader, *, notes: list[str], whereabouts: Version | None) -> AddressRange | None:
    text = reader.text("range")
    if text is None:
        reader.problems.append(f"{reader.where}range is missing: whereabouts refuses the configuration")
        return None
    start, end = reader.address("range_start"), reader.address("range_end")
    try:
        result, odd = whereabouts_range(text, start=start, end=end, excludes=reader.texts("exclude"), whereabouts=whereabouts)
    except ValueError as error:
        reader.problems.append(f"{reader.where}range: {error}")
        return None
    notes.extend(f"{reader.where}{note}" for note in odd)
    if result.problem:
        notes.append(f"{reader.where}range: {result.problem}")
    elif "-" not in text:
        notes.extend(_ignored_bounds(reader, result, start=start, end=end))
    return result


def _ignored_bounds(reader: _Reader, result: AddressRange, *, start: IPAddress | None, end: IPAddress | None) -> list[str]:
    said = (("range_start", start, result.first), ("range_end", end, result.last))
    return [
        f"{reader.where}{key} {written} lies outside the usable part of {result.network}: whereabouts ignores it"
        for key, written, used in said
        if written is not None and written != used
    ]


def _sliced(ranges: Sequence[AddressRange], slice_size: str, *, notes: list[str]) -> tuple[AddressRange, ...]:
    """Node slices (whereabouts 0.9): one range, cut in equal shares; bounds, excludes and further ranges count for nothing there."""
    if not ranges:
        return ()
    whole = ranges[0]
    if len(ranges) > 1 or whole.excludes:
        notes.append("node_slice_size is set: whereabouts honours no exclude and no second range there")
    digits = slice_size.removeprefix("/")
    prefix = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else None
    longest = whole.network.max_prefixlen - 2
    plain = AddressRange(text=whole.text, network=whole.network, first=None, last=None, excludes=whole.excludes)
    if prefix is None or not whole.network.prefixlen <= prefix <= longest:
        problem = f"node_slice_size {shown(slice_size)!r} does not cut {whole.network} in slices that have addresses to give"
        notes.append(problem)
        return (replace(plain, problem=problem),)
    bounds = searched(whole.network, start=None, end=None, whereabouts=None)
    if isinstance(bounds, str):
        return (replace(plain, problem=bounds),)
    return (replace(plain, first=bounds[0], last=bounds[1], slice_prefix=prefix),)
