"""What neighbours bring: taken once, shown as its origin says, held when it is too much, never harmful."""

from __future__ import annotations

import asyncio
import html
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.domain import cbor
from hub.domain.admission import Outcome, Quotas, Refusal, Source
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.health import Condition
from hub.domain.ids import Epoch, ObjectId
from hub.domain.notices import Kind, Scope
from hub.domain.policy import DAY_MS, MINUTE_MS
from hub.domain.records import BadRecord, Record, RecordType, Stream, WireRecord, seal
from hub.domain.sharing import DEFAULT_CHOICES, Choice
from hub.domain.status import StatusBody, encode_status, status_object
from hub.services.caretaking import NothingHeld
from hub.services.ingest import admit, look, release, verify_all
from hub.services.neighbours import Verdict
from hub.storage import arrivals, files, journal, moderation, notices, retention, sets, statuses, traces
from hub.storage.inspection import check
from hub.storage.migrate import migrate
from hub.storage.projections import rebuild
from tests.integration.conftest import RULE, Street
from tests.integration.services.foreign import NOW_MS, PICTURE, Foreign, obj, wire

LATER_MS = NOW_MS + 3_600_000
"""When everything comes here, unless a test says otherwise."""
SURE = TimeQuality.CARETAKER
TABLES = ("notice", "reply", "collection", "file", "blob_use", "search_doc", "retraction", "hide")


@contextmanager
def hall(own: Foreign | None = None) -> Iterator[sqlite3.Connection]:
    """The database of a hub that is paired with Mill Lane."""
    own = own or Foreign("Tanyard Road")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, NOW_MS, "test")
        journal.found(connection, own.hub, Epoch(b"restored"))
        sets.sweep(connection, LATER_MS)
        Foreign("Mill Lane").pair(connection)
        yield connection


def brings(
    connection: sqlite3.Connection,
    *records: Record,
    by: Source | None = None,
    now_ms: int = LATER_MS,
    quality: TimeQuality = SURE,
    **quotas: int,
) -> Outcome:
    """Mill Lane, or who else it is by, brings ``records`` in one batch."""
    source = by or Foreign("Mill Lane").source
    return admit(connection, records, source, now_ms, quality, Quotas(**quotas))


def titles(connection: sqlite3.Connection, now_ms: int = LATER_MS) -> list[str]:
    """What stands on the board."""
    board = notices.board(connection, now_ms, limit=1000)
    return [notice.title for notice in (*board.first, *board.notices)]


def bodies(connection: sqlite3.Connection) -> int:
    """How many records have a body."""
    return int(connection.execute("SELECT count(body) FROM record").fetchone()[0])


def picture_of(connection: sqlite3.Connection) -> dict[str, Any]:
    """What a hub shows and what it would exchange, without the numbers of its log."""
    shown = {}
    for table in TABLES:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        kept = ", ".join(column for column in columns if column != "record")
        rows = connection.execute(f"SELECT {kept} FROM {table}")  # noqa: S608 - names of the schema
        shown[table] = sorted(rows, key=repr)
    shown["record"] = sorted(connection.execute("SELECT id, body FROM record"))
    shown["sets"] = [(key, sets.summary(connection, key)) for key in sets.shared_sets(connection)]
    return shown


# --- one path, any order --------------------------------------------------------------------------

A, B, M = "Mill Lane", "Oakfield", "Mallory"


def stories(hostile: bool = True) -> list[Record]:
    """What three hubs had to say: edits, take-downs, erasures, replies, a file share, and a fraud."""
    mill, oak, mallory = Foreign(A), Foreign(B), Foreign(M)
    ladder, lost, cat, shelf = obj("Ladder"), obj("Lost"), obj("Cat"), obj("Rotas")
    told = [
        mill.notice("Ladder", ladder, pictures=(PICTURE,)),
        mill.notice("Long ladder", ladder),
        mill.notice("Lost", lost),
        mill.withdraw(lost),
        mill.restore(lost),
        oak.notice("Cat", cat, pictures=(PICTURE,)),
        oak.retract(cat),
        oak.reply(ladder, "May I?"),
        oak.reply(obj("never written"), "Nobody asked."),
        oak.reply(cat, "Poor cat."),
        mill.collection("Rotas", shelf),
        mill.file("March.pdf", shelf),
        oak.file("Intruder.pdf", shelf),
        oak.says("something newer", obj("newer"), cbor.encode({0: bytes(16), 1: "?"})),
    ]
    if hostile:
        told += [
            mallory.retract(ladder),
            mallory.withdraw(lost),
            mallory.says(RecordType.RESTORE, cat, cbor.encode({0: bytes(16)})),
            mallory.retract(shelf),
            mallory.says(RecordType.NOTICE, obj("no notice"), cbor.encode({0: bytes(16), 1: 7})),
            mallory.notice("x" * 121),
            mallory.notice("Two\nlines"),
            mallory.notice("Urgent for ever", kind=Kind.URGENT),
            mallory.reply(None, "To nobody."),
            mallory.retract(obj("never written")),
        ]
    return told


