"""The roster, what caretakers do with it, and receipts of erasures; the network is in the tests' hands."""

from __future__ import annotations

import pytest

from hub.domain.clock import TimeQuality
from hub.domain.errors import HubError
from hub.domain.health import Condition, Line
from hub.domain.ids import ObjectId, RecordId, base32
from hub.domain.neighbours import Address, Learnt, Tie
from hub.domain.notices import Scope
from hub.domain.records import RecordType
from hub.domain.sharing import DEFAULT_CHOICES, Choice
from hub.domain.status import StatusBody, encode_status, status_object
from hub.services.identity import identity_of
from hub.services.neighbours import (
    AmbiguousNeighbour,
    BadStream,
    Greeting,
    Live,
    NeighbourPaused,
    NeighboursOff,
    NoFork,
    NoSuchNeighbour,
    NotPaired,
    Sighting,
    Step,
    Verdict,
)
from hub.storage import neighbours, statuses
from tests.integration.conftest import RULE, OpenHub, Street, in_thread
from tests.integration.elsewhere import MILL_LANE, OAKFIELD, Elsewhere, Network


@pytest.fixture
def network(street: Street) -> Network:
    """The network of the street's hub."""
    made = Network()
    street.hub.neighbours.join(made, made, made)
    return made


@pytest.fixture
def mill_lane(street: Street, network: Network) -> Elsewhere:
    """The next hall."""
    return Elsewhere(street, identity_of(b"m" * 32), MILL_LANE)


@pytest.fixture
def oakfield(street: Street, network: Network) -> Elsewhere:
    """The one after."""
    return Elsewhere(street, identity_of(b"o" * 32), OAKFIELD)


# --- pairing ----------------------------------------------------------------------------------------


async def test_a_hub_without_a_network_says_so(street: Street) -> None:
    for act in (street.hub.neighbours.begin("10.0.0.1", "gwen"), street.hub.neighbours.sweep("gwen")):
        with pytest.raises(NeighboursOff):
            await act
    assert street.hub.neighbours.standing().step is Step.CLOSED
    assert await street.hub.neighbours.discovered() == []


async def test_pairing_goes_from_a_typed_address_by_six_digits_to_a_neighbour(
    street: Street, network: Network, mill_lane: Elsewhere
) -> None:
    roster = street.hub.neighbours
    standing = await roster.begin("mill-lane.local", "gwen")
    assert (standing.digits, network.asked) == ("123456", ["call mill-lane.local:8449"])
    assert (await roster.accept("gwen", {"files": Choice.NONE})).step is Step.ACCEPTED
    await mill_lane.pairs(Address("10.0.0.7", 8448))
    [known] = await roster.every()
    assert (known.neighbour.name, known.neighbour.tie) == (MILL_LANE, Tie.PAIRED)
    assert known.neighbour.choices == {**DEFAULT_CHOICES, "files": Choice.NONE}
    assert known.neighbour.theirs == DEFAULT_CHOICES
    assert [each.address.host for each in known.neighbour.addresses] == ["10.0.0.7"]
    assert await street.acts() == ["pair"]
    assert [row[2:] for row in await street.table("audit")] == [
        ("gwen", "pair", "mill-lane.local:8449"),
        ("gwen", "paired", base32(mill_lane.hub)[:26]),
    ]
    assert await roster.pins() == {mill_lane.hub: mill_lane.card().certificate}


