"""What the records of one object add up to, whatever order they came in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.bodies import NoticeBody, encode_notice
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import Kind, NoticeDraft, Scope, State
from hub.domain.projection import Logged, Standing, display_key, stand
from hub.domain.records import Header, Record, RecordType, seal

OBJ = ObjectId(bytes(range(16)))
NOW_MS = 1_795_426_860_000
DRAFT = NoticeDraft(Kind.GIVE, "Ladder", "Three metres.", "en", Scope.NETWORK, NOW_MS + 1000)

NOTICE, WITHDRAW, RESTORE, RETRACT = (
    RecordType.NOTICE,
    RecordType.WITHDRAW,
    RecordType.RESTORE,
    RecordType.RETRACT,
)


@dataclass(frozen=True)
class Told:
    """One record, told shortly: its type, stamp, when it was seen, what its body says."""

    type: str
    ms: int
    counter: int = 0
    seen_ms: int = NOW_MS
    posted_ms: int = NOW_MS
    edited_ms: int | None = None
    bodiless: bool = False


def logged(n: int, told: Told) -> Logged:
    header = Header(
        HubId(bytes(32)),
        Epoch(bytes(8)),
        n,
        told.type,
        OBJ,
        Stamp(told.ms, told.counter),
        TimeQuality.CARETAKER,
        NOW_MS + told.ms % 1000,
        Scope.NETWORK,
    )
    body = encode_notice(NoticeBody(DRAFT, told.posted_ms, told.edited_ms), bytes(16))
    record = seal(header, body if told.type == NOTICE else None, lambda data: bytes(64))
    return Logged(n, replace(record, body=None) if told.bodiless else record, told.seen_ms)


def story(*told: Told) -> list[Logged]:
    return [logged(n, one) for n, one in enumerate(told)]


def standing(*told: Told) -> Standing:
    found = stand(story(*told))
    assert found is not None
    return found


moments = st.integers(NOW_MS - 5, NOW_MS + 5)
stories = st.lists(
    st.builds(
        Told,
        st.sampled_from([NOTICE, NOTICE, WITHDRAW, RESTORE, RETRACT, "something newer"]),
        moments,
        st.integers(0, 1),
        moments,
        moments,
        st.none() | moments,
        st.booleans(),
    ),
    max_size=7,
)


@given(stories, st.randoms(use_true_random=False))
def test_the_order_in_which_records_came_does_not_matter(told: list[Told], chance: Any) -> None:
    versions = story(*told)
    shuffled = list(versions)
    chance.shuffle(shuffled)
    assert stand(shuffled) == stand(versions)


@given(stories)
def test_a_record_that_came_twice_counts_once(told: list[Told]) -> None:
    versions = story(*told)
    assert stand([*versions, *versions]) == stand(versions)


def without(record: Record, keep: bool) -> Record:
    return record if keep else replace(record, body=None)


@given(stories)
def test_a_rebuild_without_the_bodies_that_were_dropped_gives_the_same(told: list[Told]) -> None:
    versions = story(*told)
    found = stand(versions)
    if found is None:
        return
    left = [
        replace(
            one,
            record=without(one.record, one.n == found.content.n and found.state is not State.ERASED),
        )
        for one in versions
    ]
    again = stand(left)
    assert again is not None
    assert replace(again, content=found.content) == found


def test_without_content_there_is_nothing_to_show() -> None:
    assert stand([]) is None
    assert stand(story(Told(WITHDRAW, NOW_MS), Told(RETRACT, NOW_MS))) is None


def test_the_newest_version_counts() -> None:
    found = standing(Told(NOTICE, NOW_MS + 9, edited_ms=NOW_MS + 9), Told(NOTICE, NOW_MS))
    assert found.content.record.header.stamp.ms == NOW_MS + 9
    assert found.edited_ms == NOW_MS + 9


def test_of_two_with_the_same_moment_the_counter_decides() -> None:
    found = standing(Told(NOTICE, NOW_MS, 1), Told(NOTICE, NOW_MS, 0))
    assert found.content.record.header.stamp.counter == 1


def test_of_two_with_the_same_stamp_the_greater_id_decides() -> None:
    versions = story(Told(NOTICE, NOW_MS, posted_ms=1), Told(NOTICE, NOW_MS, posted_ms=2))
    found = stand(versions)
    assert found is not None
    assert found.content.record.id == max(one.record.id for one in versions)


def test_taking_down_and_putting_back_take_turns() -> None:
    put_up, down, back = Told(NOTICE, NOW_MS), Told(WITHDRAW, NOW_MS + 1), Told(RESTORE, NOW_MS + 2)
    assert standing(put_up, down).state is State.WITHDRAWN
    assert standing(put_up, down).changed_ms == NOW_MS + 1
    assert standing(put_up, down, back).state is State.LIVE
    assert standing(put_up, back, down, Told(WITHDRAW, NOW_MS + 3)).state is State.WITHDRAWN


def test_an_edit_does_not_put_back_what_was_taken_down() -> None:
    assert standing(Told(NOTICE, 1), Told(WITHDRAW, 2), Told(NOTICE, 3)).state is State.WITHDRAWN


@pytest.mark.parametrize("later", [RESTORE, NOTICE, WITHDRAW])
def test_a_retraction_beats_everything_that_comes_after_it(later: str) -> None:
    found = standing(Told(NOTICE, NOW_MS), Told(RETRACT, NOW_MS + 1), Told(later, NOW_MS + 2))
    assert (found.state, found.changed_ms) == (State.ERASED, NOW_MS + 1)


def test_without_its_newest_body_an_object_is_erased() -> None:
    assert standing(Told(NOTICE, NOW_MS, bodiless=True)).state is State.ERASED


def test_a_stamp_from_the_future_does_not_pin_a_notice_to_the_top() -> None:
    assert standing(Told(NOTICE, NOW_MS + 10**9, posted_ms=NOW_MS + 10**9)).shown_ms == NOW_MS


def test_a_late_arrival_stands_where_it_was_written() -> None:
    assert standing(Told(NOTICE, NOW_MS - 10**9, posted_ms=NOW_MS)).shown_ms == NOW_MS - 10**9


def test_an_edit_whose_first_version_never_came_keeps_its_place() -> None:
    edit = Told(NOTICE, NOW_MS - 5, posted_ms=NOW_MS - 10**9, edited_ms=NOW_MS - 5)
    assert standing(edit).shown_ms == NOW_MS - 10**9


def test_the_end_is_that_of_the_newest_content() -> None:
    found = standing(Told(NOTICE, NOW_MS + 2), Told(NOTICE, NOW_MS + 7), Told(WITHDRAW, NOW_MS + 9))
    assert found.exp_ms == NOW_MS + (NOW_MS + 7) % 1000


objects = st.binary(min_size=16, max_size=16).map(ObjectId)


@given(st.integers(0, 2**53 - 1), st.integers(1, 10**12), objects, objects)
def test_keys_follow_display_times_and_fit_an_sqlite_integer(
    ms: int, later: int, one: ObjectId, other: ObjectId
) -> None:
    first, second = display_key(ms, one), display_key(min(ms + later, 2**53 - 1), other)
    if ms >= 1_577_836_800_000 and ms + later < 2**53:
        assert first < second
    assert 0 <= first < 2**63
