"""Image archives as `ctr images import` takes them, written without an image builder: one layer, one configuration, one name.

The sandbox image of the cluster is nine bytes of machine code that wait for ever; so no compiler and no registry is needed for it.
"""

import hashlib
import io
import json
import platform
import struct
import tarfile
from pathlib import Path
from typing import Any

PAUSE_IMAGE = "registry.local/lhnet-pause:1"

_LOAD_ADDRESS = 0x400000
_HEADER_BYTES = 64 + 56
_CODE = {
    # mov eax, 34 (pause); syscall; jmp back
    "x86_64": (62, "amd64", bytes.fromhex("b8220000000f05ebf7")),
    # mov x0…x4, 0; mov x8, 73 (ppoll: this machine has no pause); svc 0; b back
    "aarch64": (183, "arm64", bytes.fromhex("000080d2010080d2020080d2030080d2040080d2280980d2010000d4f9ffff17")),
}


def pause_program(machine: str) -> bytes:
    """A static ELF executable that does nothing. Raises KeyError for a machine whose code is not known."""
    number, _, code = _CODE[machine]
    size = _HEADER_BYTES + len(code)
    entry = _LOAD_ADDRESS + _HEADER_BYTES
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, number, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return ident + header + segment + code


def write_pause_image(archive: Path) -> None:
    machine = platform.machine()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, "pause", pause_program(machine), mode=0o755)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": _CODE[machine][1],
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    text = json.dumps(config).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [PAUSE_IMAGE], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, name, text)
        _add(tar, f"{digest}/layer.tar", layer.getvalue())
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def image_name(archive: Path) -> str:
    """The name under which an archive's image is imported. Raises ValueError if it has none."""
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
        if "manifest.json" in names:
            tags = [tag for image in _json(tar, "manifest.json") for tag in image.get("RepoTags") or ()]
        else:
            listed = [entry.get("annotations") or {} for entry in _json(tar, "index.json").get("manifests") or ()]
            keys = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
            tags = [note[key] for note in listed for key in keys if key in note]
    if not tags:
        raise ValueError(f"{archive} holds no image with a name")
    return str(tags[0])


def _json(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return json.load(file)


def _add(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
