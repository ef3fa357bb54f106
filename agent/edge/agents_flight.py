"""One gathering for all who ask at the same time, and its answer for the next two seconds.

A hundred readers of /cluster must not become a hundred times two hundred requests. A failure is told to all who wait for it and is not
kept. A caller who gives up (a closed browser) ends nothing for the others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

KEEP_SECONDS = 2.0
"""Contract §3, /cluster."""


class SingleFlight(Generic[T]):
    """`make` runs at most once at a time. Use it on one event loop; `close()` ends a run that is under way."""

    def __init__(self, make: Callable[[], Awaitable[T]], *, monotonic: Callable[[], float], keep_seconds: float = KEEP_SECONDS) -> None:
        self._make = make
        self._monotonic = monotonic
        self._keep_seconds = keep_seconds
        self._running: asyncio.Task[T] | None = None
        self._kept: tuple[T, float] | None = None

    async def get(self) -> T:
        """The answer kept, else of the run under way, else of a new one. Raises what `make` raised."""
        if self._kept is not None and self._monotonic() - self._kept[1] < self._keep_seconds:
            return self._kept[0]
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="gathering")
            self._running.add_done_callback(self._ended)
        return await asyncio.shield(self._running)

    async def close(self) -> None:
        running = self._running
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await running

    async def _run(self) -> T:
        made = await self._make()
        self._kept = (made, self._monotonic())
        return made

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._running = None
        if not task.cancelled():
            # Looked at, so that a failure nobody waits for any more is not complained about when the task is collected.
            task.exception()
