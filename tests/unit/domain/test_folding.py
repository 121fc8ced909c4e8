from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.folding import excerpt_around, fold, mark, words

LETTERS = st.text(st.characters(codec="utf-8"), max_size=80)


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("Gŵyl y Tŷ", "gwyl y ty"),
        ("ÉCOLE café", "ecole cafe"),
        ("żółć Łódź święto", "zolc lodz swieto"),
        ("Straße", "STRASSE"),
        ("smørrebrød Đorđe æble", "smorrebrod dorde aeble"),
        ("mae'n o’r i'r", "maen or ir"),
        ("ﬁle ｆｕｌｌ", "file full"),
        ("İstanbul ıssız", "istanbul issiz"),
        ("e\u0301te\u0301", "été"),
        ("soft\u00adhyphen", "softhyphen"),
        ("٢٥ ۲۵", "25 25"),
        ("مُحَمَّد", "محمد"),
        ("محـــمد", "محمد"),
        ("أحمد إحمد آحمد ٱحمد", "احمد احمد احمد احمد"),
        ("مدرسة", "مدرسه"),
        ("مصطفى", "مصطفي"),
        ("ہندی گھر", "هندي گهر"),
        ("کتاب لڑکے", "كتاب لڑكي"),
        ("میں", "مین"),
        ("می\u200cخواهم", "میخواهم"),
        ("مسئلہ", "مسيلہ"),
    ],
)
def test_spellings_of_one_word_fold_alike(written: str, typed: str) -> None:
    assert fold(written) == fold(typed)


@pytest.mark.parametrize(
    ("one", "other"),
    [("پانی", "بانی"), ("گل", "کل"), ("چار", "جار"), ("ٹال", "تال"), ("ਸੁਖ", "ਸੇਖ"), ("কল", "কাল"), ("ش", "س")],
)
def test_different_letters_stay_apart(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_words_are_split_at_everything_that_is_no_letter_or_digit() -> None:
    assert words("Jumble sale—Sat. 10:30, St Anne's_hall (£1/head) 🎉️") == [
        "jumble", "sale", "sat", "10", "30", "st", "annes", "hall", "1", "head",
    ]  # fmt: skip


def test_vowel_signs_do_not_split_indic_words() -> None:
    assert len(words("ਪੰਜਾਬੀ বাংলা हिन्दी")) == 3


@given(LETTERS)
def test_folding_twice_changes_nothing_more(text: str) -> None:
    once = " ".join(words(text))
    assert " ".join(words(once)) == once


@given(LETTERS, LETTERS)
def test_folding_looks_at_one_character_at_a_time(one: str, other: str) -> None:
    assert fold(one + other) == fold(one) + fold(other)


@given(LETTERS)
def test_words_hold_nothing_that_would_end_or_hide_them(text: str) -> None:
    for word in words(text):
        assert word
        assert all(unicodedata.category(letter)[0] in "LNM" for letter in word)
        assert word.isprintable()


def test_the_beginning_of_each_matching_word_is_marked_in_the_original() -> None:
    assert mark("Gŵyl yn y Tŷ gwyliau", ["gwyl"]) == [
        ("Gŵyl", True),
        (" yn y Tŷ ", False),
        ("gwyl", True),
        ("iau", False),
    ]


def test_a_hit_keeps_its_accents_and_ligatures_whole() -> None:
    assert mark("cafe\u0301s", ["cafe"]) == [("cafe\u0301", True), ("s", False)]
    assert mark("ﬁsh", ["f"]) == [("ﬁ", True), ("sh", False)]
    assert mark("مُحَمَّد", ["محم"]) == [("مُحَمَّ", True), ("د", False)]


def test_the_longest_of_several_terms_is_marked_and_the_middle_of_words_is_not() -> None:
    assert mark("party art artist", ["art", "artis"]) == [
        ("party ", False),
        ("art", True),
        (" ", False),
        ("artis", True),
        ("t", False),
    ]


@given(LETTERS, st.lists(LETTERS, max_size=3))
def test_marked_pieces_join_up_to_the_text(text: str, queries: list[str]) -> None:
    terms = [word for query in queries for word in words(query)] + [word[:2] for word in words(text)]
    pieces = mark(text, terms)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(piece for piece, _ in pieces)
    assert any(hit for _, hit in pieces) == any(word.startswith(t) for word in words(text) for t in terms)


def test_an_excerpt_begins_shortly_before_the_hit_at_a_word() -> None:
    text = (
        "The allotment society meets each month. " * 5 + "Bring your own marrow to the show. " + "Tea. " * 40
    )
    excerpt = excerpt_around(text, ["marrow"], 60)
    assert excerpt.startswith("…")
    assert excerpt.endswith("…")
    assert "marrow" in excerpt
    assert len(excerpt) <= 60
    assert excerpt[1:-1] in text


def test_a_short_text_is_its_own_excerpt_on_one_line() -> None:
    assert excerpt_around("Two\n\n  lines", ["x"], 40) == "Two lines"


def test_without_a_hit_the_excerpt_is_the_beginning() -> None:
    assert excerpt_around("one two three four five six seven", ["zebra"], 20) == "one two three four…"


@given(
    st.text(st.sampled_from("ab \u0301ŵ…پ\n"), max_size=200), st.sampled_from(["a", "b", "ab", "w", "پ"]),
    st.integers(20, 60),
)  # fmt: skip
def test_an_excerpt_fits_and_shows_a_hit_if_there_is_one(text: str, term: str, length: int) -> None:
    excerpt = excerpt_around(text, [term], length)
    assert len(excerpt) <= length
    if any(word.startswith(term) for word in words(text)):
        assert any(hit for _, hit in mark(excerpt, [term]))
