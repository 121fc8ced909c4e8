"""The scrub: every blob is read once a month; what is broken is set aside, said, and healed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.domain.errors import NotFound
from hub.domain.health import Condition, Line
from hub.domain.notices import Picture
from hub.services import erasure, scrubbing
from hub.services.scrubbing import STEP, Scrubbed
from hub.storage.blobs import BlobStore, Inspection
from tests.integration.conftest import OpenHub, Street

NOTHING = Scrubbed(0, 0, (), (), ())


async def spoil(street: Street, sha256: str) -> None:
    """Turn one bit of a blob over behind the hub's back."""

    def turn(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])

    await asyncio.to_thread(turn, street.hub.blobs.path(sha256))


async def with_pictures(street: Street, count: int = 3) -> tuple[list[str], list[Picture]]:
    """Notices with a picture each."""
    pictures = [await street.picture(colour) for colour in range(count)]
    names = []
    for number, picture in enumerate(pictures):
        made = await street.person("ann").puts_up(f"Notice {number}", pictures=(picture,))
        names.append(made.public_id)
    return names, pictures


async def said(street: Street) -> Line:
    """What health says of blobs."""
    return next(line for line in await street.hub.health.lines() if line.code == "blobs")


async def quarantined(street: Street) -> list[str]:
    return await asyncio.to_thread(street.hub.blobs.set_aside_names)


async def test_a_hub_without_blobs_has_nothing_to_scrub_and_writes_nothing(street: Street) -> None:
    assert not await street.hub.scrubbing.is_due()
    assert "once a month" in (await said(street)).sentence
    assert await street.hub.scrubbing.all() == NOTHING


async def test_sound_blobs_are_counted_and_the_day_is_said(street: Street) -> None:
    await with_pictures(street)
    done = await street.hub.scrubbing.all()
    assert (done.looked, done.broken, done.missing) == (6, (), ())
    assert done.bytes > 0
    line = await said(street)
    assert line.state is Condition.OK
    assert "6 pictures and files were checked on 23 November 2026" in line.sentence


async def test_a_broken_picture_is_set_aside_said_with_its_notice_and_healed_by_its_bytes(
    street: Street,
) -> None:
    names, pictures = await with_pictures(street)
    sha256 = pictures[1].full.sha256
    await spoil(street, sha256)

    done = await street.hub.scrubbing.all()

    assert done.broken == (sha256,)
    assert done.missing == ()
    assert not await asyncio.to_thread(street.hub.blobs.exists, sha256)
    assert await quarantined(street) == [sha256]
    line = await said(street)
    assert line.state is Condition.LOOK
    assert names[1] in line.sentence
    assert line.remedy

    await street.picture(1)  # the same bytes are put up again
    assert (await said(street)).state is Condition.OK
    await street.hub.scrubbing.tidy()
    assert await street.table("quarantine") == []
    assert await quarantined(street) == []
    assert (await street.hub.upkeep.check()).findings == ()


async def test_what_is_not_there_at_all_is_said_too(street: Street) -> None:
    _, pictures = await with_pictures(street)
    sha256 = pictures[0].thumb.sha256
    await asyncio.to_thread(street.hub.blobs.path(sha256).unlink)
    assert (await street.hub.scrubbing.all()).missing == (sha256,)
    assert (await said(street)).state is Condition.LOOK
    assert (await street.hub.scrubbing.all()).missing == (sha256,)


async def test_erasing_a_notice_removes_its_set_aside_picture_and_the_note(street: Street) -> None:
    names, pictures = await with_pictures(street)
    await spoil(street, pictures[0].full.sha256)
    await street.hub.scrubbing.all()
    await street.hub.caretaking.erase(names[0], "1", "gwen")
    assert await quarantined(street) == []
    assert await street.table("quarantine") == []
    assert (await said(street)).state is Condition.OK


async def test_what_nobody_names_goes_from_the_quarantine_by_itself(street: Street) -> None:
    sha256 = (await street.picture(9)).full.sha256
    await spoil(street, sha256)
    assert (await street.hub.scrubbing.all()).broken == (sha256,)
    assert await quarantined(street) == []
    assert await street.table("quarantine") == []


