"""The page about neighbouring hubs, for residents."""

from __future__ import annotations

from hub.domain.neighbours import PINNED, Neighbour, Tie, agreed
from hub.domain.policy import MINUTE_MS
from hub.domain.records import Stream
from hub.domain.sharing import Choice
from hub.runtime.routing import Route
from hub.services.neighbours import Neighbours
from hub.web import views
from hub.web.house import House
from hub.web.server import Answer, PageHandler, Visit


class NearBy:
    """Who this hub swaps with, and what."""

    def __init__(self, neighbours: Neighbours, house: House) -> None:
        self._neighbours = neighbours
        self._house = house

    def routes(self) -> list[Route[PageHandler]]:
        """The table."""
        return [Route("GET", "/neighbours", self.neighbours)]

    async def neighbours(self, visit: Visit) -> Answer:
        """The page; it says how many minutes ago something was, so it is true for one."""
        page = await self._house.page(visit)
        roster = [known.neighbour for known in await self._neighbours.every()]
        shown = [self._shown(each, page.now_ms) for each in roster if each.tie in PINNED]
        near = {each.place for each in shown}
        view = views.NeighboursPage(
            page=page,
            neighbours=tuple(shown),
            further=tuple(place for place in page.neighbours if place not in near),
        )
        return self._house.content(visit, view, until_ms=page.now_ms + MINUTE_MS, shared=True)

    def _shown(self, each: Neighbour, now_ms: int) -> views.NeighbourShown:
        minutes = None if each.swapped_ms is None else max(0, now_ms - each.swapped_ms) // MINUTE_MS
        return views.NeighbourShown(
            place=self._house.origin(each.hub) or views.Place(each.name, each.colour),
            notices=_swap(each, Stream.NOTICES),
            files=_swap(each, Stream.FILES),
            paused=each.tie is Tie.PAUSED,
            swapped_ms=each.swapped_ms,
            minutes=minutes if minutes is not None and minutes < 60 else None,
        )


def _swap(each: Neighbour, stream: str) -> views.Swap:
    if not agreed(each.choices, each.theirs, stream):
        return views.Swap.NONE
    return views.Swap.HELD if each.choices.get(stream) is Choice.HOLD else views.Swap.BOTH_WAYS
