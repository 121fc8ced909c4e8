"""One data folder's database: a single writer with group commit, and readers apart from it.

Promises: a write is answered only after its COMMIT was fsynced (``synchronous=FULL``); writes that
arrive while an fsync runs share the next one; each write is all or nothing; readers never wait for
the writer. Nobody else writes to the file. On a card without room a write is tried once more with the
room of the ballast.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

import aiosqlite

from hub.domain.errors import NoRoom
from hub.storage.ballast import Ballast
from hub.storage.migrate import migrate, require_ours
from hub.words import N_

Connection = sqlite3.Connection
"""What a service's function is handed inside a transaction: for passing on to `hub.storage` only."""

T = TypeVar("T")

PAGE_SIZE = 2048
"""Of databases made from here on. A post changes a dozen pages of which it fills a corner each, so small
pages spare the card; with still smaller ones searching costs more (docs/adr/0010-posts-and-pages.md)."""
WAL_BYTES = 6 * 1024 * 1024
"""The WAL is grown to this size once, so that commits overwrite blocks and an fsync has no file size
to journal: 45 kB instead of 11 kB reach the card for each notice otherwise (performance.md 3)."""
CHECKPOINT_BYTES = 5 * 1024 * 1024
"""Written to the WAL between checkpoints: the more, the more posts share each page of an index in one.
A commit that begins below it still has to fit into the WAL."""
SHARED_BYTES = 64 * 1024
"""Of the file that connections share; enough for a WAL of 8,000 pages."""
_SHARE = 256
"""Writes that may share one commit: bounds what one failing commit takes with it."""
_CROWD_S = 3.0
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
"""What SQLite says of a card without room; the second of the file that its connections share."""

_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = ON",
    "PRAGMA busy_timeout = 5000",
)


class StorageFailed(NoRoom):
    """A commit or fsync failed in a way that must not be retried (reliability.md 7)."""

    code = "storage-failed"
    template = N_(
        "The hub’s card reported an error, so nothing new can be kept just now. What you typed is still in "
        "the form, and what was confirmed before is safe. Tell the person who looks after the hub."
    )


class _Job(NamedTuple):
    work: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]
    alone: bool = False
    shown: bool = True


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with the hub's settings, in autocommit mode; transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    if not read_only:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // page_size}")
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


