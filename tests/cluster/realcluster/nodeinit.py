"""The first process of a node: it gives the node a view of the machine that is its own, and takes in orphans.

    python -m realcluster.nodeinit FOLDER FD      FOLDER appears as /run/node; a byte is written to FD when all is in place

It works on its own copy of the mounts. Shared ones as on a host with systemd, an empty /run (so /run/netns is the node's), /sys of its
network namespace, /proc of its PID namespace, and covers over every place outside /run that containerd, kubelet or a CNI plugin writes to.
"""

import os
import signal
import sys
from pathlib import Path

from agent.lab import kernel
from agent.lab.mounts import Mounts, enter_copy, forget, fresh_sysfs, share_within

OWN = "/run/node"
KEPT = {"/etc/cni": "etc-cni", "/var/lib/cni": "var-lib-cni", "/var/lib/lhnet-agent": "var-lib-lhnet-agent"}
"""Folders of the host that outlive a restart of the node, and where they lie in the node's own folder."""
COVERED = ("/var/log",)
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""A kubelet sets these, and they belong to the whole machine: it finds them set already, in files that stand before them."""


def main() -> None:
    folder, ready = Path(sys.argv[1]), int(sys.argv[2])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    enter_copy()
    own = kernel.clone_tree(str(folder))  # it may lie under /run, which is covered below
    fresh_sysfs()
    forget("/run/netns")
    mounts = Mounts()
    mounts.cover("/run")
    Path(OWN).mkdir()
    Path("/run/netns").mkdir()
    kernel.attach_tree(own, OWN)
    os.close(own)
    for target, name in KEPT.items():
        Path(OWN, name).mkdir(exist_ok=True)
        kernel.mount(f"{OWN}/{name}", mounts.ensure_directory(target), flags=kernel.MS_BIND)
    for target in COVERED:
        mounts.cover(target)
    kernel.mount("proc", "/proc", "proc")
    _shield_sysctls()
    share_within()
    os.write(ready, b"1")
    os.close(ready)
    while True:
        signal.sigwait({signal.SIGCHLD})
        _reap()


def _shield_sysctls() -> None:
    for number, (name, value) in enumerate(SYSCTLS.items()):
        stand_in = Path("/run", f"sysctl-{number}")
        stand_in.write_text(value + "\n")
        if os.path.exists(f"/proc/sys/{name}"):
            kernel.mount(str(stand_in), f"/proc/sys/{name}", flags=kernel.MS_BIND)


def _reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


if __name__ == "__main__":
    main()
