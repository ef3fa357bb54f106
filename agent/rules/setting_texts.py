"""Words and commands about settings, NADs and what hangs on them. A command stands in backticks, is whole, and is run by people only.

Names come out of annotations and values that anybody may have written: what is no Kubernetes name is shown, never put into a command.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent.rules.ipam_range import shown

NADS = "network-attachment-definitions.k8s.cni.cncf.io"
SETTINGS = "settings.harvesterhci.io"
LISTED = 5
"""Names in one sentence; an operator reads no more."""
EVIDENCE_LISTED = 20

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Namespaces, as in settings `namespaces.*`."""

    longhorn: str = "longhorn-system"
    harvester: str = "harvester-system"
    whereabouts: str = "kube-system"


def is_name(text: str | None) -> bool:
    """Fit to stand in a command as an object's name."""
    return text is not None and _NAME.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """`namespace/name` of two such names."""
    namespace, slash, name = text.partition("/")
    return bool(slash) and is_name(namespace) and is_name(name)


def listing(names: Sequence[str], *, most: int = LISTED) -> str:
    """`a, b, c and 4 more`."""
    head = ", ".join(shown(name) for name in names[:most])
    return f"{head} and {len(names) - most} more" if len(names) > most else head


def show_setting(name: str) -> str:
    return f"`kubectl get {SETTINGS} {name} -o yaml`"


def show_longhorn_setting(name: str, *, places: Places) -> str:
    return f"`kubectl -n {places.longhorn} get settings.longhorn.io {name} -o yaml`"


def show_nad(nad: str, *, places: Places) -> str:
    namespace, _, name = nad.partition("/")
    if not is_key(nad):
        return list_nads(nad, places=places)
    return f"`kubectl -n {namespace} get {NADS} {name} -o yaml`"


def list_nads(nad: str, *, places: Places) -> str:
    """Those in the namespace of `nad`, where that is a name; else in Harvester's."""
    namespace = nad.partition("/")[0]
    return f"`kubectl -n {namespace if is_name(namespace) else places.harvester} get {NADS}`"


def harvester_log(name: str, *, places: Places) -> str:
    return f"`kubectl -n {places.harvester} logs deployment/harvester --since=1h | grep -i {name}`"


def delete_pod(namespace: str, name: str) -> str:
    """Longhorn makes the pod anew, and every instance in it stops meanwhile."""
    return f"`kubectl -n {namespace} delete pod {name}`"
