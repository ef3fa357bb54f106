"""Posts the Events of the lab's kubelets and Multus as client-go does: merged, rewritten and, when they are too many, left out.

Ten different messages about one object within ten minutes become one event whose text and count go on changing; a source that talks on
about one object falls silent. An agent that takes an event's count for a number of failures is caught by that, so it must be right here.
Source: client-go tools/record/events_cache.go.
"""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.lab.apiclient import ApiClient, ApiFailed

Json = dict[str, Any]

COMBINED = "(combined from similar events): "
DISTINCT_MESSAGES = 10
FORGET_SECONDS = 600.0
BURST = 25
REFILL_SECONDS = 300.0
"""One event more in so many seconds, once the burst is spent."""


@dataclass(slots=True)
class _Similar:
    messages: dict[str, None] = field(default_factory=dict)
    last_seconds: float = 0.0


@dataclass(slots=True)
class _Posted:
    name: str
    count: int


@dataclass(slots=True)
class _Bucket:
    left: float = BURST
    at_seconds: float | None = None

    def take(self, now: float) -> bool:
        if self.at_seconds is not None:
            self.left = min(BURST, self.left + (now - self.at_seconds) / REFILL_SECONDS)
        self.at_seconds = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Recorder:
    """`component` is who speaks: `kubelet` or `multus`. Multus is started anew for each pod, so nothing of its events is ever merged."""

    def __init__(self, client: Callable[[], ApiClient], *, clock: Callable[[], float] = time.time) -> None:
        self._client, self._clock = client, clock
        self._similar: dict[tuple[str, ...], _Similar] = {}
        self._posted: dict[tuple[str, ...], _Posted] = {}
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    async def post(self, pod: Json, *, reason: str, message: str, warning: bool, component: str, node: str) -> None:
        """One event about a pod object. Raises ApiFailed, aiohttp.ClientError or TimeoutError if the API does not take it."""
        now, uid = self._clock(), str(pod["metadata"].get("uid") or "")
        if component == "multus":
            await self._create(pod, reason=reason, message=message, warning=warning, component=component, node=node, now=now)
            return
        key, text = self._aggregate((component, uid, reason), message, now=now)
        if not self._buckets.setdefault((component, uid), _Bucket()).take(now):
            return
        posted = self._posted.get(key)
        if posted is not None and await self._rewrite(pod, posted, text, now=now):
            posted.count += 1
            return
        name = await self._create(pod, reason=reason, message=text, warning=warning, component=component, node=node, now=now)
        self._posted[key] = _Posted(name, 1)

    def forget(self, uid: str) -> None:
        """Of a pod that is over."""
        self._similar = {key: value for key, value in self._similar.items() if key[1] != uid}
        self._posted = {key: value for key, value in self._posted.items() if key[1] != uid}
        self._buckets = {key: value for key, value in self._buckets.items() if key[1] != uid}

    def _aggregate(self, key: tuple[str, ...], message: str, *, now: float) -> tuple[tuple[str, ...], str]:
        similar = self._similar.setdefault(key, _Similar())
        if now - similar.last_seconds > FORGET_SECONDS:
            similar.messages.clear()
        similar.last_seconds = now
        similar.messages[message] = None
        if len(similar.messages) < DISTINCT_MESSAGES:
            return (*key, message), message
        similar.messages.pop(next(iter(similar.messages)))
        return key, COMBINED + message

    async def _create(self, pod: Json, *, reason: str, message: str, warning: bool, component: str, node: str, now: float) -> str:
        metadata = pod["metadata"]
        name = f"{metadata['name']}.{int(now * 1e9):x}"
        await self._client().apply(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": metadata["namespace"]},
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata.get("uid"),
                },
                "reason": reason,
                "type": "Warning" if warning else "Normal",
                "count": 1,
                "firstTimestamp": _stamp(now),
                "lastTimestamp": _stamp(now),
                "source": {"component": component, "host": node} if component == "kubelet" else {"component": component},
                "reportingComponent": component,
                "reportingInstance": node if component == "kubelet" else "",
                "message": message,
            }
        )
        return name

    async def _rewrite(self, pod: Json, posted: _Posted, message: str, *, now: float) -> bool:
        """False if the event is gone: they live for an hour only."""
        change = {"message": message, "count": posted.count + 1, "lastTimestamp": _stamp(now)}
        try:
            await self._client().patch("v1", "Event", posted.name, change, namespace=pod["metadata"]["namespace"])
        except ApiFailed as error:
            if error.code == 404:
                return False
            raise
        return True


def _stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
