"""What a hub says of itself once a day, and of what it erased: the body of its ``status`` record."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from hub.domain import cbor
from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId, ObjectId, RecordId
from hub.domain.neighbours import shown_colour, shown_name, shown_version
from hub.domain.policy import DAY_MS
from hub.domain.records import SALT_BYTES, BadRecord

EXPIRES_MS = 35 * DAY_MS
"""A hub that says nothing for this long is forgotten by itself."""
NAMED = 400
"""Erasures named in a status at most, the newest: 3.2 kB."""
SHORT = 8
"""Bytes of a retraction's record id in a status: among thousands of hubs' erasures, no two are alike."""
_SINCE_MS = 90 * DAY_MS


@dataclass(frozen=True, slots=True)
class StatusBody:
    """``erased`` counts the retractions of the last 90 days that the hub has carried out; ``named`` are
    the first 8 bytes of the ids of the newest of them, at most 400, in ascending order."""

    name: str
    colour: str
    version: str
    quality: TimeQuality
    erased: int
    named: tuple[bytes, ...]


def status_object(hub: HubId) -> ObjectId:
    """The one object that is ``hub``'s status, through all its versions."""
    return ObjectId(hashlib.sha256(b"commhub-status-1\0" + hub).digest()[:16])


def short_id(record: RecordId) -> bytes:
    """How a status names a retraction."""
    return record[:SHORT]


def names_since(now_ms: int) -> int:
    """Retractions from this time on (their stamps, Unix ms) stand in a status of ``now_ms``."""
    return now_ms - _SINCE_MS


def encode_status(body: StatusBody, salt: bytes) -> bytes:
    """CBOR of a status; ``salt`` is 16 random bytes."""
    return cbor.encode(
        {
            0: salt,
            2: body.name,
            15: body.colour,
            16: body.version,
            17: int(body.quality),
            18: body.erased,
            19: b"".join(body.named),
        }
    )


def read_status(hub: HubId, data: bytes, *, stored: bool = False) -> StatusBody:
    """The status of ``hub`` in a body's bytes, its words cleaned; raises `BadRecord`.

    Keys of newer releases are left out. ``stored`` as for `hub.domain.records.decode_header`.
    """
    try:
        fields = cbor.read(data) if stored else cbor.decode(data)
        cbor.octets(fields[0], SALT_BYTES)
        named = fields[19]
        if not isinstance(named, bytes) or len(named) % SHORT or len(named) > NAMED * SHORT:
            raise ValueError(named)
        return StatusBody(
            name=shown_name(hub, cbor.label(fields[2])),
            colour=shown_colour(cbor.label(fields[15])),
            version=shown_version(cbor.label(fields[16])),
            quality=TimeQuality(cbor.whole(fields[17])),
            erased=cbor.whole(fields[18]),
            named=split_named(named),
        )
    except (LookupError, ValueError, TypeError) as error:
        raise BadRecord("body fields") from error


def split_named(named: bytes) -> tuple[bytes, ...]:
    """The short ids that stand behind one another in ``named``."""
    return tuple(named[at : at + SHORT] for at in range(0, len(named), SHORT))


def name_newest(retractions: Sequence[tuple[int, RecordId]]) -> tuple[bytes, ...]:
    """How a status names the newest of ``retractions``, each its stamp (ms) and its record's id."""
    newest = sorted(retractions, reverse=True)[:NAMED]
    return tuple(sorted({short_id(record) for _, record in newest}))
