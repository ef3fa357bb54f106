"""What the lab's API remembers: objects, one counter of versions, and a bounded log of changes for watches.

Objects are replaced, never changed in place, so that a list or a log entry stays what it was while others write. It knows nothing of
HTTP, permissions or validation. All of it runs in one event loop without awaiting anything: a method is a transaction.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.lab import api_errors
from agent.lab.api_resources import CRDS, Registry, Resource

Json = dict[str, Any]
ResourceKey = tuple[str, str]
ObjectKey = tuple[str, str]
"""Namespace (empty where there is none) and name."""

LOG_SIZE = 1000
"""Changes kept for each resource. A watch that starts before them gets 410, as from a kube-apiserver after compaction."""
QUEUE_SIZE = 2000
"""Changes that a slow watcher may be behind before its connection is ended."""


@dataclass(frozen=True, slots=True)
class Change:
    version: int
    old: Json | None
    new: Json | None
    """None: deleted. `old` then carries the version of the deletion."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One watcher's queue. `None` in it means: nothing more will come."""

    queue: asyncio.Queue[Change | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_SIZE + 1))
    expired: bool = False
    """Ended by a compaction: say 410 before closing."""

    def push(self, change: Change) -> bool:
        if self.queue.qsize() >= QUEUE_SIZE:
            return False
        self.queue.put_nowait(change)
        return True

    def end(self, *, expired: bool = False) -> None:
        self.expired = self.expired or expired
        if not self.queue.full():
            self.queue.put_nowait(None)


class Store:
    def __init__(self, *, version: int = 1) -> None:
        self.version = version
        self.registry = Registry()
        self.on_change: Callable[[ResourceKey, Change], None] | None = None
        self._objects: dict[ResourceKey, dict[ObjectKey, Json]] = {}
        self._log: dict[ResourceKey, deque[Change]] = {}
        self._floor: dict[ResourceKey, int] = {}
        self._oldest = version
        self._subscriptions: dict[ResourceKey, set[Subscription]] = {}

    def get(self, key: ResourceKey, namespace: str, name: str) -> Json | None:
        return self._objects.get(key, {}).get((namespace, name))

    def select(self, key: ResourceKey, *, namespace: str = "") -> list[Json]:
        """In the order of namespace and name; an empty namespace means all."""
        held = self._objects.get(key, {})
        return [held[at] for at in sorted(held) if not namespace or at[0] == namespace]

    def put(self, resource: Resource, obj: Json) -> Json:
        """Store `obj` under the names in its metadata, with the next version. Gives what was stored."""
        held = self._objects.setdefault(resource.key, {})
        at = object_key(obj)
        self.version += 1
        stored = _with_version(obj, self.version)
        change = Change(self.version, held.get(at), stored)
        held[at] = stored
        if resource.key == CRDS.key:
            self._define(at[1], stored)
        self._publish(resource.key, change)
        return stored

    def remove(self, resource: Resource, at: ObjectKey) -> Json:
        """Forget one object. Gives it as it was last, with the version of its deletion. Raises KeyError if there is none."""
        held = self._objects[resource.key]
        self.version += 1
        last = _with_version(held.pop(at), self.version)
        self._publish(resource.key, Change(self.version, last, None))
        if resource.key == CRDS.key:
            self._define(at[1], None)
        return last

    def restore(self, key: ResourceKey, obj: Json) -> None:
        """Take an object as it stands, with its version, before anybody is served."""
        self._objects.setdefault(key, {})[object_key(obj)] = obj
        if key == CRDS.key:
            self.registry.define(obj["metadata"]["name"], obj)

    def resume(self, version: int) -> None:
        """Go on counting where an earlier process stopped. What it told before that version is no longer known."""
        self.version = self._oldest = version

    def everything(self) -> Mapping[ResourceKey, Mapping[ObjectKey, Json]]:
        return self._objects

    def subscribe(self, key: ResourceKey, *, since: int | None) -> tuple[list[Change], Subscription]:
        """Changes after version `since` (None: none wanted), and what will follow, without a gap between them.

        Raises ApiError 410 if the log does not reach back that far.
        """
        missed: list[Change] = []
        if since is not None:
            floor = max(self._oldest, self._floor.get(key, 0))
            if since < floor:
                raise api_errors.expired(f"too old resource version: {since} ({floor})")
            missed = [change for change in self._log.get(key, ()) if change.version > since]
        subscription = Subscription()
        self._subscriptions.setdefault(key, set()).add(subscription)
        return missed, subscription

    def unsubscribe(self, key: ResourceKey, subscription: Subscription) -> None:
        self._subscriptions.get(key, set()).discard(subscription)

    def compact(self, *, end_watches: bool = True) -> int:
        """Every version that anybody has seen is too old from now on. Gives the oldest usable one."""
        self.version += 1
        self._oldest = self.version
        self._log.clear()
        if end_watches:
            self.end_watches(expired=True)
        return self.version

    def end_watches(self, *, expired: bool = False, key: ResourceKey | None = None) -> int:
        ended = 0
        for held, subscriptions in self._subscriptions.items():
            if key is None or held == key:
                for subscription in subscriptions:
                    subscription.end(expired=expired)
                    ended += 1
        return ended

    def _define(self, name: str, crd: Json | None) -> None:
        for gone in self.registry.define(name, crd):
            for at in list(self._objects.get(gone.key, {})):
                self.remove(gone, at)
            self.end_watches(key=gone.key)

    def _publish(self, key: ResourceKey, change: Change) -> None:
        log = self._log.setdefault(key, deque())
        log.append(change)
        if len(log) > LOG_SIZE:
            self._floor[key] = log.popleft().version
        for subscription in list(self._subscriptions.get(key, ())):
            if not subscription.push(change):
                subscription.end()
                self._subscriptions[key].discard(subscription)
        if self.on_change is not None:
            self.on_change(key, change)


def object_key(obj: Json) -> ObjectKey:
    metadata = obj["metadata"]
    return (metadata.get("namespace") or "", metadata["name"])


def _with_version(obj: Json, version: int) -> Json:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
