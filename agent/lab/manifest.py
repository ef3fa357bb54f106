"""Reads from the DaemonSet in the manifests how a kubelet would start the agent: arguments, environment, capabilities, mounts.

The lab takes these from the manifest instead of repeating them, so that an agent that works in the lab has exactly the rights it will have
in a cluster. Refuses a manifest without the agent's DaemonSet; what the lab has no counterpart for (images, limits, seccomp) is left out.
Folders that a kustomization names are read with it; its patches are not applied.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import agent

DEFAULT_FOLDER = Path(agent.__file__).resolve().parents[1] / "manifests" / "overlays" / "harvester"
MOST_FOLDERS = 50
"""Ours are four. A kustomization may name its own parent."""


class ManifestError(Exception):
    """The manifests cannot be used; the message is one line for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerMount:
    path: str
    source: str | None = None
    """Path on the host; None: an empty folder in memory, or `files`."""
    files: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    follows_host: bool = False
    """mountPropagation HostToContainer: what is mounted on the host later appears here too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentManifest:
    namespace: str
    service_account: str
    arguments: tuple[str, ...]
    """After the program's name: `run`, …"""
    environment: tuple[tuple[str, str | None, str | None], ...]
    """Name, value, or the path of a pod field."""
    capabilities: frozenset[str]
    read_only_root: bool
    no_new_privileges: bool
    mounts: tuple[ContainerMount, ...]
    port: int

    def resolve_environment(self, fields: Mapping[str, str]) -> dict[str, str]:
        """The variables with pod fields filled in and $(NAME) expanded as a kubelet does."""
        result: dict[str, str] = {}
        for name, value, path in self.environment:
            text = fields.get(path, "") if path is not None else value or ""
            result[name] = _expand(text, result)
        return result

    def resolve_arguments(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(_expand(word, environment) for word in self.arguments)


def read_manifest(folder: Path) -> AgentManifest:
    """Raises ManifestError when there is no DaemonSet with a container to run."""
    objects = [(file.parent, item) for file in manifest_files(folder) for item in _documents(file)]
    daemon_set = next((item for _, item in objects if item.get("kind") == "DaemonSet"), None)
    if daemon_set is None:
        raise ManifestError(f"{folder} holds no DaemonSet of the agent; name the folder with --manifests")
    try:
        return _manifest(daemon_set, _config_maps(objects))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ManifestError(f"the DaemonSet in {folder} is not what the lab can start: {error!r}") from error


def _manifest(daemon_set: dict[str, Any], config_maps: Mapping[str, Mapping[str, str]]) -> AgentManifest:
    pod = daemon_set["spec"]["template"]["spec"]
    container = pod["containers"][0]
    security = container.get("securityContext") or {}
    words = [*(container.get("command") or ())[1:], *(container.get("args") or ())]
    volumes = {volume["name"]: volume for volume in pod.get("volumes") or ()}
    mounts = (_mount(mount, volumes[mount["name"]], config_maps) for mount in container.get("volumeMounts") or ())
    ports = {port.get("name"): int(port["containerPort"]) for port in container.get("ports") or ()}
    return AgentManifest(
        namespace=daemon_set["metadata"].get("namespace", "default"),
        service_account=pod.get("serviceAccountName", "default"),
        arguments=tuple(str(word) for word in words) or ("run",),
        environment=tuple(
            (item["name"], item.get("value"), ((item.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath"))
            for item in container.get("env") or ()
        ),
        capabilities=frozenset(name.removeprefix("CAP_") for name in (security.get("capabilities") or {}).get("add") or ()),
        read_only_root=bool(security.get("readOnlyRootFilesystem")),
        no_new_privileges=security.get("allowPrivilegeEscalation") is False,
        mounts=tuple(mount for mount in mounts if mount is not None),
        port=ports.get("http", 9811),
    )


def _mount(mount: dict[str, Any], volume: dict[str, Any], config_maps: Mapping[str, Mapping[str, str]]) -> ContainerMount | None:
    path, read_only = mount["mountPath"], bool(mount.get("readOnly"))
    if "hostPath" in volume:
        follows = mount.get("mountPropagation") in ("HostToContainer", "Bidirectional")
        return ContainerMount(path=path, source=volume["hostPath"]["path"], read_only=read_only, follows_host=follows)
    if "emptyDir" in volume:
        return ContainerMount(path=path, read_only=read_only)
    if "configMap" in volume:
        return ContainerMount(path=path, files=config_maps.get(volume["configMap"]["name"], {}), read_only=True)
    return None


def manifest_files(folder: Path) -> list[Path]:
    """The folder's own files, after those of the folders that its kustomization names. Raises ManifestError."""
    return [file for each in _folders(folder.resolve()) for file in sorted(each.glob("*.yaml"))]


def _folders(folder: Path) -> list[Path]:
    """Those that a kustomization stands on come before it, as kustomize has it; each once."""
    found: dict[Path, None] = {}
    begun: set[Path] = set()

    def visit(here: Path) -> None:
        if here in begun or len(begun) >= MOST_FOLDERS:
            return
        begun.add(here)
        kustomization = here / "kustomization.yaml"
        for document in _documents(kustomization) if kustomization.is_file() else ():
            for name in (*_names(document, "resources"), *_names(document, "components")):
                if (named := (here / name).resolve()).is_dir():
                    visit(named)
        found[here] = None

    visit(folder)
    return list(found)


def _names(document: dict[str, Any], key: str) -> list[str]:
    found = document.get(key)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(file.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    yield from (document for document in documents if isinstance(document, dict))


def _config_maps(objects: list[tuple[Path, dict[str, Any]]]) -> dict[str, dict[str, str]]:
    """ConfigMaps as they stand there, and those that kustomize would generate (`files` and `literals`)."""
    maps = {item["metadata"]["name"]: dict(item.get("data") or {}) for _, item in objects if item.get("kind") == "ConfigMap"}
    for folder, item in objects:
        for generator in item.get("configMapGenerator") or ():
            data = maps.setdefault(generator["name"], {})
            for entry in generator.get("files") or ():
                name, _, source = entry.rpartition("=")
                data[name or Path(source).name] = (folder / source).read_text()
            data.update(literal.split("=", 1) for literal in generator.get("literals") or ())
    return maps


def _expand(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)", lambda match: known.get(match[1], match[0]), text)
