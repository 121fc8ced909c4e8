"""Erasure that is real: after it, the bytes stand in no file of the data folder (decision 6)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hub.domain.errors import NoRoom
from hub.storage import fetching, retention, scrubs, search, traces
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database, is_full, leave_no_trace
from hub.storage.notices import blob_is_named
from hub.storage.partials import Partials

_log = logging.getLogger(__name__)


class Eraser:
    """Finishes what a transaction began: index, free pages, WAL, blob files, and what memory keeps."""

    def __init__(
        self, database: Database, blobs: BlobStore, partials: Partials, forget: Callable[[], None]
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._partials = partials
        self._forget = forget

    async def wipe(self) -> bool:
        """Remove every trace that deleted rows and index entries left, and the pictures noted with them.

        Call it after the transaction that deleted them. When it returns, the bytes are gone. A blob
        that something else names stays: files are removed in the writer's thread, where no other
        transaction can be naming one. What a failure or a power cut leaves undone, the next round of
        housekeeping does; where a full card has no room for the last step, which only clears free space
        within the database, the answer is False.
        """

        def forget(connection: Connection) -> list[str]:
            blobs = traces.blobs(connection)
            retention.forget_kept_pictures(connection, blobs)
            search.purge(connection)
            held = retention.all_blobs_held(connection)
            unnamed = [
                sha256 for sha256 in blobs if not (sha256 in held or blob_is_named(connection, sha256))
            ]
            scrubs.forget(connection, unnamed)
            fetching.forget(connection, unnamed)
            return unnamed

        removed = False

        def wipe(connection: Connection) -> None:
            nonlocal removed
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                unnamed = forget(connection)
            for sha256 in unnamed:
                self._partials.discard(sha256)
                self._blobs.remove(sha256)
            removed = True
            leave_no_trace(connection)
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                traces.clear(connection)

        self._forget()
        try:
            await self._database.maintain(wipe)
        except NoRoom as error:
            if not removed or not is_full(error):
                raise
            _log.warning("the card has no room to write the database anew; it is tried again")
            return False
        return True
