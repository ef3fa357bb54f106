"""The probes in flight, as epoll and the timers know them. Bookkeeping only: what news or a deadline mean is the asking's business."""

import heapq
import itertools
import select
from collections.abc import Iterator

from agent.edge.prober_asking import NEVER
from agent.edge.prober_mail import Flight


class Flights:
    """`update` after every step of a flight; a finished one drops out by itself. For one thread."""

    def __init__(self, *, wake_descriptor: int) -> None:
        self._epoll = select.epoll()
        self._epoll.register(wake_descriptor, select.EPOLLIN)
        self._flights: set[Flight] = set()
        self._watched: dict[int, Flight] = {}
        self._timers: list[tuple[float, int, Flight]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, flight: Flight) -> bool:
        return flight in self._flights

    def __iter__(self) -> Iterator[Flight]:
        """Over a copy: flights may land meanwhile."""
        return iter(tuple(self._flights))

    def add(self, flight: Flight) -> None:
        self._flights.add(flight)

    def update(self, flight: Flight) -> None:
        """Tell epoll and the timers what the flight waits for now."""
        if flight.asking.finished:
            self._land(flight)
            return
        self._watch(flight)
        if flight.deadline not in (NEVER, flight.timer):
            flight.timer = flight.deadline
            heapq.heappush(self._timers, (flight.deadline, next(self._numbers), flight))

    def news(self, pause_seconds: float | None) -> list[Flight]:
        """Sleep until a socket, the mailbox or the end of the pause wakes us."""
        events = self._epoll.poll(pause_seconds)
        return [self._watched[descriptor] for descriptor, _ in events if descriptor in self._watched]

    def next_deadline(self) -> float:
        while self._timers and not self._is_current(*self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else NEVER

    def due(self, *, now: float) -> list[Flight]:
        """Each once, and not again before its next `update`."""
        found: dict[Flight, None] = {}
        while self._timers and self._timers[0][0] <= now:
            deadline, number, flight = heapq.heappop(self._timers)
            if self._is_current(deadline, number, flight):
                flight.timer = NEVER
                found[flight] = None
        return list(found)

    def close(self) -> None:
        """Close every socket."""
        for flight in self:
            flight.asking.drop()
        self._flights.clear()
        self._watched.clear()
        self._timers.clear()
        self._epoll.close()

    def _is_current(self, deadline: float, _: int, flight: Flight) -> bool:
        return flight in self._flights and flight.deadline == deadline

    def _land(self, flight: Flight) -> None:
        self._flights.discard(flight)
        if flight.descriptor >= 0:
            # The kernel took the closed descriptor out of epoll; its number may be another flight's by the next mail.
            self._watched.pop(flight.descriptor, None)
            flight.descriptor = -1

    def _watch(self, flight: Flight) -> None:
        asking = flight.asking
        if asking.sock is None or asking.mask == flight.mask:
            return
        if flight.descriptor < 0:
            flight.descriptor = asking.sock.fileno()
            self._epoll.register(flight.descriptor, asking.mask)
            self._watched[flight.descriptor] = flight
        else:
            self._epoll.modify(flight.descriptor, asking.mask)
        flight.mask = asking.mask
