"""What caretakers do, what the public ledger says of it, and what the private log does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import pytest

from hub.domain.errors import NotFound
from hub.domain.ledger import first_broken
from hub.domain.notices import State
from hub.domain.policy import DAY_MS, DEFAULT_RULES, DevicePaused, Reason
from hub.services.caretaking import (
    AlreadyErased,
    Caretaking,
    NameTheRule,
    NothingHeld,
    TooManyPins,
)
from hub.storage import decisions
from tests.integration.conftest import RULE, Street

ACTOR = "gwen"


async def notice(street: Street, title: str = "Ladder to lend") -> str:
    return (await street.person("ann").puts_up(title)).public_id


async def waiting(street: Street) -> str:
    await street.setting("board.posting", "checked")
    return (await street.person("ann").puts_up("May I?")).public_id


async def reported(street: Street) -> str:
    return (await street.person("bob").reports(await notice(street), Reason.RULES)).reference


async def hidden(street: Street) -> str:
    name = await notice(street)
    await street.hub.caretaking.hide(name, RULE, "before")
    return name


async def device(street: Street) -> str:
    await notice(street)
    return await street.person("ann").mark()


Act = Callable[[Caretaking, str, int], Awaitable[object]]
ACTS: dict[str, tuple[Callable[[Street], Awaitable[str]], Act, list[str], str]] = {
    "approve": (waiting, lambda c, at, _: c.approve(at, ACTOR), [], "approve"),
    "refuse": (waiting, lambda c, at, _: c.refuse(at, RULE, ACTOR), ["refuse"], "refuse"),
    "hide": (notice, lambda c, at, _: c.hide(at, RULE, ACTOR), ["hide"], "hide"),
    "restore": (hidden, lambda c, at, _: c.restore(at, RULE, ACTOR), ["restore"], "restore"),
    "erase": (notice, lambda c, at, _: c.erase(at, RULE, ACTOR), ["erase"], "erase"),
    "pin": (notice, lambda c, at, later: c.pin(at, later, ACTOR), [], "pin"),
    "urgent": (notice, lambda c, at, later: c.urgent(at, later, ACTOR), [], "urgent"),
    "decide": (reported, lambda c, at, _: c.decide(at, "keep", RULE, "", ACTOR), ["keep"], "keep"),
    "pause_device": (device, lambda c, at, later: c.pause_device(at, later, RULE, ACTOR), ["pause"], "pause"),
    "ban_device": (device, lambda c, at, later: c.ban_device(at, later, RULE, ACTOR), ["ban"], "ban"),
    "trust_device": (device, lambda c, at, _: c.trust_device(at, True, ACTOR), [], "trust"),
    "change_setting": (
        notice,
        lambda c, _, __: c.change_setting("board.posting", "open", "open", ACTOR),
        ["setting"],
        "setting",
    ),
}
"""Each act: what it needs, how it is done, the ledger's lines for it, the private log's word."""


def test_every_act_of_a_caretaker_is_listed_here() -> None:
    methods = dict(inspect.getmembers(Caretaking, inspect.iscoroutinefunction))
    acts = {name for name, method in methods.items() if "actor" in inspect.signature(method).parameters}
    assert acts - {"_restrain"} == set(ACTS)


@pytest.mark.parametrize("name", ACTS)
async def test_each_act_leaves_its_line_in_the_ledger_and_its_actor_in_the_private_log(
    street: Street, name: str
) -> None:
    prepare, act, public, private = ACTS[name]
    at = await prepare(street)
    before = len(await street.acts())
    street.clock.pass_time(minutes=1)
    await act(street.hub.caretaking, at, street.clock.ms + DAY_MS)
    assert (await street.acts())[before:] == public
    logged = await street.rows("SELECT act, actor, at_ms FROM audit ORDER BY n DESC LIMIT 1")
    assert logged == [(private, ACTOR, street.clock.ms)]


async def test_the_ledger_names_the_rule_and_the_role_and_nobody(street: Street) -> None:
    name = await notice(street, "Ladder of Ann Fairfax")
    await street.person("bob").reports(name, words="Bob thinks this is rude.")
    await street.hub.caretaking.hide(name, "2", ACTOR)
    await street.hub.caretaking.ban_device(
        await street.person("ann").mark(), street.clock.ms + DAY_MS, RULE, ACTOR
    )
    entries = await street.hub.caretaking.ledger()
    assert entries[1].rule == DEFAULT_RULES[1]
    words = repr(entries)
    for private in (ACTOR, "Fairfax", "rude", name, await street.person("ann").mark(), "192.168"):
        assert private not in words


async def test_the_chain_of_the_ledger_holds_and_breaks_on_any_change(street: Street) -> None:
    name = await notice(street)
    for _ in range(4):
        await street.hub.caretaking.hide(name, RULE, ACTOR)
        await street.hub.caretaking.restore(name, "My own words.", ACTOR)

    async def broken() -> int | None:
        return await street.hub.database.read_with(
            lambda connection: first_broken(decisions.every_line(connection))
        )

    assert await broken() is None
    await street.tamper("UPDATE ledger SET rule = 'Something else.' WHERE number = 3")
    assert await broken() == 3


async def test_a_rule_is_a_number_of_the_house_rules_or_a_sentence(street: Street) -> None:
    name = await notice(street)
    for rule in ("", "  ", "0", "99"):
        with pytest.raises(NameTheRule):
            await street.hub.caretaking.hide(name, rule, ACTOR)
    assert await street.acts() == []
    await street.hub.caretaking.hide(name, "  It  was asked\nfor. ", ACTOR)
    assert (await street.hub.caretaking.ledger())[0].rule == "It was asked for."


async def test_refusing_erases_what_waited_with_its_pictures(street: Street) -> None:
    await street.setting("board.posting", "checked")
    ann = street.person("ann")
    picture, other = await street.picture(10), await street.picture(20)
    refused = await ann.puts_up("Horrid words", pictures=(picture,))
    await ann.puts_up("Kind words", pictures=(other,))
    await street.hub.caretaking.refuse(refused.public_id, RULE, ACTOR)
    assert [item.public_id == refused.public_id for item in await street.hub.caretaking.waiting()] == [False]
    exists = street.hub.blobs.exists
    assert not await asyncio.to_thread(exists, picture.full.sha256)
    assert not await asyncio.to_thread(exists, picture.thumb.sha256)
    assert await asyncio.to_thread(exists, other.full.sha256)
    kept = await asyncio.to_thread(
        lambda: b"".join(path.read_bytes() for path in street.data.glob("hub.db*"))
    )
    assert b"Horrid words" not in kept
    assert b"Kind words" in kept


async def test_a_picture_that_another_waiting_notice_has_survives_a_refusal(street: Street) -> None:
    await street.setting("board.posting", "checked")
    ann, picture = street.person("ann"), await street.picture(10)
    first, second = [(await ann.puts_up(pictures=(picture,))).public_id for _ in range(2)]
    await street.hub.caretaking.refuse(first, RULE, ACTOR)
    await street.hub.caretaking.approve(second, ACTOR)
    assert (await street.hub.upkeep.check()).findings == ()


async def test_a_refused_change_leaves_the_notice_as_it_was(street: Street) -> None:
    ann = street.person("ann")
    name = await notice(street)
    await street.setting("board.posting", "checked")
    await ann.changes(name, "Something horrid.")
    await street.hub.caretaking.refuse(name, RULE, ACTOR)
    thread = await street.hub.board.thread(name, ann.cookie)
    assert (thread.notice.text, thread.mine) == ("A ladder of three metres.", True)


async def test_what_does_not_wait_can_be_neither_approved_nor_refused(street: Street) -> None:
    name = await notice(street)
    for act in (street.hub.caretaking.approve(name, ACTOR), street.hub.caretaking.refuse(name, RULE, ACTOR)):
        with pytest.raises(NothingHeld):
            await act
    with pytest.raises(NotFound):
        await street.hub.caretaking.approve("0000000000", ACTOR)


async def test_a_reply_whose_notice_is_gone_cannot_be_approved_but_refused(street: Street) -> None:
    name = await notice(street)
    await street.setting("board.posting", "checked")
    reply = (await street.person("bob").answers(name)).public_id
    await street.person("ann").takes_down(name)
    with pytest.raises(AlreadyErased):
        await street.hub.caretaking.approve(reply, ACTOR)
    await street.hub.caretaking.refuse(reply, RULE, ACTOR)
    assert await street.hub.caretaking.waiting() == []


async def test_what_is_hidden_is_gone_from_every_list_and_comes_back_in_its_place(street: Street) -> None:
    name = await notice(street, "first")
    street.clock.pass_time(minutes=1)
    await notice(street, "second")
    await street.hub.caretaking.hide(name, RULE, ACTOR)
    assert await street.board() == ["second"]
    assert await street.found("first") == []
    assert [found.title for found in await street.hub.caretaking.notices("hidden")] == ["first"]
    item = await street.hub.caretaking.item(name)
    assert item.hide is not None
    assert (item.hide.rule, item.hide.by_reports) == (DEFAULT_RULES[0], False)
    await street.hub.caretaking.restore(name, RULE, ACTOR)
    assert await street.board() == ["second", "first"]


async def test_an_item_is_found_by_its_id_as_typed_from_a_poster(street: Street) -> None:
    name = await notice(street)
    typed = f" {name.upper().replace('1', 'l').replace('0', 'O')} "
    assert (await street.hub.caretaking.item(typed)).public_id == name
    await street.setting("board.posting", "checked")
    held = (await street.person("ann").puts_up()).public_id
    assert (await street.hub.caretaking.item(held.upper())).held is not None


async def test_erasing_leaves_the_header_and_nothing_else(street: Street) -> None:
    ann, picture = street.person("ann"), await street.picture(99, "my own ladder")
    name = (await ann.puts_up("A secret ladder", pictures=(picture,))).public_id
    await street.person("bob").reports(name, words="A secret word")
    await street.hub.caretaking.erase(name, RULE, ACTOR)
    item = await street.hub.caretaking.item(name)
    assert item.state is State.ERASED
    assert [report.outcome for report in item.reports] == ["erased"]
    assert not await asyncio.to_thread(street.hub.blobs.exists, picture.full.sha256)
    kept = await asyncio.to_thread(
        lambda: b"".join(path.read_bytes() for path in street.data.rglob("*") if path.is_file())
    )
    for trace in (b"secret", b"my own ladder"):
        assert trace not in kept
    assert (await street.hub.upkeep.check()).findings == ()
    with pytest.raises(AlreadyErased):
        await street.hub.caretaking.restore(name, RULE, ACTOR)


async def test_a_picture_two_notices_share_survives_the_erasure_of_one(street: Street) -> None:
    ann, picture = street.person("ann"), await street.picture(99)
    first, second = [(await ann.puts_up(pictures=(picture,))).public_id for _ in range(2)]
    await street.hub.caretaking.erase(first, RULE, ACTOR)
    assert await asyncio.to_thread(street.hub.blobs.exists, picture.full.sha256)
    await street.hub.caretaking.erase(second, RULE, ACTOR)
    assert not await asyncio.to_thread(street.hub.blobs.exists, picture.full.sha256)


async def test_three_notices_can_be_pinned_and_no_more(street: Street) -> None:
    names = []
    for title in ("a", "b", "c", "d"):
        names.append(await notice(street, title))
        street.clock.pass_time(seconds=1)
    later = street.clock.ms + DAY_MS
    for name in names[:3]:
        await street.hub.caretaking.pin(name, later, ACTOR)
    with pytest.raises(TooManyPins):
        await street.hub.caretaking.pin(names[3], later, ACTOR)
    await street.hub.caretaking.pin(names[0], later + 1, ACTOR)
    assert await street.board() == ["c", "b", "a", "d"]
    await street.hub.caretaking.pin(names[2], 0, ACTOR)
    await street.hub.caretaking.pin(names[3], later, ACTOR)
    street.clock.pass_time(days=2)
    assert await street.board() == ["d", "c", "b", "a"]


async def test_an_official_notice_leads_the_board_until_its_time_is_over(street: Street) -> None:
    name = await notice(street, "Water is off")
    street.clock.pass_time(minutes=1)
    await notice(street, "Ladder to lend")
    await street.hub.caretaking.urgent(name, street.clock.ms + DAY_MS, ACTOR)
    assert await street.board() == ["Water is off", "Ladder to lend"]
    street.clock.pass_time(days=1, minutes=1)
    assert await street.board() == ["Ladder to lend", "Water is off"]


async def test_only_notices_are_pinned_or_made_urgent(street: Street) -> None:
    reply = (await street.person("bob").answers(await notice(street))).public_id
    for act in (street.hub.caretaking.pin, street.hub.caretaking.urgent):
        with pytest.raises(NotFound):
            await act(reply, street.clock.ms + DAY_MS, ACTOR)


@pytest.mark.parametrize(
    ("outcome", "word", "acts", "shown"),
    [
        ("keep", "kept", ["auto-hide", "restore"], True),
        ("hide", "hidden", ["auto-hide", "hide"], False),
        ("erase", "erased", ["auto-hide", "erase"], False),
    ],
)
async def test_one_decision_closes_every_report_of_the_item(
    street: Street, outcome: str, word: str, acts: list[str], shown: bool
) -> None:
    name = await notice(street)
    references = [(await street.person(who).reports(name)).reference for who in ("bob", "cat", "dai")]
    assert len(await street.hub.caretaking.reports()) == 3
    decided = await street.hub.caretaking.decide(references[1].upper(), outcome, RULE, "We looked.", ACTOR)
    assert decided == name
    assert await street.hub.caretaking.reports() == []
    assert len(await street.hub.caretaking.reports(decided=True)) == 3
    for reference in references:
        report, _ = await street.hub.reporting.outcome(reference)
        assert (report.outcome, report.rule, report.answer) == (word, DEFAULT_RULES[0], "We looked.")
    assert await street.acts() == acts
    assert bool(await street.board()) is shown


async def test_a_ban_of_no_time_is_written_down_as_lifting_it(street: Street) -> None:
    mark = await device(street)
    await street.hub.caretaking.ban_device(mark, street.clock.ms + DAY_MS, RULE, ACTOR)
    await street.hub.caretaking.ban_device(mark, 0, RULE, ACTOR)
    assert await street.acts() == ["ban", "lift"]
    await street.person("ann").puts_up()


async def test_a_banned_device_can_take_down_but_not_put_back_or_extend(street: Street) -> None:
    ann = street.person("ann")
    name = await notice(street)
    await street.hub.caretaking.ban_device(await ann.mark(), street.clock.ms + DAY_MS, RULE, ACTOR)
    with pytest.raises(DevicePaused):
        await street.hub.board.extend(name, ann.asker())
    await ann.takes_down(name)
    for phrase in ("", ann.phrases[name]):
        with pytest.raises(DevicePaused):
            await ann.puts_back(name, phrase=phrase)


async def test_the_phrase_is_no_way_around_a_ban_but_always_takes_down(street: Street) -> None:
    ann, library = street.person("ann"), street.person("library computer")
    name = await notice(street)
    await street.hub.caretaking.ban_device(await ann.mark(), street.clock.ms + DAY_MS, RULE, ACTOR)
    with pytest.raises(DevicePaused):
        await library.changes(name, "Worse.", phrase=ann.phrases[name])
    await library.takes_down(name, phrase=ann.phrases[name])
    assert await street.board() == []


async def test_a_mark_is_found_however_it_is_typed_and_an_unknown_one_is_not(street: Street) -> None:
    mark = await device(street)
    await street.hub.caretaking.trust_device(f" {mark.upper().replace('-', ' ')} ", True, ACTOR)
    assert [found.trusted for found in await street.hub.caretaking.devices()] == [True]
    with pytest.raises(NotFound):
        await street.hub.caretaking.trust_device("no-such", True, ACTOR)


async def test_counts_are_those_of_what_anybody_sees_and_what_waits(street: Street) -> None:
    name = await notice(street)
    await street.person("bob").answers(name)
    await street.person("bob").reports(name, Reason.RULES)
    await street.person("cat").reports(name, Reason.RULES)
    await hidden(street)
    await street.setting("board.posting", "checked")
    await street.person("ann").puts_up()
    counts = await street.hub.caretaking.counts()
    assert (counts.notices, counts.replies, counts.waiting, counts.reports) == (1, 1, 1, 1)
    assert (counts.hidden, counts.records, counts.devices) == (1, 3, 3)
