"""Uploads over real connections: the answers of the draft, refusals in words, clients that misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import subprocess
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hub.web.connections import ConnectionLimits, GuardedServer
from tests.integration.conftest import OpenHub, Street, in_thread
from tests.integration.hub.hub_process import Answer, Visitor
from tests.needs import program

FILM = bytes(range(256)) * 2500
PIECE = {"Content-Type": "application/partial-upload"}
ROOMY = {"storage__reserve_percent": "0", "storage__reserve_megabytes": "0"}


@pytest_asyncio.fixture
async def street(open_street: OpenHub) -> AsyncIterator[Street]:
    """A hub that keeps no part of the card free and waits only shortly for slow clients; it listens."""
    async with open_street(**ROOMY) as opened:
        limits = ConnectionLimits(body_window_s=0.3, look_s=0.05, linger_s=0.5)
        opened.hub._hosts = frozenset({"127.0.0.1"})
        server = GuardedServer(opened.hub._site.handle, limits)
        bound = socket.create_server(("127.0.0.1", 0))
        await server.listen(bound)
        opened.hub._port = bound.getsockname()[1]
        yield opened
        await server.stop(0.1)
        assert server.counts.faults == 0
        assert opened.hub._site.counts.faults == 0


class Sender:
    """A program that puts a file up in pieces."""

    def __init__(self, street: Street, device: str | None = None) -> None:
        self.visitor = Visitor(street.hub.port, device)
        self.to = ""

    async def ask(
        self, method: str, path: str, headers: dict[str, str | None], body: bytes | None = None
    ) -> Answer:
        answer: Answer = await in_thread(lambda: self.visitor.send(method, path, body, headers))
        return answer

    async def begins(self, size: int | str = len(FILM), **headers: str | None) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.ask("POST", "/uploads", {"Upload-Length": str(size), **named})
        self.to = answer.headers["Location"] or ""
        return answer

    async def looks(self) -> Answer:
        return await self.ask("HEAD", self.to, {})

    async def sends(self, offset: int, data: bytes, **headers: str | None) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("PATCH", self.to, {**PIECE, "Upload-Offset": str(offset), **named}, data)


def standing(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.headers["Upload-Offset"], answer.headers["Upload-Complete"]


def waiting(street: Street) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (street.data / "uploads").iterdir()}


async def test_the_answers_are_those_of_the_draft(street: Street) -> None:
    sender = Sender(street)
    name = "attachment; filename*=UTF-8''g%C3%A9%2F%2e%2e%2Ff%C3%AAte.mp4"
    begun = await sender.begins(Upload_Complete="?0", Content_Disposition=name)
    assert standing(begun) == (201, "0", "?0")
    assert re.fullmatch(r"/uploads/[0-9a-f]{32}", sender.to)
    assert (
        begun.headers["Upload-Limit"]
        == f"max-size={street.hub.preferences.file_policy().largest}, max-age=172800"
    )
    assert re.fullmatch(
        r"device=[0-9a-f]{32}; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax", begun.headers["Set-Cookie"]
    )
    assert standing(await sender.looks()) == (204, "0", "?0")
    half = await sender.sends(0, FILM[:300_000], Upload_Piece_CRC32=f"{zlib.crc32(FILM[:300_000]):08X}")
    assert standing(half) == (204, "300000", "?0")
    assert half.headers["Set-Cookie"] is None
    whole = await sender.sends(300_000, FILM[300_000:], Upload_Complete="?1")
    assert standing(whole) == (204, str(len(FILM)), "?1")
    looked = await sender.looks()
    assert standing(looked) == (204, str(len(FILM)), "?1")
    assert (looked.headers["Upload-Length"], looked.headers["Cache-Control"]) == (str(len(FILM)), "no-store")
    [row] = await street.table("upload")
    assert (row[2], row[6].hex()) == ("fête.mp4", hashlib.sha256(FILM).hexdigest())
    assert standing(await sender.sends(len(FILM), b"", Upload_Complete="?1")) == (204, str(len(FILM)), "?1")
    assert (await sender.ask("DELETE", sender.to, {})).status == 204
    assert (await sender.looks()).status == 404
    assert waiting(street) == {}
    sender.visitor.close()


async def test_a_device_keeps_its_cookie_and_others_find_nothing(street: Street) -> None:
    owner, stranger, nobody = Sender(street, "a" * 32), Sender(street, "b" * 32), Sender(street)
    begun = await owner.begins()
    assert begun.headers["Set-Cookie"] is None
    stranger.to = nobody.to = owner.to
    for answer in (
        await stranger.looks(),
        await stranger.sends(0, b"x"),
        await stranger.ask("DELETE", owner.to, {}),
    ):
        assert answer.status == 404
        assert answer.headers["Upload-Offset"] is None
    assert standing(await nobody.looks()) == (204, "0", "?0")
    for each in (owner, stranger, nobody):
        each.visitor.close()


@pytest.mark.parametrize(
    ("disposition", "kept"),
    [
        (None, "file"),
        ("", "file"),
        ('attachment; filename="plain \\"q\\".txt"', "plain _q_.txt"),
        ("attachment; filename=plain.txt", "plain.txt"),
        ("attachment; filename=\"a.txt\"; filename*=UTF-8''b.txt", "b.txt"),
        ("attachment; filename*=utf-8'cy'%D8%B1.txt", "ر.txt"),
        ("attachment; filename*=UTF-8''%00..%2F..%5Cetc%0Apasswd%E2%80%AE", "etcpasswd"),
        ("attachment; filename*=UTF-8''%FF%FE", "��"),
        ("attachment; filename*=UTF-8''" + "x" * 5000 + ".pdf", "x" * 115 + "….pdf"),
        ("attachment; filename*=UTF-8''con.txt", "_con.txt"),
        ("attachment; filename*=UTF-8''%2E%2E", "file"),
    ],
)
async def test_names_are_kept_as_what_is_harmless_of_them(
    street: Street, disposition: str | None, kept: str
) -> None:
    sender = Sender(street)
    assert (await sender.begins(1, Content_Disposition=disposition)).status == 201
    [row] = await street.table("upload")
    assert row[2] == kept
    sender.visitor.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": None}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "1e3"}, 400),
        ({"Upload-Length": "\xb2"}, 400),
        ({"Upload-Length": "9" * 400}, 400),
        ({"Upload-Length": str(10**12)}, 413),
        ({"Origin": "http://elsewhere"}, 403),
        ({"Origin": None}, 403),
    ],
)
async def test_what_cannot_begin_is_refused_in_words(
    street: Street, headers: dict[str, str | None], status: int
) -> None:
    sender = Sender(street)
    answer = await sender.ask("POST", "/uploads", {"Upload-Length": "1", **headers})
    assert answer.status == status
    assert len(answer.text) > 20
    assert waiting(street) == {}
    sender.visitor.close()


async def test_bytes_do_not_come_before_there_is_a_place_for_them(street: Street) -> None:
    sender = Sender(street)
    answer = await sender.ask("POST", "/uploads", {"Upload-Length": "1"}, b"x")
    assert (answer.status, waiting(street)) == (400, {})
    sender.visitor.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/octet-stream"}, 415),
        ({"Content-Type": None}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Upload-Offset": None}, 400),
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": "1"}, 409),
        ({"Upload-Offset": "999999999999999"}, 409),
        ({"Upload-Complete": "1"}, 400),
        ({"Upload-Complete": "?1"}, 400),
        ({"Upload-Piece-CRC32": "0"}, 400),
        ({"Upload-Piece-CRC32": "00000000"}, 400),
        ({"Upload-Piece-CRC32": "xyzxyzxy"}, 400),
        ({"Origin": "http://elsewhere"}, 403),
    ],
)
async def test_a_piece_that_makes_no_sense_is_refused_in_words_and_changes_nothing(
    street: Street, headers: dict[str, str | None], status: int
) -> None:
    sender = Sender(street)
    await sender.begins()
    answer = await sender.ask("PATCH", sender.to, {**PIECE, "Upload-Offset": "0", **headers}, b"film")
    assert answer.status == status
    assert len(answer.text) > 20
    if status == 409:
        assert answer.headers["Upload-Offset"] == "0"
    assert list(waiting(street).values()) == [b""]
    assert standing(await sender.sends(0, b"film")) == (204, "4", "?0")
    sender.visitor.close()


@pytest.mark.parametrize(
    "path",
    ["/uploads/", "/uploads/x", "/uploads/../hub.db", "/uploads/%2e%2e%2fhub.db", "/uploads/" + "0" * 32],
)
async def test_no_address_leads_anywhere_else(street: Street, path: str) -> None:
    sender = Sender(street)
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        answer = await sender.ask(method, path, {**PIECE, "Upload-Offset": "0"})
        assert answer.status == 404
    assert (street.data / "hub.db").exists()
    sender.visitor.close()


# --- clients that misbehave -----------------------------------------------------------------------


async def opens(
    street: Street, sender: Sender, *fields: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the head of a PATCH was sent."""
    port = street.hub.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [
        f"PATCH {sender.to} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Origin: http://127.0.0.1:{port}",
        "Content-Type: application/partial-upload",
        "Upload-Offset: 0",
        *fields,
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    return reader, writer


async def becomes_busy(street: Street, *, busy: bool = True) -> None:
    """Wait until the hub reads a piece, or has done with it."""
    for _ in range(300):
        if bool(street.hub.uploads._busy) is busy:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"busy is not {busy}")


