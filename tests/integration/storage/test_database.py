"""One writer with group commit, readers apart: durable, all or nothing, and honest about a bad card."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hub.domain.errors import NoRoom
from hub.storage.database import WAL_BYTES, Connection, Database, StorageFailed, leave_no_trace

COUNT = "SELECT coalesce(max(n), 0), count(*) FROM pebble"


class Pond:
    """A database with a table to throw pebbles into, and how often it told of a commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commits = 0
        self.failures = 0

    def open(self) -> Database:
        return Database.open(self.path, 1, "test", self.note)

    def note(self) -> None:
        self.commits += 1

    async def start(self) -> Database:
        database = await asyncio.to_thread(self.open)
        await asyncio.to_thread(
            database.prepare, lambda c: c.execute("CREATE TABLE IF NOT EXISTS pebble (n INTEGER, words TEXT)")
        )
        database.when_failed(self.fail)
        await database.start()
        return database

    def fail(self) -> None:
        self.failures += 1


@pytest.fixture
def pond(tmp_path: Path) -> Pond:
    return Pond(tmp_path / "hub.db")


@pytest_asyncio.fixture
async def database(pond: Pond) -> AsyncIterator[Database]:
    opened = await pond.start()
    yield opened
    await opened.close()


def throw(n: int, words: str = "") -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute("INSERT INTO pebble VALUES (?, ?)", (n, words))
        return n

    return work


def failing(error: BaseException) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute("INSERT INTO pebble VALUES (999, '')")
        raise error

    return work


