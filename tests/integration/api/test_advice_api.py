"""The caretakers' commands about advice between hubs."""

from __future__ import annotations

import pytest

from hub.domain.advice import Blocked, Entry
from hub.domain.ids import public_form
from hub.domain.policy import Reason
from hub.services.identity import identity_of
from tests.integration.api.test_neighbours_api import REFUSED, Keyboard
from tests.integration.conftest import RULE, Street
from tests.integration.elsewhere import MILL_LANE, OAKFIELD, Elsewhere, Network


@pytest.fixture
async def mill_lane(listening: Street) -> Elsewhere:
    """The next hall, paired."""
    network = Network()
    listening.hub.neighbours.join(network, network, network)
    made = Elsewhere(listening, identity_of(b"m" * 32), MILL_LANE)
    await made.pairs()
    return made


@pytest.fixture
async def oakfield(listening: Street, mill_lane: Elsewhere) -> Elsewhere:
    """The one after, paired as well."""
    made = Elsewhere(listening, identity_of(b"o" * 32), OAKFIELD)
    await made.pairs()
    return made


@pytest.fixture
def keyboard(listening: Street, capsys: pytest.CaptureFixture[str]) -> Keyboard:
    """Of the hub that listens."""
    return Keyboard(listening, capsys)


async def test_a_caretaker_tells_the_neighbours_after_hiding_and_can_take_it_back(
    listening: Street, keyboard: Keyboard, mill_lane: Elsewhere
) -> None:
    loans = public_form(await mill_lane.puts_up("Cheap loans"))
    ours = (await listening.person("Asha").puts_up("Ladder to lend")).public_id
    said = await keyboard.types("notices", "hide", loans, "--rule", RULE)
    assert f"To tell the neighbours why: hub notices flag {loans} --reason REASON" in said
    assert "neighbours" not in await keyboard.types("notices", "hide", ours, "--rule", RULE)
    said = await keyboard.types("notices", "flag", loans, "--reason", "unlawful", "--rule", "2")
    assert "The neighbours hear of it. What they do is for them to decide." in said
    assert "took it back" in await keyboard.types("notices", "flag", loans, "--off")
    assert "has not flagged that" in await keyboard.types("notices", "flag", loans, "--off", code=REFUSED)
    said = await keyboard.types("notices", "flag", ours, "--reason", "rules", code=REFUSED)
    assert "was put up here" in said


async def test_a_caretaker_reads_what_neighbours_advise_and_what_to_type(
    listening: Street, keyboard: Keyboard, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    assert "No neighbour advises anything" in await keyboard.types("neighbours", "advice")
    loans, sale = await mill_lane.puts_up("Cheap loans"), await oakfield.puts_up("Boot sale")
    await oakfield.flags(loans, Reason.UNLAWFUL, 2)
    await mill_lane.blocks(Entry(Blocked.OBJECT, sale), Entry(Blocked.HUB, oakfield.hub))
    said = await keyboard.types("neighbours", "advice")
    assert f"LOOK  {OAKFIELD}: unlawful, its house rule 2 (" in said
    assert f"notice {public_form(loans)} Cheap loans" in said
    assert f"hub notices hide {public_form(loans)} --rule RULE" in said
    assert f"LOOK  {MILL_LANE}: is on its block list (" in said
    assert f"LOOK  {MILL_LANE} blocks {OAKFIELD} (" in said
    assert "): 1 item is seen here" in said
    found = await keyboard.json("neighbours", "advice")
    assert {(each["what"], each["reason"], each["count"]) for each in found["advised"]} == {
        ("flag", "unlawful", 1),
        ("block", "", 1),
    }
    said = await keyboard.types("neighbours", "choose", MILL_LANE, "advice", "apply")
    assert f"What the block list of {MILL_LANE} names is hidden here from now on." in said
    await listening.hub.advising.apply()
    assert await listening.board() == ["Cheap loans"]
    said = await keyboard.types("neighbours", "advice")
    assert f"What the block list of {MILL_LANE} names is hidden here." in said
    said = await keyboard.types("neighbours", "choose", MILL_LANE, "advice", "ask")
    assert "what it hid stays so" in said
    for words in (("advice", "hold"), ("notices", "apply")):
        assert "Choose one of" in await keyboard.types(
            "neighbours", "choose", MILL_LANE, *words, code=REFUSED
        )


async def test_a_caretaker_keeps_the_block_list_of_this_hub(
    listening: Street, keyboard: Keyboard, mill_lane: Elsewhere
) -> None:
    loans = public_form(await mill_lane.puts_up("Cheap loans"))
    assert "It is on the block list" in await keyboard.types("notices", "block", loans, "--files")
    assert f"{MILL_LANE} is on the block list" in await keyboard.types("neighbours", "block", MILL_LANE)
    assert "own block list has 2 entries" in await keyboard.types("neighbours", "advice")
    assert "no longer on" in await keyboard.types("notices", "block", loans, "--off")
    assert "no longer on" in await keyboard.types("neighbours", "block", MILL_LANE, "--off")
    assert "block list" not in await keyboard.types("neighbours", "advice")