class _Reader(aiosqlite.Connection):
    """A reader that can also run a whole function in its thread, which aiosqlite has no public call for."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        execute: Callable[..., Awaitable[T]] = self._execute
        return await execute(work, self._conn)


class Database:
    """Open with `Database.open` (in a thread), join with `start`, leave with `close`."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        committed: Callable[[], None],
        ballast: Ballast | None = None,
    ) -> None:
        self.path = path
        self._ballast = ballast
        self._connection = connection
        self._committed = committed
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="hub-writer", daemon=True)
        self._readers: list[_Reader] = []
        self._next_reader = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tell_failure: Callable[[], None] = lambda: None
        self._showing: asyncio.TimerHandle | None = None
        self._closed = False
        self.failed: BaseException | None = None
        """Set once a commit failed with an I/O error: from then on every write is refused."""

    @classmethod
    def open(
        cls,
        path: Path,
        now_ms: int,
        program: str,
        committed: Callable[[], None],
        ballast: Ballast | None = None,
    ) -> Database:
        """Open or create the database at ``path`` and migrate it. Blocking: call it in a thread.

        ``committed`` is called on the event loop after each commit that changed something and before
        its writers are answered. ``ballast`` is given up for a write that finds no room. Raises the
        errors of `hub.storage.migrate`, `NoRoom`.
        """
        with ExitStack() as opened:
            try:
                require_ours(path)
                connection = opened.enter_context(closing(connect(path)))
                migrate(connection, now_ms, program)
                if _wal_size(path) < WAL_BYTES:
                    _grow_wal(connection, path)
                _take_room_for_shared_memory(path)
            except sqlite3.DatabaseError as error:
                raise _refusal(error) from error
            opened.pop_all()
        return cls(path, connection, committed, ballast)

    def prepare(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in one transaction before `start`. Blocking."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return work(self._connection)

    def when_failed(self, tell: Callable[[], None]) -> None:
        """``tell`` is called on the event loop when a commit failed and `failed` was set."""
        self._tell_failure = tell

    async def start(self, readers: int = 2) -> None:
        """Start the writer's thread and open the readers."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        for _ in range(readers):
            reader = _Reader(lambda: connect(self.path, read_only=True), iter_chunk_size=64)
            self._readers.append(reader)
            await reader

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the writer's thread inside a transaction; return its result once it is durable.

        What ``work`` raises is raised here after its changes were undone. A full or read-only disk is
        `NoRoom`; an I/O error is `StorageFailed`, and so is every write after it. On a full disk
        ``work`` may run twice, so it changes nothing but the database.
        """
        return await self._submit(work)

    async def note(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `write`, for what no page shows (how far an upload or a neighbour has come): kept pages stay."""
        return await self._submit(work, shown=False)

    async def bring(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `write`, for what comes in crowds: pages are kept, and show it within three seconds."""
        result = await self._submit(work, shown=False)
        if self._showing is None:
            self._showing = asyncio.get_running_loop().call_later(_CROWD_S, self._show)
        return result

    def _show(self) -> None:
        self._showing = None
        self._committed()

    async def maintain(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the writer's thread outside any transaction: checkpoints, checks, VACUUM.

        On a full disk it may run twice; the ballast is only lent to it.
        """
        return await self._submit(work, alone=True)

    async def touch(self) -> None:
        """Return once the writer has shown that a transaction can begin; nothing is written."""

        def begin(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")

        await self.maintain(begin)

    async def read(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[Any]:
        """All rows of one statement, from a reader's own connection."""
        rows: Iterable[Any] = await self._reader().execute_fetchall(sql, parameters)
        return list(rows)

    async def read_with(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a whole reading function in a reader's thread; it sees one state of the database."""

        def within(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")

        return await self._reader().run(within)

    async def close(self) -> None:
        """Close the readers, finish the queued writes, close the writer (which empties the WAL).

        A write that comes later is refused with `StorageFailed`.
        """
        self._closed = True
        if self._showing is not None:
            self._showing.cancel()
        for reader in self._readers:
            await reader.close()
            await asyncio.to_thread(reader._thread.join)
        self._readers.clear()
        if self._thread.is_alive():
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._connection.close()

    async def _submit(
        self, work: Callable[[sqlite3.Connection], T], *, alone: bool = False, shown: bool = True
    ) -> T:
        if self.failed is not None or self._closed:
            raise StorageFailed from self.failed
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Job(work, answer, alone, shown))
        return await answer

    def _reader(self) -> _Reader:
        self._next_reader = (self._next_reader + 1) % len(self._readers)
        return self._readers[self._next_reader]

    def _work(self) -> None:
        waiting: _Job | None = None
        while True:
            first = waiting or self._queue.get()
            waiting = None
            if first is None:
                return
            if first.alone:
                self._tell([(first.answer, *self._attempt_alone(first.work))], changed=True)
                continue
            batch, stop = [first], False
            while len(batch) < _SHARE:
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
                if job is None or job.alone:
                    waiting, stop = job, job is None
                    break
                batch.append(job)
            self._commit_together(batch)
            if stop:
                return

    def _commit_together(self, batch: list[_Job]) -> None:
        connection = self._connection
        changed = False
        outcomes: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                connection.execute("SAVEPOINT job")
                before = connection.total_changes
                result, error = self._attempt(job.work)
                changed |= job.shown and connection.total_changes != before
                if error is not None and (not connection.in_transaction or is_full(error)):
                    raise error  # SQLite itself rolled everything back, or all may be tried once more
                if error is not None:
                    connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
                outcomes.append((job.answer, result, error))
            connection.execute("COMMIT")
        except BaseException as error:  # every waiting writer must hear of it, whatever it was
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if is_full(error) and self._ballast is not None and self._ballast.free():
                self._commit_together(batch)
                return
            refusal = _refusal(error)
            if isinstance(refusal, StorageFailed):
                self.failed = error
            self._tell([(job.answer, None, refusal) for job in batch], changed=False)
            return
        self._tell(outcomes, changed=changed)

    def _attempt_alone(self, work: Callable[[sqlite3.Connection], Any]) -> tuple[Any, BaseException | None]:
        outcome = self._attempt(work)
        self._end_transaction()
        if is_full(outcome[1]) and self._ballast is not None and self._ballast.free():
            outcome = self._attempt(work)
            self._end_transaction()
            with suppress(NoRoom):
                self._ballast.take_back()
        return outcome

    def _end_transaction(self) -> None:
        if self._connection.in_transaction:  # what failed in the middle of one of its own
            self._connection.execute("ROLLBACK")

    def _attempt(self, work: Callable[[sqlite3.Connection], Any]) -> tuple[Any, BaseException | None]:
        try:
            return work(self._connection), None
        except (sqlite3.DatabaseError, OSError) as error:
            refusal = _refusal(error)
            if isinstance(refusal, StorageFailed):
                self.failed = error
            return None, refusal
        except BaseException as error:  # handed to the one who asked
            return None, error

    def _tell(
        self, outcomes: list[tuple[asyncio.Future[Any], Any, BaseException | None]], *, changed: bool
    ) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._settle, outcomes, changed)

    def _settle(
        self, outcomes: list[tuple[asyncio.Future[Any], Any, BaseException | None]], changed: bool
    ) -> None:
        if changed:
            self._committed()
        if self.failed is not None:
            self._tell_failure()
        for answer, result, error in outcomes:
            if answer.done():  # the one who asked has gone; the write stands
                continue
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)


def leave_no_trace(connection: sqlite3.Connection) -> None:
    """Write the database anew, empty the WAL and grow it again: nothing of erased rows stays in a file.

    Run by `Database.maintain` after an erasure. ``secure_delete`` alone is not enough: a row that
    SQLite moved to another page leaves a copy in the old one (3 of 4,000 erased words in a trial;
    none after VACUUM). A reader in the middle of a statement can hold a frame; the busy timeout
    waits for it. Raises OSError (ENOSPC) where there is no room for a copy; nothing of it was begun then.
    """
    path = Path(connection.execute("PRAGMA database_list").fetchone()[2])
    connection.execute("PRAGMA temp_store = FILE")  # a copy of the whole database would not fit in memory
    try:
        _require_room_for_copy(connection, path)
        connection.execute("VACUUM")
    finally:  # what a full disk left undone is tried again; the WAL can go now
        connection.execute("PRAGMA temp_store = MEMORY")
        _grow_wal(connection, path)


def _require_room_for_copy(connection: sqlite3.Connection, path: Path) -> None:
    """VACUUM writes the database once beside it and once into the WAL; on a full card, again and again."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    card = os.statvfs(path)
    if card.f_bavail * card.f_frsize + _wal_size(path) < 2 * pages * size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _grow_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Empty the WAL and fill it with zeros to its full size.

    SQLite takes zeros for the end of the log, whether it finds them at its start or after a power cut:
    the checksum of a frame that was never written does not hold (fileformat2, section 4.1). Writing
    as many frames through SQLite would cost ten times the CPU at each start. On a full card the WAL is
    as large as it could be.
    """
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        pass  # a reader was still in the middle of a statement: each try waits for it
    piece = bytes(65_536)
    with path.with_name(path.name + "-wal").open("r+b", buffering=0) as wal:
        try:
            for _ in range(WAL_BYTES // len(piece)):
                wal.write(piece)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        os.fsync(wal.fileno())


def _take_room_for_shared_memory(path: Path) -> None:
    """Give the file that connections share all its blocks now.

    SQLite writes one byte of each 4 KiB of it. Where blocks are smaller the rest are holes, and the
    kernel ends a process (SIGBUS) that writes into a hole of a mapped file on a full card. Done through
    SQLite's own descriptor: closing another one would let go of its locks (POSIX fcntl).
    """
    try:
        shared = path.with_name(path.name + "-shm").stat()
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except FileNotFoundError:
        return
    for descriptor in descriptors:
        try:
            if os.path.samestat(os.fstat(descriptor), shared):
                break
        except OSError:  # another thread's, closed meanwhile
            continue
    else:
        return
    try:
        os.posix_fallocate(descriptor, 0, SHARED_BYTES)
    except OSError:
        os.posix_fallocate(descriptor, 0, shared.st_size)


def _wal_size(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def is_full(error: BaseException | None) -> bool:
    """Whether a write failed for want of room on the card."""
    while error is not None:
        if isinstance(error, sqlite3.DatabaseError):
            return getattr(error, "sqlite_errorname", "").startswith(_FULL)
        if isinstance(error, OSError):
            return error.errno == errno.ENOSPC
        error = error.__cause__
    return False


def _refusal(error: BaseException) -> BaseException:
    """What to answer for a failed write: `NoRoom` for a full disk, `StorageFailed` for a failing one."""
    if isinstance(error, sqlite3.DatabaseError):
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith((*_FULL, "SQLITE_READONLY")):
            refusal: BaseException = NoRoom()
        elif name.startswith(("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_CANTOPEN")):
            refusal = StorageFailed()
        else:
            return error
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        refusal = NoRoom()
    elif isinstance(error, OSError) and error.errno == errno.EIO:
        refusal = StorageFailed()
    else:
        return error
    refusal.__cause__ = error
    return refusal
