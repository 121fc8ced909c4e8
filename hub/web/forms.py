"""Posted forms: text into memory, files into staging files, within limits and without losing what was typed.

Every error that reading raises carries the form as far as it was read, without its files, so that the
page can come back filled in. Once a form is refused, the rest of it is still read for a while: text
that comes after a picture counts, and a browser shows the answer only if it could send to the end.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from aiohttp.web_protocol import RequestPayloadError
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from hub.domain.errors import HubError, NoRoom, Refused
from hub.storage.incoming import Arrived
from hub.web.connections import READ_AHEAD, BodyTooSlow
from hub.words import N_

BATCH = 256 * 1024
"""Bytes that go to a staging file at once: a hop to a thread costs as much as writing some 100 kB."""
MAX_FIELD_NAME = 100
MAX_DISPLAY_NAME = 120
"""Characters of a field's name, and of a file's name as shown."""
MAX_BOUNDARY = 70
"""Characters (RFC 2046, section 5.1.1)."""
_MB = 1024 * 1024

_PAIR = re.compile(rb"[^&]+")
_NEWLINES = re.compile("\r\n?|[\u2028\u2029]")
_CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {0x09, 0x0A})
_HIDDEN = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)}
    | {0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF}
)
"""What has no place in a file's name: it breaks lines or turns the direction, which hides the true ending."""


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What one posted form may bring. Bytes, unless said otherwise."""

    body: int = 65 * _MB
    text: int = 64 * 1024
    """One text field; well beyond any field's own limit, so that a text that is too long comes back whole."""
    texts: int = 256 * 1024
    """All text fields together; also the whole of a form without files."""
    parts: int = 64
    files: int = 4
    """Numbers of fields and files together, and of files."""
    file: int = 16 * _MB
    drain: int = 32 * _MB
    drain_s: float = 10.0
    """How much and how many seconds of a refused form are still read."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that came with a form: ``field`` it came in, ``name`` for showing only, ``size`` in bytes.

    ``arrived`` is there where it was hashed and put on the card as it came.
    """

    field: str
    name: str
    path: Path
    size: int
    arrived: Arrived | None = None


