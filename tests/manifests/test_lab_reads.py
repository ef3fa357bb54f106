"""The lab reads the manifests without kustomize: what it starts and grants is what the overlay of Harvester has."""

from pathlib import Path

import pytest
from manifestworld import MANIFESTS, overlay, pod_of

from agent.lab.manifest import DEFAULT_FOLDER, ManifestError, manifest_files, read_manifest
from agent.lab.objects import MANIFEST_KINDS, agent_objects


def key(item: dict[str, object]) -> tuple[object, ...]:
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    return item["kind"], metadata.get("namespace", ""), metadata["name"]


def test_the_lab_reads_the_overlay_of_harvester_unless_told_otherwise() -> None:
    assert DEFAULT_FOLDER == MANIFESTS / "overlays/harvester"


def test_the_lab_has_the_objects_that_kustomize_makes() -> None:
    """But for the ConfigMap, whose name only kustomize knows and whose content the agent gets as a file."""
    wanted = [item for item in overlay("harvester") if item["kind"] in MANIFEST_KINDS - {"ConfigMap"}]
    found = {key(item): item for item in agent_objects(DEFAULT_FOLDER)}
    assert set(found) == {key(item) for item in wanted}
    for item in wanted:
        if item["kind"] not in ("DaemonSet", "Namespace"):
            assert found[key(item)] == item


def test_the_agent_of_the_lab_is_started_as_the_daemon_set_says() -> None:
    manifest = read_manifest(DEFAULT_FOLDER)
    (container,) = pod_of(overlay("harvester"))["containers"]
    assert list(manifest.arguments) == container["args"]
    assert manifest.capabilities == set(container["securityContext"]["capabilities"]["add"])
    config = next(mount for mount in manifest.mounts if mount.path == "/etc/lhnet-agent")
    assert config.files == {"config.yaml": (MANIFESTS / "base/config.yaml").read_text()}


def test_folders_come_before_those_that_stand_on_them_and_only_once(tmp_path: Path) -> None:
    for name, text in {"a": "resources: [../b, ../c]", "b": "components: [../c]", "c": "resources: [../a, c.yaml, ../nowhere, 7]"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "kustomization.yaml").write_text(text)
        (tmp_path / name / f"{name}.yaml").write_text("kind: ConfigMap\n")
    assert [file.name for file in manifest_files(tmp_path / "a") if file.name != "kustomization.yaml"] == ["c.yaml", "b.yaml", "a.yaml"]


@pytest.mark.parametrize("text", ["resources: [", "\x00", "resources: 7", "- a\n- b\n"])
def test_a_folder_without_a_daemon_set_or_with_garbage_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(text)
    with pytest.raises(ManifestError) as error:
        read_manifest(tmp_path)
    assert "\n" not in str(error.value)