@pytest.mark.slow
@pytest.mark.timeout(60)
@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_order_any_batches_and_any_copies_give_the_same_hub(chance: random.Random) -> None:
    told = stories()
    with hall() as one, hall() as other:
        brings(one, *told)
        mixed = told + chance.sample(told, 5)
        chance.shuffle(mixed)
        while mixed:
            size = chance.randint(1, 6)
            batch, mixed = mixed[:size], mixed[size:]
            brings(other, *batch)
        assert picture_of(one) == picture_of(other)
        before = picture_of(other)
        rebuild(other)
        assert picture_of(other) == before
        assert list(check(other)) == []
        assert titles(other) == ["Lost", "Long ladder"]


def test_what_is_here_already_changes_nothing() -> None:
    told = stories()
    with hall() as connection:
        first = brings(connection, *told)
        before = picture_of(connection)
        again = brings(connection, *told)
        assert (again.stored, again.known, again.waiting, again.refused) == ((), len(told), 0, ())
        assert len(first.stored) == len(told)
        assert picture_of(connection) == before


def test_a_hub_can_change_or_erase_nothing_but_its_own() -> None:
    mill, mallory = Foreign(A), Foreign(M)
    with hall() as connection:
        brings(connection, mill.notice("Ladder"), mill.notice("Chair"))
        theft = mallory.notice("Mine now", obj("Ladder"), stamp=Stamp(NOW_MS + 900_000, 0))
        brings(connection, theft, mallory.retract(obj("Chair")), mallory.withdraw(obj("Chair")))
        assert titles(connection) == ["Chair", "Ladder"]
        assert bodies(connection) == 3  # what is carried is passed on whole
        brings(connection, mill.retract(obj("Ladder")))
        assert titles(connection) == ["Chair"]


def test_whoever_is_seen_first_with_an_object_keeps_it() -> None:
    mill, mallory = Foreign(A), Foreign(M)
    with hall() as connection:
        early = mallory.notice("Backdated", obj("Ladder"), stamp=Stamp(NOW_MS - DAY_MS, 0))
        brings(connection, mill.notice("Ladder"))
        brings(connection, early)
        assert titles(connection) == ["Ladder"]


def test_our_own_objects_are_ours_whatever_came_first() -> None:
    own, mallory = Foreign("Tanyard Road"), Foreign(M)
    with hall() as connection:
        brings(connection, mallory.notice("Stolen", obj("Ladder")), mallory.retract(obj("Chair")))
        brings(connection, own.notice("Ladder"), own.notice("Chair"))
        assert titles(connection) == ["Chair", "Ladder"]
        before = picture_of(connection)
        rebuild(connection)
        assert picture_of(connection) == before


def test_a_retraction_without_its_content_erases_it_on_arrival() -> None:
    mill = Foreign(A)
    ladder = mill.notice("Ladder", pictures=(PICTURE,))
    with hall() as connection:
        brings(connection, mill.retract(obj("Ladder")))
        brings(connection, ladder)
        assert (bodies(connection), titles(connection)) == (0, [])
        assert connection.execute("SELECT count(*) FROM record").fetchone() == (2,)
        brings(connection, ladder)
        assert bodies(connection) == 0


def test_a_superseded_version_is_stored_without_its_words() -> None:
    mill = Foreign(A)
    first, second = mill.notice("Ladder"), mill.notice("Long ladder", obj("Ladder"))
    with hall() as connection:
        brings(connection, second)
        brings(connection, first)
        assert (bodies(connection), titles(connection)) == (1, ["Long ladder"])


def test_a_body_that_was_held_back_by_another_hub_can_still_come() -> None:
    ladder = Foreign(A).notice("Ladder")
    with hall() as connection:
        brings(connection, replace(ladder, body=None))
        assert titles(connection) == []
        outcome = brings(connection, ladder)
        assert (outcome.known, outcome.stored, titles(connection)) == (1, (), ["Ladder"])


def test_a_reply_waits_for_its_notice_and_a_file_for_its_collection() -> None:
    mill, oak = Foreign(A), Foreign(B)
    with hall() as connection:
        brings(connection, oak.reply(obj("Ladder")), mill.file("March.pdf", obj("Rotas")))
        brings(connection, oak.file("Intruder.pdf", obj("Rotas")))
        brings(connection, mill.notice("Ladder"), mill.collection("Rotas"))
        assert [reply.text for reply in notices.replies(connection, obj("Ladder"))] == ["I could use it."]
        assert [file.name for file in files.files_of(connection, LATER_MS, obj("Rotas"))] == ["March.pdf"]
        assert files.newest(connection, LATER_MS, 9)[0].name == "March.pdf"


def test_an_object_can_become_another_kind_of_thing() -> None:
    mill = Foreign(A)
    with hall() as connection:
        brings(connection, mill.notice("Chair"), mill.notice("Ladder"))
        brings(connection, mill.reply(obj("Chair"), "A second one.", about=obj("Ladder")))
        assert titles(connection) == ["Chair"]
        assert [reply.text for reply in notices.replies(connection, obj("Chair"))] == ["A second one."]
        brings(connection, mill.notice("Ladder"))
        assert titles(connection) == ["Ladder", "Chair"]
        assert notices.replies(connection, obj("Chair")) == []
        assert list(check(connection)) == []


# --- who may bring what ---------------------------------------------------------------------------


def refusals(outcome: Outcome) -> list[str]:
    return [code for _, code in outcome.refused]


