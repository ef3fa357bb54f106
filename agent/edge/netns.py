"""The way into pods' network namespaces: one thread that goes in, makes something small, and comes back.

pyroute2's `netns=` forks the process for every namespace (5 to 14 ms of stall, and our own signal
handlers run in the child), so `setns` is called on a thread of its own: the event loop's thread never leaves home.

Refused here: forking, waiting inside a namespace, reading a file's content, and keeping a descriptor of somebody else's namespace.
A descriptor that stays open keeps a dead pod's namespace alive, and with it an address that answers although it was handed out again.

Needs CAP_SYS_ADMIN (setns); looking at the files needs no privilege.
"""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from stat import S_ISDIR, S_ISREG
from typing import NoReturn, Protocol, TypeVar

from agent.edge.setns import (
    NamespaceDenied,
    NamespaceError,
    NamespaceGone,
    NamespaceTimeout,
    NamespaceUnreadable,
    cookie_here,
    cookie_of,
    enter,
    open_home,
    open_namespace,
)
from agent.model.net import NamespaceFile

__all__ = [
    "Entrance",
    "NamespaceDenied",
    "NamespaceError",
    "NamespaceGone",
    "NamespaceTimeout",
    "NamespaceUnreadable",
    "ScanResult",
    "cookie_here",
    "cookie_of",
    "scan",
]

T = TypeVar("T")

EXIT_CANNOT_RETURN = 70
"""EX_SOFTWARE of sysexits.h."""
MAX_BARRED = 4
MAX_ENTRIES = 4096
"""A directory; a node runs 110 to 250 pods, and each entry costs the thread some 25 µs."""


class Closable(Protocol):
    def close(self) -> object: ...


C = TypeVar("C", bound=Closable)


