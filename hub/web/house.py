"""What every page says about the hub itself, and the renderer in its colours."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from hub.domain.ids import PUBLIC_LENGTH, HubId, base32
from hub.domain.neighbours import told_apart
from hub.runtime.content import FOREVER_MS, Content
from hub.services.noticeboard import Noticeboard
from hub.web.rendering import UNKNOWN_COLOUR, Renderer
from hub.web.richtext import RichText
from hub.web.server import Visit
from hub.web.views import Banner, Done, Message, Page, Place, View

HTML = "text/html; charset=utf-8"
_TEXTS_KEPT = 500


@dataclass(frozen=True, slots=True)
class Facts:
    """What the hub's settings and network say now."""

    name: str
    colour: str
    address: str
    other_addresses: tuple[str, ...]
    caretaker: str
    banners: tuple[Banner, ...]
    language: str


class House:
    """Shared by all pages. ``facts`` is asked for each page that is made."""

    def __init__(
        self,
        board: Noticeboard,
        hub: HubId,
        facts: Callable[[], Awaitable[Facts]],
        colour: str,
        now_ms: Callable[[], int],
        renderer: Renderer,
        rich: Callable[[], RichText],
        zone: tzinfo,
    ) -> None:
        self._board = board
        self.hub = hub
        self._facts = facts
        self.now_ms = now_ms
        self.zone = zone
        self._rich = rich
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._renderer = renderer
        self._look: tuple[str, ...] = (colour,)
        self._places: Mapping[HubId, Place] = {}
        self._connected: tuple[Place, ...] = ()

    @property
    def renderer(self) -> Renderer:
        """Templates and static files in today's colours."""
        return self._renderer

    async def refresh(self) -> Facts:
        """Learn which hubs notices come from; builds the styles anew when a colour changed."""
        origins = {hub: each for hub, each in (await self._board.origins()).items() if hub != self.hub}
        facts = await self._facts()
        names = told_apart({hub: origin.name for hub, origin in origins.items()}, facts.name)
        self._places = {
            hub: Place(names[hub], origin.colour, base32(hub)[:PUBLIC_LENGTH])
            for hub, origin in origins.items()
        }
        self._connected = tuple(self._places[hub] for hub, origin in origins.items() if origin.connected)
        look = (facts.colour, *(place.colour for place in self._places.values()))
        if look != self._look:
            self._renderer = await asyncio.to_thread(Renderer, look[0], look[1:])
            self._look = look
        return facts

    def origin(self, hub: HubId) -> Place | None:
        """Where a notice comes from; None for our own."""
        if hub == self.hub:
            return None
        return self._places.get(hub) or Place(f"hub-{hub.hex()[:4]}", UNKNOWN_COLOUR)

    def place(self, short: str) -> tuple[HubId, Place] | None:
        """The hub whose ``Place.short`` that is, and its place."""
        found = [(hub, place) for hub, place in self._places.items() if place.short == short]
        return found[0] if found else None

    def origin_names(self) -> Mapping[HubId, str]:
        """What the hubs notices come from are called, as far as it is known."""
        return {hub: place.name for hub, place in self._places.items()}

    async def page(self, visit: Visit, *, here: str = "", message: Message | None = None) -> Page:
        """The frame of a page; ``here`` is where its language links lead."""
        facts = await self.refresh()
        return Page(
            hub_name=facts.name,
            address=facts.address,
            other_addresses=facts.other_addresses,
            here=here or visit.path_qs,
            now_ms=self.now_ms(),
            neighbours=self._connected,
            caretaker=facts.caretaker,
            banners=facts.banners,
            message=message,
        )

    def content(
        self,
        visit: Visit,
        view: View,
        *,
        status: int = 200,
        until_ms: int = FOREVER_MS,
        keep: bool = True,
        shared: bool = False,
    ) -> Content:
        """``view`` as an answer. A page says "today", so it is true until midnight at the latest."""
        text = self._renderer.page(view, visit.words)
        midnight = self._midnight_after(view.page.now_ms)
        return Content(
            text.encode(), HTML, status=status, until_ms=min(until_ms, midnight), keep=keep, shared=shared
        )

    def html(self, version: bytes, text: str) -> str:
        """Residents' text as safe HTML, made once for each ``version`` (a record id) and kept."""
        html = self._texts.get(version) if version else None
        if html is None:
            html = self._rich().html(text)
            if version:
                self._texts[version] = html
                if len(self._texts) > _TEXTS_KEPT:
                    self._texts.popitem(last=False)
        return html

    def forget_texts(self) -> None:
        """Drop the kept texts: part of an erasure."""
        self._texts.clear()

    def _midnight_after(self, now_ms: int) -> int:
        local = datetime.fromtimestamp(now_ms / 1000, self.zone)
        midnight = datetime(local.year, local.month, local.day, tzinfo=self.zone) + timedelta(days=1)
        return int(midnight.timestamp() * 1000)


def message_of(visit: Visit) -> Message | None:
    """What ``?done=`` says was just done, and where "put it back" is sent."""
    done = visit.query.get("done", "")
    if done not in set(Done):
        return None
    undo = ""
    name = visit.query.get("undo", "")
    if done == Done.TAKEN_DOWN and name.isalnum():
        undo = f"/notices/{name}/restore"
    elif done == Done.REPLY_TAKEN_DOWN and name.isalnum():
        undo = f"/replies/{name}/restore"
    elif done == Done.FILE_TAKEN_DOWN and name.isalnum():
        undo = f"/files/{name}/restore"
    return Message(Done(done), undo)
