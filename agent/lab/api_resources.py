"""Which resources the lab's API has: the built-in ones, and one for each CustomResourceDefinition object that it holds.

A custom resource exists exactly as long as its CRD object: the registry is asked at each request, so deleting a CRD makes 404s.
Conversion between versions is not done: a CRD of the lab has one version.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
METADATA_FIELDS = frozenset({"metadata.name", "metadata.namespace"})
_EVENT_FIELDS = frozenset(
    {f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")}
    | {"reason", "reportingComponent", "source", "type"}
)
_POD_FIELDS = frozenset(
    {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork"}
    | {"status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    has_status: bool = False
    """`/status` is a resource of its own: the main one ignores what is written below `status`."""
    custom: bool = False
    columns: tuple[tuple[str, str, str], ...] = ()
    """additionalPrinterColumns: name, type, dotted path."""
    fields: frozenset[str] = frozenset()
    """Field selectors beyond metadata.name and metadata.namespace."""
    blind_update: bool = True
    """An update may leave out metadata.resourceVersion."""
    create_on_update: bool = False
    returns_deleted: bool = False
    bookmarks: bool = True
    """False where a kube-apiserver has no watch cache: no bookmarks, and limit counts in a list with resourceVersion=0 too."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.group, self.plural)

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"


def _core(plural: str, kind: str, **more: Any) -> Resource:
    return Resource(group="", version="v1", plural=plural, kind=kind, **({"namespaced": True} | more))


def _rbac(plural: str, kind: str, *, namespaced: bool) -> Resource:
    return Resource(group="rbac.authorization.k8s.io", version="v1", plural=plural, kind=kind, namespaced=namespaced, create_on_update=True)


CRDS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    has_status=True,
)
NAMESPACES = _core("namespaces", "Namespace", namespaced=False, short_names=("ns",), has_status=True, fields=frozenset({"status.phase"}))
PODS = _core("pods", "Pod", short_names=("po",), categories=("all",), has_status=True, fields=_POD_FIELDS, returns_deleted=True)
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount", short_names=("sa",), returns_deleted=True)
ACCESS_REVIEWS = Resource(
    group="authorization.k8s.io", version="v1", plural="selfsubjectaccessreviews", kind="SelfSubjectAccessReview", namespaced=False
)
"""Answered, never stored."""

BUILT_IN: tuple[Resource, ...] = (
    NAMESPACES,
    _core("nodes", "Node", namespaced=False, short_names=("no",), has_status=True, fields=frozenset({"spec.unschedulable"})),
    PODS,
    _core("services", "Service", short_names=("svc",), categories=("all",), has_status=True, returns_deleted=True, create_on_update=True),
    SERVICE_ACCOUNTS,
    _core("configmaps", "ConfigMap", short_names=("cm",)),
    _core("secrets", "Secret", fields=frozenset({"type"})),
    _core("events", "Event", short_names=("ev",), fields=_EVENT_FIELDS, create_on_update=True, bookmarks=False),
    Resource(
        group="coordination.k8s.io",
        version="v1",
        plural="leases",
        kind="Lease",
        namespaced=True,
        blind_update=False,
        create_on_update=True,
    ),
    _rbac("roles", "Role", namespaced=True),
    _rbac("rolebindings", "RoleBinding", namespaced=True),
    _rbac("clusterroles", "ClusterRole", namespaced=False),
    _rbac("clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Resource(
        group="apps",
        version="v1",
        plural="daemonsets",
        kind="DaemonSet",
        namespaced=True,
        short_names=("ds",),
        categories=("all",),
        has_status=True,
    ),
    Resource(
        group="apps",
        version="v1",
        plural="deployments",
        kind="Deployment",
        namespaced=True,
        short_names=("deploy",),
        categories=("all",),
        has_status=True,
    ),
    CRDS,
    ACCESS_REVIEWS,
)


def from_crd(crd: Json) -> Iterator[Resource]:
    """The resources that a CRD object defines. A CRD that is not understood defines none: it is never an error here."""
    spec = crd.get("spec")
    if not isinstance(spec, dict) or not isinstance(names := spec.get("names"), dict) or not isinstance(spec.get("versions"), list):
        return
    for version in spec["versions"]:
        if not isinstance(version, dict) or not version.get("served") or not isinstance(version.get("name"), str):
            continue
        plural = str(names.get("plural", ""))
        yield Resource(
            group=str(spec.get("group", "")),
            version=version["name"],
            plural=plural,
            kind=str(names.get("kind", "")),
            namespaced=spec.get("scope") == "Namespaced",
            singular=str(names.get("singular") or str(names.get("kind", "")).lower()),
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            has_status="status" in (version.get("subresources") or {}),
            custom=True,
            columns=tuple(
                (str(column["name"]), str(column.get("type", "string")), str(column["jsonPath"]))
                for column in version.get("additionalPrinterColumns") or ()
            ),
            blind_update=False,
        )


class Registry:
    """All resources of the moment."""

    def __init__(self) -> None:
        self._built_in = {(r.group, r.version, r.plural): r for r in BUILT_IN}
        self._custom: dict[str, tuple[Resource, ...]] = {}

    def define(self, name: str, crd: Json | None) -> tuple[Resource, ...]:
        """Take note that the CRD `name` now says this, or (None) that it is gone. Gives the resources that exist no more."""
        before = self._custom.pop(name, ())
        after = tuple(from_crd(crd)) if crd is not None else ()
        if after:
            self._custom[name] = after
        return tuple(resource for resource in before if resource.key not in {r.key for r in after})

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        if found := self._built_in.get((group, version, plural)):
            return found
        return next((r for r in self._all_custom() if (r.group, r.version, r.plural) == (group, version, plural)), None)

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        return next((r for r in self if r.api_version == api_version and r.kind == kind), None)

    def __iter__(self) -> Iterator[Resource]:
        yield from self._built_in.values()
        yield from self._all_custom()

    def _all_custom(self) -> Iterable[Resource]:
        return (resource for resources in self._custom.values() for resource in resources)
