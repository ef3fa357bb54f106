"""The subresource `proxy` of pods, for GET: carries a request to a pod's own address and its answer back, as a kube-apiserver does.

The server's process stands where the nodes' addresses are routed, so it needs no way of its own into a node. The caller's credentials stay
here. A pod's name may come as `scheme:name:port`. Not served: other methods, websockets, ports by name.
"""

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from agent.lab.api_errors import ApiError, bad_request, method_not_allowed, not_found
from agent.lab.api_request import ResourcePath
from agent.lab.api_resources import PODS
from agent.lab.api_store import Store

ANSWER_SECONDS = 30.0
BODY_BYTES = 32 << 20
_SEGMENTS_BEFORE = 8
"""/api/v1/namespaces/NS/pods/NAME/proxy"""
_PORTS = {"": 80, "http": 80, "https": 443}
_KEPT_HERE = frozenset(
    {"accept-encoding", "authorization", "connection", "content-length", "cookie", "host", "transfer-encoding", "upgrade"}
)
"""Of the request. The answer is unpacked on its way, so none of its framing is passed on either."""
_PASSED_BACK = ("Content-Type", "Retry-After", "Allow", "Location")


@dataclass(frozen=True, slots=True)
class Target:
    scheme: str
    name: str
    port: int


def read_target(text: str) -> Target:
    """What `name`, `name:port` or `scheme:name:port` means. Raises ApiError for anything else."""
    parts = text.split(":")
    scheme, name, port = parts if len(parts) == 3 else ("", parts[0], parts[1] if len(parts) == 2 else "")
    if len(parts) > 3 or scheme not in _PORTS or not name:
        raise bad_request(f"invalid pod request {text[:100]!r}")
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise bad_request(f"invalid port {port[:20]!r}")
    return Target(scheme or "http", name, int(port) if port else _PORTS[scheme])


async def carry(request: web.Request, store: Store, path: ResourcePath) -> web.Response:
    """Raises ApiError where there is no such pod, or its address does not answer."""
    if request.method not in ("GET", "HEAD"):
        raise method_not_allowed()
    target = read_target(path.name)
    pod = store.get(PODS.key, path.namespace, target.name)
    if pod is None:
        raise not_found(PODS, target.name)
    # The raw path and query: what the caller has escaped must reach the pod escaped.
    rest = "/".join(request.rel_url.raw_path.split("/")[_SEGMENTS_BEFORE:])
    query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
    url = URL(f"{target.scheme}://{_host(pod, target.name)}:{target.port}/{rest}{query}", encoded=True)
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _KEPT_HERE}
    try:
        async with asyncio.timeout(ANSWER_SECONDS), aiohttp.ClientSession(trust_env=False) as session:
            return await _ask(session, request.method, url, headers)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ApiError(503, "ServiceUnavailable", f"error trying to reach service: {error}") from error


async def _ask(session: aiohttp.ClientSession, method: str, url: URL, headers: dict[str, str]) -> web.Response:
    # A kube-apiserver has no CA for pods either and takes whatever certificate there is.
    async with session.request(method, url, headers=headers, ssl=False, allow_redirects=False) as answer:
        body = bytearray()
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > BODY_BYTES:
                raise ValueError(f"an answer of more than {BODY_BYTES >> 20} MiB")
        passed = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        return web.Response(status=answer.status, body=bytes(body), headers=passed)


def _host(pod: dict[str, Any], name: str) -> str:
    text = str((pod.get("status") or {}).get("podIP") or "")
    try:
        address = ip_address(text)
    except ValueError:
        raise bad_request(f"pod {name} has no address") from None
    return f"[{address}]" if address.version == 6 else str(address)
