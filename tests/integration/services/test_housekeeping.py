"""What a hub does by itself: finish take-downs, drop what has ended, forget, collect, index."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hub.domain.ids import ObjectId
from hub.domain.notices import Kind, NoticeDraft, Scope, State
from hub.domain.policy import DAY_MS, Reason
from hub.services.housekeeping import INDEX_BATCH, Round
from hub.services.publishing import publish_notice
from hub.storage.database import Connection
from hub.storage.journal import Pen
from hub.storage.projections import rebuild
from tests.integration.conftest import RULE, OpenHub, Street

NOTHING = Round(0, 0, 0)


async def many(street: Street, count: int, until: str = "2026-11-24") -> list[str]:
    """Notices of as many devices, one a second."""
    await street.setting("limits.whole_hub", "100000")
    await street.setting("limits.new_devices", "100000")
    names = []
    for number in range(count):
        made = await street.person(f"guest {number}").puts_up(f"Notice {number}", until=until)
        names.append(made.public_id)
        street.clock.pass_time(seconds=1)
    return names


async def test_a_fresh_hub_has_nothing_to_do(street: Street) -> None:
    assert await street.hub.housekeeping.round() == NOTHING


async def test_a_take_down_is_finished_once_it_cannot_be_put_back(street: Street) -> None:
    ann, picture = street.person("ann"), await street.picture(7)
    name = (await ann.puts_up(pictures=(picture,))).public_id
    await ann.takes_down(name)
    street.clock.pass_time(minutes=30)
    assert (await street.hub.housekeeping.round()).erased == 0
    street.clock.pass_time(minutes=1)
    assert (await street.hub.housekeeping.round()).erased == 1
    assert (await street.hub.board.thread(name)).notice.state is State.ERASED
    assert not await asyncio.to_thread(street.hub.blobs.exists, picture.full.sha256)
    assert (await street.hub.housekeeping.round()).erased == 0
    assert (await street.hub.upkeep.check()).findings == ()


async def test_taken_down_replies_are_finished_too_and_alone(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    bob = street.person("bob")
    reply = (await bob.answers(name)).public_id
    await street.person("cat").answers(name, "Still here.")
    await bob.takes_down(reply)
    street.clock.pass_time(minutes=31)
    assert (await street.hub.housekeeping.round()).erased == 1
    assert [each.text for each in (await street.hub.board.thread(name)).replies] == ["Still here."]
    assert (await street.hub.upkeep.check()).findings == ()


async def test_what_ended_leaves_on_the_monday_after_next_at_the_latest_and_not_before(
    street: Street,
) -> None:
    """It ends with Tuesday 24 November; the first Monday at three a week later is 7 December."""
    await street.person("bob").answers((await street.person("ann").puts_up(until="2026-11-24")).public_id)
    street.clock.pass_time(days=13, hours=17)
    assert (await street.hub.housekeeping.round()).purged == 0
    street.clock.pass_time(hours=1)
    assert (await street.hub.housekeeping.round()).purged == 2
    tables = ("record", "notice", "reply", "blob_use", "search_doc", "ownership", "search_tail")
    for table in tables:
        assert await street.table(table) == []
    assert (await street.hub.upkeep.check()).findings == ()


async def test_replies_stay_as_long_as_their_notice_is_extended(street: Street) -> None:
    ann, bob = street.person("ann"), street.person("bob")
    name = (await ann.puts_up(until="2026-11-24")).public_id
    await bob.answers(name, "A hedgehog.")
    await street.hub.board.extend(name, ann.asker())
    street.clock.pass_time(days=20)
    await street.hub.housekeeping.round()
    assert [reply.text for reply in (await street.hub.board.thread(name)).replies] == ["A hedgehog."]
    assert await street.found("hedgehog") == ["Ladder to lend"]
    assert (await street.hub.upkeep.check()).findings == ()


async def test_a_retraction_outlives_what_it_erases(street: Street) -> None:
    name = (await street.person("ann").puts_up(until="2026-11-24")).public_id
    await street.hub.caretaking.erase(name, RULE, "gwen")
    street.clock.pass_time(days=20)
    assert (await street.hub.housekeeping.round()).purged == 0
    street.clock.pass_time(days=30)
    assert (await street.hub.housekeeping.round()).purged == 1
    assert await street.rows("SELECT 1 FROM record") == []


async def test_one_round_drops_one_in_twenty_at_most(street: Street) -> None:
    await many(street, 30)
    await street.hub.database.write(_five_hundred_more)
    street.clock.pass_time(days=20)
    (records,) = (await street.rows("SELECT count(*) FROM record"))[0]
    purged = (await street.hub.housekeeping.round()).purged
    assert 0 < purged <= records * 0.05


def _five_hundred_more(connection: Connection) -> None:
    """Notices that last, as a crowd would write them."""
    draft = NoticeDraft(Kind.NEWS, "Crowd", "Words.", "en", Scope.HUB, 1_795_426_860_000 + 300 * DAY_MS)
    for number in range(500):
        pen = Pen(lambda data: bytes(64), 1_795_426_860_000 + number)
        publish_notice(connection, pen, ObjectId(number.to_bytes(16, "big")), draft, bytes(16))


async def test_while_the_time_is_unknown_nothing_is_dropped_or_forgotten(street: Street) -> None:
    picture = await street.picture(7)
    await street.hub.board.keep_pictures([picture])
    name = (await street.person("ann").puts_up(until="2026-11-24")).public_id
    reference = (await street.person("bob").reports(name)).reference
    await street.hub.caretaking.decide(reference, "keep", RULE, "", "gwen")
    for days in (365 * 12, -365 * 30):
        street.clock.put_right(days=days)
        assert await street.hub.housekeeping.round() == NOTHING
        assert (await street.hub.reporting.outcome(reference))[0].outcome == "kept"
        assert await asyncio.to_thread(street.hub.blobs.exists, picture.full.sha256)
        assert len(await street.rows("SELECT 1 FROM record UNION ALL SELECT 1 FROM audit")) == 2
    assert await street.board() == ["Ladder to lend"]


async def test_pictures_of_a_refused_form_are_kept_a_day_and_their_files_go_with_them(street: Street) -> None:
    picture = await street.picture(7, "a ladder")
    [kept] = await street.hub.board.keep_pictures([picture])
    await asyncio.to_thread(age, street.hub.blobs.path(picture.full.sha256), street.clock.ms)
    await asyncio.to_thread(age, street.hub.blobs.path(picture.thumb.sha256), street.clock.ms)
    street.clock.pass_time(hours=23)
    assert await street.hub.housekeeping.round() == NOTHING
    [again] = await street.hub.board.kept_pictures([kept.token, kept.token, "no such"])
    assert again.picture == picture
    street.clock.pass_time(hours=2)
    assert (await street.hub.housekeeping.round()).pictures == 2
    assert await street.hub.board.kept_pictures([kept.token]) == []


async def test_blobs_that_a_notice_or_something_held_names_are_not_collected(street: Street) -> None:
    ann = street.person("ann")
    shown, held, orphan = [await street.picture(colour) for colour in (1, 2, 3)]
    await ann.puts_up(pictures=(shown,))
    await street.setting("board.posting", "checked")
    await ann.puts_up(pictures=(held,))
    for picture in (shown, held, orphan):
        for blob in (picture.full, picture.thumb):
            await asyncio.to_thread(age, street.hub.blobs.path(blob.sha256), street.clock.ms)
    street.clock.pass_time(hours=2)
    assert (await street.hub.housekeeping.round()).pictures == 2
    assert (await street.hub.upkeep.check()).findings == ()
    assert await asyncio.to_thread(street.hub.blobs.exists, held.full.sha256)


def age(path: Path, now_ms: int) -> None:
    """Date a file by the test's clock."""
    os.utime(path, (now_ms / 1000, now_ms / 1000))


