"""Pictures and files of other hubs that are not here: what pages say and show in their place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from hub.domain.ids import HubId
from hub.domain.notices import Notice, Picture
from hub.runtime.content import Content
from hub.services.fetching import Fetching
from hub.web import views
from hub.web.house import House

_SOON_S, _LATER_S = 5, 60
"""After so many seconds a page asks again for what comes now, or once a neighbour is there."""


class Away:
    """For every page that shows pictures or files."""

    def __init__(self, fetching: Fetching, house: House) -> None:
        self._fetching = fetching
        self._house = house

    async def marked(
        self, page: views.Page, pictures: Iterable[Picture], *, small: bool = True
    ) -> views.Page:
        """``page``, which knows what of ``pictures`` is not here: of their thumbnails, if it is ``small``."""
        blobs = {(picture.thumb if small else picture.full).sha256 for picture in pictures}
        away = await self._fetching.away(blobs)
        return replace(page, away=frozenset(away)) if away else page

    async def offer(self, blobs: Collection[str], hub: HubId, action: str) -> views.Fetch | None:
        """What is said of those of ``blobs`` (hex), named by ``hub``, that are not here; None if all are."""
        away = (await self._fetching.away(blobs)).values()
        if not away:
            return None
        return views.Fetch(
            action=action,
            origin=self._house.origin(hub),
            size=sum(each.size for each in away),
            arrived=sum(each.arrived for each in away),
            coming=all(each.coming for each in away),
            met=any(each.met for each in away),
        )

    def used(self, sha256: str) -> None:
        """Somebody looks at a blob."""
        self._fetching.used(sha256)


def full_pictures(notice: Notice) -> list[str]:
    """The names of a notice's pictures, without their thumbnails."""
    return [picture.full.sha256 for picture in notice.pictures]


def refreshed(content: Content, fetch: views.Fetch | None) -> Content:
    """``content``, which the browser asks for again while something of it is on its way."""
    if fetch is None or not fetch.coming:
        return content
    headers: Mapping[str, str] = {**content.headers, "Refresh": str(_SOON_S if fetch.met else _LATER_S)}
    return replace(content, keep=False, headers=headers)
