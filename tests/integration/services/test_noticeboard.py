"""What residents do with notices, on a real database with a clock in the test's hand."""

from __future__ import annotations

import asyncio

import pytest

from hub.domain.errors import NotFound, TryLater
from hub.domain.notices import Kind, State
from hub.domain.policy import (
    DAY_MS,
    URGENT_MAX_MS,
    DevicePaused,
    Gone,
    NotYours,
    PostingPaused,
    Reason,
    TooLate,
    UrgentEnough,
    WrongPhrase,
)
from hub.domain.submission import FormRefused
from tests.integration.conftest import RULE, OpenHub, Street

# --- putting up -----------------------------------------------------------------------------------


async def test_what_is_put_up_stands_on_the_board_and_is_found(street: Street) -> None:
    made = await street.person("ann").puts_up("Ladder to lend", "Three metres of aluminium.")
    assert await street.board() == ["Ladder to lend"]
    assert await street.found("alumin") == ["Ladder to lend"]
    assert not made.held
    assert len(made.phrase.split()) == 4


async def test_the_board_is_by_date_and_the_newest_first(street: Street) -> None:
    for title in ("first", "second", "third"):
        await street.person("ann").puts_up(title)
        street.clock.pass_time(minutes=1)
    assert await street.board() == ["third", "second", "first"]


async def test_the_same_form_sent_again_makes_nothing_new(street: Street) -> None:
    ann = street.person("ann")
    first = await ann.puts_up(key="k1")
    again = await ann.puts_up(key="k1")
    assert (again.public_id, again.again, again.phrase) == (first.public_id, True, "")
    assert await street.board() == ["Ladder to lend"]


async def test_a_form_sent_twice_at_once_makes_one_notice(street: Street) -> None:
    ann = street.person("ann")
    made = await asyncio.gather(*(ann.puts_up(key="k1") for _ in range(5)))
    assert len({each.public_id for each in made}) == 1
    assert sum(not each.again for each in made) == 1
    assert await street.board() == ["Ladder to lend"]


