"""One watch connection of the lab's API: what was there, what has changed, bookmarks, and 410 when the past is no longer known.

With a selector an object that stops matching is told as DELETED and one that starts matching as ADDED, whatever happened to it.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from agent.lab import api_errors, api_select
from agent.lab.api_errors import ApiError
from agent.lab.api_list import parse_version
from agent.lab.api_request import is_true
from agent.lab.api_resources import Resource
from agent.lab.api_store import Change, Store, Subscription
from agent.lab.api_views import View

Json = dict[str, Any]

BOOKMARK_SECONDS = 8.0
"""Clients may count on one about every ten seconds."""
MIN_TIMEOUT_SECONDS = 1800.0
"""Without timeoutSeconds a kube-apiserver closes a watch after 30 to 60 minutes."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Watch:
    def __init__(self, store: Store, resource: Resource, namespace: str, query: Mapping[str, str], view: View) -> None:
        """Raises ApiError 400 for parameters that cannot be read."""
        self._store, self._resource, self._namespace, self._view = store, resource, namespace, view
        self._matches = api_select.both(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        self._version = parse_version(query.get("resourceVersion", ""))
        self._streams_list = query.get("sendInitialEvents") == "true"
        self._bookmarks = is_true(query.get("allowWatchBookmarks")) and resource.bookmarks
        try:
            seconds = float(query.get("timeoutSeconds", "0"))
        except ValueError as error:
            raise api_errors.bad_request("timeoutSeconds must be a number") from error
        self._timeout_seconds = seconds if seconds > 0 else MIN_TIMEOUT_SECONDS * random.uniform(1, 2)  # noqa: S311

    async def serve(self, request: web.Request, *, expired_as_event: bool = True) -> web.StreamResponse:
        """Raises ApiError 410 or 504 before the stream begins."""
        try:
            first, subscription = self._begin()
        except ApiError as error:
            if error.code != 410 or not expired_as_event:
                raise
            first, subscription = [self._line("ERROR", error.body())], Subscription()
            subscription.end()
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
            await response.prepare(request)
            for line in first:
                await response.write(line)
            await self._follow(response, subscription)
            await response.write_eof()
        except ConnectionError:
            pass  # the client has gone; there is nobody to tell
        finally:
            self._store.unsubscribe(self._resource.key, subscription)
        return response

    def _begin(self) -> tuple[list[bytes], Subscription]:
        """Lines to send first. No await between reading the store and subscribing, so nothing is missed in between."""
        now = self._store.version
        if self._version is not None and self._version > now:
            raise api_errors.too_large_version(self._version, now)
        if self._version and not self._streams_list:
            changes, subscription = self._store.subscribe(self._resource.key, since=self._version)
            return [line for change in changes for line in self._lines(change)], subscription
        _, subscription = self._store.subscribe(self._resource.key, since=None)
        held = self._store.select(self._resource.key, namespace=self._namespace)
        first = [self._line("ADDED", self._view.one(self._resource, obj)) for obj in held if self._wants(obj)]
        if self._streams_list:
            first.append(self._bookmark(annotations={INITIAL_EVENTS_END: "true"}))
        return first, subscription

    async def _follow(self, response: web.StreamResponse, subscription: Subscription) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout_seconds
        getter = asyncio.ensure_future(subscription.queue.get())
        try:
            while (left := end - loop.time()) > 0:
                await asyncio.wait({getter}, timeout=min(left, BOOKMARK_SECONDS) if self._bookmarks else left)
                if not getter.done():
                    if self._bookmarks:
                        await response.write(self._bookmark())
                    continue
                change = getter.result()
                if change is None:
                    break
                getter = asyncio.ensure_future(subscription.queue.get())
                for line in self._lines(change):
                    await response.write(line)
        finally:
            getter.cancel()
        if subscription.expired:
            await response.write(self._line("ERROR", api_errors.expired("too old resource version").body()))

    def _lines(self, change: Change) -> Iterator[bytes]:
        was = change.old is not None and self._wants(change.old)
        if change.new is None:
            kind, obj = ("DELETED" if was else ""), change.old
        elif self._wants(change.new):
            kind, obj = ("MODIFIED" if was else "ADDED"), change.new
        elif was and change.old is not None:
            # The last state that matched, at the version of the change that ended the match.
            version = change.new["metadata"]["resourceVersion"]
            kind, obj = "DELETED", {**change.old, "metadata": {**change.old["metadata"], "resourceVersion": version}}
        else:
            kind, obj = "", None
        if kind and obj is not None:
            yield self._line(kind, self._view.one(self._resource, obj))

    def _wants(self, obj: Json) -> bool:
        if self._namespace and obj["metadata"].get("namespace") != self._namespace:
            return False
        return self._matches is None or self._matches(obj)

    def _bookmark(self, *, annotations: Json | None = None) -> bytes:
        # All that came before this version is already in our queue, and the queue is empty when this is called.
        metadata: Json = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        return self._line("BOOKMARK", {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata})

    @staticmethod
    def _line(kind: str, obj: Json) -> bytes:
        return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"
