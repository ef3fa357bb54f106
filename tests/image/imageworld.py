"""The image that `make image` writes, taken apart: its configuration, and its files as a container would see them."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "build/lhnet-agent.tar"
BUILD_SECONDS = 900
"""A first build fetches a base and wheels; on two busy cores it takes two minutes."""


def missing() -> str:
    """Why no image can be had here; empty if one can."""
    if os.geteuid() != 0:
        return "needs root: the image's files belong to it, and chroot is its call"
    if os.environ.get("LHNET_IMAGE_TAR"):
        return ""
    absent = [name for name in ("buildah", "mmdebstrap", "make", "flock") if shutil.which(name) is None]
    return f"needs {', '.join(absent)} (Debian's packages), or LHNET_IMAGE_TAR" if absent else ""


def archive() -> Path:
    """The one that LHNET_IMAGE_TAR names, else the one that make finds up to date or builds, without asking an image registry."""
    if given := os.environ.get("LHNET_IMAGE_TAR"):
        return Path(given)
    # The virtual environment is what runs this; it is not to be made anew underneath.
    words = ["make", "--no-print-directory", "-o", ".venv/.installed", str(ARCHIVE.relative_to(ROOT))]
    environment = {"LHNET_IMAGE_BASE": "made", **os.environ}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return ARCHIVE


@dataclass(frozen=True)
class Image:
    names: list[str]
    config: dict[str, Any]
    root: Path
    """All layers, one over the other."""
    added_bytes: int
    """What the layers above the base's hold, uncompressed."""

    @property
    def environment(self) -> dict[str, str]:
        return dict(item.split("=", 1) for item in self.config["Env"])

    def run(self, *words: str, stdin: str = "", entrypoint: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
        """In a mount namespace of its own, on a read-only root, as the DaemonSet has it."""
        script = 'mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount -o remount,ro,bind "$0" && exec chroot "$0" "$@"'
        command = [*(entrypoint or self.config["Entrypoint"]), *words]
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, str(self.root), *command],
            input=stdin,
            env={**self.environment, "PATH": f"{self.environment['PATH']}:/usr/sbin:/sbin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def unpack(archive: Path, *, folder: Path) -> Image:
    """`folder` is removed by whoever gave it."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "archive", filter="data")
    (manifest,) = json.loads((folder / "archive/manifest.json").read_text())
    document = json.loads((folder / "archive" / manifest["Config"]).read_text())
    root = folder / "root"
    root.mkdir()
    sizes = []
    for name in manifest["Layers"]:
        layer = folder / "archive" / name
        subprocess.run(["tar", "--extract", "--file", str(layer), "--directory", str(root)], check=True)
        with tarfile.open(layer) as tar:
            sizes.append(sum(entry.size for entry in tar))
    # A base of several layers: ours is what its last `COPY` made.
    return Image(names=manifest["RepoTags"], config=document["config"], root=root, added_bytes=sizes[-1])
