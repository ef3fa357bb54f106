"""From HTTP to the store and back: who asks, may they, what is it about, and the answer in the shape they want.

It speaks JSON only. Not served: server-side apply, protobuf, pod logs and exec, admission, aggregation.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from agent.lab import api_errors, api_objects, api_patch, api_rbac, api_select, api_views
from agent.lab.api_control import Control, CutConnection
from agent.lab.api_errors import ApiError, PageNotFound
from agent.lab.api_list import Lists
from agent.lab.api_openapi import openapi
from agent.lab.api_proxy import carry
from agent.lab.api_rbac import Attributes, Tokens, User
from agent.lab.api_request import ResourcePath, attributes, is_true, parse_path
from agent.lab.api_resources import ACCESS_REVIEWS, PODS, SERVICE_ACCOUNTS, Resource
from agent.lab.api_store import Store
from agent.lab.api_views import View
from agent.lab.api_watch import Watch

Json = dict[str, Any]

Handler = Callable[[web.Request, Resource, ResourcePath, View], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 3 * 1024 * 1024
"""kube-apiserver's own limit."""
VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.4+lhnet-lab",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


class ApiServer:
    def __init__(self, store: Store, tokens: Tokens, *, address: str) -> None:
        self._store, self._tokens, self._address = store, tokens, address
        self._lists = Lists(store)
        self._control = Control(store, self._lists)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except PageNotFound as error:
            return web.Response(status=error.code, text=error.message + "\n")
        except ApiError as error:
            return _json(error.body(), status=error.code, headers=error.headers)
        except RecursionError:
            return _json(api_errors.bad_request("the object provided is nested too deeply").body(), status=400)
        except web.HTTPRequestEntityTooLarge:
            too_large = ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY_BYTES}")
            return _json(too_large.body(), status=413)
        except CutConnection:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = self._tokens.user(request.headers.get("Authorization", ""))
        if user is None:
            raise api_errors.unauthorized()
        if request.path.startswith("/lab/"):
            return await self._lab(request, user)
        await self._control.meet(user, request.path)
        parsed = parse_path(request.path)
        asked = attributes(request.method, request.path, parsed, request.query)
        if (asked.group, asked.resource) != ACCESS_REVIEWS.key and not api_rbac.allowed(self._store, user, asked):
            raise _forbidden(user, asked, parsed)
        if parsed is None:
            return self._page(request)
        if (parsed.group, parsed.plural, parsed.subresource) == (*PODS.key, "proxy"):
            return await carry(request, self._store, parsed)
        resource = self._resource(parsed)
        if resource.key == ACCESS_REVIEWS.key:
            return await self._review(request, user)
        view = api_views.wanted_view(request.headers.get("Accept", ""), include=request.query.get("includeObject", ""))
        if view is None:
            raise ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")
        return await self._methods(request, parsed)(request, resource, parsed, view)

    def _resource(self, path: ResourcePath) -> Resource:
        resource = self._store.registry.find(path.group, path.version, path.plural)
        known = any((r.group, r.version) == (path.group, path.version) and not r.custom for r in self._store.registry) or not path.group
        if resource is None:
            raise api_errors.no_such_resource() if known else PageNotFound()
        if (not resource.namespaced and path.namespace) or (resource.namespaced and path.name and not path.namespace):
            raise api_errors.no_such_resource() if known else PageNotFound()
        is_status = path.subresource == "status" and resource.has_status
        is_token = path.subresource == "token" and resource.key == SERVICE_ACCOUNTS.key
        if path.subresource and not is_status and not is_token:
            raise api_errors.not_found(resource, path.name) if resource.custom else api_errors.no_such_resource()
        return resource

    def _methods(self, request: web.Request, path: ResourcePath) -> Handler:
        by_method: dict[str, Handler]
        if path.subresource == "token":
            by_method = {"POST": self._token}
        elif path.subresource:
            by_method = {"GET": self._get, "PUT": self._put, "PATCH": self._patch}
        elif path.name:
            by_method = {"GET": self._get, "PUT": self._put, "PATCH": self._patch, "DELETE": self._delete}
        else:
            by_method = {"GET": self._list, "POST": self._post, "DELETE": self._delete_many}
        if request.method not in by_method:
            raise api_errors.method_not_allowed()
        return by_method[request.method]

    async def _get(self, request: web.Request, resource: Resource, path: ResourcePath, view: View) -> web.StreamResponse:
        if is_true(request.query.get("watch")):
            query = {**request.query, "fieldSelector": f"metadata.name={path.name}"}
            watch = Watch(self._store, resource, path.namespace, query, view)
            return await watch.serve(request, expired_as_event=self._control.expired_as_event)
        obj = self._store.get(resource.key, path.namespace, path.name)
        if obj is None:
            raise api_errors.not_found(resource, path.name)
        return _json(view.one(resource, obj))

    async def _list(self, request: web.Request, resource: Resource, path: ResourcePath, view: View) -> web.StreamResponse:
        if is_true(request.query.get("watch")):
            watch = Watch(self._store, resource, path.namespace, request.query, view)
            return await watch.serve(request, expired_as_event=self._control.expired_as_event)
        objects, metadata = self._lists.page(resource, path, request.query)
        return _json(view.many(resource, objects, metadata))

    async def _post(self, request: web.Request, resource: Resource, path: ResourcePath, view: View) -> web.StreamResponse:
        if resource.namespaced and not path.namespace:
            raise api_errors.method_not_allowed()
        body = await _body(request, resource)
        obj = api_objects.create(self._store, resource, path.namespace, body, dry_run=_is_dry(request))
        return _json(view.one(resource, obj), status=201)

    async def _put(self, request: web.Request, resource: Resource, path: ResourcePath, view: View) -> web.StreamResponse:
        body = await _body(request, resource)
        obj, new = api_objects.update(
            self._store, resource, path.namespace, path.name, body, subresource=path.subresource, dry_run=_is_dry(request)
        )
        return _json(view.one(resource, obj), status=201 if new else 200)

    async def _patch(self, request: web.Request, resource: Resource, path: ResourcePath, view: View) -> web.StreamResponse:
        accepted = [api_patch.JSON_PATCH, api_patch.MERGE] + ([] if resource.custom else [api_patch.STRATEGIC])
        if request.content_type not in accepted:
            raise api_errors.unsupported_media_type(accepted, details=None if resource.custom else {})
        patch = _parse(await request.read())
        old = self._store.get(resource.key, path.namespace, path.name)
        if old is None:
            raise api_errors.not_found(resource, path.name)
        new = api_patch.apply(old, patch, media_type=request.content_type)
        obj = api_objects.write_patched(self._store, resource, old, new, subresource=path.subresource, dry_run=_is_dry(request))
        return _json(view.one(resource, obj))

    async def _delete(self, request: web.Request, resource: Resource, path: ResourcePath, view: View) -> web.StreamResponse:
        options = await _options(request)
        dry_run = _is_dry(request) or bool(options.get("dryRun"))
        last, gone = api_objects.delete(self._store, resource, path.namespace, path.name, options, dry_run=dry_run)
        if gone and not resource.returns_deleted:
            return _json(api_errors.success(resource, path.name, uid=last["metadata"]["uid"]))
        return _json(view.one(resource, last))

    async def _delete_many(self, request: web.Request, resource: Resource, path: ResourcePath, view: View) -> web.StreamResponse:
        if resource.namespaced and not path.namespace:
            raise api_errors.method_not_allowed()
        options = await _options(request)
        matches = api_select.both(resource, request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))
        found = [obj for obj in self._store.select(resource.key, namespace=path.namespace) if matches is None or matches(obj)]
        for obj in found:
            api_objects.delete(self._store, resource, path.namespace, obj["metadata"]["name"], options, dry_run=_is_dry(request))
        return _json(view.many(resource, found, {"resourceVersion": str(self._store.version)}))

    async def _token(self, request: web.Request, _: Resource, path: ResourcePath, __: View) -> web.StreamResponse:
        if self._store.get(SERVICE_ACCOUNTS.key, path.namespace, path.name) is None:
            raise api_errors.not_found(SERVICE_ACCOUNTS, path.name)
        await request.read()
        status = {"token": self._tokens.mint(path.namespace, path.name), "expirationTimestamp": "2099-01-01T00:00:00Z"}
        metadata = {"name": path.name, "namespace": path.namespace, "creationTimestamp": api_objects.stamp()}
        body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": metadata, "spec": {}, "status": status}
        return _json(body, status=201)

    async def _review(self, request: web.Request, user: User) -> web.StreamResponse:
        if request.method != "POST":
            raise api_errors.method_not_allowed()
        body = await _body(request, ACCESS_REVIEWS)
        given = body.get("spec")
        spec: Json = given if isinstance(given, dict) else {}
        about = spec.get("resourceAttributes") or {}
        names = {key: str(about.get(key) or "") for key in ("verb", "group", "resource", "subresource", "namespace", "name")}
        if plain := spec.get("nonResourceAttributes"):
            names = {"verb": str(plain.get("verb", "")), "path": str(plain.get("path", ""))}
        allowed = api_rbac.allowed(self._store, user, Attributes(**names))
        kind = {"kind": ACCESS_REVIEWS.kind, "apiVersion": ACCESS_REVIEWS.api_version, "metadata": {}}
        return _json({**kind, "spec": spec, "status": {"allowed": allowed}}, status=201)

    async def _lab(self, request: web.Request, user: User) -> web.Response:
        if not user.is_master:
            raise _forbidden(user, Attributes(verb=request.method.lower(), path=request.path), None)
        if request.method != "POST":
            raise api_errors.method_not_allowed()
        body = _parse(await request.read() or b"{}")
        if not isinstance(body, dict):
            raise api_errors.bad_request("expected an object")
        return _json(self._control.command(request.path.removeprefix("/lab/"), body))

    def _page(self, request: web.Request) -> web.Response:
        path, registry = request.path.rstrip("/"), self._store.registry
        parts = [part for part in path.split("/") if part]
        body: Json | None = None
        if path in ("/healthz", "/livez", "/readyz"):
            return _get_only(request, web.Response(text="ok"))
        if path == "/version":
            body = VERSION
        elif path == "/api":
            body = api_views.core_versions(self._address)
        elif path == "/apis":
            body = api_views.groups(registry)
        elif parts[:1] == ["api"] and len(parts) == 2:
            if parts[1] != "v1":
                raise api_errors.no_such_resource()
            body = api_views.group_version(registry, "", "v1")
        elif parts[:1] == ["apis"] and len(parts) in (2, 3):
            body = api_views.group(registry, parts[1]) if len(parts) == 2 else api_views.group_version(registry, parts[1], parts[2])
        elif path.startswith("/openapi/v3"):
            body = openapi(registry, path.removeprefix("/openapi/v3").strip("/"))
        if body is None:
            raise PageNotFound
        return _get_only(request, _json(body))


