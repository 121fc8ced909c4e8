"""The caretakers' commands about neighbouring hubs, against a hub whose network the tests hold."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hub import cli
from hub.domain.admission import Source
from hub.domain.ids import ObjectId, RecordId, base32
from hub.domain.neighbours import Address
from hub.domain.records import seal
from hub.services.identity import identity_of
from hub.services.neighbours import Live, Sighting, Standing, Step
from tests.integration.conftest import RULE, Street, in_thread
from tests.integration.elsewhere import MILL_LANE, OAKFIELD, Elsewhere, Network
from tests.integration.services.foreign import Foreign, wire

DONE, REFUSED, FOUND = 0, 1, 4


@pytest.fixture
def network(listening: Street) -> Network:
    """The network of the hub."""
    made = Network()
    listening.hub.neighbours.join(made, made, made)
    return made


@pytest.fixture
def mill_lane(listening: Street, network: Network) -> Elsewhere:
    """The next hall."""
    return Elsewhere(listening, identity_of(b"m" * 32), MILL_LANE)


class Keyboard:
    """A caretaker at the hub's own keyboard."""

    def __init__(self, street: Street, capture: pytest.CaptureFixture[str]) -> None:
        self._data = str(street.data)
        self._capture = capture

    async def types(self, *words: str, code: int = DONE) -> str:
        """What a command prints (its refusal where it refuses); it ends with ``code``."""
        with pytest.raises(SystemExit) as ended:
            await in_thread(lambda: cli.main([*words, "--data", self._data]))
        said = self._capture.readouterr()
        assert ended.value.code == code, said
        return said.err if code == REFUSED else said.out

    async def json(self, *words: str) -> Any:
        """What it prints with --json."""
        return json.loads(await self.types(*words, "--json"))


@pytest.fixture
def keyboard(listening: Street, capsys: pytest.CaptureFixture[str]) -> Keyboard:
    """Of the hub that listens."""
    return Keyboard(listening, capsys)


async def test_a_caretaker_pairs_by_digits_and_reads_what_to_do_next(
    keyboard: Keyboard, network: Network
) -> None:
    assert "Nobody is pairing" in await keyboard.types("neighbours", "pair")
    assert "Another hub can call now" in await keyboard.types("neighbours", "pair", "--open")
    said = await keyboard.types("neighbours", "pair", "mill-lane.local")
    assert "123 456" in said
    assert f"Ring or visit the caretaker of {MILL_LANE}" in said
    assert "Either hub can end this at any time." in said
    said = await keyboard.types("neighbours", "accept", "--files", "none")
    assert f"The caretaker of {MILL_LANE} has to do it too" in said
    network.stands = Standing(Step.FAILED, trouble="digits-differ", sentence="The digits were refused there.")
    said = await keyboard.types("neighbours", "pair", code=REFUSED)
    assert said == "", "what went wrong is said where everything is"
    await keyboard.types("neighbours", "refuse")
    assert "is no address of a hub" in await keyboard.types("neighbours", "pair", "mill lane", code=REFUSED)


async def test_a_caretaker_looks_after_a_neighbour(
    listening: Street, keyboard: Keyboard, network: Network, mill_lane: Elsewhere
) -> None:
    assert "No neighbours yet" in await keyboard.types("neighbours", "list")
    await mill_lane.pairs(Address("10.0.0.7", 8448))
    assert f"OK    {MILL_LANE}  paired, last swapped never" in await keyboard.types("neighbours", "list")
    await keyboard.types("neighbours", "remember", MILL_LANE, "mill-lane.local:9000")
    said = await keyboard.types("neighbours", "choose", MILL_LANE, "files", "hold")
    assert "theirs are shown here once you have approved them" in said
    said = await keyboard.types("neighbours", "show", "mill")
    assert "files: hold here, exchange there" in said
    assert "mill-lane.local:9000  typed, last worked never" in said
    network.lives[mill_lane.hub] = Live(True, 14, "unreachable", "Mill Lane does not answer.")
    said = await keyboard.types("neighbours", "sync", code=FOUND)
    assert "connected, 14 records to go, last swapped never, Mill Lane does not answer." in said
    await keyboard.types("neighbours", "pause", mill_lane.short)
    assert "is paused" in await keyboard.types("neighbours", "sync", MILL_LANE, code=REFUSED)
    await keyboard.types("neighbours", "resume", MILL_LANE)
    [line] = await keyboard.json("neighbours", "list")
    assert (line["state"], line["hub"]) == ("paired", mill_lane.hub.hex())
    assert "What came from it stays here" in await keyboard.types("neighbours", "unpair", MILL_LANE, "--keep")
    assert "No neighbour here is called" in await keyboard.types("neighbours", "show", "Elm", code=REFUSED)


async def test_a_caretaker_sees_hubs_nearby_and_is_warned_of_namesakes(
    listening: Street, keyboard: Keyboard, network: Network, mill_lane: Elsewhere
) -> None:
    assert "No hub was found" in await keyboard.types("neighbours", "discover")
    await mill_lane.pairs()
    network.sightings = [
        Sighting(base32(mill_lane.hub)[:26], MILL_LANE, "1", (Address("10.0.0.7", 8448),), 1),
        Sighting("0123456789abcdef", f"{MILL_LANE}", "1", (), 1),
    ]
    said = await keyboard.types("neighbours", "sweep")
    assert f"{MILL_LANE}  (0123)  not paired" in said
    assert f"{MILL_LANE}  ({mill_lane.short})  paired  10.0.0.7:8448" in said
    assert "Another hub has this name too" in said


