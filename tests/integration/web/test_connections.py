"""The listener's deadlines, caps and ending, on real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from hub.domain.errors import TryLater
from hub.web.connections import (
    BodyTooSlow,
    ConnectionLimits,
    GuardedServer,
    Handler,
    fast_parser_present,
)

PAGE = b"GET / HTTP/1.1\r\nHost: hub.local\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: hub.lo"

Serve = Callable[..., Awaitable[tuple[GuardedServer, int]]]
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server with a handler and limits; returns it and its port, and stops it afterwards."""
    servers: list[GuardedServer] = []

    async def start(handler: Handler, **limits: Any) -> tuple[GuardedServer, int]:
        limits.setdefault("look_s", 0.05)
        limits.setdefault("linger_s", 0.2)
        server = GuardedServer(handler, ConnectionLimits(**limits))
        bound = socket.create_server(("127.0.0.1", 0))
        await server.listen(bound)
        servers.append(server)
        port: int = bound.getsockname()[1]
        return server, port

    yield start
    for server in servers:
        await server.stop(0.1)


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Open a connection to a port, from a chosen loopback address; closed afterwards."""
    writers: list[asyncio.StreamWriter] = []

    async def open_one(port: int, address: str = "127.0.0.1", *, room: int = 0) -> Client:
        own = socket.socket()
        if room:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        own.setblocking(False)
        own.bind((address, 0))
        try:
            await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
        except OSError:
            own.close()
            raise
        reader, writer = await asyncio.open_connection(sock=own, limit=2**12)
        writers.append(writer)
        return reader, writer

    yield open_one
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="hello")


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=await request.read())


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, fields (lower case) and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head[:-4].split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), fields, await reader.readexactly(int(fields.get("content-length", 0)))


async def everything(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends, however it ends."""
    got = b""
    with suppress(ConnectionError):
        while more := await reader.read(65536):
            got += more
    return got


async def page_takes(connect: Callable[..., Awaitable[Client]], port: int, address: str) -> float:
    """Seconds for a page over a connection of its own."""
    start = time.perf_counter()
    reader, writer = await connect(port, address)
    writer.write(PAGE)
    status, _, _ = await answer_of(reader)
    taken = time.perf_counter() - start
    assert status == 200
    writer.close()
    return taken


def test_requests_are_parsed_in_c() -> None:
    assert fast_parser_present()


async def test_several_requests_on_one_connection_are_answered_and_no_version_is_told(
    serve: Serve, connect: Any
) -> None:
    server, port = await serve(hello)
    reader, writer = await connect(port)
    for _ in range(3):
        writer.write(PAGE)
        status, fields, body = await answer_of(reader)
        assert (status, body) == (200, b"hello")
        assert "server" not in fields
    assert server.counts.malformed == 0


async def test_pipelined_requests_are_answered_in_order(serve: Serve, connect: Any) -> None:
    async def target(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=request.path)

    server, port = await serve(target)
    reader, writer = await connect(port)
    writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(100)))
    assert [(await answer_of(reader))[2] for _ in range(100)] == [b"/%d" % n for n in range(100)]
    assert server.counts.malformed == 0


async def test_a_head_in_many_pieces_is_answered(serve: Serve, connect: Any) -> None:
    _, port = await serve(hello, head_s=5.0)
    reader, writer = await connect(port)
    for _ in range(2):
        for at in range(0, len(PAGE), 7):
            writer.write(PAGE[at : at + 7])
            await asyncio.sleep(0.002)
        assert (await answer_of(reader))[0] == 200


@pytest.mark.parametrize("sent", [b"", HALF, b"\r\n"])
async def test_a_connection_without_a_complete_head_is_closed(
    serve: Serve, connect: Any, sent: bytes
) -> None:
    server, port = await serve(hello, head_s=0.2)
    start = time.perf_counter()
    reader, writer = await connect(port)
    writer.write(sent)
    assert (await everything(reader)).startswith(b"HTTP/1.1 408 ")
    assert 0.15 < time.perf_counter() - start < 0.8
    assert server.counts.late_heads == 1


async def test_a_head_that_drips_is_closed_as_well(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello, head_s=0.2)
    reader, writer = await connect(port)
    start = time.perf_counter()
    writer.write(b"GET /")
    ended = asyncio.ensure_future(everything(reader))
    while not ended.done() and time.perf_counter() - start < 1:
        writer.write(b"a")
        await asyncio.wait([ended], timeout=0.02)
    assert time.perf_counter() - start < 0.8
    assert server.counts.late_heads == 1


