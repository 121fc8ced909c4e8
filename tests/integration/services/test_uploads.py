"""Uploads in pieces, on a real hub: what is promised, what is taken back, who may bring how much."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.domain.errors import NoRoom, Refused, TryLater
from hub.domain.policy import DevicePaused, PostingPaused
from hub.services import uploads as service
from hub.services.fileshare import Arrival, TypedFiles
from hub.services.uploads import (
    BrokenOff,
    FileTooLarge,
    LengthDiffers,
    OffsetDiffers,
    PieceDamaged,
    Unfinished,
    UploadBusy,
    UploadGone,
)
from hub.storage.uploads import EnoughBytesToday, EnoughFilesToday, Upload
from tests.integration.conftest import RULE, OpenHub, Street, in_pieces

ROOMY = {"storage__reserve_percent": "0", "storage__reserve_megabytes": "0"}
FILM = bytes(range(256)) * 2500
MB = 1_000_000

Read = Callable[[], Awaitable[bytes]]


@pytest_asyncio.fixture
async def roomy(open_street: OpenHub) -> AsyncIterator[Street]:
    """A hub that keeps no part of the card free."""
    async with open_street(**ROOMY) as street:
        yield street


def reader(data: bytes, *, breaks: bool = False) -> Read:
    """What hands out ``data`` as a connection does, and at its end says so or breaks."""
    pieces = in_pieces(data, 10_000)

    async def read() -> bytes:
        try:
            return await anext(pieces)
        except StopAsyncIteration:
            if breaks:
                raise BrokenOff from None
            return b""

    return read


async def begins(street: Street, size: int = len(FILM), name: str = "film.mp4") -> tuple[str, str]:
    """The token of a new upload and its device's cookie."""
    begun = await street.hub.uploads.begin(None, name, size)
    return begun.upload.token, begun.cookie


def waiting(street: Street) -> dict[str, int]:
    """The files that lie on their way in, and their sizes."""
    return {path.name: path.stat().st_size for path in (street.data / "uploads").iterdir()}


def is_whole(upload: Upload, data: bytes) -> bool:
    return (
        upload.ref is not None
        and upload.ref.sha256 == hashlib.sha256(data).hexdigest()
        and upload.crc32 == zlib.crc32(data)
    )


# --- pieces ---------------------------------------------------------------------------------------


async def test_a_file_that_comes_in_pieces_is_whole_at_its_end(roomy: Street) -> None:
    token, cookie = await begins(roomy)
    uploads = roomy.hub.uploads
    half = await uploads.append(token, cookie, 0, reader(FILM[:300_000]))
    assert (half.offset, half.ref) == (300_000, None)
    with pytest.raises(Unfinished):
        await uploads.take([token], cookie)
    whole = await uploads.append(token, cookie, 300_000, reader(FILM[300_000:]), complete=True)
    assert is_whole(whole, FILM)
    [taken] = await uploads.take([token, token], cookie)
    assert (taken.name, taken.arrived.ref) == ("film.mp4", whole.ref)
    assert taken.arrived.path.read_bytes() == FILM
    assert await uploads.append(token, cookie, len(FILM), reader(b""), complete=True) == whole


async def test_an_empty_file_is_whole_from_the_start(roomy: Street) -> None:
    begun = await roomy.hub.uploads.begin(None, "empty.txt", 0)
    assert is_whole(begun.upload, b"")
    [taken] = await roomy.hub.uploads.take([begun.upload.token], begun.cookie)
    assert taken.arrived.path.read_bytes() == b""


async def test_a_piece_that_does_not_fit_the_offset_changes_nothing(roomy: Street) -> None:
    token, cookie = await begins(roomy)
    await roomy.hub.uploads.append(token, cookie, 0, reader(FILM[:1000]))
    for offset in (0, 999, 1001, 10**12):
        with pytest.raises(OffsetDiffers) as refusal:
            await roomy.hub.uploads.append(token, cookie, offset, reader(b"x"))
        assert refusal.value.fields == {"offset": 1000}
    assert waiting(roomy) == {token: 1000}


async def test_a_damaged_piece_is_cut_off_again(roomy: Street) -> None:
    token, cookie = await begins(roomy)
    uploads = roomy.hub.uploads
    await uploads.append(token, cookie, 0, reader(FILM[:1000]), crc32=zlib.crc32(FILM[:1000]))
    with pytest.raises(PieceDamaged):
        await uploads.append(token, cookie, 1000, reader(b"Film"), crc32=zlib.crc32(b"film"))
    assert waiting(roomy) == {token: 1000}
    whole = await uploads.append(token, cookie, 1000, reader(FILM[1000:]), crc32=zlib.crc32(FILM[1000:]))
    assert is_whole(whole, FILM)


