"""Reads the ranges of the `host-local` IPAM plugin, so that an address outside them can be told. Gives no capacity worth alerting on:
host-local counts per node, in files that no API shows (containernetworking plugins, plugins/ipam/host-local/backend/allocator)."""

from agent.model.net import IPAddress
from agent.model.pool import AddressRange, Interval
from agent.rules import intervals
from agent.rules.ipam_range import parse_address, parse_cidr, shown, too_long


def host_local_ranges(ipam: dict[str, object]) -> tuple[tuple[AddressRange, ...], tuple[str, ...]]:
    """Ranges of `subnet` (old form) and of `ranges` (list of lists), and what could not be read. Never raises."""
    problems: list[str] = []
    items: list[object] = [ipam] if ipam.get("subnet") is not None else []
    sets = ipam.get("ranges")
    for one in sets if isinstance(sets, list) else []:
        items.extend(one if isinstance(one, list) else [one])
    if sets is not None and not isinstance(sets, list):
        problems.append("ipam.ranges is not a list")
    found: list[AddressRange] = []
    for item in items:
        try:
            found.append(_range(item))
        except ValueError as error:
            problems.append(f"ipam of host-local: {error}")
    return tuple(found), tuple(problems)


def _range(item: object) -> AddressRange:
    if not isinstance(item, dict) or not isinstance(item.get("subnet"), str):
        raise ValueError("a range without a subnet")  # noqa: TRY004  # somebody's data, not our caller's mistake
    text: str = item["subnet"]
    network = parse_cidr(text).network
    if problem := too_long(network):
        return AddressRange(text=shown(text), network=network, first=None, last=None, problem=problem)
    last_host = network.broadcast_address - 1 if network.version == 4 else network.broadcast_address
    first = _address(item, "rangeStart") or network.network_address + 1
    last = _address(item, "rangeEnd") or last_host
    gateway = _address(item, "gateway") or network.network_address + 1
    if first not in network or last not in network or int(first) > int(last):
        raise ValueError(f"{first} to {last} does not lie in {network}")
    taken = (Interval(first=int(gateway), last=int(gateway)),) if gateway.version == network.version else ()
    excluded = intervals.clip(taken, first=int(first), last=int(last))
    return AddressRange(text=text, network=network, first=first, last=last, excluded=excluded)


def _address(item: dict[str, object], key: str) -> IPAddress | None:
    value = item.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(f"{key} is not an address")  # noqa: TRY004  # somebody's data, not our caller's mistake
    return parse_address(value)
