"""Whether paired hubs are there, and whether something about one needs a person."""

from __future__ import annotations

from collections.abc import Callable

from hub.domain.clock import MAX_AHEAD_MS
from hub.domain.health import Condition, Line
from hub.domain.neighbours import Tie
from hub.domain.policy import DAY_MS, MINUTE_MS
from hub.services.neighbours import Known, Neighbours

QUIET_MS = DAY_MS
"""A hall that is switched off at night is no trouble."""
_SHOWN = 5
_HOUR_MS = 60 * MINUTE_MS
_PASSING = frozenset(
    {"unreachable", "not-reached", "exchange-broke-off", "paused-there", "copied-here", "copied-there"}
)
"""Codes of what ends by itself, is meant so, or has a check of its own."""


class NeighboursCheck:
    """Says which, and what it is. ``now_ms`` gives this hub's time."""

    code = "neighbours"

    def __init__(self, neighbours: Neighbours, now_ms: Callable[[], int]) -> None:
        self._neighbours = neighbours
        self._now_ms = now_ms

    async def look(self) -> Line:
        """LOOK while one was not heard for a day, its clock and this hub's differ by more than ten
        minutes, or the two cannot talk until somebody does something."""
        now_ms = self._now_ms()
        paired = [each for each in await self._neighbours.every() if each.neighbour.tie is Tie.PAIRED]
        troubles = [trouble for each in paired if (trouble := _trouble(each, now_ms))]
        if not troubles:
            sentence = "Every neighbour was heard from." if paired else "This hub has no neighbours."
            return Line(Condition.OK, self.code, sentence)
        more = f" And {len(troubles) - _SHOWN} more." if len(troubles) > _SHOWN else ""
        return Line(
            Condition.LOOK,
            self.code,
            f"{' '.join(troubles[:_SHOWN])}{more} Nothing is lost.",
            "hub neighbours list",
        )


def _trouble(known: Known, now_ms: int) -> str:
    """What a caretaker is told of a neighbour, if anything."""
    each, live = known.neighbour, known.live
    code = live.trouble or ("" if live.connected else each.trouble)
    quiet_ms = now_ms - (each.heard_ms or each.paired_ms)
    if code and code not in _PASSING:
        return (
            f"{each.name}: {live.sentence}"
            if live.sentence
            else f"{each.name} cannot be talked with ({code})."
        )
    if not live.connected and quiet_ms > QUIET_MS:
        return f"{each.name} was not heard from for {_span(quiet_ms)}."
    if each.offset_ms is not None and abs(each.offset_ms) > MAX_AHEAD_MS:
        way = "ahead of" if each.offset_ms > 0 else "behind"
        return f"The clock of {each.name} is {_span(abs(each.offset_ms))} {way} this hub's: one is wrong."
    return ""


def _span(ms: int) -> str:
    """A time of ten minutes or more, in its largest unit, rounded down."""
    units = ((DAY_MS, "day"), (_HOUR_MS, "hour"), (MINUTE_MS, "minute"))
    count, unit = next((ms // unit_ms, unit) for unit_ms, unit in units if ms >= unit_ms)
    return f"{count} {unit}{'' if count == 1 else 's'}"
