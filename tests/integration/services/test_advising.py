"""Advice: what this hub tells its neighbours, what they tell it, and that it forces nobody."""

from __future__ import annotations

import asyncio

import pytest

from hub.domain.advice import BLOCK_LIST_LASTS_MS, FLAG_LASTS_MS, Blocked, Entry, Flag, Following
from hub.domain.bodies import ReplyBody, encode_reply
from hub.domain.cbor import encode
from hub.domain.ids import ObjectId, public_form
from hub.domain.ledger import Role
from hub.domain.notices import ReplyDraft
from hub.domain.policy import Reason
from hub.domain.records import RecordType, decode_header
from hub.services import advising
from hub.services.advising import BadReason, NotFlagged, OwnItem
from hub.services.identity import identity_of
from hub.services.neighbours import NotPaired
from tests.integration.conftest import RULE, Street
from tests.integration.elsewhere import MILL_LANE, OAKFIELD, Elsewhere, Network


@pytest.fixture
async def mill_lane(street: Street) -> Elsewhere:
    """The next hall, paired."""
    made, network = Elsewhere(street, identity_of(b"m" * 32), MILL_LANE), Network()
    street.hub.neighbours.join(network, network, network)
    await made.pairs()
    return made


@pytest.fixture
async def oakfield(street: Street, mill_lane: Elsewhere) -> Elsewhere:
    """The one after, paired as well."""
    made = Elsewhere(street, identity_of(b"o" * 32), OAKFIELD)
    await made.pairs()
    return made


async def heads(street: Street, kind: str) -> list[tuple[str, int, bytes | None, bytes | None]]:
    """Of this hub's records of a type: scope, how long it lasts in ms, what it is about, and its body."""
    rows = await street.rows("SELECT header, body FROM record ORDER BY n")
    found = [(decode_header(header), body) for header, body in rows]
    return [
        (str(header.scope), header.exp - header.stamp.ms, header.ref, body)
        for header, body in found
        if header.type == kind and header.hub == street.hub.identity.hub
    ]


def on(obj: ObjectId) -> Entry:
    """The entry of a block list that names ``obj``."""
    return Entry(Blocked.OBJECT, obj)


# --- telling neighbours -------------------------------------------------------------------------------


async def test_a_flag_goes_to_the_neighbours_and_names_the_reason_and_nobody(
    street: Street, mill_lane: Elsewhere
) -> None:
    obj = await mill_lane.puts_up("Cheap loans")
    await street.hub.advising.flag(public_form(obj), "unlawful", "4", "gwen")
    [(scope, lasts_ms, ref, body)] = await heads(street, RecordType.FLAG)
    assert (scope, lasts_ms, ref) == ("neighbours", FLAG_LASTS_MS, obj)
    assert body is not None
    assert body[1:19] == encode({0: body[3:19]})[1:]
    assert body.endswith(encode({20: "unlawful", 21: 4})[1:])
    assert "Cheap loans" in await street.board(), "advice hides nothing, least of all at home"
    assert await street.rows("SELECT actor, act FROM audit ORDER BY rowid DESC LIMIT 1") == [
        ("gwen", "flag unlawful")
    ]


async def test_a_later_flag_takes_the_place_of_an_earlier_one_and_can_be_taken_back(
    street: Street, mill_lane: Elsewhere
) -> None:
    name, advice = public_form(await mill_lane.puts_up("Cheap loans")), street.hub.advising
    with pytest.raises(NotFlagged):
        await advice.unflag(name, "gwen")
    await advice.flag(name, "untrue", "", "gwen")
    await advice.flag(name, "unlawful", "", "gwen")
    assert [bool(body) for *_, body in await heads(street, RecordType.FLAG)] == [False, True]
    assert [row[3] for row in await street.table("flag")] == ["unlawful"]
    await advice.unflag(name, "gwen")
    assert await street.table("flag") == []
    assert await heads(street, RecordType.RETRACT) != []
    await advice.flag(name, "rules", "1", "gwen")
    assert [row[3] for row in await street.table("flag")] == ["rules"]


async def test_only_what_another_hub_put_up_is_flagged_or_blocked_and_for_a_reason(
    street: Street, mill_lane: Elsewhere
) -> None:
    ours = (await street.person("Asha").puts_up("Ladder to lend")).public_id
    theirs = public_form(await mill_lane.puts_up("Cheap loans"))
    for act in (street.hub.advising.flag(ours, "rules", "", "g"), street.hub.advising.block(ours, "g")):
        with pytest.raises(OwnItem):
            await act
    for reason, rule in (("boring", ""), ("rules", "0"), ("rules", "100"), ("rules", "one"), ("", "")):
        with pytest.raises(BadReason):
            await street.hub.advising.flag(theirs, reason, rule, "gwen")
    assert await heads(street, RecordType.FLAG) == []


