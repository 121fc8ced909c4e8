"""Whether the bytes of pictures and files are still what they were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from hub.domain.health import Condition, Line
from hub.storage import scrubs
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database
from hub.storage.scrubs import Lost, Scrub

_NAMED = 3
"""Items that are named in the sentence."""


class BlobsCheck:
    """Says what the scrub found, and when it last looked."""

    code = "blobs"

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def look(self) -> Line:
        """LOOK while a picture or file is damaged or missing."""

        def read(connection: Connection) -> tuple[Scrub, list[Lost]]:
            return scrubs.state(connection), scrubs.lost(connection)

        state, noted = await self._database.read_with(read)
        lost = await asyncio.to_thread(
            lambda: [each for each in noted if not self._blobs.exists(each.sha256)]
        )
        if lost:
            return Line(
                Condition.LOOK,
                self.code,
                f"{_pieces(len(lost))} on the card found damaged or missing{_needed_by(lost)}.",
                "A neighbouring hub that has them sends them by itself. Otherwise put the same files up "
                "again, or take the items down. Cards that lose files fail soon: "
                "make a backup and replace it.",
            )
        if state.under_way:
            return Line(
                Condition.OK, self.code, f"Pictures and files are being checked: {state.looked:,} so far."
            )
        if state.ended_ms is None:
            return Line(
                Condition.OK, self.code, "Pictures and files are checked once a month, from the first on."
            )
        day = datetime.fromtimestamp(state.ended_ms / 1000, UTC)
        return Line(
            Condition.OK,
            self.code,
            f"{_pieces(state.looked)} checked on {day.day} {day:%B %Y}: nothing is missing.",
        )


def _pieces(count: int) -> str:
    return "1 picture or file was" if count == 1 else f"{count:,} pictures and files were"


def _needed_by(lost: Sequence[Lost]) -> str:
    names = sorted({name for each in lost for name in each.named_by})
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f" (in {', '.join(names[:_NAMED])}{more})"