@pytest.mark.parametrize("checked", [False, True])
async def test_a_connection_that_is_cut_keeps_what_came_unless_it_was_to_be_checked(
    street: Street, checked: bool
) -> None:
    sender = Sender(street)
    await sender.begins()
    crc32 = [f"Upload-Piece-CRC32: {zlib.crc32(FILM):08x}"] if checked else []
    _, writer = await opens(street, sender, f"Content-Length: {len(FILM)}", *crc32)
    writer.write(FILM[:200_000])
    await writer.drain()
    await becomes_busy(street)
    await asyncio.sleep(0.1)  # for what is in the kernel's hands
    writer.transport.abort()
    await becomes_busy(street, busy=False)
    kept = 0 if checked else 200_000
    assert standing(await sender.looks()) == (204, str(kept), "?0")
    whole = await sender.sends(kept, FILM[kept:])
    assert standing(whole) == (204, str(len(FILM)), "?1")
    sender.visitor.close()


async def test_while_a_piece_comes_another_is_refused_and_spoils_nothing(street: Street) -> None:
    sender = Sender(street)
    await sender.begins()
    reader, writer = await opens(street, sender, f"Content-Length: {len(FILM)}")
    writer.write(FILM[:1000])
    await writer.drain()
    await becomes_busy(street)
    assert standing(await sender.sends(0, b"y" * 1000)) == (409, "0", "?0")
    writer.write(FILM[1000:])
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 204")
    assert list(waiting(street).values()) == [FILM]
    writer.close()
    sender.visitor.close()


