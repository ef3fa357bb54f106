"""The lab's own client for its Kubernetes API, the embedded one and a real one alike: apply, patch, delete, get, list, wait.

It works with the administrator's token and asks the server what it serves, so it needs no list of resources. It is no model for the
agent's client: it trusts the server, keeps no watch and retries only what the lab's start needs.

    ApiFailed              the server said no; `.code` and `.reason` as it gave them
    WaitTimeout            the condition did not come true in time
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

Json = dict[str, Any]

REQUEST_TIMEOUT_SECONDS = 20.0
CONFLICT_TRIES = 5
PARALLEL = 16
MERGE_PATCH = "application/merge-patch+json"
_FIRST_KINDS = ("CustomResourceDefinition", "Namespace", "Node", "ServiceAccount")


class ApiFailed(Exception):
    """The server refused. `code` is the HTTP status, `reason` that of its Status object or empty."""

    def __init__(self, what: str, *, code: int, reason: str, message: str) -> None:
        super().__init__(f"{what}: {code} {reason}: {message}")
        self.code, self.reason = code, reason


class WaitTimeout(Exception):
    """What was waited for did not come true in time."""


@dataclass(frozen=True, slots=True)
class _Served:
    path: str
    namespaced: bool
    has_status: bool


class ApiClient:
    """Use as `async with ApiClient(...) as api`. `server` is an https URL."""

    def __init__(self, *, server: str, token: str, ca_cert: Path) -> None:
        self._server = server.rstrip("/")
        self._token = token
        self._context = ssl.create_default_context(cafile=str(ca_cert))
        self._session: aiohttp.ClientSession | None = None
        self._served: dict[tuple[str, str], _Served] = {}

    async def __aenter__(self) -> "ApiClient":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context, limit=PARALLEL),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
            headers={"Authorization": f"Bearer {self._token}", "Accept": "application/json"},
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(self, method: str, path: str, *, body: object = None, query: dict[str, str] | None = None, media: str = "") -> Json:
        """Any request; the answer's JSON. Raises ApiFailed, and aiohttp.ClientError or TimeoutError if there was no answer."""
        if self._session is None:
            raise RuntimeError("ApiClient is used outside its `async with`")
        headers = {"Content-Type": media} if media else {}
        async with self._session.request(method, self._server + path, json=body, params=query, headers=headers) as response:
            parsed: Any = {}
            if response.content_type == "application/json":
                parsed = await response.json()
            text = await response.text()
            if response.status >= 400:
                status = parsed if isinstance(parsed, dict) else {}
                message = str(status.get("message") or text.strip()[:200])
                raise ApiFailed(f"{method} {path}", code=response.status, reason=str(status.get("reason", "")), message=message)
            return parsed if isinstance(parsed, dict) else {}

    async def ready(self, *, timeout_seconds: float = 60.0) -> None:
        """Wait until the server answers /readyz. Raises WaitTimeout with what it said last."""
        await self.wait(lambda: self._healthy("/readyz"), timeout_seconds=timeout_seconds, what="the API server to be ready")

    async def apply(self, obj: Json) -> Json:
        """Create the object, or replace the one of that name; its status too. Gives the object as the server has it. Raises ApiFailed."""
        served, collection = await self._collection(obj["apiVersion"], obj["kind"], obj["metadata"].get("namespace", ""))
        wanted = {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in ("uid", "resourceVersion")}}
        path = f"{collection}/{obj['metadata']['name']}"
        try:
            held = await self.request("POST", collection, body=wanted)
        except ApiFailed as error:
            if error.reason != "AlreadyExists":
                raise
            held = await self._replace(path, wanted)
        if served.has_status and "status" in obj:
            held = await self._replace(f"{path}/status", {**held, "status": obj["status"]})
        return held

    async def apply_all(self, objects: Iterable[Json]) -> None:
        """Apply many at once; definitions, namespaces and nodes first. Raises ApiFailed for the first that is refused."""
        ranks: dict[int, list[Json]] = {}
        for obj in objects:
            rank = _FIRST_KINDS.index(obj["kind"]) if obj["kind"] in _FIRST_KINDS else len(_FIRST_KINDS)
            ranks.setdefault(rank, []).append(obj)
        for _, same in sorted(ranks.items()):
            try:
                async with asyncio.TaskGroup() as group:
                    for obj in same:
                        group.create_task(self.apply(obj))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from failed
            definitions = [obj["metadata"]["name"] for obj in same if obj["kind"] == "CustomResourceDefinition"]
            for name in definitions:
                await self.established(name)

    async def established(self, definition: str, *, timeout_seconds: float = 30.0) -> None:
        """Wait until the resource that a CRD defines is served. Raises WaitTimeout."""

        async def served() -> bool:
            crd = await self.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", definition)
            if not crd or not any(c["type"] == "Established" and c["status"] == "True" for c in crd["status"].get("conditions") or ()):
                return False
            # Established is written a moment before the handler knows it.
            version = crd["spec"]["versions"][0]["name"]
            return await self._healthy(f"/apis/{crd['spec']['group']}/{version}/{crd['spec']['names']['plural']}?limit=1")

        await self.wait(served, timeout_seconds=timeout_seconds, what=f"{definition} to be served")

    async def get(self, api_version: str, kind: str, name: str, *, namespace: str = "") -> Json | None:
        """None if there is no such object. Raises ApiFailed."""
        _, collection = await self._collection(api_version, kind, namespace)
        try:
            return await self.request("GET", f"{collection}/{name}")
        except ApiFailed as error:
            if error.code == 404:
                return None
            raise

    async def list(self, api_version: str, kind: str, *, namespace: str = "", labels: str = "", fields: str = "") -> list[Json]:
        """All objects, or those that the selectors pick; with kind and apiVersion filled in. Raises ApiFailed."""
        _, collection = await self._collection(api_version, kind, namespace)
        query = {"labelSelector": labels, "fieldSelector": fields}
        listed = await self.request("GET", collection, query={key: value for key, value in query.items() if value})
        return [{"apiVersion": api_version, "kind": kind, **item} for item in listed.get("items") or []]

    async def patch(self, api_version: str, kind: str, name: str, patch: Json, *, namespace: str = "", status: bool = False) -> Json:
        """Apply a merge patch. `status`: to the status subresource, where the resource has one. Raises ApiFailed."""
        served, collection = await self._collection(api_version, kind, namespace)
        path = f"{collection}/{name}/status" if status and served.has_status else f"{collection}/{name}"
        return await self.request("PATCH", path, body=patch, media=MERGE_PATCH)

    async def delete(self, api_version: str, kind: str, name: str, *, namespace: str = "", force: bool = True) -> bool:
        """False if there was no such object. `force`: at once, without grace, and past its finalizers. Raises ApiFailed."""
        _, collection = await self._collection(api_version, kind, namespace)
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"} if force else {}
        try:
            last = await self.request("DELETE", f"{collection}/{name}", body=options)
            if force and (last.get("metadata") or {}).get("finalizers"):
                await self.patch(api_version, kind, name, {"metadata": {"finalizers": None}}, namespace=namespace)
        except ApiFailed as error:
            if error.code == 404:
                return False
            raise
        return True

    async def service_account_token(self, namespace: str, name: str, *, valid_seconds: int = 7 * 86400) -> str:
        """A token as a pod of that ServiceAccount would have it. Raises ApiFailed."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": valid_seconds}}
        answer = await self.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body=body)
        return str(answer["status"]["token"])

    async def control(self, command: str, **options: object) -> Json:
        """POST /lab/COMMAND: only the embedded API has it. Raises ApiFailed 404 on a real one."""
        return await self.request("POST", f"/lab/{command}", body=options)

    async def wait(self, condition: Callable[[], Awaitable[bool]], *, timeout_seconds: float, what: str) -> None:
        """Ask until it is true. Refusals and lost connections count as not yet. Raises WaitTimeout."""
        end = time.monotonic() + timeout_seconds
        last: Exception | None = None
        while True:
            try:
                if await condition():
                    return
            except (ApiFailed, aiohttp.ClientError, TimeoutError) as error:
                last = error
            if time.monotonic() > end:
                raise WaitTimeout(f"waited {timeout_seconds:.0f} s for {what}" + (f"; last: {last}" if last else "")) from last
            await asyncio.sleep(0.1)

    async def _healthy(self, path: str) -> bool:
        await self.request("GET", path)
        return True

    async def _replace(self, path: str, wanted: Json) -> Json:
        for attempt in range(CONFLICT_TRIES):
            held = await self.request("GET", path.removesuffix("/status"))
            version = held["metadata"]["resourceVersion"]
            try:
                return await self.request("PUT", path, body={**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}})
            except ApiFailed as error:
                # Somebody else wrote in between: the Lease and pods' statuses are written by others too.
                if error.reason != "Conflict" or attempt == CONFLICT_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _collection(self, api_version: str, kind: str, namespace: str) -> tuple[_Served, str]:
        served = self._served.get((api_version, kind)) or await self._discover(api_version, kind)
        base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if not served.namespaced or not namespace:
            return served, f"{base}/{served.path}"
        return served, f"{base}/namespaces/{namespace}/{served.path}"

    async def _discover(self, api_version: str, kind: str) -> _Served:
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        resources = (await self.request("GET", path)).get("resources") or []
        names = {resource["name"] for resource in resources}
        for resource in resources:
            if "/" not in resource["name"]:
                entry = _Served(resource["name"], resource["namespaced"], f"{resource['name']}/status" in names)
                self._served[(api_version, resource["kind"])] = entry
        try:
            return self._served[(api_version, kind)]
        except KeyError:
            raise ApiFailed(path, code=404, reason="NotFound", message=f"no resource of kind {kind}") from None
