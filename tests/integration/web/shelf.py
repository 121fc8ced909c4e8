"""A listener with nothing behind it but what a test lays out, served as the hub's own pages are."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from hub.domain.errors import HubError, NotFound
from hub.domain.files import media_of
from hub.runtime.content import Content
from hub.runtime.routing import Route
from hub.web.connections import ConnectionLimits, GuardedServer
from hub.web.downloads import Archive, FileBytes, Packed
from hub.web.server import Answer, PageHandler, Site, Visit
from hub.words.catalogues import Catalogues

NOW_MS = 1_795_426_860_000
HOSTS = frozenset({"hub.local", "shelf.local", "127.0.0.1"})


class _Plain:
    async def error(self, visit: Visit, error: HubError) -> Content:
        sentence = visit.words.translate(error.template, **error.fields)
        return Content(sentence.encode(), "text/plain; charset=utf-8", error.status, keep=False)


@dataclass
class Shelf:
    """What is at which path of the server on ``port``; ``asked`` counts what pages were made."""

    folder: Path
    answers: dict[str, Answer | HubError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    received: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Origin of what came, whatever came of it."""
    later: dict[str, Answer | HubError] = field(default_factory=dict)
    """What is at a path from the second time that it is asked for."""
    port: int = 0

    def __post_init__(self) -> None:
        routes: list[Route[PageHandler]] = [
            Route(method, path, self._page)
            for method in ("GET", "POST")
            for path in ("/", "/{a}", "/{a}/{b}", "/{a}/{b}/{c}")
        ]
        self.site = Site(
            routes, _Plain(), Catalogues.load(), lambda: HOSTS, lambda: NOW_MS, lambda: "en"
        )  # fmt: skip
        self.server: GuardedServer

    async def _page(self, visit: Visit) -> Answer:
        self.asked.append(visit.request.path)
        path = visit.request.path
        answer = self.answers.get(path, NotFound())
        if path in self.later:
            self.answers[path] = self.later.pop(path)
        if isinstance(answer, HubError):
            raise answer
        return answer

    def file(self, path: str, data: bytes, name: str = "", **more: Any) -> FileBytes:
        """Lay out ``data`` at ``path`` as a file called ``name`` (the path's last part), shown inline."""
        sha256 = hashlib.sha256(data).hexdigest()
        at = self.folder / sha256
        at.write_bytes(data)
        name = name or path.rpartition("/")[2]
        fields: dict[str, Any] = {"media": media_of(name), "inline": True, "shared": True, **more}
        answer = FileBytes(at, len(data), sha256, name, **fields)
        self.answers[path] = answer
        return answer

    def archive(self, path: str, members: dict[str, bytes], name: str = "all.zip") -> Archive:
        """Lay out a ZIP of ``members`` at ``path``."""
        packed = []
        for member, data in members.items():
            sha256 = hashlib.sha256(data).hexdigest()
            at = self.folder / sha256
            at.write_bytes(data)
            packed.append(Packed(at, len(data), sha256, zlib.crc32(data), member, NOW_MS))
        answer = Archive(tuple(packed), name, UTC)
        self.answers[path] = answer
        return answer

    def html(self, path: str, text: str) -> None:
        """Lay out a page of the hub's own."""
        self.answers[path] = Content(text.encode(), "text/html; charset=utf-8", shared=True)


@asynccontextmanager
async def serving(folder: Path, **limits: Any) -> AsyncIterator[Shelf]:
    """An empty shelf that listens on 127.0.0.1, with these `ConnectionLimits`."""
    shelf = await asyncio.to_thread(Shelf, folder)

    async def handle(request: Any) -> Any:
        shelf.received.append((request.method, request.path_qs, request.headers.get("Origin", "")))
        return await shelf.site.handle(request)

    shelf.server = GuardedServer(handle, ConnectionLimits(**{"look_s": 0.05, "linger_s": 0.2, **limits}))
    bound = socket.create_server(("127.0.0.1", 0))
    shelf.port = bound.getsockname()[1]
    await shelf.server.listen(bound)
    try:
        yield shelf
    finally:
        await shelf.server.stop(0.1)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; field names in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


class Client:
    """One connection, with ``room`` bytes of receive buffer if that is not 0."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, room: int = 0) -> Client:
        """Connect to ``port`` of this machine."""
        own = socket.socket()
        if room:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=own, limit=2**16))

    def ask(self, path: str, method: str = "GET", **fields: str) -> None:
        """Send a request; header fields by their names with underscores."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: hub.local\r\n{lines}\r\n".encode("latin-1"))

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and header fields of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head[:-4].split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status.split()[1]), fields

    async def get(self, path: str, method: str = "GET", **fields: str) -> Reply:
        """Ask, and read the answer in full."""
        self.ask(path, method, **fields)
        status, got = await self.head()
        length = 0 if method == "HEAD" or status in (204, 304) else int(got.get("content-length", 0))
        return Reply(status, got, await self.reader.readexactly(length))

    async def rest(self) -> int:
        """How many bytes still come until the connection ends, however it ends."""
        count = 0
        with suppress(ConnectionError):
            while more := await self.reader.read(2**16):
                count += len(more)
        return count

    def close(self) -> None:
        """Hang up."""
        self.writer.transport.abort()


Connect = Callable[..., Awaitable[Client]]
