"""Starts a supervisor and talks to it: what `lhnet-agent lab`, the demo and the tests use.

Everything a person can do about a failure is one line in LabError; nothing here waits without a bound.
"""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.lab import folder as folders
from agent.lab.manifest import DEFAULT_FOLDER as MANIFESTS
from agent.lab.plan import STORAGE_RANGE, plan_of
from agent.model.peers import Mode

START_SECONDS = 180.0
COMMAND_SECONDS = 60.0
DOWN_SECONDS = 40.0


class LabError(Exception):
    """One line for a person, and the exit status that goes with it."""

    def __init__(self, line: str, *, status: int = 1) -> None:
        super().__init__(line)
        self.status = status


class NotRunningError(LabError):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What `up` is asked for."""

    nodes: int = 3
    witnesses: int = 0
    """How many of the nodes, the last ones, are witnesses."""
    range: str = STORAGE_RANGE
    """Of the storage network. A small one can be filled."""
    mtu_bytes: int = 1500
    """Of the whole path: NIC, switch, bridge, veth, pod."""
    mode: str = Mode.ON
    harvester: bool = True
    """False: Longhorn alone."""
    rwx: bool = False
    """A network of their own for share-managers and csi-plugins."""
    settings: Mapping[str, str] = field(default_factory=dict)
    manifests: Path = MANIFESTS
    command: Sequence[str] = ()
    ready_timeout_seconds: float = 90.0
    environment: Mapping[str, str] | None = None
    """Of the supervisor; this process' own by default. KUBEBUILDER_ASSETS in it chooses the real Kubernetes API."""

    def shape(self) -> dict[str, Any]:
        """What the cluster is made like, as JSON."""
        return {name: getattr(self, name) for name in ("nodes", "witnesses", "range", "mtu_bytes", "mode", "harvester", "rwx")}


class LabClient:
    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or folders.lab_folder()
        self._lifeline: int | None = None

    def up(self, wish: Wish, *, stay: bool = True, note: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
        """Returns the lab's status when all agents are ready. `stay`: the lab outlives this process; else it ends with it.

        Raises LabError when it cannot come up; nothing is left then.
        """
        try:
            plan_of(wish.shape())
        except ValueError as error:
            raise LabError(str(error), status=64) from error
        check_machine()
        ours, theirs = os.pipe()
        life_theirs, life_ours = os.pipe()
        options = {
            "folder": str(self.folder),
            "shape": wish.shape(),
            "settings": dict(wish.settings),
            "manifests": str(wish.manifests.resolve()),
            "command": list(wish.command),
            "ready_timeout_seconds": wish.ready_timeout_seconds,
        }
        argv = [sys.executable, "-m", "agent.lab.runner", json.dumps(options), str(theirs), str(life_theirs)]
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=(theirs, life_theirs), start_new_session=True, cwd="/", env=wish.environment,
            )  # fmt: skip
        finally:
            os.close(theirs)
            os.close(life_theirs)
        self._lifeline = life_ours
        try:
            with os.fdopen(ours, "rb", buffering=0) as progress:
                status = self._follow(progress, process, note)
        except BaseException:
            self.let_go(stay=False)
            with suppress(subprocess.TimeoutExpired):
                process.wait(DOWN_SECONDS)
            raise
        finally:
            if process.stderr is not None:
                process.stderr.close()
        process.returncode = 0  # it lives on; Popen need not warn about it
        if stay:
            self.let_go(stay=True)
        return status

    def _follow(self, progress: Any, process: subprocess.Popen[bytes], note: Callable[[str], None]) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        buffer = b""
        while True:
            ready, _, _ = select.select([progress], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise LabError(f"the lab did not come up within {START_SECONDS:.0f} s; see {self.folder}/logs")
            chunk = progress.read(65536)
            if not chunk:
                said = process.stderr.read().decode(errors="replace").strip().splitlines() if process.stderr is not None else []
                raise LabError(f"the lab's supervisor ended: {said[-1] if said else 'it said nothing'}")
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "failed" in message:
                    raise LabError(message["failed"])
                if "ready" in message:
                    status: dict[str, Any] = message["ready"]
                    return status
                note(message.get("note", ""))

    def let_go(self, *, stay: bool) -> None:
        """Closes the line to a supervisor that this process started; the lab lives on or ends."""
        if self._lifeline is not None:
            with suppress(OSError):
                if stay:
                    os.write(self._lifeline, b"+")
            os.close(self._lifeline)
            self._lifeline = None

    def wait(self) -> None:
        """Until the lab that runs here has ended."""
        with self._connect() as connection:
            supervisor = _peer_pid(connection)
        _wait_for_end(supervisor, timeout_seconds=None)

    def ask(self, command: str, **fields: object) -> Any:
        """Raises NotRunningError, or LabError with the supervisor's own line."""
        with self._connect() as connection:
            return self._exchange(connection, command, fields, timeout_seconds=COMMAND_SECONDS)

    def down(self) -> bool:
        """Ends the lab and removes what a dead one left. False if none was running. Returns when nothing of it is left."""
        try:
            with self._connect() as connection:
                supervisor = _peer_pid(connection)
                self._exchange(connection, "down", {}, timeout_seconds=DOWN_SECONDS)
        except NotRunningError:
            if folders.is_owned(self.folder):
                raise LabError(f"a lab is coming up or going down in {self.folder} just now; try again in a moment") from None
            try:
                folders.remove_remains(self.folder)
            except OSError as error:
                raise LabError(str(error)) from error
            return False
        _wait_for_end(supervisor)
        return True

    def _connect(self) -> socket.socket:
        check_machine(programs=False)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(folders.control_socket(self.folder)))
        except OSError as error:
            connection.close()
            raise NotRunningError("no lab is running; lhnet-agent lab up starts one") from error
        return connection

    @staticmethod
    def _exchange(connection: socket.socket, command: str, fields: Mapping[str, object], *, timeout_seconds: float) -> Any:
        connection.settimeout(timeout_seconds)
        try:
            connection.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except OSError as error:
            raise LabError(f"the lab does not answer: {error}") from error
        if not line:
            raise LabError("the lab ended before it answered")
        answer = json.loads(line)
        if not answer["ok"]:
            raise LabError(answer["error"], status=answer["status"])
        return answer["result"]


def check_machine(*, programs: bool = True) -> None:
    """Raises LabError on a machine that cannot hold a lab."""
    if sys.platform != "linux":
        raise LabError("the lab needs Linux: it is made of network namespaces")
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes network namespaces (sudo lhnet-agent lab …)")
    if programs and shutil.which("ip") is None:
        raise LabError("ip is missing; on Debian: apt-get install iproute2")


def _peer_pid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder)


def _wait_for_end(pid: int, *, timeout_seconds: float | None = DOWN_SECONDS) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    with os.fdopen(descriptor) as watched:
        select.select([watched], [], [], timeout_seconds)
