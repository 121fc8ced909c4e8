"""Uploads that go on where they stopped, in the shape of draft-ietf-httpbis-resumable-upload-15.

``POST /uploads`` begins one, ``HEAD /uploads/{token}`` says how much of it has arrived, ``PATCH`` appends,
``DELETE`` gives it up. Every answer says how the upload stands; what is refused is said in one line of
text. A form then puts it up by its token. From a terminal::

    curl -i -X POST http://hub.local/uploads -H 'Origin: http://hub.local' \\
      -H 'Upload-Length: 1048576' -H 'Upload-Complete: ?0' \\
      -H "Content-Disposition: attachment; filename*=UTF-8''film.mp4"
    curl -i -X PATCH http://hub.local/uploads/TOKEN -H 'Origin: http://hub.local' \\
      -H 'Content-Type: application/partial-upload' -H 'Upload-Complete: ?1' \\
      -H 'Upload-Offset: 0' -T film.mp4          # and to go on: -H 'Upload-Offset: N' -C N

The draft lets a first request carry bytes and leave the length open; neither is taken here. Beyond
the draft, a piece may bring its CRC-32, since nothing else on plain HTTP tells that Wi-Fi turned a bit.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError

from hub.domain.errors import HubError, Refused, TryLater
from hub.domain.policy import FilePolicy
from hub.runtime.content import Content
from hub.runtime.routing import Route
from hub.services.uploads import BrokenOff, Uploads
from hub.storage.uploads import Upload
from hub.web.forms import body_reader, send_continue
from hub.web.server import DEVICE_COOKIE, Answer, PageHandler, Visit, cookie_field
from hub.words import N_

PIECE_TYPE: Final = "application/partial-upload"
_NUMBER = re.compile(r"[0-9]{1,15}")
_CRC32 = re.compile(r"[0-9a-fA-F]{8}")
_COMPLETE = {"?1": True, "?0": False}
_NAME = re.compile(r";\s*filename\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]+))", re.IGNORECASE)
_ANY_NAME = re.compile(r";\s*filename\*\s*=\s*utf-8'[^']*'([^\s;]+)", re.IGNORECASE)
"""The two ways to say a file's name (RFC 6266, section 4.1; RFC 8187)."""


class FieldUnreadable(Refused):
    """A header field that the request needs is missing or makes no sense."""

    code = "field-unreadable"
    status = 400
    template = N_("The request needs a header field {field} that makes sense. Nothing was changed.")


class BytesTooEarly(Refused):
    """The request that begins an upload carries bytes."""

    code = "bytes-too-early"
    status = 400
    template = N_("An upload begins without its bytes: send them with PATCH to the address the hub gives.")


class NotAPiece(Refused):
    """The body of a PATCH does not say that it is a piece of a file, or is compressed."""

    code = "not-a-piece"
    status = 415
    template = N_("The hub expected a piece of a file, as application/partial-upload. Nothing was changed.")


