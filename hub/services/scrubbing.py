"""The scrub: every picture and file is read through once a month, to see that its bytes are still its own.

What is broken goes into the quarantine and is said in `hub status`; putting the same bytes up again, or a
neighbour who has them, heals it. SHA-256 tells (reliability.md section 7).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from hub.domain.clock import TimeQuality
from hub.domain.policy import DAY_MS
from hub.storage import fetching, retention, scrubs
from hub.storage.blobs import BlobStore, Found, Inspection
from hub.storage.database import Connection, Database
from hub.storage.journal import Pen
from hub.storage.scrubs import Scrub

_log = logging.getLogger(__name__)

EVERY_MS = 30 * DAY_MS
LOOK_S = 600.0
"""How often it is looked whether a scrub is due; what was healed is then tidied away."""
BYTES_A_SECOND = 8 * 1024 * 1024
STEP = 1024 * 1024
"""Bytes read at a time by the slow scrub: what anybody else's reading may have to wait for."""
FAST_STEP = 2 * 1024 * 1024
SMALLEST = 64 * 1024
"""What a small blob counts for: finding it costs as much as reading that."""
SAVE_S = 60.0
"""After so long the place is saved, from which a restart goes on."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What a whole scrub came to. Blobs (hex): ``broken`` ones were set aside, ``missing`` ones are named
    by something and not here either, ``healed`` ones had been set aside and are sound after all."""

    looked: int
    bytes: int
    broken: tuple[str, ...]
    missing: tuple[str, ...]
    healed: tuple[str, ...]


class Scrubbing:
    """`run_monthly` runs forever under the supervisor; `all` is for a caretaker who asks."""

    def __init__(self, database: Database, blobs: BlobStore, pen: Callable[[], Pen]) -> None:
        """``pen`` tells the time and whether it is to be trusted."""
        self._database = database
        self._blobs = blobs
        self._pen = pen
        self._turn = asyncio.Lock()
        self._asked = 0

    async def state(self) -> Scrub:
        """How far the scrub has come, or when the last one ended."""
        return await self._database.read_with(scrubs.state)

    async def run_monthly(self) -> None:
        """Begin a scrub thirty days after the last one, or go on with the one that a restart stopped."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.tidy()
            if await self.is_due():
                await self.slowly()

    async def is_due(self) -> bool:
        """Whether the slow scrub has something to do; never while the clock is not trusted."""
        pen, state = self._pen(), await self.state()
        if pen.quality is TimeQuality.UNKNOWN:
            return False
        if state.under_way or state.ended_ms is None:
            return bool(await asyncio.to_thread(self._blobs.names_after, state.position)) or state.under_way
        return not 0 <= pen.now_ms - state.ended_ms < EVERY_MS

    async def slowly(self) -> Scrubbed | None:
        """Go on where the last scrub was left, at a pace that nobody notices; None if a caretaker's own
        scrub took over."""
        async with self._turn:
            return await self._go_through(STEP, BYTES_A_SECOND)

    async def all(self) -> Scrubbed:
        """Read every blob through now, from the first and as fast as the card can. Left in the middle
        (cancelled), the slow scrub goes on from there."""
        self._asked += 1
        try:
            async with self._turn:
                await self._database.write(lambda connection: scrubs.begin(connection, self._pen().now_ms))
                done = await self._go_through(FAST_STEP, 0)
        finally:
            self._asked -= 1
        assert done is not None  # noqa: S101 - only the slow one gives way
        return done

    async def tidy(self) -> None:
        """Note what lies in the quarantine without a note, and forget what is whole again or not needed."""
        aside = await asyncio.to_thread(self._blobs.set_aside_names)
        noted = await self._database.read_with(scrubs.noted)
        if not aside and not noted:
            return

        def write(connection: Connection) -> list[str]:
            needed = retention.referenced_blobs(connection)
            known = {*aside, *noted}
            over = {name for name in known if name not in needed or self._blobs.exists(name)}
            scrubs.forget(connection, over)
            scrubs.note(connection, known - over, self._pen().now_ms)
            return sorted(over)

        over = await self._database.write(write)
        for name in over:
            await asyncio.to_thread(self._blobs.drop_set_aside, name)

    async def _go_through(self, step: int, pace: int) -> Scrubbed | None:
        """Read every blob after the saved place, ``pace`` bytes a second (0: as fast as can be)."""
        state = await self.state()
        healed = () if state.position else await self._look_again(step)
        if not state.under_way:
            await self._database.write(lambda connection: scrubs.begin(connection, self._pen().now_ms))
            state = await self.state()
        broken: list[str] = []
        position, looked, size = state.position, state.looked, state.bytes
        clock = asyncio.get_running_loop().time
        saved = clock()
        while names := await asyncio.to_thread(self._blobs.names_after, position):
            for name in names:
                if pace and self._asked:
                    return None
                inspection = self._blobs.inspect(name)
                size += await self._read(inspection, step, pace)
                looked += inspection.found is not Found.GONE
                if inspection.found is Found.BROKEN and await self._set_aside(inspection):
                    broken.append(name)
                position = name
                if clock() - saved >= SAVE_S:
                    await self._save(position, looked, size)
                    saved = clock()
        missing = await self._end(position, looked, size, broken)
        return Scrubbed(looked, size, tuple(broken), missing, healed)

    async def _read(self, inspection: Inspection, step: int, pace: int) -> int:
        size = 0
        while inspection.found is None:
            read = await asyncio.to_thread(inspection.read, step)
            size += read
            if pace:
                await asyncio.sleep(max(read, SMALLEST) / pace)
        return size

    async def _look_again(self, step: int) -> tuple[str, ...]:
        """Bring back what can be read after all: a loose plug breaks many blobs for a while."""
        healed = []
        for name in await asyncio.to_thread(self._blobs.set_aside_names):
            inspection = self._blobs.inspect_set_aside(name)
            await self._read(inspection, step, 0)
            if inspection.found is Found.SOUND:
                await asyncio.to_thread(self._blobs.bring_back, inspection)
                healed.append(name)
        await self.tidy()
        return tuple(healed)

    async def _set_aside(self, inspection: Inspection) -> bool:
        if not await asyncio.to_thread(self._blobs.set_aside, inspection):
            return False
        name, now_ms = inspection.sha256, self._pen().now_ms
        _log.error("a blob is broken and was set aside", extra={"blob": name})
        await self._database.write(lambda connection: scrubs.note(connection, [name], now_ms))
        return True

    async def _save(self, position: str, looked: int, size: int) -> None:
        await self._database.write(lambda connection: scrubs.advance(connection, position, looked, size))

    async def _end(self, position: str, looked: int, size: int, broken: Collection[str]) -> tuple[str, ...]:
        """Note what is named and not here, and that this scrub is over."""
        now_ms = self._pen().now_ms

        def absent(connection: Connection) -> list[str]:
            needed = retention.referenced_blobs(connection) - fetching.names_missing(connection)
            return [name for name in needed if not self._blobs.exists(name)]

        suspects = await self._database.read_with(absent)

        def write(connection: Connection) -> list[str]:
            needed = retention.referenced_blobs(connection) if suspects else set()
            gone = [name for name in suspects if name in needed and not self._blobs.exists(name)]
            scrubs.note(connection, gone, now_ms)
            scrubs.advance(connection, position, looked, size)
            scrubs.end(connection, now_ms)
            return gone

        gone = await self._database.write(write)
        await self.tidy()
        return tuple(sorted(set(gone).difference(broken)))
