"""Just enough of OpenAPI v3 for kubectl: that every resource can be patched and checks fields on the server.

Without it `kubectl apply` and `kubectl create` refuse to send anything unless validation is switched off. It describes no schemas.
"""

from typing import Any

from agent.lab.api_resources import Registry, Resource

Json = dict[str, Any]


def openapi(registry: Registry, path: str) -> Json | None:
    """The index for an empty path, else the document of `api/v1` or `apis/GROUP/VERSION`; None if there is none."""
    by_path: dict[str, list[Resource]] = {}
    for resource in registry:
        by_path.setdefault(_base(resource), []).append(resource)
    if not path:
        return {"paths": {base: {"serverRelativeURL": f"/openapi/v3/{base}"} for base in sorted(by_path)}}
    if path not in by_path:
        return None
    return {
        "openapi": "3.0.0",
        "info": {"title": "lhnet lab", "version": "v1.34.4"},
        "paths": {_item(resource): {"patch": _patch(resource)} for resource in by_path[path]},
        "components": {"schemas": {}},
    }


def _base(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def _item(resource: Resource) -> str:
    middle = "namespaces/{namespace}/" if resource.namespaced else ""
    return f"/{_base(resource)}/{middle}{resource.plural}/{{name}}"


def _patch(resource: Resource) -> Json:
    schema = {"type": "string", "uniqueItems": True}
    return {
        "operationId": f"patch{resource.kind}",
        "parameters": [{"name": name, "in": "query", "schema": schema} for name in ("dryRun", "fieldManager", "fieldValidation")],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
    }
