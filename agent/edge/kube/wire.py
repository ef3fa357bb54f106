"""The envelope of Kubernetes' JSON: metadata, list pages, watch events, Status. Objects inside stay undecoded slices of the answer.

Every field that Go's encoder may write as `null` accepts it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

import msgspec

from agent.edge.kube.errors import BadAnswer, one_line

T = TypeVar("T")
S = TypeVar("S")


class Meta(msgspec.Struct, rename="camel"):
    name: str
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Wire(msgspec.Struct, rename="camel"):
    """Base of every decoder: an object has metadata."""

    metadata: Meta


class _Name(msgspec.Struct, rename="camel"):
    name: str
    namespace: str | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class _NameOnly(msgspec.Struct):
    metadata: _Name


class _Version(msgspec.Struct, rename="camel"):
    resource_version: str | None = None


class _VersionOnly(msgspec.Struct):
    metadata: _Version


class ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class Page(msgspec.Struct):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class StatusDetails(msgspec.Struct, rename="camel"):
    retry_after_seconds: int | None = None


class StatusObject(msgspec.Struct):
    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: StatusDetails | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """When an object was seen: on our monotonic clock, and on the server's wall clock as its Date header tells it."""

    monotonic_seconds: float
    server_unix_seconds: float | None = None

    def born_seconds(self, creation_timestamp: str | None) -> float | None:
        """`creationTimestamp` on our monotonic clock; both ends of the age are the server's, so our wall clock plays no part."""
        created = unix_seconds(creation_timestamp)
        if created is None or self.server_unix_seconds is None:
            return None
        return self.monotonic_seconds - max(0.0, self.server_unix_seconds - created)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """How one resource is read: the struct that names the fields, and what is made of it.

    `build` gets the decoded struct, the sighting, and what was known of the object before (None if nothing was).
    """

    decoder: msgspec.json.Decoder[Any]
    build: Callable[[Any, Sighting, T | None], T]


def decode(data: bytes | bytearray | msgspec.Raw, *, decoder: "msgspec.json.Decoder[S]", what: str) -> S:
    """Raises BadAnswer with a reason, whatever the bytes are."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise BadAnswer(f"{what}: {one_line(str(error))}") from error


PAGE = msgspec.json.Decoder(Page)
EVENT = msgspec.json.Decoder(WatchEvent)
STATUS = msgspec.json.Decoder(StatusObject)
_NAME = msgspec.json.Decoder(_NameOnly)
_VERSION = msgspec.json.Decoder(_VersionOnly)


def name_of(data: bytes | msgspec.Raw) -> str | None:
    """The key of an object whose other fields could not be read."""
    try:
        return decode(data, decoder=_NAME, what="object").metadata.key
    except BadAnswer:
        return None


def version_of(data: bytes | msgspec.Raw) -> str | None:
    try:
        return decode(data, decoder=_VERSION, what="object").metadata.resource_version
    except BadAnswer:
        return None


def unix_seconds(text: str | None) -> float | None:
    """Kubernetes' `2026-06-02T08:11:40Z` (MicroTime too) as seconds since the epoch; None if it is no time, as Go's zero time is none."""
    if not text or len(text) > 40:
        return None
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


def http_date_seconds(text: str | None) -> float | None:
    if not text or len(text) > 60:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
