"""Who may do what, when something waits, when reports hide, and when what has ended leaves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.policy import (
    DAY_MS,
    DEVICES_TO_HIDE,
    SEVERE,
    BoardPolicy,
    Complaint,
    DevicePaused,
    Posting,
    PostingPaused,
    Purge,
    Reason,
    Writer,
    leaves_at,
    must_be_held,
    reports_hide,
)

NOW_MS = 1_795_426_860_000
MILD = frozenset(Reason) - SEVERE
complaints = st.lists(
    st.builds(
        Complaint,
        st.sampled_from(Reason),
        st.none() | st.sampled_from([b"a", b"b", b"c", b"d"]),
        st.booleans(),
    ),
    max_size=12,
)


def test_an_open_board_shows_what_anybody_puts_up() -> None:
    assert not must_be_held(BoardPolicy(), Writer(), NOW_MS)


def test_on_a_checked_board_everything_waits_but_what_trusted_devices_write() -> None:
    checked = BoardPolicy(posting=Posting.CHECKED)
    assert must_be_held(checked, Writer(shown=100), NOW_MS)
    assert not must_be_held(checked, Writer(trusted=True), NOW_MS)


def test_the_first_notices_of_a_new_device_wait_where_that_is_wished() -> None:
    policy = BoardPolicy(first_held=2)
    assert [must_be_held(policy, Writer(shown=shown), NOW_MS) for shown in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert not must_be_held(policy, Writer(trusted=True), NOW_MS)


def test_a_paused_board_takes_nothing_from_anybody() -> None:
    for writer in (Writer(), Writer(trusted=True)):
        with pytest.raises(PostingPaused):
            must_be_held(BoardPolicy(posting=Posting.PAUSED), writer, NOW_MS)


@pytest.mark.parametrize("name", ["paused_until_ms", "banned_until_ms"])
def test_a_paused_or_banned_device_writes_nothing_until_the_time_is_over(name: str) -> None:
    with pytest.raises(DevicePaused):
        must_be_held(BoardPolicy(), Writer(trusted=True, **{name: NOW_MS + 1}), NOW_MS)
    assert not must_be_held(BoardPolicy(), Writer(**{name: NOW_MS}), NOW_MS)


def test_three_devices_or_a_trusted_one_with_a_severe_reason_hide() -> None:
    for reason in SEVERE:
        devices = [Complaint(reason, bytes([number])) for number in range(3)]
        assert not reports_hide(devices[:2], official=False)
        assert reports_hide(devices, official=False)
        assert reports_hide([Complaint(reason, b"a", trusted=True)], official=False)


def test_thirty_reports_of_one_device_count_once() -> None:
    assert not reports_hide([Complaint(Reason.CHILD, b"a")] * 30, official=False)


def test_mild_reasons_hide_nothing_however_many() -> None:
    many = [
        Complaint(reason, bytes([number]), trusted=True)
        for number, reason in enumerate([*MILD, *MILD])
    ]  # fmt: skip
    assert not reports_hide(many, official=False)


def test_reports_without_a_device_count_for_nobody() -> None:
    assert not reports_hide([Complaint(Reason.THREAT, None, trusted=True)] * 5, official=False)


@given(complaints)
def test_an_official_notice_is_never_hidden_by_reports(some: list[Complaint]) -> None:
    assert not reports_hide(some, official=True)


@given(complaints)
def test_reports_hide_by_the_devices_that_sent_severe_ones_and_nothing_else(some: list[Complaint]) -> None:
    severe = {item.device for item in some if item.reason in SEVERE and item.device}
    trusted = any(item.trusted for item in some if item.reason in SEVERE and item.device)
    assert reports_hide(some, official=False) == (trusted or len(severe) >= DEVICES_TO_HIDE)


@given(complaints, complaints)
def test_one_more_report_never_shows_again_what_others_hide(
    some: list[Complaint], more: list[Complaint]
) -> None:
    assert reports_hide([*some, *more], official=False) >= reports_hide(some, official=False)


@given(st.integers(0, 2**44))
def test_what_has_ended_leaves_on_a_monday_at_three_a_week_or_two_later(exp_ms: int) -> None:
    leaves = leaves_at(exp_ms)
    assert exp_ms + 7 * DAY_MS <= leaves < exp_ms + 14 * DAY_MS
    moment = datetime.fromtimestamp(leaves / 1000, UTC)
    assert (moment.isoweekday(), moment.hour, moment.minute, moment.second) == (1, 3, 0, 0)
    assert leaves % 1000 == 0


def test_what_ended_a_week_before_monday_at_three_leaves_that_moment() -> None:
    monday_ms = int(datetime(2026, 11, 23, 3, tzinfo=UTC).timestamp() * 1000)
    assert leaves_at(monday_ms - 7 * DAY_MS) == monday_ms
    assert leaves_at(monday_ms - 7 * DAY_MS + 1) == monday_ms + 7 * DAY_MS


@given(st.integers(0, 10**7))
def test_a_purge_takes_one_in_twenty_at_most_but_for_a_small_board(total: int) -> None:
    allowed = Purge().allowed(total)
    assert allowed == max(20, total // 20)
