"""Create, update, patch and delete with a kube-apiserver's rules: system fields, optimistic concurrency, subresources, finalizers.

It checks names, namespaces, kinds and versions, not the contents: schemas of built-in types are not enforced.
"""

import asyncio
import datetime
import random
import re
import string
import uuid
from copy import deepcopy
from typing import Any

from agent.lab import api_errors
from agent.lab.api_resources import CRDS, NAMESPACES, PODS, Resource
from agent.lab.api_store import Store, object_key

Json = dict[str, Any]

DEFAULT_GRACE_SECONDS = 30
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_NAME_RULE = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"


def stamp() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def create(store: Store, resource: Resource, namespace: str, body: Json, *, dry_run: bool = False, keep: bool = False) -> Json:
    """`keep`: take uid, creationTimestamp and status as given, as a restored backup would. Raises ApiError."""
    obj = _checked(resource, namespace, body)
    metadata = obj["metadata"]
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + "".join(random.choices(string.ascii_lowercase + string.digits, k=5))  # noqa: S311
    name = metadata.get("name") or ""
    _check_name(resource, name)
    if metadata.get("resourceVersion") and not keep:
        # A kube-apiserver takes this for a fault of its own.
        raise api_errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
    if resource.namespaced and (home := store.get(NAMESPACES.key, "", namespace)) is None:
        raise api_errors.not_found(NAMESPACES, namespace)
    if resource.namespaced and home is not None and home["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise api_errors.forbidden(resource.qualified, name, why, group=resource.group, kind=resource.plural)
    if store.get(resource.key, namespace, name) is not None:
        raise api_errors.already_exists(resource, name)
    system = {"uid": str(uuid.uuid4()), "creationTimestamp": stamp()}
    if keep:
        system = {key: metadata.get(key) or value for key, value in system.items()}
    metadata.update(system)
    for key in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"):
        metadata.pop(key, None)
    metadata["generation"] = 1
    if resource.has_status and not keep:
        obj.pop("status", None)
    _complete(resource, obj)
    return obj if dry_run else store.put(resource, obj)


def update(
    store: Store, resource: Resource, namespace: str, name: str, body: Json, *, subresource: str = "", dry_run: bool = False
) -> tuple[Json, bool]:
    """Gives the object and whether it is new. Raises ApiError."""
    new = _checked(resource, namespace, body)
    if new["metadata"].setdefault("name", name) != name:
        given = new["metadata"]["name"]
        raise api_errors.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
    old = store.get(resource.key, namespace, name)
    if old is None:
        if resource.create_on_update and not subresource:
            return create(store, resource, namespace, body, dry_run=dry_run), True
        raise api_errors.not_found(resource, name)
    _check_version(resource, old, new)
    return _write(store, resource, old, new, subresource=subresource, dry_run=dry_run), False


def write_patched(store: Store, resource: Resource, old: Json, new: Json, *, subresource: str = "", dry_run: bool = False) -> Json:
    """Store what a patch made of `old`. Raises ApiError."""
    namespace, name = object_key(old)
    new = _checked(resource, namespace, new)
    if new["metadata"].get("name") != name:
        raise api_errors.invalid(resource, name, "metadata.name", "Invalid value: field is immutable")
    new["metadata"].setdefault("resourceVersion", old["metadata"]["resourceVersion"])
    _check_version(resource, old, new)
    return _write(store, resource, old, new, subresource=subresource, dry_run=dry_run)


def delete(store: Store, resource: Resource, namespace: str, name: str, options: Json, *, dry_run: bool = False) -> tuple[Json, bool]:
    """Gives the object as it was last, and whether it is gone (else it waits for finalizers or its grace). Raises ApiError."""
    old = store.get(resource.key, namespace, name)
    if old is None:
        raise api_errors.not_found(resource, name)
    _check_preconditions(resource, name, old, options.get("preconditions") or {})
    if dry_run:
        return old, True
    grace = _grace_seconds(resource, old, options)
    if grace == 0 and not old["metadata"].get("finalizers"):
        return _remove(store, resource, old), True
    new = deepcopy(old)
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=grace)
    if not old["metadata"].get("deletionTimestamp") or grace < (old["metadata"].get("deletionGracePeriodSeconds") or 0):
        new["metadata"]["deletionTimestamp"] = when.strftime("%Y-%m-%dT%H:%M:%SZ")
        new["metadata"]["deletionGracePeriodSeconds"] = grace
    if grace and not old["metadata"].get("deletionTimestamp"):
        _finish_later(store, resource, new, delay_seconds=grace)
    return (store.put(resource, new) if new != old else old), False


KUBELET_SECONDS = 1.0
"""How long a pod of the lab takes to end: there is no kubelet that would stop containers, so the API plays it."""


def _finish_later(store: Store, resource: Resource, obj: Json, *, delay_seconds: float) -> None:
    at, uid = object_key(obj), obj["metadata"]["uid"]

    def finish() -> None:
        held = store.get(resource.key, *at)
        if held is not None and held["metadata"]["uid"] == uid and not held["metadata"].get("finalizers"):
            _remove(store, resource, held)

    asyncio.get_running_loop().call_later(min(delay_seconds, KUBELET_SECONDS), finish)


