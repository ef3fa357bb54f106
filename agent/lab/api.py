"""The lab's embedded Kubernetes API: a small server that holds the same objects as a cluster and answers as a kube-apiserver would.

    python -m agent.lab.api --listen 10.53.0.1:443 --cert api.crt --key api.key --tokens tokens.csv --seed seed.json --data api.journal

For machines without etcd and kube-apiserver. It is one process with one event loop, keeps everything in memory, and is meant for the
lab and for tests: it checks far less than a real server and must never be given anything worth protecting.

`--tokens` is kube-apiserver's token file. `--seed` is a JSON list of objects that exist at the start. With `--data` the objects survive
a killed process; the seed then counts only while that file is empty. `--ready-fd` is closed after the line "ready IP:PORT" once requests
are answered; port 0 takes any that is free.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.lab import api_objects
from agent.lab.api_errors import ApiError
from agent.lab.api_journal import Journal
from agent.lab.api_rbac import Tokens, read_tokens
from agent.lab.api_resources import CRDS, NAMESPACES
from agent.lab.api_server import ApiServer
from agent.lab.api_store import Store

Json = dict[str, Any]

BASE_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


def new_store(seed: Iterable[Json] = ()) -> Store:
    """A store as a new cluster has it, and the seed's objects in it, with the uid, creationTimestamp and status that they bring.

    Versions begin at the time in milliseconds: a server that comes back without its data must not count versions again that
    clients still remember. Raises ValueError for an object that the API would refuse.
    """
    store = Store(version=time.time_ns() // 1_000_000)
    for name in BASE_NAMESPACES:
        api_objects.create(store, NAMESPACES, "", {"metadata": {"name": name}}, keep=True)
    for obj in sorted(seed, key=_seed_order):
        add(store, obj)
    return store


def add(store: Store, obj: Json) -> Json:
    """Create or replace one object, taking its uid, creationTimestamp and status as they are. Raises ValueError."""
    metadata = obj.get("metadata") or {}
    what = f"{obj.get('kind')} {metadata.get('namespace', '')}/{metadata.get('name')}"
    resource = store.registry.by_kind(str(obj.get("apiVersion")), str(obj.get("kind")))
    if resource is None:
        raise ValueError(f"{what}: no such resource (is its CRD there?)")
    namespace = str(metadata.get("namespace") or "default") if resource.namespaced else ""
    if store.get(resource.key, namespace, str(metadata.get("name"))) is not None:
        store.remove(resource, (namespace, str(metadata.get("name"))))
    try:
        return api_objects.create(store, resource, namespace, obj, keep=True)
    except ApiError as error:
        raise ValueError(f"{what}: {error.message}") from error


def _seed_order(obj: Json) -> int:
    return {CRDS.kind: 0, NAMESPACES.kind: 1}.get(str(obj.get("kind")), 2)


def make_server(store: Store, *, tokens: Path, secret: bytes, address: str = "127.0.0.1") -> ApiServer:
    """`secret` signs ServiceAccount tokens. Raises OSError or ValueError for a token file that cannot be read."""
    return ApiServer(store, Tokens(read_tokens(tokens), secret=secret), address=address)


def server_context(*, cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    return context


async def _serve(options: argparse.Namespace) -> None:
    journal = Journal(options.data) if options.data else None
    store = Store()
    if journal is None or not journal.load(store):
        store = new_store(json.loads(options.seed.read_bytes()) if options.seed else ())
    if journal is not None:
        journal.begin(store)
    host, _, port = options.listen.rpartition(":")
    secret = hashlib.sha256(options.key.read_bytes()).digest()
    server = make_server(store, tokens=options.tokens, secret=secret, address=options.listen)
    runner = web.AppRunner(server.app(), access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=server_context(cert=options.cert, key=options.key))
        await site.start()
        if options.ready_fd is not None:
            bound = runner.addresses[0]
            with os.fdopen(options.ready_fd, "wb") as ready:
                ready.write(f"ready {bound[0]}:{bound[1]}\n".encode())
        await stop.wait()
    finally:
        store.end_watches()
        await runner.cleanup()
        if journal is not None:
            journal.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.lab.api", description="the lab's embedded Kubernetes API")
    parser.add_argument("--listen", required=True, metavar="IP:PORT")
    parser.add_argument("--cert", required=True, type=Path, metavar="FILE")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE")
    parser.add_argument("--tokens", required=True, type=Path, metavar="FILE")
    parser.add_argument("--seed", type=Path, metavar="FILE.json")
    parser.add_argument("--data", type=Path, metavar="FILE")
    parser.add_argument("--ready-fd", type=int, metavar="N")
    options = parser.parse_args(arguments)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(options))
    except (OSError, ValueError) as error:
        print(f"agent.lab.api: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
