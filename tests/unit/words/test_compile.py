"""From words in the source to compiled catalogues, and the gaps a test has to find."""

from gettext import GNUTranslations
from pathlib import Path

import pytest

from hub.words.compile import collect, compile_all, languages, missing, start_language


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A package folder with one module, one template and an empty Welsh catalogue."""
    hub = tmp_path / "hub"
    (hub / "web" / "templates").mkdir(parents=True)
    (hub / "board.py").write_text(
        'from hub.words import N_\n# Translators: on a button\nPUT = N_("Put up a notice")\n'
        'n = ngettext("{n} reply", "{n} replies", 2)\n',
        encoding="utf-8",
    )
    (hub / "web" / "templates" / "board.html").write_text(
        "{{ _('Search') }} {% trans count=n %}\n  one <b>notice</b>\n{% pluralize %}\n"
        "  {{ count }} <b>notices</b>\n{% endtrans %}",
        encoding="utf-8",
    )
    start_language("cy", hub)
    return hub


def po(hub: Path) -> Path:
    return hub / "words" / "locales" / "cy" / "LC_MESSAGES" / "hub.po"


def translate(hub: Path, english: str, welsh: str) -> None:
    text = po(hub).read_text(encoding="utf-8")
    assert f'msgid "{english}"\nmsgstr ""' in text
    po(hub).write_text(
        text.replace(f'msgid "{english}"\nmsgstr ""', f'msgid "{english}"\nmsgstr "{welsh}"'), "utf-8"
    )


def test_messages_of_code_and_templates_are_collected(house: Path) -> None:
    collect(house)
    assert languages(house) == ["cy"]
    text = po(house).read_text(encoding="utf-8")
    for part in (
        'msgid "Put up a notice"',
        "#. on a button",
        "#: hub/board.py\n",
        'msgid "one <b>notice</b>"\nmsgid_plural "%(count)s <b>notices</b>"',
        'msgid_plural "{n} replies"',
        'msgid "Search"',
    ):
        assert part in text


def test_collecting_twice_gives_the_same_bytes_without_dates(house: Path) -> None:
    collect(house)
    first = po(house).read_bytes()
    collect(house)
    assert po(house).read_bytes() == first
    assert b"Date" not in first
    assert b"EMAIL" not in first


def test_a_translation_survives_and_is_never_guessed_from_a_similar_message(house: Path) -> None:
    collect(house)
    translate(house, "Search", "Chwilio")
    translate(house, "Put up a notice", "Rhoi hysbysiad")
    (house / "board.py").write_text('N_("Put up a notices")', encoding="utf-8")
    collect(house)
    text = po(house).read_text(encoding="utf-8")
    assert 'msgstr "Chwilio"' in text
    assert "Rhoi hysbysiad" not in text
    assert "fuzzy" not in text


def test_what_is_missing_stale_or_wrong_is_listed(house: Path) -> None:
    assert "not collected: Search" in missing("cy", house)
    collect(house)
    assert missing("cy", house) == [
        "untranslated: Put up a notice",
        "untranslated: Search",
        "untranslated: one <b>notice</b>",
        "untranslated: {n} reply",
    ]
    translate(house, "Search", "{what} <i>Chwilio</i>")
    translate(house, "Put up a notice", "Rhoi hysbysiad")
    (house / "board.py").write_text("", encoding="utf-8")
    assert missing("cy", house) == [
        "no longer used: Put up a notice",
        "no longer used: {n} reply",
        "other fields than the English: Search",
        "other markup than the English: Search",
        "untranslated: one <b>notice</b>",
    ]


def test_a_fuzzy_translation_counts_as_missing_and_is_not_compiled(house: Path) -> None:
    collect(house)
    translate(house, "Search", "Chwilio")
    text = po(house).read_text(encoding="utf-8")
    po(house).write_text(text.replace('msgid "Search"', '#, fuzzy\nmsgid "Search"'), "utf-8")
    assert "marked as unsure (fuzzy): Search" in missing("cy", house)
    (compiled,) = compile_all(house)
    with compiled.open("rb") as file:
        assert GNUTranslations(file).gettext("Search") == "Search"


def test_compiled_words_are_what_gettext_reads(house: Path) -> None:
    collect(house)
    translate(house, "Search", "Chwilio")
    (compiled,) = compile_all(house)
    with compiled.open("rb") as file:
        assert GNUTranslations(file).gettext("Search") == "Chwilio"


def test_starting_a_language_again_leaves_its_words_alone(house: Path) -> None:
    collect(house)
    translate(house, "Search", "Chwilio")
    start_language("cy", house)
    assert "Chwilio" in po(house).read_text(encoding="utf-8")
