"""A hub has its own time while that can be believed, else its neighbours', and nobody sends it astray."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.clock import BUILT_MS, LONGEST_OFF_MS, MAX_AHEAD_MS, ZERO, Stamp, TimeQuality
from hub.domain.ids import HubId
from hub.domain.policy import DAY_MS, MINUTE_MS
from hub.domain.timekeeping import ClockReading, Timekeeper

MILL, OAK, ELM = (HubId(bytes([letter]) * 32) for letter in b"moe")
TRUE_MS = BUILT_MS + 90 * DAY_MS
STOPPED = Stamp(TRUE_MS - 30 * DAY_MS, 0)
UNKNOWN, SET, AGREED = TimeQuality.UNKNOWN, TimeQuality.CARETAKER, TimeQuality.NEIGHBOURS


@dataclass
class Hall:
    """A hub whose machine says it is 1970 after each start, and the true time outside."""

    wall_ms: int = 5_000
    true_ms: int = TRUE_MS
    seconds: float = 70.0
    last: Stamp = STOPPED

    def __post_init__(self) -> None:
        self.time = Timekeeper(lambda: self.wall_ms, lambda: self.seconds, self.last)

    def pass_ms(self, passed: int) -> None:
        self.wall_ms += passed
        self.true_ms += passed
        self.seconds += passed / 1000

    def hears(self, hub: HubId, wrong_ms: int = 0, quality: TimeQuality = SET) -> int | None:
        """A neighbour's clock is read; it is so many ms ahead of the true time."""
        return self.time.heed(
            hub, ClockReading(self.true_ms + wrong_ms - round(self.seconds * 1000), quality)
        )


def test_a_hub_in_1970_has_the_right_time_once_its_neighbours_told_it() -> None:
    hall = Hall()
    assert (hall.time.now_ms(), hall.time.quality()) == (hall.last.ms, UNKNOWN)
    assert hall.hears(MILL) == 0
    hall.pass_ms(3_600_000)
    assert hall.hears(OAK, 4_000) == 4_000
    assert (hall.time.now_ms(), hall.time.quality()) == (hall.true_ms, AGREED)
    hall.pass_ms(DAY_MS)
    assert hall.hears(MILL) == 0, "what was taken from them is not added to what they say"
    assert hall.time.now_ms() == hall.true_ms


def test_a_neighbour_that_does_not_know_the_time_tells_nothing_and_is_told_apart() -> None:
    hall = Hall()
    assert hall.hears(MILL, quality=UNKNOWN) is None
    assert hall.time.quality() is UNKNOWN
    hall.hears(OAK)
    assert hall.hears(MILL, quality=UNKNOWN) is None
    assert hall.time.now_ms() == hall.true_ms


def test_two_that_contradict_each_other_leave_the_time_unknown_and_it_runs_on() -> None:
    hall = Hall()
    hall.hears(MILL)
    assert hall.hears(OAK, 3 * DAY_MS) is None
    before = hall.time.now_ms()
    hall.pass_ms(60_000)
    assert (hall.time.now_ms() - before, hall.time.quality()) == (60_000, UNKNOWN)
    hall.hears(ELM)
    assert (hall.time.now_ms(), hall.time.quality()) == (hall.true_ms, AGREED)
    assert hall.time.heed(OAK, None) is None
    assert hall.time.now_ms() == hall.true_ms


@given(st.integers(-(10**13), 10**13))
def test_one_liar_moves_a_hub_that_knows_nothing_not_beyond_what_a_clock_may_be_off(wrong_ms: int) -> None:
    hall = Hall()
    hall.hears(MILL, wrong_ms)
    assert hall.last.ms - MAX_AHEAD_MS <= hall.time.now_ms() <= hall.last.ms + LONGEST_OFF_MS + 1
    for hub in (OAK, ELM):
        hall.hears(hub)
    assert abs(hall.time.now_ms() - hall.true_ms) <= MAX_AHEAD_MS, "and the honest are heard later"


@given(st.integers(-(10**13), 10**13))
def test_a_fresh_hub_too_is_not_sent_years_away_by_one_liar(wrong_ms: int) -> None:
    hall = Hall(last=ZERO)
    hall.hears(MILL, wrong_ms)
    assert BUILT_MS - MAX_AHEAD_MS <= hall.time.now_ms() <= BUILT_MS + LONGEST_OFF_MS + 1


def test_a_fresh_hub_of_an_old_release_takes_the_time_that_two_agree_on() -> None:
    hall = Hall(last=ZERO, true_ms=BUILT_MS + 3 * LONGEST_OFF_MS)
    hall.hears(MILL)
    assert hall.time.quality() is UNKNOWN
    hall.hears(OAK, 1_000)
    assert hall.time.now_ms() == hall.true_ms


@pytest.mark.parametrize("liars", [(MILL,), (MILL, OAK)], ids=["one", "two"])
def test_a_clock_that_seems_right_is_not_moved_by_so_few(liars: tuple[HubId, ...]) -> None:
    hall = Hall(wall_ms=TRUE_MS)
    for hub in liars:
        hall.hears(hub, 20 * MINUTE_MS)
    assert (hall.time.now_ms(), hall.time.quality()) == (TRUE_MS, SET)


def test_three_that_agree_put_a_clock_right_that_runs_behind() -> None:
    hall = Hall(wall_ms=TRUE_MS - DAY_MS)
    assert hall.time.quality() is SET
    for hub in (MILL, OAK, ELM):
        hall.hears(hub)
    assert (hall.time.now_ms(), hall.time.quality()) == (TRUE_MS, AGREED)


def test_somebody_who_sets_the_wall_clock_does_not_turn_the_time_back() -> None:
    hall = Hall()
    hall.hears(MILL)
    hall.hears(OAK)
    assert hall.time.now_ms() == hall.true_ms
    hall.wall_ms += 7 * DAY_MS
    assert (hall.time.now_ms(), hall.time.quality()) == (hall.true_ms, UNKNOWN)
    hall.hears(OAK)
    assert (hall.time.now_ms(), hall.time.quality()) == (hall.true_ms, AGREED)
    hall.wall_ms = hall.true_ms + 1_000
    assert (hall.time.now_ms(), hall.time.quality()) == (hall.true_ms + 1_000, SET)


def test_neighbours_that_are_wrong_together_do_not_turn_time_back() -> None:
    hall = Hall(wall_ms=TRUE_MS)
    assert hall.time.now_ms() == TRUE_MS
    for hub in (MILL, OAK, ELM):
        hall.hears(hub, -3 * DAY_MS)
    assert (hall.time.now_ms(), hall.time.quality()) == (TRUE_MS, SET)


def test_a_laptop_that_slept_goes_by_its_own_clock() -> None:
    hall = Hall(wall_ms=TRUE_MS)
    for hub in (MILL, OAK, ELM):
        hall.hears(hub)
    assert hall.time.now_ms() == TRUE_MS
    hall.wall_ms += DAY_MS  # while the clock that only runs forward stood still
    assert (hall.time.now_ms(), hall.time.quality()) == (TRUE_MS + DAY_MS, SET)
