"""Pages to read: the board, a notice, search, the feed, paper and the screen in the hall."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from urllib.parse import quote

from hub.domain.errors import NotFound
from hub.domain.folding import excerpt_around, mark
from hub.domain.ids import ObjectId, parse_public
from hub.domain.notices import Kind, Notice, Reply, State
from hub.domain.policy import Gone
from hub.runtime.content import Content
from hub.runtime.routing import Route
from hub.services.fileshare import FileShare
from hub.services.finding import AnyMatch, CollectionMatch, FileMatch, Finding, Match
from hub.services.noticeboard import Noticeboard, Thread
from hub.storage.blobs import BlobStore
from hub.storage.fetching import LARGEST_PICTURE
from hub.storage.search import Place as Cursor
from hub.storage.search import terms_of
from hub.web import qr, views
from hub.web.house import House, message_of
from hub.web.pages.away import Away, full_pictures, refreshed
from hub.web.pages.slips import Slips
from hub.web.rendering import IMMUTABLE
from hub.web.richtext import excerpt, marked
from hub.web.server import Answer, PageHandler, Redirect, Visit

EXCERPT = 120
_PRINTED = 60
_SHOWN_ON_SCREEN = 24
_LEAF = 6
_SAID_ON_SCREEN = 240
_FEED = 40


class Reading:
    """Handlers that change nothing."""

    def __init__(
        self,
        board: Noticeboard,
        share: FileShare,
        finding: Finding,
        house: House,
        blobs: BlobStore,
        away: Away,
        slips: Slips,
    ) -> None:
        self._away = away
        self._board = board
        self._share = share
        self._finding = finding
        self._house = house
        self._blobs = blobs
        self._slips = slips

    def routes(self) -> list[Route[PageHandler]]:
        """The table."""
        return [
            Route("GET", "/", self.board),
            Route("GET", "/notices", self.board),
            Route("GET", "/search", self.search),
            Route("GET", "/screen", self.screen),
            Route("GET", "/notices/print", self.print_board),
            Route("GET", "/notices.atom", self.atom),
            Route("GET", "/n/{id}", self.short),
            Route("GET", "/N/{id}", self.short),
            Route("GET", "/pictures/{sha256}.jpg", self.picture),
            Route("GET", "/static/{name}", self.static),
            Route("GET", "/favicon.ico", self.favicon),
            Route("GET", "/robots.txt", self.robots),
            Route("GET", "/notices/{id}/poster", self.poster),
            Route("GET", "/notices/{id}", self.notice),
        ]

    async def board(self, visit: Visit) -> Answer:
        """The noticeboard; a bad kind, hub or cursor gives the first page."""
        wanted = visit.query.get("kind", "")
        kind = Kind(wanted) if wanted in set(Kind) else None
        before = cursor(visit.query.get("before", ""))
        page = await self._house.page(visit, message=message_of(visit))
        hub, place = self._house.place(visit.query.get("from", "")) or (None, None)
        board = await self._board.board(kind, before, hub)
        until_ms = await self._board.next_change((*board.first, *board.notices))
        view = views.BoardPage(
            page=await self._marked(page, (*board.first, *board.notices)),
            first=tuple(self._cards(board.first)),
            days=tuple(self._days(board.notices)),
            kind=kind,
            origin=place,
            before=str(before or ""),
            older=str(board.older or ""),
        )
        return self._house.content(visit, view, until_ms=until_ms, keep=page.message is None, shared=True)

    async def notice(self, visit: Visit) -> Answer:
        """One notice; 410 once it was taken down."""
        return await self.notice_page(visit, visit.names["id"])

    async def notice_page(
        self,
        visit: Visit,
        named: str,
        *,
        status: int = 200,
        values: dict[str, str] | None = None,
        errors: dict[str, str] | None = None,
    ) -> Content:
        """The page of a notice, also with its reply form refused (``values`` and ``errors``)."""
        name = name_of(named)
        thread = await self._board.thread(name, visit.device)
        notice = thread.notice
        if notice.state is not State.LIVE:
            raise TakenDown(notice)
        message = message_of(visit)
        page = await self._house.page(
            visit, here=views.notice_path(notice.public_id, notice.title) if errors else "", message=message
        )
        standing = views.Standing.WAITING if thread.waiting else views.Standing.LIVE
        if notice.expires_ms <= page.now_ms:
            standing = views.Standing.EXPIRED
        view = views.NoticePage(
            page=await self._away.marked(page, notice.pictures, small=False),
            notice=notice,
            html=self._house.html(notice.version, notice.text),
            short=f"{page.address}/n/{notice.public_id}",
            origin=self._house.origin(notice.hub),
            ours=notice.hub == self._house.hub,
            standing=standing,
            mine=thread.mine,
            phrase=self._slips.read(visit.query.get("slip", ""), visit.device).phrase,
            replies=tuple(self._replies(thread)),
            values=values or {},
            errors=errors or {},
            fetch=await self._away.offer(
                full_pictures(notice), notice.hub, f"/notices/{notice.public_id}/fetch"
            ),
        )
        keep = message is None and not view.phrase and not errors and not thread.waiting
        content = self._house.content(visit, view, status=status, until_ms=notice.expires_ms, keep=keep)
        return content if errors else refreshed(content, view.fetch)

    async def search(self, visit: Visit) -> Answer:
        """Search results, newest first."""
        query = " ".join(visit.query.get("q", "").split())[:200]
        page = await self._house.page(visit)
        if not query:
            return self._house.content(visit, views.SearchPage(page=page), shared=True)
        results = await self._finding.search(query, _place(visit.query.get("before", "")))
        terms = terms_of(query)
        older = f"{results.older.shown_ms}.{results.older.notice.hex()}" if results.older else ""
        found = [match.notice for match in results.matches if isinstance(match, Match)]
        shown = [match.file.picture for match in results.matches if isinstance(match, FileMatch)]
        page = await self._away.marked(
            page, [*(picture for each in found for picture in each.pictures[:1]), *filter(None, shown)]
        )
        view = views.SearchPage(
            page=page,
            query=query,
            hits=tuple(self._hit(match, terms) for match in results.matches),
            older=older,
        )
        ends = [ending for match in results.matches for ending in _endings(match)]
        until_ms = min([await self._board.next_change(found), *ends])
        return self._house.content(visit, view, until_ms=until_ms, shared=True)

    async def poster(self, visit: Visit) -> Answer:
        """One notice on one A4."""
        thread = await self._board.thread(name_of(visit.names["id"]), visit.device)
        notice = thread.notice
        if notice.state is not State.LIVE:
            raise TakenDown(notice)
        page = await self._house.page(visit)
        short = f"{page.address}/n/{notice.public_id}"
        view = views.PosterPage(
            page=await self._away.marked(page, notice.pictures[:1], small=False),
            notice=notice,
            html=self._house.html(notice.version, notice.text),
            short=short,
            qr=qr.svg(short),
            origin=self._house.origin(notice.hub),
        )
        return self._house.content(visit, view, keep=not thread.waiting)

    async def print_board(self, visit: Visit) -> Answer:
        """The whole board on A4."""
        notices = await self._board.newest(_PRINTED)
        leading = await self._board.leading()
        first = {notice.obj for notice in leading}
        page = await self._house.page(visit)
        view = views.PrintPage(
            page=await self._marked(page, (*leading, *notices)),
            first=tuple(self._cards(leading, whole=True)),
            days=tuple(self._days([notice for notice in notices if notice.obj not in first], whole=True)),
            large=visit.query.get("large") == "1",
            qr=qr.svg(f"{page.address}/"),
        )
        until_ms = await self._board.next_change((*leading, *notices))
        return self._house.content(visit, view, until_ms=until_ms, shared=True)

    async def screen(self, visit: Visit) -> Answer:
        """The television in the hall: a few notices at a time, turned by the browser itself."""
        leading = await self._board.leading()
        first = {notice.obj for notice in leading}
        rest = [notice for notice in await self._board.newest(_SHOWN_ON_SCREEN) if notice.obj not in first]
        notices = [*leading, *rest][:_SHOWN_ON_SCREEN]
        leaves = max(1, -(-len(notices) // _LEAF))
        leaf = min(max(cursor(visit.query.get("leaf", "")) or 1, 1), leaves)
        page = await self._house.page(visit)
        view = views.ScreenPage(
            page=await self._marked(page, notices),
            cards=tuple(self._cards(notices[(leaf - 1) * _LEAF : leaf * _LEAF], length=_SAID_ON_SCREEN)),
            leaf=leaf,
            leaves=leaves,
            stay=visit.query.get("stay") == "1",
            qr=qr.svg(f"{page.address}/"),
        )
        content = self._house.content(visit, view, keep=False)
        headers = {"Refresh": view.refresh} if view.refresh else {}
        return Content(content.body, content.type, keep=False, headers=headers)

    async def atom(self, visit: Visit) -> Answer:
        """The feed (RFC 4287)."""
        notices = await self._board.newest(_FEED)
        page = await self._house.page(visit)
        updated = max((notice.edited_ms or notice.shown_ms for notice in notices), default=0)
        view = views.AtomFeed(
            page=page,
            hub=self._house.hub,
            cards=tuple(self._cards(notices, whole=True)),
            updated_ms=updated,
        )
        text = self._house.renderer.page(view, visit.words)
        until_ms = await self._board.next_change(notices)
        return Content(text.encode(), "application/atom+xml; charset=utf-8", until_ms=until_ms, shared=True)

    async def short(self, visit: Visit) -> Answer:
        """The short link of paper and QR codes."""
        thread = await self._board.thread(name_of(visit.names["id"]), visit.device)
        if thread.notice.state is State.ERASED:
            raise TakenDown(thread.notice)
        return Redirect(quote(views.notice_path(thread.notice.public_id, thread.notice.title)))

    async def picture(self, visit: Visit) -> Answer:
        """A picture of a notice that can be seen, or of the visitor's own form."""
        sha256 = visit.names["sha256"]
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise NotFound
        if not (await self._board.picture_is_shown(sha256) or await self._share.picture_is_shown(sha256)):
            raise NotFound
        data = await asyncio.to_thread(_read, self._blobs, sha256)
        self._away.used(sha256)
        return Content(
            data,
            "image/jpeg",
            headers={"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "no-cache"},
        )

    async def static(self, visit: Visit) -> Answer:
        """Styles and script; their names change with their bytes."""
        file = self._house.renderer.static.get(visit.names["name"])
        if file is None:
            raise NotFound
        headers = {"Cache-Control": IMMUTABLE, "Vary": "Accept-Encoding"}
        return Content(file.body, file.content_type, shared=True, headers=headers)

    async def favicon(self, _: Visit) -> Answer:
        """The icon stands in each page; browsers that ask for a file get a clear no."""
        raise NotFound

    async def robots(self, _: Visit) -> Answer:
        """Nothing here is for search engines."""
        return Content(b"User-agent: *\nDisallow: /\n", "text/plain; charset=utf-8")

    # --- parts ------------------------------------------------------------------------------------

    async def _marked(self, page: views.Page, notices: Iterable[Notice]) -> views.Page:
        """``page``, which knows what is not here of the pictures that lists of ``notices`` show."""
        return await self._away.marked(page, [picture for each in notices for picture in each.pictures[:1]])

    def _cards(
        self, notices: Iterable[Notice], *, whole: bool = False, length: int = EXCERPT
    ) -> list[views.Card]:
        return [
            views.Card(
                notice=notice,
                excerpt=excerpt(notice.text, length),
                origin=self._house.origin(notice.hub),
                html=self._house.html(notice.version, notice.text) if whole else "",
            )
            for notice in notices
        ]

    def _days(self, notices: Sequence[Notice], *, whole: bool = False) -> list[views.Day]:
        cards = self._cards(notices, whole=whole)
        zone = self._house.zone

        def day(card: views.Card) -> object:
            return datetime.fromtimestamp(card.notice.shown_ms / 1000, zone).date()

        days = []
        for _, group in groupby(cards, day):
            members = tuple(group)
            days.append(views.Day(members[0].notice.shown_ms, members))
        return days

    def _replies(self, thread: Thread) -> list[views.ReplyShown]:
        def shown(reply: Reply, *, waiting: bool) -> views.ReplyShown:
            return views.ReplyShown(
                reply=reply,
                html=self._house.html(b"", reply.text),
                origin=self._house.origin(reply.hub),
                mine=reply.obj in thread.my_replies,
                waiting=waiting,
            )

        return [
            *(shown(reply, waiting=False) for reply in thread.replies),
            *(shown(reply, waiting=True) for reply in thread.waiting_replies),
        ]

    def _hit(self, match: AnyMatch, terms: tuple[str, ...]) -> views.AnyHit:
        if isinstance(match, FileMatch):
            file = match.file
            return views.FileHit(
                card=views.FileCard(
                    file=file, origin=self._house.origin(file.hub), collection=match.collection
                ),
                title_html=_marked(file.name, terms),
                excerpt_html=_marked(excerpt_around(file.description, terms, EXCERPT), terms),
            )
        if isinstance(match, CollectionMatch):
            found = match.collection
            return views.CollectionHit(
                card=views.CollectionCard(collection=found, origin=self._house.origin(found.hub)),
                title_html=_marked(found.title, terms),
                excerpt_html=_marked(excerpt_around(found.description, terms, EXCERPT), terms),
            )
        notice = match.notice
        text = notice.text if match.itself or not match.replies else match.replies[0]
        around = excerpt_around(text, terms, EXCERPT)
        card = views.Card(notice=notice, excerpt="", origin=self._house.origin(notice.hub))
        return views.SearchHit(
            card=card, title_html=_marked(notice.title, terms), excerpt_html=_marked(around, terms)
        )


def _endings(found: AnyMatch) -> tuple[int, ...]:
    """When a file or collection that was found ends, in Unix ms; notices are asked about elsewhere."""
    match found:
        case FileMatch():
            return (found.file.expires_ms, found.collection.expires_ms)
        case CollectionMatch():
            return (found.collection.expires_ms,)
        case _:
            return ()


class TakenDown(Gone):
    """A notice that was taken down; the page says when."""

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self.changed_ms = notice.changed_ms


def name_of(segment: str) -> str:
    """The canonical public id at the beginning of ``{id}-{slug}``; raises `NotFound`."""
    name = parse_public(segment.partition("-")[0])
    if name is None:
        raise NotFound
    return name


def cursor(text: str) -> int | None:
    """A number from a query, or None."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _place(text: str) -> Cursor | None:
    shown, _, notice = text.partition(".")
    at = cursor(shown)
    if at is None or len(notice) != 32 or not set(notice) <= set("0123456789abcdef"):
        return None
    return Cursor(at, ObjectId(bytes.fromhex(notice)))


def _marked(text: str, terms: tuple[str, ...]) -> str:
    spans, at = [], 0
    for piece, hit in mark(text, terms):
        if hit:
            spans.append((at, at + len(piece)))
        at += len(piece)
    return marked(text, spans)


def _read(blobs: BlobStore, sha256: str) -> bytes:
    """A picture; `NotFound` when it is not here, or larger than any: other hubs' pictures may be anything."""
    try:
        if blobs.path(sha256).stat().st_size > LARGEST_PICTURE:
            raise NotFound
    except FileNotFoundError:
        raise NotFound from None
    return blobs.read(sha256)