@pytest.mark.parametrize("checked", [False, True])
async def test_a_broken_connection_keeps_what_arrived_unless_it_was_to_be_checked(
    roomy: Street, checked: bool
) -> None:
    token, cookie = await begins(roomy)
    with pytest.raises(BrokenOff):
        await roomy.hub.uploads.append(
            token, cookie, 0, reader(FILM[:77_777], breaks=True), crc32=0 if checked else None
        )
    kept = 0 if checked else 77_777
    assert (await roomy.hub.uploads.standing(token, cookie)).offset == kept
    assert waiting(roomy) == {token: kept}
    assert is_whole(await roomy.hub.uploads.append(token, cookie, kept, reader(FILM[kept:])), FILM)


@pytest.mark.parametrize(
    ("sent", "length", "complete", "kept"),
    [
        (FILM + b"!", None, False, 0),
        (FILM + b"!", len(FILM) + 1, False, 0),
        (FILM[:100], None, True, 100),
        (FILM[:100], 100, True, 0),
    ],
    ids=["longer", "longer, and says so", "shorter", "shorter, and says so"],
)
async def test_a_length_that_lies_is_refused_in_words(
    roomy: Street, sent: bytes, length: int | None, complete: bool, kept: int
) -> None:
    token, cookie = await begins(roomy)
    with pytest.raises(LengthDiffers):
        await roomy.hub.uploads.append(token, cookie, 0, reader(sent), length=length, complete=complete)
    assert (await roomy.hub.uploads.standing(token, cookie)).offset == kept
    assert waiting(roomy) == {token: kept}


async def test_two_pieces_at_once_spoil_nothing(roomy: Street) -> None:
    token, cookie = await begins(roomy)
    go_on = asyncio.Event()
    first = reader(FILM)

    async def slowly() -> bytes:
        await go_on.wait()
        return await first()

    async with asyncio.TaskGroup() as group:
        one = group.create_task(roomy.hub.uploads.append(token, cookie, 0, slowly))
        await asyncio.sleep(0)
        with pytest.raises(UploadBusy):
            await roomy.hub.uploads.append(token, cookie, 0, reader(b"x" * len(FILM)))
        go_on.set()
    assert is_whole(one.result(), FILM)


async def test_an_upload_that_is_given_up_while_it_comes_is_gone_when_it_ends(roomy: Street) -> None:
    token, cookie = await begins(roomy)
    pieces = reader(FILM[:50_000])

    async def and_gives_up() -> bytes:
        data = await pieces()
        if not data:
            await roomy.hub.uploads.cancel(token, cookie)
        return data

    with pytest.raises(UploadGone):
        await roomy.hub.uploads.append(token, cookie, 0, and_gives_up)
    assert waiting(roomy) == {}
    assert await roomy.table("upload") == []


async def test_a_cancelled_request_leaves_what_was_promised(roomy: Street) -> None:
    token, cookie = await begins(roomy)
    await roomy.hub.uploads.append(token, cookie, 0, reader(FILM[:1000]))
    more = iter([FILM[1000:200_000]])
    stuck = asyncio.Event()

    async def hangs() -> bytes:
        for data in more:
            return data
        stuck.set()
        await asyncio.Event().wait()
        return b""

    async with asyncio.TaskGroup() as group:
        task = group.create_task(roomy.hub.uploads.append(token, cookie, 1000, hangs))
        await stuck.wait()
        task.cancel()
    assert (await roomy.hub.uploads.standing(token, cookie)).offset == 1000
    assert is_whole(await roomy.hub.uploads.append(token, cookie, 1000, reader(FILM[1000:])), FILM)


