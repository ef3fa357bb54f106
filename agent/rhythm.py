"""Runs the checks, each in its own rhythm: at its interval, when a finding may have its second look, or when something it cares about
has changed. A check of the holder rests while the duty is another agent's."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from agent.checks.base import Check, Outcome, run_once
from agent.checks.board import Board
from agent.clock import Clock
from agent.config import Settings

MIN_GAP_SECONDS = 0.5
"""Between two runs of a check that is woken by changes: a pod that starts makes many."""

_log = logging.getLogger("agent.rhythm")


class Rhythm:
    """`loop` for each check in a task of its own; `wake` at any time, from the event loop's thread."""

    def __init__(self, *, settings: Settings, board: Board, clock: Clock, on_duty: Callable[[], bool]) -> None:
        self._settings = settings
        self._board = board
        self._clock = clock
        self._on_duty = on_duty
        self._events: dict[str, asyncio.Event] = {}
        self._checks: tuple[Check, ...] = ()

    def add(self, checks: Iterable[Check]) -> None:
        self._checks = tuple(checks)
        self._events = {check.name: asyncio.Event() for check in self._checks}

    def wake(self, names: Iterable[str]) -> None:
        """Sources (or `kernel`, `inspected`) that changed: whoever cares runs soon."""
        changed = frozenset(names)
        for check in self._checks:
            if changed & check.woken_by():
                self._events[check.name].set()

    def duty_changed(self, *, on: bool, cleared: Mapping[str, Any]) -> None:
        """The duty began or ended; when it ended, what the holder's checks said is dropped and `cleared` put in its place."""
        for check in self._checks:
            if check.holder_only:
                if not on:
                    self._board.forget(check.name, **cleared)
                self._events[check.name].set()

    async def loop(self, check: Check) -> None:
        """For ever; ends by cancellation only."""
        event = self._events[check.name]
        while True:
            began = self._clock.monotonic()
            event.clear()
            if check.holder_only and not self._on_duty():
                await event.wait()
                continue
            await self.run(check)
            await self._rest(check, began, event)

    async def run(self, check: Check) -> None:
        """Run one check once and put what it saw on the board."""

        def publish(outcome: Outcome) -> None:
            if check.holder_only and not self._on_duty():
                return
            self._board.publish(check.name, outcome)
            if "inspected" in outcome.parts:
                self.wake(("inspected",))

        run, why = await run_once(check, self._board.context, publish, clock=self._clock)
        if why is not None:
            _log.error("check %s failed: %s", check.name, why)
        self._board.ran(run, why)

    async def _rest(self, check: Check, began: float, event: asyncio.Event) -> None:
        due = began + check.interval_seconds(self._settings)
        second_look = self._board.next_look(check.name)
        if second_look is not None:
            due = min(due, second_look)
        earliest = self._clock.monotonic() + MIN_GAP_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - self._clock.monotonic())):
                await event.wait()
                await asyncio.sleep(max(0.0, earliest - self._clock.monotonic()))
