"""A hub in this process with a clock and chance that tests hold in their hands, and people who use it."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hub.api.admin import AdminApi, AdminEndpoint
from hub.api.advice import AdviceApi
from hub.api.courier import CourierApi
from hub.api.neighbours import NeighboursApi
from hub.app import Hub
from hub.domain.files import Collection
from hub.domain.notices import BlobRef, Picture
from hub.domain.policy import Reason
from hub.domain.submission import Typed
from hub.services.authorship import Asker
from hub.services.filekeeping import Wanted
from hub.services.fileshare import Arrival, Receipt, TypedFiles
from hub.services.finding import AnyMatch, CollectionMatch, FileMatch
from hub.services.noticeboard import PutUp
from hub.services.reporting import Reported

RULE = "1"
"""The number of a house rule that every hub has."""


class HallClock:
    """Both clocks of a hall: the wall clock in Unix ms, and the one that only runs forward."""

    def __init__(self, ms: int) -> None:
        self.ms = ms
        self.seconds = 1000.0

    def now_ms(self) -> int:
        """What the wall clock says."""
        return self.ms

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self.seconds

    def pass_time(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> int:
        """Let time pass on both clocks; answers the wall clock's."""
        passed = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        self.seconds += passed
        return self.put_right(seconds=passed)

    def put_right(self, *, days: float = 0, seconds: float = 0) -> int:
        """Move the wall clock only, as somebody who sets it does."""
        self.ms += round((days * 86_400 + seconds) * 1000)
        return self.ms


@dataclass(slots=True)
class Person:
    """Somebody with one device: what they do, as its pages would ask the noticeboard."""

    street: Street
    name: str
    address: str
    cookie: str | None = None
    phrases: dict[str, str] = field(default_factory=dict)
    """Take-down phrase by public id."""

    def asker(self, phrase: str = "") -> Asker:
        """Who the board is told is asking."""
        return Asker(self.cookie, self.address, phrase)

    async def puts_up(
        self,
        title: str = "Ladder to lend",
        text: str = "A ladder of three metres.",
        *,
        kind: str = "give",
        key: str = "",
        pictures: tuple[Picture, ...] = (),
        **typed: Any,
    ) -> PutUp:
        """Put up a notice, each from a form of its own unless ``key`` says which."""
        form = Typed(kind=kind, title=title, text=text, **typed)
        made = await self.street.hub.board.put_up(
            form, pictures, self.asker(), key or self.street.form_key(), "en"
        )
        return self._noted(made)

    async def answers(self, name: str, text: str = "I could use it.", *, key: str = "") -> PutUp:
        """Answer a notice."""
        made = await self.street.hub.board.answer(
            name, Typed(text=text, name=self.name), self.asker(), key or self.street.form_key(), "en"
        )
        return self._noted(made)

    async def changes(self, name: str, text: str, *, phrase: str = "", **typed: Any) -> bool:
        """Change a notice; True if the change waits."""
        form = Typed(**{"kind": "give", "title": "Ladder to lend", "text": text, **typed})
        return await self.street.hub.board.change(name, form, (), self.asker(phrase), "en")

    async def takes_down(self, name: str, *, phrase: str = "") -> None:
        """Take a notice or reply down."""
        await self.street.hub.board.take_down(name, self.asker(phrase))

    async def puts_back(self, name: str, *, phrase: str = "") -> None:
        """Put it back."""
        await self.street.hub.board.put_back(name, self.asker(phrase))

    async def adds(self, collection: Collection, *files: tuple[str, bytes], key: str = "") -> Receipt:
        """Put files into a collection, all of them with one form."""
        hub = self.street.hub
        arrivals = [Arrival(name, await hub.uploads.receive(in_pieces(data))) for name, data in files]
        receipt = await hub.share.put_up(
            collection.public_id,
            TypedFiles("", self.name),
            arrivals,
            self.asker(),
            key or self.street.form_key(),
            "en",
        )
        self.cookie = receipt.cookie or self.cookie
        if receipt.phrase:
            self.phrases |= {line.public_id: receipt.phrase for line in receipt.lines}
        return receipt

    async def reports(
        self, name: str, reason: Reason = Reason.THREAT, *, of: str = "notice", key: str = "", words: str = ""
    ) -> Reported:
        """Report a notice or reply."""
        made = await self.street.hub.reporting.report(
            name, of, reason, words, self.asker(), key or self.street.form_key()
        )
        self.cookie = made.cookie
        return made

    async def mark(self) -> str:
        """What caretakers call this person's device."""
        assert self.cookie is not None
        hash_ = self.street.hub.identity.veil("device", self.cookie.encode())
        [(mark,)] = await self.street.rows("SELECT mark FROM device WHERE hash = ?", hash_)
        return str(mark)

    def _noted(self, made: PutUp) -> PutUp:
        self.cookie = made.cookie or self.cookie
        if made.phrase:
            self.phrases[made.public_id] = made.phrase
        return made


