"""Coroutines that are moved by hand: what awaits lets something else happen first, as the seed has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")


class Turn(Enum):
    """Why a coroutine stopped."""

    READY = "something else may happen first"
    IDLE = "nothing to do until it is told"


class Pause:
    """Await one to give others their turn."""

    def __init__(self, why: Turn = Turn.READY) -> None:
        self._why = why

    def __await__(self) -> Generator[Turn, None, None]:
        yield self._why


async def _later(work: Callable[..., T], *given: Any, **named: Any) -> T:
    """What would run in a thread: it runs when it is its turn."""
    await Pause()
    return work(*given, **named)


@contextmanager
def without_threads() -> Iterator[None]:
    """`asyncio.to_thread`, all that services ask of an event loop here, needs none meanwhile."""
    with patch.object(asyncio, "to_thread", _later):
        yield


class Job:
    """A coroutine on its way."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self.result: Any = None
        self.is_idle = False
        self.is_over = False

    def go_on(self) -> None:
        """Run to its next pause; raises what it raises."""
        try:
            self.is_idle = self._work.send(None) is Turn.IDLE
        except StopIteration as end:
            self.is_over, self.result = True, end.value
        except BaseException:
            self.is_over = True
            raise

    def finish(self) -> Any:
        """Run to its end; it waits for nobody."""
        while not self.is_over:
            self.go_on()
        return self.result

    def drop(self) -> None:
        """The power is gone: it does not go on."""
        self.is_over = True
        self._work.close()
