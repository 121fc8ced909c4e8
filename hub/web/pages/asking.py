"""Asking for pictures and files of other hubs: the forms "Fetch it from Mill Lane Hall"."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from hub.runtime.routing import Route
from hub.services.fetching import Fetching
from hub.services.fileshare import FileShare
from hub.services.noticeboard import Noticeboard
from hub.web import views
from hub.web.pages.away import full_pictures
from hub.web.pages.posting import Posting
from hub.web.pages.reading import name_of
from hub.web.server import Answer, PageHandler, Redirect, Visit


class Asking:
    """Handlers; anybody who may see an item may ask for what belongs to it."""

    def __init__(self, fetching: Fetching, board: Noticeboard, share: FileShare, posting: Posting) -> None:
        self._fetching = fetching
        self._board = board
        self._share = share
        self._posting = posting

    def routes(self) -> list[Route[PageHandler]]:
        """The table."""
        return [
            Route("POST", "/notices/{id}/fetch", self.notice),
            Route("POST", "/files/{id}/fetch", self.file),
        ]

    async def notice(self, visit: Visit) -> Answer:
        """Ask for the pictures of a notice."""
        notice = (await self._board.thread(name_of(visit.names["id"]), visit.device)).notice
        await self._ask(visit, full_pictures(notice))
        return Redirect(quote(views.notice_path(notice.public_id, notice.title)))

    async def file(self, visit: Visit) -> Answer:
        """Ask for a file."""
        file = (await self._share.file(name_of(visit.names["id"]), visit.device)).file
        await self._ask(visit, [file.blob.sha256])
        return Redirect(quote(views.file_path(file.public_id, file.name)))

    async def _ask(self, visit: Visit, blobs: Collection[str]) -> None:
        async with self._posting.form(visit):
            for sha256, away in (await self._fetching.away(blobs)).items():
                if not away.coming:
                    await self._fetching.want(sha256)
