"""Files and archives as browsers and download managers ask for them, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import random
import subprocess
import time
import zipfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from hub.domain.errors import NotFound
from hub.domain.policy import Gone
from hub.runtime.content import Content
from hub.web import downloads
from hub.web.downloads import SMALL, WINDOW, Archive, FileBytes
from tests.integration.web.shelf import NOW_MS, Client, Connect, Shelf, serving
from tests.needs import program

LARGE = 5 * WINDOW + 12_345
KINDS = pytest.mark.parametrize("size", [1, 10_000, SMALL, SMALL + 1, LARGE])


def some_bytes(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    """A shelf with nothing on it yet."""
    async with serving(tmp_path) as open_shelf:
        yield open_shelf


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open connections; closed afterwards."""
    clients: list[Client] = []

    async def one(port: int, room: int = 0) -> Client:
        client = await Client.connect(port, room)
        clients.append(client)
        return client

    yield one
    for client in clients:
        client.close()
    await asyncio.sleep(0)


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not looked at


async def none_left(before: int) -> None:
    """Wait until there are no more descriptors than ``before``."""
    deadline = time.monotonic() + 3
    while await asyncio.to_thread(descriptors) > before:
        assert time.monotonic() < deadline, "descriptors were left open"
        await asyncio.sleep(0.02)


@KINDS
async def test_a_file_comes_whole_with_its_length_type_name_and_tag(
    shelf: Shelf, connect: Connect, size: int
) -> None:
    data = some_bytes(size)
    file = shelf.file("/files/7k3q/Cân yr haf.mp3", data)
    client = await connect(shelf.port)
    for _ in range(3):
        reply = await client.get("/files/7k3q/C%C3%A2n%20yr%20haf.mp3", Accept_Encoding="gzip, deflate")
        assert reply.status == 200
        assert reply.body == data
        assert reply.fields["content-length"] == str(size)
        assert reply.fields["content-type"] == "audio/mpeg"
        assert reply.fields["etag"] == f'"{file.sha256}"'
        assert reply.fields["accept-ranges"] == "bytes"
        assert reply.fields["cache-control"] == "no-cache"
        assert reply.fields["x-content-type-options"] == "nosniff"
        assert "content-encoding" not in reply.fields
        assert "last-modified" not in reply.fields
        assert reply.fields["content-disposition"] == (
            "inline; filename=\"Can yr haf.mp3\"; filename*=UTF-8''C%C3%A2n%20yr%20haf.mp3"
        )


async def test_an_empty_file_is_a_file(shelf: Shelf, connect: Connect) -> None:
    shelf.file("/a.txt", b"")
    client = await connect(shelf.port)
    for fields in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=-5"}):
        reply = await client.get("/a.txt", **fields)
        assert (reply.status, reply.body, reply.fields["content-length"]) == (200, b"", "0")


@KINDS
async def test_head_tells_what_get_would_and_sends_nothing(shelf: Shelf, connect: Connect, size: int) -> None:
    shelf.file("/a.mp4", some_bytes(size))
    client = await connect(shelf.port)
    for _ in range(2):
        told = await client.get("/a.mp4", "HEAD", Range="bytes=0-0")
        got = await client.get("/a.mp4")
        assert told.status == got.status == 200
        date = {"date": ""}
        assert {**told.fields, **date} == {**got.fields, **date}


