"""Blobs between hubs, over requests on the connections that sessions use (docs/protocol.md, "Blobs").

``GET /v1/blobs/{sha256}/pieces`` answers with the list of the hashes of a blob's pieces, and
``GET /v1/blobs/{sha256}`` with its bytes or a range of them. A hub may have what is named by something that
anybody may see here and that is exchanged with it; everything else is not there (404).

Pieces are asked for many at a time and checked one by one while they come, so a request costs no waiting
and a wrong byte is noticed in the piece that has it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from hub.domain.errors import HubError, NoRoom, NotFound
from hub.domain.fetching import HASH, PIECE, WrongBytes, bytes_of, length_of, pieces_in
from hub.domain.ids import HubId
from hub.domain.sharing import SetKey
from hub.runtime.routing import Route
from hub.services.fetching import Errand, Fetching
from hub.storage import fetching
from hub.storage.blobs import BlobStore
from hub.storage.database import Database
from hub.sync.listener import Call, CallHandler

_log = logging.getLogger(__name__)

LANES = 4
"""Requests to one neighbour at a time."""
AT_ONCE = 6
"""Requests of one neighbour that are answered at a time."""
CHUNK = 4 * PIECE
"""Bytes read from the card at a time."""
PATIENCE_S = 60.0
"""For the head of an answer, and then for each piece."""
_LISTED_A_SECOND = 5_000_000
"""How slowly a neighbour may read what it makes a list of, beyond that."""
_IN_FLIGHT = 12
"""Pieces of an errand in memory: half of them are checked at a time, if so many have come."""
_PAUSES_S = (1.0, 5.0, 20.0, 60.0)
"""After so many errands in a row that a neighbour left off."""

Ask = Callable[[str, Mapping[str, str]], Awaitable[aiohttp.ClientResponse]]
"""Sends a GET of a path with header fields to a neighbour: `hub.sync.transport.Caller.get` with its first two
arguments filled in. Raises `HubError`, `aiohttp.ClientError`, `OSError` or `TimeoutError`."""


# --- giving ------------------------------------------------------------------------------------------


class Giving:
    """Answers neighbours who ask for blobs."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        exchanged: Callable[[HubId], Awaitable[Collection[SetKey]]],
        now_ms: Callable[[], int],
        wanted: Callable[[str], Awaitable[None]],
    ) -> None:
        """``exchanged`` says which sets are exchanged with a hub now (`hub.domain.sharing.sets_between`);
        ``wanted`` is told the names of blobs that are not here and that a hub asks for which may have them.
        """
        self._database = database
        self._blobs = blobs
        self._exchanged = exchanged
        self._now_ms = now_ms
        self._wanted = wanted
        self._busy: Counter[HubId] = Counter()
        self._turn = asyncio.Lock()

    def routes(self) -> list[Route[CallHandler]]:
        """For the listener."""
        return [
            Route("GET", "/v1/blobs/{sha256}/pieces", self.pieces),
            Route("GET", "/v1/blobs/{sha256}", self.content),
        ]

    async def pieces(self, call: Call) -> web.StreamResponse:
        """The list of the hashes of a blob's pieces, as far as it is made at once."""
        return await self._answer(call, self._send_list)

    async def content(self, call: Call) -> web.StreamResponse:
        """A blob, or the range of it that is asked for."""
        return await self._answer(call, self._send_bytes)

    async def _answer(
        self, call: Call, send: Callable[[web.BaseRequest, str, _File], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._busy[call.hub] >= AT_ONCE:
            return web.Response(status=503)
        self._busy[call.hub] += 1
        try:
            sha256 = call.names["sha256"]
            file = await self._open(call.hub, sha256)
            try:
                return await send(call.request, sha256, file)
            finally:
                await asyncio.to_thread(file.close)
        except NotFound:
            return web.Response(status=404)
        except (EOFError, OSError) as error:  # of the head and the length that are sent already
            raise ConnectionAbortedError("a blob ended before it was all sent") from error
        finally:
            self._busy[call.hub] -= 1
            if not self._busy[call.hub]:
                del self._busy[call.hub]

    async def _open(self, hub: HubId, sha256: str) -> _File:
        """The file of a blob that ``hub`` may have; raises `NotFound`."""
        path = self._blobs.path(sha256)
        sets, now_ms = frozenset(await self._exchanged(hub)), self._now_ms()
        if not await self._database.read_with(
            lambda connection: fetching.may_have(connection, sha256, sets, now_ms)
        ):
            raise NotFound
        try:
            return await asyncio.to_thread(_File, path)
        except OSError as error:
            await self._wanted(sha256)
            raise NotFound from error

    async def _send_list(self, request: web.BaseRequest, sha256: str, file: _File) -> web.StreamResponse:
        size = file.size
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.content_length = HASH * pieces_in(size)
        known = await self._database.read_with(lambda connection: fetching.list_of(connection, sha256))
        await response.prepare(request)
        if known is not None and len(known) == response.content_length:
            await response.write(known)
        else:
            made = []
            for at in range(0, size, CHUNK):
                async with self._turn:  # others' lists are made in between
                    made.append(await asyncio.to_thread(file.hashes, at))
                await response.write(made[-1])
            hashes = b"".join(made)
            with suppress(NoRoom):  # it is made again, then
                await self._database.note(lambda connection: fetching.note_list(connection, sha256, hashes))
        await response.write_eof()
        return response

    async def _send_bytes(self, request: web.BaseRequest, sha256: str, file: _File) -> web.StreamResponse:
        size = file.size
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        start, stop = 0, size
        if "Range" in request.headers:
            found = _RANGE.fullmatch(request.headers["Range"])
            start, stop = (int(found[1]), int(found[2]) + 1) if found else (0, 0)
            if not start < stop <= size:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        response = web.StreamResponse(status=206 if "Content-Range" in headers else 200, headers=headers)
        response.content_length = stop - start
        await response.prepare(request)
        if start < stop:
            await _send(response, file, start, stop)
        await response.write_eof()
        return response


_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})")


