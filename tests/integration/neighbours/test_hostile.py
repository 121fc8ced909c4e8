"""A paired hub that misbehaves: the caretaker is told, the board stays quick, and the hub stands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hub.domain.certificates import certificate_of
from hub.services.identity import load_or_create
from tests.integration.hub.hub_process import ROOT, Visitor
from tests.integration.neighbours.hostile import MODES
from tests.integration.neighbours.town import SOON_S, Hall, TownHall, open_town, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROGRAM = Path(__file__).with_name("hostile.py")
BAD_S = 3.0


class Hostile(NamedTuple):
    """Two hubs in good hands, and one that was."""

    elm: TownHall
    mill: TownHall
    bank: TownHall


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """Elm Road is paired with Mill Lane and Bank Street, whose key is in bad hands."""
    with open_town(tmp_path_factory.mktemp("hostile")) as town:
        elm, mill, bank = town.open("Elm Road", "Mill Lane", "Bank Street")
        town.pair(elm, mill)
        town.pair(elm, bank)
        for number in range(12):
            elm.puts_up(f"Notice {number}", "Words. " * 40)
        bank.process.stop()
        yield Hostile(elm, mill, bank)


@pytest.mark.parametrize("mode", MODES)
def test_a_neighbour_gone_bad_ends_in_a_line_for_the_caretaker_and_slows_no_page(
    town: Hostile, mode: str, figures: Callable[[str, object], None]
) -> None:
    quiet = page_p95_ms(town.elm.visitor, 1.0)
    bad = bad_neighbour(town.bank, town.elm, mode, f"127.0.0.1:{town.elm.gate.port}")
    try:
        time.sleep(0.5)
        loud = page_p95_ms(town.elm.visitor, BAD_S - 1)
        town.elm.puts_up(f"In the middle of {mode}")
        seen = until(lambda: town.mill.shows(f"In the middle of {mode}"), SOON_S)
    finally:
        said, _ = bad.communicate(timeout=10)
    figures(
        f"{mode}: times it was done, page p95 in ms before and meanwhile, seconds to the next board",
        (int(said), round(quiet, 1), round(loud, 1), round(seen, 2)),
    )
    assert loud < max(3 * quiet, 60)
    if mode != "silence":
        line = next(
            line for line in town.elm.says("neighbours", "list").splitlines() if "Bank Street" in line
        )
        assert line.startswith("LOOK")
    assert town.elm.is_with(town.mill)
    town.elm.check()


def bad_neighbour(bad: Hall, victim: Hall, mode: str, at: str, space: str = "") -> subprocess.Popen[str]:
    """A process with the key of ``bad`` that calls ``victim`` at an address, from a network namespace."""
    identity = load_or_create(victim.data / "key", lambda _: b"")
    certificate = certificate_of(identity.hub, identity.sign).hex()
    inside = ["ip", "netns", "exec", space] if space else []
    return subprocess.Popen(
        [*inside, sys.executable, str(PROGRAM), str(bad.data / "key"), certificate, at, mode, str(BAD_S)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def page_p95_ms(visitor: Visitor, seconds: float) -> float:
    """How long the board takes, a page after the other with short pauses."""
    took, until_s = list[float](), time.monotonic() + seconds
    while time.monotonic() < until_s:
        began = time.monotonic()
        assert visitor.get("/").status == 200
        took.append((time.monotonic() - began) * 1000)
        time.sleep(0.01)
    return sorted(took)[int(len(took) * 0.95)]
