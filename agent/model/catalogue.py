"""Every finding there is: scope, normal severity, who produces it, and which subject keys make its identity (contract §5).

One row an id. `two_looks` marks those that compare two sources: they need both live, the same disagreement in two looks, and a pod
past its grace. `holder` marks those that only the holder of the Lease may raise.
"""

from dataclasses import dataclass

from agent.model.finding import Finding, Scope, Severity

_KEYS: dict[Scope, tuple[str, ...]] = {
    Scope.AGENT: ("node",),
    Scope.NODE: ("node",),
    Scope.POD: ("node", "pod"),
    Scope.PAIR: ("node", "pod", "peer_node", "peer_pod"),
    Scope.POOL: ("pool",),
    Scope.CLUSTER: (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    id: str
    scope: Scope
    severity: Severity
    holder: bool = False
    two_looks: bool = False
    extra_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return _KEYS[self.scope] + self.extra_keys


def _kind(name: str, scope: Scope, severity: Severity, *extra: str, holder: bool = False, two_looks: bool = False) -> Kind:
    return Kind(
        id=name,
        scope=scope,
        severity=severity,
        holder=holder or scope in (Scope.POOL, Scope.CLUSTER),
        two_looks=two_looks,
        extra_keys=extra,
    )


_I, _W, _C = Severity.INFO, Severity.WARNING, Severity.CRITICAL
_AGENT, _NODE, _POD, _PAIR, _POOL, _CLUSTER = Scope.AGENT, Scope.NODE, Scope.POD, Scope.PAIR, Scope.POOL, Scope.CLUSTER

CATALOGUE: dict[str, Kind] = {
    kind.id: kind
    for kind in (
        _kind("setting-stuck", _CLUSTER, _W, "setting"),
        _kind("setting-unapplied", _CLUSTER, _W, "setting", two_looks=True),
        _kind("setting-mismatch", _CLUSTER, _C, "setting", two_looks=True),
        _kind("nad-missing", _CLUSTER, _C, "nad", two_looks=True),
        _kind("nad-drift", _CLUSTER, _W, "nad", two_looks=True),
        _kind("nad-leftover", _CLUSTER, _I, "nad"),
        _kind("pool-leftover", _POOL, _I),
        _kind("crd-missing", _CLUSTER, _C),
        _kind("range-unusable", _POOL, _C),
        _kind("range-overlap", _CLUSTER, _C, "nad"),
        _kind("exclude-widened", _CLUSTER, _W, "nad"),
        _kind("coverage-missing", _NODE, _W, holder=True),
        _kind("monitoring-left-stopped", _CLUSTER, _W),
        _kind("pool-exhausted", _POOL, _C),
        _kind("pool-nearly-full", _POOL, _W),
        _kind("upgrade-headroom", _POOL, _W, two_looks=True),
        _kind("allocation-orphaned", _POOL, _I, two_looks=True),
        _kind("reservation-orphaned", _POOL, _I, two_looks=True),
        _kind("allocation-missing", _POOL, _W, two_looks=True),
        _kind("address-duplicate", _CLUSTER, _C, "address", "pod", "peer_pod", two_looks=True),
        _kind("grant-missing", _POD, _C, holder=True, two_looks=True),
        _kind("storage-ip-fallback", _CLUSTER, _C, "object", "volume", two_looks=True),
        _kind("instance-manager-missing", _NODE, _W, holder=True, two_looks=True),
        _kind("namespace-not-found", _POD, _W, two_looks=True),
        _kind("interface-missing", _POD, _C, two_looks=True),
        _kind("interface-down", _POD, _C),
        _kind("address-mismatch", _POD, _C, two_looks=True),
        _kind("address-outside-range", _POD, _C, two_looks=True),
        _kind("mac-mismatch", _POD, _W, two_looks=True),
        _kind("mtu-mismatch", _POD, _W, two_looks=True),
        _kind("route-missing", _POD, _C),
        _kind("route-shadowed", _POD, _C),
        _kind("interface-errors", _POD, _W),
        _kind("bridge-missing", _NODE, _C),
        _kind("uplink-missing", _NODE, _C),
        _kind("uplink-down", _NODE, _C),
        _kind("nic-missing", _NODE, _C),
        _kind("veth-detached", _POD, _C),
        _kind("vlan-missing", _NODE, _C),
        _kind("vlan-wrong", _POD, _C),
        _kind("bond-degraded", _NODE, _W),
        _kind("lacp-no-partner", _NODE, _W),
        _kind("mtu-chain", _NODE, _W),
        _kind("bridge-netfilter", _NODE, _W),
        _kind("uplink-slow", _NODE, _I),
        _kind("neighbour-table-full", _NODE, _W),
        _kind("peer-unreachable", _PAIR, _C),
        _kind("peer-port-closed", _PAIR, _W),
        _kind("large-packets-lost", _PAIR, _C),
        _kind("foreign-responder", _PAIR, _C),
        _kind("packet-loss", _PAIR, _W),
        _kind("latency-high", _PAIR, _W),
        _kind("node-down", _NODE, _W, holder=True),
        _kind("node-cut-off", _NODE, _C, holder=True),
        _kind("one-way", _CLUSTER, _C, "node", "peer_node"),
        _kind("network-split", _CLUSTER, _C, "groups"),
        _kind("network-down", _CLUSTER, _C),
        _kind("sandbox-failing", _POD, _W, "network_kind", holder=True),
        _kind("sources-stale", _AGENT, _W, "source"),
        _kind("agent-missing", _NODE, _W, holder=True),
        _kind("agent-impaired", _AGENT, _W),
        _kind("check-failed", _AGENT, _W, "check"),
        _kind("cpu-starved", _AGENT, _W),
    )
}


def identity(finding: Finding) -> tuple[str, ...]:
    """Id and the subject keys that make this finding the same one at the next look; reason, severity and addresses may change.

    Raises KeyError for an id that the catalogue does not know.
    """
    subject = finding.subject.as_dict()
    return (finding.id, *(_key(finding, subject, key) for key in CATALOGUE[finding.id].keys))


def _key(finding: Finding, subject: dict[str, str], key: str) -> str:
    return finding.network_kind or "" if key == "network_kind" else subject.get(key, "")