class _File:
    """A blob's file, which may be closed while a thread that nobody waits for reads it. All of it blocks."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, at: int, most: int) -> bytes:
        """Bytes from ``at`` on. Raises EOFError where there are none, and once the blob was erased."""
        with self._lock:
            data = os.pread(self._descriptor, most, at) if self._descriptor >= 0 else b""
            if not data or not os.fstat(self._descriptor).st_nlink:
                raise EOFError
        return data

    def hashes(self, at: int) -> bytes:
        """The hashes of the pieces that begin within the next `CHUNK` bytes."""
        data = memoryview(self.read(at, CHUNK))
        pieces = (data[first : first + PIECE] for first in range(0, len(data), PIECE))
        return b"".join(hashlib.sha256(piece).digest() for piece in pieces)

    def close(self) -> None:
        """Let it go."""
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1


async def _send(response: web.StreamResponse, file: _File, start: int, stop: int) -> None:
    """Send these bytes of a file, reading ahead."""

    def begin() -> asyncio.Future[bytes]:
        return loop.run_in_executor(None, file.read, start, min(CHUNK, stop - start))

    loop = asyncio.get_running_loop()
    ahead = begin()
    try:
        while start < stop:
            data = await ahead
            start += len(data)
            if start < stop:
                ahead = begin()
            await response.write(data)
    finally:
        ahead.cancel()


# --- fetching ----------------------------------------------------------------------------------------


class _Lacks(Exception):
    """The neighbour does not have the blob, or another under that name."""


class _LeftOff(Exception):
    """The neighbour stopped in the middle, or was too slow."""


class _NobodyThere(Exception):
    """The neighbour cannot be asked at all."""


@dataclass(slots=True)
class Traffic:
    """What was fetched since the start: bytes of bodies, and requests."""

    bytes: int = 0
    requests: int = 0


class Fetcher:
    """Brings what is missing from connected neighbours."""

    def __init__(self, fetching: Fetching, *, lanes: int = LANES, patience_s: float = PATIENCE_S) -> None:
        self.traffic = Traffic()
        self._fetching = fetching
        self._lanes = lanes
        self._patience_s = patience_s

    async def run_with(self, hub: HubId, ask: Ask) -> None:
        """Fetch from ``hub``, which is asked with ``ask``, until it cannot be asked any more."""
        self._fetching.meet(hub)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._lanes):
                    group.create_task(self._lane(hub, ask))
        except* _NobodyThere:
            pass
        finally:
            self._fetching.part(hub)

    async def _lane(self, hub: HubId, ask: Ask) -> None:
        failures = 0
        while True:
            errand = await self._fetching.next_errand(hub)
            if await self._run(hub, ask, errand):
                failures = 0
                continue
            await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
            failures += 1

    async def _run(self, hub: HubId, ask: Ask, errand: Errand) -> bool:
        """Carry out an errand; whether the neighbour answered as neighbours do."""
        try:
            if errand.span:
                await self._bring(ask, errand)
            else:
                await self._bring_list(ask, errand)
            await self._fetching.done(hub, errand)
        except _Lacks:
            await self._fetching.lacks(hub, errand)
        except WrongBytes:
            await self._fetching.lied(hub, errand)
        except _LeftOff:
            await self._fetching.broke_off(hub, errand)
            return False
        except HubError as error:  # erased meanwhile, or the card has no room: not the neighbour's fault
            _log.debug("an errand was given up", extra={"code": error.code})
            await self._fetching.broke_off(hub, errand, stalled=False)
        except BaseException:
            await self._fetching.broke_off(hub, errand, stalled=False)
            raise
        return True

    async def _bring_list(self, ask: Ask, errand: Errand) -> None:
        ref = errand.ref
        size = HASH * pieces_in(ref.size)
        with _blaming():
            async with asyncio.timeout(self._patience_s + ref.size / _LISTED_A_SECOND):
                async with self._answer(ask, f"/v1/blobs/{ref.sha256}/pieces", {}, 200) as answer:
                    if answer.content_length != size:
                        raise _Lacks
                    hashes = await answer.content.readexactly(size)
        self.traffic.bytes += size
        try:
            await self._fetching.take_list(errand, hashes)
        except WrongBytes as error:  # whether the neighbour is wrong or the record, nobody can say
            raise _Lacks from error

    async def _bring(self, ask: Ask, errand: Errand) -> None:
        start, stop = bytes_of(errand.ref, errand.span)
        fields = {"Range": f"bytes={start}-{stop - 1}"}
        with _blaming():
            async with asyncio.timeout(self._patience_s) as limit:
                async with self._answer(ask, f"/v1/blobs/{errand.ref.sha256}", fields, 206) as answer:
                    if answer.headers.get("Content-Range") != f"bytes {start}-{stop - 1}/{errand.ref.size}":
                        raise _Lacks
                    if answer.content_length != stop - start:
                        raise WrongBytes
                    await self._take(errand, answer, limit)

    async def _take(self, errand: Errand, answer: aiohttp.ClientResponse, limit: asyncio.Timeout) -> None:
        """Hand on pieces as they come, checking some while others are on their way."""
        clock = asyncio.get_running_loop().time
        intake = _Intake(errand, answer.content)
        left_off: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._check(errand, intake))
                try:
                    for piece in errand.span:
                        limit.reschedule(None)  # a slow card here is no fault of theirs
                        room = await intake.room()
                        limit.reschedule(clock() + self._patience_s)
                        await intake.fill(piece, room)
                        self.traffic.bytes += length_of(errand.ref.size, piece)
                except (aiohttp.ClientError, OSError, _LeftOff) as error:
                    left_off = error
                limit.reschedule(None)
                intake.end()  # what has come is checked and kept
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        if left_off is not None:
            raise left_off

    async def _check(self, errand: Errand, intake: _Intake) -> None:
        try:
            while batch := await intake.batch():
                await self._fetching.put(errand, batch)
                intake.empty(batch)
        except asyncio.CancelledError:  # what has come is kept
            intake.end()
            while batch := await intake.batch():
                await self._fetching.put(errand, batch)
            raise

    @asynccontextmanager
    async def _answer(
        self, ask: Ask, path: str, fields: Mapping[str, str], status: int
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        self.traffic.requests += 1
        try:
            answer = await ask(path, {**fields, "Accept-Encoding": "identity"})
        except HubError as error:
            raise _NobodyThere from error
        async with answer:
            if answer.status in (404, 416):
                raise _Lacks
            if answer.status != status or "Content-Encoding" in answer.headers:
                raise _LeftOff
            yield answer


Piece = tuple[int, Sequence[memoryview]]


class _Intake:
    """The pieces of an errand between the network and the check, in memory that is used over and over."""

    def __init__(self, errand: Errand, content: aiohttp.StreamReader) -> None:
        self._ref = errand.ref
        self._content = content
        self._rest = memoryview(b"")
        """What came with the end of the last piece."""
        self._to_make = _IN_FLIGHT
        self._rooms: asyncio.Queue[bytearray] = asyncio.Queue()
        self._full: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._ended = False

    async def room(self) -> bytearray:
        """Memory for a piece, once there is any."""
        if self._rooms.empty() and self._to_make:
            self._to_make -= 1
            return bytearray(min(PIECE, self._ref.size))
        return await self._rooms.get()

    async def fill(self, piece: int, room: bytearray) -> None:
        """Wait for a piece to come into ``room``. Raises `_LeftOff`."""
        size, filled = length_of(self._ref.size, piece), 0
        view = memoryview(room)[:size]
        while filled < size:
            if not self._rest:
                data, _ = await self._content.readchunk()  # without joining what comes in parts
                self._rest = memoryview(data)
                if not self._rest:
                    raise _LeftOff
            part = self._rest[: size - filled]
            view[filled : filled + len(part)] = part
            filled += len(part)
            self._rest = self._rest[len(part) :]
        self._full.put_nowait((piece, [view]))

    def end(self) -> None:
        """Nothing more comes."""
        self._full.put_nowait(None)

    async def batch(self) -> list[Piece]:
        """The pieces that have come and were not handed out yet, in order; none at the end."""
        if self._ended:
            return []
        found = [await self._full.get()]
        while found[-1] is not None and not self._full.empty() and len(found) < _IN_FLIGHT // 2:
            found.append(self._full.get_nowait())
        self._ended = found[-1] is None
        return [each for each in found if each is not None]

    def empty(self, batch: list[Piece]) -> None:
        """The memory of a batch may be used again."""
        for _, (view,) in batch:
            assert isinstance(view.obj, bytearray)  # noqa: S101 - made above
            self._rooms.put_nowait(view.obj)


@contextmanager
def _blaming() -> Iterator[None]:
    """What goes wrong with a connection is `_LeftOff`."""
    try:
        yield
    except (aiohttp.ClientError, OSError, EOFError, TimeoutError) as error:
        raise _LeftOff from error


def over(session: aiohttp.ClientSession, base_url: str) -> Ask:
    """Ask the hub at ``base_url`` (``https://host:port``) with a client of one's own."""

    async def ask(path: str, fields: Mapping[str, str]) -> aiohttp.ClientResponse:
        return await session.get(f"{base_url}{path}", headers=fields, allow_redirects=False)

    return ask
