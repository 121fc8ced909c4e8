"""The hybrid logical clock (Kulkarni et al. 2014), as functions: order that a wrong wall clock cannot break.

A stamp is ``(ms, counter)``; stamps of one hub strictly increase. ``ms`` stays below 2**53 so that
every implementation of the sync protocol can hold it (sync.md 2.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

MAX_AHEAD_MS = 10 * 60 * 1000
"""A received stamp may push our clock at most this far past the wall clock (sync.md 2.2)."""
MAX_MS = 2**53 - 1


class Stamp(NamedTuple):
    """A moment in the order of records: Unix milliseconds and a counter for ties."""

    ms: int
    counter: int


class TimeQuality(IntEnum):
    """How far the wall clock behind a stamp can be trusted."""

    UNKNOWN = 0
    CARETAKER = 1
    NEIGHBOURS = 2
    REFERENCE = 3


ZERO = Stamp(0, 0)


def tick(last: Stamp, now_ms: int) -> Stamp:
    """The stamp of a new record of ours, greater than ``last``; follows the wall clock when it can."""
    if now_ms > last.ms:
        return Stamp(now_ms, 0)
    if last.counter >= MAX_MS:  # another hub's, which was witnessed: one more could not be written down
        return Stamp(last.ms + 1, 0)
    return Stamp(last.ms, last.counter + 1)


def witness(last: Stamp, seen: Stamp, now_ms: int) -> Stamp:
    """Our clock after seeing a neighbour's stamp; one too far ahead of ``now_ms`` moves nothing."""
    if seen.ms > now_ms + MAX_AHEAD_MS:
        return last
    return max(last, seen)


BUILT_MS = 1_795_392_000_000
"""2026-11-23: no hub of this release runs earlier."""
LONGEST_OFF_MS = 400 * 86_400_000
"""A wall clock further past the last stamp than the longest notice lives is not believed by itself."""


def quality_of(now_ms: int, last: Stamp) -> TimeQuality:
    """How far to trust a wall clock that says ``now_ms`` when the log's last stamp is ``last``.

    Before the release was built, before what was already written, or years after it: unknown. Then
    nothing expires (decision 33).
    """
    if now_ms < max(BUILT_MS, last.ms) - MAX_AHEAD_MS:
        return TimeQuality.UNKNOWN
    if last.ms > BUILT_MS and now_ms > last.ms + LONGEST_OFF_MS:
        return TimeQuality.UNKNOWN
    return TimeQuality.CARETAKER


def settle(quality: TimeQuality, heard: Iterable[tuple[int, TimeQuality]]) -> tuple[int, TimeQuality]:
    """By how much (ms) to correct a wall clock of ``quality``, and how far to trust it then (sync.md 2.2).

    ``heard`` has each neighbour's clock less this wall clock, uncorrected, and its quality. The median of
    those that know the time counts, if more than half of them are near it. One is enough for a hub that
    knows nothing; a clock that seems right is moved by three or more. Whoever uses the corrected time
    judges it by `quality_of` again: neighbours can be wrong together.
    """
    offsets = sorted(offset for offset, known in heard if known is not TimeQuality.UNKNOWN)
    needed = 1 if quality is TimeQuality.UNKNOWN else 3
    if quality >= TimeQuality.NEIGHBOURS or len(offsets) < needed:
        return 0, quality
    median = offsets[(len(offsets) - 1) // 2]
    near = sum(abs(offset - median) <= MAX_AHEAD_MS for offset in offsets)
    if 2 * near <= len(offsets):
        return 0, quality
    return median, TimeQuality.NEIGHBOURS
