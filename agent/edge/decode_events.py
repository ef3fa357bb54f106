"""Events about pods as records: their ages by the server's clock, whether they were heard live, and bounded messages.

The writers of an Event (kubelet, multus) stamp it with their node's clock, the server stamps its creation with its own. Where both tell
the same thing the server's is taken. What a message means is judgement.
"""

from collections.abc import Callable, Iterable

import msgspec

from agent.edge.kube.wire import Kind, Sighting, Wire, unix_seconds
from agent.model.records import EventRecord

MESSAGE_CHARS = 4096
"""The kubelet cuts its own at about a kilobyte; whereabouts' longest, with the plugin's input in it, are above three."""
MESSAGES_CHARS = 8 << 20
"""All messages of one reason together. Beyond it new ones keep their start only: in a storm they all say the same."""
STORM_MESSAGE_CHARS = 256


class _Involved(msgspec.Struct):
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None


class _Series(msgspec.Struct, rename="camel"):
    count: int | None = None
    last_observed_time: str | None = None


class _Event(Wire):
    involved_object: _Involved | None = msgspec.field(default=None, name="involvedObject")
    reason: str | None = None
    type: str | None = None
    message: str | None = None
    note: str | None = None
    count: int | None = None
    series: _Series | None = None
    first_timestamp: str | None = msgspec.field(default=None, name="firstTimestamp")
    last_timestamp: str | None = msgspec.field(default=None, name="lastTimestamp")
    event_time: str | None = msgspec.field(default=None, name="eventTime")


class EventKind:
    """How the Events of one reflector are read. `listed` tells whether its first list is complete, `kept` what is in memory."""

    def __init__(self, *, listed: Callable[[], bool], kept: Callable[[], Iterable[EventRecord]]) -> None:
        self._listed, self._kept = listed, kept
        self._room_chars = MESSAGES_CHARS
        self.kind: Kind[EventRecord] = Kind(decoder=msgspec.json.Decoder(_Event), build=self._build)

    def _build(self, obj: _Event, seen: Sighting, earlier: EventRecord | None) -> EventRecord:
        version = obj.metadata.resource_version or ""
        if earlier is not None and version and earlier.resource_version == version:
            return earlier
        about = obj.involved_object or _Involved()
        first, last = ages(obj, server_unix_seconds=seen.server_unix_seconds)
        return EventRecord(
            uid=obj.metadata.uid or obj.metadata.key,
            namespace=about.namespace or obj.metadata.namespace or "",
            pod=about.name or "",
            pod_uid=about.uid or None,
            reason=obj.reason,
            type=obj.type,
            message=self._bounded(obj.message or obj.note or ""),
            count=max(1, obj.count or 0, (obj.series.count or 0) if obj.series else 0),
            first_seen_age_seconds=first,
            last_seen_age_seconds=last,
            resource_version=version,
            live=self._listed(),
            seen_monotonic_seconds=seen.monotonic_seconds,
        )

    def _bounded(self, message: str) -> str:
        if self._room_chars < MESSAGE_CHARS and self._listed():
            # Events leave by the hour; what they took is given back when it is needed.
            self._room_chars = MESSAGES_CHARS - sum(len(event.message) for event in self._kept())
        text = message[: MESSAGE_CHARS if self._room_chars >= MESSAGE_CHARS else STORM_MESSAGE_CHARS]
        self._room_chars -= len(text)
        return text


def ages(obj: _Event, *, server_unix_seconds: float | None) -> tuple[float | None, float | None]:
    """Seconds since the first and the last time, never negative; None where no time can be told.

    An Event that was written once happened when the server made it. One that was written again happened last no earlier than that.
    """
    if server_unix_seconds is None:
        return None, None
    made = unix_seconds(obj.metadata.creation_timestamp)
    observed = obj.series.last_observed_time if obj.series else None
    stamps = [unix_seconds(text) for text in (observed, obj.last_timestamp, obj.event_time, obj.first_timestamp)]
    told = [stamp for stamp in (*stamps, made) if stamp is not None]
    if not told:
        return None, None
    once = (obj.count or 1) <= 1 and obj.series is None
    first, last = (made, made) if once and made is not None else (min(told), max(told))
    return max(0.0, server_unix_seconds - first), max(0.0, server_unix_seconds - last)
