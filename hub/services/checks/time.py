"""Whether the clock can be believed: a Pi has none that runs without power."""

from __future__ import annotations

from collections.abc import Callable

from hub.domain.clock import TimeQuality
from hub.domain.health import Condition, Line


class TimeCheck:
    """While the time is uncertain nothing expires, and pages say so."""

    code = "time"

    def __init__(self, quality: Callable[[], TimeQuality]) -> None:
        self._quality = quality

    async def look(self) -> Line:
        """LOOK while the time is unknown."""
        quality = self._quality()
        if quality is TimeQuality.NEIGHBOURS:
            return Line(
                Condition.OK, self.code, "The time is that of neighbouring hubs; this clock is not right."
            )
        if quality is not TimeQuality.UNKNOWN:
            return Line(Condition.OK, self.code, "The clock is set.")
        return Line(
            Condition.LOOK,
            self.code,
            "The hub does not know what time it is. Nothing expires until it does.",
            "Set the clock: sudo timedatectl set-time '2026-12-25 14:00'.",
        )