def _get_only(request: web.Request, response: web.Response) -> web.Response:
    if request.method not in ("GET", "HEAD"):
        raise api_errors.method_not_allowed()
    return response


def _json(body: Json, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(body) + b"\n", status=status, content_type="application/json", headers=headers)


def _parse(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise api_errors.bad_request(f"the object provided is unrecognized: json parse error: {error}") from error


async def _body(request: web.Request, resource: Resource) -> Json:
    # kubectl's `create` sends protobuf; told 415 it can say so, while a parse error would puzzle people.
    if request.headers.get("Content-Type") and not request.content_type.endswith("json"):
        raise api_errors.unsupported_media_type(["application/json"])
    body = _parse(await request.read())
    if not isinstance(body, dict):
        raise api_errors.bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
    return body


async def _options(request: web.Request) -> Json:
    raw = await request.read()
    body = _parse(raw) if raw else {}
    if not isinstance(body, dict):
        raise api_errors.bad_request("expected DeleteOptions")
    grace = request.query.get("gracePeriodSeconds", "")
    return {**({"gracePeriodSeconds": int(grace)} if grace.isascii() and grace.isdigit() else {}), **body}


def _is_dry(request: web.Request) -> bool:
    return request.query.get("dryRun") == "All"


def _forbidden(user: User, asked: Attributes, parsed: ResourcePath | None) -> ApiError:
    if parsed is None:
        message = f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"'
        return ApiError(403, "Forbidden", message, details={})
    what = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    where = f'in the namespace "{parsed.namespace}"' if parsed.namespace else "at the cluster scope"
    message = f'User "{user.name}" cannot {asked.verb} resource "{what}" in API group "{asked.group}" {where}'
    qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    return api_errors.forbidden(qualified, asked.name, message, group=asked.group, kind=asked.resource)
