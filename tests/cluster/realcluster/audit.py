"""What the agents asked of the API server and what it answered, by the server's own log."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "system:serviceaccount:lhnet-system:lhnet-agent"
READ = ("get", "list", "watch")
READABLE = (
    "nodes",
    "pods",
    "events",
    "settings.harvesterhci.io",
    "settings.longhorn.io",
    "instancemanagers.longhorn.io",
    "nodes.longhorn.io",
    "replicas.longhorn.io",
    "engines.longhorn.io",
    "network-attachment-definitions.k8s.cni.cncf.io",
    "clusternetworks.network.harvesterhci.io",
    "vlanconfigs.network.harvesterhci.io",
    "ippools.whereabouts.cni.cncf.io",
    "overlappingrangeipreservations.whereabouts.cni.cncf.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "prometheuses.monitoring.coreos.com",
    "alertmanagers.monitoring.coreos.com",
    "deployments.apps",
    "leases.coordination.k8s.io",
)
ALLOWED = frozenset({(verb, resource) for verb in READ for resource in READABLE} | {("patch", "leases.coordination.k8s.io")})
"""All that an agent has to ask, as an operator would grant it: to read these, and to renew the Lease."""


@dataclass(frozen=True, slots=True)
class Asked:
    verb: str
    resource: str
    """`plural.group/subresource`, as far as there are such."""
    namespace: str
    name: str
    code: int

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.namespace}/{self.name}: {self.code}"


def read(log: Path, *, account: str = ACCOUNT) -> Counter[Asked]:
    """Every finished request of the account, with how often."""
    found: Counter[Asked] = Counter()
    with log.open() as lines:
        for line in lines:
            if f'"{account}"' in line and line.endswith("\n"):
                entry = json.loads(line)
                if entry["user"]["username"] == account and "responseStatus" in entry:
                    found[_asked(entry)] += 1
    return found


def _asked(entry: dict[str, object]) -> Asked:
    reference, status = entry.get("objectRef") or {}, entry["responseStatus"]
    assert isinstance(reference, dict)
    assert isinstance(status, dict)
    resource = str(reference.get("resource", entry.get("requestURI")))
    if group := reference.get("apiGroup"):
        resource = f"{resource}.{group}"
    if part := reference.get("subresource"):
        resource = f"{resource}/{part}"
    return Asked(str(entry["verb"]), resource, str(reference.get("namespace", "")), str(reference.get("name", "")), int(status["code"]))
