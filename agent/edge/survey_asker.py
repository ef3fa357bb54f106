"""Asks running agents once, for `check` and `preflight`: straight at their address, else through the API server's pod proxy.

A laptop mostly reaches the API server alone; a pod or a jump host reaches the nodes, and the agents' service account may use no proxy. So
both ways are tried, the shorter first, and each is given up after its first few failures. Behind a tunnel the nodes' addresses are
somebody else's, so there the proxy is the only way. There is no third one; a port-forward is a person's to start.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

import agent
from agent.edge.agents_wire import Unanswered, one_line, sort_failure
from agent.edge.kube import Access, BadAnswer, Forbidden, KubeClient, KubeError, Refused, Unauthorized
from agent.model.gathered import Silence
from agent.model.records import PodRecord
from agent.model.steps import AgentWay

T = TypeVar("T")
Read = Callable[[bytes, str | None], T]
"""Makes something of an answer's body and of the name of the node that was asked. Raises ValueError if it is not what was asked for."""

DEFAULT_PORT = 9811
CONNECT_SECONDS = 1.5
"""A node that can be reached from here at all is not far."""
ANSWER_SECONDS = 8.0
"""/api/v1/cluster itself waits 3.5 s for silent nodes."""
PROXY_SECONDS = 10.0
"""A kube-apiserver tries a dead node's address for half a minute."""
BODY_BYTES = 16 << 20
"""/api/v1/cluster of 200 nodes that all fail with each other."""
HOPELESS = 3
"""So many failures of one way and no success: the others are spared the wait."""
BATCH, MOST_ASKED = 3, 12
"""Agents asked at a time, and in all, for what any of them can tell."""
_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The settings `agents_client`."""

    scheme: str = "http"
    ca_file: str | None = None
    username: str | None = None
    password_file: str | None = None


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """One agent's answer, and how it was had."""

    node: str
    value: T
    way: AgentWay


