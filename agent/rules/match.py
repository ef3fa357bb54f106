"""Finds which namespace file is which pod's: by the addresses of the pod's default interface, never by the storage address.

The storage address may be wrong, missing or somebody else's; that is what we are here to find out. Where two namespaces carry the same
default address (a dead pod's namespace lingers while its address is used again), the granted MAC decides, else the younger one.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass

from agent.model.net import NamespaceFacts, NamespaceFile
from agent.model.peers import StoragePod


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    file: NamespaceFile
    facts: NamespaceFacts


def match(pods: Iterable[StoragePod], candidates: Iterable[Candidate], *, only_by_mac: Container[str] = ()) -> dict[str, Candidate]:
    """Pod UID → its namespace, for those that have one among `candidates`.

    Pods of `only_by_mac` (UIDs whose namespace was known and has gone) take none without the granted MAC: a pod keeps its namespace, so
    another one with its address is a dead pod's.
    """
    by_address: dict[object, list[Candidate]] = {}
    for candidate in candidates:
        for address in candidate.facts.addresses:
            if address.scope == "global":
                by_address.setdefault(address.interface.ip, []).append(candidate)
    found: dict[str, Candidate] = {}
    for pod in pods:
        fitting = [
            candidate
            for wanted in pod.default_addresses
            for candidate in by_address.get(wanted, ())
            if _on_default_interface(candidate.facts, wanted, pod.interface)
            and (pod.uid not in only_by_mac or _has_mac(candidate.facts, pod))
        ]
        if fitting:
            found[pod.uid] = max(fitting, key=lambda candidate: (_has_mac(candidate.facts, pod), candidate.file.cookie or 0))
    return found


def _on_default_interface(facts: NamespaceFacts, wanted: object, storage_interface: str) -> bool:
    storage = facts.link(storage_interface)
    return any(address.interface.ip == wanted and (storage is None or address.link_index != storage.index) for address in facts.addresses)


def _has_mac(facts: NamespaceFacts, pod: StoragePod) -> bool:
    return bool(pod.grant and pod.grant.mac and any(link.mac == pod.grant.mac for link in facts.links))
