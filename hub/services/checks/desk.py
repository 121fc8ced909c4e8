"""What waits for a person: approvals and reports."""

from __future__ import annotations

from collections.abc import Callable

from hub.domain.health import Condition, Line
from hub.storage import notices
from hub.storage.database import Database


class DeskCheck:
    """Counts what nobody has looked at yet."""

    code = "desk"

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def look(self) -> Line:
        """LOOK when something waits."""
        counts = await self._database.read_with(lambda connection: notices.counts(connection, self._now_ms()))
        waiting, reports = counts.waiting, counts.reports
        if not waiting and not reports:
            return Line(Condition.OK, self.code, "Nothing waits for you.")
        words = " and ".join(
            text
            for text, count in ((f"{waiting} to approve", waiting), (f"{reports} reported", reports))
            if count
        )
        return Line(
            Condition.LOOK,
            self.code,
            f"Waiting for you: {words}.",
            "hub notices list waiting; hub reports list",
        )
