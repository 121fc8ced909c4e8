"""Who gets in, who is called, and how soon a parting takes effect: real sockets, real TLS."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hub.domain.errors import HubError
from hub.domain.ids import base32
from hub.domain.neighbours import Address
from hub.sync.protocol.frames import MAX_FRAME
from hub.sync.transport import SESSION_PATH, AnotherHub, NotLetIn, NotReached
from tests.integration.sync.halls import Hall, key_of, until

Halls = Callable[..., Awaitable[Hall]]
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]

REQUEST = b"GET /v1/blobs/abc HTTP/1.1\r\nHost: hub\r\n\r\n"
UPGRADE = (
    b"GET /v1/session HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
)


async def test_paired_hubs_talk_over_tls_1_3_whichever_calls(mill_lane: Hall, oakfield: Hall) -> None:
    mill_lane.pairs_with(oakfield)
    for one, other in ((mill_lane, oakfield), (oakfield, mill_lane)):
        line = await one.caller.dial(other.hub, other.address)
        await line.send(b"\x01good morning")
        assert await line.receive() == b"\x01good morning"
        assert (line.hub, line.called, line.address) == (other.hub, True, "127.0.0.1")
        [their] = other.lines
        assert (their.hub, their.called, their.address) == (one.hub, False, "127.0.0.1")
        await line.close()
        async with await one.caller.get(other.hub, other.address, "/v1/blobs/abc") as answer:
            assert (answer.status, await answer.text()) == (
                200,
                f"{other.name} for abc of {one.hub.hex()[:6]}",
            )
            assert "Server" not in answer.headers
    assert (oakfield.listener.counts.let_in, mill_lane.listener.counts.let_in) == (2, 2)


async def test_a_hub_that_is_paired_on_one_side_only_is_dropped_in_the_handshake(
    mill_lane: Hall, oakfield: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    mill_lane.trust.pin(oakfield.certificate)
    with pytest.raises(NotLetIn):
        await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    with pytest.raises(NotLetIn):
        await mill_lane.caller.get(oakfield.hub, oakfield.address, "/v1/blobs/abc")
    assert oakfield.listener.counts.refused >= 2
    assert oakfield.listener.counts.let_in == 0
    with pytest.raises(KeyError):
        await oakfield.caller.dial(mill_lane.hub, mill_lane.address)
    assert caplog.records == []


async def test_a_hub_paired_while_the_listener_runs_gets_in(mill_lane: Hall, oakfield: Hall) -> None:
    mill_lane.trust.pin(oakfield.certificate)
    with pytest.raises(NotLetIn):
        await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    oakfield.trust.pin(mill_lane.certificate)
    line = await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    await line.close()


async def test_another_hub_at_the_address_is_not_taken_for_the_one_that_was_called(
    mill_lane: Hall, oakfield: Hall, halls: Halls
) -> None:
    library = await halls("library")
    mill_lane.pairs_with(oakfield)
    mill_lane.pairs_with(library)
    with pytest.raises(AnotherHub) as caught:
        await mill_lane.caller.dial(oakfield.hub, library.address)
    assert str(library.address) in str(caught.value)
    with pytest.raises(AnotherHub):
        await mill_lane.caller.get(oakfield.hub, library.address, "/v1/blobs/abc")


async def test_an_address_where_nobody_listens_or_nobody_speaks_tls_is_not_reached(
    mill_lane: Hall, oakfield: Hall
) -> None:
    mill_lane.pairs_with(oakfield)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        closed = Address("127.0.0.1", bound.getsockname()[1])

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        mail = Address("127.0.0.1", other.sockets[0].getsockname()[1])
        for address in (closed, mail, Address("xn--abc.local", 8448), Address("no such host", 8448)):
            with pytest.raises(NotReached) as caught:
                await mill_lane.caller.dial(oakfield.hub, address)
            assert str(address) in str(caught.value)


async def raw(address: Address, context: ssl.SSLContext) -> Client:
    """A TLS connection of one's own."""
    return await asyncio.open_connection(address.host, address.port, ssl=context, server_hostname="x")