def test_what_is_for_the_neighbours_of_a_hub_comes_from_it_or_is_our_own_coming_back() -> None:
    mill, oak, own = Foreign(A), Foreign(B), Foreign("Tanyard Road")
    with hall() as connection:
        oak.pair(connection)
        told = [each.notice(each.name, scope=Scope.NEIGHBOURS) for each in (mill, oak, own)]
        outcome = brings(connection, *told)
        assert refusals(outcome) == [Refusal.NOT_FOR_US]
        assert sorted(titles(connection)) == ["Mill Lane", "Tanyard Road"]
        assert brings(connection, *told, by=Source(None, stick=True)).refused == ()  # a neighbour's, by hand


def test_what_stays_at_home_is_taken_from_nobody() -> None:
    with hall() as connection:
        outcome = brings(connection, Foreign(A).notice("Ours alone", scope=Scope.HUB))
        assert refusals(outcome) == [Refusal.STAYS_HOME]


@pytest.mark.parametrize("how", ["stranger", "paused", "parted"])
def test_a_hub_that_is_not_paired_just_now_brings_nothing(how: str) -> None:
    oak = Foreign(B)
    with hall() as connection:
        if how != "stranger":
            oak.pair(connection)
            connection.execute("UPDATE neighbour SET tie = ? WHERE hub = ?", (how, oak.hub))
        outcome = brings(connection, oak.notice("Ladder"), by=oak.source)
        assert refusals(outcome) == [Refusal.NOT_PAIRED]


def test_a_stream_that_is_not_exchanged_is_not_taken() -> None:
    mill = Foreign(A)
    with hall() as connection:
        mill.pair(connection, {**DEFAULT_CHOICES, Stream.FILES: Choice.NONE})
        outcome = brings(
            connection,
            mill.notice("Ladder"),
            mill.collection("Rotas"),
            mill.says("newer", obj("new"), stream="events"),
        )
        assert refusals(outcome) == [Refusal.NOT_AGREED] * 2


def test_of_a_hub_that_was_removed_only_headers_are_kept_whoever_brings_them() -> None:
    oak = Foreign(B)
    with hall() as connection:
        oak.pair(connection)
        connection.execute("UPDATE neighbour SET tie = 'removed' WHERE hub = ?", (oak.hub,))
        assert len(brings(connection, oak.notice("Ladder")).stored) == 1
        assert (bodies(connection), titles(connection)) == (0, [])


# --- time -----------------------------------------------------------------------------------------


def test_what_comes_from_the_future_waits_until_it_is_due() -> None:
    mill = Foreign(A)
    soon = mill.notice("Soon", stamp=Stamp(LATER_MS + 11 * MINUTE_MS, 0))
    never = mill.notice("Never", stamp=Stamp(LATER_MS + 49 * 3_600_000, 0))
    with hall() as connection:
        before = journal.last_stamp(connection)
        outcome = brings(connection, soon, never)
        assert (outcome.waiting, refusals(outcome)) == (1, [Refusal.FROM_THE_FUTURE])
        assert journal.last_stamp(connection) == before
        assert arrivals.waits(connection, soon.id)  # it is not fetched again meanwhile
        assert release(connection, LATER_MS, SURE).stored == ()
        assert len(release(connection, LATER_MS + 2 * MINUTE_MS, SURE).stored) == 1
        assert titles(connection) == ["Soon"]


def test_our_clock_follows_what_was_taken_and_never_far() -> None:
    mill = Foreign(A)
    with hall() as connection:
        brings(connection, mill.notice("Near", stamp=Stamp(LATER_MS + 5 * MINUTE_MS, 3)))
        assert journal.last_stamp(connection) == Stamp(LATER_MS + 5 * MINUTE_MS, 3)
        far = mill.notice("Far", stamp=Stamp(LATER_MS + DAY_MS, 0))
        brings(connection, far, quality=TimeQuality.UNKNOWN)
        assert journal.last_stamp(connection) == Stamp(LATER_MS + 5 * MINUTE_MS, 3)
        assert sorted(titles(connection)) == ["Far", "Near"]  # nobody knows that it is ahead


def test_what_every_hub_has_dropped_does_not_come_back() -> None:
    mill = Foreign(A)
    ladder = mill.notice("Ladder")
    with hall() as connection:
        later = NOW_MS + 45 * DAY_MS
        assert refusals(brings(connection, ladder, now_ms=later)) == [Refusal.EXPIRED]
        outcome = brings(connection, ladder, now_ms=later, quality=TimeQuality.UNKNOWN)
        assert len(outcome.stored) == 1


def test_nothing_is_taken_that_would_last_for_ever() -> None:
    mill = Foreign(A)
    with hall() as connection:
        outcome = brings(connection, mill.notice("Eternal", exp_ms=NOW_MS + 500 * DAY_MS))
        assert refusals(outcome) == [Refusal.TOO_LONG_LIVED]


# --- too much -------------------------------------------------------------------------------------


