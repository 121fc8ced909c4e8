"""Room on the card: pictures stop first, notices much later."""

from __future__ import annotations

import asyncio

from hub.domain.health import Condition, Line
from hub.storage.blobs import BlobStore, Reserve


class RoomCheck:
    """Says how much is free, and what has stopped because of it."""

    code = "room"

    def __init__(self, blobs: BlobStore, pictures: Reserve, notices_bytes: int) -> None:
        self._blobs = blobs
        self._pictures = pictures
        self._notices_bytes = notices_bytes

    async def look(self) -> Line:
        """Measured on the file system the data folder is on."""
        free, size = await asyncio.to_thread(lambda: (self._blobs.free_bytes(), self._blobs.size_bytes()))
        words = f"{free // 1_000_000:,} MB free on the card"
        remedy = "Take down old notices with pictures, or move the data folder to a larger card."
        if free < self._notices_bytes:
            return Line(Condition.STOP, self.code, f"{words}: nothing can be put up any more.", remedy)
        if free < self._pictures.of(size):
            return Line(Condition.LOOK, self.code, f"{words}: pictures are not taken any more.", remedy)
        return Line(Condition.OK, self.code, f"{words}.")
