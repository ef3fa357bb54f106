"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902) on API objects. Neither changes the object that it is given.

A strategic merge patch is applied as a merge patch: lists are replaced whole, which is all that labels, annotations, settings and
statuses need. Server-side apply is refused by the caller.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from agent.lab import api_errors

Json = dict[str, Any]

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
MAX_OPERATIONS = 10_000
"""As kube-apiserver limits JSON patches."""


def apply(obj: Json, patch: object, *, media_type: str) -> Json:
    """The patched object. Raises ApiError 422 where the patch does not fit the object, 400 where it is no patch at all."""
    if media_type == JSON_PATCH:
        if not isinstance(patch, list) or len(patch) > MAX_OPERATIONS:
            raise api_errors.bad_request("json patch must be a list of at most 10000 operations")
        result = _json_patch(obj, patch)
    else:
        if not isinstance(patch, dict):
            raise api_errors.bad_request("merge patch must be an object")
        result = merge(obj, patch)
    if not isinstance(result, dict):
        raise api_errors.patch_failed()
    return result


def merge(target: object, patch: object) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None or key == "$patch":
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def _json_patch(obj: Json, operations: list[Any]) -> Any:
    document: Any = {"": deepcopy(obj)}
    for operation in operations:
        try:
            _OPERATIONS[operation["op"]](document, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise api_errors.patch_failed() from error
    return document[""]


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError(pointer)
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]


def _parent(document: Any, pointer: str) -> tuple[Any, str]:
    *way, last = _steps(pointer)
    for step in way:
        document = document[_index(step, len(document) - 1)] if isinstance(document, list) else document[step]
    return document, last


def _index(step: str, highest: int) -> int:
    if not step.isascii() or not step.isdigit() or (len(step) > 1 and step[0] == "0") or int(step) > highest:
        raise IndexError(step)
    return int(step)


def _read(document: Any, pointer: str) -> Any:
    parent, last = _parent(document, pointer)
    return parent[_index(last, len(parent) - 1)] if isinstance(parent, list) else parent[last]


def _add(document: Any, pointer: str, value: Any) -> None:
    parent, last = _parent(document, pointer)
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise TypeError(pointer)


def _remove(document: Any, pointer: str) -> Any:
    parent, last = _parent(document, pointer)
    return parent.pop(_index(last, len(parent) - 1)) if isinstance(parent, list) else parent.pop(last)


def _replace(document: Any, operation: Json) -> None:
    parent, last = _parent(document, operation["path"])
    if isinstance(parent, list):
        parent[_index(last, len(parent) - 1)] = operation["value"]
    else:
        if last not in parent:
            raise KeyError(last)
        parent[last] = operation["value"]


def _test(document: Any, operation: Json) -> None:
    if _read(document, operation["path"]) != operation["value"]:
        raise ValueError("test failed")


_OPERATIONS: dict[str, Callable[[Any, Json], object]] = {
    "add": lambda document, op: _add(document, op["path"], op["value"]),
    "remove": lambda document, op: _remove(document, op["path"]),
    "replace": _replace,
    "test": _test,
    "copy": lambda document, op: _add(document, op["path"], deepcopy(_read(document, op["from"]))),
    "move": lambda document, op: _add(document, op["path"], _remove(document, op["from"])),
}
