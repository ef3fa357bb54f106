"""The supervisor: one process that builds a lab, keeps it, obeys the command line over a Unix socket, and takes it down.

`python -m agent.lab.runner OPTIONS PROGRESS-FD LIFELINE-FD` is started by agent.lab.client and tells its progress as JSON lines. It ends
the lab on SIGTERM and SIGINT, and when the lifeline closes before a word on it said that the lab may live on. When it is killed, the
kernel kills its children and removes the namespaces, and the guardian removes its folder.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.lab import folder as folders
from agent.lab.agents import AgentsError
from agent.lab.controlplane import ControlPlaneError
from agent.lab.lab import Lab, LabOptions
from agent.lab.manifest import ManifestError
from agent.lab.plan import plan_of
from agent.lab.repertoire import FAULTS, FaultError, FaultUsageError
from agent.lab.world import WorldError

REQUEST_LIMIT_BYTES = 1 << 20
PROBLEMS = (WorldError, ControlPlaneError, AgentsError, ManifestError, FaultError, OSError)
"""What a person can be told in one line; anything else is a defect of the lab and goes to its log with a traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    ok: bool
    result: object = None
    error: str = ""
    status: int = 1

    def encode(self) -> bytes:
        fields = {"ok": True, "result": self.result} if self.ok else {"ok": False, "error": self.error, "status": self.status}
        return json.dumps(fields).encode() + b"\n"


class Supervisor:
    def __init__(self, options: LabOptions) -> None:
        self._options = options
        self._lab: Lab | None = None
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._busy = asyncio.Lock()

    def stop(self) -> None:
        self._stop.set()

    async def run(self, progress: "Progress", *, lifeline: int, guardian: "Guardian") -> int:
        """Until the lab is down again. Returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        loop.add_reader(lifeline, self._hear_lifeline, loop, lifeline)
        status = 1
        server: asyncio.Server | None = None
        try:
            self._lab = Lab(self._options)
            if await self._build(self._lab, progress):
                path = folders.control_socket(self._options.folder)
                server = await asyncio.start_unix_server(self._serve, path=path, limit=REQUEST_LIMIT_BYTES)
                progress.ready(self._lab.status())
                status = 0
                await self._stop.wait()
        except PROBLEMS as error:
            progress.failed(str(error))
        except Exception as error:
            traceback.print_exc()
            progress.failed(f"the lab has a defect: {error!r}; see {self._options.folder}/logs/supervisor.log")
        finally:
            if self._lab is not None:
                await self._lab.down()
            await guardian.dismiss()
            self._ended.set()
            if server is not None:
                server.close()
                await asyncio.sleep(0)  # lets the answer to `down` leave
        return status

    async def _build(self, lab: Lab, progress: "Progress") -> bool:
        """False if it was told to stop meanwhile."""
        build = asyncio.ensure_future(lab.up(progress.note))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((build, stopped), return_when=asyncio.FIRST_COMPLETED)
            if build.done():
                await build
                return True
            return False
        finally:
            for task in (build, stopped):
                task.cancel()
            await asyncio.gather(build, stopped, return_exceptions=True)

    def _hear_lifeline(self, loop: asyncio.AbstractEventLoop, lifeline: int) -> None:
        """A byte means that the lab lives on without its starter; the end without one, that the starter is gone."""
        word = os.read(lifeline, 1)
        loop.remove_reader(lifeline)
        os.close(lifeline)
        if not word:
            self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):
            request = json.loads(await reader.readline())
            writer.write((await self._obey(request)).encode())
            await writer.drain()
        writer.close()

    async def _obey(self, request: dict[str, Any]) -> Answer:
        command = request.get("command")
        if command == "down":
            self._stop.set()
            await self._ended.wait()
            return Answer(ok=True)
        if self._lab is None or self._stop.is_set():
            return Answer(ok=False, error="the lab is going down")
        try:
            async with self._busy:
                return Answer(ok=True, result=await self._command(self._lab, request))
        except FaultUsageError as error:
            return Answer(ok=False, error=str(error), status=64)
        except PROBLEMS as error:
            return Answer(ok=False, error=str(error))
        except Exception as error:
            traceback.print_exc()
            return Answer(ok=False, error=f"the lab has a defect: {error!r}; see {self._options.folder}/logs/supervisor.log")

    async def _command(self, lab: Lab, request: dict[str, Any]) -> object:
        match request.get("command"):
            case "status":
                return lab.status()
            case "faults":
                return [fault.as_json() for fault in FAULTS.values()]
            case "inject":
                chosen = {key: request.get(key) for key in ("node", "pod", "peer")}
                return (await lab.inject(str(request.get("name")), **chosen)).as_json()
            case "clear":
                return [active.as_json() for active in await lab.clear(request.get("name"))]
            case other:
                raise FaultError(f"unknown command {other!r}")


class Progress:
    """JSON lines to the process that started the lab; it may be gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def note(self, what: str) -> None:
        self._write({"note": what})

    def ready(self, status: dict[str, Any]) -> None:
        self._write({"ready": status})
        self._close()

    def failed(self, line: str) -> None:
        self._write({"failed": " ".join(line.split())})
        self._close()

    def _write(self, message: dict[str, Any]) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.write(self._descriptor, json.dumps(message).encode() + b"\n")

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Guardian:
    """The small process that outlives this one by a moment."""

    def __init__(self, folder: Path, token: str) -> None:
        argv = [sys.executable, "-m", "agent.lab.guardian", str(folder), token]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/"
        )

    async def dismiss(self) -> None:
        """The folder is gone when this returns."""
        assert self._process.stdin is not None  # noqa: S101  # opened above
        self._process.stdin.close()
        await asyncio.to_thread(self._process.wait)


def _options(asked: dict[str, Any]) -> LabOptions:
    return LabOptions(
        folder=Path(asked["folder"]),
        plan=plan_of(asked["shape"]),
        manifests=Path(asked["manifests"]),
        settings=asked["settings"],
        command=asked["command"],
        ready_timeout_seconds=asked["ready_timeout_seconds"],
    )


async def _main(options: LabOptions, progress: Progress, lifeline: int, guardian: Guardian) -> int:
    return await Supervisor(options).run(progress, lifeline=lifeline, guardian=guardian)


def main() -> int:
    asked, progress, lifeline = json.loads(sys.argv[1]), Progress(int(sys.argv[2])), int(sys.argv[3])
    folder = Path(asked["folder"])
    try:
        ownership = folders.Ownership(folder)
    except BlockingIOError:
        progress.failed(f"a lab runs already in {folder}; lhnet-agent lab down ends it")
        return 1
    try:
        token = folders.create(folder)
    except OSError as error:
        progress.failed(str(error))
        return 1
    log = os.open(folder / "logs" / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    guardian = Guardian(folder, token)
    try:
        return asyncio.run(_main(_options(asked), progress, lifeline, guardian))
    finally:
        ownership.release()


if __name__ == "__main__":
    sys.exit(main())
