"""What the records of one object add up to: a pure function of the set, whatever order they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.domain import bodies
from hub.domain.ids import ObjectId
from hub.domain.notices import State
from hub.domain.records import CONTENT_TYPES, Record, RecordType

_KEYS_SINCE_MS = 1_577_836_800_000
"""2020-01-01: keys count from here, to stay small."""
_TIE_BITS = 10


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as it stands in this hub's log: place in the log, and when it was first seen here."""

    n: int
    record: Record
    seen_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The present state of an object. ``content`` is its newest version, bodiless once erased."""

    content: Logged
    state: State
    shown_ms: int
    edited_ms: int | None
    changed_ms: int
    exp_ms: int


def stand(versions: Sequence[Logged]) -> Standing | None:
    """What ``versions`` (all records of one object) add up to; None while no content has arrived.

    The newest content by (stamp, id) counts; a retraction beats everything; otherwise the newest of
    withdraw and restore decides. An object is shown under the earliest of its first version's stamp,
    the time its newest body names, and the moment this hub first saw it, so that a wrong clock can
    not pin a notice to the top (sync.md 2.2).
    """
    ordered = sorted(versions, key=lambda logged: (logged.record.header.stamp, logged.record.id))
    contents = [logged for logged in ordered if logged.record.header.type in CONTENT_TYPES]
    if not contents:
        return None
    content = contents[-1]
    body = None
    erased = any(logged.record.header.type == RecordType.RETRACT for logged in ordered)
    if content.record.body is not None and not erased:  # else a rebuild, without it, would differ
        body = bodies.decode(content.record, stored=True)
    shown_ms = min(
        contents[0].record.header.stamp.ms,
        min(logged.seen_ms for logged in ordered),
        body.posted_ms if body is not None else contents[0].record.header.stamp.ms,
    )
    state, changed_ms = State.LIVE, shown_ms
    for logged in ordered:
        header = logged.record.header
        if header.type == RecordType.RETRACT:
            state, changed_ms = State.ERASED, header.stamp.ms
            break
        if header.type == RecordType.WITHDRAW:
            state, changed_ms = State.WITHDRAWN, header.stamp.ms
        elif header.type == RecordType.RESTORE:
            state, changed_ms = State.LIVE, header.stamp.ms
    if body is None:
        state = State.ERASED
    return Standing(
        content=content,
        state=state,
        shown_ms=shown_ms,
        edited_ms=body.edited_ms if body is not None else None,
        changed_ms=changed_ms,
        exp_ms=content.record.header.exp,
    )


def display_key(shown_ms: int, obj: ObjectId) -> int:
    """An integer that orders objects by display time; ties are told apart by the object id.

    Two objects can still share a key: whoever stores it takes the next free one.
    """
    since = max(0, shown_ms - _KEYS_SINCE_MS)
    return since << _TIE_BITS | int.from_bytes(obj[:2], "big") & ((1 << _TIE_BITS) - 1)