async def test_the_deadline_of_a_later_head_runs_from_its_first_byte(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello, head_s=0.2)
    reader, writer = await connect(port)
    writer.write(PAGE)
    assert (await answer_of(reader))[0] == 200
    await asyncio.sleep(0.4)
    writer.write(PAGE)
    assert (await answer_of(reader))[0] == 200
    writer.write(HALF)
    assert (await everything(reader)).startswith(b"HTTP/1.1 408 ")
    assert server.counts.late_heads == 1


async def test_an_idle_connection_is_closed(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello, idle_s=0.2)
    reader, writer = await connect(port)
    writer.write(PAGE)
    assert (await answer_of(reader))[0] == 200
    assert await everything(reader) == b""
    assert server.counts.late_heads == 0


async def test_the_hub_does_not_wake_up_when_nobody_is_there(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello)

    def watching() -> bool:
        return server._timer is not None

    assert not watching()
    _, writer = await connect(port)
    await asyncio.sleep(0.02)
    assert watching()
    writer.close()
    await asyncio.sleep(0.2)
    assert not watching()


async def test_a_body_that_stops_is_answered_with_a_sentence(serve: Serve, connect: Any) -> None:
    server, port = await serve(echo, body_window_s=0.2)
    reader, writer = await connect(port)
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
    status, _, body = await answer_of(reader)
    assert status == 408
    assert body.decode().strip() == BodyTooSlow.template
    assert await everything(reader) == b""
    assert server.counts.slow_bodies == 1
    assert server.counts.faults == 0


async def test_a_body_that_keeps_its_pace_may_take_long(serve: Serve, connect: Any) -> None:
    server, port = await serve(echo, body_window_s=0.5, slowest=100)
    reader, writer = await connect(port)
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n")
    for _ in range(20):
        writer.write(b"x" * 100)
        await asyncio.sleep(0.04)
    assert (await answer_of(reader))[0] == 200
    assert server.counts.slow_bodies == 0


async def test_a_body_is_not_called_slow_because_the_hub_is(serve: Serve, connect: Any) -> None:
    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.6)
        return web.Response(text=str(len(await request.read())))

    server, port = await serve(slow, body_window_s=0.1)
    reader, writer = await connect(port)
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
    assert (await answer_of(reader))[2] == b"1000000"
    assert server.counts.slow_bodies == 0


async def test_an_answer_that_nobody_reads_is_cut(serve: Serve, connect: Any) -> None:
    async def long(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(20_000_000))

    server, port = await serve(long, answer_window_s=0.2)
    _, writer = await connect(port, room=4096)
    writer.write(PAGE)
    await asyncio.sleep(0.8)
    assert server.counts.stalled_answers == 1
    assert server.counts.faults == 0
    assert not server._settled


async def test_an_answer_that_is_read_slowly_but_steadily_is_not_cut(serve: Serve, connect: Any) -> None:
    async def long(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(20_000_000))

    server, port = await serve(long, answer_window_s=0.2)
    reader, writer = await connect(port, room=4096)
    writer.write(PAGE)
    for _ in range(60):
        assert await reader.read(1000)
        await asyncio.sleep(0.01)
    assert server.counts.stalled_answers == 0


async def test_at_the_cap_the_oldest_incomplete_head_makes_room(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello, connections=5, head_s=5.0)
    clients = []
    for n in range(5):
        clients.append(await connect(port, f"127.0.0.{n + 1}"))
        clients[n][1].write(HALF)
        await asyncio.sleep(0.01)
    assert await page_takes(connect, port, "127.0.0.9") < 0.25
    assert await everything(clients[0][0]) == b""
    clients[1][1].write(PAGE[len(HALF) :])
    assert (await answer_of(clients[1][0]))[0] == 200
    assert server.counts.crowded_out == 1


async def test_one_address_has_so_many_incomplete_heads_and_no_more(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello, heads_per_address=3, head_s=5.0)
    other, other_writer = await connect(port, "127.0.0.2")
    clients = []
    for _ in range(5):
        clients.append(await connect(port, "127.0.0.3"))
        await asyncio.sleep(0.01)
    assert await everything(clients[0][0]) == await everything(clients[1][0]) == b""
    for reader, writer in (*clients[2:], (other, other_writer)):
        writer.write(PAGE)
        assert (await answer_of(reader))[0] == 200
    assert server.counts.crowded_out == 2


