"""The Lease object as it goes over the wire, and the pure half of holding it: what is ours, what has expired, what to write.

An expiry is judged by watching the record change on our own monotonic clock; its times are texts here, and never compared with a clock.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from agent.edge.kube import Kind, Sighting, Wire
from agent.edge.kube.errors import one_line

NAME_CHARS = 253
"""A node's name is a DNS subdomain; longer texts are nobody's name and end up in our documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Every time of the Lease, in seconds. A holder stops saying so before anybody else may begin."""

    duration_seconds: int = 15
    """Others wait so long after they saw the record change for the last time."""
    renew_seconds: float = 5.0
    confirmed_seconds: float = 10.0
    """So long after asking for the last renewal that came about the holder is sure; below `duration_seconds`."""
    retry_seconds: float = 2.0
    request_seconds: float = 4.0
    """For one answer; a renewal that hangs must leave time for another."""
    refused_seconds: float = 60.0
    """Until the next attempt where we may not write, or may not make the Lease."""
    haste_seconds: float = 0.4
    """Upper end of the wait before taking a free Lease, so that not all try at once."""
    release_seconds: float = 2.5
    """For giving it up, all in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What changes when a holder renews. Labels and managed fields are not part of it: others may write them for ever."""

    holder: str
    """Empty: released."""
    renew_time: str = ""
    acquire_time: str = ""
    transitions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    version: str
    term: Term

    def older_than(self, other: "LeaseRecord") -> bool:
        """By version, where both are numbers. Told so, a late piece of a watch does not undo what an answer said."""
        mine, theirs = self.version, other.version
        if not (_is_number(mine) and _is_number(theirs)):
            return False
        return int(mine) < int(theirs)


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    renew_time: str | None = None
    acquire_time: str | None = None
    lease_transitions: int | None = None


class _Lease(Wire):
    spec: _Spec | None = None


def record_of(obj: _Lease) -> LeaseRecord:
    spec = obj.spec or _Spec()
    return LeaseRecord(
        version=obj.metadata.resource_version or "",
        term=Term(
            holder=one_line(spec.holder_identity or "")[:NAME_CHARS],
            renew_time=spec.renew_time or "",
            acquire_time=spec.acquire_time or "",
            transitions=spec.lease_transitions or 0,
        ),
    )


def _build(obj: _Lease, seen: Sighting, earlier: LeaseRecord | None) -> LeaseRecord:
    del seen, earlier
    return record_of(obj)


DECODER: "msgspec.json.Decoder[_Lease]" = msgspec.json.Decoder(_Lease)
LEASE: Kind[LeaseRecord] = Kind(decoder=DECODER, build=_build)


def holding(identity: str, *, term: Term | None, moment: str, duration_seconds: int) -> dict[str, Any]:
    """`spec` of a Lease that `identity` takes or renews at `moment`."""
    spec: dict[str, Any] = {"holderIdentity": identity, "leaseDurationSeconds": duration_seconds, "renewTime": moment}
    if term is None or term.holder != identity or not term.acquire_time:
        transitions = 0 if term is None else min(term.transitions, (1 << 31) - 2) + (term.renew_time != "" or term.holder != "")
        spec |= {"acquireTime": moment, "leaseTransitions": transitions}
    return spec


def released(*, moment: str) -> dict[str, Any]:
    """`spec` of a Lease that its holder gives up. The count of transitions stays, the next one adds to it."""
    return {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": moment}


class Stamps:
    """MicroTime texts, each different from the one before, even if the wall clock stands still: others must see the record change."""

    def __init__(self) -> None:
        self._last: datetime | None = None

    def next(self, wall_seconds: float) -> str:
        moment = _moment(wall_seconds)
        if moment == self._last:
            moment += timedelta(microseconds=1)
        self._last = moment
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def _moment(wall_seconds: float) -> datetime:
    """A clock outside any calendar gives some time all the same: nobody reads it but people."""
    try:
        moment = datetime.fromtimestamp(wall_seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return _EPOCH
    return moment if 2000 <= moment.year <= 9000 else _EPOCH


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20