class Uploading:
    """Handlers under ``/uploads``, for the optional script and for programs."""

    def __init__(self, uploads: Uploads, policy: Callable[[], FilePolicy]) -> None:
        self._uploads = uploads
        self._policy = policy

    def routes(self) -> list[Route[PageHandler]]:
        """The table. HEAD finds the handler of GET."""
        token = "/uploads/{token}"  # noqa: S105
        return [
            Route("POST", "/uploads", self._in_one_line(self.begin)),
            Route("GET", token, self._in_one_line(self.standing)),
            Route("PATCH", token, self._in_one_line(self.append)),
            Route("DELETE", token, self._in_one_line(self.cancel)),
        ]

    async def begin(self, visit: Visit) -> Content:
        """Begin an upload: 201 and its address."""
        headers = visit.request.headers
        size = _number(headers, "Upload-Length")
        if visit.request.content_length or "Transfer-Encoding" in headers:
            raise BytesTooEarly
        begun = await self._uploads.begin(visit.device, _name(headers.get("Content-Disposition", "")), size)
        fields = {"Location": f"/uploads/{begun.upload.token}"}
        if visit.device is None:
            fields["Set-Cookie"] = cookie_field(DEVICE_COOKIE, begun.cookie)
        return self._answer(201, begun.upload, fields)

    async def standing(self, visit: Visit) -> Content:
        """How an upload stands: 204."""
        return self._answer(204, await self._uploads.standing(visit.names["token"], visit.device))

    async def append(self, visit: Visit) -> Content:
        """Append a piece: 204 once it is on the card."""
        request = visit.request
        headers = request.headers
        if request.content_type != PIECE_TYPE or hdrs.CONTENT_ENCODING in headers:
            raise NotAPiece
        offset = _number(headers, "Upload-Offset")
        complete = _COMPLETE.get(headers.get("Upload-Complete", "?0").strip())
        if complete is None:
            raise FieldUnreadable(field="Upload-Complete")
        crc32 = None
        if "Upload-Piece-CRC32" in headers:
            if not _CRC32.fullmatch(headers["Upload-Piece-CRC32"]):
                raise FieldUnreadable(field="Upload-Piece-CRC32")
            crc32 = int(headers["Upload-Piece-CRC32"], 16)
        upload = await self._uploads.append(
            visit.names["token"],
            visit.device,
            offset,
            _reader(request, self._uploads.read_ahead()),
            length=request.content_length,
            complete=complete,
            crc32=crc32,
        )
        return self._answer(204, upload)

    async def cancel(self, visit: Visit) -> Content:
        """Give an upload up: 204."""
        await self._uploads.cancel(visit.names["token"], visit.device)
        return Content(b"", "text/plain", 204, keep=False)

    def _in_one_line(self, handle: Callable[[Visit], Awaitable[Content]]) -> PageHandler:
        """``handle``, with what it refuses said to a script or a terminal instead of on a page."""

        async def answer(visit: Visit) -> Answer:
            try:
                return await handle(visit)
            except HubError as error:
                fields = await self._where_it_stands(visit)
                if isinstance(error, TryLater):
                    fields["Retry-After"] = str(error.seconds)
                words = visit.words.translate(error.template, **error.fields)
                return Content(
                    f"{words}\n".encode(),
                    "text/plain; charset=utf-8",
                    error.status,
                    keep=False,
                    headers=fields,
                )

        return answer

    async def _where_it_stands(self, visit: Visit) -> dict[str, str]:
        token = visit.names.get("token")
        if token is None:
            return {}
        try:
            return _fields(await self._uploads.standing(token, visit.device))
        except HubError:
            return {}

    def _answer(self, status: int, upload: Upload, fields: Mapping[str, str] | None = None) -> Content:
        policy = self._policy()
        limits = [f"max-size={policy.largest}"] if policy.largest else []
        limits.append(f"max-age={policy.upload_hours * 3600}")
        given = {**_fields(upload), "Upload-Limit": ", ".join(limits), **(fields or {})}
        return Content(b"", "text/plain", status, keep=False, headers=given)


def _fields(upload: Upload) -> dict[str, str]:
    return {
        "Upload-Offset": str(upload.offset),
        "Upload-Length": str(upload.size),
        "Upload-Complete": "?0" if upload.ref is None else "?1",
    }


def _reader(request: web.BaseRequest, ahead: int) -> Callable[[], Awaitable[bytes]]:
    """What gives the bytes of a piece; a client is told to go on only when the first are wanted."""
    body = body_reader(request, ahead)
    asked = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"

    async def read() -> bytes:
        nonlocal asked
        if asked:
            asked = False
            await send_continue(request)
        try:
            return await body()
        except (RequestPayloadError, ConnectionError) as error:
            raise BrokenOff from error

    return read


def _number(headers: Mapping[str, str], field: str) -> int:
    """A whole number of bytes; raises FieldUnreadable."""
    value = headers.get(field, "").strip()
    if not _NUMBER.fullmatch(value):
        raise FieldUnreadable(field=field)
    return int(value)


def _name(disposition: str) -> str:
    """The name of a file that a Content-Disposition says, as it was typed; may be empty."""
    found = _ANY_NAME.search(disposition)
    if found:
        return unquote_to_bytes(found[1]).decode("utf-8", "replace")
    found = _NAME.search(disposition)
    if found is None:
        return ""
    return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
