"""A real Prometheus and a real Alertmanager on loopback, with the rules and the routes that the repository ships, and a receiver for what
they send. Only addresses are changed; whatever a test starts here ends with it."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from agent.lab import kernel

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "manifests/monitoring/rules.yaml"
ROUTES = ROOT / "manifests/monitoring/alertmanager/alertmanager.example.yaml"
PROGRAMS = ("prometheus", "prometheus-alertmanager")
EVERY = "15s"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.5
LISTENING = re.compile(r'msg="?Listening on"? address=127\.0\.0\.1:(\d+)')
LONGEST_MESSAGE_BYTES = 1_000_000


def missing_programs() -> str:
    """What of Debian's packages is not here; empty if nothing."""
    return " and ".join(name for name in PROGRAMS if shutil.which(name) is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One alert in one message, as it came to a receiver."""

    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    at_monotonic_seconds: float

    @property
    def brief(self) -> str:
        about = " ".join(f"{key}={self.labels[key]}" for key in ("node", "peer_node", "pool", "instance") if key in self.labels)
        return f"{self.receiver}: {self.labels['alertname']} {self.status} {about}".strip()


class Receiver:
    """The webhooks `/pager`, `/tickets` and `/watchdog`. Keeps what came, oldest first."""

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._beats = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers["Content-Length"]), LONGEST_MESSAGE_BYTES)
                receiver._take(self.path.strip("/"), json.loads(self.rfile.read(length)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Silent: the timeline tells what came."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_SECONDS)

    def _take(self, receiver: str, message: Json) -> None:
        with self._lock:
            if receiver == "watchdog":
                self._beats += 1
                return
            for alert in message["alerts"]:
                told = Told(
                    receiver=receiver,
                    status=alert["status"],
                    labels=alert["labels"],
                    annotations=alert["annotations"],
                    at_monotonic_seconds=time.monotonic(),
                )
                self._told.append(told)

    @property
    def beats(self) -> int:
        """How often the watchdog was heard."""
        with self._lock:
            return self._beats

    def told(self) -> list[Told]:
        with self._lock:
            return list(self._told)


@contextmanager
def alertmanager(folder: Path, receiver: Receiver) -> Iterator[str]:
    """Its URL. The routes are the example's; the receivers' addresses are the test's."""
    text = ROUTES.read_text()
    for address, path in (
        ("http://pager.example/lhnet", "pager"),
        ("http://tickets.example/lhnet", "tickets"),
        ("https://heartbeat.example/lhnet", "watchdog"),
    ):
        assert text.count(address) == 1
        text = text.replace(address, f"{receiver.url}/{path}")
    config = folder / "alertmanager.yaml"
    config.write_text(text)
    words = [f"--config.file={config}", f"--storage.path={folder}/alertmanager", "--cluster.listen-address="]
    with _running("prometheus-alertmanager", words, folder) as url:
        yield url


@contextmanager
def prometheus(folder: Path, *, alertmanager_url: str, agents: Mapping[str, str], ready: bool = True) -> Iterator[str]:
    """Its URL. Scrapes the agents as the PodMonitor would have it, by their node's names."""
    config = {
        "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
        "rule_files": [str(RULES)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager_url.removeprefix("http://")]}]}]},
        "scrape_configs": [
            {
                "job_name": "lhnet-agent",
                "honor_labels": True,
                "static_configs": [
                    {"targets": [url.removeprefix("http://")], "labels": {"agent_node": node, "namespace": "lhnet-system"}}
                    for node, url in agents.items()
                ],
            }
        ],
    }
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    words = [f"--config.file={path}", f"--storage.tsdb.path={folder}/prometheus", "--storage.tsdb.retention.time=2h"]
    with _running("prometheus", words, folder) as url:
        if ready:
            assert until(lambda: _answers(f"{url}/-/ready"), within_seconds=START_SECONDS), "Prometheus does not get ready"
        yield url


@contextmanager
def _running(program: str, words: list[str], folder: Path) -> Iterator[str]:
    """A server on a port that it chose itself, told by its log."""
    log = folder / f"{program}.log"
    with ExitStack() as stack:
        sink = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            [program, *words, "--web.listen-address=127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=folder, start_new_session=True,
            env={"PATH": os.environ["PATH"], "GOMAXPROCS": "1"},
            preexec_fn=kernel.die_with_parent,  # noqa: PLW1509  # one system call; the receiver's threads hold no lock that it needs
        )  # fmt: skip
        stack.callback(_end, process)

        def port() -> str | None:
            assert process.poll() is None, f"{program} ended: {log.read_text()[-2000:]}"
            found = LISTENING.search(log.read_text())
            return found[1] if found else None

        assert until(port, within_seconds=START_SECONDS), f"{program} does not listen: {log.read_text()[-2000:]}"
        yield f"http://127.0.0.1:{port()}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def query(url: str, expression: str) -> list[Json]:
    """The instant vector that Prometheus gives now."""
    answer = get(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    assert answer["status"] == "success", answer
    result: list[Json] = answer["data"]["result"]
    return result


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def until(condition: Callable[[], Any], *, within_seconds: float) -> Any:
    """What the condition gave once it held; None if it never did."""
    deadline = time.monotonic() + within_seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            return None
        time.sleep(LOOK_SECONDS)
    return found
