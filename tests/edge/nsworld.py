"""Real network namespaces for tests: made under a temporary directory, and gone again afterwards, whatever happened.

Nothing appears in /run/netns, and no link in the namespace that the tests run in.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("ip", "unshare", "nsenter", "mount", "umount", "setpriv")
DEADLINE_SECONDS = 60


def reason_to_skip() -> str | None:
    """Why namespaces cannot be made here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs the programs {', '.join(missing)}"
    attempt = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return None if attempt.returncode == 0 else f"needs network namespaces: {attempt.stderr.strip()}"


_reason = reason_to_skip()
needs_namespaces = [pytest.mark.root, pytest.mark.skipif(_reason is not None, reason=_reason or "")]
"""For `pytestmark`, or `@needs_namespaces[0] @needs_namespaces[1]` on one test."""


class NsWorld:
    """Namespaces by name. Each is a file in `directory`, as a container runtime would keep it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._mounted: list[Path] = []

    def add(self, *names: str) -> Path:
        """New namespaces with nothing but `lo`, which is up. The last one's file."""
        for name in names:
            path = self.directory / name
            path.touch()
            _run("unshare", f"--net={path}", "ip", "link", "set", "lo", "up")
            self._mounted.append(path)
        return self.directory / names[-1]

    def add_mount_namespace(self, name: str) -> Path:
        """A namespace of another kind, mounted as if it were a network namespace."""
        path = self.directory / name
        path.touch()
        # Straight from a running process: a mount namespace cannot be mounted inside itself.
        with subprocess.Popen(["unshare", "--mount", "cat"], stdin=subprocess.PIPE) as process:
            try:
                own = os.readlink("/proc/self/ns/mnt")
                wait_for(lambda: os.readlink(f"/proc/{process.pid}/ns/mnt") != own)
                _run("mount", "--bind", f"/proc/{process.pid}/ns/mnt", str(path))
            finally:
                process.kill()
        self._mounted.append(path)
        return path

    def bind(self, name: str, again: str) -> Path:
        """A second name for a namespace."""
        path = self.directory / again
        path.touch()
        _run("mount", "--bind", str(self.directory / name), str(path))
        self._mounted.append(path)
        return path

    def unmount(self, name: str) -> Path:
        """The namespace is gone, its file stays behind, empty."""
        path = self.directory / name
        _run("umount", str(path))
        self._mounted.remove(path)
        return path

    def remove(self, name: str) -> None:
        self.unmount(name).unlink()

    def run(self, name: str, *command: str, check: bool = True) -> str:
        return _run("nsenter", f"--net={self.directory / name}", *command, check=check)

    def ip(self, name: str, *lines: str) -> None:
        """Each line as iproute2's `ip` has it, without the `ip`."""
        for line in lines:
            self.run(name, "ip", *line.split())

    def ask(self, name: str, *arguments: str) -> list[dict[str, Any]]:
        """The second opinion: what `ip -j …` says."""
        return [entry for entry in json.loads(self.run(name, "ip", "-j", *arguments) or "[]") if entry]

    def veth(self, name: str, link: str, *, peer: str, peer_link: str) -> None:
        self.ip(name, f"link add {link} type veth peer name {peer_link} netns {self.directory / peer}")
        self.ip(name, f"link set {link} up")
        self.ip(peer, f"link set {peer_link} up")

    def has_link(self, name: str, link: str) -> bool:
        return any(entry["ifname"] == link for entry in self.ask(name, "link"))

    def close(self) -> None:
        for path in reversed(self._mounted):
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(["umount", "--lazy", str(path)], check=False, capture_output=True, timeout=DEADLINE_SECONDS)
        self._mounted.clear()


@contextmanager
def nsworld(directory: Path) -> Iterator[NsWorld]:
    world = NsWorld(directory)
    try:
        yield world
    finally:
        world.close()


def python(script: str, *arguments: str, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run `script` in an interpreter of its own, started by the command `before`, e.g. setpriv."""
    command = [*before, sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)


def without(*capabilities: str) -> tuple[str, ...]:
    """The command that starts another one, as root, without some capabilities."""
    dropped = ",".join(f"-{capability}" for capability in capabilities)
    return ("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", "--no-new-privs")


def wait_for(condition: Callable[[], Any], *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
    """Return once `condition` holds; fail the test if it does not come true."""
    deadline = time.monotonic() + deadline_seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not come true within {deadline_seconds:g} s")
        time.sleep(0.01)


def descriptors() -> set[str]:
    """What the open descriptors of this process name: two of these sets differ by what leaked."""
    names = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            names.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return {name for name in names if "/proc/" not in name}


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