def test_what_is_too_much_for_a_day_waits_for_the_next() -> None:
    mill = Foreign(A)
    told = [mill.notice(f"Notice {number}") for number in range(6)]
    with hall() as connection:
        outcome = brings(connection, *told, records=3)
        assert (len(outcome.stored), outcome.waiting) == (3, 3)
        [pile] = arrivals.piles(connection)
        assert (pile.neighbour, pile.origin, pile.reason, pile.records) == (mill.hub, mill.hub, "quota", 3)
        assert release(connection, LATER_MS, SURE, Quotas(records=3)).stored == ()
        tomorrow = LATER_MS + DAY_MS
        assert len(release(connection, tomorrow, SURE, Quotas(records=3)).stored) == 3
        assert len(titles(connection)) == 6


def test_what_waits_is_bounded_and_the_rest_is_offered_again() -> None:
    mill = Foreign(A)
    told = [mill.notice(f"Notice {number}") for number in range(6)]
    with hall() as connection:
        outcome = brings(connection, *told, records=1, waiting_records=2)
        assert (len(outcome.stored), outcome.waiting) == (1, 2)
        assert refusals(outcome) == [Refusal.OVER_QUOTA] * 3
        looked = look(
            connection,
            map(wire, told),
            mill.source,
            LATER_MS,
            SURE,
            Quotas(records=1, waiting_records=2),
        )
        assert (looked.known, looked.rest) == (3, ())  # no signature is verified in vain


@pytest.mark.parametrize("quotas", [Quotas(size=700), Quotas(origin_records=1)])
def test_bytes_and_records_of_each_origin_have_quotas_too(quotas: Quotas) -> None:
    mill = Foreign(A)
    with hall() as connection:
        told = [mill.notice(f"Notice {number}") for number in range(4)]
        outcome = admit(connection, told, mill.source, LATER_MS, SURE, quotas)
        assert outcome.waiting > 0
        assert len(outcome.stored) >= 1


def test_what_is_kept_of_a_hub_or_of_one_object_has_an_end() -> None:
    mill = Foreign(A)
    with hall() as connection:
        assert brings(connection, *(mill.notice("Ladder") for _ in range(3)), versions=2).waiting == 0
        assert brings(connection, mill.notice("Ladder"), versions=2).waiting == 1
        assert brings(connection, mill.notice("Chair"), origin_kept=4).waiting == 0
        assert brings(connection, mill.notice("Table"), origin_kept=4).waiting == 1
        retention.drop(connection, obj("Chair"))
        assert brings(connection, mill.notice("Bench"), origin_kept=4).waiting == 0


def test_only_the_first_erasure_of_a_thing_is_above_all_quotas() -> None:
    mill = Foreign(A)
    with hall() as connection:
        brings(connection, mill.notice("Ladder"))
        outcome = brings(connection, *(mill.retract(obj("Ladder")) for _ in range(3)), records=1)
        assert (len(outcome.stored), outcome.waiting) == (1, 2)
        assert brings(connection, mill.retract(obj("Ladder")), records=1).waiting == 1


def test_on_the_day_of_pairing_a_hub_may_bring_everything_there_is() -> None:
    mill = Foreign(A)
    others = [Foreign(f"Hub {number}") for number in range(9)]
    with hall() as connection:
        mill.pair(connection, since_ms=LATER_MS)
        told = [each.notice(f"{each.name} {number}") for each in others for number in range(3)]
        assert len(brings(connection, *told, origin_records=2).stored) == 27


def test_only_so_many_hubs_are_introduced_in_a_day() -> None:
    others = [Foreign(f"Hub {number}") for number in range(7)]
    with hall() as connection:
        outcome = brings(connection, *(each.notice(each.name) for each in others))
        assert (len(outcome.stored), outcome.waiting) == (5, 2)
        assert brings(connection, others[0].notice("Again")).waiting == 0


def test_our_own_posts_come_home_without_a_quota_of_their_own() -> None:
    own = Foreign("Tanyard Road")
    with hall() as connection:
        told = [own.notice(f"Notice {number}") for number in range(4)]
        assert len(brings(connection, *told, origin_records=1).stored) == 4


def test_an_erasure_waits_for_nothing() -> None:
    mill = Foreign(A)
    with hall() as connection:
        brings(connection, mill.notice("Ladder", pictures=(PICTURE,)))
        ahead = mill.retract(obj("Ladder"), stamp=Stamp(LATER_MS + 3_600_000, 0))
        outcome = brings(connection, ahead, records=1)
        assert (len(outcome.stored), titles(connection)) == (1, [])
        assert traces.wait(connection, LATER_MS)
        assert traces.blobs(connection) == [PICTURE.full.sha256]


def test_what_waits_is_erased_too() -> None:
    mill = Foreign(A)
    with hall() as connection:
        brings(connection, mill.notice("Chair"), mill.notice("Ladder"), records=1)
        edited = mill.notice("Long ladder", obj("Ladder"))
        brings(connection, edited, records=1)
        brings(connection, mill.retract(obj("Ladder")), records=9)
        assert connection.execute("SELECT count(body) FROM waiting_record").fetchone() == (0,)
        release(connection, LATER_MS + DAY_MS, SURE)
        assert titles(connection) == ["Chair"]


def test_what_comes_of_something_that_is_erased_waits_without_its_words() -> None:
    mill = Foreign(A)
    with hall() as connection:
        brings(connection, mill.notice("Ladder"), mill.retract(obj("Ladder")))
        late = brings(connection, mill.notice("Long ladder", obj("Ladder")), records=0)
        assert late.waiting == 1
        assert connection.execute("SELECT count(body) FROM waiting_record").fetchone() == (0,)


