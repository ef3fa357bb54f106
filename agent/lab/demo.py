"""`python -m agent.lab.demo`, for `make demo`: real agents find a real fault in a small storage network, in about a minute.

Builds a lab of three nodes, shows it healthy, sets the storage interface of one instance-manager down, prints the findings that name it
and how long they took, mends it, takes the lab down and checks that nothing is left. Every wait is bounded; whatever fails, the lab is
taken down and the exit status is 1.
"""

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.lab import traces
from agent.lab.client import LabClient, LabError, Wish

SETTINGS = {"probe.interval_seconds": "5"}
"""Half of the default, so that nobody has to wait for the mend to be believed."""
FOUND_SECONDS = 40.0
GONE_SECONDS = 10.0
NODE, OBSERVER = "harv42", "harv41"
METRICS = ("lhnet_verdict{", "lhnet_interface_up{", "lhnet_probe_success{")


class DemoError(Exception):
    """Something did not happen in time."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="lhnet-demo-") as parent:
        client = LabClient(Path(parent, "lab"))
        try:
            _show(client)
        except (LabError, DemoError, OSError) as error:
            sys.stderr.write(f"demo: {error}\n")
            _end(client)
            return 1
        except KeyboardInterrupt:
            _end(client)
            return 130
    return 0


def _show(client: LabClient) -> None:
    began = time.monotonic()
    _say("a Harvester storage network of three nodes, with a real agent on each")
    status = client.up(Wish(settings=SETTINGS), stay=False)
    trace = traces.take(status)
    urls = {name: node["agent_url"] for name, node in status["nodes"].items()}
    print(f"   ready after {time.monotonic() - began:.1f} s: {len(trace.processes)} processes")
    _healthy(urls)
    _fault(client, urls)
    _say("lab down")
    client.let_go(stay=True)
    client.down()
    if left := trace.wait_until_gone(timeout_seconds=GONE_SECONDS):
        raise DemoError(f"left behind: {', '.join(left)}")
    print(f"   nothing is left: no process, no namespace, no interface, no file. {time.monotonic() - began:.0f} s in all")


def _healthy(urls: dict[str, str]) -> None:
    _until("every agent says ok", lambda: all(_status(url)["verdict"] == "ok" for url in urls.values()), within_seconds=FOUND_SECONDS)
    _say(f"healthy: curl {urls[OBSERVER]}/status, /peers, /metrics")
    print(_indent(_get(f"{urls[OBSERVER]}/status")))
    print(_indent(_get(f"{urls[OBSERVER]}/peers")))
    print(
        _indent(
            "\n".join(line for line in _get(f"{urls[OBSERVER]}/metrics").splitlines() if line.startswith(METRICS) and line.endswith(" 1.0"))
        )
    )


def _fault(client: LabClient, urls: dict[str, str]) -> None:
    broken = client.ask("inject", name="link-down", node=NODE)
    injected = time.monotonic()
    _say(f"link-down: lhnet1 of {broken['pod']} on {NODE} is set down")
    found = _until(
        "the agent on its node names it", lambda: _finding(urls[NODE], "interface-down", pod=broken["pod"]), within_seconds=FOUND_SECONDS
    )
    print(f"   {NODE}, {time.monotonic() - injected:.1f} s: {found['severity'].upper()} {found['id']}: {found['summary']}")
    found = _until(
        "another node's agent notices",
        lambda: _finding(urls[OBSERVER], "peer-unreachable", peer_pod=broken["pod"]),
        within_seconds=FOUND_SECONDS,
    )
    print(f"   {OBSERVER}, {time.monotonic() - injected:.1f} s: {found['severity'].upper()} {found['id']}: {found['summary']}\n")
    print(_indent(_get(f"{urls[NODE]}/status")))
    client.ask("clear", name="link-down")
    mended = time.monotonic()
    _say("mended: lhnet1 is up again")
    _until("every agent says ok", lambda: all(_status(url)["verdict"] == "ok" for url in urls.values()), within_seconds=FOUND_SECONDS)
    print(f"   every agent says ok, {time.monotonic() - mended:.1f} s later\n")
    print(_indent(_get(f"{urls[NODE]}/status")))


def _finding(url: str, name: str, **subject: str) -> dict[str, Any] | None:
    for finding in _status(url)["findings"]:
        if finding["id"] == name and all(finding["subject"].get(key) == value for key, value in subject.items()):
            found: dict[str, Any] = finding
            return found
    return None


def _until(what: str, ask: Callable[[], Any], *, within_seconds: float) -> Any:
    """The first true answer. Raises DemoError at the deadline."""
    deadline = time.monotonic() + within_seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise DemoError(f"waited {within_seconds:.0f} s in vain: {what}")
        time.sleep(0.1)
    return answer


def _status(url: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_get(f"{url}/api/v1/status"))
    return document


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # a relay of the lab on 127.0.0.1
        body: bytes = answer.read()
    return body.decode()


def _say(line: str) -> None:
    print(f"\n== {line}", flush=True)


def _indent(text: str) -> str:
    return "\n".join(f"   {line}".rstrip() for line in text.rstrip().splitlines()) + "\n"


def _end(client: LabClient) -> None:
    client.let_go(stay=False)
    try:
        client.down()
    except LabError as error:
        sys.stderr.write(f"demo: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
