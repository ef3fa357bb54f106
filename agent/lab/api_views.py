"""The shapes in which objects leave the lab's API: as they are, as lists, as kubectl's tables, as metadata only, as discovery documents."""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from agent.lab.api_resources import ACCESS_REVIEWS, ALL_VERBS, PODS, Registry, Resource

Json = dict[str, Any]
_META = "meta.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class View:
    """How one client wants its objects, from its Accept header."""

    kind: str = ""
    """Table, PartialObjectMetadata, PartialObjectMetadataList or empty."""
    include: str = "Metadata"

    def one(self, resource: Resource, obj: Json) -> Json:
        if self.kind == "Table":
            return table(resource, [obj], {"resourceVersion": obj["metadata"].get("resourceVersion", "")}, include=self.include)
        return partial(obj) if self.kind else obj

    def many(self, resource: Resource, objects: list[Json], metadata: Json) -> Json:
        if self.kind == "Table":
            return table(resource, objects, metadata, include=self.include)
        if self.kind:
            return {
                "kind": "PartialObjectMetadataList", "apiVersion": _META, "metadata": metadata, "items": [partial(obj) for obj in objects]
            }  # fmt: skip
        items = objects if resource.custom else [_untyped(obj) for obj in objects]
        return {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata, "items": items}


def wanted_view(accept: str, *, include: str) -> View | None:
    """None if nothing that we speak is accepted. The first entry wins, as kube-apiserver picks."""
    for entry in accept.split(",") if accept.strip() else ["*/*"]:
        media, *parameters = (part.strip() for part in entry.split(";"))
        if media not in ("application/json", "*/*", "application/*"):
            continue
        given = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        kind = given.get("as", "")
        if not kind:
            return View()
        if kind in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList") and given.get("v", "v1") == "v1":
            return View(kind, include or "Metadata")
    return None


