"""Processes of the lab: each dies with the supervisor, and its end is heard at once.

Children are started from the main thread only, because the parent-death signal follows the thread. `Keeper` restarts a process as a
kubelet does; it never judges why it ended.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from agent.lab import kernel

FIRST_BACKOFF_SECONDS = 2.0
LONGEST_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A process that lived this long starts again with the first backoff."""


class Child:
    """One running process. `ended` resolves to its exit status (negative: the signal)."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        netns: int | None = None,
        environ: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        parent = os.getpid()

        def die_with_us() -> None:
            kernel.die_with_parent()
            if os.getppid() != parent:  # the supervisor ended between fork and prctl
                os._exit(1)

        with log.open("ab") as sink, kernel.inside(netns) if netns is not None else nullcontext():
            self.process = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=sink,
                stderr=sink,
                env=None if environ is None else dict(environ),
                pass_fds=tuple(pass_fds),
                preexec_fn=die_with_us,  # noqa: PLW1509  # only two system calls; the supervisor's other threads hold no lock they need
                start_new_session=True,
                cwd="/",
            )
        self.log = log
        self.pid = self.process.pid
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._pidfd = os.pidfd_open(self.pid)
        loop.add_reader(self._pidfd, self._reap, loop)

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = self.process.wait()
        if not self.ended.done():
            self.ended.set_result(status)

    @property
    def running(self) -> bool:
        return not self.ended.done()

    def signal(self, number: int) -> None:
        if self.running:
            self.process.send_signal(number)

    async def stop(self, *, grace_seconds: float = 3.0) -> None:
        """SIGTERM, then SIGKILL; a stopped (SIGSTOP) process is woken so that it can end politely."""
        if self.running and grace_seconds > 0:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)
            await asyncio.wait((self.ended,), timeout=grace_seconds)
        if self.running:
            self.signal(signal.SIGKILL)
        await asyncio.wait((self.ended,), timeout=10)


class Keeper:
    """Keeps one process running: restarts it with a growing pause, unless somebody holds it down."""

    def __init__(self, name: str, start: Callable[[], Child]) -> None:
        self.name = name
        self.child: Child | None = None
        self.restarts = 0
        self.last_status: int | None = None
        self._start = start
        self._held = False
        self._task: asyncio.Task[None] | None = None
        self._backoff_seconds = FIRST_BACKOFF_SECONDS

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child is not None and self.child.running else None

    def start(self) -> None:
        """Starts the process now and restarts it from here on."""
        self._held = False
        self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self.child = self._start()
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"keep {self.name}")

    async def stop(self, *, grace_seconds: float = 3.0) -> None:
        """Ends the process and holds it down until `start`."""
        self._held = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None
        if self.child is not None:
            await self.child.stop(grace_seconds=grace_seconds)

    async def _keep(self) -> None:
        while not self._held and self.child is not None:
            born = time.monotonic()
            self.last_status = await asyncio.shield(self.child.ended)
            if time.monotonic() - born > STEADY_SECONDS:
                self._backoff_seconds = FIRST_BACKOFF_SECONDS
            await asyncio.sleep(self._backoff_seconds)
            self._backoff_seconds = min(self._backoff_seconds * 2, LONGEST_BACKOFF_SECONDS)
            self.restarts += 1
            self.child = self._start()


def last_line(log: Path, *, limit_bytes: int = 4096) -> str:
    """The last thing a process said, for the one line that tells a person why the lab did not come up."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - limit_bytes))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1] if lines else ""