async def test_a_reply_sent_twice_at_once_is_one_reply(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    made = await asyncio.gather(*(street.person("bob").answers(name, key="k2") for _ in range(5)))
    assert len({each.public_id for each in made}) == 1
    assert len((await street.hub.board.thread(name)).replies) == 1


async def test_what_is_wrong_with_a_form_is_told_and_nothing_is_kept(street: Street) -> None:
    with pytest.raises(FormRefused):
        await street.person("ann").puts_up(title="")
    assert await street.board() == []
    assert await street.rows("SELECT 1 FROM record UNION ALL SELECT 1 FROM device") == []


async def test_a_notice_cannot_name_a_picture_that_is_gone(street: Street) -> None:
    picture = await street.picture(200)
    await asyncio.to_thread(street.hub.blobs.remove, picture.full.sha256)
    with pytest.raises(FormRefused) as refused:
        await street.person("ann").puts_up(pictures=(picture,))
    assert set(refused.value.problems) == {"picture"}


async def test_a_picture_is_served_while_its_notice_is_shown(street: Street) -> None:
    ann, picture = street.person("ann"), await street.picture(200)
    shown = street.hub.board.picture_is_shown
    assert not await shown(picture.full.sha256)
    name = (await ann.puts_up(pictures=(picture,))).public_id
    assert await shown(picture.full.sha256)
    assert await shown(picture.thumb.sha256)
    await street.hub.caretaking.hide(name, RULE, "gwen")
    assert not await shown(picture.full.sha256)
    await street.hub.caretaking.restore(name, RULE, "gwen")
    await ann.takes_down(name)
    assert not await shown(picture.full.sha256)


# --- modes of posting -----------------------------------------------------------------------------


async def test_on_a_checked_board_only_its_author_sees_what_waits(street: Street) -> None:
    await street.setting("board.posting", "checked")
    ann = street.person("ann")
    made = await ann.puts_up()
    assert made.held
    assert await street.board() == []
    assert await street.found("ladder") == []
    assert await street.rows("SELECT 1 FROM record") == []
    thread = await street.hub.board.thread(made.public_id, ann.cookie)
    assert thread.waiting
    assert thread.mine
    for cookie in (None, "f" * 32):
        with pytest.raises(NotFound):
            await street.hub.board.thread(made.public_id, cookie)


async def test_what_was_approved_keeps_its_address_and_is_shown_from_then_on(street: Street) -> None:
    await street.setting("board.posting", "checked")
    ann = street.person("ann")
    made = await ann.puts_up()
    street.clock.pass_time(hours=3)
    assert await street.hub.caretaking.approve(made.public_id, "gwen") == made.public_id
    notice = (await street.hub.board.thread(made.public_id)).notice
    assert notice.shown_ms == street.clock.ms
    assert await street.board() == ["Ladder to lend"]
    assert (await street.hub.board.thread(made.public_id, ann.cookie)).mine


async def test_a_reply_that_waits_is_seen_by_its_author_only(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    await street.setting("board.posting", "checked")
    bob = street.person("bob")
    made = await bob.answers(name, "Me, please.")
    assert (await street.hub.board.thread(name)).replies == ()
    waiting = (await street.hub.board.thread(name, bob.cookie)).waiting_replies
    assert [reply.text for reply in waiting] == ["Me, please."]
    await street.hub.caretaking.approve(made.public_id, "gwen")
    assert [reply.text for reply in (await street.hub.board.thread(name)).replies] == ["Me, please."]


async def test_a_change_that_waits_leaves_the_old_text_up_until_it_is_approved(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up(text="Three metres.")).public_id
    await street.setting("board.posting", "checked")
    assert await ann.changes(name, "Four metres.")
    assert (await street.hub.board.thread(name)).notice.text == "Three metres."
    await street.hub.caretaking.approve(name, "gwen")
    notice = (await street.hub.board.thread(name)).notice
    assert (notice.text, notice.edited_ms is not None) == ("Four metres.", True)


async def test_a_later_change_is_not_undone_by_approving_an_earlier_one(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up(text="Three metres.")).public_id
    await street.setting("board.posting", "checked")
    await ann.changes(name, "Four metres.")
    await street.setting("board.posting", "open")
    assert not await ann.changes(name, "Five metres.")
    assert await street.hub.caretaking.waiting() == []
    assert (await street.hub.board.thread(name)).notice.text == "Five metres."


async def test_the_first_notices_of_a_new_device_wait_and_the_next_do_not(street: Street) -> None:
    await street.setting("board.first_held", "2")
    ann = street.person("ann")
    for _ in range(2):
        made = await ann.puts_up()
        assert made.held
        await street.hub.caretaking.approve(made.public_id, "gwen")
    assert not (await ann.puts_up()).held


async def test_on_a_paused_board_nothing_is_put_up_answered_or_changed(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up()).public_id
    await street.setting("board.posting", "paused")
    for act in (ann.puts_up(), ann.answers(name), ann.changes(name, "Four metres.")):
        with pytest.raises(PostingPaused):
            await act
    assert (await street.hub.board.thread(name)).notice.text == "A ladder of three metres."


async def test_what_is_taken_down_while_it_waits_is_dropped(street: Street) -> None:
    await street.setting("board.posting", "checked")
    ann = street.person("ann")
    made = await ann.puts_up()
    await ann.takes_down(made.public_id)
    assert await street.hub.caretaking.waiting() == []
    assert await street.rows("SELECT 1 FROM ownership") == []


async def test_a_device_that_is_paused_or_banned_writes_nothing_but_may_report(street: Street) -> None:
    ann, bob = street.person("ann"), street.person("bob")
    name = (await ann.puts_up()).public_id
    await bob.answers(name)
    until = street.clock.ms + DAY_MS
    for restrain in (street.hub.caretaking.pause_device, street.hub.caretaking.ban_device):
        await restrain(await bob.mark(), until, RULE, "gwen")
        for act in (bob.puts_up(), bob.answers(name)):
            with pytest.raises(DevicePaused):
                await act
        assert (await bob.reports(name, Reason.UNSURE)).reference
        await street.hub.caretaking.pause_device(await bob.mark(), 0, RULE, "gwen")
        await bob.puts_up()


async def test_a_pause_ends_by_itself(street: Street) -> None:
    ann = street.person("ann")
    await ann.puts_up()
    await street.hub.caretaking.pause_device(await ann.mark(), street.clock.ms + DAY_MS, RULE, "gwen")
    street.clock.pass_time(days=1)
    await ann.puts_up()


# --- limits ---------------------------------------------------------------------------------------


async def test_a_device_may_write_ten_things_in_ten_minutes(street: Street) -> None:
    ann = street.person("ann")
    await ann.puts_up()
    for _ in range(10):
        await ann.puts_up()
    with pytest.raises(TryLater) as refused:
        await ann.puts_up()
    assert 0 < refused.value.seconds <= 60
    street.clock.pass_time(seconds=refused.value.seconds)
    await ann.puts_up()


async def test_many_in_one_hall_share_the_limit_of_its_address(street: Street) -> None:
    await street.setting("limits.per_address", "5")
    people = [street.person(f"guest {number}") for number in range(6)]
    for guest in people:
        guest.address = "192.168.4.99"
    for guest in people[:5]:
        await guest.puts_up()
    with pytest.raises(TryLater):
        await people[5].puts_up()
    people[5].address = "192.168.4.98"
    await people[5].puts_up()


async def test_new_devices_come_so_many_a_minute(street: Street) -> None:
    await street.setting("limits.new_devices", "3")
    for number in range(3):
        await street.person(f"guest {number}").puts_up()
    with pytest.raises(TryLater):
        await street.person("one too many").puts_up()
    await street.person("guest 1").puts_up()


async def test_a_resident_may_put_up_so_many_urgent_notices_a_day(street: Street) -> None:
    ann = street.person("ann")
    for _ in range(3):
        await ann.puts_up("Water is off", kind="urgent")
    with pytest.raises(UrgentEnough):
        await ann.puts_up("Water is off", kind="urgent")
    name = (await ann.puts_up()).public_id
    with pytest.raises(UrgentEnough):
        await ann.changes(name, "Water is off", kind="urgent")
    street.clock.pass_time(days=1, minutes=1)
    await ann.puts_up("Water is off", kind="urgent")


async def test_a_notice_that_becomes_urgent_ends_within_three_days(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up()).public_id
    await ann.changes(name, "Water is off", kind="urgent")
    notice = (await street.hub.board.thread(name)).notice
    assert notice.kind is Kind.URGENT
    assert notice.expires_ms <= street.clock.ms + URGENT_MAX_MS


async def test_an_urgent_notice_is_not_extended_beyond_three_days(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up("Water is off", kind="urgent")).public_id
    street.clock.pass_time(days=1)
    assert await street.hub.board.extend(name, ann.asker()) == street.clock.ms + URGENT_MAX_MS


# --- whose it is ----------------------------------------------------------------------------------


async def test_another_device_cannot_touch_what_is_not_its_own(street: Street) -> None:
    ann, bob = street.person("ann"), street.person("bob")
    name = (await ann.puts_up()).public_id
    await bob.puts_up()
    for act in (
        bob.changes(name, "Mine now."),
        bob.takes_down(name),
        bob.puts_back(name),
        street.hub.board.extend(name, bob.asker()),
    ):
        with pytest.raises(NotYours):
            await act
    assert (await street.hub.board.thread(name)).notice.text == "A ladder of three metres."


async def test_the_phrase_lets_any_device_change_and_take_down(street: Street) -> None:
    ann, library = street.person("ann"), street.person("library computer")
    name = (await ann.puts_up()).public_id
    phrase = ann.phrases[name]
    await library.changes(name, "Four metres.", phrase=f"  {phrase.upper().replace(' ', '-')} ")
    assert (await street.hub.board.thread(name)).notice.text == "Four metres."
    await library.takes_down(name, phrase=phrase)
    assert await street.board() == []


async def test_a_wrong_phrase_opens_nothing_nor_does_the_phrase_of_another_notice(street: Street) -> None:
    ann, library = street.person("ann"), street.person("library computer")
    first, second = (await ann.puts_up()).public_id, (await ann.puts_up()).public_id
    for phrase in ("lantern otter window plough", ann.phrases[second]):
        with pytest.raises(WrongPhrase):
            await library.takes_down(first, phrase=phrase)
    assert len(await street.board()) == 2


async def test_phrases_cannot_be_tried_without_end(street: Street) -> None:
    ann, thief = street.person("ann"), street.person("thief")
    name = (await ann.puts_up()).public_id
    for _ in range(10):
        with pytest.raises(WrongPhrase):
            await thief.takes_down(name, phrase="no such four words")
    with pytest.raises(TryLater):
        await thief.takes_down(name, phrase=ann.phrases[name])
    thief.address = "192.168.4.250"
    await thief.takes_down(name, phrase=ann.phrases[name])


async def test_neither_cookie_nor_phrase_stands_in_the_data_folder(street: Street) -> None:
    ann = street.person("ann")
    made = await ann.puts_up()
    assert ann.cookie is not None
    await street.hub.database.maintain(lambda connection: connection.execute("PRAGMA wal_checkpoint(FULL)"))

    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in street.data.rglob("*") if path.is_file())

    kept = await asyncio.to_thread(everything)
    assert b"Ladder to lend" in kept
    for secret in (ann.cookie, made.phrase, ann.address):
        assert secret.encode() not in kept


# --- changing, taking down, putting back ----------------------------------------------------------


async def test_a_change_keeps_the_notices_place_and_end(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up("first")).public_id
    before = (await street.hub.board.thread(name)).notice
    street.clock.pass_time(hours=1)
    await ann.puts_up("second")
    street.clock.pass_time(hours=1)
    await ann.changes(name, "Changed.", title="first, changed")
    after = (await street.hub.board.thread(name)).notice
    assert await street.board() == ["second", "first, changed"]
    assert (after.shown_ms, after.expires_ms) == (before.shown_ms, before.expires_ms)
    assert after.edited_ms == street.clock.ms
    assert await street.found("metres") == ["second"]


async def test_a_superseded_text_is_dropped_from_the_log_at_once(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up()).public_id
    await ann.changes(name, "Four metres.")
    assert await street.rows("SELECT body IS NULL FROM record ORDER BY n") == [(1,), (0,)]


async def test_extending_never_shortens(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up(until="2027-06-30")).public_id
    end = (await street.hub.board.thread(name)).notice.expires_ms
    assert await street.hub.board.extend(name, ann.asker()) == end
    short = (await ann.puts_up(until="2026-11-24")).public_id
    assert await street.hub.board.extend(short, ann.asker()) == street.clock.ms + 28 * DAY_MS


async def test_what_was_taken_down_can_be_put_back_for_thirty_minutes(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up()).public_id
    await street.person("bob").answers(name, "A hedgehog.")
    await ann.takes_down(name)
    assert await street.board() == []
    assert await street.found("hedgehog") == []
    street.clock.pass_time(minutes=30)
    await ann.puts_back(name)
    assert await street.board() == ["Ladder to lend"]
    assert await street.found("hedgehog") == ["Ladder to lend"]


async def test_after_thirty_minutes_it_is_too_late(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up()).public_id
    await ann.takes_down(name)
    street.clock.pass_time(minutes=31)
    with pytest.raises(TooLate):
        await ann.puts_back(name)
    round_ = await street.hub.housekeeping.round()
    assert round_.erased == 1
    thread = await street.hub.board.thread(name)
    assert (thread.notice.state, thread.notice.text) == (State.ERASED, "")
    with pytest.raises(NotYours):
        await ann.puts_back(name)


async def test_taking_down_and_putting_back_twice_is_harmless(street: Street) -> None:
    ann = street.person("ann")
    name = (await ann.puts_up()).public_id
    await ann.takes_down(name)
    await ann.takes_down(name)
    await ann.puts_back(name)
    await ann.puts_back(name)
    assert await street.board() == ["Ladder to lend"]
    assert len(await street.rows("SELECT 1 FROM record")) == 3


async def test_a_reply_is_taken_down_and_put_back_by_itself(street: Street) -> None:
    bob = street.person("bob")
    name = (await street.person("ann").puts_up()).public_id
    reply = (await bob.answers(name, "A hedgehog.")).public_id
    await bob.takes_down(reply)
    assert (await street.hub.board.thread(name)).replies == ()
    assert (await street.hub.board.thread(name)).notice.reply_count == 0
    assert await street.found("hedgehog") == []
    await bob.puts_back(reply)
    assert (await street.hub.board.thread(name)).notice.reply_count == 1
    street.clock.pass_time(minutes=5)
    await bob.takes_down(reply)
    street.clock.pass_time(minutes=31)
    with pytest.raises(TooLate):
        await bob.puts_back(reply)


async def test_what_is_gone_or_has_ended_cannot_be_answered_or_changed(street: Street) -> None:
    ann, bob = street.person("ann"), street.person("bob")
    gone = (await ann.puts_up()).public_id
    ended = (await ann.puts_up(until="2026-11-23")).public_id
    await ann.takes_down(gone)
    street.clock.pass_time(days=2)
    for name in (gone, ended):
        with pytest.raises(Gone):
            await bob.answers(name)
        with pytest.raises(Gone):
            await ann.changes(name, "Still here?")


async def test_what_a_neighbour_heard_is_taken_back_from_all_who_heard_it(street: Street) -> None:
    """A withdrawal reaches as far as the widest version did, whatever the newest one says."""
    ann = street.person("ann")
    name = (await ann.puts_up(scope="hub")).public_id
    await ann.changes(name, "For all.", scope="network")
    await ann.changes(name, "For us.", scope="hub")
    await ann.takes_down(name)
    await ann.puts_back(name)
    await street.hub.caretaking.erase(name, RULE, "gwen")
    headers = [header for (header,) in await street.rows("SELECT header FROM record ORDER BY n")]
    assert [b"network" in header for header in headers[3:]] == [True, True, True]


# --- reports --------------------------------------------------------------------------------------


async def test_thirty_reports_of_one_device_count_once(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    await street.setting("limits.per_device", "100")
    bob = street.person("bob")
    for _ in range(30):
        assert not (await bob.reports(name)).hidden
    assert await street.board() == ["Ladder to lend"]
    assert "auto-hide" not in await street.acts()


async def test_three_devices_hide_until_a_person_has_looked(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    hidden = [(await street.person(who).reports(name)).hidden for who in ("bob", "cat", "dai")]
    assert hidden == [False, False, True]
    assert await street.board() == []
    assert await street.found("ladder") == []
    with pytest.raises(NotFound):
        await street.hub.board.thread(name)
    street.clock.pass_time(days=3)
    await street.hub.housekeeping.round()
    assert await street.board() == []
    assert (await street.acts()).count("auto-hide") == 1


async def test_one_trusted_device_hides(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    bob = street.person("bob")
    await bob.answers(name)
    await street.hub.caretaking.trust_device(await bob.mark(), True, "gwen")
    assert (await bob.reports(name, Reason.RULES)).hidden is False
    assert (await bob.reports(name, Reason.CHILD)).hidden is True
    assert await street.board() == []


async def test_an_official_notice_is_not_hidden_by_reports(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    await street.hub.caretaking.urgent(name, street.clock.ms + DAY_MS, "gwen")
    for who in ("bob", "cat", "dai", "eve"):
        assert not (await street.person(who).reports(name)).hidden
    assert await street.board() == ["Ladder to lend"]


async def test_a_report_sent_again_is_the_same_report(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    bob = street.person("bob")
    first = await bob.reports(name, key="r1")
    assert (await bob.reports(name, key="r1")).reference == first.reference
    assert len(await street.rows("SELECT 1 FROM report")) == 1


async def test_a_reply_is_hidden_alone(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    reply = (await street.person("bob").answers(name, "A hedgehog.")).public_id
    for who in ("cat", "dai", "eve"):
        await street.person(who).reports(reply, of="reply")
    assert await street.board() == ["Ladder to lend"]
    thread = await street.hub.board.thread(name)
    assert (thread.replies, thread.notice.reply_count) == ((), 0)
    assert await street.found("hedgehog") == []


async def test_a_reporter_hears_the_outcome_by_the_reference_as_typed_from_paper(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    reference = (await street.person("bob").reports(name, words="Look at line 2.")).reference
    typed = f" {reference[:4].upper()}-{reference[4:]} "
    report, hidden = await street.hub.reporting.outcome(typed)
    assert (report.decided_ms, hidden) == (None, False)
    await street.hub.caretaking.decide(reference, "hide", RULE, "Thank you.", "gwen")
    report, hidden = await street.hub.reporting.outcome(typed)
    assert (report.outcome, report.answer, hidden) == ("hidden", "Thank you.", True)
    with pytest.raises(NotFound):
        await street.hub.reporting.outcome("0000-0000")


async def test_what_is_hidden_cannot_be_reported_or_answered_any_more(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    await street.hub.caretaking.hide(name, RULE, "gwen")
    for act in (street.person("bob").reports(name), street.person("bob").answers(name)):
        with pytest.raises(NotFound):
            await act


# --- time -----------------------------------------------------------------------------------------


async def test_what_has_ended_leaves_the_board_by_itself(street: Street) -> None:
    await street.person("ann").puts_up(until="2026-11-24")
    street.clock.pass_time(days=2)
    assert await street.board() == []
    assert await street.found("ladder") == []


async def test_a_clock_that_jumps_to_2038_ends_nothing_and_spoils_nothing(street: Street) -> None:
    ann = street.person("ann")
    await ann.puts_up("before")
    street.clock.put_right(days=365 * 12)
    street.clock.pass_time(minutes=1)
    assert await street.board() == ["before"]
    await ann.puts_up("meanwhile")
    street.clock.put_right(days=-365 * 12)
    street.clock.pass_time(minutes=1)
    await ann.puts_up("after")
    assert await street.board() == ["after", "meanwhile", "before"]
    report = await street.hub.health.report()
    assert [line.state for line in report.lines if line.code == "time"] == ["OK"]


async def test_a_hub_that_starts_in_1970_takes_notices_that_last(
    open_street: OpenHub, data_folder: object
) -> None:
    async with open_street() as street:
        await street.person("ann").puts_up("before")
        right = street.clock.ms
    street.clock.ms = 5_000
    async with open_street() as street:
        street.clock.pass_time(minutes=1)
        assert await street.board() == ["before"]
        await street.person("ann").puts_up("meanwhile")
        assert await street.board() == ["meanwhile", "before"]
        street.clock.ms = right + 120_000
        await street.person("ann").puts_up("after")
        assert await street.board() == ["after", "meanwhile", "before"]
