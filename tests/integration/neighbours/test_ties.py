"""Pairing, pausing and parting take hold at once, and two hubs find each other again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.neighbours.town import SOON_S, Town, TownHall, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Figures = Callable[[str, object], None]


def test_a_paused_neighbour_is_told_and_nothing_is_swapped_until_it_is_let_go_on(town: Town) -> None:
    elm, mill = town.open("Elm Road", "Mill Lane")
    town.pair(elm, mill)
    elm.decide(mill, "pause")
    until(lambda: "have paused the exchange" in mill.says("neighbours", "list"), what="told")
    assert not mill.neighbour(elm).connected
    elm.puts_up("Written in the pause")
    mill.client.sync()
    assert not mill.holds("Written in the pause")
    assert mill.neighbour(elm).trouble.startswith("The caretakers of that hub have paused")
    elm.decide(mill, "resume")
    until(lambda: mill.shows("Written in the pause"), 2 * SOON_S, "let go on")
    until(lambda: mill.says("neighbours", "list").startswith("OK"), SOON_S, "no trouble any more")


def test_a_hub_that_is_parted_from_is_told_and_let_in_no_more(town: Town, figures: Figures) -> None:
    elm, mill = town.open("Elm Road", "Mill Lane")
    town.pair(elm, mill)
    mill.puts_up("From Mill Lane, kept")
    until(lambda: elm.shows("From Mill Lane, kept"), what="seen before")
    began = time.monotonic()
    elm.decide(mill, "part", yes=True)
    closed = time.monotonic() - began
    until(lambda: not mill.neighbour(elm).connected, 1, "closed at once")
    until(lambda: "have ended the pairing" in mill.neighbour(elm).trouble, what="told")
    assert elm.shows("From Mill Lane, kept")
    mill.client.sync()
    assert "does not let this hub in" in mill.neighbour(elm).trouble
    elm.puts_up("After the parting")
    assert not mill.holds("After the parting")
    figures("seconds of the command", closed)


def test_of_two_hubs_that_call_each_other_at_one_moment_one_session_stays(town: Town) -> None:
    elm, mill = town.open("Elm Road", "Mill Lane")
    town.pair(elm, mill)
    for _ in range(3):
        town.cut()
        until(lambda: not (elm.neighbour(mill).connected or mill.neighbour(elm).connected), what="cut")
        town.mend()
        with ThreadPoolExecutor(2) as caretakers:
            for hall in (elm, mill):  # both are asked to call before either can
                hall.process.process.send_signal(signal.SIGSTOP)
                caretakers.submit(hall.client.sync)
            time.sleep(0.2)
            for hall in (elm, mill):
                hall.process.process.send_signal(signal.SIGCONT)
        until(lambda: elm.is_with(mill) and mill.is_with(elm), what="in step")
        until(lambda: town.connections() == 1, what="one connection")
    elm.puts_up("Once is enough")
    until(lambda: mill.shows("Once is enough"), SOON_S)


def test_a_hub_whose_address_changed_is_found_where_a_caretaker_says_and_others_are_told(
    town: Town, figures: Figures
) -> None:
    elm, mill, oak = town.open("Elm Road", "Mill Lane", "Oakfield")
    for one, other in ((elm, mill), (elm, oak), (mill, oak)):
        town.pair(one, other)
    oak.process.stop()
    town.cut()
    oak.moves()
    oak.start()  # it can be called at its new address, and can call nobody
    elm.decide(oak, "remember", f"127.0.0.1:{oak.gate.port}")
    typed = until(lambda: elm.is_with(oak), what="found where the caretaker said")
    oak.process.process.send_signal(signal.SIGSTOP)  # so that it tells nobody itself
    try:
        mill.gate.open()
        elm.client.sync(mill.name)
        until(
            lambda: any(each.address.endswith(f":{oak.gate.port}") for each in mill.neighbour(oak).addresses),
            what="told by Elm Road",
        )
    finally:
        oak.process.process.send_signal(signal.SIGCONT)
    told = until(lambda: mill.is_with(oak), what="found where Elm Road said")
    figures("seconds until found where typed, told", (typed, told))


def test_a_hub_starts_and_stops_quickly_whether_its_neighbours_are_there_or_not(
    town: Town, figures: Figures
) -> None:
    elm, mill, oak, bank = town.open("Elm Road", "Mill Lane", "Oakfield", "Bank Street")
    alone = [_restart(elm) for _ in range(2)][-1][1]
    for other in (mill, oak, bank):
        town.pair(elm, other)
    stopped, _ = _restart(elm)
    for other in (mill, oak, bank):
        other.process.kill()
    off_stopped, off = _restart(elm)
    figures(
        "seconds to stop with 3 sessions, with 3 neighbours off; to start alone, with 3 off",
        tuple(round(each, 2) for each in (stopped, off_stopped, alone, off)),
    )
    assert stopped < 5
    assert off_stopped < 5
    assert off < alone + 1


def _restart(hall: TownHall) -> tuple[float, float]:
    """Seconds to stop, and to the first page after the start."""
    began = time.monotonic()
    assert hall.process.stop() == 0
    return time.monotonic() - began, hall.start()
