"""Forms posted over real connections: uploads to disk, answers while a client still sends, slow clients."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from hub.web.connections import ConnectionLimits, GuardedServer
from hub.web.forms import FormError, FormLimits, Staging, read_form

PARTS = b"multipart/form-data; boundary=frontier"
PAIRS = b"application/x-www-form-urlencoded"
TITLE = b'--frontier\r\nContent-Disposition: form-data; name="title"\r\n\r\nSofa\r\n'
PICTURE = b'--frontier\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
END = b"\r\n--frontier--\r\n"

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Start = Callable[[FormLimits], Awaitable[Client]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a server that reads forms with the limits given and tells what it found; a connection to it."""
    servers: list[GuardedServer] = []
    writers: list[asyncio.StreamWriter] = []
    names = itertools.count(1)
    staging = Staging(tmp_path, lambda: str(next(names)))

    async def begin(limits: FormLimits) -> Client:
        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            try:
                async with await read_form(request, limits, staging) as form:
                    files = [await asyncio.to_thread(digest, file.path) for file in form.files]
                    return web.json_response({"texts": form.texts, "files": files})
            except FormError as error:
                return web.json_response({"texts": error.form.texts}, status=error.status)

        guard = ConnectionLimits(body_window_s=0.3, look_s=0.05, linger_s=0.5)
        server = GuardedServer(handler, guard)
        bound = socket.create_server(("127.0.0.1", 0))
        await server.listen(bound)
        servers.append(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", bound.getsockname()[1])
        writers.append(writer)
        return reader, writer

    yield begin
    for writer in writers:
        writer.transport.abort()
    for server in servers:
        await server.stop(0.1)
        assert server.counts.faults == 0
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def post(kind: bytes, *fields: bytes, length: int | None = None) -> bytes:
    lines = [b"POST / HTTP/1.1", b"Host: h", b"Content-Type: " + kind, *fields]
    if length is not None:
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
    return int(head.split()[1]), (await reader.readexactly(length)).decode()


async def test_an_upload_goes_to_disk_and_not_into_memory(start: Start) -> None:
    reader, writer = await start(FormLimits())
    piece = bytes(range(256)) * 256
    pieces = 200
    head, sent = TITLE + PICTURE, hashlib.sha256()
    tracemalloc.start()
    try:
        writer.write(post(PARTS, length=len(head) + pieces * len(piece) + len(END)) + head)
        for _ in range(pieces):
            writer.write(piece)
            sent.update(piece)
            await writer.drain()
        writer.write(END)
        status, told = await answer(reader)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == 200
    assert sent.hexdigest() in told
    # The digest of this test's handler reads the file whole once.
    assert peak < pieces * len(piece) + 4_000_000


async def test_chunks_carry_a_form_too(start: Start) -> None:
    reader, writer = await start(FormLimits())
    writer.write(post(PAIRS, b"Transfer-Encoding: chunked") + b"7\r\ntitle=S\r\n3\r\nofa\r\n0\r\n\r\n")
    assert await answer(reader) == (200, '{"texts": {"title": ["Sofa"]}, "files": []}')


async def test_a_client_that_asks_first_is_told_to_go_on(start: Start) -> None:
    reader, writer = await start(FormLimits())
    writer.write(post(PAIRS, b"Expect: 100-continue", length=10))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"title=Sofa")
    assert (await answer(reader))[0] == 200


async def test_a_client_that_asks_first_is_told_at_once_that_it_is_too_much(start: Start) -> None:
    reader, writer = await start(FormLimits(body=1000))
    writer.write(post(PARTS, b"Expect: 100-continue", length=10**9))
    assert (await answer(reader))[0] == 413


async def test_a_browser_that_sends_too_much_can_send_it_all_and_read_the_answer(start: Start) -> None:
    reader, writer = await start(FormLimits(body=100_000, file=50_000, drain=20_000_000))
    rest = bytes(10_000_000) + END
    writer.write(post(PARTS, length=len(TITLE + PICTURE + rest)) + TITLE + PICTURE + rest)
    await writer.drain()
    assert await answer(reader) == (413, '{"texts": {"title": ["Sofa"]}}')


async def test_a_connection_goes_on_after_a_refused_form(start: Start) -> None:
    reader, writer = await start(FormLimits(file=50_000))
    rest = bytes(1_000_000) + END
    writer.write(post(PARTS, length=len(TITLE + PICTURE + rest)) + TITLE + PICTURE + rest)
    assert (await answer(reader))[0] == 413
    writer.write(post(PAIRS, length=10) + b"title=Sofa")
    assert (await answer(reader))[0] == 200


async def test_a_form_that_stops_coming_is_answered_with_its_text(start: Start) -> None:
    reader, writer = await start(FormLimits())
    writer.write(post(PARTS, length=10_000_000) + TITLE + PICTURE + bytes(300_000))
    assert await answer(reader) == (408, '{"texts": {"title": ["Sofa"]}}')


async def test_a_form_in_broken_chunks_is_answered_with_its_text(start: Start) -> None:
    reader, writer = await start(FormLimits())
    writer.write(post(PAIRS, b"Transfer-Encoding: chunked") + b"a\r\ntitle=Sofa\r\n")
    await asyncio.sleep(0.05)
    writer.write(b"zz\r\n")
    assert await answer(reader) == (400, '{"texts": {"title": ["Sofa"]}}')


async def test_a_client_that_leaves_takes_its_files_along(start: Start, tmp_path: Path) -> None:
    _, writer = await start(FormLimits())
    writer.write(post(PARTS, length=10_000_000) + TITLE + PICTURE + bytes(600_000))
    await writer.drain()
    await asyncio.sleep(0.1)
    assert len(await asyncio.to_thread(lambda: list(tmp_path.iterdir()))) == 1
    writer.transport.abort()
    await asyncio.sleep(0.1)
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br"])
async def test_a_compressed_body_stays_packed_and_is_refused(start: Start, coding: bytes) -> None:
    reader, writer = await start(FormLimits())
    bomb = gzip.compress(bytes(5_000_000))
    writer.write(post(PAIRS, b"Content-Encoding: " + coding, length=len(bomb)) + bomb)
    assert (await answer(reader))[0] == 415


async def test_another_type_of_body_is_refused(start: Start) -> None:
    reader, writer = await start(FormLimits())
    writer.write(post(b"text/plain", length=7) + b"title=x")
    assert (await answer(reader))[0] == 415


async def test_forms_without_any_body_are_answered_one_after_another(start: Start) -> None:
    """aiohttp hands the same empty body to every such request, and it says "more" from the second on."""
    reader, writer = await start(FormLimits())
    for _ in range(3):
        writer.write(post(PAIRS, length=0))
        async with asyncio.timeout(5):
            assert await answer(reader) == (200, '{"texts": {}, "files": []}')