class PostedForm:
    """The fields and files of a form. Close it, or use it with ``async with``, to remove the files."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        """Field names to their values in the order they came."""
        self.files: list[StagedFile] = []

    def first(self, name: str, default: str = "") -> str:
        """The first value of the field ``name``."""
        return self.texts.get(name, (default,))[0]

    def last(self, name: str, default: str = "") -> str:
        """The last value of the field ``name``: of a checkbox, the one after its hidden companion."""
        return self.texts.get(name, (default,))[-1]

    def all(self, name: str) -> list[str]:
        """All values of the field ``name``."""
        return list(self.texts.get(name, ()))

    def files_of(self, field: str) -> list[StagedFile]:
        """The files that were chosen in ``field``."""
        return [file for file in self.files if file.field == field]

    async def close(self) -> None:
        """Remove the staging files that are still where they were staged; may be called again."""
        paths = [file.path for file in self.files]
        self.files = []
        if paths:
            await asyncio.to_thread(_remove, paths)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class FormError(HubError):
    """A form could not be taken; ``form`` holds the text that was read, and no files."""

    code = "form-error"

    def __init__(self, form: PostedForm, **fields: object) -> None:
        self.form = form
        super().__init__(**fields)


class FormUnreadable(FormError, Refused):
    """The body is not the form it says it is, or it ends before its end."""

    code = "form-unreadable"
    status = 400
    template = N_(
        "What was sent did not arrive in one piece. Nothing was changed. "
        "Look through the form, choose pictures and files again, and send it once more."
    )


class FormWrongType(FormError, Refused):
    """The body is no form."""

    code = "form-wrong-type"
    status = 415
    template = N_("The hub expected a filled-in form. Nothing was changed. Use the form on the page.")


class FormTooLarge(FormError, Refused):
    """The form, one of its files, or their number is over a limit."""

    code = "form-too-large"
    status = 413
    template = N_(
        "That is more than the hub takes at once. The text you typed is kept. "
        "Choose at most {files} pictures of up to {megabytes} MB each, and send it again."
    )


class FormTooSlow(FormError, BodyTooSlow):
    """The form stopped coming."""

    code = "form-too-slow"
    status = 408
    template = BodyTooSlow.template


class FormNoRoom(FormError, NoRoom):
    """A file could not be staged: the card is full or cannot be written."""

    code = "form-no-room"
    status = 507
    template = NoRoom.template


class FileWriter(Protocol):
    """Where one file goes; ``path`` it lies at, ``size`` of what was written."""

    path: Path
    size: int

    async def write(self, data: bytes) -> None:
        """Append ``data``. Raises OSError, NoRoom."""

    async def complete(self) -> Arrived | None:
        """Nothing more comes. Raises OSError, NoRoom."""

    async def discard(self) -> None:
        """Remove it, also while a write is under way."""


class Place(Protocol):
    """Where the files of a form go."""

    def new_file(self) -> FileWriter:
        """The next file; nothing is there yet."""

    def read_ahead(self) -> int:
        """Bytes of a form that are worth having at hand before they are asked for."""


class Staging:
    """A folder for files that nobody has looked at yet.

    ``folder`` exists and is the hub's own; ``new_name`` gives a name that is not taken and that comes
    from no request.
    """

    def __init__(self, folder: Path, new_name: Callable[[], str]) -> None:
        self._folder = folder
        self._new_name = new_name

    def new_file(self) -> FileWriter:
        """The next file; nothing is there yet."""
        return _FileWriter(self._folder / self._new_name())

    def read_ahead(self) -> int:
        """As many as of any other body."""
        return READ_AHEAD

    def clear(self) -> None:
        """Remove what a run that was cut off left behind. Blocks; for the start, before any form."""
        _remove([path for path in self._folder.iterdir() if path.is_file()])


async def read_form(request: web.BaseRequest, limits: FormLimits, staging: Place) -> PostedForm:
    """The form that ``request`` brings, as multipart/form-data or application/x-www-form-urlencoded.

    Raises only :class:`FormError`, and its kinds, which leave no file behind.
    """
    headers = request.headers
    if headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise FormWrongType(PostedForm())
    length = request.content_length
    if headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.version >= HttpVersion11:
        if length is not None and length > limits.body:
            raise _too_large(PostedForm(), limits)
        await send_continue(request)
    content_type = headers.get(hdrs.CONTENT_TYPE, "")
    read = body_reader(request, staging.read_ahead())
    return await read_form_body(content_type, length, read, limits, staging)


async def read_form_body(
    content_type: str,
    length: int | None,
    read: Callable[[], Awaitable[bytes]],
    limits: FormLimits,
    staging: Place,
) -> PostedForm:
    """:func:`read_form` for a body whose pieces ``read`` returns, and ``b""`` at its end.

    ``length`` is the number of bytes announced, if any.
    """
    kind, options = parse_options_header(content_type)
    if kind == "application/x-www-form-urlencoded":
        reading: _Reading = _PairsReading(limits)
    elif kind == "multipart/form-data":
        reading = _PartsReading(limits, staging, options.get("boundary", ""))
    else:
        raise FormWrongType(PostedForm())
    if length is not None and length > limits.body:
        reading.refuse(FormTooLarge)
    try:
        await _read_to_end(reading, read, limits)
    except BaseException:
        await reading.give_up()
        raise
    if reading.refusal is None:
        return reading.form
    await reading.give_up()
    if reading.refusal is FormTooLarge:
        raise _too_large(reading.form, limits)
    raise reading.refusal(reading.form)


async def _read_to_end(reading: _Reading, read: Callable[[], Awaitable[bytes]], limits: FormLimits) -> None:
    received = 0
    left = limits.drain
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as patience:
            while left >= 0:
                if reading.refusal is not None and patience.when() is None:
                    patience.reschedule(loop.time() + limits.drain_s)
                try:
                    chunk = await read()
                except BodyTooSlow:
                    reading.refuse(FormTooSlow)
                    break
                except (RequestPayloadError, ConnectionError):
                    reading.refuse(FormUnreadable)
                    break
                if not chunk:
                    break
                received += len(chunk)
                if received > limits.body:
                    reading.refuse(FormTooLarge)
                if reading.refusal is not None:
                    left -= len(chunk)
                await reading.feed(chunk)
            await reading.end()
    except TimeoutError:
        await reading.end()


def clean_text(raw: bytes) -> str:
    """UTF-8 ``raw`` as text: line ends as ``\\n``, no other control characters but tabs."""
    return _NEWLINES.sub("\n", raw.decode("utf-8", "replace")).translate(_CONTROLS)


def clean_name(name: str) -> str:
    """What may be shown of a file's name: its last part, in NFC, nothing hidden, the ending kept."""
    shown = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1].translate(_HIDDEN))
    shown = " ".join(shown.split()).strip(". ")
    if len(shown) > MAX_DISPLAY_NAME:
        stem, dot, ending = shown.rpartition(".")
        tail = dot + ending if stem and len(ending) <= 10 else ""
        shown = shown[: MAX_DISPLAY_NAME - len(tail) - 1] + "…" + tail
    return shown