class Entrance:
    """The one thread that enters other network namespaces.

    Jobs run one after the other, so a `make` that blocks stops all others: make a socket and return it, connect and wait elsewhere.
    A socket belongs for good to the namespace that it was made in; closing it in time is the caller's duty.
    """

    def __init__(self) -> None:
        # Held open for good: going home must not depend on a free descriptor or on /proc.
        self._home = open_home()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="netns-entrance", daemon=True)
        self._thread.start()

    def call(self, file: NamespaceFile, make: Callable[[], T]) -> Future[T]:
        """Run `make` inside the namespace of `file` and give back what it gave.

        The future raises NamespaceGone, NamespaceDenied or NamespaceUnreadable if we did not get in, else whatever `make` raised.
        RuntimeError here and now after `close`.
        """
        return self.submit(lambda: self._inside(file, make))

    async def acquire(self, file: NamespaceFile, make: Callable[[], C]) -> C:
        """As `call`, for what must be closed: if the waiting task is cancelled, what was made meanwhile is closed."""
        future = self.call(file, make)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(close_result)
            raise

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run `job` on the thread, at home. For work that enters several namespaces in one go."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = job()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._closed:
                raise RuntimeError("the entrance is closed")
            self._jobs.put(run)
        return future

    def identify(self, path: str) -> NamespaceFile:
        """What network namespace `path` names now. Only within a job given to `submit`."""
        if threading.current_thread() is not self._thread:
            raise RuntimeError("only the entrance's own thread leaves home")
        descriptor = open_namespace(path)
        try:
            status = os.fstat(descriptor)
            cookie = self._within(path, descriptor, cookie_here)
        finally:
            os.close(descriptor)
        return NamespaceFile(path=path, cookie=cookie, device=status.st_dev, inode=status.st_ino)

    def close(self) -> None:
        """Finish the jobs that wait, then end the thread. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._thread.join()
        os.close(self._home)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            # Else the last job, and the socket that it made, would live until the next one.
            del job

    def _inside(self, file: NamespaceFile, make: Callable[[], T]) -> T:
        descriptor = open_namespace(file.path)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != (file.device, file.inode):
                raise NamespaceGone(file.path, "another namespace has this name now")
            return self._within(file.path, descriptor, lambda: _checked(file, make))
        finally:
            os.close(descriptor)

    def _within(self, path: str, descriptor: int, work: Callable[[], T]) -> T:
        try:
            enter(descriptor)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise NamespaceDenied(path, "entering is not permitted: CAP_SYS_ADMIN is missing") from error
            raise NamespaceUnreadable(path, f"entering failed: {error.strerror}") from error
        try:
            return work()
        finally:
            self._return()

    def _return(self) -> None:
        try:
            enter(self._home)
        except BaseException:  # whatever it was: a thread in the wrong namespace would make every later answer a lie
            _die()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What some directories hold. Every entry is in `files` or, with a reason, in `skipped`."""

    files: tuple[NamespaceFile, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    """(path, a clause for people)."""
    missing: tuple[str, ...] = ()
    """Directories that could not be listed; also in `skipped`, with the reason."""
    denied: int = 0
    """How many of `skipped` are network namespaces that we may not enter: CAP_SYS_ADMIN is missing."""
    barred: tuple[str, ...] = ()
    """What `denied` counts, and directories that we may not list, each with why; the first few."""


def scan(dirs: Sequence[str], entrance: Entrance) -> Future[ScanResult]:
    """Find the network namespaces among the entries of `dirs`. Some 25 µs a namespace, on the entrance's thread; never raises for a file.

    A namespace with several names counts once, under the first name that is not a symlink.
    """
    return entrance.submit(lambda: _scan(tuple(dirs), entrance))


def _scan(dirs: Sequence[str], entrance: Entrance) -> ScanResult:
    found: dict[tuple[int, int], NamespaceFile] = {}
    skipped: list[tuple[str, str]] = []
    missing: list[str] = []
    barred: list[str] = []
    denied = 0
    for directory in dict.fromkeys(dirs):
        paths, complaint, permitted = _list(directory)
        barred += [] if permitted else [f"{directory}: {complaint}"]
        if complaint:
            skipped.append((directory, complaint))
            if not paths:
                missing.append(directory)
        for path in paths:
            try:
                _refuse_other_kinds(path)
                file = entrance.identify(path)
            except NamespaceError as error:
                skipped.append((_printable(path), error.reason))
                if isinstance(error, NamespaceDenied):
                    denied += 1
                    barred.append(str(error))
                continue
            first = found.setdefault(file.key, file)
            if first is not file:
                skipped.append((path, f"the same namespace as {first.path}"))
    return ScanResult(
        files=tuple(found.values()), skipped=tuple(skipped), missing=tuple(missing), denied=denied, barred=tuple(barred[:MAX_BARRED])
    )


def _list(directory: str) -> tuple[list[str], str, bool]:
    """Paths of the entries, symlinks last; what is to be said of the directory itself, or nothing; and whether we may list it."""
    entries: list[tuple[bool, str]] = []
    try:
        with os.scandir(directory) as listing:
            for entry in listing:
                if len(entries) == MAX_ENTRIES:
                    return [path for _, path in sorted(entries)], f"more than {MAX_ENTRIES} entries: the others were not looked at", True
                entries.append((entry.is_symlink(), entry.path))
    except (OSError, ValueError) as error:
        return [], f"cannot be listed: {getattr(error, 'strerror', None) or error}", not isinstance(error, PermissionError)
    return [path for _, path in sorted(entries)], "", True


def _refuse_other_kinds(path: str) -> None:
    """Devices may react to being opened, and a file of another kind deserves a clearer word than "not a namespace"."""
    try:
        path.encode()
        mode = os.stat(path).st_mode
    except UnicodeEncodeError as error:
        raise NamespaceUnreadable(path, "the name is not UTF-8") from error
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise NamespaceUnreadable(path, "the file is gone, or a dangling symlink" if gone else f"no access: {error.strerror}") from error
    if S_ISDIR(mode):
        raise NamespaceUnreadable(path, "a directory")
    if not S_ISREG(mode):
        raise NamespaceUnreadable(path, "a pipe, socket or device")


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()


def _checked(file: NamespaceFile, make: Callable[[], T]) -> T:
    if file.cookie is not None and cookie_here() != file.cookie:
        raise NamespaceGone(file.path, "another namespace has this name now")
    return make()


def close_result(future: Future[C]) -> None:
    """A done-callback for a future whose result nobody waits for any more."""
    with suppress(BaseException):
        future.result().close()


def _die() -> NoReturn:
    with suppress(OSError):
        os.write(2, b"lhnet-agent: a thread could not leave a pod's network namespace; exiting\n")
    os._exit(EXIT_CANNOT_RETURN)