async def test_decided_reports_and_the_private_log_are_forgotten_in_time_and_the_ledger_never(
    street: Street,
) -> None:
    name = (await street.person("ann").puts_up(until="2027-11-01")).public_id
    reference = (await street.person("bob").reports(name)).reference
    await street.hub.caretaking.decide(reference, "keep", RULE, "", "gwen")
    open_one = (await street.person("cat").reports(name)).reference
    street.clock.pass_time(days=91)
    await street.hub.housekeeping.round()
    assert await street.rows("SELECT 1 FROM audit") == []
    assert (await street.hub.reporting.outcome(reference))[0].outcome == "kept"
    street.clock.pass_time(days=90)
    await street.hub.housekeeping.round()
    assert [row[0] for row in await street.rows("SELECT reference FROM report")] == [open_one]
    assert await street.acts() == ["keep"]


async def test_the_index_takes_over_every_document_and_searches_say_the_same(street: Street) -> None:
    await many(street, 30, until="2027-01-01")
    before = await street.found("notice")
    assert await street.hub.housekeeping.index_all() == 30
    assert await street.rows("SELECT count(*) FROM search_tail") == [(0,)]
    assert await street.found("notice") == before
    assert await street.hub.housekeeping.index_all() == 0
    assert INDEX_BATCH > 30


