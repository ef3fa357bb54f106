"""Where we stand with the Lease: whose it is, since when that was seen, and when something may be written. No I/O.

A term ends by our own monotonic clock and only as far as it was watched; a holder stops saying so before anybody else may begin.
"""

from collections import OrderedDict
from collections.abc import Callable
from random import Random

from agent.edge.lease_record import LeaseRecord, Term, Terms
from agent.model.holder import LeaseState, LeaseView

STAMPS_KEPT = 8
"""Of what we wrote ourselves: more than can be under way."""
LONGEST_WAIT_SECONDS = 30.0
SHORTEST_WAIT_SECONDS = 0.01
NEVER = float("inf")


class Standing:
    """Told what was read and written; asked for the view, and for the moment of the next write."""

    def __init__(self, identity: str, *, terms: Terms, clock: Callable[[], float], rng: Random) -> None:
        self._identity, self._terms, self._clock, self._rng = identity, terms, clock, rng
        self._sent: OrderedDict[str, float] = OrderedDict()
        self._changed_at = self._live_since = self.due_at = clock()
        self._renewed_at = 0.0
        self._haste = 0.0
        self._inherited: bool | None = None
        """The first record we saw carried our name: the process before us on this node died with it. None until then."""
        self._told_holder: str | None = None
        """Whom another agent's document named, while the Lease cannot be read."""
        self.record: LeaseRecord | None = None
        self.live = False
        self.looked = False
        """The server has said whether there is a Lease."""
        self.holding = False
        self.released = False
        """We gave it up and never take it again."""
        self.trouble: str | None = None

    def view(self) -> LeaseView:
        """Judged now, not when something last happened: a holder whose process was stopped must not still say so."""
        if self.holding:
            sure = self._clock() - self._renewed_at < self._terms.confirmed_seconds
            state = LeaseState.HOLDER if sure else LeaseState.UNCONFIRMED
            return LeaseView(state=state, holder=self._identity, detail=None if sure else self.trouble)
        if self._told_holder is not None:
            return LeaseView(state=LeaseState.OTHER, holder=self._told_holder, detail=self.trouble)
        holder = self.record.term.holder if self.record else ""
        if not holder or (self.released and holder == self._identity):
            return LeaseView(detail=self.trouble)
        if self._expired() or (self._inherited and not self.released):
            return LeaseView(detail=self.trouble or f"{holder} has not renewed it in time")
        return LeaseView(state=LeaseState.OTHER, holder=holder, detail="another process of this name" if holder == self._identity else None)

    def look(self, record: LeaseRecord | None, *, live: bool) -> None:
        """What the watch knows, and whether it is connected."""
        if live and not self.live:
            # A term counts only as far as we watched it: after an outage the holder gets the time to renew.
            self._live_since = self._clock()
        self.live = live
        if not live:
            return
        self.looked = True
        if record is None:
            self.record = None
        elif self.record is None or not record.older_than(self.record):
            self.read(record)

    def read(self, record: LeaseRecord | None) -> None:
        """The server's present word."""
        before, self.record, self.looked = self.record, record, True
        if record is None:
            return
        told, self._told_holder = self._told_holder, None
        if before is None or record.term != before.term:
            self._changed_at = self._clock()
            self._haste = self._rng.uniform(0.0, self._terms.haste_seconds)
            self._weigh(record.term)
        elif told is not None:
            self._weigh(record.term)

    def writing(self, stamp: str) -> None:
        """A write with this renewTime is on its way. Its answer may be lost, so the text is remembered."""
        self._sent[stamp] = self._clock()
        while len(self._sent) > STAMPS_KEPT:
            self._sent.popitem(last=False)

    def wrote(self, record: LeaseRecord) -> None:
        self.record, self.looked, self._told_holder = record, True, None
        self._changed_at = self._clock()
        self._hold(since=self._sent.get(record.term.renew_time, 0.0))

    def gave_up(self) -> None:
        self.holding = False

    def told(self, holder: str) -> None:
        """Another agent says that it is the confirmed holder, and we cannot contradict."""
        self.holding, self._told_holder, self._inherited = False, holder, False

    def failed(self, why: str, *, pause_seconds: float) -> None:
        self.trouble = why
        self.due_at = self._clock() + pause_seconds * self._rng.uniform(0.75, 1.0)

    def next_write(self) -> float:
        """When to take, renew or make it; infinity while there is nothing to write."""
        if self.released:
            return NEVER
        if self.holding:
            return self.due_at
        if not self.live or not self.looked:
            return NEVER
        if self.record is None:
            return self.due_at
        if not self.record.term.holder or self._inherited:
            return max(self.due_at, self._changed_at + self._haste)
        return max(self.due_at, self._expires_at() + self._haste)

    def wait_seconds(self) -> float:
        """Until something is due or the view changes by time alone."""
        now = self._clock()
        moments = [self.next_write(), now + LONGEST_WAIT_SECONDS]
        if self.holding:
            unsure = self._renewed_at + self._terms.confirmed_seconds
            moments.append(unsure if unsure > now else now + self._terms.retry_seconds)
        elif self.live and self.record is not None and not self._expired():
            moments.append(self._expires_at())
        return max(SHORTEST_WAIT_SECONDS, min(moments) - now)

    def _weigh(self, term: Term) -> None:
        if self._inherited is None:
            self._inherited = term.holder == self._identity
        sent = self._sent.get(term.renew_time) if term.holder == self._identity else None
        if sent is None:
            if self.holding:
                self.holding = self._inherited = False
        elif not self.released:
            # An answer was lost, but the write came through.
            self._hold(since=max(sent, self._renewed_at))

    def _hold(self, *, since: float) -> None:
        self.holding, self._inherited, self.trouble = True, False, None
        self._renewed_at = since
        self.due_at = since + self._terms.renew_seconds * self._rng.uniform(0.8, 1.0)

    def _expires_at(self) -> float:
        return max(self._changed_at, self._live_since) + self._terms.duration_seconds

    def _expired(self) -> bool:
        """Of another's record; what cannot be watched does not expire."""
        return self.live and self._clock() >= self._expires_at()