async def everything(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends, however it ends."""
    got = b""
    with suppress(OSError):
        while more := await reader.read(65536):
            got += more
    return got


async def drop(writer: asyncio.StreamWriter) -> None:
    """End a connection of one's own."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


@pytest.fixture
def showing(tmp_path: Path) -> Callable[..., ssl.SSLContext]:
    """A client that takes any server and shows a certificate made with some key, by default of its own."""

    def made(key: Ed25519PrivateKey, issuer: Ed25519PrivateKey, name: str, by: str) -> ssl.SSLContext:
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by)]))
            .public_key(key.public_key())
            .serial_number(5)
            .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
            .sign(issuer, None)
        )
        file = tmp_path / f"{name}.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(file)
        return context

    return made


async def test_a_certificate_issued_by_a_paired_hub_or_in_its_name_opens_nothing(
    mill_lane: Hall, oakfield: Hall, showing: Callable[..., ssl.SSLContext], nothing_is_logged: None
) -> None:
    mill_lane.pairs_with(oakfield)
    friend, its, name = key_of("friend"), key_of("oakfield"), base32(oakfield.hub)
    for context in (
        showing(friend, its, "friend", name),
        showing(friend, friend, name, name),
        showing(its, its, name, name),  # the right key, only not the certificate that is pinned
    ):
        reader, writer = await raw(mill_lane.address, context)
        with suppress(OSError):
            writer.write(REQUEST)
            await writer.drain()
        assert await everything(reader) == b""
        await drop(writer)
    assert (mill_lane.listener.counts.refused, mill_lane.listener.counts.let_in) == (3, 0)


@pytest.mark.parametrize(
    "validity",
    [
        pytest.param((b"710101000000Z", b"19720101000000Z"), id="long expired"),
        pytest.param((b"490101000000Z", b"99991231235959Z"), id="not valid before 2049"),
    ],
)
async def test_no_date_in_a_certificate_counts(
    monkeypatch: pytest.MonkeyPatch, halls: Halls, validity: tuple[bytes, bytes]
) -> None:
    dates = b"\x30\x20\x17\x0d" + validity[0] + b"\x18\x0f" + validity[1]
    monkeypatch.setattr("hub.domain.certificates._VALIDITY", dates)
    mill_lane, oakfield = await halls("mill-lane"), await halls("oakfield")
    read = x509.load_der_x509_certificate(mill_lane.certificate)
    assert not read.not_valid_before_utc < datetime(2026, 11, 23, tzinfo=UTC) < read.not_valid_after_utc
    mill_lane.pairs_with(oakfield)
    line = await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    await line.close()


async def test_parting_closes_what_is_open_at_once_and_nothing_opens_after_it(
    mill_lane: Hall, oakfield: Hall
) -> None:
    mill_lane.pairs_with(oakfield)
    out = await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    back = await oakfield.caller.dial(mill_lane.hub, mill_lane.address)
    for one, other in ((mill_lane, oakfield), (oakfield, mill_lane)):
        async with await one.caller.get(other.hub, other.address, "/v1/blobs/kept") as answer:
            await answer.read()  # its connection waits for another request
    mill_lane.trust.unpin(oakfield.hub)
    async with asyncio.timeout(0.5):
        assert await back.receive() is None
        assert await out.receive() is None
        await until(lambda: not oakfield.lines and not mill_lane.lines)
    with pytest.raises(ConnectionError):
        await out.send(b"\x01")
    with pytest.raises(KeyError):
        await mill_lane.caller.get(oakfield.hub, oakfield.address, "/v1/blobs/kept")
    with pytest.raises(NotLetIn):
        await oakfield.caller.get(mill_lane.hub, mill_lane.address, "/v1/blobs/kept")
    with pytest.raises(NotLetIn):
        await oakfield.caller.dial(mill_lane.hub, mill_lane.address)


