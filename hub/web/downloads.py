"""Files on their way to a browser: whole, in part, or many of them as one archive.

What is sent here was uploaded by anybody, so it must not run in the hub's origin: types come from a
list of what cannot run, browsers may not guess others, and all but the types of that list is saved
instead of shown. What a browser needs to show a type was tried in Chromium and is in `_POLICIES`.

A file that is a blob never changes, so its SHA-256 is its ETag and a download goes on where it was cut
off. ``If-Range`` is compared here because aiohttp 3.14 reads only dates there and would join two
versions into one file.

Bytes go from the page cache to the socket by ``sendfile(2)`` on a second descriptor of the socket, and
not by ``loop.sendfile``, which waits for ever when its connection is cut, and which stops the event
loop while a slow card is read. Pages that are not in memory are read in a thread first.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import quote

from aiohttp import web
from multidict import CIMultiDict

from hub.domain.errors import HubError
from hub.domain.files import Family, Media
from hub.domain.zipping import Entry, Slice, ZipLayout
from hub.runtime.content import FOREVER_MS
from hub.web.connections import GuardedConnection
from hub.words import N_

SMALL = 64 * 1024
"""Bytes up to which a file is sent from memory: opening it costs more than sending it."""
WINDOW = 2 * 1024 * 1024
"""Bytes that are in memory before a connection sends them."""
_TURN = 256 * 1024
"""Bytes that a connection sends before others have their turn."""
_GATHERED = 256 * 1024
"""Bytes of small files and headers of an archive that are sent at once."""
_STRIDE = 128 * 1024
"""Linux reads ahead this much at a time, so what is in memory is asked once for each."""

_DEAD = "sandbox; default-src 'none'"
_SHOWN = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"
"""For what is no sandbox; the one image that browsers ask for is the hub's icon, for the tab."""
_POLICIES: Mapping[Family, str] = {
    # Browsers lay out a lone picture with inline styles of their own.
    Family.PICTURE: "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    Family.TEXT: _DEAD,
    # A sandbox breaks the PDF viewers of Safari and older Chrome. Script in a PDF has no window, no
    # document and no requests, and a form in one comes from the origin "null", which the hub refuses.
    Family.PDF: _SHOWN,
    # A lone film asks for itself again, with CORS, which a sandboxed document may not.
    Family.SOUND: f"{_SHOWN}; media-src 'self'",
    Family.FILM: f"{_SHOWN}; media-src 'self'",
    Family.OTHER: _DEAD,
}
"""The least that lets a browser show each family as a page of its own."""

_RANGE = re.compile(r"bytes=[ \t]*(?:([0-9]{1,30})-([0-9]{1,30})?|-([0-9]{1,30}))[ \t]*", re.IGNORECASE)
"""One range (RFC 9110 14.1.2). Several are rare and may be answered with the whole (14.2)."""
_TAG = re.compile(r'(W/)?("[^"]*")|\*')


class Damaged(HubError):
    """The hub's copy of a file is not as long as it should be."""

    code = "file-damaged"
    status = 500
    template = N_(
        "The hub’s copy of this file is damaged, so it is not sent. Tell the person who looks after the hub."
    )


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Answer with the file at ``path``, which has ``size`` bytes and that SHA-256 and never changes.

    ``name`` is what it is called where it is saved; shown by the browser if ``inline`` and ``media`` can
    be. ``until_ms``, ``keep`` and ``shared`` are as in `hub.runtime.content.Content`.
    """

    path: Path
    size: int
    sha256: str
    name: str
    media: Media
    inline: bool
    until_ms: int = FOREVER_MS
    keep: bool = True
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """A file in an `Archive`. ``name`` is a plain file's, that no other file of the archive has."""

    path: Path
    size: int
    sha256: str
    crc32: int
    name: str
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Archive:
    """Answer with a ZIP of ``files``, saved as ``name``; times in it are as clocks in ``zone`` show them.

    ``keep`` is False for what only this asker may see.
    """

    files: tuple[Packed, ...]
    name: str
    zone: tzinfo
    keep: bool = True


Download = FileBytes | Archive


