"""Settings: one file, typed, refused with the line and the nearest known key."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.settings import Settings, SettingsError, apply, describe, load, parse, parse_value, value_of


def test_an_empty_file_and_no_file_give_the_defaults(tmp_path: Path) -> None:
    assert parse("", "hub.toml") == Settings()
    assert load(tmp_path / "hub.toml", {}, {}) == Settings()


def test_the_file_is_read_into_its_sections() -> None:
    settings = parse(
        '[hub]\nname = "Green Lane Hub"\n[web]\nport = 80\nhosts = ["hall.example"]\nhead_seconds = 5\n'
        '[board]\nposting = "checked"\nrules_date = 2026-05-01\n[discovery]\nannounce = false\n',
        "hub.toml",
    )
    assert settings.hub.name == "Green Lane Hub"
    assert (settings.web.port, settings.web.hosts, settings.web.head_seconds) == (80, ("hall.example",), 5.0)
    assert (settings.board.posting, settings.board.rules_date) == ("checked", "2026-05-01")
    assert not settings.discovery.announce
    assert settings.limits == Settings().limits


def test_flags_stand_above_the_environment_above_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_bytes(b'\xef\xbb\xbf[hub]\nname = "File"\n[web]\nport = 1\n')
    assert load(file, {}, {}).hub.name == "File"
    settings = load(file, {"HUB_PORT": "2", "HUB_NAME": "Environment", "HUB_OTHER": "x"}, {"web.port": "3"})
    assert (settings.hub.name, settings.web.port) == ("Environment", 3)
    assert load(file, {"HUB_PORT": ""}, {}).web.port == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[web]\n\nprot = 1", "hub.toml, line 3: there is no setting “prot”. Did you mean “port”?"),
        ("\n[wbe]\nport = 1", "hub.toml, line 2: there is no section “[wbe]”. Did you mean “web”?"),
        ("[log]\nzzz = 1", "hub.toml, line 2: there is no setting “zzz”. Known here: level."),
        ("port = 1", "hub.toml, line 1: “port” stands under [web]."),
        ("[web]\nname = 'x'", "hub.toml, line 2: “name” stands under [hub]."),
        ("hub = 1", "hub.toml, line 1: “hub” is a section: write [hub]."),
        ("[web]\nport = 99999", "hub.toml, line 2: “99999” does not fit; it has to be a whole number from 0"),
        ("[web]\nport = '80'", "hub.toml, line 2: “80” does not fit; it has to be a whole number from 0 to"),
        ("[web]\nport = '80'", "65535, without quotes."),
        ("[web]\nport = true", "hub.toml, line 2: “true” does not fit;"),
        ("[hub]\nname = 1", "“1” does not fit; it has to be a name of at most 60 characters, in quotes."),
        ("[hub]\nname = ' '", "“ ” does not fit; it has to be a name of at most 60 characters."),
        ("[hub]\nname = 'a\tb'", "does not fit; it has to be a name"),
        ("[hub]\ntime_zone = 'Europe/Londn'", "it has to be a time zone such as Europe/London."),
        ("[web]\nlisten = 'everywhere'", "it has to be an IP address, or empty."),
        ("[board]\nposting = 'opn'", "“opn” does not fit; it has to be one of open, checked, paused."),
        ("[board]\nrules_date = '2026-02-30'", "it has to be a date such as 2026-11-23."),
        ("[board]\nrules = [1]", "“1” does not fit; it has to be a list of 1 or more texts."),
        ("[board]\nrules = []", "it has to be a list of 1 or more texts."),
        ("[board]\nlifetime_days = 28.5", "it has to be a whole number from 1 to 400."),
        ("[web]\nhead_seconds = nan", "it has to be a number from 0.2 to 120."),
        ("[web]\nport 80", "hub.toml, line 2: this is not TOML: "),
        ("[web]\nport = 1\nport = 2", "hub.toml, line 3: this is not TOML: "),
        ("[[hub]]\nname = 'x'", "hub.toml, line 1: “hub” is a section: write [hub]."),
        ("hub.name = 'x'\nweb.prt = 1", "hub.toml, line 2: there is no setting “prt”."),
        ("[hub]\ncontact = '''\nprot = 1\n'''\n[web]\nprot = 1", "hub.toml, line 6: there is no setting"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line_and_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(text, "hub.toml")
    assert sentence in str(refused.value)
    assert str(refused.value).endswith(" Nothing was changed.")


@given(st.lists(st.sampled_from(["", "# note", "[hub]", "port = 1"]), max_size=8), st.integers(0, 8))
def test_the_line_named_is_where_the_key_stands(filler: list[str], place: int) -> None:
    before = [line for line in filler if line.startswith("#") or not line]
    text = "\n".join([*before, "[hub]", *before, 'contact = """', *filler[:place], '"""', "nmae = 'x'"])
    with pytest.raises(SettingsError) as refused:
        parse(text, "hub.toml")
    assert f"line {text.count(chr(10)) + 1}: there is no setting “nmae”" in str(refused.value)


@given(st.text())
def test_any_text_is_settings_or_refused_in_words(text: str) -> None:
    with suppress(SettingsError):
        parse(text, "hub.toml")


@given(st.sampled_from([line.key for line in describe()]), st.text())
def test_any_value_typed_for_a_setting_fits_or_is_refused_in_words(key: str, text: str) -> None:
    with suppress(SettingsError):
        settings = apply(Settings(), {key: text})
        assert apply(Settings(), {key: value_of(settings, key)}) == settings


def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path, {}, {})
    (tmp_path / "hub.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(tmp_path / "hub.toml", {}, {})


def test_a_mistake_in_the_environment_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^web\.port: “http” does not fit"):
        load(tmp_path / "hub.toml", {"HUB_PORT": "http"}, {})


def test_a_setting_is_changed_by_text_and_read_back_as_text() -> None:
    settings = apply(Settings(), {"board.posting": "paused", "web.hosts": "a.example | b.example"})
    assert (settings.board.posting, settings.web.hosts) == ("paused", ("a.example", "b.example"))
    assert value_of(settings, "web.hosts") == "a.example | b.example"
    assert parse_value("discovery.announce", "false") is False
    assert Settings().board.posting == "open"


@pytest.mark.parametrize("key", ["", "board", "board.", "board.postin", "bord.posting", "hub.name.x"])
def test_an_unknown_setting_is_refused_with_the_nearest(key: str) -> None:
    with pytest.raises(SettingsError, match="there is no setting"):
        parse_value(key, "paused")


def test_the_nearest_setting_is_offered() -> None:
    with pytest.raises(SettingsError, match=r"Did you mean “board\.posting”\?"):
        parse_value("bord.posting", "paused")


def test_every_setting_is_described_in_words_and_its_default_fits() -> None:
    described = describe()
    assert len({line.key for line in described}) == len(described)
    for line in described:
        assert line.sentence.endswith("."), line.key
        assert line.sentence[0].isalpha(), line.key
        assert line.type, line.key
        assert value_of(Settings(), line.key) == line.default
        assert apply(Settings(), {line.key: line.default}) == Settings()


def test_what_decides_about_posting_can_be_changed_while_the_hub_runs() -> None:
    live = {line.key for line in describe() if line.live}
    assert {"board.posting", "board.first_held", "limits.per_device", "hub.caretaker"} <= live
    assert not live & {"web.port", "web.listen", "hub.time_zone", "log.level"}
