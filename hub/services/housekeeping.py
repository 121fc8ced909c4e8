"""What a hub does by itself: index, finish take-downs, drop what has ended, collect pictures nobody names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from hub.domain.clock import TimeQuality
from hub.domain.errors import NoRoom
from hub.domain.ids import HubId
from hub.domain.policy import DAY_MS, MINUTE_MS, BoardPolicy
from hub.services.erasure import Eraser
from hub.services.fileshare import FileShare
from hub.services.publishing import retract
from hub.services.uploads import Uploads
from hub.storage import authors, decisions, files, moderation, retention, search, sets, traces
from hub.storage.ballast import SPARE, Ballast
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database
from hub.storage.journal import Pen

INDEX_AT = 200
"""Documents in the tail at which the index takes them over, in one batch: a batch of one would write
four times the bytes of the post itself, and searches read the tail anyway (performance.md 3)."""
INDEX_BATCH = 200
INDEX_PAUSE_S = 5.0
ROUND_S = 300.0
PICTURE_KEPT_MS = DAY_MS
REPLACED_KEPT_MS = DAY_MS
"""How long earlier versions and what ran out may be left in free pages and the WAL: one wipe writes the
whole database anew, so a day's changes share one."""


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
        ballast: Ballast,
        eraser: Eraser,
        uploads: Uploads,
        share: FileShare,
        hub: HubId,
        pen: Callable[[], Pen],
        policy: Callable[[], BoardPolicy],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._ballast = ballast
        self._eraser = eraser
        self._uploads = uploads
        self._share = share
        self._hub = hub
        self._pen = pen
        self._policy = policy
        self._written = asyncio.Event()
        self._renewed_ms = 0
        self._looked = False

    def something_was_written(self) -> None:
        """Told after each commit; wakes nobody while nothing happens."""
        self._written.set()

    async def index_in_batches(self) -> None:
        """Let the index take over what was written whenever there is a batch of it."""
        while True:
            await self._written.wait()
            await asyncio.sleep(INDEX_PAUSE_S)
            self._written.clear()
            if await self._database.read_with(search.tail_length) >= INDEX_AT:
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
        """A round now, and every five minutes while there is something that can come due; and the ballast
        whenever there is room for it."""
        while True:
            with suppress(NoRoom):
                await asyncio.to_thread(self._ballast.lay, SPARE)
            await self.round()
            await asyncio.sleep(ROUND_S)

    async def round(self) -> Round:
        """Finish what is due. While the clock is not trusted only take-downs are: nothing ends, and the
        age of a file says nothing (decision 33)."""
        pen = self._pen()
        await self._renew(pen)
        due = await self._database.read_with(
            lambda connection: retention.anything_due(connection, pen.now_ms)
        )
        if self._looked and not due:
            return Round(0, 0, 0)
        self._looked = True  # once after each start: a kill may have left blobs that nothing names
        purged = pictures = 0
        erased = await self._finish_take_downs(pen)
        if pen.quality is not TimeQuality.UNKNOWN:
            await self._uploads.forget_stale(pen.now_ms)
            purged, pictures = await self._purge(pen), await self._collect(pen)
        if await self._database.write(
            lambda connection: traces.are_due(connection, pen.now_ms, pen.now_ms + REPLACED_KEPT_MS)
        ):
            await self._eraser.wipe()
        return Round(erased, purged, pictures)

    async def _renew(self, pen: Pen) -> None:
        """Once a day: what is meant to stay gets a later end (decision 11)."""
        if pen.quality is not TimeQuality.UNKNOWN and pen.now_ms - self._renewed_ms >= DAY_MS:
            await self._share.renew()
            self._renewed_ms = pen.now_ms

    async def _finish_take_downs(self, pen: Pen) -> int:
        """Erase our own items that were taken down longer ago than they can be put back."""
        before = pen.now_ms - self._policy().undo_minutes * MINUTE_MS

        def write(connection: Connection) -> int:
            ours = retention.taken_down(connection, self._hub, before)
            for obj in ours:
                retract(connection, pen, obj)
            return len(ours)

        return await self._database.write(write)

    async def _purge(self, pen: Pen) -> int:
        """Drop what ended long enough ago that every hub drops it (sync.md 2.4); a share of all at most.

        What neighbours are told of it is dropped at once: that takes nothing away, and both hubs must agree.
        """

        def write(connection: Connection) -> int:
            a_monday = sets.must_sweep(connection, pen.now_ms)
            sets.sweep(connection, pen.now_ms)
            gone = retention.ended(connection, pen.now_ms, unshown=a_monday)
            for obj in gone:
                retention.drop(connection, obj)
            return len(gone)

        return await self._database.write(write)

    async def _collect(self, pen: Pen) -> int:
        """Forget kept pictures after a day, old reports and audit lines, and blobs nobody names."""
        policy = self._policy()

        def write(connection: Connection) -> set[str]:
            dropped = authors.drop_pictures(connection, pen.now_ms - PICTURE_KEPT_MS)
            dropped += moderation.drop_reports(connection, pen.now_ms - policy.report_days * DAY_MS)
            dropped += decisions.drop_notes(connection, pen.now_ms - policy.audit_days * DAY_MS)
            if dropped:
                traces.leave(connection)
            files.forget_checksums(connection)
            return retention.referenced_blobs(connection)

        referenced = await self._database.write(write)
        gone = await asyncio.to_thread(
            self._blobs.collect, referenced, older_than_ms=3_600_000, now_ms=pen.now_ms
        )
        return len(gone)