def test_nobody_takes_its_status_from_a_hub() -> None:
    mill, mallory = Foreign(A), Foreign(M)
    about = status_object(mill.hub)
    body = encode_status(StatusBody(A, "moss", "0.9", SURE, 0, ()), bytes(16))
    with hall() as connection:
        brings(connection, mallory.notice("Mine now", about), mallory.retract(obj("nothing")))
        brings(connection, mill.says(RecordType.STATUS, about, body, stream=Stream.STATUS))
        assert set(statuses.every(connection)) == {mill.hub}
        rebuild(connection)
        assert set(statuses.every(connection)) == {mill.hub}
        assert statuses.drop_ended(connection, NOW_MS + 100 * DAY_MS) == 1
        assert not statuses.every(connection)


def test_a_status_that_has_ended_leaves_with_its_object() -> None:
    mill = Foreign(A)
    body = encode_status(StatusBody(A, "moss", "0.9", SURE, 0, ()), bytes(16))
    with hall() as connection:
        brings(connection, mill.says(RecordType.STATUS, status_object(mill.hub), body, stream=Stream.STATUS))
        for ended in retention.ended(connection, NOW_MS + 100 * DAY_MS, unshown=True):
            retention.drop(connection, ended)
        assert not statuses.every(connection)


def test_a_flood_of_urgent_notices_waits_for_a_caretaker() -> None:
    mill = Foreign(A)
    with hall() as connection:
        told = [mill.notice(f"Fire {n}", kind=Kind.URGENT, exp_ms=NOW_MS + DAY_MS) for n in range(5)]
        brings(connection, *told, urgent=2)
        assert len(titles(connection)) == 2
        assert len(moderation.awaiting(connection)) == 3


def test_a_stick_brings_no_hub_that_nobody_here_knows_until_a_caretaker_lets_it_in() -> None:
    oak, mill = Foreign(B), Foreign(A)
    stick = Source(None, stick=True)
    with hall() as connection:
        outcome = brings(connection, oak.notice("Ladder"), mill.notice("Chair"), by=stick)
        assert (outcome.waiting, titles(connection)) == (1, ["Chair"])
        arrivals.know(connection, oak.hub, b"", 0)
        assert len(release(connection, LATER_MS, SURE).stored) == 1
        assert titles(connection) == ["Ladder", "Chair"]


# --- held for approval ----------------------------------------------------------------------------


def test_of_a_neighbour_that_is_held_new_things_are_shown_to_nobody_yet() -> None:
    mill, oak = Foreign(A), Foreign(B)
    with hall() as connection:
        mill.pair(connection, {**DEFAULT_CHOICES, Stream.NOTICES: Choice.HOLD})
        oak.pair(connection)
        brings(connection, mill.notice("Ladder"), mill.collection("Rotas"))
        assert titles(connection) == []
        assert moderation.awaiting(connection) == [obj("Ladder")]
        assert len(files.collections(connection, LATER_MS)) == 1
        moderation.unhide(connection, obj("Ladder"))
        brings(connection, mill.notice("Long ladder", obj("Ladder")))
        assert titles(connection) == ["Long ladder"]
        brings(connection, mill.notice("Chair"), by=oak.source)  # whoever brings it
        assert titles(connection) == ["Long ladder"]


def test_what_a_caretaker_hid_stays_hidden_through_every_edit() -> None:
    mill = Foreign(A)
    with hall() as connection:
        brings(connection, mill.notice("Ladder"))
        moderation.hide(connection, obj("Ladder"), None, LATER_MS, "1", by_reports=False)
        brings(connection, mill.notice("Long ladder", obj("Ladder")))
        brings(connection, mill.withdraw(obj("Ladder")), mill.restore(obj("Ladder")))
        assert titles(connection) == []


# --- keys used twice ------------------------------------------------------------------------------


def test_two_records_with_one_number_freeze_what_follows_until_somebody_decides() -> None:
    mill, oak = Foreign(A), Foreign(B)
    with hall() as connection:
        outcome = brings(connection, oak.notice("Original", seq=7), oak.notice("Copy", seq=7))
        assert len(outcome.stored) == 2  # both branches are kept
        [fork] = arrivals.forks(connection)
        assert (fork.hub, fork.epoch, fork.decided) == (oak.hub, oak.epoch, "")
        after = oak.notice("After")
        assert brings(connection, after).waiting == 1
        assert sorted(titles(connection)) == ["Copy", "Original"]
        brings(connection, oak.retract(obj("Copy")))  # an erasure is carried out all the same
        assert titles(connection) == ["Original"]
        assert brings(connection, mill.notice("Others go on")).waiting == 0
        arrivals.decide(connection, oak.hub, oak.epoch, "moved")
        release(connection, LATER_MS, SURE)
        assert "After" in titles(connection)
        assert list(check(connection)) == []


