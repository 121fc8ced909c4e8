"""What residents see of neighbouring hubs: the page about them, the board by hub, what About says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
import pytest_asyncio

from hub.domain.sharing import Choice
from hub.services.identity import identity_of
from hub.services.neighbours import Greeting
from hub.storage import decisions
from tests.integration.conftest import Street
from tests.integration.elsewhere import MILL_LANE, OAKFIELD, Elsewhere, Network

Read = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture
async def read(listening: Street) -> AsyncIterator[Read]:
    """What a path shows, or that it answers with another ``status``."""
    async with aiohttp.ClientSession() as session:

        async def get(path: str, *, lang: str = "en", status: int = 200) -> str:
            url = f"http://127.0.0.1:{listening.hub.port}{path}"
            async with session.get(url, headers={"Accept-Language": lang}) as answer:
                assert answer.status == status
                return await answer.text()

        yield get


@pytest.fixture
def mill_lane(listening: Street) -> Elsewhere:
    """The next hall."""
    network = Network()
    listening.hub.neighbours.join(network, network, network)
    return Elsewhere(listening, identity_of(b"m" * 32), MILL_LANE)


@pytest.fixture
def oakfield(listening: Street) -> Elsewhere:
    """The one after."""
    return Elsewhere(listening, identity_of(b"o" * 32), OAKFIELD)


def _words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


async def test_a_hub_that_is_alone_says_so(read: Read) -> None:
    words = _words(await read("/neighbours"))
    assert "does not swap with any other yet" in words
    assert "it never leaves this hub" in words
    assert "/neighbours" not in await read("/about")


async def test_the_page_says_who_the_neighbours_are_what_is_swapped_and_when_it_last_was(
    listening: Street, read: Read, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    roster = listening.hub.neighbours
    await mill_lane.pairs()
    await oakfield.pairs()
    await roster.choose(MILL_LANE, "files", Choice.HOLD, "gwen")
    await roster.choose(OAKFIELD, "files", Choice.NONE, "gwen")
    await roster.in_step(mill_lane.hub)
    listening.clock.pass_time(minutes=12)
    page = await read("/neighbours")
    words = _words(page)
    assert "Last swapped 12 minutes ago." in words
    assert "Nothing has been swapped yet." in words
    assert "Files come and go. Theirs are shown here once somebody" in words
    assert "No files are swapped." in words
    assert 'class="note by-damson"' in page
    listening.clock.pass_time(minutes=1)
    assert "13 minutes ago" in await read("/neighbours"), "it is not kept for longer than it is true"
    await roster.pause(OAKFIELD, "gwen")
    listening.clock.pass_time(days=1)
    words = _words(await read("/neighbours"))
    assert "Swapping is paused." in words
    assert "Last swapped: " in words
    assert 'href="/neighbours"' in await read("/about")


async def test_the_board_can_be_read_by_hub(
    listening: Street, read: Read, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await mill_lane.pairs()
    await oakfield.says()
    for number in range(18):
        listening.clock.pass_time(seconds=1)
        await mill_lane.puts_up(f"Bench {number}.")
    await oakfield.puts_up("A table.")
    await listening.person("Asha").puts_up("A ladder.", kind="urgent")
    page = await read("/neighbours")
    links = re.findall(r'href="(/notices\?from=\w{10})"', page)
    assert len(links) == 2, "the neighbour, and the hub behind it"
    theirs = await read(links[0])
    assert f"Only from <bdi>{MILL_LANE}</bdi>." in theirs
    assert "Bench 17." in theirs
    assert "A table." not in theirs
    assert "A ladder." not in theirs, "what leads the board is left out as well"
    older = re.search(r'href="(/notices\?from=\w+&amp;before=\d+)"', theirs)
    assert older
    rest = await read(older[1].replace("&amp;", "&"))
    assert "Bench 0." in rest
    assert "A table." not in rest
    assert "A ladder." in await read("/notices?from=nowhere")
    further = await read(links[1])
    assert "A table." in further
    assert "Bench" not in further


async def test_a_hub_that_calls_itself_as_ours_is_told_apart_on_its_notices(
    listening: Street, read: Read, mill_lane: Elsewhere
) -> None:
    await mill_lane.pairs()
    await mill_lane.puts_up("A bench.")
    await listening.hub.neighbours.greeted(
        mill_lane.hub, Greeting(listening.hub.name.upper(), "no colour", "1", 1, {})
    )
    board = await read("/")
    assert f"from <bdi>{listening.hub.name.upper()} ({mill_lane.short})</bdi>" in board
    assert "by-slate" in board


async def test_hubs_that_parted_are_no_longer_counted_among_those_that_see_a_notice(
    listening: Street, read: Read, mill_lane: Elsewhere
) -> None:
    await mill_lane.pairs()
    await mill_lane.puts_up("A bench.")
    assert "at 1 other hub" in await read("/notices/new")
    await listening.hub.neighbours.part(MILL_LANE, "gwen", keep=True)
    assert "other hub" not in await read("/notices/new")
    assert MILL_LANE in await read("/"), "its name stays on what it put up"


async def test_names_of_hubs_cannot_carry_markup(listening: Street, read: Read, mill_lane: Elsewhere) -> None:
    mill_lane.name = "<script>alert(1)</script>"
    await mill_lane.pairs()
    await mill_lane.puts_up("A bench.")
    for path in ("/neighbours", "/about", "/", "/decisions"):
        assert "<script>alert" not in await read(path)


@pytest.mark.parametrize("lang", ["cy", "pl", "ur", "ar"])
async def test_the_page_opens_in_every_language(
    listening: Street, read: Read, mill_lane: Elsewhere, lang: str
) -> None:
    await mill_lane.pairs()
    page = await read(f"/neighbours?lang={lang}")
    assert f'lang="{lang}"' in page
    assert f"<bdi>{MILL_LANE}</bdi>" in page


async def test_pairing_and_parting_are_public(listening: Street, read: Read, mill_lane: Elsewhere) -> None:
    await mill_lane.pairs()
    await listening.hub.neighbours.part(MILL_LANE, "gwen", keep=False)
    words = _words(await read("/decisions"))
    assert f"A neighbouring hub: Paired with this hub by a caretaker {MILL_LANE}" in words
    assert f"A neighbouring hub: No longer paired with this hub by a caretaker {MILL_LANE}: removed" in words


async def test_a_colour_that_nobody_knows_never_reaches_the_pages(
    listening: Street, read: Read, mill_lane: Elsewhere
) -> None:
    mill_lane.name = "Mill"
    await mill_lane.pairs()
    origins = await listening.hub.database.read_with(decisions.origins)
    assert origins[mill_lane.hub].colour == "damson"
    await listening.hub.neighbours.greeted(mill_lane.hub, Greeting("Mill", "}body{", "1", 1, {}))
    assert "}body{" not in await read("/neighbours")
