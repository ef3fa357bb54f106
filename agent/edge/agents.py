"""Asks the agents of other nodes over HTTP: many at once, each for seconds at most, every failure a value.

It only fetches: who holds the Lease and what the answers mean is judged elsewhere. It follows no redirect (the password must not travel)
and uses no proxy. The paths that are asked answer from a snapshot, so that asking never goes round in circles.

With a CA file of their own the agents are believed by that CA's signature alone: they are asked by address, and one certificate shared by
all of them cannot name every address. Without one the system's CAs decide, and then the name must fit, since those sign for anybody.
"""

import asyncio
import base64
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import inf
from pathlib import Path

import aiohttp
from yarl import URL

import agent
from agent.clock import Clock
from agent.edge.agents_wire import Unanswered, one_line, read_document, sort_failure
from agent.model.gathered import Answered, Reply, Silence, Unreachable
from agent.model.records import PodRecord

AT_ONCE = 32
"""Contract §3: requests under way at any moment."""
ANSWER_SECONDS = 3.0
"""For one agent, connecting and reading together; a node that is gone costs no more."""
TOTAL_SECONDS = 3.5
"""For all of them, however many are gone."""
FIRST_TRY_SECONDS = 0.4
"""With more agents than AT_ONCE: a silent one gives its place up after this and is asked again when everybody was, so that forty dead
nodes do not hide those behind them."""
_OWN_DELAY_SECONDS = 0.5
"""A time-out noticed later than this after it was due says that our loop stood still, and nothing about the node."""
_REMEMBERED = 4096
"""Nodes whose last good answer is remembered."""
_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    at_once: int = AT_ONCE
    answer_seconds: float = ANSWER_SECONDS
    total_seconds: float = TOTAL_SECONDS
    first_try_seconds: float = FIRST_TRY_SECONDS


@dataclass(slots=True)
class _Asking:
    """One node while it is asked; answers that came stay when it is asked again for the rest."""

    node: str
    base: str
    answers: dict[str, Reply] = field(default_factory=dict)
    tried: bool = False


@dataclass(frozen=True, slots=True)
class _Terms:
    """What all requests of one gathering share."""

    headers: Mapping[str, str]
    tls: ssl.SSLContext | None