async def test_what_was_unreadable_for_a_while_is_brought_back(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loose plug: each read fails, and the next scrub reads everything well."""
    _, pictures = await with_pictures(street)
    real = Inspection._read

    def unplugged(self: Inspection, descriptor: int, most: int) -> int:
        real(self, descriptor, most)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Inspection, "_read", unplugged)
        assert len((await street.hub.scrubbing.all()).broken) == 6
    assert len(await quarantined(street)) == 6
    done = await street.hub.scrubbing.all()
    assert len(done.healed) == 6
    assert (done.looked, done.broken, done.missing) == (6, (), ())
    assert await asyncio.to_thread(street.hub.blobs.verify, pictures[0].full.sha256)
    assert (await said(street)).state is Condition.OK


async def test_it_is_due_a_month_after_the_last_by_trusted_time(street: Street) -> None:
    await with_pictures(street)
    assert await street.hub.scrubbing.is_due()
    await street.hub.scrubbing.all()
    assert not await street.hub.scrubbing.is_due()
    street.clock.pass_time(days=29, hours=23)
    assert not await street.hub.scrubbing.is_due()
    street.clock.pass_time(hours=1)
    assert await street.hub.scrubbing.is_due()
    street.clock.put_right(days=-5000)
    assert not await street.hub.scrubbing.is_due()


async def test_a_scrub_of_a_wrong_future_does_not_put_off_the_next(street: Street) -> None:
    await with_pictures(street)
    street.clock.pass_time(days=200)
    await street.hub.scrubbing.all()
    state = await street.hub.scrubbing.state()
    assert state.ended_ms is not None
    await street.tamper("UPDATE scrub SET ended_ms = ended_ms + 100 * 86400000")
    assert await street.hub.scrubbing.is_due()
    await street.hub.scrubbing.all()
    assert not (await street.hub.scrubbing.state()).under_way


async def test_the_slow_scrub_keeps_its_pace(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "BYTES_A_SECOND", 8 * STEP)
    await asyncio.to_thread(street.hub.blobs.keep_bytes, bytes(4 * STEP))
    before = asyncio.get_running_loop().time()
    done = await street.hub.scrubbing.slowly()
    assert done is not None
    assert done.bytes == 4 * STEP
    assert asyncio.get_running_loop().time() - before >= 0.5


async def test_after_a_restart_it_goes_on_where_it_was_left(
    open_street: OpenHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "SAVE_S", 0.0)
    looked: list[str] = []
    half_way = asyncio.Event()
    real = BlobStore.inspect

    def noted(self: BlobStore, sha256: str) -> Inspection:
        looked.append(sha256)
        if len(looked) == 10:
            half_way.set()
        return real(self, sha256)

    monkeypatch.setattr(BlobStore, "inspect", noted)
    async with open_street() as street:
        for number in range(40):
            await asyncio.to_thread(street.hub.blobs.keep_bytes, b"%d" % number)
        running = asyncio.ensure_future(street.hub.scrubbing.slowly())
        await half_way.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        state = await street.hub.scrubbing.state()
        assert state.under_way
        assert "being checked" in (await said(street)).sentence
        first = looked[:-1]
    async with open_street() as street:
        looked.clear()
        assert await street.hub.scrubbing.is_due()
        done = await street.hub.scrubbing.slowly()
        assert done is not None
        assert done.looked == 40
        assert set(first) & set(looked) <= {first[-1]}
        assert len(set(first) | set(looked)) == 40


async def test_a_caretakers_scrub_takes_over_from_the_slow_one(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "SMALLEST", 1024 * 1024)
    await with_pictures(street, 5)
    slow = asyncio.ensure_future(street.hub.scrubbing.slowly())
    await asyncio.sleep(0.2)
    done = await asyncio.wait_for(street.hub.scrubbing.all(), 5)
    assert done.looked == 10
    assert await slow is None
    assert not await street.hub.scrubbing.is_due()


async def test_a_caretakers_scrub_can_be_left_and_the_slow_one_finishes_it(street: Street) -> None:
    await asyncio.to_thread(street.hub.blobs.keep_bytes, bytes(60_000_000))
    running = asyncio.ensure_future(street.hub.scrubbing.all())
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    state = await street.hub.scrubbing.state()
    if state.under_way:  # unless this machine was quicker
        assert await street.hub.scrubbing.is_due()


async def test_every_ten_minutes_it_is_looked_whether_there_is_anything_to_do(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "LOOK_S", 0.01)
    _, pictures = await with_pictures(street)
    await spoil(street, pictures[2].full.sha256)
    running = asyncio.ensure_future(street.hub.scrubbing.run_monthly())
    for _ in range(500):
        if (await said(street)).state is Condition.LOOK:
            break
        await asyncio.sleep(0.01)
    assert (await said(street)).state is Condition.LOOK
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nothing_is_written_while_nothing_is_due(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_pictures(street)
    await street.hub.scrubbing.all()
    monkeypatch.setattr(scrubbing, "LOOK_S", 0.001)
    before = await street.hub.database.maintain(lambda connection: connection.total_changes)
    running = asyncio.ensure_future(street.hub.scrubbing.run_monthly())
    await asyncio.sleep(0.2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await street.hub.database.maintain(lambda connection: connection.total_changes) == before


async def test_words_that_are_erased_without_room_to_write_the_database_anew_are_said_to_wait(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    names, pictures = await with_pictures(street)
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "leave_no_trace", full)
        await street.hub.caretaking.erase(names[0], "1", "gwen")
    assert not await asyncio.to_thread(street.hub.blobs.exists, pictures[0].full.sha256)
    line = next(line for line in await street.hub.health.lines() if line.code == "traces")
    assert line.state is Condition.LOOK
    street.clock.pass_time(minutes=5)
    await street.hub.housekeeping.round()
    line = next(line for line in await street.hub.health.lines() if line.code == "traces")
    assert line.state is Condition.OK


async def test_a_name_that_is_none_is_not_looked_for(street: Street) -> None:
    with pytest.raises(NotFound):
        street.hub.blobs.inspect("../key")