def _remove(store: Store, resource: Resource, old: Json) -> Json:
    last = store.remove(resource, object_key(old))
    if resource.key == NAMESPACES.key:
        for other in [known for known in store.registry if known.namespaced]:
            for inside in store.select(other.key, namespace=old["metadata"]["name"]):
                store.remove(other, object_key(inside))
    return last


def _grace_seconds(resource: Resource, old: Json, options: Json) -> int:
    if resource.key != PODS.key or (old.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    spec = old.get("spec") or {}
    if not spec.get("nodeName"):
        return 0
    given = options.get("gracePeriodSeconds")
    if given is None:
        given = spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    return max(0, given) if isinstance(given, int) else DEFAULT_GRACE_SECONDS


def _write(store: Store, resource: Resource, old: Json, new: Json, *, subresource: str, dry_run: bool) -> Json:
    metadata = {key: value for key, value in new["metadata"].items() if key not in ("managedFields", "selfLink")}
    for key in ("uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(key, None)
        if key in old["metadata"]:
            metadata[key] = old["metadata"][key]
    if subresource == "status":
        # A status update carries labels and annotations of pods and nodes too; the spec never.
        new = {**old, "status": new.get("status"), "metadata": old["metadata"] if resource.custom else metadata}
        if new["status"] is None:
            new.pop("status")
    else:
        new = {**new, "metadata": metadata}
        if resource.has_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
    _complete(resource, new)
    if new == old:
        return old
    if any(new.get(key) != old.get(key) for key in (new.keys() | old.keys()) - {"metadata", "status"}):
        new["metadata"]["generation"] = new["metadata"].get("generation", 0) + 1
    if dry_run:
        return new
    if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and not metadata.get("deletionGracePeriodSeconds"):
        store.put(resource, new)
        return _remove(store, resource, new)
    return store.put(resource, new)


def _checked(resource: Resource, namespace: str, body: Json) -> Json:
    """A copy of what a client sent, with kind and namespace filled in."""
    obj = deepcopy(body)
    kind, version = obj.setdefault("kind", resource.kind), obj.setdefault("apiVersion", resource.api_version)
    if kind != resource.kind or version != resource.api_version:
        raise api_errors.bad_request(f'{kind} in version "{version}" cannot be handled as a {resource.kind}')
    metadata = obj.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise api_errors.bad_request("the object provided is unrecognized: metadata must be an object")
    for key in ("labels", "annotations"):
        held = metadata.get(key, {})
        if held is None or held == {}:
            metadata.pop(key, None)
        elif not isinstance(held, dict) or not all(isinstance(value, str) for value in held.values()):
            raise api_errors.bad_request(f"the object provided is unrecognized: metadata.{key} must map text to text")
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif (metadata.setdefault("namespace", namespace) or namespace) != namespace:
        raise api_errors.bad_request("the namespace of the provided object does not match the namespace sent on the request")
    else:
        metadata["namespace"] = namespace
    return obj


def _check_name(resource: Resource, name: str) -> None:
    if not name:
        raise api_errors.invalid(resource, "", "metadata.name", "Required value: name or generateName is required")
    loose = resource.group == "rbac.authorization.k8s.io"
    if not isinstance(name, str) or len(name) > 253 or not (loose or _NAME.match(name)):
        raise api_errors.invalid(resource, str(name), "metadata.name", f'Invalid value: "{name}": {_NAME_RULE}')


def _check_version(resource: Resource, old: Json, new: Json) -> None:
    name, given = old["metadata"]["name"], new["metadata"].get("resourceVersion") or ""
    if given and given != old["metadata"]["resourceVersion"]:
        raise api_errors.conflict(resource, name, api_errors.MODIFIED)
    if not given and not resource.blind_update:
        raise api_errors.invalid(
            resource, name, "metadata.resourceVersion", "Invalid value: 0: must be specified for an update", by_store=True
        )
    uid = new["metadata"].get("uid")
    if uid and uid != old["metadata"]["uid"]:
        held = old["metadata"]["uid"]
        raise api_errors.conflict(resource, name, f"Precondition failed: UID in precondition: {uid}, UID in object meta: {held}")


def _check_preconditions(resource: Resource, name: str, old: Json, wanted: Json) -> None:
    for key, title in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(key) and wanted[key] != old["metadata"][key]:
            raise api_errors.precondition_failed(resource, name, title, wanted=wanted[key], held=old["metadata"][key])


def _complete(resource: Resource, obj: Json) -> None:
    """What a real server fills in and clients rely on."""
    if resource.key == NAMESPACES.key:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
        obj.setdefault("spec", {"finalizers": ["kubernetes"]})
        obj.setdefault("status", {"phase": "Active"})
    elif resource.key == PODS.key:
        obj.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})
    elif resource.key == CRDS.key:
        _complete_crd(obj)


def _complete_crd(obj: Json) -> None:
    spec = obj.get("spec") or {}
    established = {"status": "True", "lastTransitionTime": obj["metadata"]["creationTimestamp"]}
    obj["status"] = {
        "acceptedNames": spec.get("names") or {},
        "conditions": [
            {"type": "NamesAccepted", "reason": "NoConflicts", "message": "no conflicts found", **established},
            {"type": "Established", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted", **established},
        ],
        "storedVersions": [version.get("name") for version in spec.get("versions") or [] if version.get("storage")],
    }
