"""The only place that reads the wall clock."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clocks; everything else is handed their readings."""

    def now_ms(self) -> int:
        """Unix time in milliseconds; on a Pi without a battery it may be years off."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that only run forward, for durations and limits."""
        return time.monotonic()