def test_a_hub_that_became_another_brings_nothing_more_under_its_old_epoch() -> None:
    oak = Foreign(B)
    with hall() as connection:
        brings(connection, oak.notice("Original", seq=7), oak.notice("Copy", seq=7))
        brings(connection, oak.notice("Waits"))
        arrivals.decide(connection, oak.hub, oak.epoch, "new")
        assert refusals(release(connection, LATER_MS, SURE)) == [Refusal.FORKED]
        assert refusals(brings(connection, oak.notice("Late"))) == [Refusal.FORKED]
        oak.epoch = Epoch(b"another1")
        assert len(brings(connection, oak.notice("Anew")).stored) == 1


def test_a_record_of_ours_that_we_did_not_write_means_that_there_is_a_copy_of_us() -> None:
    own = Foreign("Tanyard Road", epoch=Epoch(b"restored"))
    with hall() as connection:
        assert not arrivals.is_copied(connection)
        assert len(brings(connection, own.notice("Who wrote this?")).stored) == 1
        assert arrivals.is_copied(connection)
        assert titles(connection) == ["Who wrote this?"]
        assert len(brings(connection, own.notice("And this?")).stored) == 1  # ours is not frozen
        journal.new_epoch(connection, Epoch(b"another1"))
        assert not arrivals.is_copied(connection)


def test_after_a_restore_our_own_lost_posts_come_home() -> None:
    own = Foreign("Tanyard Road")
    with hall() as connection:
        brings(connection, own.notice("Lost"), own.notice("Erased since"), own.retract(obj("Erased since")))
        assert titles(connection) == ["Lost"]
        assert not arrivals.is_copied(connection)


# --- nothing breaks -------------------------------------------------------------------------------

GOOD: dict[str, dict[int, Any]] = {
    "notice": {1: "give", 2: "Chair", 3: "A chair.", 4: "en", 8: NOW_MS, 5: "Ann", 6: "07700 900123"},
    "reply": {3: "I could use it.", 4: "en", 8: NOW_MS, 5: "Bob"},
    "collection": {2: "Tunes", 3: "", 4: "en", 8: NOW_MS, 10: "everyone", 11: "ask", 12: 0, 5: "Cat"},
    "file": {2: "a.pdf", 3: "", 4: "en", 8: NOW_MS, 13: [bytes(32), 5, bytes(32)]},
    "status": {2: "Mallory", 15: "moss", 16: "0.4", 17: 1, 18: 0, 19: b""},
}
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**53) | st.text(max_size=130) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 20), inner, max_size=6),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1200), st.binary(max_size=70), st.none() | st.binary(max_size=200))
def test_no_bytes_are_more_than_a_bad_record(header: bytes, signature: bytes, body: bytes | None) -> None:
    [found] = verify_all([WireRecord(header, signature, body)])
    assert not isinstance(found, Record)


@pytest.mark.slow
@pytest.mark.timeout(60)
@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["notice", "reply", "collection", "file", "status", "retract", "withdraw", "newer"]),
    st.dictionaries(st.integers(1, 20), values, max_size=3),
    st.sampled_from([None, obj("Ladder"), obj("Rotas"), obj("reply")]),
    st.sampled_from(["Ladder", "Rotas", "mine"]),
    st.sampled_from(["notices", "files", "status"]),
)
def test_nothing_that_is_well_signed_breaks_a_page(
    kind: str, fields: dict[int, Any], ref: ObjectId | None, about: str, stream: str
) -> None:
    mill, mallory = Foreign(A), Foreign(M)
    body = cbor.encode({**GOOD.get(kind, {}), **fields, 0: bytes(16)})
    with hall() as connection:
        brings(connection, mill.notice("Ladder"), mill.collection("Rotas"), mill.file("a.pdf", obj("Rotas")))
        record = mallory.says(kind, obj(about), body, ref=ref, stream=stream)
        [genuine] = verify_all([wire(record)])
        assert isinstance(genuine, Record | BadRecord) or genuine.code == "not-canonical"
        if isinstance(genuine, Record):
            brings(connection, genuine)
        assert "Ladder" in titles(connection)
        notices.replies(connection, obj("Ladder"))
        assert [file.name for file in files.files_of(connection, LATER_MS, obj("Rotas"))] == ["a.pdf"]
        files.collections(connection, LATER_MS)
        rebuild(connection)


# --- in a hub that runs ---------------------------------------------------------------------------


async def pair(street: Street, hub: Foreign, **choices: Choice) -> None:
    """Make ``hub`` a neighbour of the street's."""
    chosen = {**DEFAULT_CHOICES, **choices}
    await street.hub.database.write(lambda connection: hub.pair(connection, chosen, street.clock.ms))


async def sends(street: Street, hub: Foreign, *records: Record) -> Outcome:
    """``hub`` sends ``records`` over the wire."""
    street.clock.ms = max(street.clock.ms, hub.now_ms)
    return await street.hub.ingest.take(hub.source, [wire(record) for record in records])


def files_with(data: Path, word: bytes) -> list[str]:
    """Files of a data folder in which ``word`` stands."""
    return [path.name for path in data.rglob("*") if path.is_file() and word in path.read_bytes()]