class Part(NamedTuple):
    """How a request is answered: ``status`` 200, 206, 304, 412 or 416, and the bytes to be sent."""

    status: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A small file, read. ``headers`` are those of the whole."""

    file: FileBytes
    body: bytes
    etag: str
    headers: CIMultiDict[str]


class Delivery:
    """A download whose answer is decided and whose first bytes are there; `send` it at once."""

    def __init__(self, part: Part, headers: CIMultiDict[str], source: _Source, first: _Run | None) -> None:
        self._part = part
        self._headers = headers
        self._source = source
        self._first = first

    async def send(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send all of it. Raises ConnectionError when the client leaves, or a file ends too early."""
        response = web.StreamResponse(status=self._part.status, headers=self._headers)
        response.content_length = self._part.length
        try:
            await response.prepare(request)
            run = self._first
            while run is not None:
                if run.head:
                    await response.write(run.head)
                if run.length:
                    await _send_file(request, self._source, run)
                run = None if run.last else await asyncio.to_thread(self._source.next)
            await response.write_eof()
        except (EOFError, FileNotFoundError) as error:
            raise ConnectionAbortedError("a file ended before it was all sent") from error
        finally:
            await asyncio.to_thread(self._source.close)
        return response


async def fetch(request: web.BaseRequest, wanted: Download) -> Loaded | Delivery:
    """Get ``wanted`` ready to be sent in answer to ``request``.

    Raises FileNotFoundError when a file is not there (any more), and Damaged when one has another length.
    """
    if isinstance(wanted, FileBytes) and wanted.size <= SMALL:
        return await asyncio.to_thread(_load, wanted)
    source = _Source(wanted.files if isinstance(wanted, Archive) else (wanted,))
    try:
        return await asyncio.to_thread(_begin, request.method, request.headers, wanted, source)
    except BaseException:
        await asyncio.to_thread(source.close)
        raise


def _load(file: FileBytes) -> Loaded:
    with file.path.open("rb") as opened:
        body = opened.read(file.size + 1)
    if len(body) != file.size:
        raise Damaged
    return Loaded(file, body, _etag(file), _headers_of_file(file))


def _begin(method: str, asked: Mapping[str, str], wanted: Download, source: _Source) -> Delivery:
    layout = None
    if isinstance(wanted, FileBytes):
        size, etag, headers = wanted.size, _etag(wanted), _headers_of_file(wanted)
    else:
        entries = (Entry(each.name, each.size, each.crc32, each.modified_ms) for each in wanted.files)
        layout = ZipLayout(entries, wanted.zone)
        size, etag = layout.length, _etag_of_archive(wanted, layout)
        headers = _headers(wanted.name, etag, "application/zip", _DEAD, inline=False, keep=wanted.keep)
    part = part_asked(method, asked, etag, size)
    headers = headers_of(part, headers, size)
    if part.status >= 300:
        return Delivery(part, headers, source, None)
    source.require()
    if method == "HEAD":
        return Delivery(part, headers, source, None)
    stop = part.start + part.length
    segments = layout.segments(part.start, stop) if layout else iter([Slice(0, part.start, part.length)])
    return Delivery(part, headers, source, source.begin(segments))


# --- what is asked, and how it is answered -----------------------------------------------------------


def part_asked(method: str, asked: Mapping[str, str], etag: str, size: int) -> Part:
    """What a GET or HEAD with the header fields ``asked`` gets of ``size`` bytes known as ``etag``.

    Conditions in the order of RFC 9110 13.2.2. No dates are compared, because none is sent.
    """
    if "If-Match" in asked and not _matches(asked["If-Match"], etag, weak=False):
        return Part(412, 0, 0)
    if "If-None-Match" in asked and _matches(asked["If-None-Match"], etag, weak=True):
        return Part(304, 0, 0)
    whole = Part(200, 0, size)
    if method != "GET" or "Range" not in asked or not size:
        return whole
    if "If-Range" in asked and asked["If-Range"].strip() != etag:
        return whole  # 13.1.5: another version, or a date
    found = _RANGE.fullmatch(asked["Range"].strip())
    if found is None:
        return whole
    if found[3] is not None:
        last = int(found[3])
        return Part(206, max(size - last, 0), min(last, size)) if last else Part(416, 0, 0)
    first, stop = int(found[1]), size if found[2] is None else int(found[2]) + 1
    if stop <= first and found[2] is not None:
        return whole  # 14.1.1: no range at all
    return Part(206, first, min(stop, size) - first) if first < size else Part(416, 0, 0)


def headers_of(part: Part, headers: CIMultiDict[str], size: int) -> CIMultiDict[str]:
    """The header fields of an answer with ``part`` of ``size`` bytes, from those of the whole."""
    if part.status == 200:
        return headers
    if part.status == 206:
        some = CIMultiDict(headers)
        some["Content-Range"] = f"bytes {part.start}-{part.start + part.length - 1}/{size}"
        return some
    some = CIMultiDict((name, headers[name]) for name in ("ETag", "Cache-Control") if name in headers)
    if part.status == 416:
        some["Content-Range"] = f"bytes */{size}"
    return some


