"""What waits for a person: approvals and reports."""

from __future__ import annotations

from hub.domain.health import Condition, Line
from hub.storage.database import Database


class DeskCheck:
    """Counts what nobody has looked at yet."""

    code = "desk"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> Line:
        """LOOK when something waits."""
        [(waiting, reports)] = await self._database.read(
            "SELECT (SELECT count(*) FROM held), (SELECT count(DISTINCT obj) FROM report WHERE decided_ms IS NULL)"
        )
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
