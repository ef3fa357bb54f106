"""Label and field selectors as a kube-apiserver understands them. Both parsers raise ApiError 400 for what they cannot read."""

import re
from collections.abc import Callable
from typing import Any

from agent.lab import api_errors
from agent.lab.api_resources import METADATA_FIELDS, Resource

Json = dict[str, Any]
Predicate = Callable[[Json], bool]

_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s*\(([^()]*)\)$")
_EQUALITY = re.compile(rf"^({_KEY})\s*(==|=|!=)\s*({_VALUE})$")
_NUMBER = re.compile(rf"^({_KEY})\s*([<>])\s*(-?\d+)$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")


def both(resource: Resource, labels: str, fields: str) -> Predicate | None:
    """One predicate for the two selectors of a request; None if they select everything."""
    predicates = [*_label_predicates(labels), *_field_predicates(resource, fields)]
    if not predicates:
        return None
    return lambda obj: all(predicate(obj) for predicate in predicates)


def metadata_name(fields: str) -> str:
    """The name that a field selector pins down, or empty: RBAC's resourceNames apply to such a list or watch."""
    for term in _split_fields(fields):
        name, operator, value = _field_term(term)
        if name == "metadata.name" and operator != "!=":
            return value
    return ""


def _label_predicates(selector: str) -> list[Predicate]:
    return [_label_predicate(term.strip()) for term in _split_outside_brackets(selector) if term.strip()]


def _label_predicate(term: str) -> Predicate:
    if match := _SET.match(term):
        key, operator, listed = match.groups()
        values = frozenset(value.strip() for value in listed.split(","))
        if operator == "in":
            return lambda obj: _labels(obj).get(key) in values
        return lambda obj: _labels(obj).get(key) not in values
    if match := _EQUALITY.match(term):
        key, operator, value = match.groups()
        if operator == "!=":
            return lambda obj: _labels(obj).get(key) != value
        return lambda obj: _labels(obj).get(key) == value
    if match := _NUMBER.match(term):
        key, operator, bound = match.group(1), match.group(2), int(match.group(3))
        return lambda obj: _compares(_labels(obj).get(key), operator, bound)
    if match := _EXISTS.match(term):
        wanted, key = not match.group(1), match.group(2)
        return lambda obj: (key in _labels(obj)) == wanted
    raise api_errors.bad_request(f"unable to parse requirement: {term!r}")


def _compares(text: str | None, operator: str, bound: int) -> bool:
    try:
        number = int(text or "")
    except ValueError:
        return False
    return number > bound if operator == ">" else number < bound


def _labels(obj: Json) -> Json:
    labels = obj.get("metadata", {}).get("labels")
    return labels if isinstance(labels, dict) else {}


def _split_outside_brackets(text: str) -> list[str]:
    return re.split(r",(?![^()]*\))", text)


def _field_predicates(resource: Resource, selector: str) -> list[Predicate]:
    return [_field_predicate(resource, *_field_term(term)) for term in _split_fields(selector)]


def _field_predicate(resource: Resource, name: str, operator: str, value: str) -> Predicate:
    if name not in METADATA_FIELDS and name not in resource.fields:
        raise api_errors.bad_request(f"field label not supported: {name}")
    wanted = operator != "!="
    return lambda obj: (_field(obj, name) == value) == wanted


def _split_fields(selector: str) -> list[str]:
    return [term for term in re.split(r"(?<!\\),", selector) if term.strip()]


def _field_term(term: str) -> tuple[str, str, str]:
    match = re.match(r"^\s*([^=!\s]+?)\s*(==|!=|=)(.*)$", term, re.DOTALL)
    if not match:
        raise api_errors.bad_request(f"invalid selector: {term!r}; can't understand {term!r}")
    return match.group(1), match.group(2), re.sub(r"\\([\\,=])", r"\1", match.group(3).strip())


def _field(obj: Json, name: str) -> str:
    if name == "source":
        name = "source.component"
    value: object = obj
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "false" if name in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(value)
