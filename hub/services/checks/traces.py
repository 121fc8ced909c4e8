"""Whether what was erased is gone from free space too."""

from __future__ import annotations

from collections.abc import Callable

from hub.domain.health import Condition, Line
from hub.storage import traces
from hub.storage.database import Database


class TracesCheck:
    """Erasing writes the database anew at the end, which needs room for a copy of it."""

    code = "traces"

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def look(self) -> Line:
        """LOOK while something waits for that."""
        now_ms = self._now_ms()
        if not await self._database.read_with(lambda connection: traces.wait(connection, now_ms)):
            return Line(Condition.OK, self.code, "What was erased is gone.")
        return Line(
            Condition.LOOK,
            self.code,
            "What was erased is shown to nobody, but parts may still stand in free space of the database: "
            "the card has no room to write it anew.",
            "Make room (hub files largest shows what takes it); the hub then does the rest by itself.",
        )