class AgentsAsker:
    """`async with` it on one event loop. Every failure is a text; nothing is raised for what agents do."""

    def __init__(self, *, client: KubeClient, terms: Terms, direct: bool) -> None:
        """`direct`: the nodes' addresses may be tried from here."""
        self._client = client
        self._terms = terms
        self._session: aiohttp.ClientSession | None = None
        self._context: ssl.SSLContext | None = None
        proxied = (_Hope(), self._ask_proxy)
        self._ways = ((_Hope(), self._ask_direct), proxied) if direct else (proxied,)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def first(self, pods: Iterable[PodRecord], path: str, read: Read[T]) -> Told[T] | str:
        """The answer of the first of `pods` that gives one; why there is none otherwise."""
        asked = list(pods)[:MOST_ASKED]
        why = ""
        for start in range(0, len(asked), BATCH):
            batch = [asyncio.create_task(self.ask(pod, path, read)) for pod in asked[start : start + BATCH]]
            try:
                for task in batch:
                    told = await task
                    if isinstance(told, Told):
                        return told
                    why = why or told
            finally:
                for task in batch:
                    task.cancel()
                await asyncio.gather(*batch, return_exceptions=True)
        return why

    async def ask(self, pod: PodRecord, path: str, read: Read[T]) -> Told[T] | str:
        """`path` of this agent, by whichever way works."""
        node = pod.node or pod.name
        failures = []
        for hope, ask in self._ways:
            if hope.gone:
                failures.append(hope.why)
                continue
            try:
                body, way = await ask(pod, path)
                value = read(body, pod.node)
            except Unanswered as failure:
                hope.failed(failure)
                failures.append(failure.why)
            except (ValueError, msgspec.MsgspecError, RecursionError) as error:
                failures.append(f"bad answer: {one_line(str(error))}")
            else:
                hope.worked = True
                return Told(node, value, way)
        return f"the agent on {node} cannot be asked: {'; '.join(dict.fromkeys(failures))}"

    async def _ask_direct(self, pod: PodRecord, path: str) -> tuple[bytes, AgentWay]:
        base = _base(pod, scheme=self._terms.scheme)
        if base is None:
            raise Unanswered(Silence.NO_AGENT, "its pod has no address")
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._open().get(
                    URL(base + path, encoded=True), headers=self._headers(), ssl=self._tls() or True, allow_redirects=False
                ) as response,
            ):
                if response.status != 200:
                    raise Unanswered(Silence.HTTP, f"{base} says http {response.status}")
                return await _bounded(response), AgentWay(command=_curl(base), direct=True)
        except Unanswered:
            raise
        except Exception as error:  # whatever a library raises for one agent must not end the survey
            failure = sort_failure(error)
            raise Unanswered(failure.silence, f"{base}: {failure.why}") from error

    async def _ask_proxy(self, pod: PodRecord, path: str) -> tuple[bytes, AgentWay]:
        prefix = "https:" if self._terms.scheme == "https" else ""
        base = f"/api/v1/namespaces/{pod.namespace}/pods/{prefix}{pod.name}:{_port(pod)}/proxy"
        way = AgentWay(command=f"kubectl get --raw {base}/cluster", direct=False)
        try:
            async with asyncio.timeout(PROXY_SECONDS):
                return (await self._client.request_json("GET", base + path)).body, way
        except TimeoutError as error:
            why = f"the API server's proxy had no answer within {PROXY_SECONDS:.0f} s"
            raise Unanswered(Silence.SILENT, why) from error
        except Forbidden as error:
            raise Unanswered(Silence.OURS, f"the API server does not let us use pods/proxy in {pod.namespace}") from error
        except Unauthorized as error:
            # The server keeps every password for itself.
            why = "through the API server's proxy it wants a password, which that does not pass on"
            raise Unanswered(Silence.OURS, why) from error
        except Refused as error:
            raise Unanswered(Silence.HTTP, f"the API server's proxy says http {error.status}") from error
        except BadAnswer as error:
            raise Unanswered(Silence.BAD_ANSWER, one_line(str(error))) from error
        except KubeError as error:
            raise Unanswered(Silence.BROKEN, f"the API server's proxy: {one_line(str(error))}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers={"Accept": "application/json", "User-Agent": f"lhnet-agent/{agent.__version__}"},
                trust_env=False,
                requote_redirect_url=False,
            )
        return self._session

    def _headers(self) -> Mapping[str, str]:
        terms = self._terms
        if terms.username is None or terms.password_file is None:
            return {}
        try:
            password = _content(terms.password_file).decode().rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise Unanswered(Silence.OURS, f"agents_client.password_file: {one_line(str(error))}") from error
        return {"Authorization": f"Basic {base64.b64encode(f'{terms.username}:{password}'.encode()).decode()}"}

    def _tls(self) -> ssl.SSLContext | None:
        """As agents ask each other: with a CA of their own by its signature alone, since one certificate serves all addresses."""
        terms = self._terms
        if terms.scheme != "https" or self._context is not None:
            return self._context
        try:
            text = _content(terms.ca_file).decode("ascii", errors="ignore") if terms.ca_file else None
            if text == "":
                raise ValueError("it is empty")
            context = ssl.create_default_context(cadata=text)
        except (OSError, ValueError) as error:
            raise Unanswered(Silence.OURS, f"agents_client.ca_file: {one_line(str(error))}") from error
        context.check_hostname = text is None
        self._context = context
        return context


class _Hope:
    """Whether one way is worth trying still."""

    def __init__(self) -> None:
        self.worked = False
        self.why = ""
        self._failures = 0

    @property
    def gone(self) -> bool:
        return not self.worked and self._failures >= HOPELESS

    def failed(self, failure: Unanswered) -> None:
        # Refused and answered badly are quick, and somebody is there; what costs time or is our own fault is like for all.
        if failure.silence in (Silence.SILENT, Silence.OURS):
            self._failures += 1
            self.why = failure.why


def may_reach_nodes(access: Access) -> bool:
    """An API server on loopback is the near end of a tunnel (or of a small cluster inside this machine), and one behind a proxy is far:
    what answers at a node's address here would be no node of that cluster."""
    host = URL(access.url).host or ""
    try:
        near_end = ip_address(host).is_loopback
    except ValueError:
        near_end = host == "localhost" or host.endswith(".localhost")
    return access.proxy is None and not near_end


def _port(pod: PodRecord) -> int:
    return pod.ports.get("http", DEFAULT_PORT)


def _base(pod: PodRecord, *, scheme: str) -> str | None:
    text = next(iter(pod.pod_ips), None) or (pod.host_ip if pod.host_network else None)
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    return f"{scheme}://{f'[{address}]' if address.version == 6 else address}:{_port(pod)}"


def _curl(base: str) -> str:
    # The certificate is signed by a CA that curl does not know.
    return f"curl -{'sk' if base.startswith('https') else 's'} {base}/cluster"


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > BODY_BYTES:
            raise Unanswered(Silence.BAD_ANSWER, f"bad answer: more than {BODY_BYTES >> 20} MiB")
    return bytes(body)


def _content(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_FILE_BYTES)
