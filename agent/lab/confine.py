"""Puts a process where a kubelet would put the agent's container, and becomes that process.

`python -m agent.lab.confine SPEC.json` joins the mount namespace of its node, takes a copy that follows the node's mounts, mounts what the
manifest mounts, makes the rest read-only, keeps only the manifest's capabilities, and executes the program. Nothing of it can be undone by
the program. It starts in the node's network namespace already, and gives up with one line if the kernel refuses any of it.
"""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from agent.lab import kernel
from agent.lab.mounts import Mounts, follow_only, forget


def confine(spec: dict[str, Any]) -> None:
    """Everything but the exec."""
    namespace = os.open(f"/proc/{spec['node_pid']}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    kernel.setns(namespace, kernel.CLONE_NEWNS)
    os.close(namespace)
    kernel.unshare(kernel.CLONE_NEWNS)
    follow_only()
    mounts = Mounts()
    for path in spec["reachable"]:
        _open_the_way(mounts, Path(path))
    writable = _mount_all(mounts, spec["mounts"])
    if spec["read_only_root"]:
        kernel.set_readonly("/", True, recursive=True)
        for path in writable:
            kernel.set_readonly(path, False)
    kernel.drop_privileges(frozenset(spec["capabilities"]), no_new_privileges=spec["no_new_privileges"])


def _mount_all(mounts: Mounts, wanted: list[dict[str, Any]]) -> list[str]:
    """Mounts the container's volumes over a /run of its own. Returns those that stay writable."""
    writable = []
    trees = [kernel.clone_tree(mount["source"]) if mount["source"] else None for mount in wanted]
    forget("/run")
    mounts.cover("/run")
    for mount, tree in zip(wanted, trees, strict=True):
        path = mounts.ensure_directory(mount["path"])
        if tree is None:
            mounts.cover(path)
            for name, content in mount["files"].items():
                Path(path, name).write_text(content)
        else:
            forget(path)  # as the node has it
            kernel.attach_tree(tree, path)
            os.close(tree)
            if not mount["follows_host"]:
                kernel.mount("none", path, flags=kernel.MS_REC | kernel.MS_PRIVATE)
        if mount["read_only"]:
            kernel.set_readonly(path, True)
        else:
            writable.append(path)
    return writable


def _open_the_way(mounts: Mounts, path: Path) -> None:
    """Python and this package must be readable for uid 0 without CAP_DAC_OVERRIDE, also in somebody's closed home folder."""
    steps = path.resolve().parts
    for depth in range(1, len(steps)):
        folder = Path(*steps[:depth])
        status = folder.stat()
        if status.st_uid != 0 and not status.st_mode & stat.S_IXOTH:
            mounts.narrow(folder, to=steps[depth])


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    try:
        confine(spec)
        os.execve(spec["argv"][0], spec["argv"], spec["environment"])  # noqa: S606  # this process is to become the agent
    except OSError as error:
        sys.exit(f"the lab could not start the agent: {error}")


if __name__ == "__main__":
    main()