async def test_a_long_piece_is_promised_on_its_way(roomy: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "ACKNOWLEDGE_S", 0.0)
    token, cookie = await begins(roomy)
    pieces = reader(FILM)
    seen = []

    async def looks() -> bytes:
        seen.append((await roomy.hub.uploads.standing(token, cookie)).offset)
        return await pieces()

    assert is_whole(await roomy.hub.uploads.append(token, cookie, 0, looks), FILM)
    assert seen[:4] == [0, 10_000, 20_000, 30_000]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(1, 120_000),
            st.sampled_from(["arrives", "breaks", "damaged", "wrong place", "restart"]),
        ),
        max_size=8,
    )
)
async def test_whatever_happens_to_its_pieces_a_file_comes_to_its_right_end(
    roomy: Street, steps: list[tuple[int, str]]
) -> None:
    uploads = roomy.hub.uploads
    token, cookie = await begins(roomy)
    offset = 0
    for size, event in steps:
        piece = FILM[offset : offset + size]
        crc32 = zlib.crc32(piece)
        if offset == len(FILM):
            break
        try:
            match event:
                case "arrives":
                    offset = (await uploads.append(token, cookie, offset, reader(piece), crc32=crc32)).offset
                case "breaks":
                    await uploads.append(token, cookie, offset, reader(piece, breaks=True))
                case "damaged":
                    await uploads.append(token, cookie, offset, reader(piece), crc32=crc32 ^ 1)
                case "wrong place":
                    await uploads.append(token, cookie, offset + size, reader(piece))
                case "restart":
                    for incoming in uploads._open.values():
                        incoming.close()
                    uploads._open.clear()
                    with (roomy.data / "uploads" / token).open("ab") as file:
                        file.write(b"what nobody was promised")
                    await uploads.recover()
        except Refused:
            pass
        standing = await uploads.standing(token, cookie)
        if event == "breaks":
            offset += len(piece)
        assert standing.offset == offset
        assert waiting(roomy)[token] == offset
    whole = await uploads.append(token, cookie, offset, reader(FILM[offset:]), complete=True)
    assert is_whole(whole, FILM)
    await uploads.cancel(token, cookie)


# --- after a restart ------------------------------------------------------------------------------


async def test_after_a_restart_the_same_upload_goes_on(open_street: OpenHub) -> None:
    async with open_street(**ROOMY) as street:
        token, cookie = await begins(street)
        await street.hub.uploads.append(token, cookie, 0, reader(FILM[:400_000]))
        with (street.data / "uploads" / token).open("ab") as file:
            file.write(b"written, and never promised")
    async with open_street(**ROOMY) as street:
        assert waiting(street) == {token: 400_000}
        whole = await street.hub.uploads.append(token, cookie, 400_000, reader(FILM[400_000:]))
        assert is_whole(whole, FILM)
    async with open_street(**ROOMY) as street:
        [taken] = await street.hub.uploads.take([token], cookie)
        assert taken.arrived.path.read_bytes() == FILM


async def test_a_restart_makes_rows_and_files_agree(open_street: OpenHub) -> None:
    async with open_street(**ROOMY) as street:
        tokens = [(await begins(street))[0] for _ in range(3)]
        for token in tokens:
            await street.hub.uploads.append(token, None, 0, reader(FILM[:5000]))
        folder = street.data / "uploads"
        (folder / tokens[0]).unlink()
        os.truncate(folder / tokens[1], 4999)
        (folder / "left by a form").write_bytes(b"x")
    async with open_street(**ROOMY) as street:
        assert waiting(street) == {tokens[2]: 5000}
        assert [row[0] for row in await street.table("upload")] == [tokens[2]]


async def test_many_uploads_at_once_stay_open_only_as_far_as_that_is_cheap(
    roomy: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "OPEN_FILES", 2)
    begun = [await begins(roomy) for _ in range(5)]
    for token, cookie in begun:
        await roomy.hub.uploads.append(token, cookie, 0, reader(FILM[:100]))
    assert len(roomy.hub.uploads._open) == 2
    for token, cookie in begun:
        assert is_whole(await roomy.hub.uploads.append(token, cookie, 100, reader(FILM[100:])), FILM)


async def test_uploads_that_stopped_are_told_and_given_up_in_time(roomy: Street) -> None:
    token, cookie = await begins(roomy)
    await roomy.hub.uploads.append(token, cookie, 0, reader(FILM[:5000]))
    assert await roomy.hub.uploads.stopped() == []
    roomy.clock.pass_time(hours=2)
    other, _ = await begins(roomy)
    [stopped] = await roomy.hub.uploads.stopped()
    assert (stopped.token, stopped.size) == (token, 5000)
    assert await roomy.hub.uploads.forget_stale(roomy.clock.pass_time(hours=47)) == 1
    assert waiting(roomy) == {other: 0}
    with pytest.raises(UploadGone):
        await roomy.hub.uploads.append(token, cookie, 5000, reader(FILM[5000:]))


# --- whose it is ----------------------------------------------------------------------------------