def answer_from_memory(
    request: web.BaseRequest, body: bytes, etag: str, headers: CIMultiDict[str]
) -> web.Response:
    """What ``request`` asks of ``body``; ``headers`` are those of the whole."""
    part = part_asked(request.method, request.headers, etag, len(body))
    if part.status == 200:
        return web.Response(body=body, headers=headers)
    some = body[part.start : part.start + part.length]
    return web.Response(body=some, status=part.status, headers=headers_of(part, headers, len(body)))


def _matches(field: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags has ours (RFC 9110 8.8.3.2); ours is strong."""
    return any(
        found[0] == "*" or (found[2] == etag and (weak or not found[1])) for found in _TAG.finditer(field)
    )


def _etag(file: FileBytes) -> str:
    return f'"{file.sha256}"'


def _headers_of_file(file: FileBytes) -> CIMultiDict[str]:
    family = file.media.family
    inline = file.inline and family is not Family.OTHER
    policy = _POLICIES[family] if inline else _DEAD
    return _headers(file.name, _etag(file), file.media.type, policy, inline=inline, keep=file.keep)


def _headers(name: str, etag: str, type_: str, policy: str, *, inline: bool, keep: bool) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            "Content-Type": type_,
            "Content-Disposition": disposition(name, inline=inline),
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Accept-Ranges": "bytes",
            "ETag": etag,
            # The bytes never change, but whether they may be seen does: a browser has to ask each time.
            "Cache-Control": "no-cache" if keep else "no-store",
        }
    )


def disposition(name: str, *, inline: bool) -> str:
    """A Content-Disposition field (RFC 6266) with ``name`` in any script, and in ASCII for old software."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    stem, dot, ending = re.sub(r'[^ -~]+|["\\%]', "_", plain).rpartition(".")
    if not dot:
        stem, ending = ending, ""
    if not any(char.isalnum() for char in stem):
        stem = "file"
    plain = stem + dot + ending
    field = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    if plain == name:
        return field
    # RFC 8187 3.2.1: what else may stand as it is.
    return f"{field}; filename*=UTF-8''{quote(name.encode(errors='replace'), safe='!#$&+-.^_`|~')}"


def _etag_of_archive(archive: Archive, layout: ZipLayout) -> str:
    sums = hashlib.sha256()
    for piece in layout.segments():
        sums.update(piece if isinstance(piece, bytes) else bytes.fromhex(archive.files[piece.entry].sha256))
    return f'"{sums.hexdigest()}"'


# --- the bytes ---------------------------------------------------------------------------------------


class _Run(NamedTuple):
    """``head``, then ``length`` bytes from ``offset`` of the open ``file`` (if that is not 0)."""

    head: bytes
    file: int
    offset: int
    length: int
    last: bool


