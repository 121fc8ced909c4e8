"""Stamps of a hub strictly increase under any wall clock, and a wrong one is noticed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.domain.clock import (
    BUILT_MS,
    LONGEST_OFF_MS,
    MAX_AHEAD_MS,
    MAX_MS,
    ZERO,
    Stamp,
    TimeQuality,
    quality_of,
    settle,
    tick,
    witness,
)

NOW_MS = BUILT_MS + 86_400_000
times = st.integers(0, 2**53 - 1)
stamps = st.builds(Stamp, times, st.integers(0, 2**32))


@given(stamps, st.lists(times, max_size=50))
def test_stamps_strictly_increase_whatever_the_wall_clock_does(last: Stamp, clock: list[int]) -> None:
    for now_ms in clock:
        following = tick(last, now_ms)
        assert following > last
        assert following.ms >= now_ms
        last = following


@given(stamps, times)
def test_a_stamp_is_the_wall_clock_where_that_is_ahead(last: Stamp, now_ms: int) -> None:
    stamp = tick(last, now_ms)
    assert stamp == (Stamp(now_ms, 0) if now_ms > last.ms else Stamp(last.ms, last.counter + 1))


@given(stamps, stamps, times)
def test_a_neighbours_stamp_never_pushes_ours_ten_minutes_ahead(
    last: Stamp, seen: Stamp, now_ms: int
) -> None:
    after = witness(last, seen, now_ms)
    assert after >= last
    assert after.ms <= max(last.ms, now_ms + MAX_AHEAD_MS)


@given(stamps, st.integers(0, MAX_AHEAD_MS), times)
def test_what_we_write_comes_after_what_we_saw(last: Stamp, ahead: int, now_ms: int) -> None:
    seen = Stamp(now_ms + ahead, 5)
    assert tick(witness(last, seen, now_ms), now_ms) > seen


def test_a_clock_that_agrees_with_the_log_is_believed() -> None:
    assert quality_of(NOW_MS, Stamp(NOW_MS - 60_000, 0)) is TimeQuality.CARETAKER
    assert quality_of(NOW_MS, Stamp(NOW_MS + 60_000, 0)) is TimeQuality.CARETAKER


def test_a_new_hub_believes_any_clock_after_its_release() -> None:
    assert quality_of(NOW_MS + 10 * LONGEST_OFF_MS, ZERO) is TimeQuality.CARETAKER


def test_1970_is_not_believed() -> None:
    assert quality_of(0, ZERO) is TimeQuality.UNKNOWN


def test_a_clock_before_what_was_already_written_is_not_believed() -> None:
    assert quality_of(NOW_MS, Stamp(NOW_MS + MAX_AHEAD_MS + 1, 0)) is TimeQuality.UNKNOWN


def test_a_jump_to_2038_is_not_believed() -> None:
    assert quality_of(2_147_483_647_000, Stamp(NOW_MS, 0)) is TimeQuality.UNKNOWN


def test_no_counter_of_another_hub_makes_a_stamp_that_nobody_can_write_down() -> None:
    last = witness(ZERO, Stamp(NOW_MS + 1, MAX_MS), NOW_MS)
    assert tick(last, NOW_MS) == Stamp(NOW_MS + 2, 0)


SURE, UNSURE = TimeQuality.REFERENCE, TimeQuality.UNKNOWN


def test_a_hub_that_knows_no_time_takes_that_of_its_neighbours() -> None:
    assert settle(UNSURE, []) == (0, UNSURE)
    assert settle(UNSURE, [(9_000, UNSURE)]) == (0, UNSURE)
    assert settle(UNSURE, [(9_000, SURE)]) == (9_000, TimeQuality.NEIGHBOURS)
    assert settle(UNSURE, [(9_000, SURE), (9_500, SURE), (10**12, SURE)]) == (9_500, TimeQuality.NEIGHBOURS)
    assert settle(UNSURE, [(0, SURE), (10**9, SURE)]) == (0, UNSURE)  # which of the two?


def test_a_clock_that_seems_right_is_moved_by_three_or_more_that_agree() -> None:
    own = TimeQuality.CARETAKER
    assert settle(own, [(9_000, SURE)] * 2) == (0, own)
    assert settle(own, [(9_000, SURE)] * 3) == (9_000, TimeQuality.NEIGHBOURS)
    assert settle(SURE, [(9_000, SURE)] * 5) == (0, SURE)


@given(st.lists(st.integers(-(10**10), 10**10), min_size=1), st.lists(st.integers(-(10**15), 10**15)))
def test_a_minority_of_liars_moves_nobody_beyond_what_the_honest_say(
    true: list[int], lies: list[int]
) -> None:
    lies = lies[: (len(true) - 1) // 2]
    offset, quality = settle(UNSURE, [(each, SURE) for each in true + lies])
    assert quality is UNSURE or min(true) <= offset <= max(true)