@KINDS
async def test_a_part_comes_with_its_place(shelf: Shelf, connect: Connect, size: int) -> None:
    data = some_bytes(size)
    shelf.file("/a.mp4", data)
    client = await connect(shelf.port)
    for range_, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, size - 1),
        (f"bytes={size // 2}-", size // 2, size - 1),
        (f"bytes={size // 3}-{size // 2}", size // 3, size // 2),
        ("bytes=0-99999999999999999999", 0, size - 1),
        ("bytes=-1", size - 1, size - 1),
        ("bytes=-99999999999999999999", 0, size - 1),
        ("BYTES=0-0", 0, 0),
        ("bytes= 0-0 ", 0, 0),
    ):
        reply = await client.get("/a.mp4", Range=range_)
        assert reply.status == 206, range_
        assert reply.fields["content-range"] == f"bytes {first}-{last}/{size}"
        assert reply.body == data[first : last + 1]
        assert reply.fields["content-type"] == "video/mp4"
        assert "etag" in reply.fields


@KINDS
async def test_a_range_that_cannot_be_read_and_several_get_the_whole(
    shelf: Shelf, connect: Connect, size: int
) -> None:
    shelf.file("/a.mp4", some_bytes(size))
    client = await connect(shelf.port)
    for range_ in (
        "bytes=5-2", "bytes=", "bytes", "bytes=a-b", "bytes=--1", "bytes=-", "lines=0-0", "bytes=0-0,0-0",
        "bytes=0-0, -1", "bytes=0x0-1", "bytes=\u0660-\u0660", "bytes=" + "9" * 3000 + "-",
        "0-0", "bytes=1 - 2",
    ):  # fmt: skip
        client.writer.write(f"GET /a.mp4 HTTP/1.1\r\nHost: hub.local\r\nRange: {range_}\r\n\r\n".encode())
        status, fields = await client.head()
        assert (status, fields["content-length"]) == (200, str(size)), range_
        await client.reader.readexactly(size)


@KINDS
async def test_a_range_past_the_end_is_told_the_length(shelf: Shelf, connect: Connect, size: int) -> None:
    shelf.file("/a.mp4", some_bytes(size))
    client = await connect(shelf.port)
    for range_ in (f"bytes={size}-", f"bytes={size}-{size + 9}", "bytes=-0", "bytes=999999999999-"):
        reply = await client.get("/a.mp4", Range=range_)
        assert (reply.status, reply.body) == (416, b"")
        assert reply.fields["content-range"] == f"bytes */{size}"


@KINDS
async def test_a_download_goes_on_only_where_it_is_the_same_version(
    shelf: Shelf, connect: Connect, size: int
) -> None:
    data = some_bytes(size)
    tag = f'"{shelf.file("/a.mp4", data).sha256}"'
    client = await connect(shelf.port)
    for _ in range(2):
        reply = await client.get("/a.mp4", Range="bytes=0-0", If_Range=tag)
        assert (reply.status, reply.body) == (206, data[:1])
        for stale in (
            '"another"',
            f"W/{tag}",
            tag[1:-1],
            tag.upper().replace('"', ""),
            f"{tag}, {tag}",
            "*",
            "Sun, 22 Nov 2026 09:41:00 GMT",
            "Fri, 31 Dec 2100 23:59:59 GMT",
            "",
        ):
            reply = await client.get("/a.mp4", Range="bytes=0-0", If_Range=stale)
            assert (reply.status, reply.body) == (200, data), stale
    other = some_bytes(size, seed=8)
    shelf.file("/a.mp4", other)
    shelf.site.something_was_written()
    reply = await client.get("/a.mp4", Range=f"bytes={size // 2}-", If_Range=tag)
    assert (reply.status, reply.body) == (200, other)


@KINDS
async def test_who_has_a_file_is_not_sent_it_again(shelf: Shelf, connect: Connect, size: int) -> None:
    tag = f'"{shelf.file("/a.mp4", some_bytes(size)).sha256}"'
    client = await connect(shelf.port)
    for _ in range(2):
        for field in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            for method in ("GET", "HEAD"):
                reply = await client.get("/a.mp4", method, If_None_Match=field, Range="bytes=0-0")
                assert (reply.status, reply.fields["etag"]) == (304, tag)
                assert reply.fields["cache-control"] == "no-cache"
                assert "content-length" not in reply.fields
        for field in ('"x"', tag[1:-1], '""', tag[:-2] + '"'):
            assert (await client.get("/a.mp4", If_None_Match=field)).status == 200
        assert (await client.get("/a.mp4", If_Match='"x"')).status == 412
        assert (await client.get("/a.mp4", If_Match=f"W/{tag}")).status == 412
        assert (await client.get("/a.mp4", If_Match=f'"x", {tag}')).status == 200
        assert (await client.get("/a.mp4", If_Match="*")).status == 200


async def test_small_files_are_sent_from_memory_until_something_is_written(
    shelf: Shelf, connect: Connect
) -> None:
    data = some_bytes(10_000)
    file = shelf.file("/a.jpg", data)
    client = await connect(shelf.port)
    for _ in range(5):
        assert (await client.get("/a.jpg")).body == data
        assert (await client.get("/a.jpg", Range="bytes=5-9")).body == data[5:10]
        assert (await client.get("/a.jpg", If_None_Match=f'"{file.sha256}"')).status == 304
    assert shelf.asked == ["/a.jpg"]
    assert (await client.get("/a.jpg", "HEAD")).status == 200
    for after in (Gone(), NotFound()):
        shelf.answers["/a.jpg"] = after
        shelf.site.something_was_written()
        for fields in ({}, {"Range": "bytes=0-0"}, {"If_None_Match": f'"{file.sha256}"'}):
            assert (await client.get("/a.jpg", **fields)).status == after.status


async def test_what_only_its_owner_may_see_is_not_kept(shelf: Shelf, connect: Connect) -> None:
    shelf.file("/a.jpg", b"waits for a caretaker", keep=False)
    client = await connect(shelf.port)
    device = f"device={'0123456789abcdef' * 2}"
    reply = await client.get("/a.jpg", Cookie=device)
    assert (reply.status, reply.fields["cache-control"]) == (200, "no-store")
    shelf.answers["/a.jpg"] = NotFound()
    assert (await client.get("/a.jpg")).status == 404
    shelf.file("/b.jpg", b"mine looks different", shared=False)
    assert (await client.get("/b.jpg", Cookie=device)).status == 200
    shelf.answers["/b.jpg"] = NotFound()
    assert (await client.get("/b.jpg")).status == 404


async def test_a_file_that_ends_is_not_sent_from_memory_after_it_did(shelf: Shelf, connect: Connect) -> None:
    shelf.file("/a.jpg", b"until now", until_ms=NOW_MS)
    client = await connect(shelf.port)
    for _ in range(2):
        assert (await client.get("/a.jpg")).status == 200
    assert len(shelf.asked) == 2


async def test_an_answer_made_while_something_is_written_is_not_kept(
    shelf: Shelf, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.file("/a.jpg", b"about to be hidden")
    load = downloads._load

    def hide_meanwhile(file: FileBytes) -> downloads.Loaded:
        loaded = load(file)
        shelf.answers["/a.jpg"] = NotFound()
        shelf.site.something_was_written()
        return loaded

    monkeypatch.setattr(downloads, "_load", hide_meanwhile)
    client = await connect(shelf.port)
    assert (await client.get("/a.jpg")).status == 200
    assert (await client.get("/a.jpg")).status == 404


@pytest.mark.parametrize("size", [100, LARGE])
@pytest.mark.parametrize("after", [NotFound(), Gone(), None])
async def test_a_file_that_went_after_it_was_looked_up_is_a_page_in_words(
    shelf: Shelf, connect: Connect, size: int, after: NotFound | Gone | None
) -> None:
    file = shelf.file("/a.mp4", some_bytes(size))
    await asyncio.to_thread(file.path.unlink)
    if after is not None:
        shelf.later["/a.mp4"] = after
    client = await connect(shelf.port)
    reply = await client.get("/a.mp4")
    assert reply.status == (after.status if after else 404)
    assert len(shelf.asked) == 2
    assert shelf.site.counts.faults == 0
    shelf.html("/b", "still here")
    assert (await client.get("/b")).status == 200


@pytest.mark.parametrize("size", [100, LARGE])
@pytest.mark.parametrize("change", [-1, 1])
async def test_a_file_of_another_length_than_its_row_says_is_not_sent(
    shelf: Shelf, connect: Connect, size: int, change: int
) -> None:
    file = shelf.file("/a.mp4", some_bytes(size))
    shelf.answers["/a.mp4"] = replace(file, size=size + change)
    client = await connect(shelf.port)
    reply = await client.get("/a.mp4")
    assert reply.status == 500
    assert b"damaged" in reply.body
    assert shelf.site.counts.faults == 0


async def test_a_file_that_gets_shorter_while_it_is_sent_ends_the_connection(
    shelf: Shelf, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    size = 40 * WINDOW
    file = shelf.file("/a.mp4", bytes(size))
    before = await asyncio.to_thread(descriptors)
    client = await connect(shelf.port, room=4096)
    client.ask("/a.mp4")
    status, fields = await client.head()
    assert (status, fields["content-length"]) == (200, str(size))
    await asyncio.to_thread(os.truncate, file.path, size // 2)
    assert await client.rest() < size
    client.close()
    await none_left(before)
    assert shelf.server.counts.faults == 0
    assert not caplog.records


async def test_a_file_that_is_erased_while_it_is_sent_is_not_sent_on(shelf: Shelf, connect: Connect) -> None:
    size = 40 * WINDOW
    file = shelf.file("/a.mp4", bytes(size))
    client = await connect(shelf.port, room=4096)
    client.ask("/a.mp4")
    await client.head()
    await asyncio.to_thread(file.path.unlink)
    assert await client.rest() < size - WINDOW


async def test_pages_and_files_follow_one_another_on_a_connection(shelf: Shelf, connect: Connect) -> None:
    large, small = some_bytes(LARGE), some_bytes(900)
    shelf.file("/large.mp4", large)
    shelf.file("/small.mp4", small)
    shelf.html("/page", "<p>words</p>")
    client = await connect(shelf.port)
    paths = ["/large.mp4", "/page", "/small.mp4", "/large.mp4", "/large.mp4", "/page"] * 3
    for path in paths:
        client.ask(path)
    for path in paths:
        status, fields = await client.head()
        body = await client.reader.readexactly(int(fields["content-length"]))
        assert status == 200
        assert body == {"/large.mp4": large, "/page": b"<p>words</p>", "/small.mp4": small}[path]


async def test_a_file_waits_its_turn_behind_an_answer_that_is_not_read_yet(
    shelf: Shelf, connect: Connect
) -> None:
    large = some_bytes(LARGE)
    shelf.file("/large.mp4", large)
    words = b"w" * 3_000_000
    shelf.answers["/page"] = Content(words, "image/png", keep=False)
    client = await connect(shelf.port, room=4096)
    client.ask("/page")
    client.ask("/large.mp4")
    await asyncio.sleep(0.2)
    for body in (words, large):
        status, fields = await client.head()
        assert status == 200
        assert await client.reader.readexactly(int(fields["content-length"])) == body


async def test_many_downloads_at_once_all_come_right(shelf: Shelf, connect: Connect) -> None:
    data = some_bytes(LARGE)
    shelf.file("/a.mp4", data)
    before = await asyncio.to_thread(descriptors)

    async def download(number: int) -> None:
        client = await connect(shelf.port)
        start = number * 1000
        reply = await client.get("/a.mp4", Range=f"bytes={start}-")
        assert reply.body == data[start:]
        client.close()

    await asyncio.gather(*(download(number) for number in range(40)))
    await none_left(before)


async def test_a_client_that_stops_reading_is_cut_and_leaves_nothing_open(
    shelf: Shelf, connect: Connect, tmp_path: Path
) -> None:
    async with serving(tmp_path, answer_window_s=0.4) as strict:
        strict.file("/a.mp4", bytes(40 * WINDOW))
        strict.html("/page", "words")
        before = await asyncio.to_thread(descriptors)
        clients = [await connect(strict.port, room=4096) for _ in range(5)]
        for client in clients:
            client.ask("/a.mp4")
            await client.head()
        deadline = time.monotonic() + 5
        while strict.server.counts.stalled_answers < 5:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        for client in clients:
            assert await client.rest() < 40 * WINDOW
            client.close()
        await none_left(before)
        newcomer = await connect(strict.port)  # whose descriptors are those that were just let go
        for _ in range(3):
            assert (await newcomer.get("/page")).body == b"words"
            assert len((await newcomer.get("/a.mp4")).body) == 40 * WINDOW
        assert strict.server.counts.faults == 0


async def test_a_client_that_reads_slowly_but_steadily_is_not_cut(tmp_path: Path, connect: Connect) -> None:
    async with serving(tmp_path, answer_window_s=0.3) as strict:
        strict.file("/a.mp4", bytes(6 * WINDOW))
        client = await connect(strict.port, room=4096)
        client.ask("/a.mp4")
        await client.head()
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            assert await client.reader.read(4096)
            await asyncio.sleep(0.02)
        assert strict.server.counts.stalled_answers == 0


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_client_that_goes_away_leaves_nothing_behind(
    shelf: Shelf, connect: Connect, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.file("/a.mp4", bytes(40 * WINDOW))
    before = await asyncio.to_thread(descriptors)
    for _ in range(20):
        client = await connect(shelf.port, room=4096)
        client.ask("/a.mp4")
        await client.head()
        if way == "reset":
            client.close()
        else:
            client.writer.close()
            with suppress(ConnectionError):
                await client.writer.wait_closed()
    await none_left(before)
    assert shelf.server.counts.faults == 0
    gc.collect()
    assert not caplog.records


async def test_stopping_lets_a_short_download_finish_and_cuts_a_long_one(
    tmp_path: Path, connect: Connect
) -> None:
    data = some_bytes(LARGE)
    async with serving(tmp_path) as closing:
        closing.file("/a.mp4", data)
        closing.file("/long.mp4", bytes(40 * WINDOW))
        before = await asyncio.to_thread(descriptors)
        quick, slow = await connect(closing.port, room=4096), await connect(closing.port, room=4096)
        quick.ask("/a.mp4")
        slow.ask("/long.mp4")
        await quick.head()
        await slow.head()
        started = time.monotonic()
        stopping = asyncio.ensure_future(closing.server.stop(1.0))
        assert await quick.reader.readexactly(LARGE) == data
        await stopping
        assert time.monotonic() - started < 1.6
        assert await slow.rest() < 40 * WINDOW
        assert closing.server.counts.faults == 0
        quick.close()
        slow.close()
        await none_left(before)


async def test_bytes_that_are_not_in_memory_are_read_in_a_thread(
    shelf: Shelf, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_bytes(LARGE)
    shelf.file("/a.mp4", data)
    threads: list[bool] = []
    read_ahead = downloads._read_ahead

    def seen(file: int, offset: int, length: int) -> None:
        try:
            asyncio.get_running_loop()
            threads.append(False)
        except RuntimeError:
            threads.append(True)
        read_ahead(file, offset, length)

    monkeypatch.setattr(downloads, "_read_ahead", seen)
    monkeypatch.setattr(downloads, "_in_memory", lambda *_: False)
    client = await connect(shelf.port)
    assert (await client.get("/a.mp4")).body == data
    assert len(threads) == 6
    assert all(threads)


async def test_the_kernel_tells_whether_bytes_are_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def told() -> list[bool]:
        path.write_bytes(bytes(4 * WINDOW))
        file = os.open(path, os.O_RDONLY)
        try:
            for _ in range(50):  # the kernel forgets what it is not at work on just now
                os.fsync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                answers = [downloads._in_memory(file, 0, WINDOW)]
                downloads._read_ahead(file, 0, WINDOW)
                answers.append(downloads._in_memory(file, 0, WINDOW))
                if answers == [False, True]:
                    break
                time.sleep(0.05)
            return answers
        finally:
            os.close(file)

    assert await asyncio.to_thread(told) == [False, True]


MEMBERS = {
    "Cofnodion Tŷ’r Ysgol.txt": b"Croeso i bawb.\n",
    "جدول.pdf": some_bytes(200_000, 1),
    "empty.txt": b"",
    "film.mp4": some_bytes(3 * WINDOW + 5, 2),
    **{f"{number}.jpg": some_bytes(300 * number, number) for number in range(100)},
    "last.mp4": some_bytes(SMALL + 1, 3),
}


async def test_a_collection_comes_as_an_archive_of_known_length(
    shelf: Shelf, connect: Connect, tmp_path: Path
) -> None:
    unzip = program("unzip", "unzip")
    shelf.archive("/all.zip", MEMBERS, "Côr y Cwm.zip")
    client = await connect(shelf.port)
    told = await client.get("/all.zip", "HEAD")
    reply = await client.get("/all.zip", Accept_Encoding="gzip")
    assert told.status == reply.status == 200
    assert told.fields["content-length"] == reply.fields["content-length"] == str(len(reply.body))
    assert reply.fields["content-type"] == "application/zip"
    assert reply.fields["content-disposition"] == (
        "attachment; filename=\"Cor y Cwm.zip\"; filename*=UTF-8''C%C3%B4r%20y%20Cwm.zip"
    )
    assert reply.fields["content-security-policy"] == "sandbox; default-src 'none'"
    with zipfile.ZipFile(io.BytesIO(reply.body)) as opened:
        assert {info.filename: opened.read(info) for info in opened.infolist()} == MEMBERS

    def unzipped() -> str:
        path = tmp_path / "a.zip"
        path.write_bytes(reply.body)
        return subprocess.run([unzip, "-t", path], capture_output=True, text=True).stdout

    assert "No errors detected" in await asyncio.to_thread(unzipped)


async def test_an_archive_goes_on_where_it_was_cut_off_unless_it_changed(
    shelf: Shelf, connect: Connect
) -> None:
    shelf.archive("/all.zip", MEMBERS)
    client = await connect(shelf.port)
    whole = await client.get("/all.zip")
    tag, size = whole.fields["etag"], len(whole.body)
    chance = random.Random(3)
    for at in [0, 1, 29, 30, size // 2, size - 1, *(chance.randrange(size) for _ in range(20))]:
        reply = await client.get("/all.zip", Range=f"bytes={at}-", If_Range=tag)
        assert reply.status == 206
        assert reply.fields["content-range"] == f"bytes {at}-{size - 1}/{size}"
        assert reply.body == whole.body[at:]
        end = min(at + chance.randrange(1, 100_000), size) - 1
        assert (await client.get("/all.zip", Range=f"bytes={at}-{end}")).body == whole.body[at : end + 1]
    assert (await client.get("/all.zip", If_None_Match=tag)).status == 304
    assert (await client.get("/all.zip", Range=f"bytes={size}-")).status == 416
    changed = {**MEMBERS, "film.mp4": some_bytes(3 * WINDOW + 5, 4)}
    shelf.archive("/all.zip", changed)
    reply = await client.get("/all.zip", Range="bytes=10-", If_Range=tag)
    assert (reply.status, len(reply.body)) == (200, size)


async def test_the_tag_of_an_archive_is_of_its_bytes_and_not_of_their_sums(
    shelf: Shelf, connect: Connect
) -> None:
    client = await connect(shelf.port)
    one = shelf.archive("/one.zip", {"a": b"plumless"})
    two = shelf.archive("/two.zip", {"a": b"buckeroo"})  # two words of one CRC-32
    assert one.files[0].crc32 == two.files[0].crc32
    tags = {(await client.get(path)).fields["etag"] for path in ("/one.zip", "/two.zip")}
    assert len(tags) == 2


async def test_an_empty_collection_is_an_empty_archive(shelf: Shelf, connect: Connect) -> None:
    shelf.archive("/all.zip", {})
    client = await connect(shelf.port)
    reply = await client.get("/all.zip")
    with zipfile.ZipFile(io.BytesIO(reply.body)) as opened:
        assert opened.namelist() == []


async def test_an_archive_without_one_of_its_files_is_not_begun(shelf: Shelf, connect: Connect) -> None:
    archive = shelf.archive("/all.zip", MEMBERS)
    await asyncio.to_thread(archive.files[-1].path.unlink)
    client = await connect(shelf.port)
    assert (await client.get("/all.zip")).status == 404
    damaged = tuple(replace(each, size=each.size + 1) for each in archive.files[:1])
    shelf.answers["/all.zip"] = Archive(damaged, "all.zip", archive.zone)
    assert (await client.get("/all.zip")).status == 500
    assert shelf.site.counts.faults == 0


async def test_an_archive_whose_file_goes_while_it_is_sent_ends_the_connection(
    shelf: Shelf, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    archive = shelf.archive("/all.zip", {f"{n}.mp4": some_bytes(4 * WINDOW, n) for n in range(5)})
    before = await asyncio.to_thread(descriptors)
    client = await connect(shelf.port, room=4096)
    client.ask("/all.zip")
    _, fields = await client.head()
    await asyncio.to_thread(archive.files[-1].path.unlink)
    assert await client.rest() < int(fields["content-length"])
    client.close()
    await none_left(before)
    assert shelf.server.counts.faults == 0
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_place_past_four_gibibytes_is_found(shelf: Shelf, connect: Connect) -> None:
    size = 4 * 1024**3 + 100_000
    tail = b"the very end"
    path = shelf.folder / "sparse"

    def make() -> None:
        with path.open("wb") as file:
            file.truncate(size - len(tail))
            file.seek(0, os.SEEK_END)
            file.write(tail)

    await asyncio.to_thread(make)
    file = shelf.file("/a.mp4", b"x")
    shelf.answers["/a.mp4"] = replace(file, path=path, size=size)
    packed = downloads.Packed(path, size, "0" * 64, 0, "a.mp4", NOW_MS)
    shelf.answers["/all.zip"] = Archive((packed, replace(packed, name="b.mp4")), "all.zip", UTC)
    client = await connect(shelf.port)
    reply = await client.get("/a.mp4", Range="bytes=-12")
    assert (reply.status, reply.body) == (206, tail)
    assert reply.fields["content-range"] == f"bytes {size - 12}-{size - 1}/{size}"
    whole = int((await client.get("/all.zip", "HEAD")).fields["content-length"])
    assert whole > 2 * size
    reply = await client.get("/all.zip", Range="bytes=-3000")
    with zipfile.ZipFile(io.BytesIO(bytes(1000) + reply.body)) as directory:
        assert [info.file_size for info in directory.infolist()] == [size, size]