class Gate:
    """Holds the writer's thread until it is opened, so that writes queue up behind it."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def hold(self, _: Connection) -> None:
        self._open.wait(5)

    def open(self) -> None:
        self._open.set()


async def pebbles(database: Database) -> list[int]:
    return [row[0] for row in await database.read("SELECT n FROM pebble ORDER BY n")]


async def test_a_write_is_answered_with_its_result_and_is_there(database: Database) -> None:
    assert await database.write(throw(7)) == 7
    assert await pebbles(database) == [7]


async def test_writes_that_wait_share_one_commit(pond: Pond, database: Database) -> None:
    gate = Gate()
    held = asyncio.ensure_future(database.maintain(gate.hold))
    await asyncio.sleep(0.05)
    waiting = [asyncio.ensure_future(database.write(throw(n))) for n in range(100)]
    await asyncio.sleep(0.05)
    before = pond.commits
    gate.open()
    assert await asyncio.gather(*waiting) == list(range(100))
    await held
    assert pond.commits - before <= 2  # one is the gate's own
    assert await pebbles(database) == list(range(100))


async def test_one_at_a_time_each_has_its_own_commit(pond: Pond, database: Database) -> None:
    before = pond.commits
    for n in range(5):
        await database.write(throw(n))
    assert pond.commits - before == 5


async def test_a_write_that_changes_nothing_tells_nobody(pond: Pond, database: Database) -> None:
    before = pond.commits
    await database.write(lambda connection: connection.execute("DELETE FROM pebble").rowcount)
    assert pond.commits == before


async def test_a_note_that_no_page_shows_tells_nobody_even_beside_a_write_that_changes_nothing(
    pond: Pond, database: Database
) -> None:
    await asyncio.gather(database.note(throw(1)), database.write(lambda connection: None))
    assert pond.commits == 0
    assert await database.read(COUNT) == [(1, 1)]
    await asyncio.gather(database.note(throw(2)), database.write(throw(3)))
    assert pond.commits == 1


async def test_who_is_told_of_a_commit_is_told_before_its_writer_is_answered(tmp_path: Path) -> None:
    order: list[str] = []
    database = await asyncio.to_thread(
        Database.open, tmp_path / "hub.db", 1, "test", lambda: order.append("told")
    )
    await database.start()
    await database.write(lambda c: c.execute("INSERT INTO setting VALUES ('a', 'b', 5)").rowcount)
    order.append("answered")
    await database.close()
    assert order == ["told", "answered"]


async def test_a_job_that_fails_is_undone_alone(database: Database) -> None:
    gate = Gate()
    held = asyncio.ensure_future(database.maintain(gate.hold))
    await asyncio.sleep(0.05)
    jobs = [throw(1), failing(ValueError("no")), throw(2), failing(sqlite3.IntegrityError("no")), throw(3)]
    waiting = [asyncio.ensure_future(database.write(job)) for job in jobs]
    gate.open()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    await held
    assert [type(result) for result in results] == [int, ValueError, int, sqlite3.IntegrityError, int]
    assert await pebbles(database) == [1, 2, 3]


async def test_a_constraint_that_fails_says_so_to_the_one_who_broke_it(database: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda c: c.execute("INSERT INTO lineage VALUES (NULL, NULL, NULL, NULL, NULL)"))
    assert database.failed is None
    await database.write(throw(1))


async def test_who_no_longer_waits_has_written_all_the_same(database: Database) -> None:
    gate = Gate()
    held = asyncio.ensure_future(database.maintain(gate.hold))
    await asyncio.sleep(0.05)
    impatient = asyncio.ensure_future(database.write(throw(1)))
    await asyncio.sleep(0.01)
    impatient.cancel()
    gate.open()
    await held
    await database.write(throw(2))
    assert await pebbles(database) == [1, 2]


async def test_readers_see_what_was_committed_and_only_that(database: Database) -> None:
    written, gate = threading.Event(), Gate()

    def slow(connection: Connection) -> None:
        throw(1)(connection)
        written.set()
        gate.hold(connection)

    write = asyncio.ensure_future(database.write(slow))
    await asyncio.to_thread(written.wait, 5)
    assert await pebbles(database) == []
    gate.open()
    await write
    assert await pebbles(database) == [1]


async def test_a_reading_function_sees_one_state_from_its_beginning_to_its_end(database: Database) -> None:
    loop = asyncio.get_running_loop()

    def read(connection: Connection) -> list[Any]:
        first = connection.execute(COUNT).fetchone()
        asyncio.run_coroutine_threadsafe(database.write(throw(1)), loop).result(5)
        return [first, connection.execute(COUNT).fetchone()]

    first, second = await database.read_with(read)
    assert first == second == (0, 0)
    assert await pebbles(database) == [1]


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await database.read_with(throw(1))
    assert await pebbles(database) == []


async def test_a_full_card_is_told_and_room_made_is_used_again(database: Database) -> None:
    def limit(pages: int) -> Callable[[Connection], None]:
        return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    pages = (await database.read("PRAGMA page_count"))[0][0]
    await database.write(throw(1))
    await database.maintain(limit(pages + 1))
    results = await asyncio.gather(
        *(database.write(throw(n, "x" * 100_000)) for n in (2, 3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [NoRoom, NoRoom]
    assert database.failed is None
    assert await pebbles(database) == [1]
    await database.maintain(limit(pages + 1000))
    await database.write(throw(4, "x" * 100_000))
    assert await pebbles(database) == [1, 4]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
async def test_a_job_that_meets_a_full_or_read_only_card_is_told_so(database: Database, number: int) -> None:
    with pytest.raises(NoRoom) as refused:
        await database.write(failing(OSError(number, "")))
    assert not isinstance(refused.value, StorageFailed)
    await database.write(throw(1))
    assert await pebbles(database) == [1]


async def test_after_an_io_error_every_write_is_refused_and_reading_goes_on(
    pond: Pond, database: Database
) -> None:
    await database.write(throw(1))
    with pytest.raises(StorageFailed):
        await database.write(failing(OSError(errno.EIO, "Input/output error")))
    assert database.failed is not None
    assert pond.failures >= 1
    for attempt in (database.write(throw(2)), database.maintain(throw(2))):
        with pytest.raises(StorageFailed):
            await attempt
    assert await pebbles(database) == [1]


async def test_maintenance_that_fails_in_its_own_transaction_leaves_the_writer_free(
    database: Database,
) -> None:
    def half_done(connection: Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        throw(1)(connection)
        raise LookupError

    with pytest.raises(LookupError):
        await database.maintain(half_done)
    await database.write(throw(2))
    assert await pebbles(database) == [2]


async def test_closing_finishes_what_was_queued(pond: Pond) -> None:
    database = await pond.start()
    waiting = [asyncio.ensure_future(database.write(throw(n))) for n in range(20)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*waiting) == list(range(20))

    def look() -> tuple[list[str], Any]:
        names = [path.name for path in pond.path.parent.iterdir()]
        with closing(sqlite3.connect(pond.path)) as connection:
            return names, connection.execute(COUNT).fetchone()

    assert await asyncio.to_thread(look) == (["hub.db"], (19, 20))


async def test_a_write_after_closing_is_refused_and_does_not_hang(pond: Pond) -> None:
    database = await pond.start()
    await database.close()
    with pytest.raises(StorageFailed):
        async with asyncio.timeout(2):
            await database.write(throw(1))


async def test_the_wal_has_its_full_size_from_the_start_and_keeps_it(pond: Pond, database: Database) -> None:
    wal = pond.path.with_name("hub.db-wal")
    assert wal.stat().st_size >= WAL_BYTES
    before = wal.stat().st_size
    for n in range(50):
        await database.write(throw(n, "x" * 2000))
    assert wal.stat().st_size == before


async def test_what_was_deleted_stands_in_no_file_after_leaving_no_trace(
    pond: Pond, database: Database
) -> None:
    for n in range(200):
        await database.write(throw(n, f"marmalade {n} " * 20))
    await database.write(lambda c: c.execute("DELETE FROM pebble WHERE n % 2 = 0").rowcount)
    await database.maintain(leave_no_trace)

    def bytes_of_all() -> bytes:
        return b"".join(path.read_bytes() for path in pond.path.parent.iterdir())

    left = await asyncio.to_thread(bytes_of_all)
    assert b"marmalade 101 " in left
    assert b"marmalade 100 " not in left


async def test_what_is_promised_about_durability_is_set(database: Database) -> None:
    def pragmas(connection: Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "secure_delete", "foreign_keys", "trusted_schema")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await database.maintain(pragmas) == ["wal", 2, 1, 1, 0]
