"""Lists of the lab's API: selectors, pages, and the resourceVersion rules that reflectors depend on.

A page's continue token names a frozen copy of the list, so that all pages show one moment. Copies are few and forgotten in order of age;
a token whose copy is gone gets 410, as it does from a real server after compaction.
"""

import base64
import binascii
import itertools
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from agent.lab import api_errors, api_select
from agent.lab.api_request import ResourcePath
from agent.lab.api_resources import Resource
from agent.lab.api_store import Store

Json = dict[str, Any]

MAX_COPIES = 100
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter."
)


class Lists:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._copies: OrderedDict[int, tuple[int, list[Json]]] = OrderedDict()
        self._numbers = itertools.count(1)

    def forget(self) -> None:
        """All continue tokens are too old from now on."""
        self._copies.clear()

    def page(self, resource: Resource, path: ResourcePath, query: Mapping[str, str]) -> tuple[list[Json], Json]:
        """Objects and list metadata. Raises ApiError 400, 410 or 504."""
        version = parse_version(query.get("resourceVersion", ""))
        limit = _number(query.get("limit", ""))
        predicate = api_select.both(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        if token := query.get("continue", ""):
            if version:
                raise api_errors.bad_request("specifying resource version is not allowed when using continue")
            return self._next(token, limit)
        self._check_version(version, query.get("resourceVersionMatch", ""))
        objects = self._store.select(resource.key, namespace=path.namespace)
        if predicate is not None:
            objects = [obj for obj in objects if predicate(obj)]
        if version == 0 and resource.bookmarks:
            limit = 0  # a kube-apiserver answers these from its watch cache and ignores the limit
        return self._cut(objects, self._store.version, limit, counted=predicate is None)

    def _check_version(self, version: int | None, match: str) -> None:
        if version is None:
            if match:
                raise api_errors.invalid_options("resourceVersionMatch", "is forbidden unless resourceVersion is provided")
            return
        if version > self._store.version:
            raise api_errors.too_large_version(version, self._store.version)
        if match == "Exact" and version != self._store.version:
            raise api_errors.expired(f"The resourceVersion for the provided list is too old: {version} ({self._store.version})")

    def _next(self, token: str, limit: int) -> tuple[list[Json], Json]:
        try:
            number, start = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
            number, start = int(number), int(start)
        except (ValueError, TypeError, binascii.Error) as error:
            raise api_errors.bad_request("invalid continue token: continue key is not valid") from error
        if number not in self._copies:
            raise api_errors.expired(_TOO_OLD)
        version, objects = self._copies[number]
        return self._cut(objects, version, limit, number=number, start=start)

    def _cut(
        self, objects: list[Json], version: int, limit: int, *, number: int = 0, start: int = 0, counted: bool = False
    ) -> tuple[list[Json], Json]:
        end = start + limit if limit > 0 else len(objects)
        metadata: Json = {"resourceVersion": str(version)}
        if end < len(objects):
            if not number:
                number = next(self._numbers)
                self._copies[number] = (version, objects)
                while len(self._copies) > MAX_COPIES:
                    self._copies.popitem(last=False)
            metadata["continue"] = base64.urlsafe_b64encode(json.dumps([number, end]).encode()).decode()
            if counted:
                metadata["remainingItemCount"] = len(objects) - end
        return objects[start:end], metadata


def parse_version(text: str) -> int | None:
    """None if not given. Raises ApiError 400."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise api_errors.bad_request(f'invalid resource version: resourceVersion: Invalid value: "{text}"')
    return int(text)


def _number(text: str) -> int:
    try:
        return int(text or "0")
    except ValueError as error:
        raise api_errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error
