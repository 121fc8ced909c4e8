"""Pieces are claimed once, true lists are told from wrong ones, and the longest unused gives way."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hub.domain.fetching import (
    ALWAYS,
    HASH,
    PIECE,
    PREVIEW,
    Bitmap,
    Foreign,
    Manners,
    Missing,
    Untrue,
    WrongBytes,
    bytes_of,
    length_of,
    list_of_one,
    pieces_in,
    require_list,
    to_let_go,
)
from hub.domain.ids import HubId
from hub.domain.notices import BlobRef

MILL_LANE, OAKFIELD = HubId(b"m" * 32), HubId(b"o" * 32)
BLOB = "ab" * 32


def ref_of(data: bytes) -> BlobRef:
    """What a true record says of ``data``."""
    return BlobRef(hashlib.sha256(data).hexdigest(), len(data), hashlib.sha256(list_of(data)).hexdigest())


def list_of(data: bytes) -> bytes:
    """The hashes of its pieces."""
    return b"".join(hashlib.sha256(data[at : at + PIECE]).digest() for at in range(0, len(data), PIECE))


@given(st.integers(0, 2**45))
def test_pieces_cover_a_blob_exactly(size: int) -> None:
    count = pieces_in(size)
    assert (count == 0) == (size == 0)
    if count:
        assert (count - 1) * PIECE + length_of(size, count - 1) == size
        assert 0 < length_of(size, count - 1) <= PIECE
        assert bytes_of(BlobRef("", size, ""), range(count)) == (0, size)


@given(st.binary(min_size=1, max_size=9), st.integers(0, 63), st.integers(1, 255))
def test_only_the_list_of_the_record_is_taken(end: bytes, place: int, change: int) -> None:
    data = bytes(PIECE) + end
    ref, hashes = ref_of(data), bytearray(list_of(data))
    require_list(ref, bytes(hashes))
    hashes[place] ^= change
    for wrong in (bytes(hashes), list_of(data)[:HASH], list_of(data) + bytes(HASH), b""):
        with pytest.raises(WrongBytes):
            require_list(ref, wrong)


def test_nobody_has_to_send_the_list_of_a_blob_of_one_piece() -> None:
    for size in (0, 1, PIECE):
        data = b"x" * size
        assert list_of_one(ref_of(data)) == list_of(data)
    assert list_of_one(ref_of(bytes(PIECE + 1))) is None


def test_a_record_that_contradicts_itself_is_noticed_before_anything_is_asked_for() -> None:
    true = ref_of(b"a rota")
    for untrue in (
        BlobRef(true.sha256, true.size, ref_of(b"another").pieces),
        BlobRef(true.sha256, 0, true.pieces),
        BlobRef(ref_of(b"").sha256, 5, ref_of(b"").pieces),
    ):
        with pytest.raises(Untrue):
            list_of_one(untrue)


class Bringing(RuleBasedStateMachine):
    """Several neighbours bring one blob; some of them leave off."""

    def __init__(self) -> None:
        super().__init__()
        self.bitmap = Bitmap(40)
        self.claims: list[range] = []
        self.come: Counter[int] = Counter()

    @rule(most=st.integers(1, 50))
    def claim(self, most: int) -> None:
        span = self.bitmap.claim(most)
        if span is None:
            assert all(self.come[piece] or self._is_claimed(piece) for piece in range(40))
            return
        assert 0 < len(span) <= most
        assert not any(self.come[piece] or self._is_claimed(piece) for piece in span)
        self.claims.append(span)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def some_come_and_the_rest_is_left(self, data: st.DataObject) -> None:
        span = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        for piece in span[: data.draw(st.integers(0, len(span)))]:
            self.bitmap.add(piece)
            self.come[piece] += 1
        self.bitmap.release(span)

    @invariant()
    def each_piece_comes_once(self) -> None:
        assert max(self.come.values(), default=1) == 1
        assert self.bitmap.left == 40 - len(self.come)
        assert self.bitmap.whole == (len(self.come) == 40)
        assert all(self.bitmap.is_here(piece) == bool(self.come[piece]) for piece in range(40))

    def _is_claimed(self, piece: int) -> bool:
        return any(piece in span for span in self.claims)


TestBringing = Bringing.TestCase


def missing(size: int, **more: int | bool) -> Missing:
    return Missing(BlobRef(BLOB, size, BLOB), **more)  # type: ignore[arg-type]


def test_previews_come_first_then_what_people_wait_for_then_other_small_ones() -> None:
    preview, small, photo = missing(PREVIEW), missing(ALWAYS), missing(PREVIEW + 1)
    early, late = missing(2**30, asked_ms=5), missing(2**30, asked_ms=9)
    assert sorted([small, late, photo, preview, early], key=lambda each: each.turn) == [
        preview,
        early,
        late,
        small,
        photo,
    ]


def test_large_blobs_and_those_that_gave_way_come_only_when_somebody_asks() -> None:
    assert missing(ALWAYS).wanted
    assert not missing(ALWAYS + 1).wanted
    assert not missing(1, let_go=True).wanted
    assert missing(2**40, asked_ms=1).wanted
    assert missing(1, let_go=True, asked_ms=1).wanted


@given(
    st.lists(
        st.builds(Foreign, st.text("abc", min_size=1), st.integers(1, 100), st.integers(0, 9)), max_size=12
    ),
    st.integers(0, 900),
)
def test_the_longest_unused_give_way_and_no_more_than_must(kept: list[Foreign], room: int) -> None:
    used = sum(each.size for each in kept)
    leaving = to_let_go(kept, used, room)
    left = used - sum(each.size for each in leaving)
    assert left <= room or len(leaving) == len(kept)
    if leaving:
        assert left + leaving[-1].size > room
        staying = list(kept)
        for each in leaving:
            staying.remove(each)
        assert all(each.used_ms >= leaving[-1].used_ms for each in staying)


def test_a_neighbour_that_lacks_a_blob_is_asked_again_ever_later_and_once_it_is_back() -> None:
    manners, now, waits = Manners(), 100.0, []
    for _ in range(4):
        manners.lacks(MILL_LANE, BLOB, now)
        assert not manners.may_ask(MILL_LANE, BLOB, now)
        assert manners.may_ask(MILL_LANE, "cd" * 32, now)
        assert manners.may_ask(OAKFIELD, BLOB, now)
        wait = manners.next_chance(MILL_LANE, [BLOB, "cd" * 32], now)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert manners.may_ask(MILL_LANE, BLOB, now)
    assert waits == [60.0, 600.0, 3600.0, 3600.0]
    manners.lacks(MILL_LANE, BLOB, now)
    manners.greet(MILL_LANE)
    assert manners.may_ask(MILL_LANE, BLOB, now)


def test_who_lied_about_a_blob_is_not_asked_for_it_even_when_it_comes_back() -> None:
    manners = Manners()
    manners.lied(MILL_LANE, BLOB, 0.0)
    manners.greet(MILL_LANE)
    assert not manners.may_ask(MILL_LANE, BLOB, 3600.0)
    assert manners.may_ask(MILL_LANE, "cd" * 32, 1.0)


def test_who_lies_again_and_again_is_asked_for_nothing_for_a_while() -> None:
    manners = Manners()
    for number in range(3):
        manners.lied(MILL_LANE, f"{number:064x}", 0.0)
    assert not manners.may_ask(MILL_LANE, BLOB, 60.0)
    assert manners.may_ask(OAKFIELD, BLOB, 60.0)
    assert manners.may_ask(MILL_LANE, BLOB, 3600.0)
    assert manners.next_chance(MILL_LANE, [BLOB], 60.0) == 3540.0
