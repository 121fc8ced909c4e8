"""Finding the handler of a path."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.runtime.routing import Match, Route, Router

TABLE = [
    Route("GET", "/", "board"),
    Route("GET", "/notices/new", "form"),
    Route("POST", "/notices", "put up"),
    Route("GET", "/notices/{id}.json", "notice as JSON"),
    Route("GET", "/notices/{id}/{act}", "act"),
    Route("GET", "/notices/{id}", "notice"),
    Route("POST", "/notices/{id}", "change"),
    Route("GET", "/n/{id}", "short"),
]
ROUTER = Router(TABLE)


def found(method: str, path: str) -> object:
    match = ROUTER.find(method, path)
    return (match.handler, match.names) if isinstance(match, Match) else match


def test_a_whole_path_wins_over_a_pattern() -> None:
    assert found("GET", "/notices/new") == ("form", {})


def test_the_first_pattern_that_fits_wins() -> None:
    assert found("GET", "/notices/0123456789.json") == ("notice as JSON", {"id": "0123456789"})
    assert found("GET", "/notices/0123456789") == ("notice", {"id": "0123456789"})


def test_a_name_stands_for_one_part_of_a_path_that_is_not_empty() -> None:
    assert found("GET", "/notices/a/b") == ("act", {"id": "a", "act": "b"})
    assert found("GET", "/notices/a/b/c") is None
    assert found("GET", "/n/") is None


def test_head_is_answered_by_what_answers_get() -> None:
    assert found("HEAD", "/") == ("board", {})


def test_a_method_that_is_not_served_hears_which_are() -> None:
    assert found("DELETE", "/notices/x") == frozenset({"GET", "POST"})
    assert found("POST", "/") == frozenset({"GET"})


def test_a_pattern_that_fits_but_lacks_the_method_does_not_hide_a_later_one() -> None:
    assert found("POST", "/notices/x.json") == ("change", {"id": "x.json"})


def test_dots_and_other_marks_of_a_pattern_stand_for_themselves() -> None:
    assert found("GET", "/notices/axjson") == ("notice", {"id": "axjson"})
    assert found("GET", "/n/{id}") == ("short", {"id": "{id}"})


@given(st.text(max_size=60))
def test_any_path_is_looked_up_without_fault(path: str) -> None:
    match = ROUTER.find("GET", path)
    assert match is None or isinstance(match, (Match, frozenset))


@given(st.text(st.characters(blacklist_characters="/", blacklist_categories=("Cs",)), min_size=1))
def test_whatever_stands_in_a_path_is_the_value_of_its_name(part: str) -> None:
    assert found("GET", f"/n/{part}") == ("short", {"id": part})
