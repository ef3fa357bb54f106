"""Removes a lab's folder when its supervisor is gone, however it ended. Everything else the kernel removes by itself.

`python -m agent.lab.guardian FOLDER TOKEN` reads its standard input, which only the supervisor holds open, until it ends. It removes that
lab's folder and no other.
"""

import os
import signal
import sys
from pathlib import Path

from agent.lab.folder import remove


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C for the supervisor must not leave its folder
    while os.read(0, 64):
        pass
    remove(Path(sys.argv[1]), token=sys.argv[2])


if __name__ == "__main__":
    main()
