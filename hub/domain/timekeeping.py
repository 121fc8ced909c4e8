"""What time it is to a hub: its wall clock while that can be believed, else what its neighbours say.

Only what the hub itself thinks is moved, never the machine's clock (sync.md 2.2). Neighbours' clocks are
kept against the clock that only runs forward, so that what was taken from them is not measured again as
ours. That clock stands still while a laptop sleeps: what was read before the two clocks of the machine
parted is left aside, and read anew within minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hub.domain.clock import BUILT_MS, MAX_AHEAD_MS, Stamp, TimeQuality, quality_of, settle
from hub.domain.ids import HubId


class ClockReading(NamedTuple):
    """A neighbour's clock: Unix ms less the ms of our clock that only runs forward, and how far the
    neighbour trusts it."""

    steady_ms: int
    quality: TimeQuality


class Timekeeper:
    """Keeps the time of one hub. ``last`` is the log's last stamp; ``wall_ms`` gives Unix ms, ``monotonic``
    seconds that only run forward."""

    def __init__(self, wall_ms: Callable[[], int], monotonic: Callable[[], float], last: Stamp) -> None:
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._last = last
        self._last_at = monotonic()
        self._heard: dict[HubId, tuple[ClockReading, int]] = {}
        """Each with how far the wall clock was ahead of the other one then."""

    def now_ms(self) -> int:
        """The time: while nothing can be believed, the last that could, and what passed since.

        So a clock that jumps neither empties the board nor spoils the stamps of what is put up meanwhile.
        """
        return self._look()[0]

    def quality(self) -> TimeQuality:
        """How far it can be trusted."""
        return self._look()[1]

    def heed(self, hub: HubId, reading: ClockReading | None) -> int | None:
        """A neighbour's clock was read; None: it is no neighbour any more, and what it said is forgotten.

        Returns by how many ms it is ahead of ours now, None while either does not know the time.
        """
        if reading is None:
            self._heard.pop(hub, None)
            return None
        self._heard[hub] = reading, self._wall_ms() - self._steady_ms()
        now_ms, quality = self._look()
        if TimeQuality.UNKNOWN in (quality, reading.quality):
            return None
        return reading.steady_ms + self._steady_ms() - now_ms

    def _steady_ms(self) -> int:
        return round(self._monotonic() * 1000)

    def _look(self) -> tuple[int, TimeQuality]:
        wall_ms, seconds = self._wall_ms(), self._monotonic()
        held_ms = max(self._last.ms, BUILT_MS) + round((seconds - self._last_at) * 1000)
        own = quality_of(wall_ms, self._last)
        parted_ms = wall_ms - round(seconds * 1000)
        heard = [
            (reading.steady_ms - parted_ms, reading.quality)
            for reading, then_ms in tuple(self._heard.values())
            if abs(parted_ms - then_ms) <= MAX_AHEAD_MS
        ]
        offset_ms, quality = settle(own, heard)
        if quality is TimeQuality.NEIGHBOURS:
            told_ms = wall_ms + offset_ms
            agreed = _agreeing(offset_ms, heard) > 1
            after = self._last if agreed else Stamp(held_ms + 1, 0)
            if quality_of(told_ms, after) is not TimeQuality.UNKNOWN:
                if agreed:  # one alone may be wrong: the next one is not to be measured by it
                    self._believe(told_ms, seconds)
                return told_ms, quality
        if own is TimeQuality.UNKNOWN:
            return held_ms, own
        self._believe(wall_ms, seconds)
        return wall_ms, own

    def _believe(self, now_ms: int, seconds: float) -> None:
        self._last, self._last_at = max(self._last, Stamp(now_ms, 0)), seconds


def _agreeing(offset_ms: int, heard: list[tuple[int, TimeQuality]]) -> int:
    """How many that know the time are within ten minutes of ``offset_ms``."""
    return sum(
        quality is not TimeQuality.UNKNOWN and abs(each - offset_ms) <= MAX_AHEAD_MS
        for each, quality in heard
    )
