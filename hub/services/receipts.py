"""This hub's own status record, and from those of others: where an erasure was carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from hub.domain.errors import NoRoom
from hub.domain.ids import HubId, ObjectId
from hub.domain.neighbours import PINNED, shown_name, told_apart
from hub.domain.notices import Scope
from hub.domain.policy import DAY_MS
from hub.domain.records import RecordType, Stream
from hub.domain.status import (
    EXPIRES_MS,
    StatusBody,
    encode_status,
    name_newest,
    names_since,
    status_object,
)
from hub.storage import decisions, journal, neighbours, statuses, traces
from hub.storage.database import Connection, Database
from hub.storage.journal import Pen
from hub.storage.projections import refresh
from hub.storage.statuses import HubStatus

LOOK_S = 60.0
"""Between looks whether anything was erased since the last status: one status for all of it."""


@dataclass(frozen=True, slots=True)
class SelfPortrait:
    """What this hub says of itself."""

    name: str
    colour: str
    version: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Whether a hub carried out an erasure. Times are Unix ms; None: not as far as is known here.

    ``parted``: it is no longer paired with this hub, and may never hear of it.
    """

    hub: HubId
    name: str
    erased_ms: int | None
    heard_ms: int | None
    parted: bool = False


class Receipts:
    """Runs forever under the supervisor: `keep_current`."""

    def __init__(
        self,
        database: Database,
        hub: HubId,
        pen: Callable[[], Pen],
        chance: Callable[[int], bytes],
        portrait: Callable[[], SelfPortrait],
    ) -> None:
        self._database = database
        self._hub = hub
        self._pen = pen
        self._chance = chance
        self._portrait = portrait
        self._tidied_ms = 0

    async def keep_current(self) -> None:
        """A status once a day, and within a minute of an erasure."""
        while True:
            with suppress(NoRoom):  # a full card is told elsewhere
                await self.publish_when_due()
                await self._tidy()
            await asyncio.sleep(LOOK_S)

    async def publish_when_due(self) -> bool:
        """Publish a status if the last is a day old or no longer true; whether one was published.

        Not while there is nobody to read it, nor while something that was erased still stands in the files:
        a receipt is for what is gone.
        """
        pen, portrait = self._pen(), self._portrait()
        body = await self._database.read_with(lambda connection: self._due(connection, pen, portrait))
        if body is None:
            return False

        def write(connection: Connection) -> None:
            obj = status_object(self._hub)
            journal.publish(
                connection,
                pen,
                RecordType.STATUS,
                obj,
                pen.now_ms + EXPIRES_MS,
                Scope.NETWORK,
                lambda _: encode_status(body, self._chance(16)),
                stream=Stream.STATUS,
            )
            refresh(connection, obj)

        await self._database.write(write)  # and so neighbours hear of it at once
        return True

    async def of(self, obj: ObjectId) -> list[Receipt]:
        """The hubs that may hold ``obj``, this one first, and which of them have erased it.

        Empty for what was not erased, or never left its hub.
        """
        return await self._database.read_with(lambda connection: self._receipts(connection, obj))

    # --- inside -----------------------------------------------------------------------------------

    def _due(self, connection: Connection, pen: Pen, portrait: SelfPortrait) -> StatusBody | None:
        paired = any(each.tie in PINNED for each in neighbours.every(connection))
        if not paired or traces.wait(connection, pen.now_ms):
            return None
        retractions = statuses.retractions_since(connection, names_since(pen.now_ms))
        body = StatusBody(
            portrait.name,
            portrait.colour,
            portrait.version,
            pen.quality,
            len(retractions),
            name_newest(retractions),
        )
        last = statuses.of_hub(connection, self._hub)
        if last is None or not 0 <= pen.now_ms - last.at_ms < DAY_MS:
            return body
        origin = decisions.origins(connection).get(self._hub)
        said = (origin.name, origin.colour) if origin else ("", "")
        told = (*said, last.version, last.named)
        return None if told == (body.name, body.colour, body.version, body.named) else body

    def _receipts(self, connection: Connection, obj: ObjectId) -> list[Receipt]:
        erasure = statuses.retraction_of(connection, obj)
        if erasure is None:
            return []
        versions = journal.versions(connection, obj)
        first_ms = min(logged.seen_ms for logged in versions)
        here_ms = min(logged.seen_ms for logged in versions if logged.record.id == erasure.record)
        told, known = statuses.receipts(connection, erasure.record), statuses.every(connection)
        roster = {each.hub: each for each in neighbours.every(connection)}
        paired = {hub for hub, each in roster.items() if each.tie in PINNED}
        parted = {
            hub for hub, each in roster.items() if hub not in paired and (each.heard_ms or 0) >= first_ms
        }
        if erasure.scope is Scope.NETWORK:
            concerned = paired | parted | known.keys()
        elif erasure.origin == self._hub:
            concerned = paired | parted
        else:
            concerned = {erasure.origin}
        concerned = (concerned | told.keys()) - {self._hub}
        names = _names(connection, concerned, self._hub, self._portrait().name)
        found = [
            Receipt(hub, names[hub], told.get(hub), _heard(known.get(hub), heard), hub in parted)
            for hub, heard in (
                (hub, roster[hub].heard_ms if hub in roster else None)
                for hub in sorted(concerned, key=lambda hub: (names[hub], hub))
            )
        ]
        return [Receipt(self._hub, self._portrait().name, here_ms, self._pen().now_ms), *found]

    async def _tidy(self) -> None:
        """Once a day: drop what every hub drops, unless nobody knows what time it is."""
        pen = self._pen()
        if pen.quality and pen.now_ms - self._tidied_ms >= DAY_MS:
            await self._database.note(lambda connection: statuses.drop_ended(connection, pen.now_ms))
            self._tidied_ms = pen.now_ms


def _names(connection: Connection, hubs: set[HubId], own_hub: HubId, own_name: str) -> dict[HubId, str]:
    origins = decisions.origins(connection)
    names = {hub: origin.name for hub, origin in origins.items() if hub != own_hub}
    for hub in hubs:
        names.setdefault(hub, shown_name(hub, ""))
    return told_apart(names, own_name)


def _heard(status: HubStatus | None, answered_ms: int | None) -> int | None:
    """When a hub was last heard of, by its own status or because it answered."""
    return max(filter(None, (status.at_ms if status else None, answered_ms)), default=None)
