"""Other hubs, and the network between, in the hands of tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from hub.domain.advice import Entry, Flag, block_list_object, encode_block_list, encode_flag
from hub.domain.bodies import NoticeBody, encode_notice
from hub.domain.certificates import certificate_of
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId, RecordId, base32
from hub.domain.neighbours import Address, Card, card_of
from hub.domain.notices import Kind, NoticeDraft, Picture, Scope
from hub.domain.policy import Reason
from hub.domain.records import Header, RecordType, Stream, seal
from hub.domain.status import EXPIRES_MS, StatusBody, encode_status, short_id, status_object
from hub.services.identity import Identity
from hub.services.neighbours import Live, Sighting, Standing, Step
from hub.storage import journal
from hub.storage.database import Connection
from hub.storage.projections import refresh
from tests import world
from tests.integration.conftest import Street
from tests.world import DAY_MS

MILL_LANE, OAKFIELD = (each.name for each in world.neighbours() if each.key in ("mill-lane", "oakfield"))


@dataclass
class Network:
    """What would be sockets and mDNS: it notes what it is asked."""

    asked: list[str] = field(default_factory=list)
    lives: dict[HubId, Live] = field(default_factory=dict)
    sightings: list[Sighting] = field(default_factory=list)
    stands: Standing = field(default_factory=Standing)

    async def open(self, minutes: int) -> Standing:
        self.stands = Standing(Step.OPEN)
        return self.stands

    async def close(self) -> None:
        self.stands = Standing()

    async def begin(self, address: Address) -> Standing:
        self.asked.append(f"call {address}")
        self.stands = Standing(Step.COMPARING, "123456", name=MILL_LANE)
        return self.stands

    def standing(self) -> Standing:
        return self.stands

    async def accept(self) -> Standing:
        self.stands = Standing(Step.ACCEPTED, name=MILL_LANE)
        return self.stands

    async def refuse(self) -> Standing:
        self.stands = Standing()
        return self.stands

    async def sync_now(self, hub: HubId) -> None:
        self.asked.append(f"sync {base32(hub)[:4]}")

    async def forget(self, hub: HubId) -> None:
        self.asked.append(f"forget {base32(hub)[:4]}")

    def live(self, hub: HubId) -> Live:
        return self.lives.get(hub, Live())

    def seen(self) -> Sequence[Sighting]:
        return self.sightings

    async def sweep(self) -> Sequence[Sighting]:
        return self.sightings


@dataclass
class Elsewhere:
    """Another hub: it writes records, which come here as a neighbour would bring them."""

    street: Street
    identity: Identity
    name: str
    written: int = 0

    @property
    def hub(self) -> HubId:
        return self.identity.hub

    @property
    def short(self) -> str:
        return base32(self.hub)[:4]

    def card(self, *addresses: Address) -> Card:
        """What it shows when pairing."""
        certificate = certificate_of(self.hub, self.identity.sign)
        return card_of(
            certificate, self.name, "damson", addresses, {"notices": "exchange", "files": "exchange"}
        )

    async def pairs(self, *addresses: Address) -> None:
        """Both caretakers have accepted."""
        await self.street.hub.neighbours.add(self.card(*addresses))

    async def brings(
        self,
        kind: str,
        obj: ObjectId,
        body: bytes | None,
        *,
        scope: Scope = Scope.NETWORK,
        stream: str = Stream.NOTICES,
        days: int = 28,
        ref: ObjectId | None = None,
    ) -> RecordId:
        """A record of it arrives here."""
        self.written += 1
        now = self.street.clock.ms
        header = Header(
            self.hub,
            Epoch(b"epoch..."),
            self.written,
            kind,
            obj,
            Stamp(now, self.written),
            TimeQuality.CARETAKER,
            now + days * DAY_MS,
            scope,
            ref=ref,
            stream=stream,
        )
        record = seal(header, body, self.identity.sign)

        def write(connection: Connection) -> None:
            journal.append(connection, record, now)
            refresh(connection, obj)

        await self.street.hub.database.write(write)
        return record.id

    async def puts_up(
        self, title: str, *, scope: Scope = Scope.NETWORK, pictures: tuple[Picture, ...] = ()
    ) -> ObjectId:
        """A notice of it arrives."""
        obj = ObjectId(hashlib.sha256(f"{self.name}/{title}".encode()).digest()[:16])
        now = self.street.clock.ms
        draft = NoticeDraft(
            Kind.GIVE, title, "Words of theirs.", "en", scope, now + 28 * DAY_MS, "Ola", pictures=pictures
        )
        await self.brings(
            RecordType.NOTICE, obj, encode_notice(NoticeBody(draft, now), b"s" * 16), scope=scope
        )
        return obj

    async def flags(self, target: ObjectId, reason: Reason, rule: int = 0) -> None:
        """Its caretakers object to something, and it tells its neighbours."""
        obj = ObjectId(hashlib.sha256(self.identity.hub + target).digest()[:16])
        body = encode_flag(Flag(reason, rule), b"s" * 16)
        await self.brings(RecordType.FLAG, obj, body, scope=Scope.NEIGHBOURS, ref=target)

    async def blocks(self, *entries: Entry) -> None:
        """Its block list arrives."""
        body = encode_block_list(entries, b"s" * 16)
        await self.brings(
            RecordType.BLOCK_LIST, block_list_object(self.hub), body, scope=Scope.NEIGHBOURS, days=180
        )

    async def says(self, *erased: RecordId) -> None:
        """Its status arrives, in which it names erasures."""
        body = StatusBody(
            self.name, "damson", "0.9", TimeQuality.CARETAKER, len(erased), tuple(map(short_id, erased))
        )
        await self.brings(
            RecordType.STATUS,
            status_object(self.hub),
            encode_status(body, b"s" * 16),
            stream=Stream.STATUS,
            days=EXPIRES_MS // DAY_MS,
        )