async def test_an_idle_connection_makes_room_when_all_heads_are_complete(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello, connections=3)
    clients = []
    for _ in range(3):
        reader, writer = await connect(port)
        clients.append(reader)
        writer.write(PAGE)
        assert (await answer_of(reader))[0] == 200
    await page_takes(connect, port, "127.0.0.2")
    assert await everything(clients[0]) == b""
    assert server.counts.crowded_out == 1


async def test_newcomers_take_the_places_of_the_idle_and_not_each_others(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello, connections=20, place_s=0.1)
    for _ in range(20):
        reader, writer = await connect(port, "127.0.0.66")
        writer.write(PAGE)
        assert (await answer_of(reader))[0] == 200
    await asyncio.sleep(0.15)
    pages = [page_takes(connect, port, f"127.0.0.{n}") for n in range(1, 20)]
    await asyncio.gather(*pages)
    assert server.counts.turned_away == 0


async def test_who_is_being_answered_keeps_the_place(serve: Serve, connect: Any) -> None:
    release = asyncio.Event()

    async def waiting(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response(text="done")

    server, port = await serve(waiting, connections=4)
    clients = [await connect(port) for _ in range(4)]
    for _, writer in clients:
        writer.write(PAGE)
    await asyncio.sleep(0.05)
    late, _ = await connect(port)
    assert b"503" in await everything(late)
    release.set()
    for reader, _ in clients:
        assert (await answer_of(reader))[2] == b"done"
    assert server.counts.turned_away == 1
    assert server.counts.crowded_out == 0


async def test_a_crowd_of_half_requests_keeps_no_page_waiting(serve: Serve, connect: Any) -> None:
    server, port = await serve(hello, connections=128, heads_per_address=8, head_s=0.6)
    taken: list[float] = []

    async def visit() -> None:
        for _ in range(40):
            taken.append(await page_takes(connect, port, "127.0.1.1"))
            await asyncio.sleep(0.01)

    visitor = asyncio.ensure_future(visit())
    crowd = []
    for n in range(600):
        client = await connect(port, f"127.0.0.{n % 200 + 1}")
        client[1].write(HALF)
        crowd.append(client)
    await asyncio.wait_for(asyncio.gather(*(everything(reader) for reader, _ in crowd)), 3)
    await visitor
    assert max(taken) < 0.5
    assert not server._heads
    assert not server._heads_of


async def test_a_client_that_goes_away_leaves_nothing_behind(
    serve: Serve, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    finished = asyncio.Event()

    async def reading(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return web.Response(body=await request.read())
        finally:
            finished.set()

    server, port = await serve(reading)
    _, writer = await connect(port)
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.wait_for(finished.wait(), 1)
    await asyncio.sleep(0.05)
    assert not server._settled
    assert not caplog.records


async def test_stopping_lets_a_request_finish_and_closes_the_idle_at_once(serve: Serve, connect: Any) -> None:
    begun = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slow":
            begun.set()
            body = await request.read()
            await asyncio.sleep(0.1)
            return web.Response(body=body)
        return web.Response(text="hello")

    server, port = await serve(slow)
    idle, idle_writer = await connect(port)
    idle_writer.write(PAGE)
    assert (await answer_of(idle))[0] == 200
    half, half_writer = await connect(port)
    half_writer.write(HALF)
    reader, writer = await connect(port)
    writer.write(b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc")
    await begun.wait()
    start = time.perf_counter()
    stopping = asyncio.ensure_future(server.stop(2.0))
    assert await everything(idle) == await everything(half) == b""
    assert time.perf_counter() - start < 0.1
    with pytest.raises(ConnectionRefusedError):
        await connect(port)
    writer.write(b"def")
    status, fields, body = await answer_of(reader)
    assert (status, fields["connection"], body) == (200, "close", b"abcdef")
    await stopping
    assert time.perf_counter() - start < 1
    assert not server._settled
    assert server._timer is None


async def test_stopping_ends_with_the_grace_whatever_a_request_does(
    serve: Serve, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def for_ever(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    server, port = await serve(for_ever)
    reader, writer = await connect(port)
    writer.write(PAGE)
    await asyncio.sleep(0.05)
    start = time.perf_counter()
    await server.stop(0.2)
    assert time.perf_counter() - start < 0.6
    assert await everything(reader) == b""
    assert not caplog.records


async def test_no_request_is_cut_off_when_the_hub_stops_under_load(serve: Serve, connect: Any) -> None:
    async def work(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.005)
        return web.Response(text="done")

    server, port = await serve(work)
    cut = []

    async def visitor() -> None:
        reader, writer = await connect(port)
        while True:
            writer.write(PAGE)
            got = await everything_of_one(reader)
            if got is None:
                return
            if not got.endswith(b"done"):
                cut.append(got)
            if b"Connection: close" in got:
                return

    async def everything_of_one(reader: asyncio.StreamReader) -> bytes | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.readexactly(4)
        except asyncio.IncompleteReadError as error:
            return error.partial or None
        except ConnectionError:
            return None

    visitors = [asyncio.ensure_future(visitor()) for _ in range(20)]
    await asyncio.sleep(0.2)
    start = time.perf_counter()
    await server.stop(2.0)
    assert time.perf_counter() - start < 0.5
    await asyncio.gather(*visitors)
    assert cut == []


async def test_a_refusal_becomes_a_plain_answer_and_a_fault_is_logged_once(
    serve: Serve, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def refusing(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/fault":
            raise KeyError("planted")
        raise TryLater(seconds=7)

    server, port = await serve(refusing)
    reader, writer = await connect(port)
    writer.write(PAGE)
    assert (await answer_of(reader))[0] == 429
    assert not caplog.records
    reader, writer = await connect(port)
    writer.write(b"GET /fault HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await answer_of(reader))[0] == 500
    assert len(caplog.records) == 1
    assert server.counts.faults == 1


LINE = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MALFORMED = {
    "nothing but line ends": b"\r\n\r\n\r\n",
    "a word": b"hello\r\n\r\n",
    "noise": bytes(range(128, 256)) + b"\r\n\r\n",
    "NUL bytes": bytes(64),
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an unknown method": b"FROB / HTTP/1.1\r\nHost: h\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    "a method with a NUL": b"G\x00T / HTTP/1.1\r\nHost: h\r\n\r\n",
    "no method": b" / HTTP/1.1\r\nHost: h\r\n\r\n",
    "an endless method": b"G" * 20_000,
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.9": b"GET / HTTP/1.9\r\nHost: h\r\n\r\n",
    "HTTP/3.0": b"GET / HTTP/3.0\r\nHost: h\r\n\r\n",
    "HTTP/1.10": b"GET / HTTP/1.10\r\nHost: h\r\n\r\n",
    "a version that is no number": b"GET / HTTP/x.y\r\nHost: h\r\n\r\n",
    "another protocol": b"GET / RTSP/1.0\r\nHost: h\r\n\r\n",
    "two spaces in the line": b"GET  /  HTTP/1.1\r\nHost: h\r\n\r\n",
    "a tab in the line": b"GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n",
    "no host": LINE + b"\r\n",
    "two hosts": LINE + b"Host: a\r\nHost: b\r\n\r\n",
    "line ends without CR": b"GET / HTTP/1.1\nHost: h\n\n",
    "CR without LF": b"GET / HTTP/1.1\rHost: h\r\r",
    "a long target": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "a long query": b"GET /?q=" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "a target that is not ASCII": "GET /żółw?ł=ł HTTP/1.1\r\nHost: h\r\n\r\n".encode(),
    "a target that is not UTF-8": b"GET /\xff\xfe HTTP/1.1\r\nHost: h\r\n\r\n",
    "a target with a NUL": b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
    "a target with escapes of nothing": b"GET /%zz%%%c0%af HTTP/1.1\r\nHost: h\r\n\r\n",
    "an absolute target": b"GET http://other.example/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "an absolute target with a bad port": b"GET http://other:99999/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "an absolute target with a bad address": b"GET http://[::1/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "an absolute target without a host": b"GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n",
    "a scheme of its own": b"GET javascript:alert(1) HTTP/1.1\r\nHost: h\r\n\r\n",
    "two slashes in front": b"GET //other.example/%2e%2e/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
    "OPTIONS of everything": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT": b"CONNECT other.example:443 HTTP/1.1\r\nHost: h\r\n\r\n\x16\x03\x01",
    "CONNECT to nowhere": b"CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n",
    "a long field": LINE + b"Host: h\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "a long field name": LINE + b"Host: h\r\n" + b"a" * 20_000 + b": x\r\n\r\n",
    "a long cookie": LINE + b"Host: h\r\nCookie: " + b"a=b; " * 4_000 + b"\r\n\r\n",
    "many fields": LINE + b"Host: h\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    "a field without a colon": LINE + b"Host: h\r\nnonsense\r\n\r\n",
    "a field without a name": LINE + b"Host: h\r\n: x\r\n\r\n",
    "a space before the colon": LINE + b"Host : h\r\n\r\n",
    "a NUL in a field": LINE + b"Host: h\r\nX: a\x00b\r\n\r\n",
    "a control character in a field": LINE + b"Host: h\r\nX: a\x07\x1b[2Jb\r\n\r\n",
    "a folded field": LINE + b"Host: h\r\nX: a\r\n b\r\n\r\n",
    "a lone CR in a field": LINE + b"Host: h\r\nX: a\rInjected: b\r\n\r\n",
    "a length that is no number": POST + b"Content-Length: ten\r\n\r\n0123456789",
    "a length below zero": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +10\r\n\r\n0123456789",
    "a length beyond all bounds": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a list of lengths": POST + b"Content-Length: 5, 6\r\n\r\nhello",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks that are not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "an unknown transfer": POST + b"Transfer-Encoding: frob\r\n\r\nabc",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a hidden chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk size that is no number": CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    "a chunk size beyond all bounds": CHUNKED + b"f" * 40 + b"\r\nabc\r\n0\r\n\r\n",
    "a chunk size below zero": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n",
    "a chunk without its end": CHUNKED + b"3\r\nabcX",
    "a chunk extension with a line end": CHUNKED + b"3;a\n=b\r\nabc\r\n0\r\n\r\n",
    "a trailer that is none": CHUNKED + b"0\r\nnonsense\r\n\r\n",
    "gzip that is none": POST + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "a forged upgrade": LINE + b"Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x85garbage",
    "an upgrade to HTTP/2": LINE + b"Host: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "garbage behind a request": PAGE.replace(b"GET /", b"GET /x") + b"\x00\x01garbage\r\n\r\n",
    "a second request in a body": POST + b"Content-Length: 4\r\n\r\nabcdGET\x00/ HTTP/1.1\r\n\r\n",
    "an expectation nobody meets": POST + b"Expect: the-spanish-inquisition\r\nContent-Length: 0\r\n\r\n",
}


async def not_here(request: web.BaseRequest) -> web.StreamResponse:
    body = await request.read()
    shown = f"{request.method} {request.path} {request.query_string} {request.query} {len(body)}"
    return web.Response(status=404, text=ascii(shown))


async def loses_nothing(serve: Serve, connect: Any, sent: list[bytes]) -> GuardedServer:
    """Send each and insist on 4xx answers or a closed connection, never a fault; a page still comes."""
    server, port = await serve(not_here, head_s=0.3, body_window_s=0.3, idle_s=0.3)

    async def one(data: bytes) -> None:
        reader, writer = await connect(port)
        writer.write(data)
        got = await asyncio.wait_for(everything(reader), 3)
        statuses = [line.split()[1] for line in got.split(b"\r\n") if line.startswith(b"HTTP/")]
        assert all(status.startswith(b"4") for status in statuses), (data[:200], got[:500])
        assert not got or statuses, (data[:200], got[:500])

    for at in range(0, len(sent), 50):
        await asyncio.gather(*(one(data) for data in sent[at : at + 50]))
    gc.collect()
    await asyncio.sleep(0.05)
    assert server.counts.faults == 0
    assert not server._settled
    return server


async def test_malformed_requests_get_4xx_or_are_closed_and_nothing_is_logged(
    serve: Serve, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = await loses_nothing(serve, connect, list(MALFORMED.values()))
    assert [record.getMessage() for record in caplog.records] == []
    assert server.counts.malformed > 40


async def test_mutated_requests_get_4xx_or_are_closed_and_nothing_is_logged(
    serve: Serve, connect: Any, caplog: pytest.LogCaptureFixture, chance: random.Random
) -> None:
    caplog.set_level(logging.INFO)
    seeds = [data for data in MALFORMED.values() if len(data) < 1000]
    await loses_nothing(serve, connect, [mutated(chance.choice(seeds), chance) for _ in range(400)])
    assert [record.getMessage() for record in caplog.records] == []


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with a few bytes changed, doubled, dropped or put in."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed) + 1)
        piece = chance.choice([b"\r\n", b"\x00", b" ", b":", b"%", b"HTTP/1.1", b"\xff", chance.randbytes(3)])
        end = at + chance.choice([0, 0, 1, 4])
        changed[at:end] = piece if chance.random() < 0.7 else changed[at : at + 20] * 2
    return bytes(changed)