async def test_one_byte_a_second_is_told_to_come_closer_and_keeps_what_came(street: Street) -> None:
    sender = Sender(street)
    await sender.begins()
    reader, writer = await opens(street, sender, f"Content-Length: {len(FILM)}")
    for byte in b"film":
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert b"Upload-Offset: 4\r\n" in head
    assert list(waiting(street).values()) == [b"film"]
    writer.close()
    sender.visitor.close()


async def test_chunks_of_unknown_length_arrive_and_too_many_are_refused(street: Street) -> None:
    sender = Sender(street)
    await sender.begins(8)
    reader, writer = await opens(street, sender, "Transfer-Encoding: chunked")
    writer.write(b"4\r\nfilm\r\n0\r\n\r\n")
    assert b"Upload-Offset: 4" in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    answer = await sender.sends(
        4, b"\r\n".join([b"9", b"x" * 9, b"0", b"", b""]), Transfer_Encoding="chunked", Content_Length=None
    )
    assert answer.status in (400, 409)
    assert list(waiting(street).values()) == [b"film"]
    sender.visitor.close()


async def test_who_asks_first_hears_no_before_sending(street: Street) -> None:
    sender = Sender(street)
    await sender.begins()
    reader, writer = await opens(street, sender, f"Content-Length: {len(FILM) + 1}", "Expect: 100-continue")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    writer.close()
    reader, writer = await opens(street, sender, f"Content-Length: {len(FILM)}", "Expect: 100-continue")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(FILM)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
    writer.close()
    sender.visitor.close()


# --- from a terminal ------------------------------------------------------------------------------


async def test_curl_sends_a_file_and_goes_on_in_the_middle(street: Street, tmp_path: Path) -> None:
    curl = program("curl", "curl")
    site = f"http://127.0.0.1:{street.hub.port}"
    film = tmp_path / "film.mp4"
    film.write_bytes(FILM)

    async def says(*words: str) -> str:
        command = [str(curl), "-sS", "-i", "-H", f"Origin: {site}", *words]
        done = await in_thread(lambda: subprocess.run(command, capture_output=True, text=True, timeout=9))
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    begun = await says(
        "-X", "POST", f"{site}/uploads", "-H", f"Upload-Length: {len(FILM)}", "-H", "Upload-Complete: ?0",
        "-H", "Content-Disposition: attachment; filename*=UTF-8''film.mp4",
    )  # fmt: skip
    address = site + re.search(r"(?m)^Location: (\S+)", begun)[1]  # type: ignore[index]
    piece = ("-X", "PATCH", address, "-H", "Content-Type: application/partial-upload")
    half = tmp_path / "half"
    half.write_bytes(FILM[:400_000])
    await says(*piece, "-H", "Upload-Offset: 0", "-T", str(half))
    assert "Upload-Offset: 400000" in await says("-I", address)
    whole = await says(
        *piece, "-H", "Upload-Offset: 400000", "-H", "Upload-Complete: ?1", "-C", "400000", "-T", str(film)
    )
    assert "Upload-Complete: ?1" in whole
    assert list(waiting(street).values()) == [FILM]
