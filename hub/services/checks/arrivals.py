"""Whether something that neighbours or a stick brought is held back."""

from __future__ import annotations

from hub.domain.admission import Wait
from hub.domain.health import Condition, Line
from hub.domain.ids import HubId, short_hub_id
from hub.storage import arrivals, decisions
from hub.storage.database import Connection, Database

_WHY = {
    Wait.QUOTA: "{records} of {origin}: {bringer} brought more than a day's share; the rest follows",
    Wait.STRANGER: "{records} of {origin}, which only a stick knows: let it in or turn it away",
    Wait.FUTURE: "{records} of {origin}, whose clock runs ahead",
    Wait.FORK: "{records} of {origin}, as which two hubs sign",
}


class ArrivalsCheck:
    """Says of whom it is, and why."""

    code = "arrivals"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> Line:
        """LOOK while anything waits."""
        held = await self._database.read_with(_read)
        if not held:
            return Line(Condition.OK, self.code, "Nothing that other hubs brought is held back.")
        more = f"; and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
        return Line(
            Condition.LOOK,
            self.code,
            f"Held back: {'; '.join(held[:_SHOWN])}{more}. Nothing is lost.",
            "hub neighbours held",
        )


_SHOWN = 5


def _read(connection: Connection) -> list[str]:
    names = decisions.origins(connection)

    def called(hub: bytes) -> str:
        if not hub:
            return "a stick"
        return names[HubId(hub)].name if HubId(hub) in names else short_hub_id(HubId(hub))

    return [
        _WHY[pile.reason].format(
            records=f"{pile.records} records" if pile.records > 1 else "1 record",
            origin=called(pile.origin),
            bringer=called(pile.neighbour),
        )
        for pile in arrivals.piles(connection)
    ]
