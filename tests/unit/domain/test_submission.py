"""What people typed becomes a draft, or a sentence for each field to put right."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain import notices
from hub.domain.bodies import NoticeBody, encode_notice
from hub.domain.notices import BlobRef, Kind, NoticeDraft, Picture, Scope
from hub.domain.policy import DAY_MS, URGENT_MAX_MS, BoardPolicy
from hub.domain.records import MAX_BODY
from hub.domain.submission import (
    FormRefused,
    Typed,
    check_notice,
    check_reply,
    language,
    line,
    read_date,
)

TODAY = date(2026, 11, 23)
NOW_MS = int(datetime(2026, 11, 23, 9, 41, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000
GOOD: dict[str, Any] = {"kind": "give", "title": "Ladder", "text": "Three metres."}
BLOB = BlobRef("00" * 32, 1, "00" * 32)
PICTURE = Picture(BLOB, 8, 8, BLOB, 4, 4, "a ladder")


def draft(*, offset_ms: int = 0, **typed: Any) -> NoticeDraft:
    return check_notice(Typed(**{**GOOD, **typed}), (), BoardPolicy(), TODAY, NOW_MS, offset_ms, "en")


def problems(**typed: Any) -> dict[str, str]:
    with pytest.raises(FormRefused) as refused:
        draft(**typed)
    return {name: error.code for name, error in refused.value.problems.items()}


def test_a_plain_notice_stays_four_weeks_and_is_for_everyone() -> None:
    made = draft()
    assert (made.kind, made.title, made.text, made.lang) == (Kind.GIVE, "Ladder", "Three metres.", "en")
    assert made.expires_ms == NOW_MS + 28 * DAY_MS
    assert made.scope is Scope.NETWORK


def test_every_problem_is_told_at_once() -> None:
    told = problems(kind="", title=" ", text="\n", until="soon", scope="street", name="x" * 61)
    assert told == {
        "kind": "missing-kind",
        "title": "missing-title",
        "text": "missing-text",
        "until": "bad-date",
        "scope": "bad-scope",
        "name": "too-long",
    }


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("title", notices.MAX_TITLE),
        ("text", notices.MAX_TEXT),
        ("name", notices.MAX_NAME),
        ("contact", notices.MAX_CONTACT),
    ],
)
def test_the_longest_that_is_taken_is_taken(field: str, most: int) -> None:
    assert getattr(draft(**{field: "x" * most}), field) == "x" * most
    assert problems(**{field: "x" * (most + 1)}) == {field: "too-long"}


@pytest.mark.parametrize("letter", "aéжع字ਕබ\u0301𝔸😀")
def test_whatever_script_a_text_is_in_its_body_fits_or_it_is_refused(letter: str) -> None:
    text = letter * notices.MAX_TEXT
    try:
        made = draft(text=text)
    except FormRefused:
        return
    assert len(encode_notice(NoticeBody(made, NOW_MS), bytes(16))) <= MAX_BODY


@given(
    st.builds(
        Typed,
        kind=st.text(max_size=9) | st.sampled_from(Kind),
        title=st.text(max_size=150),
        text=st.text(max_size=150),
        name=st.text(max_size=70),
        contact=st.text(max_size=130),
        lang=st.text(max_size=9),
        until=st.text(max_size=12) | st.dates().map(str),
        scope=st.text(max_size=9) | st.sampled_from(Scope),
        alts=st.lists(st.text(max_size=210), max_size=3).map(tuple),
    )
)
def test_any_form_makes_a_draft_that_can_be_kept_or_is_refused_in_words(typed: Typed) -> None:
    told: list[str] = []
    try:
        made = check_notice(typed, (PICTURE,), BoardPolicy(), TODAY, NOW_MS, 0, "en")
    except FormRefused as refused:
        told = [str(error) for error in refused.problems.values()]
    if told:
        assert all(told)
        return
    assert NOW_MS < made.expires_ms <= NOW_MS + 402 * DAY_MS
    assert len(encode_notice(NoticeBody(made, NOW_MS), bytes(16))) <= MAX_BODY


def test_a_notice_stays_until_midnight_of_its_last_day_where_the_hub_stands() -> None:
    end = draft(until="2026-11-25", offset_ms=HOUR_MS).expires_ms
    assert end == int(datetime(2026, 11, 25, 23, tzinfo=UTC).timestamp() * 1000)


def test_today_is_a_last_day_and_so_is_the_last_of_400() -> None:
    assert draft(until=TODAY.isoformat()).expires_ms > NOW_MS
    assert draft(until=(TODAY + timedelta(days=400)).isoformat())
    assert problems(until=(TODAY + timedelta(days=401)).isoformat()) == {"until": "date-out-of-range"}
    assert problems(until=(TODAY - timedelta(days=1)).isoformat()) == {"until": "date-out-of-range"}


def test_an_urgent_notice_ends_within_three_days() -> None:
    assert draft(kind="urgent").expires_ms == NOW_MS + URGENT_MAX_MS
    assert draft(kind="urgent", until="2026-11-23").expires_ms < NOW_MS + DAY_MS
    assert draft(kind="urgent", until="2026-11-26").expires_ms == NOW_MS + URGENT_MAX_MS
    assert problems(kind="urgent", until="2026-11-27") == {"until": "urgent-too-long"}


@given(st.sampled_from(["", "26/11", "2026-11-24"]), st.integers(-14 * HOUR_MS, 14 * HOUR_MS))
def test_no_urgent_notice_outlasts_three_days_in_any_time_zone(until: str, offset_ms: int) -> None:
    assert draft(kind="urgent", until=until, offset_ms=offset_ms).expires_ms <= NOW_MS + URGENT_MAX_MS


def test_characters_that_turn_text_around_are_left_out_of_lines() -> None:
    assert draft(title="\u202eevil\u202c \u2066x\u2069").title == "evil x"
    assert line(" one\n two\tthree ") == "one two three"


@given(st.text())
def test_a_line_is_one_line_and_the_same_when_read_again(text: str) -> None:
    made = line(text)
    assert made == line(made)
    assert "\n" not in made
    assert not set(made) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


def test_what_stands_for_a_picture_is_what_was_typed_or_what_it_had() -> None:
    made = check_notice(
        Typed(**GOOD, alts=(" a  red ladder ",)), (PICTURE, PICTURE), BoardPolicy(), TODAY, NOW_MS, 0, "en"
    )
    assert [picture.alt for picture in made.pictures] == ["a red ladder", "a ladder"]


def test_a_reply_needs_a_text_of_the_right_length() -> None:
    assert check_reply(Typed(text=" Yes. ", name=" Ann "), "en").text == "Yes."
    for text in ("", " \n", "x" * (notices.MAX_REPLY + 1)):
        with pytest.raises(FormRefused) as refused:
            check_reply(Typed(text=text), "en")
        assert set(refused.value.problems) == {"text"}


@given(st.text(max_size=12))
def test_a_language_is_a_simple_tag_or_the_fallback(tag: str) -> None:
    assert language(tag, "en") in (tag, "en")


@pytest.mark.parametrize("tag", ["en", "cy", "ckb", "zh-Hant", "pt-BR"])
def test_simple_language_tags_are_taken(tag: str) -> None:
    assert language(tag, "xx") == tag


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("2026-12-25", (2026, 12, 25)),
        ("25/12/2026", (2026, 12, 25)),
        ("25.12.26", (2026, 12, 25)),
        ("25-12-2026", (2026, 12, 25)),
        ("25 12 2026", (2026, 12, 25)),
        (" 5/1/2027 ", (2027, 1, 5)),
        ("25/12", (2026, 12, 25)),
        ("25.12.", (2026, 12, 25)),
        ("23/11", (2026, 11, 23)),
        ("22/11", (2027, 11, 22)),
        ("29/2/2028", (2028, 2, 29)),
    ],
)
def test_dates_are_read_as_people_write_them(typed: str, read: tuple[int, int, int]) -> None:
    assert read_date(typed, TODAY) == date(*read)


@pytest.mark.parametrize(
    "typed",
    ["", "soon", "31/2/2026", "29/2/2026", "12/25/2026", "0/1/2026", "2026-13-01", "1/2/3/4", "0000-01-01"],
)
def test_what_is_no_date_is_none(typed: str) -> None:
    assert read_date(typed, TODAY) is None


def test_the_twenty_ninth_of_february_without_a_year_is_the_next_there_is() -> None:
    assert read_date("29/2", date(2026, 11, 23)) == date(2028, 2, 29)
    assert read_date("29/2", date(2028, 3, 1)) == date(2032, 2, 29)


@given(
    st.text(st.characters(codec="utf-8"), max_size=16)
    | st.from_regex(r"\d{1,4}[./ -]\d{1,2}[./ -]?\d{0,4}\.?"),
    st.dates(date(2026, 11, 23), date(2099, 12, 31)),
)
def test_any_text_is_a_date_or_none_and_never_a_fault(text: str, today: date) -> None:
    found = read_date(text, today)
    assert found is None or isinstance(found, date)


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_every_way_to_write_a_date_is_read_as_the_same_day(day: date) -> None:
    for form in ("%Y-%m-%d", "%d/%m/%Y", "%d.%m.%y", "%d-%m-%Y"):
        assert read_date(day.strftime(form), TODAY) == day
