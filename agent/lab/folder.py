"""Where a lab keeps its files, and how exactly one lab owns that place.

The owner binds an abstract Unix socket named after the folder: the kernel lets go of it when the process ends, however it ends, so a lab
runs if and only if the name is taken. Folders of labs that ended without cleaning up are recognised by the free name and removed.
"""

import os
import secrets
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

DEFAULT_FOLDER = "/run/lhnet-lab"
FOLDER_VARIABLE = "LHNET_LAB_DIR"
TOKEN_FILE = "lab-token"  # noqa: S105  # a file name
_REMOVE_SECONDS = 10.0


def lab_folder(name: str | None = None) -> Path:
    """$LHNET_LAB_DIR or the default, with -NAME appended for a second lab beside the first."""
    base = os.path.abspath(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)
    return Path(f"{base}-{name}" if name else base)


def control_socket(folder: Path) -> Path:
    return folder / "control.sock"


class Ownership:
    """Held for the life of a supervisor."""

    def __init__(self, folder: Path) -> None:
        """Raises BlockingIOError if a lab owns the folder already."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(_name(folder))
        except OSError as error:
            self._socket.close()
            raise BlockingIOError("a lab runs already") from error

    def release(self) -> None:
        self._socket.close()


def is_owned(folder: Path) -> bool:
    """Whether a lab runs there, or starts or ends just now."""
    try:
        Ownership(folder).release()
    except BlockingIOError:
        return True
    return False


def _name(folder: Path) -> str:
    return f"\0lhnet-lab:{folder.parent.resolve() / folder.name}"


def create(folder: Path) -> str:
    """A fresh folder, readable by root only, after the remains of an earlier lab were removed. Returns its token.

    Raises FileExistsError for a folder that no lab made.
    """
    remove_remains(folder)
    folder.mkdir(mode=0o700, parents=True)
    token = secrets.token_hex(16)
    (folder / TOKEN_FILE).write_text(token)
    (folder / "logs").mkdir()
    (folder / "nodes").mkdir()
    return token


def remove_remains(folder: Path) -> bool:
    """Removes what a dead lab left at this place; only for the owner, or while there is none. True if there was something.

    Raises FileExistsError for a folder that no lab made: somebody may have pointed $LHNET_LAB_DIR at their own.
    """
    if folder.is_dir() and not (folder / TOKEN_FILE).is_file() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is there and no lab made it; name another place in ${FOLDER_VARIABLE}")
    remains = [path for path in (folder, *folder.parent.glob(f"{folder.name}.gone-*")) if path.is_dir()]
    for path in remains:
        remove(path)
    return bool(remains)


def remove(folder: Path, *, token: str | None = None) -> None:
    """Moves the folder aside and deletes it; with a token only if it is still that lab's folder. Never raises."""
    with suppress(OSError):
        if token is not None and (folder / TOKEN_FILE).read_text() != token:
            return
        aside = folder.with_name(f"{folder.name}.gone-{secrets.token_hex(4)}")
        folder.rename(aside)
        deadline = time.monotonic() + _REMOVE_SECONDS
        while aside.exists() and time.monotonic() < deadline:
            shutil.rmtree(aside, ignore_errors=True)  # processes that were killed just now may still have been writing
            if aside.exists():
                time.sleep(0.05)
