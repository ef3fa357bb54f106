"""Step 3 of Harvester's verification guide: did each storage pod get its address?

Longhorn falls back to the pod network without a word when a grant is missing, so a pod without one is the finding here, not a footnote.
"""

from collections.abc import Iterator, Mapping
from math import inf

from agent.model.peers import Mode, Network, StoragePod
from agent.model.pool import NadConfig
from agent.model.records import PodRecord, SourceState
from agent.model.steps import Places, Result, Step, Survey
from agent.rules.ipam_grants import address_duplicates
from agent.rules.ipam_pods import pod_uses
from agent.rules.mode import Reading
from agent.rules.nad import parse_nad
from agent.rules.netstatus import read_pod
from agent.rules.setting_pods import grant_missing
from agent.rules.steps import NAMED, Trouble, apart, few, judged, many, not_applicable, plain, softened, unread
from agent.rules.steps_check import guide_pods

TITLE = "addresses"
_FALLBACK = "Longhorn uses the pod network"


def addresses_expected(places: Places) -> str:
    return f"network-status of every storage pod has {places.interface} with an address of the range that no other pod has"


def addresses_step(survey: Survey, reading: Reading, *, places: Places) -> Step:
    """Step 3. While the setting is being applied nothing is worse than a warning: pods are being made anew."""
    expected = addresses_expected(places)
    if reading.mode in (Mode.OFF, Mode.UNINITIALISED) and not reading.nads:
        return not_applicable(TITLE, why="the storage network is not in use", expected=expected)
    pods = [pod for pod in guide_pods(survey, reading) if pod.live]
    troubles = list(_troubles(survey, reading, pods=pods, places=places))
    note = ""
    if reading.mode is Mode.APPLYING:
        troubles, note = softened(troubles), "the setting is being applied"
    ranges = few(sorted({one.text for nad in _configs(survey, reading).values() for one in nad.ranges}))
    fine = f"{many(len(pods), 'pod')} with {places.interface} in {ranges}, no address twice"
    return judged(TITLE, fine=fine, expected=expected, troubles=troubles, note=note)


def _configs(survey: Survey, reading: Reading) -> Mapping[str, NadConfig]:
    return {nad.key: parse_nad(nad.key, nad.config) for nad in survey.cluster.nads.items if nad.key in reading.nads}


def _troubles(survey: Survey, reading: Reading, *, pods: list[PodRecord], places: Places) -> Iterator[Trouble]:
    command = f"kubectl get pods -n {places.longhorn} -l longhorn.io/component=instance-manager -o yaml"
    if source := unread(survey.cluster.pods, what="pods", command=command):
        yield source
        if survey.cluster.pods.status.state is not SourceState.LIVE:
            return
    if not reading.nads:
        yield Trouble(result=Result.UNKNOWN, what="it is not known which NAD the storage network has", next_step="mend step 1 first")
        return
    if not pods:
        yield Trouble(result=Result.UNKNOWN, what="no storage pod runs: there is no address to look at", next_step="mend step 2 first")
    configs = _configs(survey, reading)
    yield from _unknown_ranges(survey, reading, configs)
    read = {pod.key: read_pod(pod, nads=reading.nads, interface=places.interface) for pod in pods}
    granted = [pod for pod in read.values() if pod is not None]
    bad = list(_bad_pods(read, configs, places=places))
    yield from _named(bad)
    down = {node.name for node in survey.holder.nodes.items if node.ready is not True}
    # A running pod has its network-status, so that its age is no matter here.
    for duplicate in address_duplicates(
        pod_uses([pod.record for pod in granted]), nads=list(configs.values()), nodes_down=down, now=inf, grace_seconds=0.0
    ):
        sentence, commands = apart(duplicate.next_step)
        yield Trouble(result=Result.CRITICAL, what=duplicate.summary, next_step=sentence, commands=commands)


def _unknown_ranges(survey: Survey, reading: Reading, configs: Mapping[str, NadConfig]) -> Iterator[Trouble]:
    for name in reading.nads:
        config = configs.get(name)
        if config is not None and config.ranges:
            continue
        namespace, _, short = name.partition("/")
        why = few(config.problems) if config is not None else survey.cluster.nads.status.detail or "there is no such object"
        yield Trouble(
            result=Result.UNKNOWN,
            what=f"the range of {plain(name)} cannot be told: {plain(why or 'its IPAM gives none')}",
            next_step="read the NAD",
            commands=(f"kubectl -n {namespace} get network-attachment-definitions {short} -o yaml",),
        )


def _bad_pods(
    read: Mapping[str, StoragePod | None], configs: Mapping[str, NadConfig], *, places: Places
) -> Iterator[tuple[Result, str, str, str]]:
    """Result, pod, what is wrong with it, and its network's word for the like."""
    for key, pod in sorted(read.items()):
        if pod is None:
            yield Result.CRITICAL, key, f"it does not ask for the storage network (made before the setting?); {_FALLBACK}", "request"
        elif missing := grant_missing(pod, nads={request.nad: pod.network for request in pod.requests}):
            told = f" ({plain(pod.problems[0])})" if pod.problems else ""
            yield Result.CRITICAL, key, f"no {pod.interface} with an address in its network-status{told}; {_FALLBACK}", missing.id
        elif pod.grant is None:
            yield Result.UNKNOWN, key, "its network-status is too long to be read", "cut"
        else:
            yield from _bad_grant(pod, configs.get(pod.grant.nad), places=places)


def _bad_grant(pod: StoragePod, config: NadConfig | None, *, places: Places) -> Iterator[tuple[Result, str, str, str]]:
    address, grant = pod.address, pod.grant
    if address is None or grant is None:
        return
    if config is not None and config.ranges and not any(one.holds(address) for one in config.ranges):
        ranges = few(one.text for one in config.ranges)
        yield Result.CRITICAL, pod.key, f"its address {address} is not one that {ranges} gives out", "range"
    name = grant.interface
    if name is not None and pod.network is Network.STORAGE and name != places.interface:
        yield Result.WARNING, pod.key, f"its storage interface is {plain(name)}, not {places.interface}", "interface"


def _named(bad: list[tuple[Result, str, str, str]]) -> Iterator[Trouble]:
    """The first few by name, the others of the same kind counted with the last of them."""
    kinds: dict[str, list[tuple[Result, str, str, str]]] = {}
    for one in bad:
        kinds.setdefault(one[3], []).append(one)
    for same in kinds.values():
        for result, key, what, _ in same[: NAMED - 1] if len(same) > NAMED else same:
            yield Trouble(result=result, what=f"{key}: {what}", next_step=_REMADE, commands=(_delete(key),))
        if len(same) > NAMED:
            rest = same[NAMED - 1 :]
            yield Trouble(
                result=rest[0][0],
                what=f"{rest[0][1]} and {many(len(rest) - 1, 'more pod')}: {rest[0][2]}",
                next_step=_REMADE,
                commands=tuple(_delete(key) for _, key, _, _ in rest[:1]),
            )


_REMADE = "once the volumes that it serves are detached, have Longhorn make the pod anew"


def _delete(key: str) -> str:
    namespace, _, name = key.partition("/")
    return f"kubectl -n {namespace} delete pod {name}"