async def test_what_was_chosen_for_one_pairing_is_not_taken_for_the_next(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await street.hub.neighbours.accept("gwen", {"notices": Choice.HOLD})
    await mill_lane.pairs()
    await oakfield.pairs()
    assert (await street.hub.neighbours.show(OAKFIELD)).neighbour.choices == DEFAULT_CHOICES


# --- finding ----------------------------------------------------------------------------------------


async def test_a_neighbour_is_found_by_its_name_the_beginning_of_it_or_of_its_id(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await mill_lane.pairs()
    await oakfield.pairs()
    roster = street.hub.neighbours
    for typed in (
        MILL_LANE,
        MILL_LANE.upper(),
        MILL_LANE.split()[0],
        mill_lane.short,
        mill_lane.short.upper(),
    ):
        assert (await roster.show(typed)).neighbour.hub == mill_lane.hub
    for typed in ("Nowhere", "", "ab"):
        with pytest.raises(NoSuchNeighbour):
            await roster.show(typed)


async def test_a_hub_that_takes_another_ones_name_is_told_apart_everywhere(
    street: Street, network: Network, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await mill_lane.pairs()
    oakfield.name = MILL_LANE
    await oakfield.pairs()
    roster = street.hub.neighbours
    assert {known.neighbour.name for known in await roster.every()} == {
        f"{MILL_LANE} ({mill_lane.short})",
        f"{MILL_LANE} ({oakfield.short})",
    }
    with pytest.raises(AmbiguousNeighbour):
        await roster.show(MILL_LANE)
    assert (await roster.show(f"{MILL_LANE} ({oakfield.short})")).neighbour.hub == oakfield.hub


async def test_hubs_nearby_are_shown_with_what_they_are_and_with_a_warning_for_namesakes(
    street: Street, network: Network, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await mill_lane.pairs()
    network.sightings = [
        Sighting(base32(mill_lane.hub)[:26], MILL_LANE, "1", (), street.clock.ms),
        Sighting(base32(oakfield.hub)[:26], MILL_LANE.lower(), "1", (), street.clock.ms),
        Sighting("0123456789abcdef", "Library", "1", (), street.clock.ms),
    ]
    seen = await street.hub.neighbours.discovered()
    assert {(each.sighting.name, each.neighbour is not None, each.namesake) for each in seen} == {
        ("Library", False, False),
        (MILL_LANE.lower(), False, True),
        (MILL_LANE, True, True),
    }


# --- deciding ---------------------------------------------------------------------------------------


async def test_choices_and_pauses_are_kept_and_end_the_open_connection(
    street: Street, network: Network, mill_lane: Elsewhere
) -> None:
    await mill_lane.pairs()
    roster = street.hub.neighbours
    await roster.choose(MILL_LANE, "files", Choice.HOLD, "gwen")
    await roster.pause(MILL_LANE, "gwen")
    found = (await roster.show(MILL_LANE)).neighbour
    assert (found.choices["files"], found.tie) == (Choice.HOLD, Tie.PAUSED)
    with pytest.raises(NeighbourPaused):
        await roster.sync(MILL_LANE)
    assert await roster.sync() == []
    await roster.resume(MILL_LANE, "gwen")
    await roster.sync()
    assert network.asked == [f"forget {mill_lane.short}"] * 3 + [f"sync {mill_lane.short}"]
    with pytest.raises(BadStream):
        await roster.choose(MILL_LANE, "status", Choice.NONE, "gwen")


async def test_what_a_session_tells_is_remembered(
    street: Street, network: Network, mill_lane: Elsewhere
) -> None:
    await mill_lane.pairs()
    roster, later = street.hub.neighbours, street.clock.pass_time(hours=1)
    said = Greeting(
        "Mill\nLane",
        "olive",
        "0.9\0",
        1,
        {"notices": Choice.HOLD},
        (Address("10.0.0.9", 8448),),
        TimeQuality.REFERENCE,
        later - 90_000 - round(street.clock.seconds * 1000),
    )
    await roster.greeted(mill_lane.hub, said)
    await roster.troubled(mill_lane.hub, "unreachable")
    found = (await roster.show("Mill Lane")).neighbour
    assert (found.colour, found.version) == ("olive", "")
    assert (found.offset_ms, found.quality) == (-90_000, TimeQuality.REFERENCE)
    assert (found.heard_ms, found.swapped_ms, found.trouble) == (later, None, "unreachable")
    assert found.theirs == {"status": Choice.EXCHANGE, "notices": Choice.HOLD}
    await roster.learn(mill_lane.hub, Address("10.0.0.9", 8448), Learnt.MET, good=True)
    await roster.remember("Mill Lane", "10.0.0.9", "gwen")
    await roster.in_step(mill_lane.hub)
    found = (await roster.show("Mill Lane")).neighbour
    assert (found.swapped_ms, found.trouble) == (later, "")
    assert [(each.learnt, each.good_ms) for each in found.addresses] == [(Learnt.TYPED, later)]


async def test_after_parting_nothing_of_the_hub_is_let_in_and_its_notices_stay(
    street: Street, network: Network, mill_lane: Elsewhere
) -> None:
    await mill_lane.pairs(Address("10.0.0.7", 8448))
    await mill_lane.puts_up("A bench")
    await street.hub.neighbours.part(MILL_LANE, "gwen", keep=True)
    assert await street.board() == ["A bench"]
    assert await street.hub.neighbours.pins() == {}
    assert network.asked == [f"forget {mill_lane.short}"]
    assert await street.acts() == ["pair", "part"]
    found = (await street.hub.neighbours.show(MILL_LANE)).neighbour
    assert (found.tie, found.addresses) == (Tie.PARTED, ())
    with pytest.raises(NotPaired):
        await street.hub.neighbours.pause(MILL_LANE, "gwen")


async def test_parting_can_erase_what_the_hub_wrote_here_only(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await mill_lane.pairs()
    theirs, shared = await street.picture(10), await street.picture(20)
    await mill_lane.puts_up("A bench", pictures=(theirs, shared))
    await mill_lane.puts_up("A stool", scope=Scope.NEIGHBOURS)
    await oakfield.puts_up("A table", pictures=(shared,))
    await street.person("Asha").puts_up("A ladder")
    before = await street.rows("SELECT count(*) FROM set_item")
    await street.hub.neighbours.part(MILL_LANE, "gwen", keep=False)
    assert set(await street.board()) == {"A table", "A ladder"}
    assert await street.found("bench") == []
    blobs = [picture.full.sha256 for picture in (theirs, shared)]
    assert await in_thread(lambda: [street.hub.blobs.exists(each) for each in blobs]) == [False, True]
    assert await street.rows("SELECT count(*) FROM set_item") == before, "nobody offers it again"
    assert await street.rows("SELECT * FROM retraction") == [], "it was not its hub that erased it"
    assert (await street.hub.neighbours.show(MILL_LANE)).neighbour.tie is Tie.REMOVED
    assert (await street.hub.upkeep.check()).findings == ()
    raw = await in_thread(lambda: b"".join(path.read_bytes() for path in street.data.glob("hub.db*")))
    assert b"A bench" not in raw
    assert b"A table" in raw


async def test_a_removal_that_a_stop_cut_short_is_finished_at_the_next_start(open_street: OpenHub) -> None:
    async with open_street() as street:
        there = Elsewhere(street, identity_of(b"m" * 32), MILL_LANE)
        await there.pairs()
        await there.puts_up("A bench")
        await street.hub.database.write(
            lambda connection: neighbours.tie(connection, there.hub, Tie.REMOVING)
        )
    async with open_street() as street:
        assert await street.board() == []
        assert (await street.hub.neighbours.show(MILL_LANE)).neighbour.tie is Tie.REMOVED


async def test_with_a_hub_that_was_removed_and_paired_again_its_notices_may_come_anew(
    street: Street, mill_lane: Elsewhere
) -> None:
    await mill_lane.pairs()
    await mill_lane.puts_up("A bench")
    gone = await mill_lane.puts_up("A stool")
    await mill_lane.brings(RecordType.RETRACT, gone, None)
    await street.hub.neighbours.part(MILL_LANE, "gwen", keep=False)
    [unwanted] = await street.hub.database.read_with(neighbours.unwanted)
    assert unwanted == mill_lane.hub
    await mill_lane.pairs()
    assert await street.hub.database.read_with(neighbours.unwanted) == frozenset()
    kept = await street.rows("SELECT DISTINCT obj FROM record")
    assert kept == [(gone,)], "what it had erased itself stays erased"
    mill_lane.written = 0
    await mill_lane.puts_up("A bench")
    assert await street.board() == ["A bench"]


async def test_of_a_hub_that_is_there_twice_the_caretaker_says_why(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await mill_lane.pairs()
    roster, seen_ms = street.hub.neighbours, street.clock.ms
    for hub in (mill_lane.hub, oakfield.hub):
        await street.tamper(
            "INSERT INTO origin_epoch (hub, epoch, forked_ms) VALUES (?, ?, ?)", hub, b"12345678", seen_ms
        )
    await street.tamper("INSERT INTO origin_epoch (hub, epoch) VALUES (?, ?)", mill_lane.hub, b"87654321")
    assert {(fork.hub, fork.seen_ms) for fork in await roster.forks()} == {
        (mill_lane.hub, seen_ms),
        (oakfield.hub, seen_ms),
    }
    await roster.decide(MILL_LANE, Verdict.MOVED, "gwen")
    await roster.decide(oakfield.short, Verdict.NEW, "gwen")
    assert await roster.forks() == []
    decided = await street.rows("SELECT hub, decided FROM origin_epoch ORDER BY n")
    assert decided == [(mill_lane.hub, "moved"), (oakfield.hub, "new"), (mill_lane.hub, "")]
    with pytest.raises(NoFork):
        await roster.decide(MILL_LANE, Verdict.MOVED, "gwen")


# --- status and receipts ----------------------------------------------------------------------------


async def test_a_hub_tells_of_itself_once_a_day_and_after_an_erasure(
    street: Street, mill_lane: Elsewhere
) -> None:
    receipts = street.hub.receipts
    assert not await receipts.publish_when_due(), "nobody would read it"
    await mill_lane.pairs()
    assert await receipts.publish_when_due()
    assert not await receipts.publish_when_due()
    street.clock.pass_time(days=1)
    assert await receipts.publish_when_due()
    asha = street.person("Asha")
    here = await asha.puts_up("Only for us", scope="hub")
    there = await asha.puts_up("For all", scope="network")
    for made in (here, there):
        await street.hub.caretaking.erase(made.public_id, RULE, "gwen")
    assert await receipts.publish_when_due()
    own = await street.hub.database.read_with(
        lambda connection: statuses.of_hub(connection, street.hub.identity.hub)
    )
    assert own is not None
    assert (own.erased, len(own.named)) == (1, 1), "what never left is nobody's business"
    bodies = await street.rows(
        "SELECT body IS NOT NULL FROM record WHERE obj = ? ORDER BY n", status_object(street.hub.identity.hub)
    )
    assert bodies == [(0,), (0,), (1,)]
    assert (await street.hub.upkeep.check()).findings == ()


async def test_each_hub_that_may_hold_an_erased_notice_gives_its_receipt(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await mill_lane.pairs()
    await oakfield.pairs()
    harbour = Elsewhere(street, identity_of(b"h" * 32), "Harbour Hall")
    await harbour.says()
    made = await street.person("Asha").puts_up("For all", scope="network")
    erased_at = street.clock.pass_time(days=2)
    await street.hub.caretaking.erase(made.public_id, RULE, "gwen")
    [(obj, record)] = await street.rows("SELECT obj, id FROM retraction")
    street.clock.pass_time(hours=1)
    told_at = street.clock.ms
    await mill_lane.says(RecordId(record))
    own, *others = await street.hub.receipts.of(ObjectId(obj))
    assert own.erased_ms == erased_at
    assert [(each.name, each.erased_ms) for each in others] == [
        ("Harbour Hall", None),
        (MILL_LANE, told_at),
        (OAKFIELD, None),
    ]
    assert [each.heard_ms is None for each in others] == [False, False, True]
    street.clock.pass_time(days=100)
    await mill_lane.says()
    [again] = [each for each in await street.hub.receipts.of(ObjectId(obj)) if each.name == MILL_LANE]
    assert again.erased_ms == told_at, "a receipt once given is kept"
    await street.hub.upkeep.rebuild()
    assert (await street.hub.upkeep.check()).findings == ()


async def test_what_only_neighbours_saw_is_asked_of_those_alone(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    await mill_lane.pairs()
    await oakfield.says()
    ours = await street.person("Asha").puts_up("For neighbours", scope="neighbours")
    hidden = await street.person("Asha").puts_up("For us", scope="hub")
    theirs = await mill_lane.puts_up("A bench", scope=Scope.NEIGHBOURS)
    await mill_lane.brings(RecordType.RETRACT, theirs, None, scope=Scope.NEIGHBOURS)
    for made in (ours, hidden):
        await street.hub.caretaking.erase(made.public_id, RULE, "gwen")

    async def asked(obj: ObjectId) -> list[str]:
        return [each.name for each in await street.hub.receipts.of(obj)]

    own = street.hub.name
    item, secret = [await street.hub.caretaking.item(made.public_id) for made in (ours, hidden)]
    assert await asked(item.obj) == [own, MILL_LANE]
    assert await asked(theirs) == [own, MILL_LANE]
    assert await asked(secret.obj) == []


async def test_a_hub_that_parted_is_named_as_one_that_may_never_hear_of_an_erasure(
    street: Street, mill_lane: Elsewhere
) -> None:
    await mill_lane.pairs()
    made = await street.person("Asha").puts_up("For neighbours", scope="neighbours")
    street.clock.pass_time(minutes=5)
    await street.hub.neighbours.in_step(mill_lane.hub)
    await street.hub.neighbours.part(MILL_LANE, "gwen", keep=True)
    await street.hub.caretaking.erase(made.public_id, RULE, "gwen")
    item = await street.hub.caretaking.item(made.public_id)
    [_, there] = await street.hub.receipts.of(item.obj)
    assert (there.name, there.erased_ms, there.parted) == (MILL_LANE, None, True)


async def test_a_status_says_only_what_its_own_hub_signed(street: Street, mill_lane: Elsewhere) -> None:
    body = StatusBody("Not us", "moss", "1", TimeQuality.REFERENCE, 0, ())
    data = encode_status(body, b"s" * 16)
    await mill_lane.brings(RecordType.STATUS, status_object(street.hub.identity.hub), data, stream="status")
    await mill_lane.brings(RecordType.STATUS, status_object(mill_lane.hub), b"\xff", stream="status")
    assert await street.table("hub_status") == []
    assert (await street.hub.upkeep.check()).findings == ()


async def test_old_statuses_and_silent_hubs_leave_by_themselves(street: Street, mill_lane: Elsewhere) -> None:
    await mill_lane.says()
    street.clock.pass_time(days=30)
    await mill_lane.says()

    async def left(days: int) -> tuple[int, int]:
        now = street.clock.pass_time(days=days)
        await street.hub.database.write(lambda connection: statuses.drop_ended(connection, now))
        [(records, hubs)] = await street.rows(
            "SELECT (SELECT count(*) FROM record), (SELECT count(*) FROM hub_status)"
        )
        return records, hubs

    assert await left(1) == (2, 1)
    assert await left(20) == (1, 1)
    assert await left(40) == (0, 0)


def test_every_refusal_says_what_is_safe_and_what_to_do() -> None:
    for refusal in (
        NeighboursOff(),
        NoSuchNeighbour(typed="x"),
        NotPaired(hub="x"),
        NeighbourPaused(hub="x"),
    ):
        assert isinstance(refusal, HubError)
        assert "othing was" in str(refusal)


async def test_of_neighbours_the_status_tells_what_a_caretaker_has_to_do_something_about(
    street: Street, network: Network, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    async def line() -> Line:
        [found] = [line for line in await street.hub.health.lines() if line.code == "neighbours"]
        return found

    assert (await line()).sentence == "This hub has no neighbours."
    await mill_lane.pairs()
    await oakfield.pairs()
    network.lives[mill_lane.hub] = Live(trouble="unreachable", sentence="Mill Lane does not answer.")
    assert (await line()).state is Condition.OK, "halls are switched off at night"
    street.clock.pass_time(hours=25)
    network.lives[oakfield.hub] = Live(connected=True)
    assert (await line()).sentence == f"{MILL_LANE} was not heard from for 1 day. Nothing is lost."
    network.lives[mill_lane.hub] = Live(trouble="protocol-too-old", sentence="It speaks an older protocol.")
    assert f"{MILL_LANE}: It speaks an older protocol." in (await line()).sentence
    network.lives.clear()
    await street.hub.neighbours.troubled(mill_lane.hub, "another-hub")
    assert f"{MILL_LANE} cannot be talked with (another-hub)." in (await line()).sentence
    await street.hub.neighbours.pause(MILL_LANE, "gwen")
    await street.hub.neighbours.part(OAKFIELD, "gwen", keep=True)
    assert (await line()).state is Condition.OK
    for number in range(7):
        await Elsewhere(street, identity_of(bytes([number]) * 32), f"Hall {number}").pairs()
    street.clock.pass_time(days=2)
    assert "And 2 more." in (await line()).sentence
