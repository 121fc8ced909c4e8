"""The hubs this one is or was paired with, and where they can be called. Local truth.

What a hub is called and its colour stand in ``origin``, with those of every other hub.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId, ObjectId
from hub.domain.neighbours import (
    UNKNOWN_COLOUR,
    UNWANTED,
    Address,
    Card,
    KnownAddress,
    Learnt,
    Neighbour,
    Tie,
    read_choices,
    shown_name,
    spare,
)
from hub.domain.records import RecordType, decode_header
from hub.domain.sharing import Choices
from hub.storage.decisions import Origin, know_origin

_NEIGHBOUR = (
    "SELECT neighbour.hub, name, colour, certificate, tie, choices, theirs, paired_ms, heard_ms, swapped_ms,"
    " trouble, protocol, version, offset_ms, quality FROM neighbour LEFT JOIN origin USING (hub)"
)


def add(connection: sqlite3.Connection, card: Card, choices: Choices, now_ms: int) -> None:
    """Pair with the hub of ``card``, for the first time or anew; ``choices`` are ours."""
    connection.execute(
        "INSERT OR REPLACE INTO neighbour (hub, certificate, tie, choices, theirs, paired_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (card.hub, card.certificate, str(Tie.PAIRED), _text(choices), _text(card.choices), now_ms),
    )
    know_origin(connection, Origin(card.hub, card.name, card.colour))
    for address in card.addresses:
        learn_address(connection, card.hub, address, Learnt.TOLD)


def every(connection: sqlite3.Connection) -> list[Neighbour]:
    """Every hub that is or was paired, by name."""
    return [_neighbour(connection, row) for row in connection.execute(f"{_NEIGHBOUR} ORDER BY name, hub")]


def find(connection: sqlite3.Connection, hub: HubId) -> Neighbour | None:
    """What ``hub`` is to this one, if it was ever paired."""
    row = connection.execute(f"{_NEIGHBOUR} WHERE neighbour.hub = ?", (hub,)).fetchone()
    return _neighbour(connection, row) if row else None


def unwanted(connection: sqlite3.Connection) -> frozenset[HubId]:
    """The hubs of whose records only headers are kept, whoever brings them."""
    rows = connection.execute("SELECT hub, tie FROM neighbour").fetchall()
    return frozenset(HubId(hub) for hub, tie in rows if tie in UNWANTED)


def tie(connection: sqlite3.Connection, hub: HubId, to: Tie) -> None:
    """What ``hub`` is to this one from now on."""
    connection.execute("UPDATE neighbour SET tie = ?, trouble = '' WHERE hub = ?", (str(to), hub))


def choose(connection: sqlite3.Connection, hub: HubId, choices: Choices) -> None:
    """What is exchanged with ``hub`` as far as this hub is concerned."""
    connection.execute("UPDATE neighbour SET choices = ? WHERE hub = ?", (_text(choices), hub))


def greet(
    connection: sqlite3.Connection,
    hub: HubId,
    theirs: Choices,
    protocol: int,
    version: str,
    offset_ms: int | None,
    quality: TimeQuality,
    now_ms: int,
) -> None:
    """What a neighbour said when a session began."""
    connection.execute(
        "UPDATE neighbour SET (theirs, protocol, version, offset_ms, quality, heard_ms)"
        " = (?, ?, ?, ?, ?, ?) WHERE hub = ?",
        (_text(theirs), protocol, version, offset_ms, int(quality), now_ms, hub),
    )


def hear(connection: sqlite3.Connection, hub: HubId, now_ms: int) -> None:
    """A neighbour answered."""
    connection.execute("UPDATE neighbour SET heard_ms = ? WHERE hub = ?", (now_ms, hub))


def swap(connection: sqlite3.Connection, hub: HubId, now_ms: int) -> None:
    """Both hold the same now."""
    connection.execute(
        "UPDATE neighbour SET (heard_ms, swapped_ms, trouble) = (?1, ?1, '') WHERE hub = ?2", (now_ms, hub)
    )


def trouble(connection: sqlite3.Connection, hub: HubId, code: str) -> None:
    """The exchange with a neighbour failed."""
    connection.execute("UPDATE neighbour SET trouble = ? WHERE hub = ?", (code, hub))


def learn_address(
    connection: sqlite3.Connection,
    hub: HubId,
    address: Address,
    learnt: Learnt,
    good_ms: int | None = None,
) -> None:
    """``hub`` can perhaps be called there; with ``good_ms`` it was proved to be. Typed ones stay typed."""
    connection.execute(
        "INSERT INTO neighbour_address VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET"
        " origin = CASE WHEN ?4 = 'typed' THEN ?4 ELSE origin END, good_ms = coalesce(?5, good_ms)",
        (hub, *address, str(learnt), good_ms),
    )
    for gone in spare(_addresses(connection, hub)):
        connection.execute("DELETE FROM neighbour_address WHERE (hub, host, port) = (?, ?, ?)", (hub, *gone))


def forget_addresses(connection: sqlite3.Connection, hub: HubId) -> None:
    """``hub`` is not called any more."""
    connection.execute("DELETE FROM neighbour_address WHERE hub = ?", (hub,))


def written_by(connection: sqlite3.Connection, hub: HubId) -> list[ObjectId]:
    """The objects of ``hub`` of which this hub holds any words, the oldest first.

    Reads every header, a fifth of a second for 100,000 of them: for rare acts, in a reader's thread.
    """
    rows = connection.execute(
        "SELECT obj, header FROM record WHERE body IS NOT NULL AND instr(header, ?) ORDER BY n", (hub,)
    )
    return list(dict.fromkeys(ObjectId(obj) for obj, header in rows if _wrote(hub, header)))


def stubs_of(connection: sqlite3.Connection, hub: HubId) -> list[ObjectId]:
    """The objects of ``hub`` that were not erased by it and of which only headers are left here."""
    found: dict[ObjectId, bool] = {}
    rows = connection.execute("SELECT obj, header, body FROM record WHERE instr(header, ?)", (hub,))
    for obj, header_bytes, body in rows:
        header = decode_header(header_bytes, stored=True)
        if header.hub == hub:
            kept = body is not None or header.type == RecordType.RETRACT
            found[ObjectId(obj)] = found.get(ObjectId(obj), False) or kept
    return [obj for obj, kept in found.items() if not kept]


def _wrote(hub: HubId, header_bytes: bytes) -> bool:
    header = decode_header(header_bytes, stored=True)
    return header.hub == hub and header.type != RecordType.STATUS


def _neighbour(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Neighbour:
    hub, name, colour, certificate, tied, choices, theirs = row[:7]
    paired_ms, heard_ms, swapped_ms, last_trouble, protocol, version, offset_ms, quality = row[7:]
    return Neighbour(
        hub=HubId(hub),
        name=name or shown_name(HubId(hub), ""),
        colour=colour or UNKNOWN_COLOUR,
        certificate=certificate,
        tie=Tie(tied),
        choices=read_choices(json.loads(choices)),
        theirs=read_choices(json.loads(theirs)),
        paired_ms=paired_ms,
        heard_ms=heard_ms,
        swapped_ms=swapped_ms,
        trouble=last_trouble,
        protocol=protocol,
        version=version,
        offset_ms=offset_ms,
        quality=TimeQuality(quality),
        addresses=tuple(_addresses(connection, HubId(hub))),
    )


def _addresses(connection: sqlite3.Connection, hub: HubId) -> Iterable[KnownAddress]:
    rows = connection.execute(
        "SELECT host, port, origin, good_ms FROM neighbour_address WHERE hub = ?", (hub,)
    ).fetchall()
    return [KnownAddress(Address(host, port), Learnt(learnt), good) for host, port, learnt, good in rows]


def _text(choices: Choices) -> str:
    return json.dumps({str(stream): str(choice) for stream, choice in sorted(choices.items())})
