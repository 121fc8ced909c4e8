"""A hub whose machine does not know the time takes that of its neighbours, as far as they agree."""

from __future__ import annotations

from pathlib import Path

from hub.domain.clock import LONGEST_OFF_MS, TimeQuality
from hub.domain.health import Condition, Line
from hub.domain.policy import DAY_MS, MINUTE_MS
from hub.domain.records import decode_header
from hub.services.identity import identity_of
from hub.services.neighbours import Greeting
from tests.integration.conftest import OpenHub, Street
from tests.integration.elsewhere import MILL_LANE, OAKFIELD, Elsewhere, Network

ELM = "Elm Road"


async def around(street: Street, *names: str) -> list[Elsewhere]:
    """The neighbours of the street's hub."""
    network = Network()
    street.hub.neighbours.join(network, network, network)
    found = [Elsewhere(street, identity_of(name.encode().ljust(32)), name) for name in names]
    for each in found:
        if await street.hub.neighbours.find(each.hub) is None:
            await each.pairs()
    return found


async def tells(other: Elsewhere, its_ms: int, quality: TimeQuality = TimeQuality.CARETAKER) -> int | None:
    """A session of it reads its clock; answers what is noted of it."""
    steady_ms = its_ms - round(other.street.clock.seconds * 1000)
    said = Greeting(other.name, "moss", "1", 1, {}, quality=quality, steady_ms=steady_ms)
    await other.street.hub.neighbours.greeted(other.hub, said)
    found = await other.street.hub.neighbours.find(other.hub)
    assert found is not None
    return found.offset_ms


async def newest_stamp(street: Street) -> int:
    """The time that the last record here was written at."""
    [(header,)] = await street.rows("SELECT header FROM record ORDER BY n DESC LIMIT 1")
    return decode_header(header).stamp.ms


async def line_of(street: Street, code: str) -> Line:
    """What the status says of it."""
    [line] = [line for line in await street.hub.health.lines() if line.code == code]
    return line


async def test_a_hub_in_1970_has_the_right_time_once_two_neighbours_told_it(
    open_street: OpenHub, data_folder: Path
) -> None:
    async with open_street() as street:
        await street.person("ann").puts_up("Before", until="2026-12-20")
        right = street.clock.ms + 10 * DAY_MS
    street.clock.ms = 5_000
    async with open_street() as street:
        mill, oak = await around(street, MILL_LANE, OAKFIELD)
        assert (await line_of(street, "time")).state is Condition.LOOK
        assert await tells(mill, right) == 0
        street.clock.pass_time(minutes=1)
        right += MINUTE_MS
        assert await tells(oak, right + 2_000) == 2_000
        line = await line_of(street, "time")
        assert (line.state, "of neighbouring hubs" in line.sentence) == (Condition.OK, True)
        await street.person("bob").puts_up("After")
        assert await newest_stamp(street) == right
        assert await street.board() == ["After", "Before"]
        street.clock.pass_time(days=30)
        await street.hub.housekeeping.round()
        assert await street.board() == [], "and what has ended ends"


async def test_a_lying_neighbour_moves_no_clock_that_seems_right(street: Street) -> None:
    [mill] = await around(street, MILL_LANE)
    assert await tells(mill, street.clock.ms + 400 * DAY_MS) == 400 * DAY_MS
    await street.person("ann").puts_up()
    assert await newest_stamp(street) == street.clock.ms
    assert await street.board()
    line = await line_of(street, "neighbours")
    assert f"The clock of {MILL_LANE} is 400 days ahead of this hub's" in line.sentence
    assert await tells(mill, street.clock.ms - 11 * MINUTE_MS) == -11 * MINUTE_MS
    assert "is 11 minutes behind" in (await line_of(street, "neighbours")).sentence
    assert await tells(mill, street.clock.ms) == 0
    assert (await line_of(street, "neighbours")).state is Condition.OK


async def test_a_lying_neighbour_empties_no_board_once_another_contradicts_it(
    open_street: OpenHub, data_folder: Path
) -> None:
    async with open_street() as street:
        await street.person("ann").puts_up("Before", until="2026-12-20")
        right = street.clock.ms
    street.clock.ms = 5_000
    async with open_street() as street:
        mill, oak, elm = await around(street, MILL_LANE, OAKFIELD, ELM)
        assert await tells(mill, right + 2 * LONGEST_OFF_MS) is None
        assert (await line_of(street, "time")).state is Condition.LOOK, "no clock is that wrong"
        await tells(oak, right)
        assert (await line_of(street, "time")).state is Condition.LOOK, "which of the two?"
        await street.hub.housekeeping.round()
        assert await street.board() == ["Before"]
        await tells(elm, right + 1_000)
        await street.person("bob").puts_up("After")
        assert right <= await newest_stamp(street) <= right + 1_000
        await street.hub.neighbours.part(OAKFIELD, "gwen", keep=True)
        assert (await line_of(street, "time")).state is Condition.LOOK


async def test_what_is_put_up_while_nobody_knows_the_time_lasts(
    open_street: OpenHub, data_folder: Path
) -> None:
    async with open_street() as street:
        await street.person("ann").puts_up("Before")
        before = street.clock.ms
    street.clock.ms = 5_000
    async with open_street() as street:
        mill, oak = await around(street, MILL_LANE, OAKFIELD)
        street.clock.pass_time(minutes=1)
        await street.person("bob").puts_up("Meanwhile")
        assert await newest_stamp(street) >= before
        for each in (mill, oak):
            await tells(each, before + DAY_MS)
        await street.person("cat").puts_up("After")
        assert await street.board() == ["After", "Meanwhile", "Before"]


async def test_a_neighbour_that_does_not_know_the_time_is_not_asked_for_it(street: Street) -> None:
    [mill] = await around(street, MILL_LANE)
    assert await tells(mill, 5_000, TimeQuality.UNKNOWN) is None
    found = await street.hub.neighbours.find(mill.hub)
    assert found is not None
    assert found.quality is TimeQuality.UNKNOWN
