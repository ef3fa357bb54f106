"""A file that outlives the lab's API: each change is appended, so that a killed server comes back with the objects and versions it had.

It is a lab's stand-in for etcd: written without fsync, since only the process is meant to be killed, not the machine. A torn last line
is dropped.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from agent.lab.api_store import Change, ResourceKey, Store, object_key

Json = dict[str, Any]

MAX_BYTES = 64 * 1024 * 1024
"""Of dead entries, mostly: a lab holds a few hundred kilobytes. Then the file is rewritten."""


class Journal:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def load(self, store: Store) -> bool:
        """Put what the file holds into an empty store. False if there is no such file or nothing in it."""
        held: dict[tuple[ResourceKey, str, str], Json] = {}
        version = 0
        for entry in self._entries():
            (group, plural), namespace, name = entry["resource"], entry["namespace"], entry["name"]
            version = entry["version"]
            if entry["object"] is None:
                held.pop(((group, plural), namespace, name), None)
            else:
                held[((group, plural), namespace, name)] = entry["object"]
        for (key, _, _), obj in held.items():
            store.restore(key, obj)
        if held:
            store.resume(version)
        return bool(held)

    def begin(self, store: Store) -> None:
        """Rewrite the file to what the store holds now and append all that follows. Raises OSError."""
        self.close()
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("wb") as file:
            for key, objects in store.everything().items():
                for obj in objects.values():
                    file.write(_line(key, store.version, obj, obj))
        fresh.replace(self._path)
        self._file = self._path.open("ab")
        store.on_change = lambda key, change: self._append(store, key, change)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _append(self, store: Store, key: ResourceKey, change: Change) -> None:
        about = change.new if change.new is not None else change.old
        if self._file is not None and about is not None:
            self._file.write(_line(key, change.version, about, change.new))
            self._file.flush()
            if self._file.tell() > MAX_BYTES:
                self.begin(store)

    def _entries(self) -> Iterator[Json]:
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            for line in file:
                try:
                    yield msgspec.json.decode(line)
                except msgspec.DecodeError:
                    return


def _line(key: ResourceKey, version: int, about: Json, obj: Json | None) -> bytes:
    namespace, name = object_key(about)
    entry = {"version": version, "resource": key, "namespace": namespace, "name": name, "object": obj}
    return msgspec.json.encode(entry) + b"\n"
