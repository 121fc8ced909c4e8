"""What the hub says in each language: days, plurals, sizes, and whose language it speaks."""

import string
from datetime import UTC, datetime

import babel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.words import N_
from hub.words.catalogues import LANGUAGES, Catalogues, best_language, find_zone, guess_language

COUNTS = (0, 1, 2, 3, 5, 6, 11, 21, 100)


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


NOW = ms(2026, 11, 23, 12)


@pytest.fixture(scope="module")
def catalogues() -> Catalogues:
    return Catalogues.load()


def test_the_five_languages_are_offered_in_order_each_in_its_own_name(catalogues: Catalogues) -> None:
    assert list(catalogues) == ["en", "cy", "pl", "ur", "ar"]
    assert [catalogues[lang].dir for lang in catalogues] == ["ltr", "ltr", "ltr", "rtl", "rtl"]
    assert catalogues["cy"].name == "Cymraeg"


def test_days_are_written_as_a_reader_would_say_them(catalogues: Catalogues) -> None:
    english = catalogues["en"]
    assert english.day(ms(2026, 11, 23, 9, 40), NOW) == "Today, Monday 23 November"
    assert english.day(ms(2026, 11, 22), NOW) == "Sunday 22 November"
    assert english.day(ms(2025, 11, 22), NOW) == "Saturday 22 November 2025"
    assert catalogues["cy"].day(ms(2026, 11, 22), NOW) == "Dydd Sul 22 Tachwedd"
    assert catalogues["pl"].day(ms(2026, 11, 22), NOW) == "Niedziela 22 listopada"


def test_moments_are_a_time_today_a_word_yesterday_and_a_date_before(catalogues: Catalogues) -> None:
    english = catalogues["en"]
    assert english.when(ms(2026, 11, 23, 9, 40), NOW) == "09:40"
    assert english.when(ms(2026, 11, 22, 17, 10), NOW) == "yesterday, 17:10"
    assert english.when(ms(2026, 11, 3), NOW) == "3 November"
    assert english.when(ms(2025, 11, 3), NOW) == "3 November 2025"
    assert english.when(ms(2026, 11, 24), NOW) == "24 November"
    assert catalogues["ar"].when(ms(2026, 11, 22, 17, 10), NOW) == "أمس، 17:10"


def test_times_follow_the_clock_on_the_wall_in_summer_and_winter() -> None:
    london = Catalogues.load(time_zone="Europe/London")["en"]
    assert london.time(ms(2026, 7, 1, 12)) == "13:00"
    assert london.time(ms(2026, 12, 1, 12)) == "12:00"
    assert london.day(ms(2026, 6, 30, 23, 30), ms(2026, 7, 1, 8)) == "Today, Wednesday 1 July"


@pytest.mark.parametrize("name", ["", "Europe/Atlantis", "../../etc/passwd", "/etc/passwd", "a\0b", "Europe"])
def test_an_unknown_time_zone_falls_back_to_utc(name: str) -> None:
    assert find_zone(name) is UTC


@pytest.mark.parametrize("lang", [lang for lang in LANGUAGES if lang != "en"])
def test_the_names_of_days_and_months_agree_with_cldr(catalogues: Catalogues, lang: str) -> None:
    names = babel.Locale(lang)
    for day in range(7):
        written = catalogues[lang].day(ms(2026, 11, 16 + day), NOW).lower()
        assert written.startswith(names.days["format"]["wide"][day].lower())
    for month in range(1, 13):
        assert catalogues[lang].date(ms(2026, month, 5)) == f"5 {names.months['format']['wide'][month]} 2026"


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("count", COUNTS)
def test_every_count_has_its_plural_form(catalogues: Catalogues, lang: str, count: int) -> None:
    catalogue = catalogues[lang]
    written = catalogue.ago(NOW - count * 60_000, NOW) + catalogue.size(count)
    assert "{" not in written
    assert catalogue.ngettext("{count} minute ago", "{count} minutes ago", count).strip()


def test_polish_and_arabic_count_in_their_own_way(catalogues: Catalogues) -> None:
    polish, arabic = catalogues["pl"], catalogues["ar"]
    assert [polish.ago(NOW - n * 60_000, NOW) for n in (1, 3, 5, 22)] == [
        "1 minutę temu",
        "3 minuty temu",
        "5 minut temu",
        "22 minuty temu",
    ]
    assert arabic.ago(NOW - 2 * 3_600_000, NOW) == "قبل ساعتين"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (84_123, "84 kB"),
        (999_600, "1 MB"),
        (1_250_000, "1.2 MB"),
        (15_000_000, "15 MB"),
        (2 * 10**12, "2 TB"),
        (5 * 10**15, "5,000 TB"),
    ],
)
def test_sizes_are_rounded_to_what_people_care_about(catalogues: Catalogues, count: int, words: str) -> None:
    assert catalogues["en"].size(count) == words