class _Reading:
    """A form on its way in. ``refusal`` is the first thing wrong with it."""

    def __init__(self, limits: FormLimits) -> None:
        self.form = PostedForm()
        self.refusal: type[FormError] | None = None
        self._limits = limits
        self._text_bytes = 0
        self._fields = 0

    def refuse(self, why: type[FormError]) -> None:
        """Do not take the form; what is read from here on is for its text only."""
        if self.refusal is None:
            self.refusal = why

    async def feed(self, chunk: bytes) -> None:
        """The next bytes of the body."""
        raise NotImplementedError

    async def end(self) -> None:
        """The body is over, or nothing more of it will be read."""
        raise NotImplementedError

    async def give_up(self) -> None:
        """Remove what was staged."""
        await self.form.close()

    def _room_for_field(self) -> bool:
        self._fields += 1
        if self._fields > self._limits.parts:
            self.refuse(FormTooLarge)
        return self._fields <= self._limits.parts

    def _keep_text(self, field: str, value: bytes) -> None:
        room = min(self._limits.text, self._limits.texts - self._text_bytes)
        if len(value) > room:
            self.refuse(FormTooLarge)
            value = value[:room]
        self._text_bytes += len(value)
        self.form.texts.setdefault(field, []).append(clean_text(value))


class _PairsReading(_Reading):
    """application/x-www-form-urlencoded (WHATWG URL, section 5.1)."""

    def __init__(self, limits: FormLimits) -> None:
        super().__init__(limits)
        self._raw = bytearray()

    async def feed(self, chunk: bytes) -> None:
        room = self._limits.texts - len(self._raw)
        if len(chunk) > room:
            self.refuse(FormTooLarge)
        self._raw += chunk[:room]

    async def end(self) -> None:
        for pair in _PAIR.finditer(self._raw):
            if not self._room_for_field():
                break
            name, _, value = pair[0].replace(b"+", b" ").partition(b"=")
            field = unquote_to_bytes(name).decode("utf-8", "replace")
            if _usable(field):
                self._keep_text(field, unquote_to_bytes(value))
            else:
                self.refuse(FormUnreadable)