@dataclass(slots=True)
class Street:
    """A hub and its people."""

    hub: Hub
    clock: HallClock
    data: Path
    people: dict[str, Person] = field(default_factory=dict)

    def person(self, name: str) -> Person:
        """The person of that name, who is met here for the first time or again."""
        address = f"192.168.4.{len(self.people) + 10}"
        return self.people.setdefault(name, Person(self, name, address))

    async def shelf(self, title: str = "Rotas", **wanted: Any) -> Collection:
        """A collection that a caretaker made."""
        return await self.hub.filekeeping.add_collection(Wanted(title=title, **wanted), "gwen")

    async def lies_in(self, collection: Collection) -> list[str]:
        """The names anybody sees in a collection, the oldest first."""
        shelf = await self.hub.share.collection(collection.public_id)
        return [file.name for file in reversed(shelf.files)]

    def form_key(self) -> str:
        """A key no form had before."""
        return secrets.token_hex(6)

    async def setting(self, key: str, value: str) -> None:
        """Change a live setting as a caretaker does."""
        await self.hub.preferences.change(key, value, "gwen", self.hub.caretaking)

    async def board(self) -> list[str]:
        """The titles anybody sees on the board, in order."""
        board = await self.hub.board.board()
        return [notice.title for notice in (*board.first, *board.notices)]

    async def found(self, query: str) -> list[str]:
        """The titles a search finds."""
        results = await self.hub.finding.search(query, None)
        return [_title(match) for match in results.matches]

    async def acts(self) -> list[str]:
        """The acts in the public ledger, oldest first."""
        return [str(entry.act) for entry in reversed(await self.hub.caretaking.ledger())]

    async def rows(self, sql: str, *parameters: Any) -> list[Any]:
        """What a statement finds in the database."""
        return await self.hub.database.read(sql, parameters)

    async def table(self, name: str) -> list[Any]:
        """Every row of a table, in order."""
        return await self.rows(f"SELECT * FROM {name} ORDER BY 1, 2")  # noqa: S608 - names in tests

    async def tamper(self, sql: str, *parameters: Any) -> None:
        """Change the database behind the hub's back."""
        await self.hub.database.write(lambda connection: connection.execute(sql, parameters).rowcount)

    async def picture(self, colour: int, alt: str = "") -> Picture:
        """A picture of one colour (0..255), kept as a blob, with a thumbnail."""
        full = await asyncio.to_thread(self._keep, _png(colour, 8))
        thumb = await asyncio.to_thread(self._keep, _png(colour, 4))
        return Picture(full, 8, 8, thumb, 4, 4, alt)

    def _keep(self, data: bytes) -> BlobRef:
        staged = self.hub.blobs.staging / f"{zlib.crc32(data):08x}"
        staged.write_bytes(data)
        return self.hub.blobs.keep(staged)


def _title(match: AnyMatch) -> str:
    match match:
        case FileMatch():
            return match.file.name
        case CollectionMatch():
            return match.collection.title
    return match.notice.title


async def in_pieces(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    """``data`` as it comes from a network."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


def _png(colour: int, side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = zlib.compress((b"\0" + bytes([colour]) * side) * side)
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


@pytest.fixture
def hall_clock() -> HallClock:
    """09:41 UTC on Monday 23 November 2026."""
    return HallClock(1_795_426_860_000)


OpenHub = Callable[..., Any]


@pytest.fixture
def open_street(data_folder: Path, hall_clock: HallClock, random_bytes: Callable[[int], bytes]) -> OpenHub:
    """``async with open_street(**flags) as street``: a hub on the test's data folder, not listening."""

    @asynccontextmanager
    async def opened(**flags: str) -> AsyncIterator[Street]:
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        hub = await Hub.open(data_folder, flags=dotted, clock=hall_clock, chance=random_bytes)
        try:
            yield Street(hub, hall_clock, data_folder)
        finally:
            await hub.close()

    return opened


@pytest_asyncio.fixture
async def street(open_street: OpenHub) -> AsyncIterator[Street]:
    """A fresh hub and its people."""
    async with open_street() as opened:
        yield opened


@pytest_asyncio.fixture
async def listening(
    data_folder: Path, hall_clock: HallClock, random_bytes: Callable[[int], bytes]
) -> AsyncIterator[Street]:
    """A hub that listens for residents (loopback, any free port) and for caretakers."""
    flags = {"web.port": "0", "web.listen": "127.0.0.1"}
    hub = await Hub.open(data_folder, flags=flags, clock=hall_clock, chance=random_bytes)
    await hub.start()
    try:
        yield Street(hub, hall_clock, data_folder)
    finally:
        await hub.stop()


async def in_thread(work: Callable[[], Any]) -> Any:
    """What blocking ``work`` gives: a client that talks to the hub of this very loop."""
    call: Awaitable[Any] = asyncio.to_thread(work)
    return await call


def admin_table(hub: Hub) -> list[AdminEndpoint]:
    """The caretakers' endpoints of ``hub``."""
    admin = AdminApi(
        hub.caretaking,
        hub.health,
        hub.preferences,
        hub.upkeep,
        hub.filekeeping,
        hub.scrubbing,
        hub.receipts,
        lambda: 1_795_426_860_000,
    )
    return [
        *admin.endpoints(),
        *NeighboursApi(hub.neighbours, hub.ingest).endpoints(),
        *CourierApi(hub.bundles, hub.neighbours).endpoints(),
        *AdviceApi(hub.advising, lambda: 1_795_426_860_000).endpoints(),
    ]


def raw(data: Path) -> sqlite3.Connection:
    """A connection of one's own to a hub's database, for looking and for damage."""
    return sqlite3.connect(data / "hub.db", isolation_level=None)
