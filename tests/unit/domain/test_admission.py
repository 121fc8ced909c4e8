"""Which records are taken, by their headers alone, and how much of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.admission import (
    HELD_AHEAD_MS,
    LONGEST_MS,
    Allowance,
    Quotas,
    Refusal,
    Source,
    Standing,
    is_ahead,
    objection,
)
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import Scope
from hub.domain.policy import DAY_MS, RETRACT_MARGIN_MS, leaves_at
from hub.domain.records import Header, RecordType, Stream
from hub.domain.sharing import DEFAULT_CHOICES, Choice, set_of, sets_between

NOW_MS = 1_795_426_860_000
US, MILL, OAK = (HubId(bytes([number]) * 32) for number in (1, 2, 3))
STANDING = Standing(US, Source(MILL), {MILL: DEFAULT_CHOICES, OAK: DEFAULT_CHOICES})
NOTICE = Header(
    MILL,
    Epoch(bytes(8)),
    1,
    RecordType.NOTICE,
    ObjectId(bytes(16)),
    Stamp(NOW_MS, 0),
    TimeQuality.CARETAKER,
    NOW_MS + DAY_MS,
    Scope.NETWORK,
)


def code(header: Header, standing: Standing = STANDING, quality: TimeQuality = TimeQuality.CARETAKER) -> str:
    return str(objection(header, standing, NOW_MS, quality) or "")


@given(
    st.sampled_from([US, MILL, OAK]), st.sampled_from(Scope), st.sampled_from(["notices", "files", "events"])
)
def test_a_neighbour_brings_what_lies_in_a_set_of_the_two_and_nothing_else(
    origin: HubId, scope: Scope, stream: str
) -> None:
    header = replace(NOTICE, hub=origin, scope=scope, stream=stream)
    ours = sets_between(US, MILL, DEFAULT_CHOICES, DEFAULT_CHOICES)
    assert (code(header) == "") == (set_of(header) in ours)


def test_a_stick_brings_what_any_of_our_neighbours_meant_for_us() -> None:
    stick = replace(STANDING, source=Source(None, stick=True))
    for origin in (US, MILL, OAK):
        assert code(replace(NOTICE, hub=origin, scope=Scope.NEIGHBOURS), stick) == ""
    stranger = replace(NOTICE, hub=HubId(bytes(32)), scope=Scope.NEIGHBOURS)
    assert code(stranger, stick) == Refusal.NOT_FOR_US
    assert code(replace(NOTICE, stream="events"), stick) == ""


def test_the_stick_of_a_neighbour_keeps_to_what_was_agreed_with_it() -> None:
    choices = {**DEFAULT_CHOICES, Stream.FILES: Choice.NONE}
    standing = Standing(US, Source(MILL, stick=True), {MILL: choices})
    assert code(replace(NOTICE, stream=Stream.FILES), standing) == Refusal.NOT_AGREED


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        (replace(NOTICE, exp=NOW_MS + LONGEST_MS), ""),
        (replace(NOTICE, exp=NOW_MS + LONGEST_MS + 3 * DAY_MS), Refusal.TOO_LONG_LIVED),
        (replace(NOTICE, type=RecordType.RETRACT, exp=NOW_MS + LONGEST_MS + RETRACT_MARGIN_MS), ""),
        (replace(NOTICE, exp=NOW_MS - 1), ""),
        (replace(NOTICE, exp=NOW_MS - 14 * DAY_MS), Refusal.EXPIRED),
        (replace(NOTICE, stamp=Stamp(NOW_MS + HELD_AHEAD_MS, 0)), ""),
        (replace(NOTICE, stamp=Stamp(NOW_MS + HELD_AHEAD_MS + 1, 0)), Refusal.FROM_THE_FUTURE),
    ],
)
def test_past_and_future_have_their_bounds(header: Header, refusal: str) -> None:
    assert code(header) == refusal
    if refusal != Refusal.TOO_LONG_LIVED:
        assert code(header, quality=TimeQuality.UNKNOWN) == ""


@given(st.integers(NOW_MS - 30 * DAY_MS, NOW_MS))
def test_what_has_left_every_set_is_not_taken_and_nothing_else_is_refused_as_old(exp_ms: int) -> None:
    assert (code(replace(NOTICE, exp=exp_ms)) == Refusal.EXPIRED) == (leaves_at(exp_ms) <= NOW_MS)


def test_a_hub_that_does_not_know_the_time_finds_nothing_ahead_of_it() -> None:
    ahead = replace(NOTICE, stamp=Stamp(NOW_MS + DAY_MS, 0))
    assert is_ahead(ahead, NOW_MS, TimeQuality.CARETAKER)
    assert not is_ahead(ahead, NOW_MS, TimeQuality.UNKNOWN)


def test_no_stamp_is_taken_that_no_calendar_can_write() -> None:
    stamp = Stamp(2**53 - 1, 0)
    assert code(replace(NOTICE, stamp=stamp), quality=TimeQuality.UNKNOWN) == Refusal.FROM_THE_FUTURE


def test_held_is_what_a_held_neighbour_brings_or_wrote() -> None:
    held = {**DEFAULT_CHOICES, Stream.NOTICES: Choice.HOLD}
    standing = Standing(US, Source(MILL), {MILL: DEFAULT_CHOICES, OAK: held})
    assert not standing.holds(NOTICE)
    assert standing.holds(replace(NOTICE, hub=OAK))
    assert not standing.holds(replace(NOTICE, hub=OAK, stream=Stream.FILES))
    assert Standing(US, Source(OAK), {OAK: held}).holds(NOTICE)


@given(st.lists(st.tuples(st.sampled_from([US, MILL, OAK]), st.integers(1, 400)), max_size=40), st.booleans())
def test_no_quota_is_ever_exceeded(brought: list[tuple[HubId, int]], joining: bool) -> None:
    quotas = Quotas(records=20, size=3000, origin_records=6, new_origins=1, joining_origins=2)
    allowance = Allowance(quotas, joining, records=0, size=0, origins=0, brought={})
    taken: list[tuple[HubId, int]] = []
    met: set[HubId] = set()
    for origin, size in brought:
        if allowance.take(origin, size, new=origin not in met and origin != US, ours=origin == US):
            taken.append((origin, size))
            met.add(origin)
    assert len(taken) <= quotas.records
    assert sum(size for _, size in taken) <= quotas.size
    assert len(met - {US}) <= (quotas.joining_origins if joining else quotas.new_origins)
    if not joining:
        assert all([origin for origin, _ in taken].count(hub) <= 6 for hub in (MILL, OAK))
