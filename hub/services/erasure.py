"""Erasure that is real: after it, the bytes stand in no file of the data folder (decision 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hub.storage import notices, search
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database, leave_no_trace


class Eraser:
    """Finishes what a transaction began: index, free pages, WAL, blob files, and what memory keeps."""

    def __init__(self, database: Database, blobs: BlobStore, forget: Callable[[], None]) -> None:
        self._database = database
        self._blobs = blobs
        self._forget = forget

    async def wipe(self, blobs: Sequence[str]) -> None:
        """Remove ``blobs`` (hex) and every trace that deleted rows and index entries left.

        Call it after the transaction that deleted them. When it returns, the bytes are gone. A blob
        that was named again meanwhile stays: files are removed in the writer's thread, where no other
        transaction can be naming one.
        """

        def remove(connection: Connection) -> None:
            for sha256 in blobs:
                if not notices.blob_is_named(connection, sha256):
                    self._blobs.remove(sha256)

        def wipe(connection: Connection) -> None:
            remove(connection)
            leave_no_trace(connection)

        self._forget()
        await self._database.write(search.purge)
        await self._database.maintain(wipe)