def partial(obj: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": obj["metadata"]}


def _untyped(obj: Json) -> Json:
    # Items of typed lists carry no kind of their own; clients must cope.
    return {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}


def table(resource: Resource, objects: Iterable[Json], metadata: Json, *, include: str) -> Json:
    columns = _columns(resource)
    rows = []
    for obj in objects:
        row: Json = {"cells": [cell(obj) for _, _, _, cell in columns]}
        if include != "None":
            row["object"] = obj if include == "Object" else partial(obj)
        rows.append(row)
    definitions = [
        {"name": name, "type": kind, "format": "name" if name == "Name" else "", "description": name, "priority": priority}
        for name, kind, priority, _ in columns
    ]
    return {"kind": "Table", "apiVersion": _META, "metadata": metadata, "columnDefinitions": definitions, "rows": rows}


_Column = tuple[str, str, int, Callable[[Json], object]]


def _columns(resource: Resource) -> list[_Column]:
    name: _Column = ("Name", "string", 0, lambda obj: obj["metadata"]["name"])
    age: _Column = ("Age", "string", 0, lambda obj: _age(obj["metadata"].get("creationTimestamp")))
    if resource.columns:
        return [name, *(_path_column(*column) for column in resource.columns)]
    if resource.key == PODS.key:
        wide: list[_Column] = [
            ("IP", "string", 1, lambda pod: _at(pod, "status.podIP") or "<none>"),
            ("Node", "string", 1, lambda pod: _at(pod, "spec.nodeName") or "<none>"),
        ]
        return [
            name,
            ("Ready", "string", 0, _pod_ready),
            ("Status", "string", 0, _pod_status),
            ("Restarts", "string", 0, _pod_restarts),
            age,
            *wide,
        ]
    if resource.key == ("", "nodes"):
        return [
            name,
            ("Status", "string", 0, _node_status),
            age,
            ("Version", "string", 0, lambda n: _at(n, "status.nodeInfo.kubeletVersion") or ""),
        ]
    if resource.key == ("", "events"):
        return [
            ("Last Seen", "string", 0, lambda event: _age(event.get("lastTimestamp") or event.get("eventTime"))),
            ("Type", "string", 0, lambda event: event.get("type") or ""),
            ("Reason", "string", 0, lambda event: event.get("reason") or ""),
            ("Object", "string", 0, lambda e: f"{str(_at(e, 'involvedObject.kind')).lower()}/{_at(e, 'involvedObject.name')}"),
            ("Message", "string", 0, lambda event: str(event.get("message") or "").strip()),
            ("Name", "string", 1, lambda event: event["metadata"]["name"]),
        ]
    if resource.key == ("coordination.k8s.io", "leases"):
        return [name, ("Holder", "string", 0, lambda lease: _at(lease, "spec.holderIdentity") or ""), age]
    return [name, age]


def _path_column(title: str, kind: str, path: str) -> _Column:
    dotted = path.lstrip(".")
    if kind == "date":
        return (title, "string", 0, lambda obj: _age(_at(obj, dotted)))
    return (title, kind, 0, lambda obj: _at(obj, dotted))


def _at(obj: Json, dotted: str) -> Any:
    value: Any = obj
    for step in dotted.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _age(timestamp: object) -> str:
    try:
        then = datetime.datetime.fromisoformat(str(timestamp))
        seconds = int((datetime.datetime.now(datetime.UTC) - then).total_seconds())
    except (ValueError, TypeError):
        return "<unknown>"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"


def _pod_ready(pod: Json) -> str:
    containers = _at(pod, "status.containerStatuses") or []
    return f"{sum(1 for container in containers if container.get('ready'))}/{len(_at(pod, 'spec.containers') or [])}"


def _pod_status(pod: Json) -> str:
    return "Terminating" if pod["metadata"].get("deletionTimestamp") else str(_at(pod, "status.phase") or "Unknown")


def _pod_restarts(pod: Json) -> str:
    return str(sum(container.get("restartCount", 0) for container in _at(pod, "status.containerStatuses") or []))


def _node_status(node: Json) -> str:
    ready = [c.get("status") for c in _at(node, "status.conditions") or [] if c.get("type") == "Ready"]
    return "Ready" if ready == ["True"] else "NotReady"


def core_versions(address: str) -> Json:
    servers = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": servers}


def groups(registry: Registry) -> Json:
    names = sorted({resource.group for resource in registry if resource.group})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(registry, name, bare=True) for name in names]}


def group(registry: Registry, name: str, *, bare: bool = False) -> Json | None:
    versions = sorted({resource.version for resource in registry if resource.group == name})
    if not versions or not name:
        return None
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    body: Json = {"name": name, "versions": listed, "preferredVersion": listed[0]}
    return body if bare else {"kind": "APIGroup", "apiVersion": "v1", **body}


def group_version(registry: Registry, name: str, version: str) -> Json | None:
    found = [resource for resource in registry if (resource.group, resource.version) == (name, version)]
    if not found:
        return None
    resources: list[Json] = []
    for resource in sorted(found, key=lambda r: r.plural):
        entry: Json = {
            "name": resource.plural,
            "singularName": resource.singular or resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": ["create"] if resource.key == ACCESS_REVIEWS.key else list(ALL_VERBS),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        resources.append(entry)
        if resource.has_status:
            resources.append(_subresource(resource, "status", ["get", "patch", "update"]))
    if not name:
        token = {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}
        resources.append({"name": "serviceaccounts/token", "singularName": "", "namespaced": True, "verbs": ["create"], **token})
    api_version = f"{name}/{version}" if name else version
    body = {"kind": "APIResourceList", "groupVersion": api_version, "resources": resources}
    return {**body, "apiVersion": "v1"} if name else body  # only the core group's list leaves it out


def _subresource(resource: Resource, name: str, verbs: list[str]) -> Json:
    title = f"{resource.plural}/{name}"
    return {"name": title, "singularName": "", "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs}