async def test_the_block_list_of_this_hub_is_one_record_that_is_written_anew(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    picture = await street.picture(7)
    obj, advice = await mill_lane.puts_up("Cheap loans", pictures=(picture,)), street.hub.advising
    await advice.block(public_form(obj), "gwen")
    assert [row[1] for row in await street.table("block_entry")] == ["object"]
    await advice.block(public_form(obj), "gwen", bytes_too=True)
    await advice.block_hub(OAKFIELD, "gwen")
    listed = {(row[1], bytes(row[2])) for row in await street.table("block_entry")}
    blobs = {("blob", bytes.fromhex(each.sha256)) for each in (picture.full, picture.thumb)}
    assert listed == {("object", obj), ("hub", oakfield.hub), *blobs}
    *earlier, last = await heads(street, RecordType.BLOCK_LIST)
    assert {each[3] for each in earlier} == {None}, "the lists before it lost their bodies"
    assert last[:3] == ("neighbours", BLOCK_LIST_LASTS_MS, None)
    await advice.block(public_form(obj), "gwen", off=True)
    await advice.block_hub(OAKFIELD, "gwen", off=True)
    assert await street.table("block_entry") == []
    assert not await advice.renew()


async def test_the_block_list_is_written_anew_while_its_hub_lives(
    street: Street, mill_lane: Elsewhere
) -> None:
    await street.hub.advising.block_hub(MILL_LANE, "gwen")
    street.clock.pass_time(days=80)
    assert not await street.hub.advising.renew()
    street.clock.pass_time(days=20)
    assert await street.hub.advising.renew()
    assert not await street.hub.advising.renew()
    assert len(await heads(street, RecordType.BLOCK_LIST)) == 2


# --- what neighbours tell -----------------------------------------------------------------------------


async def test_caretakers_see_what_neighbours_advise_about_what_is_seen_here(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    stranger = Elsewhere(street, identity_of(b"s" * 32), "Elsewhere")
    loans, sale = await mill_lane.puts_up("Cheap loans"), await oakfield.puts_up("Boot sale")
    ours = (await street.person("Asha").puts_up("Ladder to lend")).public_id
    [own_obj] = [row[0] for row in await street.rows("SELECT obj FROM notice WHERE public_id = ?", ours)]
    await oakfield.flags(loans, Reason.UNLAWFUL, 2)
    await stranger.flags(loans, Reason.RULES)
    await mill_lane.flags(ObjectId(own_obj), Reason.UNTRUE)
    await mill_lane.flags(ObjectId(b"nothing here at."[:16]), Reason.UNTRUE)
    await mill_lane.blocks(on(sale), Entry(Blocked.HUB, oakfield.hub), Entry(Blocked.HUB, b"x" * 32))
    found = (await street.hub.advising.advised()).advised
    told = {(each.by, each.item.public_id if each.item else each.about, each.flag) for each in found}
    assert told == {
        (OAKFIELD, public_form(loans), Flag(Reason.UNLAWFUL, 2)),
        (MILL_LANE, ours, Flag(Reason.UNTRUE)),
        (MILL_LANE, public_form(sale), None),
        (MILL_LANE, OAKFIELD, None),
    }
    assert await street.board() != [], "and nothing was hidden"
    await street.hub.caretaking.hide(public_form(loans), RULE, "gwen")
    await street.hub.caretaking.erase(ours, RULE, "gwen")
    found = (await street.hub.advising.advised()).advised
    assert {each.by for each in found} == {MILL_LANE}
    assert all(each.flag is None for each in found)


async def test_a_followed_block_list_hides_what_it_names_with_a_line_in_the_ledger(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    picture, advice = await street.picture(7), street.hub.advising
    loans, sale = await oakfield.puts_up("Cheap loans"), await oakfield.puts_up("Boot sale")
    await oakfield.puts_up("With a picture", pictures=(picture,))
    await mill_lane.flags(sale, Reason.UNTRUE)
    await mill_lane.blocks(on(loans), Entry(Blocked.BLOB, bytes.fromhex(picture.full.sha256)))
    assert await advice.apply() == 0, "nobody follows it yet"
    await advice.follow(MILL_LANE, Following.APPLY, "gwen")
    assert (await advice.advised()).follows == (MILL_LANE,)
    assert await advice.apply() == 2
    assert await street.board() == ["Boot sale"], "a flag only tells"
    [line] = [each for each in await street.hub.caretaking.ledger() if each.role is Role.ADVICE]
    assert (str(line.act), line.rule, line.subject, line.outcome) == ("hide", MILL_LANE, "notice", "2")
    assert await advice.apply() == 0


async def test_nothing_that_was_hidden_by_advice_is_shown_again_by_it_nor_hidden_twice(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    loans, advice = await oakfield.puts_up("Cheap loans"), street.hub.advising
    await mill_lane.blocks(on(loans))
    await advice.follow(MILL_LANE, Following.APPLY, "gwen")
    assert await advice.apply() == 1
    await mill_lane.blocks()
    await advice.follow(MILL_LANE, Following.ASK, "gwen")
    assert await advice.apply() == 0
    assert await street.board() == []
    await street.hub.caretaking.restore(public_form(loans), RULE, "gwen")
    await advice.follow(MILL_LANE, Following.APPLY, "gwen")
    await mill_lane.blocks(on(loans))
    assert await advice.apply() == 0
    assert await street.board() == ["Cheap loans"], "the caretaker here has the last word"


async def test_what_comes_later_of_a_blocked_hub_is_hidden_and_what_was_put_up_here_never_is(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    made, advice = await street.person("Asha").puts_up("Ladder to lend", scope="network"), street.hub.advising
    [(own,)] = await street.rows("SELECT obj FROM notice WHERE public_id = ?", made.public_id)
    us = street.hub.identity.hub
    await mill_lane.blocks(on(ObjectId(own)), Entry(Blocked.HUB, us), Entry(Blocked.HUB, oakfield.hub))
    await advice.follow(MILL_LANE, Following.APPLY, "gwen")
    await oakfield.puts_up("Cheap loans")
    assert await advice.apply() == 1
    await oakfield.puts_up("Cheaper loans")
    await mill_lane.puts_up("Cake")
    assert await advice.apply() == 1
    assert sorted(await street.board()) == ["Cake", "Ladder to lend"]


async def test_a_reply_is_hidden_and_its_notice_stays(street: Street, mill_lane: Elsewhere) -> None:
    made = await street.person("Asha").puts_up("Ladder to lend", scope="network")
    [(notice,)] = await street.rows("SELECT obj FROM notice WHERE public_id = ?", made.public_id)
    reply = ObjectId(b"r" * 16)
    body = encode_reply(ReplyBody(ReplyDraft("Cheap loans!", "en"), street.clock.ms), b"s" * 16)
    await mill_lane.brings(RecordType.REPLY, reply, body, ref=ObjectId(notice))
    oakfield = Elsewhere(street, identity_of(b"o" * 32), OAKFIELD)
    await oakfield.pairs()
    await oakfield.blocks(on(reply))
    await street.hub.advising.follow(OAKFIELD, Following.APPLY, "gwen")
    assert await street.hub.advising.apply() == 1
    thread = await street.hub.board.thread(made.public_id)
    assert thread.replies == ()
    assert await street.rows("SELECT thread FROM hide") == [(notice,)]


async def test_the_list_of_a_hub_that_is_no_neighbour_counts_for_nothing(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    loans, advice = await oakfield.puts_up("Cheap loans"), street.hub.advising
    await mill_lane.blocks(on(loans))
    await advice.follow(MILL_LANE, Following.APPLY, "gwen")
    await street.hub.neighbours.part(MILL_LANE, "gwen", keep=True)
    assert await advice.apply() == 0
    assert (await advice.advised()).follows == ()
    with pytest.raises(NotPaired):
        await advice.follow(MILL_LANE, Following.APPLY, "gwen")


async def test_advice_is_applied_as_it_comes(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advising, "GATHER_S", 0.0)
    await street.hub.advising.follow(MILL_LANE, Following.APPLY, "gwen")
    hidden, apply = asyncio.Event(), street.hub.advising.apply

    async def apply_and_tell() -> int:
        count = await apply()
        if count:
            hidden.set()
        return count

    monkeypatch.setattr(street.hub.advising, "apply", apply_and_tell)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(street.hub.advising.run())
        loans = await oakfield.puts_up("Cheap loans")
        await mill_lane.blocks(on(loans))
        async with asyncio.timeout(5):
            await hidden.wait()
        running.cancel()
    assert [row[0] for row in await street.rows("SELECT obj FROM hide")] == [loans]


# --- the log ------------------------------------------------------------------------------------------


async def test_advice_is_made_again_from_the_log_and_leaves_it_in_time(
    street: Street, mill_lane: Elsewhere, oakfield: Elsewhere
) -> None:
    loans = await oakfield.puts_up("Cheap loans")
    await mill_lane.flags(loans, Reason.UNTRUE)
    await mill_lane.blocks(on(loans))
    before = [await street.table(name) for name in ("flag", "block_entry")]
    assert all(before)
    await street.hub.upkeep.rebuild()
    assert [await street.table(name) for name in ("flag", "block_entry")] == before
    assert (await street.hub.upkeep.check()).findings == ()
    street.clock.pass_time(days=60)
    assert (await street.hub.advising.advised()).advised == ()


async def test_advice_that_cannot_be_read_is_carried_and_says_nothing(
    street: Street, mill_lane: Elsewhere
) -> None:
    loans = await mill_lane.puts_up("Cheap loans")
    await mill_lane.brings(RecordType.FLAG, ObjectId(b"f" * 16), encode({0: b"s" * 16}), ref=loans)
    await mill_lane.brings(RecordType.FLAG, ObjectId(b"g" * 16), encode({0: b"s" * 16}))
    await mill_lane.brings(RecordType.BLOCK_LIST, ObjectId(b"h" * 16), encode({0: b"s" * 16}))
    assert await street.table("flag") == []
    assert (await street.hub.advising.advised()).advised == ()