async def test_of_an_erased_notice_a_caretaker_sees_where_it_is_gone(
    listening: Street, keyboard: Keyboard, mill_lane: Elsewhere
) -> None:
    await mill_lane.pairs()
    oakfield = Elsewhere(listening, identity_of(b"o" * 32), OAKFIELD)
    await oakfield.says()
    made = await listening.person("Asha").puts_up("For all", scope="network")
    listening.clock.pass_time(days=3)
    await listening.hub.caretaking.erase(made.public_id, RULE, "gwen")
    said = await keyboard.types("notices", "show", made.public_id)
    assert "Erased on 1 of 3 hubs; " in said
    assert f"{MILL_LANE} has not been heard from yet" in said
    assert f"{OAKFIELD} not heard from since 2026-11-23" in said
    [(obj, record)] = await listening.rows("SELECT obj, id FROM retraction")
    assert ObjectId(obj)
    for hub in (mill_lane, oakfield):
        await hub.says(RecordId(record))
    assert "Erased on 3 of 3 hubs." in await keyboard.types("notices", "show", made.public_id)


STICK = Source(None, stick=True)


async def test_a_caretaker_reads_what_waits_and_why_and_lets_a_stranger_in(
    listening: Street, keyboard: Keyboard
) -> None:
    assert "Nothing that other hubs brought is held back." in await keyboard.types("neighbours", "held")
    near, far, early = Foreign("Heronsgate"), Foreign("Ferry Lane"), Foreign("Early Street")
    early.now_ms += 30 * 60_000
    await listening.hub.database.write(early.pair)
    await listening.hub.ingest.take(STICK, [wire(near.notice("One")), wire(near.notice("Two"))])
    await listening.hub.ingest.take(STICK, [wire(far.notice("Three"))])
    await listening.hub.ingest.take(early.source, [wire(early.notice("Tomorrow"))])
    said = await keyboard.types("neighbours", "held", code=FOUND)
    short = base32(near.hub)[:4]
    assert f"({short})  2 records, " in said
    assert "brought by a stick" in said
    assert f"hub neighbours let-in {short}" in said
    assert "The clock of Early Street runs ahead" in said
    held = json.loads(await keyboard.types("neighbours", "held", "--json", code=FOUND))
    assert [each["why"] for each in held] == ["stranger", "stranger", "future"]
    for nobody in ("Early Street", "nowhere", "é\x1b"):
        said = await keyboard.types("neighbours", "let-in", nobody, code=REFUSED)
        assert "Nothing was changed" in said, "a hub whose clock runs ahead is no stranger"
    said = await keyboard.types("neighbours", "let-in", short)
    assert "is taken in from now on" in said
    assert sorted(await listening.board()) == ["One", "Two"]
    said = await keyboard.types("neighbours", "turn-away", base32(far.hub)[:4])
    assert "1 record was dropped" in said
    await keyboard.types("neighbours", "turn-away", "early street")
    assert "Nothing that other hubs brought is held back." in await keyboard.types("neighbours", "held")


async def test_what_waited_for_a_word_about_a_copied_hub_is_there_once_it_was_said(
    listening: Street, keyboard: Keyboard
) -> None:
    mill = Foreign(MILL_LANE)
    await listening.hub.database.write(mill.pair)
    one, two = mill.notice("One"), mill.notice("Two", seq=1)
    await listening.hub.ingest.take(mill.source, [wire(one), wire(two)])
    await listening.hub.ingest.take(mill.source, [wire(mill.notice("Three"))])
    assert sorted(await listening.board()) == ["One", "Two"]
    assert "hub neighbours decide" in await keyboard.types("neighbours", "held", code=FOUND)
    assert "is taken in" in await keyboard.types("neighbours", "decide", MILL_LANE, "moved")
    assert sorted(await listening.board()) == ["One", "Three", "Two"]
    assert "No hub is there twice." in await keyboard.types("neighbours", "forks")


async def test_a_hub_that_moved_writes_under_a_new_epoch_at_once(
    listening: Street, keyboard: Keyboard
) -> None:
    mill, hub = Foreign(MILL_LANE), listening.hub
    await hub.database.write(mill.pair)
    [(epoch,)] = await listening.rows("SELECT epoch FROM lineage")
    theirs = mill.notice("Who wrote this?")
    header = replace(theirs.header, hub=hub.identity.hub, epoch=epoch, seq=99)
    await hub.ingest.take(mill.source, [wire(seal(header, theirs.body, hub.identity.sign))])
    assert "hub neighbours decide" in (await keyboard.types("status", code=FOUND))
    await keyboard.types("neighbours", "decide", hub.name, "moved")
    assert await listening.rows("SELECT epoch FROM lineage") != [(epoch,)]
    assert not await hub.ingest.is_copied()
