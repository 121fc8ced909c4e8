"""Long-running tasks under one roof: what fails is started again, what is fatal ends the program."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
WELL_AFTER_S = 60.0
"""A task that ran this long is well again: its next failure is the first."""


class Fatal(Exception):
    """The whole program must end; ``status`` is its exit status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(slots=True)
class TaskState:
    """How one task is: whether it runs now, how often it failed in a row, the kind of its last error."""

    name: str
    running: bool = False
    failures: int = 0
    last_error: str = ""


class Supervisor:
    """Hand it names and coroutine functions, then `run` until cancelled."""

    def __init__(self, jitter: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """``jitter`` gives numbers in [0, 1): many hubs that lost power together do not start as one."""
        self._jitter = jitter
        self._monotonic = monotonic
        self._jobs: list[tuple[TaskState, Callable[[], Awaitable[None]]]] = []

    @property
    def states(self) -> list[TaskState]:
        """Every task, for the health register."""
        return [state for state, _ in self._jobs]

    def add(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """``job`` runs until cancelled; should it return or fail, it is started again."""
        self._jobs.append((TaskState(name), job))

    async def run(self) -> None:
        """Keep everything running. Raises `Fatal` when a task does, and passes cancellation on."""
        try:
            async with asyncio.TaskGroup() as group:
                for state, job in self._jobs:
                    group.create_task(self._keep_running(state, job), name=state.name)
        except* Fatal as group:
            raise _first(group) from None

    async def _keep_running(self, state: TaskState, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            began = self._monotonic()
            state.running = True
            error: Exception | None = None
            try:
                await job()
            except Fatal:
                raise
            except ExceptionGroup as group:
                fatal, _ = group.split(Fatal)
                if fatal is not None:
                    raise fatal from None
                error = group
            except Exception as failure:
                error = failure
            finally:
                state.running = False
            self._note(state, error, self._monotonic() - began)
            pause = min(FIRST_PAUSE_S * 2 ** min(state.failures - 1, 16), LONGEST_PAUSE_S)
            await asyncio.sleep(pause * (0.75 + self._jitter() / 2))

    def _note(self, state: TaskState, error: Exception | None, ran_s: float) -> None:
        """Count a failure; say a new one loudly, and the same for a month quietly: the card would fill."""
        kind = "ended" if error is None else type(error).__name__
        if ran_s > WELL_AFTER_S:
            state.failures = 0
        if state.failures and kind == state.last_error:
            _log.debug("task failed again", extra={"task": state.name})
        elif error is None:
            _log.error("task ended", extra={"task": state.name})
        else:
            _log.error("task failed", exc_info=error, extra={"task": state.name})
        state.last_error = kind
        state.failures += 1


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