async def test_another_device_finds_nothing(roomy: Street) -> None:
    token, cookie = await begins(roomy)
    for stranger in ("f" * 32, "0" * 32):
        for ask in (
            roomy.hub.uploads.standing(token, stranger),
            roomy.hub.uploads.append(token, stranger, 0, reader(FILM)),
            roomy.hub.uploads.cancel(token, stranger),
            roomy.hub.uploads.take([token], stranger),
        ):
            with pytest.raises(UploadGone):
                await ask
    for whoever_knows in (cookie, None):
        assert (await roomy.hub.uploads.standing(token, whoever_knows)).offset == 0


@pytest.mark.parametrize("token", ["", ".", "..", "../hub.db", "0" * 32, "\0", "x" * 5000, "é"])
async def test_no_token_leads_anywhere_else(roomy: Street, token: str) -> None:
    for ask in (
        roomy.hub.uploads.standing(token, None),
        roomy.hub.uploads.append(token, None, 0, reader(b"x")),
        roomy.hub.uploads.cancel(token, None),
        roomy.hub.uploads.take([token], None),
    ):
        with pytest.raises(UploadGone):
            await ask


async def test_who_may_not_write_may_not_begin(roomy: Street) -> None:
    ann = roomy.person("ann")
    await ann.puts_up()
    hour_ms = roomy.clock.ms + 3_600_000
    await roomy.hub.caretaking.pause_device(await ann.mark(), hour_ms, RULE, "gwen")
    with pytest.raises(DevicePaused):
        await roomy.hub.uploads.begin(ann.cookie, "film.mp4", 1)
    await roomy.setting("board.posting", "paused")
    with pytest.raises(PostingPaused):
        await begins(roomy)
    assert waiting(roomy) == {}


async def test_many_new_devices_at_once_are_told_to_wait(open_street: OpenHub) -> None:
    async with open_street(**ROOMY, limits__new_devices="2") as street:
        await begins(street)
        await begins(street)
        with pytest.raises(TryLater):
            await begins(street)
        assert len(waiting(street)) == 2


# --- how much -------------------------------------------------------------------------------------


async def test_a_file_over_the_limit_is_refused_before_it_comes(open_street: OpenHub) -> None:
    async with open_street(**ROOMY, files__largest_megabytes="1") as street:
        with pytest.raises(FileTooLarge):
            await begins(street, 2 * MB)
        assert waiting(street) == {}


async def test_a_device_may_bring_so_many_bytes_a_day_what_is_on_its_way_included(
    open_street: OpenHub,
) -> None:
    async with open_street(**ROOMY, files__device_megabytes="2") as street:
        uploads = street.hub.uploads
        token, cookie = await begins(street, MB)
        with pytest.raises(EnoughBytesToday) as refusal:
            await uploads.begin(cookie, "more.mp4", 2 * MB)
        assert refusal.value.fields["megabytes"] in (0, 1)
        assert 0 < refusal.value.seconds <= 86_400
        with pytest.raises(EnoughBytesToday):
            await uploads.expect(cookie, 2 * MB)
        await uploads.cancel(token, cookie)
        await uploads.begin(cookie, "more.mp4", 2 * MB)


async def test_a_device_may_bring_so_many_files_a_day(open_street: OpenHub) -> None:
    async with open_street(**ROOMY, files__device_files="2") as street:
        begun = await street.hub.uploads.begin(None, "one", 1)
        await street.hub.uploads.begin(begun.cookie, "two", 1)
        with pytest.raises(EnoughFilesToday):
            await street.hub.uploads.begin(begun.cookie, "three", 1)
        assert len(waiting(street)) == 2


async def test_what_was_put_up_counts_once_and_until_midnight(open_street: OpenHub) -> None:
    async with open_street(**ROOMY, files__device_megabytes="1") as street:
        shelf, ann = await street.shelf(), street.person("ann")
        begun = await street.hub.uploads.begin(None, "film.mp4", len(FILM))
        ann.cookie = begun.cookie
        await street.hub.uploads.append(begun.upload.token, ann.cookie, 0, reader(FILM))
        [taken] = await street.hub.uploads.take([begun.upload.token], ann.cookie)
        arrival = Arrival(taken.name, taken.arrived, token=taken.token)
        await street.hub.share.put_up(shelf.public_id, TypedFiles(), [arrival], ann.asker(), "key", "en")
        assert await street.lies_in(shelf) == ["film.mp4"]
        assert waiting(street) == {}
        assert await street.table("upload") == []
        with pytest.raises(EnoughBytesToday):
            await street.hub.uploads.begin(ann.cookie, "again.mp4", len(FILM))
        street.clock.pass_time(days=1)
        await street.hub.uploads.begin(ann.cookie, "again.mp4", len(FILM))
        await street.hub.uploads.forget_stale(street.clock.ms)
        assert await street.table("brought") == []


