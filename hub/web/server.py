"""The residents' site: one request in, one answer out.

A request passes, in this order: the Host it names, the store of kept answers, the table of routes, the
Origin of whatever changes something, and the page's handler. Kept answers are whole pages, gzipped,
that stay true until the next commit; they make up nearly all reading and cost little more than
aiohttp itself.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict

from hub.domain.errors import HubError, NotFound, Refused
from hub.runtime.content import Content
from hub.runtime.routing import Match, Route, Router
from hub.web import downloads
from hub.web.downloads import Archive, Delivery, FileBytes, Loaded
from hub.words import N_
from hub.words.catalogues import Catalogue, Catalogues

_log = logging.getLogger(__name__)

DEVICE_COOKIE = "device"
LANGUAGE_COOKIE = "lang"
COOKIE_DAYS = 400
"""As long as browsers keep one."""

_KEPT_ENTRIES = 512
_KEPT_BYTES = 16 * 1024 * 1024
_SMALLEST_GZIP = 300
"""Bytes below which gzip saves nothing worth its header."""

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@]+))(?::[0-9]{1,5})?")
"""A Host field (RFC 9110 7.2): a number in brackets or a name, and a port."""
_ORIGIN = re.compile(r"http://([^/?#]+)(?:[/?#].*)?")
"""An Origin, or the beginning of a Referer."""
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_SENT_WITH_304 = ("ETag", "Cache-Control", "Vary")
"""What RFC 9110 15.4.5 wants there again, as far as we send it."""


class ForeignHost(Refused):
    """The request names a host that is not the hub (DNS rebinding, or a wrong address)."""

    code = "foreign-host"
    status = 421
    template = N_("This is not an address of the hub. Open the hub by its name or number.")


class ForeignOrigin(Refused):
    """A form was sent from another site's page, or from nowhere known."""

    code = "foreign-origin"
    status = 403
    template = N_("The hub takes forms only from its own pages. Nothing was changed. Open the page again.")


class MethodNotAllowed(Refused):
    """The address exists, but not for this method."""

    code = "method-not-allowed"
    status = 405
    template = N_("This address cannot be used that way. Nothing was changed.")


@dataclass(frozen=True, slots=True)
class Visit:
    """A request, as page handlers see it.

    ``path_qs`` is the path and query without ``lang``; ``query`` has first values; ``device`` is the
    device cookie's value or None; ``address`` is for limits only and never leaves memory.
    """

    request: web.BaseRequest
    names: Mapping[str, str]
    query: Mapping[str, str]
    words: Catalogue
    device: str | None
    address: str
    path_qs: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """See another page (303). ``device`` sets the device cookie."""

    to: str
    device: str | None = None


Answer = Content | Redirect | FileBytes | Archive
PageHandler = Callable[[Visit], Awaitable[Answer]]


class Faces(Protocol):
    """What the server asks the pages for when there is no page: an error in the visitor's words."""

    async def error(self, visit: Visit, error: HubError) -> Content:
        """The page for ``error``."""


@dataclass(slots=True)
class _Kept:
    """An answer ready to be sent: ``headers`` for a full answer, ``unchanged`` for "you have it" (304)."""

    body: bytes
    status: int
    etag: str
    headers: CIMultiDict[str]
    unchanged: CIMultiDict[str]
    until_ms: int
    shared: bool
    ranged: bool = False
    """Parts of it may be asked for."""


@dataclass(slots=True)
class Counts:
    """What the server did, for health and tests."""

    kept: int = 0
    made: int = 0
    refused: int = 0
    faults: int = 0


@dataclass(slots=True)
class _Store:
    """Kept answers of one generation of the data."""

    generation: int = 0
    entries: OrderedDict[tuple[str, str, bool], _Kept] = field(default_factory=OrderedDict)
    size: int = 0

    def forget(self) -> None:
        self.generation += 1
        self.entries.clear()
        self.size = 0

    def keep(self, key: tuple[str, str, bool], kept: _Kept) -> None:
        before = self.entries.pop(key, None)
        self.entries[key] = kept
        self.size += len(kept.body) - (len(before.body) if before else 0)
        while len(self.entries) > _KEPT_ENTRIES or self.size > _KEPT_BYTES:
            _, oldest = self.entries.popitem(last=False)
            self.size -= len(oldest.body)


