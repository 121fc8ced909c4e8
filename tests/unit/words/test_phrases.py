"""The four words that let somebody take down their notice from another device."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.words.phrases import PHRASE_BYTES, WORDS, make_phrase, normalise


def test_there_are_1024_different_plain_words_in_order() -> None:
    assert len(set(WORDS)) == 1024
    assert list(WORDS) == sorted(WORDS)
    assert all(3 <= len(word) <= 7 and word.isascii() and word.islower() and word.isalpha() for word in WORDS)


def test_no_word_begins_another_and_no_slip_of_one_letter_makes_another() -> None:
    assert not any(later.startswith(word) for word, later in pairwise(WORDS))
    blanked = [word[:place] + "?" + word[place + 1 :] for word in WORDS for place in range(len(word))]
    shortened = {word[:place] + word[place + 1 :] for word in WORDS for place in range(len(word))}
    assert len(blanked) == len(set(blanked))
    assert not shortened & set(WORDS)


@given(st.binary(min_size=PHRASE_BYTES, max_size=PHRASE_BYTES))
def test_a_phrase_keeps_all_forty_bits_and_survives_being_typed(random_bytes: bytes) -> None:
    phrase = make_phrase(random_bytes)
    number = 0
    for word in phrase.split(" "):
        number = number << 10 | WORDS.index(word)
    assert number.to_bytes(PHRASE_BYTES, "big") == random_bytes
    for typed in (phrase.upper(), phrase.replace(" ", "-"), f"  {phrase.replace(' ', ', ')}.\n", phrase):
        assert normalise(typed) == phrase


def test_different_bytes_give_different_phrases() -> None:
    phrases = [
        make_phrase(number.to_bytes(5, "big")) for number in (0, 1, 1 << 10, 1 << 20, 1 << 30, 2**40 - 1)
    ]
    assert all(one != other for one, other in combinations(phrases, 2))


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_phrase_needs_its_five_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        make_phrase(bytes(length))


@given(st.text())
def test_anything_typed_has_one_normal_form(typed: str) -> None:
    once = normalise(typed)
    assert normalise(once) == once