async def test_what_a_neighbour_sends_stands_on_the_board_and_can_be_answered(street: Street) -> None:
    mill = Foreign(A)
    await pair(street, mill)
    told = [mill.notice("Ladder"), mill.reply(obj("Ladder"))]
    outcome = await sends(street, mill, *told)
    assert (len(outcome.stored), outcome.refused) == (2, ())
    assert await street.board() == ["Ladder"]
    assert await street.found("ladder") == ["Ladder"]
    [(name,)] = await street.rows("SELECT public_id FROM notice")
    await street.person("ann").answers(name, "Yes please.")
    assert len((await street.hub.board.thread(name)).replies) == 2
    assert (await sends(street, mill, *told)).known == 2
    assert (await street.hub.upkeep.check()).findings == ()


async def test_false_records_are_refused_and_count_like_true_ones(street: Street) -> None:
    mill = Foreign(A)
    await pair(street, mill)
    good = wire(mill.notice("Ladder"))
    outcome = await street.hub.ingest.take(
        mill.source,
        [
            WireRecord(good.header, bytes(64), good.body),
            WireRecord(good.header, good.signature, cbor.encode({0: bytes(16)})),
            WireRecord(good.header, good.signature, b"\xff"),
            WireRecord(b"\xff", good.signature, None),
            WireRecord(bytes(5000), bytes(64), bytes(99_999)),
        ],
    )
    codes = [code for _, code in outcome.refused]
    assert sorted(codes) == ["bad-record"] * 3 + ["not-canonical"] * 2
    [(records,)] = await street.rows("SELECT sum(records) FROM delivered")
    assert records == 3  # those whose headers could be read cost a look at the signature
    assert len((await street.hub.ingest.take(mill.source, [good])).stored) == 1


