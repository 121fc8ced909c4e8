"""Room on the card: files and pictures stop first, notices much later."""

from __future__ import annotations

import asyncio

from hub.domain.health import Condition, Line
from hub.storage.ballast import Ballast
from hub.storage.blobs import BlobStore, Reserve


class RoomCheck:
    """Says how much is free, and what has stopped because of it."""

    code = "room"

    def __init__(self, blobs: BlobStore, ballast: Ballast, uploads: Reserve, notices_bytes: int) -> None:
        self._blobs = blobs
        self._ballast = ballast
        self._uploads = uploads
        self._notices_bytes = notices_bytes

    async def look(self) -> Line:
        """Measured on the file system the data folder is on."""
        free, size, held = await asyncio.to_thread(
            lambda: (self._blobs.free_bytes(), self._blobs.size_bytes(), self._ballast.held)
        )
        words = f"{free // 1_000_000:,} MB free on the card"
        remedy = "See what takes the room: hub files largest. Or move the data folder to a larger card."
        if free < self._notices_bytes:
            last = "" if held else " What was put aside for a full card is used up."
            return Line(
                Condition.STOP,
                self.code,
                f"{words}: nothing can be put up any more; reading and erasing go on.{last}",
                remedy,
            )
        if free < self._uploads.of(size):
            return Line(
                Condition.LOOK, self.code, f"{words}: files and pictures are not taken any more.", remedy
            )
        return Line(Condition.OK, self.code, f"{words}.")