class _Source:
    """The bytes of a download, in order. All of it blocks: call it in a thread.

    Raises OSError when a file is gone or cannot be read, and EOFError when one ends too early. It may
    be closed while a thread that nobody waits for any more still reads.
    """

    def __init__(self, files: Sequence[FileBytes | Packed]) -> None:
        self._files = files
        self._segments: Iterator[bytes | Slice] = iter(())
        self._next: bytes | Slice | None = None
        self._file = -1
        self._closed = False
        self._lock = threading.Lock()

    def require(self) -> None:
        """Raise FileNotFoundError or Damaged unless every file is there in its full length."""
        for each in self._files:
            if each.path.stat().st_size != each.size:
                raise Damaged

    def begin(self, segments: Iterator[bytes | Slice]) -> _Run:
        """Set out what is to be sent; answers what comes first."""
        self._segments = segments
        self._next = next(segments, None)
        return self.next()

    def next(self) -> _Run:
        """What comes next: headers and small files, read; then at most one longer file, opened."""
        with self._lock:
            self._let_go()
            gathered = bytearray()
            offset = length = 0
            while self._next is not None and not length and len(gathered) < _GATHERED:
                if isinstance(self._next, bytes):
                    gathered += self._next
                else:
                    index, offset, length = self._next
                    self._open(index)
                    if length <= SMALL:
                        gathered += _pread(self._file, offset, length)
                        self._let_go()
                        length = 0
                    else:
                        _read_ahead(self._file, offset, min(length, WINDOW))
                self._next = next(self._segments, None)
            return _Run(bytes(gathered), self._file, offset, length, self._next is None)

    def read_ahead(self, offset: int, length: int) -> None:
        """Have these bytes of the open file in memory, and as many after them on their way to it."""
        with self._lock:
            if not self._closed:
                _read_ahead(self._file, offset, length)

    def close(self) -> None:
        """Let go of the open file, if there is one."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _open(self, index: int) -> None:
        if self._closed:
            raise EOFError
        self._file = os.open(self._files[index].path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def _let_go(self) -> None:
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)


def _pread(file: int, offset: int, length: int) -> bytes:
    data = os.pread(file, length, offset)
    if len(data) != length:
        raise EOFError
    return data


def _read_ahead(file: int, offset: int, length: int) -> None:
    os.posix_fadvise(file, offset, 2 * length, os.POSIX_FADV_WILLNEED)
    # One call, and all of it into the same bytes, which nobody wants.
    os.preadv(file, [bytearray(_STRIDE)] * (length // _STRIDE + 1), offset)


def _in_memory(file: int, offset: int, length: int) -> bool:
    """Whether these bytes can be sent without waiting for the disk, as far as the kernel tells."""
    byte = [bytearray(1)]
    try:
        return all(
            os.preadv(file, byte, at, os.RWF_NOWAIT)
            for at in (*range(offset, offset + length, _STRIDE), offset + length - 1)
        )
    except OSError:  # they are not there, or the file system does not tell
        return False


async def _send_file(request: web.BaseRequest, source: _Source, run: _Run) -> None:
    """Send what ``run`` has of a file, after all that was written before. Raises EOFError, OSError."""
    connection, transport = cast(GuardedConnection, request.protocol), request.transport
    if transport is not None:
        transport.set_write_buffer_limits(0)
        try:
            await request.writer.drain()
        finally:
            transport.set_write_buffer_limits()
    if transport is None or transport.is_closing():
        raise _left()
    pump = _Pump(transport.get_extra_info("socket").fileno(), run.file)
    connection.when_lost = pump.give_up
    reading: asyncio.Future[None] | None = None
    end = run.offset + run.length
    try:
        for at in range(run.offset, end, WINDOW):  # the first window has been read by `_Source.next`
            if reading is not None:
                await reading
                reading = None
            after = at + WINDOW
            if after < end and not _in_memory(run.file, after, min(WINDOW, end - after)):
                reading = pump.loop.run_in_executor(None, source.read_ahead, after, min(WINDOW, end - after))
            if not os.fstat(run.file).st_nlink:
                raise EOFError  # erased: whoever has it half does not get the rest
            await pump.send(at, min(WINDOW, end - at))
    finally:
        if reading is not None:
            reading.cancel()
        connection.when_lost = None
        pump.close()


class _Pump:
    """Sends a file's bytes through a socket that a transport owns and does not write to meanwhile."""

    def __init__(self, socket: int, file: int) -> None:
        self.loop = asyncio.get_running_loop()
        self._socket = os.dup(socket)  # the loop lets nobody else wait for the transport's own
        self._file = file
        self._at = self._end = 0
        self._waiting = self._lost = False
        self._sent: asyncio.Future[None] | None = None

    async def send(self, offset: int, length: int) -> None:
        """Send these bytes; one call at a time.

        Raises EOFError when the file ends before, OSError when it cannot be read, and ConnectionError when
        the client is gone.
        """
        if self._lost:
            raise _left()
        self._at, self._end = offset, offset + length
        self._sent = sent = self.loop.create_future()
        self._push(sent)
        try:
            await sent
        finally:
            self._wait(None)

    def give_up(self) -> None:
        """The connection is lost."""
        self._lost = True
        if self._sent is not None and not self._sent.done():
            self._sent.set_exception(_left())

    def close(self) -> None:
        """Let go of the socket."""
        os.close(self._socket)

    def _push(self, sent: asyncio.Future[None]) -> None:
        if sent.done():
            return
        try:
            count = os.sendfile(self._socket, self._file, self._at, min(_TURN, self._end - self._at))
        except BlockingIOError:
            self._wait(sent)
        except OSError as error:
            sent.set_exception(error if error.errno == errno.EIO else _left())
        else:
            self._at += count
            if not count:
                sent.set_exception(EOFError())
            elif self._at == self._end:
                sent.set_result(None)
            else:
                self._wait(sent)

    def _wait(self, sent: asyncio.Future[None] | None) -> None:
        if sent is not None and not self._waiting:
            self.loop.add_writer(self._socket, self._push, sent)
        elif self._waiting and sent is None:
            self.loop.remove_writer(self._socket)
        self._waiting = sent is not None


def _left() -> ConnectionResetError:
    return ConnectionResetError("the client has left")
