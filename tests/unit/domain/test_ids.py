"""How objects are written in addresses and read from paper."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.domain.ids import (
    ALPHABET,
    HubId,
    ObjectId,
    base32,
    object_range,
    parse_public,
    public_form,
    short_hub_id,
)

objects = st.binary(min_size=16, max_size=16).map(ObjectId)
lengths = st.integers(10, 26)


@given(objects, lengths)
def test_a_public_id_is_read_back_as_it_was_written(obj: ObjectId, length: int) -> None:
    name = public_form(obj, length)
    assert len(name) == length
    assert parse_public(name) == name


@given(objects, lengths)
def test_capitals_and_letters_misread_for_digits_are_the_same_id(obj: ObjectId, length: int) -> None:
    name = public_form(obj, length)
    for one in "lLiI":
        assert parse_public(name.upper().replace("1", one).replace("0", "O")) == name


@given(objects, objects, lengths)
def test_the_range_of_a_name_holds_exactly_the_objects_that_begin_so(
    obj: ObjectId, other: ObjectId, length: int
) -> None:
    name = public_form(obj, length)
    low, high = object_range(name)
    assert low <= obj <= high
    assert (low <= other <= high) == public_form(other, 26).startswith(name)


@given(objects, lengths)
def test_the_ends_of_a_range_bear_its_name_and_their_neighbours_do_not(obj: ObjectId, length: int) -> None:
    name = public_form(obj, length)
    low, high = (int.from_bytes(end, "big") for end in object_range(name))
    for value in (low, high):
        assert public_form(ObjectId(value.to_bytes(16, "big")), length) == name
    for value in (low - 1, high + 1):
        if 0 <= value < 2**128:
            assert public_form(ObjectId(value.to_bytes(16, "big")), length) != name


@given(st.text(max_size=40))
def test_any_text_is_a_canonical_name_or_none(text: str) -> None:
    name = parse_public(text)
    if name is not None:
        assert 10 <= len(name) <= 26
        assert set(name) <= set(ALPHABET)
        assert parse_public(name) == name
        low, high = object_range(name)
        assert len(low) == len(high) == 16


@given(st.text(ALPHABET, min_size=10, max_size=26))
def test_every_canonical_name_has_a_range_of_object_ids(name: str) -> None:
    low, high = object_range(name)
    assert low <= high
    assert len(low) == len(high) == 16


def test_too_short_too_long_and_foreign_letters_are_no_names() -> None:
    assert parse_public("123456789") is None
    assert parse_public("1" * 27) is None
    assert parse_public("u234567890") is None
    assert parse_public("..........") is None
    assert parse_public("１２３４５６７８９０") is None


def test_base32_is_crockfords_with_the_first_bits_first() -> None:
    assert base32(b"") == ""
    assert base32(b"\xff") == "zw"
    assert base32(bytes(5)) == "00000000"
    assert [ALPHABET.index(letter) for letter in base32(b"\x08\x86\x42\x98\xe8")] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_hubs_of_one_name_are_told_apart_by_four_characters() -> None:
    assert short_hub_id(HubId(bytes(32))) == "0000"
    assert short_hub_id(HubId(b"\xff" * 32)) == "zzzz"
