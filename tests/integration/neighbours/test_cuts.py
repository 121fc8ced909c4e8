"""The cable between two hubs is cut, or one dies: afterwards both hold the same, and nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hub.api.schema import Decision
from tests.integration.neighbours.town import Town, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Figures = Callable[[str, object], None]


def test_what_was_written_while_the_cable_was_cut_is_on_both_boards_and_what_was_erased_on_neither(
    town: Town, figures: Figures
) -> None:
    elm, mill = town.open("Elm Road", "Mill Lane")
    town.pair(elm, mill)
    gone = elm.puts_up("Lost cat zebrafinch", "Ring Ada on numbatnumber.")
    until(lambda: mill.shows("zebrafinch"), what="seen before the cut")
    mill.replies(gone, "Seen near the pond, wombatwords.")
    until(lambda: elm.shows("wombatwords", f"/notices/{gone}"), what="answered before the cut")

    town.cut()
    until(lambda: not (elm.neighbour(mill).connected or mill.neighbour(elm).connected), what="cut")
    elm.puts_up("Plums from Elm Road")
    mill.puts_up("Pears from Mill Lane")
    elm.client.act(gone, "erase", Decision(rule="1"))
    assert "Erased on 1 of 2 hubs" in elm.says("notices", "show", gone)
    until(lambda: "LOOK" in mill.says("neighbours", "list"), what="a line for the caretaker")

    town.mend()
    began = time.monotonic()
    elm.client.sync()
    until(lambda: mill.shows("Plums from Elm Road") and elm.shows("Pears from Mill Lane"), what="healed")
    healed = time.monotonic() - began
    assert not mill.shows("zebrafinch")
    words = ("zebrafinch", "numbatnumber")
    wiped = until(lambda: not elm.holds(*words) + mill.holds(*words), what="wiped")
    receipt = until(lambda: "Erased on 2 of 2 hubs" in elm.says("notices", "show", gone), what="a receipt")
    assert "OK" in elm.says("neighbours", "list")
    elm.check()
    mill.check()
    figures("seconds until healed, wiped, receipt", (healed, wiped, receipt))


@pytest.mark.parametrize("dies", ["who gives", "who takes"])
def test_a_hub_that_dies_in_the_middle_of_a_long_transfer_goes_on_where_it_was(
    town: Town, dies: str, figures: Figures
) -> None:
    elm, mill = town.open("Elm Road", "Mill Lane")
    assert elm.process.stop() == 0
    elm.fill(2000)
    elm.start()
    town.pair(elm, mill, swap=False)
    until(lambda: 200 < len(mill.shared()) < 1700, what="in the middle")
    dying = elm if dies == "who gives" else mill
    dying.process.kill()
    came = len(mill.shared())
    dying.start()
    began = time.monotonic()
    until(lambda: mill.shared() == elm.shared(), 40, "both the same")
    equal = time.monotonic() - began
    figures("records when it died, seconds from its start until equal", (came, equal))
    until(lambda: elm.is_with(mill) and mill.is_with(elm), what="in step")
    for hall in (elm, mill):
        hall.check()
        assert hall.stored_twice() == 0