def test_numbers_use_the_marks_of_the_language(catalogues: Catalogues) -> None:
    assert catalogues["en"].number(1234567.25, 1) == "1,234,567.2"
    assert catalogues["pl"].number(1234.5, 1) == "1\u00a0234,5"
    assert catalogues["en"].number(-1234) == "-1,234"


@given(st.integers(), st.integers(), st.sampled_from(list(LANGUAGES)))
def test_any_two_times_can_be_put_into_words(then: int, now: int, lang: str) -> None:
    catalogue = _LOADED[lang]
    for written in (
        catalogue.day(then, now),
        catalogue.when(then, now),
        catalogue.ago(then, now),
        catalogue.date(then),
    ):
        assert written
        assert "{" not in written


_LOADED = Catalogues.load()


def test_a_template_is_filled_and_a_missing_field_left_out(catalogues: Catalogues) -> None:
    english = catalogues["en"]
    assert english.translate("Try again in {seconds} seconds.", seconds=5) == "Try again in 5 seconds."
    assert english.translate("Try again in {seconds} seconds.") == "Try again in  seconds."
    assert english.translate("{} {0} {a.b} {c[d]}", a=1) == "{} {0} {a.b} {c[d]}"
    assert english.translate("", template=1) == ""


@given(st.text(string.printable), st.dictionaries(st.text(string.ascii_letters, min_size=1), st.text()))
def test_no_template_can_make_an_error_page_fail(template: str, fields: dict[str, str]) -> None:
    assert isinstance(_LOADED["ar"].translate(template, **fields), str)


def test_the_empty_message_is_not_the_header_of_the_catalogue(catalogues: Catalogues) -> None:
    assert catalogues["cy"].gettext("") == ""


def test_what_has_no_translation_is_said_in_english(catalogues: Catalogues) -> None:
    assert catalogues["ur"].gettext("Never collected.") == "Never collected."
    assert N_("Never collected.") == "Never collected."


@pytest.mark.parametrize(
    ("query", "cookie", "header", "lang"),
    [
        (None, None, None, "en"),
        ("cy", "pl", "ar", "cy"),
        ("xx", "pl", "ar", "pl"),
        ("", "'; --", "ar-EG,en;q=0.4", "ar"),
        (None, None, "de-DE,de;q=0.9", "en"),
    ],
)
def test_a_choice_beats_the_cookie_beats_the_browser_beats_the_hub(
    catalogues: Catalogues, query: str | None, cookie: str | None, header: str | None, lang: str
) -> None:
    for _ in range(2):
        assert catalogues.negotiate(query, cookie, header, "en").lang == lang


@pytest.mark.parametrize(
    ("header", "lang"),
    [
        ("cy", "cy"),
        ("en-GB,en;q=0.9,cy;q=0.8", "en"),
        ("en;q=0.8, cy;q=0.9", "cy"),
        ("PL-pl", "pl"),
        ("de, cy;q=0.001", "cy"),
        ("cy;q=0, en;q=0.1", "en"),
        ("cy;q=0, cy-GB, pl;q=0.5", "pl"),
        ("*, cy;q=0.5", None),
        ("cy;q=0.5, *;q=0.1", "cy"),
        ("cy;q=1.5, pl;q=x, ar;q=0.2", "ar"),
        ("cy;level=1, ar", "ar"),
        (",,;;q=1,", None),
        ("ur ; q=1.000", "ur"),
    ],
)
def test_the_browsers_languages_are_weighed(header: str, lang: str | None) -> None:
    assert best_language(header, list(LANGUAGES)) == lang


@given(st.text(st.sampled_from("encyplurd-;,q=01.* \t\x00é")))
def test_any_header_gives_an_offered_language_or_none(header: str) -> None:
    assert best_language(header, list(LANGUAGES)) in {*LANGUAGES, None}


def test_many_different_headers_do_not_fill_the_memory(catalogues: Catalogues) -> None:
    for number in range(5_000):
        catalogues.negotiate(None, None, f"cy;q=0.{number:03}", "en")
        catalogues.negotiate(None, None, f"cy;q=0.5,{'x' * 500}{number}", "en")
    assert len(catalogues._headers) <= 200


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("Lost cat near the green, please call", "en"),
        ("Lessons in Polish with Małgorzata at the hall", "en"),
        ("Zaginął kot w parku", "pl"),
        ("Dzień dobry, szukam pracy", "pl"),
        ("Mae’r bws wedi torri", "cy"),
        ("Croeso i bawb yn y neuadd", "cy"),
        ("Bydd y tŵr ar gau", "cy"),
        ("میری بلی کھو گئی", "ur"),
        ("قطة مفقودة في الحديقة", "ar"),
        ("قطة مفقودة (tabby)", "ar"),
        ("Sale", None),
        ("12 3 🐈", None),
        ("", None),
    ],
)
def test_the_language_of_a_notice_is_guessed_from_script_and_words(text: str, lang: str | None) -> None:
    assert guess_language(text) == lang


@given(st.text())
def test_a_guess_is_a_language_or_nothing(text: str) -> None:
    assert guess_language(text) in {*LANGUAGES, None}
