"""Knows which files under `netns_dir` are network namespaces, and which of them belongs to which storage pod.

Kept between inspections so that a node with hundreds of pods is not read anew every time; entered only where the mount is propagated,
since without that an unmount never reaches us and we would hold on to the dead.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.edge.mounts import cut_off
from agent.edge.netlink import read_addresses, read_namespace
from agent.edge.netns import Entrance, NamespaceDenied, NamespaceError, NamespaceGone, ScanResult, scan
from agent.model.net import NamespaceFacts, NamespaceFile
from agent.model.peers import StoragePod
from agent.rules.match import Candidate, match

REMEMBER_SECONDS = 60.0
"""How long the addresses of a namespace that is nobody's are believed: those of a pod hardly change after it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One look at `netns_dir`."""

    result: ScanResult
    not_propagated: tuple[str, ...]


class Namespaces:
    """The node's namespaces and what is remembered of them. Not thread-safe: one event loop."""

    def __init__(self, *, directories: tuple[str, ...], entrance: Entrance, monotonic: Callable[[], float]) -> None:
        self._directories = directories
        self._entrance = entrance
        self._monotonic = monotonic
        self._addresses: dict[tuple[int, int], tuple[float, NamespaceFacts]] = {}
        self._owned: dict[str, tuple[int, int]] = {}
        self._once: dict[str, tuple[int, int]] = {}
        """The namespace that each pod was last known to have, for as long as the pod is there."""
        self.denied: tuple[str, ...] = ()
        """Namespaces that the kernel did not let us enter at the last look, with why."""

    async def look(self) -> Scan:
        """What is there now. Never raises for a single file."""
        not_propagated = cut_off(self._directories)
        if not_propagated:
            return Scan(result=ScanResult(), not_propagated=not_propagated)
        return Scan(result=await asyncio.wrap_future(scan(self._directories, self._entrance)), not_propagated=())

    async def find(self, pods: Iterable[StoragePod], files: tuple[NamespaceFile, ...]) -> dict[str, NamespaceFile]:
        """Pod UID → its namespace, for those pods that have one among `files`."""
        wanted = {pod.uid: pod for pod in pods}
        present = {file.key: file for file in files}
        self._addresses = {key: value for key, value in self._addresses.items() if key in present}
        self._owned = {uid: key for uid, key in self._owned.items() if uid in wanted and key in present}
        self._once = {uid: key for uid, key in self._once.items() if uid in wanted}
        missing = [pod for uid, pod in wanted.items() if uid not in self._owned]
        if missing:
            taken = set(self._owned.values())
            candidates = [
                Candidate(file=file, facts=facts)
                for key, file in present.items()
                if key not in taken and (facts := await self._addresses_of(file)) is not None
            ]
            gone = {uid for uid, key in self._once.items() if key not in present}
            self._owned |= {uid: candidate.file.key for uid, candidate in match(missing, candidates, only_by_mac=gone).items()}
            self._once |= self._owned
        return {uid: present[key] for uid, key in self._owned.items()}

    async def read(self, pod: StoragePod, file: NamespaceFile) -> NamespaceFacts | None:
        """Everything the kernel says in the pod's namespace; None if that turns out not to be the pod's any more.

        Raises NamespaceError if it vanished or could not be read.
        """
        try:
            facts = await read_namespace(self._entrance, file)
        except NamespaceGone:
            self.forget(pod.uid)
            raise
        if not match([pod], [Candidate(file=file, facts=facts)]):
            self.forget(pod.uid)
            return None
        return facts

    def forget(self, uid: str) -> None:
        """The next `find` looks for this pod anew."""
        key = self._owned.pop(uid, None)
        if key is not None:
            self._addresses.pop(key, None)

    async def _addresses_of(self, file: NamespaceFile) -> NamespaceFacts | None:
        read_at, facts = self._addresses.get(file.key, (None, None))
        fresh = read_at is not None and self._monotonic() - read_at < REMEMBER_SECONDS
        if facts is not None and fresh and any(address.scope == "global" for address in facts.addresses):
            return facts
        try:
            facts = await read_addresses(self._entrance, file)
        except NamespaceDenied as error:
            self.denied = (*self.denied[:3], str(error))
            return None
        except NamespaceError:
            return None
        self._addresses[file.key] = (self._monotonic(), facts)
        return facts
