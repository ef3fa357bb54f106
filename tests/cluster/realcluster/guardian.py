"""Removes what the kernel does not: a cluster's folder and its cgroups, once whoever held the cluster is gone, however that came.

python -m realcluster.guardian FOLDER      reads its standard input, which only the cluster's process holds open, to its end
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from realcluster import confine
from realcluster.needs import ROOT

FINISH_SECONDS = 150.0


def start(folder: Path) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), str(ROOT)))}
    argv = [sys.executable, "-m", "realcluster.guardian", str(folder)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environ, start_new_session=True, cwd="/")


def finish(process: subprocess.Popen[bytes]) -> None:
    """Lets it do its work. Safe to call twice. Raises ConfineError if something is left, which it names on standard error."""
    if process.stdin is not None:
        process.stdin.close()
    if process.wait(FINISH_SECONDS) != 0:
        raise confine.ConfineError("the cluster left something behind")


def main() -> None:
    folder = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C is meant for the cluster, not for its remains
    while os.read(0, 64):
        pass
    left = confine.remove_cgroups(folder.name)
    confine.remove_folder(folder)
    if left or folder.exists():
        sys.exit(f"left behind: {' '.join(map(str, [*left, *([folder] if folder.exists() else [])]))}")


if __name__ == "__main__":
    main()
