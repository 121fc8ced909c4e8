"""The caretakers' API, for the carried stick: bundles and cards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hub.api.admin import AdminEndpoint, Order
from hub.api.endpoints import Endpoint
from hub.api.schema import CardOut, Done, PackedOut, StickIn, UnpackedOut
from hub.domain.hubcard import read_card, require_words
from hub.services.courier import Courier, Load, NoStick, Unpacked
from hub.services.neighbours import Neighbours

_MB = 1_000_000


class CourierApi:
    """Shapes in, the courier called, shapes out."""

    def __init__(self, courier: Courier, neighbours: Neighbours) -> None:
        self._courier = courier
        self._neighbours = neighbours

    def endpoints(self) -> list[AdminEndpoint]:
        """The table."""

        def post(
            path: str, operation: str, sentence: str, call: Callable[[Order], Awaitable[Any]], answer: Any
        ) -> AdminEndpoint:
            return Endpoint(
                method="POST",
                path=path,
                name=operation,
                sentence=sentence,
                call=call,
                answer=answer,
                body=StickIn,
                errors=(404, 409, 422, 503, 507),
            )

        return [
            post("/bundles/write", "writeBundle", "Write a bundle on a stick.", self.write, PackedOut),
            post("/bundles/read", "readBundles", "Take what it brings.", self.read, list[UnpackedOut]),
            post("/cards/write", "writeCard", "Write this hub's card on a stick.", self.write_card, CardOut),
            post("/cards/accept", "acceptCard", "Pair with the hub of a card.", self.accept_card, Done),
        ]

    async def write(self, order: Order) -> PackedOut:
        """Write a bundle."""
        stick = order.stick
        to = (await self._neighbours.show(stick.to)).neighbour.hub if stick.to else None
        largest = None if stick.largest_mb < 0 else stick.largest_mb * _MB
        packed = await self._courier.write(_directory(stick), to, Load(largest, stick.days or None))
        return PackedOut(
            files=list(packed.files),
            size=packed.size,
            records=packed.records,
            blobs=packed.blobs,
            left_out=packed.left_out,
            known=packed.known,
        )

    async def read(self, order: Order) -> list[UnpackedOut]:
        """Read bundles."""
        return [_unpacked_out(each) for each in await self._courier.read(_directory(order.stick))]

    async def write_card(self, order: Order) -> CardOut:
        """Write the card."""
        written = await self._courier.write_card(_directory(order.stick))
        return CardOut(path=str(written.path), words=written.words)

    async def accept_card(self, order: Order) -> Done:
        """Pair by a card."""
        card = read_card(order.stick.card).card
        require_words(card.hub, order.stick.words)
        found = await self._neighbours.accept_card(card, order.actor)
        return Done(
            sentence=f"{found.name} is a neighbour of this hub now. Its caretaker has to accept this "
            "hub’s card as well: hub neighbours card write DIR"
        )


def _directory(stick: StickIn) -> Path:
    """The path of the stick; only a whole one means the same for the hub as for who typed it."""
    path = Path(stick.directory)
    if not path.is_absolute() or "\0" in stick.directory:
        raise NoStick(path=stick.directory or "(nowhere)")
    return path


def _unpacked_out(each: Unpacked) -> UnpackedOut:
    return UnpackedOut(
        file=each.file,
        hub=each.hub.hex() if each.hub else "",
        name=each.name,
        made_ms=each.made_ms,
        records=each.records,
        stored=each.stored,
        known=each.known,
        waiting=each.waiting,
        refused=each.refused,
        sealed=each.sealed,
        blobs=each.blobs,
        segments=each.segments,
        lost=each.lost,
    )
