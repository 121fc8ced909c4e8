"""The ballast: room that is really taken, given up at once, and lent."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from hub.domain.errors import NoRoom
from hub.storage import ballast as module
from hub.storage.ballast import WHOLE, Ballast
from hub.storage.database import Connection, Database, leave_no_trace

MB = 1024 * 1024


@pytest.fixture
def ballast(data_folder: Path) -> Ballast:
    return Ballast(data_folder / "ballast", MB)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the card have only so many bytes free."""

    def free(size: int) -> None:
        card = SimpleNamespace(f_bavail=size, f_frsize=1)
        monkeypatch.setattr(module, "os", SimpleNamespace(**{**vars(os), "statvfs": lambda _: card}))

    return free


def test_it_takes_its_room_on_the_card_and_gives_it_up(ballast: Ballast, data_folder: Path) -> None:
    assert not ballast.free()
    ballast.lay(0)
    assert ballast.is_whole
    assert (data_folder / "ballast").stat().st_blocks * 512 >= MB, "a file with holes takes none"
    assert ballast.free()
    assert ballast.held == 0
    assert not ballast.free()


def test_it_is_made_only_whole_and_only_where_enough_stays_free(
    ballast: Ballast, only: Callable[[int], None]
) -> None:
    only(MB + 999)
    ballast.lay(1000)
    assert ballast.held == 0
    only(MB + 1000)
    ballast.lay(1000)
    assert ballast.is_whole
    only(0)
    ballast.lay(1000)
    assert ballast.is_whole


def test_what_was_lent_is_taken_back_as_far_as_it_is_there(
    ballast: Ballast, only: Callable[[int], None]
) -> None:
    only(0)
    ballast.take_back()
    assert ballast.held == 0
    only(MB // 2)
    ballast.take_back()
    assert MB // 2 <= ballast.held < MB
    only(5 * MB)
    ballast.lay(MB)
    assert ballast.is_whole


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO])
def test_a_card_that_cannot_be_written_is_said_to_have_no_room(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def failing(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", failing)
    with pytest.raises(NoRoom):
        ballast.lay(0)


def test_somebody_quicker_is_no_fault(ballast: Ballast, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", failing)
    ballast.lay(0)
    ballast.take_back()
    assert ballast.held == 0


class Full:
    """A database that may have only so many pages, until the ballast is given up."""

    def __init__(self, database: Database, ballast: Ballast) -> None:
        self.database = database
        self.ballast = ballast

    async def lay(self) -> None:
        await asyncio.to_thread(self.ballast.lay, 0)

    async def held(self) -> int:
        return await asyncio.to_thread(lambda: self.ballast.held)

    async def fill(self) -> None:
        def limit(connection: Connection) -> None:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + 1}")

        await self.database.maintain(limit)


class Freeing(Ballast):
    """Giving it up makes room for the database, as on a real card."""

    connection: sqlite3.Connection | None = None
    freed = 0

    def free(self) -> bool:
        self.freed += 1
        given = super().free()
        if given and self.connection is not None:
            self.connection.execute("PRAGMA max_page_count = 1000000")
        return given


@pytest_asyncio.fixture
async def full(data_folder: Path) -> AsyncIterator[Full]:
    ballast = Freeing(data_folder / "ballast", MB)
    database = await asyncio.to_thread(
        Database.open, data_folder / "hub.db", 1, "test", lambda: None, ballast
    )
    ballast.connection = database._connection
    await asyncio.to_thread(
        database.prepare, lambda connection: connection.execute("CREATE TABLE pebble (n INTEGER, words TEXT)")
    )
    await database.start()
    made = Full(database, ballast)
    await made.fill()
    yield made
    await database.close()


def throw(n: int, size: int = 20_000) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute("INSERT INTO pebble VALUES (?, ?)", (n, "x" * size))
        return n

    return work


async def pebbles(database: Database) -> list[int]:
    return [row[0] for row in await database.read("SELECT n FROM pebble ORDER BY n")]


async def test_a_write_on_a_full_disk_is_done_again_with_the_room_of_the_ballast(full: Full) -> None:
    await full.lay()
    assert await full.database.write(throw(1)) == 1
    assert await pebbles(full.database) == [1]
    assert await full.held() == 0
    assert full.database.failed is None


async def test_all_that_share_the_commit_are_done_again_once_each(full: Full) -> None:
    await full.lay()
    assert await asyncio.gather(*(full.database.write(throw(n, 3000)) for n in range(12))) == list(range(12))
    assert await pebbles(full.database) == list(range(12))


async def test_without_a_ballast_a_full_disk_is_refused_and_recovers_without_a_restart(full: Full) -> None:
    with pytest.raises(NoRoom):
        await full.database.write(throw(1))
    assert await pebbles(full.database) == []
    await full.database.maintain(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    assert await full.database.write(throw(2)) == 2


async def test_a_write_that_does_not_fit_even_then_is_refused(full: Full) -> None:
    await full.lay()
    assert isinstance(full.ballast, Freeing)
    full.ballast.connection = None
    with pytest.raises(NoRoom):
        await full.database.write(throw(1))
    assert await full.held() == 0
    assert full.ballast.freed == 1 + 1, "the second time there was nothing to give"
    assert await pebbles(full.database) == []


async def test_a_writers_own_refusal_does_not_cost_the_ballast(full: Full) -> None:
    def refuse(_: Connection) -> None:
        raise NoRoom

    await full.lay()
    with pytest.raises(NoRoom):
        await full.database.write(refuse)
    assert await full.held() == MB


async def test_upkeep_only_borrows_the_ballast(full: Full, only: Callable[[int], None]) -> None:
    await full.lay()

    def work(connection: Connection) -> None:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            throw(3)(connection)

    only(10 * MB)
    await full.database.maintain(work)
    assert await pebbles(full.database) == [3]
    assert await full.held() == MB


async def test_a_copy_that_has_no_room_is_not_begun(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, full: Full
) -> None:
    card = SimpleNamespace(f_bavail=0, f_frsize=1)
    monkeypatch.setattr("hub.storage.database.WAL_BYTES", 0)
    said: list[str] = []

    def work(connection: Connection) -> None:
        connection.set_trace_callback(said.append)
        with monkeypatch.context() as patch, suppress(OSError):
            patch.setattr(os, "statvfs", lambda _: card)
            leave_no_trace(connection)
        connection.set_trace_callback(None)

    await full.database.maintain(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    for n in range(3):
        await full.database.write(throw(n))
    await full.database.maintain(
        lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    )
    await full.database.maintain(work)
    assert "VACUUM" not in said
    assert any("wal_checkpoint" in statement for statement in said), "what stood in the WAL is gone anyway"


def test_its_size_is_what_the_settings_of_a_small_card_were_thought_through_with() -> None:
    assert WHOLE == 32 * MB
    assert module.SPARE == 96 * MB
