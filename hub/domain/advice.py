"""Advice to neighbours: what a hub's caretakers flagged, and the hub's block list (sync.md 2.4).

It is for each hub to judge. A flag names an object and a reason; a block list names hubs, objects and
blobs. Neither names a person, and neither has room for free text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hub.domain import cbor
from hub.domain.ids import HubId, ObjectId
from hub.domain.policy import DAY_MS, Reason
from hub.domain.records import MAX_BODY, SALT_BYTES, BadRecord

FLAG_LASTS_MS: Final = 60 * DAY_MS
"""Longer than notices stand; after it, whoever still objects says so again."""
BLOCK_LIST_LASTS_MS: Final = 180 * DAY_MS
"""A block list is written anew at half of it: that of a hub that is gone ends by itself."""
MAX_ENTRIES: Final = 500
"""Of each kind on a block list; all together they have to fit into a record's body."""
MAX_RULE: Final = 99


class Following(StrEnum):
    """What a caretaker does with the block list of a neighbour."""

    ASK = "ask"
    """It is shown to caretakers, who decide."""
    APPLY = "apply"
    """What it names is hidden here."""


class Blocked(StrEnum):
    """What an entry of a block list names."""

    HUB = "hub"
    OBJECT = "object"
    BLOB = "blob"


_KEYS: Final = {Blocked.HUB: (22, 32), Blocked.OBJECT: (23, 16), Blocked.BLOB: (24, 32)}
"""Key in the body, and bytes of an entry."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """Something a block list names: a hub's id, an object's id, or the SHA-256 of a blob."""

    kind: Blocked
    what: bytes


@dataclass(frozen=True, slots=True)
class Flag:
    """Why an object was flagged. ``rule`` is the number of a house rule of the hub that says so, 0: none."""

    reason: Reason
    rule: int = 0


def encode_flag(flag: Flag, salt: bytes) -> bytes:
    """CBOR of a flag; ``salt`` is 16 random bytes."""
    return cbor.encode({0: salt, 20: str(flag.reason), 21: flag.rule})


def read_flag(data: bytes) -> Flag:
    """The flag in a body's bytes; raises `BadRecord` or `cbor.NotCanonical`.

    A newer release's reason counts as unsure.
    """
    try:
        fields = cbor.decode(data)
        cbor.octets(fields[0], SALT_BYTES)
        reason, rule = cbor.label(fields[20]), cbor.whole(fields[21])
        if rule > MAX_RULE:
            raise ValueError(rule)
    except (LookupError, ValueError, TypeError) as error:
        raise BadRecord("body fields") from error
    return Flag(Reason(reason) if reason in set(Reason) else Reason.UNSURE, rule)


def block_list_object(hub: HubId) -> ObjectId:
    """The one object that is ``hub``'s block list, through all its versions."""
    return ObjectId(hashlib.sha256(b"commhub-blocklist-1\0" + hub).digest()[:16])


def encode_block_list(entries: Sequence[Entry], salt: bytes) -> bytes:
    """CBOR of a block list of ``entries``, as many of the first ones as there is room for."""
    return cbor.encode({0: salt} | _joined(fitting(entries)))


def fitting(entries: Iterable[Entry]) -> list[Entry]:
    """As many of the first ``entries`` as a block list has room for, each once, in ascending order."""
    room = MAX_BODY - len(cbor.encode({0: bytes(SALT_BYTES)} | _joined([]))) - 3 * len(_KEYS)
    counts = dict.fromkeys(Blocked, 0)
    found = []
    for entry in dict.fromkeys(entries):
        if counts[entry.kind] < MAX_ENTRIES and len(entry.what) <= room:
            counts[entry.kind] += 1
            room -= len(entry.what)
            found.append(entry)
    return sorted(found)


def _joined(entries: Sequence[Entry]) -> dict[int, bytes]:
    return {
        key: b"".join(entry.what for entry in entries if entry.kind is kind)
        for kind, (key, _) in _KEYS.items()
    }


def read_block_list(data: bytes) -> frozenset[Entry]:
    """The entries in the bytes of a block list's body; raises `BadRecord` or `cbor.NotCanonical`.

    Newer keys are left out.
    """
    try:
        fields = cbor.decode(data)
        cbor.octets(fields[0], SALT_BYTES)
        found: set[Entry] = set()
        for kind, (key, length) in _KEYS.items():
            joined = fields[key]
            if not isinstance(joined, bytes) or len(joined) % length or len(joined) > MAX_ENTRIES * length:
                raise ValueError(joined)
            found.update(Entry(kind, joined[at : at + length]) for at in range(0, len(joined), length))
    except (LookupError, ValueError, TypeError) as error:
        raise BadRecord("body fields") from error
    return frozenset(found)