class AgentsClient:
    """Use it on one event loop, and `close()` it there."""

    def __init__(
        self,
        *,
        own_node: str,
        clock: Clock,
        scheme: str = "http",
        ca_file: str | None = None,
        username: str | None = None,
        password_file: str | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._own_node = own_node
        self._monotonic = clock.monotonic
        self._scheme = scheme
        self._ca_file = ca_file
        self._username = username
        self._password_file = password_file
        self._pace = pace or Pace()
        self._session: aiohttp.ClientSession | None = None
        self._last_answer: dict[str, float] = {}
        self._tls: tuple[object, ssl.SSLContext] | None = None

    def targets(self, agent_pods: Iterable[PodRecord], *, default_port: int) -> dict[str, str]:
        """Base URL by node, our own included: the newest live agent pod there that has an address."""
        chosen: dict[str, tuple[tuple[float, str], str]] = {}
        for pod in agent_pods:
            base = self._base(pod, default_port)
            if base is None or pod.node is None or not pod.live:
                continue
            age = (-inf if pod.born_monotonic_seconds is None else pod.born_monotonic_seconds, pod.key)
            if pod.node not in chosen or chosen[pod.node][0] < age:
                chosen[pod.node] = (age, base)
        return {node: base for node, (_, base) in sorted(chosen.items())}

    def _base(self, pod: PodRecord, default_port: int) -> str | None:
        text = next(iter(pod.pod_ips), None) or (pod.host_ip if pod.host_network else None)
        port = pod.ports.get("http", default_port)
        try:
            address = ip_address(text or "")
        except ValueError:
            return None
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self._scheme}://{host}:{port}" if 0 < port < 65536 else None

    async def gather(self, targets: Mapping[str, str], path: str) -> dict[str, Reply]:
        """One document of each target but our own, by node. Never raises for what others do."""
        return {node: answers[path] for node, answers in (await self.gather_many(targets, (path,))).items()}

    async def gather_many(self, targets: Mapping[str, str], paths: Sequence[str]) -> dict[str, dict[str, Reply]]:
        """Several documents of each, asked for one after the other within the same time: a node that is gone is waited for once."""
        everyone = [_Asking(node, base) for node, base in targets.items() if node != self._own_node]
        try:
            terms = self._terms()
        except Unanswered as ours:
            for asking in everyone:
                self._missing(asking, paths, ours)
        else:
            await self._ask_all(everyone, paths, terms)
        return {asking.node: asking.answers for asking in everyone}

    def last_answer_ages(self) -> dict[str, float]:
        """Seconds since each node's last good answer to us; who never answered is not in it."""
        now = self._monotonic()
        return {node: max(0.0, now - moment) for node, moment in self._last_answer.items()}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask_all(self, everyone: list[_Asking], paths: Sequence[str], terms: _Terms) -> None:
        # Who answered last time is asked first: the rest may cost time.
        queue = deque(sorted(everyone, key=lambda asking: asking.node not in self._last_answer))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._pace.total_seconds
        crowded = len(everyone) > self._pace.at_once

        async def work() -> None:
            while queue:
                asking = queue.popleft()
                left = deadline - loop.time()
                patience = self._pace.first_try_seconds if crowded and not asking.tried else self._pace.answer_seconds
                failure = await self._ask(asking, paths, terms, seconds=min(left, patience), left=left)
                again = failure is not None and failure.silence in (Silence.SILENT, Silence.OURS) and not asking.tried and crowded
                if failure is not None and again and loop.time() < deadline:
                    asking.tried = True
                    queue.append(asking)
                elif failure is not None:
                    self._missing(asking, paths, failure)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._pace.at_once, len(everyone))):
                group.create_task(work())

    async def _ask(self, asking: _Asking, paths: Sequence[str], terms: _Terms, *, seconds: float, left: float) -> Unanswered | None:
        """All `paths` that have no answer yet. What kept it from the rest, if anything did."""
        if seconds <= 0:
            return Unanswered(Silence.SILENT, "silent") if asking.tried else Unanswered(Silence.OURS, "not asked: no time left")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds) as patience:
                # The first sign of life earns the time that every agent has.
                latest = loop.time() + min(left, self._pace.answer_seconds)
                for path in paths:
                    if path not in asking.answers:
                        await self._fetch(asking, path, terms, lambda: patience.reschedule(latest))
        except Exception as error:  # whatever a library raises for one node must not end the answer about all others
            due = patience.when()
            if isinstance(error, TimeoutError) and due is not None and loop.time() - due > _OWN_DELAY_SECONDS:
                return Unanswered(Silence.OURS, "not asked: our own loop was late")
            return sort_failure(error)
        return None

    async def _fetch(self, asking: _Asking, path: str, terms: _Terms, alive: Callable[[], None]) -> None:
        """A status or body that is no good concerns this path alone; whatever else fails is raised and ends the node's turn."""
        url = URL(f"{asking.base}{path}", encoded=True)
        async with self._open().get(url, headers=terms.headers, ssl=terms.tls or True, allow_redirects=False) as response:
            alive()
            try:
                document = await read_document(response)
            except Unanswered as failure:
                response.close()
                asking.answers[path] = self._unreachable(asking.node, failure)
                return
        now = self._monotonic()
        asking.answers[path] = Answered(document=document, received_monotonic_seconds=now)
        self._last_answer.pop(asking.node, None)
        self._last_answer[asking.node] = now
        while len(self._last_answer) > _REMEMBERED:
            del self._last_answer[next(iter(self._last_answer))]

    def _missing(self, asking: _Asking, paths: Sequence[str], failure: Unanswered) -> None:
        for path in paths:
            asking.answers.setdefault(path, self._unreachable(asking.node, failure))

    def _unreachable(self, node: str, failure: Unanswered) -> Unreachable:
        last = self._last_answer.get(node)
        age = None if last is None else max(0.0, self._monotonic() - last)
        return Unreachable(silence=failure.silence, why=failure.why, last_answer_age_seconds=age)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"Accept": "application/json", "User-Agent": f"lhnet-agent/{agent.__version__}"},
                trust_env=False,
                requote_redirect_url=False,
            )
        return self._session

    def _terms(self) -> _Terms:
        """Both files are read again each time: Secrets are replaced under a running agent. Raises Unanswered, and it is our fault."""
        headers = {}
        if self._username is not None and self._password_file is not None:
            try:
                password = _content(self._password_file).decode().rstrip("\r\n")
            except (OSError, ValueError) as error:
                raise Unanswered(Silence.OURS, f"not asked: password file: {one_line(str(error))}") from error
            secret = base64.b64encode(f"{self._username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        return _Terms(headers, self._context() if self._scheme == "https" else None)

    def _context(self) -> ssl.SSLContext:
        try:
            text = _content(self._ca_file).decode("ascii", errors="ignore") if self._ca_file else None
            if text == "":
                # For ssl an empty text means the system's CAs, which sign for anybody.
                raise ValueError("it is empty")
            if self._tls is None or self._tls[0] != text:
                context = ssl.create_default_context(cadata=text)
                context.check_hostname = text is None
                self._tls = (text, context)
        except (OSError, ValueError) as error:
            raise Unanswered(Silence.OURS, f"not asked: CA file: {one_line(str(error))}") from error
        return self._tls[1]


def _content(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_FILE_BYTES)
