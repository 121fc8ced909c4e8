"""Whether two hubs write with one key: a copied card, or a backup put back beside the hub it was made of."""

from __future__ import annotations

from hub.domain.health import Condition, Line
from hub.domain.ids import short_hub_id
from hub.storage import arrivals, decisions, journal
from hub.storage.database import Connection, Database


class CopiesCheck:
    """Stops the exchange while it is this hub's key, and freezes another hub's records while it is theirs."""

    code = "copies"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> Line:
        """STOP while a copy of this hub runs, LOOK while one of another hub does and nobody has decided."""
        copied, others = await self._database.read_with(_read)
        if copied:
            return Line(
                Condition.STOP,
                self.code,
                "A copy of this hub is running somewhere: records came back signed with its key that it did "
                "not write. Nothing is lost, and nothing is swapped with other hubs meanwhile.",
                "Find the other card and put it away, then say that this hub moved: "
                "hub neighbours decide NAME moved",
            )
        if others:
            return Line(
                Condition.LOOK,
                self.code,
                f"Two hubs sign as {', '.join(others)}. What both wrote is kept; what follows waits.",
                "Ask the people who look after it whether it moved, then: "
                "hub neighbours decide NAME moved (or new)",
            )
        return Line(Condition.OK, self.code, "Every hub writes with a key of its own.")


def _read(connection: Connection) -> tuple[bool, list[str]]:
    own, names = journal.own(connection), decisions.origins(connection)
    frozen = {each.hub for each in arrivals.forks(connection) if not each.decided and each.hub != own}
    called = {hub: names[hub].name if hub in names else short_hub_id(hub) for hub in frozen}
    return arrivals.is_copied(connection), sorted(called.values())