class _PartsReading(_Reading):
    """multipart/form-data (RFC 7578)."""

    def __init__(self, limits: FormLimits, staging: Place, boundary: str) -> None:
        super().__init__(limits)
        self._staging = staging
        self._parser: PushMultipartParser | None = None
        if boundary.isascii() and boundary.isprintable() and 0 < len(boundary) <= MAX_BOUNDARY:
            # Latin-1 takes any bytes as they are, so that names can be read as UTF-8 without failing.
            self._parser = PushMultipartParser(boundary, header_charset="latin-1")
        else:
            self.refuse(FormUnreadable)
        self._part: MultipartSegment | None = None
        self._field = ""
        self._text = bytearray()
        self._file: FileWriter | None = None
        self._files = 0

    async def feed(self, chunk: bytes) -> None:
        if self._parser is None or self._parser.closed:
            return
        try:
            for event in self._parser.parse(chunk):
                if event is None:
                    await self._part_complete()
                elif isinstance(event, MultipartSegment):
                    self._part_begun(event)
                    if self._fields > self._limits.parts:
                        self._parser = None
                        return
                else:
                    await self._take(event)
        except MultipartError:
            self.refuse(FormUnreadable)
            self._parser = None

    async def end(self) -> None:
        if self._part is not None:
            self.refuse(FormUnreadable)
            await self._part_complete()
        if self._parser is not None:
            try:
                self._parser.close()
            except MultipartError:
                self.refuse(FormUnreadable)

    async def give_up(self) -> None:
        if self._file is not None:
            await self._file.discard()
        await super().give_up()

    def _part_begun(self, part: MultipartSegment) -> None:
        if not self._room_for_field():
            return
        field = _utf8(part.name)
        if not _usable(field):
            self.refuse(FormUnreadable)
            return
        self._part, self._field = part, field
        self._text = bytearray()

    async def _take(self, data: bytes) -> None:
        part = self._part
        if part is None:
            return
        if part.filename is None:
            # One byte over the limit is enough to tell that it is over.
            self._text += data[: self._limits.text + 1 - len(self._text)]
            return
        if part.bytes_received > self._limits.file:
            self.refuse(FormTooLarge)
        if await self._may_stage() and self._file is not None:
            try:
                await self._file.write(data)
            except (OSError, NoRoom):
                self.refuse(FormNoRoom)

    async def _part_complete(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        if part.filename is None:
            self._keep_text(self._field, bytes(self._text))
        elif (part.filename or part.bytes_received) and await self._may_stage() and self._file is not None:
            try:
                arrived = await self._file.complete()
            except (OSError, NoRoom):
                self.refuse(FormNoRoom)
                return
            path, size = self._file.path, self._file.size
            self._file = None
            name = clean_name(_utf8(part.filename))
            self.form.files.append(StagedFile(self._field, name, path, size, arrived))

    async def _may_stage(self) -> bool:
        """Whether the file that is coming is to be kept; opens its place, or removes it."""
        if self.refusal is None and self._file is None:
            self._files += 1
            if self._files <= self._limits.files:
                self._file = self._staging.new_file()
            else:
                self.refuse(FormTooLarge)
        if self.refusal is not None and self._file is not None:
            await self._file.discard()
            self._file = None
        return self._file is not None


class _FileWriter:
    """A new file that is written in a thread, in batches."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._batch = bytearray()
        self._file: BinaryIO | None = None
        self._at_work: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """Append ``data``. Raises OSError."""
        self._batch += data
        self.size += len(data)
        if len(self._batch) >= BATCH:
            await self._in_thread(self._write_batch)

    async def complete(self) -> None:
        """Write the rest and close. Raises OSError."""
        await self._in_thread(self._finish)

    async def discard(self) -> None:
        """Close and remove the file, also while a write is under way."""
        if self._at_work is not None:
            await asyncio.wait([self._at_work])
        await self._in_thread(self._throw_away)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        # A cancelled request must not leave a thread behind that makes the file after it was removed.
        self._at_work = asyncio.get_running_loop().run_in_executor(None, work)
        await asyncio.shield(self._at_work)

    def _write_batch(self) -> None:
        if self._file is None:
            self._file = self.path.open("xb", buffering=0)
        data, self._batch = memoryview(self._batch), bytearray()
        while data:
            data = data[self._file.write(data) :]

    def _finish(self) -> None:
        self._write_batch()
        if self._file is not None:
            self._file.close()

    def _throw_away(self) -> None:
        if self._file is not None:
            self._file.close()
            self.path.unlink(missing_ok=True)


def _utf8(latin_1: str | None) -> str:
    return (latin_1 or "").encode("latin-1").decode("utf-8", "replace")


def _usable(field: str) -> bool:
    return 0 < len(field) <= MAX_FIELD_NAME and field.isprintable()


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _too_large(form: PostedForm, limits: FormLimits) -> FormTooLarge:
    return FormTooLarge(form, files=limits.files, megabytes=limits.file // _MB)


def body_reader(request: web.BaseRequest, ahead: int) -> Callable[[], Awaitable[bytes]]:
    """What gives the bytes of a body as they come, and ``b""`` at its end.

    Up to twice ``ahead`` bytes wait to be read: at the speed of a cable, stopping and waking the client
    for each buffer takes a tenth of all time, and so does joining buffers.
    """
    body = request.content
    body.set_read_chunk_size(ahead)

    async def read() -> bytes:
        data, more = await body.readchunk()
        # The end of a chunk is not the end of the body; a body there is none of says "more" for ever.
        while more and not data and not body.at_eof():
            data, more = await body.readchunk()
        return data

    return read


async def send_continue(request: web.BaseRequest) -> None:
    """Let a client go on that asked first (RFC 9110, section 10.1.1)."""
    writer = request.writer
    await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.output_size = 0
