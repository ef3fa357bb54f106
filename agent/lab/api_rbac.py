"""Who asks, and whether they may: bearer tokens and role-based access as a kube-apiserver with RBAC decides it.

Roles and bindings are the objects in the store. Members of system:masters may do everything. Beyond the stored roles only the
discovery paths are open to everybody with a good token, as the bootstrap roles of a real cluster have it.
"""

import base64
import csv
import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.lab.api_store import Store

Json = dict[str, Any]

RBAC_GROUP = "rbac.authorization.k8s.io"
OPEN_PATHS = ("/api", "/apis", "/healthz", "/livez", "/openapi", "/readyz", "/version")
"""ClusterRoles system:discovery and system:public-info-viewer of every cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    name: str
    groups: frozenset[str]

    @property
    def is_master(self) -> bool:
        return "system:masters" in self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What is to be done to what. `path` is set for requests that are about no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Tokens:
    """Static tokens from a file in kube-apiserver's own format (token,user,uid,"group,group"), and ServiceAccount tokens signed with
    `secret`: they outlive a restart without being stored."""

    def __init__(self, static: dict[str, User], *, secret: bytes) -> None:
        self._static = static
        self._secret = secret

    def user(self, authorization: str) -> User | None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        return self._static.get(token.strip()) or self._signed(token.strip())

    def mint(self, namespace: str, name: str) -> str:
        body = _text(json.dumps([namespace, name]).encode())
        return f"{body}.{self._signature(body)}"

    def _signed(self, token: str) -> User | None:
        body, _, signature = token.partition(".")
        if not signature.isascii() or not body.isascii() or not hmac.compare_digest(signature, self._signature(body)):
            return None
        namespace, name = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return service_account(namespace, name)

    def _signature(self, body: str) -> str:
        return _text(hmac.new(self._secret, body.encode(), hashlib.sha256).digest())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def service_account(namespace: str, name: str) -> User:
    return _user(f"system:serviceaccount:{namespace}:{name}", ())


def _user(name: str, groups: Iterable[str]) -> User:
    more = {"system:authenticated"}
    kind = name.split(":")
    if name.startswith("system:serviceaccount:") and len(kind) == 4:
        more |= {"system:serviceaccounts", f"system:serviceaccounts:{kind[2]}"}
    return User(name=name, groups=frozenset(groups) | more)


def read_tokens(path: Path) -> dict[str, User]:
    """Raises OSError if the file cannot be read and ValueError for a line with fewer than three columns."""
    users: dict[str, User] = {}
    with path.open(newline="") as file:
        for line in csv.reader(file):
            if not line:
                continue
            if len(line) < 3:
                raise ValueError(f"{path}: a line needs token,user,uid")
            users[line[0]] = _user(line[1], line[3].split(",") if len(line) > 3 else ())
    return users


def allowed(store: Store, user: User, asked: Attributes) -> bool:
    if user.is_master:
        return True
    if asked.path and asked.verb == "get" and any(asked.path == open_ or asked.path.startswith(open_ + "/") for open_ in OPEN_PATHS):
        return True
    return any(_rule_allows(rule, asked) for rule in _rules(store, user, asked.namespace))


def _rules(store: Store, user: User, namespace: str) -> Iterator[Json]:
    """Rules of all roles that are bound to this user, for the cluster and for this namespace."""
    for binding in store.select((RBAC_GROUP, "clusterrolebindings")):
        if _binds(binding, user, ""):
            yield from _role_rules(store, binding, "")
    if not namespace:
        return
    for binding in store.select((RBAC_GROUP, "rolebindings"), namespace=namespace):
        if _binds(binding, user, namespace):
            yield from _role_rules(store, binding, namespace)


def _role_rules(store: Store, binding: Json, namespace: str) -> list[Json]:
    ref = binding.get("roleRef") or {}
    if ref.get("kind") == "Role":
        role = store.get((RBAC_GROUP, "roles"), namespace, ref.get("name", ""))
    else:
        role = store.get((RBAC_GROUP, "clusterroles"), "", ref.get("name", ""))
    return (role or {}).get("rules") or []


def _binds(binding: Json, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or []:
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        if kind == "ServiceAccount" and user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}":
            return True
    return False


def _rule_allows(rule: Json, asked: Attributes) -> bool:
    if not _has(rule, "verbs", asked.verb):
        return False
    if asked.path:
        return any(_path_matches(pattern, asked.path) for pattern in rule.get("nonResourceURLs") or [])
    wanted = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    named = rule.get("resources") or []
    if not (wanted in named or "*" in named or (asked.subresource and f"*/{asked.subresource}" in named)):
        return False
    names = rule.get("resourceNames") or []
    return _has(rule, "apiGroups", asked.group) and (not names or asked.name in names)


def _has(rule: Json, field: str, value: str) -> bool:
    listed = rule.get(field) or []
    return "*" in listed or value in listed


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
