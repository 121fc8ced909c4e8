"""The public API: the board as JSON, for anyone on the local network, without a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import msgspec

from hub.api import openapi
from hub.api.endpoints import Endpoint, in_path, in_query
from hub.api.schema import AuthorOut, NoticeOut, NoticesOut, PictureOut, ReplyOut
from hub.domain.errors import NotFound
from hub.domain.ids import HubId, parse_public
from hub.domain.notices import Kind, Notice, Reply, State
from hub.domain.policy import Gone
from hub.runtime.content import Ask, Content
from hub.services.noticeboard import Noticeboard

JSON_FEED = "https://jsonfeed.org/version/1.1"

PublicEndpoint = Endpoint[Callable[[Ask], Awaitable[Content]]]


class PublicApi:
    """``address`` gives the hub's best address, ``origins`` the names of hubs by id."""

    def __init__(
        self,
        board: Noticeboard,
        version: str,
        hub_name: Callable[[], str],
        address: Callable[[], str],
        language: Callable[[], str],
        origins: Callable[[], Mapping[HubId, str]],
    ) -> None:
        self._board = board
        self._version = version
        self._hub_name = hub_name
        self._address = address
        self._language = language
        self._origins = origins

    def endpoints(self) -> list[PublicEndpoint]:
        """The table."""
        return [
            Endpoint(
                method="GET",
                path="/notices.json",
                name="listNotices",
                sentence="The board, newest first, as a JSON Feed.",
                call=self.list_notices,
                answer=NoticesOut,
                media="application/feed+json",
                parameters=(
                    in_query("kind", "Only notices of this kind.", enum=[str(kind) for kind in Kind]),
                    in_query(
                        "before", "Continue before this cursor, from next_url.", pattern="^[0-9]{1,18}$"
                    ),
                ),
            ),
            Endpoint(
                method="GET",
                path="/notices/{id}.json",
                name="showNotice",
                sentence="One notice with its replies.",
                call=self.show_notice,
                answer=NoticeOut,
                parameters=(in_path("id", "The notice's public id."),),
                errors=(404, 410),
            ),
            Endpoint(
                method="GET",
                path="/openapi.json",
                name="describe",
                sentence="This document.",
                call=self.describe,
                answer=dict,
            ),
        ]

    async def list_notices(self, ask: Ask) -> Content:
        """The board; an unknown kind or cursor is treated as none, as on the page."""
        kind = Kind(ask.query["kind"]) if ask.query.get("kind", "") in set(Kind) else None
        cursor = ask.query.get("before", "")
        before = int(cursor) if cursor.isascii() and cursor.isdecimal() and len(cursor) < 19 else None
        board = await self._board.board(kind, before)
        until_ms = await self._board.next_change((*board.first, *board.notices))
        query = f"&kind={kind}" if kind else ""
        address = self._address()
        answer = NoticesOut(
            version=JSON_FEED,
            title=self._hub_name(),
            home_page_url=f"{address}/",
            feed_url=f"{address}/notices.json",
            language=self._language(),
            next_url=f"{address}/notices.json?before={board.older}{query}" if board.older else "",
            items=[self._notice(notice) for notice in (*board.first, *board.notices)],
        )
        return Content(msgspec.json.encode(answer), "application/feed+json", until_ms=until_ms)

    async def show_notice(self, ask: Ask) -> Content:
        """One notice; 404 for what is hidden or never was, 410 for what was taken down."""
        name = parse_public(ask.names["id"])
        if name is None:
            raise NotFound
        thread = await self._board.thread(name)
        if thread.notice.state is not State.LIVE:
            raise Gone
        answer = self._notice(thread.notice, [self._reply(reply) for reply in thread.replies])
        until_ms = await self._board.next_change((thread.notice,))
        return Content(msgspec.json.encode(answer), "application/json", until_ms=until_ms)

    async def describe(self, _: Ask) -> Content:
        """The OpenAPI document."""
        text = openapi.document(
            "Community Hub",
            self._version,
            "The noticeboard of one hub, to read. Everything else is on its pages.",
            self.endpoints(),
        )
        return Content(msgspec.json.encode(text), "application/json")

    def _notice(self, notice: Notice, replies: list[ReplyOut] | None = None) -> NoticeOut:
        address = self._address()
        return NoticeOut(
            id=notice.public_id,
            url=f"{address}/n/{notice.public_id}",
            title=notice.title,
            content_text=notice.text,
            language=notice.lang,
            date_published=_date(notice.shown_ms),
            date_modified=_date(notice.edited_ms) if notice.edited_ms else "",
            kind=str(notice.kind),
            expires=_date(notice.expires_ms),
            origin=self._origin(notice.hub),
            authors=[AuthorOut(name=notice.name)] if notice.name else [],
            contact=notice.contact,
            pinned=notice.pinned,
            urgent=notice.official or notice.kind is Kind.URGENT,
            pictures=[
                PictureOut(
                    url=f"{address}/pictures/{picture.full.sha256}.jpg",
                    width=picture.width,
                    height=picture.height,
                    thumb_url=f"{address}/pictures/{picture.thumb.sha256}.jpg",
                    alt=picture.alt,
                )
                for picture in notice.pictures
            ],
            reply_count=notice.reply_count,
            replies=replies,
        )

    def _reply(self, reply: Reply) -> ReplyOut:
        return ReplyOut(
            id=reply.public_id,
            content_text=reply.text,
            language=reply.lang,
            author=reply.name,
            date_published=_date(reply.shown_ms),
            date_modified=_date(reply.edited_ms) if reply.edited_ms else "",
            origin=self._origin(reply.hub),
        )

    def _origin(self, hub: HubId) -> str:
        return self._origins().get(hub, hub.hex()[:16])


def _date(ms: int) -> str:
    """RFC 3339, in UTC, to the second."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