async def test_a_rebuild_gives_equal_rows_equal_answers_and_keeps_local_truth(street: Street) -> None:
    ann, bob = street.person("ann"), street.person("bob")
    names = await many(street, 12, until="2027-01-01")
    mine = (await ann.puts_up("Changed later", pictures=(await street.picture(5),))).public_id
    await bob.answers(mine, "A hedgehog.")
    gone = await bob.answers(mine, "Never mind.")
    await ann.changes(mine, "Four metres.", title="Changed later")
    await bob.takes_down(gone.public_id)
    await street.hub.housekeeping.index_all()
    await street.hub.caretaking.hide(names[0], RULE, "gwen")
    await street.hub.caretaking.pin(names[1], street.clock.ms + DAY_MS, "gwen")
    await street.hub.caretaking.erase(names[2], RULE, "gwen")
    await street.hub.reporting.report(names[3], "notice", Reason.RULES, "Look.", bob.asker(), "r1")
    await street.setting("board.posting", "checked")
    await ann.puts_up("Waiting")
    local = ("ownership", "device", "held", "hide", "mark", "report", "ledger", "audit", "setting")
    made = ("notice", "reply", "blob_use", "search_doc", "record", *local)
    rows = {table: await street.table(table) for table in made}
    questions = ("notice", "hedge", "four", "ladder", "changed")
    answers = [await street.found(question) for question in questions]

    assert await street.hub.upkeep.rebuild() == len(names) + 3
    for table in made:
        assert await street.table(table) == rows[table], table
    assert [await street.found(question) for question in questions] == answers
    assert (await street.hub.upkeep.check()).findings == ()
    await street.hub.housekeeping.index_all()
    assert [await street.found(question) for question in questions] == answers


async def test_a_rebuild_that_fails_changes_nothing(street: Street) -> None:
    await street.person("ann").puts_up()

    def fail(connection: Connection) -> None:
        rebuild(connection)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await street.hub.database.write(fail)
    assert await street.board() == ["Ladder to lend"]
    assert (await street.hub.upkeep.check()).findings == ()


async def test_everything_is_there_after_closing_and_opening_again(open_street: OpenHub) -> None:
    async with open_street() as street:
        ann = street.person("ann")
        name = (await ann.puts_up()).public_id
        hub_id = street.hub.identity.public_id()
    async with open_street() as street:
        assert street.hub.identity.public_id() == hub_id
        assert await street.board() == ["Ladder to lend"]
        assert (await street.hub.board.thread(name, ann.cookie)).mine
        assert (await street.hub.upkeep.check()).findings == ()
