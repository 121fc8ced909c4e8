"""Three hubs in network namespaces with a real Ethernet and real multicast, and what a village does to it."""

from __future__ import annotations

import contextlib
import ctypes
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub.api.client import HubAway
from hub.api.schema import Decision
from tests import needs
from tests.integration.discovery.conftest import Street
from tests.integration.hub.hub_process import (
    GENEROUS,
    ROOT,
    STARTS_WITHIN_S,
    Answer,
    HubProcess,
    Visitor,
    found_hub,
)
from tests.integration.neighbours.test_hostile import bad_neighbour, page_p95_ms
from tests.integration.neighbours.town import SOON_S, Hall, photo, pictures_on, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PORT = 8080
SETTINGS = GENEROUS.partition("[neighbours]")[0]
"""With the ports that hubs have by default: each has a network of its own."""
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
Figures = Callable[[str, object], None]


@contextlib.contextmanager
def inside(space: str) -> Iterator[None]:
    """Sockets that this thread makes meanwhile are in that namespace, and stay there."""
    with Path(f"/run/netns/{space}").open() as there, Path("/proc/thread-self/ns/net").open() as here:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(namespace: int) -> None:
    if LIBC.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Villager(Visitor):
    """A browser in one of the houses."""

    def __init__(self, port: int, space: str) -> None:
        super().__init__(port)
        self.space = space

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """One request, from within the house."""
        with inside(self.space):
            return super().send(method, path, body, headers)


@dataclass
class House(Hall):
    """A hub in a house of its own."""

    space: str
    address: str

    def start(self) -> None:
        """Start it, and wait until its caretaker is answered."""
        output, errors = self.data.with_suffix(".out"), self.data.with_suffix(".err")
        command = ["ip", "netns", "exec", self.space, sys.executable, "-m", "hub", "run"]
        with output.open("wb") as out, errors.open("ab") as err:
            process = subprocess.Popen(
                [*command, "--data", str(self.data), "--port", str(PORT), "--name", self.name],
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )
        self.process = HubProcess(process, self.data, PORT, output, errors)
        self.visitor = Villager(PORT, self.space)
        until(self._answers, STARTS_WITHIN_S, f"{self.name} answers")

    def _answers(self) -> bool:
        assert self.process.process.poll() is None, self.process.log()
        try:
            return bool(self.client.status())
        except HubAway:
            return False


class Village:
    """A road with houses, and hubs in them."""

    def __init__(self, folder: Path, street: Street) -> None:
        self.street = street
        self.houses: list[House] = []
        self._folder = folder

    def move_in(self, name: str, address: str | None) -> House:
        """A hub in a new house, running; without an ``address`` nobody has given it one yet."""
        space = self.street.house(address)
        data = found_hub(self._folder / name.lower().replace(" ", "-"), SETTINGS)
        house = House(name, data, space, address or "")
        self.houses.append(house)
        house.start()
        return house

    def pair(self, one: House, other: House) -> None:
        """By digits, with the commands that caretakers type."""
        assert "Pairing: " in other.says("neighbours", "pair", "--open")
        begun = one.says("neighbours", "pair", other.address)
        digits = re.search(r"\n    (\d{3} \d{3})\n", begun)
        assert digits, begun
        assert digits[1] in other.says("neighbours", "pair")
        assert "LOOK" not in one.says("neighbours", "accept")
        assert "LOOK" not in other.says("neighbours", "accept")
        until(lambda: one.is_with(other) and other.is_with(one), what="in step")

    def close(self) -> None:
        """End every hub."""
        for house in self.houses:
            house.visitor.close()
            house.process.close()


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Village]:
    """Elm Road, Mill Lane and Oakfield, each paired with both others."""
    needs.root("build network namespaces")
    needs.program("ip", "iproute2")
    street = Street()
    made = Village(tmp_path_factory.mktemp("village"), street)
    try:
        try:
            street.lay_road()
        except subprocess.CalledProcessError as refused:
            needs.cannot_run(f"no network namespaces here: {refused.stderr.strip()}")
        for number, name in enumerate(("Elm Road", "Mill Lane", "Oakfield"), 1):
            made.move_in(name, f"10.77.0.{number}")
        yield made
        for house in made.houses:
            assert "Traceback" not in house.process.log(), house.process.log()[-4000:]
    finally:
        made.close()
        street.close()


def test_three_hubs_find_each_other_and_are_paired_by_digits(village: Village, figures: Figures) -> None:
    elm, mill, oak = village.houses

    def see_each_other() -> bool:
        seen = {house.name: {each.name for each in house.client.nearby()} for house in village.houses}
        return all(len(each) == 2 for each in seen.values())

    found = until(see_each_other, 20, "each sees both others")
    assert "Mill Lane" in elm.says("neighbours", "discover")
    began = time.monotonic()
    for one, other in ((elm, mill), (mill, oak), (oak, elm)):
        village.pair(one, other)
    figures("seconds until found by multicast, three pairings", (found, time.monotonic() - began))