async def test_the_listener_knows_the_paired_hubs_and_no_other(mill_lane: Hall, oakfield: Hall) -> None:
    trust = mill_lane.trust
    for act, known in ((trust.pin, 1), (trust.unpin, 0)):
        act(oakfield.certificate if known else oakfield.hub)  # type: ignore[arg-type]
        assert trust.context.cert_store_stats()["x509"] == known
        assert trust.context.verify_mode is ssl.CERT_REQUIRED
        assert trust.who(None) is None


async def test_parting_from_one_neighbour_leaves_the_lines_with_others_alone(
    mill_lane: Hall, oakfield: Hall, halls: Halls
) -> None:
    library = await halls("library")
    mill_lane.pairs_with(oakfield)
    mill_lane.pairs_with(library)
    out = await mill_lane.caller.dial(library.hub, library.address)
    back = await library.caller.dial(mill_lane.hub, mill_lane.address)
    mill_lane.trust.unpin(oakfield.hub)
    for line in (out, back):
        await line.send(b"\x01still here")
        assert await line.receive() == b"\x01still here"
        await line.close()


async def test_a_call_under_way_ends_when_its_hub_is_parted_from(mill_lane: Hall, oakfield: Hall) -> None:
    mill_lane.pairs_with(oakfield)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)

        async def part() -> socket.socket:
            met, _ = await asyncio.get_running_loop().sock_accept(silent)
            mill_lane.trust.unpin(oakfield.hub)
            return met

        async with asyncio.TaskGroup() as group:
            met = group.create_task(part())
            with pytest.raises(HubError):
                await mill_lane.caller.dial(oakfield.hub, Address("127.0.0.1", silent.getsockname()[1]))
        met.result().close()


async def test_a_frame_that_is_too_long_ends_the_line(mill_lane: Hall, oakfield: Hall) -> None:
    mill_lane.pairs_with(oakfield)
    line = await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    await line.send(bytes(MAX_FRAME))
    assert await line.receive() == bytes(MAX_FRAME)
    await line.send(bytes(MAX_FRAME + 1))
    assert await line.receive() is None
    await until(lambda: not oakfield.lines)
    with pytest.raises(ConnectionError):
        await line.send(b"\x01")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\x82\xff" + (MAX_FRAME + 1).to_bytes(8, "big") + bytes(MAX_FRAME + 5), id="too long"),
        pytest.param(b"\x81\x85" + bytes(4) + b"hello", id="text"),
    ],
)
async def test_a_frame_that_no_hub_sends_is_answered_with_the_end(
    mill_lane: Hall, oakfield: Hall, frame: bytes
) -> None:
    mill_lane.pairs_with(oakfield)
    reader, writer = await raw(oakfield.address, mill_lane.trust.calling(oakfield.hub))
    writer.write(UPGRADE + frame)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert (await reader.readexactly(1)) == b"\x88"  # close, and no frame before it
    await drop(writer)
    await until(lambda: not oakfield.lines)


async def test_a_line_that_is_cut_here_ends_there(mill_lane: Hall, oakfield: Hall) -> None:
    mill_lane.pairs_with(oakfield)
    for cut_here in (True, False):
        line = await mill_lane.caller.dial(oakfield.hub, oakfield.address)
        await until(lambda: len(oakfield.lines) == 1)
        (line if cut_here else oakfield.lines[0]).cut()
        assert await line.receive() is None
        await until(lambda: not oakfield.lines)
        await line.close()


