"""The commands that an explained message leads to: whole, in backticks, with the names that the message gives.

A message is free text, so a name that is no Kubernetes name never gets into a command; the command then asks for all objects of its kind.
"""

import re
from ipaddress import ip_network

from agent.rules.setting_texts import NADS, SETTINGS, is_key, is_name

WHEREABOUTS = "kubectl -n kube-system get"
_ACCOUNT = re.compile(r"system:serviceaccount:[a-z0-9-]{1,63}:[a-z0-9.-]{1,253}")
_REQUESTS = r"jsonpath='{.metadata.annotations.k8s\.v1\.cni\.cncf\.io/networks}'"
_DIRECTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class PodCommands:
    """About the pod that the message names, or about Longhorn's pods if it names none."""

    def __init__(self, pod: str | None) -> None:
        namespace, _, name = (pod or "").partition("/")
        self._known = pod is not None and is_key(pod)
        self.namespace = namespace if self._known else "longhorn-system"
        self._name = name

    def node(self) -> str:
        what = f"pod {self._name}" if self._known else "pods"
        return f"`kubectl -n {self.namespace} get {what} -o wide`"

    def whole(self) -> str:
        what = f"pod {self._name}" if self._known else "pods"
        return f"`kubectl -n {self.namespace} describe {what}`"

    def events(self) -> str:
        of_pod = f" --field-selector involvedObject.name={self._name}" if self._known else ""
        return f"`kubectl -n {self.namespace} get events{of_pod}`"

    def request(self) -> str:
        return f"`kubectl -n {self.namespace} get pod {self._name} -o {_REQUESTS}`" if self._known else self.whole()

    def sandboxes(self) -> str:
        return f"`crictl pods --name {self._name}`" if self._known else "`crictl pods`"


def nad(namespace: str, name: str | None) -> str:
    if name is None or not is_key(f"{namespace}/{name}"):
        return f"`kubectl get {NADS} -A -o yaml`"
    return f"`kubectl -n {namespace} get {NADS} {name} -o yaml`"


def edit_nad(namespace: str, name: str) -> str:
    if not is_key(f"{namespace}/{name}"):
        return f"in the definition: {nad(namespace, None)}"
    return f"in the definition: `kubectl -n {namespace} edit {NADS} {name}`"


def edit_setting(name: str) -> str:
    """Harvester refuses the change while VMs run or volumes are attached."""
    return f"with VMs stopped and volumes detached: `kubectl edit {SETTINGS} {name}`"


def pool(name: str | None) -> str:
    """`name` is that of an IPPool made of a range that was read as one."""
    resource = f"{WHEREABOUTS} ippools.whereabouts.cni.cncf.io"
    return f"`{resource} {name} -o yaml`" if is_name(name) else f"`{resource} -o yaml`"


def reservations() -> str:
    return f"`{WHEREABOUTS} overlappingrangeipreservations.whereabouts.cni.cncf.io -o yaml`"


def rights(message: str) -> str:
    """What the account that the message names may do; without one, who is bound at all."""
    account = _ACCOUNT.search(message)
    if account is None:
        return "`kubectl get clusterrolebindings -o wide | grep whereabouts`"
    return f"`kubectl auth can-i list ippools.whereabouts.cni.cncf.io -n kube-system --as={account[0].rstrip('.-')}`"


def address_files(network: str | None) -> str:
    """host-local's, one an address."""
    known = network is not None and _DIRECTORY.fullmatch(network) is not None
    return f"`ls /var/lib/cni/networks/{network}/`" if known else "`ls /var/lib/cni/networks/*`"


def plan_range(cidr: str | None) -> str:
    """A range twice as wide as the one of the message, which is canonical by then; else how to ask."""
    try:
        wider = ip_network(cidr or "").supernet()
    except ValueError:
        return "`lhnet-agent plan-range --help`"
    return f"`lhnet-agent plan-range --range {wider}`"