class Site:
    """``handle`` is the handler for a `hub.web.connections.GuardedServer`.

    ``hosts`` gives the names and addresses (lower case, without port) the hub answers to now;
    ``now_ms`` the wall clock; ``language`` the hub's own language.
    """

    def __init__(
        self,
        routes: list[Route[PageHandler]],
        faces: Faces,
        catalogues: Catalogues,
        hosts: Callable[[], frozenset[str]],
        now_ms: Callable[[], int],
        language: Callable[[], str],
    ) -> None:
        self._router = Router(routes)
        self._faces = faces
        self._catalogues = catalogues
        self._hosts = hosts
        self._now_ms = now_ms
        self._language = language
        self._store = _Store()
        self.counts = Counts()

    def something_was_written(self) -> None:
        """Told on the event loop after each commit, before its writers are answered."""
        self._store.forget()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; raises ConnectionError when the client leaves, never for what it sends."""
        headers = request.headers
        cookies = headers.get("Cookie")
        lang = device = None
        if cookies:
            lang, device = _cookies(cookies)
        words = self._catalogues.negotiate(None, lang, headers.get("Accept-Language"), self._language())
        if not _is_ours(headers.get("Host", ""), self._hosts()):
            visit = self._visit(request, {}, {}, words, None)
            return self._send(request, await self._faces.error(visit, ForeignHost()), words)
        if request.method == "GET":
            compact = "gzip" in headers.get("Accept-Encoding", "")
            kept = self._store.entries.get((request.path_qs, words.lang, compact))
            if kept is not None and kept.until_ms > self._now_ms() and (device is None or kept.shared):
                self.counts.kept += 1
                return _ready(request, kept)
        return await self._make(request, words, device)

    async def _make(
        self, request: web.BaseRequest, words: Catalogue, device: str | None
    ) -> web.StreamResponse:
        query = _first_values(request.rel_url.raw_query_string)
        chosen = query.pop("lang", None)
        if chosen is not None and chosen in self._catalogues:
            words = self._catalogues[chosen]
        visit = self._visit(request, {}, query, words, device)
        generation = self._store.generation
        answer: Content | Redirect | Loaded | Delivery
        try:
            answer = await self._fetched(visit)
        except HubError as error:
            self.counts.refused += 1
            answer = await self._faces.error(visit, error)
        except Exception:
            self.counts.faults += 1
            _log.exception("page failed", extra={"method": request.method})
            answer = await self._faces.error(visit, HubError())
        if isinstance(answer, Redirect):
            return self._redirect(answer)
        self.counts.made += 1
        if isinstance(answer, Delivery):
            return await answer.send(request)
        content = answer.file if isinstance(answer, Loaded) else answer
        keep = content.keep and chosen is None and (device is None or content.shared)
        keep = keep and request.method == "GET" and generation == self._store.generation
        compact = "gzip" in request.headers.get("Accept-Encoding", "")
        if isinstance(answer, Loaded):
            kept = _keepable(answer)
        elif keep and answer.status == 200:
            kept = _prepare(answer, words.lang, compact)
        else:
            return self._send(request, answer, words, set_language=chosen)
        if keep:
            self._store.keep((request.path_qs, words.lang, compact), kept)
        return _ready(request, kept)

    async def _fetched(self, visit: Visit) -> Content | Redirect | Loaded | Delivery:
        """The page's answer, with the files it names opened.

        Whoever takes a file away commits that before its bytes go, so a page whose file is gone is asked
        once more: then it says so.
        """
        for _ in range(2):
            answer = await self._answer(visit)
            if isinstance(answer, Content | Redirect):
                return answer
            try:
                return await downloads.fetch(visit.request, answer)
            except FileNotFoundError:
                continue
        raise NotFound

    async def _answer(self, visit: Visit) -> Answer:
        request = visit.request
        match = self._router.find(request.method, request.path)
        if match is None:
            raise NotFound
        if not isinstance(match, Match):
            raise MethodNotAllowed
        if request.method not in _SAFE_METHODS:
            _require_own_origin(request)
        return await match.handler(replace(visit, names=match.names))

    def _visit(
        self,
        request: web.BaseRequest,
        names: Mapping[str, str],
        query: Mapping[str, str],
        words: Catalogue,
        device: str | None,
    ) -> Visit:
        here, asked = request.rel_url.raw_path, request.rel_url.raw_query_string
        rest = "&".join(part for part in asked.split("&") if part and not part.startswith("lang="))
        return Visit(
            request, names, query, words, device, request.remote or "", f"{here}?{rest}" if rest else here
        )

    def _send(
        self, request: web.BaseRequest, content: Content, words: Catalogue, set_language: str | None = None
    ) -> web.Response:
        compact = "gzip" in request.headers.get("Accept-Encoding", "")
        kept = _prepare(content, words.lang, compact)
        response = _ready(request, kept)
        if set_language is not None and words.lang == set_language:
            _set_cookie(response, LANGUAGE_COOKIE, words.lang)
        return response

    def _redirect(self, redirect: Redirect) -> web.Response:
        response = web.Response(status=303, headers={"Location": redirect.to, "Cache-Control": "no-store"})
        if redirect.device is not None:
            _set_cookie(response, DEVICE_COOKIE, redirect.device)
        return response


def _prepare(content: Content, lang: str, compact: bool) -> _Kept:
    body = content.body
    html = content.type.startswith("text/html")
    headers: CIMultiDict[str] = CIMultiDict({"Content-Type": content.type})
    if compact and len(body) >= _SMALLEST_GZIP and not content.type.startswith("image/"):
        body = gzip.compress(body, 6, mtime=0)
        headers["Content-Encoding"] = "gzip"
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers["Cache-Control"] = "no-cache" if content.keep else "no-store"
    if content.keep:
        headers["ETag"] = etag
    headers["X-Content-Type-Options"] = "nosniff"
    if html:
        headers["Content-Language"] = lang
        headers["Content-Security-Policy"] = _POLICY
        headers["Referrer-Policy"] = "same-origin"
    headers["Vary"] = "Accept-Encoding, Accept-Language, Cookie"
    headers.update(content.headers)
    unchanged = CIMultiDict((name, headers[name]) for name in _SENT_WITH_304 if name in headers)
    etag = etag if content.keep else ""
    return _Kept(body, content.status, etag, headers, unchanged, content.until_ms, content.shared)


def _keepable(loaded: Loaded) -> _Kept:
    file, headers = loaded.file, loaded.headers
    return _Kept(loaded.body, 200, loaded.etag, headers, headers, file.until_ms, file.shared, ranged=True)


def _ready(request: web.BaseRequest, kept: _Kept) -> web.Response:
    """The full answer, or 304 when the visitor has it (RFC 9110 13.1.2), or the part that is asked for."""
    if kept.ranged:
        return downloads.answer_from_memory(request, kept.body, kept.etag, kept.headers)
    asked = request.headers.get("If-None-Match")
    if asked is not None and kept.etag and kept.status == 200 and kept.etag in asked:
        return web.Response(status=304, headers=kept.unchanged)
    return web.Response(body=kept.body, status=kept.status, headers=kept.headers)


def _cookies(header: str) -> tuple[str | None, str | None]:
    """The language and device cookies; anything that is not a cookie header has none."""
    lang = device = None
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == LANGUAGE_COOKIE:
            lang = value
        elif name == DEVICE_COOKIE and len(value) == 32 and value.isalnum() and value.isascii():
            device = value
    return lang, device


def cookie_field(name: str, value: str) -> str:
    """Set-Cookie for this host only; no ``Secure``, since residents come over plain HTTP (web.md 3)."""
    return f"{name}={value}; Max-Age={COOKIE_DAYS * 86_400}; Path=/; HttpOnly; SameSite=Lax"


def _set_cookie(response: web.Response, name: str, value: str) -> None:
    response.headers.add("Set-Cookie", cookie_field(name, value))


def _first_values(query: str) -> dict[str, str]:
    """The first value of each name in a raw query; none of them if it has more fields than any page asks."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def _is_ours(host: str, ours: frozenset[str]) -> bool:
    if host in ours:
        return True
    parts = _HOST.fullmatch(host.lower())
    return parts is not None and (parts[1] or parts[2]).removesuffix(".") in ours


def _require_own_origin(request: web.BaseRequest) -> None:
    """Origin (or, without one, Referer) must name the host the request was sent to (decision 36)."""
    origin = request.headers.get("Origin") or request.headers.get("Referer") or ""
    host = request.headers.get("Host", "")
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    named = _ORIGIN.fullmatch(origin.lower())
    if named is None or named[1] != host.lower():
        raise ForeignOrigin
    if site not in ("same-origin", "none"):
        raise ForeignOrigin
