"""Whether the hub can still make things durable."""

from __future__ import annotations

from hub.domain.health import Condition, Line
from hub.storage.database import Database


class WritingCheck:
    """Reports a failed commit: from then on the hub only reads, and restarts to look at the disk again."""

    code = "writing"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> Line:
        """OK, or STOP after the first failed commit."""
        if self._database.failed is None:
            return Line(Condition.OK, self.code, "What people put up is kept safely.")
        return Line(
            Condition.STOP,
            self.code,
            "The card reported an error while writing. What was confirmed is safe; nothing new is taken.",
            "Make a backup now and replace the card.",
        )
