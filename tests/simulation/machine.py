"""What a hub runs on: a card that keeps what was committed, and clocks that may be wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from hub.domain.clock import BUILT_MS, Stamp, TimeQuality, quality_of
from hub.storage import search, traces
from hub.storage.migrate import migrate
from tests.simulation.turns import Pause

T = TypeVar("T")


class PowerCut(BaseException):
    """The power went in the middle of a transaction."""


@cache
def _empty() -> bytes:
    """A database as the first start makes it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, BUILT_MS, "simulation")
    data = connection.serialize()
    connection.close()
    return data


def opened(data: bytes) -> sqlite3.Connection:
    """A database in memory with those contents."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(data)
    for pragma in ("foreign_keys = ON", "trusted_schema = OFF", "synchronous = OFF", "journal_mode = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


class Card:
    """The part of `hub.storage.database.Database` that services use: what is committed survives a cut."""

    def __init__(self, data: bytes | None = None) -> None:
        self.connection = opened(data or _empty())
        self.cut_after: int | None = None
        """Steps of SQLite into the next transaction at which the power goes."""
        self.committed: Callable[[], None] = lambda: None

    def copy(self) -> bytes:
        """What a backup of it has."""
        return self.connection.serialize()

    def close(self) -> None:
        """Let the memory go."""
        self.connection.close()

    async def read_with(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `Database.read_with`."""
        await Pause()
        return work(self.connection)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `Database.write`: it is committed before whoever asked hears of it."""
        await Pause()
        result = self.transact(work)
        await Pause()
        return result

    async def bring(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `Database.bring`."""
        return await self.write(work)

    async def note(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `Database.note`."""
        return await self.write(work)

    def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in one transaction; raises `PowerCut`, and what ``work`` raises."""
        connection = self.connection
        if self.cut_after is not None:
            connection.set_progress_handler(lambda: 1, self.cut_after)
        cut, self.cut_after = self.cut_after is not None, None
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if cut and isinstance(error, sqlite3.OperationalError) and "interrupted" in str(error):
                raise PowerCut from None
            raise
        if cut:
            connection.set_progress_handler(None, 0)
        self.committed()
        return result


class Wiper:
    """`Eraser` without files: what is left to do of an erasure in the database."""

    def __init__(self, card: Card) -> None:
        self._card = card

    async def wipe(self) -> bool:
        """Clear the traces."""

        def wipe(connection: sqlite3.Connection) -> None:
            search.purge(connection)
            traces.clear(connection)

        await self._card.write(wipe)
        return True


class Nothing:
    """Stands for what housekeeping also looks after and the simulation has none of: uploads, blobs, boxes."""

    async def renew(self) -> None:
        """No collections to renew."""

    async def forget_stale(self, now_ms: int) -> None:
        """No uploads."""

    def collect(self, referenced: set[str], *, older_than_ms: int, now_ms: int) -> list[str]:
        """No blobs."""
        return []


class World:
    """The true time, which only the simulation knows."""

    def __init__(self, ms: int) -> None:
        self.ms = ms
        self.seconds = 0.0

    def pass_by(self, seconds: float) -> None:
        """Time passes."""
        self.ms += round(seconds * 1000)
        self.seconds += seconds


class Clock:
    """A hub's clocks, and what it makes of them (as `hub.app` does)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.wrong_ms = 0
        """How far the wall clock is off."""
        self.highest_ms = 0
        """The latest time that was ever believed."""
        self._booted = 0.0
        self._last = Stamp(0, 0)
        self._last_at = 0.0

    def boot(self, last: Stamp) -> None:
        """The hub starts; ``last`` is the log's last stamp."""
        self._booted = self._world.seconds
        self._last, self._last_at = last, self.monotonic()

    @property
    def wall_ms(self) -> int:
        """What the wall clock says."""
        return self._world.ms + self.wrong_ms

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._world.seconds - self._booted

    def quality(self) -> TimeQuality:
        """How far the wall clock is believed."""
        return quality_of(self.wall_ms, self._last)

    def now_ms(self) -> int:
        """The time as the hub has it: a wall clock that cannot be believed is left aside."""
        if self.quality() is not TimeQuality.UNKNOWN:
            self._last, self._last_at = max(self._last, Stamp(self.wall_ms, 0)), self.monotonic()
            now_ms = self.wall_ms
        else:
            now_ms = max(self._last.ms, BUILT_MS) + round((self.monotonic() - self._last_at) * 1000)
        self.highest_ms = max(self.highest_ms, now_ms)
        return now_ms