def test_what_is_put_up_on_one_is_seen_on_two(village: Village, figures: Figures) -> None:
    elm, mill, oak = village.houses
    notice = elm.puts_up("Ladder to lend", "Three metres.", pictures=[photo()])
    seen = [until(lambda: hall.shows("Ladder to lend"), SOON_S) for hall in (mill, oak)]  # noqa: B023
    for hall in (mill, oak):
        until(lambda: pictures_on(hall.visitor, notice) == [200], 5, "the photo")  # noqa: B023
    oak.replies(notice, "On Tuesday, please.")
    for hall in (elm, mill):
        until(lambda: hall.shows("On Tuesday, please.", f"/notices/{notice}"), SOON_S)  # noqa: B023
    figures("seconds until seen on two boards", seen)


def test_a_pulled_cable_parts_the_boards_and_when_it_is_in_again_they_are_the_same(
    village: Village, figures: Figures
) -> None:
    elm, mill, oak = village.houses
    space = village.houses[1].space
    village.street.block(space)
    elm.puts_up("Plums from Elm Road")
    mill.puts_up("Pears from Mill Lane")
    until(lambda: oak.shows("Plums from Elm Road"), SOON_S)
    time.sleep(3)
    assert not mill.shows("Plums")
    village.street.unblock(space)
    healed = until(
        lambda: mill.shows("Plums from") and elm.shows("Pears from") and oak.shows("Pears from"),
        30,
        "healed",
    )
    figures("seconds until healed after 3 s without the cable", healed)


def test_a_hub_that_gets_another_address_is_found_again(village: Village, figures: Figures) -> None:
    elm, mill, _ = village.houses
    village.street.move_out(mill.space, mill.address)
    village.street.move_in(mill.space, "10.77.0.22")
    elm.puts_up("Where have you gone")
    found = until(lambda: mill.shows("Where have you gone"), 40, "found again")
    until(
        lambda: "10.77.0.22:8448" in [each.address for each in elm.neighbour(mill).addresses],
        what="and remembered there",
    )
    figures("seconds until found at its new address", found)


def test_a_hub_whose_wifi_comes_late_is_found_paired_and_however_bad_it_is_the_others_stand(
    village: Village, figures: Figures
) -> None:
    elm = village.houses[0]
    bank = village.move_in("Bank Street", None)
    time.sleep(1)
    village.street.move_in(bank.space, "10.77.0.4")
    bank.address = "10.77.0.4"
    found = until(
        lambda: "Bank Street" in {each.name for each in elm.client.nearby()}, 40, "found by multicast"
    )
    village.pair(bank, elm)
    elm.puts_up("Welcome, Bank Street")
    until(lambda: bank.shows("Welcome, Bank Street"), SOON_S)
    bank.process.stop()
    quiet = page_p95_ms(elm.visitor, 1.0)
    bad = bad_neighbour(bank, elm, "garbage", f"{elm.address}:8448", bank.space)
    loud = page_p95_ms(elm.visitor, 2.0)
    said, _ = bad.communicate(timeout=10)
    assert int(said) > 0
    assert loud < max(3 * quiet, 60)
    told = elm.says("neighbours", "list")
    assert re.search(r"LOOK +Bank Street .*broke off", told), told
    assert told.count("\nOK") == 2
    figures("seconds until found with late Wi-Fi; page p95 ms before, with a bad one", (found, quiet, loud))


def test_what_is_erased_on_one_stands_in_no_file_of_any(village: Village, figures: Figures) -> None:
    halls = village.houses[:3]
    elm, mill, oak = halls
    words = ("zebrafinch", "numbatnumber")
    notice = mill.puts_up("Lost cat zebrafinch", "Ring Ada on numbatnumber.", pictures=[photo(2)])
    for hall in (elm, oak):
        until(lambda: pictures_on(hall.visitor, notice) == [200], 5, "the photo")  # noqa: B023
    assert all(hall.holds(*words) for hall in halls)
    blobs = [len(list((hall.data / "blobs").rglob("*"))) for hall in halls]
    mill.client.act(notice, "erase", Decision(rule="1"))
    began = time.monotonic()
    for hall in halls:
        until(lambda: not hall.holds(*words), 30, f"wiped at {hall.name}")  # noqa: B023
    wiped = time.monotonic() - began
    for hall, before in zip(halls, blobs, strict=True):
        until(lambda: len(list((hall.data / "blobs").rglob("*"))) < before, 10, "the photo is gone")  # noqa: B023
        hall.check()
    figures("seconds until in no file of three hubs", wiped)
