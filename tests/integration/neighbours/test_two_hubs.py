"""Real hubs on one machine, in a line: what is put up on one is on the other's board, and what is not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.api.schema import CollectionIn, Decision
from tests.integration.neighbours.town import SOON_S, Line, open_town, photo, pictures_on, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Figures = Callable[[str, object], None]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Elm Road knows Mill Lane, Mill Lane knows Oakfield; the two at the ends have never met."""
    with open_town(tmp_path_factory.mktemp("line")) as town:
        elm, mill, oak = town.open("Elm Road", "Mill Lane", "Oakfield")
        town.pair(elm, mill)
        town.pair(mill, oak)
        yield Line(elm, mill, oak)


def test_a_notice_with_a_photo_its_reply_and_its_change_are_on_the_other_board_soon(
    line: Line, figures: Figures
) -> None:
    notice = line.elm.puts_up("Ladder to lend", "Three metres.", pictures=[photo()])
    seen = until(lambda: line.mill.shows("Ladder to lend"), SOON_S)
    page = line.mill.visitor.get("/").text
    assert "from <bdi>Elm Road</bdi>" in page
    assert f"by-{line.mill.neighbour(line.elm).colour}" in page
    pictured = until(lambda: pictures_on(line.mill.visitor, notice) == [200], SOON_S, "the photo")
    line.mill.replies(notice, "I would like it on Tuesday.")
    answered = until(lambda: line.elm.shows("I would like it on Tuesday.", f"/notices/{notice}"), SOON_S)
    line.elm.changes(notice, title="Ladder to lend", text="Four metres.")
    changed = until(lambda: line.mill.shows("Four metres.", f"/notices/{notice}"), SOON_S)
    figures("seconds until seen, pictured, answered, changed", (seen, pictured, answered, changed))


def test_an_urgent_notice_of_the_next_hub_leads_this_board_as_well(line: Line) -> None:
    line.elm.puts_up("Water off until six", kind="urgent")
    line.elm.puts_up("Kittens")
    until(lambda: line.mill.shows("Kittens"), SOON_S)
    page = line.mill.visitor.get("/").text
    assert re.search(r'class="note[^"]* urgent', page)
    assert page.index("Water off until six") < page.index("Kittens")


def test_a_file_in_a_collection_can_be_had_from_the_next_hub(line: Line, tmp_path: Path) -> None:
    line.elm.client.add_collection(CollectionIn(title="Minutes", scope="network"))
    (tmp_path / "march.txt").write_text("The roof was discussed.\n" * 200)
    file = line.elm.client.add_file("Minutes", tmp_path / "march.txt", by="Gwen")
    until(lambda: line.mill.shows("Minutes", "/files"), SOON_S, "the collection")
    at = f"/files/{file.id}/march.txt"
    until(lambda: line.mill.shows("The roof was discussed.", at), 2 * SOON_S, "the file")


def test_what_is_for_one_hall_never_leaves_it_and_what_is_for_neighbours_goes_one_hall_far(
    line: Line,
) -> None:
    line.elm.puts_up("quokkahub", "quokkahub", scope="hub")
    line.elm.puts_up("quokkanear", "quokkanear", scope="neighbours")
    line.elm.puts_up("quokkafar", "quokkafar", scope="network")
    until(lambda: line.oak.shows("quokkafar"), SOON_S, "two halls far")
    until(lambda: line.mill.shows("quokkanear"), SOON_S, "one hall far")
    for hall in (line.elm, line.mill, line.oak):
        hall.client.sync()
    assert line.elm.shows("quokkahub")
    assert line.elm.holds("quokkahub")
    assert not line.mill.holds("quokkahub")
    assert not line.oak.holds("quokkahub")
    assert not line.oak.holds("quokkanear")
    until(lambda: line.oak.shows("from <bdi>Elm Road</bdi>"), what="known by name two halls away")


def test_what_is_held_is_shown_to_nobody_until_a_caretaker_approves_it(line: Line) -> None:
    line.mill.decide(line.elm, "choose", "hold", outcome="notices")
    until(lambda: line.mill.is_with(line.elm) and line.elm.is_with(line.mill), what="in step again")
    notice = line.elm.puts_up("Held quince", "Held quince words")
    until(lambda: [each.id for each in line.mill.client.notices("waiting")] == [notice], SOON_S, "waiting")
    for path in (
        "/",
        f"/notices/{notice}",
        "/search?q=quince",
        "/notices.atom",
        "/screen",
        "/api/v1/notices",
    ):
        assert not line.mill.shows("Held quince", path), path
    line.mill.client.act(notice, "approve", Decision())
    assert line.mill.shows("Held quince")
    line.mill.decide(line.elm, "choose", "exchange", outcome="notices")
    until(lambda: line.mill.is_with(line.elm) and line.elm.is_with(line.mill), what="in step at the end")


def test_what_either_hub_will_not_exchange_goes_neither_way(line: Line) -> None:
    line.mill.decide(line.elm, "choose", "none", outcome="notices")
    until(lambda: line.mill.is_with(line.elm) and line.elm.is_with(line.mill), what="in step again")
    line.elm.puts_up("Walnuts from Elm Road")
    line.mill.puts_up("Walnuts from Mill Lane")
    line.elm.client.sync()
    line.mill.client.sync()
    assert not line.mill.holds("Walnuts from Elm Road")
    assert not line.elm.holds("Walnuts from Mill Lane")
    line.mill.decide(line.elm, "choose", "exchange", outcome="notices")
    until(lambda: line.mill.shows("Walnuts from Elm Road"), what="exchanged again")
    until(lambda: line.elm.shows("Walnuts from Mill Lane"), what="exchanged again")


def test_connected_hubs_that_nobody_uses_cost_next_to_nothing(line: Line, figures: Figures) -> None:
    time.sleep(3)  # pictures and status records are still on their way
    halls, seconds = (line.elm, line.mill, line.oak), 20.0
    before = [hall.cpu_s() for hall in halls]
    bytes_before = sum(hall.gate.passed for hall in halls)
    time.sleep(seconds)
    after = [hall.cpu_s() for hall in halls]
    spent = [round((end - start) * 60_000 / seconds) for start, end in zip(before, after, strict=True)]
    passed = sum(hall.gate.passed for hall in halls) - bytes_before
    figures("CPU ms a minute, with 1, 2 and 1 sessions", spent)
    figures("bytes of both sessions in 20 s", passed)
    assert max(spent) < 400
    assert passed < 2000
