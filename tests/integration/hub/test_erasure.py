"""What is erased stands in no file of the data folder: the raw bytes are searched."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from hub.api.client import Client
from hub.api.schema import Decision
from hub.app import Hub
from hub.domain.submission import Typed
from hub.services.authorship import Asker
from tests.conftest import HandClock
from tests.integration.hub.hub_process import Answer, Visitor
from tests.integration.hub.traces import Secrets, content_of, found_in
from tests.world import many

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

AROUND = 250
"""Notices of the street that stand around what is erased, so that pages split and rows move."""
FLAGS = {
    "web.port": "0",
    "web.listen": "127.0.0.1",
    "limits.per_device": "100000",
    "limits.per_address": "100000",
    "limits.whole_hub": "100000",
    "limits.new_devices": "100000",
    "storage.reserve_percent": "0",
    "storage.reserve_megabytes": "0",
}


class _Clock:
    """The hub's view of the test's clock: limits see it run too."""

    def __init__(self, hand: HandClock) -> None:
        self._hand = hand

    def now_ms(self) -> int:
        return self._hand.now_ms

    def monotonic(self) -> float:
        return self._hand.now_ms / 1000


class Street:
    """A hub that serves pages in this process, its clock moved by hand, and what residents do there."""

    def __init__(self, data: Path, clock: HandClock, chance: random.Random) -> None:
        self.data = data
        self.clock = clock
        self.chance = chance
        self.hub: Hub
        self.living: list[Secrets] = []
        self._visitors: list[Visitor] = []

    async def open(self) -> None:
        self.hub = await Hub.open(
            self.data, flags=FLAGS, clock=_Clock(self.clock), chance=self.chance.randbytes
        )
        await self.hub.start()
        self.desk = Client(self.data / "run" / "admin.sock")

    async def close(self) -> None:
        for visitor in self._visitors:
            visitor.close()
        await self.hub.stop()

    async def furnish(self) -> None:
        """Put up notices with replies as the street does, and let the index take them over."""
        for number, notice in enumerate(many(AROUND, 7, self.clock.now_ms)):
            typed = Typed(notice.kind, notice.title, notice.text, notice.name, notice.contact)
            if notice.kind == "urgent":
                continue
            made = await self.hub.board.put_up(typed, (), Asker(f"{number:032}"), "", notice.lang)
            for reply in notice.replies:
                words = Typed(text=reply.text, name=reply.name)
                await self.hub.board.answer(made.public_id, words, Asker(f"{number:032}"), "", reply.lang)
            self.clock.advance(seconds=40)
        await self.hub.housekeeping.index_all()

    async def ask(self, call: Callable[..., Answer], *arguments: object) -> Answer:
        """One request of a visitor, in a thread."""
        return await asyncio.to_thread(call, *arguments)

    def visitor(self) -> Visitor:
        """A new browser; it is closed with the hub."""
        self._visitors.append(Visitor(self.hub.port))
        return self._visitors[-1]

    def _secrets(self) -> Secrets:
        self.living.append(Secrets())
        return self.living[-1]

    async def put_up(self, visitor: Visitor, pictures: int = 1) -> tuple[str, Secrets]:
        """A notice full of secrets: its public id, and they."""
        secrets, chance = self._secrets(), self.chance
        fields = {
            "kind": "news",
            "title": secrets.sentence(chance, 1),
            "text": secrets.sentence(chance, 6),
            "name": secrets.word(chance)[:50],
            "contact": secrets.word(chance)[:50],
            "key": chance.randbytes(8).hex(),
        }
        files = []
        for number in range(1, pictures + 1):
            fields[f"alt{number}"] = secrets.sentence(chance, 1)
            files.append(("picture", f"{secrets.word(chance)}.jpg", secrets.picture(chance)))
        answer = await self.ask(visitor.post, "/notices", fields, files)
        name = _id(answer)
        await self._look_at_pictures(visitor, name, secrets)
        await self.ask(visitor.get, f"/search?q={quote(secrets.words[0][:5])}")
        self.clock.advance(seconds=50)
        return name, secrets

    async def _look_at_pictures(self, visitor: Visitor, name: str, secrets: Secrets) -> None:
        page = await self.ask(visitor.get, f"/notices/{name}")
        for path in re.findall(r"/pictures/\w+\.jpg", page.text):
            secrets.keep_blob((await self.ask(visitor.get, path)).body, self.chance)
            secrets.bytes_.append(path[10:42].encode())

    async def change(self, visitor: Visitor, name: str, *, keep_pictures: bool) -> Secrets:
        """Change a notice; the secrets of the version that stands now."""
        secrets, chance = self._secrets(), self.chance
        form = await self.ask(visitor.get, f"/notices/{name}/edit")
        fields = [
            ("kind", "lost"),
            ("title", secrets.sentence(chance, 1)),
            ("text", secrets.sentence(chance, 4)),
        ]
        if keep_pictures:
            for token in re.findall(r'name="kept" value="(\w+)"', form.text):
                fields += [("kept", token), (f"alt-{token}", secrets.sentence(chance, 1))]
        answer = await self.ask(visitor.post, f"/notices/{name}/edit", fields)
        assert answer.status == 303, answer.text
        return secrets

    async def answer(self, visitor: Visitor, name: str) -> tuple[str, Secrets]:
        """A reply full of secrets: its public id, and they."""
        secrets, chance = self._secrets(), self.chance
        fields = {"text": secrets.sentence(chance, 5), "name": secrets.word(chance)[:50]}
        answer = await self.ask(visitor.post, f"/notices/{name}/replies", fields)
        assert answer.status == 303, answer.text
        page = await self.ask(visitor.get, f"/notices/{name}")
        return re.findall(r'id="r-(\w+)"', page.text)[-1], secrets

    async def erase(self, name: str) -> None:
        """What the command `hub notices erase` does."""
        await asyncio.to_thread(self.desk.act, name, "erase", Decision(rule="1"))

    async def board(self) -> dict[str, object]:
        """Everything that stands on the board, with its replies."""
        return {notice.public_id: notice.title for notice in await self.hub.board.newest(2000)}

    async def assert_gone(self, *secrets: Secrets) -> None:
        """Nothing of ``secrets`` is in any file, while the hub runs; and `hub check` finds nothing."""
        self.living = [each for each in self.living if each not in secrets]
        left = await asyncio.to_thread(lambda: list(found_in(self.data, secrets, self.living)))
        assert not left, f"{len(left)} pieces are left: {left[:6]}"
        result = await self.hub.upkeep.check()
        assert not result.findings, result.findings

    async def assert_there(self, *secrets: Secrets) -> None:
        """The first words of ``secrets`` are in some file: a test that finds nothing later has looked."""
        content = await asyncio.to_thread(content_of, self.data)
        words = [word for secret in secrets for word in secret.words[:3]]
        assert all(word.encode() in content for word in words), words


def _id(answer: Answer) -> str:
    found = re.match(r"/notices/(\w+)", answer.location)
    assert answer.status == 303, answer.text
    assert found
    return found[1]


@pytest_asyncio.fixture
async def street(data_folder: Path, clock: HandClock, chance: random.Random) -> AsyncIterator[Street]:
    made = Street(data_folder, clock, chance)
    await made.open()
    await made.furnish()
    try:
        yield made
    finally:
        await made.close()


async def test_what_a_caretaker_erases_is_in_no_file_and_all_else_stays(street: Street) -> None:
    visitor, other = street.visitor(), street.visitor()
    before = await street.board()
    erased = []
    for number in range(8):
        name, secrets = await street.put_up(visitor, pictures=number % 3)
        reply, answered = await street.answer(other, name)
        erased.append((name, reply, secrets, answered))
        if number % 4 == 1:
            await street.hub.housekeeping.index_all()
    await street.assert_there(*(item[2] for item in erased))
    for name, reply, secrets, answered in erased:
        await street.erase(reply)
        await street.erase(name)
        await street.assert_gone(secrets, answered)
    assert (await street.ask(visitor.get, f"/notices/{erased[0][0]}")).status == 410
    assert await street.board() == before


async def test_what_its_author_takes_down_is_gone_half_an_hour_later(street: Street) -> None:
    visitor, other = street.visitor(), street.visitor()
    taken, stays = [], []
    for _ in range(4):
        name, secrets = await street.put_up(visitor)
        reply, answered = await street.answer(other, name)
        taken.append((name, secrets))
        stays.append((reply, answered))
    name, with_a_reply_less = await street.put_up(visitor, pictures=0)
    reply, gone_reply = await street.answer(other, name)
    await street.hub.housekeeping.index_all()
    for each, _ in taken:
        assert (await street.ask(visitor.post, f"/notices/{each}/remove")).status == 303
    assert (await street.ask(other.post, f"/replies/{reply}/remove")).status == 303
    street.clock.advance(minutes=31)
    assert (await street.hub.housekeeping.round()).erased == 5
    await street.assert_gone(*(secrets for _, secrets in taken), gone_reply)
    # Others' replies are theirs: each of them can still take down their own.
    await street.assert_there(with_a_reply_less, *(answered for _, answered in stays))
    for reply, _ in stays:
        assert (await street.ask(other.post, f"/replies/{reply}/remove")).status == 303
    street.clock.advance(minutes=31)
    await street.hub.housekeeping.round()
    await street.assert_gone(*(answered for _, answered in stays))


async def test_what_is_put_back_in_time_stays_whole(street: Street) -> None:
    visitor = street.visitor()
    name, secrets = await street.put_up(visitor)
    await street.ask(visitor.post, f"/notices/{name}/remove")
    street.clock.advance(minutes=29)
    assert (await street.ask(visitor.post, f"/notices/{name}/restore")).status == 303
    street.clock.advance(minutes=30)
    await street.hub.housekeeping.round()
    await street.assert_there(secrets)
    assert (await street.ask(visitor.get, f"/notices/{name}")).status == 200


async def test_what_waits_is_gone_when_it_is_refused_or_its_author_drops_it(street: Street) -> None:
    visitor = street.visitor()
    shown, before = await street.put_up(visitor)
    await asyncio.to_thread(street.desk.change_setting, "board.posting", "checked")
    refused, secrets = await street.put_up(visitor, pictures=2)
    change = await street.change(visitor, shown, keep_pictures=False)
    await street.assert_there(secrets, change)
    for name in (refused, shown):
        await asyncio.to_thread(street.desk.act, name, "refuse", Decision(rule="1"))
    await street.assert_gone(secrets, change)
    await street.assert_there(before)
    dropped, secrets = await street.put_up(visitor, pictures=1)
    assert (await street.ask(visitor.post, f"/notices/{dropped}/remove")).status == 303
    await street.hub.housekeeping.round()
    await street.assert_gone(secrets)


async def test_earlier_versions_are_gone_a_day_later(street: Street) -> None:
    visitor, other = street.visitor(), street.visitor()
    name, first = await street.put_up(visitor, pictures=2)
    second = await street.change(visitor, name, keep_pictures=True)
    reply, answered = await street.answer(other, name)
    await street.hub.housekeeping.index_all()
    third = await street.change(visitor, name, keep_pictures=False)
    again = street._secrets()
    fields = {"text": again.sentence(street.chance, 3), "name": again.word(street.chance)[:50]}
    assert (await street.ask(other.post, f"/replies/{reply}/edit", fields)).status == 303
    await street.hub.housekeeping.round()
    street.clock.advance(hours=25)
    await street.hub.housekeeping.round()
    await street.assert_gone(first, second, answered)
    await street.assert_there(third, again)
    assert (await street.ask(visitor.get, f"/notices/{name}")).status == 200


async def test_a_form_that_was_refused_leaves_nothing_after_two_days(street: Street) -> None:
    visitor, secrets, chance = street.visitor(), street._secrets(), street.chance
    fields = {
        "kind": "news",
        "title": "",
        "text": secrets.sentence(chance),
        "alt1": secrets.sentence(chance, 1),
    }
    files = [("picture", "p.jpg", secrets.picture(chance))]
    assert (await street.ask(visitor.post, "/notices", fields, files)).status == 422
    await street.hub.housekeeping.round()
    street.clock.advance(hours=25)
    await street.hub.housekeeping.round()
    street.clock.advance(hours=25)
    await street.hub.housekeeping.round()
    await street.assert_gone(secrets)
    assert not [path for path in (street.data / "blobs").rglob("*") if path.is_file()]


async def test_a_picture_of_a_refused_form_goes_with_the_notice_it_came_into(street: Street) -> None:
    visitor, secrets, chance = street.visitor(), street._secrets(), street.chance
    fields = [("kind", "news"), ("text", secrets.sentence(chance)), ("alt1", secrets.sentence(chance, 1))]
    files = [("picture", "p.jpg", secrets.picture(chance))]
    refused = await street.ask(visitor.post, "/notices", fields, files)
    [token] = re.findall(r'name="kept" value="(\w+)"', refused.text)
    fields += [("title", secrets.sentence(chance, 1)), ("kept", token)]
    name = _id(await street.ask(visitor.post, "/notices", fields))
    await street._look_at_pictures(visitor, name, secrets)
    await street.erase(name)
    await street.assert_gone(secrets)


async def test_words_of_a_report_go_with_what_it_was_about(street: Street) -> None:
    visitor, other = street.visitor(), street.visitor()
    name, secrets = await street.put_up(visitor)
    words = street._secrets()
    fields = {"reason": "about-me", "text": words.sentence(street.chance), "key": "k"}
    answer = await street.ask(other.post, f"/notices/{name}/report", fields)
    reference = re.search(r"ref=([\w-]+)", answer.location)
    assert reference
    await street.assert_there(words)
    await asyncio.to_thread(street.desk.decide, reference[1], Decision(outcome="erase", rule="3"))
    await street.assert_gone(secrets, words)
    assert (await street.ask(other.get, f"/reports?ref={reference[1]}")).status == 200


async def test_what_has_ended_leaves_nothing_behind(street: Street) -> None:
    visitor, other = street.visitor(), street.visitor()
    name, secrets = await street.put_up(visitor, pictures=2)
    _, answered = await street.answer(other, name)
    street.clock.advance(days=45)
    while (await street.hub.housekeeping.round()).purged:
        pass  # only some of all records may leave in one round
    await street.assert_gone(secrets, answered)
    assert not await street.board()


async def test_a_picture_two_notices_share_stays_until_the_second_is_erased(street: Street) -> None:
    visitor, shared, chance = street.visitor(), street._secrets(), street.chance
    picture = shared.picture(chance)
    names = []
    for number in range(3):
        if number == 2:
            await asyncio.to_thread(street.desk.change_setting, "board.posting", "checked")
        fields = {"kind": "give", "title": f"A chair {number}", "text": "Take it.", "key": f"share{number}"}
        answer = await street.ask(visitor.post, "/notices", fields, [("picture", "p.jpg", picture)])
        names.append(_id(answer))
        await street._look_at_pictures(visitor, names[0], shared)
    pictures = re.findall(r"/pictures/\w+\.jpg", (await street.ask(visitor.get, f"/notices/{names[1]}")).text)
    await street.erase(names[0])
    for path in pictures:
        assert (await street.ask(visitor.get, path)).status == 200
    await street.erase(names[1])
    for path in pictures:  # the third waits for approval and names them too
        assert (await street.ask(visitor.get, path)).status == 404
    await asyncio.to_thread(street.desk.act, names[2], "approve", Decision())
    for path in pictures:
        assert (await street.ask(visitor.get, path)).status == 200
    await street.erase(names[2])
    await street.assert_gone(shared)


async def test_what_a_power_cut_left_of_an_erasure_is_wiped_after_the_start(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = street.visitor()
    erased = [await street.put_up(visitor) for _ in range(3)]
    await street.hub.housekeeping.index_all()

    with monkeypatch.context() as patch:
        patch.setattr("hub.services.erasure.Eraser.wipe", _cut_off)
        for name, _ in erased:
            with pytest.raises(Exception, match="went wrong"):
                await street.erase(name)
    await street.close()
    await street.open()
    await street.hub.housekeeping.round()
    await street.assert_gone(*(secrets for _, secrets in erased))


async def _cut_off(*_: object) -> None:
    raise RuntimeError("the power went")


@pytest.mark.parametrize("step", ["hub.services.erasure.leave_no_trace", "hub.storage.search.purge"])
async def test_a_step_of_the_wipe_that_is_left_out_would_be_seen(
    street: Street, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    visitor = street.visitor()
    erased = [await street.put_up(visitor, pictures=0) for _ in range(8)]
    await street.hub.housekeeping.index_all()
    monkeypatch.setattr(step, lambda connection: None)
    for name, _ in erased:
        await street.erase(name)
    left = await asyncio.to_thread(lambda: list(found_in(street.data, [secrets for _, secrets in erased])))
    assert left
