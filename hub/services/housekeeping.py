"""What a hub does by itself: index, finish take-downs, drop what has ended, collect pictures nobody names."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from hub.domain import cbor
from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId, ObjectId
from hub.domain.policy import DAY_MS, MINUTE_MS, BoardPolicy, Purge, leaves_at
from hub.domain.records import read_notice_body, read_picture
from hub.services.erasure import Eraser
from hub.services.noticeboard import retract
from hub.storage import authors, decisions, journal, moderation, search
from hub.storage.blobs import BlobStore
from hub.storage.database import Database
from hub.storage.journal import Pen

INDEX_AT = 200
"""Documents in the tail at which the index takes them over, in one batch: a batch of one would write
four times the bytes of the post itself, and searches read the tail anyway (performance.md 3)."""
INDEX_BATCH = 200
INDEX_PAUSE_S = 5.0
ROUND_S = 300.0
PICTURE_KEPT_MS = DAY_MS


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of housekeeping did."""

    erased: int
    purged: int
    pictures: int


class Housekeeping:
    """Runs forever under the supervisor: `index_in_batches` and `keep_house`."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        eraser: Eraser,
        hub: HubId,
        pen: Callable[[], Pen],
        policy: Callable[[], BoardPolicy],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._eraser = eraser
        self._hub = hub
        self._pen = pen
        self._policy = policy
        self._written = asyncio.Event()

    def something_was_written(self) -> None:
        """Told after each commit; wakes nobody while nothing happens."""
        self._written.set()

    async def index_in_batches(self) -> None:
        """Let the index take over what was written whenever there is a batch of it."""
        while True:
            await self._written.wait()
            await asyncio.sleep(INDEX_PAUSE_S)
            self._written.clear()
            [(waiting,)] = await self._database.read("SELECT count(*) FROM search_tail")
            if waiting >= INDEX_AT:
                await self.index_all()

    async def index_all(self) -> int:
        """Index the whole tail now; returns how many documents."""
        total = 0
        while True:
            taken = await self._database.write(lambda connection: search.index_batch(connection, INDEX_BATCH))
            if not taken:
                return total
            total += taken

    async def keep_house(self) -> None:
        """A round now, and every five minutes while there is something that can come due."""
        while True:
            await self.round()
            await asyncio.sleep(ROUND_S)

    async def round(self) -> Round:
        """Finish what is due. While the clock is not trusted nothing ends (decision 33)."""
        pen = self._pen()
        if not await self._anything_due(pen):
            return Round(0, 0, 0)
        erased = await self._finish_take_downs(pen)
        purged = await self._purge(pen) if pen.quality is not TimeQuality.UNKNOWN else 0
        pictures = await self._collect(pen)
        return Round(erased, purged, pictures)

    async def _anything_due(self, pen: Pen) -> bool:
        [(due,)] = await self._database.read(
            "SELECT EXISTS (SELECT 1 FROM notice WHERE state = 1 OR exp_ms < ?1)"
            " OR EXISTS (SELECT 1 FROM reply WHERE state = 1 OR exp_ms < ?1)"
            " OR EXISTS (SELECT 1 FROM draft_picture) OR EXISTS (SELECT 1 FROM report)"
            " OR EXISTS (SELECT 1 FROM audit)",
            (pen.now_ms - 7 * DAY_MS,),
        )
        return bool(due)

    async def _finish_take_downs(self, pen: Pen) -> int:
        """Erase our own items that were taken down longer ago than they can be put back."""
        before = pen.now_ms - self._policy().undo_minutes * MINUTE_MS

        def write(connection: sqlite3.Connection) -> tuple[int, list[str]]:
            rows = connection.execute(
                "SELECT notice.obj, record.header FROM notice JOIN record ON record.n = notice.record"
                " WHERE state = 1 AND changed_ms < ?1 UNION ALL"
                " SELECT reply.obj, record.header FROM reply JOIN record ON record.n = reply.record"
                " WHERE state = 1 AND changed_ms < ?1",
                (before,),
            ).fetchall()
            ours = [ObjectId(row[0]) for row in rows if self._hub in row[1]]
            return len(ours), [blob for obj in ours for blob in retract(connection, pen, obj)]

        count, blobs = await self._database.write(write)
        if count:
            await self._eraser.wipe(blobs)
        return count

    async def _purge(self, pen: Pen) -> int:
        """Drop what ended long enough ago that every hub drops it (sync.md 2.4); a share of all at most."""

        def write(connection: sqlite3.Connection) -> int:
            (total,) = connection.execute("SELECT count(*) FROM record").fetchone()
            candidates = connection.execute(
                "SELECT obj, exp_ms FROM notice WHERE exp_ms < ?1 UNION ALL"
                " SELECT obj, exp_ms FROM reply WHERE exp_ms < ?1 ORDER BY exp_ms LIMIT ?2",
                (pen.now_ms - 7 * DAY_MS, Purge().allowed(total)),
            ).fetchall()
            done = 0
            for obj, _ in candidates:
                versions = journal.versions(connection, ObjectId(obj))
                latest = max(logged.record.header.exp for logged in versions)
                if leaves_at(latest) <= pen.now_ms:
                    drop(connection, ObjectId(obj))
                    done += 1
            return done

        count = await self._database.write(write)
        if count:
            await self._eraser.wipe(())
        return count

    async def _collect(self, pen: Pen) -> int:
        """Forget kept pictures after a day, old reports and audit lines, and blobs nobody names."""
        policy = self._policy()

        def write(connection: sqlite3.Connection) -> set[str]:
            authors.drop_pictures(connection, pen.now_ms - PICTURE_KEPT_MS)
            moderation.drop_reports(connection, pen.now_ms - policy.report_days * DAY_MS)
            decisions.drop_notes(connection, pen.now_ms - policy.audit_days * DAY_MS)
            return referenced_blobs(connection)

        referenced = await self._database.write(write)
        gone = await asyncio.to_thread(
            self._blobs.collect, referenced, older_than_ms=3_600_000, now_ms=pen.now_ms
        )
        return len(gone)


def drop(connection: sqlite3.Connection, obj: ObjectId) -> None:
    """Remove every row of ``obj``: log, projections and local truth."""
    for table in ("notice", "reply"):
        row = connection.execute(
            f"SELECT shown_ms FROM {table} WHERE obj = ?",  # noqa: S608 - one of two names
            (obj,),
        ).fetchone()
        if row and table == "notice":
            search.remove(connection, shown_ms=row[0], notice=obj)
        connection.execute(f"DELETE FROM {table} WHERE obj = ?", (obj,))  # noqa: S608
    connection.execute("DELETE FROM blob_use WHERE obj = ?", (obj,))
    connection.execute("DELETE FROM record WHERE obj = ?", (obj,))
    moderation.forget(connection, obj)
    authors.disown(connection, obj)


def referenced_blobs(connection: sqlite3.Connection) -> set[str]:
    """Every blob (hex) that a record, something held, or a kept picture names."""
    found = {row[0].hex() for row in connection.execute("SELECT DISTINCT sha256 FROM blob_use")}
    pictures = [read_picture(cbor.decode(data)) for data in authors.kept_pictures(connection)]
    for held in moderation.all_held(connection):
        if held.of == "notice":
            pictures.extend(read_notice_body(held.body, held.scope, held.exp_ms).draft.pictures)
    for picture in pictures:
        found |= {picture.full.sha256, picture.thumb.sha256}
    return found