# --- a card in trouble ----------------------------------------------------------------------------


async def test_a_card_at_its_reserve_takes_no_upload(open_street: OpenHub) -> None:
    async with open_street(storage__reserve_percent="90", storage__reserve_megabytes="100000000") as street:
        with pytest.raises(NoRoom):
            await begins(street)
        with pytest.raises(NoRoom):
            await street.hub.uploads.receive(in_pieces(FILM))
        with pytest.raises(NoRoom):
            await street.hub.uploads.expect(None, 1)
        assert waiting(street) == {}
        assert await asyncio.to_thread(street.hub.uploads.room_on_card) == 0


async def test_an_upload_stops_where_the_reserve_begins_and_goes_on_when_there_is_room(
    roomy: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, cookie = await begins(roomy)
    uploads = roomy.hub.uploads
    await uploads.append(token, cookie, 0, reader(FILM[:1000]))
    monkeypatch.setattr(service, "BATCH", 50_000)
    monkeypatch.setattr(service, "_SMALLEST_BATCH", 50_000)
    asked = 0

    def until_full(size: int = 0) -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise NoRoom

    with monkeypatch.context() as card:
        card.setattr(uploads, "require_room", until_full)
        with pytest.raises(NoRoom):
            await uploads.append(token, cookie, 1000, reader(FILM[1000:]))
    assert waiting(roomy) == {token: 1000}
    assert is_whole(await uploads.append(token, cookie, 1000, reader(FILM[1000:])), FILM)


async def test_what_no_row_could_be_written_for_is_taken_back(
    roomy: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, cookie = await begins(roomy)

    async def full(work: object) -> None:
        raise NoRoom

    with monkeypatch.context() as card:
        card.setattr(roomy.hub.database, "note", full)
        with pytest.raises(NoRoom):
            await roomy.hub.uploads.append(token, cookie, 0, reader(FILM[:1000]))
    assert waiting(roomy) == {token: 0}
    assert is_whole(await roomy.hub.uploads.append(token, cookie, 0, reader(FILM)), FILM)


async def test_what_could_not_be_synced_is_not_trusted_again(
    roomy: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, cookie = await begins(roomy)
    await roomy.hub.uploads.append(token, cookie, 0, reader(FILM[:1000]))

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "the card is failing")

    with monkeypatch.context() as card:
        card.setattr(os, "fdatasync", fail)
        with pytest.raises(NoRoom):
            await roomy.hub.uploads.append(token, cookie, 1000, reader(FILM[1000:2000]))
    with pytest.raises(UploadGone):
        await roomy.hub.uploads.standing(token, cookie)
    assert waiting(roomy) == {}


# --- in one go ------------------------------------------------------------------------------------


async def test_a_file_that_comes_in_one_go_is_hashed_on_its_way(roomy: Street) -> None:
    arrived = await roomy.hub.uploads.receive(in_pieces(FILM), len(FILM))
    assert arrived.ref.sha256 == hashlib.sha256(FILM).hexdigest()
    assert arrived.path.read_bytes() == FILM
    assert list(waiting(roomy)) == [arrived.path.name]


@pytest.mark.parametrize("length", [len(FILM) - 1, len(FILM) + 1])
async def test_one_that_ends_too_soon_or_too_late_leaves_nothing(roomy: Street, length: int) -> None:
    with pytest.raises(LengthDiffers):
        await roomy.hub.uploads.receive(in_pieces(FILM), length)
    assert waiting(roomy) == {}


async def test_one_that_is_discarded_in_the_middle_of_a_write_leaves_nothing(
    roomy: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH", 1000)
    monkeypatch.setattr(service, "_SMALLEST_BATCH", 1000)
    for _ in range(10):
        receiving = roomy.hub.uploads.new_file()
        await receiving.write(FILM)
        await receiving.discard()
    assert waiting(roomy) == {}


async def test_a_crowd_gets_smaller_batches(roomy: Street) -> None:
    alone = roomy.hub.uploads.batch()
    crowd = [roomy.hub.uploads.new_file() for _ in range(200)]
    assert alone == service.BATCH
    assert roomy.hub.uploads.batch() * 4 * len(crowd) < 64 * MB