async def test_a_fault_of_the_hub_is_told_plainly_and_logged_once(
    mill_lane: Hall, oakfield: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    mill_lane.pairs_with(oakfield)
    for path, status in (("/v1/fault", 500), ("/v1/nothing", 404), (SESSION_PATH, 400)):
        async with await mill_lane.caller.get(oakfield.hub, oakfield.address, path) as answer:
            assert answer.status == status
            assert "LookupError" not in await answer.text()
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [("ERROR", True)]
    assert oakfield.listener.counts.faults == 1


async def test_handshakes_that_do_not_come_to_an_end_keep_no_hub_out(
    mill_lane: Hall, halls: Halls, nothing_is_logged: None
) -> None:
    oakfield = await halls("oakfield", handshakes=8, handshakes_per_address=4, handshake_s=30.0)
    mill_lane.pairs_with(oakfield)
    idle = [await asyncio.open_connection(*oakfield.address) for _ in range(20)]
    line = await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    await line.close()
    assert oakfield.listener.counts.crowded_out >= 16
    for _, writer in idle:
        await drop(writer)


async def test_a_handshake_and_a_head_have_their_time(mill_lane: Hall, halls: Halls) -> None:
    oakfield = await halls("oakfield", handshake_s=0.1, head_s=0.1)
    mill_lane.pairs_with(oakfield)
    reader, writer = await asyncio.open_connection(*oakfield.address)
    assert await everything(reader) == b""
    await drop(writer)
    for sent in (b"", REQUEST[:20], REQUEST[:-2]):
        reader, writer = await raw(oakfield.address, mill_lane.trust.calling(oakfield.hub))
        writer.write(sent)
        assert await everything(reader) == b""
        await drop(writer)
    assert (oakfield.listener.counts.refused, oakfield.listener.counts.let_in) == (1, 3)


async def test_a_hub_has_so_many_connections_and_those_that_ask_nothing_give_way(
    mill_lane: Hall, halls: Halls
) -> None:
    oakfield = await halls("oakfield", connections_per_hub=3)
    mill_lane.pairs_with(oakfield)
    context = mill_lane.trust.calling(oakfield.hub)
    waiting = [await raw(oakfield.address, context) for _ in range(3)]
    await until(lambda: oakfield.listener.counts.let_in == 3)
    lines = [await mill_lane.caller.dial(oakfield.hub, oakfield.address) for _ in range(3)]
    for reader, writer in waiting:
        assert await everything(reader) == b""
        await drop(writer)
    with pytest.raises(NotLetIn):  # each of the three is at work
        await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    for line in lines:
        await line.send(b"\x01")
        assert await line.receive() == b"\x01"
        await line.close()


async def test_garbage_from_strangers_and_from_neighbours_harms_nobody(
    mill_lane: Hall, oakfield: Hall, chance: random.Random, nothing_is_logged: None
) -> None:
    mill_lane.pairs_with(oakfield)
    hello = client_hello(mill_lane.trust.calling(oakfield.hub))
    kept = await mill_lane.caller.dial(oakfield.hub, oakfield.address)
    for sent in (b"", REQUEST, b"\0" * 500, chance.randbytes(3000), *mutations(hello, chance, 40)):
        reader, writer = await asyncio.open_connection(*oakfield.address)
        with suppress(OSError):
            writer.write(sent)
            writer.write_eof()
        await everything(reader)
        await drop(writer)
    for sent in (
        b"\0" * 500,
        b"GET / HTTP/9.9\r\n\r\n",
        REQUEST[:-2] + b"X: " + b"y" * 9000,
        REQUEST * 100,
        b"GET /v1/blobs/%ff%00 HTTP/1.1\r\nHost: [\r\n\r\n",
        b"POST /v1/blobs/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        UPGRADE + chance.randbytes(600),
        UPGRADE + b"\xff" * 20,
        *mutations(REQUEST, chance, 30),
        *mutations(UPGRADE + b"\x82\x85abcd12345", chance, 30),
    ):
        reader, writer = await raw(oakfield.address, mill_lane.trust.calling(oakfield.hub))
        with suppress(OSError):
            writer.write(sent)
            await writer.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await everything(reader)
        await drop(writer)
    await kept.send(b"\x01")
    assert await kept.receive() == b"\x01"
    await kept.close()
    assert oakfield.listener.counts.faults == 0


def client_hello(context: ssl.SSLContext) -> bytes:
    """The first bytes of a handshake."""
    out = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="x").do_handshake()
    return out.read()


def mutations(sent: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    """``sent`` with a few bytes changed, or cut short."""
    for _ in range(count):
        other = bytearray(sent)
        for _ in range(chance.randrange(1, 5)):
            other[chance.randrange(len(other))] = chance.randrange(256)
        yield bytes(other[: chance.choice((len(other), chance.randrange(len(other))))])
