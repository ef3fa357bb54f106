"""What a request asks for: path and method taken apart as kube-apiserver's RequestInfo does. It decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.lab.api_rbac import Attributes
from agent.lab.api_select import metadata_name

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePath:
    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> ResourcePath | None:
    """None if the path is about no resource: discovery, health, or nothing that exists."""
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 2:
        if len(rest) == 2 or rest[2] in ("status", "finalize"):
            return ResourcePath(
                group=group, version=version, plural="namespaces", name=rest[1], subresource=rest[2] if len(rest) > 2 else ""
            )
        namespace, rest = rest[1], rest[2:]
    if rest[2:3] == ["proxy"]:
        # Whatever follows is the path inside.
        rest = rest[:3]
    if len(rest) > 3:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    return ResourcePath(group=group, version=version, plural=plural, namespace=namespace, name=name, subresource=subresource)


def is_true(text: str | None) -> bool:
    return text is not None and text.lower() in ("", "1", "true", "t")


def attributes(method: str, path: str, parsed: ResourcePath | None, query: Mapping[str, str]) -> Attributes:
    """What RBAC is asked. A list or watch of one name by field selector counts as about that name."""
    if parsed is None:
        return Attributes(verb=method.lower(), path=path)
    verb = _VERBS.get(method, method.lower())
    name = parsed.name
    if not name:
        if method == "GET":
            verb = "watch" if is_true(query.get("watch")) else "list"
        elif method == "DELETE":
            verb = "deletecollection"
        if method in ("GET", "DELETE"):
            name = metadata_name(query.get("fieldSelector", ""))
    elif method == "GET" and is_true(query.get("watch")):
        verb = "watch"
    namespace = parsed.name if parsed.plural == "namespaces" and not parsed.group else parsed.namespace
    return Attributes(verb=verb, group=parsed.group, resource=parsed.plural, subresource=parsed.subresource, namespace=namespace, name=name)