async def test_an_erasure_elsewhere_leaves_nothing_in_any_file_here(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.services.ingest.GATHER_S", 0)
    mill, word = Foreign(A), b"Heronsgate"
    await pair(street, mill)
    picture = await street.picture(9)
    ladder = mill.notice("Heronsgate", text="At Heronsgate.", pictures=(picture,))
    await sends(street, mill, ladder)
    assert "hub.db-wal" in files_with(street.data, word)
    erasing = asyncio.create_task(street.hub.ingest.finish_erasures())
    await sends(street, mill, mill.retract(obj("Heronsgate")))
    while await street.rows("SELECT 1 FROM trace"):
        await street.hub.database.touch()
    erasing.cancel()
    assert files_with(street.data, word) == []
    assert not await asyncio.to_thread(street.hub.blobs.exists, picture.full.sha256)
    await sends(street, mill, replace(ladder, body=None), ladder)
    assert files_with(street.data, word) == []
    assert (await street.hub.upkeep.check()).findings == ()


async def test_a_caretaker_looks_at_what_a_held_neighbour_sends(street: Street) -> None:
    mill = Foreign(A)
    await pair(street, mill, notices=Choice.HOLD)
    await sends(street, mill, mill.notice("Ladder"), mill.notice("Advert"), mill.reply(obj("Ladder")))
    caretaking = street.hub.caretaking
    assert await street.board() == []
    waiting = await caretaking.waiting()
    names = {item.notice.title: item.public_id for item in waiting if item.notice}
    assert sorted(names) == ["Advert", "Ladder"]
    assert (await caretaking.counts()).waiting == 3
    await caretaking.approve(names["Ladder"], "gwen")
    await caretaking.refuse(names["Advert"], RULE, "gwen")
    assert await street.board() == ["Ladder"]
    assert [item.of for item in await caretaking.waiting()] == ["reply"]
    await sends(street, mill, mill.notice("Advert again", obj("Advert")))
    assert await street.board() == ["Ladder"]
    assert files_with(street.data, b"Advert again") == []
    with pytest.raises(NothingHeld):
        await caretaking.approve(names["Advert"], "gwen")


async def test_what_a_caretaker_erases_of_another_hub_goes_from_here_alone(street: Street) -> None:
    mill = Foreign(A)
    await pair(street, mill)
    await sends(street, mill, mill.notice("Heronsgate"))
    [(name,)] = await street.rows("SELECT public_id FROM notice")
    records = await street.rows("SELECT count(*) FROM record")
    await street.hub.caretaking.erase(name, RULE, "gwen")
    assert await street.board() == []
    assert await street.rows("SELECT count(*) FROM record") == records  # nothing is published
    assert files_with(street.data, b"Heronsgate") == []
    await sends(street, mill, mill.notice("Heronsgate again", obj("Heronsgate")))
    assert await street.board() == []
    assert files_with(street.data, b"Heronsgate") == []


async def test_another_hubs_version_of_our_notice_never_becomes_ours(street: Street) -> None:
    mallory, ann = Foreign(M), street.person("ann")
    await pair(street, mallory)
    name = (await ann.puts_up("Ladder")).public_id
    [(ours,)] = await street.rows("SELECT obj FROM notice")
    street.clock.pass_time(minutes=1)
    await sends(street, mallory, mallory.notice("Buy gold", ours, stamp=Stamp(street.clock.ms, 0)))
    street.clock.pass_time(days=20)
    await street.hub.board.extend(name, ann.asker())
    assert await street.board() == ["Ladder"]
    await ann.takes_down(name)
    await ann.puts_back(name)
    assert await street.board() == ["Ladder"]
    await street.hub.caretaking.erase(name, RULE, "gwen")
    assert await street.board() == []
    assert len(await street.rows("SELECT 1 FROM retraction")) == 1


async def test_replies_whose_notice_never_came_are_forgotten_after_thirty_days(street: Street) -> None:
    mill = Foreign(A)
    await pair(street, mill)
    await sends(street, mill, mill.reply(obj("Ladder"), "Heronsgate", exp_ms=NOW_MS + 300 * DAY_MS))
    street.clock.pass_time(days=29)
    assert await street.hub.ingest.drop_orphans() == 0
    street.clock.pass_time(days=2)
    assert await street.hub.ingest.drop_orphans() == 1
    assert await street.rows(
        "SELECT count(body), count(*) FROM record WHERE obj = ?", obj("reply Heronsgate")
    )
    assert await street.hub.ingest.drop_orphans() == 0


async def test_caretakers_read_what_is_held_and_why(street: Street) -> None:
    mill, oak, nowhere = Foreign(A), Foreign(B), Foreign("Nowhere")
    await pair(street, mill)
    oak.now_ms += 30 * MINUTE_MS
    await street.hub.ingest.take(mill.source, [wire(oak.notice("Early"))])
    await street.hub.ingest.take(Source(None, stick=True), [wire(nowhere.notice("Stranger"))])
    [line] = [line for line in await street.hub.health.lines() if line.code == "arrivals"]
    assert "whose clock runs ahead" in line.sentence
    assert "which only a stick knows" in line.sentence
    assert {pile.reason for pile in await street.hub.ingest.troubles()} == {"future", "stranger"}
    assert len((await street.hub.ingest.let_in(nowhere.hub, "gwen")).stored) == 1
    assert await street.hub.ingest.turn_away(oak.hub, "gwen") == 1
    [line] = [line for line in await street.hub.health.lines() if line.code == "arrivals"]
    assert line.state is Condition.OK


async def test_a_copy_of_this_hub_is_an_alarm_and_ends_with_a_new_epoch(street: Street) -> None:
    mill, hub = Foreign(A), street.hub
    await pair(street, mill)
    [(epoch,)] = await street.rows("SELECT epoch FROM lineage")
    theirs = mill.notice("Who wrote this?")
    header = replace(theirs.header, hub=hub.identity.hub, epoch=epoch, seq=99)
    await sends(street, mill, seal(header, theirs.body, hub.identity.sign))
    assert await hub.ingest.is_copied()
    [line] = [line for line in await hub.health.lines() if line.code == "copies"]
    assert line.state is Condition.STOP
    await hub.neighbours.decide(hub.name, Verdict.MOVED, "gwen")
    await hub.ingest.release()
    assert await street.rows("SELECT epoch FROM lineage") != [(epoch,)]
    assert not await hub.ingest.is_copied()
    [line] = [line for line in await hub.health.lines() if line.code == "copies"]
    assert line.state is Condition.OK
    assert await street.board() == ["Who wrote this?"]


async def test_every_page_stands_whatever_a_neighbour_writes_that_can_be_shown(listening: Street) -> None:
    mallory, far = Foreign(M), 2**53 - 1
    await pair(listening, mallory)
    picture = [
        [bytes(32), far % 2**45, bytes(32)],
        65_535,
        1,
        [bytes(32), 0, bytes(32)],
        1,
        65_535,
        "\x00<b>",
    ]
    pictures = [dict(enumerate(picture, 1))] * 4
    notice = {
        **GOOD["notice"],
        2: "<script>\x00&",
        3: "[x](javascript:alert(1))\n\n" + "> " * 1900,
        4: '"><i',
    }
    notice |= {0: bytes(16), 5: "\u0652" * 60, 6: "x" * 120, 7: pictures, 8: far, 9: far}
    shelf = {**GOOD["collection"], 0: bytes(16), 2: "\u200b", 3: "\r\n" * 1000, 8: 0, 9: 0, 12: 400}
    file = {**GOOD["file"], 0: bytes(16), 2: "../..\\con.\u202egpj", 13: [bytes(32), 0, bytes(32)], 9: far}
    told = [
        mallory.says(RecordType.NOTICE, obj("a"), cbor.encode(notice)),
        mallory.says(RecordType.NOTICE, obj("b"), cbor.encode({**GOOD["notice"], 0: bytes(16), 8: 0, 9: 0})),
        mallory.says(RecordType.COLLECTION, obj("c"), cbor.encode(shelf), stream=Stream.FILES),
        mallory.says(RecordType.FILE, obj("d"), cbor.encode(file), ref=obj("c"), stream=Stream.FILES),
        mallory.reply(obj("a"), "\u202e" * 2000),
        mallory.withdraw(obj("b")),
    ]
    outcome = await sends(listening, mallory, *told)
    assert len(outcome.stored) == len(told)
    assert await listening.board() == ["<script>\x00&"]
    seen, ahead = set[str](), ["/", "/files", "/search?q=script", "/neighbours"]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{listening.hub.port}") as session:
        while ahead:
            path = ahead.pop()
            seen.add(path)
            async with session.get(path, allow_redirects=False) as answer:
                assert answer.status < 500, path
                page = (await answer.read()).decode(errors="replace") if len(seen) < 80 else ""
            assert "<script>\x00" not in page
            links = re.findall(r'(?:href|src)="(/[^"#]*)"', page)
            ahead += [each for each in map(html.unescape, links) if each not in seen and each not in ahead]
    assert len(seen) > 10
